"""The token that logs a browser in to the UI: a file that only its owner may read."""

import os
import secrets
from pathlib import Path

FILE = "ui_token"
TOKEN = "token"  # noqa: S105 - the name of the parameter in the link


def token_file(dagster_home: Path) -> Path:
    """The file with the token of a data folder, made with a random one when there is none."""
    file = dagster_home / FILE
    if not file.exists():
        dagster_home.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}")
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w") as opened:
            opened.write(secrets.token_urlsafe(32) + "\n")
        try:
            os.link(partial, file)  # of two that start at once, the first one's counts
        except FileExistsError:
            pass
        finally:
            partial.unlink()
    return file
