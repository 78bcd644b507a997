"""A symbol that a person removed: no night, file, schedule or queued run brings it back, until it is restored."""

import datetime as dt
from typing import Any

import dagster as dg
from bar_runs import failures, repository
from tick_runs import BARS, MONTH, SYMBOLS, TABLES, Desk, drop, minutes, sessions, units

from marketdata_assets.defs.ticks import automation, symbols
from marketdata_assets.defs.ticks.run_config import OP
from marketdata_assets.resources import ClickHouse, Ticks
from marketdata_assets.ticks import registry, tables

GONE, REST = SYMBOLS[0], sorted(SYMBOLS[1:])
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def remove(desk: Desk, *names: str) -> None:
    tables.ensure(desk.client)
    registry.remove(desk.client, names, now=NOW)
    symbols.discard(desk.instance, names)


def look(desk: Desk) -> Any:
    resources = {"clickhouse": ClickHouse(), "ticks": Ticks()}
    with dg.build_sensor_context(instance=desk.instance, repository_def=repository(), resources=resources) as context:
        return automation.ticks_files.evaluate_tick(context)


def test_a_removed_symbol_is_no_partition_and_is_not_due_at_night(desk: Desk) -> None:
    desk.ready(*SYMBOLS)
    remove(desk, GONE)
    assert symbols.known(desk.instance) == REST
    [request] = automation.due(desk.instance, ClickHouse(), Ticks())
    months = request.run_config["ops"][OP]["config"]["months"]
    assert {name for names in months.values() for name in names} == set(REST)


def test_a_refresh_names_a_removed_symbol_and_leaves_it_out(desk: Desk) -> None:
    desk.ready(*SYMBOLS)
    remove(desk, GONE)
    result = desk.registry()
    assert result.success
    [event] = result.asset_materializations_for_node("symbol_registry")
    assert (event.metadata["removed"].value, event.metadata["removed_symbols"].value) == (1, GONE)
    assert symbols.known(desk.instance) == REST
    registry.restore(desk.client, [GONE], now=NOW)
    assert desk.registry().success
    assert set(symbols.known(desk.instance)) == set(SYMBOLS)


def test_a_run_that_was_queued_before_the_removal_leaves_the_symbol_out(desk: Desk) -> None:
    desk.ready(*SYMBOLS)
    remove(desk, GONE)
    result = desk.select({MONTH: SYMBOLS}, TABLES[:1])
    assert result.success, failures(result)
    assert desk.materialized(BARS) == units(REST)
    assert {unit.symbol for unit in desk.counts()} == set(REST)
    alone = desk.select({MONTH: [GONE]}, TABLES[:1])
    assert not alone.success
    assert "marketdata symbols restore" in str(failures(alone))


def test_dropped_files_of_a_removed_symbol_are_not_loaded(desk: Desk) -> None:
    remove(desk, GONE)
    drop(desk.folder, "one.csv", minutes(GONE, sessions(MONTH)[0]))
    assert not look(desk).run_requests
    registry.restore(desk.client, [GONE], now=NOW)
    assert look(desk).run_requests
