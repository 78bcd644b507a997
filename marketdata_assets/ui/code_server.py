"""The code server of every deployment: `dagster code-server start`, run as a script with the arguments of that.

Dagster's keeps its address while it replaces the process that has the code, which is what *Reload definitions* does. It
also keeps it when that process was killed, and answers nothing any more: then this one ends, so that whoever started
it starts it again.
"""

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

import psutil

from marketdata_assets import logs
from marketdata_assets.local.process import tied_to_us
from marketdata_assets.settings import Settings

PROJECT = ("--module-name", "marketdata_assets.definitions", "--location-name", "marketdata_assets")
"""Arguments for the code of this package."""
POLL_SECONDS = 2.0

log = logs.get_logger(__name__)


def command(arguments: Sequence[str]) -> list[str]:
    """The command of the process that `serve` watches; the one below it is of this environment, too."""
    start = [sys.executable, "-m", "dagster", "code-server", "start", "--use-python-environment-entry-point"]
    return [*start, *arguments]


def serve(arguments: Sequence[str]) -> int:
    """Serve code until the process that has it ends, or SIGTERM, SIGINT and the end of its runs; the exit code."""
    logs.configure(Settings().log_format)
    # Killed, it frees its address at once. Given time, it would remove the socket that its successor listens on.
    proxy = subprocess.Popen(tied_to_us(command(arguments), signal.SIGKILL, None))
    ending, have_code = threading.Event(), list[psutil.Process]()

    def end(*_: object) -> None:
        ending.set()
        proxy.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    while True:
        with suppress(subprocess.TimeoutExpired):
            code = proxy.wait(POLL_SECONDS)
            if ending.is_set():
                psutil.wait_procs(have_code)  # they end with their runs, for which Dagster waits half a minute
            return 0 if ending.is_set() else code
        alive = _below(proxy.pid)
        if have_code and not alive and not ending.is_set():
            log.error("the process that has the code has ended")
            proxy.kill()  # nothing is lost: each run is a process of its own, which continues
            proxy.wait()
            return 1
        have_code = alive or have_code


def _below(pid: int) -> list[psutil.Process]:
    """The processes below this one that are alive."""
    with suppress(psutil.NoSuchProcess):
        return [one for one in psutil.Process(pid).children() if one.status() != psutil.STATUS_ZOMBIE]
    return []


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:]))
