"""Who reads what the services are told: variables by our settings and dagster.yaml, commands by their own parsers."""

from typing import Any

import pytest
from dagster._cli.api import grpc_health_check_command
from dagster._daemon.cli import liveness_check_command
from dagster._daemon.cli import run_command as daemon_command
from typer.main import get_command

from marketdata_assets.cli import app
from marketdata_assets.collector.config import Variables
from marketdata_assets.dagster_storage import POSTGRES
from marketdata_assets.settings import Settings
from marketdata_assets.ticks.providers_file import ALPACA_KEYS as KEYS
from tests.deploy.compose_file import PROJECT

OF_DAGSTER = {
    ("dagster", "api", "grpc-health-check"): grpc_health_check_command,
    ("dagster-daemon", "run"): daemon_command,
    ("dagster-daemon", "liveness-check"): liveness_check_command,
}


def known() -> set[str]:
    names = {f"MARKETDATA_{name.upper()}" for name in Settings.model_fields}
    names |= {name.upper() for name in Variables.model_fields} | {"TUSHARE_TOKEN", *KEYS}
    return names | {*POSTGRES.values()}


def refuses_what_it_does_not_know(words: list[str]) -> None:
    """The command's own parser takes the words, and no others."""
    words = [word.replace("/app/", f"{PROJECT}/") for word in words]
    found: Any
    if words[0] == "marketdata":
        found, rest = get_command(app), words[1:]
        while rest and rest[0] in getattr(found, "commands", {}):
            found, rest = found.commands[rest[0]], rest[1:]
    else:
        start = next(start for start in OF_DAGSTER if tuple(words[: len(start)]) == start)
        found, rest = OF_DAGSTER[start], words[len(start) :]
    found.make_context(words[0], list(rest))
    with pytest.raises(Exception, match="No such option"):
        found.make_context(words[0], [*rest, "--no-such-option"])
