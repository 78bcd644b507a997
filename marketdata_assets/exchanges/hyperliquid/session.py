"""What a client of Hyperliquid's socket has to keep to: address, limits, keepalive and subscriptions.

https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket
https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/timeouts-and-heartbeats
https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/rate-limits-and-user-limits
Nothing is sent here.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from marketdata_assets.exchanges.hyperliquid.wire import Subscription

WEBSOCKET = "wss://api.hyperliquid.xyz/ws"
CONNECTIONS = 10  # by address, as all of these
CONNECTIONS_PER_MINUTE = 30
SUBSCRIPTIONS = 1000  # over all connections
MESSAGES_PER_MINUTE = 2000  # sent by us, over all connections
PING = b'{"method":"ping"}'
PING_AFTER_SECONDS = 30.0  # Hyperliquid closes a connection to which it has sent nothing for 60 s


def requests(
    subscriptions: Iterable[Subscription], method: Literal["subscribe", "unsubscribe"] = "subscribe"
) -> list[bytes]:
    """Requests for these subscriptions, or to end them: one each. A second one of the same is an error."""
    return [
        msgspec.json.encode(
            {
                "method": method,
                "subscription": {name: value for name, value in msgspec.to_builtins(each).items() if value},
            }
        )
        for each in subscriptions
    ]
