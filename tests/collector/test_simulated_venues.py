"""What one simulated venue does alone, as the real one: who is cut, what is confirmed, and what is rejected.

That what they send is read whole is in `test_market_whole`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from marketdata_assets.collector.connections import adapter_for
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.bybit.feed import BybitFeed
from marketdata_assets.exchanges.bybit.parse import INTERVALS
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import (
    Control,
    Kline,
    MarketType,
    OrderBook,
    Trade,
    VenueError,
)
from marketdata_demo.venues.binance_venue import BinanceVenue
from marketdata_demo.venues.bybit_venue import BybitVenue
from marketdata_demo.venues.deribit_venue import DeribitVenue
from marketdata_demo.venues.hyperliquid_venue import HyperliquidVenue
from marketdata_demo.venues.kraken_venue import KrakenVenue
from marketdata_demo.venues.okx_venue import OkxVenue
from tests.collector.venue_client import Client
from tests.collector.whole import DERIVATIVES


@dataclass(frozen=True)
class Case:
    """A simulated venue, and where it is spoken to."""

    market: tuple[str, MarketType]
    make: Callable[..., Any]
    names: list[str]
    path: str

    def venue(self, **options: Any) -> Any:
        return self.make(self.names, **options)

    def client(self, venue: Any, keys: list[str], path: str = "", *, said: bytes | None = None) -> Client:
        exchange, market_type = self.market
        session = adapter_for(exchange, market_type).socket_session()
        asks = [*session.hello(), *session.subscribe(keys)] if said is None else [said]
        return Client(venue, venues.find(exchange).feed(market_type, strict=False), path or self.path, asks)


OKX_NAMES = ["ABC-USDT", "ABC-USDT-SWAP", "ABC-USD-SWAP"]
OKX = Case(("okx", "linear"), OkxVenue, OKX_NAMES, "/ws/v5/public")
DERIBIT = Case(("deribit", "inverse"), DeribitVenue, ["ABC-PERPETUAL"], "/ws/api/v2")
HYPERLIQUID = Case(("hyperliquid", "linear"), HyperliquidVenue, ["ABC", "ABC/USDC"], "/ws")
KRAKEN = Case(("kraken", "spot"), KrakenVenue, ["ABC/USD"], "/v2")
BINANCE = Case(("binance", "linear"), partial(BinanceVenue, "linear"), ["ABCUSDT"], "/public/stream")
BYBIT = Case(("bybit", "linear"), partial(BybitVenue, "linear"), ["ABCUSDT"], "/v5/public/linear")


@pytest.mark.parametrize(
    ("case", "key"),
    [(OKX, "trades:ABC-USDT"), (HYPERLIQUID, "trades:ABC"), (BYBIT, ""), (KRAKEN, "trade:ABC/USD")],
)
def test_who_says_nothing_is_cut(case: Case, key: str) -> None:
    with case.venue(silence_seconds=0.2) as venue:
        with pytest.raises(ConnectionError):
            case.client(venue, [key] if key else []).talk(0, 1.0, rate=0.0)
        assert venue.violations == [f"{case.path}: silence"]


@pytest.mark.parametrize(
    ("case", "ping"),
    [(HYPERLIQUID, b'{"method":"ping"}'), (BYBIT, b'{"op":"ping"}'), (KRAKEN, b'{"method":"ping"}')],
)
def test_a_ping_is_answered(case: Case, ping: bytes) -> None:
    with case.venue() as venue:
        heard = case.client(venue, [], said=ping).talk(0, 0.05, rate=0.0)
    assert [one.kind for one in heard.of(Control)][-1:] == ["pong"]


def test_a_stream_of_binance_on_the_wrong_address_is_confirmed_and_silent() -> None:
    with BINANCE.venue() as venue:
        heard = BINANCE.client(venue, ["abcusdt@depth@100ms", "abcusdt@aggTrade"], "/market/stream").talk(20, 0.1)
    assert [one.detail for one in heard.of(Control) if one.kind == "ack"] == ["1"]
    assert heard.of(Trade)
    assert not [one for one in heard.of(OrderBook) if one.kind == "delta"]


def test_okx_has_candles_on_its_business_address_alone() -> None:
    keys = [f"candle1m:{name}" for name in OKX.names]
    with OKX.venue(speed=120.0) as venue:
        wrong = OKX.client(venue, keys).talk(1, 0.1)
        more = [f"trades-all:{name}" for name in OKX.names]
        right = OKX.client(venue, [*keys, *more], "/ws/v5/business").talk(10)
    assert {error.code for error in wrong.of(VenueError)} == {60018}
    assert not wrong.of(Kline)
    assert {one.instrument for one in right.of(Kline) if one.closed} == set(OKX.names)


def test_deribit_leaves_out_of_its_answer_what_it_does_not_know() -> None:
    with DERIBIT.venue() as venue:
        heard = DERIBIT.client(venue, ["trades.NONE-PERPETUAL.100ms", "trades.ABC-PERPETUAL.100ms"]).talk(1, 0.05)
    assert [one.detail for one in heard.of(Control) if one.kind == "ack"][-1:] == ["trades.ABC-PERPETUAL.100ms"]


def test_bybit_rejects_a_whole_request_for_one_unknown_topic_and_on_the_address_of_another_market() -> None:
    with BYBIT.venue() as venue:
        heard = BYBIT.client(venue, ["publicTrade.ABCUSDT", "kline.7.ABCUSDT"]).talk(1, 0.05)
        assert venue.subscribed() == set()
        assert BYBIT.client(venue, ["publicTrade.ABCUSDT"], "/v5/public/spot").talk(1, 0.05).of(VenueError)
    assert [one.message for one in heard.of(VenueError)] == ["error:handler not found,topic:kline.7.ABCUSDT"]


def test_hyperliquid_says_what_is_wrong_with_a_request() -> None:
    with HYPERLIQUID.venue() as venue:
        heard = HYPERLIQUID.client(venue, ["trades:NONE", "trades:ABC", "trades:ABC"]).talk(1, 0.05)
    assert [one.code for one in heard.of(VenueError)] == ["Invalid subscription", "Already subscribed"]


# Subscriptions, and the messages that show them.


def test_every_topic_of_bybit_is_recognised_in_its_messages() -> None:
    feed = BybitFeed("linear", strict=False)
    instrument = feed.instruments["ABCUSDT"]
    adapters = [
        adapter_for("bybit", "linear", intervals=tuple(INTERVALS), depth=depth) for depth in (None, 1, 50, 1000)
    ]
    books = [
        one.stream
        for adapter in adapters
        for one in adapter.subscriptions(instrument, DERIVATIVES)
        if one.types == ("orderbook",)
    ]
    assert books == ["orderbook.200", "orderbook.1", "orderbook.50", "orderbook.1000"]
    adapter = adapters[0]
    for one in adapter.subscriptions(instrument, DERIVATIVES):
        raw = json.dumps({"topic": one.key, "data": []}, separators=(",", ":")).encode()
        assert adapter.key_of(adapter.channel_of(raw)) == one.key
        assert feed.stream_of(raw) == one.stream


@pytest.mark.parametrize("market_type", ["spot", "linear"])
def test_every_subscription_of_hyperliquid_is_known_by_its_messages(market_type: MarketType) -> None:
    """The key that a message shows is the key of the subscription that delivers it."""
    name = {"spot": "@107", "linear": "kABC"}[market_type]
    adapter = adapter_for("hyperliquid", market_type, intervals=("1m", "1h"))
    instrument = Instrument("hyperliquid", market_type, name, "kABC-USDC", "kABC", "USDC", "base")
    types = ("trade", "orderbook", "kline", "ticker", "funding_rate", "open_interest")
    keys = {one.key: one.stream for one in adapter.subscriptions(instrument, types)}
    state = {"spot": "activeSpotAssetCtx", "linear": "activeAssetCtx"}[market_type]
    messages = [
        ("trades", [{"coin": name, "side": "A"}]),
        ("l2Book", {"coin": name, "time": 1, "levels": [[], []]}),
        ("bbo", {"coin": name, "time": 1, "bbo": [None, None]}),
        (state, {"coin": name, "ctx": {"coin": name}}),
        ("candle", {"t": 1, "T": 2, "s": name, "i": "1m"}),
        ("candle", {"t": 1, "T": 2, "s": name, "i": "1h"}),
    ]
    raws = [
        json.dumps({"channel": channel, "data": data}, separators=(",", ":")).encode() for channel, data in messages
    ]
    assert all(raw.startswith(adapter.data_prefix) for raw in raws)
    assert [adapter.key_of(adapter.channel_of(raw)) for raw in raws] == list(keys)
    assert list(keys.values()) == ["trades", "l2Book", "bbo", "activeAssetCtx", "candle1m", "candle1h"]
