"""Messages that differ in their digits alone from one that was read: the fast way says what the long way says."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.exchanges.binance import feed as feeds
from marketdata_assets.exchanges.binance.feed import BinanceFeed
from marketdata_assets.exchanges.records import DeadLetter, Gap, MarketType, Outcome, Ticker, Trade
from tests.exchanges.binance_messages import Run

T = 1_700_000_000_000
TRADE = {"e": "trade", "E": T, "s": "ABCUSDT", "t": 120, "p": "10.2300", "q": "4.50", "T": T + 1, "m": True, "M": True}
FUTURES = {"e": "trade", "E": T, "T": T, "s": "ABCUSD_PERP", "t": 7, "p": "20.5", "q": "6", "X": "MARKET", "m": False}
AGG = {"e": "aggTrade", "E": T, "s": "ABCUSDT", "a": 3, "p": "1.20", "q": "4", "f": 12, "l": 14, "T": T, "m": False}
BEST = {"u": 900, "s": "ABCUSDT", "b": "1.10", "B": "2", "a": "1.20", "A": "3.5"}
BEST_FUTURES = {"e": "bookTicker", **BEST, "T": T, "E": T}
MESSAGES: list[tuple[MarketType, dict[str, Any]]] = [
    ("spot", TRADE),
    ("spot", AGG),
    ("spot", BEST),
    ("linear", AGG),
    ("linear", AGG | {"nq": "4", "st": 1}),
    ("linear", BEST_FUTURES),
    ("inverse", FUTURES),
    ("inverse", FUTURES | {"X": "ADL"}),
]


def raw(event: dict[str, Any], *, wrapped: bool = False, spaced: bool = False) -> bytes:
    told = {"stream": "abc@kind", "data": event} if wrapped else event
    return json.dumps(told, separators=None if spaced else (",", ":")).encode()


def other_digits(draw: st.DrawFn, message: bytes) -> bytes:
    """The message with other digits; none becomes the first 0 of several."""

    def other(found: re.Match[bytes]) -> bytes:
        count = len(found[0])
        return b"%d" % draw(st.integers(10 ** (count - 1) if count > 1 else 0, 10**count - 1))

    return re.sub(rb"(?<=[:\".])[0-9]+(?=[,\".}])", other, message)


def told(made: list[Outcome]) -> list[Outcome]:
    """The outcomes, and of a dead letter not whether its field was looked for in the stream or in the event."""
    return [
        DeadLetter(one.raw, one.cause.replace("$.data.", "$."), one.ts_recv) if isinstance(one, DeadLetter) else one
        for one in made
    ]


@given(st.data())
def test_the_fast_way_says_what_the_long_way_says(data: st.DataObject) -> None:
    market_type, event = data.draw(st.sampled_from(MESSAGES))
    first = raw(event, wrapped=data.draw(st.booleans()), spaced=data.draw(st.booleans()))
    fast = BinanceFeed(market_type, strict=False)
    for _ in range(2):
        fast.push(first, 5)
    again = other_digits(data.draw, first)
    made = fast.push(again, 6)
    assert told(made) == told(BinanceFeed(market_type, strict=False).push(again, 6))
    times = [value for key, value in json.loads(again).get("data", json.loads(again)).items() if key in "TE"]
    if all(value < 9 * 10**12 for value in times):
        assert not any(isinstance(one, DeadLetter) for one in made)


@pytest.mark.parametrize(("market_type", "event"), [(market, event) for market, event in MESSAGES if "T" in event])
def test_a_time_that_nanoseconds_cannot_tell_is_refused_both_ways(
    market_type: MarketType, event: dict[str, Any]
) -> None:
    feed = BinanceFeed(market_type, strict=False)
    feed.push(raw(event), 5)
    for moment, kind in ((9_223_372_036_854, False), (9_223_372_036_855, True), (9_999_999_999_999, True)):
        (made,) = feed.push(raw(event | {"T": moment}), 6)
        assert isinstance(made, DeadLetter) is kind


@pytest.mark.parametrize(("market_type", "event"), MESSAGES)
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_second_message_is_not_decoded(
    market_type: MarketType, event: dict[str, Any], wrapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = BinanceFeed(market_type, strict=False)
    for _ in range(2):  # a stream is known at sight after its first message, and a form after the first at sight
        known = feed.push(raw(event, wrapped=wrapped), 5)
    monkeypatch.setattr(feed, "_routes", {})
    monkeypatch.setattr(feed, "_unrouted", None)
    assert feed.push(raw(event, wrapped=wrapped), 5) == known


NOT_ALIKE: list[dict[str, Any]] = [
    TRADE | {"s": "1000ABCUSDT"},  # other instruments may differ in digits alone
    TRADE | {"x": "\\u0041"},
    TRADE | {"x": {"p": "1"}},
    TRADE | {"p": "1e5"},
    TRADE | {"E": "\u00e9"},
]


@pytest.mark.parametrize("event", NOT_ALIKE)
def test_what_digits_alone_do_not_tell_is_always_decoded(event: dict[str, Any]) -> None:
    feed = BinanceFeed("spot", strict=False)
    assert [type(one) for one in feed.push(raw(event), 5)] == [Trade]
    assert feed._forms == {}


def test_what_is_no_trade_is_not_taken_for_one_that_looks_like_it() -> None:
    feed = BinanceFeed("linear", strict=False)
    for event in (FUTURES, FUTURES | {"X": "NA", "p": "00.0", "q": "0"}, FUTURES):
        made = feed.push(raw(event | {"s": "ABCUSDT"}), 5)
        assert isinstance(made[0], Trade) is (event["X"] == "MARKET")
    assert len(feed._forms) == 1


def test_a_bad_message_teaches_nothing() -> None:
    feed = BinanceFeed("spot", strict=False)
    for event in (TRADE | {"p": "1.2.3"}, TRADE | {"q": ""}, TRADE | {"T": 10**16}):
        assert [type(one) for one in feed.push(raw(event), 5)] == [DeadLetter]
        assert [type(one) for one in feed.push(raw(event), 5)] == [DeadLetter]


def test_a_new_list_of_instruments_forgets_what_the_old_one_said() -> None:
    feed = BinanceFeed("inverse", strict=False)
    listed = {"symbol": "ABCUSD_PERP", "baseAsset": "ABC", "quoteAsset": "USD", "contractSize": 10}
    before = feed.push(raw(FUTURES), 5)
    feed.answer("https://dapi.example/dapi/v1/exchangeInfo", msgspec.json.encode({"symbols": [listed]}), 6)
    after = feed.push(raw(FUTURES | {"p": "20.0"}), 5)
    assert [one.size for one in (*before, *after) if isinstance(one, Trade)] == [None, "3"]


def test_only_so_many_forms_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "KEPT_FORMS", 1)
    feed = BinanceFeed("spot", strict=False)
    for event in (TRADE, AGG, AGG):
        assert [type(one) for one in feed.push(raw(event), 5)] == [Trade]
    assert len(feed._forms) == 1


def test_best_prices_read_the_fast_way_are_held_against_the_book() -> None:
    run = Run.of("spot")
    run.push(raw(BEST | {"u": 10}))
    run.push(b'{"e":"depthUpdate","E":5,"s":"ABCUSDT","U":10,"u":12,"b":[],"a":[]}')
    run.answer(b'{"lastUpdateId":12,"bids":[["1.1","1"]],"asks":[["1.2","1"]]}')
    assert [type(one) for one in run.push(raw(BEST | {"u": 12}))] == [Ticker]
    assert run.feed.books["ABCUSDT"].agreed == 1
    assert [type(one) for one in run.push(raw(BEST | {"u": 12, "b": "1.11"}))] == [Ticker, Gap]
