"""The adapter of Kraken: subscriptions and what confirms them, pings, and the list of pairs.

https://docs.kraken.com/api/docs/guides/spot-ws-intro, https://docs.kraken.com/api/docs/guides/spot-ratelimits
"""

from collections.abc import Sequence
from functools import partial

import msgspec

from marketdata_assets.exchanges.kraken.feed import BOOK, CHANNELS, SYMBOL
from marketdata_assets.exchanges.kraken.history import API
from marketdata_assets.exchanges.kraken.parse import INTERVALS
from marketdata_assets.exchanges.venue_adapter import ChannelAdapter, ChannelSession, MessageRate, Request
from marketdata_assets.exchanges.wire import CHANNEL, field

HOST, PATH = "wss://ws.kraken.com", "/v2"
CONNECTIONS, CONNECTIONS_SECONDS = 150, 600.0  # by address
PING_AFTER_SECONDS = 30.0  # Kraken closes a connection over which nothing comes for about a minute
REQUESTS_PER_SECOND = 10  # ours: the limit is not stated
DEPTH = 10
"""Levels of a book on each side: the checksum covers so many, so that with these no lost message goes unnoticed."""


class Session(ChannelSession):
    """The subscriptions of one socket; `depth` is of books."""

    ping = b'{"method":"ping"}'
    most = 50  # ours, too

    def __init__(self, depth: int = DEPTH) -> None:
        super().__init__()
        self._depth = depth

    def request(self, method: str, channel: str, names: Sequence[str]) -> bytes:
        """Of candles the channel has the interval behind a dash."""
        word, _, interval = channel.partition("-")
        more: dict[str, object] = {"interval": int(interval), "snapshot": False} if interval else {}
        if word == "book":
            more = {"depth": self._depth}
        elif word == "ticker":
            more = {"event_trigger": "bbo"}
        return msgspec.json.encode({"method": method, "params": {"channel": word, "symbol": names, **more}})


STREAMS = {"trade": (("trade",), 600.0), BOOK: (("orderbook",), 150.0), "ticker": (("ticker",), 300.0)}
"""The record types of each channel, and our choice of seconds of silence after which it is suspicious."""

CANDLES = {interval: f"ohlc-{minutes}" for interval, minutes in INTERVALS.items()}
_INTERVAL = field("interval")


class KrakenAdapter(ChannelAdapter):
    """The spot market of Kraken."""

    data_prefix = tuple(CHANNEL + channel.encode() + b'"' for channel in (*CHANNELS, BOOK))
    streams, candles = STREAMS, CANDLES
    host, path, instrument = HOST, PATH, SYMBOL
    trade_stream = "trade"
    sequential_trade_ids = True
    book_per_socket = True
    max_subscriptions = 250  # our choice
    connects_per_second = 0.9 * CONNECTIONS / CONNECTIONS_SECONDS
    ping_after = ping_every = PING_AFTER_SECONDS
    message_rates = (MessageRate(REQUESTS_PER_SECOND, 1.0),)

    def prepare(self) -> None:
        super().prepare()
        self.socket_session = partial(Session, self._depth or DEPTH)

    def channel_of(self, raw: bytes) -> bytes:
        """Of a candle with the interval."""
        channel, interval = super().channel_of(raw), _INTERVAL.search(raw)
        return channel.replace(b":", b"-" + interval[1] + b":", 1) if interval else channel

    def listings(self) -> list[Request]:
        return [Request(f"{API}AssetPairs", {})]
