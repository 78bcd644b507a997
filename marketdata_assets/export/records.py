"""Records of exchanges as files by instrument and day, in the layout of another tool.

plain        Parquet, `type=trade/exchange=../market_type=../instrument=../2026-01-05.parquet`, all columns as stored
nautilus     the Parquet data catalog of nautilus_trader: trades and order book deltas
hftbacktest  `exchange/market_type/instrument/2026-01-05.npz` with trades and depth as events

A file that is made of the same rows is left alone. One hour of one instrument is in memory.
"""

import datetime as dt
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import polars as pl

from marketdata_assets.errors import TerminalError
from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.exchanges.tables.schema import FINAL, TABLES
from marketdata_assets.export import exchange_rows, hftbacktest, nautilus
from marketdata_assets.export.book_events import BookEvents
from marketdata_assets.export.exchange_rows import CannotExport, Chosen, Day
from marketdata_assets.export.folder import Entry, Manifest, Report, Tally, exclusive
from marketdata_assets.export.versions import digest
from marketdata_assets.read.books import books
from marketdata_assets.read.exchanges import RecordType, about
from marketdata_assets.read.sources import ClickHouse, of_clickhouse
from marketdata_assets.state_files import replacing
from marketdata_assets.stores.clickhouse import naming_failures, quoted
from marketdata_assets.stores.clients import Client

Layout = Literal["plain", "nautilus", "hftbacktest"]
MARKET_DATA: tuple[RecordType, ...] = ("trade", "orderbook")
"""What the layouts of other tools have."""


@dataclass(frozen=True)
class File:
    """One file to be written, and a fingerprint of what it is made of."""

    path: Path  # below the folder
    type: str  # of the records; empty where it has several
    day: Day
    version: str
    write: "Callable[[Client, Path], int]"


def export(
    folder: Path,
    first: dt.date,
    last: dt.date,
    *,
    layout: Layout = "plain",
    types: Sequence[RecordType] = MARKET_DATA,
    exchange: Exchange | None = None,
    market_type: MarketType | None = None,
    instruments: Sequence[str] | None = None,
    connection: ClickHouse | None = None,
    tally: Tally | None = None,
) -> Report:
    """Make the files of the days `first` to `last` (UTC) equal to the tables; None is all of them.

    Files of days without records are removed. A file that fails is in the report and stays as it was. `tally` has
    what was done when an error ends the export. Raises OSError, TerminalError,
    TransientError, UnknownName, NothingLoaded, CannotRead.
    """
    if layout != "plain" and (lacking := [one for one in types if one not in MARKET_DATA]):
        raise TerminalError(
            f"the layout {layout} has no {', '.join(lacking)}; it has {', '.join(MARKET_DATA)}. Use the layout plain."
        )
    chosen = (exchange, market_type, instruments)
    with exclusive(folder, "records", {"layout": layout}), of_clickhouse(connection) as client:
        files = _files(client, layout, types, chosen, first, last)
        manifest = Manifest(folder)
        tally = tally or Tally()
        tally.total = len(files)
        for file in files:
            tally.add(_made(client, folder, file, manifest), of=file.day.instrument)
        written = {str(file.path) for file in files}
        gone = [name for name, one in manifest.entries.items() if _is_chosen(one, types, chosen, first, last)]
        for name in {*gone} - written:
            (folder / name).unlink(missing_ok=True)
            manifest.remove(name)
            tally.add(Report(removed=1))
    return tally.report


def _files(
    client: Client,
    layout: Layout,
    types: Sequence[RecordType],
    chosen: Chosen,
    first: dt.date,
    last: dt.date,
) -> list[File]:
    """The files of these days, by instrument and day."""
    by_type = {one: exchange_rows.days(client, one, chosen, first, last, by_receipt=layout != "plain") for one in types}
    if layout == "hftbacktest":
        return _hftbacktest_files(client, types, by_type)
    pairs = [(one, day, version) for one, days in by_type.items() for day, version in sorted(days.items())]
    if layout == "plain":
        return [File(path_of(one, day), one, day, text, partial(write, one, day)) for one, day, text in pairs]
    return [
        File(nautilus.path_of(one, day), one, day, text + _gaps(client, one, day), partial(_write_nautilus, one, day))
        for one, day, text in pairs
    ]


def _hftbacktest_files(
    client: Client, types: Sequence[RecordType], by_type: Mapping[RecordType, Mapping[Day, str]]
) -> list[File]:
    versions: dict[Day, list[str]] = {}
    for one, days in by_type.items():
        for day, version in days.items():
            versions.setdefault(day, []).append(f"{one} {version}{_gaps(client, one, day)}")
    return [
        File(hftbacktest.path_of(day), "", day, "; ".join(found), partial(_write_hftbacktest, types, day))
        for day, found in sorted(versions.items())
    ]


def _made(client: Client, folder: Path, file: File, manifest: Manifest) -> Report:
    """Write a file unless it is made of the same rows."""
    path, name, day = folder / file.path, str(file.path), file.day
    entry = Entry(file.version, file.type, day.exchange, day.market_type, day.instrument, day.date)
    known = manifest.entries.get(name)
    if known == entry and path.exists():
        return Report(unchanged=1)
    if known and known.instrument != day.instrument:
        cause = f"{day.instrument} and {known.instrument} have this file name: export one to another folder"
        return Report(failed={f"{name} of {day.instrument}": cause})
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        rows = file.write(client, path)
    except CannotExport as error:
        return Report(failed={name: str(error)})
    manifest.put(name, entry)
    return Report(written=1, rows=rows, bytes=path.stat().st_size)


def _write_nautilus(record_type: RecordType, day: Day, client: Client, path: Path) -> int:
    digits = exchange_rows.precisions(client, record_type, day)
    if record_type == "trade":
        frames = (nautilus.trades(exchange_rows.trades(client, day, *hour)) for hour in day.hours())
    else:
        frames = (nautilus.deltas(events) for events in _book_events(client, day))
    return nautilus.write(path, day, digits, frames)


def _write_hftbacktest(types: Sequence[RecordType], day: Day, client: Client, path: Path) -> int:
    return hftbacktest.write(path, day, _hftbacktest_events(types, day, client))


def _hftbacktest_events(types: Sequence[RecordType], day: Day, client: Client) -> Iterator[hftbacktest.Events]:
    events = _book_events(client, day) if "orderbook" in types else None
    for hour in day.hours():
        parts = [hftbacktest.depth(next(events))] if events else []
        if "trade" in types:
            parts.append(hftbacktest.trades(exchange_rows.trades(client, day, *hour)))
        yield hftbacktest.by_receipt(parts)


def _book_events(client: Client, day: Day) -> Iterator[pl.DataFrame]:
    """The events of each hour; the book of midnight comes first, where it is known."""
    chain = BookEvents(exchange_rows.book_gaps(client, day))
    midnight = books(day.exchange, day.market_type, day.instrument, day.start, connection=client)
    begin = pl.DataFrame()
    if midnight["known"].item():
        chain.start(day.start, midnight["last_id"].item())
        begin = midnight.select(
            action=pl.lit("snapshot"), exch=pl.lit(day.start), local=pl.lit(day.start), last_id="last_id", bids="bids",
            asks="asks",
        )  # fmt: skip
    for start, end in day.hours():
        events = chain.take(exchange_rows.books(client, day, start, end), end)
        if not begin.is_empty():
            events = pl.concat([begin.cast(events.schema), events])
            begin = pl.DataFrame()
        yield events


def _gaps(client: Client, record_type: RecordType, day: Day) -> str:
    """A fingerprint of the gaps of a book in a day: they decide which of its records are used."""
    if record_type != "orderbook":
        return ""
    end = day.start + exchange_rows.HOURS * exchange_rows.HOUR
    gaps = [(gap.ts_from, gap.cause) for gap in exchange_rows.book_gaps(client, day) if day.start <= gap.ts_from < end]
    return " " + digest(*sorted(gaps))


def _is_chosen(entry: Entry, types: Sequence[str], chosen: Chosen, first: dt.date, last: dt.date) -> bool:
    """Whether a file belongs to what is exported now."""
    exchange, market_type, instruments = chosen
    return (
        first <= entry.date <= last
        and (not entry.type or entry.type in types)
        and exchange in (None, entry.exchange)
        and market_type in (None, entry.market_type)
        and (instruments is None or entry.instrument in instruments)
    )


IN_PATH = ("exchange", "market_type", "instrument")
CHUNK = 1 << 20
PARQUET = "output_format_parquet_string_as_string = 1, output_format_parquet_compression_method = 'zstd'"


def path_of(record_type: str, day: Day) -> Path:
    """Where the records of a day are, below the folder of the export."""
    parts = {"type": record_type, "exchange": day.exchange, "market_type": day.market_type}
    parts["instrument"] = quote(day.instrument, safe="")
    return Path(*(f"{name}={value}" for name, value in parts.items())) / f"{day.date}.parquet"


def write(record_type: str, day: Day, client: Client, path: Path) -> int:
    """Write the records whose `time` is in that day (UTC), in its order; the number of rows."""
    table = TABLES[record_type]
    columns = [name for name in (*table.columns, "time") if name not in IN_PATH]
    midnight = dt.datetime.combine(day.date, dt.time(), dt.UTC)
    end = midnight + dt.timedelta(days=1)
    where = about(table.name, day.exchange, day.market_type, day.instrument, midnight, end)
    order = ["time", *(name for name in ("last_id", "trade_id", "interval", "stream", "ts_recv") if name in columns)]
    sql = (
        f"SELECT {', '.join(map(quoted, columns))} FROM {table.name} FINAL WHERE {where}"
        f" ORDER BY {', '.join(map(quoted, order))} SETTINGS {FINAL}, {PARQUET}"
    )
    with replacing(path) as file, naming_failures():
        stream = client.raw_stream(sql, parameters=where.values, fmt="Parquet")
        shutil.copyfileobj(stream, file, CHUNK)  # type: ignore[arg-type]
    return int(pl.scan_parquet(path).select(pl.len()).collect().item())
