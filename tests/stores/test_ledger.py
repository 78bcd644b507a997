"""The ledger and the quarantine: state, log of attempts, locks, and what a failure leaves standing."""

import datetime as dt
import threading
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from marketdata_assets.stores import ledger
from marketdata_assets.stores.bookkeeping import Entry, Quarantined, Reject

NOW = dt.datetime(2026, 1, 5, 9, 30, tzinfo=dt.UTC)
FIRST = Entry(
    dataset="bars", source="2000.zip", unit="a.csv", content_hash="one", slices=["2000-01"],
    read=10, rows=9, rejected=1, outcome="ok", attempted_hash="one", code_version="v",
    run_id="r1", started=NOW, finished=NOW,
)  # fmt: skip
SECOND = replace(FIRST, content_hash="two", previous_hash="one", attempted_hash="two", rows=8, run_id="r2")
FAILED = Entry(
    dataset="bars", source="2000.zip", unit="a.csv", outcome="failed", attempted_hash="three", error="broken",
    code_version="v", run_id="r3", started=NOW, finished=NOW,
)  # fmt: skip


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        with connection.transaction():
            ledger.ensure(connection)
        yield connection


def log(connection: psycopg.Connection) -> list[tuple]:
    return connection.execute(
        "SELECT content_hash, previous_hash, attempted_hash, outcome, run_id FROM marketdata_ledger_log ORDER BY id"
    ).fetchall()


def test_ensure_twice_changes_nothing(connection: psycopg.Connection) -> None:
    ledger.record(connection, FIRST)
    with connection.transaction():
        ledger.ensure(connection)
    assert ledger.entries(connection, "bars") == [FIRST]


def test_last_state_stands_and_every_attempt_is_logged_with_old_and_new_hash(connection: psycopg.Connection) -> None:
    ledger.record(connection, FIRST)
    ledger.record(connection, SECOND)
    ledger.record_failure(connection, FAILED)
    assert log(connection) == [
        ("one", None, "one", "ok", "r1"),
        ("two", "one", "two", "ok", "r2"),
        ("two", "one", "three", "failed", "r3"),
    ]
    (kept,) = ledger.entries(connection, "bars")
    assert (kept.content_hash, kept.previous_hash, kept.slices) == ("two", "one", ["2000-01"])
    assert (kept.read, kept.rows, kept.rejected) == (10, 8, 1)
    assert (kept.outcome, kept.attempted_hash, kept.error, kept.run_id) == ("failed", "three", "broken", "r3")


def test_loaded_says_the_same_as_the_entries(connection: psycopg.Connection) -> None:
    other = replace(FIRST, source="2001.zip", slices=["2001-01", "2001-02"], rejected=0)
    for entry in (FIRST, replace(SECOND, unit="b.csv"), replace(FAILED, unit="c.csv"), other):
        ledger.record(connection, entry)
    expected = {
        (one.source, one.unit, one.content_hash, one.outcome, frozenset(one.slices), one.whole)
        for one in ledger.entries(connection, "bars")
    }
    found = ledger.loaded(connection, "bars")
    assert (len(found), set(found)) == (4, expected)
    assert {one.source for one in ledger.loaded(connection, "bars", ["2001.zip"])} == {"2001.zip"}
    assert ledger.loaded(connection, "bars", []) == ledger.loaded(connection, "other") == []


def test_entries_are_those_of_the_sources_asked_for(connection: psycopg.Connection) -> None:
    for source in ("b.zip", "a.zip", "c.zip"):
        ledger.record(connection, replace(FIRST, source=source))
    ledger.record(connection, replace(FIRST, dataset="other"))
    assert [e.source for e in ledger.entries(connection, "bars")] == ["a.zip", "b.zip", "c.zip"]
    assert [e.source for e in ledger.entries(connection, "bars", ["c.zip", "b.zip"])] == ["b.zip", "c.zip"]
    assert ledger.entries(connection, "bars", []) == []


def test_rolled_back_record_leaves_neither_state_nor_log(connection: psycopg.Connection) -> None:
    with pytest.raises(RuntimeError), connection.transaction():
        ledger.record(connection, FIRST)
        raise RuntimeError
    assert ledger.entries(connection, "bars") == []
    assert log(connection) == []


def test_a_unit_without_a_row_can_be_locked(dsn: str, connection: psycopg.Connection) -> None:
    seen: list[Entry | None] = []

    def second() -> None:
        with psycopg.connect(dsn) as other:
            seen.append(ledger.locked(other, "bars", "2000.zip", "a.csv"))

    thread = threading.Thread(target=second)
    with connection.transaction():
        assert ledger.locked(connection, "bars", "2000.zip", "a.csv") is None
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while connection.execute(waiting).fetchone() == (0,):
            assert thread.is_alive()
        assert ledger.locked(connection, "bars", "2000.zip", "b.csv") is None
        ledger.record(connection, FIRST)
    thread.join()
    assert seen == [FIRST]


def test_rejects_of_a_unit_replace_those_before(connection: psycopg.Connection) -> None:
    place = ("bars", "2000.zip", "a.csv")
    ledger.replace_rejects(connection, *place, [Reject(3, "old", "x"), Reject(4, "old", "y")])
    ledger.replace_rejects(connection, "bars", "2000.zip", "b.csv", [Reject(2, "else", "z")])
    tricky = Reject(2, "tab\tand\nline", 'a\\b,"c"\r', "2000-01")
    ledger.replace_rejects(connection, *place, [tricky])
    found = ledger.quarantined(connection, "bars")
    assert found == [
        Quarantined(2, "tab\tand\nline", 'a\\b,"c"\r', "2000-01", "2000.zip", "a.csv"),
        Quarantined(2, "else", "z", None, "2000.zip", "b.csv"),
    ]
    assert [row.place for row in found] == ["2000.zip!a.csv:2", "2000.zip!b.csv:2"]
    ledger.replace_rejects(connection, *place, [])
    assert [row.unit for row in ledger.quarantined(connection, "bars")] == ["b.csv"]


def test_place_of_a_loose_file_names_it_once(connection: psycopg.Connection) -> None:
    ledger.replace_rejects(connection, "bars", "a.csv", "a.csv", [Reject(n, "bad", "") for n in (9, 2, 5)])
    assert [row.place for row in ledger.quarantined(connection, "bars", limit=2)] == ["a.csv:2", "a.csv:5"]


def test_a_rejected_row_and_an_error_may_hold_any_characters(connection: psycopg.Connection) -> None:
    ledger.replace_rejects(connection, "bars", "a.csv", "a.csv", [Reject(2, "sym A\0B", "A\0\ud800")])
    [kept] = ledger.quarantined(connection, "bars")
    assert (kept.reason, kept.raw) == ("sym A\\0B", "A\\0\\ud800")
