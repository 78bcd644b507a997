"""Runs of flows' jobs in this process, over files and definitions of a folder, and a look at what they left."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
from bar_runs import repository

QUIET = 3600
QUIET_LOG = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

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
class Mill:
    """A database, folders of files and of definitions, and a Dagster instance that has seen nothing yet."""

    dsn: str
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
        self, name: str, tags: Mapping[str, str] | None = None, config: Mapping[str, Any] | None = None
    ) -> dg.ExecuteInProcessResult:
        """Run the flow's job; a failed run is returned, not raised."""
        return (
            self.repository()
            .get_job(f"flow_{name}")
            .execute_in_process(
                instance=self.instance,
                tags=dict(tags or {}),
                run_config={**QUIET_LOG, "ops": {name: {"config": dict(config or {})}}},
                raise_on_error=False,
            )
        )

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(query, values or None).fetchall()

    def change(self, *statements: str) -> None:
        """Change tables behind the package's back; each statement must do something."""
        with psycopg.connect(self.dsn) as connection:
            for statement in statements:
                assert connection.execute(statement).rowcount != 0, statement

    def repository(self) -> dg.RepositoryDefinition:
        return repository()
