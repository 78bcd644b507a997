"""The process pool: answers, failures, deaths of workers and of the process that made them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from marketdata_assets.bars.errors import TooManyRejects
from marketdata_assets.fanout import Fanout, WorkerDied
from marketdata_assets.stores.errors import StoreAway, StoreFull

BOTH = pytest.mark.parametrize("workers", [1, 3])


def wait_until(met: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def square(number: int) -> int:
    return number * number


@BOTH
@pytest.mark.parametrize("count", [0, 1, 2, 25])
def test_answers_are_those_of_map(workers: int, count: int) -> None:
    done = list(Fanout(workers).map(square, range(count)))
    assert sorted((d.item, d.answer) for d in done) == [(n, n * n) for n in range(count)]
    assert [d.error for d in done] == [None] * count


def refuse_three(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number


@BOTH
def test_an_exception_stands_for_its_item_only(workers: int) -> None:
    done = {d.item: d for d in Fanout(workers).map(refuse_three, range(8))}
    assert {n: d.answer for n, d in done.items() if n != 3} == {n: n for n in range(8) if n != 3}
    assert isinstance(done[3].error, ValueError)


class Picky(Exception):
    """An error that pickles and cannot be unpickled."""

    def __init__(self, place: str, cause: str) -> None:
        super().__init__(f"{place}: {cause}")


def named_error(number: int) -> int:
    errors = [StoreAway("Postgres", "gone"), StoreFull("Postgres", "full"), TooManyRejects("a.csv", 2, 3, ["line 2"])]
    if number < len(errors):
        raise errors[number]
    raise Picky("a.csv", "broken")


def test_errors_of_workers_arrive_as_they_were_raised() -> None:
    done = {d.item: d.error for d in Fanout(2).map(named_error, range(4))}
    assert [type(done[n]) for n in range(3)] == [StoreAway, StoreFull, TooManyRejects]
    assert isinstance(done[0], StoreAway)
    assert (done[0].store, done[0].cause, str(done[0])) == ("Postgres", "gone", str(StoreAway("Postgres", "gone")))
    assert not isinstance(done[3], WorkerDied)
    assert "a.csv: broken" in str(done[3])


def die_once(mark: str) -> str:
    try:
        Path(mark).touch(exist_ok=False)
    except FileExistsError:
        return mark
    if mark.endswith("a"):
        os.kill(os.getpid(), signal.SIGKILL)
    return mark


def test_item_is_tried_again_when_its_worker_is_killed(tmp_path: Path) -> None:
    marks = [str(tmp_path / name) for name in "abcd"]
    done = list(Fanout(2).map(die_once, marks))
    assert sorted(d.answer or "" for d in done) == marks


def die_on_nought(number: int) -> int:
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return number


def test_an_item_that_kills_every_worker_fails_alone() -> None:
    done = {d.item: d for d in Fanout(2).map(die_on_nought, range(12))}
    assert isinstance(done[0].error, WorkerDied)
    assert "MARKETDATA_WORKERS" in str(done[0].error)
    assert {n: done[n].answer for n in range(1, 12)} == {n: n for n in range(1, 12)}


def leave_mark(path: str) -> str:
    Path(path).touch()
    return path


@BOTH
def test_stopping_early_begins_no_more_items(workers: int, tmp_path: Path) -> None:
    items = [str(tmp_path / f"{n:03}") for n in range(60)]
    answers = Fanout(workers).map(leave_mark, items)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    begun = len(list(tmp_path.iterdir()))
    assert begun <= 1 + 2 * workers


PARENT = """
import sys, time
from marketdata_assets.fanout import Fanout

def work(folder):
    import os, pathlib
    pathlib.Path(folder, str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    list(Fanout(2).map(work, [sys.argv[1]] * 2))
"""


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script, marks = tmp_path / "parent.py", tmp_path / "marks"
    script.write_text(PARENT)
    marks.mkdir()
    parent = subprocess.Popen([sys.executable, script, marks])
    try:
        wait_until(lambda: len(list(marks.iterdir())) == 2)
        family = psutil.Process(parent.pid).children(recursive=True)
        assert {int(mark.name) for mark in marks.iterdir()} <= {process.pid for process in family}
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family))
