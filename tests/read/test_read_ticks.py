"""Ticks by the exchange's days or by instants; only what was asked for, and errors that help."""

import datetime as dt
from typing import Any

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from marketdata_assets import read
from marketdata_assets.read.errors import BadMoment, CannotRead, NaiveTime, NothingLoaded, UnknownColumn, UnknownName
from marketdata_assets.stores import clickhouse, clickhouse_ledger
from marketdata_assets.stores.clickhouse_ledger import Load, SliceState
from marketdata_assets.ticks.tables import FACTORS, ORDER_BOOK, SYMBOLS, TICK_DATA

Answer = list[tuple[Any, ...]]


@pytest.fixture
def client(tables_client: Client) -> Client:
    return tables_client


def bars(symbol: str, *times: str, zone: str = "+08:00", **fields: Any) -> pl.DataFrame:
    """Bars at these times of the exchange's clock."""
    moments = [dt.datetime.fromisoformat(f"{time}{zone}") for time in times]
    plain: dict[str, Any] = {"label": "end", "interval": "1m", "volume": 100, "turnover": 1000.0, "currency": "CNY"}
    plain |= (
        dict.fromkeys(("open", "high", "low", "close"), 10.25)
        | {"flags": 0, "provider": "files", "file": "a.csv"}
        | fields
    )
    frame = pl.DataFrame({"ts": moments, "date": [moment.date() for moment in moments]})
    constants = [pl.lit(value).alias(name) for name, value in {"symbol": symbol, **plain}.items()]
    frame = frame.with_columns(constants)
    return frame.select(TICK_DATA.columns.names()).cast(TICK_DATA.columns)


def put(client: Client, *frames: pl.DataFrame) -> None:
    for frame in frames:
        clickhouse.insert(client, TICK_DATA.name, frame)


def asked(client: Client, *about: Any, columns: tuple[str, ...] = ("symbol", "ts")) -> Answer:
    return read.tick_data(*about, columns=columns, connection=client).rows()


def test_days_are_the_exchanges_and_instants_are_instants(client: Client) -> None:
    put(client, bars("600000.SH", "2026-01-05T09:31", "2026-01-05T15:00", "2026-01-06T09:31"))
    put(client, bars("AAPL", "2026-01-05T19:59", "2026-01-06T09:30", zone="-05:00"))
    evening = dt.datetime(2026, 1, 6, 0, 59, tzinfo=dt.UTC)  # still the fifth in New York
    assert asked(client, "AAPL", "2026-01-05", "2026-01-06") == [("AAPL", evening)]
    assert asked(client, "AAPL", "2026-01-06T00:59:00+00:00", "2026-01-06T00:59:00.001+00:00") == [("AAPL", evening)]
    assert asked(client, "AAPL", "2026-01-06T00:59:00.001+00:00", "2026-01-06T14:30:00+00:00") == []
    found = asked(client, ["600000.SH"], dt.date(2026, 1, 5), "2026-01-06T09:31:00+08:00")
    assert [time.hour for _, time in found] == [1, 7]
    assert len(asked(client, None, "2026-01")) == 5


def test_days_that_are_not_final_can_be_left_out_or_seen(client: Client) -> None:
    put(client, bars("A", "2026-01-05T09:31", "2026-01-06T09:31", "2026-01-07T09:31"), bars("B", "2026-01-06T09:31"))
    states = (SliceState("2026-01-06", "provisional"), SliceState("2026-01-07", "incomplete"))
    now = dt.datetime(2026, 1, 7, tzinfo=dt.UTC)
    about: dict[str, Any] = {"outcome": "ok", "code_version": "1", "run_id": "r", "started": now}
    entry = Load(dataset="tick_data", source="A", unit="2026-01", states=states, **about)
    clickhouse_ledger.record(client, [entry], clickhouse_ledger.next_version(client))
    found = read.tick_data(columns=["symbol", "date", "final"], connection=client)
    assert [(symbol, day.day, final) for symbol, day, final in found.rows()] == [
        ("A", 5, True),
        ("A", 6, False),
        ("A", 7, False),
        ("B", 6, True),
    ]
    final = read.tick_data(final=True, connection=client)
    assert final.schema == TICK_DATA.columns
    assert [(symbol, day.day) for symbol, day in final.select("symbol", "date").rows()] == [("A", 5), ("B", 6)]
    assert read.tick_data("A", columns=["close"], final=True, connection=client).rows() == [(10.25,)]


def test_rows_come_in_order_with_all_columns_as_declared(client: Client) -> None:
    put(client, bars("B", "2026-02-01T10:00", volume=None), *(bars("A", f"2026-0{n}-02T10:00") for n in (2, 1)))
    found = read.tick_data(connection=client)
    assert found.schema == TICK_DATA.columns
    seen = found.select("symbol", pl.col("date").dt.month(), "volume").rows()
    assert seen == [("A", 1, 100), ("A", 2, 100), ("B", 2, None)]


def test_columns_and_rows_that_nobody_asked_for_are_not_read(client: Client) -> None:
    """A column that fails when somebody looks at it in rows of January."""
    put(client, bars("A", *(f"2026-{month:02d}-02T10:00" for month in range(1, 13))))
    client.command("RENAME TABLE tick_data TO apart")
    client.command("""CREATE VIEW tick_data AS
        SELECT * REPLACE (toFloat64(throwIf(date < '2026-02-01', 'looked at')) AS turnover) FROM apart""")
    assert len(asked(client, "A")) == 12
    assert len(asked(client, "A", "2026-02-01", columns=("turnover",))) == 11
    assert len(asked(client, "A", "2026-02-01T00:00:00+08:00", columns=("turnover",))) == 11
    with pytest.raises(DatabaseError, match="looked at"):
        asked(client, "A", columns=("turnover",))


def test_books_have_a_list_a_side_and_factors_a_row_a_name(client: Client) -> None:
    when = dt.datetime(2026, 1, 5, 2, tzinfo=dt.UTC)
    book = {"symbol": "A", "date": when.date(), "ts": when, "provider": "files", "file": "a.csv"}
    book |= {"bid_price": [9.9, 9.8], "bid_size": [100.0, 200.0], "ask_price": [], "ask_size": []}
    clickhouse.insert(client, ORDER_BOOK.name, pl.DataFrame([book], schema=ORDER_BOOK.columns))
    [row] = read.order_book("A", connection=client).to_dicts()
    assert (row["bid_price"], row["ask_price"]) == ([9.9, 9.8], [])
    unsorted = [(symbol, day, name) for symbol in "BA" for day in (6, 5) for name in "yx"]
    days = [(symbol, dt.date(2026, 1, day), name, day / 10, "tick_data") for symbol, day, name in unsorted]
    clickhouse.insert(client, FACTORS.name, pl.DataFrame(days, schema=FACTORS.columns, orient="row"))
    found = read.factors(["A", "B"], "2026-01-06", names="x", columns=["symbol", "value"], connection=client)
    assert found.rows() == [("A", 0.6), ("B", 0.6)]
    keys = read.factors(columns=["symbol", "date", "factor"], connection=client).rows()
    assert keys == sorted(keys)
    assert len(keys) == 8


@pytest.mark.parametrize(
    ("about", "error", "words"),
    [
        ({"columns": ["symbl"]}, UnknownColumn, "did you mean 'symbol'"),
        ({"start": dt.datetime(2026, 1, 1)}, NaiveTime, "has no time zone.*tzinfo=UTC"),
        ({"start": "2026-01-02", "end": "2026-01-01"}, BadMoment, "is before the start"),
    ],
)
def test_a_wrong_question_says_what_is_meant(
    client: Client, about: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        read.tick_data(**about, connection=client)


def test_a_name_that_no_row_has_is_an_error_and_one_that_has_none_now_is_empty(client: Client) -> None:
    put(client, bars("600000.SH", "2026-01-05T09:31"))
    known = {"symbol": "000001.SZ", "name": "", "status": "listed", "source": "test", "seen": dt.datetime(2026, 1, 1)}
    clickhouse.insert(client, SYMBOLS.name, pl.DataFrame([known]))
    assert asked(client, ["600000.SH", "000001.SZ"], "2027-01-01") == []
    assert asked(client, "600000.SH", "2027-01-01", columns=("close",)) == []
    for symbols in ("600009.SH", ["600000.SH", "600009.SH"]):
        for columns in (("symbol", "ts"), ("close",)):
            with pytest.raises(UnknownName, match=r"'600009\.SH' is no symbol of tick_data; did you mean '600000\.SH'"):
                asked(client, symbols, columns=columns)
    with pytest.raises(UnknownName, match="is no symbol of order_book"):
        read.order_book("600009.SH", connection=client)
    factor = ("600000.SH", dt.date(2026, 1, 5), "volatility", 0.1, "tick_data")
    clickhouse.insert(client, FACTORS.name, pl.DataFrame([factor], schema=FACTORS.columns, orient="row"))
    with pytest.raises(UnknownName, match="'volatilty' is no factor of factors; did you mean 'volatility'"):
        read.factors("600000.SH", names="volatilty", connection=client)


def test_factors_have_no_times_of_day(client: Client) -> None:
    with pytest.raises(BadMoment, match="factors have days only"):
        read.factors(start="2026-01-01T00:00:00+00:00", connection=client)


def test_no_table_and_no_server_are_told_apart(clickhouse_url: str) -> None:
    with pytest.raises(NothingLoaded, match="tick_data does not exist"):
        read.tick_data(connection=clickhouse_url)
    with pytest.raises(CannotRead, match="ClickHouse is not answering"):
        read.tick_data(connection="http://127.0.0.1:1/nothing")
