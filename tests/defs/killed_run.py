"""A run in a process of its own that is killed at the first partition that ends after one was logged.

Arguments: the folder of Dagster's storage, and as JSON the job, its run config, its tags and its assets.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import dagster as dg
from bar_runs import execute

from marketdata_assets.defs import partition_results

take = partition_results.Batches.take


def die(self: partition_results.Batches[Any, Any], ended: Mapping[Any, Any]) -> None:
    """Log a partition, and be killed when there is another to log."""
    if self.logged and ended:
        os.kill(os.getpid(), signal.SIGKILL)
    take(self, ended)


if __name__ == "__main__":
    job, config, tags, assets = json.loads(sys.argv[2])
    partition_results.AT_ONCE, partition_results.Batches.take = 1, die  # type: ignore[method-assign]
    with dg.DagsterInstance.local_temp(sys.argv[1]) as instance:
        for name, keys in tags.pop("dynamic", {}).items():
            instance.add_dynamic_partitions(name, keys)
        execute(instance, job, config, tags, [dg.AssetKey(name) for name in assets])
