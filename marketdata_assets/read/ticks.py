"""Minute bars, order books and factors as providers deliver them, from ClickHouse.

A bound that is a date means the exchange's day, one with a time is an instant and needs a zone.
"""

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from marketdata_assets.read import bounds, columnar
from marketdata_assets.read.bounds import Moment
from marketdata_assets.read.columnar import Where, several
from marketdata_assets.read.errors import BadMoment
from marketdata_assets.read.sources import of_clickhouse
from marketdata_assets.ticks.tables import FACTORS, ORDER_BOOK, TICK_DATA, Table

if TYPE_CHECKING:
    from marketdata_assets.read.sources import ClickHouse

ZONES_APART = dt.timedelta(days=1)
"""So far the day of an exchange may be from that of UTC."""


def tick_data(
    symbols: str | Sequence[str] | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    columns: Sequence[str] | None = None,
    connection: "ClickHouse | None" = None,
) -> pl.DataFrame:
    """Minute bars of these symbols (None: all) from `start` to before `end`, by symbol and `ts`, which is in UTC."""
    return _read(TICK_DATA, ("symbol", "ts"), symbols, start, end, columns, connection)


def order_book(
    symbols: str | Sequence[str] | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    columns: Sequence[str] | None = None,
    connection: "ClickHouse | None" = None,
) -> pl.DataFrame:
    """Snapshots of order books, by symbol and `ts`, which is in UTC; each side is a list, the best price first."""
    return _read(ORDER_BOOK, ("symbol", "ts"), symbols, start, end, columns, connection)


def factors(
    symbols: str | Sequence[str] | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    names: str | Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    connection: "ClickHouse | None" = None,
) -> pl.DataFrame:
    """Factors of these names (None: all), a row a symbol, day and factor, in this order. Bounds are dates."""
    for bound in (start, end):
        if bound is not None and bounds.day(bound) is None:
            raise BadMoment(bound, "has a time of day, and factors have days only")
    return _read(FACTORS, ("symbol", "date", "factor"), symbols, start, end, columns, connection, names)


def _read(
    table: Table,
    order: Sequence[str],
    symbols: str | Sequence[str] | None,
    start: Moment | None,
    end: Moment | None,
    columns: Sequence[str] | None,
    connection: "ClickHouse | None",
    names: str | Sequence[str] | None = None,
) -> pl.DataFrame:
    wanted = columnar.known(table.name, columns, table.columns.names())
    where = Where()
    where.among("symbol", several(symbols))
    where.among("factor", several(names))
    _span(where, table.name, start, end)
    with of_clickhouse(connection) as client:
        found = columnar.read(client, table.name, wanted, where, order)
    return found.cast({name: table.columns[name] for name in wanted})


def _span(where: Where, table: str, start: Moment | None, end: Moment | None) -> None:
    """Days, or instants and the days around them, which tell the server the months to look into."""
    moments: list[dt.datetime | None] = []
    for bound, sign, around in ((start, ">=", -ZONES_APART), (end, "<", ZONES_APART)):
        moments.append(None if bound is None else _as_instant(bound, table))
        if bound is None:
            continue
        day = bounds.day(bound)
        if day is not None:
            where.add("date", sign, "Date", day)
        else:
            moment = bounds.instant(bound, table)
            where.add("ts", sign, "DateTime64(6, 'UTC')", moment)
            where.add("date", f"{sign[0]}=", "Date", moment.date() + around)
    bounds.in_order(start, end, *moments)


def _as_instant(bound: Moment, table: str) -> dt.datetime:
    return bounds.instant(bound, table)
