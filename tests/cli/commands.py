"""`marketdata`, in this process or apart from it, and `dagster`: none sees anything of the tests' own environment."""

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from marketdata_assets.cli import app
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings

PROGRAMS = Path(sys.executable).parent
OURS = ("MARKETDATA_", "DAGSTER_", "PYTEST_")


def environment(home: Path, **variables: object) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return inherited | {"MARKETDATA_HOME": str(home), "COLUMNS": "200"} | {k: str(v) for k, v in variables.items()}


def apart(home: Path, *arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in a process of its own, as a person starts it."""
    command = [str(PROGRAMS / "marketdata"), *arguments]
    return subprocess.run(command, env=environment(home, **variables), cwd=home, capture_output=True, text=True)


def marketdata(home: Path, *arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in this process, which spares it imports and definitions; otherwise as `apart` does."""
    from marketdata_assets import definitions as project
    from tests.project_definitions import definitions

    runner = CliRunner()
    with chdir(home), only(environment(home, **variables)), pytest.MonkeyPatch.context() as patch:
        patch.setattr(project, "defs", definitions)
        ended = runner.invoke(app, arguments, prog_name="marketdata")
    unexpected = ended.exception is not None and not isinstance(ended.exception, SystemExit)
    trace = "".join(traceback.format_exception(ended.exception)) if unexpected else ""
    return subprocess.CompletedProcess(arguments, ended.exit_code, ended.stdout, ended.stderr + trace)


@contextmanager
def only(variables: Mapping[str, str]) -> Iterator[None]:
    """These are the environment; what the command adds to it is gone afterwards."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def answer(run: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one JSON object that a command printed."""
    assert len(run.stdout.splitlines()) == 1, run.stdout + run.stderr
    found = json.loads(run.stdout)
    assert isinstance(found, dict)
    return found


def settings(home: Path, **values: object) -> Settings:
    """Settings of a data folder that ignore the environment of whoever runs the tests."""
    unset = dict.fromkeys(("postgres_dsn", "mongo_uri", "clickhouse_url", "nats_url", "bars_dir", "workers"))
    ports = {f"{name}_port": 0 for name in ("postgres", "mongo", "clickhouse", "nats")}
    return Settings(**{"home": home, **unset, **ports, **values})  # type: ignore[arg-type]


def stack_on(home: Path, *services: str) -> LocalStack:
    return LocalStack(settings(home), services) if services else LocalStack(settings(home))


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """The first truthy answer of `condition`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found
