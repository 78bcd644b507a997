"""The rows of a flow as readers see them, wherever they are kept: figures, and what checks object to.

Of a table in Postgres the server answers; rows of other stores are queried as frames. Both find the same.
"""

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from marketdata_assets.flows import new_columns, owners, storage
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.expectations import Change, Expectation
from marketdata_assets.flows.targets import unit_store
from marketdata_assets.flows.targets.unit_store import UnitStore
from marketdata_assets.stores import ledger
from marketdata_assets.stores.bookkeeping import EXAMPLES, Entry, Finding
from marketdata_assets.stores.postgres import objections, statement

Holder = tuple[str, str | None, int]
"""A unit, the unit whose row of a key of it is in the table, and how many there are.

With None it is the unit itself, by an earlier content; these rows are among its own.
"""
CHANGE_DAYS = 31
"""How far back the day before the newest one may be; a longer pause is not compared."""
ROWS_OF_MODE = {"upsert": "rows_of_owners", "replace": "rows_of_units", "append": "rows_of_table"}
WRONG_IN_SQL = {
    "null": "{} IS NULL",
    "below": "{} < {}",
    "above": "{} > {}",
    "outside": "{} NOT IN ({})",
    "unlike": "{} !~ {}",
}
WRONG_IN_FRAMES: Mapping[str, Callable[..., pl.Expr]] = {
    "null": lambda value: value.is_null(),
    "below": lambda value, least: value < least,
    "above": lambda value, most: value > most,
    "outside": lambda value, *known: ~pl.any_horizontal([value == one for one in known]),
    "unlike": lambda value, pattern: ~value.str.contains(pattern),
}
"""Conditions under which a value is not as expected, by `Expectation.of_a_value`. NULL meets all but `null`."""


def of(connection: psycopg.Connection, flow: FlowDefinition) -> "TableRows | StoredRows":
    """The rows of a flow."""
    store = unit_store.of(flow)
    return StoredRows(connection, flow, store) if store else TableRows(connection, flow)


@dataclass(frozen=True)
class TableRows:
    """Those of a table in Postgres."""

    connection: psycopg.Connection
    flow: FlowDefinition

    def exist(self) -> bool:
        """Whether there is a table."""
        query = "SELECT to_regclass(quote_ident(%s)) IS NOT NULL"
        return self.connection.execute(query, [self.flow.target.table]).fetchone() == (True,)

    def count(self) -> int:
        """How many there are; none when there is no table."""
        return int(self._value("SELECT count(*) FROM {table}") or 0)

    def newest(self) -> Any:
        """The latest value of the column of time."""
        return self._value("SELECT max({time}) FROM {table}")

    def by_month(self, months: Collection[str]) -> dict[str, int]:
        """Rows of each of `months` (`YYYY-MM`), of a flow whose partitions are months; those of instants are UTC."""
        counts = dict.fromkeys(months, 0)
        if counts and self.exist():
            query = """SELECT to_char({time}, 'YYYY-MM'), count(*) FROM {table}
                       WHERE {time} >= %s AND {time} < %s GROUP BY 1"""
            first, last = (dt.date.fromisoformat(f"{month}-01") for month in (min(counts), max(counts)))
            after = (last + dt.timedelta(days=31)).replace(day=1)
            found = self.connection.execute(self._query(query), [first, after]).fetchall()
            counts |= {month: count for month, count in found if month in counts}
        return counts

    def last(self, rows: int = 8) -> list[dict[str, Any]]:
        """Some rows, the last keys first."""
        columns = self.flow.target.columns
        order = "ORDER BY {key_down}" if self.flow.target.key else ""
        query = self._query(f"SELECT {{columns}} FROM {{table}} {order} LIMIT {int(rows)}")
        found = self.connection.execute(query).fetchall() if self.exist() else []
        return [dict(zip(columns, row, strict=True)) for row in found]

    def drift(self) -> list[str]:
        """What is not as declared."""
        return storage.drift(self.connection, new_columns.present(self.connection, self.flow))

    def holders(self, known: Sequence[Entry]) -> Iterable[Holder]:
        """Which file's rows readers see of the keys of each file; of other modes than upsert, those of `known`."""
        if self.flow.target.mode != "upsert":
            return _own(known)
        query = statement(storage.__package__, "rows_of_files.sql")
        return self.connection.execute(query, {"dataset": self.flow.dataset}).fetchall()

    def repeated_keys(self) -> Finding:
        """The keys of several rows."""
        query = self._query(statement(storage.__package__, "checks/repeated_keys.sql"))
        return objections(self.connection, query, {}, self.count())

    def not_counted(self, units: int) -> Finding | None:
        """The files whose rows are not as many as the books say; None where the next run adds what says so."""
        present = storage.columns_of(self.connection, self.flow.target.table).keys()
        if not storage.owner_columns(self.flow.target).keys() <= present:
            return None
        query = self._query(statement(storage.__package__, f"checks/{ROWS_OF_MODE[self.flow.target.mode]}.sql"))
        datasets = owners.datasets_of_table(self.connection, self.flow)
        return objections(self.connection, query, {"dataset": self.flow.dataset, "datasets": datasets}, units)

    def unexpected(self, column: str, expected: Expectation) -> Finding:
        """Those whose value in `column` is not as expected; each by its key, or day."""
        queries, rows = list(self._unexpected(column, expected)), self.count()
        if not (queries and rows):
            return Finding(0, (), rows)
        return objections(self.connection, sql.SQL(" UNION ALL ").join(queries), {}, rows)

    def changed(self, change: Change) -> Finding:
        """The newest day, where its number of rows is too far from that of the day before."""
        return objections(self.connection, self._changed(change, sql.SQL("count(*)")), {}, self.count())

    def _unexpected(self, column: str, expected: Expectation) -> Iterator[sql.Composed]:
        name, kind = sql.Identifier(column), sql.SQL(self.flow.target.columns[column].sql)
        cases = []
        for wrong, texts, said in expected.of_a_value():
            values = sql.SQL(", ").join(sql.SQL("{}::{}").format(sql.Literal(text), kind) for text in texts)
            when = sql.SQL(WRONG_IN_SQL[wrong]).format(name, values)
            cases.append(sql.SQL("WHEN {} THEN {}").format(when, sql.Literal(said)))
        if cases:
            yield self._expectation("values", column=name, cases=sql.SQL(" ").join(cases))
        if expected.unique:
            yield self._expectation("unique", column=name)
        if expected.increasing_by:
            within = sql.SQL(", ").join(map(sql.Identifier, expected.within))
            groups = sql.SQL("PARTITION BY {}").format(within) if expected.within else sql.SQL("")
            yield self._expectation("increasing", column=name, groups=groups, by=sql.Identifier(expected.increasing_by))
        if expected.mean:
            yield self._changed(expected.mean, sql.SQL("avg({})").format(name))

    def _changed(self, change: Change, figure: sql.Composable) -> sql.Composed:
        by = sql.Identifier(change.by)
        local = sql.SQL("({} AT TIME ZONE {})").format(by, sql.Literal(self.flow.timezone))
        instants = self.flow.target.columns[change.by].kind == "timestamptz"
        return self._expectation(
            "change",
            by=by,
            day=sql.SQL("{}::date").format(local if instants else by),
            figure=figure,
            share=sql.Literal(Decimal(str(change.share))),
            days=sql.Literal(CHANGE_DAYS),
        )

    def _expectation(self, name: str, **parts: sql.Composable) -> sql.Composed:
        """A query of `sql/expectations`: its rows have `row` (the key, or the day), `value` and what was `expected`."""
        return self._query(statement(storage.__package__, f"expectations/{name}.sql").rstrip(), **parts)

    def _value(self, query: str) -> Any:
        row = self.connection.execute(self._query(query)).fetchone() if self.exist() else None
        return row[0] if row else None

    def _query(self, query: str, **parts: sql.Composable) -> sql.Composed:
        target = self.flow.target
        key = [sql.Identifier(name) for name in target.key]
        time: sql.Composable = sql.Identifier(self.flow.time_column)
        if self.flow.time_column and target.columns[self.flow.time_column].kind == "timestamptz":
            time = sql.SQL("({} AT TIME ZONE 'UTC')").format(time)  # whatever the server's zone
        columns = sql.SQL(", ").join(map(sql.Identifier, target.columns))
        named = {
            "table": sql.Identifier(target.table),
            "columns": columns,
            "key": sql.SQL(", ").join(key),
            "key_down": sql.SQL(", ").join(sql.SQL("{} DESC").format(name) for name in key),
            "row": sql.SQL("concat_ws(', ', {})").format(sql.SQL(", ").join(key) if key else columns),
            "time": time,
        }
        return sql.SQL(query).format(**named, **parts)


@dataclass(frozen=True)
class StoredRows:
    """Those of another store."""

    connection: psycopg.Connection
    flow: FlowDefinition
    store: UnitStore

    def exist(self) -> bool:
        return self.store.exists()

    def count(self) -> int:
        return self.store.row_count()

    def newest(self) -> dt.date | dt.datetime | None:
        name = self.flow.time_column
        value = self.store.rows([name]).select(pl.col(name).max()).collect().item()
        return value.replace(tzinfo=None) if isinstance(value, dt.datetime) else value

    def by_month(self, months: Collection[str]) -> dict[str, int]:
        name = self.flow.time_column
        month = pl.col(name).dt.strftime("%Y-%m").alias("month")
        found = dict(self.store.rows([name]).group_by(month).len().collect().iter_rows()) if months else {}
        return {one: int(found.get(one, 0)) for one in months}

    def last(self, rows: int = 8) -> list[dict[str, Any]]:
        if not self.exist():
            return []
        key, found = self.flow.target.key, self.store.rows(list(self.flow.target.columns))
        last = found.top_k(rows, by=key).sort(key, descending=True) if key else found.head(rows)
        return last.collect().to_dicts()

    def drift(self) -> list[str]:
        return self.store.drift()

    def holders(self, known: Sequence[Entry]) -> Iterable[Holder]:
        return self.store.holders() if self.flow.target.mode == "upsert" else _own(known)

    def repeated_keys(self) -> Finding:
        key = self.flow.target.key
        times = self.store.rows(key).group_by(key).agg(times=pl.len())
        return self._finding(times.filter(pl.col("times") > 1))

    def not_counted(self, units: int) -> Finding:
        loaded = {entry.unit: entry.rows for entry in ledger.entries(self.connection, self.flow.dataset)}
        counts, others = self.store.rows_of_units(loaded)
        found = [
            {"unit": unit, "loaded": rows, "in_table": counts[unit]}
            for unit, rows in sorted(loaded.items())
            if counts[unit] != rows
        ]
        found += [{"unit": "(no file of a flow)", "loaded": 0, "in_table": others}] if others else []
        return Finding(len(found), tuple(found[:EXAMPLES]), units)

    def unexpected(self, column: str, expected: Expectation) -> Finding:
        target = self.flow.target
        needed = {*(target.key or target.columns), column, *expected.within, *filter(None, [expected.increasing_by])}
        needed |= {expected.mean.by} if expected.mean else set()
        found = list(self._unexpected(self.store.rows(sorted(needed)), column, expected)) if self.count() else []
        return self._finding(pl.concat(found)) if found else Finding(0, (), self.count())

    def changed(self, change: Change) -> Finding:
        return self._finding(self._changed(self.store.rows([change.by]), change, pl.len()))

    def _finding(self, objected: pl.LazyFrame) -> Finding:
        found = objected.collect()
        examples = tuple({name: str(value) for name, value in row.items()} for row in found.head(EXAMPLES).to_dicts())
        return Finding(found.height, examples, self.count())

    def _unexpected(self, rows: pl.LazyFrame, column: str, expected: Expectation) -> Iterator[pl.LazyFrame]:
        value, target = pl.col(column), self.flow.target
        texts = [pl.col(name).cast(pl.String) for name in target.key or target.columns]
        row = pl.concat_str(texts, separator=", ", ignore_nulls=True).alias("row")
        shown = (row, value.cast(pl.String).alias("value"))
        wrong = [
            pl.when(WRONG_IN_FRAMES[name](value, *(self._literal(column, text) for text in given))).then(pl.lit(said))
            for name, given, said in expected.of_a_value()
        ]
        if wrong:
            named = rows.with_columns(expected=pl.coalesce(wrong)).filter(pl.col("expected").is_not_null())
            yield named.select(*shown, "expected")
        if expected.unique:
            again = rows.filter(value.is_not_null()).filter(pl.len().over(column) > 1)
            yield again.select(*shown, expected=pl.lit("unique"))
        if by := expected.increasing_by:
            before = value.shift(1).over(expected.within) if expected.within else value.shift(1)
            ordered = rows.filter(value.is_not_null()).sort(by).with_columns(before=before)
            said = pl.lit("at least ") + pl.col("before").cast(pl.String)
            yield ordered.filter(value < pl.col("before")).select(*shown, expected=said)
        if expected.mean:
            yield self._changed(rows, expected.mean, value.cast(pl.Float64).mean())

    def _literal(self, column: str, text: str) -> pl.Expr:
        """The literal as Postgres reads one of the column's type."""
        kind = sql.SQL(self.flow.target.columns[column].sql)
        row = self.connection.execute(sql.SQL("SELECT {}::{}").format(sql.Literal(text), kind)).fetchone()
        assert row is not None
        return pl.lit(row[0])

    def _changed(self, rows: pl.LazyFrame, change: Change, figure: pl.Expr) -> pl.LazyFrame:
        by = pl.col(change.by)
        if self.flow.target.columns[change.by].kind == "timestamptz":
            by = by.dt.convert_time_zone(self.flow.timezone)
        days = rows.group_by(by.dt.date().alias("_day")).agg(figure.cast(pl.Float64).alias("_figure"))
        day, now, before = pl.col("_day"), pl.col("_figure"), pl.col("_before")
        recent = days.filter(day > day.max() - dt.timedelta(days=CHANGE_DAYS)).sort("_day")
        newest = recent.with_columns(_before=now.shift(1)).tail(1)
        return newest.filter((now - before).abs() > change.share * before.abs()).select(
            row=day.cast(pl.String), value=now.cast(pl.String), expected=pl.lit("near ") + before.cast(pl.String)
        )


def _own(known: Sequence[Entry]) -> list[Holder]:
    """All rows of a file are its own."""
    return [(entry.unit, entry.unit, entry.rows) for entry in known]
