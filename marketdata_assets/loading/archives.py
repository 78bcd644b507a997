"""Archives whose members cannot be read in place: tars, packed or not, and archives within archives.

Each is unpacked to a temporary file while its members are read; plain zips are read in place by `files`.
"""

import bz2
import gzip
import lzma
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Protocol, cast

import zstandard

from marketdata_assets.input_limits import ZSTD_CHUNK_BYTES
from marketdata_assets.loading.member_names import is_hidden, member_name, problem, readable
from marketdata_assets.loading.overwrites import unchanged

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.zstd")
ARCHIVES = (".zip", *TARS)
ZSTD = (".zst", ".zstd")
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zstandard.ZstdError, lzma.LZMAError)
MOST_TIMES, ALWAYS_BYTES = 1000, 1024**3
"""What unpacks to more than ALWAYS_BYTES and MOST_TIMES its size is a decompression bomb."""
COPY_BYTES = 1024 * 1024

Archive = zipfile.ZipFile | tarfile.TarFile


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class Member:
    """A file in an archive; `within` are the stored names of the archives around it and its own."""

    name: str
    within: tuple[str, ...]
    size: int
    problem: str


def is_archive(name: str) -> bool:
    """Whether a file or member of this name has members of its own."""
    return name.lower().endswith(ARCHIVES)


@lru_cache(maxsize=1000)
def listed(path: Path, size: int, modified_ns: int) -> tuple[Member, ...]:
    """The members that may be data, those of archives within included; `size` and `modified_ns` are the file's now."""
    containers = Containers()
    try:
        return tuple(_members(containers, path, (), ""))
    finally:
        containers.close()


class Pieces:
    """Pieces of bytes, one after the other, as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        """`size` bytes, fewer only at the end; all that is left when `size` is negative."""
        pieces, length = [self._rest], len(self._rest)
        while (size < 0 or length < size) and (piece := next(self._pieces, None)) is not None:
            pieces.append(piece)
            length += len(piece)
        self._rest = b""
        if 0 <= size < length:  # only the last piece reaches beyond the end, and is cut
            last = pieces.pop()
            cut = len(last) - (length - size)
            pieces.append(last[:cut])
            self._rest = last[cut:]
        return b"".join(pieces)


def unpacked_zstd(raw: Readable) -> Iterator[bytes]:
    """The bytes that are packed in `raw`, of one frame or several. Raises ZstdError when the last is cut."""
    frame = zstandard.ZstdDecompressor().decompressobj()
    while chunk := raw.read(ZSTD_CHUNK_BYTES):
        while chunk:
            if frame.eof:
                frame = zstandard.ZstdDecompressor().decompressobj()
            yield frame.decompress(chunk)
            chunk = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise zstandard.ZstdError("the file is cut off inside a frame")


class Containers:
    """The archives of one file that are open; close it."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._open: dict[tuple[str, ...], tuple[Archive, IO[bytes]]] = {}

    def close(self) -> None:
        for archive, raw in self._open.values():
            archive.close()
            raw.close()
        self._open.clear()
        self._path = None

    def member(self, path: Path, within: tuple[str, ...]) -> IO[bytes]:
        """The bytes of the member of that name in the archives of the names before; the caller closes them."""
        return _opened(self.archive(path, within[:-1]), within[-1])

    def archive(self, path: Path, within: tuple[str, ...]) -> Archive:
        """The archive of a file, or the one at the end of the names `within` it."""
        if self._path != path:
            self.close()
            self._path = path
        if within not in self._open:
            packed = self.member(path, within) if within else path.open("rb")
            with packed, nullcontext() if within else unchanged(path.name, packed.fileno()):
                self._open[within] = _archive(packed, (within[-1] if within else path.name).lower())
        return self._open[within][0]


def _members(containers: Containers, path: Path, within: tuple[str, ...], prefix: str) -> Iterator[Member]:
    for member in _directory(containers.archive(path, within)):
        inside = (*within, *member.within)
        if is_archive(member.name) and not member.problem:
            yield from _members(containers, path, inside, f"{prefix}{member.name}!")
        else:
            yield Member(prefix + member.name, inside, member.size, member.problem)


def _directory(archive: Archive) -> list[Member]:
    if isinstance(archive, zipfile.ZipFile):
        infos = [info for info in archive.infolist() if not info.is_dir() and not is_hidden(info.filename)]
        times = Counter(info.filename for info in infos)
        return [
            Member(member_name(info), (info.filename,), info.file_size, problem(info, times[info.filename]))
            for info in infos
        ]
    files = [(readable(one.name).removeprefix("./"), one) for one in archive.getmembers() if one.isfile()]
    return [Member(name, (one.name,), one.size, "") for name, one in files if not is_hidden(name)]


def _opened(archive: Archive, stored: str) -> IO[bytes]:
    found = archive.open(stored) if isinstance(archive, zipfile.ZipFile) else archive.extractfile(stored)
    assert found is not None  # it is listed as a file
    return found


def _archive(packed: IO[bytes], name: str) -> tuple[Archive, IO[bytes]]:
    """The archive in a stream of its bytes, and the temporary file that holds it."""
    raw = cast(IO[bytes], tempfile.TemporaryFile())  # noqa: SIM115 -- Containers closes it
    try:
        size = 0
        unpacked = _unpacked(packed, name)
        while piece := unpacked.read(COPY_BYTES):
            size += raw.write(piece)
            if size > ALWAYS_BYTES and size > MOST_TIMES * packed.tell():
                raise zipfile.BadZipFile(f"it unpacks to more than {MOST_TIMES} times its size")
        raw.seek(0)
        return (zipfile.ZipFile(raw) if name.endswith(".zip") else _whole_tar(raw)), raw
    except BaseException:
        raw.close()
        raise


def _whole_tar(raw: IO[bytes]) -> tarfile.TarFile:
    """A tar with the blocks of zeros at its end. Raises ReadError without them."""
    archive = tarfile.TarFile(fileobj=raw)
    archive.getmembers()
    raw.seek(archive.offset)
    if raw.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("the tar ends without its end mark")
    return archive


def _unpacked(packed: IO[bytes], name: str) -> Readable:
    if name.endswith((".gz", ".tgz")):
        return gzip.GzipFile(fileobj=packed)
    if name.endswith(".bz2"):
        return bz2.BZ2File(packed)
    if name.endswith(".xz"):
        return lzma.LZMAFile(packed)
    return Pieces(unpacked_zstd(packed)) if name.endswith(ZSTD) else packed
