"""`marketdata status`: every asset at a glance."""

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from marketdata_assets.bars import bases, schema
from marketdata_assets.bars import status as bars
from marketdata_assets.cli import flows, output, stores, ticks
from marketdata_assets.cli.instance import dagster_instance, months_between, of_each_domain
from marketdata_assets.loading.reports import and_more
from marketdata_assets.months import EXCHANGE_CLOCK
from marketdata_assets.settings import Settings
from marketdata_assets.stores.postgres import connect

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from marketdata_assets.reference import status as reference
    from marketdata_assets.ticks.status import State

STATES = ("ok", "empty", "missing", "stale", "failed")
BARS = ("asset", *STATES, "rows", "codes", "stale_codes", "newest", "quarantine")
REFERENCE_STATES: tuple["reference.State", ...] = ("ok", "empty", "unsupported", "missing", "stale", "failed")
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
TICKS = ("asset", *TICK_STATES, "rows", "newest", "quarantine")
REFERENCE = ("asset", *REFERENCE_STATES, "rows", "newest", "unknown_days")
FLOWS = ("asset", *STATES, "rows", "newest", "quarantine")
RECONCILIATION = ("asset", "ok", "empty", "disagreements", "stocks", "newest", "last_compared")
EXCHANGES = ("asset", *STATES, "open", "rows", "newest", "quarantine", "open_gaps")
NAMED_CODES = 10
NAMED_FILES = 5
FROM_FILES = ("tick_data", "order_book")
SHANGHAI = ZoneInfo(EXCHANGE_CLOCK)
DUE = ("domain", "job", "first", "last")
ALPHA_STATES = ("ok", "empty", "unsupported", "missing", "stale", "failed")
ALPHAS = ("asset", "account", *ALPHA_STATES, "files", "documents", "newest", "quarantine")


def status(
    as_json: output.Json = False,
    due: Annotated[bool, typer.Option("--due", help="also list what the nightly repair would run now")] = False,
) -> None:
    """Show what is loaded, and which partitions are missing, stale or failed."""
    rows = of_each_domain(
        reference_rows, bars_rows, alphas_rows, ticks_rows, exchanges_rows, flows_rows, reconciliation_rows
    )
    runs = due_runs() if due else []
    if as_json:
        assets = [{name: value for name, value in row.items() if name != "newest_at"} for row in rows]
        output.as_json({"assets": assets} | ({"due": runs} if due else {}))
    else:
        shapes = {
            "reference": REFERENCE,
            "bars": BARS,
            "alphas": ALPHAS,
            "ticks": TICKS,
            "exchanges": EXCHANGES,
            "flows": FLOWS,
            "reconciliation": RECONCILIATION,
        }
        for title, columns in shapes.items():
            shown = [[row[name] for name in columns] for row in rows if row["group"] == title]
            if shown:
                output.table(title, columns, shown)
        stale: dict[str, str] = next((row["two_bases"] for row in rows if row.get("two_bases")), {})
        if stale:
            files = sorted({seam for seams in stale.values() for seam in seams.split(", ")})
            codes, seams = and_more(list(stale), NAMED_CODES), and_more(files, NAMED_CODES)
            remedy = "have all years of these stocks delivered again, on one date"
            output.console().print(f"stale: two price bases in {codes}, between {seams}; {remedy}")
        if runs:
            output.table("due", DUE, [[run[name] for name in DUE] for run in runs])
        elif due:
            output.console().print("nothing is due")
    if any(row["failed"] for row in rows):
        raise typer.Exit(1)


def due_runs() -> list[dict[str, Any]]:
    """The runs that the nightly repair would request, with their first and last partition."""
    from marketdata_assets.defs.repair import nightly
    from marketdata_assets.defs.selection import months_of
    from marketdata_assets.partitions import RANGE_END, RANGE_START
    from marketdata_assets.resources import by_name

    with dagster_instance(Settings()) as instance:
        found = list(nightly.due_now(instance, flows.readable(), SimpleNamespace(**by_name())))
    rows = []
    for domain, request in found:
        months: list[str | None] = [*sorted(months_of(request.run_config))] or [None]
        first, last = (request.tags.get(name) for name in (RANGE_START, RANGE_END))
        rows.append(
            {"domain": domain, "job": request.job_name, "first": first or months[0], "last": last or months[-1]}
        )
    return rows


def bars_rows() -> list[dict[str, Any]]:
    """The rows of the bars domain."""
    months = months_between(None)
    with connect(stores.postgres_dsn()) as connection:
        schema.ensure(connection)
        states = bars.month_states(connection, Settings().bars_folder, months)
        klines = bars.kline_states(connection, states)
        stale = bases.known(connection)
        tables = {
            "stock_1min_qfq": (states, bars.bars_summary(connection)),
            "stock_monthly_kline": (klines, bars.kline_summary(connection)),
        }
    rows = []
    for asset, (known, found) in tables.items():
        counts: dict[str, Any] = {"rows": found.rows, "codes": found.codes, "quarantine": found.quarantined}
        counts |= {"stale_codes": len(stale), "two_bases": stale}
        rows.append(_row("bars", asset, _counts(known), found.newest, SHANGHAI, **counts))
    return rows


def alphas_rows() -> list[dict[str, Any]]:
    """A row for every account with files, for raw ones, packages and each kind of document, by months that have any."""
    from marketdata_assets.alphas import fetch_records, filters, status
    from marketdata_assets.alphas.record_sets import RECORD_SETS, asset_name
    from marketdata_assets.alphas.rejected import in_raw_files
    from marketdata_assets.stores import mongo

    root, now = Settings().alphas_folder, dt.datetime.now(dt.UTC)
    with mongo.databases(stores.mongo_server()) as databases:
        stored = status.in_mongo(databases, root)
        names = sorted({one.account for one in stored})
        chosen = filters.parse(Settings().brain_records)
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


def _alphas_row(asset: str, account: str, states: Mapping[str, str], **counts: int) -> dict[str, Any]:
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


def reference_rows() -> list[dict[str, Any]]:
    """A row for each table, its months by state; none when nothing was ever loaded."""
    from marketdata_assets.defs.ticks.run_config import window_now
    from marketdata_assets.reference.status import overview

    with stores.clickhouse() as client:
        found = overview(client, window_now(), dt.datetime.now(dt.UTC))
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


def ticks_rows() -> list[dict[str, Any]]:
    """A row for each table, its symbol-months by state; none when no symbol was ever registered."""
    from marketdata_assets.defs.ticks.run_config import window_now
    from marketdata_assets.ticks import loaded_files, registry
    from marketdata_assets.ticks.status import overview
    from marketdata_assets.ticks.tables import ensure

    now, files = dt.datetime.now(dt.UTC), ticks.dropped_files(Settings())
    with stores.clickhouse() as client:
        ensure(client)
        listed, removed = registry.listed(client, vanished=True), len(registry.removed(client))
        changed = loaded_files.changed_by_table(client, files, now) if files else {}
        found = overview(client, window_now(), now, changed={name: one.units for name, one in changed.items()})
        dropped = {name: _dropped(client, name) for name in FROM_FILES}
    unreadable = dict.fromkeys(cause for one in changed.values() for cause in one.unreadable)
    for cause in unreadable:
        output.notes().print(f"no file of ticks is loaded until this is fixed: {cause}", markup=False)
    for file, error in {one["file"]: one["error"] for told in dropped.values() for one in told["files_named"]}.items():
        if error not in unreadable:
            output.notes().print(f"file of ticks not loaded: {file}: {error}", markup=False)
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
            **dropped.get(one.table, {}),
        )
        for one in found
        if listed or one.rows
    ]


def _dropped(client: "Client", table: str) -> dict[str, Any]:
    """How many dropped files of a table wait, failed, were deleted before they were loaded, or are loaded; the first
    that failed or were lost, with the reason."""
    from marketdata_assets.stores import clickhouse_files

    counts = clickhouse_files.counts(client, table)
    named = clickhouse_files.problems(client, table, NAMED_FILES)
    states = {f"files_{state}": counts[state] for state in ("waiting", "loaded", "failed", "lost")}
    return states | {"files_named": [{"file": one["file"], "error": one["error"]} for one in named]}


def exchanges_rows() -> list[dict[str, Any]]:
    """A row for each table, bars and gaps by day, open are days with gaps of trades; one for histories, by
    day; and one for the captures of the folder, by file. None when nothing ever came."""
    from marketdata_assets.defs.exchanges.days import FEED, window
    from marketdata_assets.exchanges.tables.capture_states import states
    from marketdata_assets.exchanges.tables.status import history, overview

    with stores.exchange_tables() as client:
        found = overview(client, window())
        if backfilled := history(client):
            found.append(backfilled)
        files = states(client, Settings().captures_folder)
    captures = _counts({str(one.path): one.state for one in files}) | {"open": 0}
    unknown: dict[str, Any] = dict.fromkeys(("rows", "quarantine", "open_gaps"))
    feed = [_row("exchanges", FEED, captures, None, dt.UTC, **unknown)] if files else []
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


def flows_rows() -> list[dict[str, Any]]:
    """A row for each flow that has files or rows, its files by state; one that cannot be read counts as failed."""
    from marketdata_assets.flows.status import summary

    rows: list[dict[str, Any]] = []
    with connect(stores.postgres_dsn()) as connection:
        for one in flows.found():
            flow = one.flow
            if flow is None:
                nothing = dict.fromkeys(STATES, 0) | {"failed": 1}
                rows.append(_row("flows", one.name, nothing, None, dt.UTC, rows=0, quarantine=0))
                continue
            seen = summary(connection, flow, Settings().flows_data_folder)
            if any(seen.states.values()) or seen.rows:
                counts: dict[str, Any] = {"rows": seen.rows, "quarantine": seen.quarantined}
                clock = ZoneInfo(flow.timezone)
                rows.append(_row("flows", one.name, seen.states, seen.newest, clock, **counts))
    return rows


def reconciliation_rows() -> list[dict[str, Any]]:
    """What the sources of A-share days disagree about, by months compared; none when nothing was ever compared."""
    from marketdata_assets.reconciliation.reconcile import TABLE, summary

    with connect(stores.postgres_dsn()) as connection:
        found = summary(connection)
    if found.last_compared is None:
        return []
    states = dict.fromkeys(STATES, 0) | {"ok": found.compared, "empty": found.empty}
    compared = f"{found.last_compared.astimezone(SHANGHAI):%Y-%m-%d %H:%M}"
    counts: dict[str, Any] = {
        "rows": found.disagreements,
        "disagreements": found.disagreements,
        "stocks": found.symbols,
    }
    return [_row(TABLE, TABLE, states, found.newest, SHANGHAI, last_compared=compared, **counts)]


def _row(
    group: str,
    asset: str,
    states: Mapping[str, int],
    newest: dt.date | None,
    clock: dt.tzinfo,
    form: str = "%Y-%m-%d",
    **others: Any,
) -> dict[str, Any]:
    about = {"group": group, "asset": asset, "partitions": sum(states.values()), **states}
    return {**about, "newest": newest and f"{newest:{form}}", "newest_at": newest and instant(newest, clock), **others}


def _counts(states: Mapping[str, str]) -> dict[str, int]:
    counts = Counter(states.values())
    return {state: counts[state] for state in STATES}


def instant(value: dt.date, clock: dt.tzinfo) -> dt.datetime:
    """A wall-clock time, or the start of a day, as an instant; a time with a time zone is returned as it is."""
    at = value if isinstance(value, dt.datetime) else dt.datetime.combine(value, dt.time())
    return at if at.tzinfo else at.replace(tzinfo=clock)
