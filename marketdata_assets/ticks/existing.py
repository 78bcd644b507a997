"""The rows that a table has where a delivery is about to replace some: counts by day, and a digest of what it keeps."""

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.ticks.plan import as_days
from marketdata_assets.ticks.tables import TICK_DATA, Table

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MODULUS = 2**128

_WHERE = "WHERE symbol IN %(symbols)s AND date BETWEEN %(first)s AND %(last)s"
_NUMBERS = ("open", "high", "low", "close", "volume", "turnover", "flags")  # finite, and whole ones below 2 ** 53
_NAMES = ("provider", "label", "interval", "currency")  # one of each a day


@dataclass(frozen=True)
class ExistingRows:
    """The rows of one symbol that a delivery would replace, by day; `kept` and `kept_digest` are of the other days."""

    days: Mapping[dt.date, int] = field(default_factory=dict)
    kept: int = 0
    kept_digest: int = 0

    @property
    def rows(self) -> int:
        return sum(self.days.values())


def read_existing(
    client: "Client", table: Table, month: str, replaced: Mapping[str, Days], loads: Mapping[str, Load]
) -> dict[str, ExistingRows]:
    """The rows of each symbol whose days would be `replaced`; a symbol without a ledger entry is left out.

    Rows themselves are read for the digest of bars only, and only where some of a month are kept.
    """
    known = {symbol: days for symbol, days in replaced.items() if symbol in loads}
    touched, mixed = set[str](), set[str]()
    for symbol, days in known.items():
        load = loads[symbol]
        if not load.pending and not load.rows:
            continue
        covered = as_days(load.slices)
        if load.pending or not covered.isdisjoint(days):
            touched.add(symbol)
            if table is TICK_DATA and (load.pending or not covered.issubset(days)):
                mixed.add(symbol)
    counts = _counts(client, table, touched, Days.month(month))
    if mixed:
        sql = f"SELECT * FROM {table.name} {_WHERE} ORDER BY symbol, ts"
        rows = clickhouse.read(client, sql, _bound(mixed, Days.month(month)))
    existing: dict[str, ExistingRows] = {}
    for symbol, days in known.items():
        by_day = counts.get(symbol, {})
        inside = {day: number for day, number in by_day.items() if day in days}
        if symbol not in touched:
            load = loads[symbol]
            existing[symbol] = ExistingRows(inside, load.rows, int(load.content_hash or "0", 16))
            continue
        kept_digest = 0
        if symbol in mixed:
            others = rows.filter(pl.col("symbol") == symbol, ~pl.col("date").is_between(days.first, days.last))
            kept_digest = digest(others)
        existing[symbol] = ExistingRows(inside, sum(by_day.values()) - sum(inside.values()), kept_digest)
    return existing


def digest(bars: pl.DataFrame) -> int:
    """A number for bars of one symbol, sorted by time. Those of two sets of days add up, modulo MODULUS."""
    if bars.is_empty():
        return 0
    numbers = [pl.col("ts").cast(pl.Int64), *map(pl.col, _NUMBERS)]
    exact = bars.select(number.cast(pl.Float64).fill_null(float("nan")) for number in numbers)
    values = np.ascontiguousarray(exact.to_numpy())
    total = start = 0
    for length in bars["date"].rle().struct.field("len"):
        head = "|".join(str(bars[name][start]) for name in _NAMES)
        day = values[start : start + length].tobytes()
        total += int.from_bytes(blake2b(head.encode() + day, digest_size=16).digest())
        start += length
    return total % MODULUS


def digest_of_books(books: pl.DataFrame, days: Days) -> int:
    """A number for the order books of one symbol in `days`, sorted by time."""
    result = blake2b(f"{days}".encode(), digest_size=16)
    result.update(books["ts"].to_physical().to_numpy().tobytes())
    for name in ("bid_price", "bid_size", "ask_price", "ask_size"):
        result.update(books[name].list.len().to_numpy().tobytes())
        result.update(books[name].explode(empty_as_null=False).to_numpy().tobytes())
    result.update("|".join(books["provider"].unique().sort()).encode())
    return int.from_bytes(result.digest())


def _counts(client: "Client", table: Table, symbols: Collection[str], days: Days) -> dict[str, dict[dt.date, int]]:
    counts: dict[str, dict[dt.date, int]] = {}
    if symbols:
        sql = f"SELECT toString(symbol) AS name, date, count() AS rows FROM {table.name} {_WHERE} GROUP BY name, date"
        for symbol, day, number in clickhouse.read(client, sql, _bound(symbols, days)).iter_rows():
            counts.setdefault(symbol, {})[day] = number
    return counts


def _bound(symbols: Collection[str], days: Days) -> dict[str, object]:
    return {"symbols": sorted(symbols), "first": days.first, "last": days.last}
