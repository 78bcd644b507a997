"""Selections of accounts and months as rectangles, which is all that Dagster's range tags can say."""

import dagster as dg
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.partitions import (
    ALPHA_MONTHS,
    ALPHA_PARTITIONS,
    BRAIN_ACCOUNTS,
    alpha_key,
    alpha_pair,
    alpha_pairs,
    range_tags,
    rectangles,
)

ACCOUNTS = ["lk", "a.b@c", "zz", "aa"]
PAIRS = st.sets(st.tuples(st.sampled_from(ACCOUNTS), st.sampled_from(ALPHA_MONTHS.get_partition_keys()[10:16])))


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
