"""Months and days of the calendar, as partitions of all domains have them; Dagster's objects are in `partitions`."""

import datetime as dt
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar
from zoneinfo import ZoneInfo

EXCHANGE_CLOCK = "Asia/Shanghai"
FIRST_BAR_MONTH = "2000-01"
FIRST_ALPHA_MONTH = "2015-01"

Key = TypeVar("Key", bound=Hashable)


def bar_months(now: dt.datetime) -> list[str]:
    """The months of minute bars as `YYYY-MM`, up to and including the current one on the exchange's clock."""
    return months_from(FIRST_BAR_MONTH, f"{now.astimezone(ZoneInfo(EXCHANGE_CLOCK)):%Y-%m}")


def alpha_months(now: dt.datetime) -> list[str]:
    """The UTC months of alphas, up to and including the current one."""
    return months_from(FIRST_ALPHA_MONTH, f"{now.astimezone(dt.UTC):%Y-%m}")


def last_months(count: int, now: dt.datetime) -> list[str]:
    """The last `count` months on the exchange's clock, up to and including the current one."""
    current = f"{now.astimezone(ZoneInfo(EXCHANGE_CLOCK)):%Y-%m}"
    return months_from(month_before(current, count - 1), current)


def last_days(count: int, now: dt.datetime) -> list[dt.date]:
    """The last `count` UTC days, up to and including the current one."""
    today = now.astimezone(dt.UTC).date()
    return [today - dt.timedelta(days=back) for back in range(count - 1, -1, -1)]


def months_from(first: str, last: str) -> list[str]:
    """The months from `first` to `last`, both included."""
    return [_month(number) for number in range(month_number(first), month_number(last) + 1)]


def month_before(month: str, months: int) -> str:
    """The month that is so many months before."""
    return _month(month_number(month) - months)


def ranges(keys: Iterable[Key], number: Callable[[Key], int]) -> list[tuple[Key, Key]]:
    """Cut keys into ranges without a gap in their numbers, as (first, last)."""
    found: list[tuple[Key, Key]] = []
    for key in sorted(set(keys), key=number):
        if found and number(key) == number(found[-1][1]) + 1:
            found[-1] = (found[-1][0], key)
        else:
            found.append((key, key))
    return found


def month_ranges(months: Iterable[str]) -> list[tuple[str, str]]:
    """Cut months into ranges without a gap, as (first, last)."""
    return ranges(months, month_number)


def month_number(month: str) -> int:
    """Months since the year 0, so that neighbouring months differ by 1."""
    year, of_year = month.split("-")
    return int(year) * 12 + int(of_year)


def _month(number: int) -> str:
    year, of_year = divmod(number - 1, 12)
    return f"{year}-{of_year + 1:02d}"
