"""The assets of the exchanges domain: feed -> tables of records -> gaps and minute bars, by UTC day.

One step fills all tables, because a stream or a capture holds records of all types.
"""

import datetime as dt
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import dagster as dg

from marketdata_assets.defs.exchanges import checks, days, ingest, report
from marketdata_assets.defs.exchanges.days import APIS, FEED, HISTORY, HISTORY_TABLES
from marketdata_assets.defs.exchanges.ingest import IngestConfig
from marketdata_assets.defs.exchanges.report import Metadata
from marketdata_assets.defs.metadata import asset, spec
from marketdata_assets.defs.partition_results import (
    as_dagster_failure,
    finish_partitions,
    log_partitions,
    run_partitions,
    selected,
)
from marketdata_assets.errors import MarketDataError
from marketdata_assets.progress import ProgressLog
from marketdata_assets.resources import ClickHouse, Exchanges, Nats
from marketdata_assets.settings import Settings
from marketdata_assets.stores.clients import Client

GROUP = "exchanges"
BARS = dg.AssetKey("exchange_ohlcv_1m")

SPECS = [
    spec(
        name,
        GROUP,
        deps=[FEED, HISTORY] if name in HISTORY_TABLES else [FEED],
        description=text,
        kinds={"clickhouse", "table"},
        code_version="records-1",
        skippable=True,
    )
    for name, text in report.TABLES.items()
]


@dg.multi_asset(
    name=days.TABLES_STEP,
    specs=SPECS,
    check_specs=checks.TABLE_SPECS,
    can_subset=True,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="live",
)
def exchange_tables(
    context: dg.AssetExecutionContext, config: IngestConfig, clickhouse: ClickHouse, nats: Nats, exchanges: Exchanges
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    wanted = [name for name in report.TABLES if dg.AssetKey(name) in context.selected_asset_keys]
    with as_dagster_failure(), clickhouse.client() as client:
        days.ensure_tables(client)
        if wanted:
            loaded = ingest.ingest(client, clickhouse, nats, exchanges, config, wanted, context.run.run_id)
            context.log_event(report.feed(loaded))
            yield from report.tables(client, context.instance, wanted, loaded)
        yield from checks.of_tables(client, context.selected_asset_check_keys)
        if wanted:
            report.raise_problems(loaded)


Found = dict[str, dict[str, Any]]
"""The metadata of each day of a run."""
OfDay = Callable[[dt.date, Metadata], dict[str, Any]]
"""What processes a day, given its last metadata."""


def each_day(context: dg.AssetExecutionContext, asset: dg.AssetKey, of_day: OfDay) -> tuple[Found, dict[str, str]]:
    """Process every day of the run; the causes of those that failed, which do not stop the others."""
    found, failed = Found(), dict[str, str]()
    keys = run_partitions(context)
    tell = ProgressLog(context.log.info, f"days of {asset.to_user_string().removeprefix('exchange_')}")
    for done, key in enumerate(keys, 1):
        found[key] = {}
        try:
            found[key] = of_day(dt.date.fromisoformat(key), report.last_metadata(context.instance, asset, key))
        except MarketDataError as error:
            failed[key] = f"{key}: {error}"
        tell(done, len(keys), key)
    return found, failed


def finish(
    context: dg.AssetExecutionContext, client: Client, found: Found, failed: dict[str, str]
) -> dg.MaterializeResult:
    """Materialize the days that did not fail; a Failure names the others."""
    return finish_partitions(context, report.together(found) | report.rows(client, context.asset_key), found, failed)


def bars_of_day(context: dg.AssetExecutionContext, client: Client, exchanges: Exchanges) -> OfDay:
    """Computes the bars of a day."""
    from marketdata_assets.exchanges.tables.ohlcv import compute

    run_id, turns = context.run.run_id, exchanges.turns
    keep_days = (Settings().exchange_keep_days or {}).get("trade")

    def of_day(day: dt.date, last: Metadata) -> dict[str, Any]:
        now = dt.datetime.now(dt.UTC)
        bars = compute(client, day, run_id=run_id, now=now, turns=turns, keep_days=keep_days)
        return report.bars(client, bars, last)

    return of_day


def bars_of_the_run(context: dg.AssetExecutionContext, of_day: OfDay) -> dict[str, str]:
    """Where the run has a step for bars, compute and materialize them here; the causes of the days that failed.

    For a step of gaps of which a day failed: Dagster then skips the bars of all days.
    """
    if BARS not in selected(context):
        return {}
    found, failed = each_day(context, BARS, of_day)
    log_partitions(context, BARS.to_user_string(), found, failed)
    return {f"{BARS.to_user_string()} {key}": cause for key, cause in failed.items()}


class GapsConfig(dg.Config):
    """How gaps are backfilled."""

    fetch: bool = True
    """Fetch missing trades and candles from the venues' REST history."""


def by_days(partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets that are partitioned by day."""
    by_day = partial(asset, GROUP, partitions_def=partitions, pool="clickhouse")

    @by_day(
        deps=[FEED, APIS, "exchange_trades"],
        kinds={"clickhouse", "table", "http"},
        code_version="gaps-1",
    )
    def exchange_gaps(
        context: dg.AssetExecutionContext, config: GapsConfig, clickhouse: ClickHouse, exchanges: Exchanges
    ) -> dg.MaterializeResult:
        """Gaps in the streams that began on a day, by receive time: those detected by the feeds, and those in the
        sequence numbers of trades. Missing trades are fetched from the venue's REST history, which closes the gap; a
        gap that no history covers stays open."""
        from marketdata_assets.exchanges.tables.gap_backfill import backfill_gaps

        hosts = exchanges.hosts() if config.fetch else None
        with as_dagster_failure(), clickhouse.client() as client:
            days.ensure_tables(client)

            def of_day(day: dt.date, last: Metadata) -> dict[str, Any]:
                return report.gaps(backfill_gaps(client, day, hosts), last)

            found, failed = each_day(context, context.asset_key, of_day)
            if failed:
                failed |= bars_of_the_run(context, bars_of_day(context, client, exchanges))
            return finish(context, client, found, failed)

    @by_day(deps=["exchange_trades", exchange_gaps], kinds={"clickhouse", "table", "sql"}, code_version="bars-1")
    def exchange_ohlcv_1m(
        context: dg.AssetExecutionContext, clickhouse: ClickHouse, exchanges: Exchanges
    ) -> dg.MaterializeResult:
        """One-minute bars of every instrument, computed from the trades of a UTC day; a minute without trades has no
        bar. Volumes are in base units, and null where the size of a trade is unknown."""
        with as_dagster_failure(), clickhouse.client() as client:
            days.ensure_tables(client)
            return finish(context, client, *each_day(context, BARS, bars_of_day(context, client, exchanges)))

    return [exchange_gaps, exchange_ohlcv_1m]


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions(assets=[exchange_tables, *by_days(days.partitions())])
