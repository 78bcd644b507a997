"""What the alphas domain does by itself: schedules, sensors, the assets behind each other, partitions of accounts."""

import datetime as dt
import logging
from collections.abc import Iterator

import dagster as dg
import pytest
from alpha_runs import FILES, MONTHS, PACKAGES, REGULAR, SUMMARY, SUPER, Lab, alpha, drop_slice, keys
from bar_runs import definitions, failures, repository
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor
from dagster._core.definitions.automation_tick_evaluation_context import AutomationTickEvaluationContext
from nights import night

from marketdata_assets.defs.alphas import accounts, automation
from marketdata_assets.defs.alphas.assets import pairs_of
from marketdata_assets.partitions import ALPHA_MONTHS, RANGE_END, RANGE_START, alpha_key, range_tags
from marketdata_assets.resources import AlphaFiles, Brain, Mongo

NOON = dt.datetime(2024, 6, 15, 12, 7, tzinfo=dt.UTC)
RESOURCES = {"brain": Brain(), "mongo": Mongo(), "alphas_dir": AlphaFiles()}
Range = tuple[str, str]


def ranges(requests: object) -> list[Range]:
    assert isinstance(requests, list | tuple)
    return sorted((one.tags[RANGE_START], one.tags[RANGE_END]) for one in requests)


def scheduled(lab: Lab, schedule: dg.ScheduleDefinition) -> tuple[list[Range], list[dg.RunRequest]]:
    """What a schedule asks for in June 2024."""
    with (
        pytest.MonkeyPatch.context() as patch,
        dg.build_schedule_context(
            scheduled_execution_time=NOON, repository_def=repository(), resources=RESOURCES
        ) as context,
    ):
        # A schedule opens the instance anew, which one in memory does not allow.
        patch.setattr(dg.ScheduleEvaluationContext, "instance", lab.instance)
        found = schedule.evaluate_tick(context)
    assert bool(found.run_requests) != bool(found.skip_message)
    return ranges(found.run_requests), list(found.run_requests or [])


@pytest.fixture(autouse=True)
def one_scan_is_enough(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETDATA_ALPHAS_QUIET_SECONDS", "0")


def look(lab: Lab, sensor: dg.SensorDefinition, cursor: str | None = None):  # type: ignore[no-untyped-def]
    with dg.build_sensor_context(
        instance=lab.instance, cursor=cursor, repository_def=repository(), resources=RESOURCES
    ) as context:
        return sensor.evaluate_tick(context)


def sync(lab: Lab) -> list[str]:
    """Let the accounts sensor do its work; the accounts that are partitions then."""
    for request in look(lab, accounts.alphas_accounts).dynamic_partitions_requests or []:
        if isinstance(request, dg.AddDynamicPartitionsRequest):
            lab.instance.add_dynamic_partitions("brain_accounts", list(request.partition_keys))
        else:
            for key in request.partition_keys:
                lab.instance.delete_dynamic_partition("brain_accounts", key)
    return accounts.known(lab.instance)


# Accounts.


def test_accounts_are_partitions_while_they_are_enabled_or_have_anything(lab: Lab) -> None:
    assert sync(lab) == []
    lab.accounts("aa", "bb", disabled=["cc"])
    drop_slice(lab.root, "old", "2024-01", [])
    assert sync(lab) == ["aa", "bb", "old"]
    lab.instance.report_runless_asset_event(dg.AssetMaterialization(REGULAR, partition=alpha_key("bb", "2024-01")))
    lab.accounts("dd", disabled=["bb"])
    assert sync(lab) == ["bb", "old", "dd"]
    assert look(lab, accounts.alphas_accounts).skip_message


def test_broken_accounts_file_fails_the_tick_and_changes_nothing(lab: Lab) -> None:
    lab.accounts("aa")
    sync(lab)
    (lab.home / "brain" / "accounts.json").write_text("[")
    with pytest.raises(Exception, match="not JSON"):
        look(lab, accounts.alphas_accounts)
    assert accounts.known(lab.instance) == ["aa"]


# By the clock.


def test_schedules_ask_for_enabled_accounts_with_credentials_only(lab: Lab) -> None:
    schedules = (automation.alphas_hourly, automation.alphas_daily, automation.alphas_rotation)
    drop_slice(lab.root, "old", "2024-01", [])
    lab.accounts("aa", "bb", disabled=["cc"])
    sync(lab)
    assert [scheduled(lab, one)[0] for one in schedules] == [[], [], []]
    for name in ("aa", "bb", "cc", "old"):
        lab.credentials(name)
    assert scheduled(lab, automation.alphas_hourly)[0] == [("aa|2024-06", "bb|2024-06")]
    assert scheduled(lab, automation.alphas_daily)[0] == [("aa|2024-04", "bb|2024-06")]
    lab.patch.delenv("MARKETDATA_BRAIN_EMAIL_AA")
    assert scheduled(lab, automation.alphas_hourly)[0] == [("bb|2024-06", "bb|2024-06")]


def test_daily_and_rotation_look_for_changes_and_the_hourly_for_what_is_new(lab: Lab) -> None:
    lab.ready("aa")
    assert scheduled(lab, automation.alphas_hourly)[1][0].run_config == {}
    for schedule in (automation.alphas_daily, automation.alphas_rotation):
        assert scheduled(lab, schedule)[1][0].run_config == automation.REFETCH


def test_rotation_takes_what_was_never_fetched_and_then_what_waited_longest(lab: Lab) -> None:
    lab.ready("aa")
    months = ALPHA_MONTHS.get_partition_keys(current_time=NOON)[:-3]
    assert scheduled(lab, automation.alphas_rotation)[0] == [("aa|2023-10", "aa|2024-03")]
    order = [*months[10:], *months[:10]]
    for month in order:
        lab.instance.report_runless_asset_event(dg.AssetMaterialization(FILES, partition=alpha_key("aa", month)))
    assert scheduled(lab, automation.alphas_rotation)[0] == [(f"aa|{months[10]}", f"aa|{months[15]}")]


def test_months_that_a_run_works_on_are_not_asked_for_again(lab: Lab) -> None:
    lab.ready("aa", "bb")
    run = lab.instance.create_run_for_job(
        repository().get_job("alphas"), tags=range_tags("aa|2024-05", "aa|2024-06"), status=dg.DagsterRunStatus.STARTED
    )
    assert scheduled(lab, automation.alphas_hourly)[0] == [("bb|2024-06", "bb|2024-06")]
    lab.instance.delete_run(run.run_id)
    assert scheduled(lab, automation.alphas_hourly)[0] == [("aa|2024-06", "bb|2024-06")]


def test_night_mends_what_is_missing_failed_or_stale_and_leaves_the_rest(lab: Lab) -> None:
    assert ranges(night(lab.instance).run_requests) == []
    for month in MONTHS:
        drop_slice(lab.root, "old", month, [alpha("aaaaaaa", month)])
    sync(lab)
    assert ranges(night(lab.instance).run_requests) == [("old|2024-01", "old|2024-03")]
    result = lab.run("old|2024-01", "old|2024-03", job="alphas_import")
    assert result.success, failures(result)
    assert ranges(night(lab.instance).run_requests) == []
    ledger = lab.client["regular_alphas"]["marketdata-ledger"]
    assert ledger.update_one({"unit": "2024-01-01"}, {"$set": {"outcome": "failed"}}).modified_count == 1
    assert ranges(night(lab.instance).run_requests) == [("old|2024-01", "old|2024-01")]
    drop_slice(lab.root, "old", "2024-03", [alpha("bbbbbbb", "2024-03"), alpha("ccccccc", "2024-03")])
    [request] = night(lab.instance).run_requests
    assert pairs_of(request.run_config) == [("old", "2024-01"), ("old", "2024-03")]


# Files.


def test_dropped_files_ask_for_their_months_once_and_make_the_account_a_partition(lab: Lab) -> None:
    for month in MONTHS[:2]:
        for account in ("old", "new"):
            drop_slice(lab.root, account, month, [alpha("aaaaaaa", month)])
    found = look(lab, automation.alphas_files)
    assert ranges(found.run_requests) == [("new|2024-01", "old|2024-02")]
    [added] = found.dynamic_partitions_requests
    assert list(added.partition_keys) == ["new", "old"]
    lab.partitions("new", "old")
    again = look(lab, automation.alphas_files, found.cursor)
    assert not again.run_requests
    result = lab.run("new|2024-01", "old|2024-02", job="alphas_import")
    assert result.success, failures(result)
    assert not look(lab, automation.alphas_files).run_requests


@pytest.mark.parametrize("ledger", ["kept", "dropped"])
def test_dropped_collection_is_requested_again_under_another_key(lab: Lab, ledger: str) -> None:
    for month in MONTHS[:2]:
        drop_slice(lab.root, "old", month, [alpha("aaaaaaa", month)])
    found = look(lab, automation.alphas_files)
    lab.partitions("old")
    requested = [request.run_key for request in found.run_requests]
    assert lab.run("old|2024-01", "old|2024-02", job="alphas_import").success
    cursor = look(lab, automation.alphas_files, found.cursor).cursor
    for _ in range(2):
        assert not look(lab, automation.alphas_files, cursor).run_requests
        if ledger == "kept":
            lab.client["regular_alphas"].drop_collection("old")
        else:
            lab.client.drop_database("regular_alphas")
        [request] = look(lab, automation.alphas_files, cursor).run_requests
        assert ranges([request]) == [("old|2024-01", "old|2024-02")]
        assert request.run_key not in requested
        requested.append(request.run_key)
        [same] = look(lab, automation.alphas_files, cursor).run_requests
        assert same.run_key == request.run_key, "the same run key, so Dagster starts no second run"
        assert lab.run("old|2024-01", "old|2024-02", job="alphas_import").success
        assert lab.ids("regular", "old") == {"aaaaaaa"}


def test_file_still_being_written_is_waited_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETDATA_ALPHAS_QUIET_SECONDS", "30")
    drop_slice(lab.root, "old", "2024-01", [alpha("aaaaaaa", "2024-01")], age=1000)
    found = look(lab, automation.alphas_files)
    assert not found.run_requests
    assert "still being written: " in (found.skip_message or "")
    monkeypatch.setenv("MARKETDATA_ALPHAS_QUIET_SECONDS", "0")
    assert ranges(look(lab, automation.alphas_files, found.cursor).run_requests) == [("old|2024-01",) * 2]


def test_files_that_no_run_reads_are_named_by_the_sensor(lab: Lab) -> None:
    drop_slice(lab.root, "old", "2024-01", [alpha("aaaaaaa", "2024-01")]).with_suffix(".JSON.txt").touch()
    lab.partitions("old")
    assert lab.run("old|2024-01", job="alphas_import").success
    found = look(lab, automation.alphas_files)
    assert "not read: 1 file: 1 not taken (old/primeval_data" in (found.skip_message or "")


def test_files_of_a_month_that_a_run_works_on_are_looked_at_later(lab: Lab) -> None:
    lab.partitions("old")
    drop_slice(lab.root, "old", "2024-01", [alpha("aaaaaaa", "2024-01")])
    run = lab.instance.create_run_for_job(
        repository().get_job("alphas"),
        tags=range_tags("old|2024-01", "old|2024-01"),
        status=dg.DagsterRunStatus.STARTED,
    )
    busy = look(lab, automation.alphas_files)
    assert "a run for these months is in progress" in (busy.skip_message or "")
    lab.instance.delete_run(run.run_id)
    assert ranges(look(lab, automation.alphas_files, busy.cursor).run_requests) == [("old|2024-01",) * 2]


# Each asset behind the one before it.


def ticks(lab: Lab) -> Iterator[dict[dg.AssetKey, set[str]]]:
    """One tick of the automation after another: the partitions that each asks for."""
    cursor = None
    while True:
        result = dg.evaluate_automation_conditions(defs=definitions(), instance=lab.instance, cursor=cursor)
        cursor = result.cursor
        asked = {one: {str(key) for key in result.get_requested_partitions(one)} for one in (PACKAGES, REGULAR, SUPER)}
        yield {**asked, SUMMARY: {"all"} if result.get_num_requested(SUMMARY) else set()}


def report(lab: Lab, asset: dg.AssetKey, partitions: set[str]) -> None:
    for key in sorted(partitions):
        lab.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key))


def test_what_was_fetched_is_packaged_imported_and_summed_up_once(lab: Lab) -> None:
    lab.partitions("aa", "bb", "cc")
    asked = ticks(lab)
    assert not any(next(asked).values())
    some = keys(["aa", "bb"], MONTHS[:2]) | {"cc|2019-05"}
    report(lab, FILES, some)
    assert next(asked) == {PACKAGES: some, REGULAR: some, SUPER: some, SUMMARY: set()}
    assert not any(next(asked).values())
    for asset in (PACKAGES, REGULAR, SUPER):
        report(lab, asset, some)
    assert next(asked) == {PACKAGES: set(), REGULAR: set(), SUPER: set(), SUMMARY: {"all"}}
    assert not any(next(asked).values())
    lab.partitions("dd")
    assert not any(next(asked).values())


def test_run_of_the_whole_chain_leaves_nothing_to_ask(lab: Lab) -> None:
    drop_slice(lab.root, "old", "2024-01", [alpha("aaaaaaa", "2024-01")])
    lab.partitions("old")
    asked = ticks(lab)
    next(asked)
    assert lab.run("old|2024-01").success
    assert not any(next(asked).values())
    assert not any(next(asked).values())


def test_good_partitions_are_imported_by_the_run_in_which_others_failed(lab: Lab) -> None:
    lab.ready("aa", "bb")
    lab.credentials("bb", "not-it")
    asked = ticks(lab)
    next(asked)
    assert not lab.run("aa|2024-01", "bb|2024-02").success
    good = keys(["aa"], MONTHS[:2])
    assert lab.materialized(PACKAGES) == lab.materialized(REGULAR) == lab.materialized(SUPER) == good
    assert not any(next(asked).values())


def test_tick_of_many_partitions_is_one_request(lab: Lab) -> None:
    """A run costs seconds; six partitions must not become eighteen runs."""
    lab.partitions("aa", "bb")
    cursor, requests = AssetDaemonCursor.empty(), []
    for _ in range(2):
        tick = AutomationTickEvaluationContext(
            evaluation_id=cursor.evaluation_id + 1,
            instance=lab.instance,
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
        report(lab, FILES, keys(["aa", "bb"]) if not requests else set())
    [request] = requests
    assert request.asset_graph_subset is not None
    assert request.asset_graph_subset.num_partitions_and_non_partitioned_assets == 3 * 6


def test_nothing_that_runs_by_itself_asks_the_api_without_credentials(lab: Lab) -> None:
    lab.accounts("aa")
    lab.user("aa")
    drop_slice(lab.root, "aa", "2024-01", [alpha("aaaaaaa", "2024-01")])
    sync(lab)
    for schedule in (automation.alphas_hourly, automation.alphas_daily, automation.alphas_rotation):
        assert scheduled(lab, schedule)[0] == []
    [(first, last)] = ranges(look(lab, automation.alphas_files).run_requests)
    assert lab.run(first, last, job="alphas_import").success
    assert lab.brain.requests == 0
