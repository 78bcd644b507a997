"""The feed of Bybit: messages as its documentation has them, and whatever else may come."""

import json
from typing import Any

import pytest

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
SPOT = ("bybit", "spot", "BTC-USDT", "BTCUSDT")
LINEAR = ("bybit", "linear", "BTC-USDT", "BTCUSDT")
INVERSE = ("bybit", "inverse", "BTC-USD", "BTCUSD")

TRADE = {
    "topic": "publicTrade.BTCUSDT",
    "type": "snapshot",
    "ts": 1672304486868,
    "data": [
        {
            "T": 1672304486865,
            "s": "BTCUSDT",
            "S": "Buy",
            "v": "0.001",
            "p": "16578.50",
            "L": "PlusTick",
            "i": "20f43950-d8dd-5b31-9112-a178eb6023af",
            "BT": False,
            "seq": 1783284617,
        }
    ],
}
KLINE = {
    "topic": "kline.5.BTCUSDT",
    "data": [
        {
            "start": 1672324800000,
            "end": 1672325099999,
            "interval": "5",
            "open": "16649.5",
            "close": "16677",
            "high": "16677",
            "low": "16608",
            "volume": "2.081",
            "turnover": "34666.4005",
            "confirm": False,
            "timestamp": 1672324988882,
        }
    ],
    "ts": 1672324988882,
    "type": "snapshot",
}
FORCED = {
    "topic": "allLiquidation.ROSEUSDT",
    "type": "snapshot",
    "ts": 1739502303204,
    "data": [{"T": 1739502302929, "s": "ROSEUSDT", "S": "Sell", "v": "20000", "p": "0.04499"}],
}
BOOK = {
    "topic": "orderbook.50.BTCUSDT",
    "type": "snapshot",
    "ts": 1672304484978,
    "data": {
        "s": "BTCUSDT",
        "b": [["16493.50", "0.006"], ["16493.00", "0.100"]],
        "a": [["16611.00", "0.029"], ["16612.00", "0.213"]],
        "u": 18521288,
        "seq": 7961638724,
    },
    "cts": 1672304484976,
}
PERPETUAL = {
    "topic": "tickers.BTCUSDT",
    "type": "snapshot",
    "data": {
        "symbol": "BTCUSDT",
        "tickDirection": "MinusTick",
        "lastPrice": "66666.60",
        "prevPrice24h": "79206.20",
        "highPrice24h": "79266.30",
        "lowPrice24h": "65076.90",
        "markPrice": "66666.60",
        "indexPrice": "115418.19",
        "openInterest": "492373.72",
        "openInterestValue": "32824881841.75",
        "turnover24h": "4936790807.6521",
        "volume24h": "73191.3870",
        "fundingIntervalHour": "8",
        "fundingCap": "0.005",
        "nextFundingTime": "1760342400000",
        "fundingRate": "-0.005",
        "bid1Price": "66666.60",
        "bid1Size": "23789.165",
        "ask1Price": "66666.70",
        "ask1Size": "23775.469",
        "preOpenPrice": "",
    },
    "cs": 9532239429,
    "ts": 1760325052630,
}
SPOT_TICKER = {
    "topic": "tickers.BTCUSDT",
    "ts": 1673853746003,
    "type": "snapshot",
    "cs": 2588407389,
    "data": {
        "symbol": "BTCUSDT",
        "lastPrice": "21109.77",
        "highPrice24h": "21426.99",
        "lowPrice24h": "20575",
        "prevPrice24h": "20704.93",
        "volume24h": "6780.866843",
        "turnover24h": "141946527.22907118",
        "price24hPcnt": "0.0196",
        "usdIndexPrice": "21120.2400136",
    },
}
TRADE_TIME, TICKER_TIME = 1672304486865 * MS, 1760325052630 * MS
UUID = "20f43950-d8dd-5b31-9112-a178eb6023af"
SPOT_STATE = {
    "last": "21109.77",
    "open": "20704.93",
    "high": "21426.99",
    "low": "20575",
    "volume": "6780.866843",
    "quote_volume": "141946527.22907118",
}


def encoded(told: Any) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode()


def changed(message: dict[str, Any], **data: Any) -> dict[str, Any]:
    """The message about BTCUSD, an inverse contract, with other data."""
    old = message["data"]
    new = [{**old[0], **data}] if isinstance(old, list) else {**old, **data}
    return {**message, "topic": message["topic"].replace("BTCUSDT", "BTCUSD"), "data": new}


def feed_of(market_type: MarketType, **options: Any) -> BybitFeed:
    return BybitFeed(market_type, **{"strict": False, **options})


def ticker_of_perpetual() -> Ticker:
    return Ticker(
        *LINEAR,
        TICKER_TIME,
        RECV,
        bid="66666.60",
        bid_size="23789.165",
        ask="66666.70",
        ask_size="23775.469",
        unit="base",
        last="66666.60",
        open="79206.20",
        high="79266.30",
        low="65076.90",
        volume="73191.3870",
        quote_volume="4936790807.6521",
        mark_price="66666.60",
        index_price="115418.19",
    )


def funding_of_perpetual() -> FundingRate:
    prices = {"mark_price": "66666.60", "index_price": "115418.19"}
    return FundingRate(*LINEAR, TICKER_TIME, RECV, "-0.005", 1760342400000 * MS, interval_hours=8, **prices)


def kline(
    key: tuple[str, str, str, str], volume: str, contracts: str | None, quote: str, closed: bool | None = False
) -> Kline:
    ends = {"open_time": 1672324800000 * MS, "close_time": 1672325100000 * MS}
    prices = {"open": "16649.5", "high": "16677", "low": "16608", "close": "16677"}
    return Kline(
        *key,  # type: ignore[arg-type]
        1672324988882 * MS,
        RECV,
        interval="5m",
        **ends,
        **prices,
        volume=volume,
        contracts=contracts,
        quote_volume=quote,
        trades=None,
        taker_buy_volume=None,
        taker_buy_quote_volume=None,
        closed=closed,
    )


TABLE: list[tuple[str, MarketType, dict[str, Any], list[Outcome]]] = [
    ("spot trade", "spot", TRADE, [Trade(*SPOT, TRADE_TIME, RECV, UUID, "16578.50", "0.001", None, "buy")]),
    ("linear trade", "linear", TRADE, [Trade(*LINEAR, TRADE_TIME, RECV, UUID, "16578.50", "0.001", None, "buy")]),
    (
        "inverse trade: USD to coins",
        "inverse",
        changed(TRADE, v="5000", p="20000", S="Sell"),
        [Trade(*INVERSE, TRADE_TIME, RECV, UUID, "20000", "0.25", "5000", "sell")],
    ),
    ("linear candle", "linear", KLINE, [kline(LINEAR, "2.081", None, "34666.4005")]),
    (
        "closed candle",
        "spot",
        {**KLINE, "data": [{**KLINE["data"][0], "confirm": True}]},
        [kline(SPOT, "2.081", None, "34666.4005", True)],
    ),
    (
        "inverse candle",
        "inverse",
        changed(KLINE, volume="500", turnover="0.03"),
        [kline(INVERSE, "0.03", "500", "500")],
    ),
    (
        "a short position was closed: Sell is the position's side",
        "linear",
        FORCED,
        [
            Liquidation(
                "bybit", "linear", "ROSE-USDT", "ROSEUSDT", 1739502302929 * MS, RECV, "buy", "0.04499", "20000", None
            )
        ],
    ),
    (
        "a long inverse position was closed",
        "inverse",
        changed({**FORCED, "topic": "allLiquidation.BTCUSDT"}, S="Buy", v="100", p="20000"),
        [Liquidation(*INVERSE, 1739502302929 * MS, RECV, "sell", "20000", "0.005", "100")],
    ),
    (
        "perpetual",
        "linear",
        PERPETUAL,
        [
            ticker_of_perpetual(),
            funding_of_perpetual(),
            OpenInterest(*LINEAR, TICKER_TIME, RECV, None, "492373.72", "32824881841.75"),
        ],
    ),
    (
        "spot ticker: no best prices",
        "spot",
        SPOT_TICKER,
        [Ticker(*SPOT, 1673853746003 * MS, RECV, unit="base", **SPOT_STATE)],
    ),
    (
        "book",
        "linear",
        BOOK,
        [
            OrderBook(
                *LINEAR,
                1672304484976 * MS,
                RECV,
                "snapshot",
                (("16493.50", "0.006"), ("16493.00", "0.100")),
                (("16611.00", "0.029"), ("16612.00", "0.213")),
                "base",
                None,
                18521288,
            )
        ],
    ),
]


@pytest.mark.parametrize(
    ("market_type", "message", "wanted"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
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
    assert interest == OpenInterest(*INVERSE, TICKER_TIME, RECV, contracts="1000", size="0.05", value="1000")
    assert isinstance(state, Ticker)
    assert (state.volume, state.contracts, state.quote_volume, state.unit) == ("0.035", "700", "700", "quote")


def test_dated_future_has_no_funding() -> None:
    data = {**PERPETUAL["data"], "symbol": "BTC-26DEC25", "fundingRate": "", "nextFundingTime": ""}
    made = feed_of("linear").push(encoded({**PERPETUAL, "topic": "tickers.BTC-26DEC25", "data": data}), RECV)
    assert [type(one) for one in made] == [Ticker, OpenInterest]
    assert {one.symbol for one in made} == {"BTC-USDC-251226"}  # type: ignore[union-attr]


# Tickers with deltas.


def delta(**data: str) -> bytes:
    return encoded({"topic": "tickers.BTCUSDT", "type": "delta", "data": data, "cs": 1, "ts": 1760325052730})


def test_ticker_delta_changes_only_what_it_has() -> None:
    feed = feed_of("linear")
    feed.push(encoded(PERPETUAL), RECV)
    [ticker] = feed.push(delta(bid1Price="66666.50", bid1Size="1"), RECV + 1)
    assert isinstance(ticker, Ticker)
    assert (ticker.bid, ticker.bid_size, ticker.ask, ticker.last) == ("66666.50", "1", "66666.70", "66666.60")
    assert [type(one) for one in feed.push(delta(fundingRate="0.0002"), RECV + 2)] == [Ticker, FundingRate]
    [ticker, interest] = feed.push(delta(openInterestValue="1.5"), RECV + 3)
    assert isinstance(interest, OpenInterest)
    assert (interest.size, interest.value) == ("492373.72", "1.5")
    assert isinstance(ticker, Ticker)
    assert ticker.bid == "66666.50"


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
    assert (resync.instrument, resync.stream, resync.how) == ("BTCUSDT", "tickers", "subscription")
    assert [type(one) for one in feed.push(delta(lastPrice="1"), RECV)] == [Control]
    feed.push(encoded(PERPETUAL), RECV)
    assert not feed.resync_requests
    feed.push(delta(bid1Price="wrong"), RECV)
    feed.forget("BTCUSDT")
    assert not feed.resync_requests


# Whatever else comes.


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b'{"topic":"publicTrade.BTCUSDT"}',
        b'{"topic":"nothing.BTCUSDT","data":[]}',
        b'{"topic":"orderbook.30.BTCUSDT","data":{}}',
        b'{"topic":"kline.7.BTCUSDT","data":[]}',
        b'{"topic":"publicTrade.\xff","data":[]}',
        b'{"topic":"","data":[]}',
    ],
)
def test_other_messages_are_dead_letters(raw: bytes) -> None:
    assert [type(one) for one in feed_of("linear").push(raw, RECV)] == [DeadLetter]


@pytest.mark.parametrize("topic", ["insurance.USDT", "adlAlert.USDT", "priceLimit.BTCUSDT", "orderbook.rpi.BTCUSDT"])
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
        (encoded(KLINE), "kline.5"),
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
    path: str, rows: list[Any], query: str = "symbol=BTCUSDT", market_type: MarketType = "linear"
) -> list[Outcome]:
    raw = encoded({"retCode": 0, "retMsg": "OK", "result": {"list": rows}, "time": 1670608800000 + 1_800_000})
    return feed_of(market_type).answer(f"https://api.bybit.com/v5/market/{path}?{query}", raw, RECV)


def test_responses_become_records() -> None:
    trade = {"execId": "9", "symbol": "BTCUSDT", "price": "5", "size": "2", "side": "Sell", "time": "1700000000123"}
    assert answered("recent-trade", [trade]) == [Trade(*LINEAR, 1700000000123 * MS, RECV, "9", "5", "2", None, "sell")]
    paid = {"symbol": "BTCUSDT", "fundingRate": "0.0001", "fundingRateTimestamp": "1672041600000"}
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
    open_one, closed = answered("kline", rows, "symbol=BTCUSD&interval=60", "inverse")
    assert isinstance(open_one, Kline)
    assert isinstance(closed, Kline)
    assert (open_one.closed, closed.closed) == (False, True)
    assert (closed.volume, closed.contracts, closed.quote_volume) == ("0.24469757", "4177", "4177")
    assert closed.close_time == open_one.open_time == 1670608800000 * MS


def test_every_interval_has_an_end() -> None:
    for interval, word in INTERVALS.items():
        row = ["1698796800000", "1", "1", "1", "1", "1", "1"]  # 1 November 2023
        [candle] = answered("kline", [row], f"symbol=BTCUSDT&interval={word}")
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
    past = {"symbol": "BTCUSDT", "price": "5", "size": "2", "side": "Sell", "time": "1700000000123"}
    newest_first = answered("recent-trade", [{**past, "execId": name} for name in "cab"])
    assert [one.ts_recv for one in newest_first if isinstance(one, Trade)] == [RECV, RECV - 1, RECV - 2]
