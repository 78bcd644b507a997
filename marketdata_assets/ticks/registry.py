"""Which symbols there are: Tushare's list or a file's, and those in dropped files; kept in the table `symbols`.

A symbol that nobody names any more stays in the table, marked as vanished: its bars stand, and nothing new is asked.
"""

import asyncio
import csv
import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks.errors import BadFile, NoSymbols
from marketdata_assets.ticks.files import NAME as FILES
from marketdata_assets.ticks.records import Listing
from marketdata_assets.ticks.tables import SYMBOLS
from marketdata_assets.ticks.tushare import NAME as TUSHARE

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from marketdata_assets.ticks.files import Files
    from marketdata_assets.ticks.tushare import Tushare

COLUMNS = ("symbol", "name", "listed", "delisted")
"""Of a symbols file; only the first is needed."""

VANISHED = "vanished"
SYMBOL = re.compile(r"[A-Z0-9]+\.[A-Z]+")
MAX_NAMED = 20

_NEWEST = "SELECT * FROM symbols ORDER BY seen DESC LIMIT 1 BY symbol"


@dataclass(frozen=True)
class RegistryReport:
    """What a refresh found. `added` were not known before, or had vanished; `vanished` are named by nobody now."""

    symbols: int
    sources: dict[str, int]
    statuses: dict[str, int]
    added: tuple[str, ...]
    vanished: tuple[str, ...]


def refresh(
    client: "Client",
    tushare: "Tushare | None",
    symbols_file: Path | None,
    files: "Files | None",
    *,
    now: dt.datetime,
) -> RegistryReport:
    """Make the table say what is known now. A symbols file takes the place of Tushare's list.

    Raises what Tushare raises, BadFile, or NoSymbols when nobody names any; the table is left as it was then.
    """
    found = _found(tushare, symbols_file, files)
    if not found:
        raise NoSymbols(str(symbols_file) if symbols_file else "")
    before = {row["symbol"]: row for row in clickhouse.read(client, _NEWEST).iter_rows(named=True)}
    known = {symbol for symbol, row in before.items() if row["status"] != VANISHED}
    gone = sorted(known - found.keys())
    rows = [_row(listing, source, listing.status, now) for listing, source in found.values()]
    rows += [before[symbol] | {"status": VANISHED, "seen": now} for symbol in gone]
    clickhouse.insert(client, SYMBOLS.name, pl.DataFrame(rows, SYMBOLS.columns), SYMBOLS.dictionaries)
    return RegistryReport(
        len(found),
        _counts(source for _, source in found.values()),
        _counts(listing.status for listing, _ in found.values()),
        tuple(sorted(found.keys() - known)),
        tuple(gone),
    )


def listed(client: "Client", *, vanished: bool = False) -> list[Listing]:
    """The symbols, those that are delisted too, by name; with those that vanished when asked for."""
    frame = clickhouse.read(client, f"SELECT * FROM ({_NEWEST}) ORDER BY symbol")
    rows = frame.select(*COLUMNS, "status").iter_rows(named=True)
    return [Listing(**row) for row in rows if vanished or row["status"] != VANISHED]


def read(file: Path) -> list[Listing]:
    """A symbols file: `symbol[,name,listed,delisted]` a line, with or without that header; dates as 2026-09-30.

    Empty lines and lines that begin with # say nothing. Raises BadFile with the line.
    """
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(str(file), f"cannot be read ({error})") from error
    found: dict[str, Listing] = {}
    for number, values in enumerate(csv.reader(lines), 1):
        cells = [value.strip() for value in values]
        said = any(cells) and not cells[0].startswith("#")
        if not said or (not found and cells[0].lower() == COLUMNS[0]):
            continue
        listing = _listing(f"{file}:{number}", cells)
        if listing.symbol in found:
            raise BadFile(f"{file}:{number}", f"{listing.symbol} is there twice")
        found[listing.symbol] = listing
    return list(found.values())


def _found(
    tushare: "Tushare | None", symbols_file: Path | None, files: "Files | None"
) -> dict[str, tuple[Listing, str]]:
    """Each symbol with the source that knows most of it."""
    found: dict[str, tuple[Listing, str]] = {}
    if files is not None:
        found |= {one: (Listing(one, "", None, None, "listed"), FILES) for one in files.symbols()}
    if symbols_file is not None:
        found |= {one.symbol: (one, symbols_file.name) for one in read(symbols_file)}
    elif tushare is not None:
        found |= {one.symbol: (one, TUSHARE) for one in asyncio.run(_listings(tushare))}
    return found


async def _listings(tushare: "Tushare") -> Sequence[Listing]:
    async with tushare:
        return await tushare.listings()


def _listing(place: str, cells: list[str]) -> Listing:
    if len(cells) > len(COLUMNS):
        raise BadFile(place, f"{len(cells)} values; expected {','.join(COLUMNS)}")
    symbol, name, listed, delisted = [*cells, "", "", ""][: len(COLUMNS)]
    if not SYMBOL.fullmatch(symbol):
        raise BadFile(place, f"{symbol!r} is no symbol such as 600000.SH")
    begin, end = _day(place, listed), _day(place, delisted)
    if begin and end and end < begin:
        raise BadFile(place, f"{symbol} is delisted on {end}, before it is listed on {begin}")
    return Listing(symbol, name, begin, end, "delisted" if end else "listed")


def _day(place: str, text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError as error:
        raise BadFile(place, f"{text!r} is no day such as 2026-09-30") from error


def _row(listing: Listing, source: str, status: str, now: dt.datetime) -> dict[str, object]:
    return {**vars(listing), "status": status, "source": source, "seen": now}


def _counts(values: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return dict(sorted(counts.items()))
