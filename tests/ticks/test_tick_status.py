"""States of symbol-months from ledger and registry, and what a run would mend."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.ticks import registry, status
from marketdata_assets.ticks.reports import Unit
from marketdata_assets.ticks.status import MISSED, Behind, TableStatus, _missed
from marketdata_assets.ticks.table_writer import UnitWrite
from tests.ticks.factor_bars import FEBRUARY, JANUARY, NOW, OTHER, SYMBOL, Computer, flat, months, stand, weekdays
from tests.ticks.tick_rows import entry, land, load, one, without_rows

WINDOW = ["2026-01", "2026-02", "2026-03"]


@pytest.fixture
def client(client: Client, tmp_path: Path) -> Client:
    register(client, tmp_path, SYMBOL, OTHER)
    return client


def register(client: Client, folder: Path, *lines: str) -> None:
    file = folder / "symbols.csv"
    file.write_text("\n".join(lines))
    registry.refresh(client, None, file, None, now=NOW)


def overview(client: Client, now: dt.datetime = NOW) -> dict[str, TableStatus]:
    return {one.table: one for one in status.overview(client, WINDOW, now, trading_days=weekdays)}


def states(client: Client, table: str = "tick_data", now: dt.datetime = NOW) -> dict[str, dict[str, int]]:
    return {month: dict(found) for month, found in overview(client, now)[table].months.items()}


def behind(client: Client, now: dt.datetime = NOW) -> Behind:
    return status.behind(client, WINDOW, now, trading_days=weekdays)


def compute(client: Client) -> None:
    every = [Unit(symbol, month) for symbol in (SYMBOL, OTHER) for month in WINDOW]
    assert not Computer(client)(every).failed


def test_nothing_is_missing_when_nobody_is_registered(tables_client: Client) -> None:
    assert states(tables_client) == {}
    assert behind(tables_client) == Behind([], [])
    [one, *_] = status.overview(tables_client, WINDOW, NOW, trading_days=weekdays)
    assert (one.rows, one.newest, one.rejected, dict(one.months)) == (0, None, 0, {})


def test_months_go_from_missing_to_ok(client: Client) -> None:
    assert states(client) == {"2026-01": {"missing": 2}, "2026-02": {"missing": 2}}  # the first of March is a Sunday
    assert "2026-03" in states(client, now=dt.datetime(2026, 3, 2, 8, tzinfo=dt.UTC))
    assert behind(client).load == [Unit(symbol, month) for month in WINDOW[:2] for symbol in (OTHER, SYMBOL)]
    stand(client, months())
    assert states(client)["2026-02"] == {"missing": 1, "ok": 1}
    found = overview(client)["tick_data"]
    assert (found.count("ok"), found.count("missing")) == (2, 2)
    assert (found.rows, found.newest) == (12 * 42, FEBRUARY[-1])


def test_a_removed_symbol_is_counted_nowhere_and_is_not_due(client: Client) -> None:
    land(client, [without_rows(OTHER, Days.month("2026-01"), outcome="failed", error="away")])
    stand(client, months(OTHER)[1:])
    registry.remove(client, [OTHER], now=NOW)
    assert states(client) == {"2026-01": {"missing": 1}, "2026-02": {"missing": 1}}
    assert {unit.symbol for unit in behind(client).load} == {SYMBOL}
    assert overview(client)["tick_data"].rows > 0


def test_days_that_closed_since_make_a_month_stale(client: Client) -> None:
    stand(client, months(), covered=FEBRUARY[:-1])
    assert states(client, now=dt.datetime(2026, 2, 26, 20, tzinfo=dt.UTC))["2026-02"] == {"missing": 1, "ok": 1}
    stale = states(client)
    assert stale["2026-02"] == {"missing": 1, "stale": 1}
    assert Unit(SYMBOL, "2026-02") in behind(client).load


def test_what_failed_or_is_in_doubt_is_behind_and_what_is_unsupported_is_not(client: Client) -> None:
    stand(client, [*months(), *months(OTHER)])
    land(client, [without_rows(SYMBOL, Days.month("2026-01"), outcome="failed", error="away")])
    ledger.record_pending(client, [entry(client, OTHER, "2026-01")], ledger.next_version(client))
    land(client, [without_rows(SYMBOL, Days.month("2026-02"), outcome="unsupported", content_hash="x")])
    assert states(client)["2026-01"] == {"failed": 2}
    assert states(client)["2026-02"] == {"unsupported": 1, "ok": 1}
    assert behind(client).load == [Unit(OTHER, "2026-01"), Unit(SYMBOL, "2026-01")]


def test_months_before_the_listing_and_after_the_end_are_not_expected(client: Client, tmp_path: Path) -> None:
    register(client, tmp_path, f"{SYMBOL},a,{FEBRUARY[3]}", f"{OTHER},b,,{JANUARY[4]}")
    assert states(client) == {"2026-01": {"missing": 1}, "2026-02": {"missing": 1}}
    stand(client, [*months()[len(JANUARY) + 3 :]], covered=FEBRUARY[3:])
    stand(client, [*months(OTHER)[:5]], covered=JANUARY[:5])
    assert states(client) == {"2026-01": {"ok": 1}, "2026-02": {"ok": 1}}


def test_symbols_that_are_not_registered_count_with_what_they_have_and_are_never_behind(client: Client) -> None:
    stand(client, months("600009.SH"), covered=FEBRUARY[:3])
    assert states(client)["2026-02"] == {"missing": 2, "ok": 1}
    assert "600009.SH" not in {unit.symbol for unit in behind(client).load}


def test_an_empty_month_is_no_gap(client: Client) -> None:
    land(client, [without_rows(SYMBOL, Days.month("2026-01"), outcome="empty")])
    assert states(client)["2026-01"] == {"missing": 1, "empty": 1}
    # A stock that was suspended has daily figures.
    assert behind(client).factors == [Unit(SYMBOL, "2026-01")]
    assert not Computer(client)([Unit(SYMBOL, "2026-01")]).failed
    assert behind(client).factors == []


def test_factors_are_behind_when_they_are_missing_failed_or_older_than_their_bars(client: Client) -> None:
    stand(client, [*months(), *months(OTHER)])
    assert behind(client).factors == [Unit(symbol, month) for month in WINDOW[:2] for symbol in (OTHER, SYMBOL)]
    compute(client)
    assert behind(client).factors == []
    assert states(client, "factors") == {"2026-01": {"ok": 2}, "2026-02": {"ok": 2}}
    stand(client, months(d20260128=flat(11.0)))
    assert states(client, "factors")["2026-02"] == {"ok": 1, "stale": 1}
    assert behind(client).factors == [Unit(SYMBOL, "2026-01"), Unit(SYMBOL, "2026-02")]


def test_refused_rows_and_books_are_counted(client: Client) -> None:
    refused: dict[str, Any] = {"rejected": 2, "rejects": (Reject(1, "a", ""), Reject(2, "b", ""))}
    days = Days.month("2026-01")
    rows = months()[0]
    land(client, [UnitWrite(days, rows, load(SYMBOL, days, rows, **refused))])
    found = overview(client)
    assert (found["tick_data"].rejected, found["factors"].rejected) == (2, 0)
    assert found["order_book"].count("missing") == 4


@pytest.mark.parametrize(
    ("newest", "today", "late"),
    [
        ("2025-09-26", "2025-09-29", False),  # Friday and Monday
        ("2025-09-30", "2025-10-09", False),  # the last day before the National Day holiday, and the first after it
        ("2025-09-30", "2025-10-10", False),
        ("2025-09-30", "2025-10-13", True),
        ("2025-09-23", "2025-09-25", False),
        ("2025-09-23", "2025-09-26", True),
        ("2025-09-26", "2025-09-26", False),
    ],
)
def test_overdue_after_two_trading_days_that_are_over(newest: str, today: str, late: bool) -> None:
    assert (_missed(dt.date.fromisoformat(newest), dt.date.fromisoformat(today)) >= MISSED) is late


def test_bars_of_one_exchange_are_overdue_whatever_the_others_have(client: Client) -> None:
    """A day after the second close in New York that nobody asked for; currencies are loaded every day."""
    newest = {"AAPL.US": dt.date(2026, 2, 9), "BTC-USD": dt.date(2026, 2, 11)}
    land(client, [one(symbol, Days(dt.date(2026, 2, 2), day)) for symbol, day in newest.items()])
    for hour, late in ((20, []), (21, ["tick_data"])):
        assert status.overdue(client, dt.datetime(2026, 2, 12, hour, 30, tzinfo=dt.UTC)) == late
