"""A folder with one Parquet file for each unit, named by the unit: readers glob `*.parquet`.

A file is complete from the moment it has its name, and replaces the earlier one of its unit atomically. What is being
written has a name that begins with a dot and ends otherwise.
"""

import hashlib
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from marketdata_assets.flows.definition import Target
from marketdata_assets.flows.frames import FrameSpool, schema
from marketdata_assets.state_files import replacing

SUFFIX = ".parquet"
UNFINISHED = ".unfinished"
SAFE = "-_.!+,()"
LONGEST = 200
"""Bytes of a name: file systems take 255."""


@dataclass(frozen=True)
class ParquetFolder:
    """The files of one flow in `folder`, which has no others."""

    folder: Path
    target: Target

    def exists(self) -> bool:
        return self.folder.is_dir()

    def ensure(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def has_leftovers(self) -> bool:
        return any(self.folder.glob(f".*{UNFINISHED}"))

    def clean(self) -> None:
        for file in self.folder.glob(f".*{UNFINISHED}"):
            file.unlink(missing_ok=True)

    def drift(self) -> list[str]:
        declared = schema(self.target)
        return [
            f"{file.name} has other columns or types than declared; deliver its file again, or forget it"
            for file in self._files()
            if pl.read_parquet_schema(file) != declared
        ]

    def tokens(self, units: Collection[str]) -> dict[str, str]:
        found = {}
        for unit in units:
            try:
                found[unit] = _token(self.file_of(unit))
            except FileNotFoundError:
                continue
        return found

    def put(self, unit: str, rows: FrameSpool | None) -> str:
        file = self.file_of(unit)
        partial = self.folder / f".{secrets.token_hex(8)}{UNFINISHED}"
        frame = schema(self.target).to_frame().lazy() if rows is None else rows.rows()
        try:
            with replacing(file, partial):
                frame.sink_parquet(partial)
        finally:
            partial.unlink(missing_ok=True)
        return _token(file)

    def remove(self, unit: str) -> None:
        self.file_of(unit).unlink(missing_ok=True)

    def rows_of_units(self, units: Collection[str]) -> tuple[dict[str, int], int]:
        counts = {file: _row_count(file) for file in self._files()}
        known = {unit: counts.pop(self.file_of(unit), 0) for unit in units}
        return known, sum(counts.values())

    def holders(self) -> list[tuple[str, str | None, int]]:
        return []  # it has no mode upsert

    def rows(self, columns: Sequence[str]) -> pl.LazyFrame:
        declared = schema(self.target)
        files = [file for file in self._files() if pl.read_parquet_schema(file) == declared]
        found = pl.scan_parquet(files, glob=False) if files else declared.to_frame().lazy()
        return found.select(columns)

    def row_count(self) -> int:
        return sum(map(_row_count, self._files()))

    def file_of(self, unit: str) -> Path:
        """The file of a unit."""
        return self.folder / f"{file_name(unit)}{SUFFIX}"

    def _files(self) -> list[Path]:
        files = self.folder.glob(f"*{SUFFIX}")  # of none, where the folder does not exist
        return sorted(file for file in files if not file.name.startswith("."))


def file_name(unit: str) -> str:
    """The name of a unit's file, without the suffix: different for different units, and no path.

    Letters and digits stay, also Chinese ones; others are written as in URLs. A leading dot or underscore would hide
    the file from readers.
    """
    name = "".join(
        char if char.isalnum() or (char in SAFE and (number or char not in "._")) else _escaped(char)
        for number, char in enumerate(unit)
    )
    if len(name.encode()) <= LONGEST:
        return name
    digest = hashlib.blake2b(unit.encode(), digest_size=12).hexdigest()
    return f"{name.encode()[: LONGEST - len(digest) - 1].decode(errors='ignore')}~{digest}"


def _escaped(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode())


def _row_count(file: Path) -> int:
    return int(pl.scan_parquet(file, glob=False).select(pl.len()).collect().item())


def _token(file: Path) -> str:
    found = file.stat()
    return f"{found.st_size}:{found.st_mtime_ns}"
