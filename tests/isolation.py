"""No test sees the settings, the folders or the home of the person who runs it; what is left is an empty place.

The names come from the settings themselves, so that a new variable is covered when it is declared.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic_settings import BaseSettings

from marketdata_assets.secret_values import SUFFIX
from marketdata_assets.settings import PREFIX, CollectorSettings, Settings

KEPT = (f"{PREFIX}TEST_", f"{PREFIX}FIXTURES", f"{PREFIX}CHAOS")
"""What a person says to the tests: servers, recorded payloads, lengths."""

OTHERS = (
    PREFIX,
    "DAGSTER_",
    "BRAIN_",
    "TUSHARE_",
    "APCA_",
    "PG",
    "AWS_",
    "XDG_",
    "NATS_",
    "REDIS_",
    "CLICKHOUSE_",
    "MONGO",
)
"""Beginnings of the names of variables that the project or its clients read."""

TOOLS = {
    "PIP_CONFIG_FILE": ".config/pip/pip.conf",
    "PIP_CACHE_DIR": ".cache/pip",
    "GIT_CONFIG_GLOBAL": ".gitconfig",
    "DOCKER_CONFIG": ".docker",
}
"""How this machine gets packages and reads the checkout is no setting of the project: it stays as the person has it."""


def environment(before: Mapping[str, str], place: Path) -> dict[str, str]:
    """The variables of a process of tests: those of `before` that are no settings, and every default in `place`."""
    ours = set(variables(CollectorSettings))
    kept = {
        name: value
        for name, value in before.items()
        if name.startswith(KEPT) or not (name.upper().startswith(OTHERS) or name.upper() in ours)
    }
    home = Path(before.get("HOME") or Path.home())
    tools = {name: str(home / file) for name, file in TOOLS.items() if name not in before and (home / file).exists()}
    return {**kept, **tools, "HOME": str(place / "home"), **xdg(place / "home"), **defaults(place)}


def variables(settings: type[BaseSettings]) -> Iterator[str]:
    """Every variable that a class of settings reads."""
    for name in settings.model_fields:
        variable = f"{settings.model_config.get('env_prefix', '')}{name}".upper()
        yield from (variable, variable + SUFFIX)


def defaults(folder: Path) -> dict[str, str]:
    """The folders that settings take below the working folder when nothing names them: others in `folder`."""
    found = {name: field.default for name, field in Settings.model_fields.items() if isinstance(field.default, Path)}
    return {f"{PREFIX}{name}".upper(): str(folder / default) for name, default in found.items()}


def xdg(home: Path) -> dict[str, str]:
    """The folders of configuration, data, state and caches of other programs."""
    places = {"CONFIG": ".config", "DATA": ".local/share", "STATE": ".local/state", "CACHE": ".cache"}
    return {f"XDG_{name}_HOME": str(home / folder) for name, folder in places.items()}


def restored(variables: Mapping[str, str], folder: Path) -> None:
    """Undo what a test did to the process."""
    if os.environ != variables:
        os.environ.clear()
        os.environ.update(variables)
    if Path.cwd() != folder:
        os.chdir(folder)
