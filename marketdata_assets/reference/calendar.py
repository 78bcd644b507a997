"""The days and minutes on which A-shares trade, so that no bars on a holiday differ from no bars on a trading day.

The days are those of the Shanghai calendar of exchange_calendars, which all three exchanges follow. It ends with the
last year whose holidays are announced; the weekdays after it are provisional trading days. Suspensions of single
stocks are not in it.
"""

import datetime as dt
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

import polars as pl

from marketdata_assets.reference.records import Days, Label

ZONE = ZoneInfo("Asia/Shanghai")
SESSIONS = ((dt.time(9, 30), 120), (dt.time(13, 0), 120))
"""The start of each session of a day, and its minutes."""
CLOSE = dt.time(15, 0)
SETTLING_TIME = dt.timedelta(minutes=30)  # after the close, providers still complete a day for this long

TradingDays = Callable[[Days], Sequence[dt.date]]
"""The days of a span on which the exchange is open, in order."""


@dataclass(frozen=True)
class Calendar:
    """One exchange's calendar: `known` are the days of which it is certain, `sessions` the trading days in them."""

    known: Days
    sessions: tuple[dt.date, ...]

    def trading_days(self, days: Days) -> list[dt.date]:
        """The days on which the exchange is open, in order; after the known ones, every weekday."""
        found = list(self.sessions[bisect_left(self.sessions, days.first) : bisect_right(self.sessions, days.last)])
        if days.last > self.known.last:
            beyond = Days(max(days.first, self.known.last + dt.timedelta(days=1)), days.last)
            found += [day for day in beyond if day.weekday() < 5]
        return found

    def is_provisional(self, day: dt.date) -> bool:
        """Whether nobody has announced yet if this day is a trading day."""
        return day > self.known.last

    def minutes(self, day: dt.date, label: Label) -> pl.Series:
        """The labels, in UTC, of all bars of a trading day; none on a day without trading.

        240 minutes. Labelled by their ends there are 241: the opening auction is a bar at 09:30.
        """
        times = minutes_of_day(day, label) if self.trading_days(Days(day, day)) else []
        return pl.Series("ts", times, pl.Datetime("ms", "UTC"))

    def corrected(self, days: Iterable[tuple[dt.date, bool]]) -> "Calendar":
        """This calendar with what an exchange says of some days: whether it is open. They count as known."""
        said = dict(days)
        if not said:
            return self
        last = self.known.last
        while last + dt.timedelta(days=1) in said:
            last += dt.timedelta(days=1)
        open_days = {day for day in self.sessions if day not in said} | {
            day for day, is_open in said.items() if is_open
        }
        known = Days(self.known.first, last)
        return Calendar(known, tuple(sorted(day for day in open_days if day <= last)))


@lru_cache(maxsize=1)
def ashares() -> Calendar:
    """The calendar of Shanghai, Shenzhen and Beijing, back to the first day of trading; takes half a second, once."""
    import exchange_calendars  # brings pandas with it

    sessions = exchange_calendars.get_calendar("XSHG", start="1990-12-19", side="left")
    known = Days(sessions.first_session.date(), sessions.last_session.date())
    return Calendar(known, tuple(stamp.date() for stamp in sessions.sessions))


def minutes_of_day(day: dt.date, label: Label) -> list[dt.datetime]:
    """The labels, in UTC, of the bars of a day that is a trading day."""
    times: list[dt.datetime] = []
    for start, minutes in SESSIONS:
        begin = dt.datetime.combine(day, start, ZONE).astimezone(dt.UTC)
        times += [begin + dt.timedelta(minutes=number) for number in range(minutes)]
    if label == "end":
        times = [times[0], *(time + dt.timedelta(minutes=1) for time in times)]
    return times


def last_closed(now: dt.datetime) -> dt.date:
    """The last day (of the exchange) whose data is final; it may be a day without trading."""
    local = now.astimezone(ZONE)
    end = dt.datetime.combine(local.date(), CLOSE, ZONE) + SETTLING_TIME
    return local.date() if local >= end else local.date() - dt.timedelta(days=1)
