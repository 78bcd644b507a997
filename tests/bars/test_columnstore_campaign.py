"""Compressed loads while everything happens at once: kills, a second loader, the policies, decompressions by hand.

Whatever the outcome of each, the next load leaves the rows of one sequential pass, and the K-line follows them.
"""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psycopg
import pytest
from bar_chunks import decompress
from bar_files import assert_exact, csv_text, deliver, line, minutes, months, run, table
from dying import Load, server

from marketdata_assets.bars import checks, kline, unit

CODES = ("sh600000", "sz000001", "bj920001")
STARTS = tuple(f"2000-{month:02d}-05 09:30:00" for month in (5, 6, 7))
STEPS_OF_A_LOAD = 45


def doomed(dsn: str, folder: str) -> None:
    unit.COMPRESSED_ROWS = 1
    run(dsn, Path(folder), force=True)


@pytest.fixture(scope="module")
def survived() -> Iterator[Load]:
    with server(Path(__file__)) as load:
        yield load


def deliver_both(folder: Path, day: int) -> None:
    """A year of three codes, and a file of a week of the first one; the prices tell which delivery a row is of."""
    labels = [label for start in STARTS for label in minutes(start, 60)]
    members = {f"{code}_2000.csv": csv_text(line(label, code, str(day)) for label in labels) for code in CODES}
    deliver(folder / "2000_1min.zip", members, 2 * day)
    week = [line(label, CODES[0], f"-{day}") for label in minutes(STARTS[1], 20 + day % 7)]
    deliver(folder / "week_2000.csv", csv_text(week), 2 * day + (1 if day % 2 else -3))


@contextmanager
def repeated(work: Callable[[], object]) -> Iterator[None]:
    """`work` again and again beside the block."""
    done, ran = threading.Event(), threading.Event()

    def go_on() -> None:
        while not done.is_set():
            work()
            ran.set()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(go_on)
        assert ran.wait(120) or running.result()
        try:
            yield
        finally:
            done.set()
            running.result()


def run_policies(dsn: str) -> None:
    """The jobs of TimescaleDB as its scheduler calls them: compression, and the refresh of the K-line.

    One that meets a chunk which a person decompresses fails, and so may the person: both only make work for the next.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        jobs = connection.execute(
            """SELECT job_id FROM timescaledb_information.jobs
               WHERE proc_name IN ('policy_compression', 'policy_refresh_continuous_aggregate')"""
        ).fetchall()
        for (job,) in jobs:
            with suppress(psycopg.Error):
                connection.execute("CALL run_job(%s)", [job])


def load_all(dsn: str, folder: Path, failed: list[str | None]) -> None:
    failed += [report.error for report in run(dsn, folder, force=True).failed]


@pytest.mark.parametrize("stride", [15, pytest.param(1, marks=pytest.mark.slow)])
def test_kills_beside_loads_policies_and_decompressions_end_in_the_rows_of_one_pass(
    columnstore_dsn: str, tmp_path: Path, survived: Load, stride: int
) -> None:
    deliver_both(tmp_path, 1)
    run(columnstore_dsn, tmp_path)
    kline.refresh(columnstore_dsn, months(2000))
    chance = random.Random(stride)
    killed = 0
    failed: list[str | None] = []
    for steps in range(0, STEPS_OF_A_LOAD, stride):
        deliver_both(tmp_path, 2 + steps)
        load = partial(load_all, columnstore_dsn, tmp_path, failed)
        with repeated(load), repeated(partial(run_policies, columnstore_dsn)):
            killed += not survived(columnstore_dsn, tmp_path, steps)
            if chance.random() < 0.5:
                with suppress(psycopg.Error):
                    decompress(columnstore_dsn)
            killed += not survived(columnstore_dsn, tmp_path, chance.randrange(STEPS_OF_A_LOAD))
        run(columnstore_dsn, tmp_path)
        assert_exact(columnstore_dsn, tmp_path)
        kline.refresh(columnstore_dsn, months(2000))
        with psycopg.connect(columnstore_dsn) as connection:
            assert checks.kline_equals_minutes(connection, months(2000)).count == 0
            assert checks.every_row_accounted(connection, months(2000)).count == 0
    assert failed == []
    assert killed >= STEPS_OF_A_LOAD // stride
    assert run(columnstore_dsn, tmp_path).units == ()
    assert len(table(columnstore_dsn)) == 540
