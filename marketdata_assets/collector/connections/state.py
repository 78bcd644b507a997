"""The state of a market, frozen, for /status and metrics. Times are ns since 1970; null before the first event."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from marketdata_assets.collector.counters import MarketCounters
from marketdata_assets.exchanges.books import BookState, Status
from marketdata_assets.exchanges.records import Exchange, MarketType, OrderBook

ConnectionStatus = Literal["connecting", "open", "replacing", "backoff", "closed"]
SubscriptionStatus = Literal["waiting", "requested", "confirmed", "rejected", "stale"]


@dataclass(frozen=True)
class ConnectionState:
    """One connection, over all the sockets it has had."""

    number: int
    url: str
    status: ConnectionStatus
    opened_at: int | None
    messages: int
    bytes: int
    reconnects: int  # after a loss
    planned: int  # replacements without a loss
    last_message_at: int | None
    last_error: str | None
    subscriptions: int
    unconfirmed: int
    failures: int  # in a row, to connect or to stay connected


@dataclass(frozen=True)
class SubscriptionState:
    """One subscription. `stale`: silent for longer than normal, and restarted."""

    key: str
    instrument: str
    types: tuple[str, ...]
    connection: int
    status: SubscriptionStatus
    last_message_at: int | None
    resubscribed: int
    error: str | None


@dataclass(frozen=True)
class BookView:
    """One order book."""

    instrument: str
    stream: str
    status: Status
    gaps: int
    applied: int
    last_id: int | None
    ts_last: int | None

    @classmethod
    def of(cls, book: BookState) -> Self:
        """The state of a book of the feed."""
        name, last = book.instrument.name, book.ts_last or None
        return cls(name, book.stream, book.status, book.gaps, book.applied, book.last_id, last)


def snapshot_of(book: BookState) -> OrderBook:
    """A live book as a record, with the receive time of the last update in it."""
    key, unit = book.instrument.key, book.instrument.unit
    bids, asks = book.book.levels()
    return OrderBook(*key, None, book.ts_last, "snapshot", tuple(bids), tuple(asks), unit, None, book.last_id)


@dataclass
class JobState:
    """A periodic job."""

    name: str
    every_seconds: float
    runs: int = 0
    failures: int = 0
    last_at: int | None = None
    next_at: int | None = None
    last_error: str | None = None


Change = Literal["listed", "expired", "delisted"]


@dataclass(frozen=True)
class InstrumentChange:
    """An instrument that a market began or ceased to follow, because the venue's list had changed."""

    at: int
    instrument: str
    change: Change


@dataclass(frozen=True)
class MarketState:
    """One market of one venue."""

    exchange: Exchange
    market_type: MarketType
    instruments: int
    listed: int | None  # instruments that the venue trades; null before its list arrives
    counters: MarketCounters
    duplicates: int  # records that two overlapping sockets delivered
    resyncs_pending: int  # books that wait for a snapshot or a new subscription
    connections: tuple[ConnectionState, ...]
    subscriptions: tuple[SubscriptionState, ...]
    books: tuple[BookView, ...]
    jobs: tuple[JobState, ...]
    unknown: tuple[str, ...]  # configured symbols that the venue does not trade, each with the reason
    absent: tuple[str, ...] = ()  # symbols for several markets that this one does not have
    patterns: Mapping[str, int] = field(default_factory=dict)  # how many instruments each matches, of all shards
    changed: Mapping[Change, int] = field(default_factory=dict)  # instruments since the start
    changes: tuple[InstrumentChange, ...] = ()  # the last of them

    @property
    def name(self) -> str:
        """As `binance spot`."""
        return f"{self.exchange} {self.market_type}"

    @property
    def last_message_at(self) -> int | None:
        """ns; None before the first message."""
        return max((one.last_message_at for one in self.connections if one.last_message_at), default=None)
