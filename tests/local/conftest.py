"""Real servers for the tests of the local stack: one running stack for all, and fresh short folders for the others."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings


@pytest.fixture(scope="session")
def local_stack() -> Iterator[LocalStack]:
    """All four servers on one folder, for tests that leave them running."""
    # A folder under pytest's own would be too long for PostgreSQL's socket.
    with tempfile.TemporaryDirectory(prefix="md-") as home, LocalStack(local_settings(Path(home))) as stack:
        yield stack


@pytest.fixture
def local_home() -> Iterator[Path]:
    """An empty data folder, removed after the test."""
    home = Path(tempfile.mkdtemp(prefix="md-"))
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def local_configure() -> Callable[..., Settings]:
    """Settings of a data folder that ignore the environment of whoever runs the tests."""
    return local_settings


def local_settings(home: Path, **values: object) -> Settings:
    unset: dict[str, object] = {"postgres_dsn": None, "mongo_uri": None, "clickhouse_url": None, "nats_url": None}
    ports = {f"{name}_port": 0 for name in ("postgres", "mongo", "clickhouse", "nats")}
    return Settings(**{"home": home, **unset, **ports, **values})
