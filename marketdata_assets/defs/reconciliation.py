"""The asset `reconciliation`: minute bars, ticks and daily files compared by stock and day, its check and its repair.

What counts as a disagreement is in `marketdata_assets.reconciliation`.
"""

import time
from typing import Any

import dagster as dg

from marketdata_assets.bars.bases import FACTORS
from marketdata_assets.defs.bars.checks import months_of_run
from marketdata_assets.defs.checks import meaning, result
from marketdata_assets.defs.metadata import asset, markdown_table
from marketdata_assets.defs.partition_results import as_dagster_failure, run_partitions
from marketdata_assets.defs.runs import Repair, range_requests
from marketdata_assets.months import month_ranges
from marketdata_assets.partitions import BAR_MONTHS, joined
from marketdata_assets.reconciliation.compare import BARS, DAILY, DISAGREEMENTS, TICKS
from marketdata_assets.reconciliation.reconcile import CODE_VERSION, TABLE, MonthReport, no_disagreements, reconcile
from marketdata_assets.resources import ClickHouse, NoServer, Postgres
from marketdata_assets.stores.postgres import connect

JOB = "reconcile"
ADJUST_FACTORS = "adjust_factors"
MOST_RUNS = 12
SHOWN = 20


@asset(
    "bars",
    deps=[
        BARS,
        dg.AssetDep(DAILY, partition_mapping=dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)),
        dg.AssetDep(TICKS, partition_mapping=dg.AllPartitionMapping()),
        ADJUST_FACTORS,
    ],
    partitions_def=BAR_MONTHS,
    kinds={"postgres", "table"},
    code_version=CODE_VERSION,
    pool="timescale",
)
def reconciliation(
    context: dg.AssetExecutionContext, postgres: Postgres, clickhouse: ClickHouse
) -> dg.MaterializeResult:
    """What minute bars, ticks and daily files say differently of a stock's day: prices, volume and turnover.

    Bars are rebased to traded prices by the adjustment factors; where these are unknown, only volume and turnover are
    compared. Differences that units and rounding explain are none.
    """
    started, months = time.monotonic(), run_partitions(context)
    with as_dagster_failure():
        try:
            with clickhouse.client() as client:
                from marketdata_assets.reference import stored

                factors = stored.adjust_factors(client)
                found = reconcile(postgres.dsn, client, months, factors, run_id=context.run.run_id)
        except NoServer:
            found = reconcile(postgres.dsn, None, months, FACTORS.to_frame(), run_id=context.run.run_id)
    return _reported(context, postgres.dsn, found, time.monotonic() - started)


def _reported(
    context: dg.AssetExecutionContext, dsn: str, found: list[MonthReport], seconds: float
) -> dg.MaterializeResult:
    for one in found:
        own = {"dagster/partition_row_count": one.disagreements, "compared": one.compared}
        context.add_asset_metadata(own, partition_key=one.month)
    query = "SELECT date, symbol, field, source, value, other_source, other_value FROM reconciliation"
    with connect(dsn) as connection:
        rows = connection.execute(f"{query} ORDER BY date DESC, symbol, field LIMIT {SHOWN}").fetchall()
        total = connection.execute("SELECT count(*) FROM reconciliation").fetchone()
    metadata: dict[str, Any] = {
        "dagster/row_count": total[0] if total else 0,
        "compared": sum(one.compared for one in found),
        "disagreements": sum(one.disagreements for one in found),
        "seconds": round(seconds, 2),
        "preview": markdown_table([name for name in DISAGREEMENTS if name != "tolerance"], rows),
    }
    return dg.MaterializeResult(metadata=metadata)


@dg.asset_check(
    asset=reconciliation,
    name="no_disagreements",
    description=meaning(TABLE, "no_disagreements"),
    pool="timescale",
)
def agreed(context: dg.AssetCheckExecutionContext, postgres: Postgres) -> dg.AssetCheckResult:
    with connect(postgres.dsn) as connection:
        finding = no_disagreements(connection, months_of_run(context))
    return result(TABLE, "no_disagreements", finding)


def due(instance: dg.DagsterInstance, *_: object) -> list[dg.RunRequest]:
    """A run for each range of months of which two sources were loaded, and something of them after the last comparison:
    one of these sources, or the factors that rebase the bars."""
    latest = {
        name: instance.get_latest_storage_id_by_partition(dg.AssetKey(name), dg.DagsterEventType.ASSET_MATERIALIZATION)
        for name in (BARS, DAILY, TICKS, ADJUST_FACTORS, TABLE)
    }
    months: dict[str, dict[str, int]] = {}
    for name in (BARS, DAILY, TICKS):
        for key, number in latest[name].items():
            loaded = months.setdefault(key.partition("|")[0], {})
            loaded[name] = max(number, loaded.get(name, -1))
    compared, factors = latest[TABLE], latest[ADJUST_FACTORS]
    outdated = [
        month
        for month in BAR_MONTHS.get_partition_keys()
        if len(loaded := months.get(month, {})) > 1
        and compared.get(month, -1) < max(*loaded.values(), factors.get(month, -1))
    ]
    return range_requests(joined(month_ranges(outdated), MOST_RUNS), job_name=JOB)


reconcile_job = dg.define_asset_job(
    JOB, [TABLE], description="Compare minute bars, ticks and daily files of some months."
)


def repairs() -> list[Repair]:
    """What the nightly repair checks."""
    return [Repair("reconciliation", (TABLE,), (JOB,), due, after=("bars", "flows", "reference", "ticks"))]
