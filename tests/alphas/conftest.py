"""A real Mongo-wire server for the session."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from marketdata_assets.stores import mongo
from tests.own_mongo import mongo_on


@pytest.fixture(scope="session")
def mongo_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the session's own."""
    with mongo_on(tmp_path_factory.mktemp("mongo")) as uri:
        yield uri


@pytest.fixture(scope="session")
def client(mongo_uri: str) -> Iterator[MongoClient[dict[str, Any]]]:
    with mongo.connect(mongo_uri) as client:
        yield client


@pytest.fixture(scope="session")
def scratch(client: MongoClient[dict[str, Any]]) -> Database[dict[str, Any]]:
    """A database that a whole module may write to."""
    return client[f"scratch_{uuid.uuid4().hex[:8]}"]
