"""The assets of the ticks domain: providers and files -> minute bars and order books -> factors, by month and symbol.

The three tables are one step. Of thousands of symbols a few fail at any time, and Dagster does not run what comes
a failed step; so the loaded ones get their factors and checks in the same step, which fails at its end.
"""

import datetime as dt
from collections.abc import Iterator
from functools import partial
from zoneinfo import ZoneInfo

import dagster as dg

from marketdata_assets.defs.declare import spec
from marketdata_assets.defs.partition_results import as_dagster_failure
from marketdata_assets.defs.ticks import checks, load_op, report, symbols
from marketdata_assets.defs.ticks.load_op import LoadConfig, LoadOp
from marketdata_assets.months import EXCHANGE_CLOCK
from marketdata_assets.partitions import tick_months, tick_partitions, tick_unit, tick_units
from marketdata_assets.resources import ClickHouse, Ticks
from marketdata_assets.settings import Settings
from marketdata_assets.ticks.providers_file import TABLES

yahoo_chart = spec(
    "yahoo_chart",
    "ticks",
    kinds={"http", "json"},
    description="Yahoo's v8 chart at `MARKETDATA_YAHOO_URL`: 1-minute bars of the last 30 days, splits and dividends.",
    metadata=report.YAHOO_SCHEMA,
)
table = partial(spec, group="ticks", skippable=True)
SPECS = [
    table(
        "tick_data",
        deps=["symbol_registry", "trading_calendar", "suspensions", "tushare_api", yahoo_chart, "tick_files"],
        description="1-minute bars as the first provider in order delivers them: labelled as it labels them, with its"
        " name on every row. Missing values are null and suspicious bars are flagged; nothing is synthesized.",
        kinds={"clickhouse", "table"},
        code_version="bars-1",
    ),
    table(
        "order_book",
        deps=["symbol_registry", "tick_files"],
        description="Snapshots of order books, up to ten levels a side, only as files bring them. No provider on the"
        " network has the history of books, and none is invented.",
        kinds={"clickhouse", "table"},
        code_version="books-1",
    ),
    table(
        "factors",
        deps=["tick_data", "tushare_api", yahoo_chart],
        description="A number for each symbol, day and factor: return, volatility, volume ratio and deviation from the"
        " VWAP out of `tick_data`; daily figures, adjustment factors, splits and dividends as providers return them.",
        kinds={"clickhouse", "polars", "table"},
        code_version="factors-1",
    ),
]


def tick_tables(partitions: dg.MultiPartitionsDefinition) -> dg.AssetsDefinition:
    """The three tables over the grid of `partitions`."""

    @dg.multi_asset(
        name=load_op.STEP,
        # Materializations are logged, one for each loaded symbol-month; an output would be one for all of them.
        specs=SPECS,
        check_specs=checks.SPECS,
        can_subset=True,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool="clickhouse",
    )
    def tables(
        context: dg.AssetExecutionContext, config: LoadConfig, clickhouse: ClickHouse, ticks: Ticks
    ) -> Iterator[dg.AssetCheckResult]:
        months = tick_months(partitions)
        wanted = [name for name in TABLES if dg.AssetKey(name) in context.selected_asset_keys]
        if wanted:
            units = [tick_unit(key) for key in context.partition_keys]
        else:  # checks alone have no partitions, but may have the tags of some
            units = tick_units(context.run.tags, symbols.known(context.instance))
        with as_dagster_failure(), clickhouse.client() as client:
            done = LoadOp(context, client, ticks, config, months, planned=True).load(wanted, units)
            report.retry_outages(done)
            yield from checks.answers(client, context.selected_asset_check_keys, units)
        report.raise_failures(done, report.summary(done))

    return tables


@dg.definitions
def defs() -> dg.Definitions:
    today = dt.datetime.now(ZoneInfo(EXCHANGE_CLOCK)).date()
    tables = tick_tables(tick_partitions(Settings().ticks_months, today))
    return dg.Definitions(assets=[yahoo_chart, tables])
