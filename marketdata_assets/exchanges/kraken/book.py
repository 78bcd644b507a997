"""Order books of Kraken: how the messages of a pair follow one another, and what shows that one is missing.

Rules, from https://docs.kraken.com/exchange/guides/websockets/book-checksum-v2:
1. A `snapshot` is the whole book, of so many levels of a side as were subscribed to, and replaces the previous one.
2. A level of an `update` replaces the size at its price, one after the other; size 0 takes the price away.
3. After an update, levels beyond the depth that was subscribed to are removed: nothing is sent of those that leave it.
   Our records remove them with size 0.
4. Messages are not numbered. `checksum` is the CRC-32 of the best ten levels of both sides, offers first: price and
   size without their point and the zeros before the first digit. Both have the decimals of the list of pairs; where a
   number came with fewer, zeros are added.
5. Of the levels after the tenth nothing is checked. With depth 10, the usual one, every difference shows at once.
6. Ours: an update that is older than the one before it is not taken.

The number that our records have of a message is its time in ns, or one more than that before it where it is not later.
A new subscription resyncs the book.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from zlib import crc32

import msgspec

from marketdata_assets.exchanges import checkpoints
from marketdata_assets.exchanges.books import Book, BookState
from marketdata_assets.exchanges.checkpoints import BookCheckpoint
from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.kraken import wire
from marketdata_assets.exchanges.kraken.wire import VENUE, Pushed
from marketdata_assets.exchanges.records import Gap, Level, OrderBook, Outcome
from marketdata_assets.exchanges.wire import number, rfc3339

CHECKED_LEVELS = 10
DEPTHS = (10, 25, 100, 500, 1000)

decode = msgspec.json.Decoder(Pushed[wire.Book]).decode
_depth = msgspec.json.Decoder(int | None).decode


class BookStream(BookState):
    """The book of one pair. It hangs on the connection that its last snapshot came over: another one is redundant."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._before: tuple[bytes, int] = b"", 0  # the last message, and the time of the last update

    # {"channel":"book","type":"update","data":[{"symbol":"ABC/USD","bids":[{"price":4.2160,"qty":1098.39475580}],
    #   "asks":[],"checksum":2114181697,"timestamp":"2026-01-31T08:00:00.440295Z"}]}
    # {"channel":"book","type":"snapshot","data":[{"symbol":"ABC/USD","bids":[{"price":4.2160,"qty":4831.75496356}],
    #   "asks":[{"price":4.2180,"qty":4410.79769741}],"checksum":678988062,"timestamp":"2026-01-31T08:00:00.3Z"}]}
    # Rules and link: above.
    def push(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome]:
        """Outcomes of a message. Raises BadMessage or a decoder's error; the caller then has to invalidate the book."""
        message = decode(raw)
        outcomes: list[Outcome] = []
        for book in message.data:
            if book.symbol == self.instrument.name:
                take = self._snapshot if message.type == "snapshot" else self._update
                outcomes += take(book, raw, ts_recv, connection)
        return outcomes

    def pending(self) -> bytes:
        return checkpoints.encode(self.depth) if self.depth else super().pending()

    def restore(self, point: BookCheckpoint, ts_recv: int) -> list[OrderBook | Gap]:
        self.depth = _depth(point.pending) or 0
        return super().restore(point, ts_recv)

    def _snapshot(self, book: wire.Book, raw: bytes, ts_recv: int, connection: int) -> list[Outcome]:
        ts_event = None if book.timestamp is None else rfc3339(book.timestamp)
        bids, asks = _levels(book.bids), _levels(book.asks)
        last_id = self.number_of_snapshot(bids, asks, ts_event, connection)
        outcomes = self.skipped(last_id, ts_recv, connection)
        most = max(len(bids), len(asks))
        self.depth = self.depth or next((depth for depth in DEPTHS if depth >= most), most)
        outcomes += self.snapshot(
            bids, asks, last_id, ts_event, ts_recv, verify=lambda made: self.checksum(made) == book.checksum
        )
        self.connection, self._before = connection, (raw, 0)
        return [*outcomes]

    def _update(self, book: wire.Book, raw: bytes, ts_recv: int, connection: int) -> list[Outcome]:
        if book.timestamp is None:
            raise BadMessage(VENUE, f"an update of {book.symbol} without a timestamp")
        ts_event, bids, asks = rfc3339(book.timestamp), _levels(book.bids), _levels(book.asks)
        if self.status != "live" or connection != self.connection:
            return [self.passed_over(ts_event, ts_recv, connection)]
        if raw == self._before[0] or ts_event < self._before[1]:  # its checksum may be right, of the book of then
            return [self.repeated(ts_event, ts_recv)]
        self._before = raw, ts_event
        ids = None, self.position(ts_event), self.last_id
        return [self.delta(bids, asks, *ids, ts_event, ts_recv, lambda made: self.checksum(made) == book.checksum)]

    def checksum(self, book: Book) -> int:
        """The checksum of rule 4."""
        bids, asks = book.top(CHECKED_LEVELS)
        decimals = self.instrument.decimals or (0, 0)
        return crc32("".join(_digits([*asks, *bids], decimals)).encode())


def _digits(levels: Iterable[Level], decimals: tuple[int, int]) -> Iterable[str]:
    for level in levels:
        for text, most in zip(level, decimals, strict=True):
            whole, _, fraction = (f"{Decimal(text):f}" if "e" in text.lower() else text).partition(".")
            yield (whole + fraction.ljust(most, "0")).lstrip("0")


def _levels(levels: Sequence[wire.Level]) -> tuple[Level, ...]:
    return tuple([(number(level.price), number(level.qty)) for level in levels])
