"""A Mongo-wire server for tests that fill whole databases, or read all that stands there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings


@contextmanager
def mongo_on(home: Path) -> Iterator[str]:
    """Its URI; the server ends with the block."""
    with LocalStack(Settings(home=home, mongo_uri=None), services=("mongo",)) as stack:
        assert stack.endpoints.mongo_uri
        yield stack.endpoints.mongo_uri
