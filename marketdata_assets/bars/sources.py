"""Delivered files: which there are, what units each holds, and how a unit's bytes are opened.

Reading what a unit says is in `reading`; deciding what to load is in `plan`.
"""

import gzip
import hashlib
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, cast

from marketdata_assets.bars.errors import BadFile, BadMember
from marketdata_assets.bars.inflate import Member
from marketdata_assets.input_limits import LineTooLong

SUFFIXES = (".zip", ".csv", ".csv.gz")
WHOLE_FILE = "."
NOT_DATA = re.compile(r"(^|/)(__MACOSX/|\.|Thumbs\.db$)|/$|\.(txt|md|pdf|url|docx?)$", re.IGNORECASE)

_YEAR = re.compile(r"(?:^|[^0-9])((?:19|20)\d\d)(?=_1min|\.csv|$)")


@dataclass(frozen=True)
class Source:
    """One delivered file. `name` is relative to the bars folder; `year` is what its name says it holds."""

    path: Path
    name: str
    size: int
    modified_ns: int
    year: int | None

    @property
    def is_zip(self) -> bool:
        return self.path.suffix.lower() == ".zip"


@dataclass(frozen=True)
class Unit:
    """One CSV: a member of a zip, or a loose file. `content_hash` tells its bytes apart without reading them again."""

    source: Source
    name: str
    content_hash: str
    size: int
    year: int | None

    @property
    def place(self) -> str:
        """The unit as a person would write it: `2000_1min.zip!sh600000_2000.csv`."""
        return self.name if self.name == self.source.name else f"{self.source.name}!{self.name}"


def scan(folder: Path) -> list[Source]:
    """The files of `folder` and below that may hold bars, ordered by name; empty when the folder is missing."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.name.lower().endswith(SUFFIXES) or NOT_DATA.search(name) or not path.is_file():
            continue
        stat = path.stat()
        found.append(Source(path, name, stat.st_size, stat.st_mtime_ns, year_of(path.name)))
    return found


def year_of(name: str) -> int | None:
    """The year a file's name announces: `2000_1min.zip`, `sh600000_2000.csv`; None when it announces none."""
    stem = name.lower().removesuffix(".gz").removesuffix(".zip")
    match = _YEAR.search(stem)
    return int(match[1]) if match else None


def units(source: Source) -> tuple[list[Unit], list[tuple[str, str]]]:
    """The units of `source`, and the members that cannot be one, as (name, error).

    A zip is known by its directory alone: CRC-32 and size of each member. Raises BadFile when there is no directory.
    """
    if not source.is_zip:
        try:
            return [Unit(source, source.name, _file_hash(source.path), source.size, source.year)], []
        except OSError as error:
            raise BadFile(source.name, f"cannot be read ({error.strerror})") from error
    try:
        with zipfile.ZipFile(source.path) as archive:
            infos = [info for info in archive.infolist() if not NOT_DATA.search(info.filename)]
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, ValueError, struct.error) as error:
        raise BadFile(
            source.name, f"not a whole zip file ({error}); it looks truncated or still being written"
        ) from error
    if not infos:
        raise BadFile(source.name, "the zip holds no CSV file")
    times = Counter(info.filename for info in infos)
    good: list[Unit] = []
    bad: dict[str, str] = {}
    for info in infos:
        place = f"{source.name}!{info.filename}"
        cause = _unusable(info, times[info.filename])
        if cause:
            bad[info.filename] = str(BadMember(place, cause))
        else:
            year = source.year or year_of(info.filename)
            good.append(Unit(source, info.filename, f"crc32:{info.CRC:08x}:{info.file_size}", info.file_size, year))
    return good, sorted(bad.items())


def _unusable(info: zipfile.ZipInfo, times: int) -> str | None:
    if times > 1:
        return f"the name stands {times} times in the zip, so which one counts is not known"
    if info.flag_bits & 1:
        return "the member is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"the member is compressed by method {info.compress_type}, not by deflate"
    if not info.filename.lower().endswith((".csv", ".csv.gz")):
        return "the member is not a .csv"
    return None


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return "blake2b:" + hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


class Lines(Protocol):
    """What reading a unit needs of a stream."""

    def read(self, size: int, /) -> bytes: ...

    def readline(self, limit: int, /) -> bytes: ...


class Opener:
    """Opens units for reading and keeps the last zip open, since its directory is long."""

    def __init__(self) -> None:
        self._key: tuple[Path, int, int] | None = None
        self._archive: zipfile.ZipFile | None = None

    @contextmanager
    def open(self, unit: Unit) -> Iterator[Lines]:
        """The unit's bytes as a stream; a read of them raises BadMember when they are damaged."""
        try:
            with self._raw(unit) as raw:
                yield gzip.GzipFile(fileobj=cast(IO[bytes], raw)) if unit.name.lower().endswith(".gz") else raw
        except (zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, EOFError, NotImplementedError, KeyError) as error:
            raise BadMember(unit.place, f"damaged: {error}") from error
        except LineTooLong as error:
            raise BadMember(unit.place, f"not a CSV of bars: {error}") from error
        except FileNotFoundError as error:
            raise BadMember(unit.place, "the file was moved away while it was being loaded") from error

    def _raw(self, unit: Unit) -> AbstractContextManager[Lines]:
        if not unit.source.is_zip:
            return unit.source.path.open("rb")
        key = (unit.source.path, unit.source.size, unit.source.modified_ns)
        if self._archive is None or self._key != key:
            self.close()
            self._archive, self._key = zipfile.ZipFile(unit.source.path), key
        info = self._archive.getinfo(unit.name)
        if f"crc32:{info.CRC:08x}:{info.file_size}" != unit.content_hash:
            raise BadMember(unit.place, "the zip was replaced while it was being loaded")
        return nullcontext(Member(cast(IO[bytes], self._archive.fp), info))

    def close(self) -> None:
        """Close the zip that is held open, if any."""
        if self._archive is not None:
            self._archive.close()
            self._archive = None
