"""One Postgres connection, the mapping of its failures to ours, bulk loading, and the finding of a check's query.

No table or column is named here.
"""

import os
import re
import select
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.rows import dict_row

from marketdata_assets import lock_waits
from marketdata_assets.secret_values import hide
from marketdata_assets.server_versions import require
from marketdata_assets.stores.bookkeeping import EXAMPLES, Finding
from marketdata_assets.stores.errors import LoginRejected, StoreAway, StoreFull

STORE = "Postgres"
COPY_CHUNK_BYTES = 256 * 1024
SERVER_UNAVAILABLE = ("08", "53", "57", "58")
"""Classes of SQLSTATE: connection, resources, shutdown, system."""
NOTICE_DEAD_CLIENTS = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
"""The server ends the session of a host that is gone after 25 s, and with it its locks; by default after two hours."""
Query = str | bytes | sql.SQL | sql.Composed
NO_LOGIN = re.compile(
    r"FATAL: .*(authentication failed|does not exist|no pg_hba.conf entry|permission denied|not permitted)"
)
"""What libpq says, without a code, of a server that answers and lets nobody in."""
EXISTS = "EXISTS (SELECT FROM pg_class WHERE relname = {} AND pg_table_is_visible(oid))"
"""As of now; to_regclass may answer as before a wait for an advisory lock."""
_CREATE = re.compile(r"CREATE (?:TABLE|INDEX) IF NOT EXISTS (\w+)")


@contextmanager
def naming_failures() -> Iterator[None]:
    """Turn a lost connection into StoreAway, a full disk into StoreFull, a rejected login into LoginRejected.

    Other errors pass.

    What interrupts a pipeline, Ctrl-C or the end of a run, leaves psycopg as an error of the pipeline: it is raised
    itself, so that nobody retries what was to stop.
    """
    try:
        yield
    except pg.Error as error:
        if interruption := _interruption(error):
            raise interruption from None
        if isinstance(error, pg.DiskFull):
            raise StoreFull(STORE, str(error)) from error
        if isinstance(error, pg.InvalidAuthorizationSpecification) or NO_LOGIN.search(str(error)):
            raise LoginRejected(STORE, str(error)) from error
        if not isinstance(error, pg.OperationalError | pg.InterfaceError) or is_of_statement(error):
            raise
        raise StoreAway(STORE, str(error)) from error


def _interruption(error: BaseException) -> BaseException | None:
    """The interruption, such as KeyboardInterrupt, that was being handled when this error was raised."""
    found: BaseException | None = error
    while isinstance(found, Exception):
        found = found.__context__
    return None if isinstance(found, GeneratorExit) else found


def commit_asynchronously(connection: psycopg.Connection) -> None:
    """Let commits of this session not wait for the server's disk, until `wait_for_commits` does for all."""
    connection.execute("SET synchronous_commit TO off")


def wait_for_commits(connection: psycopg.Connection) -> None:
    """Wait until all that was committed so far survives a crash of the server: its log is written in order."""
    connection.execute("RESET synchronous_commit")
    with connection.transaction():
        connection.execute("SELECT pg_logical_emit_message(true, 'marketdata', '')")


def is_of_statement(error: BaseException) -> bool:
    """Whether the server rejected one statement, such as a key too long for an index, and takes others."""
    state = getattr(error, "sqlstate", None)
    if isinstance(error, pg.QueryCanceled | pg.ConfigurationLimitExceeded):
        return True
    return state is not None and state[:2] not in SERVER_UNAVAILABLE


@contextmanager
def connect(
    dsn: str, *, autocommit: bool = False, application: str = "marketdata", connect_seconds: int = 10
) -> Iterator[psycopg.Connection]:
    """Open a connection and close it; leaving without an error commits, leaving with one rolls back.

    Text travels as UTF-8 whatever the database is made of: with one of SQL_ASCII psycopg returns bytes otherwise.
    Raises ServerTooOld.
    """
    with (
        naming_failures(),
        psycopg.connect(
            hide(dsn),
            autocommit=True,
            application_name=f"{application} {os.getpid()}@{socket.gethostname()}",
            connect_timeout=connect_seconds,
            client_encoding="utf8",
        ) as connection,
    ):
        require("PostgreSQL", connection.info.parameter_status("server_version") or "")
        connection.execute(NOTICE_DEAD_CLIENTS)
        connection.autocommit = autocommit
        yield connection


def take_lock(connection: psycopg.Connection, what: str, query: str, parameters: Sequence[Any]) -> None:
    """Run a query that takes advisory locks; a wait of some seconds is logged, with who holds the lock."""
    if all(len(values) == 1 for values in parameters if isinstance(values, list)):  # of several some would be held
        tried = connection.execute(query.replace("pg_advisory_", "pg_try_advisory_"), parameters).fetchone()
        if tried == (True,):  # without the thread that logs
            return
    with lock_waits.reported(what, partial(_holder, connection.info)):
        connection.execute(query, parameters)


def _holder(waiting: psycopg.ConnectionInfo) -> str:
    query = """SELECT string_agg(format('%%s in a transaction since %%s (server process %%s, %%s)', application_name,
                 date_trunc('second', coalesce(xact_start, backend_start) AT TIME ZONE 'UTC'), pid, state), ', ')
               FROM pg_stat_activity WHERE pid = ANY(pg_blocking_pids(%s))"""
    with psycopg.connect(waiting.dsn, password=waiting.password, connect_timeout=10) as connection:
        return value(connection, query, [waiting.backend_pid]) or ""


def value(connection: psycopg.Connection, query: Query, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
    """The first value of the first row of a query; None where there is no row."""
    row = connection.execute(query, parameters or None).fetchone()
    return row[0] if row else None


def column(
    connection: psycopg.Connection, query: Query, parameters: Sequence[Any] | Mapping[str, Any] = ()
) -> list[Any]:
    """The first value of each row of a query."""
    return [row[0] for row in connection.execute(query, parameters or None).fetchall()]


def has_timescaledb(connection: psycopg.Connection) -> bool:
    """Whether the database has the extension TimescaleDB."""
    return bool(value(connection, "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')"))


def timescaledb_is_loaded(connection: psycopg.Connection) -> bool:
    """Whether the server was started with TimescaleDB; by a setting of its own, since only some roles see the list."""
    return bool(value(connection, "SELECT current_setting('timescaledb.disable_load', true) IS NOT NULL"))


def ensure_timescaledb(connection: psycopg.Connection) -> bool:
    """Create the extension TimescaleDB where the server has loaded it; whether the database has it then."""
    loaded, exists = timescaledb_is_loaded(connection), has_timescaledb(connection)
    if loaded and not exists:
        connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    return loaded or exists


def lift_decompression_limit(connection: psycopg.Connection) -> None:
    """Let the present transaction change as many rows of TimescaleDB's compressed chunks as it needs to."""
    connection.execute(
        """SELECT set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)
           FROM pg_extension WHERE extname = 'timescaledb'"""
    )


def copy_binary(
    connection: psycopg.Connection, table: str, columns: Iterable[str], blocks: Iterable[memoryview]
) -> None:
    """COPY `blocks`, each whole rows in the binary format without header or trailer, into `table`.

    Memory stays at one block: psycopg buffers without bound on its own, so each chunk is flushed before the next.
    """
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with connection.cursor().copy(statement) as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for block in blocks:
            for start in range(0, len(block), COPY_CHUNK_BYTES):
                copy.write(block[start : start + COPY_CHUNK_BYTES])
                while connection.pgconn.flush():
                    readable, _, _ = select.select([connection], [connection], [])
                    if readable:
                        connection.pgconn.consume_input()
        copy.write(b"\xff\xff")


@cache
def statement(package: str, path: str) -> str:
    """A file under `sql/` of a package without its comment lines."""
    lines = files(package).joinpath("sql", path).read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if not line.startswith("--"))


def create_missing(connection: psycopg.Connection, script: str) -> None:
    """Run those of a script's `CREATE TABLE|INDEX IF NOT EXISTS` whose table or index does not exist yet.

    The schema is locked only if one is absent: the lock is held until the transaction ends, which may read for long.
    PostgreSQL locks the table against writers before it checks whether the index exists: a script that repeats what
    is there would wait for every load in progress, or deadlock with it.
    """
    from marketdata_assets.stores import schema_version

    made = {found[1]: text for text in script.split(";\n") if (found := _CREATE.search(text))}
    query = f"SELECT name FROM unnest(%s::text[]) AS name WHERE NOT {EXISTS.format('name')}"
    if not column(connection, query, [list(made)]):
        return
    schema_version.lock(connection)
    absent = column(connection, query, [list(made)])
    for name, text in made.items():
        if name in absent:
            connection.execute(text)


def objections(
    connection: psycopg.Connection, query: sql.Composable, parameters: Mapping[str, Any], checked: int
) -> Finding:
    """The rows of `query`, those that a check objects to, as its finding."""
    counted = sql.SQL("WITH found AS ({}) SELECT *, count(*) OVER () AS total FROM found LIMIT {}")
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(counted.format(query, sql.Literal(EXAMPLES)), parameters or None).fetchall()
    examples = tuple({name: str(value) for name, value in row.items() if name != "total"} for row in rows)
    return Finding(int(rows[0]["total"]) if rows else 0, examples, checked)
