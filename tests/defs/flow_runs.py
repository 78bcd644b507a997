"""Runs of flows' jobs in this process, over files and definitions of a folder, and a look at what they left."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from tests.defs.bar_runs import QUIET, Database, execute, repository

PRICES = """\
type: marketdata_assets.components.Flow

attributes:
  loader:
    folder: prices
    columns: [symbol, day, close]
    types: {day: date, close: double}
  target:
    table: prices
    columns: {symbol: text, day: date, close: double}
    key: [symbol, day]
"""
"""The smallest flow there is."""


@dataclass(frozen=True)
class FlowsEnv(Database):
    """A database, folders of files and of definitions, and a Dagster instance that has seen nothing yet."""

    data: Path
    own: Path
    instance: dg.DagsterInstance

    def declare(self, name: str, text: str = PRICES) -> Path:
        """Write the definition of an own flow."""
        file = self.own / name / "defs.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        return file

    def deliver(self, name: str, data: bytes | str, folder: str = "stock_daily", age_seconds: float = QUIET) -> Path:
        """Write a file as it was delivered a while ago."""
        path = self.data / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        os.utime(path, (time.time() - age_seconds,) * 2)
        return path

    def run(
        self,
        name: str,
        tags: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        *,
        checks: bool = False,
    ) -> dg.ExecuteInProcessResult:
        """Run the flow's job; a failed run is returned, not raised."""
        return execute(
            self.instance, f"flow_{name}", {"ops": {name: {"config": dict(config or {})}}}, tags, checks=checks
        )

    def repository(self) -> dg.RepositoryDefinition:
        return repository()
