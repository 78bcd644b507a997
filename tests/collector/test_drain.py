"""The drain: what is in the stream is in the tables once, however the drain ended before."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from in_loop import in_loop
from own_clickhouse import OwnClickHouse
from streamed import contents, publish, records

from marketdata_assets.collector.config import ClickHouse
from marketdata_assets.collector.drain import Drained, Pace, drain
from marketdata_assets.collector.errors import StreamMissing
from marketdata_assets.collector.items import Item, items
from marketdata_assets.collector.jetstream.spool import Spool
from marketdata_assets.collector.sinks.clickhouse import ClickHouseSink
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.errors import StoreAway

KILLED_AT_ITS_ACK = """
import asyncio, os, signal, sys
from marketdata_assets.collector.drain import Pace, drain
from marketdata_assets.collector.jetstream.reader import Batch

async def ack(self):
    os.kill(os.getpid(), signal.SIGKILL)

Batch.ack = ack
asyncio.run(drain(sys.argv[1], sys.argv[2], pace=Pace(batch_rows=70, batch_seconds=0.2)))
"""


def drained(clickhouse_url: str, nats_url: str, batch_rows: int = 1000) -> Drained:
    return asyncio.run(drain(clickhouse_url, nats_url, pace=Pace(batch_rows=batch_rows, batch_seconds=0.2)))


def fill(nats_url: str, count: int) -> list[Item]:
    made = items(one for number in range(count) for one in records(number))
    asyncio.run(publish(nats_url, made))
    return made


def expected(count: int) -> dict[str, int]:
    """Of the candle, which is one and the same, only the newest state stays."""
    return {name: 1 if name == "kline" else count for name in schema.TABLES}


def counted(url: str) -> dict[str, int]:
    with clickhouse.connect(url) as client:
        return {name: len(rows) for name, rows in contents(client).items()}


def test_all_types_are_loaded_once_and_reported(clickhouse_url: str, nats_url: str) -> None:
    fill(nats_url, 50)
    report = drained(clickhouse_url, nats_url, batch_rows=20)
    assert list(report.types) == list(schema.TABLES)
    assert {(one.rows, one.batches, one.redelivered, one.rejected, one.left) for one in report.types.values()} == {
        (50, 3, 0, 0, 0)
    }
    assert counted(clickhouse_url) == expected(50)
    assert drained(clickhouse_url, nats_url).rows == 0


def test_rejected_rows_are_quarantined_and_acked(clickhouse_url: str, nats_url: str) -> None:
    made = fill(nats_url, 3)
    bad = [
        Item(made[0].record, payload) for payload in (b"no json", made[1].payload, made[0].payload[:-1] + b',"x":1}')
    ]
    odd = [Item(records(n)[0], item.payload) for n, item in zip((7, 8, 9), bad, strict=True)]
    asyncio.run(publish(nats_url, odd))
    report = drained(clickhouse_url, nats_url)
    assert (report.types["trade"].rows, report.types["trade"].rejected, report.left) == (4, 2, 0)
    with clickhouse.connect(clickhouse_url) as client:
        kept = client.query("SELECT type, raw, source FROM exchange_rejects FINAL ORDER BY raw").result_rows
    assert sorted(kept) == sorted(("trade", item.payload.decode(), "drain") for item in bad[:2])


def test_a_drain_killed_between_insert_and_ack_loses_and_duplicates_nothing(clickhouse_url: str, nats_url: str) -> None:
    fill(nats_url, 100)
    arguments = [sys.executable, "-c", KILLED_AT_ITS_ACK, clickhouse_url, nats_url]
    assert subprocess.run(arguments).returncode == -signal.SIGKILL
    assert sum(counted(clickhouse_url).values()) > 0
    report = drained(clickhouse_url, nats_url, batch_rows=33)
    assert any(one.redelivered for one in report.types.values())
    assert report.left == 0
    assert counted(clickhouse_url) == expected(100)


def test_an_unavailable_store_leaves_the_rest_in_the_stream(nats_url: str, tmp_path: Path) -> None:
    fill(nats_url, 40)
    server = OwnClickHouse(tmp_path / "clickhouse")
    try:
        drained(server.url, nats_url)
        asyncio.run(publish(nats_url, items(one for number in range(40, 60) for one in records(number))))
        server.kill()
        with pytest.raises(StoreAway):
            drained(server.url, nats_url)
        server.start()
        assert drained(server.url, nats_url).left == 0
        assert counted(server.url) == expected(60)
    finally:
        server.stop()


def test_a_missing_stream_is_named(clickhouse_url: str, nats_url: str) -> None:
    with pytest.raises(StreamMissing, match="MARKET"):
        drained(clickhouse_url, nats_url)


@in_loop
async def test_the_direct_writer_and_the_drain_give_the_same_tables(
    clickhouse_url: str, clickhouse_server: str, nats_url: str, tmp_path: Path
) -> None:
    twice = [one for number in range(60) for one in records(number)]
    late = [one for number in range(20) for one in records(number)]  # as of a second socket
    made = items([*twice, *late])
    other = f"{clickhouse_url}_direct"
    with clickhouse.connect(f"{clickhouse_server}/default") as client:
        client.command(f"CREATE DATABASE {other.rpartition('/')[2]} ENGINE = Atomic")
    try:
        await publish(nats_url, made)
        await drain(clickhouse_url, nats_url, pace=Pace(batch_seconds=0.2))
        sink = ClickHouseSink(other, Spool(tmp_path / "spool", 1 << 24), lambda *_: None, ClickHouse(batch_rows=90))
        sink.put(made)
        assert await sink.drain(30) == 0
        sink.close()
        with clickhouse.connect(clickhouse_url) as one, clickhouse.connect(other) as two:
            assert contents(one) == contents(two)
            assert len(contents(two)["trade"]) == 60
    finally:
        with clickhouse.connect(f"{clickhouse_server}/default") as client:
            client.command(f"DROP DATABASE {other.rpartition('/')[2]} SYNC")
