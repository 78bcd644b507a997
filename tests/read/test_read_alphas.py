"""Alphas as columns: only the paths that are asked for, each with the type that its values have."""

import datetime as dt
import json
import uuid
from collections.abc import Iterator
from typing import Any

import bson
import polars as pl
import pytest
from pymongo import MongoClient, monitoring

from marketdata_assets import read
from marketdata_assets.alphas.documents import read as as_stored
from marketdata_assets.read.alphas import USUAL
from marketdata_assets.read.errors import CannotRead, NaiveTime, UnknownColumn, UnknownName
from marketdata_assets.stores.mongo import CODEC
from marketdata_demo import sample_alphas

Client = MongoClient[dict[str, Any]]
CREATED = dt.datetime(2024, 11, 27, 9, tzinfo=dt.UTC)


@pytest.fixture
def account(mongo_client: Client) -> Iterator[str]:
    """An account of the test's own; its alphas go with it."""
    name = f"a{uuid.uuid4().hex[:10]}"
    yield name
    for database in ("regular_alphas", "super_alphas"):
        mongo_client[database].drop_collection(name)


def put(client: Client, account: str, *documents: dict[str, Any], kind: str = "regular") -> None:
    client[f"{kind}_alphas"][account].insert_many([{**one, "_id": one["id"]} for one in documents])


def alpha(name: str, hours: int = 0, **fields: Any) -> dict[str, Any]:
    known = {"id": name, "type": "REGULAR", "dateCreated": CREATED + dt.timedelta(hours=hours)}
    return known | {"settings": {"region": "USA", "delay": 1}, "is": {"sharpe": 1.5}} | fields


def test_alphas_of_the_sample_have_the_usual_columns(mongo_uri: str, mongo_client: Client, account: str) -> None:
    lines = [json.dumps(one).encode() for one in sample_alphas.alphas(account, "regular", "2024-11", 20)]
    stored = [bson.decode(as_stored(line, "regular").bson, CODEC) for line in lines]
    put(mongo_client, account, *stored)
    found = read.alphas(accounts=account, connection=mongo_uri)
    assert dict(found.schema) == dict(USUAL)
    expected = sorted(stored, key=lambda one: (one["dateCreated"], one["id"]))
    for name in ("id", "dateCreated", "dateSubmitted", "name"):
        assert found[name].to_list() == [one[name] for one in expected]
    assert found["is.sharpe"].to_list() == [float(one["is"]["sharpe"]) for one in expected]
    assert found["account"].unique().to_list() == [account]


def test_a_span_and_a_condition_choose_and_dates_order(mongo_client: Client, account: str) -> None:
    put(mongo_client, account, *(alpha(f"A{hours}", hours, dateModified=CREATED) for hours in (3, 1, 2, 0)))
    put(mongo_client, account, alpha("S"), kind="super")
    asked: dict[str, Any] = {"columns": ["id"], "connection": mongo_client}

    def ids(*about: Any, **more: Any) -> list[str]:
        return read.alphas("regular", account, *about, **asked, **more)["id"].to_list()

    assert ids() == ["A0", "A1", "A2", "A3"]
    assert ids("2024-11-27T10:00:00+00:00", CREATED + dt.timedelta(hours=3)) == ["A1", "A2"]
    assert ids(dt.date(2024, 11, 28)) == []
    assert ids(by="dateModified", end="2024-11-27T09:00:00.001+00:00", where={"id": {"$ne": "A1"}}) == [
        "A0",
        "A2",
        "A3",
    ]
    assert read.alphas("super", account, **asked)["id"].to_list() == ["S"]


def test_columns_have_the_type_of_their_values(mongo_client: Client, account: str) -> None:
    first = alpha("A", tags=["x", "é"], favorite=True, count=1, score=1, deep={"er": {"x": 2}}, seen=CREATED, only=None)
    second = alpha("B", tags=[], favorite=None, count=2, score=0.5, deep={"er": None}, later="yes")
    put(mongo_client, account, first, second)
    paths = ["tags", "favorite", "count", "score", "deep.er.x", "deep", "deep.er", "seen", "only", "later", "account"]
    found = read.alphas(accounts=[account], columns=paths, connection=mongo_client)
    assert found.columns == paths
    assert found.rows() == [
        ('["x","é"]', True, 1, 1.0, 2, '{"er":{"x":2}}', '{"x":2}', CREATED, None, None, account),
        ("[]", None, 2, 0.5, None, '{"er":null}', None, None, None, "yes", account),
    ]
    kinds = [pl.String, pl.Boolean, pl.Int64, pl.Float64, pl.Int64, pl.String, pl.String]
    assert found.dtypes == [*kinds, pl.Datetime("ms", "UTC"), pl.Null, pl.String, pl.String]


def test_only_the_paths_that_are_asked_for_leave_the_server(mongo_uri: str, mongo_client: Client, account: str) -> None:
    put(mongo_client, account, alpha("A", regular={"code": "x" * 100_000}))

    class Answers(monitoring.CommandListener):
        seen: list[Any] = []  # noqa: RUF012 - one test, one list

        def started(self, event: monitoring.CommandStartedEvent) -> None: ...

        def failed(self, event: monitoring.CommandFailedEvent) -> None: ...

        def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
            self.seen += event.reply.get("cursor", {}).get("firstBatch", [])

    with MongoClient(mongo_uri, event_listeners=[Answers()]) as client:
        found = read.alphas(accounts=account, columns=["is.sharpe"], connection=client)
    assert found["is.sharpe"].to_list() == [1.5]
    documents = [one for one in Answers.seen if "id" in one]
    assert [sorted(one) for one in documents] == [["dateCreated", "id", "is"]]


def test_a_date_that_another_tool_left_as_text_is_read_as_one(mongo_client: Client, account: str) -> None:
    put(mongo_client, account, alpha("A", dateCreated="2024-11-27T04:00:00-05:00"))
    assert read.alphas(accounts=account, connection=mongo_client)["dateCreated"].to_list() == [CREATED]


@pytest.mark.parametrize(
    ("about", "error", "words"),
    [
        ({"columns": ["is.sharp"]}, UnknownColumn, "regular alphas has no column 'is.sharp'; did you mean 'is.sharpe'"),
        ({"columns": ["settings.regoin"]}, UnknownColumn, "did you mean 'settings.region'"),
        ({"columns": ["special.thingy"]}, UnknownColumn, "did you mean 'special.thing'"),
        ({"accounts": "nobody"}, UnknownName, "'nobody' is no account with alphas; "),
        ({"kind": "regulra"}, UnknownName, "did you mean 'regular'"),
        ({"by": "dateModifed"}, UnknownName, "did you mean 'dateModified'"),
        ({"start": "2024-11-27T10:00:00"}, NaiveTime, "has no time zone"),
    ],
)
def test_a_wrong_question_says_what_is_meant(
    mongo_client: Client, account: str, about: dict[str, Any], error: type[Exception], words: str
) -> None:
    put(mongo_client, account, alpha("A", special={"thing": 1}), alpha("B"))
    with pytest.raises(error, match=words):
        read.alphas(**({"accounts": account} | about), connection=mongo_client)


def test_numbers_stay_numbers_however_the_server_stores_them(mongo_client: Client, account: str) -> None:
    large = 3_000_000_000
    figures = {"pnl": bson.Int64(large), "exact": bson.Decimal128("12.50"), "sharpe": 2}
    put(
        mongo_client,
        account,
        alpha("A", settings={"region": "USA", "delay": bson.Int64(1)}, **{"is": figures}),
        alpha("B", size=bson.Int64(5), **{"is": {"pnl": 5}}),
        alpha("C", size=7),
    )
    named = ["id", "settings.delay", "is.pnl", "is.exact", "size", "is"]
    found = read.alphas(accounts=account, columns=named, connection=mongo_client).sort("id")
    assert found["settings.delay"].to_list() == [1, 1, 1]
    assert (found["is.pnl"].dtype, found["is.pnl"].to_list()) == (pl.Int64, [large, 5, None])
    assert (found["is.exact"].to_list(), found["size"].to_list()) == ([12.5, None, None], [None, 5, 7])
    assert json.loads(found["is"][0]) == {"pnl": large, "exact": 12.5, "sharpe": 2}


def test_a_value_of_another_type_costs_its_own_cell_alone(mongo_client: Client, account: str) -> None:
    put(mongo_client, account, *(alpha(name, mixed=1, **{"is": {"fitness": 1.5, "sharpe": 1.0}}) for name in "ABC"))
    stored = mongo_client["regular_alphas"][account]
    stored.update_one({"id": "B"}, {"$set": {"is.fitness": "high", "mixed": "text", "dateModified": 7}})
    found = read.alphas(
        accounts=account, columns=["id", "is.fitness", "mixed", "dateModified"], connection=mongo_client
    )
    assert found["is.fitness"].to_list() == [1.5, None, 1.5]
    assert found["mixed"].to_list() == [1, None, 1]
    assert found["dateModified"].null_count() == 3
    assert read.alphas(accounts=account, connection=mongo_client)["is.sharpe"].to_list() == [1.0, 1.0, 1.0]


def test_a_server_that_is_away_is_named() -> None:
    with (
        MongoClient[dict[str, Any]]("mongodb://127.0.0.1:1", serverSelectionTimeoutMS=50) as client,
        pytest.raises(CannotRead, match="MongoDB is not answering"),
    ):
        read.alphas(connection=client)
