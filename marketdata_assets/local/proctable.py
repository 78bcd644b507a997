"""What the system knows of a process: whether it is alive, when it started, its command, its children.

Read from /proc on Linux and from `ps` elsewhere; starting and ending processes belongs to `process`.
"""

import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")
HAS_PROC = (_PROC / "self" / "stat").exists()


def start_mark(pid: int) -> str | None:
    """A constant text that distinguishes the process from a later one with the same pid; None if it is dead.

    A zombie counts as dead.
    """
    if HAS_PROC:
        fields = _stat(pid)
        return None if fields is None or fields[0] in "ZX" else fields[19]
    state, _, began = _ps(pid, "state=,lstart=").partition(" ")
    return None if not state or state.startswith("Z") else began.strip()


def command(pid: int) -> str:
    """The command line of the process; empty when it is gone."""
    if HAS_PROC:
        try:
            return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            return ""
    return _ps(pid, "command=")


def children(pid: int) -> list[int]:
    if HAS_PROC:
        pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
        return [child for child in pids if (fields := _stat(child)) is not None and int(fields[1]) == pid]
    rows = [row.split() for row in _run_ps("-A", "-o", "pid=,ppid=").splitlines()]
    return [int(child) for child, parent in rows if int(parent) == pid]


def wait_gone(pids: Iterable[int], seconds: float) -> bool:
    """Wait until none of the processes lives; False when one still does after `seconds`."""
    deadline = time.monotonic() + seconds
    remaining = list(pids)
    while remaining := [pid for pid in remaining if start_mark(pid) is not None]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on; the name before them may hold spaces and brackets."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _ps(pid: int, columns: str) -> str:
    return _run_ps("-o", columns, "-p", str(pid)).strip()


def _run_ps(*arguments: str) -> str:
    """Lines of any length, with times that do not depend on who asks: another process compares them."""
    everywhere = os.environ | {"LC_ALL": "C", "TZ": "UTC"}
    call = ["/bin/ps", "-ww", *arguments]
    return subprocess.run(call, capture_output=True, text=True, check=False, env=everywhere).stdout
