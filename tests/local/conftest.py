"""Real servers for the tests of the local stack: one running stack for all, and fresh short folders for the others."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from marketdata_assets.local.stack import LocalStack
from tests.cli.commands import stack_on


@pytest.fixture(scope="session")
def local_stack() -> Iterator[LocalStack]:
    """All four servers on one folder, for tests that leave them running."""
    # A folder under pytest's own would be too long for PostgreSQL's socket.
    with tempfile.TemporaryDirectory(prefix="md-") as home, stack_on(Path(home)) as stack:
        yield stack


@pytest.fixture
def local_home() -> Iterator[Path]:
    """An empty data folder, removed after the test."""
    home = Path(tempfile.mkdtemp(prefix="md-"))
    yield home
    shutil.rmtree(home, ignore_errors=True)
