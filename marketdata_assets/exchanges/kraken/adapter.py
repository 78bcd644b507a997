"""The adapter of Kraken: subscriptions and what confirms them, pings, and the list of pairs."""

from functools import partial

from marketdata_assets.exchanges.kraken import session
from marketdata_assets.exchanges.kraken.feed import BOOK, CHANNELS, SYMBOL
from marketdata_assets.exchanges.kraken.history import API
from marketdata_assets.exchanges.kraken.parse import INTERVALS
from marketdata_assets.exchanges.venue_adapter import ChannelAdapter, MessageRate, Request
from marketdata_assets.exchanges.wire import CHANNEL, field

STREAMS = {"trade": (("trade",), 600.0), BOOK: (("orderbook",), 150.0), "ticker": (("ticker",), 300.0)}
"""The record types of each channel, and our choice of seconds of silence after which it is suspicious."""

CANDLES = {interval: f"ohlc-{minutes}" for interval, minutes in INTERVALS.items()}
_INTERVAL = field("interval")


class KrakenAdapter(ChannelAdapter):
    """The spot market of Kraken."""

    data_prefix = tuple(CHANNEL + channel.encode() + b'"' for channel in (*CHANNELS, BOOK))
    streams, candles = STREAMS, CANDLES
    host, path, instrument = session.HOST, session.PATH, SYMBOL
    trade_stream = "trade"
    sequential_trade_ids = True
    book_per_socket = True
    max_subscriptions = 250  # our choice
    connects_per_second = 0.9 * session.CONNECTIONS / session.CONNECTIONS_SECONDS
    ping_after = session.PING_AFTER_SECONDS
    message_rates = (MessageRate(session.REQUESTS_PER_SECOND, 1.0),)

    def prepare(self) -> None:
        super().prepare()
        self.socket_session = partial(session.Session, self._depth or session.DEPTH)

    def channel_of(self, raw: bytes) -> bytes:
        """Of a candle with the interval."""
        channel, interval = super().channel_of(raw), _INTERVAL.search(raw)
        return channel.replace(b":", b"-" + interval[1] + b":", 1) if interval else channel

    def listings(self) -> list[Request]:
        return [Request(f"{API}AssetPairs", {})]
