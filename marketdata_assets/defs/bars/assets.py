"""The assets of the bars domain: files -> minute bars -> monthly K-line, by month.

The job `bars_selected` loads months that are no range, such as every third one, or those that failed, in one run: like
the step of the asset, with the refresh of the K-line and the checks of both.

Keep loading and SQL out of here; both are in `marketdata_assets.bars`.
"""

from collections.abc import Collection
from functools import partial

import dagster as dg
import psycopg

from marketdata_assets.bars import kline, status
from marketdata_assets.bars.ingest import BarsReport, ingest
from marketdata_assets.bars.kline import KlineReport
from marketdata_assets.bars.layout import scan
from marketdata_assets.bars.schema import DATASET
from marketdata_assets.bars.unit import CODE_VERSION
from marketdata_assets.dagster_internals import StepContext
from marketdata_assets.defs.bars import checks, report
from marketdata_assets.defs.checks import log_results
from marketdata_assets.defs.metadata import asset, observed_files
from marketdata_assets.defs.partition_results import Partitions, as_dagster_failure, run_partitions
from marketdata_assets.defs.selection import check_selected, config_of
from marketdata_assets.errors import MarketDataError
from marketdata_assets.partitions import BAR_MONTHS
from marketdata_assets.progress import ProgressLog
from marketdata_assets.resources import BarFiles, ClickHouse, Postgres, Workers
from marketdata_assets.stores.postgres import connect

JOB, OP = "bars_selected", "load_selected_bars"
EXAMPLE = config_of(OP, ["2024-01", "2024-04", "2024-07"])
"""What the launchpad shows."""

monthly = partial(asset, "bars", partitions_def=BAR_MONTHS, pool="timescale")


class LoadConfig(dg.Config):
    """How minute bars are loaded."""

    force: bool = False
    """Read and replace even units that are loaded according to the ledger."""


def load(
    context: StepContext,
    config: LoadConfig,
    months: Collection[str],
    postgres: Postgres,
    bar_files: BarFiles,
    workers: Workers,
) -> BarsReport:
    """Load the months; failed units are in the report. Raises what fails the whole load."""
    marks = Partitions(context, dg.AssetKey(DATASET), lambda done: report.month_metadata(postgres.dsn, done))
    loaded = ingest(
        postgres.dsn,
        bar_files.path,
        months,
        run_id=context.run.run_id,
        fanout=workers.fanout("marketdata_assets.bars.ingest"),
        force=config.force,
        progress=ProgressLog(context.log.info),
        complete=marks,
        shapes=bar_files.shapes,
    )
    marks.show_failed(loaded.failed_months)
    context.log_event(observed_files("minute_bar_files", bar_files.path, [file.path for file in scan(bar_files.path)]))
    return loaded


def refresh_changed(context: StepContext, dsn: str, clickhouse: ClickHouse, loaded: BarsReport) -> KlineReport:
    """Refresh the K-line of the run's bars and check both; mark months whose K-line equals their minutes."""
    months = {*loaded.months, *loaded.loaded_months}
    with connect(dsn) as connection:
        due = status.kline_due(connection, months)
    refreshed = kline.refresh(dsn, due)
    with connect(dsn) as connection:
        filled = status.kline_rows_by_month(connection, months)
    report.mark_kline(context, dsn, months - set(loaded.failed_months) | filled.keys())
    if due or filled:
        log_results(context, checks.answers(dsn, checks.KLINE, sorted(months), checks.Known))
    known = partial(checks.known_of, clickhouse, sorted(months))
    log_results(context, checks.answers(dsn, checks.BARS, sorted(months), known))
    return refreshed


@monthly(
    deps=["minute_bar_files", "trading_calendar", "instruments", "suspensions", "adjust_factors"],
    kinds={"postgres", "timescaledb"},
    code_version=CODE_VERSION,
)
def stock_1min_qfq(
    context: dg.AssetExecutionContext,
    config: LoadConfig,
    postgres: Postgres,
    clickhouse: ClickHouse,
    bar_files: BarFiles,
    workers: Workers,
) -> dg.MaterializeResult:
    """1-minute bars of A-shares, adjusted forward, exactly as the newest files have them.

    Only units that are new or changed are read. A re-delivered file replaces its rows in every loaded month,
    also in months that were not requested; these are marked materialised as well.
    """
    with as_dagster_failure():
        loaded = load(context, config, run_partitions(context), postgres, bar_files, workers)
    if loaded.failed:  # then Dagster skips the step of the K-line, and the checks of both
        try:
            refresh_changed(context, postgres.dsn, clickhouse, loaded)
        except (MarketDataError, psycopg.Error) as error:  # the files that failed are the run's failure
            context.log.error(f"the K-line is not refreshed, or not all is checked: {error}")
    return report.bars(context, postgres.dsn, loaded)


class KlineConfig(dg.Config):
    """How the monthly K-line is refreshed."""

    force: bool = False
    """Recompute months of a continuous aggregate even where it believes them unchanged."""

    rebuild: bool = False
    """Recreate the relation for every month and replace the old one; needed when the definition has changed."""


@monthly(
    deps=[stock_1min_qfq],
    kinds={"postgres", "timescaledb", "sql"},
    code_version=kline.fingerprint("continuous aggregate"),
)
def stock_monthly_kline(
    context: dg.AssetExecutionContext, config: KlineConfig, postgres: Postgres
) -> dg.MaterializeResult:
    """Monthly K-line per stock: first open, highest high, lowest low, last close, volume and amount summed.

    A continuous aggregate where TimescaleDB's community licence is there, a plain table elsewhere; same rows. Months
    that the run's bars changed beside those requested are refreshed and marked materialised as well.
    """
    with as_dagster_failure():
        refreshed = kline.refresh(
            postgres.dsn,
            run_partitions(context),
            run_id=context.run.run_id,
            force=config.force,
            rebuild=config.rebuild,
        )
    return report.monthly_kline(context, postgres.dsn, refreshed)


class SelectedConfig(LoadConfig):
    """Which months."""

    months: list[str]
    """Months such as 2024-01; those between them are not loaded."""


@dg.op(name=OP, pool="timescale", out=dg.Out(dg.Nothing))
def load_selected_bars(
    context: dg.OpExecutionContext,
    config: SelectedConfig,
    postgres: Postgres,
    clickhouse: ClickHouse,
    bar_files: BarFiles,
    workers: Workers,
) -> None:
    """Load minute bars of some months, refresh their K-line, and check both."""
    with as_dagster_failure():
        months = check_selected(config.months, BAR_MONTHS.get_partition_keys())
        loaded = load(context, config, months, postgres, bar_files, workers)
        metadata = report.mark_bars(context, postgres.dsn, loaded)
        refreshed = refresh_changed(context, postgres.dsn, clickhouse, loaded)
    metadata |= {"kline": dg.MetadataValue.json(report.kline_counts(refreshed))}
    report.raise_failures(loaded, metadata)
    context.add_output_metadata(metadata)


@dg.job(name=JOB, config=EXAMPLE, description="Load minute bars of months that are no range, and their K-line.")
def selected_job() -> None:
    load_selected_bars()
