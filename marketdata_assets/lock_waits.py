"""Waiting for a lock is no silence: after some seconds a log line says what is waited for, who holds it and since when.

The wait ends with the holder, and not before. How a lock is taken belongs to who takes it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
