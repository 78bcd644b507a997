"""The one door to more processes: `Fanout.map` runs a function over items and survives the death of a worker.

What the function does, and what a failure means for the rest, is the caller's business.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for_sentinel
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

ATTEMPTS = 2
"""How often an item is tried when its worker dies under it."""


@dataclass(frozen=True)
class Done(Generic[Item, Answer]):
    """One item's end: an answer, or the error that stands for it."""

    item: Item
    answer: Answer | None
    error: BaseException | None = None


class WorkerDied(Exception):
    """The process that worked on an item was killed, each time it was tried."""

    def __init__(self) -> None:
        super().__init__(
            f"the worker process was killed {ATTEMPTS} times (out of memory, or by hand); free memory or lower"
            " MARKETDATA_WORKERS, and run the same partitions again"
        )


@dataclass(frozen=True)
class Fanout:
    """A pool of `workers` processes that start on first need and end with the map.

    `preload` names modules that every worker needs; they are imported once, before the workers are forked.
    """

    workers: int = os.cpu_count() or 1
    preload: tuple[str, ...] = ()

    def map(self, function: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[Done[Item, Answer]]:
        """Yield each item's end as it comes; the order is that of completion.

        One item, or one worker, runs in this process. Stopping the iteration stops the items not yet begun.
        """
        if self.workers <= 1 or len(items) <= 1:
            yield from map(lambda item: _here(function, item), items)
            return
        waiting = list(items)
        for _ in range(ATTEMPTS):
            lost: list[Item] = []
            yield from self._round(function, waiting, lost)
            if not lost:
                return
            waiting = lost
        for item in waiting:
            yield Done(item, None, WorkerDied())

    def _round(
        self, function: Callable[[Item], Answer], items: Sequence[Item], lost: list[Item]
    ) -> Iterator[Done[Item, Answer]]:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(self.preload))
        pool = ProcessPoolExecutor(min(self.workers, len(items)), mp_context=context, initializer=_become_worker)
        queue = iter(items)
        running: dict[Future[Answer], Item] = {}
        try:
            for item in _first(queue, self.workers * 2):
                running[pool.submit(function, item)] = item
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    item = running.pop(future)
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        lost += [item, *running.values(), *queue]
                        return
                    yield Done(item, None if error else future.result(), error)
                    for fresh in _first(queue, 1):
                        running[pool.submit(function, fresh)] = fresh
        except BrokenProcessPool:
            lost += [*running.values(), *queue]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _here(function: Callable[[Item], Answer], item: Item) -> Done[Item, Answer]:
    try:
        return Done(item, function(item))
    except Exception as error:
        return Done(item, None, error)


def _first(queue: Iterator[Item], count: int) -> Iterator[Item]:
    for _, item in zip(range(count), queue, strict=False):
        yield item


def _become_worker() -> None:
    """Use one core, and end when the process that made the pool is killed instead of waiting for work for ever."""
    os.environ["POLARS_MAX_THREADS"] = "1"
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait_for_sentinel([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
