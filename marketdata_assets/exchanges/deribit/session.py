"""What is said to Deribit over its socket, and what it allows. Nothing is sent here.

Limits: https://docs.deribit.com/articles/rate-limits and
https://docs.deribit.com/articles/connection-management-best-practices
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from marketdata_assets.exchanges.deribit.parse import INTERVALS
from marketdata_assets.exchanges.deribit.wire import AnyMessage
from marketdata_assets.exchanges.records import VenueError

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

UNKNOWN_CHANNEL = "unknown_channel"
"""Our code for a channel that Deribit left out of its answer, which is all it does about one it does not know."""

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


@dataclass
class Session:
    """Requests over one socket, and what is still to be answered."""

    asked: dict[int, tuple[str, ...]] = field(default_factory=dict)  # channels by request
    _last: int = 0

    def subscribe(self, channels: Iterable[str]) -> list[bytes]:
        """Requests for these channels; ValueError for more than a connection may have."""
        wanted = list(dict.fromkeys(channels))
        if len(wanted) > CHANNELS_PER_CONNECTION:
            raise ValueError(f"{len(wanted)} channels, a connection may have {CHANNELS_PER_CONNECTION}")
        parts = [wanted[begin : begin + CHANNELS_PER_REQUEST] for begin in range(0, len(wanted), CHANNELS_PER_REQUEST)]
        return [self._about("public/subscribe", part) for part in parts]

    def unsubscribe(self, channels: Sequence[str]) -> bytes:
        return self._about("public/unsubscribe", channels)

    def set_heartbeat(self, seconds: int = HEARTBEAT_SECONDS) -> bytes:
        """Ask for heartbeats. https://docs.deribit.com/api-reference/session-management/public-set_heartbeat"""
        return self._request("public/set_heartbeat", {"interval": seconds})

    def test(self) -> bytes:
        """The answer to a test_request; without it the connection is closed."""
        return self._request("public/test", {})

    def check(self, raw: bytes) -> list[VenueError]:
        """An error for each requested channel that is missing in this response. Other messages give none."""
        try:
            answer = _decode(raw)
            requested = self.asked.pop(answer.id, ()) if isinstance(answer.id, int) else ()
            granted = set(_channels(answer.result)) if requested and not answer.error else set(requested)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return []
        return [
            VenueError(UNKNOWN_CHANNEL, f"{name} is not in the answer: there is no such channel")
            for name in requested
            if name not in granted
        ]

    def _about(self, method: str, channels: Sequence[str]) -> bytes:
        request = self._request(method, {"channels": channels})
        self.asked[self._last] = tuple(channels)
        return request

    def _request(self, method: str, params: dict[str, object]) -> bytes:
        self._last += 1
        return msgspec.json.encode({"jsonrpc": "2.0", "id": self._last, "method": method, "params": params})
