"""Take a wrong file back: its rows leave, those that they replaced are due again, and it is not loaded again.

It is again when its content changes, when a load is forced, or when it is remembered.
"""

from dataclasses import dataclass
from pathlib import Path

import psycopg

from marketdata_assets.bars import coverage
from marketdata_assets.bars.coverage import Provider
from marketdata_assets.bars.layout import scan, units
from marketdata_assets.bars.schema import DATASET
from marketdata_assets.bars.unit import take_back
from marketdata_assets.loading.errors import CannotForget
from marketdata_assets.stores import ledger


@dataclass(frozen=True)
class Forgotten:
    """A forgotten file: rows deleted, the months whose rows changed, and those of which rows of older files are due."""

    file: str
    rows: int
    months: tuple[str, ...]
    due: tuple[str, ...]


def forget(connection: psycopg.Connection, folder: Path, file: str, run_id: str) -> Forgotten:
    """Delete all that is loaded of `file`, all or nothing; what it replaced is loaded by the next run of those months.

    The file need not be in `folder` any more. Raises CannotForget.
    """
    present = {one.name: one for one in scan(folder)}
    hashes = {unit.name: unit.checksum for unit in units(present[file])} if file in present else {}
    with connection.transaction():
        coverage.lock(connection, None)
        known = {entry.unit: entry for entry in ledger.entries(connection, DATASET, [file])}
        if not hashes and all(entry.outcome == "removed" for entry in known.values()):
            names = {*present, *(one.source for one in ledger.loaded(connection, DATASET) if one.outcome != "removed")}
            raise CannotForget.unknown("bars", file, folder, names)
        months, due = set[str](), set[str]()
        for unit in sorted(hashes.keys() | known.keys()):
            was = known.get(unit)
            taken = hashes.get(unit) or (was.content_hash or was.attempted_hash if was else None)
            changed, again = take_back(connection, Provider(file, unit, 0), was, "forgotten", run_id, taken)
            months |= changed
            due |= {month for (source, _), own in again.items() if source != file for month in own}
    return Forgotten(file, sum(entry.rows for entry in known.values()), tuple(sorted(months)), tuple(sorted(due)))


def undo(connection: psycopg.Connection, file: str) -> None:
    """Let the next run load a forgotten file again. Raises CannotForget."""
    forgotten = "UPDATE marketdata_ledger SET outcome = 'removed', attempted_hash = NULL WHERE outcome = 'forgotten'"
    with connection.transaction():
        done = connection.execute(f"{forgotten} AND (dataset, source) = (%s, %s)", [DATASET, file])
        if not done.rowcount:
            names = {one.source for one in ledger.loaded(connection, DATASET) if one.outcome == "forgotten"}
            raise CannotForget.remembered("bars", file, names)
