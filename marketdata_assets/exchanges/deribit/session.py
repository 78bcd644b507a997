"""What is said to Deribit over its socket, and what it allows. Nothing is sent here.

Limits: https://docs.deribit.com/articles/rate-limits and
https://docs.deribit.com/articles/connection-management-best-practices
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from marketdata_assets.exchanges.deribit.parse import INTERVALS
from marketdata_assets.exchanges.deribit.wire import AnyMessage
from marketdata_assets.exchanges.records import Control, Outcome, VenueError
from marketdata_assets.exchanges.venue_adapter import SocketSession, SubscriptionReply
from marketdata_assets.exchanges.wire import decoded

WEBSOCKET = "wss://www.deribit.com/ws/api/v2"
REST = "https://www.deribit.com/api/v2"

CONNECTIONS_PER_IP = 32  # concurrent sockets and HTTP requests
CHANNELS_PER_CONNECTION = 500
CHANNELS_PER_REQUEST = 100  # ours; a rejected channel takes few others with it
SUBSCRIBES_PER_SECOND = 3.3  # 3000 of 30000 credits each
LIST_SECONDS = 1.0  # between two lists of instruments
HEARTBEAT_SECONDS = 30  # the shortest is 10; every other one is a test_request, which has to be answered

TOO_MANY_REQUESTS = 10028  # the session may be closed with it
TOO_MANY_AT_ONCE = 10066
RATE_LIMITED = frozenset({TOO_MANY_REQUESTS, TOO_MANY_AT_ONCE})

NO_SUCH_CHANNEL = "is not in the answer: there is no such channel"

Stream = Literal["trade", "book", "ticker", "quote", "kline"]

_RESOLUTIONS = {name: resolution for resolution, (name, _) in INTERVALS.items()}
_decode = msgspec.json.Decoder(AnyMessage).decode
_channels = msgspec.json.Decoder(list[str]).decode


def channel(stream: Stream, instrument: str, interval: str = "100ms") -> str:
    """The name of a channel. `interval` is 100ms, agg2 or raw (raw needs a login); of a kline 1m to 1d."""
    if stream == "kline":
        return f"chart.trades.{instrument}.{_RESOLUTIONS[interval]}"
    if stream == "quote":
        return f"quote.{instrument}"
    return f"{'trades' if stream == 'trade' else stream}.{instrument}.{interval}"


class Session(SocketSession):
    """Requests over one socket, and what is still to be answered.

    Deribit confirms the channels that it knows; one that it left out of its answer does not exist.
    """

    def __init__(self) -> None:
        self.asked: dict[int, tuple[str, ...]] = {}  # channels by request
        self._last = 0

    def hello(self) -> list[bytes]:
        """Ask for heartbeats. https://docs.deribit.com/api-reference/session-management/public-set_heartbeat"""
        return [self._request("public/set_heartbeat", {"interval": HEARTBEAT_SECONDS})]

    def subscribe(self, keys: Sequence[str]) -> list[bytes]:
        """Requests for these channels; ValueError for more than a connection may have."""
        wanted, requests = list(dict.fromkeys(keys)), []
        if len(wanted) > CHANNELS_PER_CONNECTION:
            raise ValueError(f"{len(wanted)} channels, a connection may have {CHANNELS_PER_CONNECTION}")
        for begin in range(0, len(wanted), CHANNELS_PER_REQUEST):
            part = wanted[begin : begin + CHANNELS_PER_REQUEST]
            requests.append(self._request("public/subscribe", {"channels": part}))
            self.asked[self._last] = tuple(part)
        return requests

    def unsubscribe(self, keys: Sequence[str]) -> list[bytes]:
        """A request whose response confirms nothing."""
        return [self._request("public/unsubscribe", {"channels": keys})]

    def read_reply(self, raw: bytes, outcomes: Iterable[Outcome]) -> SubscriptionReply:
        for outcome in outcomes:
            if isinstance(outcome, Control) and outcome.kind == "test_request":  # unanswered, it ends the connection
                return SubscriptionReply(reply=self._request("public/test", {}))
            if isinstance(outcome, VenueError) or (isinstance(outcome, Control) and outcome.kind == "ack"):
                return self._response(raw, outcome)
        return SubscriptionReply()

    def _response(self, raw: bytes, outcome: Control | VenueError) -> SubscriptionReply:
        answer = decoded(_decode, raw)
        requested = self.asked.pop(answer.id, ()) if answer and isinstance(answer.id, int) else ()
        granted = decoded(_channels, answer.result) if answer else None
        if isinstance(outcome, VenueError):
            return SubscriptionReply.of_error(outcome, requested)
        missing = [key for key in requested if granted is not None and key not in granted]
        confirmed = tuple(key for key in requested if key not in missing)
        return SubscriptionReply(confirmed, tuple((key, f"{key} {NO_SUCH_CHANNEL}") for key in missing))

    def _request(self, method: str, params: dict[str, object]) -> bytes:
        self._last += 1
        return msgspec.json.encode({"jsonrpc": "2.0", "id": self._last, "method": method, "params": params})
