"""What Dagster's own record says of partitions, held against what the data says of them."""

from collections.abc import Collection, Iterable

import dagster as dg
from dagster._core.storage.partition_status_cache import AssetPartitionStatus


def out_of_step(
    instance: dg.DagsterInstance,
    asset: str,
    partitions: dg.PartitionsDefinition,
    standing: Collection[str],
    others: Iterable[str] = (),
) -> set[str]:
    """Partitions of `asset` that Dagster does not show as they are: of `standing`, those it shows as failed or as never
    materialised; of `others`, in which nothing has to stand, those it shows as failed.

    A run that was killed after it had landed leaves such partitions, and so does a load without Dagster.
    """
    keys = sorted({*standing, *others})
    found = instance.get_status_by_partition(dg.AssetKey(asset), keys, partitions) if keys else {}
    states = found or {}
    failed = {key for key in keys if states.get(key) == AssetPartitionStatus.FAILED}
    return failed | {key for key in standing if states.get(key) is None}
