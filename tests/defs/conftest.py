"""An empty warehouse for each test: a fresh database, a folder without files, an instance in memory."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from bar_runs import Warehouse


def _warehouse(dsn: str, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    patch.setenv("MARKETDATA_POSTGRES_DSN", dsn)
    patch.setenv("MARKETDATA_BARS_DIR", str(folder / "bars"))
    patch.setenv("MARKETDATA_HOME", str(folder / "home"))
    patch.setenv("MARKETDATA_WORKERS", "1")
    patch.delenv("MARKETDATA_BARS_QUIET_SECONDS", raising=False)
    (folder / "instance").mkdir()
    with dg.DagsterInstance.ephemeral(tempdir=str(folder / "instance")) as instance:
        yield Warehouse(dsn, folder / "bars", instance)


@pytest.fixture
def warehouse(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    """On plain PostgreSQL."""
    yield from _warehouse(dsn, tmp_path, monkeypatch)


@pytest.fixture
def either_warehouse(either_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    """On each of the two K-line engines."""
    yield from _warehouse(either_dsn, tmp_path, monkeypatch)
