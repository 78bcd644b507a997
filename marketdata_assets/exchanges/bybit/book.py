"""Order books of Bybit: how the messages of a topic follow one another.

Rules, from https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook:
1. A `snapshot` is the whole book and replaces the previous one. It comes first after a subscription, and again whenever
   Bybit had a problem. `u` 1 is a snapshot too: the service was restarted.
2. `u` numbers the messages of a topic: that of a `delta` is one more than that of the message before it.
3. A level of a `delta` replaces the size at its price; size 0 takes the price away. That comes as well for a level that
   leaves the depth of the topic.
4. Of depth 1 only snapshots come; after 3 s without a change the same one is repeated, with the same `u`.
5. `seq` grows over all topics. A repeated message has the same one, a message after a restart of the numbering has not.

A new subscription resyncs the book; there is no checksum.
"""

from typing import Generic, Literal, TypeVar

import msgspec

from marketdata_assets.exchanges.books import BookState, BothNumbers
from marketdata_assets.exchanges.levels import Number, ShortPrice
from marketdata_assets.exchanges.records import Level, Outcome
from marketdata_assets.exchanges.wire import MS, Millis, Sequence, Wire

T = TypeVar("T", bound="WireBook")

RESTARTED = 1
"""The `u` of a snapshot after a restart of the service."""


class WireBook(Wire, frozen=True, gc=False):
    bids: tuple[Level, ...] = msgspec.field(name="b")  # price and size, best first
    asks: tuple[Level, ...] = msgspec.field(name="a")
    number: Sequence = msgspec.field(name="u")  # of the message in its topic
    seq: Sequence = 0  # of the venue


class WireShortBook(WireBook, frozen=True, gc=False):
    """A book whose prices are distinct as floats."""

    bids: tuple[tuple[ShortPrice, str], ...] = msgspec.field(name="b")
    asks: tuple[tuple[ShortPrice, str], ...] = msgspec.field(name="a")


class WireNumbers(Wire, frozen=True, gc=False):
    """The levels again, as numbers."""

    bids: list[tuple[Number, Number]] = msgspec.field(name="b")
    asks: list[tuple[Number, Number]] = msgspec.field(name="a")


class BookMessage(msgspec.Struct, Generic[T], frozen=True, gc=False):
    type: Literal["snapshot", "delta"]
    data: T
    ts: Millis
    cts: Millis | None = None  # when the matching engine made it


class NumbersMessage(Wire, frozen=True, gc=False):
    data: WireNumbers


_book = msgspec.json.Decoder(BookMessage[WireBook], strict=False).decode
_short_book = msgspec.json.Decoder(BookMessage[WireShortBook], strict=False).decode
_numbers = msgspec.json.Decoder(NumbersMessage, strict=False).decode


class BookStream(BookState):
    """One book topic. It hangs on the connection that its last snapshot came over: that of another one is redundant."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.whole_messages = self.stream == "orderbook.1"
        self._seq = 0  # of the last message that is in the book

    # {"topic":"orderbook.50.ABCUSDT","type":"delta","ts":1700000000125,"data":{"s":"ABCUSDT","b":[["4.20","0.5"],
    #   ["4.19","0"]],"a":[["4.22","1.5"]],"u":12,"seq":7001},"cts":1700000000123}
    # Rules and link: above.
    def push(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome]:
        """Outcomes of a message. Raises BadMessage or a decoder's error; the caller then has to invalidate the book."""
        numbers: BothNumbers | None = None
        try:  # levels as numbers too, where every one is short enough for that
            message: BookMessage[WireBook] | BookMessage[WireShortBook] = _short_book(raw)
            levels = _numbers(raw).data
            numbers = levels.bids, levels.asks
        except msgspec.ValidationError:
            message = _book(raw)
        ts_event = (message.ts if message.cts is None else message.cts) * MS
        if message.type == "snapshot" or message.data.number == RESTARTED:
            return self._snapshot(message.data, ts_event, ts_recv, connection)
        return self._update(message.data, numbers, ts_event, ts_recv, connection)

    def _snapshot(self, book: WireBook, ts_event: int, ts_recv: int, connection: int) -> list[Outcome]:
        outcomes = list[Outcome]()
        if self.last_id is None or book.number != self.last_id + 1:  # the next message may be a whole book
            outcomes += self.skipped(book.number, ts_recv, connection)
        outcomes += self.snapshot(book.bids, book.asks, book.number, ts_event, ts_recv)
        self.connection, self._seq = connection, book.seq
        return outcomes

    def _update(
        self, book: WireBook, numbers: BothNumbers | None, ts_event: int, ts_recv: int, connection: int
    ) -> list[Outcome]:
        last, number = self.last_id, book.number
        if self.status != "live" or last is None or connection != self.connection:
            return [self.passed_over(number, ts_recv, connection)]
        if number != last + 1:
            if number <= last and book.seq <= self._seq:
                return [self.repeated(number, ts_recv)]
            return [*self.broken("sequence", number, ts_recv)]
        outcome = self.delta(book.bids, book.asks, number, number, None, ts_event, ts_recv, None, numbers)
        self._seq = book.seq
        return [outcome]
