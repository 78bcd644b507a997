"""The checks of reference data find what is planted and nothing else; the status and the sample say what is there."""

import datetime as dt

import pytest

from marketdata_assets.reference import checks, status, stored
from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.daily import load_days
from marketdata_assets.reference.errors import NotOffered
from marketdata_assets.reference.files import ReferenceFiles
from marketdata_assets.reference.load import Run, Sources, load_calendar, load_instruments
from marketdata_assets.reference.records import Days
from marketdata_assets.reference.tables import DAILY
from marketdata_demo import sample_reference, sample_ticks
from tests.reference.reference_runs import NOW, SYMBOLS, Loads

MARCH = "2026-03"
FRIDAY = dt.date(2026, 3, 20)


def test_calendar_differs_from_the_library_where_a_holiday_was_changed(loads: Loads) -> None:
    library = ashares()
    loads.almanac.holidays = {day for day in library.known if day.weekday() < 5} - set(library.sessions)
    load_calendar(loads.run())
    assert checks.calendar_agrees(loads.client).passed
    loads.almanac.holidays |= {FRIDAY}
    load_calendar(loads.run())
    found = checks.calendar_agrees(loads.client)
    assert (found.count, found.examples) == (1, ({"date": str(FRIDAY), "open": "False", "source": "almanac"},))


@pytest.mark.parametrize(("today", "passed"), [("2026-11-01", True), ("2026-11-02", False)])
def test_known_days_end_sixty_days_ahead(loads: Loads, today: str, passed: bool) -> None:
    """By the library, whose calendar ends with 2026, or by the announcement of the next year."""
    day = dt.date.fromisoformat(today).replace(year=ashares().known.last.year)
    assert checks.known_ahead(loads.client, day).passed == passed
    assert bool(status.known_calendar(None, day).warning) == (not passed)
    assert status.known_calendar(loads.client, day).source == "the library"
    loads.almanac.announced = ashares().known.last.replace(year=day.year + 1)
    load_calendar(loads.run(NOW.replace(year=day.year)))
    assert checks.known_ahead(loads.client, day).passed
    assert (status.known_calendar(loads.client, day).warning, status.known_calendar(loads.client, day).source) == (
        "",
        "the stored calendar",
    )


def test_instruments_and_names_that_contradict_themselves(loads: Loads) -> None:
    load_instruments(loads.run())
    assert checks.instruments_consistent(loads.client).passed
    loads.drop("instruments.csv", "symbol,listed,delisted\n600000.SH,2020-01-02,2019-01-02\n600001.SH,2020-01-02,\n")
    loads.drop("name_history.csv", "symbol,name,first,last\n600001.SH,a,2020-01-02,\n600001.SH,b,2021-01-04,\n")
    loads.client.command("TRUNCATE TABLE instruments")
    load_instruments(loads.run())
    assert [one["symbol"] for one in checks.instruments_consistent(loads.client).examples] == ["600000.SH"]
    loads.drop(
        "name_history.csv", "symbol,name,first,last\n600001.SH,a,2020-01-02,2022-01-04\n600001.SH,b,2021-01-04,\n"
    )
    load_instruments(loads.run())
    assert [one["name"] for one in checks.instruments_consistent(loads.client).examples] == ["", "a"]


def test_daily_tables_with_planted_defects(loads: Loads) -> None:
    for name in DAILY:
        loads.days(name, MARCH)
    assert all(
        check(loads.client, [MARCH]).passed
        for check in (checks.suspensions_consistent, checks.factors_monotone, checks.limits_ordered)
    )
    thursday = FRIDAY - dt.timedelta(days=1)
    loads.almanac.rows |= {
        ("suspensions", FRIDAY): [(SYMBOLS[0], FRIDAY, "morning"), (SYMBOLS[1], FRIDAY, "09:30-10:00")],
        ("adjust_factors", FRIDAY): [(one, FRIDAY, 1.4 if one == SYMBOLS[0] else 1.5) for one in SYMBOLS],
        ("price_limits", thursday): [(one, thursday, 9.0 if one == SYMBOLS[3] else 11.0, 9.0) for one in SYMBOLS],
    }
    for name in DAILY:
        loads.days(name, MARCH)
    [suspension] = checks.suspensions_consistent(loads.client, [MARCH]).examples
    [factor] = checks.factors_monotone(loads.client, [MARCH]).examples
    [limit] = checks.limits_ordered(loads.client, [MARCH]).examples
    assert (suspension["symbol"], suspension["timing"]) == (SYMBOLS[0], "morning")
    assert (factor["date"], factor["before"], factor["adj_factor"]) == (str(FRIDAY), "1.5", "1.4")
    assert (limit["symbol"], limit["date"]) == (SYMBOLS[3], str(thursday))


def test_status_says_what_is_unknown(loads: Loads) -> None:
    months = ["2026-02", MARCH, "2026-04"]
    before = {one.table: one for one in status.overview(loads.client, months, NOW)}
    assert before["trading_calendar"].newest == ashares().known.last
    assert (before["suspensions"].states, before["suspensions"].unknown_days) == ({"missing": 2}, 15 + 14)
    loads.almanac.failing = {"price_limits": NotOffered("almanac", "price_limits", "no permission")}
    load_calendar(loads.run())
    for name in DAILY:
        loads.days(name, "2026-02", MARCH, now=NOW.replace(hour=10))
    after = {one.table: one for one in status.overview(loads.client, months, NOW)}
    assert after["trading_calendar"].states == {"ok": 1}
    assert (after["adjust_factors"].states, after["adjust_factors"].unknown_days) == ({"ok": 1, "stale": 1}, 1)
    assert after["adjust_factors"].newest == FRIDAY - dt.timedelta(days=1)
    assert after["suspensions"].states == {"empty": 1, "stale": 1}
    assert after["price_limits"].states == {"unsupported": 2}


@pytest.mark.slow
def test_sample_is_consistent_and_covers_the_sample_of_ticks(loads: Loads) -> None:
    files = sample_reference.write(loads.folder, FRIDAY)
    written = {path: path.stat().st_mtime_ns for path in files}
    assert sample_reference.write(loads.folder, FRIDAY) == files
    assert {path: path.stat().st_mtime_ns for path in files} == written
    run = Run(loads.client, Sources(ReferenceFiles(loads.folder)), "run", NOW)
    assert {one.outcome for one in (load_calendar(run), *load_instruments(run))} == {"ok"}
    calendar, months = stored.calendar(loads.client), [*sample_ticks.last_months(FRIDAY), MARCH]
    reports = [one for name in DAILY for one in load_days(run, name, months, calendar=calendar)]
    assert {(one.outcome, one.days - one.covered) for one in reports} == {("ok", 0)}
    findings = [
        checks.calendar_agrees(loads.client),
        checks.known_ahead(loads.client, FRIDAY),
        checks.instruments_consistent(loads.client),
        *(
            check(loads.client, months)
            for check in (checks.suspensions_consistent, checks.factors_monotone, checks.limits_ordered)
        ),
    ]
    assert [one.passed for one in findings] == [True] * 6
    assert {one.symbol for one in stored.listings(loads.client)} == {one.symbol for one in sample_ticks.STOCKS}
    hours = stored.suspensions(loads.client, Days.month(months[1])).hours
    assert [span for span in hours.values() if not span] == [""]
