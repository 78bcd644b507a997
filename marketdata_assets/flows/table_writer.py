"""One prepared unit into its table: rows, quarantine, ledger and the unit's state in one transaction.

What the modes mean is said at `Target`; whether a unit has to be read at all is decided in `unit`.
"""

from dataclasses import dataclass
from functools import cached_property

import psycopg
from psycopg import errors as pg
from psycopg import sql

from marketdata_assets.flows.definition import Target
from marketdata_assets.flows.errors import KeyTaken
from marketdata_assets.flows.prepare import Prepared
from marketdata_assets.stores.postgres import copy_binary

STAGING = "flow_staging"


class KeysClash(Exception):
    """Another load has written a row of one of the unit's keys since the table was searched for them."""


@dataclass
class TableWriter:
    """The statements that bring a unit's rows into its flow's table, over one connection inside a transaction."""

    connection: psycopg.Connection
    target: Target
    place: str
    number: int

    def write(self, prepared: Prepared, loaded: bool, straight: bool = True) -> None:
        """Make the table hold the unit's rows; `loaded` is whether it has rows of the unit already. Raises KeyTaken.

        Mode upsert goes `straight` into the table where no row has the first column of a key; then it may raise
        KeysClash. Else it goes by way of the staging table.
        """
        mode = self.target.mode
        if mode == "upsert":
            self._upsert(prepared, straight)
        elif mode == "append" or not loaded:
            try:
                self._copy(self.target.table, prepared)
            except pg.UniqueViolation as error:
                raise self._taken((error.diag.message_detail or str(error)).strip(". \n")) from error
        elif not self.target.key:
            self._execute("DELETE FROM {table} WHERE etl_unit = %(number)s")
            self._copy(self.target.table, prepared)
        else:
            self._replace(prepared)

    def _upsert(self, prepared: Prepared, straight: bool) -> None:
        if straight and self._is_free(prepared):
            try:
                self._copy(self.target.table, prepared)
                return
            except pg.UniqueViolation as error:
                raise KeysClash from error
        self._stage(prepared)
        self._execute(
            "INSERT INTO {table} AS old ({columns}) SELECT {columns} FROM {staging}"
            " ON CONFLICT ({key}) DO UPDATE SET {new} WHERE ({old}) IS DISTINCT FROM ({excluded})"
            if self._values
            else "INSERT INTO {table} ({columns}) SELECT {columns} FROM {staging} ON CONFLICT ({key}) DO NOTHING"
        )

    def _replace(self, prepared: Prepared) -> None:
        """Delete the unit's rows that it no longer has, update those that changed, and leave the others as they are."""
        self._stage(prepared)
        self._execute(
            "DELETE FROM {table} AS old WHERE etl_unit = %(number)s"
            " AND NOT EXISTS (SELECT FROM {staging} AS new WHERE {same_key})"
        )
        self._execute(
            "INSERT INTO {table} AS old ({columns}) SELECT {columns} FROM {staging} ON CONFLICT ({key}) DO UPDATE"
            " SET {new} WHERE old.etl_unit = %(number)s AND ({old}) IS DISTINCT FROM ({excluded})"
        )
        taken = self._execute(
            "SELECT {key} FROM {table} AS old WHERE etl_unit <> %(number)s"
            " AND EXISTS (SELECT FROM {staging} AS new WHERE {same_key}) LIMIT 1"
        ).fetchone()
        if taken:
            raise self._taken(" ".join(map(str, taken)))

    def _is_free(self, prepared: Prepared) -> bool:
        """Whether no row of the table can have one of the unit's keys."""
        kind = self.target.columns[self.target.key[0]]
        if prepared.leading is None or kind.kind == "numeric":
            return not self._execute("SELECT 1 FROM {table} LIMIT 1").fetchone()
        values = [str(value) for value in prepared.leading.to_list()]
        statement = "SELECT 1 FROM {table} WHERE {first} = ANY(%(values)s::text[]::" + kind.sql + "[]) LIMIT 1"
        return not self._execute(statement, values=values).fetchone()

    def _stage(self, prepared: Prepared) -> None:
        self._execute("DROP TABLE IF EXISTS {staging}")
        self._execute("CREATE TEMP TABLE {staging} ON COMMIT DROP AS SELECT {columns} FROM {table} WITH NO DATA")
        self._copy(STAGING, prepared)

    def _copy(self, table: str, prepared: Prepared) -> None:
        if prepared.rows:
            copy_binary(self.connection, table, self._columns, prepared.payload)

    def _taken(self, detail: str) -> KeyTaken:
        return KeyTaken(self.place, self.target.table, self.target.mode, detail)

    def _execute(self, statement: str, **values: object) -> psycopg.Cursor[tuple[object, ...]]:
        query = sql.SQL(statement).format(**self._names)
        return self.connection.execute(query, {"number": self.number, **values})

    @property
    def _columns(self) -> list[str]:
        """Those that a unit's rows are given with."""
        return [*self.target.columns, *(["etl_unit"] if self.target.mode == "replace" else [])]

    @property
    def _values(self) -> list[str]:
        return [name for name in self._columns if name not in self.target.key]

    @cached_property
    def _names(self) -> dict[str, sql.Composable]:
        key, values = self.target.key, self._values
        new: list[sql.Composable] = [sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name)) for name in values]
        if self.target.timestamps:
            new.append(sql.SQL("updated_at = now()"))
        return {
            "table": sql.Identifier(self.target.table),
            "staging": sql.Identifier(STAGING),
            "columns": _listed(self._columns),
            "key": _listed(key),
            "first": sql.Identifier(key[0] if key else ""),
            "new": sql.SQL(", ").join(new),
            "old": _listed(values, "old"),
            "excluded": _listed(values, "excluded"),
            "same_key": sql.SQL(" AND ").join(
                sql.SQL("old.{0} = new.{0}").format(sql.Identifier(name)) for name in key
            ),
        }


def _listed(names: list[str], table: str | None = None) -> sql.Composable:
    return sql.SQL(", ").join(sql.Identifier(table, name) if table else sql.Identifier(name) for name in names)
