"""The days and minutes on which A-shares trade, so that nothing on a holiday is told from nothing on a trading day.

The Shanghai calendar of exchange_calendars, which all three exchanges keep. Whether a single stock was suspended is
not known here.
"""

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import polars as pl

from marketdata_assets.ticks.errors import OutsideCalendar
from marketdata_assets.ticks.records import Days, Label

NAME = "XSHG"
_FIRST = "1990-12-19"


@dataclass(frozen=True)
class Calendar:
    """One exchange's calendar. Making one takes half a second, `ashares` keeps it."""

    _sessions: Any  # exchange_calendars.ExchangeCalendar, which has no types

    @property
    def reach(self) -> Days:
        """The days that the calendar knows."""
        return Days(self._sessions.first_session.date(), self._sessions.last_session.date())

    def trading_days(self, days: Days) -> list[dt.date]:
        """The days on which the exchange is open; OutsideCalendar when it does not know one of them."""
        reach = self.reach
        for day in (days.first, days.last):
            if not reach.first <= day <= reach.last:
                raise OutsideCalendar(str(day), str(reach.first), str(reach.last))
        return [stamp.date() for stamp in self._sessions.sessions_in_range(str(days.first), str(days.last))]

    def minutes(self, day: dt.date, label: Label) -> pl.Series:
        """The times in UTC that a complete day's bars are labelled with; none on a day without trading.

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

    return Calendar(exchange_calendars.get_calendar(NAME, start=_FIRST, side="left"))
