"""Servers for readers, shared by the session, and an empty database of each test's own."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from marketdata_assets.stores import mongo
from tests.own_mongo import mongo_on


@pytest.fixture(scope="session")
def mongo_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the session's own."""
    with mongo_on(tmp_path_factory.mktemp("mongo")) as uri:
        yield uri


@pytest.fixture(scope="session")
def mongo_client(mongo_uri: str) -> Iterator[MongoClient[dict[str, Any]]]:
    with mongo.connect(mongo_uri) as client:
        yield client
