"""Every recorded payload of Deribit becomes the right record, or a control or error that says what it is."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.exchanges.deribit.feed import DeribitFeed
from marketdata_assets.exchanges.deribit.instruments import parse_instruments
from marketdata_assets.exchanges.instruments import Instruments
from marketdata_assets.exchanges.records import (
    Control,
    FundingRate,
    Gap,
    Kline,
    Liquidation,
    OpenInterest,
    OrderBook,
    Outcome,
    Ticker,
    Trade,
    VenueError,
)

RECV = 1_800_000_000_000_000_000
API = "https://www.deribit.com/api/v2/public"
FUTURE, OPTION = [Ticker, OpenInterest], [Ticker, OpenInterest]
PERPETUAL = [Ticker, FundingRate, OpenInterest]

BY_SOCKET: dict[str, list[Any]] = {
    "book/cmp_l2_event_inverse_future_snapshot_0.json": [OrderBook],
    "book/cmp_l2_event_inverse_swap_snapshot_2.json": [OrderBook],
    "book/cmp_l2_event_option_snapshot_4.json": [OrderBook],
    "book/cmp_l2_topk_inverse_future_0.json": [OrderBook],
    "book/cmp_l2_topk_option_2.json": [OrderBook],
    "book/naut_ws_book_delta.json": [OrderBook],
    "book/naut_ws_book_snapshot.json": [OrderBook],
    "book/tardis_deribit_12.json": [OrderBook],
    "book/tardis_deribit_2.json": [OrderBook],
    "book/vike_btc_perpetual_100ms.ndjson": [Control, OrderBook, Gap],  # a cut book changes what it lacks
    "control/heartbeat.ndjson": [Control, Control],
    "control/naut_ws_subscribe_response.json": [Control],
    "control/naut_ws_test_request.json": [Control],
    "control/vike_subscribe_matched_no_channel.json": [Control],
    "error/naut_ws_error.json": [VenueError],
    "index/naut_ws_volatility_index.json": [Control],
    "kline/cmp_candlestick_inverse_future_0.json": [Kline],
    "kline/cmp_candlestick_option_2.json": [Kline],
    "kline/naut_ws_chart.json": [Kline],
    "liquidation/tardis_deribit_10.json": [Trade, Liquidation],
    "ticker/cmp_bbo_inverse_future_0.json": [Ticker],
    "ticker/cmp_ticker_inverse_future_0.json": FUTURE,
    "ticker/cmp_ticker_option_2.json": OPTION,
    "ticker/naut_ws_quote.json": [Ticker],
    "ticker/tardis_deribit_1.json": [Ticker],
    "ticker/tardis_deribit_15.json": [Control],  # a combo
    "ticker/tardis_deribit_17.json": OPTION,
    "ticker/tardis_deribit_5.json": PERPETUAL,
    "ticker/tardis_deribit_7.json": OPTION,
    "ticker/tardis_deribit_9.json": OPTION,
    "trade/cmp_trade_inverse_future_0.json": [Trade],
    "trade/cmp_trade_option_2.json": [Trade],
    "trade/tardis_deribit_0.json": [Trade, Trade],
}
BY_REST: dict[str, tuple[str, list[Any]]] = {
    "book_rest/cmp_l2_snapshot_inverse_future_0.json": ("get_order_book", [OrderBook, *FUTURE]),
    "book_rest/cmp_l2_snapshot_option_2.json": ("get_order_book", [OrderBook, *OPTION]),
    "book_rest/naut_http_get_order_book.json": ("get_order_book", [OrderBook, *PERPETUAL]),
    "instruments/naut_http_get_instruments.json": ("get_instruments", [Control]),
    "kline_rest/naut_http_get_tradingview_chart_data.json": (
        "get_tradingview_chart_data?instrument_name=BTC-PERPETUAL&resolution=1",
        [Kline] * 5,
    ),
    "open_interest/cmp_open_interest_inverse_future_0.json": ("get_book_summary_by_instrument", FUTURE),
    "open_interest/cmp_open_interest_inverse_swap_2.json": ("get_book_summary_by_instrument", PERPETUAL),
    "trade_rest/naut_http_get_last_trades.json": ("get_last_trades_by_instrument", [Trade] * 10),
}


@pytest.fixture
def folder(fixtures: Path) -> Path:
    return fixtures / "deribit"


def outcomes(folder: Path, name: str) -> list[Outcome]:
    """What the payload becomes, a change of a book after the book that it changes."""
    feed = DeribitFeed(None, Instruments("deribit"), strict=False)
    text = (folder / name).read_bytes()
    payloads = text.splitlines() if name.endswith(".ndjson") else [text]
    if name in BY_REST:
        return feed.answer(f"{API}/{BY_REST[name][0]}", text, RECV)
    if b'"prev_change_id"' in payloads[0]:
        feed.push(before(payloads[0]), RECV)
    return [one for payload in payloads for one in feed.push(payload, RECV)]


def before(raw: bytes) -> bytes:
    """The book before a change: what it changes or deletes."""
    message = json.loads(raw)
    data = message["params"]["data"]
    for side in ("bids", "asks"):
        data[side] = [["new", price, 1.0] for what, price, _ in data[side] if what != "new"]
    data |= {"change_id": data.pop("prev_change_id"), "type": "snapshot"}
    return json.dumps(message).encode()


def fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__ if getattr(record, name) is not None}


def test_no_payload_is_left_out(folder: Path) -> None:
    there = {str(path.relative_to(folder)) for path in folder.rglob("*.*json")}
    of_their_own = {"capture/2021-04-05_10options_119s.ndjson", "instruments/get_instruments_2021-07_2022-05.ndjson"}
    assert there == BY_SOCKET.keys() | BY_REST.keys() | of_their_own


@pytest.mark.parametrize("name", [*BY_SOCKET, *BY_REST])
def test_payload_becomes_the_right_outcomes(folder: Path, name: str) -> None:
    expected = BY_SOCKET.get(name) or BY_REST[name][1]
    assert [type(one) for one in outcomes(folder, name)] == expected


def test_trade_with_a_forced_taker(folder: Path) -> None:
    trade, forced = outcomes(folder, "liquidation/tardis_deribit_10.json")
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


def test_trades_of_an_option_and_of_before_the_present_names(folder: Path) -> None:
    (option,) = outcomes(folder, "trade/cmp_trade_option_2.json")
    assert isinstance(option, Trade)
    assert (option.symbol, option.price, option.size) == ("BTC-USD-210326-62000-C", "0.007", "0.1")
    rest = outcomes(folder, "trade_rest/naut_http_get_last_trades.json")
    assert [one.contracts for one in rest if isinstance(one, Trade)] == [*["1.0"] * 9, "106.0"]
    assert [one.trade_id for one in rest if isinstance(one, Trade)][:2] == ["ETH-284830839", "ETH-284830843"]


def test_book_messages_field_by_field(folder: Path) -> None:
    (delta,) = outcomes(folder, "book/naut_ws_book_delta.json")
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
    (top,) = outcomes(folder, "book/cmp_l2_topk_option_2.json")
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


def test_numbers_with_an_exponent_stay_as_they_were_written(folder: Path) -> None:
    books = [one for one in outcomes(folder, "book/vike_btc_perpetual_100ms.ndjson") if isinstance(one, OrderBook)]
    assert books[0].bids[0] == ("85217.5", "2.0e3")


def test_ticker_of_an_option_and_of_a_perpetual(folder: Path) -> None:
    ticker, interest = outcomes(folder, "ticker/tardis_deribit_7.json")
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
    _, funding, interest = outcomes(folder, "ticker/tardis_deribit_5.json")
    assert isinstance(funding, FundingRate)
    assert (funding.rate, funding.interval_hours, funding.mark_price) == ("0.0", 8, "8304.39")
    assert isinstance(interest, OpenInterest)
    assert (interest.size, interest.value) == (None, "84844461")  # USD


def test_ticker_without_trades_and_quotes_has_nulls(folder: Path) -> None:
    ticker, interest = outcomes(folder, "ticker/tardis_deribit_9.json")
    assert isinstance(ticker, Ticker)
    assert (ticker.last, ticker.high, ticker.volume, ticker.settlement_price) == (None, None, None, None)
    assert (ticker.bid, ticker.bid_size) == ("0.0", "0.0")  # as Deribit writes it
    assert isinstance(interest, OpenInterest)
    assert interest.size == "0.0"


def test_candles_of_socket_and_rest_have_the_same_fields(folder: Path) -> None:
    (candle,) = outcomes(folder, "kline/naut_ws_chart.json")
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
    rest = outcomes(folder, "kline_rest/naut_http_get_tradingview_chart_data.json")
    first = rest[0]
    assert isinstance(first, Kline)
    assert (first.open, first.quote_volume, first.open_time) == ("87451.0", "257490.0", 1766483460000000000)


def test_controls_and_errors_say_what_they_are(folder: Path) -> None:
    said = {
        name: [(one.kind, one.detail) for one in outcomes(folder, name) if isinstance(one, Control)]
        for name in BY_SOCKET
    }
    assert said["control/heartbeat.ndjson"] == [("heartbeat", ""), ("test_request", "")]
    assert said["control/vike_subscribe_matched_no_channel.json"] == [("ack", "")]
    assert said["index/naut_ws_volatility_index.json"] == [("ignored", "deribit_volatility_index.btc_usd")]
    assert outcomes(folder, "error/naut_ws_error.json") == [VenueError(10028, "too_many_requests", True)]


def test_lists_of_instruments_are_read_without_combos(folder: Path) -> None:
    kinds: Counter[str] = Counter()
    for line in (folder / "instruments/get_instruments_2021-07_2022-05.ndjson").read_text().splitlines():
        listed = parse_instruments(json.dumps(json.loads(line)["data"]).encode()).instruments
        assert all(one.contract_value for one in listed)
        kinds.update(one.market_type for one in listed)
    assert kinds == {"option": 980, "inverse": 21, "linear": 16}
    newer = parse_instruments((folder / "instruments/naut_http_get_instruments.json").read_bytes()).instruments
    assert [one.name for one in newer] == ["BTC-PERPETUAL", "BTC-27DEC24", "BTC-27DEC24-100000-C"]
