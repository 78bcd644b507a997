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
from marketdata_assets.ticks.tables import Table

MODULUS = 2**128

_WHERE = "WHERE symbol IN %(symbols)s AND date BETWEEN %(first)s AND %(last)s"
_NUMBERS = ("open", "high", "low", "close", "volume", "turnover", "flags")  # finite, and whole ones below 2 ** 53
_NAMES = ("provider", "label", "interval", "currency")  # one of each a day
_SIDES = ("bid_price", "bid_size", "ask_price", "ask_size")


@dataclass(frozen=True)
class ExistingRows:
    """The rows of one symbol that a delivery would replace, by day: how many, and of which provider.

    `kept` and `kept_digest` are of the other days. `frame` has the rows themselves, where some of them may be kept.
    """

    days: Mapping[dt.date, int] = field(default_factory=dict)
    kept: int = 0
    kept_digest: int = 0
    providers: Mapping[dt.date, str] = field(default_factory=dict)
    frame: pl.DataFrame | None = None

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

    Rows themselves are read only of the symbols in `whole`, and where some of a month are kept, or some days of it are
    not final.
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
            if load.pending or load.content_hash is None:
                read[symbol] = Days.month(month)
            elif load.states or not covered.issubset(days) or symbol in whole:
                read[symbol] = days
    counts = _counts(client, table, touched, Days.month(month))
    rows_of = _rows(client, table, read)
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
        mine = rows_of.get(symbol, table.columns.to_frame())
        here = mine.filter(pl.col("date").is_between(days.first, days.last))
        if read[symbol] == days and load.content_hash:
            kept_digest = (int(load.content_hash, 16) - total(digests(here))) % MODULUS
        else:
            kept_digest = total(digests(mine.filter(~pl.col("date").is_between(days.first, days.last))))
        existing[symbol] = ExistingRows(inside, kept, kept_digest, providers, here)
    return existing


def digests(rows: pl.DataFrame) -> dict[dt.date, int]:
    """A number for each day of bars or order books of one symbol, sorted by time; they add up, see `total`."""
    if rows.is_empty():
        return {}
    books = "bid_price" in rows.columns
    numbers = [pl.col("ts").cast(pl.Int64), *(() if books else map(pl.col, _NUMBERS))]
    exact = rows.select(number.cast(pl.Float64).fill_null(float("nan")) for number in numbers)
    values = np.ascontiguousarray(exact.to_numpy())
    names = [name for name in _NAMES if name in rows.columns]
    found: dict[dt.date, int] = {}
    start = 0
    for length, date in rows["date"].rle().struct.unnest().iter_rows():
        head = "|".join(str(rows[name][start]) for name in names) + _files(rows["file"][start : start + length])
        day = blake2b(head.encode() + values[start : start + length].tobytes(), digest_size=16)
        for name in _SIDES if books else ():
            side = rows[name][start : start + length]
            day.update(side.list.len().to_numpy().tobytes())
            day.update(side.explode(empty_as_null=False).to_numpy().tobytes())
        found[date] = int.from_bytes(day.digest())
        start += length
    return found


def total(by_day: Mapping[dt.date, int]) -> int:
    """The digest of all the days: a sum, so that those of two sets of days add up, modulo MODULUS."""
    return sum(by_day.values()) % MODULUS


def _files(column: pl.Series) -> str:
    """Of which file the rows are, run by run."""
    return "".join(f"|{name} {rows}" for rows, name in column.rle().struct.unnest().iter_rows() if name)


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
