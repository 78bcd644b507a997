"""Loads of tick_data from the test servers, and what must be in the table afterwards, said without our code."""

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
from clickhouse_connect.driver.client import Client

from marketdata_assets.progress import Progress
from marketdata_assets.reference.calendar import TradingDays
from marketdata_assets.reference.records import Days, Listing
from marketdata_assets.reference.stored import Suspensions
from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks.fallback import Provider
from marketdata_assets.ticks.load import load
from marketdata_assets.ticks.load_run import Limits, LoadOptions
from marketdata_assets.ticks.reports import LoadReport, Unit, UnitReport
from marketdata_assets.ticks.table_writer import WriteRetries
from marketdata_demo.servers.tushare import TushareServer, minute_rows
from tests.ticks.tick_clients import JUNE, Clients
from tests.ticks.tick_rows import weekdays

NOW = dt.datetime(2025, 7, 1, 1, tzinfo=dt.UTC)
"""The first of July in Shanghai, before trading."""

MONTH = "2025-06"
CLOSED = Days(JUNE.first, dt.date(2025, 6, 5))
MORNING = dt.datetime(2025, 6, 6, tzinfo=dt.UTC)
"""The next morning: four trading days of the month have closed."""


def codes(number: int, first: int = 600000) -> list[str]:
    return [f"{first + one}.SH" for one in range(number)]


def units(symbols: Iterable[str], *months: str) -> list[Unit]:
    return [Unit(symbol, month) for month in months or (MONTH,) for symbol in symbols]


def suspensions(rows: Iterable[tuple[str, dt.date, str]], known: Iterable[dt.date]) -> Suspensions:
    """Those of rows of symbol, day and hours, of which the days `known` are answered in full."""
    return Suspensions(pl.DataFrame([*rows], Suspensions.unknown().frame.schema, orient="row"), frozenset(known))


@dataclass
class Loader:
    """Runs loads against one store, as different processes would one after the other."""

    client: Client
    clients: Clients
    server: TushareServer
    options: LoadOptions = field(
        default_factory=lambda: LoadOptions(
            workers=4, patience=0.0, limits=Limits(items=20, seconds=0.05), write_retries=WriteRetries(away=2)
        )
    )
    others: list[Callable[[], Provider]] = field(default_factory=list)
    """Makes the providers beside Tushare."""
    now: dt.datetime = MORNING

    def __call__(
        self,
        wanted: Sequence[Unit],
        *,
        now: dt.datetime | None = None,
        listings: Iterable[Listing] = (),
        tushare: dict[str, Any] | None = None,
        progress: Progress | None = None,
        suspended: Suspensions | None = None,
        trading_days: TradingDays = weekdays,
        **changes: Any,
    ) -> LoadReport:
        providers = [self.clients.tushare(self.server, **(tushare or {})), *(make() for make in self.others)]
        return load(
            self.client,
            providers,
            wanted,
            options=replace(self.options, **changes),
            run_id="run",
            now=now or self.now,
            progress=progress,
            listings=listings,
            trading_days=trading_days,
            suspended=suspended,
        )


def told(report: LoadReport) -> dict[str, str]:
    """Symbol and outcome of every unit."""
    return {unit.symbol: unit.outcome for unit in report.units}


def good_units(report: LoadReport) -> list[UnitReport]:
    return [unit for unit in report.units if unit.outcome != "failed"]


def landed(client: Client) -> pl.DataFrame:
    return clickhouse.read(client, "SELECT * FROM tick_data ORDER BY symbol, ts")


def expected(symbols: Iterable[str], days: Days = CLOSED) -> pl.DataFrame:
    """Symbol, exchange time and close of every bar that the server has of those days."""
    names = sorted(symbols)
    # The server has the same bars for every symbol.
    rows = [row for day in weekdays(days) for row in minute_rows("", day)]
    times = pl.Series([row[1] for row in rows], dtype=pl.String).str.to_datetime("%Y-%m-%d %H:%M:%S")
    numbers = {"close": 2, "volume": 6, "turnover": 7}
    one = pl.DataFrame(
        {"ts": times} | {name: pl.Series([row[at] for row in rows], dtype=pl.Float64) for name, at in numbers.items()}
    )
    return pl.DataFrame({"symbol": names}, schema={"symbol": pl.String}).join(
        one, how="cross", maintain_order="left_right"
    )


def assert_exact(client: Client, symbols: Iterable[str], days: Days = CLOSED) -> None:
    """Every bar of `symbols` in `days` once, and nothing else."""
    found = landed(client)
    local = pl.col("ts").dt.convert_time_zone("Asia/Shanghai").dt.replace_time_zone(None).cast(pl.Datetime("us"))
    seen = found.select("symbol", local, "close", pl.col("volume").cast(pl.Float64), "turnover")
    wanted = expected(symbols, days)
    assert seen.height == wanted.height
    assert seen.equals(wanted.cast(dict(seen.schema)))
    days_differ = found.filter(pl.col("ts").dt.convert_time_zone("Asia/Shanghai").dt.date() != pl.col("date"))
    assert days_differ.is_empty()
