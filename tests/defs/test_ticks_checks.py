"""Every check objects when ClickHouse is changed behind the package's back, and only to what its run is about."""

import dagster as dg
import pytest

from marketdata_assets.defs.ticks.assets import CHECKS
from marketdata_assets.partitions import tick_rectangle
from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks.tables import FACTORS as FACTORS_TABLE
from marketdata_assets.ticks.tables import TICK_DATA
from tests.defs.bar_runs import failures, run_checks
from tests.defs.tick_runs import BARS, EARLIER, FACTORS, MONTH, TicksEnv

SYMBOL = "600000.SH"


@pytest.fixture
def loaded(ticks_env: TicksEnv) -> TicksEnv:
    """A symbol in two months."""
    ticks_env.ready(SYMBOL)
    result = ticks_env.select({EARLIER: [SYMBOL], MONTH: [SYMBOL]})
    assert result.success, failures(result)
    return ticks_env


def tamper(ticks_env: TicksEnv, month: str, **changes: str) -> None:
    """Let one bar of the month be there again, changed."""
    row = f"SELECT * REPLACE ({', '.join(f'{value} AS {name}' for name, value in changes.items())}) FROM tick_data"
    one = clickhouse.read(
        ticks_env.client, f"{row} WHERE formatDateTime(date, '%Y-%m') = '{month}' AND close > 0 ORDER BY ts LIMIT 1"
    )
    clickhouse.insert(ticks_env.client, TICK_DATA.name, one, TICK_DATA.dictionaries)


def spoil_factor(ticks_env: TicksEnv, month: str) -> None:
    one = clickhouse.read(
        ticks_env.client,
        f"SELECT * REPLACE (value + 1 AS value) FROM factors WHERE formatDateTime(date, '%Y-%m') = '{month}' LIMIT 1",
    )
    clickhouse.insert(ticks_env.client, FACTORS_TABLE.name, one, FACTORS_TABLE.dictionaries)


def check(ticks_env: TicksEnv, *months: str) -> dict[str, dg.AssetCheckEvaluation]:
    """Run the checks alone, for some months or, without any, for the newest."""
    result = run_checks(ticks_env.instance, (BARS, FACTORS), tick_rectangle(months, [SYMBOL]) if months else None)
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


OBJECTIONS = {
    "duplicates": {"volume": "volume"},
    "ohlc_order": {"ts": "ts + 1", "high": "low - 1"},
    "price_bounds": {"ts": "ts + 2", "flags": "8"},
    "volume_bounds": {"ts": "ts + 3", "flags": "16"},
}


def refused(found: dict[str, dg.AssetCheckEvaluation]) -> set[str]:
    return {name for name, one in found.items() if not one.passed}


@pytest.mark.slow
def test_each_check_objects_to_the_months_of_its_run_only(loaded: TicksEnv) -> None:
    found = check(loaded, EARLIER, MONTH)
    assert set(found) == {spec.name for spec in CHECKS}
    assert refused(found) == set()
    assert found["duplicates"].metadata["checked"].value == 2
    spoil_factor(loaded, MONTH)
    assert refused(check(loaded, MONTH)) == {"factors_recomputed", "ledger_agrees"}
    assert refused(check(loaded, EARLIER)) == set()
    for changes in OBJECTIONS.values():
        tamper(loaded, EARLIER, **changes)
    found = check(loaded, EARLIER)
    for name in (*OBJECTIONS, "ledger_agrees"):
        assert not found[name].passed, name
        assert found[name].metadata["objections"].value == 1, name
        advice = dg.AssetCheckSeverity.WARN if name.endswith("_bounds") else dg.AssetCheckSeverity.ERROR
        assert found[name].severity == advice, name
    assert refused(check(loaded)) == {"factors_recomputed", "ledger_agrees"}, "of the newest month"
    where = f"symbol = '{SYMBOL}' AND formatDateTime(date, '%Y-%m') = '{MONTH}'"
    loaded.client.command(f"DELETE FROM tick_data WHERE {where} AND ts = (SELECT min(ts) FROM tick_data WHERE {where})")
    one = check(loaded)["ticks_complete"]
    assert not one.passed
    assert one.severity == dg.AssetCheckSeverity.WARN
    assert one.metadata["minutes_missing"].value == 1
    assert "09:30" in str(one.metadata["examples"].value)
    tamper(loaded, MONTH, **OBJECTIONS["duplicates"])
    assert not check(loaded)["duplicates"].passed
