"""What the system knows of a process: whether it is alive, when it started, its command, its children."""

import time
from collections.abc import Iterable

import psutil


def start_mark(pid: int) -> str | None:
    """A constant text that distinguishes the process from a later one with the same pid; None if it is dead.

    A zombie counts as dead. psutil's hash is of pid and starting time, which changes of the clock leave as it is.
    """
    try:
        process = psutil.Process(pid)
        return None if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) else str(hash(process))
    except psutil.NoSuchProcess:
        return None


def command(pid: int) -> str:
    """The command line of the process; empty when it is gone."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def wait_gone(pids: Iterable[int], seconds: float) -> bool:
    """Wait until none of the processes lives; False when one still does after `seconds`."""
    deadline = time.monotonic() + seconds
    remaining = list(pids)
    while remaining := [pid for pid in remaining if start_mark(pid) is not None]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
