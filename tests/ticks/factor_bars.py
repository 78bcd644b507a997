"""Bars written by hand for tests of factors, checks and states, and what is in the tables afterwards."""

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import polars as pl
from clickhouse_connect.driver.client import Client

from marketdata_assets.reference.calendar import TradingDays
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.ticks.factors import compute
from marketdata_assets.ticks.fallback import Provider
from marketdata_assets.ticks.load_run import LoadOptions
from marketdata_assets.ticks.reports import LoadReport, Unit
from marketdata_assets.ticks.tables import FACTORS, TICK_DATA
from tests.ticks.tick_rows import load, weekdays

NOW = dt.datetime(2026, 3, 2, 1, tzinfo=dt.UTC)
"""The morning of a Monday after two whole months."""

Bar = tuple[float | None, int | None, float | None]
"""Close, volume, turnover."""


SYMBOL, OTHER = "600000.SH", "000001.SZ"
MONTH = "2026-02"
FEBRUARY = weekdays(Days.month(MONTH))
JANUARY = weekdays(Days.month("2026-01"))
UNITS = [Unit(SYMBOL, MONTH), Unit(OTHER, MONTH)]


def day_of(symbol: str, date: dt.date, bars: Sequence[Bar], **columns: Any) -> pl.DataFrame:
    """A day whose bars begin at 09:31."""
    return _day_of(symbol, date, tuple(bars), tuple(columns.items()))


@lru_cache(4096)
def _day_of(symbol: str, date: dt.date, bars: tuple[Bar, ...], columns: tuple[tuple[str, Any], ...]) -> pl.DataFrame:
    """Most days are those of other tests, too."""
    start = dt.datetime.combine(date, dt.time(1, 31), tzinfo=dt.UTC)
    frame = pl.DataFrame(bars, {"close": pl.Float64, "volume": pl.Int64, "turnover": pl.Float64}, orient="row")
    given: dict[str, Any] = {"label": "end", "interval": "1m", "currency": "CNY", "flags": 0, "provider": "tushare"}
    given["file"] = ""
    return (
        frame.with_columns(
            symbol=pl.lit(symbol),
            date=pl.lit(date),
            ts=pl.Series(
                [start + dt.timedelta(minutes=number) for number in range(len(bars))], dtype=pl.Datetime("ms", "UTC")
            ),
            **{name: pl.col("close") for name in ("open", "high", "low")},
        )
        .with_columns(pl.lit(value).alias(name) for name, value in (given | dict(columns)).items())
        .select(TICK_DATA.columns.names())
        .cast(TICK_DATA.columns)
    )


def stand(client: Client, frames: Iterable[pl.DataFrame], covered: Iterable[dt.date] | None = None) -> None:
    """Make these days all that is stored of their symbols and months; `covered`, or the whole month, was requested.

    Written past the writer, whose publishes take most of the time of a test that is not about them.
    """
    whole = pl.concat(frames).sort("symbol", "ts").with_columns(month=pl.col("date").dt.strftime("%Y-%m"))
    loads = []
    for (month, symbol), part in whole.partition_by(["month", "symbol"], as_dict=True, include_key=True).items():
        rows = part.drop("month")
        entry = load(str(symbol), Days.month(str(month)), rows, origin=rows["provider"][0])
        loads.append(entry if covered is None else replace(entry, slices=[str(day) for day in covered]))
    known = {(load.source, load.unit) for load in ledger.entries(client, TICK_DATA.name) if load.rows}
    if again := sorted(known & {(load.source, load.unit) for load in loads}):
        sql = "DELETE FROM tick_data WHERE (toString(symbol), formatDateTime(date, '%%Y-%%m')) IN %(units)s"
        client.command(sql, {"units": again})
    clickhouse.insert(client, TICK_DATA.name, whole.drop("month"), TICK_DATA.dictionaries)
    ledger.record(client, loads, ledger.next_version(client))


def flat(price: float, volume: int = 100, count: int = 12) -> list[Bar]:
    return [(price, volume, price * volume)] * count


def months(symbol: str = SYMBOL, **days: list[Bar]) -> list[pl.DataFrame]:
    """Two months of flat days at 10, and other bars on the days given as `d20260203`; [] is no bar."""
    named = {dt.date.fromisoformat(f"{name[1:5]}-{name[5:7]}-{name[7:]}"): bars for name, bars in days.items()}
    every = {day: flat(10.0) for day in [*JANUARY, *FEBRUARY]} | named
    return [day_of(symbol, day, bars) for day, bars in every.items() if bars]


@dataclass
class Computer:
    """Computes factors as different processes would, one after the other."""

    client: Client
    providers: list[Callable[[], Provider]] = field(default_factory=list)
    now: dt.datetime = NOW
    trading_days: TradingDays = weekdays

    def __call__(self, units: Sequence[Unit] | None = None, **changes: Any) -> LoadReport:
        options = LoadOptions(workers=4, **changes)
        made = [make() for make in self.providers]
        wanted = UNITS if units is None else units
        days = self.trading_days
        return compute(self.client, made, wanted, options=options, run_id="run", now=self.now, trading_days=days)


def factors(client: Client, symbol: str | None = None) -> pl.DataFrame:
    where = "" if symbol is None else f"WHERE symbol = '{symbol}'"
    sql = f"SELECT * FROM factors {where} ORDER BY symbol, date, factor, provider"
    return clickhouse.read(client, sql).cast(FACTORS.columns)


def values(client: Client, factor: str, symbol: str | None = None) -> dict[dt.date, float]:
    """A factor's values by day."""
    return dict(factors(client, symbol).filter(pl.col("factor") == factor).select("date", "value").iter_rows())
