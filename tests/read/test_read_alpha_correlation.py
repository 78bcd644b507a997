"""Correlations of alphas with a pool from what is stored, as frames and from the command line."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pymongo import MongoClient
from typer.testing import CliRunner

from marketdata_assets import read
from marketdata_assets.alphas.filters import POWER_POOL, POWER_POOL_ALPHAS, Filters
from marketdata_assets.cli import app
from marketdata_assets.read.errors import UnknownName

Client = MongoClient[dict[str, Any]]
DAYS = 300
SUBMITTED, POOLED, EUROPEAN, DRAFT, BARE, SHORT = "Sub1", "Pow1", "Eur1", "Dra1", "Bar1", "Sho1"


def pnl() -> dict[str, list[float]]:
    random = np.random.default_rng(3)
    common = random.normal(size=DAYS)
    shares = {SUBMITTED: 0.9, POOLED: 0.5, EUROPEAN: 0.95, DRAFT: 0.8}
    found = {name: np.cumsum(share * common + random.normal(size=DAYS)).tolist() for name, share in shares.items()}
    return found | {SHORT: [0.0, 1.0, 3.0]}


def correlated(first: str, second: str) -> float:
    series = pnl()
    return float(np.corrcoef(np.diff(series[first]), np.diff(series[second]))[0, 1])


@pytest.fixture
def account(mongo_client: Client, monkeypatch: pytest.MonkeyPatch, mongo_uri: str) -> Iterator[str]:
    """Alphas in MongoDB, of which BARE has no PnL, and that of SHORT is a few days."""
    monkeypatch.setenv("MARKETDATA_MONGO_URI", mongo_uri)
    name = f"c{uuid.uuid4().hex[:10]}"
    days = [f"{day}" for day in np.arange(DAYS) + np.datetime64("2023-01-02")]
    for alpha in (SUBMITTED, POOLED, EUROPEAN, DRAFT, BARE, SHORT):
        classes = [{"id": POWER_POOL, "name": "Power Pool Alpha"}] if alpha == POOLED else []
        status = "UNSUBMITTED" if alpha in (DRAFT, BARE, SHORT) else "ACTIVE"
        settings = {"region": "EUR" if alpha == EUROPEAN else "USA"}
        mongo_client["regular_alphas"][name].insert_one(
            {"_id": alpha, "id": alpha, "status": status, "settings": settings, "classifications": classes}
        )
    for alpha, values in pnl().items():
        columns = {"date": days[: len(values)], "pnl": values}
        mongo_client["alpha_pnl"][name].insert_one(
            {"_id": alpha, "columns": columns, "types": {}, "min": None, "max": None}
        )
    yield name
    for database in ("regular_alphas", "alpha_pnl"):
        mongo_client[database].drop_collection(name)


def test_alphas_are_compared_with_submitted_ones_of_their_region(account: str) -> None:
    found = {row["alpha"]: row for row in read.alpha_correlations(accounts=account).iter_rows(named=True)}
    draft = found[DRAFT]
    assert (draft["region"], draft["compared"], draft["others"]) == ("USA", 2, [SUBMITTED, POOLED])
    assert draft["correlations"] == pytest.approx([correlated(DRAFT, one) for one in (SUBMITTED, POOLED)])
    assert (draft["max"], draft["min"]) == (draft["correlations"][0], draft["correlations"][1])
    assert draft["days"] == [DAYS - 1] * 2
    assert (found[SUBMITTED]["others"], found[SUBMITTED]["note"]) == ([POOLED], None)
    assert found[EUROPEAN]["compared"] == 0
    assert (draft["pool"], found[SUBMITTED]["pool"], found[EUROPEAN]["pool"]) == (2, 1, 0)
    assert found[EUROPEAN]["note"] == "the pool has no other alpha of its region"
    assert found[SHORT]["note"] == (
        f"2 alphas of the pool are left out: fewer than 60 common days: {POOLED}, {SUBMITTED}"
    )
    assert "alphas records --set pnl" in found[BARE]["note"]
    everywhere = read.alpha_correlations(DRAFT, account, any_region=True, top=1)
    assert everywhere["others"].to_list() == [[EUROPEAN]]
    assert everywhere["compared"].to_list() == [3]


def test_the_pool_is_a_filter_of_alphas(account: str) -> None:
    power = read.alpha_correlations(DRAFT, account, pool=POWER_POOL_ALPHAS)
    assert power["others"].to_list() == [[POOLED]]
    drafts = Filters(status=("UNSUBMITTED",))
    among = read.alpha_correlations(accounts=account, filters=drafts, pool=drafts, least_days=2)
    assert {row["alpha"]: row["others"] for row in among.iter_rows(named=True)} == {
        DRAFT: [SHORT],
        SHORT: [DRAFT],
        BARE: [],
    }
    with pytest.raises(UnknownName, match=r"'Eur2'.*did you mean 'Eur1'"):
        read.alpha_correlations("Eur2", account)


def test_alphas_of_the_pool_without_usable_pnl_are_counted_and_named(account: str, mongo_client: Client) -> None:
    unfetched = [f"Unf{number}" for number in range(7)]
    series: dict[str, list[float]] = {"Fla1": [5.0] * DAYS, "Lin1": [0.1 * day for day in range(DAYS)], "Emp1": []}
    for name in (*unfetched, *series):
        document = {"_id": name, "id": name, "status": "ACTIVE", "settings": {"region": "USA"}}
        mongo_client["regular_alphas"][account].insert_one(document)
    days = [str(day) for day in np.arange(DAYS) + np.datetime64("2023-01-02")]
    for name, values in series.items():
        columns = {"date": days[: len(values)], "pnl": values}
        mongo_client["alpha_pnl"][account].insert_one({"_id": name, "columns": columns, "types": {}})
    frame = read.alpha_correlations(accounts=account)
    rows = {row["alpha"]: row for row in frame.iter_rows(named=True)}
    note = (
        "10 alphas of the pool are left out: fewer than two days of PnL: Emp1; PnL is constant, or rises"
        " by the same every day: Fla1, Lin1; PnL is not in MongoDB, run marketdata alphas records --set pnl:"
        " Unf0, Unf1, Unf2, Unf3, Unf4 and 2 more"
    )
    assert (rows[DRAFT]["compared"], rows[DRAFT]["pool"], rows[DRAFT]["note"]) == (2, 12, note)
    assert (rows["Fla1"]["compared"], rows["Fla1"]["pool"]) == (0, 11)
    assert rows["Fla1"]["note"] == "PnL is constant, or rises by the same every day"
    shown = CliRunner().invoke(app, ["alphas", "correlation", "--account", account, "--id", DRAFT, "--id", SUBMITTED])
    assert " ".join(shown.stderr.split()).count("Unf0, Unf1, Unf2, Unf3, Unf4 and 2 more") == 1


def test_the_command_prints_them_and_who_has_none(account: str) -> None:
    def ran(*options: str) -> Any:
        return CliRunner().invoke(app, ["alphas", "correlation", "--account", account, *options])

    shown = ran("--status", "UNSUBMITTED")
    assert shown.exit_code == 0, shown.output
    assert f"{SUBMITTED} {correlated(DRAFT, SUBMITTED):.4f}, {POOLED}" in " ".join(shown.stdout.split())
    assert "1 alphas without correlations: PnL is not in MongoDB" in " ".join(shown.stderr.split())
    document = json.loads(ran("--id", DRAFT, "--power-pool", "--json").stdout)
    assert [row["others"] for row in document["alphas"]] == [[POOLED]]
    wide = json.loads(ran("--pool", '{"delay": [7]}', "--json").stdout)
    assert wide["compared"] == 0
    for wrong, sentence in (
        (["--pool", "{"], "Input data was truncated"),
        (["--pool", '{"regions": ["USA"]}'], "regions"),
        (["--pool", '{"region": ["USA"]}', "--power-pool"], "leave out --pool"),
        (["--id", "Eur2"], "did you mean 'Eur1'"),
    ):
        refused = ran(*wrong)
        assert refused.exit_code == 2
        assert sentence in " ".join(refused.output.replace("│", "").split())
