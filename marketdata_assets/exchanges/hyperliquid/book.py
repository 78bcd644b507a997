"""Order books of Hyperliquid: every message is a whole book of the best levels of both sides.

Rules, from https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/subscriptions:
1. A message replaces the book: 20 levels every two seconds, or, where `fast` was subscribed to, 5 every half second.
   Until June 2026 there was one book, of 20 levels every half second. The two are kept apart.
2. A message has the time of its block and no number. Blocks follow one another, so times only go forward.

Each record is therefore exact at its time, whatever was lost before it. A lost message cannot be proven, and what
happened between two messages is not known. What can be proven are disorder and a crossed book.
"""

import msgspec

from marketdata_assets.exchanges.books import BookState
from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.hyperliquid import wire
from marketdata_assets.exchanges.hyperliquid.wire import VENUE, Pushed
from marketdata_assets.exchanges.records import Control, Level, OrderBook, Outcome
from marketdata_assets.exchanges.wire import MS, Find

decode = msgspec.json.Decoder(Pushed[wire.Book]).decode
_polled = msgspec.json.Decoder(wire.Book).decode


class BookStream:
    """The book of one coin, from whichever connection is ahead."""

    def __init__(self, state: BookState) -> None:
        self.state = state
        state.whole_messages = True
        self._before: wire.Book | None = None

    # {"channel":"l2Book","data":{"coin":"ABC","time":1700000000123,"levels":[[{"px":"4.2","sz":"0.5","n":2}],
    #   [{"px":"4.21","sz":"0.7","n":1}]]}}
    # Rules and link: above. `n` is the count of orders.
    def push(self, book: wire.Book, ts_recv: int, connection: int) -> list[Outcome]:
        """Outcomes of a message. Raises BadMessage; the caller then has to invalidate the book."""
        state, before = self.state, self._before
        if state.status == "live" and before is not None and book.time <= before.time:
            if book == before or connection != state.connection:
                state.dropped += 1
                return [Control("ignored", f"{state.stream}:{book.coin} is not newer than the book")]
            if book.time < before.time:
                return [*state.broken("sequence", None, ts_recv)]
        state.connection, self._before = connection, book
        return [*state.snapshot(*_sides(book), None, book.time * MS, ts_recv)]


# {"coin":"ABC","time":1700000000123,"levels":[[{"px":"4.2","sz":"0.5","n":2}],[{"px":"4.21","sz":"0.7","n":1}]]}
# {"type":"l2Book","coin":"ABC"}; the books of the socket do not depend on it.
def polled(raw: bytes, ts_recv: int, find: Find) -> list[Outcome]:
    """The record of a REST order book, which has to pass the checks of a book that is kept."""
    book = _polled(raw)
    state = BookState(find(book.coin), "polled")
    record = state.snapshot(*_sides(book), None, book.time * MS, ts_recv)[0]
    if not isinstance(record, OrderBook):
        raise BadMessage(VENUE, f"a crossed book of {book.coin}")
    return [record]


def _sides(book: wire.Book) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
    bids, asks = book.levels
    return tuple([(level.px, level.sz) for level in bids]), tuple([(level.px, level.sz) for level in asks])
