"""When the ticks domain runs automatically: after the close, on dropped files, the list of symbols, and the nightly
repair of symbol-months that are missing, failed or stale.

New files and outdated months are found by `ticks.file_scan` and `ticks.status`. No request is sent to a provider unless
TUSHARE_TOKEN is set or MARKETDATA_PROVIDERS names a file: until then the schedules skip.
"""

import datetime as dt
import time
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from marketdata_assets.defs.partition_results import find_mismatches
from marketdata_assets.defs.runs import Repair, runs_that_load, schedule, sensor
from marketdata_assets.defs.selection import months_of
from marketdata_assets.defs.ticks import run_config, symbols
from marketdata_assets.loading.reports import and_more
from marketdata_assets.partitions import months_of_tags, tick_key, tick_unit
from marketdata_assets.resources import ClickHouse, Resources, Ticks
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks.providers_file import TABLES, Table
from marketdata_assets.ticks.reports import Unit, by_month

if TYPE_CHECKING:
    from marketdata_assets.ticks.file_scan import FileScan

SECONDS_FOR_FILES = 5.0  # of a nightly check, for reading what is in each of bars and order books
NO_NETWORK = ["files"]
NOT_SET_UP = "no provider on the network is set up: set TUSHARE_TOKEN, or MARKETDATA_PROVIDERS to a providers file"

ticks_job = dg.define_asset_job(
    "ticks", [*TABLES], description="Load ticks of some months, each with all symbols of the selection."
)
symbols_job = dg.define_asset_job(
    "symbols",
    ["trading_calendar", "instruments", "symbol_registry"],
    description="Refresh the trading calendar, the instruments and the list of symbols.",
)


def busy_months(instance: dg.DagsterInstance) -> set[str]:
    """The months that runs in progress load, queued ones included."""
    runs = runs_that_load(instance, TABLES, (run_config.JOB, "ticks"))
    return {month for run in runs for month in {*months_of_tags(run.tags), *months_of(run.run_config)}}


@schedule(
    job_name=run_config.JOB,
    cron_schedule="11 16 * * 1-5",
    description="After the close of a trading day: the current month of every symbol, its missing days.",
)
def ticks_daily(
    context: dg.ScheduleEvaluationContext, clickhouse: ClickHouse, ticks: Ticks
) -> dg.RunRequest | dg.SkipReason:
    from marketdata_assets.reference import stored
    from marketdata_assets.reference.calendar import ZONE, last_closed
    from marketdata_assets.reference.records import Days

    if not ticks.network:
        return dg.SkipReason(NOT_SET_UP)
    now = context.scheduled_execution_time
    day = last_closed(now)
    with clickhouse.client() as client:
        calendar = stored.calendar(client)
    if day != now.astimezone(ZONE).date() or not calendar.trading_days(Days(day, day)):
        return dg.SkipReason("the exchange was closed today")
    if not symbols.known(context.instance):
        return dg.SkipReason("no symbol is registered; materialise symbol_registry")
    month = f"{day:%Y-%m}"
    if month in busy_months(context.instance):
        return dg.SkipReason(f"a run over {month} is in progress; nightly repair loads what it does not")
    return dg.RunRequest(run_config=run_config.adhoc_config({month: []}, run_config.DAILY, finished_only=True))


@schedule(
    job=symbols_job,
    cron_schedule="23 8 * * 1-5",
    description="Before a trading day: refresh calendar, instruments and list of symbols; new ones become partitions.",
)
def ticks_symbols_daily(ticks: Ticks) -> dg.RunRequest | dg.SkipReason:
    if not ticks.network and ticks.symbols_file is None:
        return dg.SkipReason(f"{NOT_SET_UP}, or MARKETDATA_TICKS_SYMBOLS to a list of symbols")
    return dg.RunRequest()


@sensor(
    job_name=run_config.JOB,
    minimum_interval_seconds=60,
    description="New or changed files of ticks: a run over the symbol-months in them, from the files only.",
)
def ticks_files(
    context: dg.SensorEvaluationContext, clickhouse: ClickHouse, ticks: Ticks
) -> dg.SensorResult | dg.SkipReason:
    from marketdata_assets.ticks.file_scan import mark, scan
    from marketdata_assets.ticks.tables import ORDER_BOOK, TICK_DATA

    dropped = ticks.dropped()
    if dropped is None:
        return dg.SkipReason("the providers file has no files, or they are disabled")
    with clickhouse.client("ticks") as client:
        now_ns = time.time_ns()
        found = scan(client, dropped, context.cursor, now_ns=now_ns, quiet_seconds=ticks.quiet_seconds)
        units, books = found.units(TICK_DATA), found.units(ORDER_BOOK)
        if {unit.month for unit in (*units, *books)} & busy_months(context.instance):
            return dg.SkipReason("a run over these months is in progress; the files are requested when it has ended")
        mark(client, found)
    if not found.batches:
        context.update_cursor(found.cursor)
        return dg.SkipReason(_nothing_new(found, ticks))
    requests = []
    if units:
        # A covered day may have changed in the files; rows of a provider with a higher priority are kept.
        config = run_config.adhoc_config(
            by_month(units), run_config.DAILY, providers=NO_NETWORK, refetch=True, registered_files=True
        )
        requests.append(dg.RunRequest(run_key=f"bars:{found.batches['tick_data'].key}", run_config=config))
    if books:
        config = run_config.adhoc_config(by_month(books), ["order_book"], providers=NO_NETWORK, registered_files=True)
        requests.append(dg.RunRequest(run_key=f"books:{found.batches['order_book'].key}", run_config=config))
    return dg.SensorResult(run_requests=requests, cursor=found.cursor)


def _nothing_new(found: "FileScan", ticks: Ticks) -> str:
    broken = f"; not loaded: {and_more(found.unreadable, 5, '; ')}" if found.unreadable else ""
    left = f"; {found.left} new files are read by the next scans" if found.left else ""
    return f"{ticks.nothing_new(found.unfinished)}{left}{broken}"


def due(instance: dg.DagsterInstance, has: Resources, _: Collection[str] = ()) -> list[dg.RunRequest]:
    """Run requests: outdated units, units whose dropped files have changed, factors that do not follow from their bars,
    and loaded units that Dagster does not show as loaded, by table.

    Files are registered for some seconds; what is left, and what is still being written, is for the sensor.
    """
    from marketdata_assets.ticks.status import behind, next_months

    now, ticks = dt.datetime.now(dt.UTC), has.ticks
    months = run_config.window_now()
    with has.clickhouse.client("ticks") as client:
        found = behind(client, months, now)
        changes = _changed(client, ticks, now)
        marks = {table: _unmarked(instance, client, table, months) for table in TABLES}
        # Without a network no bars can be fetched, but factors of existing bars can be computed.
        load = set(found.load) if ticks.network else set[Unit]()
        bars, books = (changes.get(table, set()) for table in ("tick_data", "order_book"))
        load |= next_months(client, load, months)
        bars |= next_months(client, bars, months)
    options: dict[str, Any] = {} if ticks.network else {"providers": NO_NETWORK}
    options["registered_files"] = True
    requests = [
        *_request("load", load, run_config.DAILY, **options),
        *_request("files", bars - load, run_config.DAILY, providers=NO_NETWORK, registered_files=True),
        *_request("books", books, ["order_book"], providers=NO_NETWORK, registered_files=True),
        *_request("factors", set(found.factors) - load - bars, ["factors"], **options),
    ]
    for table, units in marks.items():
        seen = {*found.load, *found.factors, *bars} if table in run_config.DAILY else books
        requests += _request(f"marks {table}", units - seen, [table], providers=NO_NETWORK, registered_files=True)
    return requests


def repairs() -> list[Repair]:
    """What the nightly repair checks."""
    jobs = (run_config.JOB, "ticks")
    return [Repair("ticks", TABLES, jobs, due, ranges=False, selections=True, after=("reference",))]


def _changed(client: Client, ticks: Ticks, now: dt.datetime) -> "dict[Table, set[Unit]]":
    """The units of finished files; none when the providers file has no files."""
    from marketdata_assets.ticks.file_ledger import changed_by_table

    dropped, quiet = ticks.dropped(), ticks.quiet_seconds
    return changed_by_table(client, dropped, now, quiet_seconds=quiet, seconds=SECONDS_FOR_FILES) if dropped else {}


def _unmarked(instance: dg.DagsterInstance, client: Client, table: Table, months: Sequence[str]) -> set[Unit]:
    """Units of the window that are loaded, by the ledger, and that Dagster shows as failed or not at all."""
    import polars as pl

    from marketdata_assets.stores.clickhouse_ledger import table as ledger_of

    names = set(symbols.known(instance))
    entries = ledger_of(client, table, months).filter(pl.col("outcome").is_in(["ok", "empty"]))
    proven = entries.filter((pl.col("rows") > 0) | (pl.col("slice_states") == ""))
    units = proven.select("source", "unit").iter_rows()
    loaded = [str(tick_key(Unit(symbol, month))) for symbol, month in units if symbol in names]
    return {tick_unit(key) for key in find_mismatches(instance, table, run_config.grid_now(), loaded)}


def _request(key: str, units: Collection[Unit], tables: Sequence[Table], **options: Any) -> Iterable[dg.RunRequest]:
    if units:
        config = run_config.adhoc_config(by_month(units), tables, **options)
        yield dg.RunRequest(key, job_name=run_config.JOB, run_config=config)
