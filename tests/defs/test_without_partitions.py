"""Every job launched as a person does who chooses no partitions: it says how to choose them, or needs none."""

from typing import Any

import dagster as dg
import pytest

from marketdata_assets.defs.exchanges.days import HISTORY, HISTORY_JOB
from tests.defs.bar_runs import execute, failures
from tests.defs.flow_runs import PRICES, FlowsEnv
from tests.project_definitions import definitions

SAID = "loads partitions, and this run names none. Press Materialize"
BY_FILE = PRICES.replace("    table: prices", "    table: filed") + "  partitions: file\n"
BY_MONTH = PRICES.replace("    table: prices", "    table: monthly") + "  partitions: {month: day}\n"
REQUIRED = {HISTORY_JOB: {HISTORY: {"config": {"exchange": "binance", "instruments": ["BTCUSDT"]}}}}


@pytest.fixture
def everything(flows_env: FlowsEnv, clickhouse_url: str, mongo_uri: str, monkeypatch: pytest.MonkeyPatch) -> FlowsEnv:
    """All servers, the shipped flows, and one of a person's own of each kind."""
    monkeypatch.setenv("MARKETDATA_CLICKHOUSE_URL", clickhouse_url)
    monkeypatch.setenv("MARKETDATA_MONGO_URI", mongo_uri)
    for name, text in (("plain", PRICES), ("filed", BY_FILE), ("monthly", BY_MONTH)):
        flows_env.declare(name, text)
    return flows_env


def test_a_job_that_loads_partitions_says_how_to_choose_them_before_it_does_anything(everything: FlowsEnv) -> None:
    everything.deliver("a.csv", "symbol,day,close\nAAA,2024-01-02,1.5\n", "prices")
    found = definitions().get_repository_def()
    partitioned = [job for job in found.get_all_jobs() if job.name != "__ASSET_JOB" and partitions(job)]
    assert {"flow_monthly", "flow_filed", "flow_stock_daily"} < {job.name for job in partitioned}
    for job in partitioned:
        result = execute(everything.instance, job.name, config_of(job.name))
        said = failures(result)
        assert said, job.name
        assert all(f"{job.name} {SAID}" in text for text in said.values()), said
    assert everything.rows("SELECT to_regclass('monthly'), to_regclass('filed')") == [(None, None)]


def test_a_job_without_partitions_needs_none(everything: FlowsEnv) -> None:
    everything.deliver("a.csv", "symbol,day,close\nAAA,2024-01-02,1.5\n", "prices")
    assert everything.run("plain").success
    assert everything.rows("SELECT symbol FROM prices") == [("AAA",)]


@pytest.mark.parametrize("name", ["ticks", "reference_days"])
def test_checks_alone_need_no_partitions(name: str, everything: FlowsEnv) -> None:
    job = definitions().get_repository_def().get_job(name)
    checks = job.get_subset(
        asset_selection=set(), asset_check_selection={*job.asset_layer.asset_graph.asset_check_keys}
    )
    result = checks.execute_in_process(instance=everything.instance, raise_on_error=False)
    assert failures(result) == {}
    assert result.get_asset_check_evaluations()


def partitions(job: dg.JobDefinition) -> list[dg.AssetKey]:
    layer = job.asset_layer
    return [key for key in layer.executable_asset_keys if layer.get(key).partitions_def is not None]


def config_of(job: str) -> dict[str, Any]:
    return {"ops": REQUIRED[job]} if job in REQUIRED else {}
