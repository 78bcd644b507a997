"""A year of 300 stocks from files to the checks: nothing to object to, and then exactly what was taken out or rebased.

The reference data are files too, loaded into ClickHouse.
"""

import datetime as dt
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import polars as pl
import psycopg
import pytest
from bar_files import run
from clickhouse_connect.driver.client import Client
from market_year import CLOSING_AUCTION, DAYS, MONTHS, YEAR, Market, clean_year

from marketdata_assets.bars import bases, completeness
from marketdata_assets.bars.bases import one_price_basis
from marketdata_assets.bars.completeness import bars_complete
from marketdata_assets.reference import stored
from marketdata_assets.reference.calendar import ZONE, ashares
from marketdata_assets.reference.completeness import Reference, gaps
from marketdata_assets.reference.daily import load_days
from marketdata_assets.reference.files import ReferenceFiles
from marketdata_assets.reference.load import Run, Sources, load_calendar, load_instruments
from marketdata_assets.reference.records import Days
from marketdata_assets.reference.tables import DailyName
from marketdata_demo import sample_bars

BEFORE = tuple(ashares().trading_days(Days.month(f"{YEAR - 1}-12")))[-5:]
"""The days of the year before, in a file of their own: a seam for every stock."""
ALL_MONTHS = (f"{YEAR - 1}-12", *MONTHS)
REBASED = 5.0
NOW = dt.datetime(YEAR + 1, 1, 10, 16, tzinfo=ZONE)

Rows = pl.DataFrame
Cut = Callable[[Rows], Rows]
TIME = pl.col("时间")


def minutes(symbol: str, days: Iterable[dt.date], dividend: float = 0.0) -> Rows:
    """The bars of a stock; Shenzhen's lack the opening auction, and from August on a minute of the closing one."""
    code = f"{symbol[-2:].lower()}{symbol[:6]}"
    frame = sample_bars.stock_year(code, "示例", list(days), 7, dividend)
    if not symbol.endswith("SZ"):
        return frame
    closing = TIME.str.ends_with("14:58:00") & (str(CLOSING_AUCTION) <= TIME)
    return frame.filter(~TIME.str.ends_with("09:30:00") & ~closing)


def deliver(path: Path, members: Iterable[tuple[str, Rows]], day: int) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for symbol, frame in members:
            archive.writestr(f"{symbol}.csv", sample_bars.csv_bytes(frame))
    os.utime(path, (1_700_000_000 + day * 86_400,) * 2)


def load_reference(client: Client, folder: Path, market: Market) -> None:
    folder.mkdir()
    listings = [
        (one.symbol, one.symbol, one.listed, one.delisted, one.status) for one in market.reference.listings.values()
    ]
    columns = ["symbol", "name", "listed", "delisted", "status"]
    pl.DataFrame(listings, columns, orient="row").write_csv(folder / "instruments.csv")
    halted = market.reference.suspensions.frame
    for month in ALL_MONTHS:
        halted.filter(pl.col("date").dt.strftime("%Y-%m") == month).write_csv(folder / f"suspensions_{month}.csv")
        days = ashares().trading_days(Days.month(month))
        factors = [(symbol, day, 1.0) for symbol in market.reference.listings for day in days]
        pl.DataFrame(factors, ["symbol", "date", "adj_factor"], orient="row").write_csv(
            folder / f"adjust_factors_{month}.csv"
        )
    loading = Run(client, Sources(ReferenceFiles(folder)), "test", NOW)
    reports = [load_calendar(loading), *load_instruments(loading)]
    names: tuple[DailyName, ...] = ("suspensions", "adjust_factors")
    for name in names:
        reports += load_days(loading, name, ALL_MONTHS, calendar=stored.calendar(client))
    assert [one for one in reports if one.error] == []


@pytest.mark.slow
def test_of_a_year_of_300_stocks_exactly_what_was_planted_is_named(
    dsn: str, clickhouse_client: Client, tmp_path: Path
) -> None:
    market = clean_year()
    load_reference(clickhouse_client, tmp_path / "reference", market)
    days_of: Mapping[str, list[dt.date]] = {symbol: market.days_of(symbol) for symbol in market.reference.listings}
    always = [symbol for symbol, days in days_of.items() if len(days) == len(DAYS)]
    changed, folder = always[3:23], tmp_path / "bars"
    folder.mkdir()
    listed = [symbol for symbol, days in days_of.items() if days[0] == DAYS[0]]
    deliver(folder / f"{YEAR - 1}_1min.zip", ((symbol, minutes(symbol, BEFORE)) for symbol in listed), 1)
    others = ((symbol, minutes(symbol, days)) for symbol, days in days_of.items() if symbol not in changed)
    deliver(folder / f"{YEAR}_1min.zip", others, 2)
    deliver(folder / f"{YEAR}_more_1min.zip", ((symbol, minutes(symbol, DAYS)) for symbol in changed), 2)
    loaded = run(dsn, folder, ALL_MONTHS, workers=2)
    assert (loaded.failed, loaded.rows) == ((), sum(market.cells.values()) + rows_before(listed))

    reference = Reference.of(clickhouse_client, Days(BEFORE[0], DAYS[-1]))
    factors = stored.adjust_factors(clickhouse_client)
    with psycopg.connect(dsn) as connection:
        complete = bars_complete(connection, ALL_MONTHS, reference)
        assert (complete.count, complete.examples, complete.left_out) == (0, (), 0)
        for known in (factors, bases.FACTORS.to_frame()):
            based = one_price_basis(connection, ALL_MONTHS, reference, known)
            assert (based.count, based.examples, based.checked) == (0, (), len(listed))

    holes, cuts = planted(changed[:5])
    rebased = changed[5:15]
    again = ((symbol, minutes(symbol, DAYS, REBASED if symbol in rebased else 0.0)) for symbol in changed)
    cut = ((symbol, cuts[symbol](frame) if symbol in cuts else frame) for symbol, frame in again)
    deliver(folder / f"{YEAR}_more_1min.zip", ((symbol, frame) for symbol, frame in cut if frame.height), 3)
    assert run(dsn, folder, ALL_MONTHS, workers=2).failed == ()
    with psycopg.connect(dsn) as connection:
        stocks, _ = completeness.expected_stocks(connection, reference)
        judged = pl.concat(completeness.judged(connection, ALL_MONTHS, reference, stocks))
        found = gaps(judged, reference.calendar).select("symbol", "cause", "first", "last")
        assert set(found.iter_rows()) == holes
        based = one_price_basis(connection, ALL_MONTHS, reference, factors)
        assert (set(bases.known(connection)), based.checked) == (set(rebased), len(listed) - 1)
        based = one_price_basis(connection, ALL_MONTHS, reference, bases.FACTORS.to_frame())
        assert set(bases.known(connection)) <= set(rebased)
        within_the_limit = len(rebased) - based.count  # of Beijing, 30 %
        assert based.facts["seams_suspected"] == within_the_limit < 3


def rows_before(symbols: Iterable[str]) -> int:
    return sum(len(BEFORE) * (240 if symbol.endswith("SZ") else 241) for symbol in symbols)


def planted(symbols: list[str]) -> tuple[set[tuple[str, str, dt.date, dt.date]], dict[str, Cut]]:
    """What is to be found, and what is taken out: a minute, an afternoon, a day, a month, and a stock."""
    minute, afternoon, day, month, stock = symbols
    june, date = [one for one in DAYS if one.month == 6], dt.date(YEAR, 3, 6)
    on = TIME.str.starts_with(str(date))
    cuts: dict[str, Cut] = {
        minute: lambda frame: frame.filter(f"{date} 10:07:00" != TIME),
        afternoon: lambda frame: frame.filter(~(on & (f"{date} 12:00:00" < TIME))),
        day: lambda frame: frame.filter(~on),
        month: lambda frame: frame.filter(~TIME.str.starts_with(f"{YEAR}-06")),
        stock: lambda frame: frame.clear(),
    }
    return {
        (minute, "minutes", date, date),
        (afternoon, "minutes", date, date),
        (day, "day", date, date),
        (month, "day", june[0], june[-1]),
        (stock, "day", DAYS[0], DAYS[-1]),
    }, cuts
