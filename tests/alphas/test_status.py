"""What is on disk, and held against the ledger: each state a month can be in, and the counts of an account."""

import datetime as dt
import os
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from marketdata_assets.alphas import slices, status
from marketdata_assets.alphas.import_modes import ImportOptions
from marketdata_assets.alphas.ingest import import_accounts
from marketdata_assets.alphas.layout import KINDS, Window, month_window
from marketdata_assets.alphas.packaging import package_months
from marketdata_assets.fanout import Fanout
from marketdata_assets.stores import mongo_ledger
from tests.alphas.archives import ACCOUNT, alpha, put, put_single, window

MONTHS = ("2024-09", "2024-10", "2024-11")
PAIRS = [(ACCOUNT, month) for month in MONTHS]

Client = MongoClient[dict[str, Any]]


@pytest.fixture
def store(client: Client) -> Client:
    for kind in KINDS:
        client.drop_database(f"{kind}_alphas")
    return client


def raw(root: Path, month: str, *names: str) -> Path:
    return put(root, f"{month}-02", [alpha(name, f"{month}-02T00:30:00Z") for name in names])


def bring(uri: str, root: Path, *, package: bool = True, **options: Any) -> None:
    assert not package or not package_months(root, PAIRS, Fanout(1)).failed
    import_accounts(
        uri, root, "regular", PAIRS, run_id="r", fanout=Fanout(1), fields={}, options=ImportOptions(**options)
    )


def states(client: Client, root: Path, exact: bool = False) -> dict[str, str]:
    [one] = status.in_mongo(client, root, kinds=["regular"], exact=exact)
    return dict(one.states)


def test_month_goes_from_missing_to_ok_and_empty(tmp_path: Path, mongo_uri: str, store: Client) -> None:
    assert status.in_mongo(store, tmp_path) == []
    raw(tmp_path, "2024-09", "a", "b")
    raw(tmp_path, "2024-10")
    assert states(store, tmp_path) == {"2024-09": "missing", "2024-10": "missing"}
    assert status.outdated_pairs(store, tmp_path) == PAIRS[:2]
    package_months(tmp_path, PAIRS, Fanout(1))
    assert states(store, tmp_path) == {"2024-09": "missing", "2024-10": "empty"}
    bring(mongo_uri, tmp_path)
    assert states(store, tmp_path) == {"2024-09": "ok", "2024-10": "empty"}
    assert status.outdated_pairs(store, tmp_path) == []
    [one] = status.in_mongo(store, tmp_path, kinds=["regular"])
    assert (one.account, one.documents, one.rejected, one.outdated) == (ACCOUNT, 2, 0, ())


def test_new_raw_file_makes_its_month_stale(tmp_path: Path, mongo_uri: str, store: Client) -> None:
    for month in MONTHS:
        raw(tmp_path, month, "a")
    bring(mongo_uri, tmp_path)
    raw(tmp_path, "2024-10", "a", "b")
    assert states(store, tmp_path) == {"2024-09": "ok", "2024-10": "stale", "2024-11": "ok"}
    assert status.outdated_pairs(store, tmp_path) == [(ACCOUNT, "2024-10")]
    assert status.outdated_pairs(store, tmp_path, [(ACCOUNT, "2024-09")]) == []
    bring(mongo_uri, tmp_path)
    assert status.outdated_pairs(store, tmp_path) == []


@pytest.mark.parametrize("exact", [False, True])
def test_other_bytes_of_a_package_with_an_old_date_are_due(
    tmp_path: Path, mongo_uri: str, store: Client, exact: bool
) -> None:
    raw(tmp_path, "2024-09", "a")
    bring(mongo_uri, tmp_path)
    [package] = (tmp_path / ACCOUNT / "packages").rglob("2024-09-02.ndjson")
    assert states(store, tmp_path, exact) == {"2024-09": "ok"}
    package.write_bytes(package.read_bytes().replace(b'"a"', b'"c"'))
    os.utime(package, (1_600_000_000,) * 2)
    assert states(store, tmp_path, exact) == {"2024-09": "stale"}


@pytest.mark.parametrize("exact", [False, True])
def test_other_bytes_of_a_raw_file_with_the_same_size_and_modification_time_are_due(
    tmp_path: Path, mongo_uri: str, store: Client, exact: bool
) -> None:
    path = raw(tmp_path, "2024-09", "a")
    bring(mongo_uri, tmp_path)
    at = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes().replace(b'"a"', b'"c"'))
    os.utime(path, ns=(at, at))
    assert states(store, tmp_path, exact) == {"2024-09": "stale"}
    bring(mongo_uri, tmp_path)
    assert (states(store, tmp_path, exact), status.outdated_pairs(store, tmp_path)) == ({"2024-09": "ok"}, [])
    assert {one["id"] for one in store["regular_alphas"][ACCOUNT].find()} == {"a", "c"}


def test_documents_that_were_deleted_are_due_and_come_back(tmp_path: Path, mongo_uri: str, store: Client) -> None:
    raw(tmp_path, "2024-09", *(f"s{number}" for number in range(20)))
    raw(tmp_path, "2024-10", *(f"o{number}" for number in range(10)))
    put(tmp_path, "2024-11-02", [alpha("s0", "2024-11-02T00:30:00Z", "2024-11-03T00:00:00Z"), alpha("undated", None)])
    bring(mongo_uri, tmp_path)
    settled = {"2024-09": "ok", "2024-10": "ok", "2024-11": "ok"}
    assert states(store, tmp_path) == states(store, tmp_path, exact=True) == settled, "an alpha of two days is there"
    documents = store["regular_alphas"][ACCOUNT]
    documents.delete_many({"id": {"$regex": "^s1"}})
    [one] = status.in_mongo(store, tmp_path, kinds=["regular"])
    assert (one.documents, one.states["2024-09"], one.states["2024-10"]) == (20, "missing", "ok")
    bring(mongo_uri, tmp_path)
    assert states(store, tmp_path) == settled
    assert documents.count_documents({}) == 31
    documents.insert_many([{"id": f"other{number}"} for number in range(12)])
    documents.delete_many({"id": {"$regex": "^o[0-9]$"}})
    assert status.outdated_pairs(store, tmp_path) == [(ACCOUNT, "2024-10")]
    bring(mongo_uri, tmp_path)
    assert (states(store, tmp_path, exact=True), documents.count_documents({})) == (settled, 43)


def test_what_failed_or_came_in_part_is_behind(tmp_path: Path, mongo_uri: str, store: Client) -> None:
    raw(tmp_path, "2024-09", *(f"n{number}" for number in range(30)))
    package_months(tmp_path, PAIRS, Fanout(1))
    [package] = (tmp_path / ACCOUNT / "packages").rglob("2024-09-02.ndjson")
    whole = package.read_bytes()
    package.write_bytes(whole.replace(b'"REGULAR"', b'"SUPER"'))
    bring(mongo_uri, tmp_path, package=False)
    assert states(store, tmp_path) == {"2024-09": "failed"}
    package.write_bytes(whole)
    bring(mongo_uri, tmp_path, package=False, mode="time_range", time_range_hours=1.0)
    assert states(store, tmp_path) == {"2024-09": "stale"}
    bring(mongo_uri, tmp_path, package=False)
    assert states(store, tmp_path) == {"2024-09": "ok"}


def test_month_whose_files_are_gone_stays_ok(tmp_path: Path, mongo_uri: str, store: Client) -> None:
    raw(tmp_path, "2024-09", "a").chmod(0o600)
    bring(mongo_uri, tmp_path)
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        if path.is_file():
            path.unlink()
    assert states(store, tmp_path) == {"2024-09": "ok"}
    entries = mongo_ledger.entries(store["regular_alphas"], "regular_alphas")
    assert status.by_month(entries)["2024-09"] == status.MonthRows(1, 0)


NOW = dt.datetime(2024, 11, 5, 12, 30, tzinfo=dt.UTC)
OCTOBER = month_window("2024-10")


def folder_states(root: Path, asset: str, now: dt.datetime = NOW) -> dict[str, str]:
    found = {(one.asset, one.account): dict(one.states) for one in status.on_disk(root, now)}
    return found.get((asset, ACCOUNT), {})


def land(root: Path, whole: Window, *names: str) -> Path:
    return slices.write(root, ACCOUNT, "regular", whole, [f'{{"id": "{name}"}}'.encode() for name in names])


def test_no_folder_and_no_files_are_no_rows(tmp_path: Path) -> None:
    assert status.on_disk(tmp_path / "none", NOW) == []
    (tmp_path / ACCOUNT / "primeval_data").mkdir(parents=True)
    assert status.on_disk(tmp_path, NOW) == []


def test_month_is_missing_until_its_last_hour_is_there(tmp_path: Path) -> None:
    first, second = Window(OCTOBER.start, OCTOBER.end - dt.timedelta(hours=1)), window("2024-10-31T23:00")
    land(tmp_path, first, "a")
    assert folder_states(tmp_path, "alpha_files") == {"2024-10": "missing"}
    late = land(tmp_path, second)
    assert folder_states(tmp_path, "alpha_files") == {"2024-10": "ok"}
    os.utime(late, (second.end.timestamp() - 1,) * 2)
    assert folder_states(tmp_path, "alpha_files") == {"2024-10": "missing"}, "read before its hour was over"


def test_of_the_running_month_only_holes_before_the_newest_slice_count(tmp_path: Path) -> None:
    land(tmp_path, window("2024-11-01T00:00", 24), "a")
    land(tmp_path, window("2024-11-02T00:00", 24), "b")
    assert folder_states(tmp_path, "alpha_files") == {"2024-11": "ok"}
    land(tmp_path, window("2024-11-03T01:00", 1))
    assert folder_states(tmp_path, "alpha_files") == {"2024-11": "missing"}
    assert folder_states(tmp_path, "alpha_files", NOW + dt.timedelta(days=60)) == {"2024-11": "missing"}


def test_month_without_alphas_is_empty_and_a_slice_counts_for_both_its_months(tmp_path: Path) -> None:
    land(tmp_path, Window(OCTOBER.start, NOW.replace(hour=0, minute=0)))
    assert folder_states(tmp_path, "alpha_files") == {"2024-10": "empty", "2024-11": "empty"}


@pytest.mark.parametrize("with_slices", [False, True])
def test_old_single_files_have_no_windows_and_slices_beside_them_do(tmp_path: Path, with_slices: bool) -> None:
    put_single(tmp_path, "2024-10-07", "one", alpha("one", "2024-10-07T09:30:00Z"))
    if with_slices:
        put(tmp_path, "2024-10-08T00:00", [])
    assert folder_states(tmp_path, "alpha_files") == {"2024-10": "missing" if with_slices else "ok"}


def test_the_worse_kind_is_the_months_state(tmp_path: Path) -> None:
    land(tmp_path, OCTOBER, "a")
    put(tmp_path, "2024-10-08T00:00", [], kind="super")
    assert folder_states(tmp_path, "alpha_files") == {"2024-10": "missing"}


def test_packages_go_from_missing_to_ok_empty_and_stale(tmp_path: Path) -> None:
    put(tmp_path, "2024-09-02", [alpha("a", "2024-09-02T00:30:00Z")])
    put(tmp_path, "2024-10-02", [])
    assert folder_states(tmp_path, "alpha_packages") == {"2024-09": "missing", "2024-10": "missing"}
    package_months(tmp_path, [(ACCOUNT, "2024-09"), (ACCOUNT, "2024-10")], Fanout(1))
    assert folder_states(tmp_path, "alpha_packages") == {"2024-09": "ok", "2024-10": "empty"}
    put(tmp_path, "2024-10-03", [alpha("b", "2024-10-03T00:30:00Z")])
    assert folder_states(tmp_path, "alpha_packages") == {"2024-09": "ok", "2024-10": "stale"}


def test_packages_stand_without_raw_files_and_are_counted(tmp_path: Path) -> None:
    raw = put(tmp_path, "2024-09-02", [alpha("a", "2024-09-02T00:30:00Z")])
    package_months(tmp_path, [(ACCOUNT, "2024-09")], Fanout(1))
    raw.unlink()
    [packages] = status.on_disk(tmp_path, NOW)
    assert (packages.asset, dict(packages.states), packages.files) == ("alpha_packages", {"2024-09": "ok"}, 1)
