"""What stands in tick_data where answers are about to land: rows of each day, and what stands beside them."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.ticks.records import Days
from marketdata_assets.ticks.settle import Asked, Stood, digest
from marketdata_assets.ticks.windows import as_days

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_FROM = "FROM tick_data WHERE symbol IN %(symbols)s AND date BETWEEN %(first)s AND %(last)s"


def stood(client: "Client", month: str, asked: Sequence[Asked], known: Mapping[str, Load]) -> dict[str, Stood]:
    """What stands of each symbol; of those that are not in the result, nothing does."""
    begun = [one for one in asked if one.unit.symbol in known]
    touched = {one.unit.symbol for one in begun if _touches(one, known[one.unit.symbol])}
    parts = {one.unit.symbol for one in begun if one.due is not None and not one.due.whole}
    days = Days.month(month)
    counts = _counts(client, touched, days)
    rows = _rows(client, touched & parts, days)
    found: dict[str, Stood] = {}
    for one in begun:
        symbol, load = one.unit.symbol, known[one.unit.symbol]
        replaced = {day: number for day, number in counts.get(symbol, {}).items() if day in one.replaces}
        beside = (0, 0)
        if symbol in parts & touched:
            others = rows[symbol].filter(~pl.col("date").is_between(one.replaces.first, one.replaces.last))
            beside = others.height, digest(others)
        elif symbol in parts:
            beside = load.rows, int(load.content_hash or "0", 16)
        found[symbol] = Stood(replaced, beside)
    return found


def _touches(one: Asked, load: Load) -> bool:
    """Whether rows may stand in the days that would be replaced."""
    return load.in_doubt or (load.rows > 0 and not as_days(load.slices).isdisjoint(one.replaces))


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
