"""The days and minutes on which an exchange trades, so that no bars on a holiday differ from no bars on a trading day.

The days, and those with other hours than usual, are those of the library exchange_calendars; Shanghai's are those of
Shenzhen and Beijing too. It ends with the last year whose holidays are announced; the weekdays after it are provisional
trading days. Suspensions of single stocks are not in it.
"""

import datetime as dt
import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from zlib import crc32

import msgspec

from marketdata_assets import state_files
from marketdata_assets.reference.exchanges import EXCHANGES, MAINLAND, Exchange, Sessions, exchange_of
from marketdata_assets.reference.records import Days, Label

ZONE = MAINLAND.zone
SESSIONS = MAINLAND.sessions
CLOSE = dt.time(15, 0)
SETTLING_TIME = dt.timedelta(minutes=30)  # after the close, providers still complete a day for this long

Closed = dt.date | Mapping[str, dt.date]
"""The last closed day of all exchanges, or of each, by the suffix of its symbols."""

TradingDays = Callable[[Days], Sequence[dt.date]]
"""The days of a span on which the exchange is open, in order."""


@dataclass(frozen=True)
class Calendar:
    """One exchange's calendar: `known` are the days of which it is certain, `sessions` the trading days in them.

    `special` are the hours of days that are not the usual ones, as half days.
    """

    known: Days
    sessions: tuple[dt.date, ...]
    exchange: Exchange = MAINLAND
    special: Mapping[dt.date, Sessions] = field(default_factory=dict)

    def trading_days(self, days: Days) -> list[dt.date]:
        """The days on which the exchange is open, in order; after the known ones, every weekday."""
        found = list(self.sessions[bisect_left(self.sessions, days.first) : bisect_right(self.sessions, days.last)])
        if days.last > self.known.last:
            beyond = Days(max(days.first, self.known.last + dt.timedelta(days=1)), days.last)
            found += [day for day in beyond if day.weekday() < 5 or self.exchange.always_open]
        return found

    def closed_days(self, days: Days) -> list[dt.date]:
        """The days on which the exchange is known to be closed, in order."""
        open_days = {*self.trading_days(days)}
        return [day for day in days if self.known.first <= day <= self.known.last and day not in open_days]

    def is_provisional(self, day: dt.date) -> bool:
        """Whether nobody has announced yet if this day is a trading day."""
        return day > self.known.last

    def hours(self, day: dt.date) -> Sessions:
        """The sessions of a trading day."""
        return self.special.get(day, self.exchange.sessions)

    def length(self, day: dt.date) -> int:
        """The minutes of a trading day."""
        return sum(minutes for _, minutes in self.hours(day))

    def labels(self, day: dt.date, label: Label) -> list[dt.datetime]:
        """The labels, in UTC, of the bars of a day that is a trading day.

        240 minutes of the mainland. Labelled by their ends there are 241: the opening auction is a bar at 09:30.
        """
        times: list[dt.datetime] = []
        for start, minutes in self.hours(day):
            begin = dt.datetime.combine(day, start, self.exchange.zone).astimezone(dt.UTC)
            times += [begin + dt.timedelta(minutes=number) for number in range(minutes)]
        if label == "end":
            opening = times[:1] if self.exchange.opening_bar else []
            times = [*opening, *(time + dt.timedelta(minutes=1) for time in times)]
        return times

    def corrected(self, days: Iterable[tuple[dt.date, bool]]) -> "Calendar":
        """This calendar with what an exchange says of some days: whether it is open. They count as known."""
        said = dict(days)
        if not said:
            return self
        last = self.known.last
        while last + dt.timedelta(days=1) in said:
            last += dt.timedelta(days=1)
        open_days = {day for day in self.sessions if day not in said} | {
            day for day, is_open in said.items() if is_open
        }
        known = Days(self.known.first, last)
        return replace(self, known=known, sessions=tuple(sorted(day for day in open_days if day <= last)))


FIRST_DAY, FIRST_ABROAD = "1990-12-19", "2000-01-01"
"""The first day of trading in Shanghai, and a day before which vendors have minutes of no other exchange."""


def ashares() -> Calendar:
    """The calendar of Shanghai, Shenzhen and Beijing, back to the first day of trading."""
    return of_exchange(MAINLAND)


class _Cached(msgspec.Struct):
    """The calendar of an exchange as one JSON file."""

    known: tuple[dt.date, dt.date]
    sessions: tuple[dt.date, ...]
    special: dict[dt.date, Sessions]


@lru_cache
def of_exchange(exchange: Exchange) -> Calendar:
    """The calendar of an exchange. The library takes half a second, once a day: later processes read a cache file."""
    file = _cache_file(exchange)
    cached = file and state_files.read(file, msgspec.json.Decoder(_Cached).decode)
    if cached:
        return Calendar(Days(*cached.known), cached.sessions, exchange, cached.special)
    found = _from_library(exchange)
    if file:
        known = (found.known.first, found.known.last)
        with suppress(OSError):  # a folder that nobody may write
            for older in file.parent.glob(f"{file.name.partition('_')[0]}_*"):
                older.unlink(missing_ok=True)
            state_files.write(file, msgspec.json.encode(_Cached(known, found.sessions, dict(found.special))))
    return found


def _cache_file(exchange: Exchange) -> Path | None:
    """The file for this version of the library, this exchange as it is declared here, and today, since the library's
    calendar ends a year from now; None without a home folder."""
    name, declared = exchange.calendar.replace("/", "-"), f"{crc32(repr(exchange).encode()):08x}"
    with suppress(RuntimeError):
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "marketdata"
        return folder / f"{name}_{version('exchange-calendars')}_{declared}_{dt.datetime.now(dt.UTC):%Y-%m-%d}.json"
    return None


def _from_library(exchange: Exchange) -> Calendar:
    import exchange_calendars  # brings pandas with it

    first = FIRST_DAY if exchange is MAINLAND else FIRST_ABROAD
    library = exchange_calendars.get_calendar(exchange.calendar, start=first, side="left")
    table = library.schedule
    clock = {
        name: table[name].dt.tz_convert(exchange.timezone) for name in ("open", "break_start", "break_end", "close")
    }
    days = tuple(stamp.date() for stamp in table.index)
    special: dict[dt.date, Sessions] = {}
    if not exchange.always_open:
        minutes = {name: (times.dt.hour * 60 + times.dt.minute).fillna(-1).astype(int) for name, times in clock.items()}
        for day, opening, pause, resumed, close in zip(days, *(minutes[name] for name in clock), strict=True):
            spans = [(opening, close)] if pause < 0 else [(opening, pause), (resumed, close)]
            hours = tuple((dt.time(*divmod(first, 60)), last - first) for first, last in spans)
            if hours != exchange.sessions:
                special[day] = hours
    return Calendar(Days(days[0], days[-1]), days, exchange, special)


def calendar_of(symbol: str, mainland: Calendar | None = None) -> Calendar:
    """The calendar of a symbol's exchange; `mainland` is that of Shanghai, as it was corrected."""
    exchange = exchange_of(symbol)
    return mainland if mainland is not None and exchange is MAINLAND else of_exchange(exchange)


def last_closed(now: dt.datetime, exchange: Exchange = MAINLAND) -> dt.date:
    """The last day (of the exchange) whose data is final; it may be a day without trading."""
    local = now.astimezone(exchange.zone).replace(tzinfo=None)
    return (local - exchange.close - SETTLING_TIME).date()


def closings(now: dt.datetime) -> dict[str, dt.date]:
    """The last closed day of each exchange, by the suffix of its symbols."""
    return {suffix: last_closed(now, exchange) for exchange in EXCHANGES for suffix in exchange.suffixes}
