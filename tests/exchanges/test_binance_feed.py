"""Binance's feed: what tells messages apart, what is missing or wrong in them, and what is no event."""

import json
from typing import Any

import msgspec
import pytest

from marketdata_assets.exchanges.binance import rest as answers
from marketdata_assets.exchanges.binance.feed import BinanceFeed
from marketdata_assets.exchanges.decimals import is_decimal
from marketdata_assets.exchanges.instruments import Instruments
from marketdata_assets.exchanges.records import (
    Control,
    DeadLetter,
    MarketType,
    OrderBook,
    Outcome,
    Record,
    Ticker,
    Trade,
    VenueError,
)

T = 1_700_000_000_000
TRADE = {"e": "trade", "E": T + 2, "s": "ABCUSDT", "t": 12, "p": "1.2300", "q": "4.5", "T": T, "m": True}
AGG = {"e": "aggTrade", "E": T, "s": "ABCUSDT", "a": 3, "p": "1.2", "q": "4", "f": 12, "l": 14, "T": T, "m": False}
BEST = {"u": 9, "s": "ABCUSDT", "b": "1.1", "B": "2", "a": "1.2", "A": "3"}
BEST_FUTURES = {"e": "bookTicker", **BEST, "T": T, "E": T}
DEPTH = {"e": "depthUpdate", "E": T, "s": "ABCUSDT", "U": 5, "u": 6, "b": [["1.1", "2"]], "a": [["1.2", "0"]]}
DEPTH_FUTURES = {**DEPTH, "T": T, "pu": 4}
CANDLE = {"t": T, "T": T + 59_999, "i": "1m", "o": "1", "c": "2", "h": "3", "l": "1", "v": "5", "n": 2, "x": True}
KLINE = {"e": "kline", "E": T, "s": "ABCUSDT", "k": CANDLE | {"q": "6", "V": "1", "Q": "2"}}
DAY = {"e": "24hrTicker", "E": T, "s": "ABCUSDT", "w": "1", "c": "1", "Q": "1", "o": "1", "h": "2", "l": "1"} | {
    "v": "9",
    "q": "9",
    "n": 4,
}
DAY_SPOT = DAY | {"b": "1", "B": "1", "a": "2", "A": "1"}
MINI = {"e": "24hrMiniTicker", "E": T, "s": "ABCUSDT", "c": "1", "o": "1", "h": "2", "l": "1", "v": "9", "q": "9"}
MARK = {"e": "markPriceUpdate", "E": T, "s": "ABCUSDT", "p": "1.2", "i": "1.1", "P": "1", "r": "0.0001", "T": T}
FORCED = {"s": "ABCUSDT", "S": "BUY", "ap": "1.2", "z": "3", "T": T}
FORCE = {"e": "forceOrder", "E": T, "o": FORCED}
OPTION = {"e": "trade", "E": T, "s": "ABC-300101-50-C", "t": 7, "p": "1.5", "q": "2", "T": T, "S": "BUY"}

EVENTS: list[tuple[MarketType, dict[str, Any]]] = [
    *[("spot", event) for event in (TRADE, AGG, BEST, DEPTH, KLINE, DAY_SPOT, MINI)],
    *[("linear", event) for event in (TRADE, AGG, BEST_FUTURES, DEPTH_FUTURES, KLINE, DAY, MINI, MARK, FORCE)],
    ("option", OPTION),
]
IDS = [f"{market}-{event.get('e', 'bookTicker')}" for market, event in EVENTS]
NOT_NEEDED = {"i"}
"""What an event can do without, and shows when it is there."""


def feed(market_type: MarketType) -> BinanceFeed:
    return BinanceFeed(market_type, strict=False)


def push(market_type: MarketType, event: Any) -> list[Outcome]:
    return feed(market_type).push(raw(event), 7)


def raw(event: Any) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()


def stream(event: dict[str, Any], name: str = "abcusdt@x") -> dict[str, Any]:
    return {"stream": name, "data": event}


@pytest.mark.parametrize(("market_type", "event"), EVENTS, ids=IDS)
def test_an_event_is_the_same_however_it_comes(market_type: MarketType, event: dict[str, Any]) -> None:
    (bare,) = push(market_type, event)
    is_diff = event.get("e") == "depthUpdate"
    assert isinstance(bare, Control if is_diff else Record), "a diff waits for a snapshot"
    turned = dict(reversed(event.items()))
    told = [event, turned, stream(event), stream(turned), {"data": event, "stream": "abcusdt@x"}, [event]]
    one = feed(market_type)
    for message in told * 2:  # the second time some are known by how they begin
        for written in (raw(message), json.dumps(message, indent=1).encode()):
            assert (feed(market_type) if is_diff else one).push(written, 7) == [bare]
    assert is_diff or push(market_type, stream([event, event])) == [bare, bare]
    assert push(market_type, event | {"new": {"deep": [1, None]}, "another": "x"}) == [bare]


def fields(event: dict[str, Any]) -> list[tuple[str, ...]]:
    inner = next((name for name in ("k", "o") if isinstance(event.get(name), dict)), None)
    return [(name,) for name in event] + [(inner, name) for name in (event[inner] if inner else ())]


def changed(event: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(event))
    at = copy
    for name in path[:-1]:
        at = at[name]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return dict(copy)


@pytest.mark.parametrize(("market_type", "event"), EVENTS, ids=IDS)
def test_what_is_missing_or_of_another_kind_makes_a_dead_letter(market_type: MarketType, event: dict[str, Any]) -> None:
    (right,) = push(market_type, event)
    unread = set()
    for path in fields(event):
        without = push(market_type, changed(event, path, None))
        if without == [right]:
            unread.add(path[-1])
            continue
        if path[-1] not in NOT_NEEDED:
            assert_dead(without)
        kinds: list[Any] = ["x", [5], {}, True, 5, 2**63, -5]
        at = event if len(path) == 1 else event[path[0]]
        for wrong in kinds:
            if type(wrong) is not type(at[path[-1]]) or wrong in (2**63, -5):
                assert_dead(push(market_type, changed(event, path, wrong)))
    assert unread <= {"E", "o", "P"}


def told(record: Any) -> list[Any]:
    return list(msgspec.to_builtins(record).values())


def assert_dead(made: list[Outcome]) -> None:
    assert [type(one) for one in made] == [DeadLetter], made


@pytest.mark.parametrize("wrong", ["", "x", "1.2.3", "nan", "inf", " 1", "1 ", "1_0", "0x1", "+1", "١", "1e9999"])
def test_a_price_or_size_that_is_no_number_makes_a_dead_letter(wrong: str) -> None:
    for market_type, event in EVENTS:
        for path in fields(event):
            at = event if len(path) == 1 else event[path[0]]
            if isinstance(at[path[-1]], str) and is_decimal(at[path[-1]]) and path[-1] not in ("P", "i"):
                assert_dead(push(market_type, changed(event, path, wrong)))


@pytest.mark.parametrize("wrong", ["x", "", "1.2.3", "nan", " 1", "-1"])
def test_a_level_that_is_no_number_makes_a_dead_letter(wrong: str) -> None:
    for level in ([wrong, "1"], ["1", wrong]):
        if level[0] != "-1":  # a price may be negative
            assert_dead(push("spot", DEPTH | {"b": [level]}))
            assert_dead(push("linear", DEPTH_FUTURES | {"a": [level]}))


def test_a_time_in_microseconds_is_refused() -> None:
    assert_dead(push("spot", TRADE | {"T": T * 1000}))


def test_what_stands_in_the_place_of_a_trade_is_none() -> None:
    assert push("linear", TRADE | {"p": "0", "q": "0", "X": "NA"}) == [Control("ignored", "no trade")]
    (made,) = push("linear", TRADE | {"X": "INSURANCE_FUND"})
    assert isinstance(made, Trade)


def test_a_dated_future_pays_no_funding_and_a_perpetual_must_say_what() -> None:
    name = {"s": "ABCUSDT_300101"}
    assert isinstance(push("linear", MARK | name | {"r": "", "T": 0})[0], Ticker)
    assert_dead(push("linear", MARK | {"r": "", "T": 0}))
    assert_dead(push("linear", {key: value for key, value in MARK.items() if key != "r"}))


def test_the_best_levels_of_a_futures_book_are_no_diff() -> None:
    few = stream(DEPTH_FUTURES, "abcusdt@depth5@100ms")
    one = feed("linear")
    for _ in range(2):
        (made,) = one.push(raw(few), 7)
        assert isinstance(made, OrderBook)
        assert made.kind == "snapshot"
    assert one.books == {}
    assert push("spot", stream(DEPTH, "abcusdt@depth5")) == push("spot", DEPTH)  # spot's best levels have another shape


CONTROLS: list[tuple[Any, Outcome]] = [
    ({"result": None, "id": 12}, Control("ack", "12")),
    ({"id": 3, "result": ["abcusdt@trade"]}, Control("ack", "3")),
    ({"error": {"code": 2, "msg": "Invalid request"}, "id": 1}, VenueError(2, "Invalid request")),
    ({"code": 0, "msg": "Unknown property"}, VenueError(0, "Unknown property")),
    ({"code": -1003, "msg": "Too many requests"}, VenueError(-1003, "Too many requests", rate_limited=True)),
    (stream({"e": "indexPriceUpdate", "E": T, "i": "ABCUSD", "p": "1"}), Control("ignored", "indexPriceUpdate")),
]


@pytest.mark.parametrize(("message", "outcome"), CONTROLS)
def test_what_is_no_event_has_a_name(message: Any, outcome: Outcome) -> None:
    assert push("linear", message) == [outcome]


@pytest.mark.parametrize("message", [b"null", b'{"e":"noSuchEvent"}', b'{"stream":"a@trade"}'])
def test_what_nobody_knows_is_kept_whole(message: bytes) -> None:
    for made in (feed("spot").push(message, 7), feed("spot").answer("https://x/api/v3/klines?symbol=A", message, 7)):
        assert [(type(one), one.raw) for one in made if isinstance(one, DeadLetter)] == [(DeadLetter, message)]


def test_an_address_that_nothing_of_ours_reads() -> None:
    assert_dead(feed("spot").answer("https://x/api/v3/ticker/tradingDay?symbol=ABCUSDT", b"[]", 7))
    assert_dead(feed("spot").answer("https://[", b"[]", 7))
    assert_dead(feed("spot").answer("https://x/api/v3/klines?symbol=ABCUSDT", b"[[1]]", 7))
    assert feed("spot").answer("https://x/api/v3/klines?symbol=ABCUSDT", b"[]", 7) == []


def test_when_a_ban_ends() -> None:
    words = "Way too much request weight used; IP banned until 1700000000123. Please wait."
    said = json.dumps({"code": -1003, "msg": words}).encode()
    assert answers.failure(said) == VenueError(-1003, words, True, 1_700_000_000_123)
    assert answers.failure(b'{"code": -1003, "msg": "Too many requests."}') == VenueError(
        -1003, "Too many requests.", True
    )


def test_open_interest_of_coin_m_by_pair() -> None:
    past = {"pair": "ABCUSD", "contractType": "PERPETUAL", "sumOpenInterest": "7", "sumOpenInterestValue": "1.5"}
    one = BinanceFeed("inverse", strict=False)
    url = "https://dapi.example/futures/data/openInterestHist"
    (made,) = one.answer(url, raw([past | {"timestamp": T}]), 7)
    assert isinstance(made, Record)
    assert told(made)[-4:] == ["7", "1.5", None, None]
    assert made.instrument == "ABCUSD_PERP"
    assert_dead(one.answer(url, raw([past | {"timestamp": T, "contractType": "CURRENT_QUARTER"}]), 7))


STREAMS = [
    (stream(TRADE, "abcusdt@trade"), "trade"),
    (stream(DEPTH, "abcusdt@depth@100ms"), "depth@100ms"),
    (stream([MINI], "!miniTicker@arr"), "arr"),
    (TRADE, "trade"),
    (BEST, "bookTicker"),
    ({"lastUpdateId": 1, "bids": [], "asks": []}, "snapshot"),
    ({"result": None, "id": 1}, "answer"),
    ("x", "unknown"),
]


@pytest.mark.parametrize(("message", "name"), STREAMS)
def test_the_stream_of_a_message(message: Any, name: str) -> None:
    assert feed("spot").stream_of(raw(message)) == name


def test_a_list_given_is_used_and_not_changed() -> None:
    given_list = Instruments("binance")
    one = BinanceFeed("spot", given_list, strict=False)
    one.push(raw(TRADE), 7)
    assert given_list.known == {}


@pytest.mark.parametrize(
    ("market_type", "field", "other"), [("spot", '"st":1', "futures"), ("linear", '"M":true', "spot")]
)
def test_a_message_that_shows_another_market_is_a_dead_letter(market_type: MarketType, field: str, other: str) -> None:
    own = b'{"e":"aggTrade","E":1,"s":"ABCUSDT","a":1,"p":"1","q":"2","f":1,"l":1,"T":1,"m":true}'
    feed = BinanceFeed(market_type, strict=False)
    for _ in range(2):
        [record] = feed.push(own, 1)
        [letter] = feed.push(own.replace(b"}", f",{field}}}".encode()), 1)
        assert isinstance(record, Trade)
        assert isinstance(letter, DeadLetter)
        assert f"is a field of {other}, and the messages are read as {market_type}" in letter.cause
