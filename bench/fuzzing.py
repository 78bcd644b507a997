"""Wrong bytes for every parser of the exchanges: whatever goes in, records and named outcomes come out.

A target takes bytes and raises only what it names. The bytes are valid messages changed at random: those that stand as
examples above the parsers, and recorded ones where there are any. The same seed gives the same bytes.
"""

import gzip
import json
import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, get_args

import msgspec
import zstandard

from bench.fuzz_mutations import mutated
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.books import BookState
from marketdata_assets.exchanges.captures.capture import open_capture
from marketdata_assets.exchanges.captures.native_format import ENTRY, NUMBERS, SUFFIX, VERSION, Header
from marketdata_assets.exchanges.errors import BadCapture, BadCursor, ExchangesError, UnknownVenue
from marketdata_assets.exchanges.instruments import Instruments
from marketdata_assets.exchanges.records import AnyRecord, DeadLetter, Gap, MarketType, Outcome
from marketdata_assets.exchanges.rest_history import Cursor
from marketdata_assets.exchanges.venue import Venue

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
NAMES = ("ABCUSDT", "ABCUSD_PERP", "ABC-USDT", "ABC-USDT-SWAP", "ABC-PERPETUAL", "BTC-PERPETUAL", "")
MOST_KEYS = 20


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
    for venue in venues.every():
        package = import_module(venue.feed.__module__.rpartition(".")[0])
        seeds = [*examples(package), *(recorded(fixtures, venue.fixtures) if fixtures else ())]
        addresses = _addresses(package, venue)
        for name, make in _feeds(venue).items():
            found.append(Target(f"{venue.name} {name} socket", Socket(make), seeds))
            found.append(Target(f"{venue.name} {name} rest", Answers(make, addresses), seeds))
        found += [Target(f"{venue.name} {name} replies", Replies(venue, name), seeds) for name in venue.markets]
        found.append(Target(f"{venue.name} error", partial(_read_error, venue), seeds))
        found.append(Target(f"{venue.name} capture", lambda raw, _, venue=venue: _use(venue.recognise(raw)), seeds))  # type: ignore[misc]
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
            if one.raw not in raw or bool(one.raw) != bool(raw) or not one.cause:  # of a list, an entry alone
                raise Wrong(f"a dead letter that lost something: {one!r}")
        elif isinstance(one, (*_RECORDS, Gap)) and _decode(msgspec.json.encode(one)) != one:
            raise Wrong(f"a record that JSON changes: {one!r}")
    for name, state in books.items():
        if state.status == "live" and state.book.crossed:
            raise Wrong(f"the book {name} is crossed and live")


class Replies:
    """Reads messages as answers of a socket to subscriptions, as the collector does."""

    def __init__(self, venue: Venue, market_type: MarketType) -> None:
        self._adapter = venue.adapter(venue, market_type)
        self._feed = venue.feed(market_type, strict=False)
        self._keys: list[str] = []
        for name in NAMES:
            try:
                instrument = self._feed.instruments[name]
            except ExchangesError:
                continue
            types = venue.markets[market_type].data_types
            self._keys += [one.key for one in self._adapter.subscriptions(instrument, types)]

    def __call__(self, raw: bytes, _: Random) -> None:
        session = self._adapter.socket_session()
        session.hello()
        session.subscribe(self._keys[:MOST_KEYS])
        session.read_reply(raw, self._feed.push(raw, RECV))
        if raw.startswith(self._adapter.data_prefix):
            self._adapter.key_of(self._adapter.channel_of(raw))


def _feeds(venue: Venue) -> dict[str, Callable[[bool], Any]]:
    """A feed of each market; where a socket carries all, one of all."""

    def make(market_type: MarketType | None) -> Callable[[bool], Any]:
        return lambda strict: venue.feed(market_type, Instruments(venue.name), strict=strict)

    if venue.shared_socket:
        return {"all": make(None)}
    return {market_type: make(market_type) for market_type in venue.markets}


def _read_error(venue: Venue, raw: bytes, _: Random) -> None:
    check(raw, [one] if (one := venue.error_of(raw)) else [], {})


def _addresses(package: ModuleType, venue: Venue) -> list[str]:
    """Addresses of all that the venue's modules know by name, about instruments of several kinds."""
    assert package.__file__
    words: set[str] = set()
    for path in sorted(Path(package.__file__).parent.glob("*.py")):
        words |= set(re.findall(r'"([A-Za-z_/-]{4,60})"', path.read_text()))
    hosts = sorted({market.rest for market in venue.markets.values()})
    bases = [
        *(f"{host}/" for host in hosts),
        *(f"https://host.example/api/{path}/" for path in ("v3", "v5", "v2/public")),
    ]
    query = "symbol={0}&instId={0}&instrument_name={0}&coin={0}&type={1}&interval=1m&bar=1m&resolution=1&instType=SWAP"
    return [
        f"{base}{word}?{query.format(name, word)}&category=linear"
        for word in sorted(words)
        for base in bases
        for name in NAMES
    ] + [""]


_CURSOR = Cursor("sample trades ABC-PERPETUAL", 1, 9, 5, ("7", "8"), "9").text().encode()


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
    header = zstandard.compress(msgspec.json.encode(Header(VERSION, "sample", "option")))

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
