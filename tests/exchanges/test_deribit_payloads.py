"""Recorded payloads of Deribit: the fields of their records, and what controls and errors say."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from marketdata_assets.exchanges.deribit.instruments import parse_instruments
from marketdata_assets.exchanges.records import (
    Control,
    FundingRate,
    Kline,
    OpenInterest,
    OrderBook,
    Outcome,
    Ticker,
    Trade,
    VenueError,
)
from tests.exchanges import recorded_payloads
from tests.exchanges.recorded_payloads import RECV


def outcomes(fixtures: Path, name: str) -> list[Outcome]:
    return recorded_payloads.outcomes(fixtures, f"deribit/{name}")


def fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__ if getattr(record, name) is not None}


def test_trade_with_a_forced_taker(fixtures: Path) -> None:
    trade, forced = outcomes(fixtures, "liquidation/tardis_deribit_10.json")
    common = {
        "exchange": "deribit",
        "market_type": "inverse",
        "symbol": "BTC-USD",
        "instrument": "BTC-PERPETUAL",
        "ts_event": 1584058044032000000,
        "ts_recv": RECV,
        "price": "4469.5",
        "size": "0.250587314017227878",  # 1120 USD
        "side": "sell",
    }
    assert fields(trade) == common | {"trade_id": "66460463", "sequence": 40781986, "flags": ("liquidation",)}
    assert fields(forced) == common | {"liquidation_id": "66460463-T"}


def test_trades_of_an_option_and_of_before_the_present_names(fixtures: Path) -> None:
    (option,) = outcomes(fixtures, "trade/cmp_trade_option_2.json")
    assert isinstance(option, Trade)
    assert (option.symbol, option.price, option.size) == ("BTC-USD-210326-62000-C", "0.007", "0.1")
    rest = outcomes(fixtures, "trade_rest/naut_http_get_last_trades.json")
    assert [one.contracts for one in rest if isinstance(one, Trade)] == [*["1.0"] * 9, "106.0"]
    assert [one.trade_id for one in rest if isinstance(one, Trade)][:2] == ["ETH-284830839", "ETH-284830843"]


def test_book_messages_field_by_field(fixtures: Path) -> None:
    (delta,) = outcomes(fixtures, "book/naut_ws_book_delta.json")
    assert fields(delta) == {
        "exchange": "deribit",
        "market_type": "inverse",
        "symbol": "BTC-USD",
        "instrument": "BTC-PERPETUAL",
        "ts_event": 1699999999500000000,
        "ts_recv": RECV,
        "kind": "delta",
        "bids": (("42500.0", "950.0"), ("42498.5", "300.0")),
        "asks": (("42501.0", "0.0"), ("42501.5", "700.0")),
        "unit": "quote",
        "last_id": 123456790,
        "prev_id": 123456789,
    }
    (top,) = outcomes(fixtures, "book/cmp_l2_topk_option_2.json")
    assert fields(top) | {"bids": None} == {
        "exchange": "deribit",
        "market_type": "option",
        "symbol": "BTC-USD-220930-60000-C",
        "instrument": "BTC-30SEP22-60000-C",
        "ts_event": 1653983742265000000,
        "ts_recv": RECV,
        "kind": "snapshot",
        "bids": None,
        "asks": (("0.012", "10.2"), ("0.0125", "16.6"), ("0.013", "44.4")),
        "unit": "base",
        "last_id": 45176637818,
    }


def test_numbers_with_an_exponent_stay_as_they_were_written(fixtures: Path) -> None:
    books = [one for one in outcomes(fixtures, "book/vike_btc_perpetual_100ms.ndjson") if isinstance(one, OrderBook)]
    assert books[0].bids[0] == ("85217.5", "2.0e3")


def test_ticker_of_an_option_and_of_a_perpetual(fixtures: Path) -> None:
    ticker, interest = outcomes(fixtures, "ticker/tardis_deribit_7.json")
    assert fields(ticker) == {
        "exchange": "deribit",
        "market_type": "option",
        "symbol": "BTC-USD-200605-9250-C",
        "instrument": "BTC-5JUN20-9250-C",
        "ts_event": 1590969652595000000,
        "ts_recv": RECV,
        "bid": "0.0365",
        "bid_size": "15.4",
        "ask": "0.04",
        "ask_size": "4.8",
        "unit": "base",
        "last": "0.038",
        "high": "0.047",
        "low": "0.037",
        "volume": "13.4",
        "mark_price": "0.03847784",
        "index_price": "9434.36",
        "settlement_price": "0.05",
        "bid_iv": "58.39",
        "ask_iv": "66.9",
        "mark_iv": "63.21",
        "price_change": "-19.1489",
        "underlying_price": "9440.73",
        "delta": "0.62959",
        "gamma": "0.00058",
        "vega": "3.88497",
        "theta": "-28.34113",
        "rho": "0.66242",
    }
    assert isinstance(interest, OpenInterest)
    assert (interest.size, interest.value) == ("533.2", None)
    _, funding, interest = outcomes(fixtures, "ticker/tardis_deribit_5.json")
    assert isinstance(funding, FundingRate)
    assert (funding.rate, funding.interval_hours, funding.mark_price) == ("0.0", 8, "8304.39")
    assert isinstance(interest, OpenInterest)
    assert (interest.size, interest.value) == (None, "84844461")  # USD


def test_ticker_without_trades_and_quotes_has_nulls(fixtures: Path) -> None:
    ticker, interest = outcomes(fixtures, "ticker/tardis_deribit_9.json")
    assert isinstance(ticker, Ticker)
    assert (ticker.last, ticker.high, ticker.volume, ticker.settlement_price) == (None, None, None, None)
    assert (ticker.bid, ticker.bid_size) == ("0.0", "0.0")  # as Deribit writes it
    assert isinstance(interest, OpenInterest)
    assert interest.size == "0.0"


def test_candles_of_socket_and_rest_have_the_same_fields(fixtures: Path) -> None:
    (candle,) = outcomes(fixtures, "kline/naut_ws_chart.json")
    assert fields(candle) == {
        "exchange": "deribit",
        "market_type": "inverse",
        "symbol": "BTC-USD",
        "instrument": "BTC-PERPETUAL",
        "ts_recv": RECV,
        "interval": "1m",
        "open_time": 1767200040000000000,
        "close_time": 1767200100000000000,
        "open": "87490.0",
        "high": "87500.0",
        "low": "87465.0",
        "close": "87474.0",
        "volume": "0.95978896",
        "quote_volume": "83970.0",
    }
    rest = outcomes(fixtures, "kline_rest/naut_http_get_tradingview_chart_data.json")
    first = rest[0]
    assert isinstance(first, Kline)
    assert (first.open, first.quote_volume, first.open_time) == ("87451.0", "257490.0", 1766483460000000000)


CONTROLS = (
    "control/heartbeat.ndjson",
    "control/vike_subscribe_matched_no_channel.json",
    "index/naut_ws_volatility_index.json",
)


def test_controls_and_errors_say_what_they_are(fixtures: Path) -> None:
    said = {
        name: [(one.kind, one.detail) for one in outcomes(fixtures, name) if isinstance(one, Control)]
        for name in CONTROLS
    }
    assert said["control/heartbeat.ndjson"] == [("heartbeat", ""), ("test_request", "")]
    assert said["control/vike_subscribe_matched_no_channel.json"] == [("ack", "")]
    assert said["index/naut_ws_volatility_index.json"] == [("ignored", "deribit_volatility_index.btc_usd")]
    assert outcomes(fixtures, "error/naut_ws_error.json") == [VenueError(10028, "too_many_requests", True)]


def test_lists_of_instruments_are_read_without_combos(fixtures: Path) -> None:
    kinds: Counter[str] = Counter()
    for line in (fixtures / "deribit/instruments/get_instruments_2021-07_2022-05.ndjson").read_text().splitlines():
        listed = parse_instruments(json.dumps(json.loads(line)["data"]).encode()).instruments
        assert all(one.contract_value for one in listed)
        kinds.update(one.market_type for one in listed)
    assert kinds == {"option": 980, "inverse": 21, "linear": 16}
    newer = parse_instruments(
        (fixtures / "deribit/instruments/naut_http_get_instruments.json").read_bytes()
    ).instruments
    assert [one.name for one in newer] == ["BTC-PERPETUAL", "BTC-27DEC24", "BTC-27DEC24-100000-C"]
