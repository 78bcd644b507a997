"""E-mail and password of an account, from the environment or from a file that only its owner may read.

Neither is ever shown: not by `repr`, not in an error. Logging in is the business of `api`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from marketdata_assets import config_files, secret_values
from marketdata_assets.alphas.errors import NoCredentials

_FIELDS = ("email", "password")


@dataclass(frozen=True)
class Credentials:
    """What an account logs in with."""

    email: str = field(repr=False)
    password: str = field(repr=False)


def variables(account: str) -> tuple[str, str]:
    """The environment variables of e-mail and password; those of account `lk.2` end in `_LK_2`."""
    key = re.sub(r"[^A-Z0-9]", "_", account.upper())
    email, password = (f"MARKETDATA_{what}_{key}" for what in ("BRAIN_EMAIL", "BRAIN_PASSWORD"))
    return email, password


def find(account: str, environ: Mapping[str, str], file: Path) -> Credentials:
    """From `environ` or the files that it names, else from `file`; NoCredentials says what is missing."""
    names = variables(account)
    email, password = (secret_values.find(name, environ) for name in names)
    if email and password:
        return Credentials(email, password)
    if email or password:
        missing = names[1] if email else names[0]
        raise NoCredentials(account, f"{missing} is not set, while its partner is: set both or none.")
    entry = _entries(account, file).get(account)
    if entry is None:
        raise NoCredentials(
            account,
            f'Set {names[0]} and {names[1]}, or put {{"{account}": {{"email": "...", "password": "..."}}}}'
            f" into {file} (mode 0600).",
            unset=True,
        )
    return _credentials(account, file, entry)


def _entries(account: str, file: Path) -> dict[str, object]:
    try:
        content = config_files.read_private(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise NoCredentials(account, f"{file} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        text = str(error)
        raise NoCredentials(account, text[:1].upper() + text[1:]) from None
    try:
        data = json.loads(content)
    except ValueError as error:
        place = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise NoCredentials(account, f"{file} is not JSON{place}.") from None
    if not isinstance(data, dict):
        raise NoCredentials(account, f"{file} must hold an object with an entry for each account.")
    return data


def _credentials(account: str, file: Path, entry: object) -> Credentials:
    if not isinstance(entry, dict):
        raise NoCredentials(account, f"Its entry in {file} must be an object with email and password.")
    for key in entry.keys() - set(_FIELDS):
        near = get_close_matches(key, _FIELDS, 1, 0)[0]
        raise NoCredentials(account, f"Its entry in {file} has the unknown key {key!r}; did you mean {near!r}?")
    for key in _FIELDS:
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise NoCredentials(account, f"Its entry in {file} has no {key}.")
    return Credentials(entry["email"], entry["password"])
