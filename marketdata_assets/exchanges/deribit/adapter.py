"""The adapter of Deribit: channels, confirmations that omit unknown channels, heartbeats and instrument lists.

https://docs.deribit.com/articles/rate-limits
https://docs.deribit.com/articles/connection-management-best-practices
"""

from collections.abc import Iterable, Sequence

import msgspec

from marketdata_assets.exchanges.deribit.history import LISTS
from marketdata_assets.exchanges.deribit.parse import INTERVALS
from marketdata_assets.exchanges.deribit.wire import AnyMessage
from marketdata_assets.exchanges.records import Control, Outcome, VenueError
from marketdata_assets.exchanges.venue_adapter import (
    MessageRate,
    Request,
    SocketSession,
    SubscriptionReply,
    VenueAdapter,
    parts,
)
from marketdata_assets.exchanges.wire import decoded

CONNECTIONS_PER_IP = 32  # concurrent sockets and HTTP requests
CHANNELS_PER_CONNECTION = 500
CHANNELS_PER_REQUEST = 100  # ours; a rejected channel takes few others with it
SUBSCRIBES_PER_SECOND = 3.3  # 3000 of 30000 credits each
HEARTBEAT_SECONDS = 30  # the shortest is 10; every other one is a test_request, which has to be answered

NO_SUCH_CHANNEL = "is not in the answer: there is no such channel"

_decode = msgspec.json.Decoder(AnyMessage).decode
_channels = msgspec.json.Decoder(list[str]).decode


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
        for part in parts(wanted, CHANNELS_PER_REQUEST):
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


SPEED = "100ms"
CHANNEL = b'"channel":"'

STREAMS: dict[str, tuple[tuple[str, ...], float | None]] = {
    "trades": (("trade", "liquidation"), 600.0),
    "book": (("orderbook",), 150.0),
    "ticker": (("ticker", "funding_rate", "open_interest"), 120.0),
}
"""The record types of each channel, and our choice of seconds of silence after which it is suspicious."""


class DeribitAdapter(VenueAdapter):
    """One market of Deribit."""

    host, path = "wss://www.deribit.com", "/ws/api/v2"
    candles = {name: f"chart.trades.{resolution}" for resolution, (name, _) in INTERVALS.items()}  # noqa: RUF012
    candle_silence = 600.0
    data_prefix = b'{"jsonrpc":"2.0","method":"subscription"'
    trade_stream = f"trades.{SPEED}"
    sequential_trade_ids = True
    book_per_socket = True
    max_subscriptions = CHANNELS_PER_CONNECTION
    connects_per_second = 1.0
    ping_after = 1.5 * HEARTBEAT_SECONDS
    message_rates = (MessageRate(int(SUBSCRIBES_PER_SECOND), 1.0),)
    socket_session = Session

    def prepare(self) -> None:
        super().prepare()
        speeds = {"book": self._choices.get("book_speed", SPEED)}
        self.streams = {f"{kind}.{speeds.get(kind, SPEED)}": about for kind, about in STREAMS.items()}

    def key(self, stream: str, instrument: str) -> str:
        kind, _, speed = stream.rpartition(".")
        return f"{kind}.{instrument}.{speed}"

    def channel_of(self, raw: bytes) -> bytes:
        data_prefix = raw.find(CHANNEL) + len(CHANNEL)
        return raw[data_prefix : raw.find(b'"', data_prefix)]

    def listings(self) -> list[Request]:
        return [Request("/public/get_instruments", {"currency": "any", "expired": "false"}, LISTS)]
