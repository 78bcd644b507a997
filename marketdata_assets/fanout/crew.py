"""What a pool and a cluster have in common: items go in, outcomes come out, and a worker's death is an outcome."""

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
"""An answer, or the error that stands for it; WorkerDied when the process was killed."""


class Crew(Protocol):
    """Processes that work on items; a dead one is replaced."""

    @property
    def room(self) -> int:
        """How many items may be under way."""

    def submit(self, function: Callable[[Any], Any], item: Any) -> Hashable:
        """Hand in an item; what comes back stands for it in `wait`."""

    def wait(self, tickets: Collection[Any]) -> Iterable[tuple[Hashable, Outcome[Any]]]:
        """Wait until one at least has ended, and yield those that have."""

    def close(self) -> None:
        """Begin nothing more; nothing is under way when this returns."""


def attempt(function: Callable[[Item], Answer], item: Item) -> Outcome[Answer]:
    """Call in a worker; an error comes back as a value, in words where it would not survive the way."""
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
