"""Take a wrong dropped file back: its rows leave, what it had replaced comes back, and it is not loaded again.

It is again when its content changes, or when it is remembered. One row of the file ledger makes it forgotten, and from
then on the symbol-months of which it has rows are due: a forget that is interrupted is completed by the next load.
"""

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from marketdata_assets.errors import MarketDataError
from marketdata_assets.loading.errors import CannotForget
from marketdata_assets.loading.files import file_hash
from marketdata_assets.reference.calendar import TradingDays
from marketdata_assets.stores import clickhouse, clickhouse_files
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks import file_ledger
from marketdata_assets.ticks.file_drop import NAME, ORDER_BOOKS
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.load import load
from marketdata_assets.ticks.load_run import LoadOptions
from marketdata_assets.ticks.reports import Unit
from marketdata_assets.ticks.tables import ORDER_BOOK, TICK_DATA, Table


@dataclass(frozen=True)
class Forgotten:
    """A forgotten file: its rows deleted, the rows of other files that came back, and the symbol-months in which."""

    file: str
    rows: int
    restored: int
    units: tuple[Unit, ...]


def forget(
    client: Client,
    files: Files,
    file: str,
    *,
    run_id: str,
    now: dt.datetime,
    turns: Path | None = None,
    trading_days: TradingDays | None = None,
) -> Forgotten:
    """Delete the rows of `file`, named as its entry, and load what it replaced, a month at a time.

    The file need not be in the folder any more. Raises CannotForget; then, if anything was done, the next load of these
    symbol-months does the rest.
    """
    table, name = _place(file)
    known = file_ledger.FileLedger(client, files, table)
    seen = known.see(now_ns=time.time_ns())
    row = clickhouse_files.table(client, table.name).filter(pl.col("file") == name)
    units = file_ledger.units_of(client, table, name)
    present = seen.present.filter(pl.col("file") == name)
    if row.is_empty() or (present.is_empty() and not units):
        raise CannotForget.unknown(
            "ticks", file, files.folder, [entry.file for entry in file_ledger.entries(client, files)]
        )
    content, flaw = "", ""
    for state in present.iter_rows():
        file_now = known.folder.delivered(*state)
        try:
            content, flaw = file_hash(file_now), str(known.folder.content(file_now).flaw or "")
        except MarketDataError as error:  # nothing of it can be loaded anyway
            flaw = str(error)
    changes = {"state": "forgotten", "forgotten": content, "error": flaw, "request": ""}
    clickhouse_files.record(
        client, row.with_columns(pl.lit(text).alias(key) for key, text in changes.items()).with_columns(units=pl.lit(0))
    )
    before = _rows(client, table, name, units)
    report = load(
        client,
        [files],
        units,
        table=table,
        options=LoadOptions(providers=(NAME,), registered_files=True, turns=turns),
        run_id=run_id,
        now=now,
        trading_days=trading_days,
    )
    mine, others = _rows(client, table, name, units)
    if mine:
        cause = report.failed[0].error if report.failed else "another load wrote them"
        left = f"{mine} of its rows are still there, and the next load takes them out ({cause})"
        raise CannotForget(f"ticks: {file}", left)
    return Forgotten(file, before[0], others - before[1], tuple(units))


def undo(client: Client, file: str) -> None:
    """Let the next load take a forgotten file again. Raises CannotForget."""
    table, name = _place(file)
    rows = clickhouse_files.table(client, table.name).filter(pl.col("state") == "forgotten")
    row = rows.filter(pl.col("file") == name)
    if row.is_empty():
        prefix = file.removesuffix(name)
        raise CannotForget.remembered("ticks", file, [prefix + one for one in rows["file"]])
    changes = {"state": "unfinished", "forgotten": "", "error": ""}
    clickhouse_files.record(client, row.with_columns(pl.lit(text).alias(key) for key, text in changes.items()))


def _place(file: str) -> tuple[Table, str]:
    """The table that a file is loaded into, and its name below the folder of its kind."""
    books = file.startswith(f"{ORDER_BOOKS}/")
    return (ORDER_BOOK, file.removeprefix(f"{ORDER_BOOKS}/")) if books else (TICK_DATA, file)


def _rows(client: Client, table: Table, name: str, units: Sequence[Unit]) -> tuple[int, int]:
    """How many rows of some symbol-months are of a file, and how many are not."""
    sql = f"""
        SELECT toInt64(countIf(file = %(file)s)) AS mine, toInt64(countIf(file != %(file)s)) AS others
        FROM {table.name} WHERE symbol IN %(symbols)s AND formatDateTime(date, '%%Y-%%m') IN %(months)s"""
    names = {"symbols": sorted({unit.symbol for unit in units}), "months": sorted({unit.month for unit in units})}
    if not units:
        return 0, 0
    mine, others = clickhouse.read(client, sql, {"file": name, **names}).row(0)
    return mine, others
