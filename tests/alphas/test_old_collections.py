"""Collections that another tool wrote, with ids twice or without ids: each fails alone and says what to do about it."""

from pathlib import Path
from typing import Any

import pytest
from packaged import MONTH, Document, alpha, deliver, new_account, stored
from pymongo import MongoClient

from marketdata_assets.alphas.import_modes import ImportOptions
from marketdata_assets.alphas.ingest import AccountsReport, import_accounts
from marketdata_assets.fanout import Fanout

Client = MongoClient[dict[str, Any]]


def imported(uri: str, root: Path, *accounts: str) -> AccountsReport:
    for account in accounts:
        deliver(root, account, alpha("A"), alpha("C"))
    fanout = Fanout(1, ("marketdata_assets.alphas.ingest",))
    pairs = [(account, MONTH) for account in accounts]
    return import_accounts(uri, root, "regular", pairs, run_id="run", fanout=fanout, fields={}, options=ImportOptions())


@pytest.mark.parametrize(
    ("documents", "named"),
    [
        ([alpha("A"), alpha("A", 3), alpha("B")], "2 documents of id A"),
        ([{"alpha": 1}, {"alpha": 2}, {"alpha": 3}], "3 documents without an id"),
    ],
)
def test_ids_twice_fail_the_account_by_name_and_no_other(
    mongo_uri: str, client: Client, tmp_path: Path, documents: list[Document], named: str
) -> None:
    old, good = sorted((new_account(), new_account()))
    client["regular_alphas"][old].insert_many([dict(document) for document in documents])
    report = imported(mongo_uri, tmp_path, old, good)
    assert list(report.failed) == [(old, MONTH)]
    cause = report.failed[old, MONTH]
    assert cause.startswith(f"regular_alphas.{old} has {named}; nothing is imported into it. Keep one document")
    assert sorted(stored(client, good)) == ["A", "C"]


def test_document_without_id_in_the_place_of_another_rejects_that_one(
    mongo_uri: str, client: Client, tmp_path: Path
) -> None:
    old = new_account()
    client["regular_alphas"][old].insert_one({"_id": "A", "alpha": 1})
    report = imported(mongo_uri, tmp_path, old)
    assert (report.failed, report.total("rejected"), report.total("inserted")) == ({}, 1, 1)
