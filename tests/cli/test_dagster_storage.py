"""A run on Dagster's Postgres storage, in a process of its own: its end and its events are on record."""

import subprocess
import sys
import zipfile
from pathlib import Path

import dagster as dg
import pytest
from dagster_postgres import PostgresEventLogStorage
from dagster_postgres.utils import DagsterPostgresException

from marketdata_assets.cli.instance import PACKAGE, STORAGE, dagster_instance
from marketdata_assets.cli.instance import environment as found_by_dagster
from marketdata_assets.defs.bars import automation
from marketdata_assets.defs.bars.automation import JOB
from marketdata_assets.errors import TransientError
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.partitions import months_of_tags
from marketdata_assets.resources import Resources
from marketdata_demo import sample_bars
from tests.cli.commands import PROGRAMS, apart, environment, marketdata, only


def deliver(folder: Path) -> None:
    days = [day for day in sample_bars.weekdays(2014) if day.month == 3 and day.day <= 3]
    frame = sample_bars.stock_year("sz000001", "样本地产", days, 7)
    with zipfile.ZipFile(folder / "2014_1min.zip", "w") as archive:
        archive.writestr("sz000001_2014.csv", sample_bars.csv_bytes(frame))


@pytest.mark.slow
def test_run_of_the_dagster_command_is_stored_with_its_events(
    running: LocalStack, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(tmp_path)
    variables = found_by_dagster(running.settings, running.endpoints) | {
        "MARKETDATA_POSTGRES_DSN": database,
        "MARKETDATA_BARS_DIR": str(tmp_path),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as instance:
        before = {run.run_id for run in instance.get_runs()}
    command = [str(PROGRAMS / "dagster"), "asset", "materialize", "--partition", "2014-03"]
    where = ["--select", "stock_1min_qfq,stock_monthly_kline", "-m", "marketdata_assets.definitions"]
    child = subprocess.run(
        [*command, *where],
        env=environment(running.settings.root, **variables),
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stdout + child.stderr
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
        [run] = [run for run in instance.get_runs() if run.run_id not in before]
        assert run.status == dg.DagsterRunStatus.SUCCESS
        kinds = [entry.dagster_event.event_type_value for entry in instance.all_logs(run.run_id) if entry.dagster_event]
        assert kinds.count("ASSET_MATERIALIZATION") == 2
        assert kinds.count("ASSET_CHECK_EVALUATION") == kinds.count("ASSET_CHECK_EVALUATION_PLANNED") > 0
        assert kinds[-1] == dg.DagsterEventType.RUN_SUCCESS.value
        night_knows_it(instance)


def night_knows_it(instance: dg.DagsterInstance) -> None:
    """The months of the year that were left out are due, and the one that was loaded is not."""
    requests = automation.due(instance, Resources())
    left = [f"2014-{month:02d}" for month in range(1, 13) if month != 3]
    assert {request.job_name for request in requests} == {JOB}
    assert sorted(month for request in requests for month in months_of_tags(request.tags)) == left


def test_storage_that_dagster_has_tried_in_vain_is_named_with_the_remedy(running: LocalStack) -> None:
    home = running.settings.root
    with (
        only(environment(home)),
        pytest.raises(
            TransientError, match=r"^Dagster's storage is not answering \(too many retries\).*marketdata doctor"
        ),
        dagster_instance(running.settings),
    ):
        raise DagsterPostgresException("too many retries")


@pytest.mark.parametrize(
    ("given", "waits"),
    [
        pytest.param({}, "300", marks=pytest.mark.slow),
        ({"DAGSTER_GRPC_TIMEOUT_SECONDS": "7"}, "7"),
    ],
)
def test_processes_of_dagster_wait_longer_for_a_code_server_than_by_default(
    tmp_path: Path, given: dict[str, str], waits: str
) -> None:
    asked = "from dagster._grpc.utils import default_grpc_timeout as wait; print(wait())"
    ended = apart(tmp_path, "exec", sys.executable, "-c", asked, **dict.fromkeys(STORAGE, "1"), **given)
    assert ended.stdout.strip() == waits, ended.stderr


@pytest.mark.parametrize("name", ["DAGSTER_PG_PORT", "DAGSTER_GRPC_TIMEOUT_SECONDS", "DAGSTER_PG_DB"])
def test_a_setting_of_dagster_that_is_no_number_or_is_missing_is_named(tmp_path: Path, name: str) -> None:
    given = dict.fromkeys(STORAGE, "1")
    wrong = {**given, name: "abc"} if name != "DAGSTER_PG_DB" else {one: "1" for one in given if one != name}
    ended = marketdata(tmp_path, "metrics", "--once", **wrong)
    assert ended.returncode == 1
    assert f"{name}: " in ended.stderr
    assert "Traceback" not in ended.stderr
