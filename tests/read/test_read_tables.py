"""Rows of Postgres as they stand there: every value as psycopg reads it, only what was asked for, errors that help."""

import datetime as dt
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import errors as pg
from psycopg import sql

from marketdata_assets import read
from marketdata_assets.bars import kline, schema
from marketdata_assets.local.errors import NoServer
from marketdata_assets.read.errors import BadMoment, CannotRead, NothingLoaded, OddValue, UnknownColumn, UnknownName
from marketdata_assets.stores import pgread

TEN = Decimal("10.0000")
Minute = dict[str, Any]


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection]:
    """A database with the empty tables of minute bars."""
    with psycopg.connect(dsn, autocommit=True) as opened:
        schema.ensure(opened)
        opened.execute(kline.definition("rollup"))
        yield opened


@pytest.fixture(scope="module")
def anything(server_dsn: str) -> Iterator[psycopg.Connection]:
    """A table with a column of each type that a flow may have, and some more."""
    with psycopg.connect(server_dsn, autocommit=True) as opened:
        opened.execute("""CREATE TEMP TABLE anything (n numeric(16,4), wide numeric(38,18), i bigint, small smallint,
            f double precision, t text, d date, at timestamp, moment timestamptz, b boolean, j jsonb)""")
        yield opened


def bar(code: str = "600000.SH", time: str = "2024-01-02 09:31:00", **fields: object) -> Minute:
    known: Minute = {"time": dt.datetime.fromisoformat(time), "code": code, "name": "浦发银行"}
    known |= dict.fromkeys(("open", "high", "low", "close"), TEN) | {"volume": 5, "amount": Decimal(5000)}
    return known | fields


def put(connection: psycopg.Connection, table: str, *rows: Minute) -> None:
    for row in rows:
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() * len(row)),
        )
        connection.execute(statement, list(row.values()))


def decimals(digits: int, scale: int) -> st.SearchStrategy[Decimal]:
    largest = 10**digits - 1
    return st.integers(-largest, largest).map(lambda units: Decimal(f"{units}e-{scale}"))


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["", "\\N", '"', ",", "a\nb", "a\r\nb", "NULL", " "]
)
moments = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1))
ROW = st.fixed_dictionaries(
    {},
    optional={
        "n": decimals(16, 4),
        "wide": decimals(38, 18),
        "i": st.integers(-(2**63), 2**63 - 1),
        "small": st.integers(-(2**15), 2**15 - 1),
        "f": st.floats(allow_nan=False),
        "t": texts,
        "d": st.dates(dt.date(1000, 1, 1)),
        "at": moments,
        "moment": moments.map(lambda one: one.replace(tzinfo=dt.UTC)),
        "b": st.booleans(),
    },
)


@given(rows=st.lists(ROW, min_size=1, max_size=12), block=st.sampled_from([1, 100, pgread.BLOCK_BYTES]))
def test_every_value_is_what_psycopg_reads(anything: psycopg.Connection, rows: list[Minute], block: int) -> None:
    anything.execute("TRUNCATE anything")
    put(anything, "anything", *(row or {"i": None} for row in rows))
    names = (
        list(ROW.optional or {})
        if hasattr(ROW, "optional")
        else [*["n", "wide", "i", "small", "f", "t", "d", "at", "moment", "b"]]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pgread, "BLOCK_BYTES", block)
        found = read.table("anything", connection=anything, columns=names)
    expected = anything.execute(
        sql.SQL("SELECT {} FROM anything").format(sql.SQL(", ").join(map(sql.Identifier, names)))
    )
    assert sorted(map(repr, found.rows())) == sorted(map(repr, map(_in_utc, expected.fetchall())))
    assert found.schema["n"] == pl.Decimal(16, 4)
    assert found.schema["moment"] == pl.Datetime("us", "UTC")


def _in_utc(row: tuple[Any, ...]) -> tuple[Any, ...]:
    zone = ZoneInfo("UTC")  # as polars names it
    return tuple(one.astimezone(zone) if isinstance(one, dt.datetime) and one.tzinfo else one for one in row)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("n", "'NaN'::numeric", "'NaN' does not fit Decimal"),
        ("at", "'infinity'::timestamp", "'infinity' is no time"),
        ("d", "'0044-03-15 BC'::date", "'0044-03-15 BC' does not fit Date"),
    ],
)
def test_a_value_that_polars_cannot_hold_is_named_and_never_null(
    anything: psycopg.Connection, column: str, value: str, words: str
) -> None:
    anything.execute("TRUNCATE anything; INSERT INTO anything (n, i) VALUES (1, 1)")
    anything.execute(f"INSERT INTO anything ({column}) VALUES ({value})")
    with pytest.raises(OddValue, match=words):
        read.table("anything", connection=anything)
    assert read.table("anything", connection=anything, columns=["i"])["i"].to_list() == [1, None]


def test_text_that_postgres_has_and_polars_has_no_type_for_stays_text(anything: psycopg.Connection) -> None:
    anything.execute("TRUNCATE anything; INSERT INTO anything (j) VALUES ('{\"a\": [1, null]}')")
    assert read.table("anything", connection=anything, columns=["j"])["j"].to_list() == ['{"a": [1, null]}']


def test_bars_come_by_code_and_time_between_bounds_with_decimals(connection: psycopg.Connection) -> None:
    times = ("2024-01-03 09:31:00", "2024-01-02 09:32:00", "2024-01-02 09:31:00", "2024-01-04 00:00:00")
    put(connection, "stock_1min_qfq", *(bar(code, time) for code in ("600001.SH", "600000.SH") for time in times))
    put(
        connection,
        "stock_1min_qfq",
        bar("000001.SZ"),
        bar("600000.SH", "2024-01-01 15:00:00", close=Decimal("-1.2345")),
    )
    found = read.minute_bars(["600000.SH", "600001.SH"], "2024-01-02", dt.date(2024, 1, 4), connection=connection)
    assert [(row["code"], str(row["time"])) for row in found.to_dicts()] == [
        (code, time) for code in ("600000.SH", "600001.SH") for time in sorted(times)[:3]
    ]
    assert found["close"].to_list() == [TEN] * 6
    last_year = read.minute_bars(end="2024-01-02", columns=["close"], connection=connection)
    assert last_year.rows() == [(Decimal("-1.2345"),)]


def test_a_bound_with_a_zone_is_the_exchanges_clock(connection: psycopg.Connection) -> None:
    put(connection, "stock_1min_qfq", *(bar(time=f"2024-01-02 09:{minute}:00") for minute in (30, 31, 32)))
    start = dt.datetime(2024, 1, 2, 1, 31, tzinfo=dt.UTC)
    found = read.minute_bars(start=start, end="2024-01-02T02:32:00+01:00", columns=["time"], connection=connection)
    assert found["time"].to_list() == [dt.datetime(2024, 1, 2, 9, 31)]


def test_only_what_is_asked_for_is_computed(connection: psycopg.Connection) -> None:
    """A column that fails when somebody looks at it, and rows that fail outside of the bounds."""
    put(connection, "stock_1min_qfq", bar(), bar(time="2025-01-02 09:31:00"), bar("600001.SH"))
    connection.execute("""ALTER TABLE stock_1min_qfq RENAME TO apart; CREATE VIEW stock_1min_qfq AS
        SELECT time, code, close, 1 / (volume - volume) AS broken FROM apart
        WHERE code = '600000.SH' OR 1 / (volume - 5) = 1""")
    asked: dict[str, Any] = {"columns": ["close"], "connection": connection}
    assert read.minute_bars("600000.SH", **asked).height == 2
    with pytest.raises(pg.DivisionByZero):
        read.minute_bars("600000.SH", columns=["broken"], connection=connection)
    with pytest.raises(pg.DivisionByZero):
        read.minute_bars("600001.SH", **asked)
    connection.execute("""CREATE OR REPLACE VIEW stock_1min_qfq AS SELECT time, code, close, 1 / (volume - 5) AS broken
        FROM apart WHERE time < '2025-01-01' OR 1 / (volume - 5) = 1""")
    assert read.minute_bars("600000.SH", end="2024-12-31", **asked).height == 1


def test_klines_are_decimals_of_the_minutes_digits_and_longer_ones_are_not_cut(connection: psycopg.Connection) -> None:
    put(connection, "stock_1min_qfq", bar(amount=Decimal("5000.1234")))
    put(connection, "stock_1min_qfq", bar(time="2024-01-31 15:00:00", close=Decimal(11), high=Decimal(11)))
    rows = kline.rows_query()
    connection.execute(
        f"INSERT INTO stock_monthly_kline {rows}", {"lo": dt.datetime(2024, 1, 1), "hi": dt.datetime(2024, 2, 1)}
    )
    [row] = read.monthly_kline("600000.SH", "2024-01", "2024-02", connection=connection).to_dicts()
    assert (row["month"], row["close"], row["volume"]) == (dt.datetime(2024, 1, 1), Decimal("11.0000"), Decimal(10))
    assert row["amount"] == Decimal("10000.1234")
    connection.execute("UPDATE stock_monthly_kline SET high = 10.00001")
    with pytest.raises(OddValue, match=r"'10\.00001' has more than 4 digits"):
        read.monthly_kline(connection=connection)


def test_a_flows_table_by_its_column_and_values(connection: psycopg.Connection) -> None:
    connection.execute("""CREATE TABLE prices (code text, day date, close numeric, seen timestamptz);
        INSERT INTO prices SELECT code, date '2024-01-01' + n, n,
            timestamptz '2024-01-01 00:00+00' + n * interval '1 day'
        FROM generate_series(0, 9) n, unnest(ARRAY['a', 'b', 'it''s']) code""")
    asked: dict[str, Any] = {"connection": connection, "order": ["code", "day"]}
    found = read.table("prices", "day", "2024-01-03", "2024-01-05", only={"code": ["b", "it's"]}, **asked)
    assert found.select("code", "close").rows() == [("b", "2"), ("b", "3"), ("it's", "2"), ("it's", "3")]
    assert read.table("prices", scales={"close": 2}, only={"day": dt.date(2024, 1, 1)}, **asked)["close"].dtype == (
        pl.Decimal(38, 2)
    )
    assert read.table("prices", "seen", "2024-01-10T08:00:00+08:00", only={"code": "a"}, **asked)[
        "close"
    ].to_list() == ["9"]
    assert read.table("prices", only={"code": []}, **asked).is_empty()


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"columns": ["closse"]}, UnknownColumn, "no column 'closse'; did you mean 'close'"),
        ({"columns": ["xyzzy"]}, UnknownColumn, "there are amount, amplitude, "),
        ({"codes": "sh600000"}, UnknownName, "did you mean '600000.SH'"),
        ({"codes": ["600000.SH", "600000"]}, UnknownName, "'600000' is no code of a stock"),
        ({"start": "2024-13"}, BadMoment, "'2024-13' is no date or time"),
        ({"start": 20240102}, BadMoment, "20240102 is no date or time"),
        ({"start": "2024-02", "end": "2024-01"}, BadMoment, "'2024-01' is before the start '2024-02'"),
    ],
)
def test_a_wrong_question_says_what_is_meant(
    connection: psycopg.Connection, asked: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        read.minute_bars(connection=connection, **asked)


@pytest.mark.parametrize("answer", [read.minute_bars, read.monthly_kline])
def test_a_code_that_was_never_loaded_is_an_error_and_one_without_rows_now_is_empty(
    connection: psycopg.Connection, answer: Callable[..., pl.DataFrame]
) -> None:
    put(connection, "stock_1min_qfq", bar())
    first = dt.datetime(2024, 1, 2, 9, 31)
    about = {"source": "a.zip", "unit": "a.csv", "code": "600000.SH", "month": first.date().replace(day=1)}
    put(connection, "stock_1min_coverage", {**about, "first": first, "last": first, "rows": 1, "delivered": 1})
    for code in ("600000.SH", ["600000.SH"]):
        assert answer(code, "2025-01", columns=["close"], connection=connection).is_empty()
    with pytest.raises(UnknownName, match=r"'600009\.SH' is no code in stock_"):
        answer(["600000.SH", "600009.SH"], connection=connection)


def test_bounds_need_a_column_that_has_times(connection: psycopg.Connection) -> None:
    with pytest.raises(BadMoment, match="say by='time'"):
        read.table("stock_1min_qfq", start="2024-01", connection=connection)
    with pytest.raises(UnknownColumn, match="there are time"):
        read.table("stock_1min_qfq", "code", "2024-01", connection=connection)


def test_what_is_not_there_is_said_with_the_way_to_it(dsn: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NothingLoaded, match=r"stock_1min_qfq does not exist.*marketdata status"):
        read.minute_bars(connection=dsn)
    with pytest.raises(CannotRead, match="marketdata doctor"):
        read.minute_bars(connection="postgresql://127.0.0.1:1/nobody")
    monkeypatch.delenv("MARKETDATA_POSTGRES_DSN", raising=False)
    monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path))
    with pytest.raises(NoServer, match="MARKETDATA_POSTGRES_DSN"):
        read.minute_bars()
    monkeypatch.setenv("MARKETDATA_POSTGRES_DSN", dsn)
    with pytest.raises(NothingLoaded):
        read.minute_bars()


def test_a_transaction_reads_what_it_wrote_and_can_go_on(connection: psycopg.Connection, dsn: str) -> None:
    with psycopg.connect(dsn) as other:
        put(other, "stock_1min_qfq", bar())
        assert read.minute_bars(connection=other).height == 1
        assert read.minute_bars(connection=connection).height == 0
        put(other, "stock_1min_qfq", bar(time="2024-01-02 09:32:00"))
        assert read.minute_bars(connection=other).height == 2


def test_a_query_that_fails_half_way_is_an_error_and_the_connection_goes_on(connection: psycopg.Connection) -> None:
    connection.execute("CREATE VIEW failing AS SELECT 1 / (5000 - n) AS one FROM generate_series(1, 9000) n")
    with pytest.raises(pg.DivisionByZero):
        read.table("failing", connection=connection)
    assert read.table("stock_1min_qfq", connection=connection).is_empty()


def test_a_server_that_hangs_up_half_way_is_named(connection: psycopg.Connection, dsn: str) -> None:
    connection.execute("""CREATE VIEW suicidal AS
        SELECT n, pg_terminate_backend(CASE n WHEN 5000 THEN pg_backend_pid() END) FROM generate_series(1, 9000) n""")
    with pytest.raises(CannotRead, match="Postgres is not answering"):
        read.table("suicidal", connection=dsn)


def test_a_reader_that_stops_early_leaves_the_connection_usable(connection: psycopg.Connection) -> None:
    blocks = pgread.copy_rows(connection, sql.SQL("SELECT n FROM generate_series(1, 5000000) n").format())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pgread, "BLOCK_BYTES", 10)
        assert next(blocks).startswith(b"1\n2\n")
        blocks.close()
    assert connection.execute("SELECT 1").fetchone() == (1,)
