"""A client of the Mongo-wire server for readers."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from marketdata_assets.stores import mongo


@pytest.fixture(scope="module")
def mongo_client(mongo_uri: str) -> Iterator[MongoClient[dict[str, Any]]]:
    with mongo.connect(mongo_uri) as client:
        yield client
