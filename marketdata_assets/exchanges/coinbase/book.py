"""Order books of Coinbase: the whole book, and then what changes in it.

Rules, from https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels, level2 channel:
1. A `snapshot` is the whole book and replaces the previous one. It comes first after a subscription.
2. A level of an `update` has the size at its price; 0 takes the price away. Several of a price follow one another.
3. `sequence_num` of the envelope numbers the messages of a connection, of all channels. A number that is missing is a
   message of any book, so that all books of the connection are broken; a lower one came before (`feed`).

A message is not numbered within its book. The number that our records have is its time in ns, or one more than that
before it where it is not later. A new subscription resyncs the book; there is no checksum.
"""

import msgspec

from marketdata_assets.exchanges.books import BookState
from marketdata_assets.exchanges.coinbase import wire
from marketdata_assets.exchanges.coinbase.wire import Pushed
from marketdata_assets.exchanges.records import Level, Outcome
from marketdata_assets.exchanges.wire import rfc3339

decode = msgspec.json.Decoder(Pushed[wire.Book]).decode


class BookStream(BookState):
    """The book of one product. It hangs on the connection of its last snapshot: that of another one is redundant."""

    # {"channel":"l2_data","client_id":"","timestamp":"2026-01-31T08:00:00.3Z","sequence_num":1,"events":[
    #   {"type":"update","product_id":"ABC-USD","updates":[{"side":"bid","event_time":"2026-01-31T08:00:00.223456Z",
    #   "price_level":"4.216","new_quantity":"2.00000000"}]}]}
    # {"channel":"l2_data","client_id":"","timestamp":"2026-01-31T08:00:00.2Z","sequence_num":0,"events":[
    #   {"type":"snapshot","product_id":"ABC-USD","updates":[{"side":"offer","event_time":"1970-01-01T00:00:00Z",
    #   "price_level":"4.218","new_quantity":"1.50000000"}]}]}
    # Rules and link: above.
    def push(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome]:
        """Outcomes of a message. Raises BadMessage or a decoder's error; the caller then has to invalidate the book."""
        message = decode(raw)
        outcomes: list[Outcome] = []
        for book in message.events:
            if book.product_id != self.instrument.name or not book.updates:
                continue
            bids, asks = _side(book, "bid"), _side(book, "offer")
            if book.type == "snapshot":
                ts_event = rfc3339(message.timestamp)
                last_id = self.number_of_snapshot(bids, asks, ts_event, connection)
                outcomes += self.skipped(last_id, ts_recv, connection)
                outcomes += self.snapshot(bids, asks, last_id, ts_event, ts_recv)
                self.connection = connection
                continue
            ts_event = rfc3339(book.updates[-1].event_time)
            if self.status != "live" or connection != self.connection:
                outcomes.append(self.passed_over(ts_event, ts_recv, connection))
            else:
                ids = None, self.position(ts_event), self.last_id
                outcomes.append(self.delta(bids, asks, *ids, ts_event, ts_recv))
        return outcomes


def _side(book: wire.Book, side: str) -> tuple[Level, ...]:
    return tuple([(level.price_level, level.new_quantity) for level in book.updates if level.side == side])
