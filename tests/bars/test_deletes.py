"""What a load deletes: a first load nothing, a reload with one statement for each member."""

from pathlib import Path

import psycopg
import pytest

from marketdata_assets.bars import schema
from tests.bars.bar_files import assert_exact, csv_text, deliver, line, minutes, run

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


def test_rows_that_no_file_provides_are_overwritten(plain_dsn: str, tmp_path: Path) -> None:
    with psycopg.connect(plain_dsn) as connection:
        schema.ensure(connection)
        connection.execute("INSERT INTO stock_1min_qfq (time, code, open) VALUES ('2000-06-03 09:30', '600000.SH', 3)")
    deliver_year(tmp_path, "10", 1)
    assert run(plain_dsn, tmp_path).failed == ()
    assert_exact(plain_dsn, tmp_path)
