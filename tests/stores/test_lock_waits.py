"""Waits for locks of Postgres, of files and of claims: reported with the holder, and over when that ends."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from marketdata_assets import lock_waits
from marketdata_assets.bars import coverage, schema
from marketdata_assets.flows import claims, storage
from marketdata_assets.loading.files import Unit, file_at
from marketdata_assets.reconciliation import reconcile
from marketdata_assets.stores import ledger, schema_version
from marketdata_assets.stores.clickhouse_rewrite import _turn
from marketdata_assets.stores.postgres import connect

SECONDS = 60.0


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch, all_log_lines: None) -> None:
    monkeypatch.setattr(lock_waits, "FIRST_SECONDS", 0.05)


def said(caplog: pytest.LogCaptureFixture) -> str:
    """The first report of a wait."""
    until = time.monotonic() + SECONDS
    while not (found := [one.getMessage() for one in caplog.records if "waiting for a lock" in one.getMessage()]):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found[0]


def waiting(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("lock", "name"),
    [
        (lambda connection: ledger.lock(connection, "flow one", [("a.csv", "a.csv")]), '"flow one: a.csv"'),
        (schema_version.lock, '"marketdata schema"'),
        (lambda connection: coverage.lock(connection, ["sh600000"]), "sh600000"),
        (lambda connection: coverage.lock(connection, None), "stock_1min_qfq"),
    ],
)
def test_a_lock_of_postgres_names_the_session_that_holds_it(
    dsn: str, caplog: pytest.LogCaptureFixture, lock: Callable[[psycopg.Connection], None], name: str
) -> None:
    def wait() -> None:
        with connect(dsn) as second:
            lock(second)

    with connect(dsn) as first:
        lock(first)
        waits = waiting(wait)
        line = said(caplog)
        first.rollback()
        waits.join(SECONDS)
    assert not waits.is_alive()
    assert name in line
    assert f"marketdata {os.getpid()}@" in line
    assert "in a transaction since 20" in line


def test_a_claim_names_the_run_that_holds_it(dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.csv").touch()
    unit = Unit(file_at(tmp_path / "a.csv"))
    with connect(dsn, autocommit=True) as first:
        storage.ensure_books(first)
        claims.register(first, "flow one", [unit])
        assert claims.claim(first, "flow one", unit, "run-1", wait=False) is not None

        def wait() -> None:
            with connect(dsn, autocommit=True) as second:
                claims.claim(second, "flow one", unit, "run-2", wait=True)

        waits = waiting(wait)
        line = said(caplog)
        claims.release(first, "flow one", unit)
        waits.join(SECONDS)
    assert not waits.is_alive()
    assert "run run-1 since 20" in line


def test_a_turn_in_clickhouse_names_the_process_that_has_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def wait() -> None:
        with _turn(tmp_path, "ticks-202501"):
            pass

    with _turn(tmp_path, "ticks-202501"):
        waits = waiting(wait)
        line = said(caplog)
    waits.join(SECONDS)
    assert not waits.is_alive()
    assert f"process {os.getpid()} (" in line
    assert " since 20" in line


@pytest.mark.parametrize("ensure", [ledger.ensure, storage.ensure_books, schema.ensure, reconcile.ensure])
def test_tables_that_exist_are_used_without_the_lock_of_the_schema(
    dsn: str, ensure: Callable[[psycopg.Connection], object]
) -> None:
    """A transaction keeps the lock to its end: a status, or a check of many files, would keep out every load."""
    with connect(dsn) as connection:
        ensure(connection)
    with connect(dsn) as holder, connect(dsn) as connection:
        schema_version.lock(holder)
        connection.execute("SET lock_timeout = '1ms'")
        ensure(connection)


def test_processes_that_create_the_tables_at_once_do_not_wait_for_each_other_for_good(dsn: str) -> None:
    steps = (ledger.ensure, schema.ensure, storage.ensure_books, reconcile.ensure)
    together = threading.Barrier(8)

    def create(first: int) -> None:
        with connect(dsn) as connection:
            together.wait(SECONDS)
            for number in range(len(steps)):
                steps[(first + number) % len(steps)](connection)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, range(8)))
