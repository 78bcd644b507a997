"""Old runs are deleted from Dagster's storage; everything that says what is materialized is kept."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from marketdata_assets.defs.repair import housekeeping

MONTHS = dg.StaticPartitionsDefinition(["2024-01", "2024-02"])
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Ends(dg.Config):
    well: bool = True


@dg.asset(partitions_def=MONTHS)
def bars(config: Ends) -> dg.MaterializeResult:
    if not config.well:
        raise dg.Failure("as planned", allow_retries=False)
    return dg.MaterializeResult(metadata={"rows": 7})


@dg.asset_check(asset=bars)
def right() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def run(instance: dg.DagsterInstance, month: str, well: bool = True) -> str:
    config = {**QUIET, "ops": {"bars": {"config": {"well": well}}}}
    result = dg.materialize(
        [bars, right], partition_key=month, instance=instance, run_config=config, raise_on_error=False
    )
    assert result.success == well
    return result.run_id


def ahead() -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)


def runs(instance: dg.DagsterInstance) -> set[str]:
    return set(instance.get_run_ids())


def rows(instance: dg.DagsterInstance, table: str) -> int:
    import sqlalchemy as db

    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        return int(connection.execute(db.text(f"SELECT count(*) FROM {table}")).scalar())


@pytest.fixture(params=["sqlite", "postgres"])
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    if request.param == "postgres":
        yield request.getfixturevalue("on_postgres")
    else:
        with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as found:
            yield found


def test_runs_that_were_superseded_go_and_what_stands_stays(instance: dg.DagsterInstance) -> None:
    first, failed = run(instance, "2024-01"), run(instance, "2024-02", well=False)
    second, other = run(instance, "2024-01"), run(instance, "2024-02")
    events, answers = rows(instance, "event_logs"), rows(instance, "asset_check_executions")
    assert answers == 4, "three answers, and one that was waited for in vain"
    assert housekeeping.tidy(instance, dt.datetime(2020, 1, 1, tzinfo=dt.UTC), 60).runs == 0
    assert (rows(instance, "event_logs"), runs(instance)) == (events, {first, failed, second, other})

    done = housekeeping.tidy(instance, ahead(), 60)
    assert vars(done) == {"runs": 2, "held": 2, "evaluations": 2, "more": False}
    assert runs(instance) == {second, other}
    assert rows(instance, "event_logs") < events
    assert instance.get_materialized_partitions(bars.key) == {"2024-01", "2024-02"}
    latest = instance.get_latest_materialization_event(bars.key)
    assert latest and latest.run_id == other
    assert rows(instance, "asset_check_executions") == 2
    again = housekeeping.tidy(instance, ahead(), 60)
    assert (again.runs, again.held, again.evaluations) == (0, 2, 0)


@pytest.mark.parametrize("instance", ["sqlite"], indirect=True)
def test_what_takes_too_long_is_left_for_the_next_time(instance: dg.DagsterInstance) -> None:
    run(instance, "2024-01")
    run(instance, "2024-01")
    done = housekeeping.tidy(instance, ahead(), -1)
    assert (done.runs, done.more, len(runs(instance))) == (0, True, 2)


def test_logs_of_a_run_go_with_it(on_postgres: dg.DagsterInstance) -> None:
    run_id = run(on_postgres, "2024-01", well=False)
    logs = Path(on_postgres.root_directory) / "storage" / run_id
    assert any(logs.rglob("*.err"))
    assert housekeeping.tidy(on_postgres, ahead(), 60).runs == 1
    assert not logs.exists()


def test_job_keeps_as_many_days_as_the_settings_say(
    on_postgres: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETDATA_KEEP_RUNS_DAYS", "3")
    old = run(on_postgres, "2024-01", well=False)
    young = run(on_postgres, "2024-02", well=False)
    storage = on_postgres.run_storage
    import sqlalchemy as db

    days_ago = dt.datetime.now(dt.UTC) - dt.timedelta(days=4)
    with storage.connect() as connection:  # type: ignore[attr-defined]
        statement = db.text("UPDATE runs SET update_timestamp = :at WHERE run_id = :run")
        connection.execute(statement, {"at": days_ago.replace(tzinfo=None), "run": old})
    result = housekeeping.housekeeping.execute_in_process(instance=on_postgres, run_config=QUIET)
    assert result.success
    assert runs(on_postgres) == {young, result.run_id}


@pytest.mark.parametrize(
    ("status", "cause", "advice"),
    [
        (dg.DagsterRunStatus.STARTING, "Run timed out due to taking longer than 120 seconds to start.", "NOT_STARTED"),
        pytest.param(
            dg.DagsterRunStatus.STARTED,
            "Exceeded maximum runtime of 43200 seconds.",
            "TOO_LONG",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_run_that_dagster_ends_says_what_to_do_once(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, cause: str, advice: str
) -> None:
    stopped = create_run_for_test(instance, "bars", status=status)
    instance.report_run_failed(stopped, cause)
    own = run(instance, "2024-01", well=False)
    for _ in range(2):
        housekeeping.advise(instance)
    texts = [one.message for one in instance.all_logs(stopped.run_id)]
    assert sum("What to do:" in text for text in texts) == 1
    assert getattr(housekeeping, advice) in texts[-1]
    assert not any("What to do:" in one.message for one in instance.all_logs(own)), "it says so itself"
