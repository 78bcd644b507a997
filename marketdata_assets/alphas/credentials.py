"""E-mail and password of an account, from the environment or from a file that only its owner may read.

Neither is ever shown: not by `repr`, not in an error. Logging in is the business of `api`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from marketdata_assets import config_files, secret_values
from marketdata_assets.alphas.errors import NoCredentials
from marketdata_assets.config_files import InvalidConfigFile


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
    entry = _entry(account, file)
    if entry is None:
        raise NoCredentials(
            account,
            f'Set {names[0]} and {names[1]}, or put {{"{account}": {{"email": "...", "password": "..."}}}}'
            f" into {file} (mode 0600).",
            unset=True,
        )
    return Credentials(entry.email, entry.password)


class _Entry(config_files.Section):
    email: Annotated[str, Field(min_length=1)]
    password: Annotated[str, Field(min_length=1)]


def _entry(account: str, file: Path) -> _Entry | None:
    """The account's entry of the file; those of other accounts are not validated."""
    if not file.exists():
        return None
    try:
        document = config_files.read_json(file, secret=True)
        accounts = document.validate(dict[str, Any])
        return document.section(account).validate(_Entry) if account in accounts else None
    except InvalidConfigFile as error:
        raise NoCredentials(account, str(error)) from None
