"""The table of a flow: created from the declaration, and an error when it differs from it.

How rows get into it is in `table_writer`.
"""

import psycopg
from psycopg import sql

from marketdata_assets.flows.definition import FlowDefinition, Target
from marketdata_assets.flows.errors import SchemaDrift
from marketdata_assets.stores import ledger
from marketdata_assets.stores.postgres import create_missing, ensure_timescaledb, statement

CHUNK = "1 month"
VIEW = "etl_metadata"

Columns = dict[str, str]
"""Types as Postgres spells them, by name."""


def ensure(connection: psycopg.Connection, flow: FlowDefinition) -> None:
    """Create what is missing: ledger, units, view, the flow's table. Raises SchemaDrift.

    A recreated table is empty, so the ledger forgets what was loaded into its predecessor.
    """
    with connection.transaction():
        ensure_books(connection)
        found = columns_of(connection, flow.target.table)
        if not found:
            _create(connection, flow.target)
            connection.execute(
                "UPDATE marketdata_ledger SET outcome = 'removed', content_hash = NULL, rows = 0 WHERE dataset = %s",
                [flow.dataset],
            )
            return
        if differences := _differences(connection, flow.target, found):
            raise SchemaDrift(flow.name, flow.target.table, differences)


def ensure_books(connection: psycopg.Connection) -> None:
    """Create ledger, quarantine, units and view where they are missing, and no table of a flow."""
    with connection.transaction():
        ledger.ensure(connection)
        create_missing(connection, statement(__package__, "schema.sql"))
        if not columns_of(connection, VIEW):  # a table of that name, left by an earlier tool, stays as it is
            connection.execute(statement(__package__, "etl_metadata.sql"))


def drift(connection: psycopg.Connection, flow: FlowDefinition) -> list[str]:
    """What the flow's table has that is not as declared, each with its remedy; empty when there is no table yet."""
    found = columns_of(connection, flow.target.table)
    return _differences(connection, flow.target, found) if found else []


def declared(target: Target) -> Columns:
    """The columns that the table has, ours included."""
    columns = {name: kind.sql for name, kind in target.columns.items()}
    if target.mode == "replace":
        columns["etl_unit"] = "integer"
    if target.timestamps:
        columns |= dict.fromkeys(("created_at", "updated_at"), "timestamp with time zone")
    return columns


def columns_of(connection: psycopg.Connection, table: str) -> Columns:
    """The columns of a table in the present schema, in order; none when there is no table."""
    return dict(
        connection.execute(
            """SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
               WHERE attrelid = to_regclass(quote_ident(%s)) AND attnum > 0 AND NOT attisdropped ORDER BY attnum""",
            [table],
        ).fetchall()
    )


def _key_of(connection: psycopg.Connection, table: str) -> list[str]:
    rows = connection.execute(
        """SELECT attname FROM pg_index, unnest(indkey) WITH ORDINALITY AS part (number, place)
           JOIN pg_attribute ON attnum = number
           WHERE indrelid = to_regclass(quote_ident(%s)) AND attrelid = indrelid AND indisprimary ORDER BY place""",
        [table],
    ).fetchall()
    return [name for (name,) in rows]


def _differences(connection: psycopg.Connection, target: Target, found: Columns) -> list[str]:
    wanted = declared(target)
    table = target.table
    said = [
        f"it has no column {name} (ALTER TABLE {table} ADD COLUMN {name} {kind})"
        for name, kind in wanted.items()
        if name not in found
    ]
    said += [
        f"its column {name} is not declared (ALTER TABLE {table} DROP COLUMN {name})"
        for name in found
        if name not in wanted
    ]
    said += [
        f"{name} is {found[name]}, declared {kind} (ALTER TABLE {table} ALTER COLUMN {name} TYPE {kind})"
        for name, kind in wanted.items()
        if name in found and found[name] != kind
    ]
    key = _key_of(connection, table)
    if set(key) != set(target.key):
        said.append(f"its primary key is ({', '.join(key)}), declared ({', '.join(target.key)})")
    return said


def _create(connection: psycopg.Connection, target: Target) -> None:
    constraints = dict.fromkeys((*target.key, "etl_unit"), " NOT NULL")
    if target.hypertable:
        constraints[target.hypertable] = " NOT NULL"
    constraints |= dict.fromkeys(("created_at", "updated_at"), " NOT NULL DEFAULT now()")
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
    if target.mode == "replace":
        connection.execute(sql.SQL("CREATE INDEX ON {} (etl_unit)").format(table))
