"""Where trades, forced orders and candles may be missing: what a lost socket would have brought, and jumps in numbers.

Books keep their own account of that, in their feeds.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from marketdata_assets.collector.connections.speaking import Subscription
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import AnyRecord, Gap, Trade

NS = 1_000_000_000

STRAYS = 50
"""So many numbers in a row from before the last one: the venue counts anew."""

TAGS = ("trade", "liquidation", "kline")
"""What is missed for good when it is missed. All else is a state that the next message tells again, as is a candle
until it is closed."""

LATE = 5 * NS
"""So long after its end a candle may be told."""


@dataclass
class Hole:
    """A stream that nobody listened to for a while."""

    one: Instrument
    stream: str
    cause: str
    ts_from: int
    last_id: int | None
    every: int = 0  # ns, the length of a candle
    confirmed_at: int = 0  # ns, when somebody listened again
    told: Gap | None = None

    def matters(self, until: int) -> bool:
        """Whether anything can be missing: of candles, one that was closed meanwhile."""
        return not self.every or (self.ts_from - LATE) // self.every != until // self.every

    def gap(self, next_id: int | None, ts_to: int) -> Gap:
        one, ids = self.one, (self.last_id, next_id)
        return Gap(
            one.exchange, one.market_type, one.symbol, one.name, self.stream, *ids, self.ts_from, ts_to, self.cause
        )


@dataclass
class Holes:
    """The holes of one market. `numbered` trades have numbers without holes."""

    stream: str  # of trades
    numbered: bool
    find: Callable[[str], Instrument]
    wait: float  # seconds
    open: dict[tuple[str, str], Hole] = field(default_factory=dict)  # by tag, or stream of candles, and instrument
    _unheard: dict[str, list[Hole]] = field(default_factory=dict)  # by subscription
    _tail: dict[str, Trade] = field(default_factory=dict)  # the last one
    _number: dict[str, int] = field(default_factory=dict)
    _strays: dict[str, int] = field(default_factory=dict)

    def trade(self, one: Trade) -> Gap | bool:
        """Take note of a trade. False: it came before already. A gap: something is missing between it and the last."""
        name = one.instrument
        if not self.numbered:
            self._tail[name] = one
            return self.first("trade", one) if self.open else True
        number, before = int(one.trade_id), self._number.get(name)
        if before is not None and number <= before:
            return self._stray(name, number, before)
        self._number[name] = number
        tail, self._tail[name] = self._tail.get(name), one
        if self.open and ("trade", name) in self.open:
            return self.first("trade", one)
        if tail is None or before is None or number == before + 1:
            return True
        return Hole(self.find(name), self.stream, "sequence", _moment(tail), before).gap(number, one.ts_recv)

    def first(self, tag: str, one: AnyRecord) -> Gap | bool:
        """The first record behind a hole tells how large it is; True where there is none."""
        hole = self.open.pop((tag, one.instrument), None)
        if hole is None:
            return True
        number = _number(one.trade_id) if isinstance(one, Trade) else None
        if self.numbered and None not in (number, hole.last_id) and number == (hole.last_id or 0) + 1:
            return replace(hole.told, healed_at=one.ts_recv) if hole.told else True
        return hole.gap(number, one.ts_recv)

    def begin(self, subscription: Subscription, tag: str, one: Instrument, cause: str, since: int) -> None:
        """From `since` on nobody listens to a subscription."""
        stream, every = subscription.stream, subscription.every
        place = stream if every else tag, one.name
        known, tail = self.open.get(place), self._tail.get(one.name)
        if tag == "trade" and tail and tail.ts_recv >= since:
            since = min(since, _moment(tail))
        if known and not known.told:
            known.confirmed_at, known.ts_from = 0, min(known.ts_from, since)
            self._unheard.setdefault(subscription.key, []).append(known)
            return
        last_id = _number(tail.trade_id) if tag == "trade" and tail else None
        hole = self.open[place] = Hole(one, stream, cause, since, last_id, every)
        self._unheard.setdefault(subscription.key, []).append(hole)

    def confirmed(self, key: str, now: int) -> None:
        """Somebody listens again."""
        for hole in self._unheard.pop(key, ()):
            hole.confirmed_at = hole.confirmed_at or now

    def overdue(self, now: int) -> list[Gap]:
        """The gaps of streams that stay silent, as far as they can be told."""
        made = []
        for place, hole in list(self.open.items()):
            if hole.told or not hole.confirmed_at or now - hole.confirmed_at < self.wait * NS:
                continue
            hole.told = hole.gap(None, hole.confirmed_at)
            if hole.matters(hole.confirmed_at):
                made.append(hole.told)
            if not self.numbered or place[0] != "trade" or hole.last_id is None:
                del self.open[place]
        return made

    def silent(self, subscription: Subscription, one: Instrument, since: int, until: int) -> Gap | None:
        """A subscription brought nothing until it was made anew. Where trades have numbers, these tell."""
        hole = Hole(one, subscription.stream, "silent", since, None, subscription.every)
        told = self.numbered and "trade" in subscription.types
        return hole.gap(None, until) if hole.matters(until) and not told else None

    def unreadable(self, one: Instrument, now: int) -> Gap | None:
        """A message of trades could not be read. Where they have numbers the next one tells what is missing."""
        if self.numbered:
            return None
        tail = self._tail.get(one.name)
        last_id, since = (_number(tail.trade_id), _moment(tail)) if tail else (None, now)
        return Hole(one, self.stream, "unreadable", since, last_id).gap(None, now)

    def forget(self, name: str) -> None:
        """An instrument is no longer followed."""
        for place in [place for place in self.open if place[1] == name]:
            del self.open[place]
        for kept in (self._tail, self._number, self._strays):
            kept.pop(name, None)

    def watermark(self) -> int | None:
        """Where the oldest hole begins that nobody was told of."""
        return min((hole.ts_from for hole in self.open.values() if not hole.told), default=None)

    def _stray(self, name: str, number: int, before: int) -> bool:
        if number == before:
            return False
        self._strays[name] = self._strays.get(name, 0) + 1
        if self._strays[name] > STRAYS:
            self._number[name], self._strays[name] = number, 0
        return True


def _moment(one: Trade) -> int:
    """When a trade happened or was received, whichever was before: what came next may have waited for us to read it."""
    return one.ts_recv if one.ts_event is None else min(one.ts_recv, one.ts_event)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None
