"""The compose file as the engine would see it: variables filled in from docker/.env.example, anchors followed."""

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parents[2]
DOCKER = PROJECT / "docker"
PACKAGE = PROJECT / "marketdata_assets"
FILE = DOCKER / "compose.yaml"
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?:(:-|:\?)([^}]*))?\}")
OURS = ("code", "webserver", "web", "viewer", "daemon", "metrics", "collector", "drain")
SECRETS = "/run/secrets/"


def example() -> dict[str, str]:
    """The variables of .env.example."""
    lines = (DOCKER / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def filled(text: str, values: dict[str, str]) -> str:
    """The text with its variables, as compose puts them in."""

    def value(found: re.Match[str]) -> str:
        name, how, word = found.groups()
        assert values.get(name) or how == ":-", f"{name} has no value"
        return values.get(name) or word

    return VARIABLE.sub(value, text).replace("$$", "$")


def compose(values: dict[str, str] | None = None) -> dict[str, Any]:
    """The whole file, without the parts that only others refer to."""
    known = example() if values is None else values
    return {key: _filled_in(value, known) for key, value in _parsed().items() if not key.startswith("x-")}


@cache
def _parsed() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return parsed


def _filled_in(node: Any, values: dict[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _filled_in(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled_in(value, values) for value in node]
    return filled(node, values) if isinstance(node, str) else node


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def mounted_secrets(service: dict[str, Any]) -> dict[str, str]:
    """Secrets of a service: where each is in the container."""
    listed = (one if isinstance(one, dict) else {"source": one} for one in service.get("secrets", ()))
    return {one["source"]: one.get("target", SECRETS + one["source"]) for one in listed}


def prepared(folder: Path) -> Path:
    """A copy of the folder docker, after prepare.sh; where its secrets are."""
    for name in ("prepare.sh", ".env.example"):
        (folder / name).write_bytes((DOCKER / name).read_bytes())
    subprocess.run(["sh", "prepare.sh"], cwd=folder, check=True, capture_output=True)
    return folder / "secrets"
