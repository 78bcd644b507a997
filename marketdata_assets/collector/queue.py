"""The queue in front of a sink, bounded, with what happens when it is full.

Nothing is lost without a gap that says so:

* Trades, liquidations, funding rates, open interest, closed candles and gaps are kept. What finds no room becomes one
  gap for each instrument and type, cause `overload`.
* Of tickers and of candles that are not closed only the newest of an instrument stays.
* What waits of a book goes. When there is room, a gap with the cause `conflated` and a fresh snapshot take its place;
  where there is no book, the gap stays open until the next snapshot.

Whatever was put aside is let in when half of the queue is free again, so that a full queue makes few large gaps. The
order of each instrument and type is kept.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from marketdata_assets.collector.holes import Hole
from marketdata_assets.collector.items import TAGS, Item, Recorded, items, moment
from marketdata_assets.exchanges.records import Exchange, Gap, Kline, MarketType, OrderBook, Ticker

SnapshotOf = Callable[[Exchange, MarketType, str], OrderBook | None]
"""The book of an instrument as it is now, by the venue's name; None where there is none that is whole."""

Key = tuple[str, ...]


@dataclass(frozen=True)
class _Behind:
    """A snapshot was put in: what is in it already is not wanted."""

    ts_recv: int
    last_id: int | None

    def holds(self, one: OrderBook) -> bool:
        in_time = one.ts_recv <= self.ts_recv
        return in_time and (one.last_id is None or self.last_id is None or one.last_id <= self.last_id)


class BoundedQueue:
    """Items on their way to a sink; for one event loop."""

    def __init__(self, capacity: int, snapshot_of: SnapshotOf) -> None:
        if capacity < 2:
            raise ValueError(f"a queue of {capacity} holds no gap and its snapshot; give it room for 2 at least")
        self.capacity = capacity
        self.dropped = 0  # records that are in an overload gap
        self.conflated = 0  # records that a newer state took the place of
        self._snapshot_of = snapshot_of
        self._half = capacity // 2
        self._items: deque[Item] = deque()
        self._held: dict[Key, Hole | Item] = {}  # in the order in which they are let in
        self._behind: dict[Key, _Behind] = {}
        self._open: dict[Key, Gap] = {}  # books that wait for a snapshot, and the gap told of them
        self._since = capacity  # items put in since the queue was last thinned
        self._ready = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest item was received."""
        return moment(self._items[0].record) if self._items else None

    def put(self, items: Sequence[Item]) -> None:
        """Take items, in the order in which they came."""
        if self._held and len(self._items) <= self._half:
            self._let_in()
        full = len(self._items) + len(items) > self.capacity
        if full or self._held or self._behind or self._open:
            self._put_each(items, full)
        else:
            self._items.extend(items)
            self._since += len(items)
        if self._items:
            self._ready.set()

    def take(self, limit: int) -> list[Item]:
        """The oldest items, at most so many."""
        waiting = self._items
        taken = [waiting.popleft() for _ in range(min(limit, len(waiting)))]
        if self._held and len(waiting) <= self._half:
            self._let_in()
        if not waiting:
            self._ready.clear()
        return taken

    async def wait(self) -> None:
        """Until there is something to take."""
        await self._ready.wait()

    def _put_each(self, items: Sequence[Item], full: bool) -> None:
        if full and self._since >= self.capacity // 4:
            self._thin()
        for item in items:
            record = item.record
            if isinstance(record, OrderBook):
                self._put_book(item, record)
            elif isinstance(record, Ticker) or (isinstance(record, Kline) and not record.closed):
                self._put_state(item)
            else:
                self._put_kept(item)

    def _append(self, item: Item) -> bool:
        if len(self._items) >= self.capacity:
            return False
        self._items.append(item)
        self._since += 1
        return True

    def _put_kept(self, item: Item) -> None:
        record = item.record
        key = _key(record)
        if isinstance(record, Kline) and self._held.pop(_state_key(record), None) is not None:
            self.conflated += 1  # its candle is closed now, or an older one
        if key in self._held or not self._append(item):
            self._lose(key, record)

    def _lose(self, key: Key, record: Recorded) -> None:
        self.dropped += 1
        hole = self._held.get(key)
        if isinstance(hole, Hole):
            hole.widen(record)
        else:
            self._held[key] = Hole.of(record)

    def _put_state(self, item: Item) -> None:
        record, key = item.record, _state_key(item.record)
        before = self._held.pop(key, None)
        if isinstance(before, Item) and _is_another_candle(before.record, record):
            self._lose(_key(record), before.record)
        elif before is not None:
            self.conflated += 1
        if before is not None or _key(record) in self._held or not self._append(item):
            self._held[key] = item

    def _put_book(self, item: Item, record: OrderBook) -> None:
        key = _key(record)
        if key in self._held:
            self._conflate(key, item, record)
        elif (gap := self._open.get(key)) is not None:
            if record.kind == "snapshot":
                self._close(key, gap, item, record)
            else:
                self.conflated += 1
        elif (behind := self._behind.pop(key, None)) is not None and behind.holds(record):
            self._behind[key] = behind
            self.conflated += 1
        elif not self._append(item):
            self._conflate(key, item, record)

    def _conflate(self, key: Key, item: Item, record: OrderBook) -> Hole:
        self.conflated += 1
        hole = self._held.get(key)
        if isinstance(hole, Hole):
            hole.widen(record)
        else:
            hole = self._held[key] = Hole.of(record)
        hole.fresh = item if record.kind == "snapshot" else None
        return hole

    def _close(self, key: Key, gap: Gap, item: Item, record: OrderBook) -> None:
        """A book that waited for a snapshot has one."""
        del self._open[key]
        if len(self._items) + 2 <= self.capacity:
            self._items.extend((*items([msgspec.structs.replace(gap, healed_at=record.ts_recv)]), item))
        else:
            self._conflate(key, item, record).told = gap

    def _thin(self) -> None:
        """Take out of the queue what may be conflated."""
        self._since = 0
        newer, kept = set(self._held), []
        for item in reversed(self._items):
            record = item.record
            if isinstance(record, OrderBook) and not self._is_told(record):
                self._take_out(item, record)
            elif isinstance(record, Ticker) or (isinstance(record, Kline) and not record.closed):
                key = _state_key(record)
                # Where no candle is ever said to be closed, the last word on each is kept.
                known = (*key, str(record.open_time)) if isinstance(record, Kline) and record.closed is None else key
                if known in newer:
                    self.conflated += 1
                    continue
                newer.add(known)
                kept.append(item)
            else:
                kept.append(item)
        self._items = deque(reversed(kept))
        if self._held and len(self._items) <= self._half:
            self._let_in()

    def _is_told(self, record: OrderBook) -> bool:
        """Whether a gap is told already that says nothing of what the queue has from before it."""
        key = _key(record)
        hole = self._held.get(key)
        return key in self._open or (isinstance(hole, Hole) and hole.told is not None)

    def _take_out(self, item: Item, record: OrderBook) -> None:
        key = _key(record)
        self._behind.pop(key, None)
        hole = self._held.get(key)
        if isinstance(hole, Hole):  # of newer ones
            hole.widen(record)
            self.conflated += 1
        else:
            self._conflate(key, item, record)

    def _let_in(self) -> None:
        for key, held in list(self._held.items()):
            if len(self._items) + 2 > self.capacity:
                break
            del self._held[key]
            if isinstance(held, Item):
                self._append(held)
            elif isinstance(held.first, OrderBook):
                self._let_book_in(key, held)
            else:
                self._items.extend(items([held.gap("overload")]))

    def _let_book_in(self, key: Key, hole: Hole) -> None:
        one = hole.first
        book = hole.fresh.record if hole.fresh else self._snapshot_of(one.exchange, one.market_type, one.instrument)
        if not isinstance(book, OrderBook):
            self._open[key] = gap = hole.told or hole.gap("conflated")
            self._items.extend([] if hole.told else items([gap]))
            return
        if not hole.fresh:
            self._behind[key] = _Behind(book.ts_recv, book.last_id)
        self._items.extend(items([hole.healed("conflated", book), book]))


def _key(record: Recorded) -> Key:
    key = (TAGS[type(record)], record.exchange, record.market_type, record.instrument)
    return (*key, record.stream) if isinstance(record, Gap) else key


def _state_key(record: Recorded) -> Key:
    return (*_key(record), record.interval) if isinstance(record, Kline) else _key(record)


def _is_another_candle(before: Recorded, now: Recorded) -> bool:
    """Whether the last word on a candle would go, of a venue that does not say when one is closed."""
    candles = isinstance(before, Kline) and isinstance(now, Kline)
    return candles and before.closed is None and before.open_time != now.open_time  # type: ignore[union-attr]
