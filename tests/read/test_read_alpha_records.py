"""Record sets of alphas as frames: joined to alphas as lists, as rows, and as files."""

import datetime as dt
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import polars as pl
import pytest
from pymongo import MongoClient

from marketdata_assets import export, read
from marketdata_assets.alphas.documents import read as as_stored
from marketdata_assets.alphas.filters import parse
from marketdata_assets.alphas.record_sets import RECORD_SETS, RecordSet, asset_name, decoder
from marketdata_assets.export.alphas import UnknownFormat
from marketdata_assets.read.errors import NothingLoaded, UnknownColumn, UnknownName
from marketdata_assets.stores.mongo import CODEC
from marketdata_demo import sample_alphas, sample_records

Client = MongoClient[dict[str, Any]]
FETCHED = dt.datetime(2025, 1, 2, tzinfo=dt.UTC)
SAMPLE = list(sample_alphas.alphas("records", "regular", "2024-11", 8))
STORED, NEVER = SAMPLE[:6], SAMPLE[6:]


@pytest.fixture
def account(mongo_client: Client, monkeypatch: pytest.MonkeyPatch, mongo_uri: str) -> Iterator[str]:
    """SAMPLE in MongoDB, with record sets of STORED."""
    monkeypatch.setenv("MARKETDATA_MONGO_URI", mongo_uri)
    name = f"q{uuid.uuid4().hex[:10]}"
    for one in SAMPLE:
        stored = bson.decode(as_stored(json.dumps(one).encode(), "regular").bson, CODEC)
        mongo_client["regular_alphas"][name].insert_one({**stored, "_id": one["id"]})
    for record_set in RECORD_SETS:
        for one in STORED:
            put(mongo_client, name, record_set, one)
    yield name
    for database in ("regular_alphas", *map(asset_name, RECORD_SETS)):
        mongo_client[database].drop_collection(name)


def put(client: Client, account: str, record_set: RecordSet, alpha: dict[str, Any]) -> None:
    others = [one["id"] for one in SAMPLE]
    found = decoder(record_set)(json.dumps(sample_records.response(alpha, record_set, others)).encode())
    known = {"_id": alpha["id"], "id": alpha["id"], "kind": "regular", "fetched": FETCHED, "types": found.types}
    client[asset_name(record_set)][account].insert_one(
        {**known, "columns": found.columns, "min": found.least, "max": found.greatest}
    )


def test_alphas_are_joined_with_their_record_sets(account: str) -> None:
    columns = ["id", "is.sharpe", "pnl.date", "pnl.pnl", "yearly_stats.year", "self_correlation.max", "pnl.fetched"]
    found = read.alphas(accounts=account, columns=columns)
    assert found.columns == columns
    assert found.schema["pnl.date"] == pl.List(pl.Date)
    assert found.schema["yearly_stats.year"] == pl.List(pl.Int64)
    rows = {row["id"]: row for row in found.iter_rows(named=True)}
    for one in STORED:
        pnl = sample_records.response(one, "pnl")["records"]
        row = rows[one["id"]]
        assert [day.isoformat() for day in row["pnl.date"]] == [day for day, _ in pnl]
        assert row["pnl.pnl"] == [value for _, value in pnl]
        assert row["pnl.fetched"] == FETCHED
    for one in NEVER:
        assert [rows[one["id"]][name] for name in columns[2:]] == [None] * 5
    long = found.select("id", "pnl.date", "pnl.pnl").explode("pnl.date", "pnl.pnl").drop_nulls()
    assert long.height == len(STORED) * sample_records.DAYS


def test_record_sets_are_rows_by_alpha_in_the_order_of_the_api(account: str) -> None:
    some = STORED[0]
    frame = read.alpha_records("yearly_stats", some["id"], account)
    came = sample_records.response(some, "yearly_stats")
    assert frame.columns == ["account", "alpha", *(one["name"] for one in came["schema"]["properties"])]
    assert frame["sharpe"].to_list() == [row[6] for row in came["records"]]
    every = read.alpha_records("pnl", accounts=account)
    assert every.height == len(STORED) * sample_records.DAYS
    assert every["alpha"].unique(maintain_order=True).to_list() == sorted(one["id"] for one in STORED)
    assert read.alpha_records("pnl", accounts=account, kind="super").height == 0


def test_wrong_names_and_values_are_named(mongo_client: Client, account: str) -> None:
    with pytest.raises(UnknownName, match="did you mean 'pnl'"):
        read.alpha_records("pln")  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="account with alpha_pnl"):
        read.alpha_records("pnl", accounts="nobody")
    with pytest.raises(UnknownColumn, match=r"pnl\.pnl"):
        read.alphas(accounts=account, columns=["id", "pnl.pln"])
    stored = mongo_client["alpha_pnl"][account]
    stored.update_one({"_id": STORED[0]["id"]}, {"$set": {"columns.date": ["yesterday"], "columns.pnl": [1.0]}})
    dates = read.alpha_records("pnl", accounts=account)["date"]
    assert dates.null_count() == 1
    assert len(dates) == (len(STORED) - 1) * sample_records.DAYS + 1


def test_columns_of_unequal_length_are_left_out_and_cost_no_other_alpha_its_rows(
    mongo_client: Client, account: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As another program may leave them: one lacks a value, the next one has one too many."""
    stored = mongo_client["alpha_pnl"][account]
    short, long = sorted(one["id"] for one in STORED)[:2]
    stored.update_one({"_id": short}, {"$pop": {"columns.pnl": 1}})
    stored.update_one({"_id": long}, {"$push": {"columns.pnl": 7.0}})
    expected = {row["_id"]: row["columns"] for row in stored.find({"_id": {"$nin": [short, long]}})}
    frame = read.alpha_records("pnl", accounts=account)
    found = {name: rows for (name,), rows in frame.partition_by("alpha", as_dict=True).items()}
    assert {name: rows["pnl"].to_list() for name, rows in found.items()} == {
        name: columns["pnl"] for name, columns in expected.items()
    }
    [said] = [line for line in caplog.messages if line.startswith("unusable_documents")]
    assert f"documents=2 id={short}" in said and "columns of different lengths" in said


def test_nothing_fetched_is_said(mongo_uri: str) -> None:
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        client.drop_database("alpha_sharpe")
    with pytest.raises(NothingLoaded, match="alpha_sharpe"):
        read.alpha_records("sharpe", connection=mongo_uri)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_alphas_and_record_sets_are_exported(account: str, tmp_path: Path, suffix: str) -> None:
    def load(file: Path) -> pl.DataFrame:
        return pl.read_csv(file) if suffix == "csv" else pl.read_parquet(file)

    file = tmp_path / "new" / f"alphas.{suffix}"
    columns = ["id", "is.sharpe", "yearly_stats.sharpe", "prod_correlation.max"]
    report = export.alphas(file, accounts=account, columns=columns)
    found = load(file)
    assert (report.rows, found.columns, found.height) == (len(SAMPLE), columns, len(SAMPLE))
    by_id = dict(found.select("id", "yearly_stats.sharpe").iter_rows())
    years = [row[6] for row in sample_records.response(STORED[0], "yearly_stats")["records"]]
    kept = by_id[STORED[0]["id"]]
    assert (json.loads(kept) if suffix == "csv" else list(kept)) == years
    least = sorted(one["is"]["sharpe"] for one in SAMPLE)[3]
    few = export.alphas(file, accounts=account, filters=parse({"min_sharpe": least}))
    assert few.rows == sum(one["is"]["sharpe"] >= least for one in SAMPLE)
    records = export.alphas(file, accounts=account, record_set="turnover")
    assert records.rows == load(file).height == len(STORED) * sample_records.DAYS
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_integers_of_64_bits_are_exported(mongo_client: Client, account: str, tmp_path: Path, suffix: str) -> None:
    """The driver has a class of its own for them, in documents and in record sets."""
    large, first = 3_000_000_000, STORED[0]["id"]
    alphas, sets = mongo_client["regular_alphas"][account], mongo_client["alpha_yearly_stats"][account]
    changed = {"is.pnl": bson.Int64(large), "settings.delay": bson.Int64(1), "sizes": [bson.Int64(large), 1]}
    assert alphas.update_one({"id": first}, {"$set": changed}).modified_count == 1
    assert sets.update_one({"_id": first}, {"$set": {"columns.bookSize.0": bson.Int64(large)}}).modified_count == 1
    file = tmp_path / f"alphas.{suffix}"
    load = pl.read_csv if suffix == "csv" else pl.read_parquet
    columns = ["id", "is.pnl", "settings.delay", "sizes", "yearly_stats.bookSize"]
    export.alphas(file, accounts=account, columns=columns)
    [row] = load(file).filter(pl.col("id") == first).iter_rows()
    assert row[1:3] == (large, 1)
    assert json.loads(row[3]) == [large, 1]
    assert (json.loads(row[4]) if suffix == "csv" else list(row[4]))[0] == large
    export.alphas(file, accounts=account, record_set="yearly_stats")
    assert large in load(file).filter(pl.col("alpha") == first)["bookSize"].to_list()


def test_another_suffix_is_no_format(tmp_path: Path) -> None:
    with pytest.raises(UnknownFormat, match=r"alphas\.xlsx"):
        export.alphas(tmp_path / "alphas.xlsx")
