"""How a run over many partitions ends: the good ones are materialised, and a Failure names the rest."""

import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent, DagsterEventBatchMetadata

from marketdata_assets.errors import MarketDataError, TransientError

MAX_NAMED = 20

Context = dg.AssetExecutionContext | dg.OpExecutionContext


def conclude(
    context: dg.AssetExecutionContext,
    metadata: dict[str, Any],
    by_key: Mapping[str, dict[str, Any]],
    failed: Mapping[str, str],
) -> dg.MaterializeResult:
    """Materialise every partition; when some `failed`, only the others, and raise Failure naming what went wrong."""
    if not failed:
        for key, found in by_key.items():
            context.add_asset_metadata(found, partition_key=key)
        return dg.MaterializeResult(metadata=metadata)
    for key in sorted(by_key.keys() - failed.keys()):
        context.log_event(dg.AssetMaterialization(context.asset_key, partition=key, metadata=by_key[key]))
    raise failure(failed, len(by_key), metadata)


@contextmanager
def refusals() -> Iterator[None]:
    """Let an error of ours fail the step in its own words; what a person has to mend is not tried again."""
    try:
        yield
    except MarketDataError as error:
        raise dg.Failure(description=str(error), allow_retries=isinstance(error, TransientError)) from error


def failure(failed: Mapping[str, str], total: int, metadata: Mapping[str, Any]) -> dg.Failure:
    """What names the partitions that failed, each with its cause, and is not tried again."""
    lines = named(failed[key] for key in sorted(failed))
    return dg.Failure(
        description=f"{len(failed)} of {total} partitions failed, the others are done\n{lines}",
        metadata={
            **metadata,
            "failed": dg.MetadataValue.md(lines),
            "failed_partitions": dg.MetadataValue.json([str(key) for key in sorted(failed)]),
        },
        allow_retries=False,
    )


def named(reasons: Iterable[str]) -> str:
    """A list of what went wrong, each cause once, and how many more there are."""
    every = list(dict.fromkeys(reasons))
    lines = [f"- {reason}" for reason in every[:MAX_NAMED]]
    if len(every) > MAX_NAMED:
        lines.append(f"- and {len(every) - MAX_NAMED} more")
    return "\n".join(lines)


def log_materializations(context: Context, events: Sequence[dg.AssetMaterialization]) -> None:
    """Do as `context.log_event` for each, with a few statements for thousands of partitions.

    What a step yields is stored in batches and what it logs is not; and `add_asset_metadata` lists all partitions of
    the run at each call. The last event goes the ordinary way, for who looks at the events of a run in this process.
    """
    batch = uuid.uuid4().hex
    for number, event in enumerate(events[:-1], 2):
        metadata = DagsterEventBatchMetadata(batch, is_end=number == len(events))
        DagsterEvent.asset_materialization(context.get_step_execution_context(), event, metadata)
    for event in events[-1:]:
        context.log_event(event)


def mark_failed(context: Context, asset: dg.AssetKey, partitions: Iterable[str]) -> None:
    """Let partitions that did not land show as failed, in a job of which Dagster does not know what it is about.

    When an asset is run, Dagster notes at the start, for a few milliseconds each, that it counts on every partition;
    those that nothing came of are the failed ones of a failed run. Here only these are noted.
    """
    for partition in partitions:
        planned = AssetMaterializationPlannedData(asset, partition=partition)
        event = DagsterEvent.build_asset_materialization_planned_event(
            context.job_name, context.get_step_execution_context().step.key, planned
        )
        context.instance.report_dagster_event(event, context.run.run_id, logging.DEBUG)
