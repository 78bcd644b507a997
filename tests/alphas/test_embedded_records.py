"""Record sets that an earlier tool embedded in documents of alphas: each is moved once, or named with the reason."""

import datetime as dt
import json
import uuid
from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId
from pymongo import MongoClient
from typer.testing import CliRunner

from marketdata_assets import read
from marketdata_assets.alphas import embedded
from marketdata_assets.alphas.fetch_records import statuses
from marketdata_assets.alphas.filters import EVERY
from marketdata_assets.cli import app
from marketdata_assets.loading.states import State

Client = MongoClient[dict[str, Any]]
CREATED = dt.datetime(2024, 11, 3, tzinfo=dt.UTC)
MODIFIED = dt.datetime(2024, 11, 20, tzinfo=dt.UTC)
NOW = dt.datetime(2025, 1, 15, tzinfo=dt.UTC)


def pnl(updated: Any, **fields: Any) -> dict[str, Any]:
    properties = [{"name": "date", "title": "Date", "type": "date"}, {"name": "pnl", "title": "PnL", "type": "amount"}]
    found = {"schema": {"name": "pnl", "properties": properties}, "records": [["2024-01-02", 0.0], ["2024-01-03", 5.5]]}
    return found | {"start": "2024-01-02", "user_id": "XX00001", "updated_at": updated} | fields


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, mongo_uri: str) -> str:
    monkeypatch.setenv("MARKETDATA_MONGO_URI", mongo_uri)
    return f"e{uuid.uuid4().hex[:10]}"


def put(client: Client, account: str, alpha: str, sets: Any, kind: str = "regular", **fields: Any) -> None:
    known = {"id": alpha, "dateCreated": CREATED, "dateModified": MODIFIED, "_rev": 4, "recordsets": sets}
    client[f"{kind}_alphas"][account].insert_one({**known, **fields})


def test_each_is_moved_once_with_the_version_that_it_is_of(mongo_client: Client, account: str) -> None:
    sets = {"pnl": pnl("2024-11-21T00:00:00Z"), "daily-pnl": pnl("2024-11-19T00:00:00Z")}
    put(mongo_client, account, "A1", {**sets, "sharpe": pnl(dt.datetime(2024, 11, 21, tzinfo=dt.UTC))})
    put(mongo_client, account, "S1", {"pnl": pnl(None)}, "super", dateModified=None)
    for alpha, day in (("A2", 21), ("A3", 20)):
        fetched = dt.datetime(2024, 11, day, tzinfo=dt.UTC)
        mongo_client["alpha_pnl"][account].insert_one(
            {"_id": alpha, "columns": {"date": [], "pnl": []}, "fetched": fetched}
        )
        put(mongo_client, account, alpha, {"pnl": pnl("2024-11-21T00:00:00Z")})
    report = embedded.move(mongo_client, account)
    moved = {"alpha_pnl": 3, "alpha_daily_pnl": 1, "alpha_sharpe": 1}
    assert (report.moved, report.kept, report.left) == (moved, {"alpha_pnl": 1}, {})
    stored = {one["_id"]: one for one in mongo_client["alpha_pnl"][account].find()}
    assert stored["A1"]["columns"] == {"date": ["2024-01-02", "2024-01-03"], "pnl": [0.0, 5.5]}
    assert stored["A1"]["types"] == {"date": "date", "pnl": "amount"}
    assert stored["A3"]["columns"]["pnl"] == [0.0, 5.5]
    assert (stored["S1"]["kind"], stored["A2"]["columns"]["pnl"]) == ("super", [])
    older = mongo_client["alpha_daily_pnl"][account].find_one({"_id": "A1"})
    assert older is not None
    assert older["dateModified"] is None
    for kind in ("regular", "super"):
        for one in mongo_client[f"{kind}_alphas"][account].find():
            assert "recordsets" not in one
            assert one["_rev"] > 4
    mongo_client["regular_alphas"][account].delete_many({"id": {"$in": ["A2", "A3"]}})
    states = {
        one.asset: dict(one.states) for one in statuses(mongo_client, ["pnl", "daily_pnl"], [account], EVERY, NOW)
    }
    assert states == {"alpha_pnl": {"2024-11": State.OK}, "alpha_daily_pnl": {"2024-11": State.MISSING}}
    again = embedded.move(mongo_client, account)
    assert (again.moved, again.kept, again.left) == ({}, {}, {})


@pytest.mark.parametrize("found", [[pnl(None)], "pnl", None])
def test_what_is_no_object_of_record_sets_stays_and_is_named(mongo_client: Client, account: str, found: Any) -> None:
    put(mongo_client, account, "A1", found)
    assert embedded.move(mongo_client, account).left == {"A1": "recordsets is no object"}
    assert mongo_client["regular_alphas"][account].find_one({"id": "A1"})["recordsets"] == found


@pytest.mark.parametrize(
    ("sets", "fields", "cause"),
    [
        ({"pnl-by-sector": pnl(None)}, {}, "no record set of this name"),
        ({"pnl": {"records": [["2024-01-02", 0.0]]}}, {}, "missing required field"),
        ({"pnl": pnl(None, records=[["2024-01-02"]])}, {}, "record 0 has 1 values in 2 columns"),
        ({"pnl": [1]}, {}, "Expected `object`"),
        ({"pnl": pnl(1732150000)}, {}, "updated_at 1732150000 is no date: make it a BSON date, or text such as"),
        ({"pnl": pnl("yesterday")}, {}, "updated_at 'yesterday' is no date"),
        ({"pnl": pnl("yesterday")}, {"dateCreated": None}, "no id or no dateCreated"),
    ],
)
def test_what_is_no_record_set_stays_and_is_named(
    mongo_client: Client, account: str, sets: Any, fields: dict[str, Any], cause: str
) -> None:
    put(mongo_client, account, "A1", {**sets, "daily-pnl": pnl(None)}, **fields)
    report = embedded.move(mongo_client, account)
    [name] = sets
    assert cause in report.left[f"A1 {name}"]
    kept = mongo_client["regular_alphas"][account].find_one({"id": "A1"})
    assert kept is not None
    assert kept["recordsets"][name] == sets[name]
    assert ("daily-pnl" in kept["recordsets"]) == ("dateCreated" in fields)


def test_values_of_mongodb_are_moved_as_brain_sends_them_and_what_it_never_sends_stays(
    mongo_client: Client, account: str
) -> None:
    days = [dt.datetime(2024, 1, day, tzinfo=dt.UTC) for day in (2, 3)]
    put(mongo_client, account, "A1", {"pnl": pnl(None, records=[[days[0], Decimal128("1.5")], [days[1], Int64(7)]])})
    odd = {"A2": float("nan"), "A3": float("inf"), "A4": Decimal128("NaN"), "A5": ObjectId()}
    for alpha, value in odd.items():
        put(mongo_client, account, alpha, {"pnl": pnl(None, records=[["2024-01-02", value]])})
    put(mongo_client, account, "A6", {"pnl": pnl(None, records=[[days[0] + dt.timedelta(hours=9), 1.0]])})
    report = embedded.move(mongo_client, account)
    assert report.moved == {"alpha_pnl": 1}
    assert sorted(report.left) == [f"A{number} pnl" for number in range(2, 7)]
    [stored] = mongo_client["alpha_pnl"][account].find()
    assert stored["columns"] == {"date": ["2024-01-02", "2024-01-03"], "pnl": [1.5, 7]}
    assert mongo_client["regular_alphas"][account].count_documents({"recordsets.pnl": {"$exists": True}}) == 5


def test_a_record_set_that_is_written_meanwhile_stays(mongo_client: Client, account: str) -> None:
    """The earlier tool writes a newer one between reading and removing."""
    put(mongo_client, account, "A1", {"pnl": pnl("2024-11-21T00:00:00Z")})
    [seen] = mongo_client["regular_alphas"][account].find()
    newer = pnl("2024-11-22T00:00:00Z")
    mongo_client["regular_alphas"][account].update_one({"id": "A1"}, {"$set": {"recordsets.pnl": newer}})
    embedded.remove(mongo_client["regular_alphas"][account], seen, "pnl")
    [after] = mongo_client["regular_alphas"][account].find()
    assert after["recordsets"]["pnl"] == newer


def test_the_command_moves_them_and_names_what_stays(mongo_client: Client, account: str) -> None:
    put(mongo_client, account, "A1", {"pnl": pnl(None), "coverage": pnl(None)})
    moved = CliRunner().invoke(app, ["alphas", "move-records", "--account", account])
    assert moved.exit_code == 1
    assert f"{account} alpha_pnl: 1 moved" in moved.stdout
    assert "no record set of this name is kept: A1 coverage" in " ".join(moved.stderr.split())
    again = CliRunner().invoke(app, ["alphas", "move-records", "--account", account, "--json"])
    assert list(json.loads(again.stdout)["accounts"][account]["left"]) == ["A1 coverage"]
    assert read.alpha_records("pnl", accounts=account)["pnl"].to_list() == [0.0, 5.5]
    unknown = CliRunner().invoke(app, ["alphas", "move-records", "--account", "nobody"])
    assert unknown.exit_code == 2
