"""The monthly K-line `stock_monthly_kline`: one definition, two engines with the same columns and rows.

`continuous aggregate` where TimescaleDB has its community licence, `rollup` (a plain table) elsewhere. Only the
requested months are refreshed.
"""

import datetime as dt
import hashlib
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import psycopg
from psycopg import errors as pg
from psycopg import sql

from marketdata_assets.backoff import delays, retry
from marketdata_assets.bars import schema
from marketdata_assets.bars.coverage import first_day
from marketdata_assets.errors import TerminalError
from marketdata_assets.months import month_ranges, months_from
from marketdata_assets.stores.ledger import SCHEMA_LOCK
from marketdata_assets.stores.postgres import connect, statement

RELATION = "stock_monthly_kline"
COLUMNS = ("month", "code", "name", "open", "high", "low", "close", "volume", "amount")
REFRESH_WAITS = delays(0.2, 15.0, retries=7)
MARK = "marketdata definition "

Engine = Literal["continuous aggregate", "rollup"]
Kind = Literal["TABLE", "VIEW", "MATERIALIZED VIEW"]


class DefinitionDrift(TerminalError):
    """The K-line in the database was made from another definition than this version's."""

    def __init__(self, relation: str, found: str, wanted: str) -> None:
        super().__init__(
            f"{relation} in the database was made from definition {found}, this version uses {wanted}. Its rows may"
            f' mean something else. Rebuild it: "marketdata kline rebuild", or run stock_monthly_kline with config'
            f" rebuild: true."
        )


@dataclass(frozen=True)
class KlineReport:
    """What one refresh did; `rows` are K-lines of the requested months."""

    engine: Engine
    months: tuple[str, ...]
    rows: int
    codes: int
    rebuilt: bool
    seconds: float


def refresh(dsn: str, months: Collection[str], *, force: bool = False, rebuild: bool = False) -> KlineReport:
    """Make the K-line of `months` (`YYYY-MM`) equal what the minutes say.

    `force` recomputes months of a continuous aggregate that it believes unchanged. `rebuild` drops the relation of
    the name and recreates it, for every month that has minute bars. Raises DefinitionDrift when it was made
    from another definition and `rebuild` is not set.
    """
    started = time.monotonic()
    with connect(dsn, autocommit=True) as connection:
        server = schema.ensure(connection)
        engine: Engine = "continuous aggregate" if server.aggregates else "rollup"
        made = _ensure(connection, engine, rebuild)
        wanted = {*months, *(_months_with_bars(connection) if made else ())}
        if engine == "rollup":
            _roll_up(connection, wanted)
        else:
            call = "CALL refresh_continuous_aggregate(%s::regclass, %s::timestamp, %s::timestamp, force => %s)"
            for span in map(months_range, month_ranges(wanted)):
                # Retried while another refresh of the same months is in progress.
                refresh_span = partial(connection.execute, call, [RELATION, *span, force])
                retry(refresh_span, pg.LockNotAvailable, REFRESH_WAITS)
        if made and engine == "continuous aggregate":
            connection.execute(statement(__package__, "kline_policy.sql"))
        days = [_midnight(first_day(month)) for month in months]
        counted: Any = connection.execute(
            f"SELECT count(*), count(DISTINCT code) FROM {RELATION} WHERE month = ANY(%s::timestamp[])", [days]
        ).fetchone()
        rows, codes = counted
    return KlineReport(engine, tuple(sorted(months)), rows, codes, made and rebuild, time.monotonic() - started)


def definition(engine: Engine) -> str:
    """The statement that makes the K-line under `engine`."""
    return _with_filter("kline_aggregate.sql" if engine == "continuous aggregate" else "kline_table.sql")


def rows_query() -> str:
    """The statement that computes the K-line of [lo, hi) from the minutes, on any engine."""
    return _with_filter("kline_rows.sql")


def fingerprint(engine: Engine) -> str:
    """A short hash of all that decides the K-line's rows under `engine`."""
    text = engine + definition(engine) + ("" if engine == "continuous aggregate" else rows_query())
    return f"{engine} {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def plan_by_hashing(connection: psycopg.Connection) -> None:
    """For this transaction, keep the server from nested loops over a month of minutes, as it plans before it has seen
    fresh rows, and give it the memory to hash them."""
    connection.execute("SELECT set_config('enable_nestloop', 'off', true), set_config('work_mem', '64MB', true)")


def months_range(months: Sequence[str]) -> tuple[dt.datetime, dt.datetime]:
    """First minute of the first month and first minute after the last."""
    after = first_day(max(months)) + dt.timedelta(days=31)
    return _midnight(first_day(min(months))), _midnight(after.replace(day=1))


def _with_filter(name: str) -> str:
    return statement(__package__, name).replace("{clean}", statement(__package__, "kline_clean.sql"))


def _ensure(connection: psycopg.Connection, engine: Engine, rebuild: bool) -> bool:
    """Create the relation when it is missing or when `rebuild` asks for it; True when it is new."""
    wanted = fingerprint(engine)
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [SCHEMA_LOCK])
        kind, found = _standing(connection)
        if kind is not None and found == wanted and not rebuild:
            return False
        if kind is not None and not rebuild:
            raise DefinitionDrift(RELATION, found or "unknown", wanted)
        if kind is not None:
            connection.execute(sql.SQL("DROP {} {} CASCADE").format(sql.SQL(kind), sql.Identifier(RELATION)))
        connection.execute(definition(engine).encode())
        what = "TABLE" if engine == "rollup" else "VIEW"
        connection.execute(
            sql.SQL("COMMENT ON {} {} IS {}").format(sql.SQL(what), sql.Identifier(RELATION), MARK + wanted)
        )
    return True


def _standing(connection: psycopg.Connection) -> tuple[Kind | None, str | None]:
    """Kind, as DROP names it, and fingerprint of the relation of that name."""
    row = connection.execute(
        """SELECT relkind::text, obj_description(oid, 'pg_class') FROM pg_class
           WHERE relname = %s AND relnamespace = current_schema()::regnamespace""",
        [RELATION],
    ).fetchone()
    if row is None:
        return None, None
    relkind, comment = row
    kind: Kind = "MATERIALIZED VIEW" if relkind == "m" else "TABLE"
    if relkind == "v":
        kind = "MATERIALIZED VIEW" if _is_aggregate(connection) else "VIEW"
    return kind, comment.removeprefix(MARK) if comment and comment.startswith(MARK) else None


def _is_aggregate(connection: psycopg.Connection) -> bool:
    """Whether the view is a continuous aggregate; PostgreSQL itself takes it for a plain one."""
    if schema.look(connection).timescaledb is None:
        return False
    found = connection.execute(
        """SELECT FROM timescaledb_information.continuous_aggregates
           WHERE view_schema = current_schema() AND view_name = %s""",
        [RELATION],
    ).fetchone()
    return found is not None


def _roll_up(connection: psycopg.Connection, months: Collection[str]) -> None:
    """Replace the rows of `months` in one transaction; readers see the old rows or the new."""
    query = f"INSERT INTO {RELATION} ({', '.join(COLUMNS)}) {rows_query()}".encode()
    _acquaint(connection)
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [RELATION])
        plan_by_hashing(connection)
        for month in sorted(months):
            low, high = months_range([month])
            connection.execute(f"DELETE FROM {RELATION} WHERE month = %s::timestamp", [low])
            connection.execute(query, {"lo": low, "hi": high})


def _acquaint(connection: psycopg.Connection) -> None:
    """Analyze the table of minutes if the server never has; without statistics it reads all rows for each month."""
    row = connection.execute(
        """SELECT coalesce(last_analyze, last_autoanalyze) IS NULL FROM pg_stat_user_tables
           WHERE relid = 'stock_1min_qfq'::regclass"""
    ).fetchone()
    if row and row[0]:
        connection.execute("ANALYZE stock_1min_qfq (time, code)")


def _months_with_bars(connection: psycopg.Connection) -> list[str]:
    """Every month that has minutes, on record or not."""
    row = connection.execute("SELECT min(time), max(time) FROM stock_1min_qfq").fetchone()
    if row is None or row[0] is None:
        return []
    return months_from(f"{row[0]:%Y-%m}", f"{row[1]:%Y-%m}")


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time())
