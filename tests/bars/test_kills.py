"""SIGKILL of loads and forgets before any of their writes: nothing half done is seen, and a rerun ends right."""

import multiprocessing
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psycopg
import pytest

from marketdata_assets.bars import checks, kline, schema, small_units, unit
from marketdata_assets.bars.forget import forget, undo
from marketdata_assets.bars.ingest import ingest
from marketdata_assets.fanout import Fanout
from tests.bars.bar_chunks import compress, decompress
from tests.bars.bar_files import (
    Row,
    assert_exact,
    books_balance,
    csv_text,
    deliver,
    entries,
    expected,
    line,
    minutes,
    months,
    run,
    table,
)
from tests.dying import Load, server

JUNE, JULY = "2000-06-09 09:30:00", "2000-07-03 09:30:00"
LABELS = [*minutes(JUNE, 20), *minutes(JULY, 5)]
PATCH = "fix_2000.csv"
Deliver = Callable[[Path, int], None]


def doomed(dsn: str, folder: str, work: str) -> None:
    if work == "forget":
        with psycopg.connect(dsn, autocommit=True) as connection:
            forget(connection, Path(folder), PATCH, "test")
        return
    if work == "small units":
        small_units.MAX_UNITS = 5
    else:
        unit.COMPRESSED_ROWS = 1
    run(dsn, Path(folder), force=work == "force")


@pytest.fixture(scope="module")
def survived() -> Iterator[Load]:
    with server(Path(__file__)) as load:
        yield load


def first_delivery(folder: Path, day: int) -> None:
    rows = [line(label) for label in (*minutes(JUNE, 6), *minutes(JULY, 3))]
    other = [line(label, "sz000001") for label in minutes(JUNE, 6)]
    deliver(folder / "2000_1min.zip", {"a_2000.csv": csv_text(rows), "b_2000.csv": csv_text(other)}, day)


def second_delivery(folder: Path, day: int) -> None:
    """Rebased, with a month less and a refused row; one member is gone and one is new."""
    rows = [line(label, price="-2") for label in minutes("2000-06-09 09:28:00", 100)]
    rows.append(rows[3])
    other = [line(label, "bj920001") for label in minutes(JUNE, 6)]
    deliver(folder / "2000_1min.zip", {"a_2000.csv": csv_text(rows), "c_2000.csv": csv_text(other)}, day)


def bars(labels: list[str], price: int) -> bytes:
    return csv_text(line(label, code, f"{price}") for code in ("sh600000", "sz000001") for label in labels)


def base(folder: Path) -> None:
    """Two files that share minutes."""
    deliver(folder / "a_2000.csv", bars(LABELS, 10), 1)
    deliver(folder / "b_2000.csv", bars(LABELS[::2], 11), 2)


def patch(folder: Path, day: int) -> None:
    """A third file that has some of their minutes, others each day."""
    deliver(folder / PATCH, bars(LABELS[day % 3 :: 3], 20 + day), day)


UNITS = {"600000.SH": "a_2000.csv", "000001.SZ": "b_2000.csv", "920001.BJ": "c_2000.csv"}


def assert_units_are_whole(dsn: str, before: list[Row], after: list[Row]) -> None:
    now = table(dsn)
    for code, name in UNITS.items():
        rows, old, new = ([row for row in rows if row[1] == code] for rows in (now, before, after))
        assert rows in (old, new), f"{code} is half loaded"
        entry = entries(dsn).get(name)
        assert (entry.rows if entry else 0) == len(rows)
    books_balance(dsn)


def kill_at_each_step(
    dsn: str, folder: Path, survived: Load, stride: int, deliveries: Sequence[Deliver],
    between: Sequence[Callable[[str], None]] = (),
) -> None:  # fmt: skip
    """Deliver, kill the load before a later step each time, and load again, until two loads need no more steps."""
    run(dsn, folder)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{connection.info.dbname}" SET synchronous_commit = off')
    steps, ended = 0, 0
    while ended < 2:
        before = table(dsn)
        deliveries[steps % len(deliveries)](folder, 3 + steps)
        ended = ended + 1 if survived(dsn, folder, "load", steps) else 0
        after = expected(folder)
        if patch in deliveries:  # minutes that it gives back are loaded afterwards
            assert {row[:2] for row in table(dsn)} <= {row[:2] for row in after}
            books_balance(dsn, interrupted=True)
        else:
            assert_units_are_whole(dsn, before, after)
        if between:
            between[steps % len(between)](dsn)
        run(dsn, folder)
        assert_exact(dsn, folder)
        assert all(entry.outcome in ("ok", "removed") for entry in entries(dsn).values())
        steps += stride
    assert steps > 20


@pytest.mark.parametrize("stride", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_kill_in_a_reload_leaves_each_unit_old_or_new(dsn: str, tmp_path: Path, survived: Load, stride: int) -> None:
    first_delivery(tmp_path, day=1)
    kill_at_each_step(dsn, tmp_path, survived, stride, [second_delivery, first_delivery])


@pytest.mark.parametrize("stride", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_kill_in_a_compressed_reload_leaves_each_unit_old_or_new(
    columnstore_dsn: str, tmp_path: Path, survived: Load, stride: int
) -> None:
    """Between the kills, chunks are decompressed and compressed by hand."""
    first_delivery(tmp_path, day=1)
    by_hand = [decompress, lambda _: None, compress]
    kill_at_each_step(columnstore_dsn, tmp_path, survived, stride, [second_delivery, first_delivery], by_hand)


@pytest.mark.slow
def test_kill_while_a_patch_replaces_and_gives_back_minutes(either_dsn: str, tmp_path: Path, survived: Load) -> None:
    base(tmp_path)
    kill_at_each_step(either_dsn, tmp_path, survived, 1, [patch])


@pytest.mark.parametrize("stride", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_kill_while_a_file_is_forgotten_forgets_all_of_it_or_nothing(
    either_dsn: str, tmp_path: Path, survived: Load, stride: int
) -> None:
    base(tmp_path)
    patch(tmp_path, 4)
    run(either_dsn, tmp_path)
    with psycopg.connect(either_dsn, autocommit=True) as connection:
        before, steps = table(either_dsn), 0
        while not survived(either_dsn, tmp_path, "forget", steps):
            forgotten = entries(either_dsn)[PATCH].outcome == "forgotten"
            books_balance(either_dsn, interrupted=True)
            assert forgotten or table(either_dsn) == before
            run(either_dsn, tmp_path)
            assert table(either_dsn) == expected(tmp_path, without=(PATCH,) if forgotten else ())
            if forgotten:
                undo(connection, PATCH)
                run(either_dsn, tmp_path)
            steps += stride
        assert steps > 8
    run(either_dsn, tmp_path)
    assert table(either_dsn) == expected(tmp_path, without=(PATCH,))


@pytest.mark.parametrize("steps", [5, *(pytest.param(step, marks=pytest.mark.slow) for step in range(0, 24, 3))])
def test_kill_of_a_first_load_leaves_a_database_that_the_next_completes(
    dsn: str, tmp_path: Path, survived: Load, steps: int
) -> None:
    first_delivery(tmp_path, day=1)
    assert not survived(dsn, tmp_path, "load", steps)
    run(dsn, tmp_path)
    assert_exact(dsn, tmp_path)


@pytest.mark.parametrize("stride", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_a_load_of_small_units_killed_at_any_step_has_loaded_whole_commits(
    either_dsn: str, tmp_path: Path, survived: Load, stride: int
) -> None:
    codes = [f"sh{600000 + number}" for number in range(15)]
    members = {f"{code}_2000.csv": csv_text(line(label, code) for label in minutes(JUNE, 3)) for code in codes}
    deliver(tmp_path / "2000_1min.zip", members, 1)
    with psycopg.connect(either_dsn) as connection:
        schema.ensure(connection)
    steps, loaded = 0, set()
    while not survived(either_dsn, tmp_path, "small units", steps):
        books_balance(either_dsn)
        loaded.add(len(entries(either_dsn)))
        steps += stride
    assert {0, 5, 10} <= loaded <= {0, 5, 10, 15}  # few steps are left after the last commit
    assert_exact(either_dsn, tmp_path)


def test_killed_worker_costs_nothing(dsn: str, tmp_path: Path) -> None:
    years = range(2000, 2006)
    for year in years:
        rows = [line(label, price=f"{year % 7}") for label in minutes(f"{year}-06-09 09:30:00", 60)]
        deliver(tmp_path / f"{year}_1min.zip", {f"a_{year}.csv": csv_text(rows)})
    killed: list[int | None] = []

    def kill_a_worker(done: int, total: int, place: str) -> None:
        if not killed:
            worker = multiprocessing.active_children()[0]
            killed.append(worker.pid)
            worker.kill()

    asked = [f"{year}-06" for year in years]
    report = ingest(dsn, tmp_path, asked, run_id="test", fanout=Fanout(2), progress=kill_a_worker)
    assert killed
    assert report.failed == ()
    assert_exact(dsn, tmp_path)


# Compressed loads while everything happens at once: kills, a second loader, the policies, decompressions by hand.

STARTS = tuple(f"2000-{month:02d}-05 09:30:00" for month in (5, 6, 7))
STEPS_OF_A_LOAD = 45


def deliver_both(folder: Path, day: int) -> None:
    """A year of three codes, and a file of a week of the first one; the prices tell which delivery a row is of."""
    labels = [label for start in STARTS for label in minutes(start, 60)]
    codes = ("sh600000", "sz000001", "bj920001")
    members = {f"{code}_2000.csv": csv_text(line(label, code, str(day)) for label in labels) for code in codes}
    deliver(folder / "2000_1min.zip", members, 2 * day)
    week = [line(label, codes[0], f"-{day}") for label in minutes(STARTS[1], 20 + day % 7)]
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


@pytest.mark.slow
@pytest.mark.parametrize("stride", [15, 1])
def test_kills_beside_loads_policies_and_decompressions_end_in_the_rows_of_one_pass(
    columnstore_dsn: str, tmp_path: Path, survived: Load, stride: int
) -> None:
    dsn, failed, killed, chance = columnstore_dsn, list[str | None](), 0, random.Random(stride)

    def load_all() -> None:
        failed.extend(report.error for report in run(dsn, tmp_path, force=True).failed)

    deliver_both(tmp_path, 1)
    run(dsn, tmp_path)
    kline.refresh(dsn, months(2000))
    for steps in range(0, STEPS_OF_A_LOAD, stride):
        deliver_both(tmp_path, 2 + steps)
        with repeated(load_all), repeated(partial(run_policies, dsn)):
            killed += not survived(dsn, tmp_path, "force", steps)
            if chance.random() < 0.5:
                with suppress(psycopg.Error):
                    decompress(dsn)
            killed += not survived(dsn, tmp_path, "force", chance.randrange(STEPS_OF_A_LOAD))
        run(dsn, tmp_path)
        assert_exact(dsn, tmp_path)
        kline.refresh(dsn, months(2000))
        with psycopg.connect(dsn) as connection:
            assert checks.kline_equals_minutes(connection, months(2000)).count == 0
            assert checks.every_row_accounted(connection, months(2000)).count == 0
    assert failed == []
    assert killed >= STEPS_OF_A_LOAD // stride
    assert run(dsn, tmp_path).units == ()
    assert len(table(dsn)) == 540
