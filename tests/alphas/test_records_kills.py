"""SIGKILL of a fetch of record sets before any of its steps: the next one requests only what was not stored."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bson
import dying
import pytest
from brain_clients import EMAIL, LATER, MONTH, NOVEMBER, PASSWORD, client
from dying import Load
from pymongo import MongoClient

from marketdata_assets.alphas import fetch_records
from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.documents import read as as_stored
from marketdata_assets.alphas.fetch_records import IN_FLIGHT, Choice, RecordsReport
from marketdata_assets.stores import mongo_ledger
from marketdata_assets.stores.mongo import CODEC
from marketdata_demo.servers.brain import BrainServer, spread

Client = MongoClient[dict[str, Any]]
STEPS = ((BrainClient, "records"), (fetch_records._Job, "store"), (mongo_ledger, "write"))
"""A request, a document, or the ledger's entry of a month."""

ALPHAS = list(spread(NOVEMBER.start, NOVEMBER.end, 40))
ALL_STEPS = 2 * len(ALPHAS) + 1
PNL = "/recordsets/pnl"


def fetched(url: str, home: Path, uri: str, account: str) -> RecordsReport:
    def client_of(name: str) -> BrainClient:
        return client(SimpleNamespace(url=url), home, account=name)  # type: ignore[arg-type]

    pairs = [(account, MONTH)]
    return fetch_records.fetch_records(uri, "pnl", pairs, client_of, run_id="r", now=LATER, choice=Choice())


def doomed(url: str, home: str, uri: str, account: str) -> None:
    assert fetched(url, Path(home), uri, account).total("fetched")


@pytest.fixture(scope="module")
def survived() -> Iterator[Load]:
    with dying.server(Path(__file__)) as load:
        yield load


@pytest.fixture
def server() -> Iterator[BrainServer]:
    with BrainServer() as server:
        server.add_user(EMAIL, PASSWORD, ALPHAS)
        yield server


@pytest.fixture
def account(mongo_client: Client) -> Iterator[str]:
    """An account of the test's own with ALPHAS in MongoDB."""
    name = f"k{uuid.uuid4().hex[:10]}"
    documents = [bson.decode(as_stored(one.body, one.kind).bson, CODEC) | {"_id": one.id} for one in ALPHAS]
    mongo_client["regular_alphas"][name].insert_many(documents)
    yield name
    for database in ("regular_alphas", "alpha_pnl"):
        mongo_client[database].drop_collection(name)
        mongo_client[database][mongo_ledger.LEDGER].delete_many({"source": name})


def stored(mongo: Client, account: str) -> dict[str, Any]:
    """The record sets by alpha, without the time at which each was fetched."""
    found = mongo["alpha_pnl"][account].find({}, {"fetched": 0})
    return {one["_id"]: one for one in found}


def entry(mongo: Client, account: str) -> tuple[int, int, str]:
    [one] = mongo_ledger.entries(mongo["alpha_pnl"], "alpha_pnl", account)
    return one.read, one.rows, one.outcome


@pytest.fixture
def whole(server: BrainServer, mongo_client: Client, mongo_uri: str, tmp_path: Path, account: str) -> dict[str, Any]:
    """What a fetch without a kill stores; dropped again."""
    fetched(server.url, tmp_path / "whole", mongo_uri, account)
    found = stored(mongo_client, account)
    assert entry(mongo_client, account) == (len(ALPHAS), len(ALPHAS), "ok")
    mongo_client["alpha_pnl"].drop_collection(account)
    mongo_client["alpha_pnl"][mongo_ledger.LEDGER].delete_many({"source": account})
    return found


@pytest.mark.parametrize("moment", [0, 1, 7, len(ALPHAS), ALL_STEPS - 2, ALL_STEPS - 1])
def test_a_killed_fetch_is_continued_and_repeats_only_what_was_in_flight(
    server: BrainServer,
    mongo_client: Client,
    mongo_uri: str,
    tmp_path: Path,
    account: str,
    whole: dict[str, Any],
    survived: Load,
    moment: int,
) -> None:
    before = server.asked(PNL)
    assert not survived(server.url, tmp_path, mongo_uri, account, moment)
    there, requested = len(stored(mongo_client, account)), server.asked(PNL) - before
    assert requested - there <= IN_FLIGHT
    again = fetched(server.url, tmp_path, mongo_uri, account)
    assert (
        again.total("fetched") <= len(ALPHAS) - there
    )  # a write that was under way when the process died may end later
    assert server.asked(PNL) - before == requested + again.total("fetched")
    assert stored(mongo_client, account) == whole
    assert entry(mongo_client, account) == (len(ALPHAS), len(ALPHAS), "ok")
