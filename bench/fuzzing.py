"""Wrong bytes for every parser of the exchanges: whatever goes in, records and named outcomes come out.

A target takes bytes and raises only what it names. The bytes are valid messages changed at random: those that stand as
examples above the parsers, and recorded ones where there are any. The same seed gives the same bytes.
"""

import gzip
import json
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, get_args

import msgspec
import zstandard

from bench.fuzz_mutations import mutated
from marketdata_assets.exchanges import binance, deribit, okx
from marketdata_assets.exchanges.binance.feed import BinanceFeed
from marketdata_assets.exchanges.books import BookState
from marketdata_assets.exchanges.captures.capture import open_capture
from marketdata_assets.exchanges.captures.native_format import ENTRY, NUMBERS, SUFFIX, VERSION, Header
from marketdata_assets.exchanges.deribit.feed import DeribitFeed
from marketdata_assets.exchanges.deribit.instruments import parse_instruments
from marketdata_assets.exchanges.deribit.rest import error_of
from marketdata_assets.exchanges.deribit.session import Session
from marketdata_assets.exchanges.errors import BadCapture, BadCursor, BadInstruments, UnknownVenue
from marketdata_assets.exchanges.instruments import Instruments
from marketdata_assets.exchanges.okx.feed import OkxFeed
from marketdata_assets.exchanges.records import AnyRecord, DeadLetter, Gap, MarketType, Outcome
from marketdata_assets.exchanges.rest_history import Cursor

RECV = 1_800_000_000_000_000_000
KEPT_ALIVE = 300
"""A feed takes so many messages, then a new one begins."""

RECORDED = 400
"""So many messages of each recording are taken."""

LONGEST_SEED = 20_000
LONGEST_EXAMPLE = 10
_OUTCOMES = get_args(Outcome)
_RECORDS = get_args(AnyRecord)
_decode = msgspec.json.Decoder(AnyRecord | Gap).decode
MARKETS: tuple[MarketType, ...] = get_args(MarketType)


class Wrong(AssertionError):
    """An outcome that no outcome may be."""


@dataclass(frozen=True)
class Target:
    """Something that takes bytes, and the errors it may raise."""

    name: str
    take: Callable[[bytes, Random], None]
    seeds: Sequence[bytes]
    raises: tuple[type[Exception], ...] = ()


@dataclass
class Tried:
    """What was tried, and what failed, as the bytes that did it and the story of the error."""

    inputs: int = 0
    by_target: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[str, bytes, str]] = field(default_factory=list)

    def keep(self, folder: Path) -> list[Path]:
        """Write the failures down, one file each; the bytes alone are in a file of their own."""
        kept = []
        for name, raw, story in self.failures:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{name.replace(' ', '-')}-{sha256(raw).hexdigest()[:12]}"
            path.with_suffix(".bin").write_bytes(raw)
            path.with_suffix(".txt").write_text(story)
            kept.append(path.with_suffix(".bin"))
        return kept


def fuzz(targets: Sequence[Target], seed: int, go_on: Callable[[int], bool], failures: int = 20) -> Tried:
    """Feed all targets in turn with changed seeds while `go_on(inputs so far)`, or until there are enough failures."""
    random, tried = Random(seed), Tried()
    while go_on(tried.inputs) and len(tried.failures) < failures:
        for target in targets:
            raw = random.choice(target.seeds)
            if random.random() < 0.9:  # now and then a valid one, so that books are live
                raw = mutated(raw, random, target.seeds)
            tried.inputs += 1
            tried.by_target[target.name] = tried.by_target.get(target.name, 0) + 1
            try:
                target.take(raw, random)
            except target.raises:
                continue
            except Exception:
                tried.failures.append((target.name, raw, traceback.format_exc()))
    return tried


def targets(fixtures: Path | None, scratch: Path) -> list[Target]:
    """All parsers: each market of each venue, over the socket and over REST, sessions, lists, cursors and captures."""
    found: list[Target] = []
    for package, folders, feeds in _venues():
        venue = package.__name__.rpartition(".")[2]
        seeds = [*examples(package), *(recorded(fixtures, folders) if fixtures else ())]
        addresses = _addresses(package)
        for name, make in feeds.items():
            found.append(Target(f"{venue} {name} socket", Socket(make), seeds))
            found.append(Target(f"{venue} {name} rest", Answers(make, addresses), seeds))
        if package is deribit:
            found += _deribit(seeds)
    found.append(Target("cursor", lambda raw, _: _read_cursor(raw), [_CURSOR], (BadCursor,)))
    return found + _captures(scratch, [one for target in found for one in target.seeds[:5]])


def examples(package: ModuleType) -> list[bytes]:
    """The messages that stand as examples in the comments and docstrings of a venue's modules."""
    assert package.__file__
    found: list[bytes] = []
    for path in sorted(Path(package.__file__).parent.glob("*.py")):
        text, lines = b"", 0
        for line in path.read_bytes().splitlines():
            content = line.strip().removeprefix(b"#").strip()
            if not text and not content.startswith((b"{", b"[")):
                continue
            text, lines = text + content, lines + 1
            if _is_message(text):
                found.append(text)
            elif content and lines < LONGEST_EXAMPLE:
                continue
            text, lines = b"", 0
    return found


def recorded(fixtures: Path, folders: Sequence[str]) -> list[bytes]:
    """Recorded messages: of single payloads all, of long recordings some from all over."""
    found: list[bytes] = []
    for path in sorted(path for folder in folders for path in (fixtures / folder).rglob("*.*json")):
        if path.suffix == ".json":
            found.append(path.read_bytes())
            continue
        lines = path.read_bytes().splitlines()
        for line in lines[:: max(1, len(lines) // RECORDED)]:
            whole = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            if "recv" not in whole:
                found.append(line)
            elif "data" in whole:
                found.append(bytes(whole["data"]))
    return [one for one in found if len(one) <= LONGEST_SEED]


class Socket:
    """Pushes messages into a feed and looks at what comes out."""

    def __init__(self, make: Callable[[bool], Any]) -> None:
        self._make = make
        self._feed, self._left = make(False), KEPT_ALIVE

    def __call__(self, raw: bytes, random: Random) -> None:
        if not self._left:
            self._feed, self._left = self._make(random.random() < 0.2), KEPT_ALIVE
        self._left -= 1
        feed = self._feed
        check(raw, feed.push(raw, RECV, connection=0), feed.books)
        if not isinstance(feed.stream_of(raw), str):
            raise Wrong("stream_of")
        if random.random() < 0.01:
            check(raw, feed.reopened(RECV), feed.books)


class Answers:
    """The same for answers of REST, to addresses that are changed too."""

    def __init__(self, make: Callable[[bool], Any], addresses: Sequence[str]) -> None:
        self._make, self._addresses = make, addresses
        self._feed, self._left = make(False), KEPT_ALIVE

    def __call__(self, raw: bytes, random: Random) -> None:
        if not self._left:
            self._feed, self._left = self._make(random.random() < 0.2), KEPT_ALIVE
        self._left -= 1
        url = random.choice(self._addresses)
        if random.random() < 0.1:
            url = mutated(url.encode(), random, [b"http://[", b"?symbol=&"]).decode("utf-8", "replace")
        check(raw, self._feed.answer(url, raw, RECV), self._feed.books)


def check(raw: bytes, made: Sequence[Outcome], books: dict[str, BookState]) -> None:
    """Outcomes are outcomes, JSON leaves records as they are, dead letters are whole, live books are not crossed."""
    for one in made:
        if not isinstance(one, _OUTCOMES):
            raise Wrong(f"{one!r} is no outcome")
        if isinstance(one, DeadLetter):
            if one.raw != raw or not one.cause:
                raise Wrong(f"a dead letter that lost something: {one!r}")
        elif isinstance(one, (*_RECORDS, Gap)) and _decode(msgspec.json.encode(one)) != one:
            raise Wrong(f"a record that JSON changes: {one!r}")
    for name, state in books.items():
        if state.status == "live" and state.book.crossed:
            raise Wrong(f"the book {name} is crossed and live")


def _venues() -> Iterator[tuple[ModuleType, list[str], dict[str, Callable[[bool], Any]]]]:
    spot, usdm, coinm, options = "binance-spot", "binance-usdm", "binance-coinm", "binance-options"
    of_binance: dict[str, Callable[[bool], Any]] = {
        market: lambda strict, market=market: BinanceFeed(market, Instruments("binance"), strict=strict)  # type: ignore[misc]
        for market in MARKETS
    }
    yield binance, [spot, usdm, coinm, options], of_binance
    yield okx, ["okx"], {"all": lambda strict: OkxFeed(None, Instruments("okx"), strict=strict)}
    yield (
        deribit,
        ["deribit"],
        {
            "all": lambda strict: DeribitFeed(None, Instruments("deribit"), strict=strict),
            "without books": lambda strict: DeribitFeed(None, Instruments("deribit"), strict=strict, books=False),
        },
    )


def _addresses(package: ModuleType) -> list[str]:
    """Addresses of all that the venue's modules know by name, about instruments of several kinds."""
    assert package.__file__
    words: set[str] = set()
    for path in sorted(Path(package.__file__).parent.glob("*.py")):
        words |= set(re.findall(r'"([A-Za-z_/-]{4,60})"', path.read_text()))
    names = ["ABCUSDT", "ABCUSD_PERP", "ABC-USDT", "ABC-USDT-SWAP", "ABC-PERPETUAL", "BTC-PERPETUAL", ""]
    bases = ["https://host.example/api/v3/", "https://host.example/api/v5/", "https://host.example/api/v2/public/"]
    return [
        f"{base}{word}?symbol={name}&instId={name}&instrument_name={name}&interval=1m&bar=1m&resolution=1&instType=SWAP"
        for word in sorted(words)
        for base in bases
        for name in names
    ] + [""]


def _deribit(seeds: Sequence[bytes]) -> list[Target]:
    def session(raw: bytes, _: Random) -> None:
        one = Session()
        one.subscribe(["quote.ABC-PERPETUAL"])
        one.check(raw)

    return [
        Target("deribit session", session, seeds),
        Target("deribit error", lambda raw, _: check(raw, [one] if (one := error_of(raw)) else [], {}), seeds),
        Target("deribit list", lambda raw, _: _use(parse_instruments(raw)), seeds, (BadInstruments,)),
    ]


_CURSOR = Cursor("deribit trades ABC-PERPETUAL", 1, 9, 5, ("7", "8"), "9").text().encode()


def _read_cursor(raw: bytes) -> None:
    read = Cursor.read(raw)
    if Cursor.read(read.text()) != read:
        raise Wrong(f"a cursor that text changes: {read!r}")


def _captures(scratch: Path, messages: Sequence[bytes]) -> list[Target]:
    """Files of captures, of our own and of other recorders; what is in them is changed before it is compressed."""
    compact = [one for one in messages if b"\n" not in one]
    lines = b"".join(b'{"recv":"1700000000.%d","dir":"in","data":%s}\n' % (n, raw) for n, raw in enumerate(compact))
    timed = b"".join(b"1700000000000000%03d %s\n" % (n, raw) for n, raw in enumerate(compact))
    entries = b"".join(ENTRY.pack(n, NUMBERS["in"], 0, 0, len(raw)) + raw for n, raw in enumerate(compact))
    header = zstandard.compress(msgspec.json.encode(Header(VERSION, "deribit", "option")))

    def reads(suffix: str, packed: Callable[[bytes], bytes]) -> Callable[[bytes, Random], None]:
        path = scratch / f"fuzzed{suffix}"

        def read(raw: bytes, random: Random) -> None:
            path.write_bytes(packed(raw) if random.random() < 0.9 else mutated(packed(raw), random, [raw]))
            capture = open_capture(path)
            list(capture.entries())
            capture.venue()

        return read

    allowed = (BadCapture, UnknownVenue)
    return [
        Target("capture ndjson", reads(".ndjson", bytes), [lines], allowed),
        Target("capture txt.gz", reads(".txt.gz", partial(gzip.compress, mtime=0)), [timed], allowed),
        Target("capture own", reads(SUFFIX, lambda raw: header + zstandard.compress(raw)), [entries], allowed),
    ]


def _is_message(text: bytes) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict | list) for one in value))


def _use(_: object) -> None:
    return None
