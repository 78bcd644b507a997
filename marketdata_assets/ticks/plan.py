"""What a load fetches: the order of its units, and which days of each are due, given what is loaded already."""

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from marketdata_assets.reference.records import Days, Listing
from marketdata_assets.stores.clickhouse_ledger import Load, SliceState
from marketdata_assets.ticks.finality import Moment, due_again
from marketdata_assets.ticks.reports import Unit


@dataclass(frozen=True)
class Loaded:
    """What the ledger says of a unit: its covered days and those that are not final, whether a write of it is pending,
    how the last load ended."""

    days: frozenset[dt.date] = frozenset()
    pending: bool = False
    failed: bool = False
    states: Mapping[dt.date, SliceState] = field(default_factory=dict)

    @classmethod
    def of(cls, load: Load | None) -> "Loaded":
        """What its entry in the ledger says."""
        if load is None:
            return cls()
        states = {dt.date.fromisoformat(state.slice): state for state in load.states}
        return cls(as_days(load.slices), load.pending, load.outcome == "failed", states)

    def due(self, day: dt.date, moment: Moment, reach: dt.date | None) -> bool:
        """Whether a closed trading day is requested: it is not covered, or provisional and due again.

        `reach` is the first day that some provider has; a day before it that had no source is not requested again.
        """
        state = self.states.get(day)
        if day in self.days:
            return state is not None and due_again(state, moment)
        return reach is None or state is None or state.state != "unsupported" or day >= reach


@dataclass(frozen=True)
class Due:
    """Days to fetch. The response replaces the rows of `replaces`, and these days are covered then."""

    fetch: Days
    replaces: Days


@dataclass(frozen=True)
class NotDue:
    """Nothing to fetch. `covers` are days that are covered without a request, for `reason`."""

    reason: str = ""
    covers: Sequence[dt.date] = ()


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
    moment: Moment,
    *,
    loaded: Loaded = Loaded(),
    listing: Listing | None = None,
    only: Days | None = None,
    refetch: bool = False,
    suspended: Callable[[dt.date], bool] = lambda _: False,
    reach: dt.date | None = None,
) -> Due | NotDue:
    """The days of `month` to fetch: from the first trading day that is due to the last closed one.

    Due are days that are not covered, unless the stock was `suspended`, and provisional ones that are due again. The
    whole month when `refetch`, when a write is pending, and when nothing is due but the last load failed. `only`
    narrows that down, unless a write is pending. `reach` is the first day that some provider has.
    """
    month_days = Days.month(month)
    span = _common(month_days, Days(min(month_days.first, moment.last), moment.last))
    if span is None:
        return NotDue(f"no day of {month} is closed yet")
    listed = _listed(span, listing)
    if isinstance(listed, str):
        return NotDue(listed, tuple(span))
    known = Loaded() if loaded.pending else loaded
    narrow = only is not None and not loaded.pending
    wanted = _common(listed, only) if narrow and only else listed
    if wanted is None:
        return NotDue(f"no requested day of {month} is closed yet")
    if not refetch:
        open_days = moment.trading_days(wanted)
        proven = [day for day in open_days if day not in known.days and suspended(day)]
        # A provisional day may have turned out to be a holiday.
        days = sorted({*open_days, *(day for day in known.states if day in wanted)})
        missing = [day for day in days if known.due(day, moment, reach) and day not in proven]
        if missing:
            first = missing[0] if known.days or proven else wanted.first
            ends = narrow or {missing[-1], wanted.last} <= known.days
            wanted = Days(first, missing[-1] if known.days and ends else wanted.last)
        elif proven:
            return NotDue("suspended", tuple(proven))
        elif known.days and not loaded.failed:
            return NotDue()
    if narrow:
        return Due(wanted, wanted)
    first = span.first if wanted.first == listed.first else wanted.first
    return Due(wanted, Days(first, span.last if wanted.last == listed.last else wanted.last))


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
