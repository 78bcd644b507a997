"""Rows of a table in PostgreSQL or TimescaleDB: those of minute bars, the monthly K-line, and of every flow."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import polars as pl
import psycopg
from psycopg import errors as pg
from psycopg import sql

from marketdata_assets.read import bounds
from marketdata_assets.read.bounds import Moment
from marketdata_assets.read.columnar import several
from marketdata_assets.read.errors import BadMoment, NothingLoaded, OddValue, UnknownColumn, UnknownName
from marketdata_assets.read.sources import Postgres, of_postgres
from marketdata_assets.reference import codes as stock_codes
from marketdata_assets.reference import exchanges
from marketdata_assets.stores import pgread
from marketdata_assets.stores.pgread import TIMESTAMPTZ, Column

KLINE_SCALES = {"open": 4, "high": 4, "low": 4, "close": 4, "amount": 4, "volume": 0}
"""Digits behind the point of the K-line, whose columns are numerics without any: those of the minutes it is made of."""


def minute_bars(
    codes: str | Sequence[str] | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    columns: Sequence[str] | None = None,
    connection: Postgres | None = None,
) -> pl.DataFrame:
    """Return minute bars of A-shares, by code and time.

    `codes` are such as `600000.SH`; None means all. Bounds select `start <= time < end`. `time` is the exchange's
    clock, Asia/Shanghai, without a zone; a bound with a zone is converted. Prices and amounts are decimals in yuan,
    volumes lots of 100 shares. Raises UnknownName, UnknownColumn, BadMoment, NothingLoaded, OddValue, CannotRead.

        minute_bars("600000.SH", "2025-01-02", "2025-01-03", columns=["time", "close", "volume"])
    """
    return _of_codes("stock_1min_qfq", "time", codes, start, end, columns, connection)


def monthly_kline(
    codes: str | Sequence[str] | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    columns: Sequence[str] | None = None,
    connection: Postgres | None = None,
) -> pl.DataFrame:
    """Return monthly K-lines of A-shares, by code and month.

    `month` is the first midnight of the month, on the exchange's clock. Prices and sums are decimals. Arguments and
    errors are those of `minute_bars`.

        monthly_kline(["600000.SH", "000001.SZ"], "2024-01", "2025-01")
    """
    return _of_codes("stock_monthly_kline", "month", codes, start, end, columns, connection, KLINE_SCALES)


def table(
    name: str,
    by: str | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    only: Mapping[str, Any] | None = None,
    order: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    connection: Postgres | None = None,
    scales: Mapping[str, int] | None = None,
) -> pl.DataFrame:
    """Return rows of any PostgreSQL or TimescaleDB table, such as that of a flow.

    Bounds select rows whose column `by` is from `start` to before `end`. `only` maps columns to a value or a list of
    values. Rows are sorted by `order`, else unsorted. Columns are those of the table in its order, or `columns`. A
    numeric with a declared scale, or one in `scales`, is a decimal; any other numeric is text. Raises UnknownColumn,
    BadMoment, NaiveTime, NothingLoaded, OddValue, CannotRead.

        table("closes", "day", "2024-01", "2024-02", only={"code": "600000.SH"}, order=["day"])
    """
    with of_postgres(connection) as opened:
        try:
            there = pgread.columns_of(opened, name, scales)
        except pg.UndefinedTable:
            raise NothingLoaded(name) from None
        wanted = [_known(name, one, there) for one in (columns if columns is not None else there)]
        conditions = [*_span(name, there, by, start, end), *_equal(name, there, only or {})]
        where = sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("true")
        extra = [_known(name, one, there) for one in order if one not in {column.name for column in wanted}]
        try:
            frame = pgread.read(opened, name, [*wanted, *extra], where)
        except pgread.Unreadable as error:
            raise OddValue(name, error.column, error.cause) from None
    if order:
        frame = frame.sort(order)
    return frame.select(column.name for column in wanted)


def _span(
    name: str, there: Mapping[str, Column], by: str | None, start: Moment | None, end: Moment | None
) -> list[sql.Composable]:
    times = {one: column for one, column in there.items() if column.dtype.is_temporal()}
    if by is None:
        if start is None and end is None:
            return []
        raise BadMoment(start or end, f"is a bound of no column: say by={min(times, default='COLUMN')!r}")
    column = _known(name, by, times)
    convert = partial(bounds.instant, table=name) if column.oid == TIMESTAMPTZ else bounds.wall
    return [
        sql.SQL("{} " + sign + " {}").format(sql.Identifier(by), sql.Literal(bound))
        for sign, bound in bounds.span(start, end, convert)
        if bound is not None
    ]


def _equal(name: str, there: Mapping[str, Column], only: Mapping[str, Any]) -> list[sql.Composable]:
    conditions: list[sql.Composable] = []
    for key, wanted in only.items():
        several = isinstance(wanted, Collection) and not isinstance(wanted, (str, bytes))
        literals: list[sql.Composable] = [sql.Literal(one) for one in (wanted if several else [wanted])]
        values = sql.SQL(", ").join(literals or [sql.NULL])
        conditions.append(sql.SQL("{} IN ({})").format(sql.Identifier(_known(name, key, there).name), values))
    return conditions


def _known(name: str, column: str, there: Mapping[str, Column]) -> Column:
    if column not in there:
        raise UnknownColumn(name, column, there)
    return there[column]


def symbols(codes: str | Sequence[str] | None) -> list[str] | None:
    """Symbols of any exchange as a list, None for all. Raises UnknownName for what is none, or is spelled otherwise."""
    wanted = several(codes)
    for code in wanted or ():
        meant = exchanges.canonical(code)
        if meant != code:
            others = [one.example for one in exchanges.EXCHANGES]
            raise UnknownName("code of a stock", code, [meant] if meant else [f"{', '.join(others)} and the like"])
    return wanted


def ashare_codes(codes: str | Sequence[str] | None) -> list[str] | None:
    """One code or several as a list, None for all. Raises UnknownName for what cannot be the code of an A-share."""
    wanted = several(codes)
    for code in wanted or ():
        if stock_codes.exchange(code[:6]) is None or code[6:] not in (".SH", ".SZ", ".BJ"):
            meant = stock_codes.canonical(code)
            raise UnknownName("code of a stock", code, [meant] if meant else ["600000.SH and the like"])
    return wanted


def _of_codes(
    name: str,
    by: str,
    codes: str | Sequence[str] | None,
    start: Moment | None,
    end: Moment | None,
    columns: Sequence[str] | None,
    connection: Postgres | None,
    scales: Mapping[str, int] | None = None,
) -> pl.DataFrame:
    """Rows of a table of bars. Raises UnknownName for a code that no row of the whole table has."""
    wanted = ashare_codes(codes)
    with of_postgres(connection) as opened:
        frame = table(
            name,
            by,
            start,
            end,
            only={} if wanted is None else {"code": wanted},
            order=("code", by),
            columns=columns,
            connection=opened,
            scales=scales,
        )
        found = set(frame["code"]) if "code" in frame.columns else set[str]()
        _check_codes(opened, name, sorted(set(wanted or ()) - found))
    return frame


def _check_codes(connection: psycopg.Connection, name: str, codes: Sequence[str]) -> None:
    """Raise UnknownName for a code that neither a row of the table nor the record of loaded bars has."""
    query = sql.SQL("SELECT 1 FROM {} WHERE code = %s LIMIT 1").format(sql.Identifier(name))
    unknown = [code for code in codes if connection.execute(query, [code]).fetchone() is None]
    if unknown:
        loaded = connection.execute("SELECT to_regclass('stock_1min_coverage') IS NOT NULL").fetchone() == (True,)
        known = connection.execute("SELECT DISTINCT code FROM stock_1min_coverage").fetchall() if loaded else []
        names = {one for (one,) in known}
        for code in unknown:
            if code not in names:
                raise UnknownName(f"code in {name}", code, names)
