"""The files in which we keep a state: replaced whole and durably, readable by their owner alone, locked for a while.

A state file that cannot be read is set aside and named, and what it said counts as unknown: it stops nothing. Data
files, which others may read, are replaced here too; what is in a file belongs to who writes it.
"""

import fcntl
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, BinaryIO, TypeVar, cast

from marketdata_assets import lock_waits
from marketdata_assets.logs import get_logger

PRIVATE, SHARED = 0o600, 0o666
CHUNK_BYTES = 1 << 20

T = TypeVar("T")
log = get_logger(__name__)


@contextmanager
def replacing(path: Path, partial: Path | None = None, mode: int = SHARED) -> Iterator[IO[bytes]]:
    """A stream that replaces `path` atomically: after a crash it is the old file, or the new one.

    It goes into `partial`, by default a hidden file beside it.
    """
    partial = partial or path.with_name(f".{path.name}.partial")
    if mode == PRIVATE:
        made_folder(path.parent)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb", CHUNK_BYTES) as file:
        if mode == PRIVATE:
            os.fchmod(file.fileno(), PRIVATE)  # an existing one may be open to others
        yield file
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    _sync(path.parent)


def write(path: Path, content: str | bytes, mode: int = PRIVATE) -> None:
    """Replace a file by this content. Processes and containers that write at the same time do not meet."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with replacing(path, partial, mode) as file:
            file.write(content.encode() if isinstance(content, str) else content)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def read(path: Path, parse: Callable[[bytes], T]) -> T | None:
    """What `parse` makes of the content; None when there is no file, and when it was set aside as unreadable."""
    try:
        content = path.read_bytes()
        return parse(content)
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever a parser raises of bytes that we did not write
        aside = path.with_name(f"{path.name}.unreadable-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
        with suppress(OSError):
            path.rename(aside)
        log.warning("state_unreadable", file=str(path), set_aside=aside.name, error=error)
        return None


def made_once(path: Path, make: Callable[[], str]) -> str:
    """The text of a file that is made once; of two processes that start at once, the first one's counts."""
    while (text := read(path, _some)) is None:
        made_folder(path.parent)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        write(fresh, make())
        with suppress(FileExistsError):
            path.hardlink_to(fresh)
        fresh.unlink()
        _sync(path.parent)
    return text


def made_folder(folder: Path) -> None:
    """Create a folder, and those above it, with access for their owner only; existing ones stay as they are."""
    if not folder.is_dir():
        if not folder.parent.exists():
            made_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def private_folder(folder: Path) -> None:
    """Have a folder with access for its owner only; not one of others, nor one that the caller works in.

    Others may pass through one that was opened for that, as for a server that root runs as somebody else.
    """
    made_folder(folder)
    found = folder.stat()
    ours = found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX
    if found.st_mode & 0o066 and ours and not Path.cwd().is_relative_to(folder.resolve()):
        folder.chmod(0o700)


def opened(path: Path, mode: str = "a+b") -> BinaryIO:
    """Open a state or lock file for reading and writing, which nobody else can open and so lock."""
    made_folder(path.parent)
    file = open(path, mode, 0, opener=lambda name, flags: os.open(name, flags, PRIVATE))  # noqa: SIM115
    found = os.fstat(file.fileno())
    if found.st_mode & 0o077 and found.st_uid == os.geteuid():
        os.fchmod(file.fileno(), PRIVATE)
    return cast("BinaryIO", file)


def lock(file: BinaryIO, *, wait: bool = True) -> bool:
    """Hold the lock of an opened file until it is closed, and write there who holds it since when.

    False when another process holds it and this one does not wait. A long wait is reported.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            return False
        with lock_waits.reported(file.name, lambda: holder_of(Path(file.name))):
            fcntl.flock(file, fcntl.LOCK_EX)
    sign(file.fileno())
    return True


def sign(lock: int) -> None:
    """Write into a lock that is held who holds it and since when."""
    holder = f"process {os.getpid()} ({' '.join(sys.orig_argv)}) since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n"
    with suppress(OSError):  # as on a full disk: the lock is held anyway
        os.ftruncate(lock, 0)
        os.pwrite(lock, holder.encode("utf-8", "replace"), 0)


def holder_of(path: Path) -> str:
    """Who wrote into a lock that is held."""
    with suppress(OSError):
        return path.read_text("utf-8", "replace").strip() or "a process that has just started"
    return "a process that cannot be named"


def _some(content: bytes) -> str:
    if not content.strip(b"\0 \n"):
        raise ValueError("the file is empty")
    return content.decode()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
