"""MongoDB databases with names of the user's own: every writer and reader keeps to them."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from marketdata_assets import read
from marketdata_assets.alphas.layout import KINDS
from marketdata_assets.backup import mongo as backup
from marketdata_assets.cli import status
from marketdata_assets.settings import MONGO_DATASETS, Settings
from marketdata_assets.stores.mongo import Server
from tests.defs.alpha_runs import MONTHS, PACKAGES, REGULARS, SUPERS, AlphasEnv, alpha, drop_slice, keys
from tests.defs.bar_runs import execute, failures
from tests.defs.nights import night

ALL = REGULARS + SUPERS


@pytest.fixture
def names(alphas_env: AlphasEnv, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Other names of all databases, which are dropped afterwards."""
    prefix = f"wq-{uuid.uuid4().hex[:8]}"
    chosen = {name: f"{prefix}-{name}" for name in MONGO_DATASETS}
    monkeypatch.setenv("MARKETDATA_MONGO_DATABASES", json.dumps(chosen))
    monkeypatch.setenv("MARKETDATA_BRAIN_RECORDS", '{"min_sharpe": -100}')
    yield chosen
    for name in alphas_env.client.list_database_names():
        if name.startswith(prefix):
            alphas_env.client.drop_database(name)


def of_usual_names(alphas_env: AlphasEnv) -> list[str]:
    return [name for name in MONGO_DATASETS if alphas_env.client[name].list_collection_names()]


def test_loads_checks_and_readers_use_the_names(alphas_env: AlphasEnv, names: dict[str, str]) -> None:
    alphas_env.ready("lk", months=MONTHS[:1])
    for job in ("alphas", "alpha_records"):
        result = alphas_env.run(f"lk|{MONTHS[0]}", job=job, checks=True)
        assert result.success, failures(result)
        checks = result.get_asset_check_evaluations()
        assert checks
        assert all(one.passed for one in checks)
    assert of_usual_names(alphas_env) == []
    assert alphas_env.client[names["regular_alphas"]]["lk"].count_documents({}) == REGULARS
    assert alphas_env.client[names["alpha_pnl"]]["lk"].count_documents({}) == ALL

    frame = read.alphas("super", columns=["account", "id", "pnl.pnl"])
    assert frame.height == SUPERS
    assert frame["pnl.pnl"].null_count() == 0
    assert read.alpha_records("turnover", accounts="lk")["alpha"].n_unique() == ALL
    rows = {row["asset"]: row for row in status.rows_of("alphas")}
    assert rows["regular_alphas"]["documents"] == REGULARS
    assert (rows["alpha_sharpe"]["documents"], rows["alpha_sharpe"]["ok"]) == (ALL, 1)
    assert night(alphas_env.instance, "alphas").run_requests == []


def test_record_sets_that_are_not_offered_are_known_under_the_names(
    alphas_env: AlphasEnv, names: dict[str, str]
) -> None:
    alphas_env.ready("lk")
    assert alphas_env.run(f"lk|{MONTHS[0]}").success
    alphas_env.brain.not_offered = {"prod_correlation"}
    result = alphas_env.run(
        f"lk|{MONTHS[0]}", job="alpha_records", assets=[dg.AssetKey("alpha_prod_correlation")], checks=True
    )
    assert result.success
    left_out = {one.check_name: one.metadata["left_out"].value for one in result.get_asset_check_evaluations()}
    assert all(one.passed for one in result.get_asset_check_evaluations())
    assert left_out["records_complete"] == REGULARS + SUPERS
    assert alphas_env.client[names["alpha_prod_correlation"]]["lk"].count_documents({}) == 0


def test_dropped_and_rejected_alphas_are_found_under_the_names(alphas_env: AlphasEnv, names: dict[str, str]) -> None:
    deep: dict[str, object] = {}
    for _ in range(300):
        deep = {"deeper": deep}
    drop_slice(
        alphas_env.root, "zz", MONTHS[1], [alpha("aaaaaa1", MONTHS[1]), alpha("aaaaaa2", MONTHS[1], settings=deep)]
    )
    drop_slice(alphas_env.root, "lk", MONTHS[0], [alpha("aaaaaa3", MONTHS[0])])
    alphas_env.partitions("zz", "lk")
    [request] = night(alphas_env.instance, "alphas").run_requests
    execute(alphas_env.instance, str(request.job_name), request.run_config)
    assert alphas_env.materialized(PACKAGES) == keys(["zz"], [MONTHS[1]]) | keys(["lk"], [MONTHS[0]])
    assert [one["id"] for one in alphas_env.client[names["regular_alphas"]]["zz"].find()] == ["aaaaaa1"]
    [refused] = status.rejected_of("alphas", 10)
    assert refused["reason"].startswith("nested deeper than")
    assert of_usual_names(alphas_env) == []


def test_a_backup_is_restored_under_other_names(alphas_env: AlphasEnv, names: dict[str, str], tmp_path: Path) -> None:
    alphas_env.ready("lk")
    assert alphas_env.run(f"lk|{MONTHS[0]}").success
    uri = Settings().mongo_uri
    assert uri
    saved = backup.save(Server(uri, names), MONGO_DATASETS, tmp_path)
    assert {one.name for one in saved} >= {"regular_alphas.lk", "super_alphas.lk", "regular_alphas.marketdata-ledger"}
    backup.restore(uri, saved, tmp_path)
    for kind in KINDS:
        stored = alphas_env.client[names[f"{kind}_alphas"]]["lk"]
        assert list(alphas_env.client[f"{kind}_alphas"]["lk"].find().sort("id")) == list(stored.find().sort("id"))
