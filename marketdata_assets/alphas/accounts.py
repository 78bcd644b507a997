"""The list of BRAIN accounts: `[{"user_key": "lk", "description": "first account", "enabled": true}]`.

Their credentials are elsewhere, see `credentials`.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from marketdata_assets.alphas.credentials import variables
from marketdata_assets.alphas.errors import BadAccounts
from marketdata_assets.alphas.layout import ACCOUNT

KEYS = ("user_key", "key", "description", "enabled")


@dataclass(frozen=True)
class Account:
    """One account; `key` names its folder, collection and partition."""

    key: str
    description: str = ""
    enabled: bool = True


def read(file: Path) -> list[Account]:
    """The accounts of `file` in its order, disabled ones too; none when there is no such file."""
    try:
        data = json.loads(file.read_bytes())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadAccounts(str(file), f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadAccounts(str(file), f"not JSON ({error})") from error
    if not isinstance(data, list):
        raise BadAccounts(str(file), f'expected a list such as [{{"user_key": "lk"}}], was {type(data).__name__}')
    accounts = [_account(f"{file}[{number}]", entry) for number, entry in enumerate(data)]
    check_distinct(str(file), accounts)
    return accounts


def check_distinct(place: str, accounts: Iterable[Account]) -> None:
    """Refuse names given twice, and names that would read the same environment variables."""
    seen: dict[str, str] = {}
    for account in accounts:
        variable = variables(account.key)[0]
        if seen.get(variable) == account.key:
            raise BadAccounts(place, f"account {account.key!r} is listed twice; remove one")
        if variable in seen:
            both = f"accounts {seen[variable]!r} and {account.key!r}"
            raise BadAccounts(place, f"{both} would both take their e-mail from {variable}; rename one")
        seen[variable] = account.key


def _account(place: str, entry: object) -> Account:
    if not isinstance(entry, dict):
        raise BadAccounts(place, f'expected an object such as {{"user_key": "lk"}}, was {type(entry).__name__}')
    for key in entry:
        if key not in KEYS:
            near = get_close_matches(key, KEYS, 1, 0)[0]
            raise BadAccounts(place, f"unknown key {key!r}; did you mean {near!r}?")
    names = [entry[key] for key in ("user_key", "key") if key in entry]
    if len(names) != 1:
        raise BadAccounts(place, "user_key and key mean the same; give one" if names else "user_key is missing")
    description, enabled = entry.get("description", ""), entry.get("enabled", True)
    if not isinstance(description, str):
        raise BadAccounts(place, f"description must be text, was {description!r}")
    if not isinstance(enabled, bool):
        raise BadAccounts(place, f"enabled must be true or false, was {enabled!r}")
    return Account(_name(place, names[0]), description, enabled)


def _name(place: str, name: object) -> str:
    if not isinstance(name, str) or not ACCOUNT.fullmatch(name):
        raise BadAccounts(place, f"account name {name!r}: use letters, digits and @._")
    if name[0] == "." or name[-1] == "." or name.startswith("system."):
        raise BadAccounts(place, f"account name {name!r} cannot name a folder and a collection; choose another")
    return name
