"""What the ticks domain does by itself: after the close, at night, on dropped files; never two runs over a month."""

import datetime as dt
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from marketdata_assets.defs.ticks import automation, symbols
from marketdata_assets.defs.ticks.run_config import JOB, OP, adhoc_config
from marketdata_assets.loading import watch
from marketdata_assets.months import last_months
from marketdata_assets.partitions import tick_rectangle
from marketdata_assets.resources import ClickHouse, Ticks
from marketdata_assets.ticks.reports import Unit
from tests.defs.bar_runs import execute, failures, repository
from tests.defs.nights import night
from tests.defs.tick_runs import (
    BARS,
    EARLIER,
    MONTH,
    OLD,
    SYMBOLS,
    TABLES,
    TicksEnv,
    drop,
    minutes,
    sessions,
    units,
)

RESOURCES = {"clickhouse": ClickHouse(), "ticks": Ticks()}


def evening(day: dt.date, hour: int = 16) -> dt.datetime:
    """After the close of a day in Shanghai."""
    return dt.datetime(day.year, day.month, day.day, hour - 8, 11, tzinfo=dt.UTC)


def scheduled(ticks_env: TicksEnv, schedule: dg.ScheduleDefinition, now: dt.datetime) -> Any:
    with (
        pytest.MonkeyPatch.context() as patch,
        dg.build_schedule_context(
            scheduled_execution_time=now, repository_def=repository(), resources=RESOURCES
        ) as context,
    ):
        # A schedule opens the instance anew, which one in memory does not allow.
        patch.setattr(dg.ScheduleEvaluationContext, "instance", ticks_env.instance)
        return schedule.evaluate_tick(context)


def look(ticks_env: TicksEnv, cursor: str | None = None) -> Any:
    with dg.build_sensor_context(
        instance=ticks_env.instance, cursor=cursor, repository_def=repository(), resources=RESOURCES
    ) as context:
        return automation.ticks_files.evaluate_tick(context)


def wanted(request: dg.RunRequest) -> dict[str, Any]:
    config = request.run_config["ops"][OP]["config"]
    assert isinstance(config, dict)
    return config


def under_way(
    ticks_env: TicksEnv, job: str = JOB, tags: Mapping[str, str] | None = None, **options: Any
) -> dg.DagsterRun:
    return ticks_env.instance.create_run_for_job(
        repository().get_job(job), tags=dict(tags or {}), status=dg.DagsterRunStatus.STARTED, **options
    )


# After the close.


def test_day_that_has_closed_asks_for_its_month_of_every_symbol(ticks_env: TicksEnv) -> None:
    ticks_env.ready(*SYMBOLS)
    [request] = scheduled(ticks_env, automation.ticks_daily, evening(sessions(MONTH)[4])).run_requests or []
    config = wanted(request)
    assert (config["months"], config["tables"]) == ({MONTH: []}, ["tick_data", "factors"])


@pytest.mark.slow
def test_a_file_that_grows_during_the_run_of_the_evening_is_not_read_by_it(ticks_env: TicksEnv) -> None:
    ticks_env.ready(*SYMBOLS[:1])
    [request] = scheduled(ticks_env, automation.ticks_daily, evening(sessions(MONTH)[4])).run_requests or []
    day = sessions(MONTH)[3]
    drop(ticks_env.folder, "a.csv", minutes("699001.SH", day, 15))
    grow = partial(drop, ticks_env.folder, "a.csv", minutes("699001.SH", day, 45), age=1)
    ticks_env.patch.setattr(watch, "sleep", lambda _: grow())
    carry_out(ticks_env, request)
    assert set(ticks_env.counts()) == {Unit(SYMBOLS[0], MONTH)}
    ticks_env.patch.setattr(watch, "sleep", lambda _: None)
    carry_out(ticks_env, request)
    assert ticks_env.counts()[Unit("699001.SH", MONTH)] == 45


def carry_out(ticks_env: TicksEnv, request: dg.RunRequest) -> None:
    """Run what is asked for with a month of all symbols, those in files included."""
    config = {**wanted(request), "months": {MONTH: [SYMBOLS[0], "699001.SH"]}}
    result = execute(ticks_env.instance, JOB, {"ops": {OP: {"config": config}}})
    assert result.success, failures(result)


def test_nothing_is_asked_over_the_network_that_nobody_set_up(ticks_env: TicksEnv, tmp_path: Path) -> None:
    ticks_env.stocks(*SYMBOLS)
    ticks_env.partitions(*SYMBOLS)
    day = evening(sessions(MONTH)[4])
    for schedule in (automation.ticks_daily, automation.ticks_symbols_daily):
        found = scheduled(ticks_env, schedule, day)
        assert not found.run_requests, schedule.name
    assert "TUSHARE_TOKEN" in (scheduled(ticks_env, automation.ticks_daily, day).skip_message or "")
    (tmp_path / "mine.yaml").write_text("queue: {first: []}\n")
    ticks_env.patch.setenv("MARKETDATA_PROVIDERS", str(tmp_path / "mine.yaml"))
    assert scheduled(ticks_env, automation.ticks_daily, day).run_requests
    assert ticks_env.tushare.requests == 0


@pytest.mark.parametrize("why", ["weekend", "no symbols", "under way", "partitions under way"])
def test_day_is_skipped(ticks_env: TicksEnv, why: str) -> None:
    ticks_env.sign_in()
    if why != "no symbols":
        ticks_env.partitions(*SYMBOLS)
    day = sessions(MONTH)[4]
    if why == "weekend":
        day = next(one for one in (day + dt.timedelta(days=n) for n in range(7)) if one.weekday() == 5)
    if why == "under way":
        under_way(ticks_env, run_config=adhoc_config({MONTH: ["600000.SH"]}, TABLES))
    if why == "partitions under way":
        under_way(ticks_env, "ticks", tick_rectangle([EARLIER, MONTH], SYMBOLS))
    found = scheduled(ticks_env, automation.ticks_daily, evening(day))
    assert not found.run_requests
    assert found.skip_message


def test_run_over_another_month_is_in_nobodys_way(ticks_env: TicksEnv) -> None:
    ticks_env.sign_in()
    ticks_env.partitions(*SYMBOLS)
    under_way(ticks_env, run_config=adhoc_config({EARLIER: []}, TABLES))
    assert scheduled(ticks_env, automation.ticks_daily, evening(sessions(MONTH)[4])).run_requests


def test_list_of_symbols_is_read_anew_when_there_is_one(ticks_env: TicksEnv, tmp_path: Path) -> None:
    morning = evening(sessions(MONTH)[4], 8)
    assert not scheduled(ticks_env, automation.ticks_symbols_daily, morning).run_requests
    (tmp_path / "symbols.csv").write_text("symbol\n600000.SH\n")
    ticks_env.patch.setenv("MARKETDATA_TICKS_SYMBOLS", str(tmp_path / "symbols.csv"))
    assert scheduled(ticks_env, automation.ticks_symbols_daily, morning).run_requests
    assert ticks_env.registry().success
    assert symbols.known(ticks_env.instance) == ["600000.SH"]


# At night.


def tonight(ticks_env: TicksEnv) -> list[dg.RunRequest]:
    return list(night(ticks_env.instance, "ticks").run_requests or [])


def behind(ticks_env: TicksEnv) -> tuple[set[Unit], set[Unit]]:
    """What the night asks for: bars with factors, and factors alone."""
    found: dict[bool, set[Unit]] = {True: set(), False: set()}
    for request in tonight(ticks_env):
        config = wanted(request)
        months: Mapping[str, Sequence[str]] = config["months"]
        found["tick_data" in config["tables"]] |= {Unit(one, month) for month in months for one in months[month]}
    return found[True], found[False]


@pytest.mark.slow
def test_night_mends_what_is_missing_or_failed_and_leaves_the_rest(ticks_env: TicksEnv) -> None:
    ticks_env.patch.setenv("MARKETDATA_TICKS_MONTHS", "2")
    ticks_env.ready(*SYMBOLS[:2])
    months = last_months(2, dt.datetime.now(dt.UTC))
    missing, _ = behind(ticks_env)
    assert missing == {Unit(symbol, month) for symbol in SYMBOLS[:2] for month in months}
    ticks_env.select({months[0]: []})
    now = months[1]
    ticks_env.tushare.fail(500, 2, "600001.SH")
    assert not ticks_env.select({now: []}).success
    missing, _ = behind(ticks_env)
    assert missing == {Unit("600001.SH", now)}
    [request] = tonight(ticks_env)
    result = ticks_env.select(wanted(request)["months"], wanted(request)["tables"])
    assert result.success, failures(result)
    assert behind(ticks_env) == (set(), set())


def test_night_leaves_months_alone_that_a_run_works_on(ticks_env: TicksEnv) -> None:
    ticks_env.patch.setenv("MARKETDATA_TICKS_MONTHS", "2")
    ticks_env.ready("600000.SH")
    months = last_months(2, dt.datetime.now(dt.UTC))
    run = under_way(ticks_env, run_config=adhoc_config({month: [] for month in months}, TABLES))
    assert tonight(ticks_env) == []
    ticks_env.instance.delete_run(run.run_id)
    assert len(tonight(ticks_env)) == 1


@pytest.mark.slow
def test_night_without_a_network_computes_factors_of_bars_that_are_there(ticks_env: TicksEnv) -> None:
    drop(ticks_env.folder, "mine.csv", minutes("600000.SH", sessions(MONTH)[3]))
    assert ticks_env.registry(providers=["files"]).success
    assert ticks_env.select({MONTH: ["600000.SH"]}, ["tick_data"], providers=["files"]).success
    [request] = tonight(ticks_env)
    config = wanted(request)
    assert (config["months"], config["tables"], config["providers"]) == (
        {MONTH: ["600000.SH"]},
        ["factors"],
        ["files"],
    )
    result = ticks_env.select(config["months"], config["tables"], providers=config["providers"])
    assert result.success, failures(result)
    assert tonight(ticks_env) == []
    assert ticks_env.tushare.requests == 0


# Files.


def test_dropped_files_ask_for_their_symbol_months_once_and_for_nobody_else(ticks_env: TicksEnv) -> None:
    ticks_env.sign_in()
    day = sessions(MONTH)[3]
    drop(ticks_env.folder, "a.csv", [*minutes("600000.SH", day), *minutes("600001.SH", sessions(OLD)[0])])
    found = look(ticks_env)
    [request] = found.run_requests
    config = wanted(request)
    assert config["months"] == {MONTH: ["600000.SH"], OLD: ["600001.SH"]}
    assert (config["providers"], config["tables"]) == (["files"], ["tick_data", "factors"])
    options = {name: value for name, value in config.items() if name not in ("months", "tables")}
    result = ticks_env.select(config["months"], config["tables"], **options)
    assert result.success, failures(result)
    assert ticks_env.counts() == {Unit("600000.SH", MONTH): 20, Unit("600001.SH", OLD): 20}
    assert ticks_env.materialized(BARS) == units(["600000.SH"])
    assert ticks_env.tushare.requests == 0
    assert not look(ticks_env, found.cursor).run_requests


def test_file_that_changed_is_asked_for_again(ticks_env: TicksEnv) -> None:
    day = sessions(MONTH)[3]
    drop(ticks_env.folder, "a.csv", minutes("600000.SH", day))
    first = look(ticks_env)
    drop(ticks_env.folder, "a.csv", minutes("600000.SH", day, 30), age=1800)
    second = look(ticks_env, first.cursor)
    assert second.run_requests[0].run_key != first.run_requests[0].run_key
    config = wanted(second.run_requests[0])
    assert (config["providers"], config["refetch"]) == (["files"], True)


def test_order_books_are_asked_for_by_themselves(ticks_env: TicksEnv) -> None:
    folder = ticks_env.folder / "order_book"
    folder.mkdir(parents=True)
    path = folder / "a.csv"
    moment = f"{sessions(MONTH)[3]} 10:00:00"
    path.write_text(f"symbol,ts,bid_price_1,bid_size_1,ask_price_1,ask_size_1\n600000.SH,{moment},9.99,100,10.01,200\n")
    os.utime(path, (time.time() - 3600,) * 2)
    [request] = look(ticks_env).run_requests
    config = wanted(request)
    assert (config["months"], config["tables"]) == ({MONTH: ["600000.SH"]}, ["order_book"])
    result = ticks_env.select(config["months"], config["tables"], providers=config["providers"])
    assert result.success, failures(result)
    assert ticks_env.counts("order_book") == {Unit("600000.SH", MONTH): 1}


def test_files_of_a_month_that_a_run_works_on_are_looked_at_later(ticks_env: TicksEnv) -> None:
    drop(ticks_env.folder, "a.csv", minutes("600000.SH", sessions(MONTH)[3]))
    run = under_way(ticks_env, run_config=adhoc_config({MONTH: ["000001.SZ"]}, TABLES))
    busy = look(ticks_env)
    assert "a run over these months is in progress" in busy.skip_message
    ticks_env.instance.delete_run(run.run_id)
    assert len(look(ticks_env, busy.cursor).run_requests) == 1


def test_file_that_cannot_be_read_is_named(ticks_env: TicksEnv) -> None:
    path = drop(ticks_env.folder, "a.csv", minutes("600000.SH", sessions(MONTH)[3]))
    path.write_text("symbol,when\n600000.SH,noon\n")
    os.utime(path, (time.time() - 3600,) * 2)
    found = look(ticks_env)
    assert not found.run_requests
    assert str(path) in found.skip_message


# Thousands of symbols.


def test_no_tick_lists_the_grid_of_thousands_of_symbols(ticks_env: TicksEnv) -> None:
    ticks_env.sign_in()
    names = [f"{number:06d}.SZ" for number in range(5000)]
    ticks_env.partitions(*names)
    drop(ticks_env.folder, "a.csv", minutes("600000.SH", sessions(MONTH)[3]))
    cursor = look(ticks_env).cursor

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the whole grid was listed")

    ticks_env.patch.setattr(dg.MultiPartitionsDefinition, "get_partition_keys", refuse)
    assert not look(ticks_env, cursor).run_requests
    assert look(ticks_env).run_requests
    assert scheduled(ticks_env, automation.ticks_daily, evening(sessions(MONTH)[4])).run_requests
