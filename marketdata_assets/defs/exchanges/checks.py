"""Checks of the exchanges domain: table checks in the step that fills them, day checks on the run's days.

The queries are in `marketdata_assets.exchanges.tables.checks`.
"""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import dagster as dg

from marketdata_assets.defs.exchanges.days import HISTORY, ensure_tables
from marketdata_assets.defs.exchanges.report import TABLES
from marketdata_assets.defs.metadata import check_result
from marketdata_assets.partitions import days_of
from marketdata_assets.resources import ClickHouse

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


REFUSED = "nothing_refused"
OF_TABLES = {
    **{(table, REFUSED): "No record of the newest day was rejected by the table." for table in TABLES},
    ("exchange_trades", "one_row_a_trade"): "No trade id of an instrument is stored with two times, on the newest day.",
    ("exchange_trades", "holes_on_record"): "Gaps in the sequence numbers of trades are recorded.",
    (
        "exchange_orderbooks",
        "changes_follow",
    ): "In a sample of books, updates follow one another, or a gap is recorded.",
}
OF_DAYS = {
    (
        "exchange_ohlcv_1m",
        "bars_equal_klines",
    ): "Bars have the prices, volumes and counts of the venue's own closed candles.",
    ("exchange_ohlcv_1m", "bars_recomputed"): "In a sample of instruments, bars are those recomputed from the trades.",
    ("exchange_ohlcv_1m", "price_order"): "High is the highest and low the lowest price of a bar.",
    ("exchange_gaps", "none_open"): "No gap of trades is open.",
}
OF_HISTORY = {
    (HISTORY, "history_stored"): "The tables have the records that the ledger has of each loaded day.",
    (HISTORY, "candles_complete"): "Loaded days have every candle of less than a day.",
}
ADVICE = (REFUSED, "holes_on_record", "changes_follow", "none_open", "candles_complete")
"""Findings of these are in the quarantine or recorded as gaps; they warn, and block nothing."""

TABLE_SPECS = [dg.AssetCheckSpec(name, asset=asset, description=text) for (asset, name), text in OF_TABLES.items()]


def of_tables(client: "Client", wanted: Collection[dg.AssetCheckKey]) -> Iterator[dg.AssetCheckResult]:
    """Run the `wanted` checks on the newest day that has trades."""
    from marketdata_assets.exchanges.tables import checks as questions
    from marketdata_assets.exchanges.tables import schema

    if not wanted:
        return
    question = questions.newest(client)
    types = {table.name: kind for kind, table in schema.TABLES.items()}
    for asset, name in OF_TABLES:
        if dg.AssetCheckKey(dg.AssetKey(asset), name) in wanted:
            if name == REFUSED:
                finding = questions.nothing_refused(question, types[asset])
            else:
                finding = getattr(questions, name)(question)
            yield check_result(asset, name, finding, advice=name in ADVICE)


def _of_days(asset: str) -> dg.AssetChecksDefinition:
    mine = {name: text for (of, name), text in (OF_DAYS | OF_HISTORY).items() if of == asset}
    specs = [dg.AssetCheckSpec(name, asset=asset, description=text) for name, text in mine.items()]

    @dg.multi_asset_check(name=f"{asset}_checks", specs=specs, can_subset=True, pool="clickhouse")
    def checks(context: dg.AssetCheckExecutionContext, clickhouse: ClickHouse) -> Iterator[dg.AssetCheckResult]:
        from marketdata_assets.exchanges.tables import checks as questions

        wanted = {key.name for key in context.selected_asset_check_keys}
        with clickhouse.client() as client:
            ensure_tables(client)
            days = tuple(days_of(context.run.tags))
            newest = questions.newest_history if asset == HISTORY else questions.newest
            question = questions.Question(client, days) if days else newest(client)
            for name in mine:
                if name in wanted:
                    yield check_result(asset, name, getattr(questions, name)(question), advice=name in ADVICE)

    return checks


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions(asset_checks=[_of_days(asset) for asset in ("exchange_ohlcv_1m", "exchange_gaps", HISTORY)])
