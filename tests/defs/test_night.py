"""The night over all domains: what is due beside the files, once a night, and what does not keep it from the rest."""

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from bar_runs import BARS, KLINE, Warehouse, deliver, failures, repository
from exchange_runs import FIRST, LAST, YESTERDAY, Floor
from flow_runs import PRICES, Mill
from nights import night
from tick_runs import BARS as TICK_BARS
from tick_runs import MONTH, SYMBOLS, Desk, drop, minutes, sessions

from marketdata_assets.bars.ingest import ingest
from marketdata_assets.defs.exchanges.automation import CAPTURES_SENSOR
from marketdata_assets.defs.exchanges.days import TABLES_JOB, TABLES_STEP
from marketdata_assets.defs.repair.nightly import TAG, night_of
from marketdata_assets.defs.ticks.automation import FILES_SENSOR
from marketdata_assets.defs.ticks.run_config import DAILY, JOB, OP, adhoc_config
from marketdata_assets.exchanges.records import Trade
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_assets.fanout import Fanout
from marketdata_assets.partitions import RANGE_END, RANGE_START, range_tags

ROW = "symbol,day,close\n{},{},1.5\n"
DATED = (
    PRICES.replace("    table: prices", "    table: dated") + "  partitions: {month: day}\n  timezone: Asia/Shanghai\n"
)
BY_FILE = PRICES.replace("    table: prices", "    table: filed") + "  partitions: file\n"


def asked(found: dg.SensorResult) -> set[tuple[str | None, ...]]:
    """Job, first and last partition of each request."""
    return {
        (one.job_name, *(one.tags[name] for name in (RANGE_START, RANGE_END) if name in one.tags))
        for one in found.run_requests or []
    }


def carried_out(instance: dg.DagsterInstance, found: dg.SensorResult) -> None:
    """Run what is asked for, as the daemon would."""
    for request in found.run_requests or []:
        result = (
            repository()
            .get_job(str(request.job_name))
            .execute_in_process(
                instance=instance, tags=request.tags, run_config=request.run_config, raise_on_error=False
            )
        )
        assert result.success, failures(result)


def killed(
    instance: dg.DagsterInstance, job: str, tags: Mapping[str, str], config: Mapping[str, Any] | None = None
) -> None:
    """A run that has begun and whose process is gone."""
    begun = dg.DagsterRunStatus.STARTED
    run = instance.create_run_for_job(repository().get_job(job), tags=tags, run_config=config, status=begun)
    instance.report_run_failed(run)


def killed_for(instance: dg.DagsterInstance, sensor: str, job: str, request: dg.RunRequest) -> dict[str, str]:
    """What the sensor asked for is killed, and killed again when it is tried once more; the tags of such a run."""
    tags = {"dagster/sensor_name": sensor, "dagster/run_key": str(request.run_key)}
    for retry in ({}, {"dagster/retry_number": "1"}):
        killed(instance, job, tags | retry, request.run_config)
    return tags


def test_sensors_whose_runs_are_asked_for_again_are_there() -> None:
    assert {FILES_SENSOR, CAPTURES_SENSOR} <= {one.name for one in repository().sensor_defs}


def dropped(key: str) -> dg.RunRequest:
    """As the sensor of files asks."""
    config = adhoc_config({MONTH: ["699001.SH"]}, DAILY, providers=["files"], refetch=True)
    return dg.RunRequest(key, run_config=config)


def test_dropped_files_whose_run_failed_for_good_are_loaded_at_night(desk: Desk) -> None:
    """Of symbols that nobody registered, and days that are covered, no ledger knows that files have news."""
    day = sessions(MONTH)[3]
    drop(desk.folder, "a.csv", minutes("699001.SH", day))
    request = dropped("first")
    tags = killed_for(desk.instance, FILES_SENSOR, JOB, request)
    found = night(desk.instance)
    [again] = found.run_requests or []
    assert (again.job_name, again.run_config) == (JOB, request.run_config)
    killed(desk.instance, JOB, again.tags, again.run_config)
    found = night(desk.instance)
    assert [one.run_config for one in found.run_requests or []] == [request.run_config]
    carried_out(desk.instance, found)
    assert sum(desk.counts().values()) == 20
    assert asked(night(desk.instance)) == set()
    drop(desk.folder, "a.csv", minutes("699001.SH", day, 30), age=1800)
    second = dropped("second")
    killed_for(desk.instance, FILES_SENSOR, JOB, second)
    assert len(night(desk.instance).run_requests or []) == 1
    desk.instance.create_run_for_job(
        repository().get_job(JOB),
        tags=tags | {"dagster/run_key": str(second.run_key)},
        run_config=second.run_config,
        status=dg.DagsterRunStatus.SUCCESS,
    )
    assert asked(night(desk.instance)) == set()


def test_captures_whose_run_failed_for_good_are_loaded_at_night_while_they_are_there(floor: Floor) -> None:
    floor.sample(minutes=4)
    paths = sorted(floor.folder.rglob("*.zst"))
    gone = floor.folder / "gone.capture.zst"
    config = {"ops": {TABLES_STEP: {"config": {"stream": False, "files": [str(gone), *map(str, paths)]}}}}
    killed_for(floor.instance, CAPTURES_SENSOR, TABLES_JOB, dg.RunRequest("a", run_config=config))
    config = {"ops": {TABLES_STEP: {"config": {"stream": False, "files": [str(gone)]}}}}
    killed_for(floor.instance, CAPTURES_SENSOR, TABLES_JOB, dg.RunRequest("b", run_config=config))
    found = night(floor.instance)
    [again] = [one for one in found.run_requests or [] if one.job_name == TABLES_JOB]
    assert again.run_config["ops"][TABLES_STEP]["config"]["files"] == [str(path) for path in paths] != []
    carried_out(floor.instance, dg.SensorResult(run_requests=[again]))
    assert floor.counts()["exchange_trades"] > 0
    assert TABLES_JOB not in {one.job_name for one in night(floor.instance).run_requests or []}


def test_months_that_landed_and_were_never_marked_are_run_and_cost_nothing(warehouse: Warehouse) -> None:
    deliver(warehouse.folder, 2014, [3, 4])
    ingest(warehouse.dsn, warehouse.folder, ["2014-03", "2014-04"], run_id="x", fanout=Fanout(1))
    found = night(warehouse.instance)
    assert ("bars_repair", "2014-01", "2014-12") in asked(found)
    carried_out(warehouse.instance, found)
    assert {"2014-03", "2014-04"} <= warehouse.materialized(BARS) & warehouse.materialized(KLINE)
    assert asked(night(warehouse.instance)) == set()


def test_months_of_a_run_that_was_killed_after_all_had_landed_are_shown_as_they_are(warehouse: Warehouse) -> None:
    deliver(warehouse.folder, 2014, [3])
    assert warehouse.run("2014-01", "2014-12").success
    assert asked(night(warehouse.instance)) == set()
    killed(warehouse.instance, "bars_repair", range_tags("2014-02", "2014-05"))
    found = night(warehouse.instance)
    assert asked(found) == {("bars_repair", "2014-02", "2014-05")}
    assert {one.tags[TAG] for one in found.run_requests or []} == {night_of(dt.datetime.now(dt.UTC))}
    carried_out(warehouse.instance, found)
    assert asked(night(warehouse.instance)) == set()


def test_each_domain_is_seen_once_a_night(warehouse: Warehouse) -> None:
    deliver(warehouse.folder, 2014, [3])
    first = night(warehouse.instance)
    assert asked(first) == {("bars_repair", "2014-01", "2014-12")}
    again = night(warehouse.instance, first.cursor)
    assert asked(again) == set()
    seen = json.loads(first.cursor or "")
    assert night(warehouse.instance, json.dumps(dict.fromkeys(seen, "2024-01-01"))).run_requests


@pytest.mark.parametrize(
    ("moment", "of"),
    [("2024-03-01T18:29:59", "2024-03-01"), ("2024-03-01T18:30:00", "2024-03-02"), ("2024-03-02T18:29", "2024-03-02")],
)
def test_night_begins_at_half_past_two_in_shanghai(moment: str, of: str) -> None:
    assert night_of(dt.datetime.fromisoformat(moment).replace(tzinfo=dt.UTC)) == of


def test_domain_that_is_worked_on_or_away_is_seen_later_and_hides_no_other(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(warehouse.folder, 2014, [3])
    monkeypatch.setenv("MARKETDATA_CLICKHOUSE_URL", "http://127.0.0.1:9/away")
    run = warehouse.instance.create_run_for_job(repository().get_job("bars"), status=dg.DagsterRunStatus.STARTED)
    busy = night(warehouse.instance)
    assert asked(busy) == set()
    assert "bars: a run is in progress" in (busy.skip_message or "")
    assert "ticks: ClickHouse" in (busy.skip_message or "")
    warehouse.instance.report_run_failed(run)
    found = night(warehouse.instance, busy.cursor)
    assert asked(found) == {("bars_repair", "2014-01", "2014-12")}
    assert {"bars", "flow stock_daily"} <= json.loads(found.cursor or "").keys()
    assert not {"ticks", "exchanges", "alphas"} & json.loads(found.cursor or "").keys()


def test_symbol_months_that_are_not_shown_are_marked_without_asking_anybody(desk: Desk) -> None:
    desk.patch.setenv("MARKETDATA_TICKS_MONTHS", "2")
    desk.ready(*SYMBOLS[:2])
    carried_out(desk.instance, night(desk.instance))
    assert asked(night(desk.instance)) == set()
    shown, requests = desk.materialized(TICK_BARS), desk.tushare.requests
    assert {unit.symbol for unit in shown} == set(SYMBOLS[:2])
    desk.instance.wipe_assets([TICK_BARS])
    found = night(desk.instance)
    [request] = found.run_requests or []
    config: dict[str, Any] = dict(request.run_config["ops"][OP]["config"])
    assert (config["tables"], config["providers"]) == (["tick_data"], ["files"])
    carried_out(desk.instance, found)
    assert (desk.materialized(TICK_BARS), desk.tushare.requests) == (shown, requests)
    assert asked(night(desk.instance)) == set()


def test_days_that_are_behind_or_not_shown_are_run(floor: Floor) -> None:
    schema.ensure(floor.client)
    noon = int(dt.datetime.combine(YESTERDAY, dt.time(12), dt.UTC).timestamp()) * 10**9
    about: Any = ("okx", "spot", "ABC-USDT", "ABC-USDT")
    insert_records(
        floor.client,
        [Trade(*about, ns, ns, str(ns), "1", "1", None, "buy") for ns in (noon, noon - 86_400 * 10**9)],
    )
    found = night(floor.instance)
    assert asked(found) == {("exchange_days", FIRST, LAST)}
    assert floor.days().success
    assert asked(night(floor.instance)) == set()
    floor.instance.wipe_assets([dg.AssetKey("exchange_gaps")])
    assert asked(night(floor.instance)) == {("exchange_days", FIRST, LAST)}


def test_flow_reads_what_failed_before_and_marks_what_stands(mill: Mill) -> None:
    for name, text in (("plain", PRICES), ("dated", DATED), ("filed", BY_FILE)):
        mill.declare(name, text)
    mill.deliver("a.csv", ROW.format("AAA", "2024-01-02"), "prices")
    broken = mill.deliver("b.csv", ROW.format("BBB", "never"), "prices")
    found = night(mill.instance)
    assert {job for job, *_ in asked(found)} == {"flow_plain", "flow_dated", "flow_filed"}
    assert ("flow_filed", "a.csv", "b.csv") in asked(found)
    mill.deliver(broken.name, ROW.format("BBB", "2024-03-02"), "prices", age_seconds=1800)
    carried_out(mill.instance, found)
    assert asked(night(mill.instance)) == set()
    mill.instance.wipe_assets([dg.AssetKey("dated"), dg.AssetKey("filed")])
    found = night(mill.instance)
    assert asked(found) == {
        ("flow_dated", "2024-01", "2024-01"),
        ("flow_dated", "2024-03", "2024-03"),
        ("flow_filed", "a.csv", "b.csv"),
    }
    carried_out(mill.instance, found)
    assert asked(night(mill.instance)) == set()


def test_flow_whose_file_has_a_bad_definition_hides_no_other(mill: Mill, tmp_path: Path) -> None:
    mill.declare("good")
    mill.declare("bad", PRICES.replace("columns: [symbol", "colums: [symbol"))
    mill.deliver("a.csv", ROW.format("AAA", "2024-01-02"), "prices")
    assert asked(night(mill.instance)) == {("flow_good",)}
