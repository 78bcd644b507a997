"""Collections of another tool, with its indexes, ids twice or without ids: each fails alone and says what to do."""

from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient, ReadPreference, UpdateOne

from marketdata_assets.alphas.import_modes import ImportOptions
from marketdata_assets.alphas.ingest import AccountsReport, import_accounts
from marketdata_assets.errors import TerminalError
from marketdata_assets.fanout import Fanout
from marketdata_assets.stores import mongo, mongo_ledger
from tests.alphas.packaged import MONTH, Document, alpha, deliver, new_account, stored

Client = MongoClient[dict[str, Any]]


def imported(uri: str, root: Path, *accounts: str, **fields: Any) -> AccountsReport:
    for account in accounts:
        deliver(root, account, alpha("A", **fields), alpha("C"))
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


OWN = {
    "unique_id": ([("id", 1)], {"unique": True}),
    "made": ([("dateCreated", 1)], {}),
    "changed": ([("dateModified", -1)], {}),
    "best": ([("settings.region", 1), ("is.sharpe", -1)], {}),
}


def test_equal_indexes_under_other_names_are_used(mongo_uri: str, client: Client, tmp_path: Path) -> None:
    old = new_account()
    for name, (keys, options) in OWN.items():
        client["regular_alphas"][old].create_index(keys, name=name, **options)
    report = imported(mongo_uri, tmp_path, old)
    assert (report.failed, report.total("inserted")) == ({}, 2)
    assert client["regular_alphas"][old].index_information().keys() == {"_id_", *OWN}


@pytest.mark.parametrize(
    ("keys", "options", "named"),
    [
        ("id", {}, "the index id_1 on id: 1"),
        ("id", {"unique": True, "sparse": True}, "the index id_1 on id: 1 with unique, sparse"),
        ("dateCreated", {"expireAfterSeconds": 10**9}, "the index dateCreated_1 on dateCreated: 1 with expireAfterS"),
        ([("name", 1)], {"name": "dateModified_-1"}, "the index dateModified_-1 on name: 1"),
    ],
)
def test_index_that_serves_another_purpose_is_named_with_what_to_do(
    mongo_uri: str, client: Client, tmp_path: Path, keys: Any, options: Document, named: str
) -> None:
    old, good = sorted((new_account(), new_account()))
    name = client["regular_alphas"][old].create_index(keys, **options)
    report = imported(mongo_uri, tmp_path, old, good)
    cause = report.failed[old, MONTH]
    assert cause.startswith(f"regular_alphas.{old} has {named}")
    drop = f'db.getSiblingDB("regular_alphas").getCollection("{old}").dropIndex("{name}")'
    assert drop in cause
    assert sorted(stored(client, good)) == ["A", "C"]
    client["regular_alphas"][old].drop_index(name)
    assert imported(mongo_uri, tmp_path, old).failed == {}
    assert sorted(stored(client, old)) == ["A", "C"]


@pytest.mark.parametrize("kind", ["capped", "expires"])
def test_collection_of_which_the_server_deletes_documents_is_named_with_what_to_do(
    mongo_uri: str, client: Client, tmp_path: Path, kind: str
) -> None:
    """Its documents would be imported again by every run, and in a capped one each insert deletes another."""
    old, good = sorted((new_account(), new_account()))
    database = client["regular_alphas"]
    if kind == "capped":
        database.create_collection(old, capped=True, size=100_000, max=3)
    else:
        database[old].create_index("fetched", name="old ones", expireAfterSeconds=10**9)
    database[old].insert_many([alpha(name) for name in "XYZ"])
    report = imported(mongo_uri, tmp_path, old, good)
    cause = report.failed[old, MONTH]
    assert cause.startswith(f"regular_alphas.{old} {'is capped' if kind == 'capped' else 'has the index old ones'}")
    assert "MongoDB deletes its documents; nothing is written. Run db." in cause
    assert sorted(stored(client, old)) == ["X", "Y", "Z"]
    assert sorted(stored(client, good)) == ["A", "C"]
    if kind == "capped":
        database[old].rename(f"{old}_capped")
    else:
        database[old].drop_index("old ones")
    assert imported(mongo_uri, tmp_path, old).failed == {}
    assert {"A", "C"} <= stored(client, old).keys()


def test_index_that_the_server_cannot_create_is_named(client: Client) -> None:
    collection = client["regular_alphas"][new_account()]
    with pytest.raises(TerminalError, match=rf"{collection.full_name}: MongoDB cannot create the index on id: "):
        mongo.ensure_index(collection, [("id", "nothing")], unique=True)


@pytest.mark.parametrize("change", [{"$set": {"name.x": 1}}, {"$set": {"_id": "B"}}, {"$inc": {"name": 1}}])
def test_change_that_the_server_rejects_costs_its_document_alone(client: Client, change: Document) -> None:
    """Codes 28, 66 and 14."""
    collection = client["regular_alphas"][new_account()]
    collection.insert_many([{"_id": name, "id": name, "name": None} for name in ("A", "C")])
    operations = {"A": UpdateOne({"id": "A"}, change), "C": UpdateOne({"id": "C"}, {"$set": {"name": "new"}})}
    conflicting, rejected = mongo._run(collection, operations, set(), "id")
    assert (conflicting, list(rejected)) == (set(), ["A"])
    assert rejected["A"].reason.startswith("MongoDB rejects it: ")
    assert {one["id"]: one["name"] for one in collection.find()} == {"A": None, "C": "new"}


@pytest.mark.parametrize("revision", ["of another tool", None])
@pytest.mark.parametrize("fields", [1, 40])
def test_revision_of_another_tool_rejects_its_document_alone(
    mongo_uri: str, client: Client, tmp_path: Path, revision: Any, fields: int
) -> None:
    """With few changed fields, which are set, and with many, which replace the document."""
    old = new_account()
    client["regular_alphas"][old].insert_one({"_id": "A", "id": "A", "_rev": revision})
    report = imported(mongo_uri, tmp_path, old, **{f"f{number}": 1 for number in range(fields)})
    assert (report.failed, report.total("rejected"), report.total("inserted")) == ({}, 1, 1)
    [row] = [one for one in mongo_ledger.quarantined(client["regular_alphas"], "regular_alphas") if one.source == old]
    assert row.reason.startswith(f"its stored _rev is {revision!r}, no number")


def test_unique_index_of_ones_own_rejects_the_document_that_breaks_it(
    mongo_uri: str, client: Client, tmp_path: Path
) -> None:
    old = new_account()
    client["regular_alphas"][old].create_index("type", unique=True)
    report = imported(mongo_uri, tmp_path, old)
    assert (report.failed, report.total("rejected"), report.total("inserted")) == ({}, 1, 1)
    [row] = [one for one in mongo_ledger.quarantined(client["regular_alphas"], "regular_alphas") if one.source == old]
    assert row.reason.startswith("MongoDB rejects it: E11000 duplicate key")


def test_what_is_written_is_computed_from_the_primary_whatever_the_address_prefers(mongo_uri: str) -> None:
    mark = "&" if "?" in mongo_uri else "/?"
    with mongo.connect(f"{mongo_uri}{mark}readPreference=secondaryPreferred&readPreferenceTags=dc:east") as client:
        assert client.read_preference == ReadPreference.PRIMARY
        assert client["regular_alphas"]["any"].read_preference == ReadPreference.PRIMARY
