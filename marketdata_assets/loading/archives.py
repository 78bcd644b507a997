"""Archives whose members cannot be read in place: tars, packed or not, and archives within archives.

Each is unpacked to a temporary file while its members are read; plain zips are read in place by `files`. Of archives
within archives only those around the member that is read are unpacked at a time. What is larger than any valid archive
is a TooLarge before it is in memory.
"""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Protocol

import zstandard
from isal import isal_zlib
from isal.igzip_lib import IsalError

from marketdata_assets.input_limits import (
    MAX_DIRECTORY_BYTES,
    MAX_MEMBERS,
    MAX_NESTING,
    ZSTD_CHUNK_BYTES,
    TooLarge,
    check_unpacked,
    lines,
)
from marketdata_assets.loading.member_names import UTF8_FLAG, is_hidden, member_name, problem, readable
from marketdata_assets.loading.overwrites import unchanged

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.zstd")
ARCHIVES = (".zip", *TARS)
ZSTD = (".zst", ".zstd")
_LOCAL_HEADER = struct.Struct("<4s2xHH4xIIIHH")
_LOCAL_SIGNATURE = b"PK\x03\x04"
SIZES_FOLLOW = 0x8
"""A flag: sizes and CRC are behind the member, and need not be before it."""
CHUNK_BYTES = 64 * 1024
"""Packed bytes that are inflated at a time; at deflate's best ratio they become 66 MB."""
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zstandard.ZstdError, lzma.LZMAError)
COPY_BYTES = 1024 * 1024
LOCAL_HEADER_BYTES = 30

Archive = zipfile.ZipFile | tarfile.TarFile


class Stream(Protocol):
    """What bytes are read from, such as an open unit."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; none at the end."""


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
def listed(path: Path, size: int, changed_ns: int) -> tuple[Member, ...]:
    """The members that may be data, those of archives within included; `size` and `changed_ns` are the file's now."""
    containers, found, total = Containers(), list[Member](), 0
    try:
        for member in _members(containers, path, (), ""):
            found.append(member)
            total += member.size
            check_unpacked(total, size)
            if len(found) > MAX_MEMBERS:
                raise TooLarge(f"it has more than {MAX_MEMBERS} members; divide it")
    finally:
        containers.close()
    return tuple(found)


class _Whole(io.BufferedReader):
    """The bytes of an archive. Python's readers take a directory, or a name, into memory with one read."""

    def read(self, size: int | None = -1, /) -> bytes:
        limit = MAX_DIRECTORY_BYTES + 1
        found = super().read(limit if size is None or size < 0 else min(size, limit))
        if len(found) == limit:
            raise TooLarge(f"what it says of its members has more than {limit // 1024 // 1024} MB; divide it")
        return found


@contextmanager
def opened_zip(raw: io.RawIOBase | io.BytesIO, packed: int) -> Iterator[zipfile.ZipFile]:
    """A zip, which closes the file; `packed` are the bytes as delivered.

    Raises BadZipFile where two members are the same bytes, TooLarge, and what else zipfile raises.
    """
    with _Whole(raw) as whole, zipfile.ZipFile(whole) as archive:
        end = 0
        for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
            if info.header_offset < end:
                raise zipfile.BadZipFile(f"member {info.filename[:100]!r} overlaps another one")
            end = info.header_offset + LOCAL_HEADER_BYTES + info.compress_size
        if end > archive.start_dir:
            raise zipfile.BadZipFile("its last member overlaps the directory")
        check_unpacked(sum(info.file_size for info in archive.infolist()), packed)
        yield archive


def of_zip(archive: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, str]]:
    """The members that may be data, in the order of the directory, each with why it cannot be opened, if so."""
    infos = [info for info in archive.infolist() if not info.is_dir() and not is_hidden(info.filename)]
    times = Counter(info.filename for info in infos)
    return [(info, problem(info, times[info.filename])) for info in infos]


def inflated(file: IO[bytes], info: zipfile.ZipInfo) -> Iterator[bytes]:
    """A member of an open zip by ISA-L: bytes and CRC check as in `zipfile`, for a third of the CPU."""
    try:
        file.seek(info.header_offset)
    except (OSError, OverflowError) as error:
        raise zipfile.BadZipFile(f"no member can be at {info.header_offset}, where the directory has it") from error
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(_LOCAL_SIGNATURE):
        raise zipfile.BadZipFile("no member at the place the directory names")
    _, flags, method, *sums, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    name = file.read(name_length).decode("utf-8" if flags & UTF8_FLAG else "cp437", "replace")
    known = zip(sums, (info.CRC, info.compress_size, info.file_size), strict=True)
    others = not flags & SIZES_FOLLOW and any(said not in (ours, 0, 0xFFFFFFFF) for said, ours in known)
    if others or method != info.compress_type or name != info.orig_filename:
        raise zipfile.BadZipFile(f"the header before the member is of another one, {name[:100]!r}")
    file.seek(info.header_offset + _LOCAL_HEADER.size + name_length + extra_length)
    inflater = isal_zlib.decompressobj(wbits=-15) if info.compress_type == zipfile.ZIP_DEFLATED else None
    left, size, crc = info.compress_size, 0, 0
    while left:
        raw = file.read(min(CHUNK_BYTES, left))
        if not raw:
            raise zipfile.BadZipFile("the file ends inside the member")
        left -= len(raw)
        try:
            piece = inflater.decompress(raw) if inflater else raw
        except IsalError as error:  # type: ignore[misc]
            raise zipfile.BadZipFile(f"cannot be inflated: {error}") from error
        size += len(piece)
        if size > info.file_size:
            raise zipfile.BadZipFile(f"it has more than the {info.file_size} bytes that the directory says")
        crc = isal_zlib.crc32(piece, crc)
        yield piece
    if size != info.file_size or crc != info.CRC:
        found, expected = f"{crc:08x} and {size} bytes", f"{info.CRC:08x} and {info.file_size}"
        raise zipfile.BadZipFile(f"bad CRC-32: {found}, the directory has {expected}")


class Pieces:
    """Pieces of bytes, one after the other, as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read(self, size: int = -1, /) -> bytes:
        """`size` bytes, fewer only at the end; all that is left when `size` is negative."""
        pieces: list[bytes | memoryview] = [self._rest] if self._rest else []
        length = len(self._rest)
        while (size < 0 or length < size) and (piece := next(self._pieces, None)) is not None:
            pieces.append(piece)
            length += len(piece)
        self._rest = memoryview(b"")
        if 0 <= size < length:  # only the last piece reaches beyond the end, and is cut
            last = memoryview(pieces.pop())
            cut = len(last) - (length - size)
            pieces.append(last[:cut])
            self._rest = last[cut:]
        return b"".join(pieces)


def unpacked_zstd(raw: Stream) -> Iterator[bytes]:
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


def gzip_lines(path: Path) -> Iterator[bytes]:
    """The lines that a gzip file unpacks to. Raises LineTooLong, TooLarge for a bomb, and what gzip raises.

    Python's gzip takes a file of no bytes for one of no lines.
    """
    packed = path.stat().st_size
    if not packed:
        raise EOFError("the file has no bytes, not even gzip's header")
    with gzip.open(path) as file:
        for line in lines(file):
            check_unpacked(file.tell(), packed)
            yield line


class Containers:
    """The archives of one file that are open; close it."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._packed = 0
        self._open: dict[tuple[str, ...], tuple[Archive, ExitStack]] = {}

    def close(self) -> None:
        for within in [*self._open]:
            self._close(within)
        self._path = None

    def member(self, path: Path, within: tuple[str, ...]) -> tuple[IO[bytes], int]:
        """The bytes of the member of that name in the archives of the names before, and how many are packed.

        The caller closes them, and opens no other in the meantime.
        """
        return _opened(self.archive(path, within[:-1]), within[-1])

    def archive(self, path: Path, within: tuple[str, ...]) -> Archive:
        """The archive of a file, or the one at the end of the names `within` it."""
        if self._path != path:
            self.close()
            self._path, self._packed = path, path.stat().st_size
        if within not in self._open:
            if len(within) > MAX_NESTING:
                raise TooLarge(f"it has archives within more than {MAX_NESTING} archives; unpack them")
            packed = self.member(path, within)[0] if within else path.open("rb")
            for other in [one for one in self._open if one != within[: len(one)]]:
                self._close(other)
            with packed, nullcontext() if within else unchanged(path.name, packed.fileno()):
                name = (within[-1] if within else path.name).lower()
                self._open[within] = _archive(packed, name, self._packed)
        return self._open[within][0]

    def _close(self, within: tuple[str, ...]) -> None:
        self._open.pop(within)[1].close()


def _members(containers: Containers, path: Path, within: tuple[str, ...], prefix: str) -> Iterator[Member]:
    for member in _directory(containers.archive(path, within)):
        inside = (*within, *member.within)
        if is_archive(member.name) and not member.problem:
            yield from _members(containers, path, inside, f"{prefix}{member.name}!")
        else:
            yield Member(prefix + member.name, inside, member.size, member.problem)


def _directory(archive: Archive) -> list[Member]:
    if isinstance(archive, zipfile.ZipFile):
        found = of_zip(archive)
        return [Member(member_name(info), (info.filename,), info.file_size, cause) for info, cause in found]
    files = [(readable(one.name).removeprefix("./"), one) for one in archive.getmembers() if one.isfile()]
    return [Member(name, (one.name,), one.size, "") for name, one in files if not is_hidden(name)]


def _opened(archive: Archive, stored: str) -> tuple[IO[bytes], int]:
    if isinstance(archive, zipfile.ZipFile):
        return archive.open(stored), archive.getinfo(stored).compress_size
    found = archive.extractfile(stored)
    assert found is not None  # it is listed as a file
    return found, archive.getmember(stored).size


def _archive(packed: IO[bytes], name: str, delivered: int) -> tuple[Archive, ExitStack]:
    """The archive in a stream of its bytes, and what closes it with its copy; the file has `delivered` bytes."""
    with ExitStack() as stack:
        raw = stack.enter_context(tempfile.TemporaryFile(buffering=0))
        size = 0
        unpacked = _unpacked(packed, name)
        while piece := unpacked.read(COPY_BYTES):
            size += len(piece)
            check_unpacked(size, delivered)
            while piece:
                piece = piece[raw.write(piece) :]
        raw.seek(0)
        whole = opened_zip if name.endswith(".zip") else _whole_tar
        archive: AbstractContextManager[Archive] = whole(raw, delivered)
        return stack.enter_context(archive), stack.pop_all()


@contextmanager
def _whole_tar(raw: io.FileIO, delivered: int) -> Iterator[tarfile.TarFile]:
    """A tar with the blocks of zeros at its end. Raises ReadError without them, and TooLarge."""
    with _Whole(raw) as whole, tarfile.TarFile(fileobj=whole) as archive:
        said = size = 0
        for member in archive:
            said += len(member.name) + sum(map(len, member.pax_headers.values()))
            size += member.size
            check_unpacked(size, delivered)
            if said > MAX_DIRECTORY_BYTES or len(archive.members) > MAX_MEMBERS:  # type: ignore[attr-defined]
                raise TooLarge(f"it has more than {MAX_MEMBERS} members, or their names are longer than any; divide it")
        whole.seek(archive.offset)
        if whole.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("the tar ends without its end mark")
        yield archive


def _unpacked(packed: IO[bytes], name: str) -> Stream:
    if name.endswith((".gz", ".tgz")):
        return gzip.GzipFile(fileobj=packed)
    if name.endswith(".bz2"):
        return bz2.BZ2File(packed)
    if name.endswith(".xz"):
        return lzma.LZMAFile(packed)
    return Pieces(unpacked_zstd(packed)) if name.endswith(ZSTD) else packed
