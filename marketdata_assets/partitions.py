"""How the assets are cut: months, each where its data's clock runs, and accounts.

Dagster's range tags mean every month between two with every account between two, so a selection of alphas is cut into
such rectangles before runs are asked for.
"""

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

BAR_MONTHS = dg.MonthlyPartitionsDefinition(start_date="2000-01", fmt="%Y-%m", timezone="Asia/Shanghai", end_offset=1)
"""Months on the exchange's clock, 2000-01 up to and including the current one."""

ALPHA_MONTHS = dg.MonthlyPartitionsDefinition(start_date="2015-01", fmt="%Y-%m", timezone="UTC", end_offset=1)
"""UTC months of `dateCreated`, 2015-01 up to and including the current one."""

BRAIN_ACCOUNTS = dg.DynamicPartitionsDefinition(name="brain_accounts")

ALPHA_PARTITIONS = dg.MultiPartitionsDefinition({"account": BRAIN_ACCOUNTS, "month": ALPHA_MONTHS})

Pair = tuple[str, str]
"""An account and a month."""

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


def neighbours(months: Iterable[str]) -> list[tuple[str, str]]:
    """Cut `months` (`YYYY-MM`) into ranges without a gap, as (first, last)."""
    ranges: list[tuple[str, str]] = []
    for month in sorted(set(months)):
        if ranges and _number(month) == _number(ranges[-1][1]) + 1:
            ranges[-1] = (ranges[-1][0], month)
        else:
            ranges.append((month, month))
    return ranges


def range_tags(first: str, last: str) -> dict[str, str]:
    """The tags that make one run of all partitions from `first` to `last`."""
    return {RANGE_START: first, RANGE_END: last}


def alpha_key(account: str, month: str) -> dg.MultiPartitionKey:
    """The partition of an account's month."""
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
        spans = neighbours(months.get(account, ()))
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
    first, last = tags.get(RANGE_START), tags.get(RANGE_END)
    single = tags.get("dagster/partition")
    if single and "|" in single:
        return [alpha_pair(single)]
    if not first or not last or "|" not in first:
        return []
    (from_account, from_month), (to_account, to_month) = alpha_pair(first), alpha_pair(last)
    if not {from_account, to_account} <= set(accounts):
        return []
    inside = accounts[accounts.index(from_account) : accounts.index(to_account) + 1]
    months = [month for month in ALPHA_MONTHS.get_partition_keys() if from_month <= month <= to_month]
    return [(account, month) for account in inside for month in months]


def _number(month: str) -> int:
    year, of_year = month.split("-")
    return int(year) * 12 + int(of_year)
