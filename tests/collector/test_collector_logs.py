"""The log lines of the collector: each event once with its facts, few of a thousand repeats, and no password."""

import asyncio
import logging
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.budget import Budget
from marketdata_assets.collector import config
from marketdata_assets.collector.connections import (
    Clock,
    Timing,
    adapter_for,
    book_recovery,
    connection,
    liveness,
    market,
)
from marketdata_assets.collector.items import items
from marketdata_assets.collector.jetstream import in_flight, publisher, spool, stream
from marketdata_assets.collector.sinks import capture, clickhouse, redis
from marketdata_assets.collector.sinks.capture import CaptureSink
from marketdata_assets.collector.sinks.clickhouse import ClickHouseSink
from marketdata_assets.collector.sinks.redis import RedisSink
from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.logs import get_logger
from marketdata_demo.venues.venue import Venue
from tests.collector.collecting import Run
from tests.collector.collector_records import trade
from tests.collector.in_loop import in_loop, until
from tests.collector.jetstream_cases import Line, publishing
from tests.collector.market_cases import BINANCE, collect

MODULES = (
    book_recovery,
    connection,
    liveness,
    market,
    publisher,
    spool,
    in_flight,
    stream,
    capture,
    clickhouse,
    redis,
)
PASSWORD = "s3cr3t-word"

Logged = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Logged]:
    """The facts of each line of an event; no line of any event has the password."""
    for module in MODULES:
        monkeypatch.setattr(module, "log", get_logger(module.__name__))  # with a rate limit of its own
    with caplog.at_level(logging.INFO, logger="marketdata_assets"):
        yield lambda event: [vars(line)["facts"] for line in caplog.records if vars(line).get("event") == event]
    assert PASSWORD not in caplog.text


def test_a_lost_socket_and_its_replacement_are_logged(tmp_path: Path, logged: Logged) -> None:
    async def act(run: Run, venue: Venue) -> None:
        venue.hang_up()
        await run.until(lambda: run.connections[0].reconnects)
        await run.ready()

    collect(BINANCE, tmp_path, act)
    [lost] = logged("reconnecting")
    assert (lost["market"], lost["reason"]) == ("binance spot", "connection lost")
    assert lost["url"].startswith("ws://127.0.0.1")
    assert [line["market"] for line in logged("connected")] == ["binance spot"] * 2
    assert logged("instruments_listed")[0]["followed"] == len(BINANCE.names)


@in_loop
async def test_a_thousand_reconnects_give_few_lines(tmp_path: Path, logged: Logged) -> None:
    budget = Budget(tmp_path, "x", 0.0001, 1_000.0)
    url = f"ws://me:{PASSWORD}@127.0.0.1:1"
    adapter, timing = adapter_for("deribit", "inverse"), Timing(backoff=0.0001, longest_backoff=0.0001)
    broken = connection.Connection(1, url, adapter, timing, _Events(), budget)  # type: ignore[arg-type]
    task = asyncio.create_task(broken.run())
    await until(lambda: broken.failures >= 1000, seconds=60)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert 1 <= len(logged("connect_failed")) <= 50


class _Events:
    """Events of a connection that never opens."""

    def __init__(self) -> None:
        self.clock = Clock()

    def number(self) -> int:
        return 1

    def take(self, *_: object) -> None: ...

    sent = take


@in_loop
async def test_an_outage_of_nats_is_logged_from_spooling_to_drained(
    tmp_path: Path, nats_url: str, logged: Logged
) -> None:
    line = Line(nats_url)
    async with line as through, publishing(through, tmp_path / "spool") as sink:
        await until(lambda: sink.state().connected)
        line.deaf = True
        sink.put(items([trade(number) for number in range(100)]))
        await until(lambda: sink.state().spooled > 0)
        line.deaf = False
        await until(lambda: sink.state().acked == 100)
    assert logged("stream_created")[0]["stream"] == "MARKET"
    assert logged("spool_opened")[0]["messages"] == 0
    assert logged("nats_unavailable")[0]["attempt"] == 1
    assert logged("spooling")
    assert len(logged("nats_connected")) >= 2
    assert logged("spool_drained") == [{"folder": str(tmp_path / "spool")}]


@in_loop
async def test_a_full_spool_is_logged(tmp_path: Path, logged: Logged) -> None:
    async with publishing(f"nats://me:{PASSWORD}@127.0.0.1:1", tmp_path, spool_bytes=1000) as sink:
        sink.put(items([trade(number) for number in range(5000)]))
        await until(lambda: bool(logged("spool_full")))
    assert "1000 bytes" in logged("spool_full")[0]["error"]
    assert logged("nats_unavailable")


@in_loop
async def test_a_full_disk_is_logged_by_the_capture_and_its_recovery_too(tmp_path: Path, logged: Logged) -> None:
    sink = CaptureSink(tmp_path, flush_seconds=0.01)
    tap = sink.tap("okx", "linear", list)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, usual[1]))
    try:
        tap(Entry(1, "in", b"x", 1, "ws://x"))
        assert await sink.drain(0.0) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert await sink.drain(10.0) == 0
    sink.close()
    assert logged("capture_write_failed")[0]["folder"] == str(tmp_path)
    assert logged("capture_write_recovered")


@in_loop
async def test_an_unavailable_redis_is_logged(logged: Logged) -> None:
    client = redis.connect(f"redis://:{PASSWORD}@127.0.0.1:1/0")
    sink = RedisSink(client, lambda *_: None, config.Redis(flush_seconds=0.01))
    sink.put(items([trade(1)]))
    await sink.drain(5.0)
    assert [line["attempt"] for line in logged("redis_unavailable")] == [1, 2, 3]


@in_loop
async def test_an_unavailable_clickhouse_is_logged(tmp_path: Path, logged: Logged) -> None:
    url = f"http://me:{PASSWORD}@127.0.0.1:1/default"
    sink = ClickHouseSink(url, spool.Spool(tmp_path, 1 << 20), lambda *_: None, config.ClickHouse(batch_seconds=0.01))
    sink.put(items([trade(1)]))
    assert await sink.drain(10.0) == 0
    sink.close()
    assert logged("clickhouse_insert_failed")[0]["attempt"] == 1
    assert logged("spooling")[0]["folder"] == str(tmp_path)
