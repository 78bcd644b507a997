"""Record sets: fetched once for each version of an alpha, within the budget, whatever BRAIN does meanwhile."""

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import bson
import msgspec
import pytest
from pymongo import MongoClient

from marketdata_assets import read
from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.documents import read as as_stored
from marketdata_assets.alphas.errors import BadOptions, NoCredentials
from marketdata_assets.alphas.fetch_records import (
    Choice,
    MonthReport,
    RecordsReport,
    due_pairs,
    fetch_records,
    statuses,
)
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
from marketdata_assets.export import alphas as export_alphas
from marketdata_assets.loading.states import State
from marketdata_assets.stores.mongo import CODEC
from marketdata_demo import sample_records
from marketdata_demo.servers.brain import Alpha, BrainServer, make, spread
from tests.alphas.brain_clients import EMAIL, HASTY, LATER, MONTH, NOVEMBER, PASSWORD, client, with_client

Client = MongoClient[dict[str, Any]]
ALPHAS = list(spread(NOVEMBER.start, NOVEMBER.end, 12))
PNL = "/recordsets/pnl"


@dataclass
class RecordsEnv:
    """A server, and an account of the test's own, both with ALPHAS."""

    server: BrainServer
    home: Path
    uri: str
    mongo: Client
    account: str = field(default_factory=lambda: f"r{uuid.uuid4().hex[:10]}")

    def fetched(self, record_set: RecordSet = "pnl", **options: Any) -> RecordsReport:
        choice = Choice(**{name: options.pop(name) for name in ("filters", "max_age", "refetch") if name in options})

        def client_of(name: str) -> BrainClient:
            return client(self.server, self.home, account=name, **options)

        pairs = [(self.account, MONTH)]
        return fetch_records(self.uri, record_set, pairs, client_of, run_id="r", now=LATER, choice=choice)

    def month(self, record_set: RecordSet = "pnl", **options: Any) -> MonthReport:
        [month] = self.fetched(record_set, **options).months
        return month

    def state(self, record_set: RecordSet) -> tuple[State, int | None]:
        """The state of the month, and the documents of the account."""
        [status] = statuses(self.mongo, [record_set], [self.account], Filters(), LATER)
        return status.states[MONTH], status.documents

    def stored(self, record_set: RecordSet) -> dict[str, Any]:
        return {one["_id"]: one for one in self.mongo[asset_name(record_set)][self.account].find()}


@pytest.fixture
def env(tmp_path: Path, mongo_uri: str, mongo_client: Client) -> Iterator[RecordsEnv]:
    with BrainServer() as server:
        server.add_user(EMAIL, PASSWORD, ALPHAS)
        env = RecordsEnv(server, tmp_path, mongo_uri, mongo_client)
        put(mongo_client, env.account, *ALPHAS)
        yield env


def put(mongo: Client, account: str, *alphas: Alpha) -> None:
    for kind in KINDS:
        documents = [bson.decode(as_stored(one.body, kind).bson, CODEC) for one in alphas if one.kind == kind]
        if documents:
            collection = mongo[f"{kind}_alphas"][account]
            collection.delete_many({"id": {"$in": [one["id"] for one in documents]}})
            collection.insert_many([one | {"_id": one["id"]} for one in documents])


@pytest.mark.parametrize("record_set", DAILY)
def test_each_record_set_is_stored_as_it_came(env: RecordsEnv, record_set: RecordSet) -> None:
    month = env.month(record_set)
    assert (month.outcome, month.alphas, month.fetched, month.stored) == ("ok", 12, 12, 12)
    found, others = env.stored(record_set), [one.id for one in ALPHAS]
    for alpha in ALPHAS:
        came = sample_records.response(msgspec.json.decode(alpha.body), record_set, others)
        stored = found[alpha.id]
        assert [list(row) for row in zip(*stored["columns"].values(), strict=True)] == came["records"]
        assert list(stored["columns"]) == [one["name"] for one in came["schema"]["properties"]]
        assert (stored["min"], stored["max"]) == (came.get("min"), came.get("max"))


def test_a_submission_check_is_a_record_per_test(env: RecordsEnv) -> None:
    env.server.polls_until_computed = 1
    month = env.month("submission_check")
    assert (month.outcome, month.fetched) == ("ok", 12)
    assert {line.partition(" ")[0] for line in env.server.log if line.endswith("/check")} == {"GET"}
    found = env.stored("submission_check")
    for alpha in ALPHAS:
        came = sample_records.response(msgspec.json.decode(alpha.body), "submission_check")["is"]["checks"]
        columns, types = found[alpha.id]["columns"], found[alpha.id]["types"]
        for name in ("name", "result", "limit", "value"):
            assert columns[name] == [one.get(name) for one in came]
        competitions = [one and msgspec.json.decode(one) for one in columns["competitions"]]
        assert competitions == [one.get("competitions") for one in came]
        assert (types["limit"], types["competitions"]) == ("decimal", "string")


def test_checks_in_and_out_of_sample_are_one_record_set() -> None:
    found = decode_check(b'{"is": {"checks": [{"name": "A", "value": 1.5}]}, "os": {"checks": [{"name": "B"}]}}')
    assert (found.columns["name"], found.columns["value"]) == (["A", "B"], [1.5, None])
    assert decode_check(b'{"is": null}').columns["name"] == []
    assert decode_check(b" ").types == {}
    for wrong in (b'{"is": {"checks": [{"a.b": 1}]}}', b'{"is": {"checks": {}}}', b"[]", b"{"):
        with pytest.raises((msgspec.MsgspecError, ValueError)):
            decode_check(wrong)


def test_submission_checks_are_no_part_of_the_daily_run(env: RecordsEnv) -> None:
    assert due_pairs(env.mongo, [env.account], Filters(), LATER, 10) == [(env.account, MONTH)]
    for record_set in DAILY:
        documents = [
            {
                "_id": one.id,
                "dateCreated": one.created,
                "dateModified": modified(one),
                "fetched": LATER,
                "columns": {},
            }
            for one in ALPHAS
        ]
        env.mongo[asset_name(record_set)][env.account].insert_many(documents)
    assert due_pairs(env.mongo, [env.account], Filters(), LATER, 10) == []


def modified(alpha: Alpha) -> dt.datetime:
    return dt.datetime.fromisoformat(msgspec.json.decode(alpha.body)["dateModified"])


def test_only_changed_and_new_alphas_are_asked_for_again(env: RecordsEnv) -> None:
    env.fetched()
    assert env.server.asked(PNL) == 12
    again = env.fetched()
    assert (env.server.asked(PNL), again.requests, again.total("fetched")) == (12, 0, 0)
    changed = make(0, ALPHAS[0].created, modified=LATER, name="renamed")
    new = make(77, NOVEMBER.start)
    env.server.add_alphas(EMAIL, [changed, new])
    put(env.mongo, env.account, changed, new)
    third = env.month()
    assert (env.server.asked(PNL), third.fetched, third.stored) == (14, 2, 13)
    assert env.server.asked(f"{changed.id}{PNL}") == 2
    assert env.month(refetch=True).fetched == 13
    assert env.month(max_age=dt.timedelta(days=36500)).fetched == 0


def test_old_correlations_are_fetched_again_when_an_age_is_given(env: RecordsEnv) -> None:
    env.fetched("self_correlation")
    stored = env.mongo["alpha_self_correlation"][env.account]
    stored.update_one({"_id": ALPHAS[3].id}, {"$set": {"fetched": LATER - dt.timedelta(days=8)}})
    assert env.month("self_correlation", max_age=dt.timedelta(days=7)).fetched == 1
    long_ago = [one.id for one in ALPHAS[4:6]]
    stored.update_many({"_id": {"$in": long_ago}}, {"$set": {"fetched": LATER - dt.timedelta(seconds=1)}})
    stored.update_many({"_id": {"$nin": long_ago}}, {"$set": {"fetched": LATER}})
    assert env.month("self_correlation", max_age=dt.timedelta(0)).fetched == 2


def test_a_record_set_that_is_being_computed_is_asked_for_again_after_retry_after(env: RecordsEnv) -> None:
    env.server.polls_until_computed = 3
    month = env.month("prod_correlation")
    assert (month.outcome, month.fetched) == ("ok", 12)
    assert env.server.asked("/correlations/prod") == 48


def test_one_that_is_never_computed_fails_alone(env: RecordsEnv) -> None:
    slow = ALPHAS[5].id

    def pending() -> None:
        env.server._computing[f"/alphas/{slow}{PNL}"] = -1000

    env.server.before(pending, 10_000, slow)
    month = env.month()
    assert (month.outcome, month.fetched, list(month.failed)) == ("failed", 11, [slow])
    assert "still computes" in month.error
    assert env.state("pnl") == (State.FAILED, 11)
    env.server.no_more_faults()
    env.server._computing.clear()
    assert env.month().fetched == 1
    assert env.state("pnl") == (State.OK, 12)


def test_a_record_set_that_the_account_is_not_offered_costs_a_few_requests_and_is_no_failure(env: RecordsEnv) -> None:
    env.server.not_offered.add("prod_correlation")
    month = env.month("prod_correlation")
    assert (month.outcome, month.fetched, month.failed) == ("unsupported", 0, {})
    assert "403" in month.error
    assert env.server.asked("/correlations/prod") <= 5
    assert env.state("prod_correlation")[0] is State.UNSUPPORTED
    env.server.not_offered.clear()
    assert env.month("prod_correlation").fetched == 12


def test_a_wrong_password_is_tried_once_and_a_server_that_is_down_a_few_times(env: RecordsEnv) -> None:
    """However many alphas are due."""
    wrong = env.month(password="wrong")
    assert (wrong.outcome, len(wrong.failed), env.server.refused_logins, env.server.asked(PNL)) == ("failed", 12, 1, 0)
    env.server.fail(503, 10_000, PNL)
    down = env.month()
    assert (down.outcome, len(down.failed)) == ("failed", 12)
    assert env.server.asked(PNL) <= 8 * (HASTY.max_retries + 1)


def test_an_account_without_credentials_keeps_what_it_has(env: RecordsEnv) -> None:
    def none(name: str) -> BrainClient:
        raise NoCredentials(name, "Set them.", unset=True)

    def run(refetch: bool = False) -> str:
        choice, pairs = Choice(refetch=refetch), [(env.account, MONTH)]
        found = fetch_records(env.uri, "pnl", pairs, none, run_id="r", now=LATER, choice=choice)
        return found.months[0].outcome

    assert run() == "failed"
    env.fetched()
    assert (run(), run(refetch=True)) == ("ok", "kept")


@pytest.mark.parametrize(("enabled", "shown"), [(True, [State.MISSING]), (False, [])])
def test_what_nobody_fetches_is_not_missing(env: RecordsEnv, enabled: bool, shown: list[State]) -> None:
    """As of an account of which there are only files, beside one that is fetched."""
    env.mongo[asset_name("pnl")]["another account"].replace_one({"_id": "A"}, {}, upsert=True)
    accounts = [env.account] if enabled else []
    found = statuses(env.mongo, ["pnl"], [env.account], Filters(), LATER, accounts)
    assert [status.states[MONTH] for status in found] == shown


def test_filters_choose_alphas_of_mongodb(env: RecordsEnv) -> None:
    submitted = make(90, NOVEMBER.start, status="TESTED", dateSubmitted="2030-12-01T23:30:00-05:00")
    put(env.mongo, env.account, submitted, make(91, NOVEMBER.start, "super", status="TESTED", dateSubmitted=None))
    env.server.add_alphas(EMAIL, [submitted])
    cases: tuple[tuple[dict[str, Any], int], ...] = (
        ({"status": ["TESTED"], "type": ["regular"]}, 1),
        ({"status": ["TESTED"]}, 2),
        ({"submitted_from": "2030-12-02", "submitted_to": "2030-12-02"}, 1),
        ({"submitted_from": "2030-12-03"}, 0),
        ({"min_sharpe": 1e9}, 0),
    )
    for options, count in cases:
        assert env.fetched(filters=parse(options)).total("alphas") == count, options


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


def test_the_client_says_what_a_record_set_is(env: RecordsEnv) -> None:
    async def ask(one: BrainClient) -> list[Any]:
        return [await one.records(name, "pnl") for name in (ALPHAS[0].id, ALPHAS[0].id, "unknown1")]

    env.server.polls_until_computed = 1
    first, second, third = with_client(env.server, env.home, ask)
    assert (type(first), type(second), third) == (Pending, Records, None)
    assert second.types == {"date": "date", "pnl": "amount"}


def test_odd_documents_of_another_program_cost_no_other(
    env: RecordsEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert env.month().outcome == "ok"
    alphas, records = env.mongo["regular_alphas"][env.account], env.mongo["alpha_pnl"][env.account]
    alphas.insert_one({"_id": "stray", "type": "REGULAR", "dateCreated": NOVEMBER.start})
    undated, bare = sorted(env.stored("pnl"))[:2]
    records.update_one({"_id": undated}, {"$unset": {"dateModified": ""}})
    records.update_one({"_id": bare}, {"$unset": {"columns": ""}})
    with caplog.at_level("WARNING"):
        assert env.state("pnl") == (State.STALE, 12)
    stray, old = (line for line in caplog.messages if line.startswith("unusable_documents"))
    assert f"regular_alphas.{env.account} documents=1 id=stray" in stray and "missing required field `id`" in stray
    assert f"alpha_pnl.{env.account} documents=1 id={undated}" in old and "`dateModified`" in old
    monkeypatch.setenv("MARKETDATA_MONGO_URI", env.uri)
    assert read.alpha_records("pnl", accounts=env.account)["alpha"].n_unique() == 11
    frame = read.alphas(accounts=env.account, columns=["id", "pnl.pnl", "pnl.fetched"])
    assert (frame.height, frame["pnl.pnl"].null_count()) == (sum(one.kind == "regular" for one in ALPHAS) + 1, 2)
    assert read.alpha_correlations(accounts=env.account, filters=Filters(), pool=Filters()).height == 12
    exported = export_alphas(tmp_path / "pnl.parquet", "regular", [env.account], record_set="pnl")
    assert exported.rows == read.alpha_records("pnl", accounts=env.account, kind="regular").height
    month = env.month()
    assert (month.outcome, month.fetched) == ("ok", 2)
    assert env.state("pnl") == (State.OK, 12)


def test_ids_of_another_form_are_requested_and_those_that_lead_elsewhere_fail(env: RecordsEnv) -> None:
    odd = [replace(make(number, NOVEMBER.start), id=name) for number, name in ((70, "r_us"), (71, "中文1"))]
    env.server.add_alphas(EMAIL, odd)
    documents = env.mongo["regular_alphas"][env.account]
    documents.insert_many(
        [{"_id": name, "id": name, "dateCreated": NOVEMBER.start} for name in ("r_us", "中文1", "a/b")]
    )
    month = env.month()
    assert (month.alphas, month.fetched, [*month.failed]) == (15, 14, ["a/b"])
    assert all(env.stored("pnl")[one.id]["columns"]["pnl"] for one in odd)
