"""A symbol that a person removed: no night, file, schedule or queued run brings it back, until it is restored."""

import datetime as dt
from typing import Any

import dagster as dg

from marketdata_assets.defs.ticks import automation, symbols
from marketdata_assets.defs.ticks.run_config import OP
from marketdata_assets.resources import ClickHouse, Resources, Ticks
from marketdata_assets.ticks import registry, tables
from tests.defs.bar_runs import failures, repository
from tests.defs.tick_runs import BARS, MONTH, SYMBOLS, TABLES, TicksEnv, drop, minutes, sessions, units

GONE, REST = SYMBOLS[0], sorted(SYMBOLS[1:])
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def remove(ticks_env: TicksEnv, *names: str) -> None:
    tables.ensure(ticks_env.client)
    registry.remove(ticks_env.client, names, now=NOW)
    symbols.discard(ticks_env.instance, names)


def look(ticks_env: TicksEnv) -> Any:
    resources = {"clickhouse": ClickHouse(), "ticks": Ticks()}
    with dg.build_sensor_context(
        instance=ticks_env.instance, repository_def=repository(), resources=resources
    ) as context:
        return automation.ticks_files.evaluate_tick(context)


def test_a_removed_symbol_is_no_partition_and_is_not_due_at_night(ticks_env: TicksEnv) -> None:
    ticks_env.ready(*SYMBOLS)
    remove(ticks_env, GONE)
    assert symbols.known(ticks_env.instance) == REST
    [request] = automation.due(ticks_env.instance, Resources())
    months = request.run_config["ops"][OP]["config"]["months"]
    assert {name for names in months.values() for name in names} == set(REST)


def test_a_refresh_names_a_removed_symbol_and_leaves_it_out(ticks_env: TicksEnv) -> None:
    ticks_env.ready(*SYMBOLS)
    remove(ticks_env, GONE)
    result = ticks_env.registry()
    assert result.success
    [event] = result.asset_materializations_for_node("symbol_registry")
    assert (event.metadata["removed"].value, event.metadata["removed_symbols"].value) == (1, GONE)
    assert symbols.known(ticks_env.instance) == REST
    registry.restore(ticks_env.client, [GONE], now=NOW)
    assert ticks_env.registry().success
    assert set(symbols.known(ticks_env.instance)) == set(SYMBOLS)


def test_a_run_that_was_queued_before_the_removal_leaves_the_symbol_out(ticks_env: TicksEnv) -> None:
    ticks_env.ready(*SYMBOLS)
    remove(ticks_env, GONE)
    result = ticks_env.select({MONTH: SYMBOLS}, TABLES[:1])
    assert result.success, failures(result)
    assert ticks_env.materialized(BARS) == units(REST)
    assert {unit.symbol for unit in ticks_env.counts()} == set(REST)
    alone = ticks_env.select({MONTH: [GONE]}, TABLES[:1])
    assert not alone.success
    assert "marketdata symbols restore" in str(failures(alone))


def test_dropped_files_of_a_removed_symbol_are_not_loaded(ticks_env: TicksEnv) -> None:
    remove(ticks_env, GONE)
    drop(ticks_env.folder, "one.csv", minutes(GONE, sessions(MONTH)[0]))
    assert not look(ticks_env).run_requests
    registry.restore(ticks_env.client, [GONE], now=NOW)
    assert look(ticks_env).run_requests
