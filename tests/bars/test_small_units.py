"""Small units that were never loaded share a commit; whatever is special about one of them, the rows are the same."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from marketdata_assets.bars import schema
from tests.bars.bar_files import assert_exact, books_balance, csv_text, deliver, line, minutes, run

CODES = tuple(f"sh{600000 + number}" for number in range(60))
START = "2000-06-05 09:30:00"


def member(code: str, count: int = 3) -> bytes:
    return csv_text(line(label, code) for label in minutes(START, count))


def usual(codes: tuple[str, ...] = CODES) -> dict[str, bytes]:
    return {f"{code}_2000.csv": member(code) for code in codes}


def attempts(dsn: str) -> list[int]:
    """How many attempts each transaction has put on record."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT count(*) FROM marketdata_ledger_log GROUP BY xmin::text ORDER BY 1 DESC")
        return [count for (count,) in rows]


def test_units_as_usual_share_commits_of_fifty(either_dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path / "2000_1min.zip", usual(), 1)
    assert run(either_dsn, tmp_path).count("ok") == len(CODES)
    assert attempts(either_dsn) == [50, 10]
    assert_exact(either_dsn, tmp_path)
    books_balance(either_dsn)


def rejected_row(folder: Path, dsn: str) -> bytes:
    good = [line(label, CODES[0]) for label in minutes(START, 200)]
    return csv_text([*good, good[3]])


def another_file_in_the_month(folder: Path, dsn: str) -> bytes:
    deliver(folder / "a_2000.csv", member(CODES[2], 2), 5)
    run(dsn, folder)
    return member(CODES[0])


def unit_on_record(folder: Path, dsn: str) -> bytes:
    deliver(folder / "2000_1min.zip", usual(CODES[:3]), 1)
    run(dsn, folder)
    return member(CODES[0])


def two_files_of_one_code(folder: Path, dsn: str) -> bytes:
    return member(CODES[1], 2)


def unit_that_cannot_be_read(folder: Path, dsn: str) -> bytes:
    return b"no,header\n"


def empty_unit(folder: Path, dsn: str) -> bytes:
    return csv_text([])


@pytest.mark.parametrize(
    "special",
    [
        rejected_row,
        two_files_of_one_code,
        another_file_in_the_month,
        unit_that_cannot_be_read,
        empty_unit,
        unit_on_record,
    ],
)
def test_a_special_unit_is_loaded_alone_and_the_others_together(
    either_dsn: str, tmp_path: Path, special: Callable[[Path, str], bytes]
) -> None:
    first = special(tmp_path, either_dsn)
    deliver(tmp_path / "2000_1min.zip", usual() | {f"{CODES[0]}_2000.csv": first}, 3)
    report = run(either_dsn, tmp_path)
    assert len(report.failed) == (special is unit_that_cannot_be_read)
    assert max(attempts(either_dsn)) >= 40
    assert_exact(either_dsn, tmp_path)
    books_balance(either_dsn)


def test_rows_of_a_foreign_writer_send_each_unit_alone(plain_dsn: str, tmp_path: Path) -> None:
    with psycopg.connect(plain_dsn) as connection:
        schema.ensure(connection)
        connection.execute(f"INSERT INTO stock_1min_qfq (time, code, open) VALUES ('{START}', '600003.SH', 3)".encode())
    deliver(tmp_path / "2000_1min.zip", usual(CODES[:9]), 1)
    assert run(plain_dsn, tmp_path).count("ok") == 9
    assert attempts(plain_dsn) == [1] * 9
    assert_exact(plain_dsn, tmp_path)
