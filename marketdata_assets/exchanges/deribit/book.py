"""The sequence rules of Deribit's book messages, and what shows that one is missing or wrong.

1. A `snapshot` is the whole book, at any time: at first, and after a new subscription.
2. A `change` follows the message whose `change_id` is its `prev_change_id`. Any other order is a hole.
3. There is no checksum, but each level of a change says what happened to it: `new` for an existing level, and
   `change` or `delete` of a missing one, show that our book differs from theirs.
4. The book of an instrument that nothing ever happened to has the `change_id` 0 and no levels.

A new subscription resyncs the book. https://docs.deribit.com/subscriptions/orderbook/bookinstrument_nameinterval
"""

from typing import Literal

from marketdata_assets.exchanges.books import BookState
from marketdata_assets.exchanges.deribit import wire
from marketdata_assets.exchanges.deribit.parse import levels
from marketdata_assets.exchanges.deribit.wire import VENUE
from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.levels import FLOAT_DIGITS, Side
from marketdata_assets.exchanges.records import Gap, Level, OrderBook
from marketdata_assets.exchanges.wire import MS

Outcomes = list[OrderBook | Gap]

Content = tuple[Literal["snapshot", "delta"], tuple[Level, ...], tuple[Level, ...]]
"""The kind of a message, its bids and its asks."""


class _Differs(Exception):
    """Our book is not the one that the message is about."""


# {"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.ABC-PERPETUAL.raw","data":{"type":"change",
#   "timestamp":1700000000123,"instrument_name":"ABC-PERPETUAL","prev_change_id":11,"change_id":12,
#   "bids":[["new",100.5,10.0],["change",100.0,2.0e3]],"asks":[["delete",101.5,0.0]]}}}
# https://docs.deribit.com/subscriptions/orderbook/bookinstrument_nameinterval
def content_of(event: wire.Book, texts: wire.Texts) -> Content:
    """The content of a message, regardless of earlier ones; BadMessage when it is inconsistent."""
    kind: Literal["snapshot", "delta"] = "snapshot" if is_snapshot(event) else "delta"
    return kind, _written(event.bids, texts.bids, None), _written(event.asks, texts.asks, None)


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


class Chain(BookState):
    """The book of one channel. `actions` turns rule 3 off for recordings with levels left out."""

    actions = True

    def take(self, event: wire.Book, texts: wire.Texts, ts_recv: int, connection: int) -> Outcomes:
        """What a message makes of the book; BadMessage when it contradicts itself."""
        last, before = self.last_id, event.prev_change_id
        ts = event.timestamp * MS
        if is_snapshot(event):
            _, bids, asks = content_of(event, texts)
            skipped = self.skipped(event.change_id, ts_recv, connection)
            return [*skipped, *self.snapshot(bids, asks, event.change_id, ts, ts_recv)]
        if self.status != "live" or last is None:
            content_of(event, texts)  # an inconsistent message is a dead letter anyway
            self.dropped += 1
            self.without_base(event.change_id, ts_recv, connection)
            return []
        if before != last:
            content_of(event, texts)
            if event.change_id <= last:
                return [self.repeated(event.change_id, ts_recv)]
            return self.broken("sequence", event.change_id, ts_recv)
        sides = (self.book.bids, self.book.asks) if self.actions else (None, None)
        try:
            bids = _written(event.bids, texts.bids, sides[0])
            asks = _written(event.asks, texts.asks, sides[1])
        except _Differs:
            return self.broken("actions", event.change_id, ts_recv)
        numbers = None
        if max([len(price) for price, _ in (*bids, *asks)], default=0) <= FLOAT_DIGITS:
            numbers = [level[1:] for level in event.bids], [level[1:] for level in event.asks]
        return [self.delta(bids, asks, None, event.change_id, before, ts, ts_recv, None, numbers)]

    def whole(self, event: wire.Levels, ts_recv: int) -> Outcomes:
        """Take the best levels, which come whole every time, and never from an earlier moment."""
        bids, asks = levels(event.bids), levels(event.asks)
        last, self.whole_messages = self.last_id, True
        if self.status == "live" and last is not None and event.change_id < last:
            return [self.repeated(event.change_id, ts_recv)]
        return self.snapshot(bids, asks, event.change_id, event.timestamp * MS, ts_recv)
