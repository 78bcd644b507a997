"""Load the tables with rows for each trading day: suspensions, adjustment factors, price limits; by month.

One request a day, for all stocks. A day counts as answered in full once it was requested after its close; the newest
ones are requested again, since providers correct them. Only days whose rows have changed are written, and an answer
without rows, or with far fewer than before, deletes none.
"""

import asyncio
import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from marketdata_assets.errors import MarketDataError, is_outage
from marketdata_assets.loading.reports import and_more
from marketdata_assets.reference import file_states, stored
from marketdata_assets.reference.calendar import Calendar, last_closed
from marketdata_assets.reference.errors import NoReferenceSource, NotOffered
from marketdata_assets.reference.files import Dropped
from marketdata_assets.reference.load import Outcome, Provider, Run, UnitReport, first_seen
from marketdata_assets.reference.records import Days
from marketdata_assets.reference.tables import SUSPENSIONS, TABLES, DailyName, Table, ensure

RECHECKED_DAYS = 2
"""The newest trading days before today that are requested again in each load of their month."""
SETTLED = dt.timedelta(days=7)
LEAST_SHARE = 0.9
"""An answer for a day that is not settled, with a smaller share of the rows of the day before, is not complete."""
MAX_NAMED = 5


def load_days(
    run: Run, name: DailyName, months: Collection[str], *, calendar: Calendar, refetch: bool = False
) -> list[UnitReport]:
    """Load the trading days of `months` until today that are not covered, and the newest again; all with `refetch`."""
    ensure(run.client)
    table = TABLES[name]
    dropped = run.dropped(table, calendar)
    load = _Load(run, table, calendar, dropped, refetch)
    reports = [load.month(month) for month in sorted(set(months))]
    file_states.record(run, name, dropped, [one.unit for one in reports if one.outcome in ("ok", "empty")])
    bad = [UnitReport(name, file.name, "failed", error=str(error)) for file, error in dropped.failed.items()]
    return [*reports, *bad]


def newest_days(calendar: Calendar, today: dt.date) -> list[dt.date]:
    """The last trading day until today, and the ones before it that are requested again."""
    return calendar.trading_days(Days(today - dt.timedelta(days=30), today))[-RECHECKED_DAYS - 1 :]


@dataclass(frozen=True)
class _Load:
    run: Run
    table: Table
    calendar: Calendar
    dropped: Dropped
    refetch: bool

    def month(self, month: str) -> UnitReport:
        """Load one month; what fails is recorded, and the days that were answered are written."""
        name = self.table.name
        try:
            return self._month(month)
        except MarketDataError as error:
            return self.run.failed(name, month, error)

    def _month(self, month: str) -> UnitReport:
        name = self.table.name
        days = [day for day in self.calendar.trading_days(Days.month(month)) if day <= self.run.today]
        before = self.run.entry(name, month)
        present = stored.of_days(self.run.client, self.table, Days.month(month))
        of_files = self.dropped.over(present, self.table)
        wanted = self._wanted({*days} - {*of_files["date"]}, set() if before.pending else set(before.slices))
        answers, failures = asyncio.run(self._answers(wanted)) if wanted else ({}, {})
        if failures and not answers:
            raise failures[min(failures)]
        answers = {day: rows for day, rows in answers.items() if self._replaces(rows, _rows_of(present, day))}
        answers |= {day: _rows_of(of_files, day) for day in days if day in self.dropped.days}
        if not answers and not before.slices and self.run.sources.provider is None:
            raise next(iter(self.dropped.failed.values()), NoReferenceSource(name))
        covered = self._covered(month, answers)
        fresh = first_seen(pl.concat(answers.values()), present, self.table, self.run.now) if answers else present
        same = {day for day in answers if _rows_of(fresh, day).equals(_rows_of(present, day))}
        changed = sorted(answers.keys() - same)
        outcome: Outcome = "failed" if failures else "ok"
        error = and_more([f"{day}: {failures[day]}" for day in sorted(failures)], 3) if failures else None
        origin = ",".join(fresh["source"].unique().sort()) or before.origin
        slices = [str(day) for day in sorted(covered)]
        load = self.run.attempt(name, month, outcome, error=error, origin=origin, slices=slices)
        if changed:
            others = present.filter(~pl.col("date").is_in(changed))
            rows = fresh.filter(pl.col("date").is_in(changed))
            whole = pl.concat([others, rows]).sort(self.table.keys)
            done = self.run.publish(self.table, month.replace("-", ""), whole, load, changed)
        else:
            done = self.run.note(load)
        open_days = [str(day) for day in days if str(day) not in done.slices]
        note = f"not final: {and_more(open_days, MAX_NAMED)}" if open_days else ""
        counts = done.rows, len(days), len(days) - len(open_days)
        transient = any(map(is_outage, failures.values()))
        return UnitReport(name, month, outcome, *counts, bool(changed), origin, note, error, transient)

    def _wanted(self, days: Collection[dt.date], covered: Collection[str]) -> list[dt.date]:
        """The days to request: those that are not covered, and the newest again; none that a file has."""
        if self.run.sources.provider is None:
            return []
        newest = newest_days(self.calendar, self.run.today)
        return [
            day
            for day in sorted(days)
            if day not in self.dropped.days and (self.refetch or str(day) not in covered or day in newest)
        ]

    async def _answers(
        self, days: Sequence[dt.date]
    ) -> tuple[dict[dt.date, pl.DataFrame], dict[dt.date, MarketDataError]]:
        """The rows of each day that was answered, and why others were not."""
        assert self.run.sources.provider
        answers: dict[dt.date, pl.DataFrame] = {}
        failures: dict[dt.date, MarketDataError] = {}
        slots = asyncio.Semaphore(self.run.workers)

        async def request(provider: Provider, day: dt.date) -> None:
            async with slots:
                if any(isinstance(error, NotOffered) for error in failures.values()):
                    return
                try:
                    rows = await provider.day(self.table.name, day)  # type: ignore[arg-type]
                    answers[day] = rows.with_columns(source=pl.lit(provider.name))
                except MarketDataError as error:  # of one day: the others are requested
                    failures[day] = error

        async with self.run.sources.provider() as provider:
            await asyncio.gather(*(request(provider, day) for day in days))
        return answers, failures

    def _replaces(self, rows: pl.DataFrame, present: pl.DataFrame) -> bool:
        """Whether an answer is taken: one without rows, or with far fewer than are loaded, deletes none."""
        least = 1 if self.table is SUSPENSIONS else LEAST_SHARE * present.height
        return present.is_empty() or rows.height >= least

    def _covered(self, month: str, answers: Mapping[dt.date, pl.DataFrame]) -> set[dt.date]:
        """The days that are answered in full: all of a file, and of a provider those that are closed and not short.

        Any day may have no suspension; every trading day has factors and limits, of nearly as many stocks as before.
        """
        closed = last_closed(self.run.now)
        if self.table is SUSPENSIONS:
            return {day for day in answers if day in self.dropped.days or day <= closed}
        first = Days.month(month).first
        before = stored.of_days(self.run.client, self.table, Days(first - dt.timedelta(days=30), first))
        least = before.group_by("date").len().sort("date")["len"].to_list()[-1:] or [0]
        covered = set()
        for day in sorted(answers):
            count = answers[day].height
            settled = self.run.today - day > SETTLED
            enough = count > 0 and (settled or count >= LEAST_SHARE * least[0])
            if day in self.dropped.days or (day <= closed and enough):
                covered.add(day)
                least = [count]
        return covered


def _rows_of(frame: pl.DataFrame, day: dt.date) -> pl.DataFrame:
    return frame.filter(pl.col("date") == day)
