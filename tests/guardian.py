"""Nothing that tests start outlives them, also when they are killed: a process beside them ends what has their mark.

The mark is a variable of the environment, so it reaches what intermediate processes start, in whatever session.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MARK = "STARTED_BY_TESTS"
POLL_SECONDS = 0.2


def watch() -> subprocess.Popen[bytes] | None:
    """Let all that this process starts from now on end with it, however it ends; returns the one that sees to it."""
    if not Path("/proc/self/environ").exists():  # not Linux
        return None
    os.environ[MARK] = f"{os.getpid()}-{time.time_ns()}"
    call = [sys.executable, "-I", "-S", __file__, os.environ[MARK], str(os.getpid())]
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    return subprocess.Popen(call, env=environment, cwd="/", stdin=subprocess.DEVNULL, start_new_session=True)


def marked(mark: str) -> Iterator[int]:
    """The processes that were started with the mark."""
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with suppress(OSError):
                if f"{MARK}={mark}".encode() in (place / "environ").read_bytes().split(b"\0"):
                    yield int(place.name)


def main(mark: str, parent: int) -> None:
    """Wait for the end of the tests, then kill what is left of them, and what that has started meanwhile."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    while left := list(marked(mark)):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
