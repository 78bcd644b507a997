"""Processes of this machine, forked from a server that has imported what they need; and what any worker runs.

A `Pool` and a `Cluster` have the same methods: `submit` gives a ticket for an item, `wait` the outcomes of those that
have ended, at least one. A worker's death is an outcome, and a dead worker is replaced.
"""

import gc
import multiprocessing
import os
import pickle
import threading
import traceback
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import wait as wait_for_sentinel
from typing import TypeVar, cast

# Read by C libraries as they load: no BLAS threads to wake, and freed memory kept for the next block of rows.
WORKER_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(64 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024),
    "POLARS_MAX_THREADS": "1",
}

REOPENINGS = 3
"""How often a pool that breaks while an item is submitted is replaced before that is an error."""

CLOSE_SECONDS = 5.0
"""How long items that are worked on may take to end when nobody waits for their outcome any more."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Outcome = tuple[Answer | None, BaseException | None]
"""An answer, or an error in its place; WorkerDied when the process was killed."""


class WorkerDied(Exception):
    """The process that worked on an item was killed, first among others and then with this item alone."""

    def __init__(self, cause: str = "out of memory, or by hand") -> None:
        super().__init__(
            f"the worker process was killed, and again when it had this unit alone ({cause}); free memory or lower"
            " MARKETDATA_WORKERS, and run the same partitions again"
        )


def attempt(function: Callable[[Item], Answer], item: Item) -> Outcome[Answer]:
    """Call in a worker; an error comes back as a value, as its text where it cannot be pickled."""
    try:
        return function(item), None
    except BaseException as error:
        error.add_note("".join(traceback.format_exception(error)))
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301
        except Exception:
            return None, RuntimeError(f"{type(error).__name__}: {error}")
        return None, error


class Pool:
    """At most `workers` processes. When one is killed all are, and the next item starts new ones."""

    def __init__(self, workers: int, preload: tuple[str, ...]) -> None:
        self._workers = workers
        self.max_in_flight = workers * 2  # so that each has a next item at once
        self._preload = preload
        self._executor = self._open()

    def submit(self, function: Callable[[Item], Answer], item: Item) -> Future[Outcome[Answer]]:
        for _ in range(REOPENINGS):
            try:
                return self._executor.submit(attempt, function, item)
            except (BrokenProcessPool, OSError):  # OSError: a worker was to start at the moment the pool broke
                self.close()
                self._executor = self._open()
        return self._executor.submit(attempt, function, item)

    def wait(
        self, tickets: Collection[Future[Outcome[Answer]]]
    ) -> Iterator[tuple[Future[Outcome[Answer]], Outcome[Answer]]]:
        for future in wait(tickets, return_when=FIRST_COMPLETED).done:
            error = None if future.cancelled() else future.exception()
            if future.cancelled() or isinstance(error, BrokenProcessPool):
                yield future, (None, WorkerDied())
            else:
                yield future, (None, error) if error else future.result()

    def close(self) -> None:
        """End the workers. Those that work on an item have CLOSE_SECONDS to finish it, and are then killed."""
        manager = cast("threading.Thread | None", self._executor._executor_manager_thread)
        workers = dict(self._executor._processes or {})
        self._executor.shutdown(wait=False, cancel_futures=True)
        if manager is None:
            return
        manager.join(CLOSE_SECONDS)
        for worker in workers.values():
            worker.kill()
        manager.join()

    def _open(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(self._preload))
        with _environment(WORKER_ENVIRONMENT):
            forkserver.ensure_running()
        return ProcessPoolExecutor(self._workers, mp_context=context, initializer=_become_worker)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables for the processes started within the block; those that the user has set stay."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _become_worker() -> None:
    """Exit when the process that created the pool is killed, instead of waiting for work indefinitely."""
    gc.freeze()  # what the preload made lives as long as the worker; collections need not walk it
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait_for_sentinel([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
