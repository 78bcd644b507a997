"""What a client of Hyperliquid's socket has to keep to: address, limits, keepalive and subscriptions.

https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket
https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/timeouts-and-heartbeats
https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/rate-limits-and-user-limits
Nothing is sent here.
"""

from collections.abc import Sequence

import msgspec

from marketdata_assets.exchanges.hyperliquid import wire
from marketdata_assets.exchanges.hyperliquid.wire import FAST, STREAM
from marketdata_assets.exchanges.venue_adapter import ChannelSession

WEBSOCKET = "wss://api.hyperliquid.xyz/ws"
CONNECTIONS = 10  # by address, as all of these
CONNECTIONS_PER_MINUTE = 30
SUBSCRIPTIONS = 1000  # over all connections
MESSAGES_PER_MINUTE = 2000  # sent by us, over all connections
PING = b'{"method":"ping"}'
PING_AFTER_SECONDS = 30.0  # Hyperliquid closes a connection to which it has sent nothing for 60 s


def subscription_of(key: str) -> wire.Subscription:
    """The subscription with this key."""
    stream, _, coin = key.partition(":")
    if stream.startswith("candle"):
        return wire.Subscription("candle", coin, stream.removeprefix("candle"))
    return wire.Subscription(STREAM, coin, fast=True) if stream == FAST else wire.Subscription(stream, coin)


class Session(ChannelSession):
    """The subscriptions of one socket that are not confirmed yet."""

    ping = PING
    most, already = 1, wire.TWICE

    def request(self, method: str, channel: str, names: Sequence[str]) -> bytes:
        """A second request of the same subscription is an error."""
        fields = msgspec.to_builtins(subscription_of(f"{channel}:{names[0]}"))
        subscription = {name: value for name, value in fields.items() if value}
        return msgspec.json.encode({"method": method, "subscription": subscription})

    def named_in(self, words: str) -> list[str] | None:
        key = wire.named_in(words)
        return [key] if key else None
