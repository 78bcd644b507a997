"""UnitWrite days of symbols: equal when repeated, neighbours left alone, NULL kept, bad rows refused, ledger true."""

import datetime as dt
import time
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse, clickhouse_ledger, clickhouse_rewrite
from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.stores.clickhouse_rewrite import Stage
from marketdata_assets.ticks import table_writer
from marketdata_assets.ticks.table_writer import UnitWrite
from marketdata_assets.ticks.tables import ORDER_BOOK, TICK_DATA
from tests.ticks.tick_rows import (
    JANUARY,
    MONTH,
    assert_ledger_agrees,
    bars,
    content_hash,
    entry,
    land,
    load,
    one,
    stored,
    without_rows,
)

FEBRUARY = Days.month("2026-02")
FIRST_WEEK = Days(dt.date(2026, 1, 5), dt.date(2026, 1, 9))
SECOND_WEEK = Days(dt.date(2026, 1, 12), dt.date(2026, 1, 16))
A, B, C = "600000.SH", "600001.SH", "000001.SZ"


def test_landing_twice_gives_equal_rows_and_leaves_others_alone(client: Client) -> None:
    land(client, [one(A, FEBRUARY)])
    land(client, [one(B)])
    for _ in range(2):
        land(client, [one(A), one(C)])
        expected = pl.concat([bars(C, JANUARY), bars(A, JANUARY), bars(A, FEBRUARY), bars(B, JANUARY)])
        assert stored(client).equals(expected)
        assert_ledger_agrees(client)
    assert clickhouse_rewrite.stages(client, "tick_data__") == []


def test_a_newer_version_replaces_the_whole_of_the_older_one(client: Client) -> None:
    land(client, [one(A, minutes=30), one(B)])
    land(client, [one(A, seed=1, minutes=7)])
    assert stored(client, A).equals(bars(A, JANUARY, seed=1, minutes=7))
    assert stored(client, B).equals(bars(B, JANUARY))
    found = entry(client, A)
    assert found.previous_hash == content_hash(bars(A, JANUARY, minutes=30))
    assert found.rows == bars(A, JANUARY, minutes=7).height


def test_days_of_a_month_land_one_after_the_other(client: Client) -> None:
    reject = Reject(7, "bad", "raw", slice="2026-01-05")
    land(client, [one(A, FIRST_WEEK, rejects=(reject,), rejected=1, read=101)])
    land(client, [one(A, SECOND_WEEK), one(B, FIRST_WEEK)])
    found = entry(client, A)
    assert stored(client, A).equals(pl.concat([bars(A, FIRST_WEEK), bars(A, SECOND_WEEK)]))
    assert found.slices == [day.isoformat() for days in (FIRST_WEEK, SECOND_WEEK) for day in days]
    assert (found.rows, found.rejected, found.whole) == (200, 1, True)
    land(client, [one(A, FIRST_WEEK, seed=2)])
    assert stored(client, A).equals(pl.concat([bars(A, FIRST_WEEK, seed=2), bars(A, SECOND_WEEK)]))
    assert (entry(client, A).rejected, entry(client, A).rows) == (0, 200)
    assert clickhouse_ledger.quarantined(client, "tick_data") == []


@pytest.mark.parametrize(("days", "by_date"), [(JANUARY, False), (FIRST_WEEK, True)], ids=["month", "week"])
def test_a_whole_month_is_deleted_without_reading_dates(
    client: Client, monkeypatch: pytest.MonkeyPatch, days: Days, by_date: bool
) -> None:
    land(client, [one(A), one(B)])
    conditions: list[str] = []
    delete = Stage.delete
    monkeypatch.setattr(Stage, "delete", lambda *values: (conditions.append(values[1]), delete(*values))[1])
    land(client, [one(A, days, seed=1)])
    assert ["date" in condition for condition in conditions] == [by_date]
    kept = bars(A, JANUARY).filter(~pl.col("date").is_between(days.first, days.last))
    assert stored(client, A).equals(pl.concat([bars(A, days, seed=1), kept]).sort("ts"))
    assert stored(client, B).equals(bars(B, JANUARY))


def test_null_stays_null_and_times_stay_utc(client: Client) -> None:
    frame = bars(A, FIRST_WEEK).with_columns(
        pl.lit(None, dtype=TICK_DATA.columns[name]).alias(name) for name in ("open", "close", "volume", "currency")
    )
    land(client, [UnitWrite(FIRST_WEEK, frame, load(A, FIRST_WEEK, frame))])
    found = stored(client)
    assert found.equals(frame)
    assert found["volume"].null_count() == found.height
    assert found["ts"].dtype == pl.Datetime("ms", "UTC")


ODD_VALUES = (
    *(("label", "middle", 469), ("interval", "1h", 469), ("provider", "", 469)),
    *(("label", None, 349), ("flags", None, 349)),
)


def test_a_row_against_the_constraints_keeps_all_out(client: Client) -> None:
    land(client, [one(A)])
    before = stored(client)
    for column, value, code in ODD_VALUES:
        odd = pl.when(pl.int_range(pl.len()) == 3).then(pl.lit(value, dtype=TICK_DATA.columns[column]))
        bad = bars(B, JANUARY).with_columns(odd.otherwise(pl.col(column)).alias(column))
        with pytest.raises(DatabaseError) as caught:
            land(client, [one(A, seed=1), UnitWrite(JANUARY, bad, load(B, JANUARY, bad))])
        assert caught.value.code == code, (column, value)
    assert stored(client).equals(before)
    assert_ledger_agrees(client)
    assert clickhouse_rewrite.stages(client, "tick_data__") == []


def test_a_landing_without_rows_empties_the_partition_and_leaves_the_others(client: Client) -> None:
    land(client, [one(A), one(B)])
    land(client, [one(A, FEBRUARY)])
    land(client, [one(B, FEBRUARY)])
    nothing = TICK_DATA.columns.to_frame()
    gone = [UnitWrite(JANUARY, nothing, load(name, JANUARY, nothing)) for name in (A, B)]
    for _ in range(2):
        land(client, gone)
        assert stored(client).equals(pl.concat([bars(A, FEBRUARY), bars(B, FEBRUARY)]))
        assert (entry(client, A).rows, entry(client, A).slices) == (0, [day.isoformat() for day in JANUARY])
    assert_ledger_agrees_without_hash(client)


def assert_ledger_agrees_without_hash(client: Client) -> None:
    for name, month, days in ((A, MONTH, JANUARY), (A, "2026-02", FEBRUARY), (B, "2026-02", FEBRUARY)):
        counted = stored(client, name).filter(pl.col("date").is_between(days.first, days.last)).height
        assert entry(client, name, month).rows == counted


def test_a_failure_is_written_down_and_what_stands_keeps_standing(client: Client) -> None:
    land(client, [one(A)])
    rejects = (Reject(3, "no time that can be read", "x" * 5000),)
    failed = without_rows(A, error="too many refused rows", rejected=1, rejects=rejects, content_hash="other")
    land(client, [failed, without_rows(B, outcome="unsupported"), one(C)])
    found = entry(client, A)
    assert (found.outcome, found.error, found.content_hash) == (
        "failed",
        "too many refused rows",
        content_hash(bars(A, JANUARY)),
    )
    assert (found.rows, len(found.slices)) == (bars(A, JANUARY).height, 31)
    unsupported = entry(client, B)
    assert (unsupported.outcome, unsupported.content_hash, unsupported.slices) == ("unsupported", None, [])
    (shown,) = clickhouse_ledger.quarantined(client, "tick_data")
    assert (shown.place, len(shown.raw)) == (f"{A}!{MONTH}:3", 2048)
    land(client, [one(A, seed=5)])
    assert entry(client, A).outcome == "ok"
    assert clickhouse_ledger.quarantined(client, "tick_data") == []


def test_days_that_are_surely_empty_are_covered_without_a_publish(client: Client) -> None:
    land(client, [one(A, FIRST_WEEK)])
    before = entry(client, A)
    land(client, [without_rows(A, SECOND_WEEK, outcome="empty"), without_rows(B, outcome="empty")])
    found = entry(client, A)
    assert found.slices == [day.isoformat() for days in (FIRST_WEEK, SECOND_WEEK) for day in days]
    assert (found.content_hash, found.rows, found.outcome) == (before.content_hash, before.rows, "empty")
    assert (entry(client, B).rows, len(entry(client, B).slices), entry(client, B).outcome) == (0, 31, "empty")


def test_an_unchanged_delivery_only_leaves_an_attempt(client: Client) -> None:
    land(client, [one(A)])
    before = entry(client, A)
    same = replace(one(A, run_id="later"), frame=None)
    land(client, [same])
    found = entry(client, A)
    assert (found.run_id, found.rows, found.content_hash) == ("later", before.rows, before.content_hash)
    other = replace(one(A, seed=3, run_id="latest"), frame=None)
    land(client, [other])
    assert (entry(client, A).run_id, entry(client, A).content_hash) == ("latest", before.content_hash)


def test_what_is_known_of_an_older_version_does_not_hide_a_newer_one(client: Client) -> None:
    land(client, [one(A, FIRST_WEEK)])
    old = entry(client, A)
    land(client, [one(A, seed=1)])
    clickhouse_ledger.record_unwritten(client, [old])
    assert entry(client, A).content_hash == content_hash(bars(A, JANUARY, seed=1))


def test_order_books_with_one_side_land_and_uneven_ones_do_not(client: Client) -> None:
    ts = dt.datetime(2026, 1, 5, 1, 30, 3, 500_000, tzinfo=dt.UTC)
    book = {"symbol": A, "date": ts.date(), "ts": ts, "provider": "files"}
    sides = {"bid_price": [10.0, 9.99], "bid_size": [100.0, 5.0], "ask_price": [], "ask_size": [], "file": "a.csv"}
    for changes, good in (({}, True), ({"bid_size": [1.0]}, False), ({"bid_price": [], "bid_size": []}, False)):
        frame = pl.DataFrame([book | sides | changes], schema=ORDER_BOOK.columns)
        landed = UnitWrite(JANUARY, frame, load(A, JANUARY, frame=None, dataset="order_book"))
        if good:
            table_writer.write(client, ORDER_BOOK, MONTH, [landed])
        else:
            with pytest.raises(DatabaseError, match="VIOLATED_CONSTRAINT"):
                table_writer.write(client, ORDER_BOOK, MONTH, [landed])
        found = clickhouse.read(client, "SELECT * FROM order_book")
        assert found.cast(ORDER_BOOK.columns).rows(named=True) == [book | sides]


def test_landings_that_contradict_themselves_are_refused(client: Client) -> None:
    good = one(A)
    assert good.frame is not None
    bad = {
        "duplicate symbol": [good, good],
        "not in the month": [replace(good, days=FEBRUARY)],
        "its load is of": [replace(good, load=replace(good.load, dataset="factors"))],
        "columns": [replace(good, frame=good.frame.drop("flags"))],
        "another symbol": [replace(good, frame=bars(B, JANUARY))],
        "outside": [replace(good, days=FIRST_WEEK)],
    }
    for message, landings in bad.items():
        with pytest.raises(ValueError, match=message):
            table_writer.write(client, TICK_DATA, MONTH, landings)
    assert stored(client).is_empty()


def test_rows_that_arrive_twice_in_the_stage_are_not_published(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client may send an insert again when the connection broke while the server was already at work."""
    insert = clickhouse.insert
    calls = []

    def twice(*arguments: Any) -> None:
        insert(*arguments)
        if arguments[1].startswith("tick_data__"):
            calls.append(arguments)
            if len(calls) == 1:
                insert(*arguments)

    monkeypatch.setattr(clickhouse, "insert", twice)
    land(client, [one(A)])
    assert len(calls) == 2
    assert stored(client).equals(bars(A, JANUARY))


@pytest.mark.slow
def test_many_small_landings_leave_few_parts_behind(client: Client) -> None:
    """Each landing adds a part; merges must keep up with them although each landing starts from a clone."""
    symbols = [f"{number:06d}.SZ" for number in range(60)]
    for symbol in symbols:
        land(client, [one(symbol, FIRST_WEEK, minutes=3)])
    parts = "SELECT count() FROM system.parts WHERE active AND table = 'tick_data'"
    deadline = time.monotonic() + 60
    while clickhouse.read(client, parts).item() >= 40:  # merges go on in the background
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert stored(client).equals(pl.concat([bars(symbol, FIRST_WEEK, minutes=3) for symbol in symbols]))
