"""The trading calendar of A-shares."""

import datetime as dt

from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.records import Days


def test_holidays_and_weekends_are_no_trading_days() -> None:
    october = ashares().trading_days(Days.month("2025-10"))
    assert [day.day for day in october][:2] == [9, 10]  # National Day and Mid-Autumn took the first week
    assert ashares().trading_days(Days(dt.date(2025, 6, 7), dt.date(2025, 6, 8))) == []
    assert len(ashares().trading_days(Days.month("2025-06"))) == 20


def test_minutes_of_a_day_by_either_label() -> None:
    day = dt.date(2025, 6, 5)
    starts, ends = ashares().labels(day, "start"), ashares().labels(day, "end")
    assert (len(starts), len(ends)) == (240, 241)
    assert starts[0] == ends[0] == dt.datetime(2025, 6, 5, 1, 30, tzinfo=dt.UTC)
    assert [f"{time:%H:%M}" for time in starts[119:121]] == ["03:29", "05:00"]
    assert [f"{time:%H:%M}" for time in ends[120:122]] == ["03:30", "05:01"]
    assert ends[-1] == dt.datetime(2025, 6, 5, 7, tzinfo=dt.UTC)


def test_weekdays_after_the_last_known_day_are_provisional_trading_days() -> None:
    calendar = ashares()
    assert calendar.known.first <= dt.date(1990, 12, 31)
    month = calendar.trading_days(Days.month("2199-01"))
    assert [day.day for day in month][:5] == [1, 2, 3, 4, 7]
    assert all(calendar.is_provisional(day) for day in month)
    assert not calendar.is_provisional(dt.date(2025, 6, 5))


def test_what_the_exchange_announces_counts_and_extends_what_is_known() -> None:
    calendar, last = ashares(), ashares().known.last
    begin = last + dt.timedelta(days=1)
    said = [(begin + dt.timedelta(days=number), number % 7 == 0) for number in range(10)]
    announced = calendar.corrected([*said, (dt.date(2025, 6, 5), False), (dt.date(2025, 6, 7), True)])
    assert announced.known == Days(calendar.known.first, said[-1][0])
    assert announced.trading_days(Days(begin, said[-1][0])) == [day for day, is_open in said if is_open]
    june = announced.trading_days(Days(dt.date(2025, 6, 4), dt.date(2025, 6, 8)))
    assert [day.day for day in june] == [4, 6, 7]
    assert announced.is_provisional(said[-1][0] + dt.timedelta(days=1))
