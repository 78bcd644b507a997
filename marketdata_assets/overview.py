"""What is loaded of every asset, a row each: the basis of `marketdata status`, the metrics and the web page.

Files of the folders are compared with what the databases have on record. Connections are the caller's, and so is the
creation of missing tables.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from marketdata_assets.loading.file_ledger import FileEntry, FileState, counts, summary, unsettled
from marketdata_assets.months import EXCHANGE_CLOCK, bar_months, last_days, last_months
from marketdata_assets.stores.clients import Client

if TYPE_CHECKING:
    import psycopg

    from marketdata_assets.alphas.status import AccountStatus
    from marketdata_assets.settings import Settings
    from marketdata_assets.stores.mongo import Databases
    from marketdata_assets.ticks.files import Files
    from marketdata_assets.ticks.status import State

Row = dict[str, Any]
"""`group` (the domain), `asset`, `partitions` by state, `newest` as text, `newest_at` as an instant, and counts.

A watched folder has a row too: its files by FILE_STATES, in a `summary`, and the first that need something as `named`.
"""

Folders = Mapping[str, Sequence[FileEntry]]
"""The files of each watched folder, by the `asset` of its row."""
Domain = Literal["reference", "bars", "alphas", "ticks", "exchanges", "flows", "reconciliation"]
Store = Literal["postgres", "clickhouse", "mongo"]

STATES = ("ok", "empty", "missing", "stale", "failed")
REFERENCE_STATES = ("ok", "empty", "unsupported", "missing", "stale", "failed")
TICK_STATES: tuple["State", ...] = (
    "ok",
    "empty",
    "provisional",
    "incomplete",
    "unsupported",
    "missing",
    "stale",
    "failed",
)
ALPHA_STATES = ("ok", "empty", "unsupported", "missing", "stale", "failed")
FILE_STATES = tuple(state.name.lower() for state in FileState)
COLUMNS: Mapping[str, Sequence[str]] = {
    "reference": ("asset", *REFERENCE_STATES, "rows", "newest", "unknown_days"),
    "bars": ("asset", *STATES, "rows", "codes", "stale_codes", "newest", "quarantine"),
    "alphas": ("asset", "account", *ALPHA_STATES, "files", "documents", "newest", "quarantine"),
    "ticks": ("asset", *TICK_STATES, "rows", "newest", "quarantine"),
    "exchanges": ("asset", *STATES, "open", "rows", "newest", "quarantine", "open_gaps"),
    "flows": ("asset", *STATES, "rows", "newest", "quarantine"),
    "reconciliation": ("asset", "ok", "empty", "disagreements", "stocks", "newest", "last_compared"),
}
"""Of the table of each domain, in the order of the tables: what of a row is shown."""
PROBLEMS = ("failed", "not_taken", "stale", "missing", "due", "disagreements", "open_gaps", "quarantine")
"""Counts of a row that need something, the worst first."""
SHOWN_BY = {
    "failed": "status --due",
    "disagreements": "status",
    "open_gaps": "ingest days",
    "quarantine": "quarantine show {domain}",
}
LOADED_BY = {
    "reference": "ingest reference",
    "bars": "ingest bars",
    "alphas": "ingest alphas",
    "ticks": "ingest ticks --symbols ALL",
    "exchanges": "ingest days",
    "flows": "flows run --all",
    "reconciliation": "status --due",
}
"""The commands behind `marketdata` that show a problem, by its state, or load what is missing, by domain."""
DUE_LOADED_BY = {**LOADED_BY, "exchanges": "ingest captures"}
"""Those that load new files."""
NAMED_FILES = 5
SHANGHAI = ZoneInfo(EXCHANGE_CLOCK)


def dropped_files(settings: "Settings") -> "Files | None":
    """The dropped files of ticks; None where the providers file does not use them."""
    from marketdata_assets.ticks import providers_file
    from marketdata_assets.ticks.files import Files

    known = providers_file.read(Path(settings.providers)) if settings.providers else providers_file.shipped()
    return Files(settings.ticks_folder, known.files) if known.files and known.files.enabled else None


def _bar_files(connection: "psycopg.Connection", settings: "Settings", now: dt.datetime) -> Folders:
    from marketdata_assets.bars import profiles, status

    shapes = profiles.read(settings.bars_profiles, settings.bars_label)
    return {"minute_bar_files": status.file_entries(connection, settings.bars_folder, bar_months(now), shapes)}


def _alpha_files(databases: "Databases", settings: "Settings", _: dt.datetime) -> Folders:
    from marketdata_assets.alphas import status

    return {"raw_alpha_files": status.entries(databases, settings.alphas_folder)}


def _reference_files(client: Client, settings: "Settings", _: dt.datetime) -> Folders:
    from marketdata_assets.reference import file_states

    return {"reference_files": file_states.entries(client, settings.reference_folder)}


def _tick_files(client: Client, settings: "Settings", _: dt.datetime) -> Folders:
    from marketdata_assets.ticks import file_ledger

    dropped = dropped_files(settings)
    return {"tick_files": file_ledger.entries(client, dropped)} if dropped else {}


def _captures(client: Client, settings: "Settings", _: dt.datetime) -> Folders:
    from marketdata_assets.exchanges.tables import captures

    return {"exchange_feed": captures.entries(client, settings.captures_folder)}


def _flow_files(connection: "psycopg.Connection", settings: "Settings", _: dt.datetime) -> Folders:
    from marketdata_assets.flows import status
    from marketdata_assets.local.flow_addresses import found

    folder, flows = settings.flows_data_folder, [one.flow for one in found(settings.flows_folder) if one.flow]
    return {f"{flow.name}_files": status.entries(connection, flow, folder) for flow in flows}


def files_rows(group: Domain, folders: Folders) -> list[Row]:
    """The rows of watched folders, but for those that have no file."""
    rows = []
    for asset, entries in folders.items():
        states = {state.name.lower(): number for state, number in counts(entries).items()}
        row = _row(group, asset, states, None, dt.UTC, rows=None, quarantine=None)
        row |= {"summary": summary(entries), "named": [vars(one) for one in unsettled(entries)[:NAMED_FILES]]}
        rows += [row] if entries else []
    return rows


def bars(connection: "psycopg.Connection", settings: "Settings", now: dt.datetime) -> list[Row]:
    """The rows of the files, of minutes and K-line, the last two by months."""
    from marketdata_assets.bars import bases, profiles, status

    shapes = profiles.read(settings.bars_profiles, settings.bars_label)
    survey = status.survey(connection, settings.bars_folder, bar_months(now), shapes)
    stale = bases.known(connection)
    tables = {
        "stock_1min_qfq": (survey.months, status.bars_summary(connection)),
        "stock_monthly_kline": (status.kline_states(connection, survey.months), status.kline_summary(connection)),
    }
    rows = files_rows("bars", {"minute_bar_files": status.with_counts(connection, survey.files)})
    for asset, (known, found) in tables.items():
        others: Row = {"rows": found.rows, "codes": found.codes, "quarantine": found.quarantined}
        others |= {"stale_codes": len(stale), "two_bases": stale}
        rows.append(_row("bars", asset, _counts(known), found.newest, SHANGHAI, **others))
    return rows


def alphas(databases: "Databases", settings: "Settings", now: dt.datetime) -> list[Row]:
    """A row for the files; and for every account with files, for raw ones, packages and each kind of document, by
    months that have any."""
    from marketdata_assets.alphas import fetch_records, filters, status
    from marketdata_assets.alphas.importer import database_name
    from marketdata_assets.alphas.layout import KINDS
    from marketdata_assets.alphas.record_sets import RECORD_SETS
    from marketdata_assets.alphas.rejected import in_raw_files

    root = settings.alphas_folder
    stored = status.in_mongo(databases, root)
    names = sorted({one.account for one in stored})
    chosen = filters.parse(settings.brain_records)
    records = fetch_records.statuses(databases, RECORD_SETS, names, chosen, now)
    folders = status.on_disk(root, now)
    rows = [_alphas_row(one) for one in (*folders, *stored, *records)]
    for row in rows:
        for kind in KINDS:
            if row["asset"] == database_name(kind):
                row["quarantine"] += sum(1 for _ in in_raw_files(root, row["account"], kind))
    return [*files_rows("alphas", _alpha_files(databases, settings, now)), *rows]


def _alphas_row(one: "AccountStatus") -> Row:
    newest = max((f"{month}-01" for month, state in one.states.items() if state == "ok"), default=None)
    day = dt.date.fromisoformat(newest) if newest else None
    found = {"account": one.account, "files": one.files, "documents": one.documents, "quarantine": one.rejected}
    return _row("alphas", one.asset, _counts(one.states, ALPHA_STATES), day, dt.UTC, "%Y-%m", **found)


def reference(client: Client, settings: "Settings", now: dt.datetime) -> list[Row]:
    """A row for the files, and one for each table, its last months by state, where anything was ever loaded."""
    from marketdata_assets.reference.status import overview

    found = overview(client, last_months(settings.ticks_months, now), now)
    files = files_rows("reference", _reference_files(client, settings, now))
    if not any(one.rows for one in found):
        return files
    rows = []
    for one in found:
        states: dict[str, int] = {state: one.states.get(state, 0) for state in REFERENCE_STATES}
        others: Row = {"rows": one.rows, "unknown_days": one.unknown_days}
        rows.append(_row("reference", one.table, states, one.newest, SHANGHAI, **others))
    return files + rows


def ticks(client: Client, settings: "Settings", now: dt.datetime) -> list[Row]:
    """A row for the dropped files, and for each table, its symbol-months of the last months by state; none of tables
    when no symbol was ever registered. Files that no scan has seen are due, and their months are not stale yet."""
    from marketdata_assets.ticks import file_ledger, registry
    from marketdata_assets.ticks.status import overview

    files = files_rows("ticks", _tick_files(client, settings, now))
    listed, removed = registry.listed(client, vanished=True), len(registry.removed(client))
    changed = file_ledger.due_by_table(client, now) if dropped_files(settings) else {}
    found = overview(client, last_months(settings.ticks_months, now), now, changed=changed)
    rows = []
    for one in (table for table in found if listed or table.rows):
        states: dict[str, int] = {state: one.count(state) for state in TICK_STATES}
        others: Row = {"symbols": len(listed) - removed, "rows": one.rows, "quarantine": one.rejected}
        others |= {"provisional_days": one.provisional_days, "incomplete_days": one.incomplete_days}
        rows.append(_row("ticks", one.table, states, one.newest, SHANGHAI, **others))
    return files + rows


def exchanges(client: Client, settings: "Settings", now: dt.datetime) -> list[Row]:
    """A row for the captures of the folder; one for each table, bars and gaps by day, open are days with gaps of
    trades; and one for histories, by day. None of tables when nothing ever came."""
    from marketdata_assets.exchanges.tables.status import history, overview

    found = overview(client, last_days(settings.exchange_days, now))
    if backfilled := history(client):
        found.append(backfilled)
    feed = files_rows("exchanges", _captures(client, settings, now))
    if not any(one.rows for one in found):
        return feed
    rows = []
    for one in found:
        states = {state: one.days.get(state, 0) for state in (*STATES, "open")}
        others: Row = {"rows": one.rows, "quarantine": one.rejected, "open_gaps": one.open_gaps}
        rows.append(_row("exchanges", one.table, states, one.newest, dt.UTC, "%Y-%m-%d %H:%M", **others))
    return feed + rows


def flows(connection: "psycopg.Connection", settings: "Settings", now: dt.datetime) -> list[Row]:
    """Two rows for each flow that has files or rows: the files of its folder, and those in its table by state.

    A flow that cannot be read counts as failed.
    """
    from marketdata_assets.flows import status
    from marketdata_assets.local.flow_addresses import found

    rows = files_rows("flows", _flow_files(connection, settings, now))
    for one in found(settings.flows_folder):
        flow = one.flow
        if flow is None:
            nothing = dict.fromkeys(STATES, 0) | {"failed": 1}
            rows.append(_row("flows", one.name, nothing, None, dt.UTC, rows=0, quarantine=0))
            continue
        seen = status.summary(connection, flow, settings.flows_data_folder)
        if any(seen.states.values()) or seen.rows:
            others: Row = {"rows": seen.rows, "quarantine": seen.quarantined}
            rows.append(_row("flows", one.name, seen.states, seen.newest, ZoneInfo(flow.timezone), **others))
    return rows


def reconciliation(connection: "psycopg.Connection", settings: "Settings", now: dt.datetime) -> list[Row]:
    """What the sources of A-share days disagree about, by months compared; none when nothing was ever compared."""
    from marketdata_assets.reconciliation.reconcile import TABLE, summary

    found = summary(connection)
    if found.last_compared is None:
        return []
    states = dict.fromkeys(STATES, 0) | {"ok": found.compared, "empty": found.empty}
    compared = f"{found.last_compared.astimezone(SHANGHAI):%Y-%m-%d %H:%M}"
    others: Row = {"rows": found.disagreements, "disagreements": found.disagreements, "stocks": found.symbols}
    return [_row(TABLE, TABLE, states, found.newest, SHANGHAI, last_compared=compared, **others)]


@dataclass(frozen=True)
class Problem:
    """Something of an asset that needs a person or a run: the count that says so, in words, and the command for it."""

    asset: str
    state: str
    count: int
    what: str
    command: str


def problems(rows: Sequence[Row]) -> list[Problem]:
    """What is wrong with the assets of some rows, the worst first."""
    return [
        Problem(
            row["asset"],
            state,
            row[state],
            row.get("summary") or f"{row[state]} of {row['partitions']}",
            _command(row["group"], state, of_files="named" in row),
        )
        for state in PROBLEMS
        for row in rows
        if row.get(state)
    ]


def _command(domain: str, state: str, *, of_files: bool) -> str:
    if state == "due":
        return DUE_LOADED_BY[domain]
    command = "files {domain} --state {state}" if of_files else SHOWN_BY.get(state, LOADED_BY[domain])
    return command.format(domain=domain, state=state)


def _row(
    group: str,
    asset: str,
    states: Mapping[str, int],
    newest: dt.date | None,
    clock: dt.tzinfo,
    form: str = "%Y-%m-%d",
    **others: Any,
) -> Row:
    about = {"group": group, "asset": asset, "partitions": sum(states.values()), **states}
    return {**about, "newest": newest and f"{newest:{form}}", "newest_at": newest and instant(newest, clock), **others}


def _counts(states: Mapping[str, str], names: Sequence[str] = STATES) -> dict[str, int]:
    found = Counter(states.values())
    return {state: found[state] for state in names}


def instant(value: dt.date, clock: dt.tzinfo) -> dt.datetime:
    """A wall-clock time, or the start of a day, as an instant; a time with a time zone is returned as it is."""
    at = value if isinstance(value, dt.datetime) else dt.datetime.combine(value, dt.time())
    return at if at.tzinfo else at.replace(tzinfo=clock)


@dataclass(frozen=True)
class Status:
    """How the rows of a domain are read, and the files of its watched folders: from a connection to its store."""

    store: Store
    rows: Callable[[Any, "Settings", dt.datetime], list[Row]]
    files: Callable[[Any, "Settings", dt.datetime], Folders] | None = None


DOMAINS: Mapping[str, Status] = {
    "reference": Status("clickhouse", reference, _reference_files),
    "bars": Status("postgres", bars, _bar_files),
    "alphas": Status("mongo", alphas, _alpha_files),
    "ticks": Status("clickhouse", ticks, _tick_files),
    "exchanges": Status("clickhouse", exchanges, _captures),
    "flows": Status("postgres", flows, _flow_files),
    "reconciliation": Status("postgres", reconciliation),
}
