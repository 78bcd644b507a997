"""Whether the process of a run that a command of `marketdata` started is alive: it holds a lock on a file.

The kernel releases the lock with the process, however that ends. Containers of one machine that share the folder see
it.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER = "running"
KEPT_SECONDS = 7 * 86_400.0


@contextmanager
def held(root: Path, run_id: str) -> Iterator[None]:
    """Hold the lock of a run; the file is deleted at the end."""
    file = _file(root, run_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    _clean(file.parent)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def is_released(root: Path, run_id: str) -> bool:
    """Whether the process that held the lock was killed; False also where the run was never known."""
    try:
        with _file(root, run_id).open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):
        return False
    return True


def _file(root: Path, run_id: str) -> Path:
    return root / FOLDER / f"{run_id}.lock"


def _clean(folder: Path) -> None:
    """Delete the files of commands that were killed days ago."""
    for file in folder.glob("*.lock"):
        with suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime > KEPT_SECONDS and is_released(folder.parent, file.stem):
                file.unlink()
