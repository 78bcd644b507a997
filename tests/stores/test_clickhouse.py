"""Frames in and out of ClickHouse."""

import datetime as dt
import io

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clickhouse import insert, quoted, read

SCHEMA = pl.Schema(
    {
        "name": pl.String(),
        "day": pl.Date(),
        "ts": pl.Datetime("ms", "UTC"),
        "price": pl.Float64(),
        "size": pl.Int64(),
        "levels": pl.List(pl.Float64()),
    }
)


@pytest.fixture
def client(clickhouse_client: Client) -> Client:
    clickhouse_client.command(
        "CREATE TABLE t (name LowCardinality(Nullable(String)), day Date, ts DateTime64(3, 'UTC'),"
        " price Nullable(Float64), size Int64, levels Array(Float64)) ENGINE = MergeTree ORDER BY (day, ts, size)"
    )
    return clickhouse_client


def rows(count: int) -> pl.DataFrame:
    start = dt.datetime(2026, 1, 5, 1, 31, 0, 1000, tzinfo=dt.UTC)
    numbers = range(count)
    columns = {
        "name": [str(n // 1000) for n in numbers],
        "day": [start.date()] * count,
        "ts": [start] * count,
        "price": [None if n % 7 == 0 else n / 4 for n in numbers],
        "size": numbers,
        "levels": [[float(n % 3)] * (n % 4) for n in numbers],
    }
    return pl.DataFrame(columns, schema=SCHEMA)


@pytest.mark.parametrize("count", [0, 1, 3000, 65_000])
def test_frames_come_back_as_they_went_in(client: Client, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """The largest goes in two streams of several batches."""
    monkeypatch.setattr(clickhouse, "MIN_ROWS_TO_SPLIT", 200_000)
    monkeypatch.setattr(clickhouse, "ROWS_PER_BATCH", 50_000)
    frame = rows(count)
    insert(client, "t", frame, ["name"])
    assert read(client, "SELECT * FROM t ORDER BY size").cast(SCHEMA).equals(frame)


def test_columns_are_matched_by_name(client: Client) -> None:
    frame = rows(5)
    insert(client, "t", frame.select(reversed(frame.columns)))
    assert read(client, "SELECT * FROM t ORDER BY size").cast(SCHEMA).equals(frame)


def test_a_null_for_a_plain_column_is_an_error_and_not_a_zero(client: Client) -> None:
    frame = rows(3).with_columns(size=pl.lit(None, dtype=pl.Int64))
    with pytest.raises(DatabaseError, match="CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN"):
        insert(client, "t", frame)
    assert read(client, "SELECT count() FROM t").item() == 0


def test_values_are_bound_and_times_stay_utc(client: Client) -> None:
    odd = "it's \\ {x} %s 汉"
    insert(client, "t", rows(1).with_columns(name=pl.lit(odd)), ["name"])
    sql = "SELECT name, ts FROM t WHERE name = {name:String}"
    found = read(client, sql, {"name": odd})
    assert found.row(0) == (odd, dt.datetime(2026, 1, 5, 1, 31, 0, 1000, tzinfo=dt.UTC))
    many = [f"x{number}" for number in range(5000)]
    assert read(client, "SELECT count() FROM t WHERE name IN %(names)s", {"names": [*many, odd]}).item() == 1


@given(st.lists(st.sampled_from(["", "a", "b", "汉", None]), max_size=300))
def test_a_dictionary_says_the_same_texts(texts: list[str | None]) -> None:
    series = pl.Series("x", texts, dtype=pl.String)
    coded = clickhouse._coded(series)
    assert coded.name == "x"
    assert isinstance(coded.dtype, pl.Enum)
    assert coded.cast(pl.String).to_list() == texts


@given(st.integers(1, 40), st.integers(1, 50))
def test_batches_make_one_arrow_stream(rows_per_batch: int, count: int) -> None:
    frame = rows(count)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(clickhouse, "ROWS_PER_BATCH", rows_per_batch)
        stream = b"".join(clickhouse._arrow(frame, ["name"]))
    found = pl.read_ipc_stream(io.BytesIO(stream))
    assert found.cast(SCHEMA).equals(frame)


@pytest.mark.parametrize("name", ["", "a b", "a`b", "a;b", "a.b", "1a", "ä"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        quoted(name)
