"""The feed of Bybit: messages as its documentation has them, and whatever else may come."""

import json
from typing import Any

import pytest

from bench.fuzzing import examples
from marketdata_assets.exchanges import bybit
from marketdata_assets.exchanges.bybit.feed import BybitFeed
from marketdata_assets.exchanges.bybit.parse import INTERVALS
from marketdata_assets.exchanges.instruments import Instrument, Instruments
from marketdata_assets.exchanges.records import (
    Control,
    DeadLetter,
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

RECV = 1_700_000_000_000_000_000
MS = 1_000_000
SPOT = ("bybit", "spot", "ABC-USDT", "ABCUSDT")
LINEAR = ("bybit", "linear", "ABC-USDT", "ABCUSDT")
INVERSE = ("bybit", "inverse", "ABC-USD", "ABCUSD")
AT = 1_700_000_000_123 * MS
UUID = "20f43950-d8dd-5b31-9112-a178eb6023af"

TOPICS: dict[str, Any] = {  # the examples above the parsers; of tickers the snapshot
    message["topic"].partition(".")[0]: message
    for raw in reversed(examples(bybit))
    if raw.startswith(b'{"topic"') and (message := json.loads(raw))["type"] == "snapshot"
}
TRADE, KLINE, PERPETUAL = TOPICS["publicTrade"], TOPICS["kline"], TOPICS["tickers"]
LEVELS = {"b": [["4.20", "0.006"], ["4.19", "0.100"]], "a": [["4.21", "0.029"], ["4.22", "0.213"]]}
BOOK = {"topic": "orderbook.50.ABCUSDT", "type": "snapshot", "ts": 1700000000125, "cts": 1700000000123}
BOOK |= {"data": {"s": "ABCUSDT", **LEVELS, "u": 18521288, "seq": 7961638724}}
DAY = ("lastPrice", "prevPrice24h", "highPrice24h", "lowPrice24h", "volume24h", "turnover24h")
SPOT_TICKER = {**PERPETUAL, "data": {name: PERPETUAL["data"][name] for name in DAY}}


def encoded(told: Any) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode()


def changed(message: dict[str, Any], **data: Any) -> dict[str, Any]:
    """The message about ABCUSD, an inverse contract, with other data."""
    old = message["data"]
    new = [{**old[0], **data}] if isinstance(old, list) else {**old, **data}
    return {**message, "topic": message["topic"].replace("ABCUSDT", "ABCUSD"), "data": new}


def feed_of(market_type: MarketType) -> BybitFeed:
    return BybitFeed(market_type, strict=False)


def kline(key: Any, volume: str, contracts: str | None, quote: str, closed: bool = False) -> Kline:
    span, prices = (1_700_000_040_000 * MS, 1_700_000_100_000 * MS), ("4.20", "4.30", "4.10", "4.21")
    amounts = (volume, contracts, quote, None, None, None)
    return Kline(*key, 1_700_000_088_882 * MS, RECV, "1m", *span, *prices, *amounts, closed)


DAY_FIELDS = {"last": "4.20", "open": "4.00", "high": "4.40", "low": "3.90", "volume": "2250", "quote_volume": "9450"}
PRICES = {"mark_price": "4.21", "index_price": "4.22"}
BEST = {"bid": "4.19", "bid_size": "5", "ask": "4.21", "ask_size": "11"}
TABLE: dict[str, tuple[MarketType, dict[str, Any], list[Outcome]]] = {
    "spot trade": ("spot", TRADE, [Trade(*SPOT, AT, RECV, UUID, "4.20", "0.15", None, "buy")]),
    "linear trade": ("linear", TRADE, [Trade(*LINEAR, AT, RECV, UUID, "4.20", "0.15", None, "buy")]),
    "inverse trade: USD to coins": (
        "inverse",
        changed(TRADE, v="5000", p="20000", S="Sell"),
        [Trade(*INVERSE, AT, RECV, UUID, "20000", "0.25", "5000", "sell")],
    ),
    "linear candle": ("linear", KLINE, [kline(LINEAR, "210", None, "882")]),
    "closed candle": (
        "spot",
        {**KLINE, "data": [{**KLINE["data"][0], "confirm": True}]},
        [kline(SPOT, "210", None, "882", True)],
    ),
    "inverse candle": (
        "inverse",
        changed(KLINE, volume="500", turnover="0.03"),
        [kline(INVERSE, "0.03", "500", "500")],
    ),
    "a long position was closed: Buy is the position's side": (
        "linear",
        TOPICS["allLiquidation"],
        [Liquidation(*LINEAR, AT, RECV, "sell", "4.10", "20", None)],
    ),
    "two of three positions were closed alike": (
        "linear",
        {
            **(forced := TOPICS["allLiquidation"]),
            "data": [*forced["data"], {**forced["data"][0], "v": "7"}, *forced["data"]],
        },
        [
            Liquidation(*LINEAR, AT, RECV, "sell", "4.10", "20", None),
            Liquidation(*LINEAR, AT, RECV, "sell", "4.10", "7", None),
            Liquidation(*LINEAR, AT, RECV, "sell", "4.10", "20", None, "2"),
        ],
    ),
    "a short inverse position was closed": (
        "inverse",
        changed(TOPICS["allLiquidation"], S="Sell", v="100", p="20000"),
        [Liquidation(*INVERSE, AT, RECV, "buy", "20000", "0.005", "100")],
    ),
    "perpetual": (
        "linear",
        PERPETUAL,
        [
            Ticker(*LINEAR, AT, RECV, unit="base", **BEST, **DAY_FIELDS, **PRICES),
            FundingRate(*LINEAR, AT, RECV, "0.0001", 1_700_006_400_000 * MS, interval_hours=8, **PRICES),
            OpenInterest(*LINEAR, AT, RECV, None, "500.1", "2105.42"),
        ],
    ),
    "spot ticker: no best prices": ("spot", SPOT_TICKER, [Ticker(*SPOT, AT, RECV, unit="base", **DAY_FIELDS)]),
    "book": (
        "linear",
        BOOK,
        [
            OrderBook(
                *(*LINEAR, AT, RECV, "snapshot"),
                *(tuple(map(tuple, LEVELS[side])) for side in "ba"),
                *("base", None, 18521288),
            )
        ],
    ),
}


@pytest.mark.parametrize(("market_type", "message", "wanted"), TABLE.values(), ids=TABLE)
def test_documented_messages_become_records(
    market_type: MarketType, message: dict[str, Any], wanted: list[Outcome]
) -> None:
    feed = feed_of(market_type)
    assert feed.push(encoded(message), RECV) == wanted
    assert feed_of(market_type).push_all([encoded(message)], RECV) == wanted
    times_as_text = {**message, "ts": str(message["ts"])}  # as the documentation has it for some topics
    assert feed_of(market_type).push(encoded(times_as_text), RECV) == wanted


def test_inverse_open_interest_is_in_usd() -> None:
    ticker = changed(PERPETUAL, openInterest="1000", openInterestValue="0.05", volume24h="700", turnover24h="0.035")
    state, _, interest = feed_of("inverse").push(encoded(ticker), RECV)
    assert interest == OpenInterest(*INVERSE, AT, RECV, contracts="1000", size="0.05", value="1000")
    assert isinstance(state, Ticker)
    assert (state.volume, state.contracts, state.quote_volume, state.unit) == ("0.035", "700", "700", "quote")


def test_dated_future_has_no_funding() -> None:
    data = {**PERPETUAL["data"], "symbol": "BTC-26DEC25", "fundingRate": "", "nextFundingTime": ""}
    made = feed_of("linear").push(encoded({**PERPETUAL, "topic": "tickers.BTC-26DEC25", "data": data}), RECV)
    assert [type(one) for one in made] == [Ticker, OpenInterest]
    assert {one.symbol for one in made} == {"BTC-USDC-251226"}  # type: ignore[union-attr]


# Tickers with deltas.


def delta(**data: str) -> bytes:
    return encoded({"topic": "tickers.ABCUSDT", "type": "delta", "data": data, "cs": 1, "ts": 1760325052730})


def test_ticker_delta_changes_only_what_it_has() -> None:
    feed = feed_of("linear")
    feed.push(encoded(PERPETUAL), RECV)
    [ticker] = feed.push(delta(bid1Price="4.18", bid1Size="1"), RECV + 1)
    assert isinstance(ticker, Ticker)
    assert (ticker.bid, ticker.bid_size, ticker.ask, ticker.last) == ("4.18", "1", "4.21", "4.20")
    assert [type(one) for one in feed.push(delta(fundingRate="0.0002"), RECV + 2)] == [Ticker, FundingRate]
    [ticker, interest] = feed.push(delta(openInterestValue="1.5"), RECV + 3)
    assert isinstance(interest, OpenInterest)
    assert (interest.size, interest.value) == ("500.1", "1.5")
    assert isinstance(ticker, Ticker)
    assert ticker.bid == "4.18"


def test_ticker_delta_without_a_snapshot_is_ignored() -> None:
    feed = feed_of("linear")
    assert [type(one) for one in feed.push(delta(lastPrice="1"), RECV)] == [Control]
    feed.push(encoded(PERPETUAL), RECV, connection=1)
    assert [type(one) for one in feed.push(delta(lastPrice="1"), RECV, connection=2)] == [Control]
    feed.reopened(RECV, connection=1)
    assert [type(one) for one in feed.push(delta(lastPrice="1"), RECV, connection=1)] == [Control]


def test_two_connections_have_a_ticker_of_their_own() -> None:
    feed = feed_of("linear")
    for connection, bid in ((1, "5"), (2, "6")):
        feed.push(encoded({**PERPETUAL, "data": {**PERPETUAL["data"], "bid1Price": bid}}), RECV, connection)
    bids = [feed.push(delta(lastPrice="7"), RECV, connection)[0].bid for connection in (1, 2)]  # type: ignore[union-attr]
    assert bids == ["5", "6"]


def test_unreadable_ticker_requests_a_new_subscription() -> None:
    feed = feed_of("linear")
    feed.push(encoded(PERPETUAL), RECV)
    assert [type(one) for one in feed.push(delta(bid1Price="wrong"), RECV)] == [DeadLetter]
    [resync] = feed.resync_requests.values()
    assert (resync.instrument, resync.stream, resync.how) == ("ABCUSDT", "tickers", "subscription")
    assert [type(one) for one in feed.push(delta(lastPrice="1"), RECV)] == [Control]
    feed.push(encoded(PERPETUAL), RECV)
    assert not feed.resync_requests
    feed.push(delta(bid1Price="wrong"), RECV)
    feed.forget("ABCUSDT")
    assert not feed.resync_requests


# Whatever else comes.


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b'{"topic":"publicTrade.ABCUSDT"}',
        b'{"topic":"nothing.ABCUSDT","data":[]}',
        b'{"topic":"orderbook.30.ABCUSDT","data":{}}',
        b'{"topic":"kline.7.ABCUSDT","data":[]}',
        b'{"topic":"publicTrade.\xff","data":[]}',
        b'{"topic":"","data":[]}',
    ],
)
def test_other_messages_are_dead_letters(raw: bytes) -> None:
    assert [type(one) for one in feed_of("linear").push(raw, RECV)] == [DeadLetter]


@pytest.mark.parametrize("topic", ["insurance.USDT", "adlAlert.USDT", "priceLimit.ABCUSDT", "orderbook.rpi.ABCUSDT"])
def test_documented_topics_without_a_record_are_ignored(topic: str) -> None:
    assert feed_of("linear").push(encoded({"topic": topic, "data": []}), RECV) == [Control("ignored", topic)]


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (
            {"success": True, "ret_msg": "", "conn_id": "1", "req_id": "7", "op": "subscribe"},
            Control("ack", "subscribe 7"),
        ),
        ({"success": True, "ret_msg": "pong", "conn_id": "1", "op": "ping"}, Control("pong")),
        ({"req_id": "test", "op": "pong", "args": ["1675418560633"], "conn_id": "1"}, Control("pong")),
        (
            {"success": False, "ret_msg": "args size >10", "conn_id": "1", "req_id": "", "op": "subscribe"},
            VenueError("subscribe", "args size >10"),
        ),
        (
            {"success": False, "ret_msg": "Too many visits!", "ret_code": 10006, "op": "subscribe"},
            VenueError(10006, "Too many visits!", True),
        ),
    ],
)
def test_answers_to_our_requests(told: dict[str, Any], wanted: Outcome) -> None:
    assert feed_of("spot").push(encoded(told), RECV) == [wanted]


@pytest.mark.parametrize(
    ("raw", "stream"),
    [
        (encoded(TRADE), "publicTrade"),
        (encoded(BOOK), "orderbook.50"),
        (encoded(KLINE), "kline.1"),
        (b'{"success":true,"op":"subscribe"}', "op:subscribe"),
        (b"nothing", "unknown"),
    ],
)
def test_streams_are_named_for_counting(raw: bytes, stream: str) -> None:
    assert feed_of("linear").stream_of(raw) == stream


def test_non_ascii_symbols_are_read() -> None:
    instrument = Instrument("bybit", "linear", "币安USDT", "币安-USDT", "币安", "USDT", "base")
    feed = BybitFeed("linear", Instruments("bybit", {instrument.name: instrument}))
    book = {**BOOK, "topic": f"orderbook.50.{instrument.name}"}
    for raw in (json.dumps(book).encode(), json.dumps(book, ensure_ascii=False, separators=(",", ":")).encode()):
        assert [type(one) for one in feed.push(raw, RECV)] == [OrderBook]
    assert feed.books[f"orderbook.50:{instrument.name}"].status == "live"


# REST.


def answered(
    path: str, rows: list[Any], query: str = "symbol=ABCUSDT", market_type: MarketType = "linear"
) -> list[Outcome]:
    raw = encoded({"retCode": 0, "retMsg": "OK", "result": {"list": rows}, "time": 1670608800000 + 1_800_000})
    return feed_of(market_type).answer(f"https://api.bybit.com/v5/market/{path}?{query}", raw, RECV)


def test_responses_become_records() -> None:
    trade = {"execId": "9", "symbol": "ABCUSDT", "price": "5", "size": "2", "side": "Sell", "time": "1700000000123"}
    assert answered("recent-trade", [trade]) == [Trade(*LINEAR, 1700000000123 * MS, RECV, "9", "5", "2", None, "sell")]
    paid = {"symbol": "ABCUSDT", "fundingRate": "0.0001", "fundingRateTimestamp": "1672041600000"}
    assert answered("funding/history", [paid]) == [FundingRate(*LINEAR, None, RECV, "0.0001", 1672041600000 * MS)]
    interest = {"openInterest": "61.5", "singleOpenInterest": "30.75", "timestamp": "1669571400000"}
    assert answered("open-interest", [interest]) == [
        OpenInterest(*LINEAR, 1669571400000 * MS, RECV, None, "61.5", None)
    ]
    assert answered("time", []) == [Control("ignored", "/v5/market/time")]


def test_candles_of_rest_are_closed_when_they_ended_before_the_response() -> None:
    rows = [
        ["1670608800000", "17071", "17073", "17027", "17055.5", "268611", "15.74462667"],
        ["1670605200000", "17071.5", "17071.5", "17061", "17071", "4177", "0.24469757"],
    ]
    open_one, closed = answered("kline", rows, "symbol=ABCUSD&interval=60", "inverse")
    assert isinstance(open_one, Kline)
    assert isinstance(closed, Kline)
    assert (open_one.closed, closed.closed) == (False, True)
    assert (closed.volume, closed.contracts, closed.quote_volume) == ("0.24469757", "4177", "4177")
    assert closed.close_time == open_one.open_time == 1670608800000 * MS


def test_every_interval_has_an_end() -> None:
    for interval, word in INTERVALS.items():
        row = ["1698796800000", "1", "1", "1", "1", "1", "1"]  # 1 November 2023
        [candle] = answered("kline", [row], f"symbol=ABCUSDT&interval={word}")
        assert isinstance(candle, Kline)
        hours = {"m": 1 / 60, "h": 1, "d": 24, "w": 168, "M": 720}[interval[-1]]
        assert candle.close_time - candle.open_time == round(int(interval[:-1]) * hours * 3_600_000) * MS
        assert candle.interval == interval


@pytest.mark.parametrize(("code", "limited"), [(10001, False), (10006, True), (10018, True)])
def test_errors_of_rest_are_errors_of_the_venue(code: int, limited: bool) -> None:
    raw = encoded({"retCode": code, "retMsg": "no", "result": {}, "time": 1})
    assert feed_of("spot").answer("https://api.bybit.com/v5/market/kline", raw, RECV) == [
        VenueError(code, "no", limited)
    ]


def test_trades_of_one_moment_keep_their_order_by_receipt() -> None:
    """Ids of contracts have no order; messages of one read have one receive time."""
    feed = feed_of("linear")
    one = TRADE["data"][0]
    made = [
        outcome
        for ids in (("f", "a", "c"), ("b",), ("e", "d"))
        for outcome in feed.push(encoded({**TRADE, "data": [{**one, "i": name} for name in ids]}), RECV)
    ]
    assert [(trade.trade_id, trade.ts_recv) for trade in made if isinstance(trade, Trade)] == [
        (name, RECV + place) for place, name in enumerate("facbed")
    ]
    assert [one.ts_recv for one in feed.push(encoded(TRADE), RECV + 100)] == [RECV + 100]  # type: ignore[union-attr]
    past = {"symbol": "ABCUSDT", "price": "5", "size": "2", "side": "Sell", "time": "1700000000123"}
    newest_first = answered("recent-trade", [{**past, "execId": name} for name in "cab"])
    assert [one.ts_recv for one in newest_first if isinstance(one, Trade)] == [RECV, RECV - 1, RECV - 2]
