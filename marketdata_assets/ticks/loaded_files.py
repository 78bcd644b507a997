"""Which dropped files each symbol-month was compared with, and so which are due; and what was read of each file.

A file is known by its name, size and modification time. One that was removed changes nothing: its rows are kept.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from marketdata_assets.loading.files import FileState
from marketdata_assets.logs import get_logger
from marketdata_assets.reference.calendar import last_closed
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.clickhouse_ledger import MAX_REJECTS, Load
from marketdata_assets.ticks.errors import BadFile
from marketdata_assets.ticks.file_drop import ORDER_BOOKS, Content, Folder, Spans
from marketdata_assets.ticks.files import NAME, Files
from marketdata_assets.ticks.providers_file import Table as TableName
from marketdata_assets.ticks.records import Delivery
from marketdata_assets.ticks.reports import Unit
from marketdata_assets.ticks.tables import ORDER_BOOK, TICK_DATA, TICK_FILE_UNITS, Table

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

DATASET = "tick_files"
"""The ledger's name for dropped files."""

_CODE_VERSION = "tick_files-1"

log = get_logger(__name__)


@dataclass(frozen=True)
class ChangedFiles:
    """The units whose files are new or changed since they were compared, and files that cannot be read, with causes."""

    units: frozenset[Unit] = frozenset()
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Compared:
    """A file as it was when units were compared with it. `done` are these units, where they are not `complete`; of
    `unclosed` ones days have closed since."""

    size: int
    modified: int
    complete: bool
    done: frozenset[Unit]
    unclosed: frozenset[Unit]


def folder_of(files: Files, table: Table) -> Folder:
    """The folder of the files that `table` is loaded from."""
    return files.of_books if table is ORDER_BOOK else files.of_bars


def changed(client: "Client", files: Files, table: Table, closed: dt.date) -> ChangedFiles:
    """The units of `table` that are due, since a file has changed that has days of them up to `closed`.

    Only files are opened that some of their units were not compared with.
    """
    folder = folder_of(files, table)
    known, units, unreadable = _compared(client, table, closed), set[Unit](), []
    for file in folder.files():
        before = known.get(file.name)
        if before and (before.size, before.modified) == (file.size, file.modified_ns):
            units |= before.unclosed
            if before.complete:
                continue
        else:
            before = None
        try:
            days = _ours(files, folder.spans(file))
        except BadFile as error:
            log.warning("file_unreadable", file=file.name, error=error)
            unreadable.append(str(error))
            continue
        done = before.done if before else frozenset[Unit]()
        units |= {unit for unit, span in days.items() if span.first <= closed and unit not in done}
    return ChangedFiles(frozenset(units), tuple(unreadable))


def changed_by_table(client: "Client", files: Files, now: dt.datetime) -> dict[TableName, ChangedFiles]:
    """The same of both tables that files are loaded into, on the days that are closed `now`."""
    closed = last_closed(now)
    return {
        "tick_data": changed(client, files, TICK_DATA, closed),
        "order_book": changed(client, files, ORDER_BOOK, closed),
    }


def record_compared(
    client: "Client", files: Files, table: Table, done: Iterable[tuple[Unit, Days, Delivery]]
) -> set[Unit]:
    """Record that units were compared with the files of their deliveries over these days; returns the units recorded.

    A unit is not recorded with a file that has earlier days of it: these are still due.
    """
    rows, recorded = list[dict[str, Any]](), set[Unit]()
    days_by_file = {content.file: _ours(files, content.spans) for content in folder_of(files, table).read()}
    for unit, days, delivery in done:
        read = [(file, days_by_file[file]) for file in delivery.files if file in days_by_file]
        mine = [(file, spans[unit], len(spans)) for file, spans in read if unit in spans]
        early = [file for file, span, _ in mine if span.first < days.first]
        if not early and len(read) == len(delivery.files):
            recorded.add(unit)
        for file, span, units in mine:
            if file not in early:
                name = {"dataset": table.name, "file": file.name, "symbol": unit.symbol, "month": unit.month}
                state = {"size": file.size, "modified": file.modified_ns, "units": units}
                rows.append(name | state | {"last": span.last, "compared": min(span.last, days.last)})
    if rows:
        clickhouse.insert(
            client, TICK_FILE_UNITS.name, pl.DataFrame(rows, TICK_FILE_UNITS.columns), TICK_FILE_UNITS.dictionaries
        )
    return recorded


def record_files(
    client: "Client", files: Files, table: Table, run_id: str, started: dt.datetime, finished: dt.datetime
) -> int:
    """Record what was read of each file of `table`, with its rows that have no time; returns how many these are.

    The rejected rows with a time are those of their symbol-months, unless the whole file is rejected. A file that is no
    longer there has none.
    """
    about: dict[str, Any] = {"code_version": _CODE_VERSION, "run_id": run_id, "started": started, "finished": finished}
    folder, known = folder_of(files, table), {load.source: load for load in ledger.entries(client, DATASET)}
    entries = list[Load]()
    contents = {_place(table, content.file): content for content in folder.read()}
    for place, content in contents.items():
        identity = f"{content.file.size}:{content.file.modified_ns}"
        before = known.get(place)
        if before is None or before.content_hash != identity or before.outcome == "removed":
            entries.append(_entry(place, identity, content, about))
    present = {_place(table, file) for file in folder.files()}
    for place, before in known.items():
        mine = place.startswith(f"{ORDER_BOOKS}/") == (table is ORDER_BOOK)
        if mine and place not in present and before.outcome != "removed":
            entries.append(Load(dataset=DATASET, source=place, unit=place, outcome="removed", **about))
    if entries:
        ledger.record(client, entries, ledger.next_version(client))
    return sum(len(content.undated) for content in contents.values())


def undated(client: "Client") -> dict[str, int]:
    """How many rejected rows of files have no time, by table."""
    counts = dict.fromkeys((TICK_DATA.name, ORDER_BOOK.name), 0)
    sql = f"""
        SELECT source, length(reject_line) AS rows FROM {ledger.LEDGER}
        WHERE dataset = {{dataset:String}} AND aspect = {{aspect:String}} ORDER BY version DESC LIMIT 1 BY source"""
    found = clickhouse.read(client, sql, {"dataset": DATASET, "aspect": ledger.COMMITTED})
    for place, rows in found.iter_rows():
        counts[ORDER_BOOK.name if place.startswith(f"{ORDER_BOOKS}/") else TICK_DATA.name] += rows
    return counts


def _ours(files: Files, spans: Spans) -> dict[Unit, Days]:
    """The first and last day of each unit that a file has."""
    ours = files.config.symbol_mapping.ours
    return {Unit(symbol, month): days for (name, month), days in spans.items() if (symbol := ours(name))}


def _place(table: Table, file: FileState) -> str:
    """A file as its entry in the ledger names it: relative to the folder of ticks."""
    return f"{ORDER_BOOKS}/{file.name}" if table is ORDER_BOOK else file.name


def _entry(place: str, identity: str, content: Content, about: Mapping[str, Any]) -> Load:
    rejected = content.rejects() if content.flaw else content.undated
    return Load(
        dataset=DATASET,
        source=place,
        unit=place,
        content_hash=identity,
        attempted_hash=identity,
        read=content.read,
        skipped=content.skipped,
        rejected=content.rejected,
        rows=content.read - content.rejected - content.skipped,
        rejects=rejected[:MAX_REJECTS],
        outcome="failed" if content.flaw else "ok" if content.rows else "empty",
        error=str(content.flaw) if content.flaw else None,
        origin=NAME,
        **about,
    )


def _compared(client: "Client", table: Table, closed: dt.date) -> Mapping[str, _Compared]:
    """The newest known state of each file."""
    sql = """
        SELECT name, size, modified, any(units) AS total, count() AS known, max(seen) AS at,
            groupArrayIf(unit, compared < least(last, {closed:Date})) AS unclosed,
            if(known < total, groupArray(unit), []) AS done
        FROM (
            SELECT *, toString(file) AS name, concat(toString(symbol), ' ', toString(month)) AS unit
            FROM tick_file_units FINAL WHERE dataset = {dataset:String}
        )
        GROUP BY name, size, modified ORDER BY at"""
    found = clickhouse.read(client, sql, {"dataset": table.name, "closed": closed})
    return {
        row["name"]: _Compared(
            row["size"],
            row["modified"],
            row["known"] >= row["total"],
            frozenset(Unit(*name.split()) for name in row["done"]),
            frozenset(Unit(*name.split()) for name in row["unclosed"]),
        )
        for row in found.iter_rows(named=True)
    }
