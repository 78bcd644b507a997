"""The adapter of Binance: streams and their URLs, confirmations, instrument lists, snapshots and polls.

The server's ping frames are answered with pong frames by every websocket client.
https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams
https://developers.binance.com/docs/derivatives/coin-margined-futures/websocket-market-streams
https://developers.binance.com/docs/derivatives/options-trading/websocket-market-streams
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import msgspec

from marketdata_assets.exchanges.binance.history import MARKETS, request_of
from marketdata_assets.exchanges.books import ResyncRequest
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import Control, MarketType, Outcome, VenueError
from marketdata_assets.exchanges.venue_adapter import (
    MessageRate,
    Request,
    RequestFor,
    SocketSession,
    Subscription,
    SubscriptionReply,
    VenueAdapter,
    interval_ns,
    parts,
)

CONNECTION_SECONDS = 86_100.0
"""A socket is cut after 24 hours; open another one five minutes before, and then close the old one."""

CONNECTIONS_PER_FIVE_MINUTES = 300  # by address
STREAMS_PER_REQUEST = 200  # ours
SHUTDOWN = "the server will shut down"

DATA_PREFIX = b'{"stream":"'
BOOK_SPEED = "100ms"
UNNAMED_SPEEDS: dict[MarketType, str] = {"spot": "1000ms", "linear": "250ms", "inverse": "250ms"}
"""The speed of a stream of books whose name has none."""

SILENCE: dict[str, float | None] = {
    "trade": 600.0,
    "aggTrade": 600.0,
    "depth": 120.0,
    "bookTicker": 300.0,
    "ticker": 300.0,
    "kline": 600.0,
    "markPrice": 60.0,
    "forceOrder": None,
    "optionTrade": 3600.0,
    "optionMarkPrice": 60.0,
    "optionOpenInterest": 300.0,
}
"""Our choice: seconds of silence after which a stream is suspicious."""


_PUBLIC = ("depth", "bookTicker", "trade", "optionTicker", "optionTrade")
"""What USD-M and options send on their public URL; all else is on the market URL. A stream of the other URL is
confirmed and never sent. https://developers.binance.com/docs/derivatives/change-log, 2026"""


def stream_name(stream: str, instrument: str, interval: str = "") -> str:
    """The name of a stream. `interval` is that of a kline, else the speed of depth and markPrice, as 100ms or 1s."""
    if stream == "kline":
        return f"{instrument.lower()}@kline_{interval}"
    return f"{instrument.lower()}@{stream}{'@' if interval else ''}{interval}"


def url_of(market_type: MarketType, stream: str) -> str:
    """The address of the combined streams that a stream is among."""
    market = MARKETS[market_type]
    if market_type in ("linear", "option"):
        kind = stream.rpartition("!")[2] if stream.startswith("!") else stream.partition("@")[2]
        return f"{market.socket}/{'public' if kind.startswith(_PUBLIC) else 'market'}/stream"
    return f"{market.socket}/stream"


class Session(SocketSession):
    """The requested and the confirmed subscriptions of one socket.

    A stream that does not exist, or is on another address, is confirmed as well, and stays silent.
    """

    def __init__(self, market_type: MarketType) -> None:
        self._limit = MARKETS[market_type].streams
        self.asked: dict[int, tuple[str, ...]] = {}  # by request, not confirmed yet
        self.streams: set[str] = set()  # confirmed
        self._last = 0

    def subscribe(self, keys: Iterable[str]) -> list[bytes]:
        """Requests for these streams, again for those that are not confirmed yet; ValueError for more than a
        connection may have.

            {"method": "SUBSCRIBE", "params": ["abcusdt@depth@100ms"], "id": 1}
            {"result": null, "id": 1}

        https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#live-subscribingunsubscribing-to-streams
        """
        wanted = [stream for stream in dict.fromkeys(keys) if stream not in self.streams]
        self._forget_pending(wanted)
        if len(wanted) + sum(map(len, self.asked.values())) + len(self.streams) > self._limit:
            raise ValueError(f"{len(wanted)} more streams, a connection may have {self._limit}")
        return self._requests("SUBSCRIBE", wanted)

    def unsubscribe(self, keys: Iterable[str]) -> list[bytes]:
        """Requests that end these streams."""
        ended = list(dict.fromkeys(keys))
        self._forget_pending(ended)
        self.streams.difference_update(ended)
        return self._requests("UNSUBSCRIBE", ended)

    def read_reply(self, raw: bytes, outcomes: Iterable[Outcome]) -> SubscriptionReply:
        """An error does not always name its request: it is about the oldest one that is not answered."""
        for outcome in outcomes:
            if isinstance(outcome, Control):
                if outcome.kind == "ack":
                    streams = self.asked.pop(int(outcome.detail), ()) if outcome.detail.isdecimal() else ()
                    self.streams.update(streams)
                    return SubscriptionReply(confirmed=streams)
                if outcome.kind == "notice" and outcome.detail.startswith(SHUTDOWN):
                    return SubscriptionReply(leave=outcome.detail)
            if isinstance(outcome, VenueError):
                return SubscriptionReply.of_error(outcome, self.asked.pop(min(self.asked)) if self.asked else ())
        return SubscriptionReply()

    def _forget_pending(self, keys: Sequence[str]) -> None:
        for number, streams in list(self.asked.items()):
            self.asked[number] = tuple(stream for stream in streams if stream not in keys)

    def _requests(self, method: str, streams: list[str]) -> list[bytes]:
        requests = []
        for part in parts(streams, STREAMS_PER_REQUEST):
            self._last += 1
            if method == "SUBSCRIBE":
                self.asked[self._last] = tuple(part)
            requests.append(msgspec.json.encode({"method": method, "params": part, "id": self._last}))
        return requests


class BinanceAdapter(VenueAdapter):
    """One market of Binance."""

    data_prefix = DATA_PREFIX
    book_per_socket = False
    ping_after = 30.0
    age = CONNECTION_SECONDS
    connects_per_second = CONNECTIONS_PER_FIVE_MINUTES / 300.0

    def prepare(self) -> None:
        market = MARKETS[self.market_type]
        self.max_subscriptions = min(market.streams, 300)  # our choice, to spread the load over the venue's servers
        self.message_rates = (MessageRate(int(market.messages_per_second) - 1, 1.1),)
        self.socket_session = partial(Session, self.market_type)
        self._market = market
        usual = {"spot": "trade", "option": "optionTrade"}.get(self.market_type, "aggTrade")
        self.trade_stream = self._choices.get("trade_channel", usual)
        speed = self._choices.get("book_speed", BOOK_SPEED)
        self._book_speed = "" if speed == UNNAMED_SPEEDS.get(self.market_type) else speed
        self.sequential_trade_ids = self.market_type != "option"  # of options it is not documented

    def subscriptions(self, instrument: Instrument, types: Sequence[str]) -> list[Subscription]:
        if self.market_type == "option":
            return list(self._of_option(instrument, types))
        streams: list[tuple[str, str, str]] = []
        if "trade" in types:
            streams.append(("aggTrade" if self.trade_stream == "aggTrade" else "trade", "", "trade"))
        if "orderbook" in types:
            streams.append(("depth", self._book_speed, "orderbook"))
        if "kline" in types:
            streams += [("kline", interval, "kline") for interval in self._intervals]
        if "ticker" in types:
            streams += [("ticker", "", "ticker"), ("bookTicker", "", "ticker")]
        if "funding_rate" in types and not instrument.dated:
            streams.append(("markPrice", "", "funding_rate"))
        if "liquidation" in types:
            streams.append(("forceOrder", "", "liquidation"))
        return [self._subscription(stream, instrument.name, interval, tag) for stream, interval, tag in streams]

    def _of_option(self, instrument: Instrument, types: Sequence[str]) -> Iterator[Subscription]:
        """Mark prices are of all options on an underlying, open interest is of all that expire on a day.

        https://developers.binance.com/docs/derivatives/options-trading/websocket-market-streams
        """
        underlying, expiry = instrument.base + instrument.quote, instrument.name.split("-")[1]
        if "trade" in types:
            yield self._subscription("optionTrade", instrument.name, "", "trade")
        if "ticker" in types:
            yield self._subscription("bookTicker", instrument.name, "", "ticker")
            yield replace(self._subscription("optionMarkPrice", underlying, "", "ticker"), instrument="")
        if "open_interest" in types:
            interest = self._subscription("optionOpenInterest", underlying, expiry, "open_interest")
            yield replace(interest, instrument="")

    def _subscription(self, stream: str, name: str, interval: str, tag: str) -> Subscription:
        key, host = stream_name(stream, name, interval), self._market.socket
        url = (self._socket_url or host) + url_of(self.market_type, key).removeprefix(host)
        every = interval_ns(interval) if stream == "kline" else 0
        return Subscription(key, url, name, key.partition("@")[2], (tag,), SILENCE[stream], every)

    def channel_of(self, raw: bytes) -> bytes:
        return raw.partition(b",")[0]

    def key_of(self, channel: bytes) -> str:
        return channel[len(DATA_PREFIX) : -1].decode("utf-8", "replace") if channel.startswith(DATA_PREFIX) else ""

    def book_key(self, resync: ResyncRequest) -> str:
        return stream_name("depth", resync.instrument, self._book_speed)

    def listings(self) -> list[Request]:
        return [request_of(self.market_type, "exchangeInfo", {})]

    def snapshot(self, instrument: str) -> Request:
        """A book of the levels that were chosen; without a choice, of as many as it may have.

        https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#order-book
        """
        weights = self._market.snapshot_weights
        limit = self._depth or next(iter(weights))
        return Request(f"{self._market.path}/depth", {"symbol": instrument, "limit": limit}, cost=weights[limit])

    def polls(self, types: Sequence[str]) -> dict[str, RequestFor]:
        if "open_interest" not in types or self.market_type in ("spot", "option"):
            return {}
        return {
            "open_interest": lambda instrument: request_of(self.market_type, "openInterest", {"symbol": instrument})
        }
