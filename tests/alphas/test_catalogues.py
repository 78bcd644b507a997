"""Catalogues of BRAIN: whole lists of each market in which an account has alphas, whatever happens to a page."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from brain_clients import EMAIL, LATER, PASSWORD, client
from pymongo import MongoClient

from marketdata_assets.alphas import checks
from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.catalogues import NAMES, Name, asset_name
from marketdata_assets.alphas.errors import NoCredentials
from marketdata_assets.alphas.fetch_catalogues import UnitReport, fetch, markets, statuses
from marketdata_assets.declarations import alphas
from marketdata_assets.loading.states import State
from marketdata_assets.settings import Settings
from marketdata_assets.stores import mongo_ledger
from marketdata_demo import sample_records
from marketdata_demo.servers.brain import BrainServer

Client = MongoClient[dict[str, Any]]
USA, EUR = "EQUITY/USA/1/TOP3000", "EQUITY/EUR/0/TOP1200"


@pytest.fixture
def server() -> Iterator[BrainServer]:
    with BrainServer() as server:
        server.add_user(EMAIL, PASSWORD)
        yield server


@pytest.fixture
def account(mongo_client: Client) -> Iterator[str]:
    """An account with alphas in two markets; everything goes with it."""
    name = f"k{uuid.uuid4().hex[:10]}"
    for number, unit in enumerate((USA, EUR, USA)):
        kind, region, delay, universe = unit.split("/")
        settings = {"instrumentType": kind, "region": region, "delay": int(delay), "universe": universe}
        mongo_client["regular_alphas"][name].insert_one({"id": f"A{number}", "settings": settings})
    mongo_client["super_alphas"][name].insert_one({"id": "S1", "settings": {"region": "USA"}})
    yield name
    for database in ("regular_alphas", "super_alphas", *map(asset_name, NAMES)):
        mongo_client[database].drop_collection(name)
        mongo_client[database][mongo_ledger.LEDGER].delete_many({"source": name})


def fetched(server: BrainServer, home: Path, uri: str, account: str, name: Name) -> dict[str, UnitReport]:
    def client_of(name: str) -> BrainClient:
        return client(server, home, account=name)

    return {one.unit: one for one in fetch(uri, name, [account], client_of, run_id="r", now=LATER)}


def outcomes(reports: dict[str, UnitReport]) -> dict[str, tuple[str, int]]:
    return {unit: (one.outcome, one.entries) for unit, one in reports.items()}


def test_each_catalogue_is_stored_as_it_is_listed(
    server: BrainServer, tmp_path: Path, mongo_uri: str, mongo_client: Client, account: str
) -> None:
    assert outcomes(fetched(server, tmp_path, mongo_uri, account, "operators")) == {"all": ("ok", 4)}
    assert outcomes(fetched(server, tmp_path, mongo_uri, account, "data_sets")) == {EUR: ("ok", 2), USA: ("ok", 2)}
    assert outcomes(fetched(server, tmp_path, mongo_uri, account, "data_fields")) == {
        EUR: ("ok", 63),
        USA: ("ok", 63),
    }
    assert server.asked("dataset.id=sample2") == 2 * 2  # pages of 50 of 60
    hidden = {"_id": 0, "unit": 0, "fetched": 0}
    operators = list(mongo_client["brain_operators"][account].find({}, hidden))
    assert operators == sample_records.OPERATORS
    market = {"region": "EUR", "universe": "TOP1200", "delay": 0}
    wanted = [one for data_set in sample_records.data_sets(market) for one in sample_records.fields(data_set)]
    assert list(mongo_client["brain_data_fields"][account].find({"unit": EUR}, hidden)) == wanted
    found = {(one.asset, one.account): (dict(one.states), one.documents) for one in statuses(mongo_client)}
    assert found["brain_data_fields", account] == ({EUR: State.OK, USA: State.OK}, 126)
    rows = [one for one in alphas.rows(mongo_client, Settings(), LATER) if one.get("account") == account]
    assert {(one["asset"], one["ok"], one["documents"]) for one in rows if one["asset"][:5] == "brain"} == {
        ("brain_operators", 1, 4),
        ("brain_data_sets", 2, 4),
        ("brain_data_fields", 2, 126),
    }


def test_what_is_listed_no_longer_is_removed_of_its_market_only(
    server: BrainServer, tmp_path: Path, mongo_uri: str, mongo_client: Client, account: str
) -> None:
    fetched(server, tmp_path, mongo_uri, account, "data_sets")
    stored = mongo_client["brain_data_sets"][account]
    for unit in (USA, "EQUITY/ASI/1/MINVOL1M"):
        stored.insert_one({"_id": f"{unit}/old", "id": "old", "unit": unit})
    fetched(server, tmp_path, mongo_uri, account, "data_sets")
    assert [one["unit"] for one in stored.find({"id": "old"})] == ["EQUITY/ASI/1/MINVOL1M"]
    assert stored.count_documents({"unit": USA}) == 2


def test_a_market_that_fails_keeps_what_it_has_and_the_others_go_on(
    server: BrainServer, tmp_path: Path, mongo_uri: str, mongo_client: Client, account: str
) -> None:
    fetched(server, tmp_path, mongo_uri, account, "data_fields")
    server.fail(503, 1000, "/data-fields?instrumentType=EQUITY&region=EUR")
    again = fetched(server, tmp_path, mongo_uri, account, "data_fields")
    assert outcomes(again) == {EUR: ("failed", 0), USA: ("ok", 63)}
    assert "503" in again[EUR].error
    assert mongo_client["brain_data_fields"][account].count_documents({"unit": EUR}) == 63
    [status] = [one for one in statuses(mongo_client) if one.account == account]
    assert status.states == {EUR: State.FAILED, USA: State.OK}
    server.no_more_faults()
    server.fail(429, 2, "/data-fields", headers={"Retry-After": "0.01"})
    assert outcomes(fetched(server, tmp_path, mongo_uri, account, "data_fields"))[EUR] == ("ok", 63)


def test_lists_that_are_cut_or_not_offered_are_no_catalogue(
    server: BrainServer, tmp_path: Path, mongo_uri: str, mongo_client: Client, account: str
) -> None:
    server.fail(200, 1, "/data-sets?instrumentType=EQUITY&region=EUR", body={"count": 3, "results": []})
    server.fail(200, 1, "/data-sets?instrumentType=EQUITY&region=USA", body={"count": 1, "results": [{"name": "x"}]})
    cut = fetched(server, tmp_path, mongo_uri, account, "data_sets")
    assert "0 of 3 entries are listed" in cut[EUR].error
    assert "has no id" in cut[USA].error
    server.not_offered.add("/data-sets")
    assert outcomes(fetched(server, tmp_path, mongo_uri, account, "data_sets")) == dict.fromkeys(
        (EUR, USA), ("unsupported", 0)
    )
    assert mongo_client["brain_data_sets"][account].count_documents({}) == 0


def test_a_market_that_is_not_there_or_was_cut_is_named(
    server: BrainServer, tmp_path: Path, mongo_uri: str, mongo_client: Client, account: str
) -> None:
    def found(name: Name = "data_sets") -> list[tuple[str, str]]:
        examples = checks.catalogue_complete(mongo_client, name).examples
        return [(one["market"], one["cause"]) for one in examples if one["account"] == account]

    assert found() == [], "an account that has never asked has none"
    fetched(server, tmp_path, mongo_uri, account, "data_sets")
    fetched(server, tmp_path, mongo_uri, account, "operators")
    assert found() == found("operators") == []
    settings = {"instrumentType": "EQUITY", "region": "ASI", "delay": 1, "universe": "MINVOL1M"}
    mongo_client["regular_alphas"][account].insert_one({"id": "A9", "settings": settings})
    mongo_client["brain_data_sets"][account].delete_one({"unit": USA})
    asia = "EQUITY/ASI/1/MINVOL1M"
    assert found() == [(asia, "never fetched"), (USA, "1 of 2 entries")]
    server.fail(500, 100, "/data-sets?instrumentType=EQUITY&region=ASI")
    fetched(server, tmp_path, mongo_uri, account, "data_sets")
    [(market, cause)] = found()
    assert (market, "GET /data-sets" in cause) == (asia, True)
    server.not_offered.add("/operators")
    fetched(server, tmp_path, mongo_uri, account, "operators")
    assert found("operators") == []


def test_an_account_without_credentials_fails_by_name(mongo_uri: str, account: str) -> None:
    def none(name: str) -> BrainClient:
        raise NoCredentials(name, "Set them.", unset=True)

    [report] = fetch(mongo_uri, "operators", [account], none, run_id="r", now=LATER)
    assert (report.outcome, report.unit) == ("failed", "all")
    assert "has no credentials" in report.error


def test_markets_are_those_of_the_settings_of_alphas(mongo_client: Client, account: str) -> None:
    assert [one["region"] for one in markets(mongo_client, account)] == ["EUR", "USA"]
    assert markets(mongo_client, "nobody") == []
