"""Servers for readers, shared by the session, and an empty database of each test's own."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from pymongo import MongoClient

from marketdata_assets.exchanges.tables import schema
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_assets.stores import clickhouse, mongo


@pytest.fixture(scope="session")
def mongo_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Mongo-wire server of the session's own."""
    settings = Settings(home=tmp_path_factory.mktemp("mongo"), mongo_uri=None)
    with LocalStack(settings, services=("mongo",)) as stack:
        assert stack.endpoints.mongo_uri
        yield stack.endpoints.mongo_uri


@pytest.fixture(scope="session")
def mongo_client(mongo_uri: str) -> Iterator[MongoClient[dict[str, Any]]]:
    with mongo.connect(mongo_uri) as client:
        yield client


@pytest.fixture(scope="module")
def venues(clickhouse_server: str) -> Iterator[Client]:
    """A database with the tables of exchange records, made once for a module."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with clickhouse.connect(f"{clickhouse_server}/default") as client:
        client.command(f"CREATE DATABASE {name} ENGINE = Atomic")
        with clickhouse.connect(f"{clickhouse_server}/{name}") as made:
            schema.ensure(made)
            yield made
        client.command(f"DROP DATABASE {name} SYNC")
