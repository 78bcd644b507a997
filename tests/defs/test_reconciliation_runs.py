"""The asset compares what was loaded, its check objects to changed values, and the night asks for outdated months."""

import datetime as dt
from pathlib import Path

import dagster as dg
import pytest

from marketdata_assets.defs import reconciliation
from marketdata_assets.partitions import range_tags
from marketdata_demo import sample_bars, sample_reconciliation
from tests.defs.bar_runs import execute, failures, materializations
from tests.defs.flow_runs import FlowsEnv

MONTHS = range_tags("2026-02", "2026-03")
LAST = dt.date(2026, 3, 20)


def asked(flows_env: FlowsEnv) -> list[dict[str, str]]:
    return [dict(request.tags) for request in reconciliation.due(flows_env.instance)]


def test_changed_values_are_objected_to_and_compared_again_when_a_source_is_loaded(
    flows_env: FlowsEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETDATA_BARS_DIR", str(tmp_path / "bars"))
    sample_bars.write_year(tmp_path / "bars", LAST.year, sample_reconciliation.STOCKS[1:2], until=LAST)
    sample_reconciliation.write(tmp_path / "bars", flows_env.data / "stock_daily", 20)
    for job, tags in (("bars_and_kline", MONTHS), ("flow_stock_daily", range_tags("2026-03", "2026-03"))):
        result = execute(flows_env.instance, job, {}, tags)
        assert result.success, failures(result)
    assert asked(flows_env) == [MONTHS], "the flow has rows of both months"
    result = execute(flows_env.instance, reconciliation.JOB, {}, MONTHS, checks=True)
    assert result.success, failures(result)
    [verdict] = result.get_asset_check_evaluations()
    assert (verdict.passed, verdict.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert verdict.metadata["objections"].value == 2, "without factors, volume and turnover of one stock"
    compared = materializations(flows_env.instance, result, dg.AssetKey(reconciliation.TABLE))
    assert {month: own["dagster/partition_row_count"] for month, own in compared.items()} == {
        "2026-02": 0,
        "2026-03": 2,
    }
    assert asked(flows_env) == []
    execute(flows_env.instance, "bars_and_kline", {}, range_tags("2026-03", "2026-03"))
    assert asked(flows_env) == [range_tags("2026-03", "2026-03")]
    result = execute(flows_env.instance, reconciliation.JOB, {}, range_tags("2026-03", "2026-03"))
    assert (result.success, asked(flows_env)) == (True, [])
    corrected = dg.AssetMaterialization("adjust_factors", partition="2026-02")
    flows_env.instance.report_runless_asset_event(corrected)
    assert asked(flows_env) == [range_tags("2026-02", "2026-02")], "bars are rebased by these factors"
