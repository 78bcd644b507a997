"""One running stack for the commands that need one, and short folders for those that start their own."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from marketdata_assets.databases import make_tables
from marketdata_assets.local.stack import LocalStack
from tests.cli.commands import stack_on
from tests.databases import emptied_clickhouse, fresh_postgres, spare_work


@pytest.fixture(scope="session")
def running() -> Iterator[LocalStack]:
    """All four servers; commands find them through the data folder."""
    # A folder under pytest's own would be too long for PostgreSQL's socket.
    home = Path(tempfile.mkdtemp(prefix="md-"))
    with stack_on(home) as stack:
        spare_work(str(stack.endpoints.postgres_dsn))
        yield stack
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def empty_tables(running: LocalStack) -> Iterator[Callable[[], str]]:
    """As elsewhere, on the server of the stack."""
    server = str(running.endpoints.clickhouse_url).rpartition("/")[0]
    with emptied_clickhouse(server, partial(make_tables, "clickhouse")) as emptied:
        yield emptied


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty data folder without a stack."""
    folder = Path(tempfile.mkdtemp(prefix="md-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(running: LocalStack) -> Iterator[str]:
    """A fresh database on the running stack, for a test that must not meet another's rows."""
    with fresh_postgres(str(running.endpoints.postgres_dsn)) as fresh:
        yield fresh
