"""What bars are made of: which stocks a source has, and its rows in one shape. How they become bars is in `bars`.

Rows have code, time (the exchange's clock) and label, of daily files date instead; prices, volume (shares) and amount
(yuan). A source may aggregate runs of minutes; the others give every minute.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Literal

import polars as pl
import psycopg
from psycopg import errors as pg

from marketdata_assets.read import columnar
from marketdata_assets.read.columnar import Where
from marketdata_assets.read.errors import NothingLoaded, OddValue
from marketdata_assets.read.resampling import spans
from marketdata_assets.read.tables import table
from marketdata_assets.reference.codes import canonical
from marketdata_assets.reference.exchanges import MAINLAND, Exchange, Sessions
from marketdata_assets.reference.records import Days
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.postgres import naming_failures
from marketdata_assets.ticks.records import FLAGS

Source = Literal["minutes", "ticks", "daily"]
LOT = 100
"""Shares in a lot, in which the vendor counts the volume of minute bars, on every board."""
TICK_VALUES = {
    "open": "argMin(open, ts)",
    "high": "max(high)",
    "low": "min(low)",
    "close": "argMax(close, ts)",
    "volume": "sum(volume)",
    "amount": "sum(turnover)",
}
"""In ClickHouse, which skips nulls in all of them."""
EXACT = pl.Decimal(38, 18)
TICK_FRACTIONS = {"volume": "toString(sum(toDecimal256(toString(volume), 18)))"}
"""As text of EXACT: sums of doubles are not what the decimals that they were written as add up to."""
Dates = tuple[Literal["IN", "NOT IN"], Literal["Array(Date)"], Sequence[dt.date]] | None
"""A condition on days; None is none."""
A_DAY = dt.timedelta(days=1)
ASHARE = r"^\d{6}\.(SH|SZ|BJ)$"


def _minutes(
    connection: psycopg.Connection, codes: Sequence[str], days: Days, values: Sequence[str], *_: Any
) -> pl.DataFrame:
    found = table(
        "stock_1min_qfq",
        "time",
        days.first,
        days.last + A_DAY,
        only={"code": codes},
        order=("code", "time"),
        columns=["code", "time", *values],
        connection=connection,
    )
    in_shares = [pl.col("volume") * LOT] if "volume" in values else []
    return found.with_columns(pl.lit("end").alias("label"), pl.col(pl.Decimal).cast(pl.Float64), *in_shares)


def _ticks(
    client: Client,
    codes: Sequence[str],
    days: Days,
    values: Sequence[str],
    minutes: int | None,
    exchange: Exchange = MAINLAND,
    hours: Sessions = MAINLAND.sessions,
    only: Dates = None,
) -> pl.DataFrame:
    """Runs of so many minutes, or days, aggregated by ClickHouse, so that no more rows than bars leave it; or all
    minutes. The codes are of one exchange, and its days have these hours; `only` are those among them or not."""
    where = Where()
    where.among("symbol", codes)
    where.add("date", ">=", "Date", days.first)
    where.add("date", "<=", "Date", days.last)
    if only is not None:
        where.add("date", *only)
    if exchange is not MAINLAND:  # the minutes before and after the session are other trading
        where.conditions.append(f"bitAnd(flags, {FLAGS['outside_session']}) = 0")
    if minutes != 1:
        return _tick_runs(client, where, values, minutes, exchange, hours)
    names = ["symbol", "date", "ts", "label", *("turnover" if name == "amount" else name for name in values)]
    found = columnar.read(client, "tick_data", names, where, ("symbol", "ts"))
    found = found.rename({"symbol": "code", "turnover": "amount"}, strict=False)
    _check_labels(found, "label", "label")
    time = pl.col("ts").dt.convert_time_zone(exchange.timezone).dt.replace_time_zone(None)
    return found.select("code", "label", time.cast(pl.Datetime("us")).alias("time"), *values)


def _tick_runs(
    client: Client, where: Where, values: Sequence[str], minutes: int | None, exchange: Exchange, hours: Sessions
) -> pl.DataFrame:
    """Labelled by their start; days by midnight."""
    aggregates = TICK_VALUES | (TICK_FRACTIONS if exchange.fractions else {})
    wanted = "".join(f", {aggregates[name]} AS {name}" for name in values)
    sql = files(__package__).joinpath("sql/tick_bars.sql").read_text("utf-8")
    period = "0" if minutes is None else _period(hours, minutes)
    for name, text in (("timezone", exchange.timezone), ("period", period), ("values", wanted), ("where", str(where))):
        sql = sql.replace(f"{{{name}}}", text)
    found = columnar.ask(client, "tick_data", sql, where.values).sort("code", "date", "period")
    _check_labels(found, "first_label", "last_label")
    time = pl.col("date").cast(pl.Datetime("us")) + pl.duration(minutes="period")
    found = found.select("code", pl.lit("start").alias("label"), time.alias("time"), *values)
    return found.with_columns(
        pl.col(name).cast(EXACT) for name in TICK_FRACTIONS if found.schema.get(name) == pl.String
    )


def _period(hours: Sessions, minutes: int) -> str:
    """In SQL: the first minute of the run that a row is part of, as `resampling` has it."""
    runs = [
        (start, f"{start} + intDiv(least(greatest(ends - {start}, 1), {length}) - 1, {minutes}) * {minutes}")
        for start, length in spans(hours)
    ]
    found = runs[0][1]
    for start, run in runs[1:]:
        found = f"if(ends < {start}, {found}, {run})"
    return found


def _check_labels(found: pl.DataFrame, least: str, greatest: str) -> None:
    """Minutes that are labelled by both ends would be counted twice."""
    days = found.group_by("code", "date").agg(pl.col(least).min(), last=pl.col(greatest).max())
    mixed = days.filter(pl.col(least) != pl.col("last")).sort("code", "date")
    if not mixed.is_empty():
        code, day = mixed.select("code", "date").row(0)
        cause = f"bars of {code} on {day} are labelled by their start, others by their end"
        raise OddValue("tick_data", "label", cause)


def _daily(
    connection: psycopg.Connection, codes: Sequence[str], days: Days, values: Sequence[str], *_: Any
) -> pl.DataFrame:
    found = table(
        "stock_daily",
        "trade_date",
        days.first,
        days.last + A_DAY,
        only={"code": [in_files(code) for code in codes]},
        columns=["code", "trade_date", *values],
        connection=connection,
    )
    code = pl.col("code").replace_strict({in_files(code): code for code in codes}, return_dtype=pl.String)
    return found.with_columns(code, pl.col(pl.Decimal).cast(pl.Float64)).rename({"trade_date": "date"})


def _loaded_minutes(connection: psycopg.Connection, codes: Sequence[str] | None) -> dict[str, Days]:
    return _spans(connection, "stock_1min_qfq", "min(first)::date, max(last)::date FROM stock_1min_coverage", codes)


def _loaded_daily(connection: psycopg.Connection, codes: Sequence[str] | None) -> dict[str, Days]:
    named = None if codes is None else [in_files(code) for code in codes]
    found = _spans(connection, "stock_daily", "min(trade_date), max(trade_date) FROM stock_daily", named)
    return {code: days for name, days in found.items() if (code := canonical(name)) is not None}


def _spans(connection: psycopg.Connection, table: str, what: str, codes: Sequence[str] | None) -> dict[str, Days]:
    sql = f"SELECT code, {what} WHERE %(codes)s::text[] IS NULL OR code = ANY(%(codes)s) GROUP BY code"
    try:
        with naming_failures():
            found = connection.execute(sql.encode(), {"codes": None if codes is None else list(codes)}).fetchall()
    except pg.UndefinedTable:
        raise NothingLoaded(table) from None
    return {code: Days(first, last) for code, first, last in found}


def _loaded_ticks(client: Client, codes: Sequence[str] | None) -> dict[str, Days]:
    where = Where()
    where.among("symbol", codes)
    sql = f"SELECT symbol, min(date) AS first, max(date) AS last FROM tick_data WHERE {where} GROUP BY symbol"
    found = columnar.ask(client, "tick_data", sql, where.values)
    if codes is None:
        found = found.filter(pl.col("symbol").str.contains(ASHARE))
    return {code: Days(first, last) for code, first, last in found.select("symbol", "first", "last").iter_rows()}


def in_files(code: str) -> str:
    """`600000.SH` as the vendor's daily files have it: `sh600000`."""
    return f"{code[7:].lower()}{code[:6]}"


LOADED: Mapping[Source, Callable[[Any, Sequence[str] | None], dict[str, Days]]] = {
    "minutes": _loaded_minutes,
    "ticks": _loaded_ticks,
    "daily": _loaded_daily,
}
ROWS: Mapping[Source, Callable[..., pl.DataFrame]] = {"minutes": _minutes, "ticks": _ticks, "daily": _daily}
