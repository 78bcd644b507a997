"""Selections as rectangles, which is all that Dagster's range tags can say, and the grid of ticks."""

import datetime as dt

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.months import month_ranges, months_from
from marketdata_assets.partitions import (
    ALPHA_MONTHS,
    ALPHA_PARTITIONS,
    BRAIN_ACCOUNTS,
    TICK_SYMBOLS,
    alpha_key,
    alpha_pair,
    alpha_pairs,
    joined,
    months_of_tags,
    range_tags,
    rectangles,
    tick_key,
    tick_months,
    tick_partitions,
    tick_rectangle,
    tick_unit,
    tick_units,
)
from marketdata_assets.ticks.reports import Unit

ACCOUNTS = ["lk", "a.b@c", "zz", "aa"]
PAIRS = st.sets(st.tuples(st.sampled_from(ACCOUNTS), st.sampled_from(ALPHA_MONTHS.get_partition_keys()[10:16])))


@given(st.sets(st.sampled_from(ALPHA_MONTHS.get_partition_keys()[:24])), st.integers(1, 5))
def test_joined_ranges_hold_every_month_and_are_no_more_than_asked_for(months: set[str], most: int) -> None:
    ranges = joined(month_ranges(months), most)
    assert len(ranges) <= most
    inside = [month for span in ranges for month in months_from(*span)]
    assert len(inside) == len(set(inside))
    assert months <= set(inside)
    assert joined(month_ranges(months), 99) == month_ranges(months)


def test_nearest_ranges_are_joined_first() -> None:
    ranges = [("2020-01", "2020-02"), ("2020-05", "2020-05"), ("2020-07", "2020-07"), ("2021-01", "2021-01")]
    assert joined(ranges, 3) == [("2020-01", "2020-02"), ("2020-05", "2020-07"), ("2021-01", "2021-01")]


@given(PAIRS)
def test_rectangles_hold_every_pair_once_and_nothing_else(pairs: set[tuple[str, str]]) -> None:
    inside = [pair for span in rectangles(pairs, ACCOUNTS) for pair in alpha_pairs(range_tags(*span), ACCOUNTS)]
    assert sorted(inside) == sorted(pairs)


def test_months_of_neighbouring_accounts_are_one_rectangle() -> None:
    pairs = [(account, month) for account in ("lk", "a.b@c", "aa") for month in ("2024-01", "2024-02")]
    assert rectangles(pairs, ACCOUNTS) == [("lk|2024-01", "a.b@c|2024-02"), ("aa|2024-01", "aa|2024-02")]


def test_what_is_no_partition_is_left_out() -> None:
    assert rectangles([("nobody", "2024-01"), ("lk", "2014-12"), ("lk", "2999-01")], ACCOUNTS) == []
    assert alpha_pairs(range_tags("nobody|2024-01", "lk|2024-01"), ACCOUNTS) == []
    assert alpha_pairs(range_tags("2024-01", "2024-02"), ACCOUNTS) == []
    assert alpha_pairs({}, ACCOUNTS) == []


def test_dagster_reads_a_rectangle_as_we_do() -> None:
    tags = range_tags("a.b@c|2024-01", "aa|2024-03")
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(BRAIN_ACCOUNTS.name), ACCOUNTS)
        span = dg.PartitionKeyRange(*tags.values())
        theirs = ALPHA_PARTITIONS.get_partition_keys_in_range(span, dynamic_partitions_store=instance)
    assert [alpha_pair(key) for key in theirs] == alpha_pairs(tags, ACCOUNTS)
    assert alpha_pairs({"dagster/partition": str(alpha_key("lk", "2024-01"))}, ACCOUNTS) == [("lk", "2024-01")]


NOVEMBER = dt.date(2026, 11, 30)
SYMBOLS = ["600000.SH", "000001.SZ", "920000.BJ"]


@pytest.mark.parametrize(
    ("today", "count", "first"),
    [(NOVEMBER, 24, "2024-12"), (NOVEMBER, 1, "2026-11"), (dt.date(2026, 1, 1), 2, "2025-12")],
)
def test_window_of_ticks_ends_with_the_current_month(today: dt.date, count: int, first: str) -> None:
    partitions = tick_partitions(count, today)
    [months] = [one.partitions_def for one in partitions.partitions_defs if one.name == "month"]
    now = dt.datetime(today.year, today.month, today.day, tzinfo=dt.UTC)
    keys = months.get_partition_keys(current_time=now)
    assert (keys[0], keys[-1], len(keys)) == (first, f"{today:%Y-%m}", count)
    assert isinstance(months, dg.MonthlyPartitionsDefinition)
    assert months.timezone == "Asia/Shanghai"


def test_window_of_ticks_moves_on_while_the_definitions_are_loaded() -> None:
    year_ago = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=365)
    assert len(tick_months(tick_partitions(24, year_ago))) in (36, 37)


def test_partition_of_ticks_is_a_month_of_a_symbol_both_ways() -> None:
    key = tick_key(Unit("600000.SH", "2026-01"))
    assert str(key) == "2026-01|600000.SH"
    assert tick_unit(str(key)) == Unit("600000.SH", "2026-01")


def test_dagster_reads_a_rectangle_of_ticks_as_we_do() -> None:
    tags = tick_rectangle(["2026-10", "2026-11"], SYMBOLS[1:])
    assert months_of_tags(tags) == ["2026-10", "2026-11"]
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(TICK_SYMBOLS.name), SYMBOLS)
        span = dg.PartitionKeyRange(*tags.values())
        grid = tick_partitions(24, NOVEMBER)
        theirs = grid.get_partition_keys_in_range(span, dynamic_partitions_store=instance)
    wanted = [Unit(symbol, month) for month in ("2026-10", "2026-11") for symbol in SYMBOLS[1:]]
    assert [tick_unit(key) for key in theirs] == wanted == tick_units(tags, SYMBOLS)
    assert tick_units({"dagster/partition": str(theirs[0])}, SYMBOLS) == wanted[:1]
    assert tick_units({}, SYMBOLS) == tick_units(tags, SYMBOLS[:1]) == []


@pytest.mark.parametrize(
    ("tags", "months"),
    [
        ({}, []),
        ({"dagster/partition": "2026-01|600000.SH"}, ["2026-01"]),
        (range_tags("2025-12|600000.SH", "2026-02|000001.SZ"), ["2025-12", "2026-01", "2026-02"]),
        (range_tags("2024-01", "2024-02"), ["2024-01", "2024-02"]),
        (range_tags("2024-01-01", "2024-02-01"), []),
    ],
)
def test_months_of_a_run_are_read_from_its_tags(tags: dict[str, str], months: list[str]) -> None:
    assert months_of_tags(tags) == months
