"""Steps in Postgres: each is one transaction, with its record, and waits for the table only briefly.

A statement that waits for a table blocks all that come after it, so a step gives up after LOCK_TIMEOUT and retries.
"""

import time
from collections.abc import Iterator, Sequence

import psycopg
from psycopg import errors as pg
from psycopg import sql

from marketdata_assets.progress import report
from marketdata_assets.stores import migrations
from marketdata_assets.stores.migrations import RECORDS, Plan, Step, TableBusy
from marketdata_assets.stores.postgres import connect

NAME = "postgres"
SCHEMA_LOCK = "marketdata schema"
LOCK_TIMEOUT = "2s"
ATTEMPTS = 60
PAUSE_SECONDS = 1.0


def check(connection: psycopg.Connection) -> None:
    """Record the steps that the database does not need. The caller holds the schema's lock.

    Raises SchemaTooOld when it needs one, SchemaTooNew and StepChanged.
    """
    found = _plan(connection)
    migrations.refuse_pending(_place(connection), found.pending)
    _record(connection, found.unneeded)


def pending(dsn: str) -> Sequence[Step]:
    """The steps that the database needs. Raises SchemaTooNew and StepChanged."""
    with connect(dsn) as connection:
        return _plan(connection).pending


def migrate(dsn: str) -> Sequence[Step]:
    """Run the steps that the database needs, with progress, and return them; loads continue meanwhile.

    Raises TableBusy, SchemaTooNew and StepChanged. Steps that were run stay.
    """
    wanted = len(pending(dsn))
    done = []
    with connect(dsn, autocommit=True) as connection:
        for step in _run_each(connection):
            done.append(step)
            report(len(done), max(wanted, len(done)), step.label)
    return done


def _run_each(connection: psycopg.Connection) -> Iterator[Step]:
    """Run what is pending, one transaction each; another process may run some of it."""
    attempt = 1
    while True:
        found = Plan()
        try:
            with connection.transaction():
                connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT)))
                lock(connection)
                found = _plan(connection)
                _record(connection, found.unneeded)
                for step in found.pending[:1]:
                    connection.execute(step.text.encode())
                    _record(connection, [step])
        except (pg.LockNotAvailable, pg.DeadlockDetected):
            if attempt == ATTEMPTS:
                named = found.pending or _plan(connection).pending
                if named:
                    raise TableBusy(_place(connection), named[0]) from None
                return
            attempt += 1
            time.sleep(PAUSE_SECONDS)
            continue
        if not found.pending:
            return
        attempt = 1
        yield found.pending[0]


def lock(connection: psycopg.Connection) -> None:
    """Let no other process change the schema until the transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [SCHEMA_LOCK])


def _plan(connection: psycopg.Connection) -> Plan:
    recorded: dict[int, tuple[str, str]] = {}
    if _exists(connection, RECORDS):
        rows = connection.execute(f"SELECT number, name, checksum FROM {RECORDS}").fetchall()
        recorded = {number: (name, checksum) for number, name, checksum in rows}
    steps = migrations.steps_of(NAME)
    return migrations.plan(_place(connection), steps, recorded, lambda table: _exists(connection, table))


def _record(connection: psycopg.Connection, steps: Sequence[Step]) -> None:
    if not steps:
        return
    connection.execute(
        f"""CREATE TABLE IF NOT EXISTS {RECORDS} (
            number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,
            applied timestamptz NOT NULL DEFAULT now())"""
    )
    for step in steps:
        values = [step.number, step.name, step.checksum]
        connection.execute(f"INSERT INTO {RECORDS} VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", values)


def _exists(connection: psycopg.Connection, table: str) -> bool:
    row = connection.execute("SELECT to_regclass(quote_ident(%s)) IS NOT NULL", [table]).fetchone()
    return bool(row and row[0])


def _place(connection: psycopg.Connection) -> str:
    return f"Postgres {connection.info.dbname}"
