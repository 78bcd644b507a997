"""Files into the table, with the ledger and the quarantine: nothing here knows Dagster."""

import csv
import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg

from marketdata_assets.loading import file_ledger, files
from marketdata_assets.loading.file_ledger import FileEntry
from marketdata_assets.loading.states import State
from marketdata_assets.stores import ledger
from marketdata_assets.stores.bookkeeping import Entry, Reject

TABLE = "toy_temperatures"
COLUMNS = (("station", "text", "its name"), ("day", "date", "the local day"), ("celsius", "numeric", "at noon"))
VERSION = "toy-1"


def make_tables(connection: psycopg.Connection) -> None:
    ledger.ensure(connection)
    connection.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} (station text, day date, celsius numeric)")


def delivered(folder: Path) -> dict[str, files.Delivered]:
    """The files `2024-01.csv`, by month."""
    return {one.name.removesuffix(".csv"): one for one in files.everything(folder) if one.name.endswith(".csv")}


def states(connection: psycopg.Connection, folder: Path) -> dict[str, State]:
    """By month, what the ledger says of its file."""
    known = {one.unit: one for one in ledger.entries(connection, TABLE)}
    found = {}
    for month, file in delivered(folder).items():
        entry = known.get(month)
        if entry is None:
            found[month] = State.MISSING
        elif file.identity not in (entry.content_hash, entry.attempted_hash):
            found[month] = State.STALE
        else:
            found[month] = {"ok": State.OK, "empty": State.EMPTY}.get(entry.outcome, State.FAILED)
    return found


def entries(connection: psycopg.Connection, folder: Path) -> list[FileEntry]:
    """The state of every file."""
    known = {one.unit: one for one in ledger.entries(connection, TABLE)}
    found = []
    for file in files.everything(folder):
        entry = known.get(file.name.removesuffix(".csv"))
        record = entry and file_ledger.Recorded(
            entry.attempted_hash or entry.content_hash or "", file_ledger.outcome_of(entry, file.name)
        )
        other = file_ledger.other_suffix(file.name, (".csv",), "temperatures")
        found.append(file_ledger.state_of(file, record, not_taken=other))
    return found


def load(
    connection: psycopg.Connection,
    folder: Path,
    months: Sequence[str],
    run_id: str,
    committed: Callable[[Sequence[str]], None],
    force: bool,
) -> list[Entry]:
    """Load the files of some months, each in a transaction; what is loaded is skipped. The months as they are then."""
    known, found = states(connection, folder), delivered(folder)
    for month in (month for month in months if month in found):
        if force or known[month].outdated:
            _load(connection, found[month], month, run_id)
            connection.commit()
        committed([month])
    return [one for one in ledger.entries(connection, TABLE) if one.unit in months]


def _load(connection: psycopg.Connection, file: files.Delivered, month: str, run_id: str) -> None:
    unit: dict[str, Any] = {"dataset": TABLE, "source": file.name, "unit": month, "code_version": VERSION}
    unit |= {"run_id": run_id, "started": dt.datetime.now(dt.UTC)}
    header, *lines = file.path.read_text().splitlines()
    if header != "station,day,celsius":
        error = f"{file.name}: the columns are {header}; write station,day,celsius"
        ledger.record_failure(connection, Entry(outcome="failed", attempted_hash=file.identity, error=error, **unit))
        return
    good, rejects = [], []
    for number, (line, row) in enumerate(zip(lines, csv.reader(lines), strict=True), 2):
        if row[2].lstrip("-").replace(".", "").isdecimal():
            good.append(row)
        else:
            rejects.append(Reject(number, "celsius is no number", line, month))
    connection.execute(f"DELETE FROM {TABLE} WHERE to_char(day, 'YYYY-MM') = %s", [month])
    connection.cursor().executemany(f"INSERT INTO {TABLE} VALUES (%s, %s, %s)", good)
    ledger.replace_rejects(connection, TABLE, file.name, month, rejects)
    counts = {"read": len(lines), "rows": len(good), "rejected": len(rejects)}
    outcome = "ok" if good else "empty"
    ledger.record(connection, Entry(outcome=outcome, content_hash=file.identity, **counts, **unit))  # type: ignore[arg-type]
