"""An invented year of a market: listings, suspensions, and how many bars a vendor has of each stock and day."""

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import psycopg

from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.completeness import Reference
from marketdata_assets.reference.records import Days, Listing
from marketdata_assets.reference.stored import Suspensions

YEAR = 2024
DAYS = tuple(ashares().trading_days(Days(dt.date(YEAR, 1, 1), dt.date(YEAR, 12, 31))))
MONTHS = tuple(f"{YEAR}-{month:02d}" for month in range(1, 13))
CLOSING_AUCTION = dt.date(YEAR, 8, 1)
EXCHANGES = (("600", "SH"), ("000", "SZ"), ("688", "SH"), ("300", "SZ"), ("920", "BJ"))

Cells = dict[tuple[str, dt.date], int]


@dataclass(frozen=True)
class Market:
    """What the vendor has of each stock and day, and what the reference data say."""

    cells: Cells
    reference: Reference

    def without(self, *gone: tuple[str, dt.date]) -> "Market":
        lacking = set(gone)
        return replace(self, cells={place: bars for place, bars in self.cells.items() if place not in lacking})

    def with_bars(self, changed: Cells) -> "Market":
        return replace(self, cells=self.cells | changed)

    def days_of(self, symbol: str) -> list[dt.date]:
        return [day for code, day in self.cells if code == symbol]

    def write(self, connection: psycopg.Connection) -> None:
        """Fill coverage and counts, as a load of `2024_1min.zip` does."""
        months: dict[tuple[str, dt.date], list[int]] = defaultdict(lambda: [0] * 31)
        for (symbol, day), bars in self.cells.items():
            months[symbol, day.replace(day=1)][day.day - 1] = bars
        source = f"{YEAR}_1min.zip"
        cursor = connection.cursor()
        with cursor.copy("COPY stock_1min_days (code, month, bars) FROM STDIN") as copy:
            for (symbol, month), counts in months.items():
                copy.write_row((symbol, month, counts))
        columns = "source, unit, code, month, first, last, rows, delivered"
        with cursor.copy(f"COPY stock_1min_coverage ({columns}) FROM STDIN") as copy:
            for (symbol, month), counts in months.items():
                traded = [month + dt.timedelta(days=number) for number, bars in enumerate(counts) if bars]
                times = (dt.datetime.combine(day, dt.time(9, 30)) for day in (traded[0], traded[-1]))
                copy.write_row((source, f"{symbol}.csv", symbol, month, *times, sum(counts), 1))


def usual(symbol: str, day: dt.date) -> int:
    """The bars of a whole day: Shenzhen's lack the opening auction, and from August on a minute of the closing one."""
    return 241 if not symbol.endswith("SZ") else 240 if day < CLOSING_AUCTION else 239


def clean_year(codes: int = 200, seed: int = 7) -> Market:
    """A complete year: some stocks are listed or delisted during it, each fifth is suspended for up to two months."""
    rng = np.random.default_rng(seed)
    cells: Cells = {}
    listings: dict[str, Listing] = {}
    suspended: list[tuple[str, dt.date, str]] = []
    for number in range(codes):
        prefix, exchange = EXCHANGES[number % len(EXCHANGES)]
        symbol = f"{prefix}{number:03d}.{exchange}"
        first, last = 0, len(DAYS)
        if number % 30 == 7:
            first = int(rng.integers(20, 200))
        if number % 60 == 11:
            last = int(rng.integers(100, 220))
        listed = DAYS[first] if first else dt.date(2010, 1, 4)
        delisted = DAYS[last] if last < len(DAYS) else None
        listings[symbol] = Listing(symbol, symbol, listed, delisted, "delisted" if delisted else "listed")
        out = range(0)
        if number % 5 == 3:
            start = int(rng.integers(first + 2, last - 50))
            out = range(start, start + int(rng.choice([1, 2, 5, 10, 40])))
        for place in range(first, last):
            if place in out:
                suspended.append((symbol, DAYS[place], ""))
            else:
                cells[symbol, DAYS[place]] = usual(symbol, DAYS[place])
    schema = {"symbol": pl.String(), "date": pl.Date(), "timing": pl.String()}
    suspensions = Suspensions(pl.DataFrame(suspended, schema, orient="row"), frozenset(DAYS))
    return Market(cells, Reference(listings=listings, suspensions=suspensions))
