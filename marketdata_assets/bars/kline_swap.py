"""A rebuilt K-line takes the name of the old one in one transaction, with its views, grants, owner, indexes and policy.

Nothing is computed here; `kline` makes and fills the relation.
"""

from collections.abc import Sequence
from typing import Any, Literal

import psycopg
from psycopg import sql

from marketdata_assets.errors import TerminalError
from marketdata_assets.stores.postgres import statement

RELATION = "stock_monthly_kline"
BESIDE = f"{RELATION}_rebuilt"
REPLACED = f"{RELATION}_replaced"
LOCK_TIMEOUT = "2s"  # readers that arrive meanwhile wait behind the swap, which waits for those before it

Kind = Literal["TABLE", "VIEW", "MATERIALIZED VIEW"]


class KlineInUse(TerminalError):
    """Something in the database depends on the K-line and cannot be kept in a rebuild."""

    def __init__(self, relation: str, dependants: Sequence[str]) -> None:
        super().__init__(
            f"{relation} cannot be rebuilt, because other objects depend on it: {', '.join(dependants)}. Drop them, run"
            f' "marketdata kline rebuild" again, and recreate them. The old rows are unchanged.'
        )


def swap(connection: psycopg.Connection) -> None:
    """Give the relation BESIDE the name RELATION, and drop the one that had it; call it in a transaction.

    Plain views on the old relation, grants, the owner, indexes and refresh policies are kept. Raises KlineInUse for
    anything else that depends on it, and LockNotAvailable while old rows are being read.
    """
    connection.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
    kind, _ = kind_and_comment(connection, RELATION)
    if kind is None:
        _rename(connection, BESIDE, RELATION)
        return
    others = _column(connection, "kline_dependants.sql")
    if kind == "MATERIALIZED VIEW" and _is_aggregate(connection, RELATION):
        others += _column(connection, "kline_aggregates.sql")
    if others:
        raise KlineInUse(RELATION, others)
    views, again = _column(connection, "kline_views.sql"), _to_repeat(connection)
    owners = connection.execute(
        "SELECT rolname FROM pg_class JOIN pg_roles r ON r.oid = relowner WHERE pg_class.oid = %s::regclass", [RELATION]
    ).fetchall()
    _rename(connection, RELATION, REPLACED)
    _rename(connection, BESIDE, RELATION)
    now, _ = kind_and_comment(connection, RELATION)
    for (owner,) in owners:
        names = [sql.SQL(str(now)), sql.Identifier(RELATION), sql.Identifier(owner)]
        connection.execute(sql.SQL("ALTER {} {} OWNER TO {}").format(*names))
    _repeat(connection, views)  # fails where a view needs a column that the K-line does not have
    try:
        drop(connection, REPLACED)
    except psycopg.errors.DependentObjectsStillExist as error:
        raise KlineInUse(RELATION, (error.diag.message_detail or str(error)).splitlines()) from error
    _repeat(connection, again)  # as a unique index, which a continuous aggregate cannot have


def _to_repeat(connection: psycopg.Connection) -> list[str]:
    """The statements that give whatever has the name RELATION then the grants, indexes and refresh policies of now."""
    aggregates = _is_aggregate(connection, RELATION) and _is_aggregate(connection, BESIDE)
    return [
        *_column(connection, "kline_grants.sql"),
        *_indexes_to_make(connection),
        *(_column(connection, "kline_policies.sql") if aggregates else ()),
    ]


def _repeat(connection: psycopg.Connection, statements: Sequence[str]) -> None:
    """Run the statements. Raises KlineInUse with the first that the new relation does not accept."""
    for one in statements:
        try:
            connection.execute(one.encode())
        except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
            raise KlineInUse(RELATION, [f"{one.split(' AS', 1)[0]}: {error.diag.message_primary}"]) from error


def drop(connection: psycopg.Connection, relation: str) -> None:
    """Drop a relation that exists, of whatever kind, unless something depends on it."""
    kind, _ = kind_and_comment(connection, relation)
    if kind is not None:
        connection.execute(sql.SQL("DROP {} {}").format(sql.SQL(kind), sql.Identifier(relation)))


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
    if relkind == "m" or (relkind == "v" and _is_aggregate(connection, relation)):
        return "MATERIALIZED VIEW", comment
    return ("VIEW" if relkind == "v" else "TABLE"), comment


def _indexes_to_make(connection: psycopg.Connection) -> list[str]:
    """The statements that make those indexes of RELATION that BESIDE does not have."""
    new = {(kind, over) for _, kind, over in _indexes(connection, BESIDE)}
    return [
        f"{kind} {name} ON {RELATION}{over}"
        for name, kind, over in _indexes(connection, RELATION)
        if (kind, over) not in new
    ]


def _indexes(connection: psycopg.Connection, relation: str) -> list[tuple[str, str, str]]:
    """Name, kind and columns of the indexes, which a continuous aggregate has on its own table."""
    table = f'"{relation}"'
    if _is_aggregate(connection, relation):
        [(table,)] = connection.execute(
            """SELECT format('%%I.%%I', materialization_hypertable_schema, materialization_hypertable_name)
               FROM timescaledb_information.continuous_aggregates
               WHERE view_schema = current_schema() AND view_name = %s""",
            [relation],
        )
    return connection.execute(statement(__package__, "kline_indexes.sql"), {"table": table}).fetchall()


def _is_aggregate(connection: psycopg.Connection, relation: str) -> bool:
    """Whether a view is a continuous aggregate; PostgreSQL itself takes it for a plain one."""
    if connection.execute("SELECT FROM pg_extension WHERE extname = 'timescaledb'").fetchone() is None:
        return False
    found = connection.execute(
        """SELECT FROM timescaledb_information.continuous_aggregates
           WHERE view_schema = current_schema() AND view_name = %s""",
        [relation],
    ).fetchone()
    return found is not None


def _rename(connection: psycopg.Connection, before: str, after: str) -> None:
    """Rename a relation and its indexes, whose names begin with its own."""
    kind, _ = kind_and_comment(connection, before)
    names = [sql.Identifier(before), sql.Identifier(after)]
    connection.execute(sql.SQL("ALTER {} {} RENAME TO {}").format(sql.SQL(str(kind)), *names))
    indexes = connection.execute(
        """SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
           WHERE i.indrelid = to_regclass(quote_ident(%s)) AND starts_with(c.relname, %s)""",
        [after, before],
    )
    for (index,) in indexes:
        names = [sql.Identifier(index), sql.Identifier(index.replace(before, after, 1))]
        connection.execute(sql.SQL("ALTER INDEX {} RENAME TO {}").format(*names))


def _column(connection: psycopg.Connection, query: str) -> list[str]:
    rows: list[Any] = connection.execute(statement(__package__, query), {"relation": RELATION}).fetchall()
    return [text for (text,) in rows]
