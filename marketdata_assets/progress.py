"""Where long work tells how far it is: the command line shows a bar, a run in the UI a line of log now and then."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Progress = Callable[[int, int, str], None]
"""Called with units done, units in all, and what has just ended."""

_watcher: ContextVar[Progress | None] = ContextVar("progress", default=None)


@contextmanager
def watched_by(watcher: Progress) -> Iterator[None]:
    """Let `watcher` hear of the work done inside the block, however deep."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def tell(done: int, total: int, what: str) -> None:
    """Tell the watcher, if there is one."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher(done, total, what)
