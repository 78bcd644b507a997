"""Every check objects when ClickHouse is changed behind the package's back, and only to what its run is about."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pytest
from bar_runs import QUIET_LOG, definitions, failures
from tick_runs import BARS, EARLIER, FACTORS, MONTH, TicksEnv

from marketdata_assets.defs.ticks.assets import CHECKS
from marketdata_assets.partitions import tick_rectangle
from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks.tables import FACTORS as FACTORS_TABLE
from marketdata_assets.ticks.tables import TICK_DATA

SYMBOL = "600000.SH"
JOB = dg.define_asset_job("checks", selection=dg.AssetSelection.checks_for_assets(BARS, FACTORS))
LOOKING = dg.Definitions.merge(definitions(), dg.Definitions(jobs=[JOB]))


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
    result = LOOKING.get_job_def("checks").execute_in_process(
        instance=ticks_env.instance,
        tags=tick_rectangle(months, [SYMBOL]) if months else None,
        run_config=QUIET_LOG,
    )
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


OBJECTIONS = {
    "duplicates": {"volume": "volume"},
    "ohlc_order": {"ts": "ts + 1", "high": "low - 1"},
    "price_bounds": {"ts": "ts + 1", "flags": "8"},
    "volume_bounds": {"ts": "ts + 1", "flags": "16"},
    "ledger_agrees": {"ts": "ts + 1"},
}


@contextmanager
def undone(ticks_env: TicksEnv, table: str) -> Iterator[None]:
    """After the block the table is as it was before."""
    ticks_env.client.command(f"CREATE TABLE before AS {table}")
    ticks_env.client.command(f"INSERT INTO before SELECT * FROM {table}")
    yield
    ticks_env.client.command(f"EXCHANGE TABLES before AND {table}")
    ticks_env.client.command("DROP TABLE before SYNC")


def test_each_check_objects_to_its_months_only(loaded: TicksEnv) -> None:
    for name, changes in OBJECTIONS.items():
        with undone(loaded, "tick_data"):
            tamper(loaded, EARLIER, **changes)
            one = check(loaded, EARLIER)[name]
            assert not one.passed, name
            assert one.metadata["objections"].value == 1, name
            assert one.severity == (
                dg.AssetCheckSeverity.WARN if name.endswith("_bounds") else dg.AssetCheckSeverity.ERROR
            )
            assert check(loaded, MONTH)[name].passed, name
    with undone(loaded, "factors"):
        spoil_factor(loaded, MONTH)
        assert not check(loaded, MONTH)["factors_recomputed"].passed
        assert check(loaded, EARLIER)["factors_recomputed"].passed
    assert all(one.passed for one in check(loaded, EARLIER, MONTH).values())


def test_missing_minutes_are_listed(loaded: TicksEnv) -> None:
    where = f"symbol = '{SYMBOL}' AND formatDateTime(date, '%Y-%m') = '{MONTH}'"
    loaded.client.command(f"DELETE FROM tick_data WHERE {where} AND ts = (SELECT min(ts) FROM tick_data WHERE {where})")
    one = check(loaded, MONTH)["ticks_complete"]
    assert not one.passed
    assert one.severity == dg.AssetCheckSeverity.WARN
    assert one.metadata["minutes_missing"].value == 1
    assert "09:30" in str(one.metadata["examples"].value)


def test_checks_pass_on_what_was_loaded(loaded: TicksEnv) -> None:
    found = check(loaded, EARLIER, MONTH)
    assert set(found) == {spec.name for spec in CHECKS}
    assert [name for name, one in found.items() if not one.passed] == []
    assert found["duplicates"].metadata["checked"].value == 2


def test_check_by_itself_looks_at_the_newest_month(loaded: TicksEnv) -> None:
    tamper(loaded, EARLIER, **OBJECTIONS["duplicates"])
    assert check(loaded)["duplicates"].passed
    tamper(loaded, MONTH, **OBJECTIONS["duplicates"])
    assert not check(loaded)["duplicates"].passed
