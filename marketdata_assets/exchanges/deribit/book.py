"""The sequence rules of Deribit's book messages, and what shows that one is missing or wrong.

1. A `snapshot` is the whole book, at any time: at first, and after a new subscription.
2. A `change` follows the message whose `change_id` is its `prev_change_id`. Any other order is a hole.
3. There is no checksum, but each level of a change says what happened to it: `new` for an existing level, and
   `change` or `delete` of a missing one, show that our book differs from theirs.
4. The book of an instrument that nothing ever happened to has the `change_id` 0 and no levels.

A new subscription resyncs the book. https://docs.deribit.com/subscriptions/orderbook/bookinstrument_nameinterval
"""

from typing import TypeVar

import msgspec

from marketdata_assets.exchanges.books import BookState
from marketdata_assets.exchanges.deribit import wire
from marketdata_assets.exchanges.deribit.parse import levels
from marketdata_assets.exchanges.deribit.wire import VENUE, Notification
from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.levels import FLOAT_DIGITS, Side
from marketdata_assets.exchanges.records import Gap, Level, OrderBook, Outcome
from marketdata_assets.exchanges.wire import MS

T = TypeVar("T", wire.Book, wire.Levels)
Outcomes = list[OrderBook | Gap]
Sides = tuple[Side | None, Side | None]

_book = msgspec.json.Decoder(Notification[wire.Book]).decode
_texts = msgspec.json.Decoder(Notification[wire.Texts], float_hook=str).decode
_whole = msgspec.json.Decoder(Notification[wire.Levels]).decode


class _Differs(Exception):
    """Our book is not the one that the message is about."""


def is_snapshot(event: wire.Book) -> bool:
    """Whether it is a whole book; BadMessage when it is neither that nor a change of one."""
    before = event.prev_change_id
    if event.type == "snapshot" or (event.type is None and before is None):
        if any(level[0] != "new" for level in (*event.bids, *event.asks)):
            raise BadMessage(VENUE, f"{event.instrument_name}: a snapshot that changes or deletes a level")
        return True
    if before is None or before >= event.change_id:
        raise BadMessage(VENUE, f"{event.instrument_name}: change {event.change_id} after {before}")
    return False


def _written(changes: list[wire.Change], texts: list[wire.Text], side: Side | None) -> tuple[Level, ...]:
    """The levels as they are written; those of `side`, when it is given, have to agree with what happened to them."""
    levels_read = []
    for (action, _, size), (_, price, amount) in zip(changes, texts, strict=True):
        if (action == "delete") is (size > 0.0):
            raise BadMessage(VENUE, "a deleted level with an amount, or a level without one")
        if type(price) is not str:
            price = str(price)
        if side is not None and (action == "new") is (price in side):
            raise _Differs
        levels_read.append((price, amount if type(amount) is str else str(amount)))
    return tuple(levels_read)


def _checked(event: T, instrument: Instrument) -> T:
    """Raise BadMessage where a channel has a book of another instrument."""
    if event.instrument_name != instrument.name:
        raise BadMessage(VENUE, f"a channel of {instrument.name} with a book of {event.instrument_name}")
    return event


def _sides(event: wire.Book, raw: bytes, sides: Sides = (None, None)) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
    """Bids and asks of a message as they are written. Raises BadMessage, and _Differs where `sides` are others."""
    texts = _texts(raw).params.data
    return _written(event.bids, texts.bids, sides[0]), _written(event.asks, texts.asks, sides[1])


class Chain(BookState):
    """The book of one channel."""

    # {"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.ABC-PERPETUAL.raw","data":{"type":"change",
    #   "timestamp":1700000000123,"instrument_name":"ABC-PERPETUAL","prev_change_id":11,"change_id":12,
    #   "bids":[["new",100.5,10.0],["change",100.0,2.0e3]],"asks":[["delete",101.5,0.0]]}}}
    # https://docs.deribit.com/subscriptions/orderbook/bookinstrument_nameinterval
    def push(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome]:
        """Outcomes of a message. Raises BadMessage or a decoder's error; the caller then has to invalidate the book."""
        if self.whole_messages:
            outcomes = self._levels(_checked(_whole(raw).params.data, self.instrument), ts_recv)
        else:
            outcomes = self._take(_checked(_book(raw).params.data, self.instrument), raw, ts_recv, connection)
        self.connection = connection
        return [*outcomes]

    def _take(self, event: wire.Book, raw: bytes, ts_recv: int, connection: int) -> Outcomes:
        last, before = self.last_id, event.prev_change_id
        ts = event.timestamp * MS
        if is_snapshot(event):
            skipped = self.skipped(event.change_id, ts_recv, connection)
            return [*skipped, *self.snapshot(*_sides(event, raw), event.change_id, ts, ts_recv)]
        if self.status != "live" or last is None:
            _sides(event, raw)  # an inconsistent message is a dead letter anyway
            self.dropped += 1
            self.without_base(event.change_id, ts_recv, connection)
            return []
        if before != last:
            _sides(event, raw)
            if event.change_id <= last:
                return [self.repeated(event.change_id, ts_recv)]
            return self.broken("sequence", event.change_id, ts_recv)
        try:
            bids, asks = _sides(event, raw, (self.book.bids, self.book.asks))
        except _Differs:
            return self.broken("actions", event.change_id, ts_recv)
        numbers = None
        if max([len(price) for price, _ in (*bids, *asks)], default=0) <= FLOAT_DIGITS:
            numbers = [level[1:] for level in event.bids], [level[1:] for level in event.asks]
        return [self.delta(bids, asks, None, event.change_id, before, ts, ts_recv, None, numbers)]

    def _levels(self, event: wire.Levels, ts_recv: int) -> Outcomes:
        """Take the best levels, which come whole every time, and never from an earlier moment."""
        last = self.last_id
        if self.status == "live" and last is not None and event.change_id < last:
            return [self.repeated(event.change_id, ts_recv)]
        levels_read = levels(event.bids), levels(event.asks)
        return self.snapshot(*levels_read, event.change_id, event.timestamp * MS, ts_recv)
