"""`marketdata`: the command line. Each command is a file; what it does is in the library or in the assets."""

import os
import sys
from contextlib import suppress

from marketdata_assets.cli.app import app

__all__ = ["app", "main"]

SHOW = ("status", "files", "quarantine", "doctor")


def main() -> None:
    """Run the command of this process. One that only shows leaves at once: PyMongo waits for its threads up to 1 s."""
    try:
        app(prog_name="marketdata")
    except SystemExit as ended:
        if sys.argv[1:2] and sys.argv[1] in SHOW and isinstance(ended.code, int):
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(ended.code)
        raise
