"""What no other user of the machine can read: the password of one local server, random and created once, and its log.

How a server gets its password belongs to that server's file.
"""

import os
import secrets
from pathlib import Path
from typing import IO

from marketdata_assets.secret_values import hide
from marketdata_assets.state_files import made_once

USER = "marketdata"


def file(folder: Path) -> Path:
    """Where the server that keeps its data in `folder` has its password."""
    return folder / "password"


def of(folder: Path) -> str:
    """The password of the server that keeps its data in `folder`; creates folder and password when there is none."""
    return hide(made_once(file(folder), lambda: secrets.token_urlsafe(24)))


def open_log(path: Path) -> IO[bytes]:
    """Open an empty log that only its owner can read: servers quote statements and rows in it."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    os.fchmod(number, 0o600)  # an existing one may be open to others
    return os.fdopen(number, "wb")
