"""The files of the alphas folder: listed, locked and replaced atomically, and the lines of packages."""

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path

import zstandard

from marketdata_assets import state_files
from marketdata_assets.input_limits import MAX_LINE_BYTES, LineTooLong, lines
from marketdata_assets.loading.archives import unpacked_zstd
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import Delivered, Unit, units_of
from marketdata_assets.loading.member_names import is_documentation
from marketdata_assets.loading.overwrites import unchanged
from marketdata_assets.state_files import replacing

PLAIN, ZSTD = ".ndjson", ".ndjson.zst"
CHUNK_BYTES = 1 << 20
JSON, ZIP = (".json", ".json.gz"), ".zip"

_PACKAGE = re.compile(r"(\d{4}-\d\d-\d\d)\.ndjson(\.zst)?")


def read_package(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number, from 1, and bytes of each line that is not blank; BadFile where the file cannot be read to its end."""
    for number, line in enumerate(lines_of(path), 1):
        if text := line.strip():
            yield number, text


def day_of(path: Path) -> dt.date | None:
    """The UTC day of a package by its name; None when it is another file."""
    match = _PACKAGE.fullmatch(path.name)
    try:
        return dt.date.fromisoformat(match[1]) if match else None
    except ValueError:
        return None


def lines_of(path: Path) -> Iterator[bytes]:
    """Lines with their newlines. Raises BadFile."""
    check_regular(path)
    try:
        if path.suffix != ".zst":
            with path.open("rb", CHUNK_BYTES) as file, unchanged(str(path), file.fileno()):
                yield from lines(file)
            return
        with path.open("rb") as file, unchanged(str(path), file.fileno()):
            yield from _split(unpacked_zstd(file))
    except OSError as error:
        raise BadFile(str(path), error.strerror or str(error)) from error
    except zstandard.ZstdError as error:
        raise BadFile(str(path), f"damaged zstd file ({error})") from error
    except LineTooLong as error:
        raise BadFile(str(path), str(error)) from error


def check_regular(path: Path) -> None:
    """Raise BadFile for what is no file, such as a pipe, on which a reader would wait."""
    if not path.is_file():
        raise BadFile(str(path), "not a regular file, or a link to nothing")


def holds(path: Path, lines: Iterable[bytes]) -> bool:
    """Whether a file has exactly these lines; false when it does not exist."""
    return path.is_file() and all(old == new for old, new in zip_longest(lines_of(path), lines))


def write(path: Path, lines: Iterable[bytes]) -> None:
    """Replace a package by `lines`."""
    with replacing(path, path.with_name(f".{path.name}.partial")) as file:
        file.writelines(lines)


@lru_cache(maxsize=1000)
def members_of(file: Delivered) -> tuple[Unit, ...]:
    """The members of a zip of raw files, but for its documentation. Raises BadFile."""
    units = tuple(unit for unit in units_of(file) if not is_documentation(unit.member))
    for unit in units:
        if not unit.member.lower().endswith(JSON):
            raise BadFile(unit.place, f"not a *{' or *'.join(JSON)} file; take it out of the zip")
    return units


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, waiting for other processes. The lock file is never removed, or two could hold it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with state_files.opened(folder.parent / f".{folder.name}.lock") as file:
        state_files.lock(file)
        yield


def _split(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of consecutive pieces of bytes, with their newlines. Raises LineTooLong."""
    rest, number = b"", 1
    for piece in pieces:
        *complete, rest = (rest + piece).split(b"\n")
        for line in complete:
            yield line + b"\n"
        number += len(complete)
        if len(rest) > MAX_LINE_BYTES:
            raise LineTooLong(number)
    if rest:
        yield rest
