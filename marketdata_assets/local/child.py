"""The first steps of a server's process, run as a script: drop root, tie its lifetime to the stack's, execute.

It is a separate script, and not code between fork and exec, because the stack's process may have threads. The command
line of a server belongs to that server's module.
"""

import argparse
import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the server named on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--signal", type=int, required=True)
    parser.add_argument("--identity")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    if options.identity:
        sys.path.append(str(Path(__file__).resolve().parents[2]))
        from marketdata_assets.local import unprivileged

        unprivileged.enter(unprivileged.Identity.parse(options.identity))
    # A shell's background job ignores SIGINT, and would hand that down; Dagster's servers then ignore SIGTERM, too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        # The kernel sends the signal when the parent's thread ends; a change of user clears this.
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, options.signal, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        if os.getppid() != options.parent:
            sys.exit("the stack ended before its server started")
    os.execv(options.command[0], options.command)  # noqa: S606 - becoming the server is the purpose


if __name__ == "__main__":
    main()
