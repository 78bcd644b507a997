"""SIGKILL of the loader before any of its writes: nothing half done is seen, and a rerun ends in the right rows."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psycopg
import pytest
from bar_chunks import compress, decompress
from bar_files import Row, assert_exact, books_balance, csv_text, deliver, entries, expected, line, minutes, run, table
from dying import Load, server

from marketdata_assets.bars import unit
from marketdata_assets.bars.ingest import ingest
from marketdata_assets.fanout import Fanout

FRESH_STEPS = 24


def doomed(dsn: str, folder: str) -> None:
    unit.COMPRESSED_ROWS = 1
    run(dsn, Path(folder))


@pytest.fixture(scope="module")
def survived() -> Iterator[Load]:
    with server(Path(__file__)) as load:
        yield load


def first_delivery(folder: Path, day: int) -> None:
    rows = [line(label) for label in (*minutes("2000-06-09 09:30:00", 6), *minutes("2000-07-03 09:30:00", 3))]
    other = [line(label, "sz000001") for label in minutes("2000-06-09 09:30:00", 6)]
    deliver(folder / "2000_1min.zip", {"a_2000.csv": csv_text(rows), "b_2000.csv": csv_text(other)}, day)


def second_delivery(folder: Path, day: int) -> None:
    """Rebased, with a month less and a refused row; one member is gone and one is new."""
    rows = [line(label, price="-2") for label in minutes("2000-06-09 09:28:00", 100)]
    rows.append(rows[3])
    other = [line(label, "bj920001") for label in minutes("2000-06-09 09:30:00", 6)]
    deliver(folder / "2000_1min.zip", {"a_2000.csv": csv_text(rows), "c_2000.csv": csv_text(other)}, day)


def by_code(rows: list[Row]) -> dict[object, list[Row]]:
    return {code: [row for row in rows if row[1] == code] for code in ("600000.SH", "000001.SZ", "920001.BJ")}


UNITS = {"600000.SH": "a_2000.csv", "000001.SZ": "b_2000.csv", "920001.BJ": "c_2000.csv"}


def assert_all_or_nothing(dsn: str, before: list[Row], after: list[Row]) -> None:
    now, old, new = by_code(table(dsn)), by_code(before), by_code(after)
    for code, rows in now.items():
        assert rows in (old[code], new[code]), f"{code} is half loaded"
        entry = entries(dsn).get(UNITS[str(code)])
        assert (entry.rows if entry else 0) == len(rows)
    books_balance(dsn)


@pytest.mark.parametrize("stride", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_kill_in_a_reload_leaves_each_unit_old_or_new(dsn: str, tmp_path: Path, survived: Load, stride: int) -> None:
    kill_at_each_step(dsn, tmp_path, survived, stride)


@pytest.mark.parametrize("stride", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_kill_in_a_compressed_reload_leaves_each_unit_old_or_new(
    columnstore_dsn: str, tmp_path: Path, survived: Load, stride: int
) -> None:
    """Between the kills, chunks are decompressed and compressed by hand."""
    kill_at_each_step(columnstore_dsn, tmp_path, survived, stride, [decompress, lambda _: None, compress])


def kill_at_each_step(
    dsn: str, tmp_path: Path, survived: Load, stride: int, between: Sequence[Callable[[str], None]] = ()
) -> None:
    first_delivery(tmp_path, day=1)
    run(dsn, tmp_path)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{connection.info.dbname}" SET synchronous_commit = off')
    steps, ended = 0, 0
    while ended < 2:
        before = table(dsn)
        (second_delivery, first_delivery)[steps % 2](tmp_path, day=2 + steps)
        ended = ended + 1 if survived(dsn, tmp_path, steps) else 0
        after = expected(tmp_path)
        assert_all_or_nothing(dsn, before, after)
        if between:
            between[steps % len(between)](dsn)
        run(dsn, tmp_path)
        assert table(dsn) == after
        books_balance(dsn)
        assert all(entry.outcome in ("ok", "removed") for entry in entries(dsn).values())
        steps += stride
    assert steps > 40


@pytest.mark.parametrize(
    "steps", [5, 20, *(pytest.param(step, marks=pytest.mark.slow) for step in range(0, FRESH_STEPS, 3))]
)
def test_kill_of_a_first_load_leaves_a_database_that_the_next_completes(
    dsn: str, tmp_path: Path, survived: Load, steps: int
) -> None:
    first_delivery(tmp_path, day=1)
    assert not survived(dsn, tmp_path, steps)
    run(dsn, tmp_path)
    assert_exact(dsn, tmp_path)


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

    months = [f"{year}-06" for year in years]
    report = ingest(dsn, tmp_path, months, run_id="test", fanout=Fanout(2), progress=kill_a_worker)
    assert killed
    assert report.failed == ()
    assert_exact(dsn, tmp_path)
