"""Which days of a symbol's month have to be asked for, given what stands already. Who is asked is decided elsewhere."""

import datetime as dt
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from marketdata_assets.ticks.records import Days, Listing

ZONE = ZoneInfo("Asia/Shanghai")
CLOSE = dt.time(15, 0)
SETTLED = dt.timedelta(minutes=30)
"""How long after the close a day is left alone: providers still complete it."""

TradingDays = Callable[[Days], Sequence[dt.date]]


@dataclass(frozen=True)
class Standing:
    """What the ledger says of a unit: its covered days, whether that is sure, and whether the last attempt failed."""

    days: frozenset[dt.date] = frozenset()
    sure: bool = True
    failed: bool = False


@dataclass(frozen=True)
class Due:
    """`ask` is asked for, and what comes replaces what stands in `replaces`, which is covered then."""

    ask: Days
    replaces: Days


@dataclass(frozen=True)
class NotDue:
    """Nothing to ask. `covers` are days that are covered without asking, for `reason`."""

    reason: str = ""
    covers: Days | None = None


def last_closed(now: dt.datetime) -> dt.date:
    """The last day of which no provider will change anything; it may be one without trading."""
    local = now.astimezone(ZONE)
    end = dt.datetime.combine(local.date(), CLOSE, ZONE) + SETTLED
    return local.date() if local >= end else local.date() - dt.timedelta(days=1)


def due(
    month: str,
    now: dt.datetime,
    trading_days: TradingDays,
    *,
    standing: Standing = Standing(),
    listing: Listing | None = None,
    only: Days | None = None,
    refetch: bool = False,
) -> Due | NotDue:
    """The days of `month` to ask for: from the first trading day that is not covered to the last closed one.

    The whole month when `refetch`, when what stands is in doubt, and when all is covered but the last attempt failed.
    `only` narrows that down, unless what stands is in doubt.
    """
    closed = last_closed(now)
    month_days = Days.month(month)
    span = _common(month_days, Days(min(month_days.first, closed), closed))
    if span is None:
        return NotDue(f"no day of {month} is closed yet")
    alive = _alive(span, listing)
    if isinstance(alive, str):
        return NotDue(alive, span)
    known = standing.days if standing.sure else frozenset()
    narrow = only is not None and standing.sure
    wanted = _common(alive, only) if narrow and only else alive
    if wanted is None:
        return NotDue(f"no day of {month} that was asked for is closed yet")
    if known and not refetch:
        missing = [day for day in trading_days(wanted) if day not in known]
        if missing:
            wanted = Days(missing[0], missing[-1] if narrow else wanted.last)
        elif not standing.failed:
            return NotDue()
    if narrow:
        return Due(wanted, wanted)
    return Due(wanted, Days(span.first if wanted.first == alive.first else wanted.first, span.last))


def _alive(span: Days, listing: Listing | None) -> Days | str:
    """The days on which the stock was listed, or why there are none."""
    first, last = (listing.listed, listing.delisted) if listing else (None, None)
    if first is not None and first > span.last:
        return f"listed on {first}, after these days"
    if last is not None and last < span.first:
        return f"delisted on {last}, before these days"
    return Days(max(span.first, first or span.first), min(span.last, last or span.last))


def _common(one: Days, two: Days) -> Days | None:
    first, last = max(one.first, two.first), min(one.last, two.last)
    return Days(first, last) if first <= last else None


def as_days(slices: Collection[str]) -> frozenset[dt.date]:
    """The covered days of a ledger row."""
    return frozenset(map(dt.date.fromisoformat, slices))
