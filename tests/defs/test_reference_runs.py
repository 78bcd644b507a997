"""Runs, schedule and repair of reference data: what is materialised, and what a changed calendar changes."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg
import pytest
import time_machine

from marketdata_assets import resources
from marketdata_assets.cli import status as status_command
from marketdata_assets.dagster_internals import GRPC_INFO_TAG
from marketdata_assets.defs import partition_results
from marketdata_assets.defs.reference import automation
from marketdata_assets.defs.reference.assets import DAILY, STEP
from marketdata_assets.defs.ticks import automation as ticks
from marketdata_assets.defs.ticks.symbols import NAME
from marketdata_assets.partitions import RANGE_END, RANGE_START, range_tags
from marketdata_assets.reference import status, stored
from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.daily import RECHECKED_DAYS
from marketdata_assets.reference.records import Days
from marketdata_assets.reference.tables import PRICE_LIMITS
from marketdata_assets.ticks.status import behind
from tests.defs.bar_runs import execute, failures, materializations, repository
from tests.defs.nights import night
from tests.defs.test_ticks_automation import evening, scheduled
from tests.defs.tick_runs import EARLIER, MONTH, SYMBOLS, TicksEnv, sessions

pytestmark = pytest.mark.usefixtures("reference_at_night")


def market(ticks_env: TicksEnv, days: Iterable[dt.date], symbols: Iterable[str] = SYMBOLS) -> None:
    """Let Tushare have factors and limits of all symbols on some days, and the first symbol suspended on the first."""
    names, spans = list(symbols), [f"{day:%Y%m%d}" for day in days]
    ticks_env.tushare.tables |= {
        "adj_factor": (["ts_code", "trade_date", "adj_factor"], [[one, day, 1.5] for day in spans for one in names]),
        "stk_limit": (
            ["trade_date", "ts_code", "up_limit", "down_limit"],
            [[day, one, 11.0, 9.0] for day in spans for one in names],
        ),
        "suspend_d": (
            ["ts_code", "trade_date", "suspend_timing", "suspend_type"],
            [[names[0], spans[0], None, "S"]],
        ),
    }


def registered(ticks_env: TicksEnv, *symbols: str) -> None:
    """Stocks, the calendar and the list of symbols are loaded."""
    ticks_env.sign_in()
    ticks_env.stocks(*symbols)
    assert ticks_env.registry().success


def load(
    ticks_env: TicksEnv,
    first: str = MONTH,
    last: str = MONTH,
    tags: Mapping[str, str] | None = None,
    *,
    checks: bool = False,
    **config: Any,
) -> dg.ExecuteInProcessResult:
    ops = {"ops": {STEP: {"config": config}}}
    return execute(ticks_env.instance, automation.JOB, ops, {**range_tags(first, last), **(tags or {})}, checks=checks)


def materialized(ticks_env: TicksEnv) -> dict[str, set[str]]:
    return {name: set(ticks_env.instance.get_materialized_partitions(dg.AssetKey(name))) for name in DAILY}


def test_month_is_loaded_materialised_and_checked(ticks_env: TicksEnv) -> None:
    ticks_env.ready(*SYMBOLS)
    market(ticks_env, sessions(MONTH))
    result = load(ticks_env, checks=True)
    assert result.success, failures(result)
    assert materialized(ticks_env) == {name: {MONTH} for name in DAILY}
    assert ticks_env.verdicts(result) == dict.fromkeys(
        ("suspensions_consistent", "factors_monotone", "limits_ordered", "files_read"), True
    )
    days = Days.month(MONTH)
    suspended = stored.suspensions(ticks_env.client, days)
    assert suspended.hours == {(SYMBOLS[0], sessions(MONTH)[0]): ""}
    assert suspended.known == frozenset(sessions(MONTH))
    assert stored.of_days(ticks_env.client, PRICE_LIMITS, days).height == len(SYMBOLS) * len(sessions(MONTH))
    assert stored.adjust_factors(ticks_env.client)["date"].unique().to_list() == sessions(MONTH)[:1]
    rows = {name: materializations(ticks_env.instance, result, dg.AssetKey(name))[MONTH] for name in DAILY}
    counts = {name: own["dagster/partition_row_count"] for name, own in rows.items()}
    each_day = len(SYMBOLS) * len(sessions(MONTH))
    assert counts == {"suspensions": 1, "adjust_factors": each_day, "price_limits": each_day}
    requests = ticks_env.tushare.requests
    assert load(ticks_env).success
    assert ticks_env.tushare.requests == requests


def test_table_that_the_account_may_not_read_stays_unknown_and_stops_no_other(ticks_env: TicksEnv) -> None:
    ticks_env.ready(*SYMBOLS)
    market(ticks_env, sessions(MONTH))
    ticks_env.tushare.denied = {"stk_limit"}
    result = load(ticks_env)
    assert result.success, failures(result)
    assert materialized(ticks_env) == {name: {MONTH} for name in DAILY} | {"price_limits": set()}
    found = {one.table: one for one in status.overview(ticks_env.client, [MONTH], dt.datetime.now(dt.UTC))}
    assert found["price_limits"].states == {"unsupported": 1}
    assert found["price_limits"].unknown_days == len(sessions(MONTH))


def test_day_that_fails_fails_the_run_with_its_name_and_the_others_are_loaded(ticks_env: TicksEnv) -> None:
    ticks_env.ready(*SYMBOLS)
    market(ticks_env, [*sessions(EARLIER), *sessions(MONTH)])
    day = sessions(MONTH)[2]
    ticks_env.tushare.fail(500, 2, f"suspend_d {{'trade_date': '{day:%Y%m%d}'")
    told = failures(load(ticks_env, EARLIER, MONTH))[STEP]
    assert f"suspensions of {MONTH}: {day}: tushare suspend_d" in told
    assert materialized(ticks_env) == {name: {EARLIER, MONTH} for name in DAILY} | {"suspensions": {EARLIER}}
    assert load(ticks_env, EARLIER, MONTH).success
    assert materialized(ticks_env) == {name: {EARLIER, MONTH} for name in DAILY}


@pytest.mark.slow
def test_only_days_that_failed_in_an_outage_are_requested_again(
    ticks_env: TicksEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_results, "RETRY_SECONDS", (0, 0, 0))
    ticks_env.ready(*SYMBOLS)
    market(ticks_env, sessions(MONTH))
    day = f"{sessions(MONTH)[2]:%Y%m%d}"
    ticks_env.tushare.fail(500, 2, f"suspend_d {{'trade_date': '{day}'")
    result = load(ticks_env, tags={GRPC_INFO_TAG: "{}"})
    assert result.success, failures(result)
    assert materialized(ticks_env) == {name: {MONTH} for name in DAILY}
    requests = Counter(line for line in ticks_env.tushare.lines if line.startswith("suspend_d"))
    again = {line: times for line, times in requests.items() if times > 1}
    assert [times for line, times in again.items() if day in line] == [3]
    assert len(again) <= 1 + RECHECKED_DAYS + 1


@pytest.mark.slow
def test_without_a_token_files_are_loaded_and_the_rest_is_unknown(ticks_env: TicksEnv) -> None:
    folder = ticks_env.home / "reference"
    folder.mkdir(parents=True)
    (folder / "instruments.csv").write_text("symbol\n600000.SH\n")
    (folder / f"suspensions_{MONTH}.csv").write_text(f"symbol,date\n600000.SH,{sessions(MONTH)[0]}\n")
    result = ticks_env.registry()
    assert result.success, failures(result)
    [calendar] = result.asset_materializations_for_node("trading_calendar")
    assert "TUSHARE_TOKEN" in str(calendar.metadata["note"].value)
    assert calendar.metadata["known_until"].value == str(ashares().known.last)
    result = load(ticks_env)
    assert result.success, failures(result)
    assert materialized(ticks_env) == {"suspensions": {MONTH}, "adjust_factors": set(), "price_limits": set()}
    assert ticks_env.tushare.requests == 0


def test_a_file_that_cannot_be_read_stops_neither_other_files_nor_the_steps_after(ticks_env: TicksEnv) -> None:
    folder = ticks_env.home / "reference"
    folder.mkdir(parents=True)
    (folder / "instruments_a.csv").write_text("symbol\n600000.SH\n")
    (folder / "instruments_b.csv").write_text("symbol\nx\n")
    (folder / f"suspensions_{MONTH}.csv").write_text(f"symbol,date\n600000.SH,{sessions(MONTH)[0]}\n")
    (folder / "suspensions_b.csv").write_text("symbol,date\n600000.SH,x\n")
    result = ticks_env.registry(checks=True)
    assert result.success, failures(result)
    assert list(ticks_env.instance.get_dynamic_partitions(NAME)) == ["600000.SH"]
    [check] = [one for one in result.get_asset_check_evaluations() if one.check_name == "files_read" and not one.passed]
    assert check.asset_key == dg.AssetKey("instruments")
    assert "instruments_b.csv:2: column 'symbol' must not be 'x'" in str(check.metadata["examples"])
    result = load(ticks_env, checks=True)
    assert result.success, failures(result)
    assert materialized(ticks_env)["suspensions"] == {MONTH}
    failed = [one.asset_key.to_user_string() for one in result.get_asset_check_evaluations() if not one.passed]
    assert failed == ["suspensions"]


@pytest.mark.parametrize("closed", [pytest.param(False, marks=pytest.mark.slow), True])
def test_schedules_follow_the_stored_calendar(ticks_env: TicksEnv, closed: bool) -> None:
    day = sessions(MONTH)[4]
    ticks_env.tushare.closed = {day} if closed else set()
    registered(ticks_env, *SYMBOLS)
    both = [scheduled(ticks_env, one, evening(day)) for one in (automation.reference_daily, ticks.ticks_daily)]
    assert [bool(one.run_requests) for one in both] == [not closed] * 2
    if not closed:
        [request] = both[0].run_requests
        assert (request.tags[RANGE_START], request.tags[RANGE_END]) == (MONTH, MONTH)


def test_schedule_covers_the_days_that_are_requested_again(ticks_env: TicksEnv) -> None:
    ticks_env.sign_in()
    [request] = scheduled(ticks_env, automation.reference_daily, evening(sessions(MONTH)[1])).run_requests
    assert request.tags[RANGE_START] < request.tags[RANGE_END] == MONTH


def test_schedule_without_a_source_says_what_to_do(ticks_env: TicksEnv) -> None:
    skipped = scheduled(ticks_env, automation.reference_daily, evening(sessions(MONTH)[4]))
    assert "MARKETDATA_REFERENCE_DIR" in skipped.skip_message


def test_night_loads_what_is_not_final_once(ticks_env: TicksEnv) -> None:
    ticks_env.patch.setenv("MARKETDATA_TICKS_MONTHS", "2")
    ticks_env.sign_in()
    ticks_env.stocks(*SYMBOLS)
    today = dt.datetime.now(dt.UTC).date()
    market(ticks_env, ashares().trading_days(Days(today - dt.timedelta(days=70), today)))
    assert ticks_env.registry().success
    found = [
        one
        for one in night(ticks_env.instance, "reference", "ticks").run_requests or []
        if one.job_name == automation.JOB
    ]
    [request] = found
    assert load(ticks_env, request.tags[RANGE_START], request.tags[RANGE_END]).success
    assert not tonight(ticks_env) & {automation.JOB, automation.SYMBOLS_JOB}
    ticks_env.instance.wipe_assets([dg.AssetKey("price_limits")])
    assert automation.JOB in {
        one.job_name for one in night(ticks_env.instance, "reference", "ticks").run_requests or []
    }


@pytest.mark.slow
@pytest.mark.parametrize("today", ["2027-01-05", "2027-06-01"])
def test_after_the_end_of_the_librarys_calendar_everything_works(ticks_env: TicksEnv, today: str) -> None:
    """The exchange has announced the days up to May 2027; the first of January and a day of May are no trading days."""
    evening_of = dt.datetime.fromisoformat(f"{today}T16:11:00+08:00")
    ticks_env.patch.setenv("MARKETDATA_TICKS_MONTHS", "2")
    ticks_env.tushare.closed = {dt.date(2027, 1, 1), dt.date(2027, 5, 3)}
    ticks_env.tushare.announced = dt.date(2027, 5, 31)
    with time_machine.travel(evening_of, tick=True):
        registered(ticks_env, "600000.SH")
        calendar = stored.calendar(ticks_env.client)
        assert not calendar.trading_days(Days(dt.date(2027, 1, 1), dt.date(2027, 1, 3)))
        assert calendar.is_provisional(dt.date(2027, 6, 1))
        day = dt.date.fromisoformat(today)
        market(ticks_env, calendar.trading_days(Days(day - dt.timedelta(days=70), day)), ["600000.SH"])
        for one in (automation.reference_daily, ticks.ticks_daily, ticks.ticks_symbols_daily):
            assert scheduled(ticks_env, one, evening_of).run_requests, one.name
        months = [f"{day - dt.timedelta(days=31):%Y-%m}", f"{day:%Y-%m}"]
        assert load(ticks_env, *months).success
        result = ticks_env.select({name: ["600000.SH"] for name in months})
        assert result.success, failures(result)
        now = dt.datetime.now(dt.UTC)
        assert behind(ticks_env.client, months, now).load == []
        assert {one.unknown_days for one in status.overview(ticks_env.client, months, now)} == {0}
        assert {row["asset"] for row in status_command.rows_of("ticks")} >= {"tick_data", "factors"}
        assert not {automation.JOB, "ticks_selected"} & tonight(ticks_env)


@pytest.mark.slow
def test_a_file_that_is_dropped_when_its_month_is_loaded_is_loaded_by_the_sensor(
    ticks_env: TicksEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETDATA_TICKS_QUIET_SECONDS", "0")
    folder = ticks_env.home / "reference"
    folder.mkdir(parents=True)
    [first, second, *_] = sessions(MONTH)
    file = folder / f"suspensions_{MONTH}.csv"
    file.write_text(f"symbol,date\n600000.SH,{first}\n")
    assert load(ticks_env).success
    assert tick(ticks_env, None).skip_message, "what a run has loaded is not loaded again"
    file.write_text(f"symbol,date\n600000.SH,{first}\n600000.SH,{second}\n")
    asked = tick(ticks_env, None)
    assert [(one.job_name, one.tags[RANGE_START], one.tags[RANGE_END]) for one in asked.run_requests or []] == [
        (automation.JOB, MONTH, MONTH)
    ]
    assert load(ticks_env).success
    assert stored.suspensions(ticks_env.client, Days.month(MONTH)).hours == {
        ("600000.SH", first): "",
        ("600000.SH", second): "",
    }
    assert "nothing new" in (tick(ticks_env, asked.cursor).skip_message or "")
    (folder / "instruments.csv").write_text("symbol\n600000.SH\n")
    assert [one.job_name for one in tick(ticks_env, asked.cursor).run_requests or []] == [automation.SYMBOLS_JOB]


def tonight(ticks_env: TicksEnv) -> set[str | None]:
    """The jobs that the night asks for."""
    return {one.job_name for one in night(ticks_env.instance, "reference", "ticks").run_requests}


def tick(ticks_env: TicksEnv, cursor: str | None) -> Any:
    """One evaluation of the sensor of reference files."""
    has = dict(resources.by_name())
    with dg.build_sensor_context(
        instance=ticks_env.instance, repository_def=repository(), cursor=cursor, resources=has
    ) as context:
        return repository().get_sensor_def("reference_files").evaluate_tick(context)
