"""A provider of reference data in memory, and loads from it."""

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import polars as pl
from clickhouse_connect.driver.client import Client

from marketdata_assets.errors import TransientError
from marketdata_assets.reference import stored
from marketdata_assets.reference.calendar import ZONE
from marketdata_assets.reference.codes import board_of, lot_of
from marketdata_assets.reference.daily import load_days
from marketdata_assets.reference.files import ReferenceFiles
from marketdata_assets.reference.load import Run, Sources, UnitReport
from marketdata_assets.reference.records import Days
from marketdata_assets.reference.tables import (
    CODE_CHANGES,
    INSTRUMENTS,
    NAME_HISTORY,
    TABLES,
    TRADING_CALENDAR,
    DailyName,
    Table,
)

SYMBOLS = tuple(f"6000{number:02}.SH" for number in range(20))
NOW = dt.datetime(2026, 3, 20, 16, tzinfo=ZONE)  # a Friday, after the close


class Outage(TransientError):
    """The provider does not answer."""


@dataclass
class Almanac:
    """What a provider says: it trades on weekdays but `holidays`, announced up to `announced`.

    `rows` of a table and day replace the usual ones: a factor and limits of each of `symbols`, and no suspension.
    """

    symbols: Collection[str] = SYMBOLS
    holidays: set[dt.date] = field(default_factory=set)
    announced: dt.date = dt.date(2026, 12, 31)
    rows: dict[tuple[str, dt.date], list[tuple[Any, ...]]] = field(default_factory=dict)
    failing: dict[str | dt.date, Exception] = field(default_factory=dict)
    asked: list[tuple[str, dt.date]] = field(default_factory=list)
    name: str = "almanac"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def trading_calendar(self, days: Days) -> pl.DataFrame:
        known = [day for day in days if day <= self.announced]
        said = [day.weekday() < 5 and day not in self.holidays for day in known]
        return pl.DataFrame({"date": known, "open": said}, TRADING_CALENDAR.values)

    async def instruments(self) -> pl.DataFrame:
        self._fail(INSTRUMENTS)
        rows = [
            (symbol, f"name of {symbol}", dt.date(2010, 1, 4), None, "listed", board, lot_of(board))
            for symbol in self.symbols
            for board in (board_of(symbol),)
        ]
        return pl.DataFrame(rows, INSTRUMENTS.values, orient="row")

    async def name_history(self) -> pl.DataFrame:
        self._fail(NAME_HISTORY)
        rows = [(symbol, "first name", dt.date(2010, 1, 4), None, "") for symbol in self.symbols]
        return pl.DataFrame(rows, NAME_HISTORY.values, orient="row")

    async def code_changes(self) -> pl.DataFrame:
        rows = [("430017.BJ", "920017.BJ", dt.date(2025, 10, 9))]
        return pl.DataFrame(rows, CODE_CHANGES.values, orient="row")

    async def day(self, table: DailyName, day: dt.date) -> pl.DataFrame:
        self.asked.append((table, day))
        self._fail(TABLES[table], day)
        values: dict[str, tuple[Any, ...]] = {"adjust_factors": (1.5,), "price_limits": (11.0, 9.0)}
        usual = [(symbol, day, *values[table]) for symbol in self.symbols] if table in values else []
        return pl.DataFrame(self.rows.get((table, day), usual), TABLES[table].values, orient="row")

    def _fail(self, table: Table, day: dt.date | None = None) -> None:
        if error := self.failing.get(day or "") or self.failing.get(table.name):
            raise error


@dataclass
class Loads:
    """Loads of one database from one provider, and from the files in a folder."""

    client: Client
    folder: Path
    almanac: Almanac = field(default_factory=Almanac)

    def run(self, now: dt.datetime = NOW, *, provider: bool = True) -> Run:
        sources = Sources(ReferenceFiles(self.folder), (lambda: self.almanac) if provider else None)
        return Run(self.client, sources, "run", now)

    def days(
        self, table: DailyName, *months: str, now: dt.datetime = NOW, provider: bool = True, refetch: bool = False
    ) -> list[UnitReport]:
        calendar = stored.calendar(self.client)
        return load_days(self.run(now, provider=provider), table, months, calendar=calendar, refetch=refetch)

    def drop(self, name: str, text: str) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / name).write_text(text)
