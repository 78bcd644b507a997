"""Invented traffic of one instrument, spot or USD-M: diffs, their snapshots, and a plain book to compare with."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from marketdata_assets.exchanges.binance.feed import BinanceFeed
from marketdata_assets.exchanges.records import Gap, MarketType, OrderBook, Outcome

NAME = "ABCUSDT"
URL = "https://api.example/depth?symbol=ABCUSDT&limit=1000"
Change = tuple[str, int, str]
"""bid or ask, ticks from the middle, size."""


@dataclass
class Plain:
    """The book that diffs make, kept in the plainest way."""

    bids: dict[Decimal, Decimal] = field(default_factory=dict)
    asks: dict[Decimal, Decimal] = field(default_factory=dict)

    def take(self, side: str, levels: Iterable[Sequence[str]]) -> None:
        at = self.bids if side == "b" else self.asks
        for price, size in levels:
            at.pop(Decimal(price), None)
            if Decimal(size):
                at[Decimal(price)] = Decimal(size)

    def levels(self) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())


@dataclass
class Traffic:
    """Diffs that follow one another, and the book before each of them."""

    market_type: MarketType
    diffs: list[dict[str, Any]]
    before: list[Plain]

    def raw(self, number: int) -> bytes:
        return json.dumps(self.diffs[number], separators=(",", ":")).encode()

    def snapshot(self, number: int) -> bytes:
        """The book after so many diffs."""
        first = self.diffs[0]
        last = self.diffs[number - 1]["u"] if number else first.get("pu", first["U"] - 1)
        bids, asks = self.before[number].levels()
        told = {"lastUpdateId": last, "T": 1_700_000_000_000} | {
            name: [[str(price), str(size)] for price, size in side] for name, side in (("bids", bids), ("asks", asks))
        }
        return json.dumps(told).encode()


@st.composite
def traffic(draw: st.DrawFn, least: int = 6, most: int = 14) -> Traffic:
    """Diffs of a few levels; bids stay below 100 and asks above it."""
    market_type: MarketType = draw(st.sampled_from(["spot", "linear"]))
    book = Plain()
    book.take("b", [["99.5", "1"], ["99.0", "2.50"]])
    book.take("a", [["100.5", "1"], ["101.0", "0.70"]])
    diffs: list[dict[str, Any]] = []
    before = [Plain(dict(book.bids), dict(book.asks))]
    last = draw(st.integers(100, 10_000))
    for number in range(draw(st.integers(least, most))):
        step = draw(st.integers(1, 4))
        skipped = draw(st.integers(0, 3)) if market_type == "linear" else 0
        diff: dict[str, Any] = {"e": "depthUpdate", "E": 1_700_000_000_000 + number, "s": NAME}
        diff |= {"U": last + 1 + skipped, "u": last + skipped + step}
        if market_type == "linear":
            diff |= {"T": 1_700_000_000_000 + number, "pu": last}
        for side, sign in (("b", -1), ("a", 1)):
            changes = draw(
                st.lists(st.tuples(st.integers(1, 20), st.integers(0, 5)), max_size=3, unique_by=lambda c: c[0])
            )
            diff[side] = [[f"{100 + sign * ticks / 10:.2f}", f"{size}.00"] for ticks, size in changes]
            book.take(side, diff[side])
        last = diff["u"]
        diffs.append(diff)
        before.append(Plain(dict(book.bids), dict(book.asks)))
    return Traffic(market_type, diffs, before)


@dataclass
class Run:
    """A feed, and what it said so far."""

    feed: BinanceFeed
    said: list[Outcome] = field(default_factory=list)
    clock: int = 0

    @classmethod
    def of(cls, market_type: MarketType) -> "Run":
        return cls(BinanceFeed(market_type, strict=False))

    def push(self, raw: bytes, connection: int = 0) -> list[Outcome]:
        self.clock += 1
        made = self.feed.push(raw, self.clock, connection=connection)
        self.said += made
        return made

    def answer(self, raw: bytes, url: str = URL) -> list[Outcome]:
        self.clock += 1
        made = self.feed.answer(url, raw, self.clock)
        self.said += made
        return made

    @property
    def gaps(self) -> list[Gap]:
        return [one for one in self.said if isinstance(one, Gap)]

    @property
    def books(self) -> list[OrderBook]:
        return [one for one in self.said if isinstance(one, OrderBook)]


def same(feed: BinanceFeed, plain: Plain) -> bool:
    """Whether the book of a feed is that one."""
    return rebuilt(feed.books[NAME].book.levels()) == plain.levels()


def rebuilt(levels: tuple[Iterable[Sequence[str]], Iterable[Sequence[str]]]) -> tuple[Any, Any]:
    bids, asks = levels
    return [(Decimal(p), Decimal(s)) for p, s in bids], [(Decimal(p), Decimal(s)) for p, s in asks]
