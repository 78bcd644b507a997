"""The table of a flow: created from the declaration, and an error when it differs from it.

How rows get into it is in `table_writer`.
"""

import psycopg
from psycopg import sql

from marketdata_assets.flows import owners
from marketdata_assets.flows.definition import FlowDefinition, Target
from marketdata_assets.flows.errors import SchemaDrift
from marketdata_assets.stores import ledger
from marketdata_assets.stores.postgres import create_missing, ensure_timescaledb, statement

CHUNK = "1 month"
VIEW = "etl_metadata"
OWNER_DEFAULTS = {"etl_unit": " NOT NULL DEFAULT 0", "etl_time": " NOT NULL DEFAULT '-infinity'"}

Columns = dict[str, str]
"""Types as Postgres spells them, by name."""


def ensure(connection: psycopg.Connection, flow: FlowDefinition) -> None:
    """Create what is missing: ledger, units, view, the flow's table. Raises SchemaDrift.

    Of a table that is new or has been emptied, the ledgers of all its flows forget what was loaded. A table of mode
    upsert that an earlier version created gets the columns of the owner, and rows that any file overwrites.
    """
    with connection.transaction():
        ensure_books(connection)
        found = columns_of(connection, flow.target.table)
        if not found:
            _create(connection, flow.target)
            owners.table_lost_its_rows(connection, flow)
            return
        if differences := _differences(connection, flow.target, found):
            raise SchemaDrift(flow.name, flow.target.table, differences)
        if missing := [name for name in owner_columns(flow.target) if name not in found]:
            _add_owner(connection, flow.target, missing)
        if lost_its_rows(connection, flow):
            owners.table_lost_its_rows(connection, flow)


def lost_its_rows(connection: psycopg.Connection, flow: FlowDefinition) -> bool:
    """Whether the flow's table is missing or empty although files are loaded into it, by the ledger."""
    if not owners.has_loaded(connection, flow):
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
    found = columns_of(connection, flow.target.table)
    return _differences(connection, flow.target, found) if found else []


def declared(target: Target) -> Columns:
    """The columns that the table has, ours included."""
    columns = {name: kind.sql for name, kind in target.columns.items()}
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
        if name not in found and not (name in OWNER_DEFAULTS and target.mode == "upsert")
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
    constraints = dict.fromkeys((*target.key, target.order_column or "", target.hypertable or ""), " NOT NULL")
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
