"""Reports of flows as Dagster metadata, materialisations and failures. Nothing is loaded or computed here."""

from collections.abc import Collection
from typing import Any

import dagster as dg

from marketdata_assets.defs.flows.automation import partitions_of
from marketdata_assets.defs.metadata import markdown_table
from marketdata_assets.defs.partition_results import MAX_LISTED, failed_files, finish_partitions
from marketdata_assets.flows import new_columns, status
from marketdata_assets.flows.definition import FlowDefinition, Month
from marketdata_assets.flows.run import FlowReport
from marketdata_assets.flows.targets import contents
from marketdata_assets.stores.postgres import connect

GONE = "no such file, and none of its rows were ever loaded; deliver it, or delete the partition"
GROWING = "still being written; the sensor, the next scheduled run or the nightly repair loads it"
LISTED = 5
EARLY = "rows of %s months before %s are loaded and have no partition; set partitions: {month: %s, since: %s}"


def of(
    context: dg.AssetExecutionContext,
    flow: FlowDefinition,
    dsn: str,
    ended: FlowReport,
    unfinished: Collection[str] = (),
) -> dg.MaterializeResult:
    """Give partitions their row counts; when files failed, mark the loaded ones and raise a Failure for the rest.

    Files that are partitions and `unfinished` fail when nothing of them was loaded before.
    """
    with connect(dsn) as connection:
        metadata = _metadata(flow, ended) | ({"files_unfinished": sorted(unfinished)} if unfinished else {})
        if found := new_columns.of_flow(connection, flow):
            metadata["new_columns"] = [str(column) for column in found]
        metadata |= {"table_altered": list(ended.altered)} if ended.altered else {}
        replaced = status.replaced(connection, flow) if ended.units else []
        metadata |= {"rows_replaced": [text for text, _ in replaced[:LISTED]]} if replaced else {}
        deleted = [f"{file.unit}: {file.rows} rows" for file in ended.forgotten]
        metadata |= {"files_deleted": deleted} if deleted else {}
        metadata["dagster/row_count"] = contents.of(connection, flow).count()
        last = contents.of(connection, new_columns.present(connection, flow)).last()
        table = markdown_table(list(last[0]), [list(row.values()) for row in last]) if last else None
        metadata["preview"] = table or dg.MetadataValue.md("no rows")
        if flow.partitions == "file":
            by_unit = status.rows_by_unit(connection, flow)
        months = {*ended.loaded_months, *(context.partition_keys if isinstance(flow.partitions, Month) else ())}
        by_month = contents.of(connection, flow).by_month(months)
    if flow.partitions == "file":
        counts = {key: {"dagster/partition_row_count": by_unit.get(key, 0)} for key in context.partition_keys}
        absent = [key for key in context.partition_keys if key not in by_unit]
        failed = {key: f"{key}: {GROWING if key in unfinished else GONE}" for key in absent}
        failed |= {unit.unit: unit.error or "" for unit in ended.failed}
        return finish_partitions(context, metadata, counts, failed)
    if isinstance(flow.partitions, Month):
        if early := sum(month < flow.partitions.since for month in ended.loaded_months):
            metadata["months_before_partitions"] = early
            context.log.warning(EARLY, early, flow.partitions.since, flow.partitions.month, ended.loaded_months[0])
        result = finish_partitions(context, metadata, _months(flow, ended, by_month), {})
    else:
        result = dg.MaterializeResult(metadata=metadata)
    if ended.failed:
        raise failed_files(ended.failed, metadata)
    return result


def _months(flow: FlowDefinition, ended: FlowReport, counts: dict[str, int]) -> dict[str, dict[str, int]]:
    """The partitions that a file has changed, whether or not the run requested them, and those that have rows.

    The content of failed files is unknown, so after a failure a requested month without new rows is not marked.
    """
    partitions = partitions_of(flow)
    assert partitions is not None
    known, touched = set(partitions.get_partition_keys()), set(ended.loaded_months)
    covered = touched if ended.failed else touched | {month for month, rows in counts.items() if rows}
    return {month: {"dagster/partition_row_count": counts.get(month, 0)} for month in covered & known}


def _metadata(flow: FlowDefinition, ended: FlowReport) -> dict[str, Any]:
    return {
        "rows": ended.rows,
        "rejected": ended.rejected,
        "rows_left_out": sum(unit.skipped for unit in ended.units if not unit.repeated),
        "rows_kept": ended.total("kept"),
        "rows_per_second": round(ended.rows / ended.seconds) if ended.seconds else 0,
        "files_loaded": ended.count("ok"),
        "files_empty": ended.count("empty"),
        "files_unchanged": ended.unchanged,
        "files_repeated": sum(unit.repeated for unit in ended.units),
        "files_failed": len(ended.failed),
        "remarks": [
            f"{unit.unit}: {unit.error}"
            for unit in ended.units
            if unit.outcome == "ok" and unit.error and not unit.repeated
        ][:MAX_LISTED],
        "months": len(ended.loaded_months),
        "mode": flow.target.mode,
        "seconds": round(ended.seconds, 2),
    }
