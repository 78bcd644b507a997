"""The rows of one prepared unit into its table, in the transaction of `unit`, which writes the ledger in it too.

What the modes mean is said at `Target`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg import sql

from marketdata_assets.flows import owners
from marketdata_assets.flows.definition import FILE_NAME, Target
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.prepare import KEY_LOCKS, Prepared
from marketdata_assets.flows.storage import owner_columns
from marketdata_assets.stores.postgres import copy_binary, lift_decompression_limit, statement, take_lock

STAGING = "flow_staging"
WORK_MEM_KB = 64 * 1024


class KeysClash(Exception):
    """Another session has written a row of one of the unit's keys since the table was searched for them."""


@dataclass
class TableWriter:
    """Brings a unit's rows into its flow's table, over one connection inside a transaction."""

    connection: psycopg.Connection
    statements: "Statements"
    place: str
    number: int

    @property
    def target(self) -> Target:
        return self.statements.target

    def write(self, prepared: Prepared, loaded: bool, straight: bool = True) -> int:
        """Make the table hold the unit's rows; `loaded` is whether it has rows of the unit already.

        The answer is how many rows the table keeps of the unit that the unit no longer has. Mode upsert goes `straight`
        into the table where no row has the first column of a key, else by way of the staging table. Raises FlowError,
        or KeysClash.
        """
        mode = self.target.mode
        self._lock(prepared, loaded)
        if self.target.hypertable:
            lift_decompression_limit(self.connection)
        if mode == "upsert":
            return self._upsert(prepared, loaded, straight)
        if mode == "append" or not loaded:
            try:
                self._copy(self.target.table, prepared)
            except pg.UniqueViolation as error:
                raise self._taken((error.diag.message_detail or str(error)).strip(". \n")) from error
        elif not self.target.key:
            self._execute("DELETE FROM {table} WHERE etl_unit = %(number)s")
            self._copy(self.target.table, prepared)
        else:
            self._replace(prepared)
        return 0

    def _lock(self, prepared: Prepared, loaded: bool) -> None:
        """Wait until no other file with one of the unit's keys is being written.

        All workers lock in ascending order, so that none waits in a circle. What deletes rows, or lowers them in the
        order, has to see every other file's rows, and locks all keys.
        """
        affects_others = self.target.removed_rows == "delete" or self.target.order_by != FILE_NAME
        locks = range(KEY_LOCKS) if loaded and affects_others else prepared.locks
        lock_keys(self.connection, self.target.table, locks)

    def _upsert(self, prepared: Prepared, loaded: bool, straight: bool) -> int:
        """Merge the rows; files of which a row was superseded by one that is gone now, or lower, become stale."""
        delete = loaded and self.target.removed_rows == "delete"
        if loaded:
            owners.compare_again(self.connection, self.number)
        try:
            if straight and not delete and self._is_free(prepared):
                self._copy(self.target.table, prepared)
                owners.move(self.connection, owners.NOBODY, self.number, prepared.rows)
                mine, lowered = prepared.rows, False
            else:
                self._stage(prepared)
                removed = self._delete_removed() if delete else 0
                mine, lowered = self._merge()
                lowered = lowered or removed > 0
        except pg.UniqueViolation as error:
            raise KeysClash from error
        if lowered:
            owners.reload_overwritten(self.connection, self.number)
        kept = owners.owned(self.connection, self.number) - mine if loaded else 0
        owners.keep(self.connection, self.number, kept)
        return kept

    def _merge(self) -> tuple[int, bool]:
        """How many of the staged rows belong to the unit now, and whether a row of its own is lower in the order."""
        # Else a million rows are hashed on disk. Rows of a plain table are found again by their place.
        found = self.connection.execute(
            "SELECT relkind = 'r' AND NOT relhassubclass, set_config('work_mem', %s, true) FROM pg_class"
            " WHERE oid = to_regclass(quote_ident(%s))",
            [str(WORK_MEM_KB), self.target.table],
        ).fetchone()
        plain = found is not None and found[0]
        self._execute(
            "CREATE TEMP TABLE {met} ON COMMIT DROP AS SELECT new.*, old.etl_unit AS _owner, {ahead} AS _ahead,"
            f" {{differs}} AS _differs{', old.ctid AS _row' if plain else ''}"
            " FROM {staging} AS new LEFT JOIN {table} AS old ON {same_key}"
        )
        judged: Any = self._execute(statement(__package__, "merge.sql")).fetchone()
        mine, lowered, overwritten, older = judged
        if overwritten:
            if plain:
                self.connection.execute("SET LOCAL random_page_cost = 0")  # else the planner reads the whole table
            written = self._execute(
                "UPDATE {table} AS old SET {new} FROM {met} AS new WHERE "
                + ("old.ctid = _row AND " if plain else "")
                + "{same_key} AND (_owner = %(number)s AND (_ahead <> 0 OR _differs) OR _owner <> %(number)s"
                " AND (_ahead > 0 OR _ahead = 0 AND _owner = ANY(%(older)s)))",
                older=older,
            ).rowcount
            if written != overwritten:
                raise KeysClash("another session has changed rows of these keys meanwhile; run the flow again")
        self._execute("INSERT INTO {table} ({columns}) SELECT {columns} FROM {met} WHERE _owner IS NULL")
        return mine, lowered

    def _delete_removed(self) -> int:
        """Delete the rows that belong to the unit and that it no longer has; their number."""
        removed = self._execute(
            "DELETE FROM {table} AS old WHERE etl_unit = %(number)s"
            " AND NOT EXISTS (SELECT FROM {staging} AS new WHERE {same_key})"
        ).rowcount
        owners.move(self.connection, self.number, owners.NOBODY, removed)
        return removed

    def _replace(self, prepared: Prepared) -> None:
        """Delete the unit's rows that it no longer has, update those that changed, and leave the others as they are."""
        self._stage(prepared)
        self._delete_removed()
        self._execute(
            "INSERT INTO {table} AS old ({columns}) SELECT {columns} FROM {staging} ON CONFLICT ({key}) DO UPDATE"
            " SET {excluded_new} WHERE old.etl_unit = %(number)s AND ({old}) IS DISTINCT FROM ({excluded})"
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
        # Ordered by the whole key, so that the index is used: of a new table the planner knows nothing, and scans it.
        query = (
            "SELECT 1 FROM unnest(%(values)s::text[]::" + kind.sql + "[]) AS given (value), LATERAL"
            " (SELECT FROM {table} WHERE {first} = given.value ORDER BY {key} LIMIT 1) AS found LIMIT 1"
        )
        return not self._execute(query, values=values).fetchone()

    def _stage(self, prepared: Prepared) -> None:
        self._execute("CREATE TEMP TABLE {staging} ON COMMIT DROP AS SELECT {columns} FROM {table} WITH NO DATA")
        self._copy(STAGING, prepared)

    def _copy(self, table: str, prepared: Prepared) -> None:
        if prepared.rows:
            copy_binary(self.connection, table, self.statements.columns, prepared.payload)

    def _taken(self, detail: str) -> FlowError:
        return FlowError(
            f"{self.place}: {self.target.table} has a row of the same key from another file ({detail}), and mode"
            f" {self.target.mode} overwrites none. Take it out of one file, or declare mode: upsert."
        )

    def _execute(self, statement: str, **values: object) -> psycopg.Cursor[tuple[object, ...]]:
        return self.connection.execute(self.statements.query(statement), {"number": self.number, **values})


class Statements:
    """The statements of one target, each completed once: for a small file that takes longer than its rows."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.columns = [*target.columns, *owner_columns(target)]
        """Those that a unit's rows are given with."""
        self._queries: dict[str, bytes] = {}

    def query(self, statement: str) -> bytes:
        """The statement with what its braces name, such as {table}."""
        if statement not in self._queries:
            self._queries[statement] = sql.SQL(statement).format(**self._names).as_bytes(None)
        return self._queries[statement]

    @cached_property
    def _names(self) -> dict[str, sql.Composable]:
        """What the statements are completed with."""
        target, key = self.target, self.target.key
        values = [name for name in target.columns if name not in key]
        written = [name for name in self.columns if name not in key]
        stamp = [sql.SQL("updated_at = now()")] if target.timestamps else []
        stamp_changes = "updated_at = CASE WHEN new._differs THEN now() ELSE old.updated_at END"
        old, new = _listed(values, "old"), _listed(values, "new")
        return {
            "table": sql.Identifier(self.target.table),
            "staging": sql.Identifier(STAGING),
            "met": sql.Identifier("flow_met"),
            "columns": _listed(self.columns),
            "key": _listed(key),
            "first": sql.Identifier(key[0] if key else ""),
            "old": _listed(written, "old"),
            "excluded": _listed(written, "excluded"),
            "excluded_new": sql.SQL(", ").join([*_assigned(written, "excluded"), *stamp]),
            "new": sql.SQL(", ").join(
                [*_assigned(written, "new"), *([sql.SQL(stamp_changes)] if target.timestamps else [])]
            ),
            "differs": sql.SQL("({}) IS DISTINCT FROM ({})").format(old, new) if values else sql.SQL("false"),
            "ahead": _compared(target),
            "same_key": sql.SQL(" AND ").join(
                sql.SQL("old.{0} = new.{0}").format(sql.Identifier(name)) for name in key
            ),
        }


def _listed(names: list[str], table: str | None = None) -> sql.Composable:
    return sql.SQL(", ").join(sql.Identifier(table, name) if table else sql.Identifier(name) for name in names)


def lock_keys(connection: psycopg.Connection, table: str, locks: Iterable[int]) -> None:
    """Take some of the table's KEY_LOCKS until the transaction ends; `locks` ascend."""
    query = "SELECT pg_advisory_xact_lock(hashtext(%s), number) FROM unnest(%s::integer[]) AS number"
    take_lock(connection, f"keys of {table}", query, [f"keys of {table}", list(locks)])


def lock_table(connection: psycopg.Connection, table: str, *, alone: bool = False) -> None:
    """Keep the table from being replaced until the transaction ends; `alone`, to replace it."""
    lock = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
    take_lock(connection, table, f"SELECT {lock}(hashtextextended(%s, 5))", [table])


def _assigned(names: list[str], table: str) -> list[sql.Composable]:
    return [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier(table, name)) for name in names]


def _compared(target: Target) -> sql.Composable:
    """1 where a new row is above the old one in the declared order, -1 where below; 0 where only the names decide."""
    name = "etl_time" if target.by_time else target.order_column
    if name is None:
        return sql.SQL("0")
    text = name in target.columns and target.columns[name].kind == "text"
    compare = "CASE WHEN {0} {2} > {1} {2} THEN 1 WHEN {0} {2} < {1} {2} THEN -1 ELSE 0 END"
    collation = sql.SQL('COLLATE "C"' if text else "")
    return sql.SQL(compare).format(sql.Identifier("new", name), sql.Identifier("old", name), collation)
