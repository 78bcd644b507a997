"""The night over all domains: what is due beside the files, once a night, and what does not keep it from the rest."""

import datetime as dt
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import zstandard
from dagster._core.storage.tags import PRIORITY_TAG

from marketdata_assets.bars.ingest import ingest
from marketdata_assets.defs.exchanges.days import TABLES_JOB, TABLES_STEP
from marketdata_assets.defs.repair.nightly import MOST_WAITS, TAG, night_of
from marketdata_assets.defs.ticks.run_config import JOB, OP
from marketdata_assets.exchanges.records import Trade
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.captures import LEDGER
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_assets.fanout import Fanout
from marketdata_assets.partitions import RANGE_END, RANGE_START, range_tags
from marketdata_assets.stores import clickhouse_files
from marketdata_assets.ticks.factor_reconcile import months_of
from tests.defs.alpha_runs import MONTHS, AlphasEnv, alpha, drop_slice
from tests.defs.bar_runs import BARS, KLINE, BarsEnv, deliver, execute, failures, repository
from tests.defs.exchange_runs import FIRST, LAST, YESTERDAY, ExchangesEnv
from tests.defs.flow_runs import PRICES, FlowsEnv
from tests.defs.nights import Night, check, evening, later, night, waiting, without
from tests.defs.tick_runs import BARS as TICK_BARS
from tests.defs.tick_runs import MONTH, SYMBOLS, TicksEnv, drop, minutes, sessions

ROW = "symbol,day,close\n{},{},1.5\n"
DATED = (
    PRICES.replace("    table: prices", "    table: dated") + "  partitions: {month: day}\n  timezone: Asia/Shanghai\n"
)
OWN = [f"flow {name}" for name in ("plain", "dated", "filed", "good", "bad")]
BY_FILE = PRICES.replace("    table: prices", "    table: filed") + "  partitions: file\n"


def asked(found: Night) -> set[tuple[str | None, ...]]:
    """Job, first and last partition of each request."""
    return {
        (one.job_name, *(one.tags[name] for name in (RANGE_START, RANGE_END) if name in one.tags))
        for one in found.run_requests or []
    }


def carried_out(instance: dg.DagsterInstance, found: Night) -> None:
    """Run what is asked for, as the daemon would."""
    for request in found.run_requests or []:
        result = execute(instance, str(request.job_name), request.run_config, request.tags)
        assert result.success, failures(result)


def killed(
    instance: dg.DagsterInstance, job: str, tags: Mapping[str, str], config: Mapping[str, Any] | None = None
) -> None:
    """A run that has begun and whose process is gone."""
    begun = dg.DagsterRunStatus.STARTED
    run = instance.create_run_for_job(repository().get_job(job), tags=tags, run_config=config, status=begun)
    instance.report_run_failed(run)


def test_dropped_files_that_no_run_has_loaded_are_loaded_at_night(ticks_env: TicksEnv) -> None:
    """Of symbols that nobody registered, and of days that are covered."""
    day = sessions(MONTH)[3]
    for count in (20, 30):
        drop(ticks_env.folder, "a.csv", minutes("699001.SH", day, count), age=3600 - count)
        found = night(ticks_env.instance, "ticks")
        [request] = found.run_requests
        assert request.run_config["ops"][OP]["config"]["months"] == {MONTH: ["699001.SH"]}
        assert request.tags[PRIORITY_TAG] == "-1"
        killed(ticks_env.instance, JOB, request.tags, request.run_config)
        carried_out(ticks_env.instance, night(ticks_env.instance, "ticks"))
        assert sum(ticks_env.counts().values()) == count
        assert asked(night(ticks_env.instance, "ticks")) == set()


def test_factors_of_the_month_after_changed_bars_are_computed_in_the_same_run(ticks_env: TicksEnv) -> None:
    """Their first days are computed from the last bars of the month before."""
    symbol, (_, before) = "699001.SH", months_of(MONTH)
    drop(ticks_env.folder, "b.csv", minutes(symbol, sessions(MONTH)[0]))
    for price in (10.0, 11.0):
        drop(ticks_env.folder, "a.csv", minutes(symbol, sessions(before)[-1], price=price), age=3600 - price)
        found = night(ticks_env.instance, "ticks")
        [request] = found.run_requests
        assert request.run_config["ops"][OP]["config"]["months"] == {before: [symbol], MONTH: [symbol]}
        carried_out(ticks_env.instance, found)
        assert asked(night(ticks_env.instance, "ticks")) == set()


def test_what_is_computed_from_other_domains_is_checked_after_their_runs(bars_env: BarsEnv) -> None:
    """Also after those that the other sensor requests in the same moment."""
    deliver(bars_env.folder, 2014, [3])
    first = night(bars_env.instance, cursor=waiting(evening(bars_env.instance, "bars", "reconciliation")))
    assert asked(first) == {("bars_and_kline", "2014-01", "2014-12")}
    run = bars_env.in_progress(BARS.to_user_string(), "2014-03")
    second = check(bars_env.instance, first.cursor)
    assert "reconciliation: checked after bars" in (second.skip_message or "")
    assert "reconciliation" not in second.checked()
    assert "reconciliation" in check(bars_env.instance, waiting(second.cursor, MOST_WAITS)).checked()
    bars_env.instance.report_run_failed(run)
    third = check(bars_env.instance, second.cursor)
    fourth = check(bars_env.instance, third.cursor)
    assert "reconciliation" not in fourth.checked()  # ticks are computed from reference data, and have waited too
    assert "reconciliation" in check(bars_env.instance, fourth.cursor).checked()


def test_captures_that_are_not_loaded_are_loaded_at_night_whatever_became_of_their_runs(
    exchanges_env: ExchangesEnv,
) -> None:
    """A run that was killed, or whose record housekeeping has deleted, leaves nothing but files without an entry."""
    exchanges_env.sample(minutes=4)
    paths = sorted(map(str, exchanges_env.folder.rglob("*.zst")))
    bad = exchanges_env.folder / "binance-spot-20260101T000000.capture.zst"
    bad.write_bytes(zstandard.compress(b'{"capture": 99}'))
    assert not exchanges_env.fill(stream=False, files=[str(bad)]).success
    for run in exchanges_env.instance.get_runs():
        exchanges_env.instance.delete_run(run.run_id)
    [again] = [
        one
        for one in night(exchanges_env.instance, "exchanges", "captures").run_requests or []
        if one.job_name == TABLES_JOB
    ]
    assert again.run_config["ops"][TABLES_STEP]["config"]["files"] == sorted([str(bad), *paths])
    assert not carried_out_in(exchanges_env, again).success
    assert exchanges_env.counts()["exchange_trades"] > 0
    [again] = [
        one
        for one in night(exchanges_env.instance, "exchanges", "captures").run_requests or []
        if one.job_name == TABLES_JOB
    ]
    assert again.run_config["ops"][TABLES_STEP]["config"]["files"] == [str(bad)]
    bad.unlink()
    assert TABLES_JOB not in {
        one.job_name for one in night(exchanges_env.instance, "exchanges", "captures").run_requests or []
    }
    [told] = LEDGER.failures(exchanges_env.client, 5)
    assert (told["dataset"], told["place"]) == ("exchange_captures", bad.name)


def carried_out_in(exchanges_env: ExchangesEnv, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    return exchanges_env.fill(**request.run_config["ops"][TABLES_STEP]["config"])


def test_months_that_landed_and_were_never_marked_are_run_and_cost_nothing(bars_env: BarsEnv) -> None:
    deliver(bars_env.folder, 2014, [3, 4])
    ingest(bars_env.dsn, bars_env.folder, ["2014-03", "2014-04"], run_id="x", fanout=Fanout(1))
    found = night(bars_env.instance, "bars")
    assert ("bars_and_kline", "2014-01", "2014-12") in asked(found)
    carried_out(bars_env.instance, found)
    assert {"2014-03", "2014-04"} <= bars_env.materialized(BARS) & bars_env.materialized(KLINE)
    assert asked(night(bars_env.instance, "bars")) == set()


@pytest.mark.slow
def test_months_of_a_run_that_was_killed_after_all_had_landed_are_shown_as_they_are(bars_env: BarsEnv) -> None:
    deliver(bars_env.folder, 2014, [3])
    assert bars_env.run("2014-01", "2014-12").success
    assert asked(night(bars_env.instance, "bars")) == set()
    killed(bars_env.instance, "bars_and_kline", range_tags("2014-02", "2014-05"))
    found = night(bars_env.instance, "bars")
    assert asked(found) == {("bars_and_kline", "2014-02", "2014-05")}
    assert {one.tags[TAG] for one in found.run_requests or []} == {night_of(dt.datetime.now(dt.UTC))}
    carried_out(bars_env.instance, found)
    assert asked(night(bars_env.instance, "bars")) == set()


def test_each_domain_is_seen_once_a_night(bars_env: BarsEnv) -> None:
    deliver(bars_env.folder, 2014, [3])
    first = night(bars_env.instance, "bars")
    assert asked(first) == {("bars_and_kline", "2014-01", "2014-12")}
    again = night(bars_env.instance, cursor=first.cursor)
    assert asked(again) == set()


def test_a_first_start_has_missed_no_night(bars_env: BarsEnv) -> None:
    deliver(bars_env.folder, 2014, [3])
    started = check(bars_env.instance, None)
    assert (started.run_requests, "from the next night on" in started.skip_message) == ([], True)
    assert check(bars_env.instance, started.cursor).run_requests == []
    unknown = without(evening(bars_env.instance), "bars")  # as a flow that was declared today
    assert "bars_and_kline" not in {one.job_name for one in night(bars_env.instance, cursor=unknown).run_requests}


def growing(instance: dg.DagsterInstance, grow: Callable[[], object], *only: str) -> Night:
    """What a night asks for of some domains, in which files grow after they were seen first."""
    first = check(instance, evening(instance, *only))
    assert first.run_requests == []
    too_early = check(instance, first.cursor)
    assert (too_early.run_requests, "checked again when its files" in too_early.skip_message) == ([], True)
    grow()
    return check(instance, later(first.cursor))


def test_bars_that_are_still_written_are_left_out_at_night(bars_env: BarsEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETDATA_BARS_QUIET_SECONDS", "30")
    for year in (2012, 2014):
        deliver(bars_env.folder, year, [3])
    found = growing(bars_env.instance, lambda: deliver(bars_env.folder, 2014, [3, 4], age_seconds=1), "bars")
    assert asked(found) == {("bars_and_kline", "2012-01", "2012-12")}
    assert "still being written: 2014" in found.skip_message or "bars" in found.checked()
    found = growing(bars_env.instance, lambda: (bars_env.folder / "new.csv").write_text("", "utf-8"), "bars")
    assert asked(found) == set()  # a file without a year may be of any month


@pytest.mark.slow
def test_rows_of_a_flow_that_are_still_written_are_left_out_at_night(
    flows_env: FlowsEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETDATA_FLOWS_QUIET_SECONDS", "30")
    for name, text in (("plain", PRICES), ("filed", BY_FILE)):
        flows_env.declare(name, text)
    for name, symbol in (("a.csv", "AAA"), ("b.csv", "BBB")):
        flows_env.deliver(name, ROW.format(symbol, "2024-01-02"), "prices")
    whole = ROW.format("BBB", "2024-01-02") + "CCC,2024-01-02,2.5\n"
    found = growing(flows_env.instance, lambda: flows_env.deliver("b.csv", whole, "prices", 1), *OWN)
    assert asked(found) == {("flow_plain",), ("flow_filed", "a.csv", "a.csv")}
    carried_out(flows_env.instance, found)
    for table in ("prices", "filed"):
        assert flows_env.rows(f"SELECT symbol FROM {table}") == [("AAA",)]
    carried_out(flows_env.instance, night(flows_env.instance, *OWN))
    for table in ("prices", "filed"):
        assert len(flows_env.rows(f"SELECT symbol FROM {table}")) == 3


@pytest.mark.slow
def test_ticks_that_are_still_written_are_left_to_their_sensor_and_keep_no_other_out(ticks_env: TicksEnv) -> None:
    ticks_env.patch.setenv("MARKETDATA_TICKS_QUIET_SECONDS", "30")
    ticks_env.patch.setenv("MARKETDATA_TICKS_MONTHS", "2")
    day = sessions(MONTH)[3]
    drop(ticks_env.folder, "a.csv", minutes("699001.SH", day))
    drop(ticks_env.folder, "b.csv", minutes("699002.SH", day, 15))
    assert asked(night(ticks_env.instance, "ticks")) == set()
    seen = clickhouse_files.table(ticks_env.client, "tick_data")
    clickhouse_files.record(ticks_env.client, seen.with_columns(pl.col("observed") - 3600 * 10**9))
    drop(ticks_env.folder, "b.csv", minutes("699002.SH", day, 45))
    found = night(ticks_env.instance, "ticks")
    [request] = found.run_requests
    assert request.run_config["ops"][OP]["config"]["months"] == {MONTH: ["699001.SH"]}
    carried_out(ticks_env.instance, found)
    assert {unit.symbol for unit in ticks_env.counts()} == {"699001.SH"}


def test_captures_that_are_still_written_are_left_out_at_night(
    exchanges_env: ExchangesEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETDATA_CAPTURES_QUIET_SECONDS", "30")
    exchanges_env.sample(minutes=4)
    first, *others = sorted(exchanges_env.folder.rglob("*.zst"))
    found = growing(exchanges_env.instance, lambda: first.write_bytes(first.read_bytes() * 2), "captures")
    [request] = [one for one in found.run_requests or [] if one.job_name == TABLES_JOB]
    assert request.run_config["ops"][TABLES_STEP]["config"]["files"] == [str(path) for path in others] != []


def test_alphas_that_are_still_written_are_left_out_at_night(alphas_env: AlphasEnv) -> None:
    alphas_env.partitions("old")
    for month in MONTHS[:2]:
        drop_slice(alphas_env.root, "old", month, [alpha("aaaaaaa", month)])
    first = check(alphas_env.instance, evening(alphas_env.instance, "alphas"))
    drop_slice(alphas_env.root, "old", MONTHS[1], [alpha(name, MONTHS[1]) for name in ("aaaaaaa", "bbbbbbb")])
    found = check(alphas_env.instance, later(first.cursor))
    assert asked(found) == {("alphas_import", "old|2024-01", "old|2024-01")}


@pytest.mark.parametrize(
    ("moment", "of"),
    [("2024-03-01T18:29:59", "2024-03-01"), ("2024-03-01T18:30:00", "2024-03-02"), ("2024-03-02T18:29", "2024-03-02")],
)
def test_night_begins_at_half_past_two_in_shanghai(moment: str, of: str) -> None:
    assert night_of(dt.datetime.fromisoformat(moment).replace(tzinfo=dt.UTC)) == of


def test_domain_that_is_worked_on_or_away_is_seen_later_and_hides_no_other(
    bars_env: BarsEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(bars_env.folder, 2014, [3])
    monkeypatch.setenv("MARKETDATA_CLICKHOUSE_URL", "http://127.0.0.1:9/away")
    run = bars_env.instance.create_run_for_job(repository().get_job("bars"), status=dg.DagsterRunStatus.STARTED)
    busy = night(bars_env.instance)
    assert asked(busy) == set()
    assert "bars: a run is in progress" in (busy.skip_message or "")
    assert "ticks: ClickHouse" in (busy.skip_message or "")
    bars_env.instance.report_run_failed(run)
    found = night(bars_env.instance, cursor=busy.cursor)
    assert asked(found) == {("bars_and_kline", "2014-01", "2014-12")}
    assert {"bars", "flow stock_daily"} <= found.checked()
    assert not {"ticks", "exchanges", "alphas"} & found.checked()


@pytest.mark.slow
def test_symbol_months_that_are_not_shown_are_marked_without_asking_anybody(ticks_env: TicksEnv) -> None:
    ticks_env.patch.setenv("MARKETDATA_TICKS_MONTHS", "2")
    ticks_env.ready(SYMBOLS[0])
    carried_out(ticks_env.instance, night(ticks_env.instance, "ticks"))
    assert asked(night(ticks_env.instance, "ticks")) == set()
    shown, requests = ticks_env.materialized(TICK_BARS), ticks_env.tushare.requests
    assert {unit.symbol for unit in shown} == {SYMBOLS[0]}
    ticks_env.instance.wipe_assets([TICK_BARS])
    found = night(ticks_env.instance, "ticks")
    [request] = found.run_requests or []
    config: dict[str, Any] = dict(request.run_config["ops"][OP]["config"])
    assert (config["tables"], config["providers"]) == (["tick_data"], ["files"])
    carried_out(ticks_env.instance, found)
    assert (ticks_env.materialized(TICK_BARS), ticks_env.tushare.requests) == (shown, requests)
    assert asked(night(ticks_env.instance, "ticks")) == set()


def test_days_that_are_behind_or_not_shown_are_run(exchanges_env: ExchangesEnv) -> None:
    schema.ensure(exchanges_env.client)
    noon = int(dt.datetime.combine(YESTERDAY, dt.time(12), dt.UTC).timestamp()) * 10**9
    about: Any = ("okx", "spot", "ABC-USDT", "ABC-USDT")
    insert_records(
        exchanges_env.client,
        [Trade(*about, ns, ns, str(ns), "1", "1", None, "buy") for ns in (noon, noon - 86_400 * 10**9)],
    )
    found = night(exchanges_env.instance, "exchanges", "captures")
    assert asked(found) == {("exchange_days", FIRST, LAST)}
    assert exchanges_env.days().success
    assert asked(night(exchanges_env.instance, "exchanges", "captures")) == set()
    exchanges_env.instance.wipe_assets([dg.AssetKey("exchange_gaps")])
    assert asked(night(exchanges_env.instance, "exchanges", "captures")) == {("exchange_days", FIRST, LAST)}


def test_flow_reads_what_failed_before_and_marks_what_stands(flows_env: FlowsEnv) -> None:
    for name, text in (("plain", PRICES), ("dated", DATED), ("filed", BY_FILE)):
        flows_env.declare(name, text)
    flows_env.deliver("a.csv", ROW.format("AAA", "2024-01-02"), "prices")
    broken = flows_env.deliver("b.csv", ROW.format("BBB", "never"), "prices")
    found = night(flows_env.instance, *OWN)
    assert {job for job, *_ in asked(found)} == {"flow_plain", "flow_dated", "flow_filed"}
    assert ("flow_filed", "a.csv", "b.csv") in asked(found)
    flows_env.deliver(broken.name, ROW.format("BBB", "2024-03-02"), "prices", age_seconds=1800)
    carried_out(flows_env.instance, found)
    assert asked(night(flows_env.instance, *OWN)) == set()
    flows_env.instance.wipe_assets([dg.AssetKey("dated"), dg.AssetKey("filed")])
    found = night(flows_env.instance, *OWN)
    assert asked(found) == {
        ("flow_dated", "2024-01", "2024-01"),
        ("flow_dated", "2024-03", "2024-03"),
        ("flow_filed", "a.csv", "b.csv"),
    }
    carried_out(flows_env.instance, found)
    assert asked(night(flows_env.instance, *OWN)) == set()


def test_flow_whose_file_has_a_bad_definition_hides_no_other(flows_env: FlowsEnv, tmp_path: Path) -> None:
    flows_env.declare("good")
    flows_env.declare("bad", PRICES.replace("columns: [symbol", "colums: [symbol"))
    flows_env.deliver("a.csv", ROW.format("AAA", "2024-01-02"), "prices")
    assert asked(night(flows_env.instance, *OWN)) == {("flow_good",)}


def test_what_any_run_is_loading_is_not_requested_again_and_the_rest_is(bars_env: BarsEnv) -> None:
    deliver(bars_env.folder, 2014, [3])
    deliver(bars_env.folder, 2016, [3])
    run = bars_env.in_progress("stock_1min_qfq", "2014-03")
    bars_env.in_progress("adjust_factors", "2016-03")
    first = night(bars_env.instance, "bars")
    assert asked(first) == {
        ("bars_and_kline", "2014-01", "2014-02"),
        ("bars_and_kline", "2014-04", "2014-12"),
        ("bars_and_kline", "2016-01", "2016-12"),
    }
    assert "bars" not in first.checked()
    bars_env.instance.report_run_failed(run)
    second = night(bars_env.instance, cursor=first.cursor)
    # The backfill of the others may not have started its runs yet.
    assert asked(second) == {("bars_and_kline", "2014-03", "2014-03")}
    assert "bars" in second.checked()
