"""Catalogues of BRAIN: whole lists of each market in which an account has alphas, whatever happens to a page."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from marketdata_assets.alphas import checks
from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.catalogues import Name
from marketdata_assets.alphas.errors import NoCredentials
from marketdata_assets.alphas.fetch_catalogues import UnitReport, fetch, markets, statuses
from marketdata_assets.declarations import alphas
from marketdata_assets.loading.states import State
from marketdata_assets.settings import Settings
from marketdata_demo import sample_records
from marketdata_demo.servers.brain import BrainServer
from tests.alphas.brain_clients import EMAIL, LATER, PASSWORD, client

Client = MongoClient[dict[str, Any]]
USA, EUR = "EQUITY/USA/1/TOP3000", "EQUITY/EUR/0/TOP1200"


@dataclass
class CatalogueEnv:
    """A server, and an account of the test's own with alphas in two markets."""

    server: BrainServer
    home: Path
    uri: str
    mongo: Client
    account: str = field(default_factory=lambda: f"k{uuid.uuid4().hex[:10]}")

    def fetched(self, name: Name) -> dict[str, UnitReport]:
        def client_of(name: str) -> BrainClient:
            return client(self.server, self.home, account=name)

        return {one.unit: one for one in fetch(self.uri, name, [self.account], client_of, run_id="r", now=LATER)}

    def stored(self, name: str) -> Any:
        return self.mongo[f"brain_{name}"][self.account]

    def put(self, alpha: str, unit: str) -> None:
        """An alpha of a market."""
        kind, region, delay, universe = unit.split("/")
        settings = {"instrumentType": kind, "region": region, "delay": int(delay), "universe": universe}
        self.mongo["regular_alphas"][self.account].insert_one({"id": alpha, "settings": settings})


@pytest.fixture
def env(tmp_path: Path, mongo_uri: str, mongo_client: Client) -> Iterator[CatalogueEnv]:
    with BrainServer() as server:
        server.add_user(EMAIL, PASSWORD)
        env = CatalogueEnv(server, tmp_path, mongo_uri, mongo_client)
        for number, unit in enumerate((USA, EUR, USA)):
            env.put(f"A{number}", unit)
        mongo_client["super_alphas"][env.account].insert_one({"id": "S1", "settings": {"region": "USA"}})
        yield env


def outcomes(reports: dict[str, UnitReport]) -> dict[str, tuple[str, int]]:
    return {unit: (one.outcome, one.entries) for unit, one in reports.items()}


def test_each_catalogue_is_stored_as_it_is_listed(env: CatalogueEnv) -> None:
    assert outcomes(env.fetched("operators")) == {"all": ("ok", 4)}
    assert outcomes(env.fetched("data_sets")) == {EUR: ("ok", 2), USA: ("ok", 2)}
    assert outcomes(env.fetched("data_fields")) == {
        EUR: ("ok", 63),
        USA: ("ok", 63),
    }
    assert env.server.asked("dataset.id=sample2") == 2 * 2  # pages of 50 of 60
    hidden = {"_id": 0, "unit": 0, "fetched": 0}
    operators = list(env.stored("operators").find({}, hidden))
    assert operators == sample_records.OPERATORS
    market = {"region": "EUR", "universe": "TOP1200", "delay": 0}
    wanted = [one for data_set in sample_records.data_sets(market) for one in sample_records.fields(data_set)]
    assert list(env.stored("data_fields").find({"unit": EUR}, hidden)) == wanted
    found = {(one.asset, one.account): (dict(one.states), one.documents) for one in statuses(env.mongo)}
    assert found["brain_data_fields", env.account] == ({EUR: State.OK, USA: State.OK}, 126)
    rows = [one for one in alphas.rows(env.mongo, Settings(), LATER) if one.get("account") == env.account]
    assert {(one["asset"], one["ok"], one["documents"]) for one in rows if one["asset"][:5] == "brain"} == {
        ("brain_operators", 1, 4),
        ("brain_data_sets", 2, 4),
        ("brain_data_fields", 2, 126),
    }


def test_what_is_listed_no_longer_is_removed_of_its_market_only(env: CatalogueEnv) -> None:
    env.fetched("data_sets")
    stored = env.stored("data_sets")
    for unit in (USA, "EQUITY/ASI/1/MINVOL1M"):
        stored.insert_one({"_id": f"{unit}/old", "id": "old", "unit": unit})
    env.fetched("data_sets")
    assert [one["unit"] for one in stored.find({"id": "old"})] == ["EQUITY/ASI/1/MINVOL1M"]
    assert stored.count_documents({"unit": USA}) == 2


def test_a_market_that_fails_keeps_what_it_has_and_the_others_go_on(env: CatalogueEnv) -> None:
    env.fetched("data_fields")
    env.server.fail(503, 1000, "/data-fields?instrumentType=EQUITY&region=EUR")
    again = env.fetched("data_fields")
    assert outcomes(again) == {EUR: ("failed", 0), USA: ("ok", 63)}
    assert "503" in again[EUR].error
    assert env.stored("data_fields").count_documents({"unit": EUR}) == 63
    [status] = [one for one in statuses(env.mongo) if one.account == env.account]
    assert status.states == {EUR: State.FAILED, USA: State.OK}
    env.server.no_more_faults()
    env.server.fail(429, 2, "/data-fields", headers={"Retry-After": "0.01"})
    assert outcomes(env.fetched("data_fields"))[EUR] == ("ok", 63)


def test_one_answer_that_contradicts_itself_or_is_empty_removes_nothing(env: CatalogueEnv) -> None:
    env.fetched("data_fields")
    rows = [{"id": f"f{number}"} for number in range(50)]
    for body in ({"count": 10, "results": rows}, {"count": 50, "results": rows}):
        env.server.fail(200, 1, "region=EUR&delay=0&universe=TOP1200&dataset.id=sample2", body=body)
        again = env.fetched("data_fields")
        assert outcomes(again) == {EUR: ("failed", 0), USA: ("ok", 63)}
        assert "entries are listed" in again[EUR].error
    env.server.fail(200, 1, "/data-sets?instrumentType=EQUITY&region=EUR", body={"count": 0, "results": []})
    again = env.fetched("data_fields")
    assert again[EUR].outcome == "failed"
    assert "lists none of 63 entries; they are kept" in again[EUR].error
    assert env.stored("data_fields").count_documents({"unit": EUR}) == 63
    assert checks.catalogue_complete(env.mongo, "data_fields").count
    env.stored("data_fields").delete_many({"unit": EUR})
    env.server.fail(200, 1, "/data-sets?instrumentType=EQUITY&region=EUR", body={"count": 0, "results": []})
    assert outcomes(env.fetched("data_fields"))[EUR] == ("empty", 0)


def test_two_data_sets_may_have_a_field_of_one_id(env: CatalogueEnv) -> None:
    stored = env.stored("data_fields")
    stored.insert_one({"_id": f"{USA}/x", "id": "x", "unit": USA})
    env.server.fail(
        200, 2, "/data-fields?instrumentType=EQUITY&region=USA", body={"count": 1, "results": [{"id": "x"}]}
    )
    assert outcomes(env.fetched("data_fields"))[USA] == ("ok", 2)
    sets = [one["id"] for one in sample_records.data_sets({"region": "USA", "universe": "TOP3000", "delay": 1})]
    assert sorted(one["_id"] for one in stored.find({"unit": USA})) == sorted(f"{USA}/{name}/x" for name in sets)
    assert checks.catalogue_complete(env.mongo, "data_fields").count == 0


def test_lists_that_are_cut_or_not_offered_are_no_catalogue(env: CatalogueEnv) -> None:
    env.server.fail(200, 1, "/data-sets?instrumentType=EQUITY&region=EUR", body={"count": 3, "results": []})
    env.server.fail(
        200, 1, "/data-sets?instrumentType=EQUITY&region=USA", body={"count": 1, "results": [{"name": "x"}]}
    )
    cut = env.fetched("data_sets")
    assert "0 of 3 entries are listed" in cut[EUR].error
    assert "has no id" in cut[USA].error
    env.server.not_offered.add("/data-sets")
    assert outcomes(env.fetched("data_sets")) == dict.fromkeys((EUR, USA), ("unsupported", 0))
    assert env.stored("data_sets").count_documents({}) == 0


def test_a_market_that_is_not_there_or_was_cut_is_named(env: CatalogueEnv) -> None:
    def found(name: Name = "data_sets") -> list[tuple[str, str]]:
        examples = checks.catalogue_complete(env.mongo, name).examples
        return [(one["market"], one["cause"]) for one in examples if one["account"] == env.account]

    asia = "EQUITY/ASI/1/MINVOL1M"
    assert found() == [], "an account that has never asked has none"
    env.fetched("data_sets")
    env.fetched("operators")
    assert found() == found("operators") == []
    env.put("A9", asia)
    env.stored("data_sets").delete_one({"unit": USA})
    assert found() == [(asia, "never fetched"), (USA, "1 of 2 entries")]
    env.server.fail(500, 100, "/data-sets?instrumentType=EQUITY&region=ASI")
    env.fetched("data_sets")
    [(market, cause)] = found()
    assert (market, "GET /data-sets" in cause) == (asia, True)
    env.server.not_offered.add("/operators")
    env.fetched("operators")
    assert found("operators") == []


def test_an_account_without_credentials_fails_by_name(env: CatalogueEnv) -> None:
    def none(name: str) -> BrainClient:
        raise NoCredentials(name, "Set them.", unset=True)

    [report] = fetch(env.uri, "operators", [env.account], none, run_id="r", now=LATER)
    assert (report.outcome, report.unit) == ("failed", "all")
    assert "has no credentials" in report.error


def test_markets_are_those_of_the_settings_of_alphas(env: CatalogueEnv) -> None:
    assert [one["region"] for one in markets(env.mongo, env.account)] == ["EUR", "USA"]
    assert markets(env.mongo, "nobody") == []


def test_an_alpha_of_no_market_is_named_and_the_markets_of_the_others_are_fetched(
    env: CatalogueEnv, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"instrumentType": "EQUITY", "region": "USA", "delay": 1, "universe": ["TOP3000"]}
    env.mongo["regular_alphas"][env.account].insert_one({"_id": "odd", "id": "odd", "settings": settings})
    assert {unit: one.outcome for unit, one in env.fetched("data_sets").items()} == {USA: "ok", EUR: "ok"}
    assert f"regular_alphas.{env.account} documents=1 id=odd" in caplog.text and "$.universe" in caplog.text
