"""The days and minutes on which A-shares trade, so that no bars on a holiday differ from no bars on a trading day.

The Shanghai calendar of exchange_calendars, which all three exchanges follow. Suspensions of single stocks are not in
it.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from marketdata_assets.ticks.errors import OutsideCalendar
from marketdata_assets.ticks.records import Days, Label

ZONE = ZoneInfo("Asia/Shanghai")
CLOSE = dt.time(15, 0)
SETTLING_TIME = dt.timedelta(minutes=30)  # after the close, providers still complete a day for this long

TradingDays = Callable[[Days], Sequence[dt.date]]
"""The days of a span on which the exchange is open, in order."""


@dataclass(frozen=True)
class Calendar:
    """One exchange's calendar. Creating one takes half a second; `ashares` caches it."""

    _sessions: Any  # exchange_calendars.ExchangeCalendar, which has no types

    @property
    def reach(self) -> Days:
        """The first and the last day that the calendar covers."""
        return Days(self._sessions.first_session.date(), self._sessions.last_session.date())

    def trading_days(self, days: Days) -> list[dt.date]:
        """The days on which the exchange is open; OutsideCalendar beyond its range."""
        reach = self.reach
        for day in (days.first, days.last):
            if not reach.first <= day <= reach.last:
                raise OutsideCalendar(str(day), str(reach.first), str(reach.last))
        return [stamp.date() for stamp in self._sessions.sessions_in_range(str(days.first), str(days.last))]

    def minutes(self, day: dt.date, label: Label) -> pl.Series:
        """The labels, in UTC, of all bars of a trading day; none on a day without trading.

        240 minutes. Labelled by their ends there are 241: the opening auction is a bar at 09:30.
        """
        if not self.trading_days(Days(day, day)):
            return pl.Series("ts", [], pl.Datetime("ms", "UTC"))
        starts = pl.Series("ts", self._sessions.session_minutes(str(day)).tz_convert(None).to_numpy())
        starts = starts.cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
        if label == "start":
            return starts
        return pl.concat([starts.head(1), starts.dt.offset_by("1m")])


@lru_cache(maxsize=1)
def ashares() -> Calendar:
    """The calendar of Shanghai, Shenzhen and Beijing, back to the first day of trading."""
    import exchange_calendars  # brings pandas with it

    return Calendar(exchange_calendars.get_calendar("XSHG", start="1990-12-19", side="left"))


def last_closed(now: dt.datetime) -> dt.date:
    """The last day (of the exchange) whose data is final; it may be a day without trading."""
    local = now.astimezone(ZONE)
    end = dt.datetime.combine(local.date(), CLOSE, ZONE) + SETTLING_TIME
    return local.date() if local >= end else local.date() - dt.timedelta(days=1)
