"""Every check objects when MongoDB is changed behind the package's back, and only to the months of its run."""

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from pymongo.collection import Collection

from marketdata_assets.alphas.import_modes import ImportOptions
from marketdata_assets.alphas.ingest import import_accounts
from marketdata_assets.alphas.layout import month_window
from marketdata_assets.alphas.packaging import package_months
from marketdata_assets.fanout import Fanout
from marketdata_assets.partitions import range_tags
from marketdata_assets.resources import Mongo
from tests.defs.alpha_runs import REGULAR, AlphasEnv, alpha, config, drop_slice
from tests.defs.bar_runs import run_checks, totals

NAMES = {"every_id_landed", "unique_ids", "unique_check_names", "required_fields", "repeat_changes_nothing"}
TWICE = [{"name": "LOW_SHARPE", "result": "PASS"}, {"name": "LOW_SHARPE", "result": "FAIL"}]
MONTH = {"$gte": month_window("2024-01").start, "$lt": month_window("2024-01").end}

Store = Collection[dict[str, Any]]


def delete(stored: Store) -> None:
    assert stored.delete_one({"id": "aaaaaaa"}).deleted_count == 1


def double(stored: Store) -> None:
    """A collection of an older tool may lack the unique index."""
    stored.drop_index("id_1")
    found = stored.find_one({"id": "aaaaaaa"}, {"_id": 0})
    assert found
    stored.insert_one({**found, "_id": "another"})


def change(**fields: Any) -> Callable[[Store], None]:
    def act(stored: Store) -> None:
        assert stored.update_one({"id": "aaaaaaa"}, {"$set": fields}).modified_count == 1

    return act


def remove(field: str) -> Callable[[Store], None]:
    def act(stored: Store) -> None:
        assert stored.update_one({"id": "aaaaaaa"}, {"$unset": {field: ""}}).modified_count == 1

    return act


TAMPERINGS: list[tuple[str, Callable[[Store], None], dict[str, Any]]] = [
    ("every_id_landed", delete, {"id": "aaaaaaa", "month": "2024-01"}),
    ("repeat_changes_nothing", delete, {"id": "aaaaaaa", "day": "2024-01-01"}),
    ("repeat_changes_nothing", change(color="BLUE"), {"id": "aaaaaaa", "day": "2024-01-01"}),
    ("unique_check_names", change(**{"is.checks": TWICE}), {"id": "aaaaaaa", "check": "LOW_SHARPE"}),
    ("required_fields", remove("settings"), {"id": "aaaaaaa", "lacks": "settings"}),
    ("required_fields", change(type=None), {"id": "aaaaaaa", "lacks": "type"}),
    ("required_fields", remove("dateCreated"), {"id": "aaaaaaa", "lacks": "dateCreated"}),
    ("unique_ids", double, {"id": "aaaaaaa", "times": 2}),
]


@pytest.fixture
def imported(alphas_env: AlphasEnv) -> AlphasEnv:
    """Three alphas in each of two months, each with two checks."""
    checks = [{"name": "LOW_SHARPE", "result": "PASS"}, {"name": "LOW_FITNESS", "result": "FAIL"}]
    for month, letters in (("2024-01", "abc"), ("2024-02", "def")):
        alphas = [alpha(letter * 7, month, color="RED", **{"is": {"checks": checks}}) for letter in letters]
        drop_slice(alphas_env.root, "old", month, alphas)
    alphas_env.partitions("old")
    pairs = [("old", "2024-01"), ("old", "2024-02")]
    assert not package_months(alphas_env.root, pairs, Fanout(1)).failed
    done = import_accounts(
        Mongo().dsn, alphas_env.root, "regular", pairs, run_id="r", fanout=Fanout(1), fields={}, options=ImportOptions()
    )
    assert done.total("inserted") == 6
    return alphas_env


def check(alphas_env: AlphasEnv, *months: str) -> dict[str, dg.AssetCheckEvaluation]:
    """Run the checks of regular alphas alone, for some months or, without any, for all."""
    tags = range_tags(f"old|{months[0]}", f"old|{months[-1]}") if months else None
    result = run_checks(alphas_env.instance, [REGULAR], tags)
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


def test_checks_pass_on_what_was_imported(imported: AlphasEnv) -> None:
    found = check(imported, "2024-01", "2024-02")
    assert set(found) == NAMES
    assert all(one.passed and one.metadata["objections"].value == 0 for one in found.values())
    assert found["every_id_landed"].metadata["checked"].value == 2


def test_check_objects_to_its_months_only(imported: AlphasEnv) -> None:
    stored = imported.client["regular_alphas"]["old"]
    before = list(stored.find({}))
    for name, tamper, example in TAMPERINGS:
        tamper(stored)
        one = check(imported, "2024-01")[name]
        assert not one.passed, example
        assert one.metadata["objections"].value == 1, example
        [given] = one.metadata["examples"].value  # type: ignore[misc, union-attr]
        assert {**given, **example, "account": "old"} == given
        warns = name == "required_fields"
        assert one.severity == (dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR), example
        without_month = example.get("lacks") == "dateCreated"
        assert check(imported, "2024-02")[name].passed is not without_month, example
        stored.delete_many({})
        stored.insert_many(before)


def test_check_by_itself_looks_at_everything(imported: AlphasEnv) -> None:
    delete(imported.client["regular_alphas"]["old"])
    found = check(imported)
    assert not found["every_id_landed"].passed
    assert found["every_id_landed"].metadata["partitions"].value == 2


def test_alpha_without_a_date_counts_as_landed(alphas_env: AlphasEnv) -> None:
    drop_slice(
        alphas_env.root, "old", "2024-01", [alpha("aaaaaaa", "2024-01"), alpha("bbbbbbb", "2024-01", dateCreated=None)]
    )
    alphas_env.partitions("old")
    assert alphas_env.run("old|2024-01", job="alphas_import").success
    found = check(alphas_env, "2024-01")
    assert found["every_id_landed"].passed
    assert not found["required_fields"].passed


def test_what_was_refused_or_left_out_on_purpose_is_not_missed(alphas_env: AlphasEnv) -> None:
    bad = alpha("bbbbbbb", "2024-01", **{"$where": 1})
    drop_slice(alphas_env.root, "old", "2024-01", [alpha("aaaaaaa", "2024-01"), bad])
    alphas_env.partitions("old")
    result = alphas_env.run("old|2024-01", job="alphas_import")
    assert alphas_env.metadata(result, REGULAR)["old|2024-01"]["rejected"] == 1
    found = check(alphas_env, "2024-01")
    assert found["every_id_landed"].passed
    assert found["repeat_changes_nothing"].passed

    drop_slice(alphas_env.root, "old", "2024-02", [alpha("ccccccc", "2024-02")])
    options = config(REGULAR, mode="time_range", time_range_hours=1.0)
    result = alphas_env.run("old|2024-02", job="alphas_import", ops=options)
    assert totals(result, REGULAR)["skipped"] == 1
    found = check(alphas_env, "2024-02")
    assert all(one.passed for one in found.values())
    assert found["every_id_landed"].metadata["left_out"].value == 1


def test_checks_of_one_month_do_not_scan_the_collection(imported: AlphasEnv) -> None:
    plan = imported.client["regular_alphas"]["old"].find({"dateCreated": MONTH}).explain()
    assert "IXSCAN" in str(plan["queryPlanner"]["winningPlan"])
    nameless = imported.client["regular_alphas"]["old"].find({"dateCreated": None}).explain()
    assert "IXSCAN" in str(nameless["queryPlanner"]["winningPlan"])
