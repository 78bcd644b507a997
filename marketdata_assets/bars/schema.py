"""The tables of the bars domain, and what the server at hand can do with them.

The monthly K-line has its own definition, in `kline`.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

import psycopg

from marketdata_assets.stores import ledger
from marketdata_assets.stores.postgres import create_missing, ensure_timescaledb, statement

DATASET = "stock_1min_qfq"

COMPRESSES_LOADS_SINCE = (2, 24)

Edition = Literal["community", "apache", "none"]


@dataclass(frozen=True)
class Server:
    """What the Postgres server is: `edition` is TimescaleDB's, `hypertable` whether the bars are one.

    `columnstore` says that loads write compressed batches: the hypertable has no unique constraint, which would forbid
    it, and coverage alone keeps minutes unique.
    """

    postgres: str
    timescaledb: str | None
    edition: Edition
    hypertable: bool
    columnstore: bool = False

    @property
    def aggregates(self) -> bool:
        """Whether a continuous aggregate can be kept over the bars."""
        return self.edition == "community" and self.hypertable

    @property
    def compresses_loads(self) -> bool:
        """Whether TimescaleDB can compress what is loaded so that continuous aggregates see it."""
        numbers = re.findall(r"\d+", self.timescaledb or "")
        return self.aggregates and tuple(map(int, numbers[:2])) >= COMPRESSES_LOADS_SINCE


def look(connection: psycopg.Connection) -> Server:
    """Ask the server for its versions, licence and whether the bars are a hypertable."""
    row = connection.execute(
        """SELECT current_setting('server_version'),
                  (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
                  current_setting('timescaledb.license', true)"""
    ).fetchone()
    assert row is not None
    postgres, timescaledb, licence = row
    if timescaledb is None:
        return Server(postgres, None, "none", False)
    hypertable = connection.execute(
        """SELECT EXISTS (SELECT FROM timescaledb_information.hypertables
           WHERE hypertable_schema = current_schema() AND hypertable_name = 'stock_1min_qfq')"""
    ).fetchone()
    edition: Edition = "community" if licence == "timescale" else "apache"
    server = Server(postgres, timescaledb, edition, bool(hypertable and hypertable[0]))
    return replace(server, columnstore=server.compresses_loads and not unique(connection))


def unique(connection: psycopg.Connection) -> bool:
    """Whether the bars have a unique index."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = 'stock_1min_qfq'::regclass AND indisunique)"
    ).fetchone()
    return row == (True,)


def ensure(connection: psycopg.Connection) -> Server:
    """Create what is missing: ledger, quarantine, the tables of bars, where possible a hypertable with compression.

    A table that already holds rows is left as it is, since converting it would rewrite it.
    """
    with connection.transaction():
        ledger.ensure(connection)
        create_missing(connection, statement(__package__, "schema.sql"))
        ensure_timescaledb(connection)
        server = look(connection)
        plain_table = server.timescaledb and not server.hypertable
        if plain_table and _empty(connection):
            connection.execute(statement(__package__, "hypertable.sql"))
            server = look(connection)
        if server.edition == "community" and server.hypertable:
            _ensure_compression(connection)
        if server.compresses_loads and not server.columnstore and _empty(connection):
            connection.execute(statement(__package__, "columnstore.sql"))
            connection.execute(statement(__package__, "columnstore_order.sql"))
            server = look(connection)
        if not server.hypertable:
            create_missing(connection, statement(__package__, "time_index.sql"))
    return server


def _empty(connection: psycopg.Connection) -> bool:
    return connection.execute("SELECT FROM stock_1min_qfq LIMIT 1").fetchone() is None


def _ensure_compression(connection: psycopg.Connection) -> None:
    """Compress chunks a week after their month; settings that a person chose stay."""
    row = connection.execute(
        """SELECT compression_enabled, EXISTS (
               SELECT FROM timescaledb_information.jobs j WHERE j.proc_name = 'policy_compression'
               AND (j.hypertable_schema, j.hypertable_name) = (h.hypertable_schema, h.hypertable_name))
           FROM timescaledb_information.hypertables h
           WHERE hypertable_schema = current_schema() AND hypertable_name = 'stock_1min_qfq'"""
    ).fetchone()
    assert row is not None
    enabled, scheduled = row
    if not enabled:
        connection.execute(statement(__package__, "compression.sql"))
    if not scheduled:
        connection.execute("SELECT add_compression_policy('stock_1min_qfq', INTERVAL '37 days')")


def settle(connection: psycopg.Connection, server: Server) -> None:
    """Let the time index know the pages that a load has added.

    They were written a moment ago: read-ahead by helper processes costs PostgreSQL 18 more than it brings.
    """
    if not server.hypertable:
        with connection.transaction():
            connection.execute("SET LOCAL effective_io_concurrency = 0")
            connection.execute("SELECT brin_summarize_new_values('stock_1min_qfq_time')")
