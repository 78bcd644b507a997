"""Runs of the alphas graph: from the API to MongoDB, accounts that fail beside others, archives, modes, refusals."""

import json

import pytest

from marketdata_assets.alphas import layout
from marketdata_assets.alphas.layout import month_window
from marketdata_demo.servers.brain import make
from tests.defs.alpha_runs import (
    FILES,
    MONTHS,
    PACKAGES,
    PASSWORD,
    REGULAR,
    REGULARS,
    SUMMARY,
    SUPER,
    SUPERS,
    AlphasEnv,
    alpha,
    config,
    drop_slice,
    keys,
)
from tests.defs.bar_runs import failures, recorded_verdicts, totals, verdicts

NAMES = {"every_id_landed", "unique_ids", "unique_check_names", "required_fields", "repeat_changes_nothing"}
CHAIN = (FILES, PACKAGES, REGULAR, SUPER)
ALL_MONTHS = ("aa|2024-01", "aa|2024-03")


def test_two_accounts_and_three_months_come_from_the_api_to_mongodb_in_one_run(alphas_env: AlphasEnv) -> None:
    alphas_env.ready("aa", "bb")
    result = alphas_env.run("aa|2024-01", "bb|2024-03", checks=True)
    assert result.success, failures(result)
    for asset in CHAIN:
        assert alphas_env.materialized(asset) == keys(("aa", "bb"))
    for name in ("aa", "bb"):
        at_api = alphas_env.brain.users[f"{name}@example.com"].alphas
        assert alphas_env.ids("regular", name) == {one[1] for one in at_api["regular"]}
        assert alphas_env.ids("super", name) == {one[1] for one in at_api["super"]}
    found = alphas_env.metadata(result, REGULAR)
    assert {key: one["dagster/partition_row_count"] for key, one in found.items()} == dict.fromkeys(found, REGULARS)
    any_one = totals(result, REGULAR)
    assert (any_one["documents"], any_one["inserted"], any_one["dagster/row_count"]) == (6 * REGULARS,) * 3
    assert len(any_one["preview"].splitlines()) == 2 + 8
    assert alphas_env.metadata(result, PACKAGES)["bb|2024-03"]["dagster/partition_row_count"] == REGULARS + SUPERS
    assert alphas_env.metadata(result, FILES)["bb|2024-03"]["alphas"] == REGULARS + SUPERS
    assert len(verdicts(result)) == 5
    assert len(result.get_asset_check_evaluations()) == 10
    assert all(evaluation.passed for evaluation in result.get_asset_check_evaluations())


@pytest.mark.usefixtures("pictures")
def test_summary_has_a_table_and_pictures(alphas_env: AlphasEnv) -> None:
    alphas_env.ready("aa", "bb")
    result = alphas_env.run("aa|2024-01", "bb|2024-02")
    found = alphas_env.metadata(result, SUMMARY)[""]
    names, _, *lines = ([cell.strip() for cell in line.split("|")[1:-1]] for line in found["table"].splitlines())
    records = [dict(zip(names, line, strict=True)) for line in lines]
    assert sum(int(record["alphas"]) for record in records) == found["alphas"] == 4 * (REGULARS + SUPERS)
    assert {record["month"] for record in records} == {"2024-01", "2024-02"}
    quartiles = [[float(one[f"sharpe_{name}"]) for name in ("q1", "median", "q3")] for one in records]
    assert quartiles == [sorted(three) for three in quartiles]
    assert found["alphas_by_month"].startswith("![alphas by month](data:image/png;base64,")
    assert found["spread_by_region"].startswith("![spread by region](data:image/png;base64,")


def test_second_run_asks_for_nothing_and_writes_nothing(alphas_env: AlphasEnv) -> None:
    alphas_env.ready("aa")
    assert alphas_env.run(*ALL_MONTHS).success
    asked = alphas_env.brain.requests
    result = alphas_env.run(*ALL_MONTHS)
    assert alphas_env.brain.requests == asked
    assert totals(result, PACKAGES)["written"] == 0
    found = totals(result, REGULAR)
    assert (found["documents"], found["packages"], found["packages_unchanged"]) == (0, 0, 3 * REGULARS)


def test_refetch_brings_what_has_changed(alphas_env: AlphasEnv) -> None:
    alphas_env.ready("aa")
    assert alphas_env.run("aa|2024-02").success
    start = month_window("2024-02").start
    alphas_env.brain.add_alphas(
        "aa@example.com", [make(100, start, modified=month_window("2024-03").start, color="GREEN")]
    )
    unasked = totals(alphas_env.run("aa|2024-02"), REGULAR)
    assert (unasked["updated"], unasked["dagster/row_count"]) == (0, REGULARS)
    again = totals(alphas_env.run("aa|2024-02", ops=config(FILES, refetch=True)), REGULAR)
    assert (again["updated"], again["inserted"], again["dagster/row_count"]) == (1, 0, REGULARS)
    assert alphas_env.client["regular_alphas"]["aa"].count_documents({"color": "GREEN", "_rev": 2}) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        "wrong password",
        *(
            pytest.param(one, marks=pytest.mark.slow)
            for one in ("a person is needed", "no credentials", "half credentials")
        ),
    ],
)
def test_account_that_fails_leaves_the_other_alone(alphas_env: AlphasEnv, trouble: str) -> None:
    alphas_env.ready("aa", "bb")
    if trouble == "wrong password":
        alphas_env.credentials("bb", "not-it")
        said = "rejects the login of account bb"
    elif trouble == "a person is needed":
        alphas_env.user("bb", persona="headers")
        said = "marketdata alphas login --account bb"
    else:
        alphas_env.patch.delenv("MARKETDATA_BRAIN_PASSWORD_BB")
        said = "MARKETDATA_BRAIN_PASSWORD_BB is not set"
    if trouble == "no credentials":
        alphas_env.patch.delenv("MARKETDATA_BRAIN_EMAIL_BB")
        said = "account bb has no credentials"
    result = alphas_env.run("aa|2024-01", "bb|2024-03")
    assert not result.success
    told = failures(result)["alpha_files"]
    assert "3 of 6 partitions failed" in told
    assert said in told
    assert PASSWORD not in told
    assert alphas_env.materialized(FILES) == keys(["aa"])
    assert alphas_env.materialized(PACKAGES) == alphas_env.materialized(REGULAR) == keys(["aa"])
    assert alphas_env.brain.asked("POST /authentication") <= 2
    assert len(alphas_env.ids("regular", "aa")) == 3 * REGULARS


def test_archive_without_an_account_is_imported_and_nobody_is_asked(alphas_env: AlphasEnv) -> None:
    drop_slice(alphas_env.root, "old", "2024-01", [alpha("aaaaaaa", "2024-01"), alpha("bbbbbbb", "2024-01")])
    alphas_env.partitions("old")
    result = alphas_env.run("old|2024-01", "old|2024-02", checks=True)
    assert result.success, failures(result)
    found = alphas_env.metadata(result, FILES)["old|2024-01"]
    assert (found["fetched"], found["raw_files"], totals(result, FILES)["partitions_kept"]) == (False, 1, 2)
    assert "account old is not in the accounts file" in found["note"]
    assert alphas_env.ids("regular", "old") == {"aaaaaaa", "bbbbbbb"}
    for asset in CHAIN:
        assert alphas_env.materialized(asset) == keys(["old"], ["2024-01"]), "nothing is known of 2024-02"
    assert all(evaluation.passed for evaluation in result.get_asset_check_evaluations())
    assert alphas_env.brain.requests == 0
    insisting = failures(alphas_env.run("old|2024-01", ops=config(FILES, refetch=True)))["alpha_files"]
    assert 'Add {"user_key": "old"} to it to fetch it' in insisting


def test_disabled_account_stands_as_it_is(alphas_env: AlphasEnv) -> None:
    alphas_env.ready("aa")
    assert alphas_env.run("aa|2024-01").success
    alphas_env.accounts(disabled=["aa"])
    asked = alphas_env.brain.requests
    found = alphas_env.metadata(alphas_env.run("aa|2024-01"), FILES)["aa|2024-01"]
    assert "is disabled in the accounts file" in found["note"]
    assert found["raw_files"] == 2
    assert alphas_env.brain.requests == asked


def test_files_are_taken_as_they_are_when_nothing_shall_be_fetched(alphas_env: AlphasEnv) -> None:
    alphas_env.ready("aa")
    drop_slice(alphas_env.root, "aa", "2024-01", [alpha("aaaaaaa", "2024-01")])
    assert alphas_env.run("aa|2024-01", ops=config(FILES, fetch=False)).success
    assert alphas_env.brain.requests == 0
    assert alphas_env.ids("regular", "aa") == {"aaaaaaa"}


def test_raw_file_that_cannot_be_read_fails_its_month_only(alphas_env: AlphasEnv) -> None:
    for month in MONTHS[:2]:
        path = drop_slice(alphas_env.root, "old", month, [alpha("aaaaaaa", month)])
    path.write_text('[{"id": "cut off')
    alphas_env.partitions("old")
    result = alphas_env.run("old|2024-01", "old|2024-02")
    assert not result.success
    told = failures(result)["alpha_packages"]
    assert "1 of 4 partitions failed" not in told
    assert str(path) in told
    assert alphas_env.materialized(PACKAGES) == {"old|2024-01"}


def test_what_is_imported_beside_a_package_that_cannot_be_read_is_checked(alphas_env: AlphasEnv) -> None:
    for number, month in enumerate(MONTHS[:2]):
        drop_slice(alphas_env.root, "old", month, [alpha(f"aaaaaa{number}", month)])
    alphas_env.partitions("old")
    assert alphas_env.run("old|2024-01", "old|2024-02", assets=[PACKAGES]).success
    [package] = alphas_env.root.rglob("*2024-02-*.ndjson")
    package.write_bytes(package.read_bytes()[:-40])
    result = alphas_env.run("old|2024-01", "old|2024-02", assets=[REGULAR], checks=True)
    assert package.name in failures(result)["regular_alphas"]
    assert alphas_env.ids("regular", "old") == {"aaaaaa0"}
    assert recorded_verdicts(alphas_env.instance, result) == dict.fromkeys(NAMES, True)


@pytest.mark.parametrize(
    "start", ["files", *(pytest.param(one, marks=pytest.mark.slow) for one in ("packages", "job"))]
)
def test_whatever_can_be_read_beside_a_file_that_cannot_is_imported(alphas_env: AlphasEnv, start: str) -> None:
    """One cut file in three months of two accounts: it fails the run, and costs nothing but itself."""
    for account in ("old", "other"):
        for number, month in enumerate(MONTHS):
            drop_slice(alphas_env.root, account, month, [alpha(f"aaaaaa{number}", month)])
    later = "old_2024-02-07-09-00-00.000Z_to_2024-02-07-10-00-00.000Z_all_regular_alphas.json"
    path = layout.slices_folder(alphas_env.root, "old", "regular") / later
    path.write_text('[{"id": "cut off')
    alphas_env.partitions("old", "other")
    if start == "job":
        selected = {"months": {account: list(MONTHS) for account in ("old", "other")}}
        result = alphas_env.run("", job="alphas_selected", ops={"load_selected_alphas": {"config": selected}})
    else:
        assets = [PACKAGES, REGULAR, SUPER, SUMMARY]
        assets = [FILES, *assets] if start == "files" else assets
        result = alphas_env.run("old|2024-01", "other|2024-03", assets=assets)
    assert not result.success
    [told] = failures(result).values()
    assert str(path) in told
    for account in ("old", "other"):
        assert alphas_env.ids("regular", account) == {"aaaaaa0", "aaaaaa1", "aaaaaa2"}
    assert alphas_env.materialized(PACKAGES) == keys(["old", "other"]) - {"old|2024-02"}
    assert alphas_env.materialized(REGULAR) == keys(["old", "other"])
    assert alphas_env.instance.get_latest_materialization_event(SUMMARY) is not None


def test_an_account_that_cannot_be_fetched_does_not_keep_the_others_from_being_imported(alphas_env: AlphasEnv) -> None:
    alphas_env.ready("aa", "bb")
    alphas_env.brain.users["bb@example.com"].password = "another"
    drop_slice(alphas_env.root, "bb", "2024-01", [alpha("aaaaaaa", "2024-01")])
    result = alphas_env.run("aa|2024-01", "bb|2024-01")
    assert "bb" in failures(result)["alpha_files"]
    assert len(alphas_env.ids("regular", "aa")) == REGULARS
    assert alphas_env.ids("regular", "bb") == {"aaaaaaa"}
    assert alphas_env.materialized(REGULAR) == {"aa|2024-01", "bb|2024-01"}


@pytest.mark.parametrize(
    ("asset", "options", "said"),
    [
        (REGULAR, {"mode": "rebuild", "buffer_days": 2.0}, "buffer_days goes with mode smart_merge"),
        (REGULAR, {"mode": "incremental", "time_range_hours": 5.0}, "time_range_hours goes with mode time_range"),
        (SUPER, {"mode": "sideways"}, "mode 'sideways' is none of incremental"),
        (SUPER, {"mode": "rebuild", "replace": ["tags"]}, "a merge policy has no effect"),
        (REGULAR, {"batch_size": 0}, "batch size 0"),
        (FILES, {"fetch": False, "refetch": True}, "refetch without fetch"),
    ],
)
def test_options_that_contradict_each_other_are_refused(alphas_env: AlphasEnv, asset, options, said) -> None:  # type: ignore[no-untyped-def]
    alphas_env.ready("aa")
    result = alphas_env.run("aa|2024-01", ops=config(asset, **options), assets=[asset])
    [failed] = [event for event in result.all_events if event.is_step_failure]
    told = failed.step_failure_data.user_failure_data
    assert told is not None
    assert said in (told.description or "")
    assert not any(event.event_type_value == "STEP_UP_FOR_RETRY" for event in result.all_events)
    assert alphas_env.materialized(asset) == set()


def test_modes_of_the_import_are_run_config(alphas_env: AlphasEnv) -> None:
    first = alpha("aaaaaaa", "2024-01", themes=["one"], color="RED")
    drop_slice(alphas_env.root, "old", "2024-01", [first])
    alphas_env.partitions("old")
    assert alphas_env.run("old|2024-01").success
    drop_slice(
        alphas_env.root, "old", "2024-01", [alpha("aaaaaaa", "2024-01", themes=[], dateModified="2024-02-01T00:00:00Z")]
    )
    stored = alphas_env.client["regular_alphas"]["old"]
    assert alphas_env.run("old|2024-01").success
    assert stored.find_one({}, {"_id": 0, "themes": 1, "color": 1}) == {"themes": ["one"], "color": "RED"}
    replaced = alphas_env.run("old|2024-01", ops=config(REGULAR, mode="overwrite", replace=["themes"]))
    assert totals(replaced, REGULAR)["updated"] == 1
    assert stored.find_one({}, {"_id": 0, "themes": 1, "color": 1}) == {"themes": [], "color": "RED"}
    assert alphas_env.run("old|2024-01", ops=config(REGULAR, mode="rebuild")).success
    assert stored.find_one({}, {"_id": 0, "themes": 1, "color": 1}) == {"themes": []}


def test_accounts_file_that_cannot_be_read_says_so(alphas_env: AlphasEnv) -> None:
    alphas_env.ready("aa")
    (alphas_env.home / "brain" / "accounts.json").write_text('[{"user": "aa"}]')
    told = failures(alphas_env.run("aa|2024-01", assets=[FILES]))["alpha_files"]
    assert "0.user: unknown key; did you mean 'user_key'?" in told


def test_server_that_is_away_fails_the_import_and_says_what_to_do(alphas_env: AlphasEnv) -> None:
    drop_slice(alphas_env.root, "old", "2024-01", [alpha("aaaaaaa", "2024-01")])
    alphas_env.partitions("old")
    assert alphas_env.run("old|2024-01", assets=[FILES, PACKAGES]).success
    alphas_env.patch.setenv("MARKETDATA_MONGO_URI", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200&journal=true")
    alphas_env.patch.setattr("marketdata_assets.stores.mongo.MongoClient", _hasty)
    told = failures(alphas_env.run("old|2024-01", assets=[REGULAR]))["regular_alphas"]
    assert "MongoDB is not answering" in told
    assert alphas_env.materialized(REGULAR) == set()


def _hasty(uri: str, **options):  # type: ignore[no-untyped-def]
    from pymongo import MongoClient

    return MongoClient(uri, **{**options, "serverSelectionTimeoutMS": 200})


def test_password_and_session_never_reach_events_or_metadata(alphas_env: AlphasEnv) -> None:
    alphas_env.ready("aa", "bb")
    alphas_env.brain.users["bb@example.com"].password = "another"
    result = alphas_env.run("aa|2024-01", "bb|2024-01")
    run = alphas_env.instance.get_run_by_id(result.run_id)
    assert run is not None
    events = [entry.to_json() for entry in alphas_env.instance.all_logs(result.run_id)]
    said = "\n".join([*events, json.dumps(run.run_config), json.dumps(run.tags)])
    assert "rejects the login" in said
    assert PASSWORD not in said
    for file in (alphas_env.home / "brain").glob("*.session"):
        for cookie in json.loads(file.read_bytes()).get("session", {}).get("cookies", []):
            assert cookie["value"] not in said
