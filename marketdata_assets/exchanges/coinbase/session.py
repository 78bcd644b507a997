"""What a client of Coinbase's public socket has to keep to: address, limits, keepalive and subscriptions.

https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-rate-limits
Nothing is sent here.
"""

from collections.abc import Sequence

import msgspec

from marketdata_assets.exchanges.venue_adapter import ChannelSession

HOST = "wss://advanced-trade-ws.coinbase.com"
PER_SECOND = 8  # connections, and messages that we send, by address


class Session(ChannelSession):
    """The subscriptions of one socket."""

    most = 50  # ours

    def hello(self) -> list[bytes]:
        """Heartbeats, without which the venue ends channels that have nothing to say for a minute."""
        return [msgspec.json.encode({"type": "subscribe", "channel": "heartbeats"})]

    def request(self, method: str, channel: str, names: Sequence[str]) -> bytes:
        return msgspec.json.encode({"type": method, "product_ids": names, "channel": channel})
