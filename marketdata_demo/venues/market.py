"""An invented market: trades, minute bars and books of two coins, from a seed. How a venue says it is not in here.

Nothing here is market data. Equal plans give equal markets; prices are ticks and sizes lots, both whole numbers.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.records import Exchange, Side

MINUTE_MS, SECOND_MS = 60_000, 1000
NS = 1_000_000
LEVELS = 8
"""Of each side of a book."""

DELAY_MS = 40
"""A message is received so long after the venue's clock, at least."""

SAME_MOMENT = 0.08
"""The share of trades that are made in the same millisecond as the one before."""


@dataclass(frozen=True)
class Coin:
    """A coin that no venue lists. `quiet` are minutes in which nobody trades, of every hour."""

    name: str
    price: int  # ticks of a tenth
    rate: float  # trades a minute
    quiet: tuple[int, ...] = ()


COINS = (Coin("SMPL", 4_000, 24.0), Coin("DEMO", 120_500, 9.0, quiet=(7, 8, 31)))
VENUES: tuple[Exchange, ...] = tuple(venue.name for venue in venues.every() if venue.sample)


@dataclass(frozen=True)
class Fill:
    """A trade; `parts` are the single trades that a venue may tell of in one, the last of them is `number`."""

    number: int
    at: int  # ms
    price: int  # ticks
    lots: int
    side: Side  # of the taker
    parts: int


@dataclass(frozen=True)
class Bar:
    """The trades of a minute; one without trades has the close before it in all prices."""

    at: int  # ms
    open: int
    high: int
    low: int
    close: int
    fills: tuple[Fill, ...]

    @property
    def lots(self) -> int:
        return sum(fill.lots for fill in self.fills)

    @property
    def turnover(self) -> int:
        """Ticks times lots."""
        return sum(fill.lots * fill.price for fill in self.fills)

    @property
    def bought(self) -> tuple[int, int]:
        """Lots and turnover of takers who bought."""
        fills = [fill for fill in self.fills if fill.side == "buy"]
        return sum(fill.lots for fill in fills), sum(fill.lots * fill.price for fill in fills)


@dataclass(frozen=True)
class Book:
    """A book after a second: lots by price, and what changed since the second before, 0 where a level went."""

    at: int  # ms
    bids: dict[int, int]
    asks: dict[int, int]
    changed_bids: dict[int, int]
    changed_asks: dict[int, int]


@dataclass(frozen=True)
class Plan:
    """What is invented. `start` is a full minute, UTC.

    One change of the first coin's book on Binance never arrives, in the middle, unless `whole`; neither do the
    messages of so many of its trades there as `lost_trades` says, a minute later. Bars of the venue know of them.
    """

    start: dt.datetime
    minutes: int = 30
    seed: int = 7
    coins: Sequence[Coin] = COINS
    whole: bool = False
    lost_trades: int = 0

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.start.timestamp() % 60:
            raise ValueError(f"a market that begins at {self.start}; begin at a full minute, with a time zone")
        if self.minutes < 4:
            raise ValueError(f"a market of {self.minutes} minutes; 4 are the fewest")

    @property
    def first(self) -> int:
        """The first moment, ms."""
        return int(self.start.timestamp()) * SECOND_MS

    @property
    def end(self) -> int:
        """The first moment that is no longer in it, ms."""
        return self.first + self.minutes * MINUTE_MS

    @property
    def middle(self) -> int:
        """The second whose change is lost, ms."""
        return self.first + self.minutes // 2 * MINUTE_MS + 20 * SECOND_MS


@dataclass(frozen=True)
class Market:
    """One coin at one venue."""

    plan: Plan
    venue: Exchange
    coin: Coin

    @cached_property
    def fills(self) -> list[Fill]:
        """All trades, in order of time and number."""
        rng = self._rng(1)
        price, number = self.coin.price + int(rng.integers(-20, 21)), int(rng.integers(1000, 90_000))
        made: list[Fill] = []
        for minute in range(self.plan.minutes):
            count = 0 if minute % 60 in self.coin.quiet else int(rng.poisson(self.coin.rate)) or 1
            moments = np.sort(rng.integers(0, MINUTE_MS, count))
            for place in range(count):
                if place and rng.random() < SAME_MOMENT:
                    moments[place] = moments[place - 1]
                price = max(1, price + int(rng.integers(-3, 4)))
                parts = int(rng.choice([1, 1, 1, 2, 3]))
                number += parts
                at = self.plan.first + minute * MINUTE_MS + int(moments[place])
                side: Side = "buy" if rng.random() < 0.5 else "sell"
                made.append(Fill(number, at, price, int(rng.integers(1, 60)) * parts, side, parts))
        return made

    @cached_property
    def bars(self) -> list[Bar]:
        """A bar for every minute."""
        by_minute: dict[int, list[Fill]] = {}
        for fill in self.fills:
            by_minute.setdefault(fill.at // MINUTE_MS, []).append(fill)
        close = self.fills[0].price
        bars = []
        for at in range(self.plan.first, self.plan.end, MINUTE_MS):
            fills = tuple(by_minute.get(at // MINUTE_MS, ()))
            prices = [fill.price for fill in fills] or [close]
            close = prices[-1]
            bars.append(Bar(at, prices[0], max(prices), min(prices), close, fills))
        return bars

    @property
    def lost(self) -> list[Fill]:
        """The trades whose messages never arrive."""
        if self.venue != VENUES[0] or self.coin is not self.plan.coins[0] or not self.plan.lost_trades:
            return []
        after = self.plan.middle + MINUTE_MS
        return [fill for fill in self.fills if fill.at >= after][: self.plan.lost_trades]

    def half(self, bar: Bar) -> Bar | None:
        """What a bar was after half of its minute; null when nothing had been traded."""
        fills = tuple(fill for fill in bar.fills if fill.at < bar.at + MINUTE_MS // 2)
        if not fills:
            return None
        prices = [fill.price for fill in fills]
        return Bar(bar.at, prices[0], max(prices), min(prices), prices[-1], fills)

    def price_before(self, at: int) -> int:
        """The last price before a moment, or at it."""
        number = int(np.searchsorted(self._times, at, side="right"))
        return self.fills[max(0, number - 1)].price

    def books(self) -> Iterator[Book]:
        """The book at every second; the first one has no changes."""
        rng = self._rng(2)
        bids: dict[int, int] = {}
        asks: dict[int, int] = {}
        for at in range(self.plan.first, self.plan.end, SECOND_MS):
            middle = self.price_before(at)
            before = bids, asks
            bids = _side(rng, bids, range(middle - 1, middle - 1 - LEVELS, -1))
            asks = _side(rng, asks, range(middle + 1, middle + 1 + LEVELS))
            yield Book(at, bids, asks, _changes(before[0], bids), _changes(before[1], asks))

    @cached_property
    def _times(self) -> np.ndarray:
        return np.array([fill.at for fill in self.fills])

    def _rng(self, use: int) -> np.random.Generator:
        return np.random.default_rng([self.plan.seed, use, VENUES.index(self.venue), *self.coin.name.encode()])


def markets(plan: Plan, venue: Exchange) -> list[Market]:
    """All coins at one venue."""
    return [Market(plan, venue, coin) for coin in plan.coins]


def totals(bars: Sequence[Bar]) -> Bar:
    """All of these bars in one."""
    fills = tuple(fill for bar in bars for fill in bar.fills)
    high, low = max(bar.high for bar in bars), min(bar.low for bar in bars)
    return Bar(bars[0].at, bars[0].open, high, low, bars[-1].close, fills)


def tenths(ticks: int) -> str:
    """A price as text."""
    return f"{ticks // 10}.{ticks % 10}"


def hundredths(lots: int) -> str:
    """A size as text."""
    return f"{lots // 100}.{lots % 100:02}"


def thousandths(product: int) -> str:
    """Ticks times lots as text."""
    return f"{product // 1000}.{product % 1000:03}"


def _side(rng: np.random.Generator, before: dict[int, int], prices: range) -> dict[int, int]:
    """The side at these prices, best first; two levels have another size than before."""
    other = {prices[int(place)] for place in rng.integers(0, len(prices), 2)}
    sizes = rng.integers(1, 500, len(prices)).tolist()
    return {
        price: size if price in other or price not in before else before[price]
        for price, size in zip(prices, sizes, strict=True)
    }


def _changes(before: dict[int, int], after: dict[int, int]) -> dict[int, int]:
    gone = dict.fromkeys(before.keys() - after.keys(), 0)
    return {price: size for price, size in after.items() if before.get(price) != size} | gone
