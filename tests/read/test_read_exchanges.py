"""Records of exchanges as they were published, each once; bars and gaps; bounds to the microsecond."""

import datetime as dt
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets import read
from marketdata_assets.exchanges.records import Gap, OpenInterest, Trade
from marketdata_assets.exchanges.tables import rows
from marketdata_assets.exchanges.tables.schema import OHLCV_1M, TABLES
from marketdata_assets.read.errors import AmbiguousName, BadMoment, NaiveTime, NothingLoaded, UnknownColumn, UnknownName

START = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
NS = 1_000_000_000
BEGIN = int(START.timestamp()) * NS
ABOUT = ("binance", "spot", "BTC-USDT", "BTCUSDT")
REST: dict[str, Any] = {"size": "2", "contracts": None, "side": "buy"}


@pytest.fixture
def client(made_tables: Client) -> Client:
    for table in (*(one.name for one in TABLES.values()), OHLCV_1M):
        made_tables.command(f"TRUNCATE TABLE {table}")
    return made_tables


def trade(number: int, microseconds: int = 0, price: str = "1.5", **about: Any) -> Trade:
    known = dict(zip(("exchange", "market_type", "symbol", "instrument"), ABOUT, strict=True)) | about
    when = BEGIN + microseconds * 1000
    return Trade(**known, ts_event=when, ts_recv=when + 5, trade_id=str(number), price=price, **REST)  # type: ignore[arg-type]


def test_a_trade_is_there_once_with_the_digits_it_was_published_with(client: Client) -> None:
    one = trade(1, price="12345678901234567890.123456789012345678")
    for _ in range(2):
        rows.insert_records(client, [one, trade(2)])
    found = read.trades("binance", "spot", "BTCUSDT", connection=client)
    assert found["price"].to_list() == [Decimal("12345678901234567890.123456789012345678"), Decimal("1.5")]
    assert found.columns == [*TABLES["trade"].columns, "time"]
    assert found["time"].dtype == pl.Datetime("ns", "UTC")
    assert found.select("size", "contracts", "side").row(0) == (Decimal(2), None, "buy")


@pytest.mark.parametrize(
    ("start", "end", "expected"), [(0, 3, [0, 1, 2]), (1, 2, [1]), (1, 1, []), (2, None, [2, 3]), (None, 1, [0])]
)
def test_bounds_are_half_open_to_the_microsecond(
    client: Client, start: int | None, end: int | None, expected: list[int]
) -> None:
    rows.insert_records(client, [trade(number, 999_998 + number) for number in range(4)])
    first, last = (None if at is None else START + dt.timedelta(microseconds=999_998 + at) for at in (start, end))
    found = read.trades(start=first, end=last, columns=["trade_id"], connection=client)
    assert found["trade_id"].to_list() == [str(number) for number in expected]


def test_markets_and_instruments_are_chosen(client: Client) -> None:
    other = {"exchange": "okx", "symbol": "BTC-USDT", "instrument": "BTC-USDT"}
    rows.insert_records(
        client, [trade(1), trade(2, market_type="linear"), trade(3, **other), trade(4, symbol="X", instrument="X")]
    )
    answers: list[tuple[tuple[Any, ...], list[str]]] = [
        (("binance",), ["2", "1", "4"]),
        (("binance", "spot"), ["1", "4"]),
        ((None, "spot", ["X", "BTC-USDT"]), ["1", "4", "3"]),
        ((None, None, []), []),
    ]
    for about, expected in answers:
        found = read.trades(*about, columns=["trade_id"], connection=client)  # type: ignore[arg-type]
        assert found["trade_id"].to_list() == expected


def test_every_type_of_record_can_be_read(client: Client) -> None:
    rows.insert_records(client, [OpenInterest(*ABOUT, BEGIN, BEGIN, "5", None, "7.5")])  # type: ignore[arg-type]
    assert read.records("open_interest", columns=["contracts", "size", "value"], connection=client).rows() == [
        (Decimal(5), None, Decimal("7.5"))
    ]
    for name in TABLES:
        found = read.records(name, connection=client)  # type: ignore[arg-type]
        assert set(found.columns) == {*TABLES[name].columns, "time"}


def test_a_gap_is_there_as_it_ended_and_open_ones_can_be_told(client: Client) -> None:
    gap = Gap(*ABOUT, "depth", 5, 9, BEGIN, BEGIN + NS, "sequence")  # type: ignore[arg-type]
    healed = Gap(*ABOUT, "depth", 5, 9, BEGIN, BEGIN + NS, "sequence", BEGIN + 2 * NS)  # type: ignore[arg-type]
    still = Gap(*ABOUT, "trade", 5, 9, BEGIN + NS, BEGIN + NS, "reopened")  # type: ignore[arg-type]
    rows.insert_records(client, [gap, healed, still])
    assert read.gaps(columns=["cause", "healed_at"], connection=client).rows() == [
        ("sequence", BEGIN + 2 * NS),
        ("reopened", None),
    ]
    assert read.gaps("binance", open_only=True, columns=["stream"], connection=client)["stream"].to_list() == ["trade"]
    assert read.gaps(end=START, connection=client).is_empty()


def test_bars_have_all_columns_of_their_table(client: Client) -> None:
    minute = "toDateTime64('2026-01-05 00:01:00', 9, 'UTC')"
    names = "'binance', 'spot', 'BTC-USDT', 'BTCUSDT'"
    client.command(f"INSERT INTO {OHLCV_1M} SELECT {names}, {minute}, 1, 3, 0.5, 2, 10, NULL, 20, 4, 8, 7, 0")
    found = read.ohlcv("binance", "spot", "BTCUSDT", "2026-01-05", "2026-01-06", connection=client)
    assert found.columns == [name for name, *_ in client.query(f"DESCRIBE TABLE {OHLCV_1M}").result_rows]
    assert found.select("close", "contracts", "trades").rows() == [(Decimal(2), None, 7)]
    assert read.ohlcv(start="2026-01-05T00:01:00.000001+00:00", connection=client).is_empty()


@pytest.mark.parametrize(
    ("about", "error", "words"),
    [
        ({"exchange": "Binance"}, UnknownName, "'Binance' is no exchange; did you mean 'binance'"),
        ({"market_type": "swap"}, UnknownName, "no market type; .*there are inverse, linear, option, spot"),
        ({"columns": ["pric"]}, UnknownColumn, "did you mean 'price'"),
        ({"start": "2026-01-05T00:00:00"}, NaiveTime, "times of exchange_trades are instants"),
        ({"end": "2026-01-05T00:00:00.123456001Z"}, BadMoment, "has digits after those of microseconds"),
    ],
)
def test_a_wrong_question_says_what_is_meant(
    client: Client, about: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        read.trades(**about, connection=client)


def test_an_instrument_that_no_table_has_is_an_error_and_one_without_rows_is_empty(client: Client) -> None:
    rows.insert_records(client, [trade(1)])
    assert read.gaps("binance", "spot", "BTCUSDT", connection=client).is_empty()
    assert read.trades(instruments="BTCUSDT", start="2027-01-01", columns=["price"], connection=client).is_empty()
    for answer in (read.trades, read.ohlcv, read.gaps):
        with pytest.raises(UnknownName, match=r"'BTC-USDC' is no instrument of exchange_.*; did you mean 'BTCUSDT'"):
            answer("binance", "spot", ["BTCUSDT", "BTC-USDC"], connection=client)
    with pytest.raises(UnknownName, match="'BTCUSD' is no instrument of exchange_orderbooks"):
        read.books("binance", "spot", "BTCUSD", BEGIN, connection=client)
    with pytest.raises(UnknownName, match="is no instrument"):
        read.trades("okx", instruments="BTCUSDT", connection=client)


def test_a_type_without_a_table_and_a_database_without_tables(client: Client, clickhouse_url: str) -> None:
    with pytest.raises(UnknownName, match="did you mean 'trade'"):
        read.records("trades", connection=client)  # type: ignore[arg-type]
    with pytest.raises(NothingLoaded, match="exchange_gaps does not exist"):
        read.gaps(connection=clickhouse_url)
    with pytest.raises(NothingLoaded, match="exchange_orderbooks does not exist"):
        read.books("binance", "spot", "BTCUSDT", 0, connection=clickhouse_url)


def test_an_instrument_is_found_by_the_venues_name_and_by_ours(client: Client) -> None:
    okx = {"exchange": "okx", "market_type": "linear", "symbol": "BTC-USDT", "instrument": "BTC-USDT-SWAP"}
    rows.insert_records(client, [trade(1), trade(2, **okx)])
    for name in ("BTCUSDT", "BTC-USDT"):
        found = read.trades("binance", "spot", name, connection=client)
        assert found["trade_id"].to_list() == ["1"]
        assert read.trades("binance", "spot", name, columns=["trade_id"], connection=client).height == 1
        assert read.trades(instruments=name, connection=client)["trade_id"].to_list() == ["1", "2"]
        assert read.gaps("okx", "linear", name, connection=client).is_empty()
        assert not read.books("okx", "linear", name, BEGIN, connection=client)["known"].item()
    assert read.trades("okx", "linear", ["BTC-USDT", "BTC-USDT-SWAP"], connection=client).height == 1


def test_a_symbol_of_two_instruments_of_one_market_is_ambiguous(client: Client) -> None:
    rows.insert_records(client, [trade(1), trade(2, instrument="BTCUSDT2")])
    with pytest.raises(AmbiguousName, match="'BTC-USDT' names several instruments of binance spot: BTCUSDT, BTCUSDT2"):
        read.trades("binance", "spot", "BTC-USDT", connection=client)
    assert read.trades("binance", "spot", "BTCUSDT2", connection=client)["trade_id"].to_list() == ["2"]
