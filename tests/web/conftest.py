"""A database with bars of invented stocks, loaded once for each file of tests."""

from collections.abc import Iterator

import pytest

from tests.databases import fresh_postgres
from tests.web.served_market import load_market


@pytest.fixture(scope="module")
def market(server_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with fresh_postgres(server_dsn) as fresh:
        load_market(fresh, tmp_path_factory.mktemp("bars"))
        yield fresh
