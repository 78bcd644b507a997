"""A run that is killed at the first partitions that end after some were logged; in a process of its own."""

import os
import signal
from collections.abc import Mapping
from typing import Any

import dagster as dg

from marketdata_assets.defs import partition_results
from tests.defs.bar_runs import execute

take = partition_results.Batches.take


def die(self: partition_results.Batches[Any, Any], ended: Mapping[Any, Any]) -> None:
    """Log partitions, and be killed when there are others to log."""
    if self.logged and ended:
        os.kill(os.getpid(), signal.SIGKILL)
    take(self, ended)


def run(
    variables: Mapping[str, str],
    storage: str,
    job: str,
    config: Mapping[str, Any],
    tags: Mapping[str, str],
    assets: list[str],
    dynamic: Mapping[str, list[str]],
) -> None:
    """Run a job with Dagster's storage in a folder; `dynamic` are partitions that there are, by their definition."""
    os.environ.update(variables)
    partition_results.AT_ONCE, partition_results.Batches.take = 1, die  # type: ignore[method-assign]
    with dg.DagsterInstance.local_temp(storage) as instance:
        for name, keys in dynamic.items():
            instance.add_dynamic_partitions(name, keys)
        execute(instance, job, config, tags, [dg.AssetKey(name) for name in assets])
