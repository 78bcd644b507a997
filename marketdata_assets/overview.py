"""What is loaded of every asset, a row each: the basis of `marketdata status`, the metrics and the web page.

Files of the folders are compared with what the databases have on record. Connections are the caller's, and so is the
creation of missing tables.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from marketdata_assets.loading.file_ledger import FileEntry, FileState, counts, summary, unsettled
from marketdata_assets.months import EXCHANGE_CLOCK, bar_months, last_days, last_months
from marketdata_assets.stores.clients import Client

if TYPE_CHECKING:
    import psycopg

    from marketdata_assets.settings import Settings
    from marketdata_assets.stores.bookkeeping import Quarantined
    from marketdata_assets.stores.mongo import Databases
    from marketdata_assets.ticks.files import Files
    from marketdata_assets.ticks.status import State

Row = dict[str, Any]
"""`group` (the domain), `asset`, `partitions` by state, `newest` as text, `newest_at` as an instant, and counts.

A watched folder has a row too: its files by FILE_STATES, in a `summary`, and the first that need something as `named`.
"""

Folders = Mapping[str, Sequence[FileEntry]]
"""The files of each watched folder, by the `asset` of its row."""
Rejected = list[dict[str, Any]]
"""Rejected rows: `dataset`, `place`, `reason`, `raw`, and what else is known of each."""
Store = Literal["postgres", "clickhouse", "mongo"]

STATES = ("ok", "empty", "missing", "stale", "failed")
WITH_UNSUPPORTED = ("ok", "empty", "unsupported", "missing", "stale", "failed")
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
FILE_STATES = tuple(state.name.lower() for state in FileState)
PROBLEMS = ("failed", "not_taken", "stale", "missing", "due", "disagreements", "open_gaps", "quarantine")
"""Counts of a row that need something, the worst first."""
SHOWN_BY = {
    "failed": "status --due",
    "disagreements": "status",
    "open_gaps": "ingest days",
    "quarantine": "quarantine show {domain}",
}
"""The commands behind `marketdata` that show a problem, by its state."""
NAMED_FILES = 5
SHANGHAI = ZoneInfo(EXCHANGE_CLOCK)


def dropped_files(settings: "Settings") -> "Files | None":
    """The dropped files of ticks; None where the providers file does not use them."""
    from marketdata_assets.ticks import providers_file
    from marketdata_assets.ticks.files import Files

    known = providers_file.chosen(settings.providers).files
    return Files(settings.ticks_folder, known) if known and known.enabled else None


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
    from marketdata_assets.local.flow_addresses import readable

    folder, flows = settings.flows_data_folder, readable(settings.flows_folder)
    return {f"{flow.name}_files": status.entries(connection, flow, folder) for flow in flows}


def files_rows(group: str, folders: Folders) -> list[Row]:
    """The rows of watched folders, but for those that have no file."""
    rows = []
    for asset, entries in folders.items():
        states = {state.name.lower(): number for state, number in counts(entries).items()}
        row = _row(group, asset, states, None, names=FILE_STATES, rows=None, quarantine=None)
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
        rows.append(_row("bars", asset, Counter(known.values()), found.newest, **others))
    return rows


def alphas(databases: "Databases", settings: "Settings", now: dt.datetime) -> list[Row]:
    """A row for the files; and for every account with files, for raw ones, packages and each kind of document, by
    months that have any."""
    from marketdata_assets.alphas import fetch_catalogues, fetch_records, filters, status
    from marketdata_assets.alphas.importer import database_name
    from marketdata_assets.alphas.layout import KINDS
    from marketdata_assets.alphas.record_sets import RECORD_SETS
    from marketdata_assets.alphas.rejected import in_raw_files

    root = settings.alphas_folder
    stored = status.in_mongo(databases, root)
    names = sorted({one.account for one in stored})
    chosen = filters.parse(settings.brain_records)
    records = fetch_records.statuses(databases, RECORD_SETS, names, chosen, now)
    rows = files_rows("alphas", _alpha_files(databases, settings, now))
    for one in (*status.on_disk(root, now), *stored, *records):
        newest = max((month for month, state in one.states.items() if state == "ok"), default=None)
        first = dt.date.fromisoformat(f"{newest}-01") if newest else None
        kinds = [kind for kind in KINDS if one.asset == database_name(kind)]
        rejected = one.rejected
        if kinds:
            rejected = (rejected or 0) + sum(1 for kind in kinds for _ in in_raw_files(root, one.account, kind))
        found = {"account": one.account, "files": one.files, "documents": one.documents, "quarantine": rejected}
        states = Counter[str](one.states.values())
        rows.append(_row("alphas", one.asset, states, first, dt.UTC, "%Y-%m", WITH_UNSUPPORTED, **found))
    for one in fetch_catalogues.statuses(databases):
        counted: Row = {"account": one.account, "files": None, "documents": one.documents, "quarantine": None}
        states = Counter[str](one.states.values())
        rows.append(_row("alphas", one.asset, states, None, names=WITH_UNSUPPORTED, **counted))
    return rows


def reference(client: Client, settings: "Settings", now: dt.datetime) -> list[Row]:
    """A row for the files, and one for each table, its last months by state, where anything was ever loaded."""
    from marketdata_assets.reference.status import overview

    found = overview(client, last_months(settings.ticks_months, now), now)
    rows = files_rows("reference", _reference_files(client, settings, now))
    for one in found if any(one.rows for one in found) else ():
        others: Row = {"rows": one.rows, "unknown_days": one.unknown_days}
        rows.append(_row("reference", one.table, one.states, one.newest, names=WITH_UNSUPPORTED, **others))
    return rows


def ticks(client: Client, settings: "Settings", now: dt.datetime) -> list[Row]:
    """A row for the dropped files, and for each table, its symbol-months of the last months by state; none of tables
    when no symbol was ever registered. Files that no scan has seen are due, and their months are not stale yet."""
    from marketdata_assets.ticks import file_ledger, registry
    from marketdata_assets.ticks.status import overview

    rows = files_rows("ticks", _tick_files(client, settings, now))
    listed, removed = registry.listed(client, vanished=True), len(registry.removed(client))
    changed = file_ledger.due_by_table(client, now) if dropped_files(settings) else {}
    found = overview(client, last_months(settings.ticks_months, now), now, changed=changed)
    for one in (table for table in found if listed or table.rows):
        states: dict[str, int] = {state: one.count(state) for state in TICK_STATES}
        others: Row = {"symbols": len(listed) - removed, "rows": one.rows, "quarantine": one.rejected}
        others |= {"provisional_days": one.provisional_days, "incomplete_days": one.incomplete_days}
        rows.append(_row("ticks", one.table, states, one.newest, names=TICK_STATES, **others))
    return rows


def exchanges(client: Client, settings: "Settings", now: dt.datetime) -> list[Row]:
    """A row for the captures of the folder; one for each table, bars and gaps by day, open are days with gaps of
    trades; and one for histories, by day. None of tables when nothing ever came."""
    from marketdata_assets.exchanges.tables.status import history, overview

    found = overview(client, last_days(settings.exchange_days, now))
    if backfilled := history(client):
        found.append(backfilled)
    rows = files_rows("exchanges", _captures(client, settings, now))
    for one in found if any(one.rows for one in found) else ():
        others: Row = {"rows": one.rows, "quarantine": one.rejected, "open_gaps": one.open_gaps}
        names = (*STATES, "open")
        rows.append(_row("exchanges", one.table, one.days, one.newest, dt.UTC, "%Y-%m-%d %H:%M", names, **others))
    return rows


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
            rows.append(_row("flows", one.name, {"failed": 1}, None, rows=0, quarantine=0))
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
    compared = f"{found.last_compared.astimezone(SHANGHAI):%Y-%m-%d %H:%M}"
    others: Row = {"rows": found.disagreements, "disagreements": found.disagreements, "stocks": found.symbols}
    states = {"ok": found.compared, "empty": found.empty}
    return [_row(TABLE, TABLE, states, found.newest, last_compared=compared, **others)]


def _rejected(dataset: str, rows: "Iterable[Quarantined]") -> Rejected:
    return [{"dataset": dataset} | vars(row) | {"place": row.place} for row in rows]


def _rejected_reference(client: Client, _: "Settings", limit: int) -> Rejected:
    """Rejected rows of dropped files."""
    from marketdata_assets.reference.file_states import DATASET
    from marketdata_assets.stores.clickhouse_ledger import quarantined

    rows = quarantined(client, DATASET, limit)
    return [{"dataset": DATASET} | vars(row) | {"place": f"{row.source}:{row.line}"} for row in rows]


def _rejected_bars(connection: "psycopg.Connection", _: "Settings", limit: int) -> Rejected:
    """Rejected rows of minute-bar files."""
    from marketdata_assets.bars.schema import DATASET
    from marketdata_assets.stores.ledger import quarantined

    return _rejected(DATASET, quarantined(connection, DATASET, limit))


def _rejected_alphas(databases: "Databases", settings: "Settings", limit: int) -> Rejected:
    """Rejected alphas of every account: elements of raw files, and documents."""
    from marketdata_assets.alphas.file_index import accounts_on_disk
    from marketdata_assets.alphas.rejected import rejected_alphas

    root = settings.alphas_folder
    rows = rejected_alphas(databases, root, accounts_on_disk(root), limit)
    return [{"dataset": f"{row.kind}_alphas"} | vars(row) for row in rows]


def _rejected_ticks(client: Client, _: "Settings", limit: int) -> Rejected:
    """Rejected rows of providers' responses and of dropped files, by symbol and month."""
    from marketdata_assets.stores.clickhouse_ledger import quarantined
    from marketdata_assets.ticks.file_ledger import DATASET
    from marketdata_assets.ticks.providers_file import TABLES

    return [row for table in (*TABLES, DATASET) for row in _rejected(table, quarantined(client, table, limit))]


def _rejected_exchanges(client: Client, _: "Settings", limit: int) -> Rejected:
    """Captures whose load failed, records that their tables rejected, and unreadable messages, newest first."""
    from marketdata_assets.exchanges.tables.captures import LEDGER
    from marketdata_assets.exchanges.tables.status import rejected

    return [*LEDGER.failures(client, limit), *rejected(client, limit)]


def _rejected_flows(connection: "psycopg.Connection", settings: "Settings", limit: int) -> Rejected:
    """Rejected rows of the files of every flow."""
    from marketdata_assets.local.flow_addresses import readable
    from marketdata_assets.stores.ledger import quarantined

    flows = readable(settings.flows_folder)
    return [row for flow in flows for row in _rejected(flow.name, quarantined(connection, flow.dataset, limit))]


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


def lines_of(domain: str, rows: Iterable[Row]) -> list[list[Any]]:
    """What the table of a domain shows of its assets; folders are shown apart."""
    assets = (row for row in rows if row["group"] == domain and "named" not in row)
    return [[row[name] for name in DOMAINS[domain].columns] for row in assets]


def _command(domain: str, state: str, *, of_files: bool) -> str:
    about = DOMAINS[domain]
    if state == "due":
        return about.load_files or about.load
    command = "files {domain} --state {state}" if of_files else SHOWN_BY.get(state, about.load)
    return command.format(domain=domain, state=state)


def _row(
    group: str,
    asset: str,
    counts: Mapping[str, int],
    newest: dt.date | None,
    clock: dt.tzinfo = SHANGHAI,
    form: str = "%Y-%m-%d",
    names: Sequence[str] = STATES,
    **others: Any,
) -> Row:
    states = {state: counts.get(state, 0) for state in names}
    about = {"group": group, "asset": asset, "partitions": sum(states.values()), **states}
    return {**about, "newest": newest and f"{newest:{form}}", "newest_at": newest and instant(newest, clock), **others}


def instant(value: dt.date, clock: dt.tzinfo) -> dt.datetime:
    """A wall-clock time, or the start of a day, as an instant; a time with a time zone is returned as it is."""
    at = value if isinstance(value, dt.datetime) else dt.datetime.combine(value, dt.time())
    return at if at.tzinfo else at.replace(tzinfo=clock)


@dataclass(frozen=True)
class Status:
    """What commands, metrics and pages show of a domain; all of it is read from a connection to its store."""

    store: Store
    columns: Sequence[str]
    """What its table shows of a row."""
    load: str
    """The command behind `marketdata` that loads what is missing."""
    rows: Callable[[Any, "Settings", dt.datetime], list[Row]]
    files: Callable[[Any, "Settings", dt.datetime], Folders] | None = None
    """The files of its watched folders."""
    rejected: Callable[[Any, "Settings", int], Rejected] | None = None
    """Rejected rows, so many of a dataset at most."""
    load_files: str = ""
    """The command that loads new files, where it is another."""


DOMAINS: Mapping[str, Status] = {
    "reference": Status(
        "clickhouse",
        ("asset", *WITH_UNSUPPORTED, "rows", "newest", "unknown_days"),
        "ingest reference",
        reference,
        _reference_files,
        _rejected_reference,
    ),
    "bars": Status(
        "postgres",
        ("asset", *STATES, "rows", "codes", "stale_codes", "newest", "quarantine"),
        "ingest bars",
        bars,
        _bar_files,
        _rejected_bars,
    ),
    "alphas": Status(
        "mongo",
        ("asset", "account", *WITH_UNSUPPORTED, "files", "documents", "newest", "quarantine"),
        "ingest alphas",
        alphas,
        _alpha_files,
        _rejected_alphas,
    ),
    "ticks": Status(
        "clickhouse",
        ("asset", *TICK_STATES, "rows", "newest", "quarantine"),
        "ingest ticks --symbols ALL",
        ticks,
        _tick_files,
        _rejected_ticks,
    ),
    "exchanges": Status(
        "clickhouse",
        ("asset", *STATES, "open", "rows", "newest", "quarantine", "open_gaps"),
        "ingest days",
        exchanges,
        _captures,
        _rejected_exchanges,
        "ingest captures",
    ),
    "flows": Status(
        "postgres",
        ("asset", *STATES, "rows", "newest", "quarantine"),
        "flows run --all",
        flows,
        _flow_files,
        _rejected_flows,
    ),
    "reconciliation": Status(
        "postgres",
        ("asset", "ok", "empty", "disagreements", "stocks", "newest", "last_compared"),
        "status --due",
        reconciliation,
    ),
}
"""In the order of the tables."""
