"""The ledger of dropped files: which symbol-months each has, which files are due, and which a load has to read.

A file is registered once it is finished: its symbol-months are recorded, and from then on nothing but these records is
needed to say what is due. A scan stops after some seconds and continues where it ended.
"""

import datetime as dt
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from marketdata_assets.loading.files import FileState
from marketdata_assets.loading.watch import fingerprint
from marketdata_assets.logs import get_logger
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse, clickhouse_files
from marketdata_assets.stores.clickhouse_files import NEVER
from marketdata_assets.ticks.file_drop import Content, Folder, Listing, Spans
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.registry import OF_REMOVED
from marketdata_assets.ticks.reports import Unit
from marketdata_assets.ticks.tables import ORDER_BOOK, TICK_FILE_UNITS, Table

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

DONE = dt.date(2100, 1, 1)
"""`compared` of a file of which every day is loaded."""
CHUNK_FILES = 500
CHUNK_UNITS = 100_000
MAX_BOUND = 500

_DUE = """
    (file, size, modified) IN (
        SELECT file, size, modified FROM marketdata_files FINAL
        WHERE dataset = {dataset:String} AND units > 0
            AND (state IN ('waiting', 'failed') OR state = 'loaded' AND compared < least(last, {closed:Date}))
    )"""

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
    client: "Client",
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
    settings = fingerprint(files.config.symbol_mapping.model_dump_json(), files.config.session.timezone)
    rows = clickhouse_files.observe(client, table.name, listing.files, settings, now_ns)
    quiet = now_ns - pl.col("observed") >= int(quiet_seconds * 1e9)
    broken = pl.lit(again) & (pl.col("state") == "failed") & (pl.col("units") == 0)
    ready = rows.filter((pl.col("state") == "unfinished") & quiet | broken)
    until = None if seconds is None else time.monotonic() + seconds  # listing a folder may take longer than that
    finished = (listing.state(*row) for row in ready.select("file", "size", "modified").iter_rows())
    changed = _register(client, files, table, finished, until)
    done = pl.DataFrame(changed, _REGISTERED, orient="row").with_columns(compared=pl.lit(NEVER))
    ready = ready.drop("state", "units").join(done, on="file")
    clickhouse_files.record(client, clickhouse_files.complete(client, table.name, ready))
    left = rows.filter((pl.col("state") == "unfinished") & quiet).height - len(changed)
    if changed:
        rows = pl.concat([ready.select(rows.columns), rows.join(ready, on="file", how="anti")]).sort("file")
    return Seen(listing, rows, _unreadable(client, table, rows), max(left, 0))


def known(client: "Client", files: Files, table: Table) -> Seen:
    """The files of the ledger that are still there as they were registered; nothing is compared or registered."""
    listing = folder_of(files, table).listing()
    rows = clickhouse_files.scanned(client, table.name).filter(~pl.col("state").is_in(["removed", "lost"]))
    return Seen(listing, rows, _unreadable(client, table, rows), 0)


def _unreadable(client: "Client", table: Table, rows: pl.DataFrame) -> list[str]:
    broken = rows.filter(pl.col("state") == "failed", pl.col("units") == 0).select("file").sort("file")
    return clickhouse_files.complete(client, table.name, broken)["error"].to_list()


_REGISTERED = pl.Schema(
    {"file": pl.String(), "state": pl.String(), "units": pl.Int64(), "last": pl.Date(), "error": pl.String()}
)


def _register(
    client: "Client", files: Files, table: Table, ready: Iterable[FileState], until: float | None
) -> list[tuple[str, str, int, dt.date, str]]:
    """Read which symbol-months files have, and record these; what is to be recorded of each file that was read."""
    folder, done, units = folder_of(files, table), list[tuple[str, str, int, dt.date, str]](), list[dict[str, Any]]()
    for file in ready:
        if until is not None and time.monotonic() > until:
            break
        try:
            spans = ours(files, folder.spans(file))
        except Exception as error:  # of one file: named until it is replaced
            log.warning("file_unreadable", file=file.name, error=error)
            done.append((file.name, "failed", 0, NEVER, str(error) or type(error).__name__))
            continue
        last = max((days.last for days in spans.values()), default=NEVER)
        done.append((file.name, "waiting" if spans else "loaded", len(spans), last, ""))
        units += (unit_row(table, file, unit, days, len(spans), NEVER) for unit, days in spans.items())
        if len(units) >= CHUNK_UNITS:
            record_units(client, units)
            units.clear()
    record_units(client, units)
    return done


def unit_row(table: Table, file: FileState, unit: Unit, days: Days, units: int, compared: dt.date) -> dict[str, Any]:
    """A row of `tick_file_units`: the days that a file has of a unit, and up to which they are compared."""
    name = {"dataset": table.name, "file": file.name, "symbol": unit.symbol, "month": unit.month}
    state = {"size": file.size, "modified": file.modified_ns, "units": units}
    return name | state | {"first": days.first, "last": days.last, "compared": compared}


def record_units(client: "Client", rows: Sequence[Mapping[str, Any]]) -> None:
    """Record rows of `tick_file_units`."""
    frame = pl.DataFrame(rows, TICK_FILE_UNITS.columns)
    clickhouse.insert(client, TICK_FILE_UNITS.name, frame, TICK_FILE_UNITS.dictionaries)


_UNTIL = f"""
    multiIf(
        compared >= last, toDate('{DONE}'), compared = toDate(0) AND first > {{closed:Date}}, first - 1, compared
    )"""


def due(client: "Client", table: Table, closed: dt.date, files: Collection[str] | None = None) -> set[Unit]:
    """The symbol-months of waiting files that are not loaded up to `closed`; of some `files`, or of all.

    Symbols that a person removed are left out.
    """
    sql = f"""
        SELECT DISTINCT toString(symbol) AS symbol, toString(month) AS month FROM tick_file_units FINAL
        WHERE dataset = {{dataset:String}} AND first <= {{closed:Date}} AND compared < least(last, {{closed:Date}})
            AND {_DUE} AND symbol NOT IN ({OF_REMOVED})"""
    parameters: dict[str, Any] = {"dataset": table.name, "closed": closed}
    if files is None:
        return {Unit(*row) for row in clickhouse.read(client, sql, parameters).iter_rows()}
    names, units = sorted(files), set[Unit]()
    sql += " AND file IN {files:Array(String)}"
    for at in range(0, len(names), CHUNK_FILES):
        found = clickhouse.read(client, sql, parameters | {"files": names[at : at + CHUNK_FILES]})
        units |= {Unit(*row) for row in found.iter_rows()}
    return units


def symbols(client: "Client", table: Table) -> list[str]:
    """Every symbol that a file of the folder has a row of."""
    sql = """
        SELECT DISTINCT toString(symbol) AS symbol FROM tick_file_units FINAL
        WHERE dataset = {dataset:String} AND (file, size, modified) IN (
            SELECT file, size, modified FROM marketdata_files FINAL
            WHERE dataset = {dataset:String} AND state NOT IN ('removed', 'lost')
        ) ORDER BY symbol"""
    return clickhouse.read(client, sql, {"dataset": table.name})["symbol"].to_list()


def select(client: "Client", files: Files, table: Table, units: Collection[Unit], seen: Seen) -> None:
    """Let the folder read only files that have some of `units` and have not changed since they were registered."""
    sql = """
        SELECT toString(symbol) AS symbol, toString(month) AS month, toString(file) AS file, size, modified
        FROM tick_file_units FINAL
        WHERE dataset = {dataset:String} AND month IN {months:Array(String)}
            AND (file, size, modified) IN (
                SELECT file, size, modified FROM marketdata_files FINAL
                WHERE dataset = {dataset:String} AND state IN ('waiting', 'failed', 'loaded')
            )"""
    parameters: dict[str, Any] = {"dataset": table.name, "months": sorted({unit.month for unit in units})}
    names = sorted({unit.symbol for unit in units})
    if len(names) <= MAX_BOUND:
        sql += " AND symbol IN {symbols:Array(String)}"
        parameters["symbols"] = names
    wanted = pl.DataFrame(sorted(units), {"symbol": pl.String, "month": pl.String}, orient="row")
    found = clickhouse.read(client, sql, parameters).join(wanted, on=["symbol", "month"], how="semi")
    found = found.join(seen.listing.files, on=["file", "size", "modified"], how="semi")
    chosen: dict[tuple[str, str], list[FileState]] = {}
    for symbol, month, name, size, modified in found.iter_rows():
        theirs = files.config.symbol_mapping.theirs(symbol)
        if theirs is not None:
            chosen.setdefault((theirs, month), []).append(seen.listing.state(name, size, modified))
    folder_of(files, table).select(chosen, seen.unreadable)


def settle(
    client: "Client",
    files: Files,
    table: Table,
    contents: Iterable[Content],
    errors: Mapping[Unit, str],
    closed: dt.date,
) -> None:
    """Record what became of the files that a load has read; `errors` are those of the units that failed."""
    read = {content.file.name: content for content in contents}
    broken = folder_of(files, table).broken()
    if not read and not broken:
        return
    names = pl.DataFrame({"file": sorted({*read, *broken})}, {"file": pl.String})
    known = clickhouse_files.complete(client, table.name, names)
    known = known.filter(~pl.col("state").is_in(["removed", "lost"]))
    state = _compared(client, table, known["file"].to_list(), closed)
    rows = []
    for row in known.iter_rows(named=True):
        content = read.get(row["file"])
        pending, until = state.get((row["file"], row["size"], row["modified"]), (0, DONE))
        error = broken.get(row["file"], "")
        if content is not None:
            if (content.file.size, content.file.modified_ns) != (row["size"], row["modified"]):
                continue
            row |= {"rows": content.read - content.rejected - content.skipped, "rejected": content.rejected}
            failed = (errors[unit] for unit in ours(files, content.spans) if unit in errors)
            error = str(content.flaw) if content.flaw else next(failed, "") if pending else ""
        ended = "failed" if error else "waiting" if pending else "loaded"
        rows.append(row | {"state": ended, "compared": until, "error": error, "attempts": row["attempts"] + 1})
    clickhouse_files.record(client, pl.DataFrame(rows, known.schema))


def _compared(
    client: "Client", table: Table, names: Sequence[str], closed: dt.date
) -> dict[tuple[str, int, int], tuple[int, dt.date]]:
    """Of each file how many units are due, and up to which day all are loaded."""
    sql = f"""
        SELECT toString(file) AS file, size, modified,
            toInt64(countIf(
                first <= {{closed:Date}} AND compared < least(last, {{closed:Date}}) AND symbol NOT IN ({OF_REMOVED})
            )) AS pending,
            min({_UNTIL}) AS until
        FROM tick_file_units FINAL
        WHERE dataset = {{dataset:String}} AND file IN {{files:Array(String)}} GROUP BY file, size, modified"""
    found: dict[tuple[str, int, int], tuple[int, dt.date]] = {}
    for at in range(0, len(names), CHUNK_FILES):
        parameters = {"dataset": table.name, "closed": closed, "files": names[at : at + CHUNK_FILES]}
        for name, size, modified, pending, until in clickhouse.read(client, sql, parameters).iter_rows():
            found[name, size, modified] = pending, until
    return found


def ours(files: Files, spans: Spans) -> dict[Unit, Days]:
    """The first and last day of each unit that a file has."""
    mapping = files.config.symbol_mapping
    return {Unit(symbol, month): days for (name, month), days in spans.items() if (symbol := mapping.ours(name))}
