"""A hypertable of bars made by an earlier version, or an earlier TimescaleDB, becomes one whose loads are compressed.

New tables are made so by `schema`; how loads use it is in `unit`.
"""

from collections.abc import Callable, Sequence
from functools import partial

import psycopg
from psycopg import sql

from marketdata_assets.backoff import retry
from marketdata_assets.bars import schema
from marketdata_assets.loading.run import LOST_RACES
from marketdata_assets.progress import report
from marketdata_assets.stores.migrations import Step, TableBusy
from marketdata_assets.stores.migrations.postgres import ATTEMPTS, LOCK_TIMEOUT, PAUSE_SECONDS, lock
from marketdata_assets.stores.postgres import connect, statement

WAITS = (PAUSE_SECONDS,) * ATTEMPTS


def pending(dsn: str) -> Sequence[Step]:
    """The conversion, where the server can compress loads and the table does not let it."""
    with connect(dsn) as connection:
        return (_step(),) if _needed(connection) else ()


def convert(dsn: str) -> Sequence[Step]:
    """Compress every chunk, each in a transaction of its own, and then drop the unique constraint.

    Loads continue meanwhile; a chunk that is being compressed keeps its writers waiting. If it is killed, compressed
    chunks stay, and the next call continues. Raises TableBusy.
    """
    steps = pending(dsn)
    if not steps:
        return ()
    with connect(dsn, autocommit=True) as connection:
        chunks = connection.execute("SELECT c::text FROM show_chunks('stock_1min_qfq') c ORDER BY c DESC").fetchall()
        for done, (chunk,) in enumerate(chunks, 1):
            _insist(partial(connection.execute, "SELECT compress_chunk(to_regclass(%s))", [chunk]), connection)
            report(done, len(chunks) + 1, f"compress {chunk}")
        _insist(partial(_drop_constraint, connection), connection)
        report(len(chunks) + 1, len(chunks) + 1, steps[0].label)
    return steps


def _step() -> Step:
    return Step(1, "compressed_loads", schema.DATASET, statement(__package__, "columnstore.sql"))


def _needed(connection: psycopg.Connection) -> bool:
    server = schema.look(connection)
    return server.compresses_loads and not server.columnstore


def _drop_constraint(connection: psycopg.Connection) -> None:
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT)))
        lock(connection)
        if _needed(connection):
            connection.execute(statement(__package__, "columnstore.sql"))


def _insist(work: Callable[[], object], connection: psycopg.Connection) -> None:
    """Do `work`, again when it loses a race for the locks of loads and policies."""
    try:
        retry(work, LOST_RACES, WAITS)
    except LOST_RACES:
        raise TableBusy(f"Postgres {connection.info.dbname}", _step()) from None
