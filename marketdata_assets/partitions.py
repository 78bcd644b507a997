"""How the assets are cut: months, each where its data's clock runs."""

from collections.abc import Iterable

import dagster as dg

BAR_MONTHS = dg.MonthlyPartitionsDefinition(start_date="2000-01", fmt="%Y-%m", timezone="Asia/Shanghai", end_offset=1)
"""Months on the exchange's clock, 2000-01 up to and including the current one."""

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


def _number(month: str) -> int:
    year, of_year = month.split("-")
    return int(year) * 12 + int(of_year)
