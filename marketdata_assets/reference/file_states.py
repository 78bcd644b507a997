"""What became of each dropped file of reference data, by the ledger: for the sensor, the nightly repair and `status`.

Reading a file is the business of `files`. A table is loaded from all of its files at once, a daily one by months.
"""

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marketdata_assets.loading.file_ledger import (
    FileEntry,
    Recorded,
    outcome_of,
    state_of,
    unsettled,
)
from marketdata_assets.loading.files import everything
from marketdata_assets.reference import files
from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.files import Dropped, ReferenceFiles
from marketdata_assets.reference.tables import DAILY, TABLES
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.stores.clients import Client

if TYPE_CHECKING:
    from marketdata_assets.reference.load import Run

DATASET = "reference_files"


def record(run: "Run", table: str, dropped: Dropped, months: Collection[str] = ()) -> None:
    """Record that the rows of a table's files are loaded: those of `months` of a daily table, else all."""
    before = {load.source: load for load in ledger.entries(run.client, DATASET, [table])}
    if gone := before.keys() - {file.name for file in run.sources.files.of(table)}:
        ledger.forget(run.client, DATASET, gone)
    loads = []
    for rows in dropped.files:
        identity, known = rows.file.identity, before.get(rows.file.name)
        loaded = {*months, *(known.slices if known and known.attempted_hash == identity else ())} & rows.months
        rejected = len(rows.outside)
        count = rows.read - rows.duplicates - rejected - sum(rows.replaced.values())
        counts = {"read": rows.read, "rows": count, "rejected": rejected, "skipped": rows.duplicates}
        facts: dict[str, Any] = {
            "slices": sorted(loaded),
            "origin": json.dumps(rows.replaced),
            "attempted_hash": identity,
            "rejects": rows.outside,
        }
        facts["content_hash"] = identity if loaded == rows.months else None
        outcome = "ok" if count else "empty"
        loads.append(_load(run, rows.file.name, table, outcome, **counts, **facts))
    if loads:
        ledger.record(run.client, loads, ledger.next_version(run.client))


def record_failures(run: "Run", table: str, dropped: Dropped) -> None:
    """Record which files cannot be read, so that nothing of them is loaded, with their first wrong rows."""
    failed = [
        _load(run, file.name, table, "failed", attempted_hash=file.identity, error=str(error), rejects=error.first)
        for file, error in dropped.failed.items()
    ]
    if failed:
        ledger.record_attempts(run.client, failed)


def _load(run: "Run", name: str, table: str, outcome: str, **facts: Any) -> Load:
    return replace(run.attempt(table, name, outcome, **facts), dataset=DATASET, source=name, unit=table)  # type: ignore[arg-type]


def entries(client: Client, folder: Path, waiting: Collection[str] = ()) -> list[FileEntry]:
    """The state of every file in the folder; those that are `waiting` may still be being written."""
    known = {load.source: load for load in ledger.entries(client, DATASET)}
    return [
        state_of(
            file, _recorded(known.get(file.name)), not_taken=files.not_taken(file.name), waiting=file.name in waiting
        )
        for file in everything(folder)
    ]


def _recorded(load: Load | None) -> Recorded | None:
    if load is None:
        return None
    identity = load.attempted_hash if load.outcome == "failed" else load.content_hash
    reason = f"{load.rejected} rows are of no trading day since 2000" if load.rejected else ""
    return Recorded(identity or "", outcome_of(load, load.source, reason, json.loads(load.origin or "{}")))


def due(
    client: Client, folder: Path, known: Collection[str], names: Collection[str] | None = None
) -> tuple[bool, set[str]]:
    """What loads the files that need it, or those of them in `names`: the tables without months, and which months.

    Of a file that cannot be read it is the last of the `known` months, so that a run says why.
    """
    wanted = {one.file for one in unsettled(entries(client, folder)) if names is None or one.file in names}
    listed = [file for file in everything(folder) if file.name in wanted]
    months: set[str] = set()
    for file in listed:
        if files.table_of(file.name) in DAILY:
            dropped = ReferenceFiles(folder).read(TABLES[files.table_of(file.name)], ashares())
            months |= {max(known)} if file in dropped.failed else set()
            months |= {month for one in dropped.files if one.file == file for month in one.months & {*known}}
    return any(files.table_of(file.name) not in DAILY for file in listed), months


def changed(folder: Path) -> dict[str, str]:
    """Size and modification time of the files that a load reads, by name: what the sensor compares."""
    return {file.name: file.identity for file in everything(folder) if not files.not_taken(file.name)}
