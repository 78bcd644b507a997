"""Which files an export of records has written, and what each was made of."""

import datetime as dt
from pathlib import Path

import msgspec

from marketdata_assets.export.folder import write_bytes

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
        kind = dict[str, Entry]
        self.entries = msgspec.json.decode(self._file.read_bytes(), type=kind) if self._file.exists() else kind()

    def put(self, path: str, entry: Entry) -> None:
        self.entries[path] = entry
        self._write()

    def remove(self, path: str) -> None:
        del self.entries[path]
        self._write()

    def _write(self) -> None:
        write_bytes(self._file, msgspec.json.encode(self.entries))
