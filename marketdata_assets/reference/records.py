"""Spans of days, listings and labels of bars, as all domains of A-shares use them."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Status = Literal["listed", "delisted", "paused", "vanished"]
Label = Literal["start", "end"]
"""The end of its minute that a bar is labelled with."""


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
