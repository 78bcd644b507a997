"""What a load deletes: a first load nothing, a reload with one statement for each member."""

from pathlib import Path

import psycopg
import pytest

from marketdata_assets.bars import schema, status
from tests.bars.bar_files import assert_exact, csv_text, deliver, line, minutes, months, run

CODES = ("sh600000", "sz000001", "bj920001")
LATE = "2000-07-03 09:30:00"


@pytest.fixture
def counted_dsn(either_dsn: str) -> str:
    """A database with the tables of bars, which counts the statements that delete minutes."""
    with psycopg.connect(either_dsn) as connection:
        schema.ensure(connection)
        connection.execute(
            """CREATE TABLE deletes (at timestamptz);
               CREATE FUNCTION count_delete() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN INSERT INTO deletes VALUES (now()); RETURN NULL; END';
               CREATE TRIGGER counted BEFORE DELETE ON stock_1min_qfq
               FOR EACH STATEMENT EXECUTE FUNCTION count_delete()"""
        )
    return either_dsn


def deletes(dsn: str) -> int:
    """The statements since the last call."""
    with psycopg.connect(dsn) as connection:
        return connection.execute("DELETE FROM deletes").rowcount


def deliver_year(folder: Path, price: str, day: int, missing: tuple[int, ...] = ()) -> None:
    """A member of each code with a row in every month but those missing."""
    labels = [f"2000-{month:02d}-03 09:30:00" for month in range(1, 13) if month not in missing]
    members = {f"{code}_2000.csv": csv_text(line(label, code, price) for label in labels) for code in CODES}
    deliver(folder / "2000_1min.zip", members, day)


def test_a_first_load_deletes_nothing(counted_dsn: str, tmp_path: Path) -> None:
    deliver_year(tmp_path, "10", 1)
    assert run(counted_dsn, tmp_path).rows == 36
    assert deletes(counted_dsn) == 0
    assert_exact(counted_dsn, tmp_path)


def test_a_reload_deletes_with_one_statement_for_each_member(counted_dsn: str, tmp_path: Path) -> None:
    deliver_year(tmp_path, "10", 1)
    run(counted_dsn, tmp_path)
    deliver_year(tmp_path, "11", 2)
    assert run(counted_dsn, tmp_path).rows == 36
    assert deletes(counted_dsn) == len(CODES)
    assert_exact(counted_dsn, tmp_path)


def test_a_reload_keeps_the_months_of_other_files_between_its_own(counted_dsn: str, tmp_path: Path) -> None:
    deliver_year(tmp_path, "10", 1, missing=(6, 7))
    deliver(tmp_path / "b_2000.csv", csv_text(line(label) for label in minutes(LATE, 3)), 2)
    run(counted_dsn, tmp_path)
    deliver_year(tmp_path, "11", 3, missing=(6, 7))
    run(counted_dsn, tmp_path)
    assert deletes(counted_dsn) == 2 * len(CODES)
    assert_exact(counted_dsn, tmp_path)


def test_only_months_that_older_files_share_are_searched(counted_dsn: str, tmp_path: Path) -> None:
    deliver_year(tmp_path, "10", 1)
    run(counted_dsn, tmp_path)
    deliver(tmp_path / "b_2000.csv", csv_text(line(label) for label in minutes(LATE, 3)), 2)
    run(counted_dsn, tmp_path)
    assert deletes(counted_dsn) == 1
    assert_exact(counted_dsn, tmp_path)


def year(count: int, code: str = "sh600000") -> bytes:
    return csv_text(
        line(label, code) for first in ("2000-06-05", LATE[:10]) for label in minutes(f"{first} 09:31", count)
    )


@pytest.mark.parametrize(
    ("before", "after", "removed"),
    [
        (year(20), csv_text([]), {"sh600000_2000.csv": 40}),
        (year(20), year(15), {"sh600000_2000.csv": 10}),
        (year(20), b"".join(year(20).splitlines(keepends=True)[:26]), {"sh600000_2000.csv": 15}),
        (year(15), year(20), {}),
        (
            {"sh600000.csv": year(20), "sh600001.csv": year(10, "sh600001"), "sh600002.csv": year(3, "sh600002")},
            {"sh600000.csv": year(5), "sh600002.csv": year(3, "sh600002")},
            {"2000_1min.zip!sh600000.csv": 30, "2000_1min.zip!sh600001.csv": 20},
        ),
    ],
    ids=["header only", "fewer", "half written", "more", "member gone, member shorter"],
)
def test_a_delivery_that_lacks_rows_of_the_one_before_names_how_many_are_removed(
    dsn: str, tmp_path: Path, before: bytes | dict[str, bytes], after: bytes | dict[str, bytes], removed: dict[str, int]
) -> None:
    name = "2000_1min.zip" if isinstance(before, dict) else "sh600000_2000.csv"
    deliver(tmp_path / name, before, 1)
    assert [unit.removed for unit in run(dsn, tmp_path).units if unit.removed] == []
    deliver(tmp_path / name, after, 2)
    report = run(dsn, tmp_path)
    assert {unit.unit: unit.removed for unit in report.units if unit.removed} == removed
    with psycopg.connect(dsn) as connection:
        [entry] = status.file_entries(connection, tmp_path, months(2000))
    count = sum(removed.values())
    assert entry.reason == (f"removed {count} rows of the delivery before, of which it has none" if count else "")
    assert_exact(dsn, tmp_path)


def test_rows_that_no_file_provides_are_overwritten(plain_dsn: str, tmp_path: Path) -> None:
    with psycopg.connect(plain_dsn) as connection:
        schema.ensure(connection)
        connection.execute("INSERT INTO stock_1min_qfq (time, code, open) VALUES ('2000-06-03 09:30', '600000.SH', 3)")
    deliver_year(tmp_path, "10", 1)
    assert run(plain_dsn, tmp_path).failed == ()
    assert_exact(plain_dsn, tmp_path)
