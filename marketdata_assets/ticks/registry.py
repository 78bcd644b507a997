"""The symbol registry: the instruments or a list of them, and symbols of dropped files; kept in the table `symbols`.

A symbol that no source names any more is marked as vanished: its rows are kept, and nothing new is requested. One that
a person removed is vanished as well, and stays so whoever names it, until it is restored.
"""

import csv
import datetime as dt
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from marketdata_assets.progress import Progress
from marketdata_assets.reference.exchanges import advice, canonical, misspelt
from marketdata_assets.reference.records import Days, Listing
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks import table_writer
from marketdata_assets.ticks.errors import BadFile, TicksError
from marketdata_assets.ticks.file_drop import NAME as FILES
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.providers_file import SYMBOL
from marketdata_assets.ticks.reconcile import ledger_entry
from marketdata_assets.ticks.reports import Unit
from marketdata_assets.ticks.table_writer import UnitWrite
from marketdata_assets.ticks.tables import FACTORS, ORDER_BOOK, SYMBOLS, TICK_DATA, Table

COLUMNS = ("symbol", "name", "listed", "delisted")  # of a symbols file; only the first is needed

VANISHED = "vanished"
REMOVED = "symbols remove"
"""The source of a symbol that a person removed."""

_NEWEST = "SELECT * FROM symbols ORDER BY seen DESC LIMIT 1 BY symbol"
OF_REMOVED = f"SELECT symbol FROM ({_NEWEST}) WHERE source = '{REMOVED}'"
"""In SQL: the symbols that a person removed."""


@dataclass(frozen=True)
class RegistryReport:
    """What a refresh found. `added` are new or had vanished; `vanished` are named by no source now.

    `removed` are named by a source, and not registered because a person removed them.
    """

    symbols: int
    sources: dict[str, int]
    statuses: dict[str, int]
    added: tuple[str, ...]
    vanished: tuple[str, ...]
    removed: tuple[str, ...] = ()


def refresh(
    client: Client,
    instruments: pl.DataFrame | None,
    symbols_file: Path | None,
    files: Files | None,
    *,
    now: dt.datetime,
) -> RegistryReport:
    """Refresh the table from all sources: the stored `instruments`, or those of them that a symbols file names.

    Raises BadFile, or TicksError when no source names any; then the table is unchanged.
    """
    symbols: dict[str, tuple[Listing, str]] = {}  # each with the source that has most facts of it
    if files is not None:
        from marketdata_assets.ticks import file_ledger

        file_ledger.FileLedger(client, files, TICK_DATA).see(now_ns=time.time_ns())
        named_by_files = file_ledger.symbols(client, TICK_DATA)
        symbols |= {symbol: (Listing(symbol, "", None, None, "listed"), FILES) for symbol in named_by_files}
    known = {} if instruments is None else _listings(instruments)
    if symbols_file is not None:
        named = read(symbols_file)
        symbols |= {one.symbol: (_completed(one, known), symbols_file.name) for one in named}
    else:
        symbols |= known
    if not symbols:
        where = f"{symbols_file} names none" if symbols_file else "there is no list of them, and no file was dropped"
        raise TicksError(
            f"no symbols: {where}. Set TUSHARE_TOKEN, or name a file of symbols in MARKETDATA_TICKS_SYMBOLS. The"
            " registry is unchanged."
        )
    before = {row["symbol"]: row for row in clickhouse.read(client, _NEWEST).iter_rows(named=True)}
    present = {symbol for symbol, row in before.items() if row["status"] != VANISHED}
    kept_out = sorted(symbol for symbol in symbols.keys() & before.keys() if before[symbol]["source"] == REMOVED)
    symbols = {symbol: known for symbol, known in symbols.items() if symbol not in kept_out}
    gone = sorted(present - symbols.keys())
    rows: list[dict[str, object]] = [
        {**vars(listing), "source": source, "seen": now} for listing, source in symbols.values()
    ]
    rows += [before[symbol] | {"status": VANISHED, "seen": now} for symbol in gone]
    clickhouse.insert(client, SYMBOLS.name, pl.DataFrame(rows, SYMBOLS.columns), SYMBOLS.dictionaries)
    return RegistryReport(
        len(symbols),
        dict(sorted(Counter(source for _, source in symbols.values()).items())),
        dict(sorted(Counter(listing.status for listing, _ in symbols.values()).items())),
        tuple(sorted(symbols.keys() - present)),
        tuple(gone),
        tuple(kept_out),
    )


def remove(client: Client, symbols: Iterable[str], *, now: dt.datetime) -> None:
    """Take symbols out of the registry, and keep them out; their rows are kept. Idempotent."""
    _mark(client, symbols, REMOVED, now)


def restore(client: Client, symbols: Iterable[str], *, now: dt.datetime) -> None:
    """Let the next refresh register symbols again that were removed, if a source names them. Idempotent."""
    _mark(client, set(symbols) & removed(client), "", now)


def removed(client: Client) -> set[str]:
    """The symbols that a person removed."""
    return set(clickhouse.read(client, OF_REMOVED)["symbol"])


def _mark(client: Client, symbols: Iterable[str], source: str, now: dt.datetime) -> None:
    """Mark symbols as vanished, by a source; after all that is known of them, whatever the clock of who wrote it."""
    before = {row["symbol"]: row for row in clickhouse.read(client, _NEWEST).iter_rows(named=True)}
    rows = []
    for symbol in sorted(set(symbols)):
        known = before.get(symbol, {"symbol": symbol, "name": "", "listed": None, "delisted": None, "seen": now})
        seen = max(now, known["seen"] + dt.timedelta(milliseconds=1))
        rows.append(known | {"status": VANISHED, "source": source, "seen": seen})
    clickhouse.insert(client, SYMBOLS.name, pl.DataFrame(rows, SYMBOLS.columns), SYMBOLS.dictionaries)


def listed(client: Client, *, vanished: bool = False) -> list[Listing]:
    """The symbols, those that are delisted too, by name.

    `vanished` includes those that no source names any more, and those that a person removed.
    """
    frame = clickhouse.read(client, f"SELECT * FROM ({_NEWEST}) ORDER BY symbol")
    rows = frame.select(*COLUMNS, "status").iter_rows(named=True)
    return [Listing(**row) for row in rows if vanished or row["status"] != VANISHED]


def read(file: Path) -> list[Listing]:
    """A symbols file: `symbol[,name,listed,delisted]` a line, with or without that header; dates as 2026-09-30.

    Empty lines and lines that begin with # are skipped. Raises BadFile with the line.
    """
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(str(file), f"cannot be read ({error})") from error
    symbols: dict[str, Listing] = {}
    for number, line in enumerate(lines, 1):
        cells = [value.strip() for value in _cells(f"{file}:{number}", line)]
        content = any(cells) and not cells[0].startswith("#")
        if not content or (not symbols and cells[0].lower() == COLUMNS[0]):
            continue
        listing = _listing(f"{file}:{number}", cells)
        if listing.symbol in symbols:
            raise BadFile(f"{file}:{number}", f"{listing.symbol} is listed twice")
        symbols[listing.symbol] = listing
    return list(symbols.values())


def _listings(instruments: pl.DataFrame) -> dict[str, tuple[Listing, str]]:
    """The instruments that a source names still, by symbol, each with its source."""
    names = ("symbol", "name", "listed", "delisted", "status", "source")
    rows = instruments.filter(pl.col("status") != VANISHED).select(names).iter_rows()
    return {symbol: (Listing(symbol, *facts), source) for symbol, *facts, source in rows}


def _completed(listing: Listing, known: Mapping[str, tuple[Listing, str]]) -> Listing:
    """A line of a symbols file, with what it leaves out and the instruments have."""
    if listing.symbol not in known or listing.name or listing.listed or listing.delisted:
        return listing
    return known[listing.symbol][0]


def _cells(place: str, line: str) -> list[str]:
    """The cells of one line: a quote that nothing closes must not take the lines below with it."""
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error as error:
        raise BadFile(place, f"is no line of CSV ({error})") from error


def _listing(place: str, cells: list[str]) -> Listing:
    if len(cells) > len(COLUMNS):
        raise BadFile(place, f"{len(cells)} values; expected {','.join(COLUMNS)}")
    symbol, name, listed, delisted = [*cells, "", "", ""][: len(COLUMNS)]
    if not SYMBOL.fullmatch(symbol):
        raise BadFile(place, f"{symbol!r} is not a symbol such as 600000.SH")
    if misspelt(symbol):
        meant = canonical(symbol)
        raise BadFile(place, f"{symbol!r} {f'is not a symbol; write {meant}' if meant else advice(symbol)}")
    begin, end = _day(place, listed), _day(place, delisted)
    if begin and end and end < begin:
        raise BadFile(place, f"{symbol} is delisted on {end}, before it is listed on {begin}")
    return Listing(symbol, name, begin, end, "delisted" if end else "listed")


def _day(place: str, text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError as error:
        raise BadFile(place, f"{text!r} is not a day such as 2026-09-30") from error


def delete_loaded(
    client: Client,
    symbols: Sequence[str],
    *,
    run_id: str,
    now: dt.datetime,
    turns: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Delete all rows of `symbols` and their entries in the ledger; returns the deleted rows by table.

    A reader sees a month with the rows of all `symbols` or with none. Idempotent: after a kill, the same call deletes
    the rest. Raises Superseded or StoreAway like any write.
    """
    deleted: dict[str, int] = {}
    for table in (TICK_DATA, ORDER_BOOK, FACTORS):
        months = _months(client, table, symbols)
        for number, (month, rows) in enumerate(months.items(), 1):
            days, nothing = Days.month(month), table.columns.to_frame()
            loads = [ledger_entry(table, Unit(symbol, month), run_id, now, now, outcome="empty") for symbol in rows]
            writes = [UnitWrite(days, nothing, load) for load in loads]
            table_writer.write(client, table, month, writes, turns=turns)
            if progress:
                progress(number, len(months), f"{table.name} {month}: {sum(rows.values())} rows deleted")
        ledger.forget(client, table.name, symbols)
        deleted[table.name] = sum(sum(rows.values()) for rows in months.values())
    return deleted


def _months(client: Client, table: Table, symbols: Sequence[str]) -> dict[str, dict[str, int]]:
    """The rows of each symbol, by month, the newest first."""
    sql = f"""
        SELECT formatDateTime(date, '%%Y-%%m') AS month, toString(symbol) AS name, toInt64(count()) AS rows
        FROM {table.name} WHERE symbol IN %(symbols)s GROUP BY ALL ORDER BY month DESC, name"""
    months: dict[str, dict[str, int]] = {}
    for month, name, rows in clickhouse.read(client, sql, {"symbols": list(symbols)}).iter_rows():
        months.setdefault(month, {})[name] = rows
    return months
