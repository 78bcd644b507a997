"""The adapter of OKX: channels and their URLs, confirmations, text pings and instrument lists."""

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from marketdata_assets.exchanges.books import ResyncRequest
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.okx import session
from marketdata_assets.exchanges.okx.history import API, BARS
from marketdata_assets.exchanges.okx.session import OF_A_MARKET, SUMMARY, arg_of
from marketdata_assets.exchanges.okx.wire import Arg, Data, envelope
from marketdata_assets.exchanges.records import MarketType
from marketdata_assets.exchanges.venue_adapter import MessageRate, Request, Subscription, VenueAdapter, interval_ns
from marketdata_assets.exchanges.wire import decoded

_underlyings = msgspec.json.Decoder(Data[list[str]]).decode

KINDS: dict[MarketType, tuple[str, ...]] = {
    "spot": ("SPOT",),
    "linear": ("SWAP", "FUTURES"),
    "inverse": ("SWAP", "FUTURES"),
    "option": ("OPTION",),
}
INDEX = "index-tickers"
UNDERLYINGS = "public/underlying"

SILENCE: dict[str, float | None] = {
    "trades": 600.0,
    "books": 150.0,  # without a change, a message without levels comes every minute
    "tickers": 300.0,
    "mark-price": 120.0,
    INDEX: 120.0,
    SUMMARY: 120.0,
    "funding-rate": 300.0,
    "open-interest": 120.0,
    OF_A_MARKET: None,
}
"""Our choice: seconds of silence after which a channel is suspicious."""


class OkxAdapter(VenueAdapter):
    """One market of OKX."""

    data_prefix = b'{"arg":{'
    trade_stream = "trades"
    sequential_trade_ids = True
    book_per_socket = True
    max_subscriptions = 300  # our choice
    connects_per_second = 0.9 * session.CONNECTIONS_PER_SECOND
    ping_after = session.PING_AFTER_SECONDS - 5.0
    message_rates = (MessageRate(session.REQUESTS_PER_HOUR - 10, 3600.0),)
    socket_session = session.Session

    def prepare(self) -> None:
        self._families: list[str] = []  # of options, that are still to be listed

    def subscriptions(self, instrument: Instrument, types: Sequence[str]) -> list[Subscription]:
        swap = instrument.name.endswith("-SWAP")
        channels = {
            "trade": ["trades"],
            "orderbook": [self._choices.get("book_channel", "books")],
            "open_interest": ["open-interest"],
        }
        channels["ticker"] = ["tickers"] if self.market_type == "spot" else ["tickers", "mark-price"]
        channels["funding_rate"] = ["funding-rate"] if swap else []
        subscriptions = [
            self._subscription(f"{channel}:{instrument.name}", instrument.name, tag)
            for tag in types
            for channel in channels.get(tag, ())
        ]
        for interval in self._intervals if "kline" in types else ():
            key = f"candle{BARS[interval]}:{instrument.name}"
            subscriptions.append(self._subscription(key, instrument.name, "kline", interval_ns(interval)))
        if "ticker" in types and swap:
            key = f"{INDEX}:{instrument.name.removesuffix('-SWAP')}"
            subscriptions.append(self._subscription(key, instrument.name, "ticker"))
        if "ticker" in types and self.market_type == "option":
            family = instrument.name.rsplit("-", 3)[0]  # expiry, strike and right follow it
            subscriptions.append(self._subscription(f"{SUMMARY}:{family}", "", "ticker"))
        if "liquidation" in types:
            key = f"{OF_A_MARKET}:{'SWAP' if swap else 'FUTURES'}"
            subscriptions.append(self._subscription(key, "", "liquidation"))
        return subscriptions

    def channel_of(self, raw: bytes) -> bytes:
        return raw.partition(b"}")[0]

    def key_of(self, channel: bytes) -> str:
        return _key_of(channel)

    def book_key(self, resync: ResyncRequest) -> str:
        return str(Arg(resync.stream, resync.instrument))

    def listings(self) -> list[Request]:
        """Options are listed by family, of which there is a list too."""
        if self.market_type == "option":
            return [Request(API + UNDERLYINGS, {"instType": "OPTION"}, UNDERLYINGS)]
        return [_instruments(instType=kind) for kind in KINDS[self.market_type]]

    def next_listing(self, request: Request, raw: bytes) -> Request | None:
        if request.lane == UNDERLYINGS:
            listed = decoded(_underlyings, raw)  # without it no option is listed
            self._families = [family for families in listed.data for family in families] if listed else []
        return _instruments(instType="OPTION", instFamily=self._families.pop(0)) if self._families else None

    def _subscription(self, key: str, name: str, tag: str, every: int = 0) -> Subscription:
        arg = arg_of(key)
        host = self._socket_url or session.PUBLIC_URL.removesuffix("/ws/v5/public")
        url = host + session.url_of(arg).partition(":8443")[2]
        return Subscription(key, url, name, arg.channel, (tag,), SILENCE.get(arg.channel, 600.0), every)


def _instruments(**query: str) -> Request:
    return Request(f"{API}public/instruments", query, "public/instruments")


@lru_cache(1 << 14)
def _key_of(channel: bytes) -> str:
    head = decoded(envelope, channel + b"}}")
    return str(head.arg) if head and head.arg else ""
