"""The monthly K-line `stock_monthly_kline`: one definition, two engines with the same columns and rows.

`continuous aggregate` where TimescaleDB has its community licence, `rollup` (a plain table) elsewhere. Only the
requested months are refreshed. A rebuilt K-line takes the name of the old one by
`stores.relation_swap`.
"""

import datetime as dt
import hashlib
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import psycopg
from psycopg import errors as pg
from psycopg import sql

from marketdata_assets.backoff import delays, retry
from marketdata_assets.bars import changes, schema
from marketdata_assets.bars.coverage import first_day
from marketdata_assets.errors import TerminalError
from marketdata_assets.months import months_from
from marketdata_assets.stores import relation_swap
from marketdata_assets.stores.postgres import connect, statement, take_lock
from marketdata_assets.stores.relation_swap import RelationInUse
from marketdata_assets.stores.schema_version import lock

RELATION = "stock_monthly_kline"
BESIDE = f"{RELATION}_rebuilt"


def swap(connection: psycopg.Connection) -> None:
    """Give the relation BESIDE the name RELATION; in a transaction. Raises LockNotAvailable or TerminalError."""
    try:
        relation_swap.swap(connection, RELATION, BESIDE)
    except RelationInUse as error:
        raise TerminalError(
            f"{RELATION} cannot be rebuilt, because other objects depend on it: {', '.join(error.dependants)}."
            ' Drop them, run "marketdata kline rebuild" again, and recreate them. The old rows are unchanged.'
        ) from error


COLUMNS = ("month", "code", "name", "open", "high", "low", "close", "volume", "amount")
REFRESH_WAITS = delays(0.2, 15.0, retries=7)
POLICY_POLL_SECONDS = 0.5
MANY_CODES = 1000
MARK = "marketdata definition "

Engine = Literal["continuous aggregate", "rollup"]


@dataclass(frozen=True)
class KlineReport:
    """What one refresh did to `months`; `rows` are K-lines of these months."""

    engine: Engine
    months: tuple[str, ...]
    rows: int
    codes: int
    rebuilt: bool
    seconds: float


def refresh(
    dsn: str, months: Collection[str], *, run_id: str | None = None, force: bool = False, rebuild: bool = False
) -> KlineReport:
    """Make the K-line of `months` (`YYYY-MM`), and of months whose bars the run `run_id` changed, equal the minutes.

    Months are committed one by one, the newest first. On a plain table only the stocks that changed are recomputed, or
    all of a month without a record of a change. `force` recomputes all, also what a continuous aggregate believes
    unchanged; so does a record of a change, as TimescaleDB up to 2.28.3 does not notice one that ends at the first
    instant of a month (its issue 10296). `rebuild` recreates the K-line of every month that has minute bars, and so
    does the first refresh of a database; readers see the old rows until then.
    Raises TerminalError when it was made from another definition and `rebuild` is not set, and when
    something that depends on the K-line cannot be kept in a rebuild.
    """
    started = time.monotonic()
    with connect(dsn, autocommit=True) as connection:
        server = schema.ensure(connection)
        engine: Engine = "continuous aggregate" if server.aggregates else "rollup"
        take_lock(connection, RELATION, "SELECT pg_advisory_lock(hashtext(%s))", [RELATION])  # until it is closed
        wanted = sorted({*months, *(changes.stale(connection, run_id) if run_id else ())})
        exists = _exists(connection, engine, rebuild)
        if rebuild or not exists:
            _build(connection, engine)
        else:
            relation_swap.drop(connection, BESIDE)  # what a killed rebuild left
            for month in reversed(wanted):  # each committed alone, and done if a later one fails
                records = changes.seen(connection, [month])
                codes = None if force else changes.codes(connection, records)
                _recompute(connection, engine, RELATION, month, force or bool(records), codes)
                changes.refreshed(connection, records)
        if engine == "continuous aggregate":
            _ensure_policy(connection)
        days = [_midnight(first_day(month)) for month in wanted]
        [(rows, codes)] = connection.execute(
            f"SELECT count(*), count(DISTINCT code) FROM {RELATION} WHERE month = ANY(%s::timestamp[])", [days]
        )
    return KlineReport(engine, tuple(wanted), rows, codes, exists and rebuild, time.monotonic() - started)


def definition(engine: Engine, relation: str = RELATION) -> str:
    """The statement that makes the K-line under `engine`."""
    name = "kline_aggregate.sql" if engine == "continuous aggregate" else "kline_table.sql"
    return _with_filter(name).replace(RELATION, relation)


def rows_query(of_codes: str = "") -> str:
    """The statement that computes the K-line of [lo, hi) from the minutes, on any engine."""
    return _with_filter("kline_rows.sql", of_codes)


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


def _with_filter(name: str, more: str = "") -> str:
    return statement(__package__, name).replace("{clean}", statement(__package__, "kline_clean.sql") + more)


def _exists(connection: psycopg.Connection, engine: Engine, rebuild: bool) -> bool:
    """Whether there is a K-line; one of another definition is accepted only to be rebuilt."""
    kind, comment = relation_swap.kind_and_comment(connection, RELATION)
    found = comment.removeprefix(MARK) if comment and comment.startswith(MARK) else "unknown"
    if kind is not None and not rebuild and found != fingerprint(engine):
        raise TerminalError(
            f"{RELATION} in the database was made from definition {found}, this version uses"
            f' {fingerprint(engine)}. Its rows may mean something else. Rebuild it: "marketdata kline rebuild",'
            " or run stock_monthly_kline with config rebuild: true."
        )
    return kind is not None


def _build(connection: psycopg.Connection, engine: Engine) -> None:
    """Make the relation beside that of the name, fill it with every month that has minutes, and swap the names."""
    retry(partial(_create_beside, connection, engine), pg.LockNotAvailable, relation_swap.WAITS)
    records = changes.seen(connection)
    for month in reversed(_months_with_bars(connection)):
        _recompute(connection, engine, BESIDE, month, False, None)

    def replace() -> None:
        with connection.transaction():
            swap(connection)
            changes.refreshed(connection, records)

    retry(replace, pg.LockNotAvailable, relation_swap.WAITS)


def _create_beside(connection: psycopg.Connection, engine: Engine) -> None:
    with connection.transaction():
        lock(connection)
        relation_swap.drop(connection, BESIDE)
        connection.execute(definition(engine, BESIDE).encode())
        comment = sql.SQL("COMMENT ON {} {} IS {}").format(
            sql.SQL("TABLE" if engine == "rollup" else "VIEW"), sql.Identifier(BESIDE), MARK + fingerprint(engine)
        )
        connection.execute(comment)
        with connection.transaction(force_rollback=True):  # what cannot be swapped should fail before the long work
            swap(connection)


def _recompute(
    connection: psycopg.Connection,
    engine: Engine,
    relation: str,
    month: str,
    force: bool,
    codes: Sequence[str] | None,
) -> None:
    """Replace the rows of a month, on a plain table only those of `codes`; readers see the old rows or the new."""
    if engine == "rollup":
        _roll_up(connection, relation, month, codes)
        return
    call = "CALL refresh_continuous_aggregate(%s::regclass, %s::timestamp, %s::timestamp, force => %s)"
    refresh = partial(connection.execute, call, [relation, *months_range([month]), force])
    retry(refresh, pg.LockNotAvailable, REFRESH_WAITS, partial(_sleep_while_policy_runs, connection))


def _sleep_while_policy_runs(connection: psycopg.Connection, seconds: float) -> None:
    """Wait for the refresh policy, which takes as long as a market's months take, and then `seconds`."""
    while connection.execute(statement(__package__, "kline_policy_runs.sql")).fetchone() == (True,):
        time.sleep(POLICY_POLL_SECONDS)
    time.sleep(seconds)


def _roll_up(connection: psycopg.Connection, relation: str, month: str, codes: Sequence[str] | None) -> None:
    _acquaint(connection)
    whole = codes is None or len(codes) > MANY_CODES
    of_codes = "" if whole else "\n    AND code = ANY(%(codes)s)"
    low, high = months_range([month])
    values = {"lo": low, "hi": high, "codes": codes}
    with connection.transaction():
        plan_by_hashing(connection)
        connection.execute(f"DELETE FROM {relation} WHERE month = %(lo)s::timestamp{of_codes}".encode(), values)
        connection.execute(f"INSERT INTO {relation} ({', '.join(COLUMNS)}) {rows_query(of_codes)}".encode(), values)


def _ensure_policy(connection: psycopg.Connection) -> None:
    """Add the refresh policy where there is none: the view is new, or a run was killed after creating it."""
    found = connection.execute(
        """SELECT FROM timescaledb_information.jobs WHERE proc_name = 'policy_refresh_continuous_aggregate'
           AND hypertable_schema = current_schema() AND hypertable_name = %s""",
        [RELATION],
    ).fetchone()
    if found is None:
        connection.execute(statement(__package__, "kline_policy.sql"))


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
