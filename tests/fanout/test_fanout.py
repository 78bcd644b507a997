"""The process pool, and no processes: the laws, and the death of the process that made the pool."""

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from marketdata_assets.fanout import Fanout
from marketdata_assets.fanout import pool as pool_module
from marketdata_assets.fanout.pool import Pool
from tests.fanout.fanout_laws import LAWS, LAWS_OF_WORKERS, Law, an_answer_that_cannot_be_sent_fails_alone

POOL_ONLY = (an_answer_that_cannot_be_sent_fails_alone,)
"""Ray can send more kinds of answers."""


def name(law: Law) -> str:
    return law.__name__


@pytest.mark.parametrize("law", LAWS, ids=name)
def test_without_workers(law: Law, tmp_path: Path) -> None:
    law(Fanout(1), tmp_path)


@pytest.mark.parametrize("law", (*LAWS, *LAWS_OF_WORKERS, *POOL_ONLY), ids=name)
def test_pool(law: Law, tmp_path: Path) -> None:
    law(Fanout(3), tmp_path)


def test_pool_that_breaks_while_a_worker_is_started_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    pool = Pool(2, ())
    with closing(pool):
        monkeypatch.setattr(pool._executor, "submit", broken)
        ticket = pool.submit(str, 1)
        assert [outcome for _, outcome in pool.wait([ticket])] == [("1", None)]
        monkeypatch.setattr(ProcessPoolExecutor, "submit", broken)
        with pytest.raises(OSError, match="Bad file descriptor"):
            pool.submit(str, 1)


def first_fast_then_never(mark: str) -> str:
    if mark:
        Path(mark).write_text(str(os.getpid()))
        threading.Event().wait()
    return mark


def test_workers_that_do_not_end_are_killed_when_a_map_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "CLOSE_SECONDS", 0.1)
    mark = tmp_path / "mark"
    answers = Fanout(2).map(first_fast_then_never, ["", str(mark)])
    assert next(answers).answer == ""
    wait_until(lambda: mark.exists() and mark.read_text() != "")
    answers.close()  # type: ignore[attr-defined]
    assert not psutil.pid_exists(int(mark.read_text()))


def wait_until(met: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


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
