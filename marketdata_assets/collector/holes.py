"""What was not kept of one instrument and type, told as one gap."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from marketdata_assets.collector.items import TAGS, Item, Recorded, moment
from marketdata_assets.exchanges.records import Gap, OrderBook, Trade

DIGITS = 18
"""A longer number does not fit into what gaps are stored in."""

Bounds = tuple[int | None, int | None]
"""The last id before, and the first one behind."""


@dataclass
class Hole:
    """A span of records that are lost. Its ids and times enclose every one of them."""

    first: Recorded
    last_id: int | None
    next_id: int | None
    ts_from: int  # ns
    ts_to: int  # ns
    fresh: Item | None = None  # of a book: a snapshot after which nothing is lost
    told: Gap | None = None  # of a book: the gap that is told already, and still open

    @classmethod
    def of(cls, record: Recorded) -> "Hole":
        """One record."""
        last_id, next_id = _bounds(record)
        ts_from = record.ts_from if isinstance(record, Gap) else record.ts_recv
        return cls(record, last_id, next_id, ts_from, moment(record))

    def widen(self, record: Recorded) -> None:
        """One record more, older or newer."""
        one = Hole.of(record)
        self.last_id = _joined(min, self.last_id, one.last_id)
        self.next_id = _joined(max, self.next_id, one.next_id)
        self.ts_from, self.ts_to = min(self.ts_from, one.ts_from), max(self.ts_to, one.ts_to)

    def gap(self, cause: str) -> Gap:
        """It as a record; its stream is the type of what is lost, or the stream of the lost gaps."""
        one = self.first
        where = (one.exchange, one.market_type, one.symbol, one.instrument)
        stream = one.stream if isinstance(one, Gap) else TAGS[type(one)]
        return Gap(*where, stream, self.last_id, self.next_id, self.ts_from, self.ts_to, cause)

    def healed(self, cause: str, fresh: OrderBook) -> Gap:
        """It as a record, of a book that is whole again with this snapshot."""
        if self.told is not None:
            return msgspec.structs.replace(self.told, healed_at=fresh.ts_recv)
        next_id = self.next_id if fresh.last_id is None else fresh.last_id
        return msgspec.structs.replace(self.gap(cause), next_id=next_id, healed_at=fresh.ts_recv)


def _bounds(record: Recorded) -> Bounds:
    if isinstance(record, Gap):
        return record.last_id, record.next_id
    if isinstance(record, Trade):
        number = record.trade_id
        known = number.isascii() and number.isdigit() and len(number) <= DIGITS
        return (int(number) - 1, int(number) + 1) if known else (None, None)
    if isinstance(record, OrderBook):
        before = record.prev_id
        if before is None and record.first_id is not None:
            before = record.first_id - 1
        return before, None if record.last_id is None else record.last_id + 1
    return None, None


def _joined(pick: Callable[..., Any], one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return int(pick(one, other))
