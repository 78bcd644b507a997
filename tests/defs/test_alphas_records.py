"""Record sets as assets: by month and account, checked, requested by the clock for what is new or has changed."""

import datetime as dt
from typing import Any

import dagster as dg
import pytest

from marketdata_assets.alphas import catalogues
from marketdata_assets.alphas.layout import month_window
from marketdata_assets.alphas.record_sets import RECORD_SETS, asset_name
from marketdata_assets.defs.alphas import automation
from marketdata_assets.partitions import range_tags
from marketdata_demo.servers.brain import make
from tests.defs.alpha_runs import MONTHS, REGULARS, SUPERS, AlphasEnv, config, keys
from tests.defs.bar_runs import execute, failures, repository, run_checks
from tests.defs.test_alphas_automation import RESOURCES, ranges

JOB = "alpha_records"
PNL = dg.AssetKey("alpha_pnl")
ALL = REGULARS + SUPERS


@pytest.fixture
def loaded(alphas_env: AlphasEnv, monkeypatch: pytest.MonkeyPatch) -> AlphasEnv:
    """An account whose alphas are in MongoDB."""
    monkeypatch.setenv("MARKETDATA_BRAIN_RECORDS", '{"min_sharpe": -100}')
    alphas_env.ready("lk")
    assert alphas_env.run(f"lk|{MONTHS[0]}", f"lk|{MONTHS[-1]}").success
    return alphas_env


def evaluated(result: dg.ExecuteInProcessResult) -> dict[str, set[str]]:
    """The checks that did not pass, by asset."""
    failed: dict[str, set[str]] = {}
    for one in result.get_asset_check_evaluations():
        if not one.passed:
            failed.setdefault(one.asset_key.to_user_string(), set()).add(one.check_name)
    return failed


def test_a_run_fills_every_record_set_and_its_checks_pass(loaded: AlphasEnv) -> None:
    result = loaded.run(f"lk|{MONTHS[0]}", f"lk|{MONTHS[-1]}", JOB, checks=True)
    assert result.success
    assert len(result.get_asset_check_evaluations()) == 2 * len(RECORD_SETS)
    assert evaluated(result) == {}
    for record_set in RECORD_SETS:
        assert loaded.client[asset_name(record_set)]["lk"].count_documents({}) == 3 * ALL
    assert loaded.materialized(PNL) == keys(["lk"])
    assert loaded.metadata(result, PNL)[f"lk|{MONTHS[1]}"]["dagster/partition_row_count"] == ALL
    again = loaded.run(f"lk|{MONTHS[0]}", f"lk|{MONTHS[-1]}", JOB)
    assert again.success
    assert loaded.brain.asked("/recordsets/pnl") == 3 * ALL


def test_one_month_that_fails_is_named_and_the_others_are_materialized(loaded: AlphasEnv) -> None:
    [bad] = loaded.client["regular_alphas"]["lk"].find({}, {"id": 1}).sort("dateCreated", 1).limit(1)
    loaded.brain.fail(400, 10_000, f"{bad['id']}/recordsets/pnl")
    result = loaded.run(f"lk|{MONTHS[0]}", f"lk|{MONTHS[-1]}", JOB, assets=[PNL])
    assert not result.success
    assert MONTHS[0] in str(failures(result))
    assert loaded.materialized(PNL) == keys(["lk"], MONTHS[1:])
    assert loaded.client["alpha_pnl"]["lk"].count_documents({}) == 3 * ALL - 1


def test_an_invalid_record_set_is_found(loaded: AlphasEnv) -> None:
    """Of yearly figures, a year in which the test period starts has a row of each stage."""
    yearly = dg.AssetKey("alpha_yearly_stats")
    correlation = dg.AssetKey("alpha_self_correlation")
    daily, stages = ["2019-01-02", "2019-01-03"], ["TRAIN", "TRAIN", "TEST"]
    assert loaded.run(f"lk|{MONTHS[0]}", job=JOB, assets=[PNL, correlation, yearly]).success
    for asset, change, is_valid in (
        (PNL, {"columns": {"date": daily, "pnl": [0.0, 1.0]}}, True),
        (PNL, {"columns": {"date": [daily[0]] * 2, "pnl": [0.0, 1.0]}}, False),
        (PNL, {"columns": {"date": daily, "pnl": [0.0]}}, False),
        (correlation, {"max": 1.5}, False),
        (correlation, {"max": "0.5"}, False),
        (correlation, {"max": None, "columns": {"correlation": [0.5, "much"]}}, False),
        (yearly, {"columns": {"year": ["2019", "2020", "2020", "2021"], "stage": [*stages, "TEST"]}}, True),
        (yearly, {"columns": {"year": ["2020", "2020", "2021"], "stage": ["TEST", "TRAIN", "TEST"]}}, True),
        (yearly, {"columns": {"year": ["2020", "2020", "2021"], "stage": stages}}, False),
        (yearly, {"columns": {"year": ["2021", "2020", "2020"], "stage": stages}}, False),
        (yearly, {"columns": {"year": ["2020", "2021"], "stage": ["TRAIN"]}}, False),
        (yearly, {"columns": {"year": "2020"}}, False),
        (yearly, {"columns": [["2020"]]}, False),
    ):
        name = asset.to_user_string()
        assert loaded.client[name]["lk"].find_one_and_update({}, {"$set": change})
        found = evaluated(run_checks(loaded.instance, [asset], range_tags(*[f"lk|{MONTHS[0]}"] * 2)))
        assert found == ({} if is_valid else {name: {"records_valid"}}), change


def test_checks_judge_the_alphas_that_the_run_was_asked_for(loaded: AlphasEnv) -> None:
    """The best alphas alone were asked for; checks that are run alone judge what the setting asks for."""
    stored = loaded.client["regular_alphas"]["lk"]
    best = max(one["is"]["sharpe"] for one in stored.find({}, {"is.sharpe": 1}))
    count = stored.count_documents({"is.sharpe": {"$gte": best}})
    asked = config(PNL, filters={"min_sharpe": best, "type": ["regular"]})
    result = loaded.run(f"lk|{MONTHS[0]}", f"lk|{MONTHS[-1]}", JOB, ops=asked, assets=[PNL], checks=True)
    assert evaluated(result) == {}
    assert loaded.client["alpha_pnl"]["lk"].count_documents({}) == count
    assert "records_complete" in filters_of(result, f'{{"type":["regular"],"min_sharpe":{best}}}')

    result = run_checks(loaded.instance, [PNL])
    assert evaluated(result) == {"alpha_pnl": {"records_complete"}}
    assert "records_complete" in filters_of(result, '{"min_sharpe":-100.0}')


def filters_of(result: dg.ExecuteInProcessResult, filters: str) -> set[str]:
    """The checks that say that they judged the alphas of `filters`."""
    found = result.get_asset_check_evaluations()
    return {one.check_name for one in found if one.metadata["filters"].value == filters}


def tick(alphas_env: AlphasEnv) -> Any:
    with (
        pytest.MonkeyPatch.context() as patch,
        dg.build_schedule_context(
            scheduled_execution_time=dt.datetime(2024, 6, 15, 5, 17, tzinfo=dt.UTC),
            repository_def=repository(),
            resources=RESOURCES,
        ) as context,
    ):
        patch.setattr(dg.ScheduleEvaluationContext, "instance", alphas_env.instance)
        return automation.alphas_records_daily.evaluate_tick(context)


def test_the_schedule_requests_months_with_new_and_changed_alphas_only(loaded: AlphasEnv) -> None:
    first = tick(loaded).run_requests
    assert ranges(first) == [(f"lk|{MONTHS[0]}", f"lk|{MONTHS[-1]}")]
    daily = {asset_name(one) for one in RECORD_SETS if one != "submission_check"}
    assert [{key.to_user_string() for key in one.asset_selection} for one in first] == [daily]
    assert loaded.run(f"lk|{MONTHS[0]}", f"lk|{MONTHS[-1]}", JOB).success
    assert "current alphas" in str(tick(loaded).skip_message)
    created = month_window(MONTHS[1]).start
    changed = make(100, created, modified=created + dt.timedelta(days=40), name="renamed")
    loaded.brain.add_alphas("lk@example.com", [changed])
    ops = {"alpha_files": {"config": {"refetch": True}}}
    assert loaded.run(f"lk|{MONTHS[1]}", f"lk|{MONTHS[1]}", ops=ops).success
    assert ranges(tick(loaded).run_requests) == [(f"lk|{MONTHS[1]}", f"lk|{MONTHS[1]}")]


def test_without_an_account_that_can_log_in_the_schedule_skips(alphas_env: AlphasEnv) -> None:
    assert "no enabled account" in str(tick(alphas_env).skip_message)


def test_a_run_for_changes_writes_files_and_names_accounts_that_fail(alphas_env: AlphasEnv) -> None:
    alphas_env.ready("lk", "bad")
    alphas_env.brain.users["bad@example.com"].password = "another"
    result = execute(alphas_env.instance, "alpha_changes", {})
    assert not result.success
    assert "bad: " in str(failures(result))
    assert list((alphas_env.root / "lk" / "changed_data").rglob("*.json"))


def test_catalogues_are_fetched_for_every_account_that_can_log_in(loaded: AlphasEnv) -> None:
    result = execute(loaded.instance, "alpha_catalogues", {}, checks=True)
    assert result.success
    assert loaded.client["brain_operators"]["lk"].count_documents({}) == 4
    markets = len(loaded.client["regular_alphas"]["lk"].distinct("settings"))
    assert 0 < loaded.client["brain_data_sets"]["lk"].count_documents({}) <= 2 * markets
    checked = {
        (one.asset_key.to_user_string(), one.check_name): one.passed for one in result.get_asset_check_evaluations()
    }
    assert checked == {(f"brain_{name}", "catalogue_complete"): True for name in catalogues.NAMES}
    loaded.brain.fail(500, 10_000, "/operators")
    assert "GET /operators" in str(failures(execute(loaded.instance, "alpha_catalogues", {})))
