"""The one door to more processes: `Fanout.map` runs a function over items and survives the death of a worker.

What the function does, and what a failure means for the rest, is the caller's business.
"""

import gc
import multiprocessing
import os
import pickle
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import wait as wait_for_sentinel
from typing import Generic, TypeVar

# Read by C libraries as they load: no BLAS threads to wake, and freed memory kept for the next block of rows.
WORKER_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(64 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024),
    "POLARS_MAX_THREADS": "1",
}

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Done(Generic[Item, Answer]):
    """One item's end: an answer, or the error that stands for it."""

    item: Item
    answer: Answer | None
    error: BaseException | None = None


class WorkerDied(Exception):
    """The process that worked on an item was killed, first among others and then with this item alone."""

    def __init__(self) -> None:
        super().__init__(
            "the worker process was killed, and again when it had this unit alone (out of memory, or by hand); free"
            " memory or lower MARKETDATA_WORKERS, and run the same partitions again"
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
            yield from (_here(function, item) for item in items)
            return
        waiting = list(items)
        suspects: list[Item] = []
        while waiting:
            waiting = yield from self._round(function, waiting, self.workers, suspects)
        for item in suspects:
            killed: list[Item] = []
            yield from self._round(function, [item], 1, killed)
            if killed:
                yield Done(item, None, WorkerDied())

    def _round(
        self, function: Callable[[Item], Answer], items: Sequence[Item], workers: int, suspects: list[Item]
    ) -> Generator[Done[Item, Answer], None, list[Item]]:
        """One pool's life. When a worker dies, items under work become `suspects`, and those not begun are returned."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(self.preload))
        with _environment(WORKER_ENVIRONMENT):
            forkserver.ensure_running()
        pool = ProcessPoolExecutor(min(workers, len(items)), mp_context=context, initializer=_become_worker)
        queue = deque(items)
        running: dict[Future[Answer], Item] = {}
        try:
            while queue or running:
                while queue and len(running) < workers * 2:
                    future = pool.submit(_sendable, function, queue[0])
                    running[future] = queue.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        raise error
                    yield Done(running.pop(future), None if error else future.result(), error)
        except BrokenProcessPool:
            suspects += running.values()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return list(queue)


def _sendable(function: Callable[[Item], Answer], item: Item) -> Answer:
    """Call in a worker; an error that would not survive the way back, and break the pool, is replaced by its text."""
    try:
        return function(item)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301
        except Exception:
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
        raise


def _here(function: Callable[[Item], Answer], item: Item) -> Done[Item, Answer]:
    try:
        return Done(item, function(item))
    except Exception as error:
        return Done(item, None, error)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set what the processes started within shall inherit; what the user has set stays."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _become_worker() -> None:
    """End when the process that made the pool is killed instead of waiting for work for ever."""
    gc.freeze()  # what the preload made lives as long as the worker; collections need not walk it
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait_for_sentinel([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
