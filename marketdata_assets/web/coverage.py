"""Which minutes of a stock are loaded and which are missing, by month, whatever table they are in."""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from marketdata_assets.months import months_from
from marketdata_assets.reference.calendar import TradingDays
from marketdata_assets.reference.completeness import PLAUSIBLE, SESSION_MINUTES
from marketdata_assets.reference.records import Days

Counted = tuple[int, Sequence[int] | None]
"""The rows of a month, and the minutes on each of its days from the first on, where they were counted by day."""


@dataclass(frozen=True)
class Month:
    """A month of a stock: its minutes, those expected on its trading days, and how many of these are missing.

    `none` are the trading days without a minute, as on a suspension, and `few` those with fewer than usual. Minutes on
    other days are loaded, and make up for no missing one.
    """

    month: str
    loaded: int
    expected: int
    missing: int
    none: tuple[int, ...] = ()
    few: tuple[int, ...] = ()


def months(
    days: Days, have: Mapping[str, Counted], trading_days: TradingDays, lengths: Callable[[dt.date], int] | None = None
) -> list[Month]:
    """Every month from that of the first day to that of the last, also those without a row.

    Expected on each trading day from the first to the last are the minutes that `lengths` says of it; without that, as
    many as the stock usually has on a day.
    """
    usual = _usual(minutes for _, by_day in have.values() for minutes in by_day or ())
    trading: dict[str, dict[int, int]] = {}
    for day in trading_days(days):
        trading.setdefault(f"{day:%Y-%m}", {})[day.day] = lengths(day) if lengths else usual
    return [
        _month(month, trading.get(month, {}), *have.get(month, (0, [])))
        for month in months_from(f"{days.first:%Y-%m}", f"{days.last:%Y-%m}")
    ]


def _usual(minutes: Iterable[int]) -> int:
    """What most whole days have; the minutes of the sessions where there is no whole day."""
    whole = Counter(one for one in minutes if one >= PLAUSIBLE * SESSION_MINUTES)
    return whole.most_common(1)[0][0] if whole else SESSION_MINUTES


def _month(month: str, trading: Mapping[int, int], rows: int, days: Sequence[int] | None) -> Month:
    expected = sum(trading.values())
    if days is None:
        return Month(month, rows, expected, max(0, expected - rows))
    on = {day: days[day - 1] if day <= len(days) else 0 for day in trading}
    none = tuple(day for day, minutes in on.items() if minutes == 0)
    few = tuple(day for day, minutes in on.items() if 0 < minutes < trading[day])
    missing = sum(max(0, trading[day] - minutes) for day, minutes in on.items())
    return Month(month, sum(days), expected, missing, none, few)
