"""Which days of a month are asked for: closed ones, from the first that is not covered, within a stock's life."""

import datetime as dt
from typing import Any

import pytest

from marketdata_assets.reference.calendar import last_closed
from marketdata_assets.reference.records import Days, Listing
from marketdata_assets.stores.clickhouse_ledger import SliceState
from marketdata_assets.ticks.finality import Moment
from marketdata_assets.ticks.plan import Due, Loaded, NotDue, due
from tests.ticks.tick_rows import weekdays

SHANGHAI = dt.timezone(dt.timedelta(hours=8))


def day(number: int) -> dt.date:
    return dt.date(2025, 6, number)


def june(first: int, last: int) -> Days:
    return Days(day(first), day(last))


def clock(number: int, hour: int, minute: int = 0) -> dt.datetime:
    return dt.datetime(2025, 6, number, hour, minute, tzinfo=SHANGHAI)


def asked(now: dt.datetime | None = None, **known: Any) -> Due | NotDue:
    return due("2025-06", Moment(now or dt.datetime(2025, 7, 1, tzinfo=dt.UTC), weekdays), **known)


def stored(first: int, last: int, **flags: bool) -> Loaded:
    return Loaded(frozenset(june(first, last)), **flags)


@pytest.mark.parametrize(
    ("now", "closed"),
    [
        (clock(12, 15, 29), 11),
        (clock(12, 15, 30), 12),
        (clock(12, 0), 11),
        (clock(14, 16), 14),  # a Saturday: nothing will change any more
    ],
)
def test_a_day_is_closed_half_an_hour_after_the_close(now: dt.datetime, closed: int) -> None:
    assert last_closed(now.astimezone(dt.UTC)) == day(closed)


def test_a_month_that_nobody_loaded_is_asked_for_up_to_its_last_closed_day() -> None:
    assert asked() == Due(june(1, 30), june(1, 30))
    assert asked(clock(12, 15, 30)) == Due(june(1, 12), june(1, 12))
    assert asked(dt.datetime(2025, 5, 20, tzinfo=dt.UTC)) == NotDue("no day of 2025-06 is closed yet")
    assert asked(clock(1, 9)) == NotDue("no day of 2025-06 is closed yet")


def test_what_is_covered_is_not_asked_for_again() -> None:
    assert asked(loaded=stored(1, 30)) == NotDue()
    assert asked(loaded=stored(1, 11)) == Due(june(12, 30), june(12, 30))
    assert asked(clock(14, 16), loaded=stored(1, 13)) == NotDue()  # only a Saturday is left
    gap = Loaded(frozenset({*june(1, 5), *june(9, 30)}))
    assert asked(loaded=gap) == Due(june(6, 30), june(6, 30))


def test_refetch_doubt_and_a_failure_ask_for_the_whole_month() -> None:
    whole = Due(june(1, 30), june(1, 30))
    assert asked(loaded=stored(1, 30), refetch=True) == whole
    assert asked(loaded=stored(1, 20, pending=True)) == whole
    assert asked(loaded=stored(1, 30, failed=True)) == whole
    assert asked(loaded=stored(1, 12, failed=True)) == Due(june(13, 30), june(13, 30))


def test_nothing_is_asked_for_outside_of_a_stocks_life() -> None:
    def living(listed: dt.date | None, delisted: dt.date | None) -> Due | NotDue:
        return asked(listing=Listing("600000.SH", "", listed, delisted, "listed"))

    assert living(day(10), day(20)) == Due(june(10, 20), june(1, 30))
    assert living(None, None) == Due(june(1, 30), june(1, 30))
    assert living(dt.date(2025, 7, 1), None) == NotDue("listed on 2025-07-01, after these days", tuple(june(1, 30)))
    assert living(None, dt.date(2025, 5, 31)) == NotDue("delisted on 2025-05-31, before these days", tuple(june(1, 30)))


def provisional(number: int, closed: int, **changes: Any) -> SliceState:
    return SliceState(f"2025-06-{number:02}", "provisional", "d", "", f"2025-06-{closed:02}", **changes)


def not_final(last: int, *states: SliceState) -> Loaded:
    """Covered to a day of June, some of them not final."""
    by_day = {dt.date.fromisoformat(state.slice): state for state in states}
    return Loaded(frozenset(june(1, last)), states=by_day)


def test_provisional_days_are_asked_for_with_the_next_one() -> None:
    loaded = not_final(11, provisional(11, 11))
    assert asked(clock(11, 20), loaded=loaded) == NotDue()
    assert asked(clock(12, 2), loaded=loaded) == NotDue()
    assert asked(clock(12, 16), loaded=loaded) == Due(june(11, 12), june(11, 12))
    short = not_final(11, provisional(11, 11, requested="2025-06-11", short=True))
    assert asked(clock(12, 2), loaded=short) == Due(june(11, 11), june(11, 11))
    again = not_final(11, provisional(11, 11, requested="2025-06-12", short=True))
    assert asked(clock(12, 3), loaded=again) == NotDue()
    ended = not_final(30, SliceState("2025-06-11", "incomplete"), provisional(30, 30))
    assert asked(loaded=ended) == NotDue()
    assert asked(dt.datetime(2025, 7, 1, 8, tzinfo=dt.UTC), loaded=ended) == Due(june(30, 30), june(30, 30))
    assert asked(clock(20, 16), loaded=not_final(20, provisional(11, 19))) == Due(june(11, 11), june(11, 11))


def test_a_suspended_day_is_covered_without_a_request() -> None:
    def halted(*days: int) -> Any:
        return lambda one: one in {day(number) for number in days}

    assert asked(clock(12, 16), loaded=stored(1, 11), suspended=halted(12)) == NotDue("suspended", (day(12),))
    mixed = asked(clock(13, 16), loaded=stored(1, 11), suspended=halted(12))
    assert mixed == Due(june(13, 13), june(13, 13))
    whole = asked(clock(4, 16), suspended=halted(2, 3, 4))
    assert whole == NotDue("suspended", (day(2), day(3), day(4)))


def test_days_that_no_provider_reached_are_asked_for_when_one_does() -> None:
    states = {day(number): SliceState(f"2025-06-{number:02}", "unsupported") for number in range(2, 7)}
    loaded = Loaded(frozenset(june(7, 30)), states=states)
    assert asked(loaded=loaded, reach=day(10)) == NotDue()
    assert asked(loaded=loaded, reach=day(5)) == Due(june(5, 30), june(5, 30))
    assert asked(loaded=loaded) == Due(june(2, 30), june(2, 30))


def test_days_narrow_a_month_down_unless_it_is_in_doubt() -> None:
    week = june(9, 13)
    assert asked(only=week) == Due(week, week)
    assert asked(only=week, loaded=stored(1, 10)) == Due(june(11, 13), june(11, 13))
    assert asked(only=week, loaded=stored(1, 20)) == NotDue()
    assert asked(only=week, loaded=stored(1, 20), refetch=True) == Due(week, week)
    assert asked(only=week, loaded=stored(9, 11), refetch=True) == Due(week, week)
    assert asked(only=week, loaded=stored(1, 8, pending=True)) == Due(june(1, 30), june(1, 30))
    july = Days(dt.date(2025, 7, 1), dt.date(2025, 7, 5))
    assert asked(only=july) == NotDue("no requested day of 2025-06 is closed yet")
