"""The files of packages: found, read and replaced atomically. Their content is built in `packaging`."""

import datetime as dt
import fcntl
import os
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

import zstandard

from marketdata_assets.alphas import layout
from marketdata_assets.alphas.layout import Kind
from marketdata_assets.input_limits import MAX_LINE_BYTES, ZSTD_CHUNK_BYTES, LineTooLong, lines
from marketdata_assets.loading.errors import BadFile

PLAIN, ZSTD = ".ndjson", ".ndjson.zst"
LEVEL = 3
CHUNK_BYTES = 1 << 20

_PACKAGE = re.compile(r"(\d{4}-\d\d-\d\d)\.ndjson(\.zst)?")


def read_package(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number, from 1, and bytes of each line that is not blank; BadFile where the file cannot be read to its end."""
    for number, line in enumerate(lines_of(path), 1):
        if text := line.strip():
            yield number, text


def list_packages(root: Path, account: str, kind: Kind, months: Collection[str] | None = None) -> list[Path]:
    """The packages on disk, oldest day first; a day has two while a switch to or from zstd is not finished."""
    folder = layout.packages_folder(root, account, kind, "")
    wanted = sorted(months) if months is not None else _names(folder)
    paths = [folder / month / name for month in wanted for name in _names(folder / month)]
    return [path for path in paths if (day := day_of(path)) and f"{day:%Y-%m}" == path.parent.name]


def day_of(path: Path) -> dt.date | None:
    """The UTC day of a package by its name; None when it is another file."""
    match = _PACKAGE.fullmatch(path.name)
    try:
        return dt.date.fromisoformat(match[1]) if match else None
    except ValueError:
        return None


def lines_of(path: Path) -> Iterator[bytes]:
    """Lines with their newlines."""
    try:
        if path.suffix != ".zst":
            with path.open("rb", CHUNK_BYTES) as file:
                yield from lines(file)
            return
        rest, number = b"", 1
        for chunk in _unpacked(path):
            *complete, rest = (rest + chunk).split(b"\n")
            for line in complete:
                yield line + b"\n"
            number += len(complete)
            if len(rest) > MAX_LINE_BYTES:
                raise LineTooLong(number)
        if rest:
            yield rest
    except OSError as error:
        raise BadFile(str(path), error.strerror or str(error)) from error
    except zstandard.ZstdError as error:
        raise BadFile(str(path), f"damaged zstd file ({error})") from error
    except LineTooLong as error:
        raise BadFile(str(path), str(error)) from error


def holds(path: Path, lines: Iterable[bytes]) -> bool:
    """Whether a file has exactly these lines; false when it does not exist."""
    return path.exists() and all(old == new for old, new in zip_longest(lines_of(path), lines))


def write(path: Path, lines: Iterable[bytes]) -> None:
    """Replace `path` atomically by `lines`: after a crash it is the old file, or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb", CHUNK_BYTES) as file:
        if path.suffix == ".zst":
            with zstandard.ZstdCompressor(LEVEL, write_checksum=True).stream_writer(file, closefd=False) as compressed:
                for line in lines:
                    compressed.write(line)
        else:
            file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    _sync(path.parent)


def sweep(folder: Path) -> None:
    """Remove partial files of killed processes."""
    for path in folder.glob(".*.partial"):
        path.unlink()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, waiting for other processes. The lock file is never removed, or two could hold it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unpacked(path: Path) -> Iterator[bytes]:
    frame = zstandard.ZstdDecompressor().decompressobj()
    with path.open("rb") as file:
        while chunk := file.read(ZSTD_CHUNK_BYTES):
            while chunk:
                if frame.eof:
                    frame = zstandard.ZstdDecompressor().decompressobj()
                yield frame.decompress(chunk)
                chunk = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise BadFile(str(path), "the zstd file is cut off")


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
