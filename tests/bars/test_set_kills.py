"""SIGKILL of loads and forgets among files that share minutes: whole units only, and the next run ends exactly."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from bar_files import assert_exact, books_balance, csv_text, deliver, entries, expected, line, minutes, run, table
from dying import Load, server

from marketdata_assets.bars import schema
from marketdata_assets.bars.forget import forget, undo

LABELS = [*minutes("2000-06-09 09:30:00", 20), *minutes("2000-07-03 09:30:00", 5)]
PATCH = "fix_2000.csv"


def doomed(dsn: str, folder: str, work: str) -> None:
    if work == "load":
        run(dsn, Path(folder))
        return
    with psycopg.connect(dsn, autocommit=True) as connection:
        forget(connection, Path(folder), PATCH, "test")


@pytest.fixture(scope="module")
def survived() -> Iterator[Load]:
    with server(Path(__file__)) as load:
        yield load


def bars(labels: list[str], price: int) -> bytes:
    return csv_text(line(label, code, f"{price}") for code in ("sh600000", "sz000001") for label in labels)


def base(folder: Path) -> None:
    deliver(folder / "a_2000.csv", bars(LABELS, 10), 1)
    deliver(folder / "b_2000.csv", bars(LABELS[::2], 11), 2)


@pytest.mark.parametrize("stride", [10, pytest.param(1, marks=pytest.mark.slow)])
def test_kill_while_a_patch_replaces_and_gives_back_minutes(
    either_dsn: str, tmp_path: Path, survived: Load, stride: int
) -> None:
    base(tmp_path)
    run(either_dsn, tmp_path)
    steps, ended = 0, 0
    while ended < 2:
        deliver(tmp_path / PATCH, bars(LABELS[steps % 3 :: 3], 20 + steps), 3 + steps)
        ended = ended + 1 if survived(either_dsn, tmp_path, "load", steps) else 0
        books_balance(either_dsn, interrupted=True)
        assert {row[:2] for row in table(either_dsn)} <= {row[:2] for row in expected(tmp_path)}
        run(either_dsn, tmp_path)
        assert_exact(either_dsn, tmp_path)
        assert run(either_dsn, tmp_path).units == ()
        steps += stride
    assert steps > 20


@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_kill_while_a_file_is_forgotten_forgets_all_of_it_or_nothing(
    either_dsn: str, tmp_path: Path, survived: Load, stride: int
) -> None:
    base(tmp_path)
    deliver(tmp_path / PATCH, bars(LABELS[1::3], 20), 3)
    run(either_dsn, tmp_path)
    with psycopg.connect(either_dsn, autocommit=True) as connection:
        schema.ensure(connection)
        before = table(either_dsn)
        steps = 0
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
