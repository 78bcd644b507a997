"""The trading calendar of A-shares."""

import datetime as dt

import pytest

from marketdata_assets.ticks.calendar import ashares
from marketdata_assets.ticks.errors import OutsideCalendar
from marketdata_assets.ticks.records import Days


def test_holidays_and_weekends_are_no_trading_days() -> None:
    october = ashares().trading_days(Days.month("2025-10"))
    assert [day.day for day in october][:2] == [9, 10]  # National Day and Mid-Autumn took the first week
    assert ashares().trading_days(Days(dt.date(2025, 6, 7), dt.date(2025, 6, 8))) == []
    assert len(ashares().trading_days(Days.month("2025-06"))) == 20


def test_minutes_of_a_day_by_either_label() -> None:
    day = dt.date(2025, 6, 5)
    starts, ends = ashares().minutes(day, "start"), ashares().minutes(day, "end")
    assert (len(starts), len(ends), starts.dtype) == (240, 241, ends.dtype)
    assert starts[0] == ends[0] == dt.datetime(2025, 6, 5, 1, 30, tzinfo=dt.UTC)
    assert starts[119:121].dt.strftime("%H:%M").to_list() == ["03:29", "05:00"]
    assert ends[120:122].dt.strftime("%H:%M").to_list() == ["03:30", "05:01"]
    assert ends[-1] == dt.datetime(2025, 6, 5, 7, tzinfo=dt.UTC)
    assert len(ashares().minutes(dt.date(2025, 6, 7), "end")) == 0


def test_a_day_that_nobody_knows_yet_is_an_error() -> None:
    assert ashares().reach.first <= dt.date(1990, 12, 31)
    with pytest.raises(OutsideCalendar, match="Upgrade exchange_calendars"):
        ashares().trading_days(Days.month("2199-01"))
