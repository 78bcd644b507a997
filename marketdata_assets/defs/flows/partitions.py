"""How a flow is cut: not at all, by the months of a column, or by file."""

from collections.abc import Sequence

import dagster as dg

from marketdata_assets.flows.definition import FlowDefinition, Month


def partitions_of(flow: FlowDefinition) -> dg.PartitionsDefinition | None:
    """The flow's partitions: months up to and including the current one, or a key for each file that was seen."""
    if isinstance(flow.partitions, Month):
        since = flow.partitions.since
        return dg.MonthlyPartitionsDefinition(start_date=since, fmt="%Y-%m", timezone=flow.timezone, end_offset=1)
    return dg.DynamicPartitionsDefinition(name=dynamic_name(flow)) if flow.partitions == "file" else None


def dynamic_name(flow: FlowDefinition) -> str:
    """The name under which Dagster keeps the files that are partitions."""
    return f"{flow.name}_files"


def current_month(flow: FlowDefinition) -> str:
    """The partition to run for new files: all months of the files are loaded and marked."""
    partitions = partitions_of(flow)
    assert isinstance(partitions, dg.MonthlyPartitionsDefinition)
    return str(partitions.get_last_partition_key())


def spans(wanted: Sequence[str], known: Sequence[str]) -> list[tuple[str, str]]:
    """Cut `wanted` into ranges without a gap in `known`, Dagster's own order, as (first, last)."""
    places = {key: place for place, key in enumerate(known)}
    ranges: list[tuple[str, str]] = []
    for key in sorted(set(wanted) & places.keys(), key=places.__getitem__):
        if ranges and places[ranges[-1][1]] + 1 == places[key]:
            ranges[-1] = (ranges[-1][0], key)
        else:
            ranges.append((key, key))
    return ranges
