"""The adapter of Hyperliquid: address and limits of its socket, subscriptions, pings, and the lists of instruments.

https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket
https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/timeouts-and-heartbeats
https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/rate-limits-and-user-limits
"""

import re
from collections.abc import Iterable, Sequence

import msgspec

from marketdata_assets.exchanges.hyperliquid import wire
from marketdata_assets.exchanges.hyperliquid.feed import CHANNELS, is_fast
from marketdata_assets.exchanges.hyperliquid.history import PATH, WEIGHT
from marketdata_assets.exchanges.hyperliquid.parse import INTERVALS
from marketdata_assets.exchanges.hyperliquid.wire import FAST, STREAM
from marketdata_assets.exchanges.venue_adapter import ChannelAdapter, ChannelSession, MessageRate, Request
from marketdata_assets.exchanges.wire import CHANNEL, field

CONNECTIONS = 10  # by address, as all of these
CONNECTIONS_PER_MINUTE = 30
SUBSCRIPTIONS = 1000  # over all connections
MESSAGES_PER_MINUTE = 2000  # sent by us, over all connections
PING_AFTER_SECONDS = 30.0  # Hyperliquid closes a connection to which it has sent nothing for 60 s
SOCKETS = 8  # our choice: one of them replaces another, for which subscriptions are left free

DEX = re.compile(r"!?(?P<dex>[A-Za-z0-9]+):")
"""The dex of a symbol: perpetuals that others than Hyperliquid have deployed are named dex:COIN."""

STREAMS = {
    "trades": (("trade",), 600.0),
    STREAM: (("orderbook",), 60.0),  # which come without a change too
    "bbo": (("ticker",), 300.0),
    "activeAssetCtx": (("ticker", "funding_rate", "open_interest"), 120.0),
}
"""The record types of each subscription, and our choice of seconds of silence after which it is suspicious."""

DEPTH, BOOKS = 20, {20: STREAM, 5: FAST}
"""Levels of a book on each side: 20 every two seconds, or 5 every half second."""

_INTERVAL = field("i")


def subscription_of(key: str) -> wire.Subscription:
    """The subscription with this key."""
    stream, _, coin = key.partition(":")
    if stream.startswith("candle"):
        return wire.Subscription("candle", coin, stream.removeprefix("candle"))
    return wire.Subscription(STREAM, coin, fast=True) if stream == FAST else wire.Subscription(stream, coin)


class Session(ChannelSession):
    """The subscriptions of one socket that are not confirmed yet."""

    ping = b'{"method":"ping"}'
    most, already = 1, wire.TWICE

    def request(self, method: str, channel: str, names: Sequence[str]) -> bytes:
        """A second request of the same subscription is an error."""
        fields = msgspec.to_builtins(subscription_of(f"{channel}:{names[0]}"))
        subscription = {name: value for name, value in fields.items() if value}
        return msgspec.json.encode({"method": method, "subscription": subscription})

    def named_in(self, words: str) -> list[str] | None:
        key = wire.named_in(words)
        return [key] if key else None


class HyperliquidAdapter(ChannelAdapter):
    """One market of Hyperliquid."""

    data_prefix = tuple(CHANNEL + channel.encode() + b'"' for channel in (*CHANNELS, STREAM))
    candles = {interval: f"candle{interval}" for interval in INTERVALS}  # noqa: RUF012
    renamed = {"activeSpotAssetCtx": "activeAssetCtx"}  # noqa: RUF012  pairs are subscribed to as perpetuals are
    host, path, instrument = "wss://api.hyperliquid.xyz", "/ws", field("(?:coin|s)")
    trade_stream = "trades"
    sequential_trade_ids = False
    repeats_trades = True
    book_per_socket = False
    max_subscriptions = SUBSCRIPTIONS // SOCKETS
    address_subscriptions = SUBSCRIPTIONS - max_subscriptions
    connects_per_second = 0.9 * CONNECTIONS_PER_MINUTE / 60.0
    ping_after = PING_AFTER_SECONDS
    message_rates = (MessageRate(MESSAGES_PER_MINUTE // (2 * SOCKETS), 60.0),)
    socket_session = Session

    def prepare(self) -> None:
        super().prepare()
        book = BOOKS[self._depth or DEPTH]
        self.streams = {book if name == STREAM else name: about for name, about in STREAMS.items()}

    def channel_of(self, raw: bytes) -> bytes:
        """Of a candle with the interval, of a fast book with its name."""
        channel = super().channel_of(raw)
        if channel.startswith(b"l2Book:") and is_fast(raw):
            return channel.replace(b"l2Book", b"fastBook", 1)
        interval = _INTERVAL.search(raw) if channel.startswith(b"candle:") else None
        return channel.replace(b":", interval[1] + b":", 1) if interval else channel

    def listings(self) -> list[Request]:
        return self.listings_of(())

    def listings_of(self, symbols: Iterable[str]) -> list[Request]:
        """Those of a dex too that a symbol names, as xyz:ABC and xyz:*; spot pairs have the names of its collateral."""
        dexes = dict.fromkeys(found["dex"] for one in symbols if (found := DEX.match(one)))
        wanted = ["spotMeta"] if dexes or self.market_type == "spot" else []
        lists = [Request(PATH, {"type": one}, cost=WEIGHT) for one in (*wanted, "meta")]
        if self.market_type == "spot":
            return lists[:1]
        return lists + [Request(PATH, {"type": "meta", "dex": dex}, cost=WEIGHT, optional=True) for dex in dexes]
