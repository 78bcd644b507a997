"""The adapter of Bybit: topics, confirmations by request, pings as messages and paged lists of instruments."""

from collections.abc import Sequence

import msgspec

from marketdata_assets.exchanges.books import ResyncRequest
from marketdata_assets.exchanges.bybit import session
from marketdata_assets.exchanges.bybit.feed import BEGIN, BOOK, FORCED, TICKERS, TRADES
from marketdata_assets.exchanges.bybit.history import API, LISTED
from marketdata_assets.exchanges.bybit.parse import INTERVALS
from marketdata_assets.exchanges.bybit.wire import Response
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.venue_adapter import MessageRate, Request, Subscription, VenueAdapter, interval_ns
from marketdata_assets.exchanges.wire import decoded

DEPTH = 200
"""Levels of a book on each side where none are chosen. Bybit sends 1, 50, 200 and 1000 of them every 10, 20, 100 and
200 ms."""

TYPES: dict[str, tuple[str, ...]] = {
    TRADES: ("trade",),
    BOOK: ("orderbook",),
    TICKERS: ("ticker", "funding_rate", "open_interest"),
    FORCED: ("liquidation",),
}
"""The record types that each topic delivers, candles excepted."""

_page = msgspec.json.Decoder(Response[msgspec.Raw]).decode

SILENCE: dict[str, float | None] = {
    TRADES: 600.0,
    BOOK: 150.0,
    TICKERS: 300.0,
    FORCED: None,
}
"""Our choice: seconds of silence after which a topic is suspicious."""


class BybitAdapter(VenueAdapter):
    """One market of Bybit."""

    data_prefix = BEGIN
    trade_stream = TRADES
    sequential_trade_ids = False
    book_per_socket = True
    max_subscriptions = session.TOPICS
    connects_per_second = 0.9 * session.CONNECTIONS / session.CONNECTIONS_SECONDS
    ping_after = ping_every = session.PING_SECONDS
    message_rates = (MessageRate(session.REQUESTS_PER_SECOND, 1.0),)
    socket_session = session.Session

    def prepare(self) -> None:
        self._url = (self._socket_url or session.HOST) + session.PATH + self.market_type

    def subscriptions(self, instrument: Instrument, types: Sequence[str]) -> list[Subscription]:
        name, subscriptions = instrument.name, list[Subscription]()
        for word, tags in TYPES.items():
            wanted = tuple(tag for tag in tags if tag in types)
            if wanted:
                stream = f"{BOOK}.{self._depth or DEPTH}" if word == BOOK else word
                subscriptions.append(Subscription(f"{stream}.{name}", self._url, name, stream, wanted, SILENCE[word]))
        for interval in self._intervals if "kline" in types else ():
            stream, every = f"kline.{INTERVALS[interval]}", interval_ns(interval)
            subscriptions.append(Subscription(f"{stream}.{name}", self._url, name, stream, ("kline",), 600.0, every))
        return subscriptions

    def channel_of(self, raw: bytes) -> bytes:
        return raw[len(BEGIN) : raw.find(b'"', len(BEGIN))]

    def book_key(self, resync: ResyncRequest) -> str:
        return f"{resync.stream}.{resync.instrument}"

    def listings(self) -> list[Request]:
        return [Request(f"{API}instruments-info", {"category": self.market_type, "limit": LISTED})]

    def next_listing(self, request: Request, raw: bytes) -> Request | None:
        page = decoded(_page, raw)  # the feed reports one that cannot be read
        if page is None or not page.result.list:
            return None
        cursor = page.result.next_cursor
        if not cursor or cursor == request.params.get("cursor"):
            return None
        return Request(request.path, {**request.params, "cursor": cursor})
