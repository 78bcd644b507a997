"""Checks of the exchanges domain: table checks in the step that fills them, day checks on the run's days.

The queries are in `marketdata_assets.exchanges.tables.checks`.
"""

from collections.abc import Collection, Iterator

import dagster as dg

from marketdata_assets.defs.checks import results, specs
from marketdata_assets.defs.exchanges.days import HISTORY, ensure_tables
from marketdata_assets.defs.exchanges.report import TABLES
from marketdata_assets.partitions import days_of
from marketdata_assets.resources import ClickHouse
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_assets.stores.clients import Client

REFUSED = "nothing_refused"
TABLE_SPECS = specs(*TABLES)


def of_tables(client: Client, wanted: Collection[dg.AssetCheckKey]) -> Iterator[dg.AssetCheckResult]:
    """Run the `wanted` checks on the newest day that has trades."""
    from marketdata_assets.exchanges.tables import checks as questions
    from marketdata_assets.exchanges.tables import schema

    if not wanted:
        return
    question = questions.newest(client)
    types = {table.name: kind for kind, table in schema.TABLES.items()}

    def find(asset: str, name: str) -> Finding:
        found: Finding = getattr(questions, name)(question, *([types[asset]] if name == REFUSED else []))
        return found

    yield from results(TABLES, wanted, find)


def _of_days(asset: str) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(name=f"{asset}_checks", specs=specs(asset), can_subset=True, pool="clickhouse")
    def checks(context: dg.AssetCheckExecutionContext, clickhouse: ClickHouse) -> Iterator[dg.AssetCheckResult]:
        from marketdata_assets.exchanges.tables import checks as questions

        with clickhouse.client() as client:
            ensure_tables(client)
            days = tuple(days_of(context.run.tags))
            newest = questions.newest_history if asset == HISTORY else questions.newest
            question = questions.Question(client, days) if days else newest(client)
            wanted = context.selected_asset_check_keys
            yield from results([asset], wanted, lambda _, name: getattr(questions, name)(question))

    return checks


of_days = [_of_days(asset) for asset in ("exchange_ohlcv_1m", "exchange_gaps", HISTORY)]
