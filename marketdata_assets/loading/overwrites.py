"""Files that are overwritten in place while they are read: what was read of one is of no version that was delivered."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from marketdata_assets.errors import MarketDataError
from marketdata_assets.loading.errors import BadFile

OVERWRITTEN = "it was overwritten while it was being read, and nothing of it counts; it is due again"


@contextmanager
def unchanged(place: str, file: int | Path, failure: Callable[[str, str], MarketDataError] = BadFile) -> Iterator[None]:
    """Raise `failure` at the end where the file has changed since the beginning, in size, time or identity.

    `file` is a descriptor where all is read through it: a file that takes the name of an open one does not change that
    one, which is read to its end. A path is for readers that open it themselves, or several times.
    """
    before = _state(file)
    try:
        yield
    except Exception as error:  # of whatever class: where two versions meet, lines and compressed frames are damaged
        if _state(file) != before:
            raise failure(place, OVERWRITTEN) from error
        raise
    if _state(file) != before:
        raise failure(place, OVERWRITTEN)


def _state(file: int | Path) -> tuple[int, int, int] | None:
    """Inode, size and modification time in ns; None of a path that leads to nothing."""
    try:
        found = os.stat(file)  # noqa: PTH116 - a descriptor has no other
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
