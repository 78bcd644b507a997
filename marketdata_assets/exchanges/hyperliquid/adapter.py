"""The adapter of Hyperliquid: subscriptions, their confirmations and errors, pings, and the lists of instruments."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from marketdata_assets.exchanges.books import ResyncRequest
from marketdata_assets.exchanges.hyperliquid import session
from marketdata_assets.exchanges.hyperliquid.feed import BEGIN, CHANNELS
from marketdata_assets.exchanges.hyperliquid.history import PATH, WEIGHT
from marketdata_assets.exchanges.hyperliquid.wire import FAST, STREAM
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import MarketType
from marketdata_assets.exchanges.venue_adapter import MessageRate, Request, Subscription, VenueAdapter, interval_ns

DEX = re.compile(r"!?(?P<dex>[A-Za-z0-9]+):")
"""The dex of a symbol: perpetuals that others than Hyperliquid have deployed are named dex:COIN."""

SOCKETS = 4  # our choice: so many carry all subscriptions that an address may have, and leave room for replacements

TYPES: dict[MarketType, dict[str, tuple[str, ...]]] = {
    "spot": {"trades": ("trade",), "l2Book": ("orderbook",), "bbo": ("ticker",), "activeAssetCtx": ("ticker",)},
    "linear": {
        "trades": ("trade",),
        "l2Book": ("orderbook",),
        "bbo": ("ticker",),
        "activeAssetCtx": ("ticker", "funding_rate", "open_interest"),
    },
}
"""The record types that each subscription delivers, candles excepted."""

DEPTH, BOOKS = 20, {20: STREAM, 5: FAST}
"""Levels of a book on each side: 20 every two seconds, or 5 every half second."""

SILENCE = {"trades": 600.0, "l2Book": 60.0, "fastBook": 60.0, "bbo": 300.0, "activeAssetCtx": 120.0}
"""Our choice: seconds of silence after which a subscription is suspicious. Books come without a change too; candles do
not come without trades, so their silence is normal."""


class HyperliquidAdapter(VenueAdapter):
    """One market of Hyperliquid."""

    data_prefix = tuple(BEGIN + channel.encode() + b'"' for channel in (*CHANNELS, STREAM))
    trade_stream = "trades"
    sequential_trade_ids = False
    repeats_trades = True
    book_per_socket = False
    max_subscriptions = session.SUBSCRIPTIONS // SOCKETS
    connects_per_second = 0.9 * session.CONNECTIONS_PER_MINUTE / 60.0
    ping_after = session.PING_AFTER_SECONDS
    message_rates = (MessageRate(session.MESSAGES_PER_MINUTE // (2 * SOCKETS), 60.0),)
    socket_session = session.Session

    def prepare(self) -> None:
        self._types = TYPES[self.market_type]
        self._url = f"{self._socket_url}/ws" if self._socket_url else session.WEBSOCKET

    def subscriptions(self, instrument: Instrument, types: Sequence[str]) -> list[Subscription]:
        coin = instrument.name
        subscriptions = []
        for name, tags in self._types.items():
            channel = BOOKS[self._depth or DEPTH] if name == STREAM else name
            if wanted := tuple(tag for tag in tags if tag in types):
                subscriptions.append(
                    Subscription(f"{channel}:{coin}", self._url, coin, channel, wanted, SILENCE[channel])
                )
        for interval in self._intervals if "kline" in types else ():
            stream, every = f"candle{interval}", interval_ns(interval)
            subscriptions.append(Subscription(f"{stream}:{coin}", self._url, coin, stream, ("kline",), None, every))
        return subscriptions

    def channel_of(self, raw: bytes) -> bytes:
        """The channel and the coin; of a candle, the interval between them."""
        end = raw.find(b'"', len(BEGIN))
        channel = raw[len(BEGIN) : end]
        name = b'"s":"' if channel == b"candle" else b'"coin":"'
        begin = raw.find(name, end) + len(name)
        coin = raw[begin : raw.find(b'"', begin)]
        if channel == b"l2Book" and b'"fast":true' in raw:
            return b"fastBook:" + coin
        if channel != b"candle":
            return channel + b":" + coin
        begin = raw.find(b'"i":"', end) + len(b'"i":"')
        return channel + raw[begin : raw.find(b'"', begin)] + b":" + coin

    def key_of(self, channel: bytes) -> str:
        return _key_of(channel)

    def book_key(self, resync: ResyncRequest) -> str:
        return f"{resync.stream}:{resync.instrument}"

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


@lru_cache(1 << 14)
def _key_of(channel: bytes) -> str:
    """Spot pairs are subscribed to as perpetuals are, and their states come under another name."""
    return channel.decode("utf-8", "replace").replace("activeSpotAssetCtx:", "activeAssetCtx:", 1)
