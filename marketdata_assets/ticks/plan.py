"""What a load fetches: the order of its units, and which days of each are due, given what is loaded already."""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from marketdata_assets.reference.calendar import TradingDays, last_closed
from marketdata_assets.reference.records import Days, Listing
from marketdata_assets.ticks.reports import Unit


@dataclass(frozen=True)
class Loaded:
    """What the ledger says of a unit: its covered days, whether a write of it is pending, how the last load ended."""

    days: frozenset[dt.date] = frozenset()
    pending: bool = False
    failed: bool = False


@dataclass(frozen=True)
class Due:
    """Days to fetch. The response replaces the rows of `replaces`, and these days are covered then."""

    fetch: Days
    replaces: Days


@dataclass(frozen=True)
class NotDue:
    """Nothing to fetch. `covers` are days that are covered without a request, for `reason`."""

    reason: str = ""
    covers: Days | None = None


def ordered(units: Iterable[Unit], first: Sequence[str], attempted: Mapping[Unit, dt.datetime]) -> list[Unit]:
    """Each unit once: symbols of `first` in that order, then never attempted ones, then the oldest attempt first.

    Of equals the newest month first, then by symbol.
    """
    rank = {symbol: number for number, symbol in reversed(list(enumerate(first)))}
    never = dt.datetime.min.replace(tzinfo=dt.UTC)
    newest_first = sorted(sorted(set(units)), key=lambda unit: unit.month, reverse=True)
    return sorted(newest_first, key=lambda unit: (rank.get(unit.symbol, len(rank)), attempted.get(unit, never)))


def due(
    month: str,
    now: dt.datetime,
    trading_days: TradingDays,
    *,
    loaded: Loaded = Loaded(),
    listing: Listing | None = None,
    only: Days | None = None,
    refetch: bool = False,
) -> Due | NotDue:
    """The days of `month` to fetch: from the first trading day that is not covered to the last closed one.

    The whole month when `refetch`, when a write is pending, and when all days are covered but the last load failed.
    `only` narrows that down, unless a write is pending.
    """
    closed = last_closed(now)
    month_days = Days.month(month)
    span = _common(month_days, Days(min(month_days.first, closed), closed))
    if span is None:
        return NotDue(f"no day of {month} is closed yet")
    listed = _listed(span, listing)
    if isinstance(listed, str):
        return NotDue(listed, span)
    covered = frozenset() if loaded.pending else loaded.days
    narrow = only is not None and not loaded.pending
    wanted = _common(listed, only) if narrow and only else listed
    if wanted is None:
        return NotDue(f"no requested day of {month} is closed yet")
    if covered and not refetch:
        missing = [day for day in trading_days(wanted) if day not in covered]
        if missing:
            wanted = Days(missing[0], missing[-1] if narrow else wanted.last)
        elif not loaded.failed:
            return NotDue()
    if narrow:
        return Due(wanted, wanted)
    return Due(wanted, Days(span.first if wanted.first == listed.first else wanted.first, span.last))


def as_days(slices: Collection[str]) -> frozenset[dt.date]:
    """The covered days of a ledger row."""
    return frozenset(map(dt.date.fromisoformat, slices))


def _listed(span: Days, listing: Listing | None) -> Days | str:
    """The days on which the stock was listed, or why there are none."""
    first, last = (listing.listed, listing.delisted) if listing else (None, None)
    if first is not None and first > span.last:
        return f"listed on {first}, after these days"
    if last is not None and last < span.first:
        return f"delisted on {last}, before these days"
    return Days(max(span.first, first or span.first), min(span.last, last or span.last))


def _common(left: Days, right: Days) -> Days | None:
    first, last = max(left.first, right.first), min(left.last, right.last)
    return Days(first, last) if first <= last else None
