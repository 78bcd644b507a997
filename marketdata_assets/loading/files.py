"""Delivered files: finding them, listing the members of zips, and opening both as streams of bytes.

What a failing stream raises is a BadFile with the file's place and the cause. What the bytes mean is decided elsewhere.
"""

import errno
import gzip
import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from io import FileIO
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import IO, Literal, cast

from marketdata_assets.errors import MarketDataError
from marketdata_assets.input_limits import MAX_DOCUMENT_BYTES, LineTooLong, TooLarge, check_unpacked
from marketdata_assets.loading.archives import (
    COPY_BYTES,
    DAMAGED,
    ZSTD,
    Containers,
    Pieces,
    Stream,
    inflated,
    is_archive,
    listed,
    of_zip,
    opened_zip,
    unpacked_zstd,
)
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.member_names import is_hidden, member_name, readable
from marketdata_assets.loading.overwrites import unchanged

EVERY_FILE = "**/*"
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
FORBIDDEN = (errno.EACCES, errno.EPERM)
READABLE = 0o444  # by everyone: no further check


Kind = Literal["file", "folder", "unlisted", "other"]
Listed = tuple[str, str, int, int, str, Kind, int]
"""The fields of a `Delivered`, of which there may be a hundred thousand."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A file as a listing found it, or what else there is. `name` is relative to the folder, with slashes, and always
    printable; `problem` says why it cannot be read, as far as a listing shows.

    `unlisted` is what could not be scanned now, such as on a disk that fails, `other` a pipe or a link to nothing.
    `changed_ns` is when anything of it changed, at the latest: a copy that keeps the modification time cannot set it.
    """

    name: str
    location: str
    size: int = 0
    modified_ns: int = 0
    problem: str = ""
    kind: Kind = "file"
    changed_ns: int = 0

    @property
    def path(self) -> Path:
        return Path(self.location)

    @property
    def identity(self) -> str:
        """Size, modification time and last change, one of which changes with the content."""
        return f"{self.size}:{self.modified_ns}:{self.changed_ns}"

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, or may be one, of which is not known what is in it."""
        return self.kind in ("folder", "unlisted")

    @property
    def is_zip(self) -> bool:
        return self.location.lower().endswith(".zip")


@dataclass(frozen=True)
class Unit:
    """What is read as one: a file, or a member of a zip.

    `member` is the readable name inside the zip, `stored` the name as Python's zipfile has it; both are empty for a
    file. `size` is unpacked for members. `checksum` identifies the content: a member's (`crc32:<hex>:<size>`) is that
    of the zip's directory, a file's is empty unless the caller has taken one.
    `problem` says why it cannot be opened at all, and `remedy` what to do if not to deliver it again. `within` are the
    stored names of the archives around a member of a tar or of an archive within an archive, from the outermost on, and
    its own; others are read in place.
    """

    file: Delivered
    member: str = ""
    stored: str = ""
    size: int = 0
    checksum: str = ""
    problem: str = ""
    remedy: str = ""
    within: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The member's name, or the file's."""
        return self.member or self.file.name

    @property
    def place(self) -> str:
        """The unit as a person would write it: `2000_1min.zip!sh600000_2000.csv`."""
        return f"{self.file.name}!{self.member}" if self.member else self.file.name


def file_at(path: Path, name: str = "") -> Delivered:
    """A single file, under its own name or another. Raises OSError."""
    stat = path.stat()
    return Delivered(name or path.name, str(path), stat.st_size, stat.st_mtime_ns, changed_ns=_changed(stat))


def _changed(stat: os.stat_result) -> int:
    """The later of both times: not every file system has that of a change."""
    return max(stat.st_mtime_ns, stat.st_ctime_ns)


def everything(folder: Path) -> list[Delivered]:
    """Every entry below `folder` but folders, by name; none where the folder is missing.

    Only hidden entries and what operating systems add (`__MACOSX`, `Thumbs.db`) are left out. Links to files are
    followed; links to folders, links to nothing, pipes, and folders and files without permission are listed with their
    problem.
    """
    return [Delivered(*found) for found in sorted(_below(str(folder), "", lambda name: True))]


def walk(
    folder: Path, patterns: Sequence[str] = (EVERY_FILE,), keep: Callable[[str], bool] = lambda name: True
) -> list[Delivered]:
    """The files of `everything` that match one of the glob patterns, and `keep` by name."""
    found = [Delivered(*file) for file in sorted(below(folder, keep))]
    return found if EVERY_FILE in patterns else [file for file in found if matches(file.name, patterns)]


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a relative name matches one of the glob patterns, in any case of letters."""
    parts = name.lower().split("/")
    return any(_matches(parts, pattern.lower().split("/")) for pattern in patterns)


def below(folder: Path, keep: Callable[[str], bool] = lambda name: True) -> Iterator[Listed]:
    """The files alone, in no order, as they are found. Raises OSError where one cannot be scanned now."""
    for found in _below(str(folder), "", keep):
        if found[5] == "unlisted":
            raise OSError(f"{found[1]}: {found[4]}")
        if found[5] == "file":
            yield found


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[at:], pattern[1:]) for at in range(len(parts)))
    if pattern[0] == ".":
        return _matches(parts, pattern[1:])
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _below(folder: str, prefix: str, keep: Callable[[str], bool]) -> Iterator[Listed]:
    try:
        with os.scandir(folder) as listed:
            children = [child for child in listed if not is_hidden(child.name)]
    except OSError as error:
        if error.errno not in GONE:  # deleted since it was listed, or never there
            kind: Kind = "folder" if error.errno in FORBIDDEN else "unlisted"
            yield readable(prefix.rstrip("/")) or ".", folder, 0, 0, _cause(error, "the folder"), kind, 0
        return
    for child in children:
        if child.is_dir(follow_symlinks=False):
            yield from _below(child.path, f"{prefix}{child.name}/", keep)
        elif keep(name := readable(prefix + child.name)) and (found := _found(child, name)):
            yield found


def _found(child: os.DirEntry[str], name: str) -> Listed | None:
    """One entry that is no folder; None when it is gone since it was listed."""
    try:
        stat = child.stat()
    except OSError as error:
        if error.errno in (*GONE, errno.ELOOP) and child.is_symlink():
            return name, child.path, 0, 0, "a link to nothing: deliver the file that it names, or delete it", "other", 0
        if error.errno in GONE:
            return None
        of: Kind = "other" if error.errno in FORBIDDEN else "unlisted"
        return name, child.path, 0, 0, _cause(error, "the file"), of, 0
    kind: Kind = "folder" if S_ISDIR(stat.st_mode) else "file" if S_ISREG(stat.st_mode) else "other"
    if kind == "folder":
        problem = "a link to a folder, which is not followed: move the files here"
    elif kind == "other":
        problem = "not a regular file: deliver it as a file"
    elif stat.st_mode & READABLE != READABLE and not os.access(child.path, os.R_OK):
        problem = "no permission to read the file: grant it with chmod or chown"
    else:
        problem = ""
    return name, child.path, stat.st_size, stat.st_mtime_ns, problem, kind, _changed(stat)


def _cause(error: OSError, what: str) -> str:
    if error.errno in FORBIDDEN:
        return f"no permission to read {what}: grant it with chmod or chown"
    return f"{what} cannot be read ({error.strerror or error})"


def members(file: Delivered) -> list[Unit]:
    """The members of a zip that may be data, in its order. Raises BadFile when it has no readable directory.

    A member that cannot be opened (encrypted, there twice, unknown compression) is listed with its `problem`.
    """
    try:
        with file.path.open("rb", 0) as raw, opened_zip(raw, file.size) as archive:
            found = of_zip(archive)
    except TooLarge as error:
        raise BadFile(file.name, str(error)) from error
    except Exception as error:  # whatever zipfile raises for bytes that are no zip
        raise BadFile(
            file.name, f"not a whole zip file ({error}); it looks truncated or still being written"
        ) from error
    return [
        Unit(file, member_name(info), info.filename, info.file_size, _checksum(info), cause) for info, cause in found
    ]


def _checksum(info: zipfile.ZipInfo) -> str:
    return f"crc32:{info.CRC:08x}:{info.file_size}"


def units_of(file: Delivered) -> list[Unit]:
    """What is read of a file: itself, or the members of a zip or tar, those of archives within included.

    Raises BadFile when it is an archive that cannot be listed.
    """
    if not is_archive(file.path.name):
        return [Unit(file, size=file.size)]
    if file.is_zip:
        found = members(file)
        if not any(is_archive(unit.member) for unit in found):
            return found
    with naming_failures(file.name):
        return [
            Unit(file, one.name, "!".join(one.within), one.size, problem=one.problem, within=one.within)
            for one in listed(file.path, file.size, file.changed_ns or file.modified_ns)
        ]


class Opener:
    """Opens units one after another and keeps the last zip open, since reading its directory takes time."""

    def __init__(self) -> None:
        self._file: Delivered | None = None
        self._archive: zipfile.ZipFile | None = None
        self._held = ExitStack()
        self._containers = Containers()

    def __enter__(self) -> "Opener":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def open(self, unit: Unit) -> Iterator[Stream]:
        """The unit's bytes, unpacked (`.gz` and `.zst` as well). Opening and each read raise BadFile."""
        with ExitStack() as stack:
            with naming_failures(unit.place):
                file = None if unit.member or unit.problem else stack.enter_context(unit.file.path.open("rb", 0))
                if file is not None:
                    stack.enter_context(unchanged(unit.place, file.fileno()))
                stream, packed = self._open(unit, file, stack)
            yield _NamedStream(unit.place, stream, packed)

    def close(self) -> None:
        """Close the archives that are held open, if any."""
        self._containers.close()
        self._held.close()
        self._archive = self._file = None

    def _open(self, unit: Unit, file: FileIO | None, stack: ExitStack) -> tuple[Stream, int]:
        if unit.problem:
            raise BadFile(unit.place, unit.problem, unit.remedy)
        raw, packed = self._open_member(unit, stack) if file is None else (file, os.fstat(file.fileno()).st_size)
        name = unit.name.lower()
        if name.endswith(".gz"):
            return gzip.GzipFile(fileobj=cast(IO[bytes], raw)), packed
        if name.endswith(ZSTD):
            return Pieces(unpacked_zstd(raw)), packed
        return raw, packed

    def _open_member(self, unit: Unit, stack: ExitStack) -> tuple[Stream, int]:
        if unit.within:
            member, packed = self._containers.member(unit.file.path, unit.within)
            return stack.enter_context(member), packed
        if self._archive is None or self._file != unit.file:
            self.close()
            with ExitStack() as opening:
                raw = opening.enter_context(unit.file.path.open("rb", 0))
                self._archive = opening.enter_context(opened_zip(raw, unit.file.size))
                self._held = opening.pop_all()
            self._file = unit.file
        info = self._archive.getinfo(unit.stored)
        if _checksum(info) != unit.checksum:
            raise BadFile(unit.place, "the zip was replaced while it was being loaded")
        if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return Pieces(inflated(cast(IO[bytes], self._archive.fp), info)), info.compress_size
        return stack.enter_context(self._archive.open(info)), info.compress_size


def file_hash(file: Delivered) -> str:
    """`blake2b:<hex>` of the file's bytes, without unpacking. Raises BadFile."""
    with naming_failures(file.name), file.path.open("rb") as stream, unchanged(file.name, stream.fileno()):
        return "blake2b:" + hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


class HashedStream:
    """A stream that hashes what is read from it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._hash = hashlib.blake2b(digest_size=16)

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._stream.read(size)
        self._hash.update(chunk)
        return chunk

    @property
    def content_hash(self) -> str:
        """`blake2b:<hex>` of the bytes read so far."""
        return f"blake2b:{self._hash.hexdigest()}"


@contextmanager
def naming_failures(place: str) -> Iterator[None]:
    """Turn whatever a file makes its readers raise into BadFile, except errors that have a name already."""
    try:
        yield
    except FileNotFoundError as error:
        raise BadFile(place, "the file was moved away while it was being loaded") from error
    except LineTooLong as error:
        raise BadFile(place, f"not a text file: {error}") from error
    except TooLarge as error:
        raise BadFile(place, str(error)) from error
    except MarketDataError:
        raise
    except (*DAMAGED, zlib.error, gzip.BadGzipFile, EOFError, LookupError, struct.error) as error:
        raise BadFile(place, f"damaged: {error}") from error
    except Exception as error:  # whatever readers of files and archives raise for bytes that are none
        raise BadFile(place, f"cannot be read ({str(error) or type(error).__name__})") from error


def document(stream: Stream, place: str, remedy: str) -> bytes:
    """All bytes of what has to be in memory as a whole. Raises BadFile for more than MAX_DOCUMENT_BYTES."""
    data = stream.read(MAX_DOCUMENT_BYTES + 1)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise BadFile(place, f"it has more than {MAX_DOCUMENT_BYTES // 1024 // 1024} MB, unpacked; {remedy}")
    return data


class _NamedStream:
    """A stream whose failures are BadFile, one of them that it is a decompression bomb of `packed` bytes."""

    def __init__(self, place: str, stream: Stream, packed: int) -> None:
        self._place = place
        self._stream = stream
        self._packed = packed
        self._unpacked = 0

    def read(self, size: int = -1, /) -> bytes:
        with naming_failures(self._place):
            if size < 0:
                return b"".join(iter(partial(self._piece, COPY_BYTES), b""))
            return self._piece(size)

    def _piece(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self._unpacked += len(piece)
        check_unpacked(self._unpacked, self._packed)
        return piece
