"""What five exchanges did in 2024 and 2025, from their notices: an oracle that shares no code with ours."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

FIRST, LAST = dt.date(2024, 1, 1), dt.date(2025, 12, 31)


def days(text: str) -> dict[dt.date, str]:
    """Days such as `2024-01-01` or `2024-12-24=12:30`, with what is after the sign."""
    pairs = (one.partition("=") for one in text.split())
    return {dt.date.fromisoformat(day): said for day, _, said in pairs}


@dataclass(frozen=True)
class Exchange:
    """A symbol, the currency in which Yahoo quotes it, and when its exchange was open."""

    symbol: str
    yahoo: str
    currency: str
    timezone: str
    spans: tuple[tuple[str, str], ...]
    closed: str = ""
    early: str = ""
    """Half days, each with its close."""
    weekends: bool = False
    earlier: tuple[str, str] | None = None
    """The first day of the present close, and the close before."""

    def sessions(self, day: dt.date) -> list[tuple[str, str]]:
        """The spans of a day; none when it is closed."""
        if day in days(self.closed) or (day.weekday() > 4 and not self.weekends):
            return []
        close = days(self.early).get(day, "")
        if self.earlier and day < dt.date.fromisoformat(self.earlier[0]):
            close = self.earlier[1]
        return [(start, min(end, close or end)) for start, end in self.spans if not close or start < close]

    def starts(self, day: dt.date) -> list[dt.datetime]:
        """When each minute of a day starts, in UTC."""
        found = []
        for start, end in self.sessions(day):
            first, last = (int(text[:2]) * 60 + int(text[3:]) for text in (start, end))
            for minute in range(first, last):
                clock = dt.datetime(
                    day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=ZoneInfo(self.timezone)
                )
                found.append(clock.astimezone(dt.UTC))
        return found

    def open_days(self, first: dt.date = FIRST, last: dt.date = LAST) -> Iterator[dt.date]:
        every = (first + dt.timedelta(days=number) for number in range((last - first).days + 1))
        return (day for day in every if self.sessions(day))


UNITED_STATES = Exchange(
    *("AAPL.US", "AAPL", "USD", "America/New_York", (("09:30", "16:00"),)),
    closed="""
        2024-01-01 2024-01-15 2024-02-19 2024-03-29 2024-05-27 2024-06-19 2024-07-04 2024-09-02 2024-11-28 2024-12-25
        2025-01-01 2025-01-09 2025-01-20 2025-02-17 2025-04-18 2025-05-26 2025-06-19 2025-07-04 2025-09-01 2025-11-27
        2025-12-25""",
    early="2024-07-03=13:00 2024-11-29=13:00 2024-12-24=13:00 2025-07-03=13:00 2025-11-28=13:00 2025-12-24=13:00",
)
HONG_KONG = Exchange(
    *("0700.HK", "0700.HK", "HKD", "Asia/Hong_Kong", (("09:30", "12:00"), ("13:00", "16:00"))),
    closed="""
        2024-01-01 2024-02-12 2024-02-13 2024-03-29 2024-04-01 2024-04-04 2024-05-01 2024-05-15 2024-06-10 2024-07-01
        2024-09-06 2024-09-18 2024-10-01 2024-10-11 2024-12-25 2024-12-26
        2025-01-01 2025-01-29 2025-01-30 2025-01-31 2025-04-04 2025-04-18 2025-04-21 2025-05-01 2025-05-05 2025-07-01
        2025-10-01 2025-10-07 2025-10-29 2025-12-25 2025-12-26""",
    early="2024-02-09=12:00 2024-12-24=12:00 2024-12-31=12:00 2025-01-28=12:00 2025-12-24=12:00 2025-12-31=12:00",
)
LONDON = Exchange(
    *("VOD.L", "VOD.L", "GBp", "Europe/London", (("08:00", "16:30"),)),
    closed="""
        2024-01-01 2024-03-29 2024-04-01 2024-05-06 2024-05-27 2024-08-26 2024-12-25 2024-12-26
        2025-01-01 2025-04-18 2025-04-21 2025-05-05 2025-05-26 2025-08-25 2025-12-25 2025-12-26""",
    early="2024-12-24=12:30 2024-12-31=12:30 2025-12-24=12:30 2025-12-31=12:30",
)
TOKYO = Exchange(
    *("7203.T", "7203.T", "JPY", "Asia/Tokyo", (("09:00", "11:30"), ("12:30", "15:30"))),
    closed="""
        2024-01-01 2024-01-02 2024-01-03 2024-01-08 2024-02-12 2024-02-23 2024-03-20 2024-04-29 2024-05-03 2024-05-06
        2024-07-15 2024-08-12 2024-09-16 2024-09-23 2024-10-14 2024-11-04 2024-12-31
        2025-01-01 2025-01-02 2025-01-03 2025-01-13 2025-02-11 2025-02-24 2025-03-20 2025-04-29 2025-05-05 2025-05-06
        2025-07-21 2025-08-11 2025-09-15 2025-09-23 2025-10-13 2025-11-03 2025-11-24 2025-12-31""",
    earlier=("2024-11-05", "15:00"),
)
CRYPTO = Exchange("BTC-USD", "BTC-USD", "USD", "UTC", (("00:00", "24:00"),), weekends=True)
MARKETS = (UNITED_STATES, HONG_KONG, LONDON, TOKYO, CRYPTO)
