"""The simulated Hyperliquid against our own feed and adapter: what it sends is read whole, and its rules are kept."""

import json

import pytest
from venue_client import Client, assert_whole, same

from marketdata_assets.collector.connections import adapter_for
from marketdata_assets.exchanges.hyperliquid.feed import HyperliquidFeed
from marketdata_assets.exchanges.hyperliquid.session import PING, requests
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import (
    Control,
    FundingRate,
    Kline,
    MarketType,
    OpenInterest,
    OrderBook,
    Ticker,
    VenueError,
)
from marketdata_assets.exchanges.venue_adapter import SubscriptionReply
from marketdata_demo.venues.hyperliquid_venue import HyperliquidVenue

NAMES = ["ABC", "ABC/USDC"]
CHANNELS = ("trades", "l2Book", "bbo", "activeAssetCtx", "candle1m")
KEYS = [f"{channel}:{name}" for name in NAMES for channel in CHANNELS]


def client(venue: HyperliquidVenue, keys: list[str]) -> Client:
    return Client(venue, HyperliquidFeed(strict=False), "/ws", requests(keys))


def test_hyperliquid_sends_what_our_feed_reads_whole() -> None:
    with HyperliquidVenue(NAMES, seed=5, speed=120.0, book_ms=0) as venue:
        heard = client(venue, KEYS).talk(300)
        source = venue.source()
    trades = {name: [str(one.number) for one in source.trades[name]] for name in NAMES}
    assert_whole(heard, trades, (OrderBook, Ticker, FundingRate, OpenInterest, Kline))
    assert [one.detail for one in heard.of(Control) if one.kind == "ack"] == KEYS
    for name in NAMES:
        book = heard.feed.books[f"l2Book:{name}"].book
        assert [len(side) for side in book.levels()] == [20, 20]
        assert same(book, _Best(venue, name))
    assert {one.instrument for one in heard.of(FundingRate)} == {"ABC"}


class _Best:
    """The levels that a message of the venue has."""

    def __init__(self, venue: HyperliquidVenue, name: str) -> None:
        self.levels = lambda: venue.markets[name].levels(20)


def test_hyperliquid_says_what_is_wrong_with_a_request() -> None:
    asks = ["trades:NONE", "trades:ABC", "trades:ABC"]
    with HyperliquidVenue(NAMES) as venue:
        heard = client(venue, asks).talk(1, 0.05)
    assert [one.code for one in heard.of(VenueError)] == ["Invalid subscription", "Already subscribed"]


def test_hyperliquid_cuts_whom_it_has_told_nothing() -> None:
    with HyperliquidVenue(NAMES, silence_seconds=0.2) as venue:
        with pytest.raises(ConnectionError):
            client(venue, ["trades:ABC"]).talk(0, 0.5, rate=0.0)
        assert venue.violations == ["/ws: silence"]


def test_a_ping_is_answered() -> None:
    with HyperliquidVenue(NAMES) as venue:
        heard = Client(venue, HyperliquidFeed(strict=False), "/ws", [PING]).talk(0, 0.05, rate=0.0)
    assert heard.made == [Control("pong")]


@pytest.mark.parametrize("market_type", ["spot", "linear"])
def test_every_subscription_is_known_by_its_messages(market_type: MarketType) -> None:
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


def replies(keys: list[str], *said: str) -> list[SubscriptionReply]:
    adapter = adapter_for("hyperliquid", "linear")
    feed, session = adapter.feed(), adapter.socket_session()
    session.subscribe(keys)
    return [session.read_reply(raw, feed.push(raw, 1, 1)) for raw in (one.encode() for one in said)]


def error(words: str) -> str:
    return json.dumps({"channel": "error", "data": words})


def test_answers_confirm_and_reject_by_name() -> None:
    subscription = '{"type":"trades","coin":"ABC"}'
    confirm = '{"channel":"subscriptionResponse","data":{"method":"%s","subscription":' + subscription + "}}"
    heard = replies(
        ["trades:ABC", "trades:NONE", "bbo:ABC"],
        confirm % "subscribe",
        error('Invalid subscription {"type":"trades","coin":"NONE"}'),
        error('Already subscribed: {"type":"bbo","coin":"ABC"}'),
        confirm % "unsubscribe",
        '{"channel":"pong"}',
    )
    assert heard[0].confirmed == ("trades:ABC",)
    assert [key for key, _ in heard[1].rejected] == ["trades:NONE"]
    assert heard[2].confirmed == ("bbo:ABC",)
    assert heard[3:] == [SubscriptionReply(), SubscriptionReply()]


def test_an_error_without_a_name_is_of_the_oldest_request_and_too_many_messages_are_a_pause() -> None:
    first, second, third = replies(
        ["trades:ABC", "bbo:ABC"],
        error("Cannot send more than 2000 messages per minute."),
        error("Cannot subscribe to more than 1000 channels."),
        error('Already unsubscribed: {"type":"trades","coin":"XYZ"}'),
    )
    assert first.retry == ("trades:ABC", "bbo:ABC")
    assert [key for key, _ in second.rejected] == ["trades:ABC"]
    assert third == SubscriptionReply()
