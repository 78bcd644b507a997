"""What stands in tick_data where answers are about to land: rows of each day, and what stands beside them."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.ticks.reconcile import ExistingRows, FetchResult, digest
from marketdata_assets.ticks.records import Days
from marketdata_assets.ticks.windows import as_days

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_FROM = "FROM tick_data WHERE symbol IN %(symbols)s AND date BETWEEN %(first)s AND %(last)s"


def stood(
    client: "Client", month: str, asked: Sequence[FetchResult], known: Mapping[str, Load]
) -> dict[str, ExistingRows]:
    """What stands of each symbol; of those that are not in the result, nothing does."""
    begun = [(one.unit.symbol, one.replaces, known[one.unit.symbol]) for one in asked if one.unit.symbol in known]
    touched = {symbol for symbol, days, load in begun if _touches(days, load)}
    month_days = Days.month(month)
    counts = _counts(client, touched, month_days)
    mixed = {symbol for symbol, days, load in begun if symbol in touched and _beyond(days, load)}
    rows = _rows(client, mixed, month_days)
    found: dict[str, ExistingRows] = {}
    for symbol, days, load in begun:
        replaced = {day: number for day, number in counts.get(symbol, {}).items() if day in days}
        beside = (0, 0)
        if symbol in mixed:
            others = rows[symbol].filter(~pl.col("date").is_between(days.first, days.last))
            beside = others.height, digest(others)
        elif symbol not in touched:
            beside = load.rows, int(load.content_hash or "0", 16)
        found[symbol] = ExistingRows(replaced, beside)
    return found


def _touches(days: Days, load: Load) -> bool:
    """Whether rows may stand in the days that would be replaced."""
    return load.pending or (load.rows > 0 and not as_days(load.slices).isdisjoint(days))


def _beyond(days: Days, load: Load) -> bool:
    """Whether rows may stand outside of them too."""
    return load.pending or not as_days(load.slices).issubset(days)


def _counts(client: "Client", symbols: Collection[str], days: Days) -> dict[str, dict[dt.date, int]]:
    found: dict[str, dict[dt.date, int]] = {}
    if symbols:
        sql = f"SELECT toString(symbol) AS name, date, count() AS rows {_FROM} GROUP BY name, date"
        for symbol, day, number in clickhouse.read(client, sql, _bound(symbols, days)).iter_rows():
            found.setdefault(symbol, {})[day] = number
    return found


def _rows(client: "Client", symbols: Collection[str], days: Days) -> dict[str, pl.DataFrame]:
    if not symbols:
        return {}
    frame = clickhouse.read(client, f"SELECT * {_FROM} ORDER BY symbol, ts", _bound(symbols, days))
    return {symbol: frame.filter(pl.col("symbol") == symbol) for symbol in symbols}


def _bound(symbols: Collection[str], days: Days) -> dict[str, object]:
    return {"symbols": sorted(symbols), "first": days.first, "last": days.last}
