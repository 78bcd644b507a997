"""`marketdata drain --follow`: rows arrive while it runs; it waits for servers and other drains, and ends in order."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from marketdata_assets.collector import drain as drains
from marketdata_assets.collector.drain import Pace, claim_of, drain
from marketdata_assets.collector.drain_service import DrainService
from marketdata_assets.collector.errors import Claimed
from marketdata_assets.collector.items import items
from marketdata_assets.collector.jetstream import inspection
from marketdata_assets.collector.jetstream.claim import claim
from marketdata_assets.collector.jetstream.stream import connected
from marketdata_assets.collector.stream_losses import StreamLosses
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.local.process import Server
from tests.collector.in_loop import in_loop
from tests.collector.jetstream_cases import start
from tests.collector.streamed import publish, records
from tests.collector.test_drain import counted, expected

PATIENCE = 60.0


async def fill(url: str, first: int, end: int) -> None:
    await publish(url, items(one for number in range(first, end) for one in records(number)))


async def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not await asyncio.to_thread(true):
        assert time.monotonic() < end, "it never became true"
        await asyncio.sleep(0.05)


async def following(service: DrainService, work: Callable[[], Awaitable[None]]) -> None:
    """Do something while the service runs, then stop it."""
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    try:
        await work()
    finally:
        stop.set()
        await running


@in_loop
async def test_rows_arrive_while_it_follows_and_after_the_server_was_away(tables_url: str, server: Server) -> None:
    service = DrainService(tables_url, server.url)

    async def work() -> None:
        await until(lambda: service.progress.error is not None)
        assert "created when the collector starts" in str(service.progress.error)
        await fill(server.url, 0, 20)
        await until(lambda: service.progress.drained.rows >= 20 * len(schema.TABLES))
        assert counted(tables_url) == expected(20)
        assert service.progress.as_dict()["status"] == "healthy"
        server.kill()
        await until(lambda: service.progress.error is not None)
        await asyncio.to_thread(start, server)
        await fill(server.url, 20, 30)
        await until(lambda: all(one.rows >= 30 for one in service.progress.drained.types.values()))
        assert counted(tables_url) == expected(30)

    await following(service, work)
    again = await drain(tables_url, server.url, pace=Pace(batch_seconds=0.2))
    # The killed server may have forgotten acks: what it sends again is in the tables already.
    assert (again.left, again.lost_gaps) == (0, 0)
    assert counted(tables_url) == expected(30)


@in_loop
async def test_it_waits_for_another_drain_and_keeps_others_out(tables_url: str, server: Server) -> None:
    await fill(server.url, 0, 5)
    service = DrainService(tables_url, server.url)

    async def work() -> None:
        await until(lambda: service.progress.error is None and service.progress.drained.rows == 5 * len(schema.TABLES))
        with pytest.raises(Claimed, match="marketdata drain --follow"):
            await drain(tables_url, server.url)

    async with connected(server.url) as client:
        async with claim(client, claim_of("MARKET"), "run 1"):
            stop = asyncio.Event()
            running = asyncio.create_task(service.run(stop))
            await until(lambda: "in progress by run 1" in str(service.progress.error))
            assert service.progress.as_dict()["status"] == "degraded"
            assert service.progress.drained.rows == 0
        stop.set()
        await running
    await following(service, work)


@in_loop
async def test_a_stop_whose_cancellation_is_lost_in_a_request_still_ends_the_drain(
    tables_url: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `asyncio.wait_for` of Python 3.11 loses it, when the reply comes in the same moment."""
    await fill(server.url, 0, 5)
    opened, real_open, real_save = asyncio.Event(), StreamLosses.open, StreamLosses.save

    async def open_(*arguments: Any) -> StreamLosses:
        opened.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        return await real_open(*arguments)

    async def save(losses: StreamLosses) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.2)
        await real_save(losses)

    monkeypatch.setattr(StreamLosses, "open", open_)
    stop = asyncio.Event()
    running = asyncio.create_task(DrainService(tables_url, server.url).run(stop))
    await opened.wait()
    stop.set()
    async with asyncio.timeout(PATIENCE):
        await running
    monkeypatch.undo()
    monkeypatch.setattr(StreamLosses, "save", save)
    monkeypatch.setattr(drains, "SAVE_SECONDS", 0)
    async with asyncio.timeout(PATIENCE):
        await drain(tables_url, server.url, pace=Pace(batch_seconds=0.2))
    assert counted(tables_url) == expected(5)


@in_loop
async def test_a_type_that_ends_while_positions_are_saved_ends_in_order(
    tables_url: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(server.url, 0, 5)
    real_state, calls = inspection.stream_state, count()

    async def slow(*arguments: Any) -> Any:
        """Most types end while the first is asked for its position to save, and one ends later."""
        await asyncio.sleep({0: 1.0, 3: 2.0}.get(next(calls), 0.1))
        return await real_state(*arguments)

    monkeypatch.setattr(inspection, "stream_state", slow)
    monkeypatch.setattr(drains, "SAVE_SECONDS", 0)
    await drain(tables_url, server.url, pace=Pace(batch_seconds=0.2))
    assert counted(tables_url) == expected(5)


@in_loop
async def test_process_serves_health_and_metrics_and_ends_in_order_on_sigterm(
    tables_url: str, server: Server, tmp_path: Path
) -> None:
    await fill(server.url, 0, 10)
    command = [str(Path(sys.executable).with_name("marketdata")), "drain", "--follow", "--port", "0", "--json"]
    servers = {"MARKETDATA_CLICKHOUSE_URL": tables_url, "MARKETDATA_NATS_URL": server.url}
    environment = {**os.environ, **servers, "MARKETDATA_HOME": str(tmp_path / "home")}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            url = line.split()[-1]
            loaded = [f'drain_rows_total{{data_type="{name}"}} 10.0' for name in schema.TABLES]
            with httpx.Client(base_url=url) as client:
                await until(lambda: all(line in client.get("/metrics").text for line in loaded))
                assert counted(tables_url) == expected(10)
                assert client.get("/health").json()["status"] == "healthy"
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0
    assert '"trade": 10' in out
