"""The ledger of dropped files: which symbol-months each has, which files are due, which a load has to read, and what
was read of each.

A file is registered once it is finished: its symbol-months are recorded, and from then on nothing but these records is
needed to say what is due. A scan stops after some seconds and continues where it ended.
"""

import datetime as dt
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
from marketdata_assets.ticks.file_drop import ORDER_BOOKS, SUFFIXES, Chosen, Content, Folder
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.finality import Moment
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
CHUNK_UNITS = 100_000
MAX_BOUND = 500

_CLOSED = """
    transform(
        extract(toString(symbol), '[^.-]*$'), {suffixes:Array(String)}, {closings:Array(Date)}, {closed:Date}
    )""".strip()
"""In SQL: the last closed day of the exchange of `symbol`; `newest` is that of any."""
_WANTED = f"first <= {_CLOSED} AND symbol NOT IN ({OF_REMOVED})"
"""In SQL: what has a closed day, of symbols that no person removed."""
_LEFT = f"compared < least(last, {_CLOSED})"
"""In SQL: what is not compared."""
_DUE = f"""
    last > toDate(0) AND {_WANTED} AND (
        file IN (SELECT file FROM marketdata_files FINAL WHERE dataset = {{dataset:String}} AND state = 'forgotten')
        OR {_LEFT} AND (file, size, changed) IN (
            SELECT file, size, changed FROM marketdata_files FINAL WHERE dataset = {{dataset:String}}
            AND (state IN ('waiting', 'failed') OR state = 'loaded' AND compared < least(last, {{newest:Date}}))
        )
        OR (file, size, changed) IN (
            SELECT file, size, changed FROM marketdata_files FINAL
            WHERE dataset = {{dataset:String}} AND state IN ('waiting', 'failed')
        ) AND (file, size, changed) NOT IN (
            SELECT file, size, changed FROM tick_file_units FINAL WHERE dataset = {{dataset:String}}
            AND {_WANTED} AND {_LEFT}
        )
    )"""
"""In SQL: what a forgotten file still has, what is not compared, and all of a file whose last load was interrupted
between its last unit and its end."""

log = get_logger(__name__)


@dataclass(frozen=True)
class Seen:
    """The `present` files of one kind (file, size, modified, changed), their rows of the ledger, and how many finished
    ones are not registered yet."""

    present: pl.DataFrame
    rows: pl.DataFrame
    left: int

    @property
    def unfinished(self) -> list[str]:
        return self.rows.filter(pl.col("state") == "unfinished")["file"].to_list()

    @property
    def unreadable(self) -> list[str]:
        """The causes of those that cannot be read, whose symbols are unknown."""
        broken = self.rows.filter(pl.col("state").is_in(["failed", "forgotten"]), pl.col("units") == 0)
        return list(filter(None, broken["error"]))


@dataclass(frozen=True)
class Compared:
    """A unit that was compared with the `dropped` files over these days; `replaced` is that of the decision."""

    unit: Unit
    days: Days
    dropped: Dropped
    replaced: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class FileLedger:
    """The files that one table is loaded from, and what is on record of them."""

    client: Client
    files: Files
    table: Table

    @property
    def folder(self) -> Folder:
        """The folder of these files."""
        return self.files.of_books if self.table is ORDER_BOOK else self.files.of_bars

    def see(self, *, now_ns: int, quiet_seconds: float = 0.0, seconds: float | None = None, again: bool = True) -> Seen:
        """Compare the folder with the ledger, and then register finished files for at most `seconds`.

        Finished are files that have not changed for `quiet_seconds` since they were first observed. With `again`, files
        that could not be read are tried once more.
        """
        present, config, name = self.folder.listing(), self.files.config, self.table.name
        labels = (self.files.label, *(f"{suffix}={label}" for suffix, label in sorted(config.labels.items())))
        settings = fingerprint(config.symbol_mapping.model_dump_json(), config.session.timezone, *labels)
        rows = clickhouse_files.observe(self.client, name, present, settings, now_ns)
        quiet = now_ns - pl.col("observed") >= int(quiet_seconds * 1e9)
        broken = pl.lit(again) & (pl.col("state") == "failed") & (pl.col("units") == 0)
        ready = rows.filter((pl.col("state") == "unfinished") & quiet | broken)
        until = None if seconds is None else time.monotonic() + seconds  # listing a folder may take longer than that
        read = self._register(ready, until)
        clickhouse_files.record(self.client, read)
        left = rows.filter((pl.col("state") == "unfinished") & quiet).height - read.height
        return Seen(present, clickhouse_files.merged(rows, read), max(left, 0))

    def known(self) -> Seen:
        """The files of the ledger that are still there as they were registered; nothing is compared or registered."""
        rows = clickhouse_files.table(self.client, self.table.name)
        return Seen(self.folder.listing(), rows.filter(~pl.col("state").is_in(["removed", "lost"])), 0)

    def _register(self, ready: pl.DataFrame, until: float | None) -> pl.DataFrame:
        """Read which symbol-months `ready` files have, and record these; the new rows of the files that were read.

        Of forgotten files the hash of the content is known that is not loaded.
        """
        done, units = list[tuple[str, str, int, dt.date, str]](), list[dict[str, Any]]()
        for *found, forgotten in ready.select("file", "size", "modified", "changed", "forgotten").iter_rows():
            if until is not None and time.monotonic() > until:
                break
            file = self.folder.delivered(*found)
            try:
                if forgotten and file_hash(file) == forgotten:
                    done.append((file.name, "forgotten", 0, NEVER, ""))
                    continue
                spans = self.folder.spans(file)
                content = None if spans else self.folder.content(file)
            except Exception as error:  # of one file: named until it is replaced
                log.warning("file_unreadable", file=file.name, error=error)
                done.append((file.name, "failed", 0, NEVER, str(error) or type(error).__name__))
                continue
            if content is not None and content.read:  # no row has both a symbol and a time that can be read
                self._record_rows([content], _recorded(self.client, self.table), "scan")
                done.append((file.name, "failed", 0, NEVER, str(content.flaw)))
                continue
            last = max((days.last for days in spans.values()), default=NEVER)
            done.append((file.name, "waiting" if spans else "loaded", len(spans), last, ""))
            units += (unit_row(self.table, file, unit, days, len(spans), NEVER) for unit, days in spans.items())
            if len(units) >= CHUNK_UNITS:
                record_units(self.client, units)
                units.clear()
        record_units(self.client, units)
        is_forgotten = pl.col("state") == "forgotten"
        rows = ready.update(pl.DataFrame(done, _REGISTERED, orient="row"), on="file", how="inner")
        return rows.with_columns(
            compared=pl.lit(NEVER), forgotten=pl.when(is_forgotten).then("forgotten").otherwise(pl.lit(""))
        )

    def select(self, units: Collection[Unit], seen: Seen) -> None:
        """Let the folder read only files that have some of `units` and have not changed since they were registered."""
        sql = """
            SELECT toString(units.symbol) AS symbol, toString(units.month) AS month, toString(units.file) AS file,
                files.size AS size, files.modified AS modified, files.changed AS changed,
                toString(files.state) AS state, files.age AS age,
                (units.size, units.changed) = (files.size, files.changed) AS current
            FROM (SELECT * FROM tick_file_units FINAL WHERE dataset = {dataset:String} AND last > toDate(0)) AS units
            JOIN (SELECT * FROM marketdata_files FINAL WHERE dataset = {dataset:String}) AS files
                ON toString(units.file) = files.file
            WHERE units.month IN {months:Array(String)}"""
        parameters: dict[str, Any] = {"dataset": self.table.name, "months": sorted({unit.month for unit in units})}
        names = sorted({unit.symbol for unit in units})
        if len(names) <= MAX_BOUND:
            sql += " AND units.symbol IN {symbols:Array(String)}"
            parameters["symbols"] = names
        wanted = pl.DataFrame(sorted(units), {"symbol": pl.String, "month": pl.String}, orient="row")
        found = clickhouse.read(self.client, sql, parameters).join(wanted, on=["symbol", "month"], how="semi")
        listed = seen.present.with_columns(listed=pl.lit(True))
        found = found.join(listed, on=["file", "size", "modified", "changed"], how="left")
        folder, chosen, ages = self.folder, dict[Unit, Chosen](), dict[str, int]()
        for symbol, month, name, size, modified, changed, state, age, current, here in found.iter_rows():
            mine = chosen.setdefault(Unit(symbol, month), Chosen())
            readable = here and state in ("waiting", "failed", "loaded")
            file = folder.delivered(name, size, modified, changed)
            if state == "forgotten":
                mine.withdrawn.add(name)
            elif readable and current:
                mine.files.add(file)
            else:  # of a file that will be loaded, of other units than those that it had before, the age is the new one
                ages[name] = modified if readable and folder.is_good(file) else age or modified
        folder.select(chosen, ages)

    def settle(self, contents: Iterable[Content], errors: Mapping[Unit, str], closed: Closed, run_id: str) -> int:
        """Record what became of the files that a load has read, and which of their rows are of no symbol-month; returns
        how many these are. `errors` are those of the units that failed."""
        read = {content.file.name: content for content in contents}
        entered = _recorded(self.client, self.table)
        self._record_rows(read.values(), entered, run_id)
        if gone := entered.keys() - {_place(self.table, file.name) for file in self.folder.files()}:
            ledger.forget(self.client, DATASET, gone)
        broken = self.folder.broken()
        if not read and not broken:
            return 0
        known = clickhouse_files.table(self.client, self.table.name)
        ended = pl.col("state").is_in(["forgotten", "removed", "lost"])
        known = known.filter(pl.col("file").is_in([*read, *broken]), ~ended)
        state = self._compared(known["file"].to_list(), closed)
        rows = []
        for row in known.iter_rows(named=True):
            content = read.get(row["file"])
            pending, until = state.get((row["file"], row["size"], row["changed"]), (0, DONE))
            error = broken.get(row["file"], "")
            if content is not None:
                if (content.file.size, content.file.changed_ns) != (row["size"], row["changed"]):
                    continue
                counts = {"read": content.read, "skipped": content.skipped, "rejected": content.rejected}
                row |= counts | {"rows": content.loaded} | ({} if content.flaw else {"age": row["modified"]})
                failed = (errors[unit] for unit in content.spans if unit in errors)
                error = str(content.flaw) if content.flaw else next(failed, "") if pending else ""
            result = "failed" if error else "waiting" if pending else "loaded"
            rows.append(row | {"state": result, "compared": until, "error": error, "attempts": row["attempts"] + 1})
        clickhouse_files.record(self.client, pl.DataFrame(rows, known.schema))
        return sum(len(content.undated) for content in read.values())

    def _compared(self, names: Sequence[str], closed: Closed) -> dict[tuple[str, int, int], tuple[int, dt.date]]:
        """Of each file how many units are due, and up to which day all are loaded."""
        sql = f"""
            SELECT toString(file) AS file, size, changed,
                toInt64(countIf({_WANTED} AND {_LEFT})) AS pending, min({_UNTIL}) AS until
            FROM tick_file_units FINAL
            WHERE dataset = {{dataset:String}} AND file IN {{files:Array(String)}} GROUP BY file, size, changed"""
        found = _of_files(self.client, sql, _bound(self.table, closed), names)
        return {
            (name, size, changed): (pending, until)
            for frame in found
            for name, size, changed, pending, until in frame.iter_rows()
        }

    def record_compared(self, done: Iterable[Compared], moment: Moment) -> set[Unit]:
        """Record that units were compared with their dropped files; returns the units recorded.

        A unit is not recorded with a file that has earlier days of it: these are still due. Of a forgotten file, all
        days of the month that have closed must be compared.
        """
        rows, recorded = list[dict[str, Any]](), set[Unit]()
        days_by_file = {content.file: content.spans for content in self.folder.read()}
        for one in done:
            read = [(file, days_by_file[file]) for file in one.dropped.files if file in days_by_file]
            mine = [(file, spans[one.unit], len(spans)) for file, spans in read if one.unit in spans]
            early = [file for file, span, _ in mine if span.first < one.days.first]
            month, closed = Days.month(one.unit.month), moment.of(one.unit.symbol).last
            whole = one.days.first == month.first and one.days.last >= min(month.last, closed)
            withdrawn = sorted(one.dropped.withdrawn) if whole else []
            if not early and len(read) == len(one.dropped.files) and len(withdrawn) == len(one.dropped.withdrawn):
                recorded.add(one.unit)
            for file, span, units in mine:
                if file not in early:
                    until, newer = min(span.last, one.days.last), one.replaced.get(file.name)
                    rows.append(unit_row(self.table, file, one.unit, span, units, until, newer))
            gone = [Delivered(name, "") for name in withdrawn]
            rows += (unit_row(self.table, file, one.unit, Days(NEVER, NEVER), 0, DONE) for file in gone)
        record_units(self.client, rows)
        return recorded

    def _record_rows(self, contents: Iterable[Content], known: Mapping[str, tuple[str, int]], run_id: str) -> None:
        """Record the rows of files that are new or have changed, with the rejected ones that are of no symbol-month;
        with all of them of a file of which nothing is loaded."""
        now, loads = dt.datetime.now(dt.UTC), list[Load]()
        for content in contents:
            place = _place(self.table, content.file.name)
            rejected = content.rejects() if content.flaw else content.undated
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
            ledger.record(self.client, loads, ledger.next_version(self.client))


_REGISTERED = pl.Schema(
    {"file": pl.String(), "state": pl.String(), "units": pl.Int64(), "last": pl.Date(), "error": pl.String()}
)
_UNTIL = f"""
    multiIf(
        compared >= last, toDate('{DONE}'), compared = toDate(0) AND first > {_CLOSED}, first - 1, compared
    )""".strip()
"""In SQL: up to which day a unit is compared."""


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
    state = {"size": file.size, "changed": file.changed_ns, "units": units}
    newer = {"newer": [*(replaced or {})], "newer_rows": [*(replaced or {}).values()]}
    return name | state | {"first": days.first, "last": days.last, "compared": compared} | newer


def record_units(client: Client, rows: Sequence[Mapping[str, Any]]) -> None:
    """Record rows of `tick_file_units`."""
    frame = pl.DataFrame(rows, TICK_FILE_UNITS.columns)
    clickhouse.insert(client, TICK_FILE_UNITS.name, frame, TICK_FILE_UNITS.dictionaries)


def due(client: Client, table: Table, closed: Closed, files: Collection[str] | None = None) -> set[Unit]:
    """The symbol-months of waiting and forgotten files with something to do up to `closed`; of some `files`, or of all.

    Symbols that a person removed are left out.
    """
    sql = f"""
        SELECT DISTINCT toString(symbol) AS symbol, toString(month) AS month FROM tick_file_units FINAL
        WHERE dataset = {{dataset:String}} AND {_DUE}"""
    found: Iterable[pl.DataFrame]
    if files is None:
        found = [clickhouse.read(client, sql, _bound(table, closed))]
    else:
        sql += " AND file IN {files:Array(String)}"
        found = _of_files(client, sql, _bound(table, closed), sorted(files))
    return {Unit(*row) for frame in found for row in frame.iter_rows()}


def _of_files(client: Client, sql: str, parameters: Mapping[str, Any], names: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The results of a query of some files, `{files:Array(String)}`, for a part of them at a time."""
    for at in range(0, len(names), MAX_BOUND):
        yield clickhouse.read(client, sql, {**parameters, "files": names[at : at + MAX_BOUND]})


def _bound(table: Table, closed: Closed) -> dict[str, Any]:
    """The parameters of `_CLOSED`, and the dataset."""
    each = closed if isinstance(closed, Mapping) else {"": closed}
    days = list(each.values())
    closings = {"suffixes": list(each), "closings": days, "closed": days[0], "newest": max(days)}
    return {"dataset": table.name, **closings}


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
        WHERE dataset = {dataset:String} AND (file, size, changed) IN (
            SELECT file, size, changed FROM marketdata_files FINAL
            WHERE dataset = {dataset:String} AND state NOT IN ('forgotten', 'removed', 'lost')
        ) ORDER BY symbol"""
    return clickhouse.read(client, sql, {"dataset": table.name})["symbol"].to_list()


def due_by_table(client: Client, now: dt.datetime) -> dict[TableName, set[Unit]]:
    """By table, the units with days closed `now` that files have which a scan has registered and no load has loaded."""
    closed = closings(now)
    return {"tick_data": due(client, TICK_DATA, closed), "order_book": due(client, ORDER_BOOK, closed)}


def register(client: Client, files: Files, *, quiet_seconds: float = 0.0, seconds: float | None = None) -> None:
    """Register finished files, those of each table for at most `seconds`; see `FileLedger.see`."""
    for table in (TICK_DATA, ORDER_BOOK):
        known = FileLedger(client, files, table)
        known.see(now_ns=time.time_ns(), quiet_seconds=quiet_seconds, seconds=seconds)


def changed_by_table(
    client: Client, files: Files, now: dt.datetime, *, quiet_seconds: float = 0.0, seconds: float | None = None
) -> dict[TableName, set[Unit]]:
    """`due_by_table` once finished files are registered."""
    register(client, files, quiet_seconds=quiet_seconds, seconds=seconds)
    return due_by_table(client, now)


def entries(client: Client, files: Files) -> list[FileEntry]:
    """The state of everything below the folder of ticks, and what became of the rows of each file.

    Nothing is registered here: a file that no scan has seen is due.
    """
    recorded: dict[str, Recorded] = {}
    for table in (TICK_DATA, ORDER_BOOK):
        prefix, newer = _place(table, ""), _newer(client, table)
        for row in clickhouse_files.table(client, table.name).iter_rows(named=True):
            name, state, key = prefix + row["file"], row["state"], (row["file"], row["size"], row["changed"])
            if state == "loaded":
                lost = {prefix + other: rows for other, rows in newer.get(key, {}).items()}
                kept, ended = row["rows"] - sum(lost.values()), FileState.LOADED if row["rows"] else FileState.EMPTY
                wait = f"rows after {row['compared']} are loaded when their days have closed"
                reason = wait if NEVER < row["compared"] < DONE else ""
                entry = FileEntry(name, ended, reason, row["read"], kept, row["rejected"], row["skipped"], lost)
            elif state == "forgotten" and row["size"] and not row["error"]:
                entry = FileEntry(name, FileState.NOT_TAKEN, FORGOTTEN.format(domain="ticks", file=name))
            elif state == "forgotten":  # a file that cannot be read, or is empty, stays that
                entry = FileEntry(name, FileState.FAILED if row["error"] else FileState.EMPTY, row["error"])
            else:
                entry = FileEntry(name, *_UNSETTLED.get(state, _UNSETTLED["waiting"]))
                entry = replace(entry, reason=row["error"] or entry.reason)
            read = Delivered(name, "", row["size"], row["modified"], changed_ns=row["changed"])
            recorded[name] = Recorded(read.identity, entry)
    return [
        state_of(one, recorded.get(one.name), not_taken=other_suffix(one.name, SUFFIXES, "ticks"))
        for one in everything(files.folder)
    ]


_UNSETTLED = {
    "unfinished": (FileState.WAITING, "it may still be being written"),
    "waiting": (FileState.DUE, "never loaded, or not all of its days"),
    "failed": (FileState.FAILED, ""),
}


def _newer(client: Client, table: Table) -> dict[tuple[str, int, int], dict[str, int]]:
    """By file, size and last change, how many of its rows each newer file has replaced."""
    sql = """
        SELECT toString(file) AS name, size, changed, by, sum(rows) AS rows
        FROM tick_file_units FINAL ARRAY JOIN newer AS by, newer_rows AS rows
        WHERE dataset = {dataset:String} GROUP BY name, size, changed, by"""
    found: dict[tuple[str, int, int], dict[str, int]] = {}
    for name, size, changed, by, rows in clickhouse.read(client, sql, {"dataset": table.name}).iter_rows():
        found.setdefault((name, size, changed), {})[by] = int(rows)
    return found


def undated(client: Client) -> Counter[str]:
    """How many rejected rows of files are of no symbol-month, by table."""
    counts: Counter[str] = Counter()
    for place, rejected in ledger.table(client, DATASET).select("source", "rejected").iter_rows():
        counts[(ORDER_BOOK if place.startswith(f"{ORDER_BOOKS}/") else TICK_DATA).name] += rejected
    return counts


def _recorded(client: Client, table: Table) -> dict[str, tuple[str, int]]:
    """By file, as `_place` names it, the content that was read, and how many of its rows are in quarantine."""
    found = ledger.table(client, DATASET).select("source", "content_hash", "rejected").iter_rows()
    books = table is ORDER_BOOK
    return {place: (content, rows) for place, content, rows in found if place.startswith(f"{ORDER_BOOKS}/") == books}


def _place(table: Table, name: str) -> str:
    """A file as its entries name it: relative to the folder of ticks."""
    return f"{ORDER_BOOKS}/{name}" if table is ORDER_BOOK else name
