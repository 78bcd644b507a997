"""What the connections need from a venue: its subscriptions, the messages of a socket, and its REST requests.

Each venue's own messages are built and read in the module `adapter` of its folder. Nothing is sent here.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol, TypedDict

from marketdata_assets.budget import BudgetPlace
from marketdata_assets.exchanges.books import Feed, ResyncRequest
from marketdata_assets.exchanges.errors import RequestRejected, VenueRateLimited, VenueUnavailable
from marketdata_assets.exchanges.instruments import Instrument, Instruments
from marketdata_assets.exchanges.records import Control, Exchange, MarketType, Outcome, VenueError
from marketdata_assets.exchanges.rest import Rest
from marketdata_assets.exchanges.wire import CHANNEL
from marketdata_assets.http_client import RetryPolicy

REQUEST_ERRORS = (VenueUnavailable, VenueRateLimited, RequestRejected)
"""What a REST request may raise."""


@dataclass(frozen=True)
class Subscription:
    """One channel or stream of a venue."""

    key: str  # the venue's name of it; unique on a socket
    url: str
    instrument: str  # the venue's name; "" for a whole market
    stream: str  # the key without the instrument
    types: tuple[str, ...]  # tags of the records that it delivers
    silence: float | None  # seconds; a longer silence is suspicious. None: silence is normal
    every: int = 0  # ns, the interval of a candle


@dataclass(frozen=True)
class Request:
    """A REST request."""

    path: str
    params: Mapping[str, str | int]
    lane: str = ""
    cost: float = 1.0
    optional: bool = False  # of a list: one that the venue rejects is not known, and stops no others


RequestFor = Callable[[str], Request]
"""The request about an instrument, by the venue's name."""


@dataclass(frozen=True)
class SubscriptionReply:
    """What a venue's control message means for its socket. Subscriptions are named by their keys."""

    confirmed: tuple[str, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()  # with the reason
    retry: tuple[str, ...] = ()  # rate limited: subscribe again later
    reply: bytes | None = None
    leave: str = ""  # why the venue is about to close the socket

    @classmethod
    def of_error(cls, error: VenueError, keys: Sequence[str]) -> "SubscriptionReply":
        """What an error about these subscriptions means."""
        if error.rate_limited:
            return cls(retry=tuple(keys))
        return cls(rejected=tuple((key, f"{error.code} {error.message}") for key in keys))


@dataclass(frozen=True)
class MessageRate:
    """The venue's limit: at most `limit` messages sent in `seconds` over one socket, or by all of an address."""

    limit: int
    seconds: float
    by_address: bool = False


def interval_ns(interval: str) -> int:
    """The length of a candle in ns; of a month, that of the days it consists of."""
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "M": 86_400}
    return int(interval[:-1]) * seconds[interval[-1]] * 1_000_000_000


def parts(keys: Sequence[str], most: int) -> list[Sequence[str]]:
    """The keys in their order, so many at most in each part."""
    return [keys[at : at + most] for at in range(0, len(keys), most)]


class SocketSession(ABC):
    """The messages of one socket: ours are built, the venue's control messages are read."""

    ping: bytes | None = None
    """A message that the venue answers; None for a ping frame."""

    def hello(self) -> list[bytes]:
        """The first messages."""
        return []

    @abstractmethod
    def subscribe(self, keys: Sequence[str]) -> list[bytes]: ...

    @abstractmethod
    def unsubscribe(self, keys: Sequence[str]) -> list[bytes]: ...

    def resubscribe(self, keys: Sequence[str]) -> list[bytes]:
        """Restart subscriptions: unsubscribe first, if the venue needs it."""
        return [*self.unsubscribe(keys), *self.subscribe(keys)]

    @abstractmethod
    def read_reply(self, raw: bytes, outcomes: Iterable[Outcome]) -> SubscriptionReply:
        """The meaning of a message without data."""


class ChannelSession(SocketSession):
    """Subscriptions by `channel:instrument`, which are confirmed or rejected in the order of the requests.

    A confirmation names keys, with spaces between them, an error the instrument, among its words.
    """

    most: int  # instruments of a request
    already = "Already subscribed"  # how an error begins that confirms

    def __init__(self) -> None:
        self._pending: dict[str, None] = {}

    @abstractmethod
    def request(self, method: str, channel: str, names: Sequence[str]) -> bytes:
        """The request to subscribe or unsubscribe."""

    def subscribe(self, keys: Sequence[str]) -> list[bytes]:
        self._settle(keys)
        self._pending.update((f"{channel}:{name}", None) for channel, names in _grouped(keys) for name in names)
        return self._requests("subscribe", keys)

    def unsubscribe(self, keys: Sequence[str]) -> list[bytes]:
        self._settle(keys)
        return self._requests("unsubscribe", keys)

    def read_reply(self, raw: bytes, outcomes: Iterable[Outcome]) -> SubscriptionReply:
        for outcome in outcomes:
            if isinstance(outcome, Control) and outcome.kind == "ack":
                return SubscriptionReply(confirmed=self._settle(outcome.detail.split()))
            if isinstance(outcome, VenueError):
                return self._error(outcome)
        return SubscriptionReply()

    def _error(self, error: VenueError) -> SubscriptionReply:
        """One that names no instrument is of the oldest request."""
        if error.rate_limited:
            return SubscriptionReply(retry=tuple(self._pending))
        named = self.named_in(error.message)
        keys = self._settle(([*self._pending] if named is None else named)[:1])
        if error.message.startswith(self.already):
            return SubscriptionReply(confirmed=keys)
        return SubscriptionReply(rejected=tuple((key, error.message) for key in keys))

    def named_in(self, words: str) -> list[str] | None:
        """The pending subscriptions that an error is about, oldest first; None where it names none."""
        told = words.split()
        return [key for key in self._pending if key.partition(":")[2] in told] or None

    def _settle(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Those that were pending are so no more."""
        known = tuple(key for key in keys if key in self._pending)
        for key in known:
            self._pending.pop(key, None)
        return known

    def _requests(self, method: str, keys: Sequence[str]) -> list[bytes]:
        grouped = _grouped(keys)
        return [self.request(method, channel, part) for channel, names in grouped for part in parts(names, self.most)]


def _grouped(keys: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The instruments of each channel, in the order of the requests."""
    names: dict[str, list[str]] = {}
    for key in keys:
        channel, _, name = key.partition(":")
        names.setdefault(channel, []).append(name)
    return [*names.items()]


Choice = Literal["book_speed", "book_channel", "trade_channel"]
"""What of a market's channels the configuration can choose."""


class AdapterOptions(TypedDict, total=False):
    """What a VenueAdapter may be created with."""

    rest_url: str | None
    socket_url: str | None
    intervals: Sequence[str]
    depth: int | None
    choices: Mapping[Choice, str]


class Descriptor(Protocol):
    """What an adapter needs of the descriptor of its venue."""

    @property
    def name(self) -> Exchange: ...
    @property
    def feed(self) -> Callable[[MarketType], Feed]: ...
    @property
    def sockets(self) -> Mapping[MarketType, str]: ...
    def client(
        self, market_type: MarketType, budgets: BudgetPlace, patience: RetryPolicy, *, host: str | None
    ) -> Rest: ...


class VenueAdapter(ABC):
    """One market of one venue. URLs are of hosts, without paths; by default the venue's own."""

    data_prefix: bytes | tuple[bytes, ...]  # of every message that carries data, or one of these
    trade_stream: str  # without the instrument
    sequential_trade_ids: bool  # the trades of an instrument are numbered without gaps
    repeats_trades: bool = False  # a new subscription to trades begins with the last ones, none of them left out
    book_per_socket: bool  # updates of a book continue only the snapshot of the same socket
    max_subscriptions: int  # of a socket
    address_subscriptions: int | None = None  # of all sockets and markets of an address; None for no limit
    connects_per_second: float
    ping_after: float  # seconds of silence
    ping_every: float | None = None  # seconds, where the venue wants pings on a busy socket too
    age: float | None = None  # seconds that the venue keeps a socket open
    message_rates: tuple[MessageRate, ...]
    socket_session: Callable[[], SocketSession]
    host: str  # of sockets, wss://host, and the path behind it
    path = ""
    streams: Mapping[str, tuple[tuple[str, ...], float | None]]  # the record types and `silence` of each stream
    candles: Mapping[str, str] = MappingProxyType({})  # the stream of each interval
    candle_silence: float | None = None  # None where none comes without trades

    def __init__(
        self,
        venue: Descriptor,
        market_type: MarketType,
        *,
        rest_url: str | None = None,
        socket_url: str | None = None,
        intervals: Sequence[str] = ("1m",),
        depth: int | None = None,
        choices: Mapping[Choice, str] = MappingProxyType({}),
    ) -> None:
        self.exchange, self.market_type, self._venue = venue.name, market_type, venue
        self.name = f"{venue.name} {market_type}"
        self._rest_url, self._intervals = rest_url, tuple(intervals)
        self._socket_url = socket_url or venue.sockets.get(market_type)
        self._choices = choices  # of channels; the adapter's usual ones for the others
        self._depth = depth  # levels of a book on each side; the adapter's usual one where None
        self.prepare()

    def prepare(self) -> None:
        """Set what depends on market and options."""
        self._url = (self._socket_url or self.host) + self.path

    def feed(self) -> Feed:
        return self._venue.feed(self.market_type)

    def rest(self, budgets: BudgetPlace, patience: RetryPolicy) -> Rest:
        return self._venue.client(self.market_type, budgets, patience, host=self._rest_url)

    def subscriptions(self, instrument: Instrument, types: Sequence[str]) -> list[Subscription]:
        """The subscriptions that deliver these types of records of an instrument."""
        name = instrument.name
        subscriptions = [
            Subscription(self.key(stream, name), self._url, name, stream, wanted, silence)
            for stream, (tags, silence) in self.streams.items()
            if (wanted := tuple(tag for tag in tags if tag in types))
        ]
        for interval in self._intervals if "kline" in types else ():
            stream, about = self.candles[interval], (("kline",), self.candle_silence, interval_ns(interval))
            subscriptions.append(Subscription(self.key(stream, name), self._url, name, stream, *about))
        return subscriptions

    def key(self, stream: str, instrument: str) -> str:
        """The key of the subscription to a stream of an instrument."""
        return f"{stream}:{instrument}"

    @abstractmethod
    def channel_of(self, raw: bytes) -> bytes:
        """The part of a data message that identifies its subscription; cheap, for every message."""

    def key_of(self, channel: bytes) -> str:
        """The key of the subscription that `channel_of` identified; "" when there is none."""
        return channel.decode("utf-8", "replace")

    def book_key(self, resync: ResyncRequest) -> str:
        """The key of the subscription that delivers a book."""
        return self.key(resync.stream, resync.instrument)

    @abstractmethod
    def listings(self) -> list[Request]:
        """The requests for the instrument list."""

    def listings_of(self, symbols: Iterable[str]) -> list[Request]:
        """The same, with the lists that these symbols name, where a venue has lists of their own for some."""
        return self.listings()

    def next_listing(self, request: Request, raw: bytes) -> Request | None:
        """The request for the rest of a list, after the answer to `request` brought a part of it; None at its end."""
        return None

    @property
    def snapshot(self) -> RequestFor | None:
        """The request for a book snapshot; None where the subscription delivers it."""
        return None

    def polls(self, types: Sequence[str]) -> Mapping[str, RequestFor]:
        """The types that have no stream, with the request that polls one of an instrument."""
        return {}


class ChannelAdapter(VenueAdapter):
    """An adapter of messages that begin with their channel and name the instrument anywhere behind it."""

    renamed: Mapping[str, str] = MappingProxyType({})  # channels by their name in messages, where that is another one
    instrument: re.Pattern[bytes]  # finds the instrument of a message

    def channel_of(self, raw: bytes) -> bytes:
        name = self.instrument.search(raw)
        return raw[len(CHANNEL) : raw.find(b'"', len(CHANNEL))] + b":" + (name[1] if name else b"")

    def key_of(self, channel: bytes) -> str:
        stream, _, name = channel.decode("utf-8", "replace").partition(":")
        return f"{self.renamed.get(stream, stream)}:{name}"


async def request_list(
    adapter: VenueAdapter,
    instruments: Instruments,
    ask: Callable[[Request], Awaitable[bytes]],
    symbols: Iterable[str] = (),
) -> None:
    """Request a market's whole list, with those that `symbols` name; `ask` has the feed read each answer.

    What a list had stays listed while it is not requested, rejected, or not `whole`. Raises what `ask` raises.
    """
    lists, whole = instruments.lists, True
    request: Request | None
    try:
        for first in adapter.listings_of(symbols):
            about, read = f"{first.path} {first.params}", True
            instruments.listed, request = set(), first
            try:
                while request:
                    instruments.whole = False  # until the feed has read the answer
                    raw = await ask(request)
                    read &= instruments.whole
                    request = adapter.next_listing(request, raw)
            except RequestRejected:
                if not first.optional:
                    raise
                if about not in lists:
                    continue
                read = False
            lists[about] = instruments.listed if read else instruments.listed | lists.get(about, set())
            whole &= read
    finally:
        instruments.listed = set().union(*lists.values())
    instruments.whole = whole
