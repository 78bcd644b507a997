"""What the alphas domain does by itself: schedules, sensors, the assets behind each other, partitions of accounts."""

import datetime as dt
import logging
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor
from dagster._core.definitions.automation_tick_evaluation_context import AutomationTickEvaluationContext

from marketdata_assets.defs.alphas import automation
from marketdata_assets.defs.alphas.assets import pairs_of
from marketdata_assets.partitions import ALPHA_MONTHS, RANGE_END, RANGE_START, alpha_key, range_tags
from marketdata_assets.resources import AlphaFiles, Brain, Mongo
from tests.defs.alpha_runs import FILES, MONTHS, PACKAGES, REGULAR, SUMMARY, SUPER, AlphasEnv, alpha, drop_slice, keys
from tests.defs.bar_runs import failures, repository
from tests.defs.nights import night
from tests.project_definitions import definitions

NOON = dt.datetime(2024, 6, 15, 12, 7, tzinfo=dt.UTC)
RESOURCES = {"brain": Brain(), "mongo": Mongo(), "alphas_dir": AlphaFiles()}
Range = tuple[str, str]


def ranges(requests: object) -> list[Range]:
    assert isinstance(requests, list | tuple)
    return sorted((one.tags[RANGE_START], one.tags[RANGE_END]) for one in requests)


def scheduled(alphas_env: AlphasEnv, schedule: dg.ScheduleDefinition) -> tuple[list[Range], list[dg.RunRequest]]:
    """What a schedule asks for in June 2024."""
    with (
        pytest.MonkeyPatch.context() as patch,
        dg.build_schedule_context(
            scheduled_execution_time=NOON, repository_def=repository(), resources=RESOURCES
        ) as context,
    ):
        # A schedule opens the instance anew, which one in memory does not allow.
        patch.setattr(dg.ScheduleEvaluationContext, "instance", alphas_env.instance)
        found = schedule.evaluate_tick(context)
    assert bool(found.run_requests) != bool(found.skip_message)
    return ranges(found.run_requests), list(found.run_requests or [])


@pytest.fixture(autouse=True)
def one_scan_is_enough(alphas_env: AlphasEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETDATA_ALPHAS_QUIET_SECONDS", "0")


def look(alphas_env: AlphasEnv, sensor: dg.SensorDefinition, cursor: str | None = None):  # type: ignore[no-untyped-def]
    with dg.build_sensor_context(
        instance=alphas_env.instance, cursor=cursor, repository_def=repository(), resources=RESOURCES
    ) as context:
        return sensor.evaluate_tick(context)


def sync(alphas_env: AlphasEnv) -> list[str]:
    """Let the accounts sensor do its work; the accounts that are partitions then."""
    for request in look(alphas_env, automation.alphas_accounts).dynamic_partitions_requests or []:
        if isinstance(request, dg.AddDynamicPartitionsRequest):
            alphas_env.instance.add_dynamic_partitions("brain_accounts", list(request.partition_keys))
        else:
            for key in request.partition_keys:
                alphas_env.instance.delete_dynamic_partition("brain_accounts", key)
    return list(alphas_env.instance.get_dynamic_partitions("brain_accounts"))


# Accounts.


def test_accounts_are_partitions_while_they_are_enabled_or_have_anything(alphas_env: AlphasEnv) -> None:
    assert sync(alphas_env) == []
    alphas_env.accounts("aa", "bb", disabled=["cc"])
    drop_slice(alphas_env.root, "old", "2024-01", [])
    assert sync(alphas_env) == ["aa", "bb", "old"]
    alphas_env.instance.report_runless_asset_event(
        dg.AssetMaterialization(REGULAR, partition=alpha_key("bb", "2024-01"))
    )
    alphas_env.accounts("dd", disabled=["bb"])
    assert sync(alphas_env) == ["bb", "old", "dd"]
    assert look(alphas_env, automation.alphas_accounts).skip_message


def test_broken_accounts_file_fails_the_tick_and_changes_nothing(alphas_env: AlphasEnv) -> None:
    alphas_env.accounts("aa")
    sync(alphas_env)
    (alphas_env.home / "brain" / "accounts.json").write_text("[")
    with pytest.raises(Exception, match="not JSON"):
        look(alphas_env, automation.alphas_accounts)
    assert list(alphas_env.instance.get_dynamic_partitions("brain_accounts")) == ["aa"]


# By the clock.


def test_schedules_ask_for_enabled_accounts_with_credentials_only(alphas_env: AlphasEnv) -> None:
    schedules = (automation.alphas_hourly, automation.alphas_daily, automation.alphas_rotation)
    drop_slice(alphas_env.root, "old", "2024-01", [])
    alphas_env.accounts("aa", "bb", disabled=["cc"])
    sync(alphas_env)
    assert [scheduled(alphas_env, one)[0] for one in schedules] == [[], [], []]
    for name in ("aa", "bb", "cc", "old"):
        alphas_env.credentials(name)
    assert scheduled(alphas_env, automation.alphas_hourly)[0] == [("aa|2024-06", "bb|2024-06")]
    assert scheduled(alphas_env, automation.alphas_daily)[0] == [("aa|2024-04", "bb|2024-06")]
    alphas_env.patch.delenv("MARKETDATA_BRAIN_EMAIL_AA")
    assert scheduled(alphas_env, automation.alphas_hourly)[0] == [("bb|2024-06", "bb|2024-06")]


def test_daily_and_rotation_look_for_changes_and_the_hourly_for_what_is_new(alphas_env: AlphasEnv) -> None:
    alphas_env.ready("aa")
    assert scheduled(alphas_env, automation.alphas_hourly)[1][0].run_config == {}
    for schedule in (automation.alphas_daily, automation.alphas_rotation):
        assert scheduled(alphas_env, schedule)[1][0].run_config == automation.REFETCH


def test_rotation_takes_what_was_never_fetched_and_then_what_waited_longest(alphas_env: AlphasEnv) -> None:
    alphas_env.ready("aa")
    months = ALPHA_MONTHS.get_partition_keys(current_time=NOON)[:-3]
    assert scheduled(alphas_env, automation.alphas_rotation)[0] == [("aa|2023-10", "aa|2024-03")]
    order = [*months[10:], *months[:10]]
    for month in order:
        alphas_env.instance.report_runless_asset_event(dg.AssetMaterialization(FILES, partition=alpha_key("aa", month)))
    assert scheduled(alphas_env, automation.alphas_rotation)[0] == [(f"aa|{months[10]}", f"aa|{months[15]}")]


def test_months_that_a_run_works_on_are_not_asked_for_again(alphas_env: AlphasEnv) -> None:
    alphas_env.ready("aa", "bb")
    run = alphas_env.instance.create_run_for_job(
        repository().get_job("alphas"), tags=range_tags("aa|2024-05", "aa|2024-06"), status=dg.DagsterRunStatus.STARTED
    )
    assert scheduled(alphas_env, automation.alphas_hourly)[0] == [("bb|2024-06", "bb|2024-06")]
    alphas_env.instance.delete_run(run.run_id)
    assert scheduled(alphas_env, automation.alphas_hourly)[0] == [("aa|2024-06", "bb|2024-06")]


def test_night_mends_what_is_missing_failed_or_stale_and_leaves_the_rest(alphas_env: AlphasEnv) -> None:
    assert ranges(night(alphas_env.instance, "alphas").run_requests) == []
    for month in MONTHS:
        drop_slice(alphas_env.root, "old", month, [alpha("aaaaaaa", month)])
    sync(alphas_env)
    assert ranges(night(alphas_env.instance, "alphas").run_requests) == [("old|2024-01", "old|2024-03")]
    result = alphas_env.run("old|2024-01", "old|2024-03", job="alphas_import")
    assert result.success, failures(result)
    assert ranges(night(alphas_env.instance, "alphas").run_requests) == []
    ledger = alphas_env.client["regular_alphas"]["marketdata-ledger"]
    assert ledger.update_one({"unit": "2024-01-01"}, {"$set": {"outcome": "failed"}}).modified_count == 1
    assert ranges(night(alphas_env.instance, "alphas").run_requests) == [("old|2024-01", "old|2024-01")]
    drop_slice(alphas_env.root, "old", "2024-03", [alpha("bbbbbbb", "2024-03"), alpha("ccccccc", "2024-03")])
    [request] = night(alphas_env.instance, "alphas").run_requests
    assert pairs_of(request.run_config) == [("old", "2024-01"), ("old", "2024-03")]


# Files.


def test_dropped_files_ask_for_their_months_once_and_make_the_account_a_partition(alphas_env: AlphasEnv) -> None:
    for month in MONTHS[:2]:
        for account in ("old", "new"):
            drop_slice(alphas_env.root, account, month, [alpha("aaaaaaa", month)])
    found = look(alphas_env, automation.alphas_files)
    assert ranges(found.run_requests) == [("new|2024-01", "old|2024-02")]
    [added] = found.dynamic_partitions_requests
    assert list(added.partition_keys) == ["new", "old"]
    alphas_env.partitions("new", "old")
    again = look(alphas_env, automation.alphas_files, found.cursor)
    assert not again.run_requests
    result = alphas_env.run("new|2024-01", "old|2024-02", job="alphas_import")
    assert result.success, failures(result)
    assert not look(alphas_env, automation.alphas_files).run_requests


@pytest.mark.parametrize("ledger", ["kept", pytest.param("dropped", marks=pytest.mark.slow)])
def test_dropped_collection_is_requested_again_under_another_key(alphas_env: AlphasEnv, ledger: str) -> None:
    for month in MONTHS[:2]:
        drop_slice(alphas_env.root, "old", month, [alpha("aaaaaaa", month)])
    found = look(alphas_env, automation.alphas_files)
    alphas_env.partitions("old")
    requested = [request.run_key for request in found.run_requests]
    assert alphas_env.run("old|2024-01", "old|2024-02", job="alphas_import").success
    cursor = look(alphas_env, automation.alphas_files, found.cursor).cursor
    for _ in range(2):
        assert not look(alphas_env, automation.alphas_files, cursor).run_requests
        if ledger == "kept":
            alphas_env.client["regular_alphas"].drop_collection("old")
        else:
            alphas_env.client.drop_database("regular_alphas")
        [request] = look(alphas_env, automation.alphas_files, cursor).run_requests
        assert ranges([request]) == [("old|2024-01", "old|2024-02")]
        assert request.run_key not in requested
        requested.append(request.run_key)
        [same] = look(alphas_env, automation.alphas_files, cursor).run_requests
        assert same.run_key == request.run_key, "the same run key, so Dagster starts no second run"
        assert alphas_env.run("old|2024-01", "old|2024-02", job="alphas_import").success
        assert alphas_env.ids("regular", "old") == {"aaaaaaa"}


def test_file_still_being_written_is_waited_for(alphas_env: AlphasEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETDATA_ALPHAS_QUIET_SECONDS", "30")
    drop_slice(alphas_env.root, "old", "2024-01", [alpha("aaaaaaa", "2024-01")], age=1000)
    found = look(alphas_env, automation.alphas_files)
    assert not found.run_requests
    assert "still being written: " in (found.skip_message or "")
    monkeypatch.setenv("MARKETDATA_ALPHAS_QUIET_SECONDS", "0")
    assert ranges(look(alphas_env, automation.alphas_files, found.cursor).run_requests) == [("old|2024-01",) * 2]


def test_files_that_no_run_reads_are_named_by_the_sensor(alphas_env: AlphasEnv) -> None:
    drop_slice(alphas_env.root, "old", "2024-01", [alpha("aaaaaaa", "2024-01")]).with_suffix(".JSON.txt").touch()
    alphas_env.partitions("old")
    assert alphas_env.run("old|2024-01", job="alphas_import").success
    found = look(alphas_env, automation.alphas_files)
    assert "not read: 1 file: 1 not taken (old/primeval_data" in (found.skip_message or "")


def test_files_of_a_month_that_a_run_works_on_are_looked_at_later(alphas_env: AlphasEnv) -> None:
    alphas_env.partitions("old")
    drop_slice(alphas_env.root, "old", "2024-01", [alpha("aaaaaaa", "2024-01")])
    run = alphas_env.instance.create_run_for_job(
        repository().get_job("alphas"),
        tags=range_tags("old|2024-01", "old|2024-01"),
        status=dg.DagsterRunStatus.STARTED,
    )
    busy = look(alphas_env, automation.alphas_files)
    assert "a run for these months is in progress" in (busy.skip_message or "")
    alphas_env.instance.delete_run(run.run_id)
    assert ranges(look(alphas_env, automation.alphas_files, busy.cursor).run_requests) == [("old|2024-01",) * 2]


# Each asset behind the one before it.


def ticks(alphas_env: AlphasEnv) -> Iterator[dict[dg.AssetKey, set[str]]]:
    """One tick of the automation after another: the partitions that each asks for."""
    cursor = None
    while True:
        result = dg.evaluate_automation_conditions(defs=definitions(), instance=alphas_env.instance, cursor=cursor)
        cursor = result.cursor
        asked = {one: {str(key) for key in result.get_requested_partitions(one)} for one in (PACKAGES, REGULAR, SUPER)}
        yield {**asked, SUMMARY: {"all"} if result.get_num_requested(SUMMARY) else set()}


def report(alphas_env: AlphasEnv, asset: dg.AssetKey, partitions: set[str]) -> None:
    for key in sorted(partitions):
        alphas_env.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key))


def test_what_was_fetched_is_packaged_imported_and_summed_up_once(alphas_env: AlphasEnv) -> None:
    alphas_env.partitions("aa", "bb", "cc")
    asked = ticks(alphas_env)
    assert not any(next(asked).values())
    some = keys(["aa", "bb"], MONTHS[:2]) | {"cc|2019-05"}
    report(alphas_env, FILES, some)
    assert next(asked) == {PACKAGES: some, REGULAR: some, SUPER: some, SUMMARY: set()}
    assert not any(next(asked).values())
    for asset in (PACKAGES, REGULAR, SUPER):
        report(alphas_env, asset, some)
    assert next(asked) == {PACKAGES: set(), REGULAR: set(), SUPER: set(), SUMMARY: {"all"}}
    assert not any(next(asked).values())
    alphas_env.partitions("dd")
    assert not any(next(asked).values())


def test_run_of_the_whole_chain_leaves_nothing_to_ask(alphas_env: AlphasEnv) -> None:
    drop_slice(alphas_env.root, "old", "2024-01", [alpha("aaaaaaa", "2024-01")])
    alphas_env.partitions("old")
    asked = ticks(alphas_env)
    next(asked)
    assert alphas_env.run("old|2024-01").success
    assert not any(next(asked).values())
    assert not any(next(asked).values())


def test_good_partitions_are_imported_by_the_run_in_which_others_failed(alphas_env: AlphasEnv) -> None:
    alphas_env.ready("aa", "bb")
    alphas_env.credentials("bb", "not-it")
    asked = ticks(alphas_env)
    next(asked)
    assert not alphas_env.run("aa|2024-01", "bb|2024-02").success
    good = keys(["aa"], MONTHS[:2])
    assert (
        alphas_env.materialized(PACKAGES) == alphas_env.materialized(REGULAR) == alphas_env.materialized(SUPER) == good
    )
    assert not any(next(asked).values())


def test_tick_of_many_partitions_is_one_request(alphas_env: AlphasEnv) -> None:
    """A run costs seconds; six partitions must not become eighteen runs."""
    alphas_env.partitions("aa", "bb")
    cursor, requests = AssetDaemonCursor.empty(), []
    for _ in range(2):
        tick = AutomationTickEvaluationContext(
            evaluation_id=cursor.evaluation_id + 1,
            instance=alphas_env.instance,
            asset_graph=repository().asset_graph,
            cursor=cursor,
            materialize_run_tags={},
            observe_run_tags={},
            auto_observe_asset_keys=set(),
            asset_selection=dg.AssetSelection.assets(*automation.REST),
            logger=logging.getLogger(),
            emit_backfills=automation.alphas_follow.emit_backfills,
        )
        requests, cursor, _ = tick.evaluate()
        report(alphas_env, FILES, keys(["aa", "bb"]) if not requests else set())
    [request] = requests
    assert request.asset_graph_subset is not None
    assert request.asset_graph_subset.num_partitions_and_non_partitioned_assets == 3 * 6


def test_nothing_that_runs_by_itself_asks_the_api_without_credentials(alphas_env: AlphasEnv) -> None:
    alphas_env.accounts("aa")
    alphas_env.user("aa")
    drop_slice(alphas_env.root, "aa", "2024-01", [alpha("aaaaaaa", "2024-01")])
    sync(alphas_env)
    for schedule in (automation.alphas_hourly, automation.alphas_daily, automation.alphas_rotation):
        assert scheduled(alphas_env, schedule)[0] == []
    [(first, last)] = ranges(look(alphas_env, automation.alphas_files).run_requests)
    assert alphas_env.run(first, last, job="alphas_import").success
    assert alphas_env.brain.requests == 0
