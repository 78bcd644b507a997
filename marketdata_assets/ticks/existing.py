"""The rows that a table has where a delivery is about to replace some: counts by day, and a digest of what it keeps."""

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import polars as pl

from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks.plan import as_days
from marketdata_assets.ticks.tables import ORDER_BOOK, TICK_DATA, Table

MODULUS = 2**128

_WHERE = "WHERE symbol IN %(symbols)s AND date BETWEEN %(first)s AND %(last)s"
_NUMBERS = ("open", "high", "low", "close", "volume", "turnover", "flags")  # finite, and whole ones below 2 ** 53
_NAMES = ("provider", "label", "interval", "currency")  # one of each a day


@dataclass(frozen=True)
class ExistingRows:
    """The rows of one symbol that a delivery would replace, by day: how many, and of which provider.

    `kept` and `kept_digest` are of the other days. `bars` are the rows themselves, where some of them may be kept.
    """

    days: Mapping[dt.date, int] = field(default_factory=dict)
    kept: int = 0
    kept_digest: int = 0
    providers: Mapping[dt.date, str] = field(default_factory=dict)
    bars: pl.DataFrame | None = None

    @property
    def rows(self) -> int:
        return sum(self.days.values())


def read_existing(
    client: Client,
    table: Table,
    month: str,
    replaced: Mapping[str, Days],
    loads: Mapping[str, Load],
    whole: Collection[str] = (),
) -> dict[str, ExistingRows]:
    """The rows of each symbol whose days would be `replaced`; a symbol without a ledger entry is left out.

    Rows themselves are read only of the symbols in `whole`, and of bars where some of a month are kept, or some days of
    it are not final.
    """
    known = {symbol: days for symbol, days in replaced.items() if symbol in loads}
    touched: set[str] = set()
    read: dict[str, Days] = {}
    for symbol, days in known.items():
        load = loads[symbol]
        if not load.pending and not load.rows:
            continue
        covered = as_days(load.slices)
        if load.pending or not covered.isdisjoint(days):
            touched.add(symbol)
            some = table is TICK_DATA and bool(load.states or not covered.issubset(days))
            if table is TICK_DATA and (load.pending or load.content_hash is None):
                read[symbol] = Days.month(month)
            elif some or symbol in whole:
                read[symbol] = days
    counts = _counts(client, table, touched, Days.month(month))
    bars = _rows(client, table, read)
    existing: dict[str, ExistingRows] = {}
    for symbol, days in known.items():
        load, by_day = loads[symbol], counts.get(symbol, {})
        inside = {day: rows for day, (rows, _) in by_day.items() if day in days}
        if symbol not in touched:
            existing[symbol] = ExistingRows(inside, load.rows, int(load.content_hash or "0", 16))
            continue
        kept = sum(rows for rows, _ in by_day.values()) - sum(inside.values())
        providers = {day: by_day[day][1] for day in inside}
        if symbol not in read:
            existing[symbol] = ExistingRows(inside, kept, 0, providers)
            continue
        mine = bars.get(symbol, table.columns.to_frame())
        here = mine.filter(pl.col("date").is_between(days.first, days.last))
        if table is ORDER_BOOK:
            kept_digest = 0
        elif read[symbol] == days and load.content_hash:  # the digests of days add up
            kept_digest = (int(load.content_hash, 16) - digest(here)) % MODULUS
        else:
            kept_digest = digest(mine.filter(~pl.col("date").is_between(days.first, days.last)))
        existing[symbol] = ExistingRows(inside, kept, kept_digest, providers, here)
    return existing


def digest(bars: pl.DataFrame) -> int:
    """A number for bars of one symbol, sorted by time. Those of two sets of days add up, modulo MODULUS."""
    return sum(digests(bars).values()) % MODULUS


def digests(bars: pl.DataFrame) -> dict[dt.date, int]:
    """A number for each day of bars of one symbol, sorted by time."""
    if bars.is_empty():
        return {}
    numbers = [pl.col("ts").cast(pl.Int64), *map(pl.col, _NUMBERS)]
    exact = bars.select(number.cast(pl.Float64).fill_null(float("nan")) for number in numbers)
    values = np.ascontiguousarray(exact.to_numpy())
    found: dict[dt.date, int] = {}
    start = 0
    for length, date in bars["date"].rle().struct.unnest().iter_rows():
        head = "|".join(str(bars[name][start]) for name in _NAMES) + _files(bars["file"][start : start + length])
        day = values[start : start + length].tobytes()
        found[date] = int.from_bytes(blake2b(head.encode() + day, digest_size=16).digest())
        start += length
    return found


def _files(column: pl.Series) -> str:
    """Of which file the rows are, run by run."""
    return "".join(f"|{name} {rows}" for rows, name in column.rle().struct.unnest().iter_rows() if name)


def digest_of_books(books: pl.DataFrame, days: Days) -> int:
    """A number for the order books of one symbol in `days`, sorted by time."""
    result = blake2b(f"{days}".encode(), digest_size=16)
    result.update(books["ts"].to_physical().to_numpy().tobytes())
    for name in ("bid_price", "bid_size", "ask_price", "ask_size"):
        result.update(books[name].list.len().to_numpy().tobytes())
        result.update(books[name].explode(empty_as_null=False).to_numpy().tobytes())
    result.update(("|".join(books["provider"].unique().sort()) + _files(books["file"])).encode())
    return int.from_bytes(result.digest())


def _rows(client: Client, table: Table, wanted: Mapping[str, Days]) -> dict[str, pl.DataFrame]:
    """The rows of some symbols from the first to the last day that is wanted of any, by time."""
    if not wanted:
        return {}
    span = Days(min(days.first for days in wanted.values()), max(days.last for days in wanted.values()))
    rows = clickhouse.read(
        client, f"SELECT * FROM {table.name} {_WHERE} ORDER BY symbol, ts", _bound(wanted, span)
    ).cast(table.columns)
    return {str(key[0]): part for key, part in rows.partition_by("symbol", as_dict=True).items()}


def _counts(
    client: Client, table: Table, symbols: Collection[str], days: Days
) -> dict[str, dict[dt.date, tuple[int, str]]]:
    """By symbol and day the number of rows, and a provider of them."""
    counts: dict[str, dict[dt.date, tuple[int, str]]] = {}
    if symbols:
        names = "toString(symbol) AS name, date, count() AS rows, toString(any(provider)) AS provider"
        sql = f"SELECT {names} FROM {table.name} {_WHERE} GROUP BY name, date"
        for symbol, day, number, provider in clickhouse.read(client, sql, _bound(symbols, days)).iter_rows():
            counts.setdefault(symbol, {})[day] = number, provider
    return counts


def _bound(symbols: Collection[str], days: Days) -> dict[str, object]:
    return {"symbols": sorted(symbols), "first": days.first, "last": days.last}
