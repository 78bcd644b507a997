"""The ledger of dropped files: which symbol-months each has, which files are due, which a load has to read, and what
was read of each.

A file is registered once it is finished: its symbol-months are recorded, and from then on nothing but these records is
needed to say what is due. A scan stops after some seconds and continues where it ended.
"""

import datetime as dt
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from marketdata_assets.loading.file_ledger import FORGOTTEN, FileEntry, FileState, Recorded, other_suffix, state_of
from marketdata_assets.loading.files import Delivered, everything, file_hash
from marketdata_assets.loading.watch import fingerprint
from marketdata_assets.logs import get_logger
from marketdata_assets.reference.calendar import Closed, closings
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse, clickhouse_files
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.clickhouse_files import NEVER
from marketdata_assets.stores.clickhouse_ledger import MAX_REJECTS, Load
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks.file_drop import ORDER_BOOKS, SUFFIXES, Chosen, Content, Folder, Listing, Spans
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.providers_file import Table as TableName
from marketdata_assets.ticks.records import Dropped
from marketdata_assets.ticks.registry import OF_REMOVED
from marketdata_assets.ticks.reports import Unit
from marketdata_assets.ticks.tables import ORDER_BOOK, TICK_DATA, TICK_FILE_UNITS, Table

DATASET = "tick_files"
"""The ledger's name for dropped files."""

_CODE_VERSION = "tick_files-1"

DONE = dt.date(2100, 1, 1)
"""`compared` of a file of which every day is loaded."""
CHUNK_FILES = 500
CHUNK_UNITS = 100_000
MAX_BOUND = 500

_CLOSED = """
    transform(
        extract(toString(symbol), '[^.-]*$'), {suffixes:Array(String)}, {closings:Array(Date)}, {closed:Date}
    )""".strip()
"""In SQL: the last closed day of the exchange of `symbol`; `newest` is that of any."""
_DUE = f"""
    last > toDate(0) AND first <= {_CLOSED} AND symbol NOT IN ({OF_REMOVED}) AND (
        file IN (SELECT file FROM marketdata_files FINAL WHERE dataset = {{dataset:String}} AND state = 'forgotten')
        OR compared < least(last, {_CLOSED}) AND (file, size, modified) IN (
            SELECT file, size, modified FROM marketdata_files FINAL WHERE dataset = {{dataset:String}}
            AND (state IN ('waiting', 'failed') OR state = 'loaded' AND compared < least(last, {{newest:Date}}))
        )
        OR (file, size, modified) IN (
            SELECT file, size, modified FROM marketdata_files FINAL
            WHERE dataset = {{dataset:String}} AND state IN ('waiting', 'failed')
        ) AND (file, size, modified) NOT IN (
            SELECT file, size, modified FROM tick_file_units FINAL WHERE dataset = {{dataset:String}}
            AND first <= {_CLOSED} AND compared < least(last, {_CLOSED}) AND symbol NOT IN ({OF_REMOVED})
        )
    )"""
"""In SQL: what a forgotten file still has, what is not compared, and all of a file whose last load was interrupted
between its last unit and its end."""

log = get_logger(__name__)


@dataclass(frozen=True)
class Seen:
    """The files of one kind, their rows of the ledger (`clickhouse_files.SCANNED`), the causes of those that cannot be
    read, whose symbols are unknown, and how many finished ones are not registered yet."""

    listing: Listing
    rows: pl.DataFrame
    unreadable: list[str]
    left: int

    @property
    def unfinished(self) -> list[str]:
        return self.rows.filter(pl.col("state") == "unfinished")["file"].to_list()


def folder_of(files: Files, table: Table) -> Folder:
    """The folder of the files that `table` is loaded from."""
    return files.of_books if table is ORDER_BOOK else files.of_bars


def see(
    client: Client,
    files: Files,
    table: Table,
    *,
    now_ns: int,
    quiet_seconds: float = 0.0,
    seconds: float | None = None,
    again: bool = True,
) -> Seen:
    """Compare the folder with the ledger, and then register finished files for at most `seconds`.

    Finished are files that have not changed for `quiet_seconds` since they were first observed. With `again`, files
    that could not be read are tried once more.
    """
    listing = folder_of(files, table).listing()
    config = files.config
    labels = (files.label, *(f"{suffix}={label}" for suffix, label in sorted(config.labels.items())))
    settings = fingerprint(config.symbol_mapping.model_dump_json(), config.session.timezone, *labels)
    rows = clickhouse_files.observe(client, table.name, listing.files, settings, now_ns)
    quiet = now_ns - pl.col("observed") >= int(quiet_seconds * 1e9)
    broken = pl.lit(again) & (pl.col("state") == "failed") & (pl.col("units") == 0)
    ready = rows.filter((pl.col("state") == "unfinished") & quiet | broken)
    until = None if seconds is None else time.monotonic() + seconds  # listing a folder may take longer than that
    finished = [listing.state(*row) for row in ready.select("file", "size", "modified").iter_rows()]
    forgotten = {name: text for name, text in ready.select("file", "forgotten").iter_rows() if text}
    changed = _register(client, files, table, finished, forgotten, until)
    done = pl.DataFrame(changed, _REGISTERED, orient="row").with_columns(compared=pl.lit(NEVER))
    ready = ready.drop("state", "units").join(done, on="file")
    ready = ready.with_columns(
        forgotten=pl.when(pl.col("state") == "forgotten").then("forgotten").otherwise(pl.lit(""))
    )
    clickhouse_files.record(client, clickhouse_files.complete(client, table.name, ready))
    left = rows.filter((pl.col("state") == "unfinished") & quiet).height - len(changed)
    if changed:
        rows = pl.concat([ready.select(rows.columns), rows.join(ready, on="file", how="anti")]).sort("file")
    return Seen(listing, rows, _unreadable(client, table, rows), max(left, 0))


def known(client: Client, files: Files, table: Table) -> Seen:
    """The files of the ledger that are still there as they were registered; nothing is compared or registered."""
    listing = folder_of(files, table).listing()
    rows = clickhouse_files.scanned(client, table.name).filter(~pl.col("state").is_in(["removed", "lost"]))
    return Seen(listing, rows, _unreadable(client, table, rows), 0)


def _unreadable(client: Client, table: Table, rows: pl.DataFrame) -> list[str]:
    broken = rows.filter(pl.col("state").is_in(["failed", "forgotten"]), pl.col("units") == 0).select("file")
    return list(filter(None, clickhouse_files.complete(client, table.name, broken.sort("file"))["error"]))


_REGISTERED = pl.Schema(
    {"file": pl.String(), "state": pl.String(), "units": pl.Int64(), "last": pl.Date(), "error": pl.String()}
)


def _register(
    client: Client,
    files: Files,
    table: Table,
    ready: Iterable[Delivered],
    forgotten: Mapping[str, str],
    until: float | None,
) -> list[tuple[str, str, int, dt.date, str]]:
    """Read which symbol-months files have, and record these; what is to be recorded of each file that was read.

    Of `forgotten` files, by name, the hash of the content is known that is not loaded.
    """
    folder, done, units = folder_of(files, table), list[tuple[str, str, int, dt.date, str]](), list[dict[str, Any]]()
    for file in ready:
        if until is not None and time.monotonic() > until:
            break
        try:
            if file.name in forgotten and file_hash(file) == forgotten[file.name]:
                done.append((file.name, "forgotten", 0, NEVER, ""))
                continue
            spans = ours(files, folder.spans(file))
            content = None if spans else folder.content(file)
        except Exception as error:  # of one file: named until it is replaced
            log.warning("file_unreadable", file=file.name, error=error)
            done.append((file.name, "failed", 0, NEVER, str(error) or type(error).__name__))
            continue
        if content is not None and content.read:  # no row has both a symbol and a time that can be read
            _record_rows(client, table, [content], _recorded(client, table), "scan")
            done.append((file.name, "failed", 0, NEVER, str(content.flaw)))
            continue
        last = max((days.last for days in spans.values()), default=NEVER)
        done.append((file.name, "waiting" if spans else "loaded", len(spans), last, ""))
        units += (unit_row(table, file, unit, days, len(spans), NEVER) for unit, days in spans.items())
        if len(units) >= CHUNK_UNITS:
            record_units(client, units)
            units.clear()
    record_units(client, units)
    return done


def unit_row(
    table: Table,
    file: Delivered,
    unit: Unit,
    days: Days,
    units: int,
    compared: dt.date,
    replaced: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """A row of `tick_file_units`: the days that a file has of a unit, up to which they are compared, and how many of
    its rows newer files have `replaced`."""
    name = {"dataset": table.name, "file": file.name, "symbol": unit.symbol, "month": unit.month}
    state = {"size": file.size, "modified": file.modified_ns, "units": units}
    newer = {"newer": [*(replaced or {})], "newer_rows": [*(replaced or {}).values()]}
    return name | state | {"first": days.first, "last": days.last, "compared": compared} | newer


def record_units(client: Client, rows: Sequence[Mapping[str, Any]]) -> None:
    """Record rows of `tick_file_units`."""
    frame = pl.DataFrame(rows, TICK_FILE_UNITS.columns)
    clickhouse.insert(client, TICK_FILE_UNITS.name, frame, TICK_FILE_UNITS.dictionaries)


_UNTIL = f"""
    multiIf(
        compared >= last, toDate('{DONE}'), compared = toDate(0) AND first > {_CLOSED}, first - 1, compared
    )"""


def due(client: Client, table: Table, closed: Closed, files: Collection[str] | None = None) -> set[Unit]:
    """The symbol-months of waiting and forgotten files with something to do up to `closed`; of some `files`, or of all.

    Symbols that a person removed are left out.
    """
    sql = f"""
        SELECT DISTINCT toString(symbol) AS symbol, toString(month) AS month FROM tick_file_units FINAL
        WHERE dataset = {{dataset:String}} AND {_DUE}"""
    parameters: dict[str, Any] = {"dataset": table.name, **_closings(closed)}
    if files is None:
        return {Unit(*row) for row in clickhouse.read(client, sql, parameters).iter_rows()}
    names, units = sorted(files), set[Unit]()
    sql += " AND file IN {files:Array(String)}"
    for at in range(0, len(names), CHUNK_FILES):
        found = clickhouse.read(client, sql, parameters | {"files": names[at : at + CHUNK_FILES]})
        units |= {Unit(*row) for row in found.iter_rows()}
    return units


def _closings(closed: Closed) -> dict[str, Any]:
    """The parameters of `_CLOSED`."""
    each = closed if isinstance(closed, Mapping) else {"": closed}
    days = list(each.values())
    return {"suffixes": list(each), "closings": days, "closed": days[0], "newest": max(days)}


def units_of(client: Client, table: Table, file: str) -> list[Unit]:
    """The symbol-months of which rows of a file may be in the table."""
    sql = """
        SELECT toString(symbol) AS symbol, toString(month) AS month FROM tick_file_units FINAL
        WHERE dataset = {dataset:String} AND file = {file:String} AND last > toDate(0) ORDER BY month, symbol"""
    return [Unit(*row) for row in clickhouse.read(client, sql, {"dataset": table.name, "file": file}).iter_rows()]


def symbols(client: Client, table: Table) -> list[str]:
    """Every symbol that a file of the folder has a row of."""
    sql = """
        SELECT DISTINCT toString(symbol) AS symbol FROM tick_file_units FINAL
        WHERE dataset = {dataset:String} AND (file, size, modified) IN (
            SELECT file, size, modified FROM marketdata_files FINAL
            WHERE dataset = {dataset:String} AND state NOT IN ('forgotten', 'removed', 'lost')
        ) ORDER BY symbol"""
    return clickhouse.read(client, sql, {"dataset": table.name})["symbol"].to_list()


def select(client: Client, files: Files, table: Table, units: Collection[Unit], seen: Seen) -> None:
    """Let the folder read only files that have some of `units` and have not changed since they were registered."""
    sql = """
        SELECT toString(units.symbol) AS symbol, toString(units.month) AS month, toString(units.file) AS file,
            files.size AS size, files.modified AS modified, toString(files.state) AS state, files.age AS age,
            (units.size, units.modified) = (files.size, files.modified) AS current
        FROM (SELECT * FROM tick_file_units FINAL WHERE dataset = {dataset:String} AND last > toDate(0)) AS units
        JOIN (SELECT * FROM marketdata_files FINAL WHERE dataset = {dataset:String}) AS files
            ON toString(units.file) = files.file
        WHERE units.month IN {months:Array(String)}"""
    parameters: dict[str, Any] = {"dataset": table.name, "months": sorted({unit.month for unit in units})}
    names = sorted({unit.symbol for unit in units})
    if len(names) <= MAX_BOUND:
        sql += " AND units.symbol IN {symbols:Array(String)}"
        parameters["symbols"] = names
    wanted = pl.DataFrame(sorted(units), {"symbol": pl.String, "month": pl.String}, orient="row")
    found = clickhouse.read(client, sql, parameters).join(wanted, on=["symbol", "month"], how="semi")
    listed = seen.listing.files.with_columns(listed=pl.lit(True))
    found = found.join(listed, on=["file", "size", "modified"], how="left")
    folder, chosen, ages = folder_of(files, table), dict[tuple[str, str], Chosen](), dict[str, int]()
    for symbol, month, name, size, modified, state, age, current, here in found.iter_rows():
        theirs = files.config.symbol_mapping.theirs(symbol)
        if theirs is None:
            continue
        mine = chosen.setdefault((theirs, month), Chosen())
        readable = here and state in ("waiting", "failed", "loaded")
        if state == "forgotten":
            mine.withdrawn.add(name)
        elif readable and current:
            mine.files.add(seen.listing.state(name, size, modified))
        else:
            good = readable and _is_good(folder, seen.listing.state(name, size, modified))
            ages[name] = modified if good else age or modified
    folder.select(chosen, ages)


def _is_good(folder: Folder, file: Delivered) -> bool:
    """Whether the file will be loaded, of other units than those that it had before."""
    content = folder.kept(file)
    return isinstance(content, Content) and content.flaw is None


def settle(
    client: Client,
    files: Files,
    table: Table,
    contents: Iterable[Content],
    errors: Mapping[Unit, str],
    closed: Closed,
    run_id: str,
) -> int:
    """Record what became of the files that a load has read, and which of their rows are of no symbol-month; returns how
    many these are. `errors` are those of the units that failed."""
    folder, read = folder_of(files, table), {content.file.name: content for content in contents}
    entered = _recorded(client, table)
    _record_rows(client, table, read.values(), entered, run_id)
    present = {_place(table, file.name) for file in folder.files()}
    if gone := entered.keys() - present:
        ledger.forget(client, DATASET, gone)
    broken = folder.broken()
    if not read and not broken:
        return 0
    names = pl.DataFrame({"file": sorted({*read, *broken})}, {"file": pl.String})
    known = clickhouse_files.complete(client, table.name, names)
    known = known.filter(~pl.col("state").is_in(["forgotten", "removed", "lost"]))
    state = _compared(client, table, known["file"].to_list(), closed)
    rows = []
    for row in known.iter_rows(named=True):
        content = read.get(row["file"])
        pending, until = state.get((row["file"], row["size"], row["modified"]), (0, DONE))
        error = broken.get(row["file"], "")
        if content is not None:
            if (content.file.size, content.file.modified_ns) != (row["size"], row["modified"]):
                continue
            counts = {"read": content.read, "skipped": content.skipped, "rejected": content.rejected}
            row |= counts | {"rows": content.loaded} | ({} if content.flaw else {"age": row["modified"]})
            failed = (errors[unit] for unit in ours(files, content.spans) if unit in errors)
            error = str(content.flaw) if content.flaw else next(failed, "") if pending else ""
        ended = "failed" if error else "waiting" if pending else "loaded"
        rows.append(row | {"state": ended, "compared": until, "error": error, "attempts": row["attempts"] + 1})
    clickhouse_files.record(client, pl.DataFrame(rows, known.schema))
    return sum(len(content.undated) for content in read.values())


def _compared(
    client: Client, table: Table, names: Sequence[str], closed: Closed
) -> dict[tuple[str, int, int], tuple[int, dt.date]]:
    """Of each file how many units are due, and up to which day all are loaded."""
    sql = f"""
        SELECT toString(file) AS file, size, modified,
            toInt64(countIf(
                first <= {_CLOSED} AND compared < least(last, {_CLOSED}) AND symbol NOT IN ({OF_REMOVED})
            )) AS pending,
            min({_UNTIL}) AS until
        FROM tick_file_units FINAL
        WHERE dataset = {{dataset:String}} AND file IN {{files:Array(String)}} GROUP BY file, size, modified"""
    found: dict[tuple[str, int, int], tuple[int, dt.date]] = {}
    for at in range(0, len(names), CHUNK_FILES):
        parameters = {"dataset": table.name, **_closings(closed), "files": names[at : at + CHUNK_FILES]}
        for name, size, modified, pending, until in clickhouse.read(client, sql, parameters).iter_rows():
            found[name, size, modified] = pending, until
    return found


def ours(files: Files, spans: Spans) -> dict[Unit, Days]:
    """The first and last day of each unit that a file has."""
    mapping = files.config.symbol_mapping
    return {Unit(symbol, month): days for (name, month), days in spans.items() if (symbol := mapping.ours(name))}


def due_by_table(client: Client, now: dt.datetime) -> dict[TableName, set[Unit]]:
    """By table, the units with days closed `now` that files have which a scan has registered and no load has loaded."""
    closed = closings(now)
    return {"tick_data": due(client, TICK_DATA, closed), "order_book": due(client, ORDER_BOOK, closed)}


def changed_by_table(
    client: Client, files: Files, now: dt.datetime, *, quiet_seconds: float = 0.0, seconds: float | None = None
) -> dict[TableName, set[Unit]]:
    """The same once finished files are registered, those of each table for at most `seconds`; see `see`."""
    for table in (TICK_DATA, ORDER_BOOK):
        see(client, files, table, now_ns=time.time_ns(), quiet_seconds=quiet_seconds, seconds=seconds)
    return due_by_table(client, now)


@dataclass(frozen=True)
class Compared:
    """A unit that was compared with the `dropped` files over these days, of which all are closed up to `closed`;
    `replaced` is that of the decision."""

    unit: Unit
    days: Days
    closed: dt.date
    dropped: Dropped
    replaced: Mapping[str, Mapping[str, int]]

    @property
    def whole(self) -> bool:
        """Whether no closed day of the month is left out."""
        month = Days.month(self.unit.month)
        return self.days.first == month.first and self.days.last >= min(month.last, self.closed)


def record_compared(client: Client, files: Files, table: Table, done: Iterable[Compared]) -> set[Unit]:
    """Record that units were compared with their dropped files; returns the units recorded.

    A unit is not recorded with a file that has earlier days of it: these are still due.
    """
    rows, recorded = list[dict[str, Any]](), set[Unit]()
    days_by_file = {content.file: ours(files, content.spans) for content in folder_of(files, table).read()}
    for one in done:
        read = [(file, days_by_file[file]) for file in one.dropped.files if file in days_by_file]
        mine = [(file, spans[one.unit], len(spans)) for file, spans in read if one.unit in spans]
        early = [file for file, span, _ in mine if span.first < one.days.first]
        withdrawn = sorted(one.dropped.withdrawn) if one.whole else []
        if not early and len(read) == len(one.dropped.files) and len(withdrawn) == len(one.dropped.withdrawn):
            recorded.add(one.unit)
        for file, span, units in mine:
            if file not in early:
                until = min(span.last, one.days.last)
                rows.append(unit_row(table, file, one.unit, span, units, until, one.replaced.get(file.name)))
        gone = [Delivered(name, "") for name in withdrawn]
        rows += (unit_row(table, file, one.unit, Days(NEVER, NEVER), 0, DONE) for file in gone)
    record_units(client, rows)
    return recorded


def entries(client: Client, files: Files) -> list[FileEntry]:
    """The state of everything below the folder of ticks, and what became of the rows of each file.

    Nothing is registered here: a file that no scan has seen is due.
    """
    recorded: dict[str, Recorded] = {}
    for table in (TICK_DATA, ORDER_BOOK):
        prefix, newer = _place(table, ""), _newer(client, table)
        for row in clickhouse_files.table(client, table.name).iter_rows(named=True):
            name, state, identity = prefix + row["file"], row["state"], f"{row['size']}:{row['modified']}"
            if state == "loaded":
                lost = {prefix + other: rows for other, rows in newer.get((row["file"], identity), {}).items()}
                kept, ended = row["rows"] - sum(lost.values()), FileState.LOADED if row["rows"] else FileState.EMPTY
                entry = FileEntry(name, ended, "", row["read"], kept, row["rejected"], row["skipped"], lost)
            elif state == "forgotten" and row["size"] and not row["error"]:
                entry = FileEntry(name, FileState.NOT_TAKEN, FORGOTTEN.format(domain="ticks", file=name))
            elif state == "forgotten":  # a file that cannot be read, or is empty, stays that
                entry = FileEntry(name, FileState.FAILED if row["error"] else FileState.EMPTY, row["error"])
            else:
                entry = FileEntry(name, *_UNSETTLED.get(state, _UNSETTLED["waiting"]))
                entry = replace(entry, reason=row["error"] or entry.reason)
            recorded[name] = Recorded(identity, entry)
    return [
        state_of(one, recorded.get(one.name), not_taken=other_suffix(one.name, SUFFIXES, "ticks"))
        for one in everything(files.folder)
    ]


_UNSETTLED = {
    "unfinished": (FileState.WAITING, "it may still be being written"),
    "waiting": (FileState.DUE, "never loaded, or not all of its days"),
    "failed": (FileState.FAILED, ""),
}


def _newer(client: Client, table: Table) -> dict[tuple[str, str], dict[str, int]]:
    """By file and identity, how many of its rows each newer file has replaced."""
    sql = """
        SELECT toString(file) AS name, concat(toString(size), ':', toString(modified)) AS identity, by,
            sum(rows) AS rows
        FROM tick_file_units FINAL ARRAY JOIN newer AS by, newer_rows AS rows
        WHERE dataset = {dataset:String} GROUP BY name, identity, by"""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for name, identity, by, rows in clickhouse.read(client, sql, {"dataset": table.name}).iter_rows():
        found.setdefault((name, identity), {})[by] = int(rows)
    return found


def undated(client: Client) -> dict[str, int]:
    """How many rejected rows of files are of no symbol-month, by table."""
    counts = {table.name: _recorded(client, table).values() for table in (TICK_DATA, ORDER_BOOK)}
    return {name: sum(rejected for _, rejected in found) for name, found in counts.items()}


def _recorded(client: Client, table: Table) -> dict[str, tuple[str, int]]:
    """By file, as `_place` names it, the content that was read, and how many of its rows are in quarantine."""
    found = ledger.table(client, DATASET).select("source", "content_hash", "rejected").iter_rows()
    books = table is ORDER_BOOK
    return {place: (content, rows) for place, content, rows in found if place.startswith(f"{ORDER_BOOKS}/") == books}


def _record_rows(
    client: Client, table: Table, contents: Iterable[Content], known: Mapping[str, tuple[str, int]], run_id: str
) -> None:
    """Record the rows of files that are new or have changed, with the rejected ones that are of no symbol-month; with
    all of them of a file of which nothing is loaded."""
    now, loads = dt.datetime.now(dt.UTC), list[Load]()
    for content in contents:
        rejected, place = content.rejects() if content.flaw else content.undated, _place(table, content.file.name)
        if place not in known or known[place][0] != content.file.identity:
            loads.append(
                Load(
                    dataset=DATASET,
                    source=place,
                    unit=place,
                    content_hash=content.file.identity,
                    read=content.loaded + len(rejected),
                    rows=content.loaded,
                    rejected=len(rejected),
                    rejects=rejected[:MAX_REJECTS],
                    outcome="failed" if content.flaw else "ok" if content.rows else "empty",
                    error=str(content.flaw) if content.flaw else None,
                    code_version=_CODE_VERSION,
                    run_id=run_id,
                    started=now,
                )
            )
    if loads:
        ledger.record(client, loads, ledger.next_version(client))


def _place(table: Table, name: str) -> str:
    """A file as its entries name it: relative to the folder of ticks."""
    return f"{ORDER_BOOKS}/{name}" if table is ORDER_BOOK else name
