"""The code server of every deployment: `dagster code-server start`, run as a script with the arguments of that.

Dagster's keeps its address while it replaces the process that has the code, which is what *Reload definitions* does. It
also keeps it when that process was killed, and answers nothing any more: then this one ends, so that whoever started
it starts it again.
"""

import signal
import subprocess
import sys
from collections.abc import Sequence

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
    """Serve code until SIGTERM, SIGINT or the end of the process that has it; the exit code."""
    logs.configure(Settings().log_format)
    proxy = subprocess.Popen(tied_to_us(command(arguments), signal.SIGTERM, None))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: proxy.terminate())
    had_code = False
    while True:
        try:
            return proxy.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            has_code = _has_code(proxy.pid)
        if had_code and not has_code:
            log.error("the process that has the code has ended")
            proxy.kill()  # nothing is lost: each run is a process of its own, which continues
            proxy.wait()
            return 1
        had_code = has_code


def _has_code(pid: int) -> bool:
    """Whether a process below this one is alive."""
    try:
        below = psutil.Process(pid).children()
        return any(one.status() != psutil.STATUS_ZOMBIE for one in below)
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:]))
