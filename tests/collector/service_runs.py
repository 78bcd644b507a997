"""A collector in this process, from its start to its orderly end, and what it says over HTTP."""

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from marketdata_assets.collector import config as configuration
from marketdata_assets.collector.assembly import Places
from marketdata_assets.collector.connections import Shard
from marketdata_assets.collector.servers import Servers
from marketdata_assets.collector.service import Collector
from marketdata_assets.collector.status import Report
from marketdata_assets.local.process import free_port, port_answers
from marketdata_demo.venues.venue import Venue

LONGEST = 30.0
"""Seconds that something may take on a busy machine."""

SPOT = ["trade", "orderbook", "kline", "ticker"]
LINEAR = [*SPOT, "funding_rate", "open_interest", "liquidation"]


def market(venue: Venue, symbols: list[str], data_types: list[str]) -> dict[str, Any]:
    """The section of a market that is simulated."""
    return {"symbols": symbols, "data_types": data_types, "ws_url": venue.ws_url, "base_url": venue.url}


def text_of(markets: dict[str, dict[str, Any]], **sections: Any) -> str:
    """A configuration of Binance; JSON is YAML."""
    quick = {"backoff_seconds": 0.05, "longest_backoff_seconds": 0.5, "snapshot_seconds": 0.5}
    fast = {"capture": {"flush_seconds": 0.05}, "http": {"port": 0}, "connections": quick}
    return json.dumps({"exchanges": {"binance": {"markets": markets}}, **fast, **sections})


class Running:
    """A collector that runs."""

    def __init__(self, collector: Collector, client: httpx.AsyncClient) -> None:
        self.collector, self.client = collector, client
        self.report: Report | None = None

    async def get(self, path: str) -> Any:
        answer = await self.client.get(path)
        answer.raise_for_status()
        return answer.json()

    async def until(self, so: Callable[[], Any]) -> None:
        end = time.monotonic() + LONGEST
        while not so():
            assert time.monotonic() < end, "waited in vain"
            await asyncio.sleep(0.02)

    async def subscribed(self) -> None:
        """Until every subscription is confirmed."""
        await self.until(lambda: all(_confirmed(one) for one in self.collector.status().markets))

    async def emit(self, venue: Venue, events: int) -> None:
        await asyncio.get_running_loop().run_in_executor(None, venue.emit, events)


def _confirmed(state: Any) -> bool:
    return bool(state.subscriptions) and all(one.status == "confirmed" for one in state.subscriptions)


@asynccontextmanager
async def running(
    text: str, home: Path, servers: Servers | None = None, shard: Shard | None = None
) -> AsyncIterator[Running]:
    """Begin, and end in order; `report` is there afterwards."""
    places = Places(home / "collector", home / "budgets", home / "captures")
    collector = Collector(configuration.parse(text, "test.yaml"), servers or Servers(), places, shard)
    stop = asyncio.Event()
    task = asyncio.create_task(collector.run(stop))
    while not collector.server.port and not task.done():
        await asyncio.sleep(0.01)
    async with httpx.AsyncClient(base_url=collector.server.url) as client:
        run = Running(collector, client)
        try:
            if task.done():
                task.result()
            yield run
        finally:
            stop.set()
            run.report = await task


@contextmanager
def program(name: str, *arguments: str, folder: Path, port: int) -> Iterator[None]:
    """A server of Debian as a child process that listens; skips where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}: apt-get install {name}, or run make test as root")
    process = subprocess.Popen([found, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + LONGEST
        while not port_answers(port):
            assert process.poll() is None, f"{name} ended with {process.returncode}"
            assert time.monotonic() < end, f"{name} does not listen"
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def redis_server(folder: Path, port: int = 0, *more: str) -> Iterator[int]:
    """A redis-server that keeps nothing on disk; its port."""
    port = port or free_port()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", *more]
    with program("redis-server", *options, "--dir", str(folder), folder=folder, port=port):
        yield port
