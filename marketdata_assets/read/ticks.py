"""Minute bars, order books and factors as providers deliver them, from ClickHouse.

A bound that is a date means the exchange's day, one with a time is an instant and needs a zone.
"""

import datetime as dt
from collections.abc import Collection, Sequence
from functools import partial

import polars as pl

from marketdata_assets.read import bounds, columnar
from marketdata_assets.read.bounds import Moment
from marketdata_assets.read.columnar import Where, several
from marketdata_assets.read.errors import BadMoment
from marketdata_assets.read.sources import ClickHouse, of_clickhouse
from marketdata_assets.stores import clickhouse_ledger
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks.tables import FACTORS, ORDER_BOOK, TICK_DATA, Table

FINAL = "final"
ZONES_APART = dt.timedelta(days=1)  # so far the day of an exchange may be from that of UTC


def tick_data(
    symbols: str | Sequence[str] | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    columns: Sequence[str] | None = None,
    final: bool = False,
    connection: ClickHouse | None = None,
) -> pl.DataFrame:
    """Return minute bars as the providers deliver them, by symbol and `ts` (UTC).

    Columns: symbol, date, ts, label, interval, open, high, low, close, volume (shares), turnover (in `currency`),
    currency, flags, provider.

    `final` leaves out days that may still change and those that are known to lack bars; the column `final`, when it is
    among `columns`, says so of each row. `symbols` None means all. A bound that is a date is the exchange's day; one
    with a time is an instant and needs a zone. Raises UnknownName, UnknownColumn, NaiveTime, BadMoment,
    NothingLoaded, CannotRead.

        tick_data("600000.SH", "2025-01-02", "2025-01-03", columns=["ts", "close", "volume"])
    """
    return _read(TICK_DATA, ("symbol", "ts"), symbols, start, end, columns, connection, final=final)


def order_book(
    symbols: str | Sequence[str] | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    columns: Sequence[str] | None = None,
    connection: ClickHouse | None = None,
) -> pl.DataFrame:
    """Return order book snapshots, by symbol and `ts` (UTC); each side is a list, best price first.

    `symbols` None means all. A bound that is a date is the exchange's day; one with a time is an instant and needs a
    zone. Raises UnknownName, UnknownColumn, NaiveTime, BadMoment, NothingLoaded, CannotRead.

        order_book("600000.SH", "2025-01-02", "2025-01-03")
    """
    return _read(ORDER_BOOK, ("symbol", "ts"), symbols, start, end, columns, connection)


def factors(
    symbols: str | Sequence[str] | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    names: str | Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    final: bool = False,
    connection: ClickHouse | None = None,
) -> pl.DataFrame:
    """Return factors, one row per symbol, day and factor, in this order.

    `names` are factor names; None means all. Bounds are dates: one with a time raises BadMoment.

    `final` leaves out days that may still change and those that are known to lack bars; the column `final`, when it is
    among `columns`, says so of each row. `symbols` None means all. A bound that is a date is the exchange's day; one
    with a time is an instant and needs a zone. Raises UnknownName, UnknownColumn, NaiveTime, BadMoment,
    NothingLoaded, CannotRead.

        factors("600000.SH", "2025-01-01", "2025-02-01", names="volume_ratio")
    """
    for bound in (start, end):
        if bound is not None and bounds.day(bound) is None:
            raise BadMoment(bound, "has a time of day, and factors have days only")
    return _read(FACTORS, ("symbol", "date", "factor"), symbols, start, end, columns, connection, names, final=final)


def _read(
    table: Table,
    order: Sequence[str],
    symbols: str | Sequence[str] | None,
    start: Moment | None,
    end: Moment | None,
    columns: Sequence[str] | None,
    connection: ClickHouse | None,
    names: str | Sequence[str] | None = None,
    *,
    final: bool = False,
) -> pl.DataFrame:
    there = table.columns.names()
    requested = columnar.known(table.name, columns, [*there, FINAL] if columns is not None else there)
    marked = final or FINAL in requested
    wanted = [name for name in requested if name != FINAL]
    wanted += [name for name in ("symbol", "date") if marked and name not in wanted]
    where = Where()
    where.among("symbol", several(symbols))
    where.among("factor", several(names))
    (since, first), (before, last) = bounds.span(start, end, partial(bounds.instant, table=table.name))
    for bound, sign, moment, around in ((start, since, first, -ZONES_APART), (end, before, last, ZONES_APART)):
        if bound is None or moment is None:
            continue
        day = bounds.day(bound)
        if day is not None:
            where.add("date", sign, "Date", day)
        else:  # the days around an instant let the server prune months
            where.add("ts", sign, "DateTime64(6, 'UTC')", moment)
            where.add("date", f"{sign[0]}=", "Date", moment.date() + around)
    with of_clickhouse(connection) as client:
        frame = columnar.read(client, table.name, wanted, where, order)
        known = f"SELECT symbol AS name FROM symbols UNION DISTINCT SELECT DISTINCT symbol AS name FROM {table.name}"
        columnar.check_names(client, table.name, "symbol", frame, several(symbols), known, {})
        known = f"SELECT DISTINCT factor AS name FROM {FACTORS.name}"
        columnar.check_names(client, table.name, "factor", frame, several(names), known, {})
        frame = frame.cast({name: table.columns[name] for name in wanted})
        if marked:
            frame = _marked(client, table, frame)
    if final:
        frame = frame.filter(FINAL)
    return frame.select(requested)


def _marked(client: Client, table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with a column that says whether the day of each row is final; of factors, that of their bars too."""
    months = frame["date"].dt.strftime("%Y-%m").unique().to_list()
    open_days = open_days_of(client, {table.name, TICK_DATA.name}, months).with_columns(pl.lit(False).alias(FINAL))
    marked = frame.join(open_days, on=["symbol", "date"], how="left", maintain_order="left")
    return marked.with_columns(pl.col(FINAL).fill_null(True))


def open_days_of(client: Client, tables: Collection[str], months: Sequence[str]) -> pl.DataFrame:
    """The days of symbols (symbol, date) that are not final in one of the tables: provisional, or incomplete."""
    rows = [
        (load.source, dt.date.fromisoformat(state.slice))
        for name in tables
        for load in clickhouse_ledger.entries(client, name, months)
        for state in load.states
        if state.state != "unsupported"
    ]
    return pl.DataFrame(rows, {"symbol": pl.String, "date": pl.Date}, orient="row").unique()
