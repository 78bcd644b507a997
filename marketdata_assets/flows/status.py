"""What a flow's table has, and what its files and the ledger say about it. Nothing is loaded here."""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from marketdata_assets.flows import run, storage
from marketdata_assets.flows.definition import FlowDefinition, Month
from marketdata_assets.flows.targets import questions, unit_store
from marketdata_assets.loading.file_ledger import FileEntry, FileState, Recorded, state_of
from marketdata_assets.loading.files import Unit, everything, matches
from marketdata_assets.stores import ledger
from marketdata_assets.stores.bookkeeping import Entry
from marketdata_assets.stores.postgres import statement

Holder = tuple[str, str | None, int]
"""A unit, the unit whose row of a key of it is in the table, and how many there are.

With None it is the unit itself, by an earlier content; these rows are among its own.
"""
STATES = ("ok", "empty", "missing", "stale", "failed")


@dataclass(frozen=True)
class Summary:
    """One flow at a glance: files by state, rows in the table, rejected rows, when a file was last loaded.

    `stale` files have changed since, or the flow has; `missing` ones were never loaded. `newest` is the latest value of
    the column that partitions, None where none does.
    """

    states: Mapping[str, int]
    rows: int
    quarantined: int
    loaded: dt.datetime | None
    newest: dt.date | None


def summary(connection: psycopg.Connection, flow: FlowDefinition, folder: Path) -> Summary:
    """Compare the files of `flow` below `folder` with the ledger; files that are no longer there still count."""
    storage.ensure_books(connection)
    outcomes: dict[str, str] = dict(
        connection.execute("SELECT unit, outcome FROM marketdata_ledger WHERE dataset = %s", [flow.dataset]).fetchall()
    )
    states = dict(outcomes)
    for unit in run.outdated(connection, flow, folder):
        if outcomes.get(unit.place) != "failed":
            states[unit.place] = "stale" if outcomes.get(unit.place, "removed") != "removed" else "missing"
    counts = list(states.values())
    row = connection.execute(
        """SELECT (SELECT count(*) FROM marketdata_quarantine WHERE dataset = %(dataset)s),
                  (SELECT max(finished) FROM marketdata_ledger WHERE dataset = %(dataset)s)""",
        {"dataset": flow.dataset},
    ).fetchone()
    assert row
    quarantined, loaded = row
    return Summary(
        states={state: counts.count(state) for state in STATES},
        rows=row_count(connection, flow),
        quarantined=quarantined,
        loaded=loaded,
        newest=_newest(connection, flow) if _column(flow) else None,
    )


def _newest(connection: psycopg.Connection, flow: FlowDefinition) -> Any:
    if store := unit_store.of(flow):
        return questions.newest(store, _column(flow))
    return _value(connection, flow, "SELECT max({column}) FROM {table}")


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
    files = [f"{unit.place} {unit.size} {unit.file.modified_ns} {loaded.get(unit.place)}" for unit in units]
    return "\n".join([run.code_version(flow), *sorted(files)])


def entries(connection: psycopg.Connection, flow: FlowDefinition, folder: Path) -> list[FileEntry]:
    """The state of every file of the flow's folder below `folder`, an archive's members taken together.

    Rows that a handler leaves out count as duplicates. Rows that a file kept of earlier contents count as read.
    """
    root = folder / flow.loader.folder
    storage.ensure_books(connection)
    todo = run.outdated(connection, flow, folder)
    due, places = {unit.file.name for unit in todo}, {unit.place for unit in todo}
    known: dict[str, list[Entry]] = {}
    for entry in ledger.entries(connection, flow.dataset):
        known.setdefault(_file(entry.unit), []).append(entry)
    holders: dict[str, list[Holder]] = {}
    for holder in _holders(connection, flow, [one for own in known.values() for one in own]):
        holders.setdefault(_file(holder[0]), []).append(holder)
    other = f"{flow.name} reads {', '.join(flow.loader.glob)}: rename the file, or add it to loader.glob"
    found = []
    for file in everything(root):
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


def replaced(connection: psycopg.Connection, flow: FlowDefinition) -> list[str]:
    """How many rows of which file of mode upsert those of another replaced, a sentence for each two: the most first."""
    if flow.target.mode != "upsert":
        return []
    found = [one for one in _holders(connection, flow, ()) if one[1] not in (None, one[0])]
    found.sort(key=lambda one: -one[2])
    return [f"{rows} rows of {unit} were replaced by {by}" for unit, by, rows in found]


def unexplained(connection: psycopg.Connection, flow: FlowDefinition) -> list[dict[str, Any]]:
    """Loaded files of mode upsert with rows that are neither in the table nor replaced by those of another file."""
    counts: dict[str, Counter[str]] = {}
    for unit, holder, rows in _holders(connection, flow, ()):
        name = "in_table" if holder == unit else "kept" if holder is None else "replaced"
        counts.setdefault(unit, Counter())[name] += rows
    found = []
    for one in ledger.entries(connection, flow.dataset):
        count = counts.get(one.unit, Counter())
        if one.content_hash and one.rows != count["in_table"] - count["kept"] + count["replaced"]:
            found.append({"unit": one.unit, "loaded": one.rows, **count})
    return found


def _holders(connection: psycopg.Connection, flow: FlowDefinition, known: Sequence[Entry]) -> Iterable[Holder]:
    if flow.target.mode != "upsert":
        return [(entry.unit, entry.unit, entry.rows) for entry in known]
    if store := unit_store.of(flow):
        return store.holders()
    query = statement(__package__, "rows_of_files.sql")
    return connection.execute(query, {"dataset": flow.dataset}).fetchall()


def _of_units(name: str, units: Sequence[Entry], failed: Entry | None, holders: Iterable[Holder]) -> FileEntry:
    read, rejected, left_out = (sum(getattr(unit, name) for unit in units) for name in ("read", "rejected", "skipped"))
    state = FileState.FAILED if failed else FileState.LOADED if read else FileState.EMPTY
    loaded, replaced = 0, Counter[str]()
    for unit, holder, rows in holders:
        if holder is None:
            read += rows
        elif holder == unit:
            loaded += rows
        elif _file(holder) == name:
            left_out += rows
        else:
            replaced[_file(holder)] += rows
    reason = (failed.error or "the last load failed") if failed else ""
    return FileEntry(name, state, reason, read, loaded, rejected, left_out, replaced)


def row_count(connection: psycopg.Connection, flow: FlowDefinition) -> int:
    """Rows in the table; none when there is no table."""
    if store := unit_store.of(flow):
        return store.row_count()
    return int(_value(connection, flow, "SELECT count(*) FROM {table}") or 0)


def rows_by_month(connection: psycopg.Connection, flow: FlowDefinition, months: Collection[str]) -> dict[str, int]:
    """Rows of each of `months` (`YYYY-MM`), of a flow whose partitions are months."""
    counts = dict.fromkeys(months, 0)
    if (store := unit_store.of(flow)) and isinstance(flow.partitions, Month) and counts:
        return questions.rows_by_month(flow, store, months)
    if isinstance(flow.partitions, Month) and counts and exists(connection, flow):
        query = """SELECT to_char({column}, 'YYYY-MM'), count(*) FROM {table}
                   WHERE {column} >= %s AND {column} < %s GROUP BY 1"""
        first, last = (dt.date.fromisoformat(f"{month}-01") for month in (min(counts), max(counts)))
        after = (last + dt.timedelta(days=31)).replace(day=1)
        rows = connection.execute(_named(flow, query), [first, after]).fetchall()
        counts |= {month: count for month, count in rows if month in counts}
    return counts


def rows_by_unit(connection: psycopg.Connection, flow: FlowDefinition) -> dict[str, int]:
    """Rows loaded from each file, by the ledger."""
    return dict(
        connection.execute("SELECT unit, rows FROM marketdata_ledger WHERE dataset = %s", [flow.dataset]).fetchall()
    )


def preview(connection: psycopg.Connection, flow: FlowDefinition, rows: int = 8) -> list[dict[str, Any]]:
    """Some rows of the table, the last keys first."""
    if not exists(connection, flow):
        return []
    if store := unit_store.of(flow):
        return questions.preview(flow, store, rows)
    order = sql.SQL(" ORDER BY {}").format(
        sql.SQL(", ").join(sql.SQL("{} DESC").format(sql.Identifier(name)) for name in flow.target.key)
    )
    columns = sql.SQL(", ").join(map(sql.Identifier, flow.target.columns))
    query = sql.SQL("SELECT {} FROM {}").format(columns, sql.Identifier(flow.target.table))
    found = connection.execute((query + order if flow.target.key else query) + sql.SQL(f" LIMIT {int(rows)}"))
    return [dict(zip(flow.target.columns, row, strict=True)) for row in found]


def _column(flow: FlowDefinition) -> str:
    """The column that partitions."""
    return flow.partitions.month if isinstance(flow.partitions, Month) else flow.target.hypertable or ""


def _value(connection: psycopg.Connection, flow: FlowDefinition, query: str) -> Any:
    row = connection.execute(_named(flow, query)).fetchone() if exists(connection, flow) else None
    return row[0] if row else None


def exists(connection: psycopg.Connection, flow: FlowDefinition) -> bool:
    """Whether the flow's table exists."""
    if store := unit_store.of(flow):
        return store.exists()
    row = connection.execute("SELECT to_regclass(quote_ident(%s)) IS NOT NULL", [flow.target.table]).fetchone()
    return bool(row and row[0])


def _named(flow: FlowDefinition, query: str) -> sql.Composed:
    name = _column(flow)
    column: sql.Composable = sql.Identifier(name)
    if name and flow.target.columns[name].kind == "timestamptz":  # months are UTC, whatever the server's zone
        column = sql.SQL("({} AT TIME ZONE 'UTC')").format(column)
    return sql.SQL(query).format(table=sql.Identifier(flow.target.table), column=column)
