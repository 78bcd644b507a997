"""The nightly repair of a flow: files that a run would read, whatever failed before, and loaded partitions that Dagster
does not show."""

import dagster as dg

from marketdata_assets.defs.flows.automation import add_files, dynamic_name, job_name, partitions_of, spans, tags_of
from marketdata_assets.defs.partition_results import find_mismatches
from marketdata_assets.flows.definition import FlowDefinition, Month
from marketdata_assets.months import month_ranges
from marketdata_assets.partitions import joined, range_tags
from marketdata_assets.resources import FlowFiles, Postgres
from marketdata_assets.stores.postgres import connect

MOST_RUNS = 12


def due(
    instance: dg.DagsterInstance, flow: FlowDefinition, postgres: Postgres, flow_files: FlowFiles
) -> list[dg.RunRequest]:
    """The runs, each over neighbouring partitions where the flow has any."""
    from marketdata_assets.flows import status

    partitions = partitions_of(flow)
    with connect(postgres.dsn) as connection:
        outdated = [unit.place for unit in status.outdated(connection, flow, flow_files.path)]
        if isinstance(flow.partitions, Month) and partitions is not None:
            keys = list(partitions.get_partition_keys())
            counts = status.rows_by_month(connection, flow, keys)
            known = keys
        elif partitions is not None:
            keys = list(instance.get_dynamic_partitions(dynamic_name(flow)))
            counts = status.rows_by_unit(connection, flow)
            known = [key for key in keys if key in counts]
    if flow.partitions == "file":
        add_files(instance, flow, outdated)
    tags = tags_of(instance, flow, outdated) if outdated else []
    if partitions is not None:
        marks = find_mismatches(instance, flow.name, partitions, [key for key in keys if counts.get(key)], known)
        ranges = (
            joined(month_ranges(marks), MOST_RUNS)
            if isinstance(flow.partitions, Month)
            else spans(sorted(marks - {*outdated}), keys)
        )
        tags += [tag for tag in (range_tags(*one) for one in ranges) if tag not in tags]
    return [dg.RunRequest(str(number), job_name=job_name(flow), tags=one) for number, one in enumerate(tags)]
