"""Exchanges: messages to records and books per CPU second, against cryptofeed and the bare typed decode."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from bench import exchange_messages
from bench.exchange_messages import DEEP, SYMBOL, Messages
from bench.exchange_peers import Peer
from bench.exchange_venues import BARE, MARKETS, OTHERS
from bench.figure import Figure, Target, spread
from bench.peers import NoPeer
from bench.size import sized
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.binance.instruments import named
from marketdata_assets.exchanges.books import Feed
from marketdata_assets.exchanges.records import Trade
from marketdata_assets.exchanges.replay import feed_of

TRADES = sized(50_000, 512)
UPDATES = sized(15_000, 200)
LEVELS = 20
A_READ = 256
"""So many trades fill the 64 KB that one read of a socket brings at most."""
ROUNDS = sized(5, 1)
PER_S: Target = (">=", 100_000)
NOW = 1_723_000_000_000_000_000
DEPTH_URL = f"https://api.binance.com/api/v3/depth?symbol={SYMBOL}&limit=1000"


@dataclass
class Rates:
    """Messages per CPU second of each round: bare decode, ours, the peer's."""

    count: int
    bare: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)

    def against(self, others: list[float]) -> list[float]:
        return [one / other for one, other in zip(self.ours, others, strict=True)]


def figures() -> Iterator[Figure]:
    """All figures of the domain; those of recorded messages only where the fixtures are."""
    shaped = exchange_messages.shaped(TRADES, UPDATES, LEVELS)
    sets = [shaped, *(make(shaped) for make in OTHERS), exchange_messages.recorded()]
    there = [one for one in sets if one]
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        for one in there:
            one.write(folder / one.name)
        (folder / "symbols").write_text(json.dumps(_symbols(there)))
        peer, why_not = _peer(folder)
        version = f"cryptofeed {peer.version}" if peer else why_not
        with peer or nullcontext():
            for one in there:
                yield from trade_figures(one, _rates(one, "trades", peer), version)
                yield from update_figures(one, _rates(one, "updates", peer), version)


def trade_figures(messages: Messages, rates: Rates, version: str) -> Iterator[Figure]:
    """Bytes of a trade to a record to bytes of JSON."""
    base = (
        f"{rates.count:,} {_named(messages)} trades, bytes to record to JSON, {A_READ} a read, "
        f"{ROUNDS} interleaved rounds"
    )
    begin = _begin(messages)
    target = 4 if messages.venue == "binance" else None
    yield _ratio(f"{begin}trade_json_vs_cryptofeed", rates, target, f"{base}; {version}")
    yield _distance(f"{begin}trade_json_vs_bare_decode", rates, base)


def update_figures(messages: Messages, rates: Rates, version: str) -> Iterator[Figure]:
    """Bytes of an update to a book, with its sequence check, its record and its best prices."""
    shape = "as they came" if messages.name == "recorded" else f"{LEVELS} levels each, into a book of 2 x {DEEP}"
    base = (
        f"{rates.count:,} {_named(messages)} depth updates, {shape}, with sequence check, record and best "
        f"prices after each, {ROUNDS} interleaved rounds"
    )
    begin = _begin(messages)
    target = PER_S if messages.name == "shaped" else None
    detail = f"{base}; {spread(rates.ours, 0)}"
    yield Figure(f"{begin}depth_per_cpu_s", median(rates.ours), "updates/CPU s", target, detail)
    ratio = 2.5 if messages.venue == "binance" else None
    yield _ratio(f"{begin}depth_vs_cryptofeed", rates, ratio, f"{base}; {version}")
    yield _distance(f"{begin}depth_vs_bare_decode", rates, base)


def _named(messages: Messages) -> str:
    return f"{messages.name} Binance" if messages.venue == "binance" else f"shaped {venues.find(messages.venue).title}"


def _begin(messages: Messages) -> str:
    return "exchanges." if messages.name == "shaped" else f"exchanges.{messages.name}_"


def _ratio(name: str, rates: Rates, least: float | None, detail: str) -> Figure:
    """Our speed in that of the peer; 0 when there is no peer, so that the figure does not hold."""
    target: Target | None = None if least is None else (">=", least)
    if not rates.peer:
        return Figure(name, 0.0, "x", target, f"not measured: {detail}")
    ratios = rates.against(rates.peer)
    speeds = f"ours {median(rates.ours):,.0f}/CPU s, theirs {median(rates.peer):,.0f}"
    return Figure(name, median(ratios), "x", target, f"{detail}; {speeds}; {spread(ratios)}")


def _distance(name: str, rates: Rates, detail: str) -> Figure:
    ratios = rates.against(rates.bare)
    speed = f"the typed decode alone {median(rates.bare):,.0f}/CPU s"
    return Figure(name, median(ratios), "x speed of the bare decode", None, f"{detail}; {speed}; {spread(ratios)}")


def _peer(folder: Path) -> tuple[Peer | None, str]:
    try:
        return Peer(folder), ""
    except NoPeer as error:
        return None, str(error)


def _symbols(sets: list[Messages]) -> dict[str, str]:
    """The venue's names of all instruments by ours, which the peer would ask a server for."""
    binance = [one for one in sets if one.venue == "binance"]
    names = {msgspec.json.decode(raw)["data"]["s"] for one in binance for raw in {*one.trades, one.updates[0]}}
    found = [(named("spot", name), name) for name in sorted(names)]
    return {one.symbol: name for one, name in found if one}


def _rates(messages: Messages, kind: str, peer: Peer | None) -> Rates:
    """All in turn, each once before it counts; the peer must have made what we made."""
    raws = messages.trades if kind == "trades" else messages.updates
    decode = msgspec.json.Decoder(BARE[messages.venue, kind]).decode
    rates = Rates(len(raws))
    for number in range(ROUNDS + 1):
        bare_s = _decoded(decode, raws)
        ours_s, last = _to_json(messages) if kind == "trades" else _to_books(messages)
        theirs = peer.round(messages.name, kind) if peer else None
        if theirs:
            assert _same(theirs["last"], last), (theirs["last"], last)
        if number:
            rates.bare.append(len(raws) / bare_s)
            rates.ours.append(len(raws) / ours_s)
            if theirs:
                rates.peer.append(len(raws) / theirs["cpu_s"])
    return rates


def _decoded(decode: Callable[[bytes], Any], raws: list[bytes]) -> float:
    started = time.process_time()
    for raw in raws:
        decode(raw)
    return time.process_time() - started


def _to_json(messages: Messages) -> tuple[float, bytes]:
    raws = messages.trades
    push, encode = _feed(messages).push_all, msgspec.json.Encoder().encode_lines
    reads = [raws[begin : begin + A_READ] for begin in range(0, len(raws), A_READ)]
    lines = b""
    started = time.process_time()
    for read in reads:
        lines = encode(push(read, NOW))
    return time.process_time() - started, lines.splitlines()[-1]


def _to_books(messages: Messages) -> tuple[float, Any]:
    """As live: Binance's first update shows that a snapshot is wanted, what was before it is passed over."""
    feed, raws = _feed(messages), messages.updates
    feed.push(raws[0], NOW)
    if messages.snapshot:
        feed.answer(DEPTH_URL, messages.snapshot, NOW)
    [state] = feed.books.values()
    push = feed.push
    started = time.process_time()
    for raw in raws[1:]:
        push(raw, NOW)
        state.book.bbo()
    cpu_s = time.process_time() - started
    assert (state.status, state.gaps) == ("live", 0)
    assert state.applied >= len(raws) - 5
    return cpu_s, state.book.bbo()


def _feed(messages: Messages) -> Feed:
    return feed_of(messages.venue, MARKETS[messages.venue], "the bench")


def _same(theirs: Any, ours: Any) -> bool:
    """The last trade, or the last best prices, are the same."""
    if isinstance(ours, bytes):
        record, told = msgspec.json.decode(ours, type=Trade), json.loads(theirs)
        prices = Decimal(told["price"]), Decimal(told["amount"])
        return (told["id"], told["side"], *prices) == (
            record.trade_id,
            record.side,
            Decimal(record.price),
            Decimal(record.size or 0),
        )
    return [[Decimal(part) for part in level] for level in theirs] == [
        [Decimal(part) for part in level] for level in ours
    ]
