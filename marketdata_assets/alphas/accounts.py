"""The list of BRAIN accounts, and the credentials of each.

Accounts are `[{"user_key": "lk", "description": "first account", "enabled": true, "fields": {"tags": "merge"}}]`, where
`fields` says how an import merges them. E-mail and password come from the environment, or from a file that only its
owner may read; neither is ever shown, not by `repr` and not in an error.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from marketdata_assets import config_files, secret_values
from marketdata_assets.alphas.errors import NoCredentials
from marketdata_assets.alphas.import_modes import FieldMode, FieldModes
from marketdata_assets.alphas.layout import ACCOUNT, ACCOUNT_RULE
from marketdata_assets.config_files import InvalidConfigFile, Location


@dataclass(frozen=True)
class Account:
    """One account; `key` names its folder, collection and partition."""

    key: str
    description: str = ""
    enabled: bool = True
    fields: FieldModes = field(default_factory=dict)


def _check_name(name: Any) -> Any:
    if not isinstance(name, str) or not ACCOUNT.fullmatch(name):
        raise ValueError(f"account name {name!r}: {ACCOUNT_RULE}")
    return name


Name = Annotated[str, BeforeValidator(_check_name)]


class _AccountEntry(config_files.Section):
    user_key: Name = ""
    key: Name = ""  # the same under another name
    description: str = ""
    enabled: bool = True
    fields: dict[Annotated[str, Field(pattern=r"^[^.$]+(\.[^.$]+)*$")], FieldMode] = {}  # noqa: RUF012 - a pydantic field

    @model_validator(mode="after")
    def _has_one_name(self) -> "_AccountEntry":
        if self.user_key and self.key:
            raise ValueError("user_key and key mean the same; give one")
        if not self.user_key and not self.key:
            raise ValueError("user_key is missing; add it")
        return self


def read(file: Path) -> list[Account]:
    """The accounts of `file` in its order, disabled ones too; none when there is no such file.

    Raises InvalidConfigFile.
    """
    if not file.exists():
        return []
    document = config_files.read_json(file)
    entries = document.validate(list[_AccountEntry])
    accounts = [
        Account(entry.user_key or entry.key, entry.description, entry.enabled, entry.fields) for entry in entries
    ]
    document.check(_name_conflicts(accounts))
    return accounts


def _name_conflicts(accounts: Iterable[Account]) -> Iterator[tuple[Location, str]]:
    """Names given twice, and names that read the same environment variable, if it is set."""
    first: dict[str, str] = {}
    for number, account in enumerate(accounts):
        variable = credential_variables(account.key)[0]
        other = first.get(variable)
        first.setdefault(variable, account.key)
        if other == account.key:
            yield (number,), f"account {account.key!r} is listed twice; remove one"
        elif other is not None and {variable, variable + secret_values.SUFFIX} & os.environ.keys():
            both = f"accounts {other!r} and {account.key!r}"
            yield (number,), f"{both} both read their e-mail from {variable}; unset it, or rename one"


@dataclass(frozen=True)
class Credentials:
    """E-mail and password of one account."""

    email: str = field(repr=False)
    password: str = field(repr=False)


def credential_variables(account: str) -> tuple[str, str]:
    """The environment variables of e-mail and password; those of account `lk.2` end in `_LK_2`."""
    key = re.sub(r"[^A-Z0-9]", "_", account.upper())
    email, password = (f"MARKETDATA_{what}_{key}" for what in ("BRAIN_EMAIL", "BRAIN_PASSWORD"))
    return email, password


def budget_name(account: str) -> str:
    """The name of the account's request budget; blanks and Chinese become their code points: `lk 2` is `lk_202`."""
    return re.sub(r"[^A-Za-z0-9@._-]", lambda found: f"_{ord(found[0]):x}", account)


def find_credentials(account: str, environ: Mapping[str, str], file: Path) -> Credentials:
    """From `environ` or the files that it names, else from `file`; NoCredentials says what is missing."""
    names = credential_variables(account)
    email, password = (secret_values.find(name, environ) for name in names)
    if email and password:
        return Credentials(email, password)
    if email or password:
        missing = names[1] if email else names[0]
        raise NoCredentials(account, f"{missing} is not set, while the other is; set both or none.")
    entry = _credentials_entry(account, file)
    if entry is None:
        raise NoCredentials(
            account,
            f'Set {names[0]} and {names[1]}, or put {{"{account}": {{"email": "...", "password": "..."}}}}'
            f" into {file} (mode 0600).",
            unset=True,
        )
    return Credentials(secret_values.hide(entry.email), secret_values.hide(entry.password))


class _CredentialsEntry(config_files.Section):
    email: Annotated[str, Field(min_length=1)]
    password: Annotated[str, Field(min_length=1)]


def _credentials_entry(account: str, file: Path) -> _CredentialsEntry | None:
    """The account's entry of the file; those of other accounts are not validated."""
    if not file.exists():
        return None
    try:
        document = config_files.read_json(file, secret=True)
        accounts = document.validate(dict[str, Any])
        return document.section(account).validate(_CredentialsEntry) if account in accounts else None
    except InvalidConfigFile as error:
        raise NoCredentials(account, str(error)) from None
