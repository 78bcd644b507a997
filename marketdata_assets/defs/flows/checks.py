"""Checks of every flow, run on its table after each load. The queries are in `marketdata_assets.flows.checks`."""

from collections.abc import Iterator

import dagster as dg

from marketdata_assets.defs.metadata import check_result
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.resources import Postgres
from marketdata_assets.stores.postgres import connect

DESCRIPTIONS = {
    "keys_unique": "No two rows have one key.",
    "every_row_accounted": "Every row that was read is in the table, in quarantine, or was left out by a handler.",
    "no_drift": "The table has the columns, types and key that the flow declares.",
}


def of(flow: FlowDefinition) -> dg.AssetChecksDefinition:
    """The checks of one flow; that of keys only where there is a key."""
    names = [name for name in DESCRIPTIONS if flow.target.key or name != "keys_unique"]

    @dg.multi_asset_check(
        name=f"{flow.name}_checks",
        specs=[dg.AssetCheckSpec(name, asset=flow.name, description=DESCRIPTIONS[name]) for name in names],
        pool="timescale",
    )
    def checks(postgres: Postgres) -> Iterator[dg.AssetCheckResult]:
        from marketdata_assets.flows import checks as questions

        with connect(postgres.dsn) as connection:
            for name in names:
                yield check_result(flow.name, name, getattr(questions, name)(connection, flow))

    return checks
