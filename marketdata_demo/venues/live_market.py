"""An invented market of one instrument: trades with ids, a book whose changes follow one another, candles of a minute.

Whole numbers inside: prices are hundredths, sizes are thousandths. The same seed and times make the same market.
"""

import random
from dataclasses import dataclass, field
from decimal import Decimal

MINUTE = 60_000
LEVELS = 40  # ticks on each side that changes are about


@dataclass(frozen=True)
class Made:
    """One trade."""

    number: int
    ts: int  # ms, by the venue's clock
    price: str
    size: str
    side: str  # of the taker
    at_ns: int = 0  # when it was made, by the clock of this machine


@dataclass(frozen=True)
class Happened:
    """A trade that a history only has to count: when, ms, and its number."""

    ts: int
    number: int


@dataclass(frozen=True)
class Level:
    price: str
    size: str
    action: str  # new, change, delete


@dataclass(frozen=True)
class Change:
    """What changed in a book."""

    first: int
    last: int
    prev: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    ts: int
    at_ns: int = 0


@dataclass
class Candle:
    """A minute of trades."""

    start: int  # ms
    open: int
    high: int
    low: int
    close: int
    volume: int = 0  # thousandths
    bought: int = 0  # by takers
    worth: int = 0  # hundred thousandths of the quote currency
    bought_worth: int = 0
    trades: int = 0
    closed: bool = False

    def take(self, price: int, size: int, side: str) -> None:
        self.high, self.low, self.close = max(self.high, price), min(self.low, price), price
        self.volume += size
        self.worth += size * price
        self.trades += 1
        if side == "buy":
            self.bought += size
            self.bought_worth += size * price


@dataclass
class Source:
    """What happened since somebody wanted to know of it: all of it, sent or not."""

    trades: dict[str, list[Made]] = field(default_factory=dict)
    changes: dict[str, list[Change]] = field(default_factory=dict)
    candles: dict[str, list[Candle]] = field(default_factory=dict)  # closed ones

    def ids(self) -> set[tuple[str, int]]:
        """Instrument and number of each trade."""
        return {(name, one.number) for name, made in self.trades.items() for one in made}


class Market:
    """One instrument, the `index`th of its venue. `whole` sizes are contracts, and have no decimals."""

    def __init__(self, name: str, seed: int, index: int = 0, *, skips: bool = False, whole: bool = False) -> None:
        self.name = name
        self._random = random.Random(f"{seed} {name}")
        self._skips, self._whole = skips, whole
        self._middle = self._random.randrange(5_000, 50_000)
        self.bids = {self._middle - 1 - n: self._size() for n in range(LEVELS // 2)}
        self.asks = {self._middle + 1 + n: self._size() for n in range(LEVELS // 2)}
        self.last_id = self._random.randrange(1_000_000, 2_000_000)
        self.number = 10_000_000 * (index + 1) + self._random.randrange(1_000_000)  # of the last trade
        self.last_price = self._middle
        self.candle: Candle | None = None
        self.recent: list[Made] = []  # every trade

    def price(self, ticks: int) -> str:
        return f"{ticks // 100}.{ticks % 100:02}"

    def size(self, thousandths: int) -> str:
        return f"{thousandths // 1000}" if self._whole else f"{thousandths // 1000}.{thousandths % 1000:03}"

    def worth(self, hundred_thousandths: int) -> str:
        return f"{Decimal(hundred_thousandths).scaleb(-5):f}"

    def trade(self, ts: int, at_ns: int) -> tuple[Made, Candle | None]:
        """The next trade, and the candle that it closes."""
        side = "buy" if self._random.random() < 0.5 else "sell"
        ticks, size = min(self.asks) if side == "buy" else max(self.bids), self._size()
        self.number += 1
        self.last_price = ticks
        made = Made(self.number, ts, self.price(ticks), self.size(size), side, at_ns)
        self.recent.append(made)
        done = self.close(ts)
        if self.candle is None:
            self.candle = Candle(ts - ts % MINUTE, ticks, ticks, ticks, ticks)
        self.candle.take(ticks, size, side)
        return made, done

    def close(self, ts: int) -> Candle | None:
        """The candle in progress, once its minute has ended."""
        done = self.candle
        if done is None or ts < done.start + MINUTE:
            return None
        done.closed, self.candle = True, None
        return done

    def change(self, ts: int, at_ns: int) -> Change:
        """The next change of the book, which is never empty and never crossed."""
        self._middle += self._random.choice((-1, 0, 0, 0, 1))
        bids = self._side(self.bids, -1, [price for price in self.bids if price >= self._middle])
        asks = self._side(self.asks, 1, [price for price in self.asks if price <= self._middle])
        prev = self.last_id
        first = prev + 1 + (self._random.randrange(4) if self._skips else 0)
        self.last_id = first + self._random.randrange(3)
        return Change(first, self.last_id, prev, bids, asks, ts, at_ns)

    def levels(self, most: int = 1000) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """The book, best first."""
        bids, asks = sorted(self.bids.items(), reverse=True)[:most], sorted(self.asks.items())[:most]
        return [self._told(*one) for one in bids], [self._told(*one) for one in asks]

    def best(self) -> tuple[tuple[str, str], tuple[str, str]]:
        bid, ask = max(self.bids), min(self.asks)
        return self._told(bid, self.bids[bid]), self._told(ask, self.asks[ask])

    def _told(self, ticks: int, size: int) -> tuple[str, str]:
        return self.price(ticks), self.size(size)

    def _side(self, side: dict[int, int], sign: int, crossed: list[int]) -> tuple[Level, ...]:
        changed = dict.fromkeys(crossed, 0)
        for _ in range(self._random.randrange(1, 4)):
            ticks = self._middle + sign * self._random.randrange(1, LEVELS)
            gone = ticks in side and self._random.random() < 0.3
            changed[ticks] = 0 if gone else self._size()
        nearest = self._middle + sign
        if changed.get(nearest, side.get(nearest, 0)) == 0:
            changed[nearest] = self._size()  # a side has a best level, whatever goes
        return tuple(self._apply(side, ticks, size) for ticks, size in changed.items())

    def _apply(self, side: dict[int, int], ticks: int, size: int) -> Level:
        action = ("change" if ticks in side else "new") if size else "delete"
        if size:
            side[ticks] = size
        else:
            del side[ticks]
        return Level(self.price(ticks), self.size(size), action)

    def _size(self) -> int:
        size = self._random.randrange(1, 50_000)
        return size * 1000 if self._whole else size
