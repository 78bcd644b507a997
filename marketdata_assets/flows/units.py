"""The units of a flow: files below its folder, members of zips, and how their bytes are opened."""

import gzip
import hashlib
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from marketdata_assets.flows.definition import Loader
from marketdata_assets.flows.errors import BadFile, NoFolder

CLOCK_TICK_NS = 100_000_000


@dataclass(frozen=True)
class Unit:
    """One file, or one member of a zip. `name` is relative to the flow's folder: it is the unit's identity."""

    name: str
    path: Path
    size: int
    modified_ns: int
    member: str | None = None
    seen_ns: int = field(default=0, compare=False)

    @property
    def fresh(self) -> bool:
        """Whether it changed so shortly before it was seen that one more change could show the same time."""
        return self.modified_ns > self.seen_ns - CLOCK_TICK_NS


class Bytes(Protocol):
    """What reading needs of an open file."""

    def read(self, size: int = -1, /) -> bytes: ...


def find(loader: Loader, folder: Path) -> list[Unit]:
    """The units below `folder`, the biggest first. Raises NoFolder."""
    root = folder / loader.folder
    if not root.is_dir():
        raise NoFolder(str(root))
    paths = {path for pattern in loader.glob for path in root.glob(pattern)}
    found: list[Unit] = []
    for path in paths:
        name = path.relative_to(root).as_posix()
        if any(part.startswith(".") for part in name.split("/")) or not path.is_file():
            continue
        stat = path.stat()
        whole = Unit(name, path, stat.st_size, stat.st_mtime_ns, None, time.time_ns())
        found += _members(whole) if path.suffix.lower() == ".zip" else [whole]
    return sorted(found, key=lambda unit: (-unit.size, unit.name))


def _members(archive: Unit) -> list[Unit]:
    """The members of a zip; one that cannot be listed is a unit of itself, and fails when it is opened."""
    try:
        with zipfile.ZipFile(archive.path) as file:
            infos = [info for info in file.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError, NotImplementedError):
        return [archive]
    return [
        Unit(
            f"{archive.name}!{info.filename}",
            archive.path,
            info.file_size,
            archive.modified_ns,
            info.filename,
            archive.seen_ns,
        )
        for info in infos
    ]


@contextmanager
def opened(unit: Unit) -> Iterator[Bytes]:
    """The unit's bytes, unpacked. Raises BadFile, and so does a read of what is yielded."""
    with ExitStack() as stack:
        with _naming(unit):
            stream = _open(unit, stack)
        yield _Guarded(unit, stream)


def _open(unit: Unit, stack: ExitStack) -> Bytes:
    if unit.member is not None:
        archive = stack.enter_context(zipfile.ZipFile(unit.path))
        return stack.enter_context(archive.open(unit.member))
    if unit.path.suffix.lower() == ".zip":
        with zipfile.ZipFile(unit.path):
            raise zipfile.BadZipFile("it was replaced while it was being loaded")
    if unit.path.suffix.lower() == ".gz":
        return stack.enter_context(gzip.open(unit.path, "rb"))
    return stack.enter_context(unit.path.open("rb", buffering=0))


class _Guarded:
    """A stream whose failures are BadFile."""

    def __init__(self, unit: Unit, stream: Bytes) -> None:
        self._unit = unit
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        with _naming(self._unit):
            return self._stream.read(size)


@contextmanager
def _naming(unit: Unit) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise BadFile(unit.name, "the file was moved away while it was being loaded") from error
    except (OSError, EOFError, KeyError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise BadFile(unit.name, f"cannot be read ({error})") from error


class Hashing:
    """Bytes that are hashed as they are read."""

    def __init__(self, stream: Bytes) -> None:
        self._stream = stream
        self._hash = hashlib.blake2b(digest_size=16)

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._stream.read(size)
        self._hash.update(chunk)
        return chunk

    @property
    def content_hash(self) -> str:
        return f"blake2b:{self._hash.hexdigest()}"


def content_hash(unit: Unit) -> str:
    """The hash of the unit's bytes as they are now."""
    with opened(unit) as stream:
        hashing = Hashing(stream)
        while hashing.read(1024 * 1024):
            pass
    return hashing.content_hash
