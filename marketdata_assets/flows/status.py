"""What a flow's table has, and what its files and the ledger say about it. Nothing is loaded here."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from marketdata_assets.flows import new_columns, run, storage
from marketdata_assets.flows.alterations import Alteration
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.new_columns import NewColumn
from marketdata_assets.flows.owners import REPEATED
from marketdata_assets.flows.targets import contents
from marketdata_assets.flows.targets.contents import Holder
from marketdata_assets.loading.file_ledger import NAMED, FileEntry, FileState, Recorded, state_of
from marketdata_assets.loading.files import Unit, everything, matches
from marketdata_assets.loading.reports import and_more
from marketdata_assets.stores import ledger
from marketdata_assets.stores.bookkeeping import Entry
from marketdata_assets.stores.postgres import value

STATES = ("ok", "empty", "missing", "stale", "failed")


@dataclass(frozen=True)
class Summary:
    """One flow at a glance: files by state, rows in the table, rejected rows.

    `stale` files have changed since, or the flow has; `missing` ones were never loaded. `newest` is the latest value of
    the column that partitions, None where none does.
    """

    states: Mapping[str, int]
    rows: int
    quarantined: int
    newest: dt.date | None


def summary(
    connection: psycopg.Connection, flow: FlowDefinition, folder: Path, outdated: Sequence[Unit] | None = None
) -> Summary:
    """Compare the files of `flow` below `folder` with the ledger; files that are no longer there still count.

    `outdated` are those of `run.outdated`, where the caller has them.
    """
    outdated = run.outdated(connection, flow, folder) if outdated is None else outdated
    outcomes: dict[str, str] = dict(
        connection.execute("SELECT unit, outcome FROM marketdata_ledger WHERE dataset = %s", [flow.dataset]).fetchall()
    )
    states = dict(outcomes)
    for unit in outdated:
        if outcomes.get(unit.place) != "failed":
            states[unit.place] = "stale" if outcomes.get(unit.place, "removed") != "removed" else "missing"
    counts = list(states.values())
    kept = contents.of(connection, flow)
    rejected = "SELECT count(*) FROM marketdata_quarantine WHERE dataset = %s"
    return Summary(
        states={state: counts.count(state) for state in STATES},
        rows=kept.count(),
        quarantined=value(connection, rejected, [flow.dataset]),
        newest=kept.newest() if flow.time_column else None,
    )


@dataclass(frozen=True)
class Plan:
    """What a run would do, for a person to read before.

    Changes of the table, which has `rows` now, and its files: `stale` ones are loaded, and would be again.
    """

    table: str
    exists: bool
    rows: int
    alterations: tuple[Alteration, ...]
    new_columns: tuple[NewColumn, ...]
    new: tuple[Unit, ...]
    stale: tuple[Unit, ...]

    @property
    def needs_rebuild(self) -> bool:
        """Whether a run would stop."""
        return any(change.done == "by a rebuild" for change in self.alterations)


def plan(connection: psycopg.Connection, flow: FlowDefinition, folder: Path) -> Plan:
    """Compare the declaration with table and ledger, and the files below `folder` with the ledger."""
    present = new_columns.present(connection, flow)
    outdated, kept = run.outdated(connection, flow, folder), contents.of(connection, flow)
    loaded = {entry.unit for entry in ledger.entries(connection, flow.dataset) if entry.content_hash or entry.rows}
    return Plan(
        table=flow.target.table,
        exists=kept.exist(),
        rows=kept.count(),
        alterations=tuple(storage.alterations(connection, present.target)) if flow.target.kind == "postgres" else (),
        new_columns=tuple(new_columns.of_flow(connection, flow)),
        new=tuple(unit for unit in outdated if unit.place not in loaded),
        stale=tuple(unit for unit in outdated if unit.place in loaded),
    )


def known_of(connection: psycopg.Connection, flow: FlowDefinition, units: Sequence[Unit]) -> str:
    """What a run over `units` would begin with: the flow's version, their files, and when each was loaded or forgotten.

    A failed load changes nothing of it.
    """
    rows = connection.execute(
        "SELECT unit, max(finished) FROM marketdata_ledger_log"
        " WHERE dataset = %s AND source = ANY(%s) AND outcome <> 'failed' GROUP BY unit",
        [flow.dataset, [unit.place for unit in units]],
    )
    loaded: dict[str, dt.datetime] = dict(rows.fetchall())
    files = [f"{unit.place} {unit.size} {unit.file.changed_ns} {loaded.get(unit.place)}" for unit in units]
    return "\n".join([run.code_version(flow), *sorted(files)])


def entries(
    connection: psycopg.Connection, flow: FlowDefinition, folder: Path, outdated: Sequence[Unit] | None = None
) -> list[FileEntry]:
    """The state of every file of the flow's folder below `folder`, an archive's members taken together.

    Rows that a file kept of earlier contents count as read.
    `outdated` are those of `run.outdated`, where the caller has them.
    """
    outdated = run.outdated(connection, flow, folder) if outdated is None else outdated
    due, places = {unit.file.name for unit in outdated}, {unit.place for unit in outdated}
    known: dict[str, list[Entry]] = {}
    for entry in ledger.entries(connection, flow.dataset):
        known.setdefault(_file(entry.unit), []).append(entry)
    holders: dict[str, list[Holder]] = {}
    for holder in contents.of(connection, flow).holders([one for own in known.values() for one in own]):
        holders.setdefault(_file(holder[0]), []).append(holder)
    other = f"{flow.name} reads {', '.join(flow.loader.glob)}: rename the file, or add it to loader.glob"
    found = []
    for file in everything(folder / flow.loader.folder):
        own = known.get(file.name, [])
        failed = next((one for one in own if one.outcome == "failed" and one.unit in places), None)
        recorded = Recorded("", FileEntry("", FileState.DUE)) if own else None
        if failed or (own and file.name not in due):
            recorded = Recorded(file.identity, _of_units(file.name, own, failed, holders.get(file.name, ())))
        reason = "" if file.problem or matches(file.name, flow.loader.glob) else other
        found.append(state_of(file, recorded, not_taken=reason))
    return found


def _file(unit: str) -> str:
    return unit.partition("!")[0]


def replaced(connection: psycopg.Connection, flow: FlowDefinition) -> list[tuple[str, int]]:
    """Which rows of which file of mode upsert those of another replaced, with their number: the most first."""
    if flow.target.mode != "upsert":
        return []
    found = [one for one in contents.of(connection, flow).holders(()) if one[1] not in (None, one[0])]
    found.sort(key=lambda one: -one[2])
    return [(f"{rows} rows of {unit} were replaced by {by}", rows) for unit, by, rows in found]


def unexplained(connection: psycopg.Connection, flow: FlowDefinition) -> list[dict[str, Any]]:
    """Loaded files of mode upsert with rows that are neither in the table nor replaced by those of another file."""
    counts: dict[str, Counter[str]] = {}
    for unit, holder, rows in contents.of(connection, flow).holders(()):
        name = "in_table" if holder == unit else "kept" if holder is None else "replaced"
        counts.setdefault(unit, Counter())[name] += rows
    found = []
    for one in ledger.entries(connection, flow.dataset):
        count = counts.get(one.unit, Counter())
        if one.content_hash and one.rows != count["in_table"] - count["kept"] + count["replaced"]:
            found.append({"unit": one.unit, "loaded": one.rows, **count})
    return found


def _of_units(name: str, units: Sequence[Entry], failed: Entry | None, holders: Iterable[Holder]) -> FileEntry:
    read, rejected, left_out = (sum(getattr(unit, name) for unit in units) for name in ("read", "rejected", "skipped"))
    appended = duplicates = sum(unit.skipped for unit in units if (unit.error or "").startswith(REPEATED))
    state = FileState.FAILED if failed else FileState.LOADED if read else FileState.EMPTY
    loaded, replaced = 0, Counter[str]()
    for unit, holder, rows in holders:
        if holder is None:
            read += rows
        elif holder == unit:
            loaded += rows
        elif _file(holder) == name:
            duplicates += rows
        else:
            replaced[_file(holder)] += rows
    said = [unit.error for unit in units if unit.outcome == "ok" and unit.error]
    reason = (failed.error or "the last load failed") if failed else and_more([*dict.fromkeys(said)], NAMED, "; ")
    return FileEntry(name, state, reason, read, loaded, rejected, duplicates, replaced, left_out - appended)


def rows_by_unit(connection: psycopg.Connection, flow: FlowDefinition) -> dict[str, int]:
    """Rows loaded from each file, by the ledger."""
    return dict(
        connection.execute("SELECT unit, rows FROM marketdata_ledger WHERE dataset = %s", [flow.dataset]).fetchall()
    )
