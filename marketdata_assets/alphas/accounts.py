"""The list of BRAIN accounts: `[{"user_key": "lk", "description": "first account", "enabled": true}]`.

Their credentials are elsewhere, see `credentials`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from marketdata_assets import config_files
from marketdata_assets.alphas.credentials import variables
from marketdata_assets.alphas.layout import ACCOUNT
from marketdata_assets.config_files import Location


@dataclass(frozen=True)
class Account:
    """One account; `key` names its folder, collection and partition."""

    key: str
    description: str = ""
    enabled: bool = True


def _check_name(name: Any) -> Any:
    if not isinstance(name, str) or not ACCOUNT.fullmatch(name):
        raise ValueError(f"account name {name!r}: use letters, digits and @._")
    if name[0] == "." or name[-1] == "." or name.startswith("system."):
        raise ValueError(f"account name {name!r} cannot name a folder and a collection; choose another")
    return name


Name = Annotated[str, BeforeValidator(_check_name)]


class _Entry(config_files.Section):
    user_key: Name = ""
    key: Name = ""  # the same under another name
    description: str = ""
    enabled: bool = True

    @model_validator(mode="after")
    def _has_one_name(self) -> "_Entry":
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
    entries = document.validate(list[_Entry])
    accounts = [Account(entry.user_key or entry.key, entry.description, entry.enabled) for entry in entries]
    document.check(_name_conflicts(accounts))
    return accounts


def _name_conflicts(accounts: Iterable[Account]) -> Iterator[tuple[Location, str]]:
    """Names given twice, and names that would read the same environment variables."""
    first: dict[str, str] = {}
    for number, account in enumerate(accounts):
        variable = variables(account.key)[0]
        other = first.get(variable)
        first.setdefault(variable, account.key)
        if other == account.key:
            yield (number,), f"account {account.key!r} is listed twice; remove one"
        elif other is not None:
            yield (
                (number,),
                f"accounts {other!r} and {account.key!r} both read their e-mail from {variable}; rename one",
            )
