"""Reports of the bars library as Dagster metadata, materialisations and failures.

Numbers come from the reports and from short queries; nothing is loaded or computed here.
"""

from collections.abc import Collection
from typing import Any

import dagster as dg
import psycopg

from marketdata_assets.bars import plots, status
from marketdata_assets.bars.ingest import BarsReport
from marketdata_assets.bars.kline import KlineReport
from marketdata_assets.bars.kline_swap import RELATION
from marketdata_assets.bars.schema import DATASET
from marketdata_assets.dagster_internals import StepContext, log_materializations, plan_materialization
from marketdata_assets.defs.metadata import markdown_table
from marketdata_assets.defs.partition_results import MAX_LISTED, failed_files
from marketdata_assets.loading.reports import and_more
from marketdata_assets.stores.postgres import connect


def bars(context: dg.AssetExecutionContext, dsn: str, loaded: BarsReport) -> dg.MaterializeResult:
    """Give each month its row count; when units failed, mark the whole months and raise Failure naming the rest."""
    requested = set(loaded.months)
    with connect(dsn) as connection:
        counts = status.by_month(connection, requested | set(loaded.loaded_months))
        metadata = _load_metadata(connection, loaded)
    marked = set(loaded.loaded_months) - requested
    if loaded.failed:
        marked |= requested
    log_materializations(context, _marks(marked - set(loaded.failed_months), counts))
    raise_failures(loaded, metadata)
    for month in loaded.months:
        context.add_asset_metadata(_month_metadata(month, counts), partition_key=month)
    return dg.MaterializeResult(metadata=metadata)


def mark_bars(context: StepContext, dsn: str, loaded: BarsReport) -> dict[str, Any]:
    """Report months that no step plans as materialised, and requested ones that failed as failed; the load's totals."""
    requested = set(loaded.months)
    with connect(dsn) as connection:
        counts = status.by_month(connection, requested | set(loaded.loaded_months))
        metadata = _load_metadata(connection, loaded)
    log_materializations(context, _marks((requested | set(loaded.loaded_months)) - set(loaded.failed_months), counts))
    for month in loaded.failed_months:
        plan_materialization(context, dg.AssetKey(DATASET), month)
    return metadata


def month_metadata(dsn: str, months: Collection[str]) -> dict[str, dict[str, Any]]:
    """The rows and codes of months in the table."""
    with connect(dsn) as connection:
        counts = status.by_month(connection, months)
    return {month: _month_metadata(month, counts) for month in months}


def raise_failures(loaded: BarsReport, metadata: dict[str, Any]) -> None:
    """Raise Failure naming the failed units, if there are any; with `metadata`."""
    if loaded.failed:
        raise failed_files(loaded.failed, metadata)


def _marks(months: Collection[str], counts: dict[str, status.MonthRows]) -> list[dg.AssetMaterialization]:
    return [
        dg.AssetMaterialization(DATASET, partition=month, metadata=_month_metadata(month, counts))
        for month in sorted(months)
    ]


def _month_metadata(month: str, counts: dict[str, status.MonthRows]) -> dict[str, Any]:
    rows = counts.get(month, status.MonthRows(0, 0))
    return {"dagster/partition_row_count": rows.rows, "codes": rows.codes}


def _load_metadata(connection: psycopg.Connection, loaded: BarsReport) -> dict[str, Any]:
    summary = status.bars_summary(connection)
    preview = connection.execute(
        """SELECT time, code, name, open, high, low, close, volume, amount FROM stock_1min_qfq
           ORDER BY code DESC, time DESC LIMIT 8"""
    )
    return {
        "dagster/row_count": summary.rows,
        "rows": loaded.rows,
        "rejected": loaded.rejected,
        "replaced": sum(loaded.replaced.values()),
        "replaced_by": replaced_by(loaded),
        "codes": summary.codes,
        "rows_per_second": round(loaded.rows / loaded.seconds) if loaded.seconds else 0,
        "files_loaded": loaded.count("ok"),
        "files_empty": loaded.count("empty"),
        "files_unchanged": loaded.unchanged,
        "files_removed": loaded.count("removed"),
        "files_failed": len(loaded.failed),
        "seconds": round(loaded.seconds, 2),
        "server": f"PostgreSQL {loaded.server.postgres}, TimescaleDB {loaded.server.timescaledb or 'absent'}",
        "preview": _preview(preview),
    }


def replaced_by(loaded: BarsReport) -> str:
    """How many rows of which older file which newer one replaced: `12 rows of a.csv by b.csv`."""
    texts = [f"{rows:,} rows of {older} by {newer}" for (older, newer), rows in loaded.replaced.items()]
    return and_more(texts, MAX_LISTED)


def monthly_kline(context: dg.AssetExecutionContext, dsn: str, refreshed: KlineReport) -> dg.MaterializeResult:
    """Engine, counts, a table preview and candlesticks of a few codes; months beside those requested are marked too."""
    requested = set(context.partition_keys)
    mark_kline(context, dsn, set(refreshed.months) - requested)
    with connect(dsn) as connection:
        summary = status.kline_summary(connection)
        preview = connection.execute(
            f"""SELECT to_char(month, 'YYYY-MM') AS month, code, name, open, high, low, close, volume, amount
                FROM {RELATION} ORDER BY {RELATION}.month DESC, code LIMIT 8"""
        )
        shown = _preview(preview)
        months = _kline_metadata(connection, requested)
        plot = plots.candlesticks(connection)
    metadata: dict[str, Any] = {
        "dagster/row_count": summary.rows,
        **kline_counts(refreshed),
        "preview": shown,
    }
    for month, own in months.items():
        context.add_asset_metadata(own, partition_key=month)
    if plot:
        metadata["candlesticks"] = dg.MetadataValue.md(plot)
    return dg.MaterializeResult(metadata=metadata)


def kline_counts(refreshed: KlineReport) -> dict[str, Any]:
    """Engine, rows, codes and months of a refresh."""
    return {
        "engine": refreshed.engine,
        "rows": refreshed.rows,
        "codes": refreshed.codes,
        "months": len(refreshed.months),
        "rebuilt": refreshed.rebuilt,
        "seconds": round(refreshed.seconds, 2),
    }


def mark_kline(context: StepContext, dsn: str, months: Collection[str]) -> None:
    """Report the K-line of `months`, which are not the run's partitions of it, as materialised."""
    with connect(dsn) as connection:
        found = _kline_metadata(connection, months)
    marks = [dg.AssetMaterialization(RELATION, partition=month, metadata=own) for month, own in found.items()]
    log_materializations(context, marks)


def _kline_metadata(connection: psycopg.Connection, months: Collection[str]) -> dict[str, dict[str, Any]]:
    """By month, its K-lines, and the stocks of which a newer file could not be loaded."""
    counts = status.kline_rows_by_month(connection, months)
    stale = status.stale_stocks(connection, months)
    found = {}
    for month in sorted(months):
        stocks = stale.get(month, [])
        more = f" and {len(stocks) - MAX_LISTED} more" if len(stocks) > MAX_LISTED else ""
        names = ", ".join(stocks[:MAX_LISTED]) + more
        found[month] = {"dagster/partition_row_count": counts.get(month, 0), "stale_stocks": names}
    return found


def _preview(cursor: psycopg.Cursor[Any]) -> dg.MarkdownMetadataValue:
    return markdown_table([column.name for column in cursor.description or ()], cursor)
