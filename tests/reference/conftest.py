"""A database without reference data, and a provider of them."""

from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from tests.reference.reference_runs import Loads


@pytest.fixture
def loads(tables_client: Client, tmp_path: Path) -> Loads:
    return Loads(tables_client, tmp_path / "reference")
