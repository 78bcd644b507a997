"""Where trades, liquidations and candles may be missing: what a lost socket would have delivered, and jumps in ids.

Live sockets and those of captures have the same rules. Books track their own gaps, in their feeds.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace

from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import AnyRecord, Gap, Trade
from marketdata_assets.exchanges.venue_adapter import Subscription

NS = 1_000_000_000

MAX_STRAYS = 50
"""Ids in a row from before the last one; after that the venue has restarted its numbering."""

TAGS = ("trade", "liquidation", "kline")
"""Events, which are lost for good when they are missed. The others are states that the next message repeats, as is a
candle until it is closed."""

REPEATED = 64
"""So many ids of trades are kept to recognise those that a new subscription repeats; Hyperliquid repeats 30."""

LATE = 5 * NS
"""A closed candle may be delivered this long after its end."""

UNREAD_SECONDS = 5.0
"""Messages may have waited this long for us to read them."""

WAIT_SECONDS = 5.0
"""So long after its confirmation the first message of a stream may end a gap."""


def tag_of(subscription: Subscription) -> str | None:
    """The type of the events of a subscription; None where it has none."""
    return next((tag for tag in TAGS if tag in subscription.types), None)


def lost_since(seen: int, confirmed_at: int, last_at: int, silence: float | None) -> int:
    """From when on a subscription may lack messages when its socket ended: it delivered at `seen`, and was confirmed;
    the socket delivered anything at `last_at`, and this subscription would have within `silence` (seconds)."""
    return max(seen, confirmed_at, last_at - int((UNREAD_SECONDS if silence is None else silence) * NS))


@dataclass
class OpenGap:
    """A stream without a confirmed subscription for a while."""

    instrument: Instrument
    stream: str
    cause: str
    ts_from: int
    last_id: int | None
    every: int = 0  # ns, the interval of a candle
    confirmed_at: int = 0  # steady ns, when the stream was subscribed again
    emitted: Gap | None = None
    continued: bool = False  # the new subscription repeated the last trade before the gap

    def may_lose(self, until: int) -> bool:
        """Whether anything can be missing: of candles, one that was closed meanwhile."""
        return not self.every or (self.ts_from - LATE) // self.every != until // self.every

    def gap(self, next_id: int | None, ts_to: int) -> Gap:
        ts_from = min(self.ts_from, ts_to)  # the clock may have been set back
        return Gap(*self.instrument.key, self.stream, self.last_id, next_id, ts_from, ts_to, self.cause)


@dataclass
class GapTracker:
    """The open gaps of one market. With `sequential`, trades of an instrument are numbered without gaps.

    With `repeats`, a new subscription begins with the last trades: where the last one before a gap is among them, none
    is missing.
    """

    stream: str  # of trades
    sequential: bool
    find: Callable[[str], Instrument]
    wait: float = WAIT_SECONDS
    repeats: bool = False
    shown: Callable[[int], int] = int  # a time of `confirmed` by the clock of records
    open: dict[tuple[str, str], OpenGap] = field(default_factory=dict)  # by tag (candles: stream), and instrument
    _unconfirmed: dict[str, list[OpenGap]] = field(default_factory=dict)  # by subscription
    _last_trade: dict[str, Trade] = field(default_factory=dict)
    _last_id: dict[str, int] = field(default_factory=dict)
    _strays: dict[str, int] = field(default_factory=dict)
    _known: dict[str, dict[str, None]] = field(default_factory=dict)  # ids of the last trades, oldest first
    _continued: dict[str, int] = field(default_factory=dict)  # ns, when the last trade was repeated

    def trade(self, trade: Trade) -> Gap | bool:
        """Record a trade. False: a duplicate. A gap: trades are missing between it and the last one."""
        name = trade.instrument
        if not self.sequential:
            if self.repeats and (verdict := self._repeated(trade)) is not None:
                return verdict
            self._last_trade[name] = trade
            return self.first("trade", trade) if self.open else True
        begin, number = numbers_of(trade)
        before = self._last_id.get(name)
        if before is not None and number <= before:
            if number == before:
                return False
            self._strays[name] = self._strays.get(name, 0) + 1
            if self._strays[name] > MAX_STRAYS:
                self._last_id[name], self._strays[name] = number, 0
            return True
        self._last_id[name] = number
        last, self._last_trade[name] = self._last_trade.get(name), trade
        if self.open and ("trade", name) in self.open:
            return self.first("trade", trade)
        if last is None or before is None or begin <= before + 1:
            return True
        gap = OpenGap(self.find(name), self.stream, "sequence", _earliest(last), before)
        return gap.gap(begin, trade.ts_recv)

    def undelivered(self, records: Iterable[AnyRecord | Gap]) -> None:
        """Records were lost behind us: the next trade shows that those before it are missing."""
        for record in records:
            if self.sequential and isinstance(record, Trade):
                before = self._begin(record)
                assert before is not None
                self._last_id[record.instrument] = min(self._last_id.get(record.instrument, before), before - 1)

    def first(self, tag: str, record: AnyRecord) -> Gap | bool:
        """The first record after an open gap ends it; True where there is none."""
        gap = self.open.pop((tag, record.instrument), None)
        if gap is None or gap.continued:
            return True
        number = self._begin(record) if isinstance(record, Trade) else None
        if self.sequential and None not in (number, gap.last_id) and (number or 0) <= (gap.last_id or 0) + 1:
            return replace(gap.emitted, healed_at=record.ts_recv) if gap.emitted else True
        return gap.gap(number, record.ts_recv)

    def _repeated(self, trade: Trade) -> bool | None:
        """False: a duplicate. True: a trade from before the last one that was lost then. None: a new one."""
        name = trade.instrument
        known, last = self._known.setdefault(name, {}), self._last_trade.get(name)
        if trade.trade_id in known:
            if last and trade.trade_id == last.trade_id:
                self._continued[name] = trade.ts_recv
                if gap := self.open.get(("trade", name)):
                    gap.continued = True
            return False
        known[trade.trade_id] = None
        if len(known) > REPEATED:
            del known[next(iter(known))]
        return True if last and (trade.ts_event or 0) < (last.ts_event or 0) else None

    def is_continued(self, subscription: Subscription, since: int) -> bool:
        """Whether a subscription to trades repeated the last one after `since` (ns), so that none is missing."""
        return "trade" in subscription.types and self._continued.get(subscription.instrument, 0) > since

    def begin(self, subscription: Subscription, instrument: Instrument, cause: str, since: int) -> None:
        """From `since` (ns) on, a subscription delivers nothing; of one without events nothing is missing."""
        tag = tag_of(subscription)
        if tag is None:
            return
        stream, every = subscription.stream, subscription.every
        place = stream if every else tag, instrument.name
        earlier, last = self.open.get(place), self._last_trade.get(instrument.name)
        if tag == "trade" and last and last.ts_recv >= since:
            since = min(since, _earliest(last))
        if earlier and not earlier.emitted:
            earlier.confirmed_at, earlier.ts_from = 0, min(earlier.ts_from, since)
            earlier.continued = False
            self._unconfirmed.setdefault(subscription.key, []).append(earlier)
            return
        last_id = None
        if tag == "trade" and last:
            last_id = self._last_id.get(instrument.name) if self.sequential else self._end(last)
        gap = self.open[place] = OpenGap(instrument, stream, cause, since, last_id, every)
        self._unconfirmed.setdefault(subscription.key, []).append(gap)

    def confirmed(self, key: str, now: int) -> None:
        for gap in self._unconfirmed.pop(key, ()):
            gap.confirmed_at = gap.confirmed_at or now

    def overdue(self, now: int) -> list[Gap]:
        """The gaps of streams that stay silent, as far as they are known; `now` is steady."""
        overdue = []
        for place, gap in list(self.open.items()):
            if gap.emitted or not gap.confirmed_at or now - gap.confirmed_at < self.wait * NS:
                continue
            if gap.continued:
                del self.open[place]
                continue
            until = self.shown(gap.confirmed_at)
            gap.emitted = gap.gap(None, until)
            if gap.may_lose(until):
                overdue.append(gap.emitted)
            if not self.sequential or place[0] != "trade" or gap.last_id is None:
                del self.open[place]
        return overdue

    def silent(self, subscription: Subscription, instrument: Instrument, since: int, until: int) -> Gap | None:
        """The gap of a subscription that delivered nothing until it was restarted; None where trade ids show it."""
        gap = OpenGap(instrument, subscription.stream, "silent", since, None, subscription.every)
        shown = self.sequential and "trade" in subscription.types
        return gap.gap(None, until) if gap.may_lose(until) and not shown else None

    def unreadable(self, instrument: Instrument, now: int) -> Gap | None:
        """The gap of an unreadable message of trades; None where the next trade id shows what is missing."""
        if self.sequential and instrument.name in self._last_id:
            return None
        last = self._last_trade.get(instrument.name)
        last_id, since = (self._end(last), _earliest(last)) if last else (None, now)
        return OpenGap(instrument, self.stream, "unreadable", since, last_id).gap(None, now)

    def forget(self, name: str, until: int) -> list[Gap]:
        """Forget an instrument that is not followed after `until` (ns); its open gaps, which end there."""
        ended = [self.open.pop(place) for place in list(self.open) if place[1] == name]
        for by_name in (self._last_trade, self._last_id, self._strays, self._known, self._continued):
            by_name.pop(name, None)
        return [
            gap.gap(None, until)
            for gap in ended
            if not (gap.emitted or gap.continued) and gap.ts_from < until and gap.may_lose(until)
        ]

    def watermark(self) -> int | None:
        """Start of the oldest open gap that was not emitted; ns."""
        return min((gap.ts_from for gap in self.open.values() if not gap.emitted), default=None)

    def _begin(self, trade: Trade) -> int | None:
        return numbers_of(trade)[0] if self.sequential else _number(trade.trade_id)

    def _end(self, trade: Trade) -> int | None:
        return numbers_of(trade)[1] if self.sequential else _number(trade.trade_id)


def numbers_of(trade: Trade) -> tuple[int, int]:
    """The first and the last number of a trade, of a venue that numbers the trades of an instrument without gaps."""
    number = trade.sequence
    if number is None:
        number = int(trade.trade_id)
        return number, number
    return (number if trade.first_id is None else int(trade.first_id)), number


def _earliest(trade: Trade) -> int:
    """Event or receive time of a trade, whichever is earlier: the next one may have waited for us to read it."""
    return trade.ts_recv if trade.ts_event is None else min(trade.ts_recv, trade.ts_event)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None
