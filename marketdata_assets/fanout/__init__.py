"""The one door to more processes, of this machine or of many: `Fanout.map` runs a function over items.

Each ends in a result or an error, a dead worker costs one retry, few are in flight at once. `pool` and `cluster` say
where the work is done. What the function does, and what a failure means for the rest, is the caller's business.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from marketdata_assets.fanout import cluster
from marketdata_assets.fanout.pool import Answer, Item, Pool, WorkerDied

__all__ = ["Done", "Fanout", "WorkerDied"]

Executor = Pool | cluster.Cluster


@dataclass(frozen=True)
class Done(Generic[Item, Answer]):
    """The end of one item: an answer, or an error in its place."""

    item: Item
    answer: Answer | None
    error: BaseException | None = None


@dataclass(frozen=True)
class Fanout:
    """Workers that start on first need: a pool of processes that ends with the map, or those of a Ray cluster.

    `workers` 0 is one per core, of this machine or of the cluster. `preload` names modules that every worker of a pool
    needs; they are imported once, before the workers are forked. `ray` is a cluster's address, or `local` to start one.
    """

    workers: int = 0
    preload: tuple[str, ...] = ()
    ray: str | None = None

    @property
    def width(self) -> int:
        """How many items are worked on at once. Asks the cluster, if there is one."""
        if self.ray is not None:
            return self.workers or cluster.cpus(self.ray)
        return self.workers or os.cpu_count() or 1

    def map(
        self, function: Callable[[Item], Answer], items: Sequence[Item], folder: Path | None = None
    ) -> Iterator[Done[Item, Answer]]:
        """Yield each item's end as it comes; items start in their order and end in any.

        `folder` is where the items' files lie: a machine that does not see it answers TerminalError. Without Ray, one
        item, or one worker, runs in this process. Stopping the iteration drops the items not started.
        """
        if not items:
            return
        if self.ray is None and (self.width <= 1 or len(items) <= 1):
            for item in items:
                try:
                    yield Done(item, function(item))
                except Exception as error:
                    yield Done(item, None, error)
            return
        executor: Executor
        if self.ray is None:
            executor = Pool(min(self.width, len(items)), self.preload)
        else:
            executor = cluster.Cluster(self.ray, self.workers, folder)
        with closing(executor):
            suspects: list[Item] = []
            for done in _through(executor, function, items):
                if isinstance(done.error, WorkerDied):
                    suspects.append(done.item)
                else:
                    yield done
            for item in suspects:
                yield from _through(executor, function, [item])


def _through(
    executor: Executor, function: Callable[[Item], Answer], items: Sequence[Item]
) -> Iterator[Done[Item, Answer]]:
    queue = deque(items)
    running: dict[Any, Item] = {}
    while queue or running:
        while queue and len(running) < executor.max_in_flight:
            item = queue.popleft()
            running[executor.submit(function, item)] = item
        for ticket, (answer, error) in executor.wait(list(running)):
            yield Done(running.pop(ticket), answer, error)
