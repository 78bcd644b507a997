"""The direct writer against a real server: everything lands once, whatever the server does meanwhile."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from marketdata_assets.collector.config import ClickHouse
from marketdata_assets.collector.items import items
from marketdata_assets.collector.jetstream.spool import Spool
from marketdata_assets.collector.sinks.clickhouse import ClickHouseSink
from marketdata_assets.exchanges.records import Trade
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.local.process import free_port
from marketdata_assets.stores import clickhouse
from tests.collector.collector_records import place
from tests.collector.in_loop import in_loop, running, until
from tests.own_clickhouse import OwnClickHouse

NOW = 1_762_000_000 * 10**9


def trade(number: int, price: str = "1.5") -> Trade:
    return Trade(*place(), NOW + number, NOW + number, str(number), price, "1", None, "buy")


def ids(url: str) -> list[int]:
    with clickhouse.connect(url) as client:
        schema.ensure(client)
        found = client.query("SELECT toUInt64(trade_id) FROM exchange_trades FINAL ORDER BY 1").result_rows
    return [number for (number,) in found]


@asynccontextmanager
async def writing(
    url: str, folder: Path, batch_seconds: float = 0.1, **options: float
) -> AsyncIterator[ClickHouseSink]:
    settings = ClickHouse(batch_rows=50, batch_seconds=batch_seconds, queue_items=1000)
    spool = Spool(folder / "spool", 1 << 24)
    sink = ClickHouseSink(url, spool, lambda *_: None, settings, longest_pause=0.4, **options)
    async with running(sink):
        yield sink


@in_loop
async def test_batches_are_inserted_by_size_and_by_time(tables_url: str, tmp_path: Path) -> None:
    async with writing(tables_url, tmp_path, batch_seconds=0.3) as sink:
        sink.put(items(trade(number) for number in range(120)))
        await until(lambda: sink.state().acked >= 120)
        sink.put(items([trade(120)]))
        await until(lambda: sink.state().acked == 121)
        state = sink.state()
        assert (state.queued, state.spooled, state.dropped, state.oldest_ns) == (0, 0, 0, None)
        assert sink.latency.count == 121
    assert ids(tables_url) == list(range(121))


@in_loop
async def test_rejected_rows_are_quarantined_and_the_others_inserted(tables_url: str, tmp_path: Path) -> None:
    async with writing(tables_url, tmp_path) as sink:
        sink.put(items([trade(1), trade(2, "0.1234567890123456789"), trade(3)]))
        await until(lambda: sink.state().acked == 3)
        assert sink.rejected == 1
    assert ids(tables_url) == [1, 3]


@in_loop
async def test_records_are_spooled_while_the_server_is_unavailable(tmp_path: Path) -> None:
    server = OwnClickHouse(tmp_path / "server")
    try:
        async with writing(server.url, tmp_path) as sink:
            sink.put(items(trade(number) for number in range(100)))
            await until(lambda: sink.state().acked >= 50)
            server.kill()
            for number in range(100, 1500, 100):
                sink.put(items(trade(one) for one in range(number, number + 100)))
                await asyncio.sleep(0.01)
            await until(lambda: sink.state().spooled > 0 and sink.state().queued < 500)
            assert not sink.state().connected
            assert sink.state().last_error is not None
            server.start()
            await until(lambda: sink.state().spooled == 0 and sink.state().queued == 0)
            assert sink.state().dropped == 0
        assert ids(server.url) == list(range(1500))
    finally:
        server.stop()


@in_loop
async def test_a_stop_without_a_server_leaves_all_to_the_next_start(tables_url: str, tmp_path: Path) -> None:
    async with writing(f"http://127.0.0.1:{free_port()}/x", tmp_path) as sink:
        sink.put(items(trade(number) for number in range(500)))
    async with writing(tables_url, tmp_path) as sink:
        assert sink.state().spooled == 500
        await until(lambda: sink.state().spooled == 0)
    assert ids(tables_url) == list(range(500))


@in_loop
async def test_a_stalled_server_is_retried(tmp_path: Path) -> None:
    server = OwnClickHouse(tmp_path / "server")
    try:
        async with writing(server.url, tmp_path, timeout_seconds=1) as sink:
            sink.put(items([trade(0)]))
            await until(lambda: sink.state().acked == 1)
            process = server.stack.server("clickhouse").pid
            os.kill(process, signal.SIGSTOP)
            sink.put(items(trade(number) for number in range(1, 200)))
            await until(lambda: sink.state().spooled > 0)
            os.kill(process, signal.SIGCONT)
            await until(lambda: sink.state().spooled == 0 and sink.state().queued == 0)
        assert ids(server.url) == list(range(200))
    finally:
        server.stop()
