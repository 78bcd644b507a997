"""A command whose run is interrupted, stopped from the UI, or killed while it waits in the middle of a load."""

import os
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import psutil
import psycopg
import pytest

from marketdata_assets.bars.ingest import ingest
from marketdata_assets.cli.instance import environment as found_by_dagster
from marketdata_assets.cli.instance import environment_of
from marketdata_assets.defs.partition_results import INTERRUPTED
from marketdata_assets.defs.repair.housekeeping import end_killed, killed_runs
from marketdata_assets.defs.runs import runs_that_load
from marketdata_assets.fanout import Fanout
from marketdata_assets.local import run_lock
from marketdata_assets.local.stack import LocalStack
from marketdata_demo import sample_bars
from tests.cli.commands import PROGRAMS, environment, marketdata, stack_on, until
from tests.plain_kline import KLINE_QUERY, expected_kline
from tests.project_definitions import definitions

DAYS = [day for day in sample_bars.weekdays(2014) if day.month in (3, 4) and day.day <= 3]
WAITING = """SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
    WHERE NOT granted AND datname = current_database()"""


@pytest.fixture
def variables(running: LocalStack, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Two months of a stock."""
    frame = sample_bars.stock_year("sz000001", "样本地产", DAYS, 7)
    with zipfile.ZipFile(tmp_path / "2014_1min.zip", "w") as archive:
        archive.writestr("sz000001_2014.csv", sample_bars.csv_bytes(frame))
    found = found_by_dagster(running.settings, running.endpoints) | {
        "MARKETDATA_POSTGRES_DSN": database,
        "MARKETDATA_BARS_DIR": str(tmp_path),
        "MARKETDATA_HOME": str(running.settings.root),
    }
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def loaded(variables: dict[str, str], database: str, tmp_path: Path) -> dict[str, str]:
    """The first of the months is loaded."""
    assert not ingest(database, tmp_path, ["2014-03"], run_id="test", fanout=Fanout(1)).failed
    return variables


@contextmanager
def waiting_in_a_load(database: str, home: Path, variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A command that has begun to load the second month, and waits for a lock on the table."""
    with psycopg.connect(database) as lock, psycopg.connect(database, autocommit=True) as look:
        lock.execute("LOCK TABLE stock_1min_qfq IN ACCESS EXCLUSIVE MODE")
        with subprocess.Popen(
            [str(PROGRAMS / "marketdata"), "ingest", "bars", "--months", "2014-04"],
            env=environment(home, **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_hears_signals,
        ) as command:
            try:
                until(lambda: look.execute(WAITING).fetchone() != (0,))
                yield command
            finally:
                if command.poll() is None:
                    os.killpg(command.pid, signal.SIGKILL)


def _hears_signals() -> None:
    """Undo what `nohup`, or a shell's `&`, around the tests has set: they let commands ignore signals."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def last_run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    [run] = instance.get_runs(limit=1)
    return run


@pytest.mark.parametrize(
    "how", ["SIGINT", *(pytest.param(name, marks=pytest.mark.slow) for name in ("SIGTERM", "SIGHUP", "UI"))]
)
def test_an_interrupted_run_ends_at_once_and_leaves_nothing(
    how: str, running: LocalStack, database: str, loaded: dict[str, str]
) -> None:
    home = running.settings.root
    with dg.DagsterInstance.get() as instance, waiting_in_a_load(database, home, loaded) as command:
        family = psutil.Process(command.pid).children(recursive=True)
        run = last_run(instance)
        assert run.status == dg.DagsterRunStatus.STARTED
        if how == "UI":
            instance.run_coordinator.cancel_run(run.run_id)
        else:
            command.send_signal(signal.Signals[how])
        out, said = command.communicate(timeout=60)
        assert (command.returncode, out) == (1, "files         1 file: 1 due\n")
        assert INTERRUPTED in said
        assert "psycopg" not in said
        assert psutil.wait_procs(family, timeout=10)[1] == []
        ended = dg.DagsterRunStatus.CANCELED if how == "UI" else dg.DagsterRunStatus.FAILURE
        assert last_run(instance).status == ended
        assert run_lock.is_held(home, run.run_id) is None
    again = marketdata(home, "ingest", "bars", "--months", "2014-04", **loaded)
    assert again.returncode == 0, again.stderr
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM stock_1min_qfq").fetchone() == (len(DAYS) * 241,)


def test_a_killed_command_can_be_canceled_in_the_ui(running: LocalStack, database: str, loaded: dict[str, str]) -> None:
    with dg.DagsterInstance.get() as instance:
        with waiting_in_a_load(database, running.settings.root, loaded) as command:
            command.kill()
        run = last_run(instance)
        assert run.status == dg.DagsterRunStatus.STARTED
        instance.run_coordinator.cancel_run(run.run_id)
        assert end_killed(instance, running.settings.root) == [run.run_id]
        assert last_run(instance).status == dg.DagsterRunStatus.CANCELED


@pytest.mark.parametrize("status", [pytest.param("NOT_STARTED", marks=pytest.mark.slow), "STARTED", "CANCELING"])
def test_run_of_a_killed_command_is_ended_by_a_sensor_however_far_it_was(
    status: str, running: LocalStack, variables: dict[str, str]
) -> None:
    root = running.settings.root
    with dg.DagsterInstance.get() as instance:
        run = instance.create_run_for_job(definitions().get_repository_def().get_job("bars_and_kline"))
        other = instance.create_run_for_job(definitions().get_repository_def().get_job("bars_and_kline"))
        if status != "NOT_STARTED":
            instance.report_engine_event("started", run)
            instance.run_storage.handle_run_event(run.run_id, _event(run, "PIPELINE_START"))
        if status == "CANCELING":
            instance.report_run_canceling(run)
        (root / run_lock.FOLDER).mkdir(exist_ok=True)
        (root / run_lock.FOLDER / f"{run.run_id}.lock").touch()
        with run_lock.held(root, other.run_id), dg.build_sensor_context(instance) as context:
            assert [run.run_id in {one.run_id for one in runs_that_load(instance, [], ["bars_and_kline"])}] == [
                status != "CANCELING"
            ]
            said = killed_runs(context)
            assert isinstance(said, dg.SkipReason)
            still = {one.run_id for one in runs_that_load(instance, [], ["bars_and_kline"])}
        assert (run.run_id in still, other.run_id in still) == (False, True)
        found = instance.get_run_by_id(run.run_id)
        assert found is not None
        assert found.status.value == ("CANCELED" if status == "CANCELING" else "FAILURE")
        assert run_lock.is_held(root, run.run_id) is None
        instance.delete_run(other.run_id)


def _event(run: dg.DagsterRun, kind: str) -> dg.DagsterEvent:
    return dg.DagsterEvent(kind, run.job_name)


@pytest.mark.slow
def test_postgres_killed_during_a_load_is_one_message_and_the_next_load_is_right(home: Path) -> None:
    (home / "bars").mkdir()
    months = "2014-03:2014-04"
    with stack_on(home, "postgres") as stack:
        dsn = str(stack.endpoints.postgres_dsn)
        variables = found_by_dagster(stack.settings, stack.endpoints)
        deliver(home / "bars", dividend=0.0)
        assert marketdata(home, "ingest", "bars", "--months", months, **variables).returncode == 0
        deliver(home / "bars", dividend=1.5)
        # What holds the lock that the load waits for dies as well.
        with suppress(psycopg.OperationalError), waiting_in_a_load(dsn, home, variables) as command:
            stack.server("postgres").kill()
            _, said = command.communicate()
        assert command.returncode == 1
        assert "Traceback" not in said
        assert sum(line.startswith("error ") for line in said.splitlines()) == 1
        assert "is not answering" in said
        stack.server("postgres").start()
        with environment_of(variables), dg.DagsterInstance.get() as instance:
            end_killed(instance, home)
            assert [run for run in instance.get_runs() if not run.is_finished] == []
        assert marketdata(home, "ingest", "bars", "--months", months, **variables).returncode == 0
        with psycopg.connect(dsn) as connection:
            found = connection.execute(KLINE_QUERY).fetchall()
        assert found == expected_kline(home / "bars" / "2014_1min.zip")


def deliver(folder: Path, dividend: float) -> None:
    frame = sample_bars.stock_year("sz000001", "样本地产", DAYS, 7, dividend)
    with zipfile.ZipFile(folder / "2014_1min.zip", "w") as archive:
        archive.writestr("sz000001_2014.csv", sample_bars.csv_bytes(frame))
