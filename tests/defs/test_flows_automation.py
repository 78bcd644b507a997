"""What runs a flow by itself, and what its checks object to."""

import os
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from marketdata_assets.defs.flows import automation
from marketdata_assets.flows.definition import read
from marketdata_assets.flows.forget import forget
from marketdata_assets.loading import watch
from marketdata_assets.resources import FlowFiles, Postgres
from marketdata_assets.stores.postgres import connect
from tests.defs.bar_runs import failures, verdicts
from tests.defs.flow_runs import PRICES, FlowsEnv

WATCHED = PRICES + "  sensor: true\n  schedule: 0 18 * * *\n"
ROW = "symbol,day,close\n{},2024-01-02,1.5\n"


def tick(flows_env: FlowsEnv, name: str = "closes", cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    """One look of the flow's sensor."""
    repository = flows_env.repository()
    sensor = repository.get_sensor_def(f"flows_{name}_files")
    context = dg.build_sensor_context(
        flows_env.instance, cursor, resources={"postgres": Postgres(), "flow_files": FlowFiles()}
    )
    found = sensor(context)
    assert isinstance(found, dg.SensorResult | dg.SkipReason)
    return found


def keys(found: dg.SensorResult | dg.SkipReason) -> list[str | None]:
    assert isinstance(found, dg.SensorResult), found
    return [request.run_key for request in found.run_requests or ()]


def reason(found: object) -> str:
    assert isinstance(found, dg.SkipReason), found
    return str(found.skip_message)


def test_new_and_changed_files_ask_for_a_run_and_loaded_ones_do_not(flows_env: FlowsEnv) -> None:
    flows_env.declare("closes", WATCHED)
    assert "there is no" in reason(tick(flows_env))
    flows_env.deliver("a.csv", ROW.format("AAA"), "prices")
    first = keys(tick(flows_env))
    assert len(first) == 1
    assert keys(tick(flows_env)) == first
    assert flows_env.run("closes").success
    assert "nothing new" in reason(tick(flows_env))
    flows_env.deliver("a.csv", ROW.format("BBB"), "prices", age_seconds=1800)
    assert len(keys(tick(flows_env))) == 1
    assert keys(tick(flows_env)) != first


def test_file_that_is_still_written_is_waited_for(flows_env: FlowsEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    flows_env.declare("closes", WATCHED)
    monkeypatch.setenv("MARKETDATA_FLOWS_QUIET_SECONDS", "900")
    now = time.time_ns()
    monkeypatch.setattr(automation.time, "time_ns", lambda: now)
    flows_env.deliver("a.csv", ROW.format("AAA"), "prices", age_seconds=-8 * 3600)  # by a clock in another time zone
    sensor = flows_env.repository().get_sensor_def("flows_closes_files")

    def evaluate(cursor: str | None) -> SensorExecutionData:
        resources = {"postgres": Postgres(), "flow_files": FlowFiles()}
        with dg.build_sensor_context(flows_env.instance, cursor, resources=resources) as context:
            return sensor.evaluate_tick(context)

    first = evaluate(None)
    assert "1 files are still being written" in (first.skip_message or "")
    now += 899 * 10**9
    early = evaluate(first.cursor)
    assert not early.run_requests
    now += 10**9
    assert len(evaluate(early.cursor).run_requests or ()) == 1


def test_file_that_failed_asks_once(flows_env: FlowsEnv) -> None:
    flows_env.declare("closes", WATCHED)
    flows_env.deliver("a.csv", "nothing,of,it\n1,2,3\n", "prices")
    first = keys(tick(flows_env))
    assert not flows_env.run("closes").success
    assert keys(tick(flows_env)) == first, "the same run key, so Dagster starts no second run"


def test_what_is_due_again_is_requested_under_another_key(flows_env: FlowsEnv) -> None:
    definition = flows_env.declare("closes", WATCHED)
    flows_env.deliver("a.csv", ROW.format("AAA"), "prices")
    flows_env.deliver("b.csv", ROW.format("BBB"), "prices")
    requested = keys(tick(flows_env))
    assert flows_env.run("closes").success

    def request_again() -> None:
        [key] = keys(tick(flows_env))
        assert key not in requested
        assert keys(tick(flows_env)) == [key]
        requested.append(key)
        assert flows_env.run("closes").success
        assert "nothing new" in reason(tick(flows_env))

    with connect(Postgres().dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE prices")
        request_again()
        connection.execute("TRUNCATE prices")
        request_again()
        forget(connection, read(definition, "closes"), ["a.csv"])
        request_again()
    flows_env.declare("closes", WATCHED + "  handlers: [{derive: {close: close * 2}}]\n")
    request_again()
    flows_env.declare("closes", WATCHED)
    request_again()
    for symbol in ("CCC", "AAA"):
        moment = 1_700_000_000 + (symbol == "CCC")
        os.utime(flows_env.deliver("a.csv", ROW.format(symbol), "prices"), (moment, moment))
        request_again()


def test_files_that_are_partitions_are_made_known(flows_env: FlowsEnv) -> None:
    flows_env.declare("closes", WATCHED + "  partitions: file\n")
    for name in ("a.csv", "b.csv", "c.csv"):
        flows_env.deliver(name, ROW.format(name), "prices")
    found = tick(flows_env)
    assert len(keys(found)) == 1
    assert flows_env.instance.get_dynamic_partitions("closes_files") == ["a.csv", "b.csv", "c.csv"]
    assert isinstance(found, dg.SensorResult)
    assert flows_env.run("closes", found.run_requests[0].tags).success  # type: ignore[index]
    flows_env.deliver("b.csv", ROW.format("other"), "prices", age_seconds=60)
    again = tick(flows_env)
    assert isinstance(again, dg.SensorResult)
    assert [sorted(request.tags.values()) for request in again.run_requests or ()] == [["b.csv", "b.csv"]]


def test_schedule_asks_only_when_something_is_behind(flows_env: FlowsEnv, tmp_path: Path) -> None:
    flows_env.declare("closes", WATCHED)
    flows_env.deliver("a.csv", ROW.format("AAA"), "prices")
    schedule = flows_env.repository().get_schedule_def("flows_closes_clock")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 18 * * *", "UTC")
    resources = {"postgres": Postgres(), "flow_files": FlowFiles()}
    with (
        dg.DagsterInstance.local_temp(str(tmp_path)) as on_disk,
        dg.build_schedule_context(on_disk, resources=resources) as context,
    ):
        assert len(schedule.evaluate_tick(context).run_requests or ()) == 1
        assert flows_env.run("closes").success
        later = schedule.evaluate_tick(context)
    assert later.run_requests == []
    assert "nothing new" in (later.skip_message or "")


@pytest.mark.parametrize("partitions", ["none", "file"])
def test_a_file_that_grows_during_a_scheduled_run_is_left_out(
    flows_env: FlowsEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, partitions: str
) -> None:
    flows_env.declare("closes", WATCHED + f"  partitions: {partitions}\n")
    flows_env.deliver("a.csv", ROW.format("AAA"), "prices")
    flows_env.deliver("b.csv", ROW.format("BBB"), "prices")
    schedule = flows_env.repository().get_schedule_def("flows_closes_clock")
    resources = {"postgres": Postgres(), "flow_files": FlowFiles()}
    with (
        dg.DagsterInstance.local_temp(str(tmp_path)) as on_disk,
        dg.build_schedule_context(on_disk, resources=resources) as context,
    ):
        [request] = schedule.evaluate_tick(context).run_requests or ()
        for key in on_disk.get_dynamic_partitions("closes_files"):
            flows_env.instance.add_dynamic_partitions("closes_files", [key])
    whole = ROW.format("BBB") + "CCC,2024-01-02,2.5\n"
    monkeypatch.setattr(watch, "sleep", lambda _: flows_env.deliver("b.csv", whole, "prices", age_seconds=1))
    config = request.run_config["ops"]["closes"]["config"]
    first = flows_env.run("closes", request.tags, config)
    assert first.success == (partitions == "none")
    if partitions == "file":
        assert "b.csv: still being written" in failures(first)["closes"]
    assert flows_env.rows("SELECT symbol FROM prices") == [("AAA",)]
    monkeypatch.setattr(watch, "sleep", lambda _: None)
    assert flows_env.run("closes", request.tags, config).success
    assert len(flows_env.rows("SELECT symbol FROM prices")) == 3


CHANGES = [
    ("every_row_accounted", "INSERT INTO prices (symbol, day, close) VALUES ('X', '2024-01-02', 1)"),
    (
        "every_row_accounted",
        "DELETE FROM prices WHERE symbol = 'X'; UPDATE marketdata_ledger SET rejected = 1, read = 2",
    ),
    ("every_row_accounted", "UPDATE marketdata_ledger SET rejected = 0, read = 2"),
    ("no_drift", "UPDATE marketdata_ledger SET read = 1; ALTER TABLE prices ADD COLUMN other text"),
    ("no_drift", "ALTER TABLE prices DROP COLUMN other; ALTER TABLE prices ALTER COLUMN close TYPE real"),
    (
        "keys_unique",
        """ALTER TABLE prices DROP CONSTRAINT prices_pkey;
           INSERT INTO prices (symbol, day, close) SELECT symbol, day, 2 FROM prices""",
    ),
]
"""Pairs of the check that fails and the change; each change also undoes the one before."""


@pytest.mark.parametrize(
    ("mode", "changes"),
    [
        ("upsert", CHANGES),
        ("replace", [("every_row_accounted", "DELETE FROM prices")]),
        pytest.param("append", [("every_row_accounted", "DELETE FROM prices")], marks=pytest.mark.slow),
    ],
    ids=["upsert", "replace", "append"],
)
def test_checks_object_to_a_change_behind_the_flows_back(
    flows_env: FlowsEnv, mode: str, changes: list[tuple[str, str]]
) -> None:
    flows_env.declare("closes", PRICES + f"    mode: {mode}\n")
    flows_env.deliver("a.csv", ROW.format("AAA"), "prices")
    run = flows_env.run("closes", checks=True)
    assert all(verdicts(run).values())
    for check, change in changes:
        flows_env.change(*change.split(";"))
        found = checks_alone(flows_env)
        assert found.pop(check) is False, change
        assert len(changes) == 1 or check == "keys_unique" or all(found.values()), change


def test_expectations_are_checks_of_the_asset(flows_env: FlowsEnv) -> None:
    flows_env.declare("closes", PRICES + "  quality: {columns: {close: {max: 0.5}}, rows: {by: day, share: 0.5}}\n")
    flows_env.deliver("a.csv", ROW.format("AAA"), "prices")
    found = verdicts(flows_env.run("closes", checks=True))
    assert (found["close_as_expected"], found["rows_as_expected"]) == (False, True)


def checks_alone(flows_env: FlowsEnv) -> dict[str, bool]:
    """The checks of the flow without a load."""
    definitions = flows_env.repository()
    [checks] = {
        id(one): one
        for key, one in definitions.asset_checks_defs_by_key.items()
        if key.asset_key == dg.AssetKey("closes")
    }.values()
    job = dg.Definitions(
        asset_checks=[checks], jobs=[dg.define_asset_job("alone", dg.AssetSelection.checks(checks))]
    ).resolve_job_def("alone")
    return verdicts(job.execute_in_process(instance=flows_env.instance, resources={"postgres": Postgres()}))
