"""How Deribit's book messages follow one another, and what shows that one is missing or wrong.

1. A `snapshot` is the whole book, at any time: at first, and after the channel is subscribed to anew.
2. A `change` follows the message whose `change_id` is its `prev_change_id`. Any other order is a hole.
3. There is no checksum, but each level of a change says what happened to it: `new` for a level that is there, and
   `change` or `delete` of one that is not, show that our book differs from theirs.
4. The book of an instrument that nothing ever happened to has the `change_id` 0 and no levels.

Mended by subscribing to the channel anew. https://docs.deribit.com/subscriptions/orderbook/bookinstrument_nameinterval
"""

from dataclasses import dataclass
from typing import Literal

from marketdata_assets.exchanges.books import BookState
from marketdata_assets.exchanges.deribit.parse import changes, levels
from marketdata_assets.exchanges.deribit.wire import MS, VENUE, WireBook, WireChange, WireLevels
from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.levels import Side
from marketdata_assets.exchanges.records import Gap, Level, OrderBook

Made = list[OrderBook | Gap]


@dataclass
class Chain:
    """The book of one channel. `actions` turns rule 3 off for recordings with levels left out."""

    state: BookState
    connection: int
    actions: bool = True

    def take(self, wire: WireBook, ts_recv: int) -> Made:
        """What a message makes of the book; BadMessage when it contradicts itself."""
        kind, bids, asks = told(wire)
        ts = wire.timestamp * MS
        if kind == "snapshot":
            return self.state.snapshot(bids, asks, wire.change_id, ts, ts_recv)
        return self._follow(wire, bids, asks, ts, ts_recv)

    def whole(self, wire: WireLevels, ts_recv: int) -> Made:
        """Take the best levels, which come whole every time, and never from an earlier moment."""
        bids, asks = levels(wire.bids), levels(wire.asks)
        last = self.state.last_id
        if self.state.status == "live" and last is not None and wire.change_id < last:
            return [self.state.repeated(wire.change_id, ts_recv)]
        return self.state.snapshot(bids, asks, wire.change_id, wire.timestamp * MS, ts_recv)

    def _follow(
        self,
        wire: WireBook,
        bids: tuple[Level, ...],
        asks: tuple[Level, ...],
        ts: int,
        ts_recv: int,
    ) -> Made:
        state, before = self.state, wire.prev_change_id
        if state.status != "live" or state.last_id is None:
            state.dropped += 1
            return []
        if before != state.last_id:
            if wire.change_id <= state.last_id:
                return [state.repeated(wire.change_id, ts_recv)]
            return state.broken("sequence", wire.change_id, ts_recv)
        book = state.book
        if self.actions and not (_fits(book.bids, wire.bids, bids) and _fits(book.asks, wire.asks, asks)):
            return state.broken("actions", wire.change_id, ts_recv)
        return [state.delta(bids, asks, None, wire.change_id, before, ts, ts_recv)]


def told(wire: WireBook) -> tuple[Literal["snapshot", "delta"], tuple[Level, ...], tuple[Level, ...]]:
    """What a message says; BadMessage when it contradicts itself."""
    bids, asks = changes(wire.bids), changes(wire.asks)
    before = wire.prev_change_id
    if wire.type == "snapshot" or (wire.type is None and before is None):
        if any(one[0] != "new" for one in (*wire.bids, *wire.asks)):
            raise BadMessage(VENUE, f"{wire.instrument_name}: a snapshot that changes or deletes a level")
        return "snapshot", bids, asks
    if before is None or before >= wire.change_id:
        raise BadMessage(VENUE, f"{wire.instrument_name}: change {wire.change_id} after {before}")
    if not (_as_told(wire.bids, bids) and _as_told(wire.asks, asks)):
        raise BadMessage(VENUE, f"{wire.instrument_name}: a deleted level with an amount, or a level without one")
    return "delta", bids, asks


def _as_told(wire: list[WireChange], made: tuple[Level, ...]) -> bool:
    """Whether what is deleted has no amount, and everything else has one."""
    return all((one[0] == "delete") != (float(level[1]) > 0) for one, level in zip(wire, made, strict=True))


def _fits(side: Side, wire: list[WireChange], made: tuple[Level, ...]) -> bool:
    """Whether every level that is new was not there, and every other was."""
    return all((one[0] == "new") != (level[0] in side) for one, level in zip(wire, made, strict=True))
