"""A Dagster instance on each storage it may have, and a server that takes alerts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import instance_for_test
from psycopg.conninfo import conninfo_to_dict


@pytest.fixture
def on_postgres(dsn: str, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance whose storage is an empty Postgres, as in production."""
    with instance_on(dsn, tmp_path) as instance:
        yield instance


@contextmanager
def instance_on(dsn: str, folder: Path, **overrides: Any) -> Iterator[dg.DagsterInstance]:
    """An instance whose storage is that database."""
    found: dict[str, Any] = conninfo_to_dict(dsn)
    database = {
        "scheme": "postgresql+psycopg2",
        "hostname": found["host"],
        "port": int(found["port"]),
        "db_name": found["dbname"],
        "username": found["user"],
        "password": found.get("password", ""),
    }
    masked = {
        "module": "marketdata_assets.masked_storage",
        "class": "MaskedStorage",
        "config": {"postgres_db": database},
    }
    settings = {"storage": {"custom": masked}, "telemetry": {"enabled": False}}
    with instance_for_test(overrides=settings | overrides, temp_dir=str(folder)) as instance:
        yield instance
