"""Which dropped files each symbol-month was compared with, and so which are due; and what was read of each file.

A file is known by its name, size and modification time. One that was removed changes nothing: its rows are kept.
"""

import datetime as dt
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from marketdata_assets.loading.files import FileState
from marketdata_assets.reference.calendar import last_closed
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.clickhouse_ledger import MAX_REJECTS, Load
from marketdata_assets.ticks import file_ledger
from marketdata_assets.ticks.file_drop import ORDER_BOOKS, Content
from marketdata_assets.ticks.files import NAME, Files
from marketdata_assets.ticks.providers_file import Table as TableName
from marketdata_assets.ticks.records import Delivery
from marketdata_assets.ticks.reports import Unit
from marketdata_assets.ticks.tables import ORDER_BOOK, TICK_DATA, Table

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

DATASET = "tick_files"
"""The ledger's name for dropped files."""

_CODE_VERSION = "tick_files-1"


@dataclass(frozen=True)
class ChangedFiles:
    """The units whose files are new or changed since they were compared, and files that cannot be read, with causes."""

    units: frozenset[Unit] = frozenset()
    unreadable: tuple[str, ...] = ()


def changed(
    client: "Client",
    files: Files,
    table: Table,
    closed: dt.date,
    *,
    now_ns: int | None = None,
    quiet_seconds: float = 0.0,
    seconds: float | None = None,
) -> ChangedFiles:
    """The units of `table` that are due, since a file has changed that has days of them up to `closed`.

    Only files are opened that are not registered, for at most `seconds`; see `file_ledger.see`.
    """
    now_ns = time.time_ns() if now_ns is None else now_ns
    seen = file_ledger.see(client, files, table, now_ns=now_ns, quiet_seconds=quiet_seconds, seconds=seconds)
    return ChangedFiles(frozenset(file_ledger.due(client, table, closed)), tuple(seen.unreadable))


def changed_by_table(
    client: "Client", files: Files, now: dt.datetime, *, quiet_seconds: float = 0.0, seconds: float | None = None
) -> dict[TableName, ChangedFiles]:
    """The same of both tables that files are loaded into, on the days that are closed `now`."""
    closed = last_closed(now)
    return {
        "tick_data": changed(client, files, TICK_DATA, closed, quiet_seconds=quiet_seconds, seconds=seconds),
        "order_book": changed(client, files, ORDER_BOOK, closed, quiet_seconds=quiet_seconds, seconds=seconds),
    }


def record_compared(
    client: "Client", files: Files, table: Table, done: Iterable[tuple[Unit, Days, Delivery]]
) -> set[Unit]:
    """Record that units were compared with the files of their deliveries over these days; returns the units recorded.

    A unit is not recorded with a file that has earlier days of it: these are still due.
    """
    rows, recorded = list[dict[str, Any]](), set[Unit]()
    days_by_file = {
        content.file: file_ledger.ours(files, content.spans) for content in file_ledger.folder_of(files, table).read()
    }
    for unit, days, delivery in done:
        read = [(file, days_by_file[file]) for file in delivery.files if file in days_by_file]
        mine = [(file, spans[unit], len(spans)) for file, spans in read if unit in spans]
        early = [file for file, span, _ in mine if span.first < days.first]
        if not early and len(read) == len(delivery.files):
            recorded.add(unit)
        for file, span, units in mine:
            if file not in early:
                rows.append(file_ledger.unit_row(table, file, unit, span, units, min(span.last, days.last)))
    file_ledger.record_units(client, rows)
    return recorded


def record_files(
    client: "Client", files: Files, table: Table, run_id: str, started: dt.datetime, finished: dt.datetime
) -> int:
    """Record what was read of each file of `table`, with its rows that have no time; returns how many these are.

    The rejected rows with a time are those of their symbol-months, unless the whole file is rejected. A file that is no
    longer there has none.
    """
    about: dict[str, Any] = {"code_version": _CODE_VERSION, "run_id": run_id, "started": started, "finished": finished}
    folder = file_ledger.folder_of(files, table)
    columns = ledger.table(client, DATASET).select("source", "content_hash", "outcome")
    known = {source: (content, outcome) for source, content, outcome in columns.iter_rows()}
    entries = list[Load]()
    contents = {_place(table, content.file): content for content in folder.read()}
    for place, content in contents.items():
        identity = f"{content.file.size}:{content.file.modified_ns}"
        before = known.get(place)
        if before is None or before[0] != identity or before[1] == "removed":
            entries.append(_entry(place, identity, content, about))
    present = {_place(table, file) for file in folder.files()}
    for place, before in known.items():
        mine = place.startswith(f"{ORDER_BOOKS}/") == (table is ORDER_BOOK)
        if mine and place not in present and before[1] != "removed":
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
