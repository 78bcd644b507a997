"""The drain: what is in the stream is in the tables once, however the drain ended before."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from marketdata_assets.collector.config import ClickHouse
from marketdata_assets.collector.drain import Drained, Pace, drain
from marketdata_assets.collector.errors import StreamMissing
from marketdata_assets.collector.items import Item, items
from marketdata_assets.collector.jetstream.spool import Spool
from marketdata_assets.collector.sinks.clickhouse import ClickHouseSink
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.errors import StoreAway
from tests.collector.in_loop import in_loop
from tests.collector.streamed import contents, publish, records
from tests.own_clickhouse import OwnClickHouse

KILLED_AT_ITS_ACK = """
import asyncio, os, signal, sys
from marketdata_assets.collector.drain import Pace, drain
from marketdata_assets.collector.jetstream.reader import Batch

async def ack(self):
    os.kill(os.getpid(), signal.SIGKILL)

Batch.ack = ack
asyncio.run(drain(sys.argv[1], sys.argv[2], pace=Pace(batch_rows=70, batch_seconds=0.2)))
"""


def drained(tables_url: str, nats_url: str, batch_rows: int = 1000) -> Drained:
    return asyncio.run(drain(tables_url, nats_url, pace=Pace(batch_rows=batch_rows, batch_seconds=0.2)))


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


def test_all_types_are_loaded_once_and_reported(tables_url: str, nats_url: str) -> None:
    fill(nats_url, 50)
    report = drained(tables_url, nats_url, batch_rows=20)
    assert list(report.types) == list(schema.TABLES)
    assert {(one.rows, one.batches, one.redelivered, one.rejected, one.left) for one in report.types.values()} == {
        (50, 3, 0, 0, 0)
    }
    assert counted(tables_url) == expected(50)
    assert drained(tables_url, nats_url).rows == 0


def test_rejected_rows_are_quarantined_and_acked(tables_url: str, nats_url: str) -> None:
    made = fill(nats_url, 3)
    bad = [
        Item(made[0].record, payload) for payload in (b"no json", made[1].payload, made[0].payload[:-1] + b',"x":1}')
    ]
    odd = [Item(records(n)[0], item.payload) for n, item in zip((7, 8, 9), bad, strict=True)]
    asyncio.run(publish(nats_url, odd))
    report = drained(tables_url, nats_url)
    assert (report.types["trade"].rows, report.types["trade"].rejected, report.left) == (4, 2, 0)
    with clickhouse.connect(tables_url) as client:
        kept = client.query("SELECT type, raw, source FROM exchange_rejects FINAL ORDER BY raw").result_rows
    assert sorted(kept) == sorted(("trade", item.payload.decode(), "drain") for item in bad[:2])


def test_a_drain_killed_between_insert_and_ack_loses_and_duplicates_nothing(tables_url: str, nats_url: str) -> None:
    fill(nats_url, 100)
    arguments = [sys.executable, "-c", KILLED_AT_ITS_ACK, tables_url, nats_url]
    assert subprocess.run(arguments).returncode == -signal.SIGKILL
    assert sum(counted(tables_url).values()) > 0
    report = drained(tables_url, nats_url, batch_rows=33)
    assert any(one.redelivered for one in report.types.values())
    assert report.left == 0
    assert counted(tables_url) == expected(100)


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


def test_a_missing_stream_is_named(tables_url: str, nats_url: str) -> None:
    with pytest.raises(StreamMissing, match="MARKET"):
        drained(tables_url, nats_url)


@in_loop
async def test_the_direct_writer_and_the_drain_give_the_same_tables(
    tables_url: str, empty_tables: Callable[[], str], nats_url: str, tmp_path: Path
) -> None:
    late = [one for number in range(20) for one in records(number)]  # as of a second socket
    made = items([*(one for number in range(60) for one in records(number)), *late])
    await publish(nats_url, made)
    await drain(tables_url, nats_url, pace=Pace(batch_seconds=0.2))
    with clickhouse.connect(tables_url) as client:
        drained = contents(client)
        assert empty_tables() == tables_url
        sink = ClickHouseSink(
            tables_url, Spool(tmp_path / "spool", 1 << 24), lambda *_: None, ClickHouse(batch_rows=90)
        )
        sink.put(made)
        assert await sink.drain(30) == 0
        sink.close()
        assert contents(client) == drained
    assert len(drained["trade"]) == 60
