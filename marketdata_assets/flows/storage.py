"""The table of a flow: created from the declaration, altered where that loses nothing, and an error where it would.

How rows get into it is in `table_writer`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Literal

import psycopg
from psycopg import sql

from marketdata_assets.flows import owners
from marketdata_assets.flows.alterations import OWNER_DEFAULTS, Alteration, Columns, Found, required_columns
from marketdata_assets.flows.alterations import alterations as differences
from marketdata_assets.flows.definition import FlowDefinition, Target
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.stores import ledger, schema_version
from marketdata_assets.stores.postgres import (
    column,
    create_missing,
    ensure_timescaledb,
    has_timescaledb,
    statement,
    value,
)

CHUNK = "1 month"
VIEW = "etl_metadata"


def ensure(connection: psycopg.Connection, flow: FlowDefinition) -> list[str]:
    """Create what is missing: ledger, units, view, the flow's table; alter a table that loses nothing by it.

    The answer is what was altered. Raises FlowError where it takes more. Of a table that is new or has been emptied,
    the ledgers of all its flows forget what was loaded. A table of mode upsert without the columns of the owner gets
    them, and its rows are overwritten by any file.
    """
    with connection.transaction():
        schema_version.lock(connection)
        ensure_books(connection)
        found = columns_of(connection, flow.target.table)
        if not found:
            _create(connection, flow.target)
            owners.table_lost_its_rows(connection, flow)
            return []
        changes = alterations(connection, flow.target)
        if differences := [str(change) for change in changes if change.done == "by a rebuild"]:
            raise FlowError(
                f"flow {flow.name}: table {flow.target.table} in the database differs from target:"
                f" {'; '.join(differences)}. Nothing is changed; rebuild it with"
                f' "marketdata flows rebuild {flow.name}", or change the flow back.'
            )
        if missing := [name for name in owner_columns(flow.target) if name not in found]:
            _add_owner(connection, flow.target, missing)
        changes = [change for change in changes if change.done == "in place"]
        _alter(connection, flow, changes)
        if lost_its_rows(connection, flow):
            owners.table_lost_its_rows(connection, flow)
        return [str(change) for change in changes]


def lost_its_rows(connection: psycopg.Connection, flow: FlowDefinition) -> bool:
    """Whether the flow's table is missing or empty although files are loaded into it, by the ledger."""
    loaded = "SELECT FROM marketdata_ledger WHERE dataset = %s AND rows > 0 LIMIT 1"
    if connection.execute(loaded, [flow.dataset]).fetchone() is None:
        return False
    table = sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(flow.target.table))
    exists = columns_of(connection, flow.target.table)
    return not exists or connection.execute(table).fetchone() is None


def ensure_books(connection: psycopg.Connection) -> None:
    """Create ledger, quarantine, units and view where they are missing, and no table of a flow."""
    with connection.transaction():
        ledger.ensure(connection)
        create_missing(connection, statement(__package__, "schema.sql"))
        if not columns_of(connection, VIEW):  # a table of that name, left by an earlier tool, stays as it is
            connection.execute(statement(__package__, "etl_metadata.sql"))


def drift(connection: psycopg.Connection, flow: FlowDefinition) -> list[str]:
    """What the flow's table has that is not as declared, each with its remedy; empty when there is no table yet."""
    return [str(change) for change in alterations(connection, flow.target) if change.done != "by a rebuild, or never"]


def alterations(connection: psycopg.Connection, target: Target) -> list[Alteration]:
    """What separates the table from its declaration; nothing when there is no table yet."""
    found = _found(connection, target)
    return differences(target, declared(target), found) if found.columns else []


def declared(target: Target) -> Columns:
    """The columns that the table has, ours included."""
    columns = {name: kind.sql for name, kind in target.columns.items()}
    if target.kind != "postgres":
        return columns
    columns |= owner_columns(target)
    if target.timestamps:
        columns |= dict.fromkeys(("created_at", "updated_at"), "timestamp with time zone")
    return columns


def owner_columns(target: Target) -> Columns:
    """The columns that say which file a row belongs to."""
    if target.mode == "append":
        return {}
    return {"etl_unit": "integer"} | ({"etl_time": "timestamp with time zone"} if target.by_time else {})


def columns_of(connection: psycopg.Connection, table: str) -> Columns:
    """The columns of a table in the present schema, in order; none when there is no table."""
    return dict(
        connection.execute(
            """SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
               WHERE attrelid = to_regclass(quote_ident(%s)) AND attnum > 0 AND NOT attisdropped ORDER BY attnum""",
            [table],
        ).fetchall()
    )


def key_of(connection: psycopg.Connection, table: str) -> list[str]:
    """The primary key of a table; empty where it has none."""
    query = """SELECT attname FROM pg_index, unnest(indkey) WITH ORDINALITY AS part (number, place)
               JOIN pg_attribute ON attnum = number
               WHERE indrelid = to_regclass(quote_ident(%s)) AND attrelid = indrelid AND indisprimary ORDER BY place"""
    return column(connection, query, [table])


def _found(connection: psycopg.Connection, target: Target) -> Found:
    """The table as it is."""
    columns = columns_of(connection, target.table)
    rows = connection.execute(statement(__package__, "table_facts.sql"), {"table": target.table}).fetchall()
    facts = {fact: frozenset(names) for fact, names in rows}
    required = facts.get("required", frozenset())
    to_require = (required_columns(target) & columns.keys()) - required
    return Found(
        columns=columns,
        key=key_of(connection, target.table),
        required=required,
        partly_null=frozenset(name for name in to_require if _has_null(connection, target.table, name)),
        indexed=facts.get("indexed", frozenset()),
        hypertable=_time_column(connection, target.table),
    )


def _has_null(connection: psycopg.Connection, table: str, column: str) -> bool:
    query = sql.SQL("SELECT FROM {} WHERE {} IS NULL LIMIT 1").format(sql.Identifier(table), sql.Identifier(column))
    return connection.execute(query).fetchone() is not None


def _time_column(connection: psycopg.Connection, table: str) -> str | Literal[False] | None:
    """The time column of a hypertable, False of a plain table; None where there is no TimescaleDB."""
    if not has_timescaledb(connection):
        return None
    query = """SELECT column_name FROM timescaledb_information.dimensions
               WHERE (hypertable_schema, hypertable_name) = (current_schema(), %s) AND dimension_number = 1"""
    return value(connection, query, [table]) or False


@contextmanager
def without_views(connection: psycopg.Connection, flow: FlowDefinition) -> Iterator[None]:
    """Within, there are no plain views on the flow's table; they are made again after. Raises FlowError."""
    table = flow.target.table
    views = connection.execute(statement(__package__, "views_on.sql"), {"table": table}).fetchall()
    for view, _ in reversed(views):
        with _altering(flow, f"view {view}"):
            connection.execute(f"DROP VIEW {view}".encode())
    yield
    for view, again in views:
        with _altering(flow, f"view {view}"):
            for one in again:
                connection.execute(one.encode())


@contextmanager
def _altering(flow: FlowDefinition, change: str) -> Iterator[None]:
    try:
        yield
    except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
        cause = error.diag.message_primary or str(error)
        raise FlowError(
            f"flow {flow.name}: table {flow.target.table}: {change}: {cause}. The table is unchanged; drop what depends"
            " on it, run the flow again, and make it again."
        ) from error


def _alter(connection: psycopg.Connection, flow: FlowDefinition, changes: Sequence[Alteration]) -> None:
    """Alter the table; plain views on it make way for a column whose type changes."""
    with without_views(connection, flow) if any(change.rewrites for change in changes) else nullcontext():
        for change in changes:
            if change.statement:
                with _altering(flow, change.text):
                    connection.execute(change.statement)


def _create(connection: psycopg.Connection, target: Target) -> None:
    constraints = dict.fromkeys(required_columns(target), " NOT NULL")
    constraints |= OWNER_DEFAULTS | dict.fromkeys(("created_at", "updated_at"), " NOT NULL DEFAULT now()")
    parts: list[sql.Composable] = [
        sql.SQL("{} {}{}").format(sql.Identifier(name), sql.SQL(kind), sql.SQL(constraints.get(name, "")))
        for name, kind in declared(target).items()
    ]
    if target.key:
        parts.append(sql.SQL("PRIMARY KEY ({})").format(sql.SQL(", ").join(map(sql.Identifier, target.key))))
    table = sql.Identifier(target.table)
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(", ").join(parts)))
    if target.hypertable and ensure_timescaledb(connection):  # without it, a plain table of the same rows
        connection.execute(
            "SELECT create_hypertable(quote_ident(%s)::regclass, by_range(%s, %s::interval),"
            " create_default_indexes => false)",
            [target.table, target.hypertable, CHUNK],
        )
    if target.mode == "replace" or target.removed_rows == "delete":
        connection.execute(sql.SQL("CREATE INDEX ON {} (etl_unit)").format(table))


def _add_owner(connection: psycopg.Connection, target: Target, names: list[str]) -> None:
    """Give a table of mode upsert the columns of the owner; any file overwrites the rows that it has."""
    table = sql.Identifier(target.table)
    for name in names:
        column, default = sql.Identifier(name), OWNER_DEFAULTS[name]
        first = f" NOT NULL DEFAULT {owners.UNKNOWN}" if name == "etl_unit" else default
        add = "ALTER TABLE {} ADD COLUMN {} " + owner_columns(target)[name] + first
        connection.execute(sql.SQL(add).format(table, column))
        set_default = "ALTER TABLE {} ALTER COLUMN {} SET" + default.removeprefix(" NOT NULL")
        connection.execute(sql.SQL(set_default).format(table, column))
