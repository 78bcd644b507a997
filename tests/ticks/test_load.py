"""Many symbols into tick_data: what lands, what is told, what is asked for again and what is not."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from marketdata_assets.reference.records import Days, Listing
from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.stores.clickhouse_ledger import entries, quarantined
from marketdata_assets.ticks import records
from marketdata_assets.ticks.errors import TicksError
from marketdata_assets.ticks.fallback import Fallback
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.reconcile import Reconciler
from marketdata_assets.ticks.reports import Unit, UnitReport
from marketdata_demo.servers.yahoo import YahooServer
from tests.ticks.tick_clients import JUNE, SYMBOL, Clients, files_config
from tests.ticks.tick_loads import (
    CLOSED,
    MONTH,
    MORNING,
    NOW,
    Loader,
    assert_exact,
    codes,
    good_units,
    landed,
    suspensions,
    told,
    units,
)

DAY = 241
WHOLE = 4 * DAY
HEADER = "symbol,ts,open,high,low,close,volume\n"


def clock(day: int, hour: int = 16) -> dt.datetime:
    return dt.datetime(2025, 6, day, hour, tzinfo=dt.timezone(dt.timedelta(hours=8)))


def only(loader: Loader, *wanted: Unit, **options: Any) -> UnitReport:
    [report] = loader(wanted or units([SYMBOL]), **options).units
    return report


def test_all_but_two_symbols_land_and_those_are_named(loader: Loader) -> None:
    symbols = loader.server.symbols = codes(8)
    bad = symbols[2], symbols[6]
    loader.server.fail(503, 4, where=bad[0])
    loader.server.say(b'{"code": 0, "msg": "", "data": {"fields": ["ts_code"], "items": []}}', where=bad[1])
    report = loader(units(symbols))
    assert [unit.symbol for unit in report.failed] == sorted(bad)
    assert "no successful response in 4 attempts" in (report.failed[0].error or "")
    assert "columns trade_time, open" in (report.failed[1].error or "")
    good = [symbol for symbol in symbols if symbol not in bad]
    assert_exact(loader.client, good)
    assert [unit.symbol for unit in good_units(report)] == good
    assert {(unit.rows, unit.provider, unit.changed) for unit in good_units(report)} == {(WHOLE, "tushare", True)}
    again = loader(units(symbols))
    assert (again.failed, again.requests) == ((), 2)
    assert_exact(loader.client, symbols)


def test_what_is_complete_is_not_asked_for_again_and_the_same_bars_are_not_written_again(loader: Loader) -> None:
    first = only(loader)
    loader.server.lines.clear()
    second = only(loader)
    assert (second.outcome, second.rows, second.changed, loader.server.lines) == ("ok", WHOLE, False, [])
    assert (first.changed, second.provider, second.note) == (True, "tushare", "complete; no request was needed")
    [before] = entries(loader.client, "tick_data")
    again = only(loader, refetch=True, now=MORNING + dt.timedelta(hours=1))
    assert (again.outcome, again.changed, again.note, again.rows) == ("ok", False, "unchanged", WHOLE)
    [after] = entries(loader.client, "tick_data")
    assert (after.content_hash, after.rows) == (before.content_hash, WHOLE)
    assert after.finished > before.finished
    loader.server.fail(503, 4)
    assert only(loader, refetch=True).outcome == "failed"
    assert_exact(loader.client, [SYMBOL])
    retried = only(loader)  # a refetch that failed is tried again by the next load
    assert (retried.outcome, retried.note) == ("ok", "unchanged")
    assert loader(units([SYMBOL])).requests == 0


def test_a_month_under_way_grows_by_its_closed_days(loader: Loader) -> None:
    assert only(loader, now=clock(3, 15)).rows == DAY
    assert only(loader, now=clock(3, 16)).rows == 2 * DAY
    assert "2025-06-02 00:00:00" in loader.server.lines[-1]  # a provisional day with the new one
    grown = only(loader)
    assert (grown.rows, grown.changed) == (WHOLE, True)
    assert_exact(loader.client, [SYMBOL])
    [entry] = entries(loader.client, "tick_data")
    assert (entry.rows, entry.slices) == (WHOLE, [str(day) for day in CLOSED])
    hash_in_parts = entry.content_hash
    loader.client.command("TRUNCATE TABLE marketdata_ledger_rows")
    only(loader)
    [entry] = entries(loader.client, "tick_data")
    assert entry.content_hash == hash_in_parts


@pytest.mark.slow
def test_a_month_that_the_provider_mended_is_replaced_as_a_whole(loader: Loader) -> None:
    stamp = "2025-06-04 09:31:00"
    loader.server.odd = {stamp: [SYMBOL, stamp, 7.0, 7.0, 7.0, 7.0, 100.0, 700.0]}
    only(loader)
    assert landed(loader.client)["close"].min() == 7.0
    loader.server.odd = {}
    mended = only(loader, refetch=True)
    assert (mended.changed, mended.rows) == (True, WHOLE)
    assert_exact(loader.client, [SYMBOL])


def test_days_are_asked_for_and_replaced_alone(loader: Loader) -> None:
    only(loader)
    stamps = [f"2025-06-{day} 09:31:00" for day in ("03", "05")]
    loader.server.odd = {stamp: [SYMBOL, stamp, 7.0, 7.0, 7.0, 7.0, 100.0, 700.0] for stamp in stamps}
    days = Days(dt.date(2025, 6, 3), dt.date(2025, 6, 4))
    part = only(loader, refetch=True, days=days)
    assert (part.outcome, part.rows, part.changed) == ("ok", WHOLE, True)
    assert [str(day) for day in landed(loader.client).filter(close=7.0)["date"]] == ["2025-06-03"]
    loader.server.odd = {}
    assert only(loader, refetch=True, days=days).changed
    assert_exact(loader.client, [SYMBOL])
    assert not only(loader, refetch=True).changed  # so the hash of the parts is that of the whole


def test_nothing_is_asked_for_before_a_stock_was_listed(loader: Loader) -> None:
    listings = [
        Listing("600001.SH", "", dt.date(2025, 7, 1), None, "listed"),
        Listing("600002.SH", "", None, dt.date(2025, 5, 30), "delisted"),
        Listing("600000.SH", "", dt.date(2025, 6, 4), None, "listed"),
    ]
    report = loader(units(codes(3)), listings=listings)
    assert told(report) == {"600000.SH": "ok", "600001.SH": "empty", "600002.SH": "empty"}
    assert [unit.note[:19] for unit in report.units[1:]] == ["listed on 2025-07-0", "delisted on 2025-05"]
    assert (report.requests, "2025-06-04 00:00:00" in loader.server.lines[0]) == (1, True)
    assert_exact(loader.client, [SYMBOL], Days(dt.date(2025, 6, 4), CLOSED.last))
    assert loader(units(codes(3)), listings=listings).requests == 0


def test_a_suspended_stock_is_empty_and_not_asked_for(loader: Loader) -> None:
    suspended = suspensions([(SYMBOL, day, "") for day in JUNE], {*JUNE})
    for _ in range(2):
        [report] = (whole := loader(units([SYMBOL]), suspended=suspended)).units
        assert (report.outcome, report.rows, report.error, whole.requests) == ("empty", 0, None, 0)


def test_a_month_without_a_closed_day_is_provisional_and_stays_due(loader: Loader) -> None:
    july = Unit(SYMBOL, "2025-07")
    early = only(loader, july)
    assert (early.outcome, early.note) == ("provisional", "no day of 2025-07 is closed yet")
    later = only(loader, july, now=NOW + dt.timedelta(hours=7))
    assert (later.outcome, later.rows) == ("ok", DAY)


def test_bars_that_the_provider_has_no_more_stay_unless_that_is_accepted(loader: Loader) -> None:
    only(loader)
    loader.server.suspended = {dt.date(2025, 6, day) for day in range(1, 4)}
    part = only(loader, refetch=True)
    assert (part.outcome, part.rows, part.changed) == ("failed", WHOLE, False)
    assert "tushare now returns no rows for 2 days from 2025-06-02 to 2025-06-03" in (part.error or "")
    assert f"where {2 * DAY} are loaded; kept" in (part.error or "")
    loader.server.suspended = {*JUNE}
    nothing = only(loader, refetch=True)
    assert (nothing.outcome, nothing.rows) == ("failed", WHOLE)
    assert "--refetch --accept-empty" in (nothing.error or "")
    assert_exact(loader.client, [SYMBOL])
    accepted = only(loader, refetch=True, accept_empty=True)
    assert (accepted.outcome, accepted.rows, accepted.changed) == ("provisional", 0, True)
    assert landed(loader.client).is_empty()
    assert loader(units([SYMBOL])).requests == 0


def test_rejected_rows_are_kept_with_their_reason_and_nulls_stay_null(loader: Loader) -> None:
    stamp, null = "2025-06-04 10:00:00", "2025-06-04 10:01:00"
    loader.server.odd = {
        stamp: [SYMBOL, stamp, 10, 10, 10, 10, 100.5, 1000],
        null: [SYMBOL, null, None, None, 10, 10, None, None],
    }
    report = only(loader)
    assert (report.outcome, report.rows, report.rejected) == ("ok", WHOLE - 1, 1)
    [bad] = quarantined(loader.client, "tick_data")
    assert (bad.source, bad.unit, bad.reason) == (SYMBOL, MONTH, "volume is not a whole number of shares")
    assert stamp in bad.raw
    [row] = landed(loader.client).filter(pl.col("close").is_null()).iter_rows(named=True)
    assert [row[name] for name in ("open", "close", "volume", "turnover")] == [None] * 4
    assert (row["high"], row["flags"] & 1) == (10.0, 1)


@pytest.mark.parametrize(("good", "bad", "loaded"), [(12, 1, True), (12, 2, True), (12, 3, False), (1, 2, False)])
def test_one_or_two_odd_rows_cost_a_thin_stock_nothing_else(good: int, bad: int, loaded: bool) -> None:
    odd = [Reject(line, "not on a whole minute", "") for line in range(bad)]
    assert (records.too_many("yahoo", SYMBOL, good, odd) == "") == loaded


def test_nothing_of_a_delivery_with_too_many_bad_rows_lands(loader: Loader) -> None:
    stamps = [f"2025-06-{day:02} 10:{minute:02}:00" for day in (3, 4) for minute in range(40)]
    loader.server.odd = {stamp: [SYMBOL, stamp, 10, 10, 10, 10, -1, 1000] for stamp in stamps}
    report = only(loader)
    assert (report.outcome, report.rows) == ("failed", 0)
    assert f"80 of {WHOLE} rows rejected" in (report.error or "")
    assert landed(loader.client).is_empty()
    assert len(quarantined(loader.client, "tick_data")) == 80
    loader.server.odd = {}
    assert only(loader).outcome == "ok"
    assert quarantined(loader.client, "tick_data") == []


def test_each_symbol_comes_from_the_first_provider_that_has_it(
    loader: Loader, clients: Clients, yahoo_server: YahooServer
) -> None:
    yahoo_server.symbols = ["600000.SS", "600001.SS"]
    loader.server.symbols = ["600000.SH"]
    loader.others = [lambda: clients.yahoo(yahoo_server)]
    report = loader(units(codes(3)))
    assert [(unit.outcome, unit.provider) for unit in report.units] == [
        ("ok", "tushare"),
        ("ok", "yahoo"),
        ("provisional", None),
    ]
    assert "tushare empty" in report.units[1].note
    assert report.providers() == {"tushare": 1, "yahoo": 1}
    found = landed(loader.client).group_by("symbol", "provider", "label").len().sort("symbol")
    assert found.rows() == [("600000.SH", "tushare", "end", WHOLE), ("600001.SH", "yahoo", "start", 4 * 240)]


def test_days_beyond_everybodys_reach_are_unsupported_and_no_failure(
    loader: Loader, clients: Clients, yahoo_server: YahooServer
) -> None:
    loader.others = [lambda: clients.yahoo(yahoo_server)]
    report = only(loader, Unit(SYMBOL, "2025-03"), providers=("yahoo",))
    assert (report.outcome, report.error) == ("unsupported", None)
    assert "1-minute bars go back 30 days" in report.note
    assert loader.server.requests == 0


@pytest.fixture
def drop(tmp_path: Path, loader: Loader) -> Callable[..., None]:
    """Drops a file with one bar a day in it."""
    (tmp_path / "dropped").mkdir()
    loader.others = [lambda: Files(tmp_path / "dropped", files_config())]

    def dropped(close: str, *days: int) -> None:
        rows = [f"{SYMBOL},2025-06-{day:02} 09:31:00,{close},{close},{close},{close},100\n" for day in days or (3, 4)]
        (tmp_path / "dropped" / "a.csv").write_text(HEADER + "".join(rows))

    return dropped


@pytest.mark.slow
def test_a_lower_provider_does_not_replace_what_a_better_one_brought(loader: Loader, drop: Callable[..., None]) -> None:
    only(loader)
    drop("7")
    kept = only(loader, refetch=True, providers=("files",))
    assert (kept.outcome, kept.provider, kept.rows, kept.changed) == ("ok", "tushare", WHOLE, False)
    assert "files has rows, but those of tushare, which comes before it, are kept" in kept.note
    assert_exact(loader.client, [SYMBOL])
    loader.server.fail(503, 4)
    fallen = only(loader, refetch=True)
    assert (fallen.outcome, fallen.changed) == ("ok", False)
    assert "tushare failed" in fallen.note


def test_files_are_replaced_by_newer_files_and_by_better_providers(loader: Loader, drop: Callable[..., None]) -> None:
    drop("7")
    assert only(loader, providers=("files",)).provider == "files"
    drop("8")
    newer = only(loader, refetch=True, providers=("files",))
    assert (newer.rows, landed(loader.client)["close"].to_list()) == (2, [8.0, 8.0])
    better = only(loader)
    assert (better.provider, better.rows) == ("tushare", WHOLE)
    assert_exact(loader.client, [SYMBOL])


@pytest.mark.slow
def test_files_say_nothing_of_days_before_their_first_and_after_their_last(
    loader: Loader, drop: Callable[..., None]
) -> None:
    drop("7", 2, 3)
    only(loader, providers=("files",), refetch=True)
    drop("8", 4, 5)  # the file of the days before was archived
    later = only(loader, providers=("files",), refetch=True)
    assert (later.outcome, later.rows) == ("ok", 4)
    assert landed(loader.client)["close"].to_list() == [7.0, 7.0, 8.0, 8.0]
    [entry] = entries(loader.client, "tick_data")
    assert entry.slices == [f"2025-06-0{day}" for day in (2, 3, 4, 5)]
    (loader.clients.home / "dropped" / "a.csv").unlink()
    gone = only(loader, providers=("files",), refetch=True)
    assert (gone.outcome, gone.rows) == ("ok", 4)
    drop("8", 2, 3, 4, 5)
    assert only(loader, providers=("files",), refetch=True).changed
    whole = entries(loader.client, "tick_data")[0].content_hash
    drop("8", 4, 5)
    assert not only(loader, providers=("files",), refetch=True).changed
    assert entries(loader.client, "tick_data")[0].content_hash == whole


def test_days_that_no_file_has_stay_due(loader: Loader, drop: Callable[..., None]) -> None:
    drop("7")
    nothing = only(loader, Unit("600001.SH", MONTH), providers=("files",))
    assert (nothing.outcome, nothing.error) == ("unsupported", None)
    loader.server.symbols = ["600001.SH"]
    assert only(loader, Unit("600001.SH", MONTH)).provider == "tushare"


def test_no_file_does_not_make_a_refused_token_an_empty_month(loader: Loader, drop: Callable[..., None]) -> None:
    drop("7")
    refused = only(loader, Unit("600001.SH", MONTH), tushare={"token": "wrong"})
    assert refused.outcome == "failed"
    assert "rejects the token" in (refused.error or "")


def test_nobody_to_ask_is_an_error(loader: Loader) -> None:
    with pytest.raises(TicksError, match="no provider of tick_data among files"):
        loader(units([SYMBOL]), providers=("files",))


def test_symbols_that_come_first_are_asked_for_first(loader: Loader) -> None:
    symbols = loader.server.symbols = codes(5)
    loader(units(symbols), first=(symbols[4], symbols[2]), workers=1)
    assert [line.split("'")[3] for line in loader.server.lines[:3]] == [symbols[4], symbols[2], symbols[0]]


def test_months_and_symbols_of_one_load_land_together(loader: Loader) -> None:
    symbols = loader.server.symbols = codes(2)
    report = loader(units(symbols, "2025-05", "2025-06"))
    assert [unit.unit for unit in report.units] == units(symbols, "2025-05", "2025-06")
    assert report.rows == landed(loader.client).height == 2 * (22 + 4) * DAY
    assert_exact(loader.client, symbols, Days(dt.date(2025, 5, 1), CLOSED.last))


@pytest.mark.parametrize("where", ["fetch", pytest.param("reconcile", marks=pytest.mark.slow)])
def test_an_unexpected_error_of_one_unit_fails_that_unit_only(
    loader: Loader, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    symbols = loader.server.symbols = codes(6)
    owner, name = (Fallback, "rows") if where == "fetch" else (Reconciler, "decide")
    original = getattr(owner, name)

    def broken(self: Any, subject: Any, *arguments: Any) -> Any:
        if symbols[2] in str(subject):
            raise KeyError("a defect")
        return original(self, subject, *arguments)

    monkeypatch.setattr(owner, name, broken)
    report = loader(units(symbols))
    assert [(unit.symbol, unit.error) for unit in report.failed] == [(symbols[2], "KeyError: 'a defect'")]
    assert_exact(loader.client, [symbol for symbol in symbols if symbol != symbols[2]])
