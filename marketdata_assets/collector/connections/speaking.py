"""What the connections need to know of a venue: what to subscribe to and where, what it answers, what to ask of REST.

Each venue's words are the business of its own module. Nothing is sent here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from marketdata_assets.exchanges.books import BookState, ResyncRequest
from marketdata_assets.exchanges.instruments import Instrument, Instruments
from marketdata_assets.exchanges.records import Exchange, MarketType, Outcome
from marketdata_assets.exchanges.rest import Rest
from marketdata_assets.http_client import RetryPolicy

DATA_TYPES = ("trade", "orderbook", "kline", "ticker", "funding_rate", "open_interest", "liquidation")
"""The tags of the records that can be asked for."""


@dataclass(frozen=True)
class Subscription:
    """One thing to be subscribed to."""

    key: str  # in the venue's words; once on a socket
    url: str
    instrument: str  # the venue's name; "" for a whole market
    stream: str  # the key without the instrument
    types: tuple[str, ...]  # tags of the records that it brings
    silence: float | None  # seconds; a longer one is odd. None is never odd
    every: int = 0  # ns, how long a candle is


@dataclass(frozen=True)
class Request:
    """What to ask of REST."""

    path: str
    params: Mapping[str, str | int]
    lane: str = ""
    cost: float = 1.0


AskFor = Callable[[str], Request]
"""By the venue's name of an instrument."""


@dataclass(frozen=True)
class Heard:
    """What an answer of the venue means for the socket it came over. Subscriptions are named by their keys."""

    confirmed: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()  # and why
    again: tuple[str, ...] = ()  # not now: ask for them once more
    reply: bytes | None = None
    leave: str = ""  # why the venue is about to close the socket


@dataclass(frozen=True)
class Pace:
    """At most so many messages of ours in so many seconds, over one socket."""

    most: int
    seconds: float


def span_of(interval: str) -> int:
    """How long a candle is, in ns; of a month, the days that it is made of."""
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "M": 86_400}
    return int(interval[:-1]) * seconds[interval[-1]] * 1_000_000_000


class Conversation(Protocol):
    """What is said over one socket."""

    ping: bytes | None
    """A message that the venue answers; None for a ping frame."""

    def hello(self) -> list[bytes]:
        """What is said first."""
        ...

    def subscribe(self, keys: Sequence[str]) -> list[bytes]: ...

    def unsubscribe(self, keys: Sequence[str]) -> list[bytes]: ...

    def again(self, keys: Sequence[str]) -> list[bytes]:
        """End subscriptions and begin them anew, as far as the venue needs both."""
        ...

    def heard(self, raw: bytes, outcomes: Iterable[Outcome]) -> Heard:
        """What a message means that carries no data."""
        ...


class Feed(Protocol):
    """What a market needs of a venue's feed."""

    books: dict[str, BookState]
    resync_requests: dict[str, ResyncRequest]

    @property
    def instruments(self) -> Instruments: ...

    def push(self, raw: bytes, ts_recv: int, connection: int = 0) -> list[Outcome]: ...
    def push_all(self, raws: Iterable[bytes], ts_recv: int, connection: int = 0) -> list[Outcome]: ...
    def answer(self, url: str, raw: bytes, ts_recv: int) -> list[Outcome]: ...
    def reopened(self, ts_recv: int, connection: int = 0) -> list[Outcome]: ...
    def forget(self, instrument: str) -> None: ...


class Speaker(Protocol):
    """One market of one venue."""

    exchange: Exchange
    market_type: MarketType
    data_types: tuple[str, ...]  # that there are
    begin: bytes  # of every message that carries data
    trades: str  # the stream of trades, without the instrument
    numbered: bool  # trades of an instrument have numbers without holes
    books_hang: bool  # a book goes on only over the socket that its snapshot came over
    most: int  # subscriptions of a socket
    connects_per_second: float
    ping_after: float
    age: float | None  # seconds, of a socket
    paces: tuple[Pace, ...]

    def feed(self) -> Feed: ...

    def rest(self, budgets: Path, patience: RetryPolicy) -> Rest: ...

    def conversation(self) -> Conversation: ...

    def subscriptions(self, one: Instrument, types: Sequence[str]) -> list[Subscription]:
        """What brings these types of records of an instrument."""
        ...

    def key_of(self, raw: bytes) -> bytes:
        """The part of a message with data that tells which subscription it is of."""
        ...

    def name_of(self, key: bytes) -> str:
        """The key of the subscription that `key_of` found; "" when there is none."""
        ...

    def book_key(self, want: ResyncRequest) -> str:
        """The key of the subscription that brings a book."""
        ...

    def listings(self) -> list[Request]:
        """The requests that bring the list of instruments."""
        ...

    @property
    def snapshot(self) -> AskFor | None:
        """The request that brings a book; None where books come with their subscription."""
        ...

    def polls(self, types: Sequence[str]) -> Mapping[str, AskFor]:
        """Those types of which there is no stream, and what asks for one of an instrument."""
        ...
