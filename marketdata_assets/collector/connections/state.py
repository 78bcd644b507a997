"""What a market says of itself: frozen, for status and metrics. Times are ns, null where nothing happened."""

from dataclasses import dataclass
from typing import Literal

from marketdata_assets.exchanges.books import Status
from marketdata_assets.exchanges.records import Exchange, MarketType

ConnectionStatus = Literal["connecting", "open", "replacing", "backoff", "closed"]
SubscriptionStatus = Literal["waiting", "asked", "confirmed", "refused", "stale"]


@dataclass(frozen=True)
class ConnectionState:
    """One place for a socket, and all sockets that were there."""

    number: int
    url: str
    status: ConnectionStatus
    opened_at: int | None
    messages: int
    bytes: int
    reconnects: int  # after a loss
    planned: int  # replaced without a loss
    last_message_at: int | None
    last_error: str | None
    subscriptions: int
    unconfirmed: int
    failures: int  # in a row, to connect or to stay for long


@dataclass(frozen=True)
class SubscriptionState:
    """One subscription. `stale`: silent for longer than is normal, and asked for anew."""

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


@dataclass(frozen=True)
class JobState:
    """Something that is done again and again."""

    name: str
    every_seconds: float
    runs: int
    failures: int
    last_at: int | None
    next_at: int | None
    last_error: str | None


@dataclass(frozen=True)
class MarketState:
    """One market of one venue."""

    exchange: Exchange
    market_type: MarketType
    instruments: int
    listed: int | None  # that the venue trades; null before its list came
    dead_letters: int
    venue_errors: int
    repeats: int  # records of overlaps that came twice
    gaps: int
    wants: int  # books that wait for a new start
    connections: tuple[ConnectionState, ...]
    subscriptions: tuple[SubscriptionState, ...]
    books: tuple[BookView, ...]
    jobs: tuple[JobState, ...]
    unknown: tuple[str, ...]  # symbols that were asked for and that the venue does not list
