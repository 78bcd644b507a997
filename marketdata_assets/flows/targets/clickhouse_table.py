"""A table of ClickHouse: a view `TABLE` of the committed rows in `TABLE_rows`, which keeps those of each unit apart.

Each attempt to store a unit has a number, with which it writes rows that no reader sees, and then one row of
`marketdata_flow_loads`: from then on the view shows the rows of this load, and no longer those of the load before.
"""

import re
import secrets
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from marketdata_assets.flows.definition import Target
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.frames import FrameSpool, schema
from marketdata_assets.flows.types import ColumnType
from marketdata_assets.stores import clickhouse, clickhouse_cluster
from marketdata_assets.stores.clickhouse import quoted
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.postgres import statement

LOADS = "marketdata_flow_loads"
DIGITS = 20
RANDOM_BITS = 10
TYPES = {
    "text": "String",
    "bigint": "Int64",
    "integer": "Int32",
    "double": "Float64",
    "date": "Date32",
    "timestamp": "DateTime64(6, 'UTC')",
    "timestamptz": "DateTime64(6, 'UTC')",
    "boolean": "Bool",
    "text[]": "Array(String)",
}
OWN = {"etl_file": "LowCardinality(String)", "etl_place": "LowCardinality(String)", "etl_load": "UInt64"}
"""Columns that are added: the file, a text that sorts as names of files do, and the number of the load."""
DICTIONARIES = ("etl_file", "etl_place")


@dataclass(frozen=True)
class ClickHouseTable:
    """The rows of one flow, in the database of `url`."""

    url: str
    target: Target

    @property
    def table(self) -> str:
        """Where the rows are; readers use the view."""
        return f"{self.target.table}_rows"

    def exists(self) -> bool:
        with clickhouse.connect(self.url) as client:
            return bool(self._columns(client))

    def ensure(self) -> None:
        with clickhouse.connect(self.url) as client:
            clickhouse_cluster.check(client)
            clickhouse.create(client, statement(__package__, "clickhouse_loads.sql"))
            if found := self._columns(client):
                added, differences = self._compared(found)
                if differences:
                    raise FlowError(
                        f"table {self.target.table} of ClickHouse differs from target: {'; '.join(differences)}."
                        f" Nothing is changed; drop {self.target.table} and {self.table} there and run the flow again:"
                        " all its files are loaded into new ones."
                    )
                for column in added:
                    client.command(f"ALTER TABLE {quoted(self.table)} ADD COLUMN {column}")
            else:
                clickhouse.create(client, self._creation())
            clickhouse.create(client, self._view())

    def has_leftovers(self) -> bool:
        with clickhouse.connect(self.url) as client:
            return bool(self._leftovers(client))

    def clean(self) -> None:
        with clickhouse.connect(self.url) as client:
            for file, load in self._leftovers(client):
                condition = "etl_file = {file:String} AND etl_load = {load:UInt64}"
                values = {"file": file, "load": load}
                client.command(f"DELETE FROM {quoted(self.table)} WHERE {condition}", parameters=values)

    def drift(self) -> list[str]:
        with clickhouse.connect(self.url) as client:
            found = self._columns(client)
        added, differences = self._compared(found) if found else ([], [])
        return [*(f"column {column} is missing; the next run adds it" for column in added), *differences]

    def tokens(self, units: Collection[str]) -> dict[str, str]:
        """Also of a unit of which somebody deleted rows there is none."""
        with clickhouse.connect(self.url) as client:
            if not self._columns(client):
                return {}
            committed, counts = self._read(client, "clickhouse_committed.sql"), self._counts(client)
        wanted = set(units)
        return {
            file: str(load)
            for file, load, rows, removed in committed.iter_rows()
            if file in wanted and not removed and rows == counts.get(file, 0)
        }

    def put(self, unit: str, rows: FrameSpool | None) -> str:
        with clickhouse.connect(self.url) as client:
            load = self._next_load(client, unit)
            count = 0
            for frame in rows or ():
                clickhouse.insert(client, self.table, self._owned(frame, unit, load), DICTIONARIES)
                count += frame.height
            self._commit(client, unit, load, count)
            return str(load)

    def remove(self, unit: str) -> None:
        with clickhouse.connect(self.url) as client:
            self._commit(client, unit, self._next_load(client, unit), 0, removed=True)

    def rows_of_units(self, units: Collection[str]) -> tuple[dict[str, int], int]:
        with clickhouse.connect(self.url) as client:
            counts = self._counts(client)
        known = {unit: counts.pop(unit, 0) for unit in units}
        return known, sum(counts.values())

    def holders(self) -> Iterator[tuple[str, str | None, int]]:
        with clickhouse.connect(self.url) as client:
            if self._columns(client):
                yield from self._read(client, "clickhouse_holders.sql").iter_rows()

    def rows(self, columns: Sequence[str]) -> pl.LazyFrame:
        declared = schema(self.target)
        with clickhouse.connect(self.url) as client:
            if not self._columns(client):
                return declared.to_frame().lazy().select(columns)
            found = clickhouse.read(client, f"SELECT {_listed(columns)} FROM {quoted(self.target.table)}")
        return found.lazy().select(pl.col(name).cast(declared[name]) for name in columns)

    def row_count(self) -> int:
        with clickhouse.connect(self.url) as client:
            if not self._columns(client):
                return 0
            return int(clickhouse.read(client, f"SELECT count() AS rows FROM {quoted(self.target.table)}").item())

    def _read(self, client: Client, file: str) -> pl.DataFrame:
        """A query of `sql/` about the rows of this table."""
        parts = {"{rows}": quoted(self.table), "{key}": _listed(self.target.key), "{ranked}": _listed(self._ranked)}
        sql = statement(__package__, file)
        for name, part in parts.items():
            sql = sql.replace(name, part)
        return clickhouse.read(client, sql, {"table": self.target.table})

    def _counts(self, client: Client) -> dict[str, int]:
        """Rows of each unit that has any."""
        return dict(self._read(client, "clickhouse_rows_by_file.sql").iter_rows())

    def _leftovers(self, client: Client) -> list[tuple[str, int]]:
        """Loads of which there are rows and that are not those that readers see."""
        if not self._columns(client):
            return []
        return list(self._read(client, "clickhouse_leftovers.sql").iter_rows())

    def _next_load(self, client: Client, unit: str) -> int:
        """A number above that of the unit's last load; whoever asks holds the unit's lock in the ledger."""
        sql = f"SELECT max(load) FROM {LOADS} WHERE table = {{table:String}} AND file = {{file:String}}"
        newest = int(clickhouse.read(client, sql, {"table": self.target.table, "file": unit}).item())
        now = time.time_ns() >> RANDOM_BITS << RANDOM_BITS | secrets.randbits(RANDOM_BITS)
        return max(now, newest + 1)

    def _commit(self, client: Client, unit: str, load: int, rows: int, *, removed: bool = False) -> None:
        """Let readers see the rows of this load, and no others of the unit."""
        entry = {"table": self.target.table, "file": unit, "load": load, "rows": rows, "removed": int(removed)}
        types = {"load": pl.UInt64, "rows": pl.UInt64, "removed": pl.UInt8}
        clickhouse.insert(client, LOADS, pl.DataFrame([entry], schema_overrides=types))

    def _owned(self, frame: pl.DataFrame, unit: str, load: int) -> pl.DataFrame:
        lists = [name for name, kind in self.target.columns.items() if kind.kind == "text[]"]
        return frame.with_columns(
            pl.col(lists).fill_null([]),
            etl_file=pl.lit(unit),
            etl_place=pl.lit(_sortable(unit)),
            etl_load=pl.lit(load, pl.UInt64),
        )

    def _columns(self, client: Client) -> dict[str, str]:
        """The columns of the rows, with their types; none when there is no table."""
        sql = "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
        return dict(clickhouse.read(client, sql, {"table": self.table}).iter_rows())

    def _declared(self) -> dict[str, str]:
        target = self.target
        return {name: data_type(kind, in_key=name in target.key) for name, kind in target.columns.items()}

    def _compared(self, found: Mapping[str, str]) -> tuple[list[str], list[str]]:
        """Columns to add, and what is otherwise than declared."""
        declared = self._declared()
        added = [f"{quoted(name)} {kind}" for name, kind in declared.items() if name not in found]
        differences = [
            f"column {name} is {found[name]}, declared is {kind}"
            for name, kind in declared.items()
            if name in found and found[name].replace(" ", "") != kind.replace(" ", "")
        ]
        gone = [f"column {name} is not declared" for name in found if name not in declared and name not in OWN]
        return added, [*differences, *gone]

    def _creation(self) -> str:
        columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in (self._declared() | OWN).items())
        order = _listed(self.target.key) or "tuple()"
        return f"CREATE TABLE {quoted(self.table)} ({columns}) ENGINE = MergeTree ORDER BY ({order})"

    @property
    def _ranked(self) -> list[str]:
        """The columns that order rows of one key in mode upsert."""
        return [*filter(None, [self.target.order_column]), "etl_place", "etl_file"]

    def _view(self) -> str:
        target, key = self.target, _listed(self.target.key)
        query = statement(__package__, "clickhouse_view.sql").rstrip()
        shown = _listed([*target.columns, "etl_file"])
        query = query.replace("{columns}", shown).replace("{rows}", quoted(self.table)).replace("{table}", target.table)
        if target.mode == "upsert":
            newest = ", ".join(f"{quoted(name)} DESC" for name in self._ranked)
            query += f" ORDER BY {key}, {newest} LIMIT 1 BY {key}"
        return f"CREATE OR REPLACE VIEW {quoted(target.table)} AS {query}"


def data_type(kind: ColumnType, *, in_key: bool) -> str:
    """What a column of the target is in ClickHouse: texts of a key have few values, other columns may be NULL.

    A list is empty instead.
    """
    name = f"Decimal({kind.precision}, {kind.scale})" if kind.kind == "numeric" else TYPES[kind.kind]
    if in_key:
        return "LowCardinality(String)" if kind.kind == "text" else name
    return name if kind.kind == "text[]" else f"Nullable({name})"


def _listed(names: Collection[str]) -> str:
    return ", ".join(quoted(name) for name in names)


def _sortable(name: str) -> str:
    """A text that sorts as the name does with its numbers by value: day_2 before day_10."""
    return re.sub("[0-9]+", lambda number: number[0].zfill(DIGITS)[-DIGITS:], name)
