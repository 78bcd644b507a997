"""Order books of Hyperliquid: every message is a whole book of the best levels of both sides.

Rules, from https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/subscriptions:
1. A message replaces the book: 20 levels every two seconds, or, where `fast` was subscribed to, 5 every half second.
   Until June 2026 there was one book, of 20 levels every half second. The two are kept apart.
2. A message has the time of its block and no number. Blocks follow one another, so times only go forward.

Each record is therefore exact at its time, whatever was lost before it. A lost message cannot be proven, and what
happened between two messages is not known. What can be proven are disorder and a crossed book.
"""

import msgspec

from marketdata_assets.exchanges.books import BookState, polled
from marketdata_assets.exchanges.hyperliquid import wire
from marketdata_assets.exchanges.hyperliquid.wire import Pushed
from marketdata_assets.exchanges.records import Control, Level, Outcome
from marketdata_assets.exchanges.wire import MS, Find

decode = msgspec.json.Decoder(Pushed[wire.Book]).decode
_polled = msgspec.json.Decoder(wire.Book).decode


class BookStream(BookState):
    """The book of one coin, from whichever connection is ahead."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.whole_messages = True
        self._before: wire.Book | None = None

    # {"channel":"l2Book","data":{"coin":"ABC","time":1700000000123,"levels":[[{"px":"4.2","sz":"0.5","n":2}],
    #   [{"px":"4.21","sz":"0.7","n":1}]]}}
    # Rules and link: above. `n` is the count of orders.
    def push(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome]:
        """Outcomes of a message. Raises BadMessage or a decoder's error; the caller then has to invalidate the book."""
        book, before = decode(raw).data, self._before
        if self.status == "live" and before is not None and book.time <= before.time:
            if book == before or connection != self.connection:
                self.dropped += 1
                return [Control("ignored", f"{self.stream}:{book.coin} is not newer than the book")]
            if book.time < before.time:
                return [*self.broken("sequence", None, ts_recv)]
        self.connection, self._before = connection, book
        return [*self.snapshot(*_sides(book), None, book.time * MS, ts_recv)]


# {"coin":"ABC","time":1700000000123,"levels":[[{"px":"4.2","sz":"0.5","n":2}],[{"px":"4.21","sz":"0.7","n":1}]]}
# {"type":"l2Book","coin":"ABC"}; the books of the socket do not depend on it.
def polled_book(raw: bytes, ts_recv: int, find: Find) -> list[Outcome]:
    """The record of a REST order book, which has to pass the checks of a book that is kept."""
    book = _polled(raw)
    return [polled(find(book.coin), *_sides(book), None, book.time * MS, ts_recv)]


def _sides(book: wire.Book) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
    bids, asks = book.levels
    return tuple([(level.px, level.sz) for level in bids]), tuple([(level.px, level.sz) for level in asks])
