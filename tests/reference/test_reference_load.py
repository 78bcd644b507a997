"""Loads of reference data: what counts as known, what corrections replace, and what files and a library give alone."""

import datetime as dt
from pathlib import Path

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.reference import status, stored
from marketdata_assets.reference.calendar import ZONE, Calendar, ashares
from marketdata_assets.reference.errors import NotOffered
from marketdata_assets.reference.load import UnitReport, load_calendar, load_instruments
from marketdata_assets.reference.records import Days
from marketdata_assets.reference.tables import ADJUST_FACTORS, INSTRUMENTS, SUSPENSIONS, TABLES, TRADING_CALENDAR
from marketdata_assets.stores import clickhouse_ledger as ledger
from tests.reference.reference_runs import NOW, SYMBOLS, Loads, Outage

MARCH, FEBRUARY = "2026-03", "2026-02"
FRIDAY = dt.date(2026, 3, 20)
ANOTHER = dt.timedelta(days=1)
DAYS_OF_MARCH = 15
"""Trading days up to FRIDAY."""


def test_nothing_loaded_is_unknown_and_the_calendar_is_the_librarys(clickhouse_client: Client, tmp_path: Path) -> None:
    loads = Loads(clickhouse_client, tmp_path)
    assert stored.calendar(loads.client) == ashares()
    assert stored.listings(loads.client) == []
    assert stored.suspensions(loads.client, Days.month(MARCH)).known == frozenset()
    assert stored.adjust_factors(loads.client).is_empty()
    assert stored.of_days(loads.client, TABLES["price_limits"], Days.month(MARCH)).is_empty()


def test_announced_days_extend_the_librarys_and_a_holiday_change_replaces(loads: Loads) -> None:
    loads.almanac.announced = dt.date(2027, 12, 31)
    later = NOW.replace(year=2027)
    assert load_calendar(loads.run()).rows == (dt.date(2027, 12, 31) - dt.date(1990, 12, 18)).days
    monday = dt.date(2027, 5, 10)
    assert stored.calendar(loads.client).known.last == loads.almanac.announced
    assert stored.calendar(loads.client).trading_days(Days(monday, monday))
    assert not load_calendar(loads.run(later)).changed
    loads.almanac.holidays = {monday}
    assert load_calendar(loads.run(later)).changed
    assert not stored.calendar(loads.client).trading_days(Days(monday, monday))
    changed = stored.rows(loads.client, TRADING_CALENDAR).filter(pl.col("seen") == pl.lit(later.astimezone(dt.UTC)))
    assert changed["date"].to_list() == [monday]


def test_instruments_keep_what_no_source_names_any_more(loads: Loads) -> None:
    reports = load_instruments(loads.run())
    assert [(one.table, one.outcome, one.rows) for one in reports] == [
        ("instruments", "ok", 20),
        ("name_history", "ok", 20),
        ("code_changes", "ok", 1),
    ]
    loads.almanac.symbols = (*SYMBOLS[1:], "688001.SH")
    assert load_instruments(loads.run(NOW + ANOTHER))[0].rows == 21
    known = stored.rows(loads.client, INSTRUMENTS)
    by_symbol = {row["symbol"]: row for row in known.iter_rows(named=True)}
    assert by_symbol[SYMBOLS[0]]["status"] == "vanished"
    assert (by_symbol["688001.SH"]["board"], by_symbol["688001.SH"]["lot"]) == ("star", 200)
    assert {by_symbol[symbol]["seen"] for symbol in SYMBOLS[1:]} == {NOW}
    assert stored.rows(loads.client, TABLES["code_changes"])["new"].to_list() == ["920017.BJ"]


@pytest.mark.parametrize("symbols", [pytest.param((), marks=pytest.mark.slow), SYMBOLS[:10]], ids=["none", "half"])
def test_a_falsely_short_list_of_an_exchange_marks_nobody_vanished(loads: Loads, symbols: tuple[str, ...]) -> None:
    loads.almanac.symbols = [*SYMBOLS, "000001.SZ"]
    load_instruments(loads.run())
    loads.almanac.symbols = [*symbols, "000001.SZ"]
    report = load_instruments(loads.run(NOW + ANOTHER))[0]
    assert report.outcome == "failed"
    assert f"names {len(symbols)} of 20 known instruments of SH" in (report.error or "")
    assert all(one.status == "listed" for one in stored.listings(loads.client))


def test_a_table_that_fails_stops_no_other(loads: Loads) -> None:
    loads.almanac.failing = {"name_history": Outage("away"), "instruments": NotOffered("almanac", "instruments", "no")}
    assert [one.outcome for one in load_instruments(loads.run())] == ["unsupported", "failed", "ok"]


def test_days_are_requested_once_but_for_the_newest(loads: Loads) -> None:
    [february, march] = loads.days("adjust_factors", FEBRUARY, MARCH)
    assert (march.rows, march.days, march.covered, march.note) == (DAYS_OF_MARCH * 20, DAYS_OF_MARCH, DAYS_OF_MARCH, "")
    assert len(loads.almanac.asked) == february.days + march.days
    loads.almanac.asked.clear()
    again = loads.days("adjust_factors", FEBRUARY, MARCH)
    assert [one.changed for one in again] == [False, False]
    assert [day.day for _, day in loads.almanac.asked] == [18, 19, 20]
    assert stored.covered(loads.client, ADJUST_FACTORS, Days.month(MARCH)) == {
        day for day in ashares().trading_days(Days.month(MARCH)) if day <= FRIDAY
    }


def test_a_day_is_final_only_after_its_close(loads: Loads) -> None:
    [report] = loads.days("suspensions", MARCH, now=NOW.replace(hour=10))
    assert (report.covered, report.days, report.note) == (DAYS_OF_MARCH - 1, DAYS_OF_MARCH, "not final: 2026-03-20")
    assert FRIDAY not in stored.suspensions(loads.client, Days.month(MARCH)).known
    loads.days("suspensions", MARCH)
    assert FRIDAY in stored.suspensions(loads.client, Days.month(MARCH)).known


def test_a_correction_replaces_its_day_alone(loads: Loads) -> None:
    suspended = [(SYMBOLS[0], FRIDAY, ""), (SYMBOLS[1], FRIDAY, "09:30-10:00")]
    loads.almanac.rows["suspensions", FRIDAY] = suspended
    loads.days("suspensions", MARCH)
    loads.almanac.rows["suspensions", FRIDAY] = [(SYMBOLS[2], FRIDAY, ""), suspended[1]]
    assert loads.days("suspensions", MARCH, now=NOW + ANOTHER)[0].changed
    found = stored.suspensions(loads.client, Days.month(MARCH))
    assert found.hours == {(SYMBOLS[1], FRIDAY): "09:30-10:00", (SYMBOLS[2], FRIDAY): ""}
    seen = stored.rows(loads.client, SUSPENSIONS).sort("symbol")["seen"].to_list()
    assert seen == [NOW, NOW + ANOTHER]


def due_factors(loads: Loads, month: str, now: dt.datetime, calendar: Calendar) -> list[str]:
    entries = {load.unit: load for load in ledger.entries(loads.client, "adjust_factors")}
    return status.due_months(entries, [month], now, calendar)


def test_an_empty_or_short_answer_is_not_final_and_deletes_nothing(loads: Loads) -> None:
    usual = [(symbol, FRIDAY, 1.5) for symbol in SYMBOLS]
    loads.almanac.rows["adjust_factors", FRIDAY] = usual[:2]
    assert loads.days("adjust_factors", MARCH)[0].note == "not final: 2026-03-20"
    assert due_factors(loads, MARCH, NOW, ashares()) == [MARCH]
    loads.almanac.rows["adjust_factors", FRIDAY] = usual
    assert loads.days("adjust_factors", MARCH)[0].note == ""
    assert due_factors(loads, MARCH, NOW, ashares()) == []
    for answer in ([], usual[:2]):
        loads.almanac.rows["adjust_factors", FRIDAY] = answer
        assert loads.days("adjust_factors", MARCH, refetch=True)[0].rows == DAYS_OF_MARCH * 20


def test_a_day_that_fails_is_named_and_the_others_are_loaded(loads: Loads) -> None:
    loads.almanac.failing = {FRIDAY: Outage("away")}
    [report] = loads.days("price_limits", MARCH)
    assert (report.outcome, report.covered, report.error) == ("failed", DAYS_OF_MARCH - 1, "2026-03-20: away")
    assert stored.of_days(loads.client, TABLES["price_limits"], Days(FRIDAY, FRIDAY)).is_empty()
    loads.almanac.failing.clear()
    loads.almanac.asked.clear()
    assert loads.days("price_limits", MARCH)[0].outcome == "ok"
    limits = stored.of_days(loads.client, TABLES["price_limits"], Days(FRIDAY, FRIDAY))
    assert limits.row(0)[:4] == (SYMBOLS[0], FRIDAY, 11.0, 9.0)


def test_a_table_that_is_not_offered_is_unknown_and_no_failure(loads: Loads) -> None:
    loads.almanac.failing = {"price_limits": NotOffered("almanac", "price_limits", "no permission")}
    [report] = loads.days("price_limits", MARCH)
    assert (report.outcome, report.error) == ("unsupported", None)
    assert "no permission" in report.note
    assert "MARKETDATA_REFERENCE_DIR" in report.note


def test_factors_are_a_row_for_each_change(loads: Loads) -> None:
    """An ex-dividend day on the 10th; the rows of the table are one for each day."""
    for day in ashares().trading_days(Days(dt.date(2026, 3, 10), FRIDAY)):
        loads.almanac.rows["adjust_factors", day] = [(symbol, day, 2.0) for symbol in SYMBOLS]
    loads.days("adjust_factors", FEBRUARY, MARCH)
    mine = stored.adjust_factors(loads.client, SYMBOLS[:1])
    assert mine.select("date", "adj_factor").rows() == [(dt.date(2026, 2, 2), 1.5), (dt.date(2026, 3, 10), 2.0)]
    assert stored.adjust_factors(loads.client, SYMBOLS[:1], dt.date(2026, 3, 9)).height == 1
    assert stored.adjust_factors(loads.client).height == 40
    assert stored.adjust_factors(loads.client, []).is_empty()


def test_files_need_no_provider_and_what_they_have_is_not_requested(loads: Loads) -> None:
    loads.drop("suspensions_2026-02.csv", "symbol,date\n600000.SH,2026-02-03\n")
    loads.drop("suspensions_2026-03-20.csv", "symbol,date,timing\n600001.SH,2026-03-20,09:30-10:00\n")
    loads.drop("instruments.csv", "symbol,delisted\n600000.SH,\n600001.SH,2020-01-02\n688001.SH,\n")
    loads.drop("trading_calendar.csv", "date,open\n2027-01-01,0\n2027-01-02,1\n")
    run = loads.run(provider=False)
    assert load_calendar(run).outcome == "ok"
    assert load_instruments(run)[0].rows == 3
    assert [one.status for one in stored.listings(loads.client)] == ["listed", "delisted", "listed"]
    assert stored.calendar(loads.client).known.last == dt.date(2027, 1, 2)
    [february, march] = loads.days("suspensions", FEBRUARY, MARCH, provider=False)
    assert (february.covered, march.covered) == (february.days, 1)
    assert stored.suspensions(loads.client, Days.month(FEBRUARY)).hours == {("600000.SH", dt.date(2026, 2, 3)): ""}
    [_, march] = loads.days("suspensions", FEBRUARY, MARCH)
    assert (march.covered, march.origin) == (DAYS_OF_MARCH, "files")
    assert {day.month for _, day in loads.almanac.asked} == {3}
    assert ("suspensions", FRIDAY) not in loads.almanac.asked


def test_without_any_source_it_says_what_to_do(loads: Loads) -> None:
    run = loads.run(provider=False)
    reports = [load_calendar(run), *load_instruments(run), *loads.days("price_limits", MARCH, provider=False)]
    assert {one.outcome for one in reports} == {"unsupported"}
    assert all("TUSHARE_TOKEN" in one.note and "MARKETDATA_REFERENCE_DIR" in one.note for one in reports)


BAD_FILES = (
    ("a", "symbol,date\n600000,2026-03-02\n", ":2: column 'symbol' must not be '600000': write 600000.SH"),
    ("b", "symbol,date\n1.SZ,2026-03-02\n", ":2: column 'symbol' must not be '1.SZ': write 000001.SZ"),
    ("i", "symbol,date\nSAP.DE,2026-03-02\n", ":2: column 'symbol' must not be 'SAP.DE'"),
    ("c", "symbol,date\n600000.SH,202603020\n", ":2: column 'date' must not be '202603020'"),
    ("d", "symbol,date,timing\n600000.SH,2026-03-02\n", ":2: 2 columns, expected 3"),
    (
        "e",
        'symbol,date,timing\n600000.SH,2026-03-02,"x\n600001.SH,2026-03-02,\n600002.SH,2026-03-02,x"\n',
        ":2: a quote without end",
    ),
    ("f", "symbol,date\r600000.SH,2026-03-02\r", "end with CR alone"),
    ("g", "symbol,date,date\n600000.SH,2026-03-02,2026-03-03\n", ":1: column date is there twice"),
    ("2026-03", "symbol,date\n600000.SH,2026-02-02\n", "has a row of 2026-02-02"),
    ("2026-13", "symbol,date\n", "its name has no day or month"),
    ("h", "symbol\n600000.SH\n", ":1: columns date are missing"),
)


def test_a_bad_file_is_named_with_line_and_value(loads: Loads) -> None:
    for name, text, _ in BAD_FILES:
        loads.drop(f"suspensions_{name}.csv", text)
    march, *reports = loads.days("suspensions", MARCH)
    assert march.outcome == "ok"
    assert {one.outcome for one in reports} == {"failed"}
    errors = [one.error or "" for one in reports]
    for name, _, cause in BAD_FILES:
        assert [cause in one for one in errors if f"suspensions_{name}.csv" in one] == [True], name


def test_a_number_that_is_not_finite_is_no_limit(loads: Loads) -> None:
    limits = ("nan", "inf", "-inf", "1e999")
    for number, limit in enumerate(limits):
        loads.drop(f"price_limits_[{number}].csv", f"symbol,date,up,down\n600000.SH,2026-03-02,{limit},9\n")
    march, *reports = loads.days("price_limits", MARCH)
    assert (march.outcome, {one.outcome for one in reports}) == ("ok", {"failed"})
    errors = " ".join(one.error or "" for one in reports)
    for number, limit in enumerate(limits):
        assert f"price_limits_[{number}].csv:2: column 'up' must not be '{limit}'" in errors


def test_rows_of_a_file_that_is_bad_now_stay_and_are_not_requested(loads: Loads) -> None:
    loads.drop("price_limits_a.csv", "symbol,date,up,down\n600000.SH,2026-03-02,11,9\n600001.SH,2026-03-02,12,9\n")
    loads.drop("price_limits_b.csv", "symbol,date,up,down\n600002.SH,2026-03-02,13,9\n600003.SH,2026-03-03,14,9\n")
    loads.days("price_limits", MARCH, provider=False)
    loads.drop("price_limits_b.csv", "symbol,date,up,down\n600002.SH,2026-03-02,much,9\n")
    loads.drop("price_limits_a.csv", "symbol,date,up,down\n600000.SH,2026-03-02,21,9\n600001.SH,2026-03-02,12,9\n")
    loads.days("price_limits", MARCH)
    rows = "SELECT symbol, up FROM price_limits WHERE date IN ('2026-03-02', '2026-03-03') ORDER BY symbol"
    assert [up for _, up in loads.client.query(rows).result_rows] == [21, 12, 13, 14]
    assert {dt.date(2026, 3, 2), dt.date(2026, 3, 3)}.isdisjoint(day for _, day in loads.almanac.asked)
    loads.drop("price_limits_b.csv", "symbol,date,up,down\n600003.SH,2026-03-03,24,9\n")
    loads.days("price_limits", MARCH, provider=False)
    assert [up for _, up in loads.client.query(rows).result_rows] == [21, 12, 24]


@pytest.mark.slow
def test_a_bad_file_of_a_whole_table_fails_and_the_others_are_loaded(loads: Loads) -> None:
    texts = {
        "trading_calendar": "date,open\n2027-01-0{},1\n",
        "instruments": "symbol\n60000{}.SH\n",
        "name_history": "symbol,name,first\n60000{}.SH,n,2010-01-04\n",
        "code_changes": "old,new,date\n43000{}.BJ,920017.BJ,2025-10-09\n",
    }

    def drop(name: str, *keys: str) -> None:
        for table, text in texts.items():
            head, row = text.splitlines(keepends=True)
            loads.drop(f"{table}_{name}.csv", head + "".join(row.format(key) for key in keys))

    def load() -> list[UnitReport]:
        run = loads.run(provider=False)
        reports = [load_calendar(run), *load_instruments(run)]
        assert [one.table for one in reports] == list(texts)
        return reports

    for name, key in zip("abcd", "123x", strict=True):
        drop(name, key)
    for report in load():
        assert (report.outcome, report.rows) == ("ok", 3)
        assert f"{report.table}_d.csv:2: column" in (report.error or "")
    drop("a", "x")
    assert {report.rows for report in load()} == {3}
    drop("a", "1", "4")
    for file in loads.folder.glob("*_d.csv"):
        file.unlink()
    for report in load():
        assert (report.error, loads.client.command(f"SELECT count() FROM {report.table}")) == (None, 4)


def test_without_a_readable_file_the_error_is_that_of_the_file(loads: Loads) -> None:
    loads.drop("name_history.csv", "symbol,name,first\nx,n,2010-01-04\n")
    loads.drop("price_limits.csv", "symbol,date,up,down\nx,2026-03-02,21,9\n")
    reports = [load_instruments(loads.run(provider=False))[1], *loads.days("price_limits", MARCH, provider=False)]
    assert {one.outcome for one in reports} == {"failed"}
    assert all("column 'symbol' must not be 'x'" in (one.error or "") for one in reports)


@pytest.mark.parametrize("today", [pytest.param(dt.date(2027, 1, 5), marks=pytest.mark.slow), dt.date(2027, 6, 1)])
def test_after_the_end_of_the_library_announced_days_are_exact_and_others_provisional(
    loads: Loads, today: dt.date
) -> None:
    """New Year 2027 is announced, the days after May are not."""
    loads.almanac.announced = dt.date(2027, 5, 31)
    loads.almanac.holidays = {dt.date(2027, 1, 1)}
    now = dt.datetime.combine(today, dt.time(16), ZONE)
    load_calendar(loads.run(now))
    calendar = stored.calendar(loads.client)
    assert calendar.trading_days(Days(dt.date(2026, 12, 31), dt.date(2027, 1, 4))) == [
        dt.date(2026, 12, 31),
        dt.date(2027, 1, 4),
    ]
    assert calendar.is_provisional(today) == (today.month == 6)
    month = f"{today:%Y-%m}"
    loads.almanac.rows["adjust_factors", today] = []  # a provisional day may turn out to be a holiday
    loads.days("adjust_factors", month, now=now)
    assert due_factors(loads, month, now, calendar) == ([] if calendar.is_provisional(today) else [month])


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        ("600000.SH,2026-03-02,nan", ":2: column 'adj_factor' must not be 'nan'"),
        ("600000.SH,2026-03-02,1.5\nsh600000,2026/3/2,1.6", r":2: another row has the same symbol, date"),
        ("600000.SH,2026-03-02,1.5\nsh600000,2026/3/2,1.50", ""),
    ],
)
def test_numbers_are_finite_and_a_key_has_one_row(loads: Loads, rows: str, cause: str) -> None:
    loads.drop("adjust_factors.csv", f"symbol,date,adj_factor\n{rows}\n")
    errors = [report.error for report in loads.days("adjust_factors", MARCH, provider=False) if report.error]
    assert all(cause in error for error in errors) and bool(errors) == bool(cause)
    if not cause:
        assert stored.adjust_factors(loads.client).rows() == [("600000.SH", dt.date(2026, 3, 2), 1.5)]
