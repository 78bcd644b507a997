"""`marketdata` and `dagster` as child processes that see nothing of this process's own environment."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings

PROGRAMS = Path(sys.executable).parent
OURS = ("MARKETDATA_", "DAGSTER_", "PYTEST_")


def environment(home: Path, **variables: object) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return inherited | {"MARKETDATA_HOME": str(home), "COLUMNS": "200"} | {k: str(v) for k, v in variables.items()}


def marketdata(home: Path, *arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [str(PROGRAMS / "marketdata"), *arguments]
    return subprocess.run(
        command, env=environment(home, **variables), cwd=home, capture_output=True, text=True, timeout=300
    )


def answer(run: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one JSON object that a command printed."""
    assert len(run.stdout.splitlines()) == 1, run.stdout + run.stderr
    found = json.loads(run.stdout)
    assert isinstance(found, dict)
    return found


def settings(home: Path) -> Settings:
    """Settings of a data folder that ignore the environment of whoever runs the tests."""
    unset: dict[str, Any] = {"postgres_dsn": None, "mongo_uri": None, "clickhouse_url": None, "nats_url": None}
    ports = {f"{name}_port": 0 for name in ("postgres", "mongo", "clickhouse", "nats")}
    return Settings(home=home, bars_dir=None, workers=None, **unset, **ports)


def stack_on(home: Path, *services: str) -> LocalStack:
    return LocalStack(settings(home), services) if services else LocalStack(settings(home))


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """The first truthy answer of `condition`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found
