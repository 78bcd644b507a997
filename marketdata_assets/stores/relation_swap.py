"""A table or view that was built beside another takes its name in one transaction, with views, grants, owner, indexes.

Nothing is computed here; the caller makes and fills the relation.
"""

from collections.abc import Sequence
from typing import Literal

import psycopg
from psycopg import sql

from marketdata_assets.backoff import delays
from marketdata_assets.stores.postgres import column, has_timescaledb, statement, value

CATALOG_RACE = "tuple concurrently"  # deleted, or updated
LOCK_TIMEOUT = "2s"  # readers that arrive meanwhile wait behind the swap, which waits for those before it
WAITS = delays(0.2, 30.0, retries=40)  # between attempts: a query of many minutes over the old rows is waited for

LONGEST = 50
"""Characters of a relation's name that the names beside it begin with: Postgres keeps 63."""

Kind = Literal["TABLE", "VIEW", "MATERIALIZED VIEW"]


class RelationInUse(Exception):
    """Something in the database depends on the relation and cannot be kept."""

    def __init__(self, dependants: Sequence[str]) -> None:
        super().__init__(", ".join(dependants))
        self.dependants = list(dependants)


def swap(connection: psycopg.Connection, relation: str, beside: str) -> None:
    """Give the relation `beside` the name, and drop the one that had it; call it in a transaction.

    Plain views on the old relation, grants, the owner, indexes and refresh policies are kept. Raises RelationInUse for
    anything else that depends on it, and LockNotAvailable while old rows are being read.
    """
    connection.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
    kind, _ = kind_and_comment(connection, relation)
    if kind is None:
        _rename(connection, beside, relation)
        return
    others = _column(connection, relation, "swap_dependants.sql")
    if kind == "MATERIALIZED VIEW" and _table_of_aggregate(connection, relation):
        others += _column(connection, relation, "swap_aggregates.sql")
    if kind == "TABLE" and has_timescaledb(connection):
        others += _column(connection, relation, "swap_hypertable.sql")
    if others:
        raise RelationInUse(others)
    views, again = _column(connection, relation, "swap_views.sql"), _to_repeat(connection, relation, beside)
    query = "SELECT rolname FROM pg_class JOIN pg_roles r ON r.oid = relowner WHERE pg_class.oid = %s::regclass"
    owners = column(connection, query, [relation])
    replaced = f"{relation[:LONGEST]}_replaced"
    _rename(connection, relation, replaced)
    _rename(connection, beside, relation)
    now, _ = kind_and_comment(connection, relation)
    for owner in owners:
        parts = [sql.SQL(str(now)), sql.Identifier(relation), sql.Identifier(owner)]
        connection.execute(sql.SQL("ALTER {} {} OWNER TO {}").format(*parts))
    _repeat(connection, views)  # fails where a view needs a column that the new relation does not have
    try:
        drop(connection, replaced)
    except psycopg.errors.DependentObjectsStillExist as error:
        raise RelationInUse((error.diag.message_detail or str(error)).splitlines()) from error
    _repeat(connection, again)  # as a unique index, which a continuous aggregate cannot have


def _to_repeat(connection: psycopg.Connection, relation: str, beside: str) -> list[str]:
    """The statements that give whatever has the relation's name then the grants, indexes and policies of now."""
    aggregates = _table_of_aggregate(connection, relation) and _table_of_aggregate(connection, beside)
    indexes = {(kind, over) for _, kind, over in _indexes(connection, beside)}
    return [
        *_column(connection, relation, "swap_grants.sql"),
        *(
            f'{kind} {name} ON "{relation}"{over}'
            for name, kind, over in _indexes(connection, relation)
            if (kind, over) not in indexes
        ),
        *(_column(connection, relation, "swap_policies.sql") if aggregates else ()),
    ]


def _repeat(connection: psycopg.Connection, statements: Sequence[str]) -> None:
    """Run the statements. Raises RelationInUse with the first that the new relation does not accept."""
    for one in statements:
        try:
            connection.execute(one.encode())
        except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
            raise RelationInUse([f"{one.split(' AS', 1)[0]}: {error.diag.message_primary}"]) from error


def drop(connection: psycopg.Connection, relation: str) -> None:
    """Drop a relation that exists, of whatever kind, unless something depends on it.

    Raises LockNotAvailable where TimescaleDB does not drop an aggregate because of a query of that moment.
    """
    kind, _ = kind_and_comment(connection, relation)
    if kind is None:
        return
    try:
        connection.execute(sql.SQL("DROP {} {}").format(sql.SQL(kind), sql.Identifier(relation)))
    except psycopg.errors.InternalError_ as error:
        if CATALOG_RACE not in str(error):
            raise
        raise psycopg.errors.LockNotAvailable(str(error)) from error


def kind_and_comment(connection: psycopg.Connection, relation: str) -> tuple[Kind | None, str | None]:
    """Kind, as DROP names it, and comment of a relation; None twice when there is none of that name."""
    row = connection.execute(
        """SELECT relkind::text, obj_description(oid, 'pg_class') FROM pg_class
           WHERE relname = %s AND relnamespace = current_schema()::regnamespace""",
        [relation],
    ).fetchone()
    if row is None:
        return None, None
    relkind, comment = row
    if relkind == "m" or (relkind == "v" and _table_of_aggregate(connection, relation)):
        return "MATERIALIZED VIEW", comment
    return ("VIEW" if relkind == "v" else "TABLE"), comment


def _indexes(connection: psycopg.Connection, relation: str) -> list[tuple[str, str, str]]:
    """Name, kind and columns of the indexes, which a continuous aggregate has on its own table."""
    table = _table_of_aggregate(connection, relation) or f'"{relation}"'
    return connection.execute(statement(__package__, "swap_indexes.sql"), {"table": table}).fetchall()


def _table_of_aggregate(connection: psycopg.Connection, relation: str) -> str | None:
    """The table of a continuous aggregate, which PostgreSQL takes for a plain view; None of other relations."""
    if not has_timescaledb(connection):
        return None
    query = """SELECT format('%%I.%%I', materialization_hypertable_schema, materialization_hypertable_name)
               FROM timescaledb_information.continuous_aggregates
               WHERE view_schema = current_schema() AND view_name = %s"""
    found: str | None = value(connection, query, [relation])
    return found


def _rename(connection: psycopg.Connection, before: str, after: str) -> None:
    """Rename a relation and its indexes, whose names begin with its own."""
    kind, _ = kind_and_comment(connection, before)
    names = [sql.Identifier(before), sql.Identifier(after)]
    connection.execute(sql.SQL("ALTER {} {} RENAME TO {}").format(sql.SQL(str(kind)), *names))
    query = """SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
               WHERE i.indrelid = to_regclass(quote_ident(%s)) AND starts_with(c.relname, %s)"""
    for index in column(connection, query, [after, before]):
        names = [sql.Identifier(index), sql.Identifier(index.replace(before, after, 1))]
        connection.execute(sql.SQL("ALTER INDEX {} RENAME TO {}").format(*names))


def _column(connection: psycopg.Connection, relation: str, query: str) -> list[str]:
    return column(connection, statement(__package__, query), {"relation": relation})
