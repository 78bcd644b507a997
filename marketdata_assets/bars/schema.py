"""The tables of the bars domain, and what the server at hand can do with them.

The monthly K-line has its own definition, in `kline`.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import psycopg

from marketdata_assets.stores import ledger

DATASET = "stock_1min_qfq"

Edition = Literal["community", "apache", "none"]


@dataclass(frozen=True)
class Server:
    """What the Postgres server is: `edition` is TimescaleDB's, `hypertable` whether the bars are one."""

    postgres: str
    timescaledb: str | None
    edition: Edition
    hypertable: bool

    @property
    def aggregates(self) -> bool:
        """Whether a continuous aggregate can be kept over the bars."""
        return self.edition == "community" and self.hypertable


def script(name: str) -> bytes:
    """The text of a file under `sql/`."""
    return files(__package__).joinpath("sql", name).read_bytes()


@cache
def statement(name: str) -> str:
    """A file under `sql/` without its comment lines, to be put into another statement or given parameters."""
    return "\n".join(line for line in script(name).decode().splitlines() if not line.startswith("--"))


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
    return Server(postgres, timescaledb, edition, bool(hypertable and hypertable[0]))


def ensure(connection: psycopg.Connection) -> Server:
    """Create what is missing: ledger, quarantine, bars, coverage; a hypertable with compression where there can be one.

    A table that already holds rows is left as it is, since turning it into a hypertable would rewrite it.
    """
    with connection.transaction():
        ledger.ensure(connection)
        loaded_and_missing = connection.execute(
            """SELECT current_setting('shared_preload_libraries') LIKE '%timescaledb%'
                  AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')"""
        ).fetchone()
        if loaded_and_missing == (True,):
            connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        connection.execute(script("schema.sql"))
        server = look(connection)
        empty = connection.execute("SELECT FROM stock_1min_qfq LIMIT 1").fetchone() is None
        if server.timescaledb and not server.hypertable and empty:
            connection.execute(script("hypertable.sql"))
            if server.edition == "community":
                connection.execute(script("compression.sql"))
            server = look(connection)
        if not server.hypertable:
            connection.execute(script("time_index.sql"))
    return server


def settle(connection: psycopg.Connection, server: Server) -> None:
    """Let the time index know the pages that a load has added.

    They were written a moment ago: read-ahead by helper processes costs PostgreSQL 18 more than it brings.
    """
    if not server.hypertable:
        with connection.transaction():
            connection.execute("SET LOCAL effective_io_concurrency = 0")
            connection.execute("SELECT brin_summarize_new_values('stock_1min_qfq_time')")
