"""A NATS server for all tests of a process: each finds it running and empty, also after one that killed it.

The tables of records are made once, too.
"""

import asyncio
from collections.abc import Iterator

import pytest

from marketdata_assets.collector.jetstream.stream import connected
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.local.process import Server
from tests.collector.jetstream_cases import nats_server, start


@pytest.fixture(scope="session")
def nats_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def server(nats_process: Server) -> Server:
    """The server without streams, to be killed and started again."""
    if not nats_process.alive:
        start(nats_process)
    asyncio.run(_emptied(nats_process.url))
    return nats_process


@pytest.fixture
def nats_url(server: Server) -> str:
    return server.url


@pytest.fixture
def tables_url(tables_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Those of records are not made again either."""
    monkeypatch.setattr(schema, "ensure", lambda client, keep_days=None: None)
    return tables_url


async def _emptied(url: str) -> None:
    async with connected(url) as client:
        manager = client.jetstream()
        for stream in await manager.streams_info():
            await manager.delete_stream(str(stream.config.name))
