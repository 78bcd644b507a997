"""The bounded queue in front of a sink, and its backpressure policy.

Nothing is lost without a gap that records it:

* Trades, liquidations, funding rates, open interest, closed candles and gaps are kept. Those that do not fit become
  one gap for each instrument and type, cause `overload`.
* Tickers, best levels of books and open candles are conflated: only the newest of an instrument stays.
* Queued book updates are dropped. Later a gap with the cause `conflated` and a fresh snapshot take their place; without
  a valid book, the gap stays open until the next snapshot.

Whatever was held back is admitted when half of the queue is free again, so that a full queue makes few large gaps. The
order of each instrument and type is kept.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from marketdata_assets.collector.items import TAGS, BookTop, Item, Recorded, items, moment
from marketdata_assets.exchanges.records import Exchange, Gap, Kline, MarketType, OrderBook, Ticker, Trade

SnapshotOf = Callable[[Exchange, MarketType, str], OrderBook | None]
"""The current book of an instrument, by the venue's name; None where no valid book exists."""

Key = tuple[str, ...]

DIGITS = 18
"""A longer number does not fit into the integer columns of gaps."""


@dataclass
class LostRange:
    """Lost records of one instrument and type, as one range. Its ids and times enclose every one of them."""

    first: Recorded
    last_id: int | None
    next_id: int | None
    ts_from: int  # ns
    ts_to: int  # ns
    fresh: Item | None = None  # of a book: a snapshot after which nothing is lost
    reported: Gap | None = None  # of a book: the gap that was emitted already, and is still open

    @classmethod
    def of(cls, record: Recorded) -> "LostRange":
        last_id, next_id = _bounds(record)
        ts_from = record.ts_from if isinstance(record, Gap) else record.ts_recv
        return cls(record, last_id, next_id, ts_from, moment(record))

    def widen(self, record: Recorded) -> None:
        """Include one more record, older or newer."""
        other = LostRange.of(record)
        self.last_id = _joined(min, self.last_id, other.last_id)
        self.next_id = _joined(max, self.next_id, other.next_id)
        self.ts_from, self.ts_to = min(self.ts_from, other.ts_from), max(self.ts_to, other.ts_to)

    def gap(self, cause: str) -> Gap:
        """The range as a gap; its stream is the type of the lost records, or the stream of the lost gaps."""
        first = self.first
        where = (first.exchange, first.market_type, first.symbol, first.instrument)
        stream = first.stream if isinstance(first, Gap) else TAGS[type(first)]
        return Gap(*where, stream, self.last_id, self.next_id, self.ts_from, self.ts_to, cause)

    def healed(self, cause: str, fresh: OrderBook) -> Gap:
        """The gap of a book that is valid again with this snapshot."""
        if self.reported is not None:
            return msgspec.structs.replace(self.reported, healed_at=fresh.ts_recv)
        next_id = self.next_id if fresh.last_id is None else fresh.last_id
        return msgspec.structs.replace(self.gap(cause), next_id=next_id, healed_at=fresh.ts_recv)


@dataclass(frozen=True)
class _FreshSnapshot:
    """A snapshot that was inserted; updates that it contains already are skipped."""

    ts_recv: int
    last_id: int | None

    def contains(self, update: OrderBook) -> bool:
        in_time = update.ts_recv <= self.ts_recv
        return in_time and (update.last_id is None or self.last_id is None or update.last_id <= self.last_id)


class BoundedQueue:
    """Items on their way to a sink; for one event loop."""

    def __init__(self, capacity: int, snapshot_of: SnapshotOf) -> None:
        if capacity < 2:
            raise ValueError(f"a queue of {capacity} cannot hold a gap and its snapshot; set a capacity of at least 2")
        self.capacity = capacity
        self.dropped = 0  # records that are in an overload gap
        self.conflated = 0  # records superseded by a newer state
        self._snapshot_of = snapshot_of
        self._low_mark = capacity // 2
        self._items: deque[Item] = deque()
        self._held_back: dict[Key, LostRange | Item] = {}  # in the order in which they are admitted
        self._fresh: dict[Key, _FreshSnapshot] = {}
        self._awaiting_snapshot: dict[Key, Gap] = {}  # open gaps of books that wait for one
        self._since_thinning = capacity  # items put in since the last `_thin`
        self._ready = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def oldest_ns(self) -> int | None:
        """Receive time of the oldest item."""
        return moment(self._items[0].record) if self._items else None

    def put(self, items: Sequence[Item]) -> None:
        if self._held_back and len(self._items) <= self._low_mark:
            self._admit()
        full = len(self._items) + len(items) > self.capacity
        if full or self._held_back or self._fresh or self._awaiting_snapshot:
            self._put_each(items, full)
        else:
            self._items.extend(items)
            self._since_thinning += len(items)
        if self._items:
            self._ready.set()

    def take(self, limit: int) -> list[Item]:
        """The oldest items, at most `limit`."""
        waiting = self._items
        taken = [waiting.popleft() for _ in range(min(limit, len(waiting)))]
        if self._held_back and len(waiting) <= self._low_mark:
            self._admit()
        if not waiting:
            self._ready.clear()
        return taken

    async def wait(self) -> None:
        await self._ready.wait()

    def _put_each(self, items: Sequence[Item], full: bool) -> None:
        if full and self._since_thinning >= self.capacity // 4:
            self._thin()
        for item in items:
            record = item.record
            if isinstance(record, OrderBook):
                self._put_book(item, record)
            elif isinstance(record, Ticker | BookTop) or (isinstance(record, Kline) and not record.closed):
                self._put_state(item)
            else:
                key = _key(record)
                if isinstance(record, Kline) and self._held_back.pop(_state_key(record), None) is not None:
                    self.conflated += 1  # its candle is closed now, or an older one
                if key in self._held_back or not self._append(item):
                    self._drop(key, record)

    def _append(self, item: Item) -> bool:
        if len(self._items) >= self.capacity:
            return False
        self._items.append(item)
        self._since_thinning += 1
        return True

    def _drop(self, key: Key, record: Recorded) -> None:
        self.dropped += 1
        lost = self._held_back.get(key)
        if isinstance(lost, LostRange):
            lost.widen(record)
        else:
            self._held_back[key] = LostRange.of(record)

    def _put_state(self, item: Item) -> None:
        record, key = item.record, _state_key(item.record)
        before = self._held_back.pop(key, None)
        old = before.record if isinstance(before, Item) else None
        another = isinstance(old, Kline) and isinstance(record, Kline) and old.open_time != record.open_time
        if isinstance(old, Kline) and another and old.closed is None:  # at a venue that does not report closed candles
            self._drop(_key(record), old)
        elif before is not None:
            self.conflated += 1
        if before is not None or _key(record) in self._held_back or not self._append(item):
            self._held_back[key] = item

    def _put_book(self, item: Item, record: OrderBook) -> None:
        key = _key(record)
        if key in self._held_back:
            self._conflate(key, item, record)
        elif (gap := self._awaiting_snapshot.get(key)) is not None:
            if record.kind == "delta":
                self.conflated += 1
                return
            del self._awaiting_snapshot[key]
            if len(self._items) + 2 <= self.capacity:
                self._items.extend((*items([msgspec.structs.replace(gap, healed_at=record.ts_recv)]), item))
            else:
                self._conflate(key, item, record).reported = gap
        elif (fresh := self._fresh.pop(key, None)) is not None and fresh.contains(record):
            self._fresh[key] = fresh
            self.conflated += 1
        elif not self._append(item):
            self._conflate(key, item, record)

    def _conflate(self, key: Key, item: Item, record: OrderBook) -> LostRange:
        self.conflated += 1
        lost = self._held_back.get(key)
        if isinstance(lost, LostRange):
            lost.widen(record)
        else:
            lost = self._held_back[key] = LostRange.of(record)
        lost.fresh = None if record.kind == "delta" else item
        return lost

    def _thin(self) -> None:
        """Remove from the queue what may be conflated."""
        self._since_thinning = 0
        newer, kept = set(self._held_back), []
        for item in reversed(self._items):
            record = item.record
            if isinstance(record, OrderBook) and not self._is_reported(record):
                self._fresh.pop(_key(record), None)
                lost = self._held_back.get(_key(record))
                if isinstance(lost, LostRange):  # of newer records
                    lost.widen(record)
                    self.conflated += 1
                else:
                    self._conflate(_key(record), item, record)
            elif isinstance(record, Ticker | BookTop) or (isinstance(record, Kline) and not record.closed):
                key = _state_key(record)
                # Venues that never report a candle as closed: the last state of each candle is kept.
                if isinstance(record, Kline) and record.closed is None:
                    key = (*key, str(record.open_time))
                if key in newer:
                    self.conflated += 1
                    continue
                newer.add(key)
                kept.append(item)
            else:
                kept.append(item)
        self._items = deque(reversed(kept))
        if self._held_back and len(self._items) <= self._low_mark:
            self._admit()

    def _is_reported(self, record: OrderBook) -> bool:
        """Whether the gap of this book was emitted already, and does not include what is queued from before it."""
        key = _key(record)
        lost = self._held_back.get(key)
        return key in self._awaiting_snapshot or (isinstance(lost, LostRange) and lost.reported is not None)

    def _admit(self) -> None:
        for key, held_back in list(self._held_back.items()):
            if len(self._items) + 2 > self.capacity:
                break
            del self._held_back[key]
            if isinstance(held_back, Item):
                self._append(held_back)
            elif isinstance(held_back.first, OrderBook):
                self._admit_book(key, held_back)
            else:
                self._items.extend(items([held_back.gap("overload")]))

    def _admit_book(self, key: Key, lost: LostRange) -> None:
        where = (lost.first.exchange, lost.first.market_type, lost.first.instrument)
        book = lost.fresh.record if lost.fresh else self._snapshot_of(*where)
        if not isinstance(book, OrderBook):
            self._awaiting_snapshot[key] = gap = lost.reported or lost.gap("conflated")
            self._items.extend([] if lost.reported else items([gap]))
            return
        if not lost.fresh:
            self._fresh[key] = _FreshSnapshot(book.ts_recv, book.last_id)
        self._items.extend(items([lost.healed("conflated", book), book]))


def _key(record: Recorded) -> Key:
    key = (TAGS[type(record)], record.exchange, record.market_type, record.instrument)
    return (*key, record.stream) if isinstance(record, Gap) else key


def _state_key(record: Recorded) -> Key:
    return (*_key(record), record.interval) if isinstance(record, Kline) else _key(record)


def _bounds(record: Recorded) -> tuple[int | None, int | None]:
    """The last id before the record, and the first one after it."""
    if isinstance(record, Gap):
        return record.last_id, record.next_id
    if isinstance(record, Trade):
        number = record.trade_id
        numeric = number.isascii() and number.isdigit() and len(number) <= DIGITS
        return (int(number) - 1, int(number) + 1) if numeric else (None, None)
    if isinstance(record, OrderBook):
        before = record.prev_id
        if before is None and record.first_id is not None:
            before = record.first_id - 1
        return before, None if record.last_id is None else record.last_id + 1
    return None, None


def _joined(pick: Callable[..., Any], left: int | None, right: int | None) -> int | None:
    if left is None or right is None:
        return right if left is None else left
    return int(pick(left, right))
