"""The adapter of Deribit: channels, confirmations that omit unknown channels, heartbeats and instrument lists."""

from collections.abc import Sequence

from marketdata_assets.exchanges.books import ResyncRequest
from marketdata_assets.exchanges.deribit import session
from marketdata_assets.exchanges.deribit.history import LISTS
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.venue_adapter import MessageRate, Request, Subscription, VenueAdapter, interval_ns

SPEED = "100ms"
PATH = "/api/v2"
CHANNEL = b'"channel":"'

TYPES: dict[session.Stream, tuple[str, ...]] = {
    "trade": ("trade", "liquidation"),
    "book": ("orderbook",),
    "ticker": ("ticker", "funding_rate", "open_interest"),
    "kline": ("kline",),
}
"""The record types that each channel delivers."""

SILENCE: dict[session.Stream, float | None] = {"trade": 600.0, "book": 150.0, "ticker": 120.0, "kline": 600.0}
"""Our choice: seconds of silence after which a channel is suspicious."""


class DeribitAdapter(VenueAdapter):
    """One market of Deribit."""

    data_prefix = b'{"jsonrpc":"2.0","method":"subscription"'
    trade_stream = f"trades.{SPEED}"
    sequential_trade_ids = True
    book_per_socket = True
    max_subscriptions = session.CHANNELS_PER_CONNECTION
    connects_per_second = 1.0
    ping_after = 1.5 * session.HEARTBEAT_SECONDS
    message_rates = (MessageRate(int(session.SUBSCRIBES_PER_SECOND), 1.0),)
    socket_session = session.Session

    def prepare(self) -> None:
        self._url = f"{self._socket_url}/ws{PATH}" if self._socket_url else session.WEBSOCKET

    def subscriptions(self, instrument: Instrument, types: Sequence[str]) -> list[Subscription]:
        subscriptions = []
        for stream, tags in TYPES.items():
            wanted = tuple(tag for tag in tags if tag in types)
            usual = self._choices.get("book_speed", SPEED) if stream == "book" else SPEED
            for speed in (self._intervals if stream == "kline" else (usual,)) if wanted else ():
                key = session.channel(stream, instrument.name, speed)
                about = key.replace(f".{instrument.name}.", ".")
                every = interval_ns(speed) if stream == "kline" else 0
                silence = SILENCE[stream]
                subscriptions.append(Subscription(key, self._url, instrument.name, about, wanted, silence, every))
        return subscriptions

    def channel_of(self, raw: bytes) -> bytes:
        data_prefix = raw.find(CHANNEL) + len(CHANNEL)
        return raw[data_prefix : raw.find(b'"', data_prefix)]

    def book_key(self, resync: ResyncRequest) -> str:
        return resync.stream

    def listings(self) -> list[Request]:
        return [Request("/public/get_instruments", {"currency": "any", "expired": "false"}, LISTS)]
