"""How Binance is spoken to: streams and their addresses, confirmations, lists, snapshots and polls."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from marketdata_assets.collector.connections.speaking import AskFor, Heard, Pace, Request, Subscription, span_of
from marketdata_assets.exchanges.binance import rest as answers
from marketdata_assets.exchanges.binance.feed import BinanceFeed
from marketdata_assets.exchanges.binance.history import WEIGHTS, limits
from marketdata_assets.exchanges.binance.instruments import VENUE
from marketdata_assets.exchanges.binance.session import (
    CONNECTION_SECONDS,
    CONNECTIONS_PER_FIVE_MINUTES,
    MARKETS,
    Session,
    Stream,
    snapshot_path,
    stream_name,
    url_of,
)
from marketdata_assets.exchanges.books import ResyncRequest
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import Control, Exchange, MarketType, Outcome, VenueError
from marketdata_assets.exchanges.rest import Rest
from marketdata_assets.http_client import RetryPolicy

BEGIN = b'{"stream":"'
BOOK_SPEED = "100ms"
SHUTDOWN = "the server will shut down"

SILENCE: dict[Stream, float | None] = {
    "trade": 600.0,
    "aggTrade": 600.0,
    "depth": 120.0,
    "bookTicker": 300.0,
    "ticker": 300.0,
    "kline": 600.0,
    "markPrice": 60.0,
    "forceOrder": None,
}
"""Ours: so long a silence of a stream is odd, in seconds."""


class BinanceConversation:
    """What is said over one socket."""

    ping: bytes | None = None

    def __init__(self, market_type: MarketType) -> None:
        self._session = Session(market_type)

    def hello(self) -> list[bytes]:
        return []

    def subscribe(self, keys: Sequence[str]) -> list[bytes]:
        self._unask(keys)
        return self._session.subscribe(keys)

    def unsubscribe(self, keys: Sequence[str]) -> list[bytes]:
        self._unask(keys)
        self._session.streams.update(keys)
        return self._session.unsubscribe(keys)

    def again(self, keys: Sequence[str]) -> list[bytes]:
        return [*self.unsubscribe(keys), *self.subscribe(keys)]

    def heard(self, raw: bytes, outcomes: Iterable[Outcome]) -> Heard:
        for one in outcomes:
            if isinstance(one, Control):
                if one.kind == "ack":
                    return Heard(confirmed=self._session.acked(one))
                if one.kind == "notice" and one.detail.startswith(SHUTDOWN):
                    return Heard(leave=one.detail)
            if isinstance(one, VenueError):
                streams = self._session.refused(one)
                if one.rate_limited:
                    return Heard(again=streams)
                return Heard(refused=tuple((stream, f"{one.code} {one.message}") for stream in streams))
        return Heard()

    def _unask(self, keys: Sequence[str]) -> None:
        """Let what was asked for and not confirmed be asked for once more."""
        asked = self._session.asked
        for number, streams in list(asked.items()):
            asked[number] = tuple(stream for stream in streams if stream not in keys)


class BinanceSpeaker:
    """One market of Binance, options excepted."""

    exchange: Exchange = VENUE
    begin = BEGIN
    numbered = True
    books_hang = False
    ping_after = 30.0
    age: float | None = CONNECTION_SECONDS
    connects_per_second = CONNECTIONS_PER_FIVE_MINUTES / 300.0

    def __init__(
        self,
        market_type: MarketType,
        *,
        rest_url: str | None = None,
        socket_url: str | None = None,
        intervals: Sequence[str] = ("1m",),
    ) -> None:
        market = MARKETS[market_type]
        self.market_type = market_type
        self.most = min(market.streams, 300)  # ours: more sockets share the work of a venue's server better
        self.paces: tuple[Pace, ...] = (Pace(int(market.messages_per_second) - 1, 1.1),)
        self._rest_url = rest_url or market.rest
        self._socket, self._own = market.socket, socket_url or market.socket
        self._intervals = tuple(intervals)
        self.trades = "trade" if market_type == "spot" else "aggTrade"
        derivatives = ("funding_rate", "open_interest", "liquidation")
        self.data_types: tuple[str, ...] = ("trade", "orderbook", "kline", "ticker")
        self.data_types += derivatives if market_type != "spot" else ()

    def feed(self) -> BinanceFeed:
        return BinanceFeed(self.market_type)

    def rest(self, budgets: Path, patience: RetryPolicy) -> Rest:
        return Rest(VENUE, self._rest_url, limits(budgets, self.market_type), answers.failure, patience=patience)

    def conversation(self) -> BinanceConversation:
        return BinanceConversation(self.market_type)

    def subscriptions(self, one: Instrument, types: Sequence[str]) -> list[Subscription]:
        streams: list[tuple[Stream, str, str]] = []
        if "trade" in types:
            streams.append(("trade" if self.market_type == "spot" else "aggTrade", "", "trade"))
        if "orderbook" in types:
            streams.append(("depth", BOOK_SPEED, "orderbook"))
        if "kline" in types:
            streams += [("kline", interval, "kline") for interval in self._intervals]
        if "ticker" in types:
            streams += [("ticker", "", "ticker"), ("bookTicker", "", "ticker")]
        if "funding_rate" in types and one.symbol == f"{one.base}-{one.quote}":  # a dated future pays none
            streams.append(("markPrice", "", "funding_rate"))
        if "liquidation" in types:
            streams.append(("forceOrder", "", "liquidation"))
        return [self._subscription(one.name, *stream) for stream in streams]

    def key_of(self, raw: bytes) -> bytes:
        return raw.partition(b",")[0]

    def name_of(self, key: bytes) -> str:
        return key[len(BEGIN) : -1].decode("latin1") if key.startswith(BEGIN) else ""

    def book_key(self, want: ResyncRequest) -> str:
        return stream_name("depth", want.instrument, BOOK_SPEED)

    def listings(self) -> list[Request]:
        return [self._request("exchangeInfo", {})]

    def snapshot(self, instrument: str) -> Request:
        path, params, weight = snapshot_path(self.market_type, instrument)
        return Request(path, params, cost=weight)

    def polls(self, types: Sequence[str]) -> dict[str, AskFor]:
        asked = "open_interest" in types and self.market_type != "spot"
        return {"open_interest": self._open_interest} if asked else {}

    def _open_interest(self, instrument: str) -> Request:
        return self._request("openInterest", {"symbol": instrument})

    def _subscription(self, name: str, stream: Stream, interval: str, tag: str) -> Subscription:
        key = stream_name(stream, name, interval)
        url = self._own + url_of(self.market_type, key).removeprefix(self._socket)
        every = span_of(interval) if stream == "kline" else 0
        return Subscription(key, url, name, key.partition("@")[2], (tag,), SILENCE[stream], every)

    def _request(self, what: str, params: dict[str, str | int]) -> Request:
        return Request(f"{MARKETS[self.market_type].path}/{what}", params, cost=WEIGHTS[self.market_type].get(what, 1))
