"""The adapter of Coinbase: subscriptions and what confirms them, and the list of products.

https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-rate-limits
"""

from collections.abc import Sequence

import msgspec

from marketdata_assets.exchanges.coinbase.feed import BOOK, CHANNELS, PRODUCT, RENAMED
from marketdata_assets.exchanges.venue_adapter import ChannelAdapter, ChannelSession, MessageRate, Request
from marketdata_assets.exchanges.wire import CHANNEL

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


STREAMS = {"market_trades": (("trade",), 600.0), BOOK: (("orderbook",), 150.0), "ticker": (("ticker",), 600.0)}
"""The record types of each channel, and our choice of seconds of silence after which it is suspicious."""


class CoinbaseAdapter(ChannelAdapter):
    """The spot market of Coinbase."""

    data_prefix = tuple(CHANNEL + channel.encode() + b'"' for channel in (*CHANNELS, *RENAMED))
    streams, renamed, host, instrument = STREAMS, RENAMED, HOST, PRODUCT
    trade_stream = "market_trades"
    sequential_trade_ids = True
    book_per_socket = True
    max_subscriptions = 150  # our choice
    connects_per_second = PER_SECOND / 2
    ping_after = 30.0  # heartbeats come every second
    message_rates = (MessageRate(PER_SECOND // 2, 1.0, by_address=True),)  # half: another process may be there too
    socket_session = Session

    def channel_of(self, raw: bytes) -> bytes:
        """Trades of before a subscription do not show that it delivers, so that they are of none."""
        before = raw.startswith(CHANNEL + b"market_trades") and b'"snapshot"' in raw[:250]
        return b"" if before else super().channel_of(raw)

    def listings(self) -> list[Request]:
        return [Request("/products", {})]
