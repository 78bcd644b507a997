"""Load minute bars of some months, and refresh the K-line of those that changed, within a run.

Both the step of the asset and the job over scattered months do this.
"""

from collections.abc import Collection

import dagster as dg

from marketdata_assets.bars import kline, status
from marketdata_assets.bars.ingest import BarsReport, ingest
from marketdata_assets.bars.kline import KlineReport
from marketdata_assets.bars.layout import scan
from marketdata_assets.bars.schema import DATASET
from marketdata_assets.dagster_internals import StepContext
from marketdata_assets.defs.bars import checks, report
from marketdata_assets.defs.marks import Partitions
from marketdata_assets.defs.metadata import observed_files
from marketdata_assets.progress import ProgressLog
from marketdata_assets.resources import BarFiles, Postgres, Workers
from marketdata_assets.stores.postgres import connect

FILES = "minute_bar_files"


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
        label=bar_files.label,
    )
    marks.show_failed(loaded.failed_months)
    context.log_event(observed_files(FILES, bar_files.path, [file.path for file in scan(bar_files.path)]))
    return loaded


def refresh_changed(context: StepContext, dsn: str, loaded: BarsReport) -> KlineReport:
    """Refresh and check the K-line of the months of the run, and mark those whose K-line equals their minutes."""
    months = {*loaded.months, *loaded.loaded_months}
    with connect(dsn) as connection:
        due = status.kline_due(connection, months)
    refreshed = kline.refresh(dsn, due)
    with connect(dsn) as connection:
        filled = status.kline_rows_by_month(connection, months)
    report.mark_kline(context, dsn, months - set(loaded.failed_months) | filled.keys())
    for evaluation in checks.kline_evaluations(dsn, sorted(months)) if due or filled else ():
        context.log_event(evaluation)  # type: ignore[arg-type]  # taken, though an op's annotation does not say so
    return refreshed
