"""Every command where its output is closed, an address is malformed, or its folders cannot be written.

It ends with a message and an exit code, and never with a traceback. The commands are those of the program's own tree;
the quick run has some of them.
"""

import os
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import marketdata_assets
from marketdata_assets.cli import app
from tests.cli.commands import environment
from tests.forks import server

READ_SETTINGS = {"marketdata_assets.__main__", "marketdata_assets.definitions"}
"""Modules that a command imports with its own settings."""
ARGUMENTS = {
    "run-containers": ["--socket", "{folder}/socket"],
    "exec": ["dagster-daemon", "--version"],
    "backup": ["{folder}/backup"],
    "restore": ["{folder}/backup"],
    "option-chain": ["deribit", "BTC"],
    "replay": ["{folder}/absent.jsonl"],
    "collect": ["--duration", "1"],
    "drain": ["--seconds", "1"],
    "ingest bars": ["--months", "2025-01"],
    "ingest alphas": ["--account", "one"],
    "ingest ticks": ["--symbols", "000001.SZ", "--start-date", "2025-01-02"],
    "ingest dumps": ["{folder}"],
    "ingest history": ["--exchange", "okx", "--instruments", "BTC-USDT"],
    "export parquet": ["{folder}/out"],
    "export qlib": ["{folder}/qlib"],
    "export alphas": ["{folder}/out.parquet"],
    "export records": ["{folder}/records", "--first", "2025-01-01", "--last", "2025-01-02"],
    "alphas login": ["--account", "one"],
    "alphas fetch": ["--account", "one", "--months", "2025-01"],
    "alphas changes": ["--account", "one"],
    "alphas records": ["--account", "one"],
    "flows new": ["mine"],
    "flows preview": ["stock_daily"],
    "flows run": ["--all"],
    "flows plan": ["stock_daily"],
    "flows rebuild": ["stock_daily"],
    "flows forget": ["stock_daily", "{folder}/one.csv"],
    "symbols remove": ["000001.SZ"],
    "symbols restore": ["000001.SZ"],
    "quarantine show": ["bars"],
    "bars forget": ["{folder}/one.zip"],
    "bars preview": ["{folder}/one.zip"],
    "collect convert": ["{folder}/one.yaml"],
    "ticks forget": ["{folder}/one.csv"],
}
"""What a command needs to come as far as its work."""
SERVES = ("up", "demo", "web", "replay-server")
OUTSIDE = ("collect", "ingest history", "symbols refresh")
"""What asks venues and providers."""
OWN_CAUSES = ("the Docker Engine", "is no folder", "is no file", "no file below")
"""Of commands that look at their arguments before they read an address."""


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    for name in getattr(command, "commands", ()):
        yield from leaves(command.commands[name], (*path, name))
    if not getattr(command, "commands", ()) or command.invoke_without_command:
        yield " ".join(path)


COMMANDS = sorted(leaves(get_command(app)))
SOME = COMMANDS[::7]


@pytest.fixture(params=[pytest.param(SOME, id="some"), pytest.param(COMMANDS, id="all", marks=pytest.mark.slow)])
def names(request: pytest.FixtureRequest) -> list[str]:
    found: list[str] = request.param
    return found


def run_command(words: list[str], variables: Mapping[str, str], folder: str, stdout: str) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    if stdout == "closed":
        os.close(1)
        sys.stdout = None  # type: ignore[assignment]
    elif stdout:
        os.dup2(os.open(stdout, os.O_WRONLY), 1)
    app(words, prog_name="marketdata")


Orders = list[tuple[list[str], Mapping[str, str]]]
Ends = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def ends() -> Iterator[Ends]:
    """Carry out commands in a folder, each with variables, and say how each ended."""
    package = pkgutil.walk_packages(marketdata_assets.__path__, f"{marketdata_assets.__name__}.")
    modules = [__name__, *(one.name for one in package if one.name not in READ_SETTINGS)]
    with server(*modules) as call:

        def ask(folder: Path, orders: Orders, stdout: str = "") -> list[dict[str, Any]]:
            found = []
            for words, more in orders:
                order = {"words": words, "variables": environment(folder, **more), "folder": folder, "stdout": stdout}
                ended = call(modules[0], "run_command", **order)
                found.append({"command": " ".join(words), "code": ended.code, "said": ended.said})
            return found

        yield ask


def given(names: list[str], folder: Path, *but: str) -> list[list[str]]:
    """Commands with their arguments."""
    return [
        [*name.split(), *(one.format(folder=folder) for one in ARGUMENTS.get(name, []))]
        for name in names
        if name not in but
    ]


def bad(found: list[dict[str, Any]], *expected: str) -> list[dict[str, Any]]:
    """Those that end with a traceback, a signal, an unknown option, or a failure without the expected words."""
    return [
        one
        for one in found
        if "Traceback" in one["said"]
        or one["code"] not in (0, 1, 2)
        or "No such option" in one["said"]
        or (one["code"] > 0 and expected and not any(words in one["said"] for words in expected))
    ]


def test_help_of_every_command_says_that_its_output_is_closed(ends: Ends, home: Path, names: list[str]) -> None:
    asked = [([*name.split(), "--help"], {}) for name in names if name != "exec"]
    for stdout in ("closed", "/dev/full"):
        found = ends(home, asked, stdout)
        assert bad(found, "standard output: ") == []
        assert {one["code"] for one in found} == {1}


def test_every_command_without_servers_ends_with_a_message_while_its_output_is_closed(
    ends: Ends, home: Path, names: list[str]
) -> None:
    assert bad(ends(home, [(words, {}) for words in given(names, home, *SERVES, *OUTSIDE)], "closed")) == []


MALFORMED = {
    "MARKETDATA_POSTGRES_DSN": "localhost:5432/bars",
    "MARKETDATA_MONGO_URI": "mongodb://u:hidden@h:port",
    "MARKETDATA_CLICKHOUSE_URL": "http://[::1",
    "MARKETDATA_NATS_URL": "nats://",
}


def test_every_command_names_the_settings_of_malformed_addresses(ends: Ends, home: Path, names: list[str]) -> None:
    found = ends(home, [(words, MALFORMED) for words in given(names, home)])
    for name in MALFORMED:
        assert bad(found, f"{name}: ", *OWN_CAUSES) == []
    assert len([one for one in found if one["code"] == 1]) > len(found) / 2
    assert not [one for one in found if "hidden" in one["said"]]


@pytest.mark.parametrize("folder", ["/sys/marketdata", "{home}/file/below"])
def test_every_command_ends_with_a_message_where_its_data_folder_cannot_be_written(
    ends: Ends, home: Path, folder: str, names: list[str]
) -> None:
    (home / "file").touch()
    variables = {"MARKETDATA_HOME": folder.format(home=home)}
    assert bad(ends(home, [(words, variables) for words in given(names, home, *OUTSIDE)])) == []
