"""Progress of long work in a run: to whoever watches, and as a line of log every few seconds."""

import time
from collections.abc import Callable

from marketdata_assets.progress import tell


class Lines:
    """Give one to the library as its `progress`; `what` names the units that are counted."""

    def __init__(self, write: Callable[[str], None], what: str = "files", every_seconds: float = 5.0) -> None:
        self._write = write
        self._what = what
        self._every = every_seconds
        self._next = time.monotonic() + every_seconds

    def __call__(self, done: int, total: int, place: str) -> None:
        tell(done, total, place)
        if done == total or time.monotonic() >= self._next:
            self._write(f"{done} of {total} {self._what}, last {place}")
            self._next = time.monotonic() + self._every
