"""The reference data that is stored in ClickHouse, as calendars, listings and frames.

What was never loaded is unknown. Where a table does not exist, the calendar is the library's and nothing else is known.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from marketdata_assets.reference.calendar import Calendar, ashares
from marketdata_assets.reference.records import Days, Listing
from marketdata_assets.reference.tables import (
    ADJUST_FACTORS,
    INSTRUMENTS,
    PRICE_LIMITS,
    SUSPENSIONS,
    TRADING_CALENDAR,
    Table,
)
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.clients import Client


@dataclass(frozen=True)
class Suspensions:
    """Stocks that did not trade: `frame` has symbol, date and timing, which is '' for the whole day, else 09:30-10:00.

    `known` are the days that are answered in full, on which a stock that is not in `frame` was not suspended.
    """

    frame: pl.DataFrame
    known: frozenset[dt.date]

    @classmethod
    def unknown(cls) -> "Suspensions":
        """Nothing is known of any day."""
        return cls(SUSPENSIONS.columns.to_frame().select("symbol", "date", "timing"), frozenset())

    @cached_property
    def hours(self) -> Mapping[tuple[str, dt.date], str]:
        """By symbol and day, as `09:30-10:00` with commas between; empty for the whole day."""
        hours: dict[tuple[str, dt.date], str] = {}
        for symbol, day, span in self.frame.iter_rows():
            earlier = hours.get((symbol, day), span)
            hours[symbol, day] = "" if not span or not earlier else ",".join(dict.fromkeys((earlier, span)))
        return hours

    def all_day(self, symbol: str, day: dt.date) -> bool:
        """Whether the stock is known not to have traded on this day."""
        return self.hours.get((symbol, day)) == ""


def calendar(client: Client) -> Calendar:
    """The library's calendar, corrected and extended by what the exchanges say of days."""
    said = rows(client, TRADING_CALENDAR).select("date", "open")
    return ashares().corrected(said.iter_rows())


def listings(client: Client) -> list[Listing]:
    """All stocks by symbol, the delisted ones and those that no source names any more included."""
    found = rows(client, INSTRUMENTS).select("symbol", "name", "listed", "delisted", "status")
    return [Listing(**row) for row in found.iter_rows(named=True)]


def suspensions(client: Client, days: Days) -> Suspensions:
    """The suspensions of some days."""
    found = of_days(client, SUSPENSIONS, days).select("symbol", "date", "timing")
    return Suspensions(found, covered(client, SUSPENSIONS, days))


def adjust_factors(client: Client, symbols: Iterable[str] | None = None, until: dt.date | None = None) -> pl.DataFrame:
    """Cumulative factors, by symbol and date: symbol, date, adj_factor.

    A row for the first day that is loaded of a symbol, and for each day on which the factor changes, up to `until`.
    """
    keep, bound = _named(symbols)
    if until is not None:
        keep, bound = [*keep, "date <= %(until)s"], bound | {"until": until}
    sql = f"""
        SELECT symbol, change.1 AS date, change.2 AS adj_factor
        FROM (
            SELECT symbol, arrayCompact(day -> day.2, arraySort(groupArray((date, adj_factor)))) AS changes
            FROM adjust_factors {_where(keep)} GROUP BY symbol
        )
        ARRAY JOIN changes AS change ORDER BY symbol, date"""
    return _read(client, ADJUST_FACTORS, sql, bound, ["symbol", "date", "adj_factor"])


def has_limits(client: Client) -> bool:
    """Whether there is a table of limits."""
    return _exists(client, PRICE_LIMITS.name)


def limit_digests(
    client: Client, months: Iterable[str], closed: dt.date, symbols: Iterable[str] | None = None
) -> dict[tuple[str, str], str]:
    """A digest of the limits of a symbol's days up to `closed`, by symbol and month; none of a month without limits."""
    if not has_limits(client):
        return {}
    keep, bound = _named(symbols)
    where = _where(["formatDateTime(date, '%%Y-%%m') IN %(months)s", "date <= %(closed)s", *keep])
    sql = f"""
        SELECT toString(symbol) AS symbol, formatDateTime(date, '%%Y-%%m') AS month,
            hex(groupBitXor(cityHash64(date, up, down))) AS digest
        FROM {PRICE_LIMITS.name} {where} GROUP BY symbol, month"""
    found = clickhouse.read(client, sql, bound | {"months": sorted(set(months)), "closed": closed})
    return {(symbol, month): digest for symbol, month, digest in found.iter_rows()}


def covered(client: Client, table: Table, days: Days | None = None) -> frozenset[dt.date]:
    """The days of a daily table that are answered in full, of `days` or of all."""
    if not _exists(client, ledger.LEDGER):
        return frozenset()
    units = None if days is None else sorted({f"{day:%Y-%m}" for day in days})
    known = {dt.date.fromisoformat(day) for load in ledger.entries(client, table.name, units) for day in load.slices}
    return frozenset(day for day in known if days is None or days.first <= day <= days.last)


def rows(client: Client, table: Table) -> pl.DataFrame:
    """All rows of a table, ordered by its keys; none when it does not exist."""
    names = ", ".join(map(clickhouse.quoted, table.columns))
    sql = f"SELECT {names} FROM {table.name} ORDER BY {', '.join(table.keys)}"
    return _read(client, table, sql, {}, table.columns.names())


def of_days(client: Client, table: Table, days: Days, symbols: Iterable[str] | None = None) -> pl.DataFrame:
    """All columns of the rows of a daily table in some days, ordered by its keys; none when it does not exist."""
    keep, bound = _named(symbols)
    where = _where(["date BETWEEN %(first)s AND %(last)s", *keep])
    sql = f"SELECT {', '.join(table.columns)} FROM {table.name} {where} ORDER BY {', '.join(table.keys)}"
    return _read(client, table, sql, bound | {"first": days.first, "last": days.last}, table.columns.names())


def _named(symbols: Iterable[str] | None) -> tuple[list[str], dict[str, Any]]:
    return ([], {}) if symbols is None else (["symbol IN %(symbols)s"], {"symbols": ["", *sorted(set(symbols))]})


def _where(conditions: list[str]) -> str:
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def _read(client: Client, table: Table, sql: str, bound: dict[str, Any], names: list[str]) -> pl.DataFrame:
    schema = pl.Schema({name: table.columns[name] for name in names})
    if not _exists(client, table.name):
        return schema.to_frame()
    return clickhouse.read(client, sql, bound).select(names).cast(schema)


def _exists(client: Client, name: str) -> bool:
    sql = "SELECT count() AS n FROM system.tables WHERE database = currentDatabase() AND name = {name:String}"
    return bool(clickhouse.read(client, sql, {"name": name})["n"][0])
