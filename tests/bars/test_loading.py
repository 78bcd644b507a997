"""Delivered files into a real table: what lands, what is skipped, what a re-delivery replaces."""

import datetime as dt
import zipfile
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest

from marketdata_assets.bars import checks
from marketdata_assets.bars.rules import Label
from marketdata_assets.bars.schema import ensure
from marketdata_assets.stores import ledger
from marketdata_demo.sample_bars import csv_bytes, stock_year
from tests.bars.bar_files import (
    assert_exact,
    books_balance,
    csv_text,
    deliver,
    entries,
    line,
    minutes,
    months,
    run,
    table,
)

STOCKS = (("sh600001", "示例银行"), ("bj920001", "试验材料"), ("sz301001", "范例软件"))
DAYS = [dt.date(2000, 1, 31), dt.date(2000, 2, 1), dt.date(2000, 12, 29)]


def year_zip(folder: Path, day: int = 1, dividend: float = 0.0, stocks: int = 3, days: list[dt.date] = DAYS) -> Path:
    members = {
        f"{code}_2000.csv": csv_bytes(stock_year(code, name, days, 7, dividend)) for code, name in STOCKS[:stocks]
    }
    return deliver(folder / "2000_1min.zip", members, day)


def test_fresh_load_equals_a_plain_reading(either_dsn: str, tmp_path: Path) -> None:
    year_zip(tmp_path)
    report = run(either_dsn, tmp_path, workers=2)
    assert (report.rows, report.rejected, report.count("ok"), report.failed) == (3 * 3 * 241, 0, 3, ())
    assert report.loaded_months == ("2000-01", "2000-02", "2000-12")
    assert_exact(either_dsn, tmp_path)


def test_only_months_asked_for_land(dsn: str, tmp_path: Path) -> None:
    year_zip(tmp_path)
    assert run(dsn, tmp_path, ["2000-02", "1999-02"]).rows == 3 * 241
    assert_exact(dsn, tmp_path, ["2000-02"])
    again = run(dsn, tmp_path, ["2000-01", "2000-02"])
    assert (again.rows, again.loaded_months) == (3 * 241, ("2000-01",))
    assert_exact(dsn, tmp_path, ["2000-01", "2000-02"])


def test_second_run_reads_nothing(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    year_zip(tmp_path)
    run(dsn, tmp_path)
    before = entries(dsn)

    def read(*_: object) -> None:
        raise AssertionError("a member was opened")

    monkeypatch.setattr(zipfile.ZipFile, "open", read)
    report = run(dsn, tmp_path)
    assert (report.units, report.unchanged, report.rows) == ((), 3, 0)
    assert entries(dsn) == before


def test_month_without_rows_is_loaded_once(dsn: str, tmp_path: Path) -> None:
    year_zip(tmp_path)
    run(dsn, tmp_path, ["2000-05"])
    assert table(dsn) == []
    assert run(dsn, tmp_path, ["2000-05"]).unchanged == 3


def test_force_loads_again_and_changes_nothing(either_dsn: str, tmp_path: Path) -> None:
    year_zip(tmp_path)
    run(either_dsn, tmp_path)
    report = run(either_dsn, tmp_path, ["2000-02"], force=True)
    assert (report.count("ok"), report.rows) == (3, 3 * 241)
    assert_exact(either_dsn, tmp_path)


def test_dividend_rebases_every_loaded_month_also_those_not_asked_for(either_dsn: str, tmp_path: Path) -> None:
    year_zip(tmp_path)
    run(either_dsn, tmp_path, ["2000-01", "2000-02"])
    old = entries(either_dsn)
    year_zip(tmp_path, day=2, dividend=12.5)
    report = run(either_dsn, tmp_path, ["2000-02"])
    assert report.loaded_months == ("2000-01", "2000-02")
    assert_exact(either_dsn, tmp_path, ["2000-01", "2000-02"])
    assert min(row[6] for row in table(either_dsn) if row[6] is not None) < 0
    for unit, entry in entries(either_dsn).items():
        assert entry.previous_hash == old[unit].content_hash
        assert entry.content_hash not in (None, old[unit].content_hash)
        assert entry.slices == ["2000-01", "2000-02"]


def test_rows_and_members_that_vanished_are_gone(dsn: str, tmp_path: Path) -> None:
    year_zip(tmp_path)
    run(dsn, tmp_path)
    year_zip(tmp_path, day=2, stocks=2, days=DAYS[1:2])
    report = run(dsn, tmp_path, ["2000-12"])
    assert report.count("removed") == 1
    assert report.loaded_months == ("2000-01", "2000-02", "2000-12")
    assert_exact(dsn, tmp_path)
    gone = entries(dsn)["sz301001_2000.csv"]
    assert (gone.outcome, gone.content_hash, gone.rows, gone.slices) == ("removed", None, 0, [])
    assert gone.previous_hash is not None
    assert run(dsn, tmp_path).units == ()
    year_zip(tmp_path, day=3)
    run(dsn, tmp_path)
    assert_exact(dsn, tmp_path)


@pytest.mark.parametrize("name", ["sh600000_2000.csv.gz", "part/any name.CSV"])
def test_loose_file_is_loaded(dsn: str, tmp_path: Path, name: str) -> None:
    data = csv_text(map(line, minutes("2000-06-09 09:30:00", 30)))
    deliver(tmp_path / name, data)
    assert run(dsn, tmp_path).rows == 30
    books_balance(dsn)
    assert len(table(dsn)) == 30
    assert run(dsn, tmp_path).units == ()
    deliver(tmp_path / name, csv_text(map(line, minutes("2000-06-09 09:35:00", 10))), day=2)
    run(dsn, tmp_path)
    assert [row[0].minute for row in table(dsn)] == list(range(35, 45))
    books_balance(dsn)


def test_file_without_a_year_is_loaded_whole_when_one_of_its_months_is_asked_for(dsn: str, tmp_path: Path) -> None:
    labels = [*minutes("1999-12-31 14:00:00", 5), *minutes("2000-01-04 09:30:00", 5)]
    deliver(tmp_path / "sh600000.csv", csv_text(map(line, labels)))
    assert run(dsn, tmp_path, ["2000-02"]).units == ()
    report = run(dsn, tmp_path, ["2000-01"])
    assert report.loaded_months == ("1999-12", "2000-01")
    assert_exact(dsn, tmp_path)
    assert run(dsn, tmp_path, ["1999-12", "2000-01"]).units == ()


def test_file_without_a_year_and_with_a_rejected_month_is_loaded_once(dsn: str, tmp_path: Path) -> None:
    rows = [line(label) for label in minutes("2000-01-04 09:30:00", 200)]
    rows.insert(9, line("2000-03-01 09:30:00", volume="1.5"))
    deliver(tmp_path / "sh600000.csv", csv_text(rows))
    assert run(dsn, tmp_path).rejected == 1
    assert run(dsn, tmp_path).units == ()


def test_every_row_lands_or_is_in_quarantine_with_its_place(dsn: str, tmp_path: Path) -> None:
    rows = [line(label) for label in minutes("2000-06-09 09:30:00", 400)]
    rows[3] = line("2000-06-09 09:33:00", volume="1.5")
    rows[250] = "a,b"
    rows[399] = line("2000-06-09 09:30:00", price="11")
    deliver(tmp_path / "2000_1min.zip", {"sh600000_2000.csv": csv_text(rows)})
    report = run(dsn, tmp_path)
    assert (report.rows, report.rejected) == (397, 3)
    books_balance(dsn)
    with psycopg.connect(dsn) as connection:
        found = ledger.quarantined(connection, "stock_1min_qfq")
    place = "2000_1min.zip!sh600000_2000.csv"
    assert [(q.place, q.reason, q.raw, q.slice) for q in found] == [
        (f"{place}:5", "volume 1.5 is not whole", rows[3], "2000-06"),
        (f"{place}:252", "2 columns, expected 11", "a,b", None),
        (
            f"{place}:401",
            "duplicate key sh600000 2000-06-09 09:30:00, first seen earlier in this file",
            rows[399],
            "2000-06",
        ),
    ]
    (entry,) = entries(dsn).values()
    assert (entry.read, entry.rows, entry.rejected) == (400, 397, 3)
    deliver(tmp_path / "2000_1min.zip", {"sh600000_2000.csv": csv_text(rows[:3])}, day=2)
    run(dsn, tmp_path)
    assert_exact(dsn, tmp_path)


def test_bytes_that_text_columns_cannot_hold_are_kept_written_out(dsn: str, tmp_path: Path) -> None:
    data = csv_text(line(label) for label in minutes("2000-06-09 09:30:00", 400))
    good = line("2000-06-09 16:30:00").encode()
    data += (
        good.replace(b",5,", b"\0,\xff,") + b"\n" + good.replace(b":00,", b":00\0,", 1).replace(b",5,", b",-5,") + b"\n"
    )
    deliver(tmp_path / "sh600000_2000.csv", data)
    assert run(dsn, tmp_path).failed == ()
    books_balance(dsn)
    with psycopg.connect(dsn) as connection:
        first, second = ledger.quarantined(connection, "stock_1min_qfq")
    assert (first.reason, second.reason) == ("not UTF-8", r"time '2000-06-09 16:30:00\x00' is not a time")
    assert "\\0,\\xff," in first.raw
    assert "\\0" in second.raw


@pytest.mark.parametrize(("bad", "landed"), [(2, 198), (3, 0)])
def test_over_the_limit_nothing_is_loaded(dsn: str, tmp_path: Path, bad: int, landed: int) -> None:
    rows = [line(label) for label in minutes("2000-06-09 09:30:00", 200 - bad)] + ["x"] * bad
    deliver(tmp_path / "sh600000_2000.csv", csv_text(rows))
    report = run(dsn, tmp_path)
    assert (len(table(dsn)), bool(report.failed)) == (landed, not landed)
    books_balance(dsn)
    if not landed:
        (failed,) = report.failed
        assert "sh600000_2000.csv: 3 of 200 rows rejected" in (failed.error or "")
        assert "line 199: 1 columns, expected 11" in (failed.error or "")
        assert report.failed_months == tuple(months(2000))


def test_server_is_looked_at_as_it_is(either_dsn: str, request: pytest.FixtureRequest) -> None:
    with psycopg.connect(either_dsn) as connection:
        server = ensure(connection)
        assert ensure(connection) == server
    assert server.aggregates is ("continuous" in request.node.name)


def test_the_first_rejected_rows_of_a_file_that_is_rejected_as_a_whole_are_in_quarantine(
    dsn: str, tmp_path: Path
) -> None:
    good = [line(label) for label in minutes("2000-06-09 09:30:00", 100)]
    bad = [line(label, price="nan").replace("NaN", "1") for label in minutes("2000-06-09 13:00:00", 30)]
    path = deliver(tmp_path / "sh600000_2000.csv", csv_text([*good, *bad]))
    [failed] = run(dsn, tmp_path).failed
    assert "30 of 130 rows rejected" in (failed.error or "")
    with psycopg.connect(dsn) as connection:
        rows = ledger.quarantined(connection, "stock_1min_qfq")
    assert [row.place for row in rows] == [f"sh600000_2000.csv:{number}" for number in range(102, 122)]
    assert [row.raw for row in rows] == bad[:20]
    assert {row.slice for row in rows} == {"2000-06"}
    *others, last = [row.reason for row in rows]
    assert set(others) == {"open nan is out of range"}
    assert last == "open nan is out of range; 10 more rejected rows of this file are not listed"
    assert table(dsn) == []
    books_balance(dsn)
    deliver(path, csv_text([*good, bad[0]]), day=2)
    run(dsn, tmp_path)
    with psycopg.connect(dsn) as connection:
        assert [row.line for row in ledger.quarantined(connection, "stock_1min_qfq")] == [102]
    books_balance(dsn)


def test_a_redelivery_that_is_rejected_shows_its_rows_and_the_check_is_not_confused(dsn: str, tmp_path: Path) -> None:
    good = [line(label) for label in minutes("2000-06-09 09:30:00", 200)]
    path = deliver(tmp_path / "sh600000_2000.csv", csv_text([*good, good[3]]))
    run(dsn, tmp_path)
    deliver(path, csv_text([*good[:9], *["junk"] * 2000]), day=2)
    assert len(run(dsn, tmp_path).failed) == 1
    assert len(table(dsn)) == 200
    with psycopg.connect(dsn) as connection:
        rows = ledger.quarantined(connection, "stock_1min_qfq")
        assert checks.every_row_accounted(connection, ["2000-06"]).passed
    assert (len(rows), rows[0].raw) == (20, "junk")
    assert "at least 981 more" in rows[-1].reason or "1980 more" in rows[-1].reason
    books_balance(dsn)


def started(data: bytes, drop: Sequence[str] = ()) -> bytes:
    """The sample's bars labelled by the start of their minute, without the opening auction."""
    head, *rows = data.decode("utf-8-sig").splitlines()
    rows = [row for row in rows if " 09:30:00" not in row]
    early = [f"{dt.datetime.fromisoformat(row[:19]) - dt.timedelta(minutes=1)}{row[19:]}" for row in rows]
    return csv_text([row for row in early if row[11:16] not in drop], head)


def clocks(dsn: str) -> tuple[int, str, str]:
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT count(*), min(time::time)::text, max(time::time)::text FROM stock_1min_qfq")
        row = found.fetchone()
    assert row is not None
    return row


QUIET = [f"10:{minute:02d}" for minute in range(60)]


@pytest.mark.parametrize("drop", [(), QUIET, ("14:57", "14:58", "14:59")], ids=["whole", "quiet", "auction"])
def test_bars_labelled_by_their_start_fail_and_load_as_declared(dsn: str, tmp_path: Path, drop: Sequence[str]) -> None:
    data = started(csv_bytes(stock_year("sh600001", "示例银行", DAYS, 7)), drop)
    deliver(tmp_path / "2000_1min.zip", {"sh600001_2000.csv": data})
    [failed] = run(dsn, tmp_path).failed
    assert "2000-01-31 has a bar of 13:00 and none of 11:30 or 15:00" in (failed.error or "")
    assert "Set MARKETDATA_BARS_LABEL=start" in (failed.error or "")
    assert table(dsn) == []
    assert run(dsn, tmp_path, label="start").failed == ()
    last = "14:57:00" if drop and drop != QUIET else "15:00:00"
    assert clocks(dsn) == (3 * (240 - len(drop)), "09:31:00", last)
    books_balance(dsn)


def test_bars_labelled_by_their_end_are_not_converted(dsn: str, tmp_path: Path) -> None:
    year_zip(tmp_path)
    failed = run(dsn, tmp_path, label="start").failed
    assert len(failed) == 3
    assert "Set MARKETDATA_BARS_LABEL=end" in (failed[0].error or "")
    assert run(dsn, tmp_path).failed == ()


@pytest.mark.parametrize(
    "labels",
    [
        [*minutes("2000-01-31 09:31:00", 119), "2000-01-31 13:00:00", *minutes("2000-01-31 13:01:00", 120)],
        minutes("2000-01-31 13:00:00", 20),
        [label for label in minutes("2000-01-31 09:30:00", 331) if not "11:30:00" < label[11:] < "13:01:00"][::7],
        minutes("2000-01-31 11:00:00", 240),
    ],
    ids=["11:30 as 13:00", "a few minutes", "a thin day", "minutes through the break"],
)
@pytest.mark.parametrize("label", ["end", "start"])
def test_days_that_do_not_say_how_they_are_labelled_load_as_declared(
    dsn: str, tmp_path: Path, labels: list[str], label: Label
) -> None:
    deliver(tmp_path / "sh600000_2000.csv", csv_text(map(line, labels)))
    assert run(dsn, tmp_path, label=label).failed == ()
    first = dt.datetime.fromisoformat(labels[0]) + dt.timedelta(minutes=label == "start")
    assert clocks(dsn)[:2] == (len(labels), f"{first:%H:%M:%S}")
