"""A process that keeps a group of others, run as a script: the group ends on a signal, or when the parent dies.

`dagster dev` asks its children to end, and one of them, the daemon, can hang on a code server that is gone.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

from marketdata_assets.local.process import tied_to_us

EMPTY_SECONDS = 5
"""How long the rest of a group has to end after its first process."""


def kept(command: list[str], grace_seconds: float) -> list[str]:
    """The command that runs `command` in its own group; what outlives SIGINT by `grace_seconds` is killed."""
    return [sys.executable, "-m", __name__, str(grace_seconds), *command]


def main() -> int:
    """Keep the group of the command on the command line; returns the command's exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    process = subprocess.Popen(tied_to_us(sys.argv[2:], signal.SIGINT, None), start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        _end(process, float(sys.argv[1]))


def _end(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
    with suppress(ProcessLookupError, PermissionError):
        until = time.monotonic() + EMPTY_SECONDS
        while time.monotonic() < until:
            os.killpg(process.pid, 0)
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    sys.exit(main())
