"""A server like Tushare whose bars appear over time: late, short, corrected, out of order, or never."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from marketdata_demo.servers.tushare import TushareServer, minute_rows

SHANGHAI = dt.timezone(dt.timedelta(hours=8))


def at(day: dt.date, hour: int, minute: int = 0) -> dt.datetime:
    """A time of the exchange's clock."""
    return dt.datetime.combine(day, dt.time(hour, minute), SHANGHAI)


@dataclass(frozen=True)
class Version:
    """What is published of a symbol's day from `since` on: so many bars less a gap, with prices raised by `raised`."""

    since: dt.datetime
    bars: int = 241
    gap: tuple[str, str] | None = None
    raised: float = 0.0

    def rows(self, symbol: str, day: dt.date) -> list[list[Any]]:
        rows = minute_rows(symbol, day)[: self.bars]
        if self.gap:
            first, last = (f"{day} {time}:00" for time in self.gap)
            rows = [row for row in rows if not first <= row[1] <= last]
        return [[*row[:2], *(price + self.raised for price in row[2:6]), *row[6:]] for row in rows]


@dataclass
class Published:
    """The versions of each symbol and day; a day without any is published whole at 15:20."""

    days: dict[tuple[str, dt.date], list[Version]] = field(default_factory=dict)

    def rows(self, symbol: str, day: dt.date, now: dt.datetime) -> list[list[Any]]:
        versions = self.days.get((symbol, day), [Version(at(day, 15, 20))])
        current = [version for version in versions if version.since <= now]
        return current[-1].rows(symbol, day) if current else []


class PublishingServer(TushareServer):
    """`now` is its clock. On a day of `holidays` nothing is published."""

    def __init__(self, symbols: Sequence[str], published: Published, holidays: Sequence[dt.date] = ()) -> None:
        super().__init__(symbols)
        self.published, self.holidays = published, set(holidays)
        self.now = dt.datetime.now(SHANGHAI)

    def _minutes(self, params: dict[str, str]) -> tuple[list[str], list[list[Any]]]:
        fields = ["ts_code", "trade_time", "close", "open", "high", "low", "vol", "amount"]
        first, last = (dt.datetime.fromisoformat(params[key]).date() for key in ("start_date", "end_date"))
        rows: list[list[Any]] = []
        for number in range((last - first).days, -1, -1):
            day = first + dt.timedelta(days=number)
            if day.weekday() < 5 and day not in self.holidays:
                rows += reversed(self.published.rows(params["ts_code"], day, self.now))
        return fields, rows

    @property
    def sent(self) -> int:
        """How many requests for minute bars came."""
        return sum(line.startswith("stk_mins") for line in self.lines)
