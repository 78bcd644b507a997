"""What is loaded of every asset, a row each: the basis of `marketdata status`, the metrics and the web page.

Files of the folders are compared with what the databases have on record. Connections are the caller's, and so is the
creation of missing tables.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from marketdata_assets.loading import file_ledger
from marketdata_assets.loading.file_ledger import FileState, unsettled
from marketdata_assets.months import EXCHANGE_CLOCK, bar_months, last_days, last_months

if TYPE_CHECKING:
    import psycopg
    from clickhouse_connect.driver.client import Client

    from marketdata_assets.flows.discovery import FlowFile
    from marketdata_assets.reference import status as reference_status
    from marketdata_assets.settings import Settings
    from marketdata_assets.stores.mongo import Databases
    from marketdata_assets.ticks.file_ledger import ChangedFiles
    from marketdata_assets.ticks.files import Files
    from marketdata_assets.ticks.providers_file import Table
    from marketdata_assets.ticks.status import State

Row = dict[str, Any]
"""`group` (the domain), `asset`, `partitions` by state, `newest` as text, `newest_at` as an instant, and counts."""

Domain = Literal["reference", "bars", "alphas", "ticks", "exchanges", "flows", "reconciliation"]

STATES = ("ok", "empty", "missing", "stale", "failed")
REFERENCE_STATES: tuple["reference_status.State", ...] = ("ok", "empty", "unsupported", "missing", "stale", "failed")
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
FEED = "exchange_feed"
FROM_FILES: tuple["Table", ...] = ("tick_data", "order_book")
NAMED_FILES = 5
SHANGHAI = ZoneInfo(EXCHANGE_CLOCK)


def bars(connection: "psycopg.Connection", folder: Path, now: dt.datetime) -> list[Row]:
    """The rows of minutes and K-line, by months."""
    from marketdata_assets.bars import bases, status

    months = bar_months(now)
    survey = status.survey(connection, folder, months)
    states, files = survey.months, status.with_counts(connection, survey.files)
    stale = bases.known(connection)
    tables = {
        "stock_1min_qfq": (states, status.bars_summary(connection)),
        "stock_monthly_kline": (status.kline_states(connection, states), status.kline_summary(connection)),
    }
    rows = []
    for asset, (known, found) in tables.items():
        counts: Row = {"rows": found.rows, "codes": found.codes, "quarantine": found.quarantined}
        counts |= {"stale_codes": len(stale), "two_bases": stale}
        rows.append(_row("bars", asset, _counts(known), found.newest, SHANGHAI, **counts))
    rows[0] |= {f"files_{state.name.lower()}": number for state, number in file_ledger.counts(files).items()}
    rows[0] |= {
        "files_summary": file_ledger.summary(files),
        "files_named": [vars(one) for one in unsettled(files)[:NAMED_FILES]],
    }
    return rows


def alphas(databases: "Databases", settings: "Settings", now: dt.datetime) -> list[Row]:
    """A row for every account with files, for raw ones, packages and each kind of document, by months that have any."""
    from marketdata_assets.alphas import fetch_records, filters, status
    from marketdata_assets.alphas.record_sets import RECORD_SETS, asset_name
    from marketdata_assets.alphas.rejected import in_raw_files

    root = settings.alphas_folder
    stored = status.in_mongo(databases, root)
    names = sorted({one.account for one in stored})
    chosen = filters.parse(settings.brain_records)
    records = fetch_records.statuses(databases, RECORD_SETS, names, chosen, now)
    folders = status.on_disk(root, now)
    rejected = {(one.account, one.kind): sum(1 for _ in in_raw_files(root, one.account, one.kind)) for one in stored}
    return [
        *(_alphas_row(one.asset, one.account, one.states, files=one.files) for one in folders),
        *(
            _alphas_row(
                f"{one.kind}_alphas",
                one.account,
                one.states,
                documents=one.documents,
                quarantine=one.rejected + rejected[one.account, one.kind],
            )
            for one in stored
        ),
        *(_alphas_row(asset_name(one.record_set), one.account, one.states, documents=one.documents) for one in records),
    ]


def _alphas_row(asset: str, account: str, states: Mapping[str, str], **counts: int) -> Row:
    newest = max((f"{month}-01" for month, state in states.items() if state == "ok"), default=None)
    day = dt.date.fromisoformat(newest) if newest else None
    found = {name: counts.get(name) for name in ("files", "documents", "quarantine")}
    counted = Counter(states.values())
    return _row(
        "alphas",
        asset,
        {state: counted[state] for state in ALPHA_STATES},
        day,
        dt.UTC,
        "%Y-%m",
        account=account,
        **found,
    )


def reference(client: "Client", months: int, now: dt.datetime) -> list[Row]:
    """A row for each table, its last `months` by state; none when nothing was ever loaded."""
    from marketdata_assets.reference.status import overview

    found = overview(client, last_months(months, now), now)
    if not any(one.rows for one in found):
        return []
    return [
        _row(
            "reference",
            one.table,
            {state: one.states.get(state, 0) for state in REFERENCE_STATES},
            one.newest,
            SHANGHAI,
            rows=one.rows,
            unknown_days=one.unknown_days,
        )
        for one in found
    ]


def dropped_files(settings: "Settings") -> "Files | None":
    """The dropped files of ticks; None where the providers file does not use them."""
    from marketdata_assets.ticks import providers_file
    from marketdata_assets.ticks.files import Files

    known = providers_file.read(Path(settings.providers)) if settings.providers else providers_file.shipped()
    return Files(settings.ticks_folder, known.files) if known.files and known.files.enabled else None


def changed_files(client: "Client", settings: "Settings", now: dt.datetime) -> "Mapping[Table, ChangedFiles]":
    """By table of ticks, the dropped files that are new or changed; none where files are not used."""
    from marketdata_assets.ticks import file_ledger

    files = dropped_files(settings)
    return file_ledger.changed_by_table(client, files, now) if files else {}


def ticks(
    client: "Client", months: int, now: dt.datetime, changed: "Mapping[Table, ChangedFiles] | None" = None
) -> list[Row]:
    """A row for each table, its symbol-months of the last `months` by state; none when no symbol was ever registered.

    `changed` is from `changed_files`.
    """
    from marketdata_assets.ticks import registry
    from marketdata_assets.ticks.status import overview

    listed, removed = registry.listed(client, vanished=True), len(registry.removed(client))
    units = {name: one.units for name, one in (changed or {}).items()}
    found = overview(client, last_months(months, now), now, changed=units)
    return [
        _row(
            "ticks",
            one.table,
            {state: one.count(state) for state in TICK_STATES},
            one.newest,
            SHANGHAI,
            symbols=len(listed) - removed,
            rows=one.rows,
            quarantine=one.rejected,
            provisional_days=one.provisional_days,
            incomplete_days=one.incomplete_days,
            **(_dropped(client, one.table) if one.table in FROM_FILES else {}),
        )
        for one in found
        if listed or one.rows
    ]


def file_problems(client: "Client", changed: "Mapping[Table, ChangedFiles]") -> list[str]:
    """Why dropped files of ticks are not loaded: those that cannot be read, and the first that failed or were lost."""
    from marketdata_assets.stores import clickhouse_files

    unreadable = dict.fromkeys(cause for one in changed.values() for cause in one.unreadable)
    named = [one for table in FROM_FILES for one in clickhouse_files.problems(client, table, NAMED_FILES)]
    errors = {one["file"]: one["error"] for one in named}
    return [
        *(f"file of ticks not loaded: {cause}" for cause in unreadable),
        *(f"file of ticks not loaded: {file}: {error}" for file, error in errors.items() if error not in unreadable),
    ]


def _dropped(client: "Client", table: str) -> Row:
    """How many dropped files of a table wait, failed, were deleted before they were loaded, or are loaded; the first
    that failed or were lost, with the reason."""
    from marketdata_assets.stores import clickhouse_files

    counts = clickhouse_files.counts(client, table)
    named = clickhouse_files.problems(client, table, NAMED_FILES)
    states = {f"files_{state}": counts[state] for state in ("waiting", "loaded", "failed", "lost")}
    return states | {"files_named": [{"file": one["file"], "error": one["error"]} for one in named]}


def exchanges(client: "Client", captures: Path, days: int, now: dt.datetime) -> list[Row]:
    """A row for each table, bars and gaps by day, open are days with gaps of trades; one for histories, by
    day; and one for the captures of the folder, by file. None when nothing ever came."""
    from marketdata_assets.exchanges.tables.captures import entries
    from marketdata_assets.exchanges.tables.status import history, overview

    found = overview(client, last_days(days, now))
    if backfilled := history(client):
        found.append(backfilled)
    files = entries(client, captures)
    counted = _counts({one.file: FILE_STATES[one.state] for one in files}) | {"open": 0}
    unknown: Row = dict.fromkeys(("rows", "quarantine", "open_gaps"))
    feed = [_row("exchanges", FEED, counted, None, dt.UTC, **unknown)] if files else []
    if not any(one.rows for one in found):
        return feed
    return feed + [
        _row(
            "exchanges",
            one.table,
            {state: one.days.get(state, 0) for state in (*STATES, "open")},
            one.newest,
            dt.UTC,
            "%Y-%m-%d %H:%M",
            rows=one.rows,
            quarantine=one.rejected,
            open_gaps=one.open_gaps,
        )
        for one in found
    ]


def flows(connection: "psycopg.Connection", known: "Iterable[FlowFile]", folder: Path) -> list[Row]:
    """A row for each flow that has files or rows, its files by state; one that cannot be read counts as failed."""
    from marketdata_assets.flows.status import summary

    rows: list[Row] = []
    for one in known:
        flow = one.flow
        if flow is None:
            nothing = dict.fromkeys(STATES, 0) | {"failed": 1}
            rows.append(_row("flows", one.name, nothing, None, dt.UTC, rows=0, quarantine=0))
            continue
        seen = summary(connection, flow, folder)
        if any(seen.states.values()) or seen.rows:
            counts: Row = {"rows": seen.rows, "quarantine": seen.quarantined}
            rows.append(_row("flows", one.name, seen.states, seen.newest, ZoneInfo(flow.timezone), **counts))
    return rows


def reconciliation(connection: "psycopg.Connection") -> list[Row]:
    """What the sources of A-share days disagree about, by months compared; none when nothing was ever compared."""
    from marketdata_assets.reconciliation.reconcile import TABLE, summary

    found = summary(connection)
    if found.last_compared is None:
        return []
    states = dict.fromkeys(STATES, 0) | {"ok": found.compared, "empty": found.empty}
    compared = f"{found.last_compared.astimezone(SHANGHAI):%Y-%m-%d %H:%M}"
    counts: Row = {"rows": found.disagreements, "disagreements": found.disagreements, "stocks": found.symbols}
    return [_row(TABLE, TABLE, states, found.newest, SHANGHAI, last_compared=compared, **counts)]


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


FILE_STATES = {
    FileState.LOADED: "ok",
    FileState.EMPTY: "empty",
    FileState.WAITING: "missing",
    FileState.DUE: "missing",
    FileState.FAILED: "failed",
    FileState.NOT_TAKEN: "",
}
"""The column of `status` in which a file of a watched folder counts; those that no load takes are in none."""


def _counts(states: Mapping[str, str]) -> dict[str, int]:
    counts = Counter(states.values())
    return {state: counts[state] for state in STATES}


def instant(value: dt.date, clock: dt.tzinfo) -> dt.datetime:
    """A wall-clock time, or the start of a day, as an instant; a time with a time zone is returned as it is."""
    at = value if isinstance(value, dt.datetime) else dt.datetime.combine(value, dt.time())
    return at if at.tzinfo else at.replace(tzinfo=clock)
