"""Clients of the Mongo-wire server."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from marketdata_assets.stores import mongo


@pytest.fixture(scope="module")
def client(mongo_uri: str) -> Iterator[MongoClient[dict[str, Any]]]:
    with mongo.connect(mongo_uri) as client:
        yield client


@pytest.fixture(scope="module")
def scratch(client: MongoClient[dict[str, Any]]) -> Database[dict[str, Any]]:
    """A database that a whole module may write to."""
    return client[f"scratch_{uuid.uuid4().hex[:8]}"]
