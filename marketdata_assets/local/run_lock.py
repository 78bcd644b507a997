"""Whether the process of a run that a command of `marketdata` started is alive: it holds a lock on a file.

The kernel releases the lock with the process, however that ends. Containers of one machine that share the folder see
it, and can request that the process stops.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from marketdata_assets import state_files

FOLDER = "running"
KILLED = "the command that started it was killed"
KEPT_SECONDS = 7 * 86_400.0


@contextmanager
def held(root: Path, run_id: str) -> Iterator[None]:
    """Hold the lock of a run; the file is deleted at the end, and stays, released, after an exception."""
    file = _file(root, run_id)
    state_files.private_folder(file.parent)
    _clean(file.parent)
    with state_files.opened(file) as handle:
        state_files.lock(handle)
        yield
        forget(root, run_id)


def is_held(root: Path, run_id: str) -> bool | None:
    """Whether the process of the run is alive; False when it was killed or broke off.

    None where the run is not known: it has ended as it should, or is of another machine.
    """
    try:
        with _file(root, run_id).open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return True
    return False


def released(root: Path) -> list[str]:
    """The ids of the runs whose process was killed or broke off."""
    return [file.stem for file in (root / FOLDER).glob("*.lock") if is_held(root, file.stem) is False]


def forget(root: Path, run_id: str) -> None:
    """Delete the files of a run that has ended."""
    _file(root, run_id).unlink(missing_ok=True)
    _stop_file(root, run_id).unlink(missing_ok=True)


def request_stop(root: Path, run_id: str) -> None:
    """Ask the process of the run to stop."""
    _stop_file(root, run_id).touch(0o600)


def stop_requested(root: Path, run_id: str) -> bool:
    """Whether there is a request to stop the process of the run."""
    return _stop_file(root, run_id).exists()


def _stop_file(root: Path, run_id: str) -> Path:
    return _file(root, run_id).with_suffix(".stop")


def _file(root: Path, run_id: str) -> Path:
    return root / FOLDER / f"{run_id}.lock"


def _clean(folder: Path) -> None:
    """Delete the files of commands that were killed days ago."""
    for file in folder.iterdir():
        with suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime > KEPT_SECONDS and not is_held(folder.parent, file.stem):
                file.unlink()
