"""Record sets: fetched once for each version of an alpha, within the budget, whatever BRAIN does meanwhile."""

import datetime as dt
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import msgspec
import pytest
from brain_clients import EMAIL, HASTY, LATER, MONTH, NOVEMBER, PASSWORD, client, with_client
from pymongo import MongoClient

from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.documents import read as as_stored
from marketdata_assets.alphas.errors import BadOptions, NoCredentials
from marketdata_assets.alphas.fetch_records import Choice, RecordsReport, due_pairs, fetch_records, statuses
from marketdata_assets.alphas.filters import Filters, parse
from marketdata_assets.alphas.layout import KINDS
from marketdata_assets.alphas.record_sets import (
    DAILY,
    Pending,
    Records,
    RecordSet,
    asset_name,
    decode_check,
    decode_records,
)
from marketdata_assets.loading.states import State
from marketdata_assets.stores.mongo import CODEC
from marketdata_demo import sample_records
from marketdata_demo.servers.brain import Alpha, BrainServer, make, spread

Client = MongoClient[dict[str, Any]]
ALPHAS = list(spread(NOVEMBER.start, NOVEMBER.end, 12))
PNL = "/recordsets/pnl"


@pytest.fixture
def server() -> Iterator[BrainServer]:
    with BrainServer() as server:
        server.add_user(EMAIL, PASSWORD, ALPHAS)
        yield server


@pytest.fixture
def account(mongo_client: Client) -> str:
    """An account of the test's own with ALPHAS in MongoDB."""
    name = f"r{uuid.uuid4().hex[:10]}"
    put(mongo_client, name, *ALPHAS)
    return name


def put(mongo: Client, account: str, *alphas: Alpha) -> None:
    for kind in KINDS:
        documents = [bson.decode(as_stored(one.body, kind).bson, CODEC) for one in alphas if one.kind == kind]
        if documents:
            collection = mongo[f"{kind}_alphas"][account]
            collection.delete_many({"id": {"$in": [one["id"] for one in documents]}})
            collection.insert_many([one | {"_id": one["id"]} for one in documents])


def fetched(
    server: BrainServer, home: Path, uri: str, account: str, record_set: RecordSet = "pnl", **options: Any
) -> RecordsReport:
    choice = Choice(**{name: options.pop(name) for name in ("filters", "max_age", "refetch") if name in options})

    def client_of(name: str) -> BrainClient:
        return client(server, home, account=name, **options)

    return fetch_records(uri, record_set, [(account, MONTH)], client_of, run_id="r", now=LATER, choice=choice)


@pytest.mark.parametrize("record_set", DAILY)
def test_each_record_set_is_stored_as_it_came(
    server: BrainServer, tmp_path: Path, mongo_uri: str, mongo_client: Client, account: str, record_set: RecordSet
) -> None:
    report = fetched(server, tmp_path, mongo_uri, account, record_set)
    assert [(one.outcome, one.alphas, one.fetched, one.stored) for one in report.months] == [("ok", 12, 12, 12)]
    others = [one.id for one in ALPHAS]
    for alpha in ALPHAS:
        body = msgspec.json.decode(alpha.body)
        came = sample_records.response(body, record_set, others)
        stored = mongo_client[asset_name(record_set)][account].find_one({"_id": alpha.id})
        assert stored is not None
        assert [list(row) for row in zip(*stored["columns"].values(), strict=True)] == came["records"]
        assert list(stored["columns"]) == [one["name"] for one in came["schema"]["properties"]]
        assert (stored["min"], stored["max"]) == (came.get("min"), came.get("max"))


def test_a_submission_check_is_a_record_per_test(
    server: BrainServer, tmp_path: Path, mongo_uri: str, mongo_client: Client, account: str
) -> None:
    server.polls_until_computed = 1
    report = fetched(server, tmp_path, mongo_uri, account, "submission_check")
    assert [(one.outcome, one.fetched) for one in report.months] == [("ok", 12)]
    assert {line.partition(" ")[0] for line in server.log if line.endswith("/check")} == {"GET"}
    for alpha in ALPHAS:
        came = sample_records.response(msgspec.json.decode(alpha.body), "submission_check")["is"]["checks"]
        stored = mongo_client["alpha_submission_check"][account].find_one({"_id": alpha.id})
        assert stored is not None
        columns = stored["columns"]
        for name in ("name", "result", "limit", "value"):
            assert columns[name] == [one.get(name) for one in came]
        assert [one and msgspec.json.decode(one) for one in columns["competitions"]] == [
            one.get("competitions") for one in came
        ]
        assert (stored["types"]["limit"], stored["types"]["competitions"]) == ("decimal", "string")


def test_checks_in_and_out_of_sample_are_one_record_set() -> None:
    found = decode_check(b'{"is": {"checks": [{"name": "A", "value": 1.5}]}, "os": {"checks": [{"name": "B"}]}}')
    assert (found.columns["name"], found.columns["value"]) == (["A", "B"], [1.5, None])
    assert decode_check(b'{"is": null}').columns["name"] == []
    assert decode_check(b" ").types == {}
    for wrong in (b'{"is": {"checks": [{"a.b": 1}]}}', b'{"is": {"checks": {}}}', b"[]", b"{"):
        with pytest.raises((msgspec.MsgspecError, ValueError)):
            decode_check(wrong)


def test_submission_checks_are_no_part_of_the_daily_run(mongo_client: Client, account: str) -> None:
    assert due_pairs(mongo_client, [account], Filters(), LATER, 10) == [(account, MONTH)]
    for record_set in DAILY:
        documents = [
            {"_id": one.id, "dateCreated": one.created, "dateModified": modified(one), "fetched": LATER}
            for one in ALPHAS
        ]
        mongo_client[asset_name(record_set)][account].insert_many(documents)
    assert due_pairs(mongo_client, [account], Filters(), LATER, 10) == []


def modified(alpha: Alpha) -> dt.datetime:
    return dt.datetime.fromisoformat(msgspec.json.decode(alpha.body)["dateModified"])


def test_only_changed_and_new_alphas_are_asked_for_again(
    server: BrainServer, tmp_path: Path, mongo_uri: str, mongo_client: Client, account: str
) -> None:
    fetched(server, tmp_path, mongo_uri, account)
    assert server.asked(PNL) == 12
    again = fetched(server, tmp_path, mongo_uri, account)
    assert (server.asked(PNL), again.requests, again.total("fetched")) == (12, 0, 0)
    changed = make(0, ALPHAS[0].created, modified=LATER, name="renamed")
    new = make(77, NOVEMBER.start)
    server.add_alphas(EMAIL, [changed, new])
    put(mongo_client, account, changed, new)
    third = fetched(server, tmp_path, mongo_uri, account)
    assert (server.asked(PNL), third.total("fetched"), third.total("stored")) == (14, 2, 13)
    assert server.asked(f"{changed.id}{PNL}") == 2
    assert fetched(server, tmp_path, mongo_uri, account, refetch=True).total("fetched") == 13
    assert fetched(server, tmp_path, mongo_uri, account, max_age=dt.timedelta(days=36500)).total("fetched") == 0


def test_old_correlations_are_fetched_again_when_an_age_is_given(
    server: BrainServer, tmp_path: Path, mongo_uri: str, mongo_client: Client, account: str
) -> None:
    fetched(server, tmp_path, mongo_uri, account, "self_correlation")
    old = LATER - dt.timedelta(days=8)
    stored = mongo_client["alpha_self_correlation"][account]
    stored.update_one({"_id": ALPHAS[3].id}, {"$set": {"fetched": old}})
    week = dt.timedelta(days=7)
    assert fetched(server, tmp_path, mongo_uri, account, "self_correlation", max_age=week).total("fetched") == 1
    long_ago = [one.id for one in ALPHAS[4:6]]
    stored.update_many({"_id": {"$in": long_ago}}, {"$set": {"fetched": LATER - dt.timedelta(seconds=1)}})
    stored.update_many({"_id": {"$nin": long_ago}}, {"$set": {"fetched": LATER}})
    none = dt.timedelta(0)
    assert fetched(server, tmp_path, mongo_uri, account, "self_correlation", max_age=none).total("fetched") == 2


def test_a_record_set_that_is_being_computed_is_asked_for_again_after_retry_after(
    server: BrainServer, tmp_path: Path, mongo_uri: str, account: str
) -> None:
    server.polls_until_computed = 3
    report = fetched(server, tmp_path, mongo_uri, account, "prod_correlation")
    assert [(one.outcome, one.fetched) for one in report.months] == [("ok", 12)]
    assert server.asked("/correlations/prod") == 48


def test_one_that_is_never_computed_fails_alone(
    server: BrainServer, tmp_path: Path, mongo_uri: str, mongo_client: Client, account: str
) -> None:
    slow = ALPHAS[5].id

    def pending() -> None:
        server._computing[f"/alphas/{slow}{PNL}"] = -1000

    server.before(pending, 10_000, slow)
    report = fetched(server, tmp_path, mongo_uri, account)
    [month] = report.months
    assert (month.outcome, month.fetched, list(month.failed)) == ("failed", 11, [slow])
    assert "still computes" in month.error
    [status] = statuses(mongo_client, ["pnl"], [account], Filters(), LATER)
    assert (dict(status.states), status.documents) == ({MONTH: State.FAILED}, 11)
    server.no_more_faults()
    server._computing.clear()
    assert fetched(server, tmp_path, mongo_uri, account).total("fetched") == 1
    [status] = statuses(mongo_client, ["pnl"], [account], Filters(), LATER)
    assert (dict(status.states), status.documents) == ({MONTH: State.OK}, 12)


def test_a_record_set_that_the_account_is_not_offered_costs_a_few_requests_and_is_no_failure(
    server: BrainServer, tmp_path: Path, mongo_uri: str, mongo_client: Client, account: str
) -> None:
    server.not_offered.add("prod_correlation")
    report = fetched(server, tmp_path, mongo_uri, account, "prod_correlation")
    [month] = report.months
    assert (month.outcome, month.fetched, month.failed) == ("unsupported", 0, {})
    assert "403" in month.error
    assert server.asked("/correlations/prod") <= 5
    [status] = statuses(mongo_client, ["prod_correlation"], [account], Filters(), LATER)
    assert status.states == {MONTH: State.UNSUPPORTED}
    server.not_offered.clear()
    assert fetched(server, tmp_path, mongo_uri, account, "prod_correlation").total("fetched") == 12


def test_a_wrong_password_is_tried_once_however_many_alphas_are_due(
    server: BrainServer, tmp_path: Path, mongo_uri: str, account: str
) -> None:
    report = fetched(server, tmp_path, mongo_uri, account, password="wrong")
    assert [(one.outcome, len(one.failed)) for one in report.months] == [("failed", 12)]
    assert (server.refused_logins, server.asked(PNL)) == (1, 0)


def test_a_server_that_is_down_is_left_alone_after_a_few_alphas(
    server: BrainServer, tmp_path: Path, mongo_uri: str, account: str
) -> None:
    server.fail(503, 10_000, PNL)
    report = fetched(server, tmp_path, mongo_uri, account)
    assert [(one.outcome, len(one.failed)) for one in report.months] == [("failed", 12)]
    assert server.asked(PNL) <= 8 * (HASTY.max_retries + 1)


def test_an_account_without_credentials_keeps_what_it_has(
    server: BrainServer, tmp_path: Path, mongo_uri: str, account: str
) -> None:
    def none(name: str) -> BrainClient:
        raise NoCredentials(name, "Set them.", unset=True)

    def run() -> str:
        found = fetch_records(mongo_uri, "pnl", [(account, MONTH)], none, run_id="r", now=LATER, choice=again)
        return found.months[0].outcome

    again = Choice()
    assert run() == "failed"
    fetched(server, tmp_path, mongo_uri, account)
    assert run() == "ok"
    again = Choice(refetch=True)
    assert run() == "kept"


def test_filters_choose_alphas_of_mongodb(
    server: BrainServer, tmp_path: Path, mongo_uri: str, mongo_client: Client, account: str
) -> None:
    submitted = make(90, NOVEMBER.start, status="TESTED", dateSubmitted="2030-12-01T23:30:00-05:00")
    put(mongo_client, account, submitted, make(91, NOVEMBER.start, "super", status="TESTED", dateSubmitted=None))
    server.add_alphas(EMAIL, [submitted])
    cases: tuple[tuple[dict[str, Any], int], ...] = (
        ({"status": ["TESTED"], "type": ["regular"]}, 1),
        ({"status": ["TESTED"]}, 2),
        ({"submitted_from": "2030-12-02", "submitted_to": "2030-12-02"}, 1),
        ({"submitted_from": "2030-12-03"}, 0),
        ({"min_sharpe": 1e9}, 0),
    )
    for options, count in cases:
        report = fetched(server, tmp_path, mongo_uri, account, filters=parse(options))
        assert report.total("alphas") == count, options


def test_filters_as_the_api_takes_them() -> None:
    filters = parse({"status": ["ACTIVE", "DECOMMISSIONED"], "region": ["USA"], "delay": [1], "max_turnover": 0.7})
    assert filters.query() == (
        "&status=ACTIVE%1FDECOMMISSIONED&settings.region=USA&settings.delay=1&is.turnover%3C=0.7"
    )
    span = parse({"submitted_from": "2024-11-01", "submitted_to": "2024-11-30"})
    assert span.query() == ("&dateSubmitted%3E=2024-11-01T00:00:00.000Z&dateSubmitted%3C2024-12-01T00:00:00.000Z")
    assert Filters().query() == ""


@pytest.mark.parametrize(
    "options",
    [{"regions": ["USA"]}, {"delay": ["1"]}, {"region": ["US&A"]}, {"type": ["other"]},
     {"submitted_from": "2024-12-02", "submitted_to": "2024-12-01"}],
)  # fmt: skip
def test_wrong_filters_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(BadOptions):
        parse(options)


@pytest.mark.parametrize(
    "body",
    [
        b'{"schema": {"properties": [{"name": "a"}, {"name": "a"}]}, "records": []}',
        b'{"schema": {"properties": [{"name": "a.b"}]}, "records": []}',
        b'{"schema": {"properties": [{"name": "a"}]}, "records": [[1, 2]]}',
        b'{"schema": {"properties": [{"name": "a"}]}, "records": [1]}',
        b'{"records": []}',
    ],
)
def test_a_response_of_another_shape_is_no_record_set(body: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, ValueError)):
        decode_records(body)


def test_the_client_says_what_a_record_set_is(server: BrainServer, tmp_path: Path) -> None:
    async def ask(one: BrainClient) -> list[Any]:
        return [await one.records(name, "pnl") for name in (ALPHAS[0].id, ALPHAS[0].id, "unknown1")]

    server.polls_until_computed = 1
    first, second, third = with_client(server, tmp_path, ask)
    assert isinstance(first, Pending)
    assert isinstance(second, Records)
    assert second.types == {"date": "date", "pnl": "amount"}
    assert third is None
