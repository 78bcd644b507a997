"""What is on disk held against the ledger: each state a month can be in, and the counts of an account."""

import os
from pathlib import Path
from typing import Any

import pytest
from archives import ACCOUNT, alpha, put
from pymongo import MongoClient

from marketdata_assets.alphas import status
from marketdata_assets.alphas.import_modes import ImportOptions
from marketdata_assets.alphas.ingest import import_accounts
from marketdata_assets.alphas.layout import KINDS
from marketdata_assets.alphas.packaging import package_months
from marketdata_assets.fanout import Fanout
from marketdata_assets.stores import mongo_ledger

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
    import_accounts(uri, root, "regular", PAIRS, run_id="r", fanout=Fanout(1), options=ImportOptions(**options))


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
    assert (one.account, one.imported) == (ACCOUNT, 1)
    assert (one.documents, one.rejected, one.outdated) == (2, 0, ())


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


def test_package_that_came_with_an_old_date_is_found_by_the_exact_look(
    tmp_path: Path, mongo_uri: str, store: Client
) -> None:
    raw(tmp_path, "2024-09", "a")
    bring(mongo_uri, tmp_path)
    [package] = (tmp_path / ACCOUNT / "packages").rglob("2024-09-02.ndjson")
    package.write_bytes(package.read_bytes().replace(b'"a"', b'"c"'))
    os.utime(package, (1_600_000_000,) * 2)
    assert states(store, tmp_path) == {"2024-09": "ok"}
    assert states(store, tmp_path, exact=True) == {"2024-09": "stale"}


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
