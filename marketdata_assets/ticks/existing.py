"""The rows that a table has where a delivery is about to replace some, and a digest of the others of the month."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
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

_NUMBERS = ("open", "high", "low", "close", "volume", "turnover", "flags")  # finite, and whole ones below 2 ** 53
_NAMES = ("provider", "label", "interval", "currency")  # one of each a day
_SIDES = ("bid_price", "bid_size", "ask_price", "ask_size")


@dataclass(frozen=True)
class ExistingRows:
    """The rows of one symbol that a delivery would replace, by time; None without any.

    `by_day` are the digests of their days; `kept` and `kept_digest` are of the other days of the month.
    """

    frame: pl.DataFrame | None = None
    by_day: Mapping[dt.date, int] = field(default_factory=dict)
    kept: int = 0
    kept_digest: int = 0

    @cached_property
    def days(self) -> Mapping[dt.date, int]:
        """How many rows each day has."""
        return {} if self.frame is None else dict(self.frame["date"].value_counts().iter_rows())

    @cached_property
    def providers(self) -> Mapping[dt.date, str]:
        """The provider of each day's rows."""
        return {} if self.frame is None else dict(self.frame.select("date", "provider").iter_rows())

    @property
    def rows(self) -> int:
        return 0 if self.frame is None else self.frame.height


def read_existing(
    client: Client, table: Table, month: str, replaced: Mapping[str, Days], loads: Mapping[str, Load]
) -> dict[str, ExistingRows]:
    """The rows of each symbol whose days would be `replaced`; a symbol without a ledger entry is left out."""
    known = {symbol: days for symbol, days in replaced.items() if symbol in loads}
    read: dict[str, Days] = {}
    for symbol, days in known.items():
        load = loads[symbol]
        if load.pending:
            read[symbol] = Days.month(month)
        elif load.rows and not as_days(load.slices).isdisjoint(days):
            read[symbol] = days
    rows_of = _rows(client, table, read)
    existing: dict[str, ExistingRows] = {}
    for symbol, days in known.items():
        load, rows = loads[symbol], rows_of.get(symbol, table.columns.to_frame())
        within = pl.col("date").is_between(days.first, days.last)
        here = rows.filter(within)
        by_day = digests(here)
        if load.pending:
            others = rows.filter(~within)
            kept, digest = others.height, total(digests(others))
        else:
            kept, digest = load.rows - here.height, int(load.content_hash or "0", 16) - total(by_day)
        existing[symbol] = ExistingRows(None if here.is_empty() else here, by_day, kept, digest % MODULUS)
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
    first, last = min(days.first for days in wanted.values()), max(days.last for days in wanted.values())
    sql = f"""
        SELECT * FROM {table.name}
        WHERE symbol IN %(symbols)s AND date BETWEEN %(first)s AND %(last)s ORDER BY symbol, ts"""
    rows = clickhouse.read(client, sql, {"symbols": sorted(wanted), "first": first, "last": last}).cast(table.columns)
    return {str(key[0]): part for key, part in rows.partition_by("symbol", as_dict=True).items()}
