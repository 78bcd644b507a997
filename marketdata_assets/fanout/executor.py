"""The protocol of a pool and a cluster: items go in, outcomes come out, and a worker's death is an outcome."""

import pickle
import traceback
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Any, Protocol, TypeVar

# Read by C libraries as they load: no BLAS threads to wake, and freed memory kept for the next block of rows.
WORKER_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(64 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024),
    "POLARS_MAX_THREADS": "1",
}

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Outcome = tuple[Answer | None, BaseException | None]
"""An answer, or an error in its place; WorkerDied when the process was killed."""


class Executor(Protocol):
    """Processes that work on items; a dead one is replaced."""

    @property
    def max_in_flight(self) -> int:
        """How many items may be in progress."""

    def submit(self, function: Callable[[Any], Any], item: Any) -> Hashable:
        """Submit an item; the ticket that is returned identifies it in `wait`."""

    def wait(self, tickets: Collection[Any]) -> Iterable[tuple[Hashable, Outcome[Any]]]:
        """Wait until one at least has ended, and yield those that have."""

    def close(self) -> None:
        """Start no more items, and return when none is in progress."""


def attempt(function: Callable[[Item], Answer], item: Item) -> Outcome[Answer]:
    """Call in a worker; an error comes back as a value, as its text where it cannot be pickled."""
    try:
        return function(item), None
    except BaseException as error:
        error.add_note("".join(traceback.format_exception(error)))
        return None, _sendable(error)


def _sendable(error: BaseException) -> BaseException:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
