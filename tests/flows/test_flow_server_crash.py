"""A server that crashes before commits are on its disk: nothing that a run reports as loaded is missing."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from marketdata_assets.loading import run as loading_run
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_assets.stores.postgres import wait_for_commits
from tests.flows.flow_files import PRICES, deliver, flow, lines, rows, run


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    """A server that writes its log when somebody waits for it, and not before."""
    with LocalStack(Settings(home=tmp_path / "home", postgres_dsn=None), services=("postgres",)) as stack:
        with psycopg.connect(str(stack.endpoints.postgres_dsn), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET wal_writer_delay TO '10s'")
            connection.execute("SELECT pg_reload_conf()")
        yield stack


@pytest.mark.parametrize("mode", ["upsert", pytest.param("append", marks=pytest.mark.slow)])
def test_files_whose_commits_a_crash_has_lost_are_loaded_again_by_the_same_run(
    stack: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    dsn, server = str(stack.endpoints.postgres_dsn), stack.server("postgres")
    prices = flow(tmp_path, PRICES.replace("mode: upsert", f"mode: {mode}"))
    for code in "abcdef":
        deliver(tmp_path, f"{code}.csv", lines(code, [1, 2]))
    survived: list[int] = []

    def crash_once(connection: psycopg.Connection) -> None:
        if not survived:
            server.kill()
            server.start()
            survived.append(int(rows(dsn, "SELECT count(*) FROM prices")[0][0]))
        wait_for_commits(connection)

    monkeypatch.setattr(loading_run, "wait_for_commits", crash_once)
    report = run(prices, dsn, tmp_path)
    assert survived[0] < 12
    assert (report.rows, report.failed) == (12, ())
    assert rows(dsn, "SELECT count(*) FROM prices") == [(12,)]
    assert run(prices, dsn, tmp_path).unchanged == 6
