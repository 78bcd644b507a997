"""Months of bars that are no range are one run: of the repair, of the launchpad and of a command."""

import dagster as dg
import pytest

from marketdata_assets.defs import runs
from marketdata_assets.defs.bars.assets import JOB, OP
from marketdata_assets.defs.checks import specs
from marketdata_assets.defs.partition_results import find_mismatches
from marketdata_assets.defs.selection import config_of, months_of, only
from marketdata_assets.partitions import BAR_MONTHS
from tests.defs.bar_runs import BARS, KLINE, BarsEnv, deliver, execute, failures, repository
from tests.defs.nights import night
from tests.plain_kline import KLINE_QUERY, expected_kline

SOME = ["2014-01", "2014-04", "2014-07", "2014-12"]


def select(bars_env: BarsEnv, months: list[str]) -> dg.ExecuteInProcessResult:
    return execute(bars_env.instance, JOB, config_of(OP, months))


def loaded(bars_env: BarsEnv) -> set[str]:
    rows = bars_env.rows("SELECT DISTINCT to_char(time, 'YYYY-MM') FROM stock_1min_qfq")
    return {month for (month,) in rows}


def test_scattered_months_are_one_run_and_nothing_between_is_loaded(either_bars_env: BarsEnv) -> None:
    path = deliver(either_bars_env.folder, 2014)
    result = select(either_bars_env, SOME)
    assert result.success, failures(result)
    assert loaded(either_bars_env) == set(SOME)
    assert either_bars_env.materialized(BARS) == either_bars_env.materialized(KLINE) == set(SOME)
    assert either_bars_env.rows(KLINE_QUERY) == [line for line in expected_kline(path) if line[0] in SOME]
    keys = [spec.key for asset in (BARS, KLINE) for spec in specs(asset.to_user_string())]
    found = either_bars_env.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    assert {(key, found[key].run_id) for key in keys} == {(key, result.run_id) for key in keys}


@pytest.mark.slow
def test_repair_of_very_scattered_months_is_one_run(bars_env: BarsEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MOST_RANGES", 2)
    deliver(bars_env.folder, 2014)
    assert select(bars_env, SOME).success
    [request] = night(bars_env.instance, "bars").run_requests
    rest = {f"2014-{month:02}" for month in range(1, 13)} - set(SOME)
    assert (request.job_name, months_of(request.run_config)) == (JOB, rest)
    assert execute(bars_env.instance, JOB, request.run_config).success
    assert rest <= bars_env.materialized(BARS) & bars_env.materialized(KLINE)
    assert night(bars_env.instance, "bars").run_requests == []


def test_failed_file_leaves_its_months_failed_and_the_others_loaded(bars_env: BarsEnv) -> None:
    good = deliver(bars_env.folder, 2014)
    bad = deliver(bars_env.folder, 2015)
    bad.write_bytes(bad.read_bytes()[:-40])
    months = ["2014-03", "2015-03"]
    result = select(bars_env, months)
    assert "2015_1min.zip" in failures(result)[OP]
    assert bars_env.materialized(BARS) == {"2014-03"}
    assert find_mismatches(bars_env.instance, "stock_1min_qfq", BAR_MONTHS, (), months) == {"2015-03"}
    assert bars_env.rows(KLINE_QUERY) == [line for line in expected_kline(good) if line[0] == "2014-03"]


@pytest.mark.parametrize("job", ["alphas_selected", "bars_selected", "ticks_selected"])
def test_launchpad_shows_an_example_that_is_valid(job: str) -> None:
    found = repository().get_job(job)
    assert months_of(found.run_config or {}) != set()
    dg.validate_run_config(found, found.run_config)


@pytest.mark.parametrize(
    ("months", "left"),
    [
        (["2024-01", "2024-03"], ["2024-03"]),
        ({"2024-01": ["A"], "2024-03": []}, {"2024-03": []}),
        ({"lk": ["2024-01"], "zz": ["2024-01", "2024-03"]}, {"zz": ["2024-03"]}),
    ],
)
def test_selection_without_some_of_its_months(months: object, left: object) -> None:
    config = config_of("op", months, force=True)
    assert months_of(config) == {"2024-01", "2024-03"}
    assert only(config, {"2024-03"}) == config_of("op", left, force=True)
