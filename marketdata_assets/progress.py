"""Progress of long work: the command line shows a bar, a run in the UI writes a log line every few seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Progress = Callable[[int, int, str], None]
"""Called with units done, units in total, and the unit that has just ended."""

_listener: ContextVar[Progress | None] = ContextVar("progress", default=None)


@contextmanager
def reporting_to(listener: Progress) -> Iterator[None]:
    """Send the progress of everything inside the block to `listener`, at any depth."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def report(done: int, total: int, what: str) -> None:
    """Report progress to the current listener, if there is one."""
    listener = _listener.get()
    if listener is not None:
        listener(done, total, what)


class ProgressLog:
    """A `Progress` that reports to the listener and writes a line every few seconds; `what` names the units."""

    def __init__(self, write: Callable[[str], None], what: str = "files", every_seconds: float = 5.0) -> None:
        self._write = write
        self._what = what
        self._every = every_seconds
        self._next = time.monotonic() + every_seconds

    def __call__(self, done: int, total: int, place: str) -> None:
        report(done, total, place)
        if done == total or time.monotonic() >= self._next:
            self._write(f"{done} of {total} {self._what}, last {place}")
            self._next = time.monotonic() + self._every
