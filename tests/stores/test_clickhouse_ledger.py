"""The ledger in ClickHouse: the newest version of each aspect is the truth, merged or not, in any order."""

import datetime as dt
import random
from dataclasses import replace
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.stores.clickhouse_ledger import Load, SliceState
from tests.examples import others_slow

NOW = dt.datetime(2026, 2, 1, 3, 4, 5, 678_901, tzinfo=dt.UTC)
FIRST = Load(
    dataset="d", source="a", unit="2026-01", content_hash="h1", slices=["2026-01-01", "2026-01-02"],
    read=12, skipped=1, rows=10, rejected=1, outcome="ok", attempted_hash="h1", code_version="1",
    run_id="r", started=NOW, finished=NOW + dt.timedelta(seconds=1), origin="tushare",
)  # fmt: skip


@pytest.fixture
def client(clickhouse_client: Client) -> Client:
    ledger.ensure(clickhouse_client)
    ledger.ensure(clickhouse_client)
    return clickhouse_client


def load(source: str = "a", unit: str = "2026-01", **changes: Any) -> Load:
    return replace(FIRST, source=source, unit=unit, **changes)


def test_what_was_recorded_is_read_back(client: Client) -> None:
    first = load(rejects=(Reject(3, "bad", "1,2", slice="2026-01-01"),))
    ledger.record(client, [first, load("b", slices=[], error="e'\"\\")], 7)
    expected = [replace(first, rejects=(), version=7), load("b", slices=[], error="e'\"\\", version=7)]
    assert ledger.entries(client, "d") == expected
    assert ledger.rejects(client, "d", "2026-01", ["a", "b"]) == {"a": first.rejects, "b": ()}
    (refused,) = ledger.quarantined(client, "d")
    assert (refused.place, refused.reason, refused.slice) == ("a!2026-01:3", "bad", "2026-01-01")
    assert ledger.entries(client, "other") == []


def test_entries_of_some_units_and_sources(client: Client) -> None:
    loads = [load(source, unit) for source in "abc" for unit in ("2026-01", "2026-02")]
    ledger.record(client, loads, 1)
    assert [(one.source, one.unit) for one in ledger.entries(client, "d", ["2026-02"], ["a", "c"])] == [
        ("a", "2026-02"),
        ("c", "2026-02"),
    ]
    many = [f"s{number}" for number in range(3000)]
    assert len(ledger.entries(client, "d", None, [*many, "b"])) == 2
    assert ledger.entries(client, "d", []) == ledger.entries(client, "d", None, []) == []


@pytest.mark.parametrize("merged", others_slow([True, False]))
def test_the_newest_version_of_each_aspect_wins_in_any_order(client: Client, merged: bool) -> None:
    versions = list(range(1, 9))
    random.Random(3).shuffle(versions)
    for version in versions:
        ledger.record(client, [load(content_hash=f"h{version}", run_id=f"r{version}", rows=version)], version)
    ledger.record_attempts(client, [load(content_hash="x", rows=0, outcome="failed", error="away", run_id="last")])
    if merged:
        client.command("OPTIMIZE TABLE marketdata_ledger_rows FINAL")
    (found,) = ledger.entries(client, "d")
    assert (found.content_hash, found.rows, found.version) == ("h8", 8, 8)
    assert (found.outcome, found.error, found.run_id) == ("failed", "away", "last")
    assert client.command("SELECT count() FROM marketdata_ledger_log") == 9


def test_an_attempt_before_anything_stood(client: Client) -> None:
    ledger.record_attempts(client, [load(outcome="unsupported", error="no history")])
    (found,) = ledger.entries(client, "d")
    assert (found.content_hash, found.slices, found.rows, found.version) == (None, [], 0, 0)
    assert (found.outcome, found.error) == ("unsupported", "no history")


def test_doubt_is_lifted_by_what_is_recorded_after_it(client: Client) -> None:
    ledger.record(client, [load()], 1000)
    ledger.record_pending(client, [load(slices=["2026-01-01"])], 3000)
    (doubtful,) = [load for load in ledger.entries(client, "d") if load.pending]
    assert (doubtful.pending, doubtful.outcome, doubtful.slices) == (True, "failed", ["2026-01-01"])
    ledger.record_pending(client, [load()], 2000)
    assert ledger.entries(client, "d") == [doubtful]
    ledger.record(client, [load(content_hash="h2")], 3000 + ledger.STEP)
    assert [load for load in ledger.entries(client, "d") if load.pending] == []
    assert client.command("SELECT count() FROM marketdata_ledger_log") == 2


def test_what_is_added_to_an_older_version_does_not_hide_a_newer_one(client: Client) -> None:
    ledger.record(client, [load()], 10_000)
    (old,) = ledger.entries(client, "d")
    ledger.record(client, [load(content_hash="h2")], 20_000)
    ledger.record_unwritten(client, [replace(old, slices=["2026-01-03"])])
    assert ledger.entries(client, "d")[0].content_hash == "h2"


def test_states_of_slices_are_those_of_the_committed_entry(client: Client) -> None:
    states = (SliceState("2026-01-05", "provisional", "d1", "2026-01-05", "2026-01-06", "2026-01-07", short=True),)
    states += (SliceState("2026-01-06", "incomplete"),)
    ledger.record(client, [load(states=states)], ledger.next_version(client))
    ledger.record_attempts(client, [load(outcome="failed", error="away")])
    (found,) = ledger.entries(client, "d")
    assert (found.states, found.outcome) == (states, "failed")
    ledger.record_unwritten(client, [replace(found, states=states[1:], outcome="ok")])
    assert ledger.entries(client, "d")[0].states == states[1:]


def test_versions_grow_although_the_clock_is_set_back(client: Client) -> None:
    first = ledger.next_version(client)
    assert ledger.next_version(client) > first
    ahead = first + 10**15
    ledger.record(client, [load()], ahead)
    assert ledger.next_version(client) > ahead


def test_a_slice_that_cannot_be_told_from_two_is_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="comma"):
        ledger.record(client, [load(slices=["a,b"])], 1)
    assert ledger.entries(client, "d") == []


def test_refused_rows_of_a_failed_attempt_show_until_the_next(client: Client) -> None:
    many = tuple(Reject(number, "bad", "x" * 3000) for number in range(1200))
    ledger.record_attempts(client, [load(outcome="failed", rejects=many)])
    shown = ledger.quarantined(client, "d", limit=2000)
    assert (len(shown), len(shown[0].raw)) == (ledger.MAX_REJECTS, ledger.MAX_RAW)
    assert len(ledger.quarantined(client, "d", limit=3)) == 3
    ledger.record(client, [load()], ledger.next_version(client))
    assert ledger.quarantined(client, "d") == []
