"""What a client of Binance's sockets has to keep to: addresses, limits, subscriptions and what confirms them.

Nothing is sent here. The server's ping frames are answered with pong frames by every websocket client.
https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams
https://developers.binance.com/docs/derivatives/coin-margined-futures/websocket-market-streams
https://developers.binance.com/docs/derivatives/options-trading/websocket-market-streams
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from marketdata_assets.exchanges.records import Control, MarketType, Outcome, VenueError
from marketdata_assets.exchanges.venue_adapter import SocketSession, SubscriptionReply

CONNECTION_SECONDS = 86_100.0
"""A socket is cut after 24 hours; open another one five minutes before, and then close the old one."""

CONNECTIONS_PER_FIVE_MINUTES = 300  # by address
STREAMS_PER_REQUEST = 200  # ours
SHUTDOWN = "the server will shut down"


@dataclass(frozen=True)
class Market:
    """The addresses and limits of one market."""

    socket: str
    rest: str
    path: str  # what every address of REST begins with
    streams: int  # of one connection
    messages_per_second: float  # that we send; more closes the connection, and repeated violations cause a ban
    pool: str  # the hosts of one pool share the weight of REST
    weight_per_minute: int  # of a pool, by address; exchangeInfo has the number of today
    snapshot_weights: Mapping[int, int]  # of a book by its levels, the usual ones first


_SPOT = ("api.binance.com", 6000, {1000: 50, 500: 25, 100: 5})
_FUTURES = ("fapi.binance.com", 2400, {1000: 20, 500: 10, 100: 5, 50: 2})
"""USD-M and COIN-M share one pool since 2026-06-30.
https://developers.binance.com/docs/derivatives/coin-margined-futures/Important-CM-UM-Integration-Notice"""

_OPTIONS = ("eapi.binance.com", 400, {1000: 20})

MARKETS: dict[MarketType, Market] = {
    "spot": Market("wss://stream.binance.com:9443", "https://api.binance.com", "/api/v3", 1024, 5.0, *_SPOT),
    "linear": Market("wss://fstream.binance.com", "https://fapi.binance.com", "/fapi/v1", 1024, 10.0, *_FUTURES),
    "inverse": Market("wss://dstream.binance.com", "https://dapi.binance.com", "/dapi/v1", 1024, 10.0, *_FUTURES),
    "option": Market("wss://fstream.binance.com", "https://eapi.binance.com", "/eapi/v1", 200, 10.0, *_OPTIONS),
}

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
        for begin in range(0, len(streams), STREAMS_PER_REQUEST):
            part = streams[begin : begin + STREAMS_PER_REQUEST]
            self._last += 1
            if method == "SUBSCRIBE":
                self.asked[self._last] = tuple(part)
            requests.append(msgspec.json.encode({"method": method, "params": part, "id": self._last}))
        return requests
