"""Order books by price, and the status of one: waiting for its snapshot, live, or broken by a gap in its stream.

The sequence rules of a venue are in its module `book`; what a gap, a duplicate or a crossed book means is the same for
all venues and defined here, and so is what a feed offers: live traffic, captures and history go through the same one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from hashlib import sha256
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

import msgspec

from marketdata_assets.exchanges import checkpoints
from marketdata_assets.exchanges.checkpoints import (
    BookCheckpoint,
    FeedCheckpoint,
    InstrumentsCheckpoint,
    StateCheckpoint,
)
from marketdata_assets.exchanges.decimals import plain
from marketdata_assets.exchanges.errors import UNREADABLE, BadMessage, UnknownVenue
from marketdata_assets.exchanges.instruments import Instrument, Instruments, Listing
from marketdata_assets.exchanges.levels import BadLevel, Numbers, Side, needs_decimals, numbers_of
from marketdata_assets.exchanges.records import (
    Control,
    DeadLetter,
    Exchange,
    Gap,
    Level,
    MarketType,
    OrderBook,
    Outcome,
    Parser,
)
from marketdata_assets.logs import get_logger

log = get_logger(__name__)

Status = Literal["waiting", "live", "broken"]
Cause = Literal[
    "sequence",  # an update that does not follow the last one
    "repeat",  # an update that is in the book already
    "crossed",  # the best bid is not below the best offer
    "checksum",  # the book is not what the venue's checksum says
    "actions",  # a level is new that exists, or changed that does not
    "best prices",  # the book's best prices are not those that the venue sends
    "reopened",  # the socket was closed and opened again
]

KEPT_ROUTES = 20_000  # more channels than connections could carry; what comes after that many is not remembered

BothNumbers = tuple[Numbers, Numbers]  # of bids and asks
Verify = Callable[["Book"], bool]  # whether a book agrees with the checksum that came with a message


@dataclass(frozen=True)
class ResyncRequest:
    """A book that is out of sync and needs a new snapshot. It is removed once the book is live."""

    instrument: str  # the venue's own name
    stream: str  # of the book
    how: Literal["snapshot", "subscription"]  # a snapshot over REST, or a new subscription of the channel
    since: int  # ns, when that was seen


class Book:
    """Both sides of a book. Levels that are no numbers raise BadLevel and change nothing."""

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids = Side(buying=True)
        self.asks = Side(buying=False)

    def replace(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Replace all levels by a snapshot."""
        exact = self.bids.exact or needs_decimals(bids) or needs_decimals(asks)
        numbers = numbers_of(bids, exact), numbers_of(asks, exact)
        self.clear()
        self.bids.exact = self.asks.exact = exact
        self.bids.apply(bids, numbers[0])
        self.asks.apply(asks, numbers[1])

    def apply(self, bids: Sequence[Level], asks: Sequence[Level], numbers: BothNumbers | None = None) -> None:
        """Take in what changed.

        A venue that reads both sides a second time as Number, and their prices as ShortPrice, spares us some time.
        """
        exact = self.bids.exact
        if numbers is None or exact:
            if not exact and (needs_decimals(bids) or needs_decimals(asks)):
                levels, exact = self.levels(), True
                self.bids.exact = True
                self.replace(*levels)
            numbers = numbers_of(bids, exact), numbers_of(asks, exact)
        self.bids.apply(bids, numbers[0])
        self.asks.apply(asks, numbers[1])

    def cut(self, depth: int) -> tuple[list[Level], list[Level]]:
        """Remove the levels beyond the best `depth` of a side; what removes them, by side."""
        sides = self.bids, self.asks
        if max(map(len, sides)) <= depth:
            return [], []
        bids, asks = ([(price, "0") for price, _ in side.ordered()[depth:]] for side in sides)
        self.apply(bids, asks)
        return bids, asks

    def clear(self) -> None:
        self.bids.clear()
        self.asks.clear()

    def bbo(self) -> tuple[Level | None, Level | None]:
        """The best bid and the best offer."""
        return self.bids.best(), self.asks.best()

    def top(self, n: int) -> tuple[list[Level], list[Level]]:
        """The best n levels of both sides."""
        return self.bids.top(n), self.asks.top(n)

    def levels(self) -> tuple[list[Level], list[Level]]:
        """All levels, best first."""
        return self.bids.ordered(), self.asks.ordered()

    @property
    def crossed(self) -> bool:
        """Whether the best bid is not below the best offer."""
        bid, ask = self.bids.best_price(), self.asks.best_price()
        return bid is not None and ask is not None and bid >= ask

    def sha256_all_levels(self) -> str:
        """A digest of all levels that does not depend on how their numbers are spelled."""
        sides = (";".join("@".join(plain(Decimal(text)) for text in level) for level in side) for side in self.levels())
        return sha256("|".join(sides).encode()).hexdigest()


@dataclass
class Unbased:
    """Changes that came while a book had never had a snapshot: they are in no record."""

    first_id: int | None
    connection: int
    ts_from: int  # ns, receive time of the first one
    ts_to: int  # and of the last one


@dataclass
class BookState:
    """A book and its status. A gap invalidates it before anything derived from wrong data is emitted."""

    instrument: Instrument
    stream: str
    book: Book = field(default_factory=Book)
    status: Status = "waiting"
    last_id: int | None = None  # of the last update that is in the book
    ts_last: int = 0  # ns, when that one was received
    gaps: int = 0
    applied: int = 0  # deltas that are in the book, or were
    dropped: int = 0  # deltas from before a snapshot
    checksum_ok: int = 0
    checksum_bad: int = 0
    open_gap: Gap | None = None  # not closed yet
    connection: int = 0  # that it follows
    whole_messages: bool = False  # each message is a whole book, perhaps of the best levels only
    depth: int = 0  # levels of a side, where the venue says nothing of those that leave them; 0 where it does
    unbased: Unbased | None = None
    _record: Callable[..., OrderBook] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._record = partial(OrderBook, *self.instrument.key)

    def snapshot(
        self,
        bids: tuple[Level, ...],
        asks: tuple[Level, ...],
        last_id: int | None,
        ts_event: int | None,
        ts_recv: int,
        *,
        verify: Verify | None = None,
    ) -> list[OrderBook | Gap]:
        """Start from a whole book: its record, and the gap that it closes; or the gap that it opens itself.

        Raises BadMessage, then nothing has changed.
        """
        book = Book()
        try:
            book.replace(bids, asks)
        except BadLevel as error:
            raise self._bad(error) from None
        self.book, self.last_id, self.ts_last = book, last_id, ts_recv
        cause = self._wrong(verify)
        if cause:
            return self.broken(cause, last_id, ts_recv)
        self.status = "live"
        ordered = book.levels()
        content = "snapshot", tuple(ordered[0]), tuple(ordered[1]), self.instrument.unit
        return [self._record(ts_event, ts_recv, *content, None, last_id), *self._healed(ts_recv)]

    def record(self, now: int) -> OrderBook | None:
        """The book at `now` (ns) as a record of our own; None where it is not live, or has no position in a stream."""
        if self.status != "live" or self.last_id is None or self.whole_messages:
            return None
        bids, asks = self.book.levels()
        content = "checkpoint", tuple(bids), tuple(asks), self.instrument.unit
        return self._record(now, now, *content, None, self.last_id, None)

    def position(self, ts_event: int) -> int:
        """The number that records have of a message without one: its time, or one more than the last number."""
        return ts_event if self.last_id is None else max(ts_event, self.last_id + 1)

    def pending(self) -> bytes:
        """What the venue's sequence rules keep besides, for a checkpoint."""
        return b"null"

    def checkpoint(self, key: str) -> BookCheckpoint | None:
        """What a feed needs to continue this book; None where it has none and no gap."""
        pending = self.pending()
        if self.status != "live" and self.open_gap is None and pending == b"null":
            return None
        return BookCheckpoint(
            key,
            self.stream,
            self.instrument,
            self.status,
            self.connection,
            self.last_id,
            self.ts_last,
            self.open_gap,
            self.book.bids.unordered(),
            self.book.asks.unordered(),
            msgspec.Raw(pending),
        )

    def restore(self, point: BookCheckpoint, ts_recv: int) -> list[OrderBook | Gap]:
        """Continue from a checkpoint: the record of a live book, and the gap of what was missed before it, healed.

        A gap that the checkpoint has was recorded before it. Raises BadMessage, then nothing has changed.
        """
        book = Book()
        try:
            book.replace(point.bids, point.asks)
        except BadLevel as error:
            raise self._bad(error) from None
        outcomes: list[OrderBook | Gap] = []
        if self.status == "live" and (point.status != "live" or self.last_id != point.last_id):
            outcomes += [point.open_gap] if point.open_gap else self.broken("sequence", point.last_id, ts_recv)
        self.book, self.status, self.last_id = book, point.status, point.last_id
        self.ts_last, self.connection = point.ts_last, point.connection
        if self.status != "live":
            self.open_gap = self.open_gap or point.open_gap
            return outcomes
        record = self.record(ts_recv)
        return [*outcomes, *([record] if record else []), *self._healed(ts_recv)]

    def without_base(self, first_id: int | None, ts_recv: int, connection: int) -> None:
        """Note a change that came before any snapshot."""
        if self.status != "waiting":
            return
        if self.unbased is None:
            self.unbased = Unbased(first_id, connection, ts_recv, ts_recv)
        self.unbased.ts_to = ts_recv

    def passed_over(self, first_id: int | None, ts_recv: int, connection: int) -> Control:
        """Leave out a change that another connection brings as well, or that no snapshot came before."""
        self.dropped += 1
        self.without_base(first_id, ts_recv, connection)
        why = "another connection has it" if self.status == "live" else f"{self.status}, no snapshot since"
        return Control("ignored", f"{self.stream}:{self.instrument.name} {why}")

    def _healed(self, ts_recv: int) -> list[OrderBook | Gap]:
        gap, self.open_gap = self.open_gap, None
        if gap is None:
            return []
        self._log("gap_closed", gap.cause)
        return [msgspec.structs.replace(gap, healed_at=ts_recv)]

    def delta(
        self,
        bids: tuple[Level, ...],
        asks: tuple[Level, ...],
        first_id: int | None,
        last_id: int | None,
        prev_id: int | None,
        ts_event: int | None,
        ts_recv: int,
        verify: Verify | None = None,
        numbers: BothNumbers | None = None,
    ) -> OrderBook | Gap:
        """Apply the update that follows `last_id` to a live book: its record, or the gap that it opens.

        Raises BadMessage, then nothing has changed and the next update will not follow.
        """
        try:
            self.book.apply(bids, asks, numbers)
        except BadLevel as error:
            raise self._bad(error) from None
        if self.depth:
            gone = self.book.cut(self.depth)
            bids, asks = (*bids, *gone[0]), (*asks, *gone[1])
        cause = self._wrong(verify) if verify or self.book.crossed else None
        if cause:
            return self.broken(cause, first_id, ts_recv)[0]
        self.applied += 1
        self.last_id, self.ts_last = last_id, ts_recv
        return self._record(ts_event, ts_recv, "delta", bids, asks, self.instrument.unit, first_id, last_id, prev_id)

    def broken(self, cause: Cause, next_id: int | None, ts_recv: int) -> list[OrderBook | Gap]:
        """Invalidate the book: the gap, or nothing when one is open already."""
        self.status = "broken"
        if self.open_gap:
            return []
        self.open_gap = self._gap(cause, next_id, ts_recv)
        self._log("gap_opened", cause)
        return [self.open_gap]

    def skipped(self, next_id: int | None, ts_recv: int, connection: int) -> list[OrderBook | Gap]:
        """A live book gets a snapshot: the gap of the changes between, where there were any.

        That of another connection, which takes over, may be older, and is followed by what is known already.
        """
        if self.status != "live" or self.last_id is None or next_id is None or next_id == self.last_id:
            return []
        if connection != self.connection and next_id < self.last_id:
            return []
        return self.broken("sequence", next_id, ts_recv)

    def number_of_snapshot(
        self, bids: tuple[Level, ...], asks: tuple[Level, ...], ts_event: int | None, connection: int
    ) -> int | None:
        """The number of a snapshot without one: its time, or that of the live book, which has not changed since."""
        if self.status != "live" or connection == self.connection:
            return ts_event
        book = Book()
        try:
            book.replace(bids, asks)
        except BadLevel:
            return ts_event
        return self.last_id if book.sha256_all_levels() == self.book.sha256_all_levels() else ts_event

    def repeated(self, next_id: int | None, ts_recv: int) -> Gap:
        """A live book received an update that it has already: a gap that is closed at once, since it is not applied."""
        return msgspec.structs.replace(self._gap("repeat", next_id, ts_recv), healed_at=ts_recv)

    def reopened(self, ts_recv: int) -> list[OrderBook | Gap]:
        """The socket was reopened: messages may be missing. A waiting book keeps waiting."""
        return self.broken("reopened", None, ts_recv) if self.status == "live" else []

    def _log(self, event: str, cause: str) -> None:
        instrument = self.instrument
        log.info(event, venue=instrument.exchange, instrument=instrument.name, stream=self.stream, gap=cause)

    def _bad(self, error: BadLevel) -> BadMessage:
        return BadMessage(self.instrument.exchange, f"{self.instrument.name} {self.stream}: {error}")

    def _wrong(self, verify: Verify | None) -> Cause | None:
        if verify:
            if not verify(self.book):
                self.checksum_bad += 1
                return "checksum"
            self.checksum_ok += 1
        return "crossed" if self.book.crossed else None

    def _gap(self, cause: Cause, next_id: int | None, ts_recv: int) -> Gap:
        self.gaps += 1
        since = min(self.ts_last or ts_recv, ts_recv)  # the clock may have been set back
        return Gap(*self.instrument.key, self.stream, self.last_id, next_id, since, ts_recv, cause)


def polled(
    instrument: Instrument,
    bids: tuple[Level, ...],
    asks: tuple[Level, ...],
    last_id: int | None,
    ts_event: int,
    ts_recv: int,
) -> OrderBook:
    """The record of a book that REST answered with, checked as one that is kept. Raises BadMessage."""
    record = BookState(instrument, "polled").snapshot(bids, asks, last_id, ts_event, ts_recv)[0]
    if not isinstance(record, OrderBook):
        raise BadMessage(instrument.exchange, f"a crossed book of {instrument.name}")
    return record


class Feed(ABC):
    """The messages of one market, or of all markets of a venue that share a socket. Only `read_answer` raises.

    Books and requests are by channel without the instrument, colon, instrument; of Binance by instrument.
    """

    venue: Exchange
    book_type: type[BookState] = BookState  # with the venue's sequence rules
    resync: Literal["snapshot", "subscription"] = "subscription"  # what a book begins again with

    def __init__(
        self,
        market_type: MarketType | None = None,
        instruments: Instruments | None = None,
        *,
        strict: bool = True,
        exchange: Exchange | None = None,
    ) -> None:
        """The market is needed where its sockets are of one market each.

        Without `strict`, an instrument that is in no list is derived from its name. Records are of `exchange`, which
        is the venue's testnet or simulator; of the venue itself when it is None.
        """
        self.venue = exchange or self.venue
        self.market_type, self._strict = market_type, strict
        self.books: dict[str, BookState] = {}
        self.resync_requests: dict[str, ResyncRequest] = {}
        known = {} if instruments is None else instruments.known
        label = f"{self.venue} {market_type}" if market_type else self.venue
        self.instruments = Instruments(label, known, None if strict else self._named, self.venue)
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Set what else a venue's feed has."""

    @abstractmethod
    def _named(self, name: str) -> Instrument | None:
        """What the name of an instrument alone says; None when it is not clear."""

    def _of_market(self) -> MarketType:
        """The market of a feed whose sockets are of one market each. Raises UnknownVenue without one."""
        if self.market_type is None:
            raise UnknownVenue(self.venue, "which market it is of is not said")
        return self.market_type

    @abstractmethod
    def push(self, raw: bytes, ts_recv: int, connection: int = 0) -> list[Outcome]:
        """What becomes of a message of the socket with this number."""

    def push_all(self, raws: Iterable[bytes], ts_recv: int, connection: int = 0) -> list[Outcome]:
        """What becomes of messages that came together, one after the other."""
        push = self.push
        return [outcome for raw in raws for outcome in push(raw, ts_recv, connection)]

    def answer(self, url: str, raw: bytes, ts_recv: int) -> list[Outcome]:
        """What becomes of the response of REST to a request to `url`; a list of instruments updates `instruments`."""
        try:
            return self.read_answer(url, raw, ts_recv)
        except UNREADABLE as error:
            return [DeadLetter.of(raw, error, ts_recv)]

    def read_answer(self, url: str, raw: bytes, ts_recv: int) -> list[Outcome]:
        """What becomes of the response of REST to a request to `url`. Raises what is UNREADABLE."""
        parts = urlsplit(url)
        return self._answered(parts.path, dict(parse_qsl(parts.query)), raw, ts_recv)

    @abstractmethod
    def _answered(self, path: str, query: Mapping[str, str], raw: bytes, ts_recv: int) -> list[Outcome]:
        """What becomes of a response, its error included. May raise what is UNREADABLE, as the next one."""

    def stream_of(self, raw: bytes) -> str:
        """The stream of a message, without the instrument, or what else it is, for counting."""
        try:
            return self._stream_of(raw)
        except UNREADABLE:
            return "unknown"

    @abstractmethod
    def _stream_of(self, raw: bytes) -> str: ...

    def learn(self, listed: Iterable[Instrument]) -> None:
        """Take a list of instruments; a newer entry replaces an older one."""
        self.instruments.add(listed)

    def _learned(self, listing: Listing) -> list[Outcome]:
        """What becomes of a list of instruments that the venue sent."""
        self.learn(listing.instruments)
        self.instruments.listed |= listing.named & self.instruments.known.keys()
        self.instruments.whole = listing.whole
        return [Control("notice", f"{len(listing.instruments)} instruments"), *listing.unread]

    def checkpoint(self) -> list[FeedCheckpoint]:
        """What another feed needs to continue here, between two messages; fast, as it is called while messages wait."""
        books = (state.checkpoint(key) for key, state in self.books.items())
        return [InstrumentsCheckpoint([*self.instruments.known.values()]), *filter(None, books)]

    def restore(self, raw: bytes, ts_recv: int) -> list[Outcome]:
        """Continue from a checkpoint as it is in captures: records of the books, and gaps that end there."""
        try:
            point = checkpoints.decode(raw)
            if isinstance(point, InstrumentsCheckpoint):
                self.learn(point.instruments)
                return [Control("notice", f"{len(point.instruments)} instruments")]
            if isinstance(point, StateCheckpoint):
                self._restore_state(point)
                return [Control("notice", f"the state of {point.instrument.name}")]
            outcomes = self.state_of(point.key, point.instrument, point.stream).restore(point, ts_recv)
            return self._settled(point.key, outcomes, ts_recv)
        except UNREADABLE as error:
            return [DeadLetter.of(raw, error, ts_recv)]

    def _restore_state(self, point: StateCheckpoint) -> None:
        """Continue something else than a book; no venue does but those that say so."""
        raise BadMessage(point.instrument.exchange, f"a state of {point.instrument.name} that nobody wrote")

    def state_of(self, key: str, instrument: Instrument, stream: str) -> BookState:
        """The book of a channel; a new one is waiting."""
        state = self.books.get(key)
        if state is None:
            state = self.books[key] = self.book_type(instrument, stream)
        return state

    def reopened(self, ts_recv: int, connection: int = 0) -> list[Outcome]:
        """The socket of `connection` is a new one: each book on it needs a snapshot or a subscription again."""
        outcomes: list[Outcome] = []
        for key, state in self.books.items():
            if state.connection == connection:
                outcomes += self._settled(key, state.reopened(ts_recv), ts_recv)
        return outcomes

    def forget(self, instrument: str) -> None:
        """Stop following an instrument: its books wait for a snapshot, and none is requested."""
        for key, state in self.books.items():
            if state.instrument.name == instrument:
                state.status, state.open_gap = "waiting", None
                self.resync_requests.pop(key, None)

    def _settled(self, key: str, outcomes: Iterable[Outcome], ts_recv: int) -> list[Outcome]:
        """Outcomes for a book. A resync of it is requested unless it is live."""
        state = self.books[key]
        if state.status == "live":
            self.resync_requests.pop(key, None)
        elif key not in self.resync_requests:
            self.resync_requests[key] = ResyncRequest(state.instrument.name, state.stream, self.resync, ts_recv)
        return [*outcomes]


class RoutedFeed(Feed):
    """A feed whose messages begin with their channel: how one begins says which parser takes it."""

    _end: bytes  # what follows the channel

    def prepare(self) -> None:
        self._routes: dict[bytes, Parser] = {}  # by all up to `_end`

    def push(self, raw: bytes, ts_recv: int, connection: int = 0) -> list[Outcome]:
        """What becomes of a message of the socket with this number."""
        parser = self._routes.get(raw.partition(self._end)[0])
        try:
            if parser is None:
                parser = self._route(raw)
            return parser(raw, ts_recv, connection)
        except UNREADABLE as error:
            return [DeadLetter.of(raw, error, ts_recv)]

    @abstractmethod
    def _route(self, raw: bytes) -> Parser:
        """The parser of a message, remembered where it is known by how the message begins."""

    def _remember(self, raw: bytes, parser: Parser) -> None:
        if len(self._routes) < KEPT_ROUTES:
            self._routes[raw.partition(self._end)[0]] = parser

    def learn(self, listed: Iterable[Instrument]) -> None:
        """Take a list of instruments; a newer entry replaces an older one."""
        super().learn(listed)
        self._routes.clear()  # their parsers know instruments as they were

    def _book_parser(self, key: str, push: Parser, *, any_connection: bool = True) -> Parser:
        """Parser of the messages of a book: one that cannot be read breaks it, of the book's own connection or any."""
        state = self.books[key]

        def parser(raw: bytes, ts_recv: int, connection: int) -> list[Outcome]:
            try:
                return push(raw, ts_recv, connection)
            except UNREADABLE as error:
                lost = state.status == "live" and (any_connection or connection == state.connection)
                gap = state.broken("sequence", None, ts_recv) if lost else []
                return [DeadLetter.of(raw, error, ts_recv), *gap]
            finally:
                if state.status != "live" or self.resync_requests:
                    self._settled(key, (), ts_recv)

        return parser


def ignored(what: str) -> Parser:
    """Messages that are as documented and that become no record."""
    return lambda _raw, _ts_recv, _connection: [Control("ignored", what)]
