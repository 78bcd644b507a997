"""Clients of the Mongo-wire server."""

import uuid
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database


@pytest.fixture(scope="module")
def client(mongo_client: MongoClient[dict[str, Any]]) -> MongoClient[dict[str, Any]]:
    return mongo_client


@pytest.fixture(scope="module")
def scratch(mongo_client: MongoClient[dict[str, Any]]) -> Database[dict[str, Any]]:
    """A database that a whole module may write to."""
    return mongo_client[f"scratch_{uuid.uuid4().hex[:8]}"]
