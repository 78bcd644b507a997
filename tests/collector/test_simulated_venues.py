"""The simulated venues against our own feeds and sessions: what they send is read whole, and makes the venue's books.

Behind the law is what one venue has alone.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from venue_client import Client, assert_whole, numbers
from whole import DERIVATIVES

from marketdata_assets.collector.connections import adapter_for
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.bybit.feed import BybitFeed
from marketdata_assets.exchanges.bybit.parse import INTERVALS
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import (
    Control,
    FundingRate,
    Kline,
    Liquidation,
    MarketType,
    OpenInterest,
    OrderBook,
    Outcome,
    Ticker,
    Trade,
    VenueError,
)
from marketdata_demo.venues.binance_venue import BinanceVenue
from marketdata_demo.venues.bybit_venue import DEPTHS, BybitVenue
from marketdata_demo.venues.coinbase_venue import CoinbaseVenue
from marketdata_demo.venues.deribit_venue import DeribitVenue
from marketdata_demo.venues.hyperliquid_venue import HyperliquidVenue
from marketdata_demo.venues.kraken_venue import KrakenVenue
from marketdata_demo.venues.okx_venue import OkxVenue


@dataclass(frozen=True)
class Case:
    """A simulated venue, what is subscribed to of each instrument, and what has to come of it."""

    market: tuple[str, MarketType]
    make: Callable[..., Any]
    names: list[str]
    path: str
    keys: Callable[[str], list[str]]
    kinds: tuple[type, ...]
    book: Callable[[str], dict[str, int | None]]  # keys of its books, and how many levels each has
    lists: tuple[str, ...] = ()
    snapshots: tuple[str, ...] = ()
    options: dict[str, Any] | None = None  # of the venue in the first test

    def venue(self, **options: Any) -> Any:
        return self.make(self.names, **options)

    def client(self, venue: Any, keys: list[str], path: str = "", *, said: bytes | None = None) -> Client:
        exchange, market_type = self.market
        session = adapter_for(exchange, market_type).socket_session()
        asks = [*session.hello(), *session.subscribe(keys)] if said is None else [said]
        feed = venues.find(exchange).feed(market_type, strict=bool(self.lists))

        def reply(made: Outcome) -> bytes | None:
            return session.read_reply(b"", [made]).reply if made == Control("test_request") else None

        return Client(venue, feed, path or self.path, asks, self.lists, self.snapshots, reply)


def of_names(*channels: str) -> Callable[[str], list[str]]:
    return lambda name: [channel.replace("*", name.lower() if "@" in channel else name) for channel in channels]


def whole_book(key: str) -> Callable[[str], dict[str, int | None]]:
    return lambda name: {key.replace("*", name): None}


def binance(market_type: MarketType, name: str, path: str, address: str, *more: type) -> Case:
    streams = ["*@trade", "*@depth@100ms", "*@bookTicker"]
    if path == "/stream":
        streams += ["*@aggTrade", "*@kline_1m", "*@ticker", "*@markPrice", "*@forceOrder"]
    return Case(
        ("binance", market_type),
        partial(BinanceVenue, market_type),
        [name],
        path,
        of_names(*streams),
        (OrderBook, Ticker, *more),
        whole_book("*"),
        (f"{address}/exchangeInfo",),
        (f"{address}/depth?symbol={name}&limit=1000",),
        {"seed": 7, "speed": 120.0, "start_ms": 1_700_000_000_000},
    )


def bybit(market_type: MarketType, *names: str) -> Case:
    topics = [*(f"orderbook.{depth}.*" for depth in DEPTHS), "publicTrade.*", "tickers.*", "kline.1.*"]
    kinds: tuple[type, ...] = (Trade, OrderBook, Ticker, Kline)
    if market_type != "spot":
        topics, kinds = [*topics, "allLiquidation.*"], (*kinds, FundingRate, OpenInterest, Liquidation)
    return Case(
        ("bybit", market_type),
        partial(BybitVenue, market_type),
        [*names],
        f"/v5/public/{market_type}",
        of_names(*topics),
        kinds,
        lambda name: {f"orderbook.{depth}:{name}": most for depth, most in DEPTHS.items()},
        (f"/v5/market/instruments-info?category={market_type}&limit=1000",),
        options={"seed": 5, "speed": 120.0},
    )


OKX = Case(
    ("okx", "linear"),
    OkxVenue,
    ["ABC-USDT", "ABC-USDT-SWAP", "ABC-USD-SWAP"],
    "/ws/v5/public",
    of_names(*(f"{channel}:*" for channel in ("trades", "books", "bbo-tbt", "tickers", "funding-rate"))),
    (OrderBook, Ticker, FundingRate, OpenInterest, Liquidation),
    whole_book("books:*"),
    tuple(f"/api/v5/public/instruments?instType={kind}" for kind in ("SPOT", "SWAP")),
    options={"seed": 5},
)
DERIBIT = Case(
    ("deribit", "inverse"),
    DeribitVenue,
    ["ABC-PERPETUAL", "ABC_USDC-PERPETUAL", "ABC_USDC"],
    "/ws/api/v2",
    of_names("trades.*.100ms", "book.*.100ms", "ticker.*.100ms", "chart.trades.*.1", "quote.*"),
    (OrderBook, Ticker, FundingRate, OpenInterest, Kline),
    whole_book("book.100ms:*"),
    ("/api/v2/public/get_instruments",),
    options={"seed": 5, "speed": 120.0, "heartbeat_seconds": 0.2},
)
HYPERLIQUID = Case(
    ("hyperliquid", "linear"),
    HyperliquidVenue,
    ["ABC", "ABC/USDC"],
    "/ws",
    of_names("trades:*", "l2Book:*", "bbo:*", "activeAssetCtx:*", "candle1m:*"),
    (OrderBook, Ticker, FundingRate, OpenInterest, Kline),
    lambda name: {f"l2Book:{name}": 20},
    options={"seed": 5, "speed": 120.0, "book_ms": 0},
)
KRAKEN = Case(
    ("kraken", "spot"),
    KrakenVenue,
    ["ABC/USD", "BTC/USD"],
    "/v2",
    of_names("trade:*", "book:*", "ticker:*", "ohlc-1:*"),
    (OrderBook, Ticker, Kline),
    lambda name: {f"book:{name}": 10},
    ("/0/public/AssetPairs",),
    options={"seed": 5, "speed": 120.0},
)
COINBASE = Case(
    ("coinbase", "spot"),
    CoinbaseVenue,
    ["ABC-USD", "XYZ-USD"],
    "/",
    of_names("market_trades:*", "level2:*", "ticker:*"),
    (OrderBook, Ticker),
    whole_book("level2:*"),
    ("/products",),
    options={"seed": 5},
)
CASES = {
    "binance spot": binance("spot", "ABCUSDT", "/stream", "/api/v3", Kline),
    "binance linear": binance("linear", "ABCUSDT", "/public/stream", "/fapi/v1"),
    "binance inverse": binance("inverse", "ABCUSD_PERP", "/stream", "/dapi/v1", FundingRate, Liquidation),
    "okx": OKX,
    "deribit": DERIBIT,
    "bybit spot": bybit("spot", "ABCUSDT", "XYZUSDT"),
    "bybit linear": bybit("linear", "ABCUSDT", "XYZUSDT-27DEC30"),
    "bybit inverse": bybit("inverse", "ABCUSD"),
    "hyperliquid": HYPERLIQUID,
    "kraken": KRAKEN,
    "coinbase": COINBASE,
}
OF_A_MARKET = {  # what is subscribed to besides
    "okx": [
        "liquidation-orders:SWAP",
        *(f"{what}:{name}" for name in OKX.names for what in ("open-interest", "mark-price")),
    ]
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_venue_sends_is_read_whole_and_its_books_are_ours(name: str) -> None:
    case = CASES[name]
    with case.venue(**case.options or {}) as venue:
        keys = [key for one in case.names for key in case.keys(one)] + OF_A_MARKET.get(name, [])
        heard = case.client(venue, keys).talk(300)
        source = venue.source()
    id_of = {"deribit": "ABC-{}".format, "bybit": getattr(venue, "trade_id", str)}.get(case.market[0], str)
    assert_whole(heard, {one: [id_of(made.number) for made in source.trades[one]] for one in case.names}, case.kinds)
    for one in case.names:
        for key, most in case.book(one).items():
            theirs = venue.markets[one].levels(most) if most else venue.markets[one].levels()
            ours = heard.feed.books[key].book.levels()
            assert [numbers(side) for side in ours] == [numbers(side) for side in theirs]
            if case.market[0] == "binance":
                assert heard.feed.books[key].last_id == venue.markets[one].last_id
                assert heard.feed.books[key].agreed > 10
    if name == "deribit":
        assert {"heartbeat", "test_request", "pong"} <= {one.kind for one in heard.of(Control)}
    if name == "hyperliquid":
        assert sorted(one.detail for one in heard.of(Control) if one.kind == "ack") == sorted(keys)
        assert {one.instrument for one in heard.of(FundingRate)} == {"ABC"}
    assert name != "binance spot" or [one for one in heard.of(Kline) if one.closed]


@pytest.mark.parametrize(
    ("name", "key"),
    [("okx", "trades:ABC-USDT"), ("hyperliquid", "trades:ABC"), ("bybit spot", ""), ("kraken", "trade:ABC/USD")],
)
def test_who_says_nothing_is_cut(name: str, key: str) -> None:
    case = CASES[name]
    with case.venue(silence_seconds=0.2) as venue:
        with pytest.raises(ConnectionError):
            case.client(venue, [key] if key else []).talk(0, 1.0, rate=0.0)
        assert venue.violations == [f"{case.path}: silence"]


@pytest.mark.parametrize(
    ("name", "ping"),
    [("hyperliquid", b'{"method":"ping"}'), ("bybit spot", b'{"op":"ping"}'), ("kraken", b'{"method":"ping"}')],
)
def test_a_ping_is_answered(name: str, ping: bytes) -> None:
    case = CASES[name]
    with case.venue() as venue:
        heard = case.client(venue, [], said=ping).talk(0, 0.05, rate=0.0)
    assert [one.kind for one in heard.of(Control)][-1:] == ["pong"]


def test_a_stream_of_binance_on_the_wrong_address_is_confirmed_and_silent() -> None:
    case = CASES["binance linear"]
    with case.venue() as venue:
        heard = case.client(venue, ["abcusdt@depth@100ms", "abcusdt@aggTrade"], "/market/stream").talk(20, 0.1)
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
    case = CASES["bybit linear"]
    with case.venue() as venue:
        heard = case.client(venue, ["publicTrade.ABCUSDT", "kline.7.ABCUSDT"]).talk(1, 0.05)
        assert venue.subscribed() == set()
        assert case.client(venue, ["publicTrade.ABCUSDT"], "/v5/public/spot").talk(1, 0.05).of(VenueError)
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
