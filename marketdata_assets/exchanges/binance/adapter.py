"""The adapter of Binance: streams and their URLs, confirmations, instrument lists, snapshots and polls."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from marketdata_assets.exchanges.binance.history import request_of
from marketdata_assets.exchanges.binance.session import (
    CONNECTION_SECONDS,
    CONNECTIONS_PER_FIVE_MINUTES,
    MARKETS,
    Session,
    stream_name,
    url_of,
)
from marketdata_assets.exchanges.books import ResyncRequest
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import MarketType
from marketdata_assets.exchanges.venue_adapter import (
    MessageRate,
    Request,
    RequestFor,
    Subscription,
    VenueAdapter,
    interval_ns,
)

DATA_PREFIX = b'{"stream":"'
BOOK_SPEED = "100ms"
UNNAMED_SPEEDS: dict[MarketType, str] = {"spot": "1000ms", "linear": "250ms", "inverse": "250ms"}
"""The speed of a stream of books whose name has none."""

SILENCE: dict[str, float | None] = {
    "trade": 600.0,
    "aggTrade": 600.0,
    "depth": 120.0,
    "bookTicker": 300.0,
    "ticker": 300.0,
    "kline": 600.0,
    "markPrice": 60.0,
    "forceOrder": None,
    "optionTrade": 3600.0,
    "optionMarkPrice": 60.0,
    "optionOpenInterest": 300.0,
}
"""Our choice: seconds of silence after which a stream is suspicious."""


class BinanceAdapter(VenueAdapter):
    """One market of Binance."""

    data_prefix = DATA_PREFIX
    book_per_socket = False
    ping_after = 30.0
    age = CONNECTION_SECONDS
    connects_per_second = CONNECTIONS_PER_FIVE_MINUTES / 300.0

    def prepare(self) -> None:
        market = MARKETS[self.market_type]
        self.max_subscriptions = min(market.streams, 300)  # our choice, to spread the load over the venue's servers
        self.message_rates = (MessageRate(int(market.messages_per_second) - 1, 1.1),)
        self.socket_session = partial(Session, self.market_type)
        self._market = market
        usual = {"spot": "trade", "option": "optionTrade"}.get(self.market_type, "aggTrade")
        self.trade_stream = self._choices.get("trade_channel", usual)
        speed = self._choices.get("book_speed", BOOK_SPEED)
        self._book_speed = "" if speed == UNNAMED_SPEEDS.get(self.market_type) else speed
        self.sequential_trade_ids = self.market_type != "option"  # of options it is not documented

    def subscriptions(self, instrument: Instrument, types: Sequence[str]) -> list[Subscription]:
        if self.market_type == "option":
            return list(self._of_option(instrument, types))
        streams: list[tuple[str, str, str]] = []
        if "trade" in types:
            streams.append(("aggTrade" if self.trade_stream == "aggTrade" else "trade", "", "trade"))
        if "orderbook" in types:
            streams.append(("depth", self._book_speed, "orderbook"))
        if "kline" in types:
            streams += [("kline", interval, "kline") for interval in self._intervals]
        if "ticker" in types:
            streams += [("ticker", "", "ticker"), ("bookTicker", "", "ticker")]
        if "funding_rate" in types and not instrument.dated:
            streams.append(("markPrice", "", "funding_rate"))
        if "liquidation" in types:
            streams.append(("forceOrder", "", "liquidation"))
        return [self._subscription(stream, instrument.name, interval, tag) for stream, interval, tag in streams]

    def _of_option(self, instrument: Instrument, types: Sequence[str]) -> Iterator[Subscription]:
        """Mark prices are of all options on an underlying, open interest is of all that expire on a day.

        https://developers.binance.com/docs/derivatives/options-trading/websocket-market-streams
        """
        underlying, expiry = instrument.base + instrument.quote, instrument.name.split("-")[1]
        if "trade" in types:
            yield self._subscription("optionTrade", instrument.name, "", "trade")
        if "ticker" in types:
            yield self._subscription("bookTicker", instrument.name, "", "ticker")
            yield replace(self._subscription("optionMarkPrice", underlying, "", "ticker"), instrument="")
        if "open_interest" in types:
            interest = self._subscription("optionOpenInterest", underlying, expiry, "open_interest")
            yield replace(interest, instrument="")

    def _subscription(self, stream: str, name: str, interval: str, tag: str) -> Subscription:
        key, host = stream_name(stream, name, interval), self._market.socket
        url = (self._socket_url or host) + url_of(self.market_type, key).removeprefix(host)
        every = interval_ns(interval) if stream == "kline" else 0
        return Subscription(key, url, name, key.partition("@")[2], (tag,), SILENCE[stream], every)

    def channel_of(self, raw: bytes) -> bytes:
        return raw.partition(b",")[0]

    def key_of(self, channel: bytes) -> str:
        return channel[len(DATA_PREFIX) : -1].decode("utf-8", "replace") if channel.startswith(DATA_PREFIX) else ""

    def book_key(self, resync: ResyncRequest) -> str:
        return stream_name("depth", resync.instrument, self._book_speed)

    def listings(self) -> list[Request]:
        return [request_of(self.market_type, "exchangeInfo", {})]

    def snapshot(self, instrument: str) -> Request:
        """A book of the levels that were chosen; without a choice, of as many as it may have.

        https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#order-book
        """
        weights = self._market.snapshot_weights
        limit = self._depth or next(iter(weights))
        return Request(f"{self._market.path}/depth", {"symbol": instrument, "limit": limit}, cost=weights[limit])

    def polls(self, types: Sequence[str]) -> dict[str, RequestFor]:
        if "open_interest" not in types or self.market_type in ("spot", "option"):
            return {}
        return {
            "open_interest": lambda instrument: request_of(self.market_type, "openInterest", {"symbol": instrument})
        }
