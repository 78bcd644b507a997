"""When a day of a symbol is final: which answers prove it, when a provisional day is due again, and when that ends.

A day is final when, `confirm_days` trading days after it or later, an answer has every minute that is expected of it or
is the same as one at least `confirm_days` closings before. A short answer for a day on which the stock is known to have
traded proves nothing, and neither does one of a fallback. The first answer `deadline_days` trading days after the day
is the last: then the day is final as it is, or incomplete if it is known to be short.
"""

import datetime as dt
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import polars as pl
from msgspec.structs import replace

from marketdata_assets.reference import stored
from marketdata_assets.reference.calendar import TradingDays, calendar_of, last_closed, of_exchange
from marketdata_assets.reference.exchanges import MAINLAND, Exchange, exchange_of
from marketdata_assets.reference.records import Days, Label
from marketdata_assets.reference.stored import Suspensions
from marketdata_assets.stores.clickhouse_ledger import SliceState
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks.reports import Unit

WINDOW = dt.timedelta(days=60)
"""Holidays are shorter; a day that is older counts as older than any deadline."""


@dataclass(frozen=True)
class Rules:
    """After how many trading days an answer proves a day, and how many after the day its last answer is requested.

    Loads take them from MARKETDATA_TICKS_CONFIRM_DAYS and _DEADLINE_DAYS, whose defaults are in `settings`.
    """

    confirm_days: int = 1
    deadline_days: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.confirm_days <= self.deadline_days <= 30:
            cause = "expected days with 1 <= confirm_days <= deadline_days <= 30"
            raise ValueError(f"{cause}, was {self.confirm_days} and {self.deadline_days}")


@dataclass(frozen=True)
class Moment:
    """A time of an exchange's clock, in closed trading days."""

    now: dt.datetime
    trading_days: TradingDays
    exchange: Exchange = MAINLAND

    def of(self, symbol: str) -> "Moment":
        """The same time at the exchange of a symbol."""
        exchange = exchange_of(symbol)
        return self if exchange is self.exchange else _at(self.now, exchange)

    @cached_property
    def today(self) -> dt.date:
        return self.now.astimezone(self.exchange.zone).date()

    @cached_property
    def last(self) -> dt.date:
        """The last day that is over; it may be one without trading."""
        return last_closed(self.now, self.exchange)

    @cached_property
    def closed(self) -> dt.date:
        """The last trading day that has closed."""
        return self._recent[-1] if self._recent else self.last

    def closed_days(self, days: Days) -> list[dt.date]:
        """The trading days of some days that have closed."""
        return [day for day in self.trading_days(days) if day <= self.last]

    @cached_property
    def _recent(self) -> list[dt.date]:
        return list(self.trading_days(Days(self.last - WINDOW, self.last)))

    def closings_after(self, day: dt.date) -> int:
        """How many trading days have closed after `day`; those of the last WINDOW are counted."""
        return len(self._recent) - bisect_right(self._recent, day)


@dataclass(frozen=True)
class Finality:
    """The rules at one moment."""

    rules: Rules
    moment: Moment
    suspended: Suspensions = field(default_factory=Suspensions.unknown)

    def of(self, symbol: str) -> "Finality":
        """The rules at the exchange of a symbol; suspensions are known of the mainland's."""
        moment = self.moment.of(symbol)
        return self if moment is self.moment else Finality(self.rules, moment)

    def undecided(self, day: dt.date) -> bool:
        """Whether an answer may leave a closed trading day provisional or incomplete."""
        return day in self.suspended.known or self.moment.closings_after(day) < self.rules.deadline_days

    def unanswered(self, day: dt.date, before: SliceState) -> SliceState | None:
        """The state of a provisional day after an answer that has nothing of it, so that its rows are kept."""
        if self.moment.closings_after(day) < self.rules.deadline_days:
            return replace(before, closed=str(self.moment.closed), requested=str(self.moment.today))
        return SliceState(str(day), "incomplete") if before.short and day in self.suspended.known else None

    def judge(
        self,
        day: dt.date,
        digest: str,
        before: SliceState | None,
        *,
        complete: bool,
        fallback: bool = False,
        known: bool = False,
    ) -> SliceState | None:
        """The state of a day after an answer, given the one before; None is final.

        `digest` is that of its rows, empty without any. `complete` has every expected minute. `fallback` says that a
        better provider may have the day later, `known` that the suspensions of the day are known.
        """
        age = self.moment.closings_after(day)
        lacking = known and not complete
        same = before is not None and before.state == "provisional" and before.digest == digest
        since = before.since if same and before else str(self.moment.closed)
        if not fallback and age >= self.rules.confirm_days:
            confirmed = self.moment.closings_after(dt.date.fromisoformat(since)) >= self.rules.confirm_days
            if complete or (confirmed and not lacking):
                return None
        if age >= self.rules.deadline_days:
            return SliceState(str(day), "incomplete") if lacking else None
        closed, requested = str(self.moment.closed), str(self.moment.today)
        return SliceState(str(day), "provisional", digest, since, closed, requested, short=not complete)


def stored_suspensions(client: Client, units: Collection[Unit]) -> Suspensions:
    """Those of the months of some units, as the reference data has them."""
    if not units:
        return Suspensions.unknown()
    months = sorted(Days.month(month) for month in {unit.month for unit in units})
    return stored.suspensions(client, Days(months[0].first, months[-1].last))


def complete_days(
    suspended: Suspensions, symbol: str, days: Sequence[dt.date], label: Label, times: pl.Series
) -> dict[dt.date, bool]:
    """Whether bars at these `times` (UTC) are all that each of the trading days must have."""
    minutes, counts = _minutes(exchange_of(symbol), tuple(days), label)
    present = dict(minutes.filter(pl.col("ts").is_in(times.implode()))["date"].value_counts().iter_rows())
    found = {day: present.get(day, 0) == counts[day] for day in days}
    for day in days:
        hours = suspended.hours.get((symbol, day))
        if hours is not None:
            found[day] = set(_outside(hours, symbol, day, label)) <= set(times)
    return found


def due_again(state: SliceState, moment: Moment) -> bool:
    """Whether a provisional day is requested again: with the next closing, and a short one once before.

    With the next closing a new day is due, and one request fetches both.
    """
    if state.state != "provisional":
        return False
    return str(moment.closed) > state.closed or (state.short and state.slice == state.requested < str(moment.today))


def count(states: Iterable[SliceState], kind: str) -> int:
    """How many of the states are `provisional`, or `incomplete`."""
    return sum(state.state == kind for state in states)


@lru_cache(maxsize=64)
def _at(now: dt.datetime, exchange: Exchange) -> Moment:
    return Moment(now, of_exchange(exchange).trading_days, exchange)


@lru_cache(maxsize=64)
def _minutes(exchange: Exchange, days: tuple[dt.date, ...], label: Label) -> tuple[pl.DataFrame, Mapping[dt.date, int]]:
    """The bars that days must have: date and ts; and how many."""
    calendar = of_exchange(exchange)
    labels = {day: calendar.labels(day, label) for day in days}
    rows = [(day, time) for day, times in labels.items() for time in times]
    schema = pl.Schema({"date": pl.Date(), "ts": pl.Datetime("ms", "UTC")})
    return pl.DataFrame(rows, schema, orient="row"), {day: len(times) for day, times in labels.items()}


def _outside(hours: str, symbol: str, day: dt.date, label: Label) -> list[dt.datetime]:
    """The labels outside of all spans `09:30-10:00` of `hours`; for a text that is no span, none."""
    spans, calendar = [], calendar_of(symbol)
    for span in hours.split(","):
        try:
            first, last = (dt.time.fromisoformat(part.strip()) for part in span.split("-"))
        except ValueError:
            return []
        start, end = (dt.datetime.combine(day, time, calendar.exchange.zone) for time in (first, last))
        spans.append((start, end + dt.timedelta(minutes=1) if label == "end" else end))
    return [time for time in calendar.labels(day, label) if not any(start <= time < end for start, end in spans)]
