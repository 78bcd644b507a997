"""A database that dies, stays away or fills up in the middle of a load: a named error, and a rerun that is exact."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from marketdata_assets.bars import small_units
from marketdata_assets.bars import unit as loading_unit
from marketdata_assets.loading import run as loading_run
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_assets.stores.errors import StoreAway, StoreFull
from marketdata_assets.stores.postgres import copy_binary
from tests.bars.bar_files import assert_exact, csv_text, deliver, line, minutes, run

MIB = 1024 * 1024


def own_stack(home: Path) -> LocalStack:
    return LocalStack(Settings(home=home, postgres_dsn=None), services=("postgres",))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with own_stack(tmp_path_factory.mktemp("own")) as stack:
        yield stack


@pytest.fixture
def own_dsn(stack: LocalStack) -> str:
    """The stack's database, emptied, on a server that runs."""
    if not stack.server("postgres").alive:
        stack.server("postgres").start()
    dsn = stack.endpoints.postgres_dsn
    assert dsn
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return dsn


@pytest.fixture
def two_years(tmp_path: Path) -> Path:
    for year in (2000, 2001):
        members = {
            f"{code}_{year}.csv": csv_text(line(label, code) for label in minutes(f"{year}-06-09 09:30:00", 50))
            for code in ("sh600000", "sz000001")
        }
        deliver(tmp_path / "bars" / f"{year}_1min.zip", members)
    return tmp_path / "bars"


MONTHS = ["2000-06", "2001-06"]


@pytest.fixture(params=["each unit alone", "small units together"])
def units_in_commit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many units of `two_years` are loaded in one commit."""
    if request.param == "small units together":
        return 2
    monkeypatch.setattr(small_units, "MAX_BYTES", 0)
    return 1


def before_copy(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], object]) -> None:
    """Call `act` once, in a transaction, right before rows are copied for the `number`th time."""
    count = 0

    def copy(*arguments: Any) -> None:
        nonlocal count
        count += 1
        if count == number:
            act()
        copy_binary(*arguments)

    for module in (loading_unit, small_units):
        monkeypatch.setattr(module, "copy_binary", copy)


def test_server_killed_and_started_again_within_seconds_costs_nothing(
    own_dsn: str, stack: LocalStack, two_years: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = stack.server("postgres")
    before_copy(monkeypatch, 2, lambda: (server.kill(), server.start()))
    report = run(own_dsn, two_years, MONTHS)
    assert (report.failed, report.rows) == ((), 200)
    assert_exact(own_dsn, two_years)


def test_server_that_stays_away_is_named_and_a_rerun_is_exact(
    own_dsn: str, stack: LocalStack, two_years: Path, units_in_commit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = stack.server("postgres")
    before_copy(monkeypatch, 2, server.kill)
    monkeypatch.setattr(loading_run, "RECONNECT_WAITS", (0.01,))
    with pytest.raises(StoreAway, match="marketdata doctor"):
        run(own_dsn, two_years, MONTHS)
    monkeypatch.undo()
    server.start()
    report = run(own_dsn, two_years, MONTHS)
    assert report.unchanged == units_in_commit
    assert_exact(own_dsn, two_years)


def test_connection_terminated_by_an_operator_costs_nothing(
    own_dsn: str, two_years: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def terminate() -> None:
        with psycopg.connect(own_dsn, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'marketdata' AND pid <> pg_backend_pid()"
            )

    before_copy(monkeypatch, 2, terminate)
    assert run(own_dsn, two_years, MONTHS).failed == ()
    assert_exact(own_dsn, two_years)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few hundred MiB; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300m,mode=755", "none", str(folder)], capture_output=True, text=True
    )
    if made.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path, leave: int) -> None:
    """Write a file that leaves `leave` bytes of its disk."""
    stat = os.statvfs(path.parent)
    with path.open("wb") as file:
        for _ in range((stat.f_bavail * stat.f_frsize - leave) // MIB):
            file.write(bytes(MIB))


def test_full_disk_is_named_and_a_rerun_is_exact_once_there_is_room(small_disk: Path, two_years: Path) -> None:
    rows = [line(label, "bj920001") for day in range(1, 22) for label in minutes(f"2002-06-{day:02} 00:00:00", 1400)]
    asked = [*MONTHS, "2002-06"]
    ballast = small_disk / "ballast"
    with own_stack(small_disk / "home") as stack:
        dsn = stack.endpoints.postgres_dsn
        assert dsn
        run(dsn, two_years, asked)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_switch_wal()")
            connection.execute("CHECKPOINT")
        deliver(two_years / "2002_1min.zip", {"bj920001_2002.csv": csv_text(rows)})
        fill(ballast, leave=2 * MIB)
        with pytest.raises(StoreFull, match=r"(?s)no disk space left.*free space"):
            run(dsn, two_years, asked)
        ballast.unlink()
        report = run(dsn, two_years, asked)
        assert (report.failed, report.rows, report.unchanged) == ((), len(rows), 4)
        assert_exact(dsn, two_years)
