"""Hyperliquid's messages become the right records; what differs from the documentation is a dead letter."""

import json
from typing import Any

import pytest

from bench.fuzzing import examples
from marketdata_assets.exchanges import binance, bybit, deribit, hyperliquid, okx, venues
from marketdata_assets.exchanges.errors import UNREADABLE
from marketdata_assets.exchanges.hyperliquid.feed import HyperliquidFeed
from marketdata_assets.exchanges.hyperliquid.instruments import pairs, perpetuals
from marketdata_assets.exchanges.records import (
    Control,
    DeadLetter,
    FundingRate,
    Kline,
    OpenInterest,
    OrderBook,
    Outcome,
    Record,
    Ticker,
    Trade,
    VenueError,
)

RECV = 1_700_000_000_500_000_000
AT, AT_NS = 1_700_000_000_123, 1_700_000_000_123_000_000
INFO = "https://api.hyperliquid.xyz/info?type="
PERP, SPOT = ("hyperliquid", "linear", "ABC-USDC", "ABC"), ("hyperliquid", "spot", "ABC-USDC", "@107")

META = {"universe": [{"name": "ABC", "szDecimals": 5}, {"name": "OLD", "szDecimals": 1, "isDelisted": True}]}
SPOT_META = {
    "tokens": [{"name": "USDC", "index": 0}, {"name": "ABC", "index": 150}],
    "universe": [
        {"name": "@107", "tokens": [150, 0], "index": 107},
        {"name": "@9", "tokens": [7, 0], "index": 9},  # of a token that is not listed
    ],
}
TRADE = {"coin": "ABC", "side": "B", "px": "4.20", "sz": "0.15", "time": AT, "hash": "0x0", "tid": 1095884267920331}
TRADE |= {"users": ["0x1", "0x2"]}
BID, ASK = {"px": "4.2", "sz": "0.5", "n": 2}, {"px": "4.21", "sz": "0.7", "n": 1}
BEST = {"coin": "ABC", "time": AT, "bbo": [BID, None]}
BOOK = {"coin": "ABC", "time": AT, "levels": [[BID, {"px": "4.1", "sz": "9", "n": 1}], [ASK]]}
CANDLE = {"t": 1_700_000_040_000, "T": 1_700_000_099_999, "s": "ABC", "i": "1m", "n": 61}
CANDLE |= {"o": "4.1", "c": "4.2", "h": "4.3", "l": "4.0", "v": "20.5"}
SPOT_CTX = {"prevDayPx": "4.1", "dayNtlVlm": "81.3", "markPx": "4.2", "midPx": "4.205", "dayBaseVlm": "19.8"}
SPOT_CTX |= {"circulatingSupply": "298.4", "totalSupply": "998.8", "coin": "@107"}
PERP_CTX = {
    "funding": "0.0000125",
    "openInterest": "63.9",
    "prevDayPx": "4.1",
    "dayNtlVlm": "81.3",
    "premium": "0.0003",
}
PERP_CTX |= {"oraclePx": "4.21", "markPx": "4.2", "midPx": None, "impactPxs": None, "dayBaseVlm": "19.8"}
TOO_MANY = "Cannot send more than 2000 messages per minute."
PAID = {"coin": "ABC", "fundingRate": "-0.0000125", "premium": "-0.0003", "time": AT}


def encoded(told: Any) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode()


def message(channel: str, data: Any) -> bytes:
    return encoded({"channel": channel, "data": data})


@pytest.fixture
def feed() -> HyperliquidFeed:
    """A feed with both lists."""
    one = HyperliquidFeed()
    for request, told in (("meta", META), ("spotMeta", SPOT_META)):
        assert [type(made) for made in one.answer(INFO + request, encoded(told), RECV)] == [Control]
    return one


def candle(key: tuple[Any, ...] = PERP) -> Kline:
    prices = {"open": "4.1", "high": "4.3", "low": "4.0", "close": "4.2"}
    numbers = {"open_time": 1_700_000_040_000_000_000, "close_time": 1_700_000_100_000_000_000, "trades": 61}
    unknown = dict.fromkeys(("contracts", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume", "closed"), None)
    return Kline(*key, None, RECV, interval="1m", volume="20.5", **prices, **numbers, **unknown)


TOLD: list[tuple[bytes, list[Outcome]]] = [
    (
        message("trades", [TRADE, {**TRADE, "side": "A", "tid": 7}]),
        [
            Trade(*PERP, AT_NS, RECV, "1095884267920331", "4.20", "0.15", None, "buy"),
            Trade(*PERP, AT_NS, RECV + 1, "7", "4.20", "0.15", None, "sell"),
        ],
    ),
    (
        message("trades", [{**TRADE, "coin": "@107"}]),
        [Trade(*SPOT, AT_NS, RECV, "1095884267920331", "4.20", "0.15", None, "buy")],
    ),
    (message("trades", []), [Control("ignored", "trades")]),
    (message("bbo", BEST), [Ticker(*PERP, AT_NS, RECV, bid="4.2", bid_size="0.5", unit="base")]),
    (message("bbo", {**BEST, "bbo": [None, None]}), [Ticker(*PERP, AT_NS, RECV, unit="base")]),
    (message("candle", CANDLE), [candle()]),
    (message("candle", [CANDLE, {**CANDLE, "s": "@107"}]), [candle(), candle(SPOT)]),
    (
        message("l2Book", BOOK),
        [
            OrderBook(
                *PERP, AT_NS, RECV, "snapshot", (("4.2", "0.5"), ("4.1", "9")), (("4.21", "0.7"),), "base", None, None
            )
        ],
    ),
    (
        message("l2Book", {**BOOK, "levels": [[], []]}),
        [OrderBook(*PERP, AT_NS, RECV, "snapshot", (), (), "base", None, None)],
    ),
    (
        message("activeAssetCtx", {"coin": "ABC", "ctx": PERP_CTX}),
        [
            Ticker(
                *PERP, None, RECV, open="4.1", volume="19.8", quote_volume="81.3", mark_price="4.2", index_price="4.21"
            ),
            FundingRate(*PERP, None, RECV, "0.0000125", None, None, 1, "4.2", "4.21", "0.0003"),
            OpenInterest(*PERP, None, RECV, None, "63.9", None),
        ],
    ),
    (
        message("activeSpotAssetCtx", {"coin": "@107", "ctx": SPOT_CTX}),
        [Ticker(*SPOT, None, RECV, open="4.1", volume="19.8", quote_volume="81.3", mark_price="4.2")],
    ),
    (message("allMids", {"mids": {"ABC": "4.2"}}), [Control("ignored", "allMids")]),
    (b'{"channel":"pong"}', [Control("pong")]),
    (b"Websocket connection established.", [Control("notice", "Websocket connection established.")]),
    (
        message("subscriptionResponse", {"method": "subscribe", "subscription": {"type": "trades", "coin": "ABC"}}),
        [Control("ack", "trades:ABC")],
    ),
    (  # fields that were not requested are null
        message(
            "subscriptionResponse",
            {"method": "subscribe", "subscription": {"type": "l2Book", "coin": "ABC", "nSigFigs": None}},
        ),
        [Control("ack", "l2Book:ABC")],
    ),
    (
        message(
            "subscriptionResponse",
            {"method": "unsubscribe", "subscription": {"type": "candle", "coin": "A/B", "interval": "1m"}},
        ),
        [Control("ack", "unsubscribe:candle1m:A/B")],
    ),
    (
        message("error", 'Invalid subscription {"type":"trades","coin":"NONE"}'),
        [VenueError("Invalid subscription", 'Invalid subscription {"type":"trades","coin":"NONE"}')],
    ),
    (
        message("error", TOO_MANY),
        [VenueError(TOO_MANY, TOO_MANY, rate_limited=True)],
    ),
]


@pytest.mark.parametrize(("raw", "made"), TOLD, ids=[str(number) for number in range(len(TOLD))])
def test_a_message_becomes(feed: HyperliquidFeed, raw: bytes, made: list[Outcome]) -> None:
    assert feed.push(raw, RECV) == made


ANSWERED: list[tuple[str, Any, list[Outcome]]] = [
    (
        "recentTrades&coin=ABC",
        [TRADE],
        [Trade(*PERP, AT_NS, RECV + 1, "1095884267920331", "4.20", "0.15", None, "buy")],
    ),
    ("candleSnapshot&coin=ABC", [CANDLE], [candle()]),
    (
        "fundingHistory&coin=ABC",
        [PAID],
        [FundingRate(*PERP, None, RECV, "-0.0000125", AT_NS, None, 1, premium="-0.0003")],
    ),
    (
        "l2Book&coin=ABC",
        {**BOOK, "levels": [[BID], [ASK]]},
        [OrderBook(*PERP, AT_NS, RECV, "snapshot", (("4.2", "0.5"),), (("4.21", "0.7"),), "base", None, None)],
    ),
    ("allMids", {"ABC": "4.2"}, [Control("ignored", "allMids")]),
    ("l2Book&coin=NONE", None, [VenueError("rejected", "no such coin or request")]),
]


@pytest.mark.parametrize(("request_", "told", "made"), ANSWERED)
def test_an_answer_becomes(feed: HyperliquidFeed, request_: str, told: Any, made: list[Outcome]) -> None:
    assert feed.answer(INFO + request_, encoded(told), RECV) == made
    assert not feed.books


def test_words_instead_of_an_answer_are_an_error(feed: HyperliquidFeed) -> None:
    words = b"Failed to deserialize the JSON body into the target type"
    assert feed.answer(INFO + "meta", words, RECV) == [VenueError("rejected", words.decode())]


WRONG = [
    b'{"channel":"',
    message("unheardOf", {}),
    message("trades", [{**TRADE, "tid": -1}]),
    message("trades", [{**TRADE, "coin": "NONE"}]),
    message("bbo", {**BEST, "bbo": [BID]}),
    message("candle", {**CANDLE, "i": "7m"}),
    message("candle", {**CANDLE, "T": 0}),
    message("l2Book", {**BOOK, "levels": [[BID]]}),
    message("l2Book", {**BOOK, "levels": [[{"px": "4.2", "sz": "-1", "n": 1}], [ASK]]}),
    message("activeAssetCtx", {"coin": "ABC", "ctx": SPOT_CTX}),
    message("subscriptionResponse", {"method": "subscribe"}),
]


@pytest.mark.parametrize("raw", WRONG)
def test_what_is_not_as_documented_is_a_dead_letter(feed: HyperliquidFeed, raw: bytes) -> None:
    (letter,) = feed.push(raw, RECV)
    assert isinstance(letter, DeadLetter)
    assert letter.raw == raw
    assert isinstance(feed.stream_of(raw), str)


def test_lists_say_what_is_not_traded() -> None:
    listed, old = perpetuals(encoded(META), {0: "USDC"}).instruments
    assert (listed.key, listed.ended, old.name, old.ended) == (PERP, "", "OLD", "isDelisted")
    assert [one.key for one in pairs(encoded(SPOT_META), {}).instruments] == [SPOT]
    with pytest.raises(UNREADABLE):
        perpetuals(b'{"universe":[{}]}', {0: "USDC"})


def test_captures_are_recognised_by_address_and_by_message() -> None:
    venue, recognised = venues.find("hyperliquid"), ("hyperliquid", None)
    for address in ("api.hyperliquid.xyz/ws", "api.hyperliquid.xyz/info?type=meta"):
        assert venue.sources_of(address) == [recognised]
    assert venue.sources_of("api.hyperliquid.xyz.example/ws") == []
    for raw, made in TOLD:
        data = any(isinstance(one, Record) for one in made)
        assert venue.recognise(raw) == (recognised if data else venue.recognise(raw))
    others = [raw for package in (binance, bybit, deribit, okx) for raw in examples(package)]
    assert len(others) > 50
    assert not [raw for raw in others if venue.recognise(raw)]
    mine = [raw for raw in examples(hyperliquid) if venue.recognise(raw)]
    assert len(mine) > 5
    assert not [raw for raw in mine for other in venues.every() if other is not venue and other.recognise(raw)]
