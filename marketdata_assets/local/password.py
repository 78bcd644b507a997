"""What no other user of the machine can read: the password of one local server, random and created once, and its log.

How a server gets its password belongs to that server's file.
"""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

USER = "marketdata"


def file(folder: Path) -> Path:
    """Where the server that keeps its data in `folder` has its password."""
    return folder / "password"


def of(folder: Path) -> str:
    """The password of the server that keeps its data in `folder`; creates folder and password when there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    if not file(folder).exists():
        made = _private(folder, secrets.token_urlsafe(24))
        with suppress(FileExistsError):  # another process was first
            file(folder).hardlink_to(made)
        made.unlink()
    return file(folder).read_text()


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step by one that only its owner can read."""
    _private(path.parent, text).replace(path)


def open_log(path: Path) -> IO[bytes]:
    """Open an empty log that only its owner can read: servers quote statements and rows in it."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    os.fchmod(number, 0o600)  # an existing one may be open to others
    return os.fdopen(number, "wb")


def _private(folder: Path, text: str) -> Path:
    number, name = tempfile.mkstemp(prefix="partial-", dir=folder)
    with os.fdopen(number, "w") as out:
        out.write(text)
    return Path(name)
