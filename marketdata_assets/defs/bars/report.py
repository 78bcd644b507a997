"""Reports of the bars library as Dagster metadata, materialisations and failures.

Numbers come from the reports and from short queries; nothing is loaded or computed here.
"""

from collections.abc import Collection
from typing import Any

import dagster as dg
import psycopg

from marketdata_assets.bars import plots, status
from marketdata_assets.bars.ingest import BarsReport
from marketdata_assets.bars.kline import RELATION, KlineReport
from marketdata_assets.bars.schema import DATASET
from marketdata_assets.dagster_internals import StepContext
from marketdata_assets.defs.metadata import markdown_table
from marketdata_assets.defs.partition_results import MAX_LISTED, failed_files, finish_partitions, log_partitions
from marketdata_assets.loading.reports import and_more
from marketdata_assets.stores.postgres import connect


def bars(context: dg.AssetExecutionContext, dsn: str, loaded: BarsReport) -> dg.MaterializeResult:
    """Give each month its row count; when units failed, mark the other months and raise Failure naming the units.

    Months that no file covers are not materialized.
    """
    with connect(dsn) as connection:
        metadata = _load_metadata(connection, loaded)
    result = finish_partitions(context, metadata, _good_months(dsn, loaded), {})
    raise_failures(loaded, metadata)
    return result


def mark_bars(context: StepContext, dsn: str, loaded: BarsReport) -> dict[str, Any]:
    """Report months that no step plans as materialised, and requested ones that failed as failed; the load's totals."""
    log_partitions(context, DATASET, _good_months(dsn, loaded), loaded.failed_months)
    with connect(dsn) as connection:
        return _load_metadata(connection, loaded)


def month_metadata(dsn: str, months: Collection[str]) -> dict[str, dict[str, Any]]:
    """The rows and codes of the months that have rows, or that a file proves to have none; others are left out."""
    with connect(dsn) as connection:
        covered = status.covered(connection, months)
        counts = status.by_month(connection, covered)
    none = status.MonthRows(0, 0)
    rows = {month: counts.get(month, none) for month in covered}
    return {month: {"dagster/partition_row_count": own.rows, "codes": own.codes} for month, own in rows.items()}


def raise_failures(loaded: BarsReport, metadata: dict[str, Any]) -> None:
    """Raise Failure naming the failed units, if there are any; with `metadata`."""
    if loaded.failed:
        raise failed_files(loaded.failed, metadata)


def _good_months(dsn: str, loaded: BarsReport) -> dict[str, dict[str, Any]]:
    """The months that the load requested or changed, without those that a failed unit leaves incomplete."""
    return month_metadata(dsn, {*loaded.months, *loaded.loaded_months} - {*loaded.failed_months})


def _load_metadata(connection: psycopg.Connection, loaded: BarsReport) -> dict[str, Any]:
    summary = status.bars_summary(connection)
    remarks = [f"{unit.unit}: {unit.error}" for unit in loaded.units if unit.outcome == "ok" and unit.error]
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
        "removed": loaded.total("removed"),
        "removed_of": removed_of(loaded),
        "remarks": remarks[:MAX_LISTED],
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


def removed_of(loaded: BarsReport) -> str:
    """How many rows of which file its new delivery has none of: `12 rows of a.csv`."""
    texts = [f"{unit.removed:,} rows of {unit.unit}" for unit in loaded.units if unit.removed]
    return and_more(texts, MAX_LISTED)


def monthly_kline(context: dg.AssetExecutionContext, dsn: str, refreshed: KlineReport) -> dg.MaterializeResult:
    """Engine, counts, a table preview and candlesticks of a few codes; months beside those requested are marked too."""
    with connect(dsn) as connection:
        summary = status.kline_summary(connection)
        preview = connection.execute(
            f"""SELECT to_char(month, 'YYYY-MM') AS month, code, name, open, high, low, close, volume, amount
                FROM {RELATION} ORDER BY {RELATION}.month DESC, code LIMIT 8"""
        )
        metadata: dict[str, Any] = {"dagster/row_count": summary.rows, **kline_counts(refreshed)}
        metadata["preview"] = _preview(preview)
        months = _kline_metadata(connection, {*context.partition_keys, *refreshed.months})
        if plot := plots.candlesticks(connection):
            metadata["candlesticks"] = dg.MetadataValue.md(plot)
    return finish_partitions(context, metadata, months, {})


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
        log_partitions(context, RELATION, _kline_metadata(connection, months))


def _kline_metadata(connection: psycopg.Connection, months: Collection[str]) -> dict[str, dict[str, Any]]:
    """By month that a file covers, its K-lines, and the stocks of which a newer file could not be loaded."""
    counts = status.kline_rows_by_month(connection, months)
    stale = status.stale_stocks(connection, months)
    found = {}
    for month in sorted(status.covered(connection, months)):
        stocks = and_more(stale.get(month, []), MAX_LISTED)
        found[month] = {"dagster/partition_row_count": counts.get(month, 0), "stale_stocks": stocks}
    return found


def _preview(cursor: psycopg.Cursor[Any]) -> dg.MarkdownMetadataValue:
    return markdown_table([column.name for column in cursor.description or ()], cursor)
