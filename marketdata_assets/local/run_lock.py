"""Whether the process of a run is alive: it holds a lock on a file, which the kernel releases with the process.

Containers of one machine that share the folder see it. What follows from a released lock is in
`defs.repair.housekeeping`.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from marketdata_assets import state_files

FOLDER = "running"
KILLED = "Its process has ended without a result: it was killed, alone or with its code server, container or machine"
KEPT_SECONDS = 7 * 86_400.0


def hold(root: Path, run_id: str) -> int:
    """Take the lock of a run for as long as this process lives, or until the returned descriptor is closed."""
    file = _file(root, run_id)
    state_files.private_folder(file.parent)
    _clean(file.parent)
    unseen = file.with_suffix(f".{os.getpid()}")
    descriptor = os.open(unseen, os.O_CREAT | os.O_WRONLY, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    unseen.replace(file)  # nobody finds the file without the lock
    return descriptor


@contextmanager
def held(root: Path, run_id: str) -> Iterator[None]:
    """Hold the lock of a run; the file is deleted at the end, and stays, released, after an exception."""
    descriptor = hold(root, run_id)
    try:
        yield
        forget(root, run_id)
    finally:
        os.close(descriptor)


def is_held(root: Path, run_id: str) -> bool | None:
    """Whether the process of the run is alive; False when it was killed or broke off, None without a lock here."""
    try:
        with _file(root, run_id).open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return True
    return False


def released(root: Path) -> list[str]:
    """The ids of the runs whose process has ended."""
    return [file.stem for file in (root / FOLDER).glob("*.lock") if is_held(root, file.stem) is False]


def forget(root: Path, run_id: str) -> None:
    """Delete the file of a run that has ended."""
    _file(root, run_id).unlink(missing_ok=True)


def _file(root: Path, run_id: str) -> Path:
    return root / FOLDER / f"{run_id}.lock"


def _clean(folder: Path) -> None:
    """Delete the files of processes that ended days ago."""
    for file in folder.iterdir():
        with suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime > KEPT_SECONDS and not is_held(folder.parent, file.stem):
                file.unlink()
