"""The files of the alphas folder by account and month, and which changed since the last scan."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pymongo import MongoClient

from marketdata_assets.alphas import file_index, layout
from marketdata_assets.alphas.accounts import budget_name
from marketdata_assets.budget import Budget
from marketdata_assets.partitions import ALPHA_MONTHS, alpha_key, alpha_pair
from tests.alphas.archives import alpha, pack, put, put_single

MONTHS = ALPHA_MONTHS.get_partition_keys()
NOW = 2_000_000_000


def scan(root: Path, cursor: str | None = None, seconds: int = 0, months: Sequence[str] = MONTHS) -> file_index.Changes:
    return file_index.scan(root, cursor, (NOW + seconds) * 10**9, 30.0, months)


def scan_twice(root: Path, cursor: str | None = None) -> file_index.Changes:
    """Two scans, far enough apart that files which did not change are complete."""
    return scan(root, scan(root, cursor).unhandled_cursor, 30)


def test_every_layout_counts_for_its_months(tmp_path: Path) -> None:
    assert scan_twice(tmp_path).pairs == ()
    put(tmp_path, "2024-11-27", [], mtime=NOW - 100)
    put(tmp_path, "2024-12-31", [], hours=48, mtime=NOW - 100)
    put_single(tmp_path, "2024-09-03", "abc", alpha("abc"), mtime=NOW - 100)
    package = tmp_path / "other" / "packages" / "super" / "2024-08" / "2024-08-02.ndjson"
    package.parent.mkdir(parents=True)
    package.write_bytes(b"{}\n")
    os.utime(package, (NOW - 100,) * 2)
    assert file_index.accounts_on_disk(tmp_path) == ["lk", "other"]
    assert scan_twice(tmp_path).pairs == (
        ("lk", "2024-09"),
        ("lk", "2024-11"),
        ("lk", "2024-12"),
        ("lk", "2025-01"),
        ("other", "2024-08"),
    )


def test_what_changed_is_given_again_and_only_that(tmp_path: Path) -> None:
    for day in ("2024-10-01", "2024-11-01"):
        put(tmp_path, day, [], mtime=NOW - 100)
    first = scan_twice(tmp_path)
    assert scan_twice(tmp_path, first.cursor).pairs == ()
    path = put(tmp_path, "2024-11-01", [alpha("abc")], mtime=NOW - 100)
    second = scan_twice(tmp_path, first.cursor)
    assert second.pairs == (("lk", "2024-11"),)
    os.utime(path, (NOW - 50,) * 2)
    assert scan_twice(tmp_path, second.cursor).pairs == (("lk", "2024-11"),)


def test_many_months_are_spread_over_scans(tmp_path: Path) -> None:
    for month in MONTHS[:30]:
        put(tmp_path, f"{month}-01", [], mtime=NOW - 100)
    first = scan_twice(tmp_path)
    second = scan(tmp_path, first.cursor, 60)
    third = scan(tmp_path, second.cursor, 90)
    assert [len(changes.pairs) for changes in (first, second, third)] == [24, 6, 0]
    assert {month for _, month in first.pairs + second.pairs} == set(MONTHS[:30])


def test_month_without_a_partition_is_ignored(tmp_path: Path) -> None:
    put(tmp_path, "2024-11-01", [], mtime=NOW - 100)
    changes = scan(tmp_path, scan(tmp_path, None, 0, ["2024-10"]).cursor, 60, ["2024-10"])
    assert (changes.pairs, changes.waiting) == ((), ())


def test_packaging_is_seen_as_a_change_of_its_month(tmp_path: Path) -> None:
    put(tmp_path, "2024-11-27", [alpha("abc")], mtime=NOW - 100)
    cursor = scan_twice(tmp_path).cursor
    pack(tmp_path)
    assert scan_twice(tmp_path, cursor).pairs == (("lk", "2024-11"),)


TAKEN = ["lk-2", "my account", "甲 方", "a", "a.b@c.d", "x--y"]
NOT_TAKEN = [
    *(".a", "a.", "system.x", "marketdata-ledger", "a...b", "a|b", "a$b"),
    *(" a", "a ", "a\tb", "a\n", "", "a\0", "a/b"),
]


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_other_names_are_no_accounts(name: str) -> None:
    assert not layout.ACCOUNT.fullmatch(name)


@pytest.mark.parametrize("name", TAKEN)
def test_account_name_is_taken_by_dagster_budgets_and_mongodb(
    tmp_path: Path, mongo_client: MongoClient[dict[str, Any]], name: str
) -> None:
    (tmp_path / name / "packages").mkdir(parents=True)
    assert file_index.accounts_on_disk(tmp_path) == [name]
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("accounts", [name])
        assert instance.get_dynamic_partitions("accounts") == [name]
    assert alpha_pair(str(alpha_key(name, "2024-11"))) == (name, "2024-11")
    Budget(tmp_path, budget_name(name), 60, 1)
    mongo_client["account_names"][name].insert_one({"id": name})
    assert name in mongo_client["account_names"].list_collection_names()
