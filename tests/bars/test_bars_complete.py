"""A complete year raises no alarm, and each hole is named: with reference data, and as far as it can be without."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import psycopg
import pytest

from marketdata_assets.bars import completeness
from marketdata_assets.bars.completeness import bars_complete
from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.completeness import Reference, gaps
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_demo import sample_bars
from tests.bars.bar_files import csv_text, deliver, line, run
from tests.bars.market_year import DAYS, MONTHS, YEAR, Cells, Market, clean_year, usual

Gap = tuple[str, str, dt.date, dt.date]


@pytest.fixture(scope="module")
def year() -> Market:
    return clean_year()


def check(connection: psycopg.Connection, market: Market, *months: str, known: bool = True) -> Finding:
    market.write(connection)
    return bars_complete(connection, months or MONTHS, market.reference if known else Reference())


def named(connection: psycopg.Connection, market: Market, known: bool = True) -> set[Gap]:
    """All gaps: symbol, cause, first and last day."""
    market.write(connection)
    reference = market.reference if known else Reference()
    stocks, _ = completeness.expected_stocks(connection, reference)
    [judged] = completeness.judged(connection, MONTHS, reference, stocks)
    return set(gaps(judged, ashares()).select("symbol", "cause", "first", "last").iter_rows())


def of_month(month: int) -> list[dt.date]:
    return [day for day in DAYS if day.month == month]


def always(market: Market) -> list[str]:
    """Stocks that trade on every day of the year."""
    return [symbol for symbol in market.reference.listings if len(market.days_of(symbol)) == len(DAYS)]


def test_a_clean_year_raises_no_alarm(connection: psycopg.Connection, year: Market) -> None:
    found = check(connection, year)
    assert (found.count, found.examples, found.left_out) == (0, (), 0)
    assert found.facts["days_suspended"] == year.reference.suspensions.frame.height > 300
    assert found.checked == len(year.cells) + found.facts["days_suspended"]


def test_without_reference_data_suspensions_are_silent_days_and_no_alarm(
    connection: psycopg.Connection, year: Market
) -> None:
    found = check(connection, year, known=False)
    assert found.count == 0
    assert found.facts["days_silent"] == year.reference.suspensions.frame.height
    notes = {example.get("note") for example in found.examples}
    assert notes == {"nothing; suspended, or missing", "unknown: when stocks were listed", "unknown: suspensions"}


def planted(year: Market) -> tuple[Market, set[Gap]]:
    """The year without a minute, an afternoon, a day, a month and a stock, and what is to be found."""
    minute, afternoon, day, month, stock = always(year)[3:8]
    june, date = of_month(6), dt.date(YEAR, 3, 6)
    market = year.with_bars({(minute, date): usual(minute, date) - 1, (afternoon, date): 121})
    market = market.without((day, date), *((month, one) for one in june), *((stock, one) for one in DAYS))
    return market, {
        (minute, "minutes", date, date),
        (afternoon, "minutes", date, date),
        (day, "day", date, date),
        (month, "day", june[0], june[-1]),
        (stock, "day", DAYS[0], DAYS[-1]),
    }


def test_planted_holes_are_all_named(connection: psycopg.Connection, year: Market) -> None:
    market, holes = planted(year)
    assert named(connection, market) == holes
    found = bars_complete(connection, MONTHS, market.reference)
    assert found.count == 2 + 1 + len(of_month(6)) + len(DAYS)
    assert {(one["symbol"], one["first"], one["last"]) for one in found.examples} == {
        (symbol, str(first), str(last)) for symbol, _, first, last in holes
    }
    [minute] = [one for one in found.examples if one["want"] - one["have"] == 1]
    assert minute["have"] in (238, 239, 240)


def test_without_reference_data_whole_days_are_named_as_advice(connection: psycopg.Connection, year: Market) -> None:
    market, holes = planted(year)
    silent = {(symbol, "silent", first, last) for symbol, cause, first, last in holes if cause == "day"}
    missing = {one for one in silent if one[3] != DAYS[-1]}
    assert missing <= named(connection, market, known=False)
    found = bars_complete(connection, MONTHS, Reference())
    assert found.count == 2  # the minute and the afternoon; of a stock without any bar nothing is known


def test_half_of_a_month_and_the_afternoons_of_another_are_missing_everywhere(
    connection: psycopg.Connection, year: Market
) -> None:
    march, may = [day for day in of_month(3) if day.day > 15], of_month(5)
    afternoons: Cells = {place: 121 for place in year.cells if place[1] in may}
    market = year.with_bars(afternoons).without(*(place for place in year.cells if place[1] in march))
    market.write(connection)
    for reference in (market.reference, Reference()):
        for months in (MONTHS, ("2024-03", "2024-05")):
            found = bars_complete(connection, months, reference)
            assert found.facts["days_with_many_silent"] == len(march)
            assert found.facts["days_with_holes"] == len(afternoons)
    assert bars_complete(connection, ["2024-04"], market.reference).passed
    assert not bars_complete(connection, ["2024-05"], market.reference).passed


def test_the_share_of_silent_symbols_of_a_day_is_bounded(connection: psycopg.Connection, year: Market) -> None:
    """Of 7, 27 and 47 silent stocks of 200 on three days, only the last are too many."""
    days = zip(of_month(7), (7, 27, 47), strict=False)
    market = year.without(*((symbol, day) for day, silent in days for symbol in always(year)[:silent]))
    assert check(connection, market, "2024-07", known=False).facts["days_with_many_silent"] == 1


def test_bars_of_each_minute_that_had_trades_are_not_judged(connection: psycopg.Connection, year: Market) -> None:
    market = year.with_bars({place: 100 + number % 97 for number, place in enumerate(year.cells)})
    found = check(connection, market)
    assert found.count == 0
    assert found.left_out == len(year.cells)


def test_a_vendor_without_an_exchange_is_not_asked_for_it(connection: psycopg.Connection, year: Market) -> None:
    assert check(connection, year.without(*(place for place in year.cells if place[0].endswith("BJ")))).passed


def test_a_selection_of_stocks_is_no_market(connection: psycopg.Connection, year: Market) -> None:
    selected = set(always(year)[:50])
    found = check(connection, year.without(*(place for place in year.cells if place[0] not in selected)))
    assert (found.count, found.checked) == (0, 50 * len(DAYS))
    note = {"note": "unknown: whether files should have 150 listed stocks of which none has a bar"}
    assert found.examples == (note,)


def test_what_was_not_loaded_is_not_judged(connection: psycopg.Connection, year: Market) -> None:
    market = year.without(
        *(place for place in year.cells if not dt.date(YEAR, 2, 5) <= place[1] <= dt.date(YEAR, 9, 9))
    )
    found = check(connection, market)
    assert found.count == 0
    assert found.facts["days_missing"] == 0


def test_an_intraday_suspension_excuses_the_day(connection: psycopg.Connection, year: Market) -> None:
    day, symbol = dt.date(YEAR, 4, 2), always(year)[0]
    frame = year.reference.suspensions.frame
    halt = pl.DataFrame([(symbol, day, "09:30-10:30")], frame.schema, orient="row")
    suspensions = replace(year.reference.suspensions, frame=pl.concat([frame, halt]))
    market = replace(year, reference=replace(year.reference, suspensions=suspensions))
    assert check(connection, market.with_bars({(symbol, day): 180}), "2024-04").passed


def test_a_stock_that_got_another_code_is_one_stock(connection: psycopg.Connection, year: Market) -> None:
    new = next(symbol for symbol in always(year) if symbol.endswith("BJ"))
    old, date = "830001.BJ", dt.date(YEAR, 10, 8)
    cells = {(old if symbol == new and day < date else symbol, day): bars for (symbol, day), bars in year.cells.items()}
    market = Market(cells, replace(year.reference, renamed={old: new}))
    assert check(connection, market).passed
    assert not bars_complete(connection, MONTHS, year.reference).passed


def test_a_delisted_stock_may_be_silent_before_its_end(connection: psycopg.Connection, year: Market) -> None:
    symbol = next(one.symbol for one in year.reference.listings.values() if one.delisted)
    last = year.days_of(symbol)[-5:]
    found = check(connection, year.without(*((symbol, day) for day in last)))
    assert (found.count, found.facts["days_silent"]) == (0, 5)


def test_holes_in_files_are_named_with_their_minutes(connection: psycopg.Connection, dsn: str, tmp_path: Path) -> None:
    """March and April of four stocks, one without a minute and one without the afternoons of a week."""
    trading = [day for day in DAYS if day.month in (3, 4)]
    week = [str(day) for day in trading[10:15]]
    members = {}
    for number in range(4):
        code = f"sh60000{number}"
        frame = sample_bars.stock_year(code, "示例", trading, 7)
        time = pl.col("时间")
        if number == 1:
            frame = frame.filter(time != "2024-03-06 10:31:00")
        if number == 2:
            frame = frame.filter(~(time.str.slice(0, 10).is_in(week) & (time.str.slice(11) > "12")))
        members[f"{code}_2024.csv"] = sample_bars.csv_bytes(frame)
    deliver(tmp_path / "2024_1min.zip", members)
    run(dsn, tmp_path, MONTHS)
    found = bars_complete(connection, MONTHS, Reference())
    names = ("symbol", "first", "last", "days", "have", "want")
    afternoons, minute, *_ = found.examples
    assert [afternoons[name] for name in names] == ["600002.SH", week[0], week[-1], 5, 5 * 121, 5 * 241]
    assert [minute[name] for name in names] == ["600001.SH", "2024-03-06", "2024-03-06", 1, 240, 241]
    assert minute["minutes"] == "10:31"
    assert (found.count, found.facts["minutes_missing"]) == (6, 5 * 120 + 1)


def test_nothing_loaded_is_nothing_to_object_to(connection: psycopg.Connection) -> None:
    assert bars_complete(connection, MONTHS, Reference()).checked == 0


def moved(data: bytes, hours: int, days: Sequence[dt.date]) -> bytes:
    """The file's bars of some days by so many hours later."""
    head, *rows = data.decode("utf-8-sig").splitlines()
    found = []
    for row in rows:
        time = dt.datetime.fromisoformat(row[:19])
        found.append(f"{time + dt.timedelta(hours=hours * (time.date() in days))}{row[19:]}")
    return csv_text(found, head)


@pytest.mark.parametrize(("known", "out"), [(True, 1), (False, 3)])
def test_days_whose_bars_are_all_outside_the_session_are_named(
    connection: psycopg.Connection, dsn: str, tmp_path: Path, year: Market, known: bool, out: int
) -> None:
    trading = of_month(3)[:3]
    good, shifted = (sample_bars.csv_bytes(sample_bars.stock_year(f"sh60000{n}", "示例", trading, 7)) for n in (0, 1))
    deliver(tmp_path / "2024_1min.zip", {"sh600000_2024.csv": good})
    run(dsn, tmp_path, MONTHS)
    assert bars_complete(connection, ["2024-03"], Reference()).passed
    deliver(tmp_path / "sh600001_2024.csv", moved(shifted, -8, trading[:out]))
    run(dsn, tmp_path, MONTHS)
    found = bars_complete(connection, ["2024-03"], year.reference if known else Reference())
    assert found.facts["days_outside_session"] == out
    assert found.count >= out
    example = found.examples[0]
    assert [example[name] for name in ("file", "symbol", "first", "last", "days")] == [
        "sh600001_2024.csv", "600001.SH", str(trading[0]), str(trading[out - 1]), out,
    ]  # fmt: skip
    assert f"{out * 241} bars from 01:30 to 07:00, none from 09:30 to 15:00" in example["note"]
    assert bars_complete(connection, ["2024-04"], Reference()).passed


@pytest.mark.parametrize("stored", [False, True])
def test_bars_of_days_on_which_the_exchange_is_closed_are_facts_and_no_objection(
    stored: bool, connection: psycopg.Connection, dsn: str, tmp_path: Path
) -> None:
    """By the library as far as it is known, which the stored calendar corrects; no row is dropped."""
    holiday, saturday = dt.date(2024, 1, 1), dt.date(2024, 1, 6)
    days = [holiday, dt.date(2024, 1, 2), saturday]
    head, *bars = sample_bars.csv_bytes(sample_bars.stock_year("sh600000", "示例", days[:1], 7)).splitlines(True)
    lines = [bar.replace(str(holiday).encode(), str(day).encode()) for day in days for bar in bars]
    deliver(tmp_path / "sh600000.csv", head + b"".join(lines))
    assert run(dsn, tmp_path, ["2024-01"]).rows == 3 * 241
    calendar = ashares().corrected([(holiday, True)] if stored else [])
    without = Reference(replace(calendar, sessions=tuple(sorted({*calendar.sessions, holiday, saturday}))))
    facts = {**bars_complete(connection, ["2024-01"], Reference(calendar)).facts}
    expected = [saturday] if stored else [holiday, saturday]
    assert facts["days_closed"] == len(expected)
    named = ", ".join(f"{day} (1 codes, such as 600000.SH of sh600000.csv)" for day in expected)
    assert facts["closed_days_with_bars"] == named
    assert bars_complete(connection, ["2024-01"], without).facts.get("days_closed") is None


def test_bars_at_midnight_of_every_day_are_daily_bars(connection: psycopg.Connection, dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path / "sh600000_2024.csv", csv_text(line(f"{day} 00:00:00") for day in of_month(3)))
    run(dsn, tmp_path, MONTHS)
    found = bars_complete(connection, ["2024-03"], Reference())
    assert (found.passed, found.facts["days_outside_session"]) == (False, len(of_month(3)))


def test_bars_after_the_close_beside_a_whole_session_are_no_objection(
    connection: psycopg.Connection, dsn: str, tmp_path: Path
) -> None:
    data = sample_bars.csv_bytes(sample_bars.stock_year("sh688001", "示例", of_month(3)[:2], 7))
    after = "".join(f"{line(f'{day} 15:{minute}:00', 'sh688001')}\n" for day in of_month(3)[:2] for minute in (6, 30))
    deliver(tmp_path / "sh688001_2024.csv", data + after.replace(" 15:6:", " 15:06:").encode())
    run(dsn, tmp_path, MONTHS)
    assert bars_complete(connection, ["2024-03"], Reference()).passed
