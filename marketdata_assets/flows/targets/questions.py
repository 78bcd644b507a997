"""Checks and figures of a flow whose rows are not in Postgres; those of tables are in `checks` and `status`."""

import datetime as dt
from collections.abc import Collection, Iterator
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from marketdata_assets.flows.definition import FlowDefinition, Month
from marketdata_assets.flows.expectations import Change, Expectation
from marketdata_assets.flows.targets.unit_store import UnitStore
from marketdata_assets.stores import ledger
from marketdata_assets.stores.bookkeeping import EXAMPLES, Finding

CHANGE_DAYS = 31
"""How far back the day before the newest one may be; a longer pause is not compared."""


def keys_unique(flow: FlowDefinition, store: UnitStore) -> Finding:
    """No two rows have one key."""
    times = store.rows(flow.target.key).group_by(flow.target.key).agg(times=pl.len())
    return _finding(times.filter(pl.col("times") > 1), store.row_count())


def rows_of_units(connection: psycopg.Connection, flow: FlowDefinition, store: UnitStore) -> list[dict[str, Any]]:
    """Units whose rows in the store are not as many as the ledger has; rows that are of no unit."""
    loaded = {entry.unit: entry.rows for entry in ledger.entries(connection, flow.dataset)}
    counts, others = store.rows_of_units(loaded)
    found = [
        {"unit": unit, "loaded": rows, "in_table": counts[unit]}
        for unit, rows in sorted(loaded.items())
        if counts[unit] != rows
    ]
    return [*found, {"unit": "(no file of a flow)", "loaded": 0, "in_table": others}] if others else found


def of_column(
    connection: psycopg.Connection, flow: FlowDefinition, store: UnitStore, column: str, expected: Expectation
) -> Finding:
    """The rows whose value in `column` is not as expected."""
    target = flow.target
    needed = {*(target.key or target.columns), column, *expected.within, *filter(None, [expected.increasing_by])}
    if expected.mean:
        needed.add(expected.mean.by)
    rows = store.rows(sorted(needed))
    found = list(_objections(connection, flow, rows, column, expected))
    return _finding(pl.concat(found), store.row_count()) if found else Finding(0, (), store.row_count())


def of_rows(flow: FlowDefinition, store: UnitStore, change: Change) -> Finding:
    """The newest day, where its number of rows is too far from that of the day before."""
    return _finding(_changed(flow, store.rows([change.by]), change, pl.len()), store.row_count())


def rows_by_month(flow: FlowDefinition, store: UnitStore, months: Collection[str]) -> dict[str, int]:
    """Rows of each of `months` (`YYYY-MM`); those of instants are UTC."""
    assert isinstance(flow.partitions, Month)
    month = pl.col(flow.partitions.month).dt.strftime("%Y-%m").alias("month")
    counts = store.rows([flow.partitions.month]).group_by(month).len().collect()
    found = dict(counts.iter_rows())
    return {one: int(found.get(one, 0)) for one in months}


def newest(store: UnitStore, column: str) -> dt.date | dt.datetime | None:
    """The latest value of a column, instants without their zone."""
    value = store.rows([column]).select(pl.col(column).max()).collect().item()
    return value.replace(tzinfo=None) if isinstance(value, dt.datetime) else value


def preview(flow: FlowDefinition, store: UnitStore, rows: int) -> list[dict[str, Any]]:
    """Some rows, the last keys first."""
    found = store.rows(list(flow.target.columns))
    last = found.top_k(rows, by=flow.target.key) if flow.target.key else found.head(rows)
    ordered = last.sort(flow.target.key, descending=True) if flow.target.key else last
    return ordered.collect().to_dicts()


def _finding(objected: pl.LazyFrame, checked: int) -> Finding:
    found = objected.collect()
    examples = tuple({name: str(value) for name, value in row.items()} for row in found.head(EXAMPLES).to_dicts())
    return Finding(found.height, examples, checked)


def _objections(
    connection: psycopg.Connection, flow: FlowDefinition, rows: pl.LazyFrame, column: str, expected: Expectation
) -> Iterator[pl.LazyFrame]:
    value, target = pl.col(column), flow.target
    shown = [_texts([pl.col(name) for name in target.key or target.columns]).alias("row")]
    if wrong := list(_wrong_values(connection, flow, column, expected)):
        cases = pl.coalesce([pl.when(when).then(pl.lit(text)) for when, text in wrong])
        named = rows.with_columns(expected=cases).filter(pl.col("expected").is_not_null())
        yield named.select(*_shown(shown, value), "expected")
    if expected.unique:
        again = rows.filter(value.is_not_null()).filter(pl.len().over(column) > 1)
        yield again.select(*_shown(shown, value), expected=pl.lit("unique"))
    if by := expected.increasing_by:
        ordered = rows.filter(value.is_not_null()).sort(by)
        before = value.shift(1).over(expected.within) if expected.within else value.shift(1)
        less = ordered.with_columns(before=before).filter(value < pl.col("before"))
        said = pl.lit("at least ") + pl.col("before").cast(pl.String)
        yield less.select(*_shown(shown, value), expected=said)
    if expected.mean:
        yield _changed(flow, rows, expected.mean, value.cast(pl.Float64).mean())


def _shown(row: list[pl.Expr], value: pl.Expr) -> list[pl.Expr]:
    return [*row, value.cast(pl.String).alias("value")]


def _texts(columns: list[pl.Expr]) -> pl.Expr:
    return pl.concat_str([column.cast(pl.String) for column in columns], separator=", ", ignore_nulls=True)


def _wrong_values(
    connection: psycopg.Connection, flow: FlowDefinition, column: str, expected: Expectation
) -> Iterator[tuple[pl.Expr, str]]:
    """Conditions under which one value is not as expected, each with what is expected; NULL meets all but not_null."""
    value = pl.col(column)

    def read(text: str) -> pl.Expr:
        """The literal as Postgres reads one of the column's type."""
        kind = sql.SQL(flow.target.columns[column].sql)
        row = connection.execute(sql.SQL("SELECT {}::{}").format(sql.Literal(text), kind)).fetchone()
        assert row is not None
        return pl.lit(row[0])

    if expected.not_null:
        yield value.is_null(), "not null"
    if expected.min is not None:
        yield value < read(expected.min), f"min {expected.min}"
    if expected.max is not None:
        yield value > read(expected.max), f"max {expected.max}"
    if expected.one_of:
        among = pl.any_horizontal([value == read(text) for text in expected.one_of])
        yield ~among, f"one of {', '.join(expected.one_of)}"
    if expected.matches is not None:
        yield ~value.str.contains(expected.matches), f"matches {expected.matches}"


def _changed(flow: FlowDefinition, rows: pl.LazyFrame, change: Change, figure: pl.Expr) -> pl.LazyFrame:
    """The newest day, where its figure is too far from that of the day before."""
    by = pl.col(change.by)
    if flow.target.columns[change.by].kind == "timestamptz":
        by = by.dt.convert_time_zone(flow.timezone)
    days = rows.group_by(by.dt.date().alias("_day")).agg(figure.cast(pl.Float64).alias("_figure"))
    day, now, before = pl.col("_day"), pl.col("_figure"), pl.col("_before")
    recent = days.filter(day > day.max() - dt.timedelta(days=CHANGE_DAYS)).sort("_day")
    newest = recent.with_columns(_before=now.shift(1)).tail(1)
    return newest.filter((now - before).abs() > change.share * before.abs()).select(
        row=day.cast(pl.String), value=now.cast(pl.String), expected=pl.lit("near ") + before.cast(pl.String)
    )
