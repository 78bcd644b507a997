"""What a client of Hyperliquid's socket has to keep to: address, limits, keepalive and subscriptions.

https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket
https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/timeouts-and-heartbeats
https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/rate-limits-and-user-limits
Nothing is sent here.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from marketdata_assets.exchanges.hyperliquid import wire
from marketdata_assets.exchanges.hyperliquid.wire import FAST, STREAM, UNSUBSCRIBED
from marketdata_assets.exchanges.records import Control, Outcome, VenueError
from marketdata_assets.exchanges.venue_adapter import SocketSession, SubscriptionReply

WEBSOCKET = "wss://api.hyperliquid.xyz/ws"
CONNECTIONS = 10  # by address, as all of these
CONNECTIONS_PER_MINUTE = 30
SUBSCRIPTIONS = 1000  # over all connections
MESSAGES_PER_MINUTE = 2000  # sent by us, over all connections
PING = b'{"method":"ping"}'
PING_AFTER_SECONDS = 30.0  # Hyperliquid closes a connection to which it has sent nothing for 60 s


def requests(keys: Iterable[str], method: Literal["subscribe", "unsubscribe"] = "subscribe") -> list[bytes]:
    """Requests for these subscriptions, or to end them: one each. A second one of the same is an error."""
    each = (msgspec.to_builtins(subscription_of(key)) for key in keys)
    wanted = ({name: value for name, value in fields.items() if value} for fields in each)
    return [msgspec.json.encode({"method": method, "subscription": subscription}) for subscription in wanted]


def subscription_of(key: str) -> wire.Subscription:
    """The subscription with this key."""
    stream, _, coin = key.partition(":")
    if stream.startswith("candle"):
        return wire.Subscription("candle", coin, stream.removeprefix("candle"))
    return wire.Subscription(STREAM, coin, fast=True) if stream == FAST else wire.Subscription(stream, coin)


class Session(SocketSession):
    """The subscriptions of one socket that are not confirmed yet."""

    ping = PING

    def __init__(self) -> None:
        self._pending: dict[str, None] = {}  # in the order in which they were requested

    def subscribe(self, keys: Sequence[str]) -> list[bytes]:
        for key in keys:
            self._pending.pop(key, None)
            self._pending[key] = None
        return requests(keys)

    def unsubscribe(self, keys: Sequence[str]) -> list[bytes]:
        for key in keys:
            self._pending.pop(key, None)
        return requests(keys, "unsubscribe")

    def read_reply(self, raw: bytes, outcomes: Iterable[Outcome]) -> SubscriptionReply:
        for outcome in outcomes:
            if isinstance(outcome, Control) and outcome.kind == "ack":
                return SubscriptionReply() if outcome.detail.startswith(UNSUBSCRIBED) else self._there(outcome.detail)
            if isinstance(outcome, VenueError):
                return self._error(outcome)
        return SubscriptionReply()

    def _error(self, error: VenueError) -> SubscriptionReply:
        """An error that names no subscription is taken for the answer to the oldest request."""
        if error.rate_limited:
            return SubscriptionReply(retry=tuple(self._pending))
        key = wire.named_in(error.message)
        if error.message.startswith(wire.TWICE):
            return self._there(key)
        key = key or next(iter(self._pending), "")
        if key not in self._pending:
            return SubscriptionReply()
        del self._pending[key]
        return SubscriptionReply(rejected=((key, error.message),))

    def _there(self, key: str) -> SubscriptionReply:
        self._pending.pop(key, None)
        return SubscriptionReply(confirmed=(key,))
