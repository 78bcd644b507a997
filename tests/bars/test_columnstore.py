"""Loads that TimescaleDB compresses as they are written: the same rows, no unique constraint, and no minute twice."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from marketdata_assets.bars import checks, kline
from tests.bars.bar_chunks import compress, decompress, uncompressed
from tests.bars.bar_files import assert_exact, csv_text, deliver, line, minutes, months, run, table

CODES = ("sh600000", "sz000001", "bj920001")
STARTS = tuple(f"2000-{month:02d}-05 09:30:00" for month in (5, 6, 7))


def members(price: str, codes: tuple[str, ...] = CODES, count: int = 100) -> dict[str, bytes]:
    labels = [label for start in STARTS for label in minutes(start, count)]
    return {f"{code}_2000.csv": csv_text(line(label, code, price) for label in labels) for code in codes}


def test_a_load_and_its_replacement_are_compressed_as_a_whole(columnstore_dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path / "2000_1min.zip", members("10"), 1)
    assert run(columnstore_dsn, tmp_path).rows == 900
    assert uncompressed(columnstore_dsn) == 0
    assert_exact(columnstore_dsn, tmp_path)
    deliver(tmp_path / "2000_1min.zip", members("-3"), 2)
    assert run(columnstore_dsn, tmp_path).rows == 900
    assert uncompressed(columnstore_dsn) == 0
    assert_exact(columnstore_dsn, tmp_path)
    assert run(columnstore_dsn, tmp_path).units == ()


def test_small_loads_stay_rows_until_the_policy_compresses_them(timescale_dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path / "2000_1min.zip", members("10"), 1)
    run(timescale_dsn, tmp_path)
    assert uncompressed(timescale_dsn) == 900
    assert_exact(timescale_dsn, tmp_path)


@pytest.mark.parametrize("order", ["falling", "mixed", "two codes"])
def test_rows_in_another_order_are_read_in_order(columnstore_dsn: str, tmp_path: Path, order: str) -> None:
    labels = minutes(STARTS[0], 3000)
    if order == "falling":
        rows = [line(label) for label in reversed(labels)]
    elif order == "mixed":
        rows = [line(label) for label in labels[1::2] + labels[::2]]
    else:
        rows = [line(label, code) for label in labels for code in CODES]
    deliver(tmp_path / "a_2000.csv", csv_text(rows), 1)
    run(columnstore_dsn, tmp_path)
    assert_exact(columnstore_dsn, tmp_path)
    with psycopg.connect(columnstore_dsn) as connection:
        query = "SELECT time FROM stock_1min_qfq WHERE code = '600000.SH' ORDER BY time"
        times = [str(time) for (time,) in connection.execute(query)]
    assert times == labels


def test_overlapping_files_end_in_the_same_rows(columnstore_dsn: str, tmp_path: Path) -> None:
    for day in (1, 4, 7):
        deliver(tmp_path / "2000_1min.zip", members(str(day)), day)
        run(columnstore_dsn, tmp_path)
        middle = [line(label, "sh600000", str(day + 1)) for label in minutes("2000-06-05 09:50:00", 30)]
        deliver(tmp_path / "middle_2000.csv", csv_text(middle), day + 1)
        run(columnstore_dsn, tmp_path)
        short = [line(label, "sh600000", str(day + 2)) for label in minutes("2000-06-05 10:00:00", day)]
        deliver(tmp_path / "short_2000.csv", csv_text(short), day + 2)
        run(columnstore_dsn, tmp_path)
        assert_exact(columnstore_dsn, tmp_path)
    assert run(columnstore_dsn, tmp_path).units == ()


@pytest.mark.parametrize("between", [decompress, compress])
def test_chunks_that_a_person_changed_take_the_next_load(
    columnstore_dsn: str, tmp_path: Path, between: Callable[[str], None]
) -> None:
    deliver(tmp_path / "2000_1min.zip", members("10"), 1)
    run(columnstore_dsn, tmp_path)
    between(columnstore_dsn)
    deliver(tmp_path / "2000_1min.zip", members("11", count=60), 2)
    run(columnstore_dsn, tmp_path)
    assert_exact(columnstore_dsn, tmp_path)


def test_loads_at_once_end_as_one_after_another(columnstore_dsn: str, tmp_path: Path) -> None:
    """New chunks, and then compressed ones, are written by two loads of the same codes while another one compresses."""
    for day in (1, 2):
        deliver(tmp_path / "2000_1min.zip", members(str(day)), day)
        deliver(tmp_path / "b_2000.csv", csv_text(line(label, CODES[1]) for label in minutes(STARTS[1], 50)), day + 5)
        with ThreadPoolExecutor(3) as pool:
            compressing = pool.submit(compress, columnstore_dsn) if day == 2 else None
            reports = list(pool.map(lambda _: run(columnstore_dsn, tmp_path), range(2)))
            if compressing:
                compressing.exception()  # the loser of a deadlock; the loads must end right
        assert [report.failed for report in reports] == [(), ()]
        run(columnstore_dsn, tmp_path)
        assert_exact(columnstore_dsn, tmp_path)


def test_a_reader_sees_one_price_base_without_a_hole(columnstore_dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path / "2000_1min.zip", members("1", CODES[:1]), 1)
    run(columnstore_dsn, tmp_path)
    seen: set[tuple[int, int]] = set()
    started, done = threading.Event(), threading.Event()

    def read() -> None:
        query = "SELECT count(*), count(DISTINCT open) FROM stock_1min_qfq WHERE code = '600000.SH'"
        with psycopg.connect(columnstore_dsn, autocommit=True) as connection:
            while not done.is_set():
                seen.update(connection.execute(query).fetchall())
                started.set()

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        started.wait(60)
        for day in range(2, 8):
            deliver(tmp_path / "2000_1min.zip", members(str(day), CODES[:1]), day)
            run(columnstore_dsn, tmp_path)
        done.set()
        reader.result()
    assert seen == {(300, 1)}


def test_minutes_of_a_foreign_writer_are_found_and_overwritten(columnstore_dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path / "2000_1min.zip", members("10"), 1)
    run(columnstore_dsn, tmp_path)
    with psycopg.connect(columnstore_dsn) as connection:
        assert checks.every_row_accounted(connection, months(2000)).count == 0
        connection.execute(
            """INSERT INTO stock_1min_qfq (time, code, open) SELECT time, code, 9 FROM stock_1min_qfq
               WHERE code = '600000.SH' AND time = '2000-06-05 09:31'"""
        )
        connection.commit()
        found = checks.every_row_accounted(connection, months(2000))
        assert {"place": "600000.SH 2000-06", "expected": "100", "found": "101"} in found.examples
    run(columnstore_dsn, tmp_path, force=True)
    assert_exact(columnstore_dsn, tmp_path)


def test_the_kline_follows_compressed_loads(columnstore_dsn: str, tmp_path: Path) -> None:
    for day in (1, 2):
        deliver(tmp_path / "2000_1min.zip", members(str(day)), day)
        run(columnstore_dsn, tmp_path)
        kline.refresh(columnstore_dsn, months(2000))
        with psycopg.connect(columnstore_dsn) as connection:
            assert checks.kline_equals_minutes(connection, months(2000)).count == 0
            assert connection.execute("SELECT DISTINCT open FROM stock_monthly_kline").fetchall() == [(day,)]


def test_a_plain_server_keeps_the_constraint(plain_dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path / "2000_1min.zip", members("10"), 1)
    assert not run(plain_dsn, tmp_path).server.columnstore
    rows = table(plain_dsn)
    with psycopg.connect(plain_dsn) as connection, pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute("INSERT INTO stock_1min_qfq SELECT * FROM stock_1min_qfq LIMIT 1")
    assert table(plain_dsn) == rows
