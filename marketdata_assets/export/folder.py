"""The folder of an export: what kind of data it has, who writes it now, and what became of its files."""

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from marketdata_assets import state_files
from marketdata_assets.errors import TerminalError, TransientError
from marketdata_assets.progress import report
from marketdata_assets.state_files import SHARED

FORMAT = 1
KIND = ".export.json"
LOCK = ".export.lock"


@dataclass(frozen=True)
class Report:
    """What an export did; `failed` has the cause by stock or file. `rows` and `bytes` are of the written files."""

    written: int = 0
    unchanged: int = 0
    removed: int = 0
    rows: int = 0
    bytes: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)

    def __add__(self, other: "Report") -> "Report":
        return Report(
            self.written + other.written,
            self.unchanged + other.unchanged,
            self.removed + other.removed,
            self.rows + other.rows,
            self.bytes + other.bytes,
            {**self.failed, **other.failed},
        )


@dataclass
class Tally:
    """What an export has done so far, of so many files or stocks; its owner has it also when the export ends early."""

    report: Report = field(default_factory=Report)
    total: int = 0
    reached: int = 0
    _turn: Lock = field(default_factory=Lock)

    def add(self, done: Report, *, of: str = "") -> None:
        """Count what was done, and `of` it as one that was reached."""
        with self._turn:
            self.report += done
            if of:
                self.reached += 1
                report(self.reached, self.total, of)


@contextmanager
def exclusive(folder: Path, form: str, kind: Mapping[str, Any]) -> Iterator[None]:
    """Hold the folder for an export of this kind. Raises TerminalError if it has another, TransientError during one."""
    folder.mkdir(parents=True, exist_ok=True)
    with state_files.opened(folder / LOCK) as file:
        if not state_files.lock(file, wait=False):
            by = state_files.holder_of(folder / LOCK)
            raise TransientError(f"another export to {folder} is in progress, of {by}; try again when it has ended")
        _check_kind(folder, {"format": FORMAT, "form": form, **kind})
        yield


def each(names: Collection[str], export: Callable[[str], Report], workers: int, tally: Tally) -> Report:
    """What an export of some stocks did, so many of them at once, with progress. After an error no other one begins."""
    tally.total += len(names)
    with ThreadPoolExecutor(workers) as pool:
        work = [pool.submit(copy_context().run, lambda name=name: tally.add(export(name), of=name)) for name in names]
        try:
            for one in work:
                one.result()
        finally:
            pool.shutdown(cancel_futures=True)
    return tally.report


def _check_kind(folder: Path, wanted: dict[str, Any]) -> None:
    content = msgspec.json.encode(wanted)
    path = folder / KIND
    if not path.exists():
        state_files.write(path, content, SHARED)
    elif path.read_bytes() != content:
        raise TerminalError(
            f"{folder} has an export of {path.read_text('utf-8')}; export {content.decode()} to another folder,"
            " or delete this one"
        )


NAME = ".versions.json"


class Entry(msgspec.Struct, frozen=True):
    """One file: the records in it, and a fingerprint of them. `type` is empty where a file has several."""

    version: str
    type: str
    exchange: str
    market_type: str
    instrument: str
    date: dt.date


class Manifest:
    """The entries of a folder, by path below it. Every change is written at once."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / NAME
        known = state_files.read(self._file, msgspec.json.Decoder(dict[str, Entry]).decode)
        self.entries = known if known is not None else {}

    def put(self, path: str, entry: Entry) -> None:
        self.entries[path] = entry
        self._write()

    def remove(self, path: str) -> None:
        del self.entries[path]
        self._write()

    def _write(self) -> None:
        state_files.write(self._file, msgspec.json.encode(self.entries), SHARED)
