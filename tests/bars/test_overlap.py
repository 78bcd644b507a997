"""Files that hold the same minutes: the newest wins, whatever the order, the repeats and the mishaps of loading."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from marketdata_assets.bars import changes, checks, kline, schema
from marketdata_assets.flows import storage
from marketdata_assets.reconciliation import reconcile
from tests.bars.bar_files import (
    assert_exact,
    csv_text,
    deliver,
    deliver_members,
    entries,
    line,
    minutes,
    months,
    run,
    table,
)
from tests.examples import FEW


def priced(first: str, count: int, price: str, code: str = "sh600000") -> list[str]:
    return [line(label, code, price) for label in minutes(first, count)]


def old_zip(folder: Path, day: int = 1) -> None:
    rows = priced("2000-06-09 09:30:00", 10, "10") + priced("2000-07-03 09:30:00", 5, "10")
    other = priced("2000-06-09 09:30:00", 10, "20", "sz000001")
    deliver(folder / "2000_1min.zip", {"a_2000.csv": csv_text(rows), "b_2000.csv": csv_text(other)}, day)


def middle(folder: Path, day: int = 2) -> None:
    deliver(folder / "middle_2000.csv.gz", csv_text(priced("2000-06-09 09:35:00", 10, "11")), day)


def new(folder: Path, day: int = 3) -> None:
    rows = priced("2000-06-09 09:33:00", 4, "12") + priced("2000-07-03 09:31:00", 2, "12")
    both = rows + priced("2000-06-09 09:38:00", 9, "21", "sz000001")
    deliver(folder / "new_2000.csv", csv_text(both), day)


def yearless(folder: Path, day: int = 4) -> None:
    deliver(folder / "correction.csv", csv_text(priced("2000-06-09 09:36:00", 2, "13")), day)


FILES: tuple[Callable[[Path], None], ...] = (old_zip, middle, new, yearless)


def reset(dsn: str, folder: Path) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    for path in folder.iterdir():
        path.unlink()


spans = st.tuples(st.sampled_from(["06-09", "07-03"]), st.integers(0, 12), st.integers(1, 12))
names = st.sampled_from(["a_2000.csv", "b_2000.csv.gz", "c_2000.csv", "plain.csv", "2000_1min.zip"])
steps = st.lists(
    st.tuples(names, st.lists(spans, min_size=1, max_size=2), st.integers(1, 9), st.booleans()), min_size=1, max_size=5
)


@FEW
@given(history=steps)
def test_in_any_history_a_kline_that_differs_from_its_minutes_is_recorded_as_stale(
    dsn: str, tmp_path: Path, history: list[tuple[str, list[tuple[str, int, int]], int, bool]]
) -> None:
    """A delivery of day 9 cannot be read; every second load is followed by a refresh of one month."""
    reset(dsn, tmp_path)
    kline.refresh(dsn, ())
    for number, (name, parts, day, refresh) in enumerate(history):
        rows = {text[:19]: text for date, first, count in parts for text in minutes_of(date, first, count, number)}
        data = csv_text(rows[label] for label in sorted(rows)) if day < 9 else b"no header"
        deliver(tmp_path / name, {"m_2000.csv": data} if name.endswith("zip") else data, day)
        run(dsn, tmp_path)
        if refresh:
            kline.refresh(dsn, ["2000-06"])
        wrong, stale = differing_and_stale(dsn)
        assert wrong <= stale
        assert not refresh or "2000-06" not in stale
    kline.refresh(dsn, stale)
    assert differing_and_stale(dsn) == (set(), set())


def minutes_of(date: str, first: int, count: int, number: int) -> list[str]:
    return priced(f"2000-{date} 09:{30 + first}:00", count, f"{10 + number}")


def differing_and_stale(dsn: str) -> tuple[set[str], set[str]]:
    """Months whose K-line differs from the minutes, and months recorded as stale."""
    with psycopg.connect(dsn) as connection:
        found = checks.kline_equals_minutes(connection, months(2000))
        return {example["month"][:7] for example in found.examples}, set(changes.stale(connection))


def shrink(folder: Path) -> None:
    deliver(folder / "new_2000.csv", csv_text(priced("2000-06-09 09:34:00", 1, "14")), day=5)


def old_without_a_year(folder: Path) -> None:
    deliver(folder / "old.csv", csv_text(priced("2000-06-09 09:33:00", 3, "10")), day=1)


def two_older_files(folder: Path) -> None:
    deliver(folder / "a_2000.csv", csv_text(priced("2000-06-09 09:30:00", 10, "10")), day=1)
    deliver(folder / "b_2000.csv", csv_text(priced("2000-06-09 09:40:00", 10, "11")), day=2)


def over_both(folder: Path) -> None:
    deliver(folder / "new_2000.csv", csv_text(priced("2000-06-09 09:35:00", 10, "12")), day=3)


@pytest.mark.parametrize(
    "deliveries", [(old_zip, middle, new), (old_without_a_year, new), (two_older_files, over_both)]
)
def test_file_that_shrinks_gives_the_older_rows_back(
    dsn: str, tmp_path: Path, deliveries: tuple[Callable[[Path], None], ...]
) -> None:
    for write in deliveries:
        write(tmp_path)
        run(dsn, tmp_path)
    shrink(tmp_path)
    assert run(dsn, tmp_path, ["2000-06"]).failed == ()
    assert_exact(dsn, tmp_path)
    assert run(dsn, tmp_path).units == ()


def test_two_runs_at_once_end_right(dsn: str, tmp_path: Path) -> None:
    for round_number in range(2):
        for write in FILES:
            write(tmp_path)
        deliver(tmp_path / "new_2000.csv", csv_text(priced("2000-06-09 09:34:00", 1 + round_number, "15")), day=5)
        with ThreadPoolExecutor(3) as pool:
            reports = list(pool.map(lambda _: run(dsn, tmp_path), range(3)))
        assert [report.failed for report in reports] == [(), (), ()]
        run(dsn, tmp_path)
        assert_exact(dsn, tmp_path)


def test_failed_member_leaves_neighbours_loaded_and_old_rows_loaded(dsn: str, tmp_path: Path) -> None:
    old_zip(tmp_path)
    run(dsn, tmp_path)
    before = table(dsn)
    good = csv_text(priced("2000-06-09 09:30:00", 10, "30", "sz000001"))
    deliver_members(tmp_path / "2000_1min.zip", [("a_2000.csv", csv_text(["x"] * 5)), ("b_2000.csv", good)], day=2)
    (failed,) = run(dsn, tmp_path).failed
    assert failed.unit == "2000_1min.zip!a_2000.csv"
    kept = [row for row in table(dsn) if row[1] == "600000.SH"]
    assert kept == [row for row in before if row[1] == "600000.SH"]
    assert {row[3] for row in table(dsn) if row[1] == "000001.SZ"} == {30}
    entry = entries(dsn)["a_2000.csv"]
    assert (entry.outcome, entry.rows) == ("failed", 15)
    assert entry.error == failed.error
    assert entry.attempted_hash != entry.content_hash
    old_zip(tmp_path, day=3)
    assert run(dsn, tmp_path).failed == ()
    assert_exact(dsn, tmp_path)
    assert entries(dsn)["a_2000.csv"].error is None


def test_delivering_the_same_bytes_again_makes_them_the_newest(dsn: str, tmp_path: Path) -> None:
    old_zip(tmp_path, day=1)
    run(dsn, tmp_path)
    middle(tmp_path, day=2)
    run(dsn, tmp_path)
    old_zip(tmp_path, day=3)
    again = run(dsn, tmp_path)
    assert {unit.unit for unit in again.units} == {"2000_1min.zip!a_2000.csv"}
    assert_exact(dsn, tmp_path)
    assert run(dsn, tmp_path).units == ()


def test_a_new_time_on_a_file_that_overlaps_no_other_reads_nothing(dsn: str, tmp_path: Path) -> None:
    old_zip(tmp_path, day=1)
    run(dsn, tmp_path)
    old_zip(tmp_path, day=9)
    assert run(dsn, tmp_path).units == ()
    assert_exact(dsn, tmp_path)


def test_a_run_starts_beside_an_open_load(dsn: str, tmp_path: Path) -> None:
    """What exists is not created again: even `CREATE INDEX IF NOT EXISTS` waits for writers, and they for it."""
    old_zip(tmp_path)
    run(dsn, tmp_path)
    with psycopg.connect(dsn) as loading, psycopg.connect(dsn, autocommit=True) as starting:
        for (name,) in loading.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall():
            loading.execute(sql.SQL("LOCK {} IN ROW EXCLUSIVE MODE").format(sql.Identifier(name)))
        starting.execute("SET lock_timeout = '5s'")
        schema.ensure(starting)
        reconcile.ensure(starting)
        storage.ensure_books(starting)
