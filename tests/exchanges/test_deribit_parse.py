"""Deribit's messages: units, both sides of a liquidation, what is ignored, and what is kept aside as a dead letter."""

import json
from typing import Any

import pytest

from marketdata_assets.exchanges.records import (
    Control,
    DeadLetter,
    FundingRate,
    Kline,
    Liquidation,
    OpenInterest,
    OrderBook,
    Outcome,
    Ticker,
    Trade,
    VenueError,
)
from marketdata_demo.venues.deribit_messages import (
    ANSWERS,
    API,
    CANDLE,
    CONTROLS,
    LINEAR,
    MESSAGES,
    NS,
    OPTION,
    PERPETUAL,
    RECV,
    SPOT,
    STATS,
    feed,
    notification,
    result,
    ticker,
    trade,
    trades,
)


def push(raw: bytes, **options: Any) -> list[Outcome]:
    return feed(**options).push(raw, RECV)


def only_trade(**fields: Any) -> Trade:
    (one,) = push(trades(trade(**fields)))
    assert isinstance(one, Trade)
    return one


@pytest.mark.parametrize(
    ("instrument", "market_type", "symbol", "size", "contracts"),
    [
        (PERPETUAL, "inverse", "ABC-USD", "19.900497512437810945", "200"),  # 2000 USD at 100.5
        ("ABC-25DEC26", "inverse", "ABC-USD-261225", "19.900497512437810945", "200"),
        (LINEAR, "linear", "ABC-USDC", "2000.0", "20000"),
        (OPTION, "option", "ABC-USD-261225-100-C", "2000.0", "2000"),
        (SPOT, "spot", "ABC-USDC", "2000.0", None),
    ],
)
def test_amounts_are_dollars_or_coins(
    instrument: str, market_type: str, symbol: str, size: str, contracts: str | None
) -> None:
    one = only_trade(instrument_name=instrument)
    assert (one.market_type, one.symbol, one.instrument) == (market_type, symbol, instrument)
    assert (one.size, one.contracts) == (size, contracts)
    assert (one.ts_event, one.ts_recv, one.trade_id, one.side) == (NS, RECV, "ABC-12", "buy")


def test_contracts_that_are_published_are_taken_as_they_are() -> None:
    assert only_trade(contracts=200.0).contracts == "200.0"


@pytest.mark.parametrize(("whose", "sides"), [("T", ["buy"]), ("M", ["sell"]), ("MT", ["sell", "buy"]), (None, [])])
def test_forced_orders_of_the_taker_of_the_maker_and_of_both(whose: str | None, sides: list[str]) -> None:
    first, *forced = push(trades(trade(liquidation=whose)))
    assert isinstance(first, Trade)
    assert [one.side for one in forced if isinstance(one, Liquidation)] == sides
    assert all(isinstance(one, Liquidation) and one.size == first.size for one in forced)
    assert len({one.liquidation_id for one in forced if isinstance(one, Liquidation)}) == len(sides)


@pytest.mark.parametrize("text", ["100.5", "2.0e3", "1E-7", "12", "0.0000001", "123456789.123456789"])
def test_numbers_keep_the_form_that_came(text: str) -> None:
    (one,) = push(trades(trade(price=0)).replace(b'"price":0', b'"price":' + text.encode()))
    assert isinstance(one, Trade)
    assert one.price == text


def test_ticker_becomes_up_to_three_records() -> None:
    one, funding, interest = push(ticker())
    assert isinstance(one, Ticker)
    assert (one.bid, one.bid_size, one.unit, one.quote_volume) == ("100.0", "50.0", "quote", "150.0")
    assert isinstance(funding, FundingRate)
    assert (funding.rate, funding.funding_time, funding.interval_hours) == ("-1.5e-06", None, 8)
    assert isinstance(interest, OpenInterest)
    assert (interest.contracts, interest.size, interest.value) == ("100", None, "1000")
    assert [type(one) for one in push(ticker(instrument_name=OPTION))] == [Ticker, OpenInterest]
    assert [type(one) for one in push(ticker(instrument_name=SPOT, open_interest=None))] == [Ticker]


def test_open_interest_and_volume_of_linear_ones() -> None:
    one, _, interest = push(ticker(instrument_name=LINEAR))
    assert isinstance(one, Ticker)
    assert (one.quote_volume, one.unit) == ("149.5", "base")
    assert isinstance(interest, OpenInterest)
    assert (interest.contracts, interest.size, interest.value) == ("10000", "1000", None)


def test_candle_counts_contracts_by_what_they_are_worth() -> None:
    (inverse,) = push(notification(f"chart.trades.{PERPETUAL}.1D", CANDLE))
    (linear,) = push(notification(f"chart.trades.{LINEAR}.60", CANDLE))
    assert isinstance(inverse, Kline)
    assert isinstance(linear, Kline)
    assert (inverse.contracts, inverse.interval, inverse.closed) == ("5", "1d", None)  # 50 USD
    assert (linear.contracts, linear.interval) == ("5", "1h")  # 0.5 coins of 0.1
    assert inverse.close_time - inverse.open_time == 86_400_000_000_000


def test_one_subscription_brings_many_instruments() -> None:
    raw = notification("trades.option.any.raw", [trade(instrument_name=OPTION), trade(instrument_name=SPOT)])
    assert [one.instrument for one in push(raw) if isinstance(one, Trade)] == [OPTION, SPOT]


def test_spreads_and_what_has_no_record_are_ignored_by_name() -> None:
    combo = "ABC-FS-25DEC26_PERP"
    assert push(ticker(instrument_name=combo)) == [Control("ignored", f"ticker.{combo}.100ms")]
    assert push(trades(trade(instrument_name=combo))) == [Control("ignored", f"trades.{PERPETUAL}.100ms")]
    for channel in ("deribit_price_index.abc_usd", "instrument.state.any.any", "platform_state", "perpetual.ABC.raw"):
        assert push(notification(channel, {"price": 1})) == [Control("ignored", channel)]


def test_controls() -> None:
    assert {name: push(raw) for name, raw in CONTROLS.items()} == {
        "ack": [Control("ack", f"book.{PERPETUAL}.raw")],
        "error": [VenueError(10028, "too_many_requests", rate_limited=True)],
        "heartbeat": [Control("heartbeat")],
        "test_request": [Control("test_request")],
        "pong": [Control("pong", "1.2.26")],
        "index": [Control("ignored", "deribit_price_index.abc_usd")],
    }
    assert push(result("ok")) == [Control("ack", "ok")]
    other = b'{"jsonrpc":"2.0","error":{"code":11050,"message":"bad_request","data":{"reason":"x"}}}'
    assert push(other) == [VenueError(11050, "bad_request")]


def _dead(made: list[Outcome]) -> bytes:
    (one,) = made
    assert isinstance(one, DeadLetter), one
    assert one.cause
    assert one.ts_recv == RECV
    return one.raw


@pytest.mark.parametrize("name", ["trades", "book snapshot", "grouped book", "quote", "candle"])
def test_a_price_that_is_no_price_makes_a_dead_letter(name: str) -> None:
    for value in (b"-100.5", b"1e999999", b"NaN", b"01", b"1" * 99, b"", b'"'):
        raw = MESSAGES[name].replace(b"100.5", value, 1)
        assert raw != MESSAGES[name]
        assert _dead(push(raw)) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"pong",
        b'{"jsonrpc":"2.0"}',
        b'{"method":"heartbeat","params":{"type":"other"}}',
        b'{"method":"subscription","params":{"data":[]}}',
        b'{"method":"subscription","params":{"channel":"book."}}',
        b'{"id":1}',
        trades()[:-1],
        trades() + b"x",
        trades(trade(timestamp=-1)),
        trades(trade(timestamp=10**17)),
        trades(trade(instrument_name="NOBODY-PERPETUAL")),
        notification(f"chart.trades.{PERPETUAL}.7", CANDLE),
        notification(f"book.{OPTION}.raw", json.loads(MESSAGES["book snapshot"])["params"]["data"]),
        ticker(open_interest=None),
    ],
)
def test_whatever_is_not_as_documented_is_kept_whole(raw: bytes) -> None:
    assert _dead(push(raw)) == raw


@pytest.mark.parametrize("url", ANSWERS)
def test_answers_over_rest(url: str) -> None:
    kinds = {
        "get_order_book": [OrderBook, Ticker, FundingRate, OpenInterest],
        "ticker": [Ticker, FundingRate, OpenInterest],
        "get_last_trades_by_instrument": [Trade],
        "get_tradingview_chart_data": [Kline, Kline],
        "get_funding_rate_history": [FundingRate],
        "get_book_summary_by_instrument": [Ticker, FundingRate, OpenInterest],
        "get_instruments": [Control],
    }
    method = url.partition("?")[0].rpartition("/")[2]
    assert [type(one) for one in feed().answer(url, ANSWERS[url], RECV)] == kinds[method]


def test_faults_of_answers() -> None:
    answer = feed().answer
    chart = f"{API}/get_tradingview_chart_data?instrument_name={PERPETUAL}&resolution=1"
    columns = {name: [1.5] for name in ("open", "high", "low", "close", "volume")}
    uneven = result({"status": "ok", "ticks": [NS // 10**6], "cost": [], **columns})
    assert _dead(answer(chart, uneven, RECV)) == uneven
    empty = result({"status": "no_data", "ticks": []} | {name: [] for name in [*columns, "cost"]})
    assert answer(chart, empty, RECV) == []
    assert _dead(answer(f"{API}/get_tradingview_chart_data", empty, RECV)) == empty
    assert _dead(answer(f"{API}/get_instruments", result([{}]), RECV)) == result([{}])
    assert answer(f"{API}/get_time", result(NS), RECV) == [Control("ignored", "get_time")]
    assert answer(chart, CONTROLS["error"], RECV) == [VenueError(10028, "too_many_requests", rate_limited=True)]
    assert _dead(answer(chart, b"<html>", RECV)) == b"<html>"


def test_funding_history_is_what_was_paid_in_the_hour() -> None:
    url = next(url for url in ANSWERS if "funding" in url)
    (one,) = feed().answer(url, ANSWERS[url], RECV)
    assert isinstance(one, FundingRate)
    assert (one.rate, one.interval_hours, one.funding_time, one.index_price) == ("3e-06", 1, NS, "100.4")


def test_stream_of_a_message() -> None:
    streams = {name: feed().stream_of(raw) for name, raw in (MESSAGES | CONTROLS).items()}
    assert streams == {
        "trades": "trades.100ms",
        "book snapshot": "book.raw",
        "book change": "book.raw",
        "grouped book": "book.none.20.100ms",
        "ticker": "ticker.100ms",
        "quote": "quote",
        "candle": "chart.trades.1",
        "ack": "answer",
        "error": "answer",
        "heartbeat": "heartbeat",
        "test_request": "heartbeat",
        "pong": "answer",
        "index": "deribit_price_index.abc_usd",
    }
    assert feed().stream_of(b"pong") == "unknown"


def test_stats_that_are_null_stay_null() -> None:
    one, *_ = push(ticker(stats=dict.fromkeys(STATS)))
    assert isinstance(one, Ticker)
    assert (one.high, one.low, one.volume, one.quote_volume) == (None, None, None, None)
