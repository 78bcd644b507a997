"""Order books of OKX: how the messages of a channel follow one another, and the checksum of older recordings.

Rules, from https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel:
1. A message with action `snapshot`, or with prevSeqId -1, is the whole book and replaces the previous one.
2. prevSeqId of an update is the seqId before it. It may be its own seqId when nothing changed for a while, and seqId
   may be smaller after maintenance; both still name the one before. Ours: any other update whose seqId and time are
   not after those of the book is in it already.
3. `checksum` is the CRC-32, as a signed number, of the best 25 levels of both sides, bid and ask by turns, each as
   price:size in the texts that were sent. Since 2026 it is 0, which says nothing.
4. `books5` sends five whole levels of both sides each time.
Messages of before 2023 carry no sequence numbers. For these a message that equals the one before it is a repeat, one
that is older than the one before it is out of order, and a lost one shows in the checksum.
"""

from collections.abc import Callable
from itertools import chain, zip_longest
from typing import Generic, Literal, TypeVar
from zlib import crc32

import msgspec

from marketdata_assets.exchanges.books import Book, BookState, BothNumbers, polled
from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.levels import Number, ShortPrice
from marketdata_assets.exchanges.okx import wire
from marketdata_assets.exchanges.okx.wire import VENUE, Data, Sequence
from marketdata_assets.exchanges.records import Level, Outcome, Parser
from marketdata_assets.exchanges.wire import MS, Millis, Wire

T = TypeVar("T", bound="WireBook")

CHECKED_LEVELS = 25
WHOLE = frozenset({"books5"})  # channels that send a whole book each time

CHANGES = frozenset({"books", "books-l2-tbt", "books50-l2-tbt", "books-elp", "books-rpi"})
"""Channels that send a snapshot and then what changes."""


class WireBook(Wire, frozen=True, gc=False):
    asks: tuple[wire.Level, ...]
    bids: tuple[wire.Level, ...]
    ts: Millis
    checksum: int = 0
    seq_id: Sequence | None = msgspec.field(name="seqId", default=None)
    prev_seq_id: Sequence | None = msgspec.field(name="prevSeqId", default=None)


class WireShortLevel(wire.Level, frozen=True, gc=False, array_like=True):
    """A level whose price is distinct as a float."""

    price: ShortPrice
    size: str


class WireShortBook(WireBook, frozen=True, gc=False):
    asks: tuple[WireShortLevel, ...]
    bids: tuple[WireShortLevel, ...]


class WireNumbers(Wire, frozen=True, gc=False, array_like=True):
    """A level again, as numbers."""

    price: Number
    size: Number


class BookNumbers(Wire, frozen=True, gc=False):
    asks: list[WireNumbers]
    bids: list[WireNumbers]


class WireBooks(msgspec.Struct, Generic[T], frozen=True, gc=False):
    data: list[T]
    action: Literal["snapshot", "update"] | None = None


_books = msgspec.json.Decoder(WireBooks[WireBook], strict=False).decode
_short_books = msgspec.json.Decoder(WireBooks[WireShortBook], strict=False).decode
_numbers = msgspec.json.Decoder(Data[BookNumbers], strict=False).decode


class BookStream(BookState):
    """One book channel of one instrument. It hangs on the connection that its last snapshot came over.

    A second connection with the same channel is redundant: its updates are not taken into this book.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.whole_messages = self.stream in WHOLE
        self._before: tuple[WireBook | None, int | None] = (None, None)  # the last message, and the one it followed

    # {"arg":{"channel":"books","instId":"ABC-USDT"},"action":"update","data":[{"asks":[["4.21","0.5","0","2"]],
    #   "bids":[["4.2","0","0","0"]],"ts":"1700000000123","checksum":0,"prevSeqId":90,"seqId":91}]}
    # Rules and link: above. A level is price, size, a number without meaning, count of orders; size 0 takes it away.
    def push(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome]:
        """Outcomes of a message. Raises BadMessage or a decoder's error; the caller then has to invalidate the book."""
        try:  # levels as numbers too, where every one is short enough for that
            message: WireBooks[WireBook] | WireBooks[WireShortBook] = _short_books(raw)
            numbers = _numbers(raw).data
        except msgspec.ValidationError:
            message, numbers = _books(raw), []
        outcomes: list[Outcome] = []
        for book, levels in zip_longest(message.data, numbers):
            whole = message.action == "snapshot" or book.prev_seq_id == -1 or self.stream in WHOLE
            if not whole and message.action is None:
                raise BadMessage(VENUE, f"{self.stream} without an action")
            if whole:
                bids, asks, verify = _levels(book.bids), _levels(book.asks), _verify(book.checksum)
                if not self.whole_messages:
                    outcomes += self.skipped(book.seq_id, ts_recv, connection)
                outcomes += self.snapshot(bids, asks, book.seq_id, book.ts * MS, ts_recv, verify=verify)
                self.connection, self._before = connection, (book, book.prev_seq_id)
            else:
                outcomes += self._update(book, levels, ts_recv, connection)
        return outcomes

    def _update(self, book: WireBook, levels: BookNumbers | None, ts_recv: int, connection: int) -> list[Outcome]:
        if self.status != "live" or connection != self.connection:
            return [self.passed_over(book.seq_id, ts_recv, connection)]
        fault = self._fault(book)
        if fault == "repeat":
            return [self.repeated(book.seq_id, ts_recv)]
        if fault == "sequence":
            return [*self.broken("sequence", book.seq_id, ts_recv)]
        prev_id, verify = book.prev_seq_id, _verify(book.checksum)
        bids, asks = _levels(book.bids), _levels(book.asks)
        numbers: BothNumbers | None = None
        if levels is not None:
            numbers = [(one.price, one.size) for one in levels.bids], [(one.price, one.size) for one in levels.asks]
        seq_id = book.seq_id
        outcome = self.delta(bids, asks, seq_id, seq_id, prev_id, book.ts * MS, ts_recv, verify, numbers)
        self._before = book, prev_id
        return [outcome]

    def _fault(self, book: WireBook) -> Literal["repeat", "sequence"] | None:
        last, last_prev = self._before
        if book.prev_seq_id is None or book.seq_id is None:
            if last is None or book.ts > last.ts:
                return None
            if book.ts < last.ts:
                return "sequence"
            return "repeat" if book == last else None
        if book.prev_seq_id == self.last_id:
            return None
        if last and self.last_id is not None and book.seq_id <= self.last_id and book.ts <= last.ts:
            return "repeat"
        return "repeat" if (book.seq_id, book.prev_seq_id) == (self.last_id, last_prev) else "sequence"


# {"code":"0","msg":"","data":[{"asks":[["4.21","0.5","0","2"]],"bids":[["4.2","1","0","1"]],"ts":"1700000000123"}]}
# https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-order-book; none is built on it.
def polled_books(instrument: Instrument) -> Parser:
    """Parser of REST order books of one instrument, which have to pass the checks of a book that is kept."""

    def parse(raw: bytes, ts_recv: int, _: int) -> list[Outcome]:
        return [
            polled(instrument, _levels(book.bids), _levels(book.asks), book.seq_id, book.ts * MS, ts_recv)
            for book in _books(raw).data
        ]

    return parse


def checksum(book: Book) -> int:
    """The checksum of rule 3."""
    bids, asks = book.top(CHECKED_LEVELS)
    paired = min(len(bids), len(asks))
    texts = chain(
        chain.from_iterable(chain.from_iterable(zip(bids, asks, strict=False))),
        chain.from_iterable(bids[paired:]),
        chain.from_iterable(asks[paired:]),
    )
    value = crc32(":".join(texts).encode())
    return value - (1 << 32) if value >> 31 else value


def _verify(expected: int) -> Callable[[Book], bool] | None:
    return (lambda book: checksum(book) == expected) if expected else None


def _levels(levels: tuple[wire.Level, ...]) -> tuple[Level, ...]:
    return tuple([(level.price, level.size) for level in levels])
