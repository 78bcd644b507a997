"""Waiting for a lock is no silence: after some seconds a log line says what is waited for, who holds it and since when.

The wait ends with the holder, and not before. How a lock is taken belongs to who takes it.
"""

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from marketdata_assets.logs import get_logger

FIRST_SECONDS = 5.0
NEXT_SECONDS = 60.0

log = get_logger(__name__)


@contextmanager
def reported(what: str, holder: Callable[[], str]) -> Iterator[None]:
    """Log who holds `what` while the block, which takes its lock, takes long."""
    taken, began = threading.Event(), time.monotonic()

    def report() -> None:
        seconds = FIRST_SECONDS
        while not taken.wait(seconds):
            try:
                held_by = holder()
            except Exception as error:  # a report ends nothing
                held_by = f"unknown: {type(error).__name__}"
            waited = round(time.monotonic() - began)
            log.warning("waiting for a lock", lock=what, held_by=held_by or "nobody any more", waited_s=waited)
            seconds = NEXT_SECONDS

    threading.Thread(target=report, daemon=True, name="lock-wait").start()
    try:
        yield
    finally:
        taken.set()


def file_holder(file: Path) -> str:
    """Which processes of this machine hold the lock of a file, as Linux lists them."""
    number = str(file.stat().st_ino)
    rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    # 1: FLOCK ADVISORY WRITE 4711 08:01:1234 0 EOF; a row with -> waits
    pids = {int(row[4]) for row in rows if row[1] == "FLOCK" and row[5].rpartition(":")[2] == number}
    return ", ".join(sorted(map(process, pids)))


def process(pid: int) -> str:
    """A process by number and command, and since when it runs."""
    with suppress(psutil.Error):
        found = psutil.Process(pid)
        since = dt.datetime.fromtimestamp(found.create_time(), dt.UTC)
        return f"process {pid} ({found.name()}, {found.status()}) since {since:%Y-%m-%d %H:%M:%S} UTC"
    return f"process {pid}"
