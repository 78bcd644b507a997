"""Spans of days, listings and labels of bars, as all domains of A-shares use them."""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

Status = Literal["listed", "delisted", "paused", "vanished"]
Label = Literal["start", "end"]
"""The end of its minute that a bar is labelled with."""

LABELS = ((11, 29), (11, 30), (13, 0), (13, 1), (14, 59), (15, 0))
"""Hour and minute of the bars that show the label: by the start, a day has 13:00 and neither 11:30 nor 15:00; by the
end, it has 11:30 and 15:00 and not 13:00. A day of few bars says nothing."""

Day = TypeVar("Day")


def labelled_otherwise(declared: Label, days: Mapping[Day, int]) -> list[Day]:
    """The days that are not labelled as `declared`, where more are not than are. Which of LABELS a day has is a bit
    each of its number."""
    starts = [day for day, has in days.items() if has & 0b100110 == 0b100 and has & 0b010001]
    ends = [day for day, has in days.items() if has & 0b101111 == 0b101011]
    wrong, right = (starts, ends) if declared == "end" else (ends, starts)
    return wrong if len(wrong) > len(right) else []


@dataclass(frozen=True, order=True)
class Days:
    """Days of the exchange from `first` to `last`, both included."""

    first: dt.date
    last: dt.date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"{self.last} is before {self.first}")

    @classmethod
    def month(cls, month: str) -> "Days":
        """The days of `YYYY-MM`."""
        first = dt.date.fromisoformat(f"{month}-01")
        return cls(first, (first + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1))

    def __len__(self) -> int:
        return (self.last - self.first).days + 1

    def __contains__(self, day: object) -> bool:
        return isinstance(day, dt.date) and self.first <= day <= self.last

    def __iter__(self) -> Iterator[dt.date]:
        return (self.first + dt.timedelta(days=number) for number in range(len(self)))

    def __str__(self) -> str:
        return f"{self.first}..{self.last}"

    def slices(self, length: int) -> list["Days"]:
        """The same days in pieces of at most `length`, in order."""
        starts = range(0, len(self), length)
        firsts = [self.first + dt.timedelta(days=start) for start in starts]
        ends = [first - dt.timedelta(days=1) for first in firsts[1:]]
        return [Days(first, last) for first, last in zip(firsts, [*ends, self.last], strict=True)]


@dataclass(frozen=True)
class Listing:
    """One stock of a list; `vanished` is in no list any more."""

    symbol: str
    name: str
    listed: dt.date | None
    delisted: dt.date | None
    status: Status
