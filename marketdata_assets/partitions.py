"""How the assets are partitioned: by months, each on its data's clock, by accounts and by symbols.

Dagster's range tags mean every month between two with every account, or symbol, between two. So a selection of alphas
is cut into such rectangles before runs are requested; `defs.ticks.assets` handles selections of ticks that
are no rectangle. Never list all keys of a grid with thousands of symbols: that takes many seconds.
"""

import datetime as dt
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import pairwise

import dagster as dg

from marketdata_assets.months import (
    EXCHANGE_CLOCK,
    FIRST_ALPHA_MONTH,
    FIRST_BAR_MONTH,
    month_before,
    month_number,
    month_ranges,
    months_from,
    ranges,
)
from marketdata_assets.ticks.reports import Unit

BAR_MONTHS = dg.MonthlyPartitionsDefinition(
    start_date=FIRST_BAR_MONTH, fmt="%Y-%m", timezone=EXCHANGE_CLOCK, end_offset=1
)
"""Months on the exchange's clock, 2000-01 up to and including the current one."""

ALPHA_MONTHS = dg.MonthlyPartitionsDefinition(start_date=FIRST_ALPHA_MONTH, fmt="%Y-%m", timezone="UTC", end_offset=1)
"""UTC months of `dateCreated`, 2015-01 up to and including the current one."""

BRAIN_ACCOUNTS = dg.DynamicPartitionsDefinition(name="brain_accounts")

ALPHA_PARTITIONS = dg.MultiPartitionsDefinition({"account": BRAIN_ACCOUNTS, "month": ALPHA_MONTHS})

TICK_SYMBOLS = dg.DynamicPartitionsDefinition(name="tick_symbols")

Pair = tuple[str, str]
"""An account and a month."""

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
PARTITION = "dagster/partition"

_MONTH = re.compile(r"\d{4}-\d{2}")
_MONTH_OR_DAY = re.compile(r"\d{4}-\d{2}(-\d{2})?")

Span = tuple[str, str]
"""The first and the last month, or day, of a range."""


def joined(ranges: Iterable[tuple[str, str]], at_most: int) -> list[tuple[str, str]]:
    """Ranges of months, the nearest of them joined over the months between until there are no more than so many."""
    found = sorted(ranges)
    while len(found) > at_most:
        gaps = [month_number(after[0]) - month_number(before[1]) for before, after in pairwise(found)]
        at = gaps.index(min(gaps))
        found[at : at + 2] = [(found[at][0], found[at + 1][1])]
    return found


def dynamic_keys(instance: dg.DagsterInstance, partitions: dg.DynamicPartitionsDefinition) -> list[str]:
    """The accounts, or symbols, that are partitions, in Dagster's order."""
    return list(instance.get_dynamic_partitions(str(partitions.name)))


def missing(present: Collection[str], wanted: Iterable[str]) -> list[str]:
    """Of `wanted`, those that are not partitions yet, each once."""
    return [key for key in dict.fromkeys(wanted) if key not in present]


def range_tags(first: str, last: str) -> dict[str, str]:
    """The tags that make one run of all partitions from `first` to `last`."""
    return {RANGE_START: first, RANGE_END: last}


def alpha_key(account: str, month: str) -> dg.MultiPartitionKey:
    return dg.MultiPartitionKey({"account": account, "month": month})


def alpha_pair(key: str) -> Pair:
    """The account and the month of a partition `lk|2024-11`."""
    account, _, month = key.partition("|")
    return account, month


def rectangles(pairs: Iterable[Pair], accounts: Sequence[str]) -> list[tuple[str, str]]:
    """Cut `pairs` into rectangles, as (first key, last key); `accounts` are all there are, in Dagster's order.

    Accounts that Dagster does not know, and months that are no partitions, are left out.
    """
    known = set(ALPHA_MONTHS.get_partition_keys())
    months: dict[str, set[str]] = {}
    for account, month in pairs:
        if month in known:
            months.setdefault(account, set()).add(month)
    found: list[tuple[str, str, tuple[str, str]]] = []
    open_ones: dict[tuple[str, str], int] = {}
    for account in accounts:
        spans = month_ranges(months.get(account, ()))
        still_open = {}
        for span in spans:
            at = open_ones.get(span)
            if at is None:
                at = len(found)
                found.append((account, account, span))
            else:
                found[at] = (found[at][0], account, span)
            still_open[span] = at
        open_ones = still_open
    return [(str(alpha_key(first, span[0])), str(alpha_key(last, span[1]))) for first, last, span in found]


def alpha_pairs(tags: Mapping[str, str], accounts: Sequence[str]) -> list[Pair]:
    """The pairs that a run with these tags is about; none when it has no partitions."""
    if "|" in tags.get(PARTITION, ""):
        return [alpha_pair(tags[PARTITION])]
    return [(account, month) for account in _between(tags, alpha_pair, accounts) for month in months_of_tags(tags)]


def _between(tags: Mapping[str, str], split: Callable[[str], Pair], names: Sequence[str]) -> Sequence[str]:
    """The accounts, or symbols, between those of a range; none when one is unknown."""
    ends = [split(tags[tag])[0] for tag in (RANGE_START, RANGE_END) if "|" in tags.get(tag, "")]
    return names[names.index(ends[0]) : names.index(ends[1]) + 1] if len(ends) == 2 and {*ends} <= {*names} else ()


def tick_partitions(months: int, today: dt.date) -> dg.MultiPartitionsDefinition:
    """The last `months` months on the exchange's clock, up to and including the current one, by symbol.

    The first month is that of the day on which the definitions are loaded; the last advances automatically.
    """
    first = month_before(f"{today:%Y-%m}", months - 1)
    window = dg.MonthlyPartitionsDefinition(start_date=first, fmt="%Y-%m", timezone=EXCHANGE_CLOCK, end_offset=1)
    return dg.MultiPartitionsDefinition({"month": window, "symbol": TICK_SYMBOLS})


def tick_months(partitions: dg.MultiPartitionsDefinition) -> list[str]:
    [months] = [one.partitions_def for one in partitions.partitions_defs if one.name == "month"]
    return list(months.get_partition_keys())


def exchange_days(days: int, today: dt.date) -> dg.DailyPartitionsDefinition:
    """The last `days` UTC days, up to and including the current one.

    The first is counted from the day on which the definitions are loaded; the last advances automatically.
    """
    first = today - dt.timedelta(days=days - 1)
    return dg.DailyPartitionsDefinition(start_date=f"{first:%Y-%m-%d}", timezone="UTC", end_offset=1)


HISTORY_DAYS = dg.DailyPartitionsDefinition(start_date="2017-01-01", timezone="UTC")
"""UTC days of histories, from before the first of these exchanges was opened, up to and including yesterday."""


def day_ranges(days: Iterable[dt.date]) -> list[tuple[str, str]]:
    """Cut days into ranges without a gap, as (first, last)."""
    return [(str(first), str(last)) for first, last in ranges(days, dt.date.toordinal)]


def months_of_tags(tags: Mapping[str, str]) -> list[str]:
    """The months that a run with these tags is about, of whatever accounts or symbols; none when it names none."""
    span = span_of(tags)
    return months_from(*span) if span and _MONTH.fullmatch(span[0]) else []


def span_of(tags: Mapping[str, str]) -> Span | None:
    """The months or days that a run with these tags is about, of whatever accounts or symbols; None without any."""
    parts = [part for name in (PARTITION, RANGE_START, RANGE_END) for part in tags.get(name, "").split("|")]
    found = sorted(part for part in parts if _MONTH_OR_DAY.fullmatch(part))
    return (found[0], found[-1]) if found else None


def overlap(one: Span, other: Span) -> bool:
    """Whether two ranges have a month or a day in common."""
    length = min(map(len, (*one, *other)))
    return one[0][:length] <= other[1][:length] and other[0][:length] <= one[1][:length]


def days_of(tags: Mapping[str, str]) -> list[dt.date]:
    """The days that a run with these tags is about; none when it is not about days."""
    span = span_of(tags)
    if span is None or _MONTH.fullmatch(span[0]):
        return []
    first, last = map(dt.date.fromisoformat, span)
    return [first + dt.timedelta(days=number) for number in range((last - first).days + 1)]


def tick_key(unit: Unit) -> dg.MultiPartitionKey:
    return dg.MultiPartitionKey({"month": unit.month, "symbol": unit.symbol})


def tick_unit(key: str) -> Unit:
    """The symbol and the month of a partition `2026-01|600000.SH`."""
    month, _, symbol = key.partition("|")
    return Unit(symbol, month)


def tick_rectangle(months: Sequence[str], symbols: Sequence[str]) -> dict[str, str]:
    """The tags of one run over neighbouring `months`, each with all `symbols`, which are in Dagster's order."""
    return range_tags(str(tick_key(Unit(symbols[0], months[0]))), str(tick_key(Unit(symbols[-1], months[-1]))))


def tick_units(tags: Mapping[str, str], symbols: Sequence[str]) -> list[Unit]:
    """The symbol-months that a run with these tags is about, given all `symbols` in Dagster's order."""
    if PARTITION in tags:
        return [tick_unit(tags[PARTITION])]
    inside = _between(tags, tick_unit, symbols)
    return [Unit(symbol, month) for month in months_of_tags(tags) for symbol in inside]
