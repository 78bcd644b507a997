"""The rows of a flow as readers see them, wherever they are kept: figures, and what checks object to.

A query is one for all: of a table in Postgres the server answers it, of rows of other stores polars.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Sequence
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
from marketdata_assets.stores.postgres import objections, statement, value

Holder = tuple[str, str | None, int]
"""A unit, the unit whose row of a key of it is in the table, and how many there are.

With None it is the unit itself, by an earlier content; these rows are among its own.
"""
CHANGE_DAYS = 31
"""How far back the day before the newest one may be; a longer pause is not compared."""
ROWS_OF_MODE = {"upsert": "rows_of_owners", "replace": "rows_of_units", "append": "rows_of_table"}


def of(connection: psycopg.Connection, flow: FlowDefinition) -> "Rows":
    """The rows of a flow."""
    store = unit_store.of(flow)
    return StoredRows(connection, flow, store) if store else Rows(connection, flow)


@dataclass(frozen=True)
class Rows:
    """The rows of a flow, in a table of Postgres."""

    connection: psycopg.Connection
    flow: FlowDefinition

    def exist(self) -> bool:
        """Whether there is a table."""
        query = "SELECT to_regclass(quote_ident(%s)) IS NOT NULL"
        return bool(value(self.connection, query, [self.flow.target.table]))

    def count(self) -> int:
        """How many there are; none when there is no table."""
        return int(self._answer(self._query("SELECT count(*) FROM {table}"), ())[0][0]) if self.exist() else 0

    def drift(self) -> list[str]:
        """What is not as declared."""
        return storage.drift(self.connection, new_columns.present(self.connection, self.flow))

    def newest(self) -> Any:
        """The latest value of the column of time; of instants, in UTC."""
        query = self._query("SELECT max({time}) FROM {table}")
        return self._answer(query, [self.flow.time_column])[0][0] if self.exist() else None

    def by_month(self, months: Collection[str]) -> dict[str, int]:
        """Rows of each of `months` (`YYYY-MM`), of a flow whose partitions are months; those of instants are UTC."""
        counts = dict.fromkeys(months, 0)
        if counts and self.exist():
            first, last = (dt.date.fromisoformat(f"{month}-01") for month in (min(counts), max(counts)))
            after = (last + dt.timedelta(days=31)).replace(day=1)
            query = self._query(
                """SELECT date_trunc('month', {time}) AS month, count(*) FROM {table}
                   WHERE {time} >= {first} AND {time} < {after} GROUP BY 1""",
                first=sql.Literal(first),
                after=sql.Literal(after),
            )
            found = {f"{month:%Y-%m}": rows for month, rows in self._answer(query, [self.flow.time_column])}
            counts |= {month: rows for month, rows in found.items() if month in counts}
        return counts

    def last(self, rows: int = 8) -> list[dict[str, Any]]:
        """Some rows, the last keys first."""
        columns = self.flow.target.columns
        order = "ORDER BY {key_down}" if self.flow.target.key else ""
        query = self._query(f"SELECT {{columns}} FROM {{table}} {order} LIMIT {int(rows)}")
        return [dict(zip(columns, row, strict=True)) for row in (self._answer(query, columns) if self.exist() else ())]

    def holders(self, known: Sequence[Entry]) -> Iterable[Holder]:
        """Which file's rows readers see of the keys of each file; of other modes than upsert, those of `known`."""
        if self.flow.target.mode == "upsert":
            return self._holders()
        return [(entry.unit, entry.unit, entry.rows) for entry in known]  # all rows of a file are its own

    def not_counted(self, units: int) -> Finding | None:
        """The files whose rows are not as many as the books say; None where the next run adds what says so."""
        present = storage.columns_of(self.connection, self.flow.target.table).keys()
        if not storage.owner_columns(self.flow.target).keys() <= present:
            return None
        query = self._query(statement(storage.__package__, f"checks/{ROWS_OF_MODE[self.flow.target.mode]}.sql"))
        datasets = owners.datasets_of_table(self.connection, self.flow)
        return objections(self.connection, query, {"dataset": self.flow.dataset, "datasets": datasets}, units)

    def repeated_keys(self) -> Finding:
        """The keys of several rows."""
        query = statement(storage.__package__, "checks/repeated_keys.sql")
        return self._finding(self._query(query), self.flow.target.key)

    def unexpected(self, column: str, expected: Expectation) -> Finding:
        """Those whose value in `column` is not as expected; each by its key, or day."""
        queries = list(self._unexpected(column, expected)) if self.count() else []
        if not queries:
            return Finding(0, (), self.count())
        others = [expected.increasing_by, expected.mean.by if expected.mean else None]
        read = {*(self.flow.target.key or self.flow.target.columns), column, *expected.within, *filter(None, others)}
        return self._finding(sql.SQL(" UNION ALL ").join(queries), read)

    def changed(self, change: Change) -> Finding:
        """The newest day, where its number of rows is too far from that of the day before."""
        return self._finding(self._changed(change, sql.SQL("count(*)")), [change.by])

    def _holders(self) -> Iterable[Holder]:
        query = statement(storage.__package__, "rows_of_files.sql")
        return self.connection.execute(query, {"dataset": self.flow.dataset}).fetchall()

    def _answer(self, query: sql.Composed, columns: Collection[str]) -> list[tuple[Any, ...]]:
        """The rows of a query, which reads these of the columns."""
        return self.connection.execute(query).fetchall()

    def _finding(self, query: sql.Composed, columns: Collection[str]) -> Finding:
        """The rows of a query, as what a check objects to."""
        return objections(self.connection, query, {}, self.count())

    def _unexpected(self, column: str, expected: Expectation) -> Iterator[sql.Composed]:
        name = sql.Identifier(column)
        cases = []
        for wrong, texts, said in expected.of_a_value():
            values = sql.SQL(", ").join(self._literal(column, text) for text in texts)
            cases.append(sql.SQL("WHEN {} THEN {}").format(sql.SQL(wrong).format(name, values), _text(said)))
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

    def _literal(self, column: str, text: str) -> sql.Composable:
        """A value of the column, as Postgres reads the text."""
        kind = sql.SQL(self.flow.target.columns[column].sql)
        [(value,)] = self.connection.execute(sql.SQL("SELECT {}::{}").format(sql.Literal(text), kind))
        if isinstance(value, Decimal):  # without the cast polars would make a double of it
            return sql.SQL("{}::{}").format(sql.Literal(str(value)), kind)
        return _text(value) if isinstance(value, str) else sql.Literal(value)

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
class StoredRows(Rows):
    """Those of another store, which polars queries."""

    store: UnitStore

    def exist(self) -> bool:
        return self.store.exists()

    def count(self) -> int:
        return self.store.row_count()

    def drift(self) -> list[str]:
        return self.store.drift()

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

    def _holders(self) -> Iterable[Holder]:
        return self.store.holders()

    def _answer(self, query: sql.Composed, columns: Collection[str]) -> list[tuple[Any, ...]]:
        return self._frame(query, columns).rows()

    def _finding(self, query: sql.Composed, columns: Collection[str]) -> Finding:
        found = self._frame(query, columns)
        examples = tuple({name: str(value) for name, value in row.items()} for row in found.head(EXAMPLES).to_dicts())
        return Finding(found.height, examples, self.count())

    def _frame(self, query: sql.Composed, columns: Collection[str]) -> pl.DataFrame:
        rows = pl.SQLContext({self.flow.target.table: self.store.rows(sorted(columns))})
        return rows.execute(query.as_string(self.connection)).collect()


def _text(text: str) -> sql.Composable:
    """A literal in the quotes of standard SQL, as polars reads them too, whatever is in it."""
    return sql.SQL("'" + text.replace("'", "''") + "'")
