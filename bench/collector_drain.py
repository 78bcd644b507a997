"""The drain: a filled stream of trades and book updates into the tables, against ClickHouse reading the same lines."""

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import psutil

from bench.figure import Figure, spread, tree_cpu_s
from bench.size import sized
from marketdata_assets.collector.drain import INSERTS, Pace, drain
from marketdata_assets.collector.items import Item, items
from marketdata_assets.collector.jetstream.publisher import Publisher
from marketdata_assets.collector.jetstream.spool import Spool
from marketdata_assets.collector.jetstream.stream import Stream, consumers, ensure
from marketdata_assets.collector.queue import BoundedQueue
from marketdata_assets.exchanges.records import Exchange, Level, MarketType, OrderBook, Side, Trade
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.rows import SETTINGS
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_assets.stores import clickhouse

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MESSAGES = sized(800_000, 4_000)
INSTRUMENTS = 20
TRADES = 3
"""So many for one update of a book, of five levels on each side; recorded ones have 2 to 34."""

SIDE = 5
ROUNDS = sized(3, 1)
PACE = Pace()
TYPES = ("trade", "orderbook")
ROOMY = Stream(max_bytes=-1)
NOW = 1_762_000_000 * 10**9


def figures(messages: int = MESSAGES) -> Iterator[Figure]:
    """The figure of the drain."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = Settings(home=Path(folder), nats_url=None, nats_port=0, clickhouse_url=None, clickhouse_port=0)
        with LocalStack(settings, services=("nats", "clickhouse")) as stack:
            assert stack.endpoints.nats_url and stack.endpoints.clickhouse_url
            servers = [psutil.Process(stack.server(name).pid) for name in ("nats", "clickhouse")]
            yield _figure(stack.endpoints.nats_url, stack.endpoints.clickhouse_url, messages, servers)


def _figure(nats_url: str, clickhouse_url: str, messages: int, servers: Sequence[psutil.Process]) -> Figure:
    made = items(_records(messages))
    asyncio.run(_fill(nats_url, made))
    lines = {
        name: [item.payload for item in made if item.payload.startswith(b'{"type":"%b"' % name.encode())]
        for name in TYPES
    }
    floor, ours = [], []
    cpu: list[list[float]] = []  # seconds of the servers and the drain
    with clickhouse.connect(clickhouse_url) as client:
        for _ in range(ROUNDS):
            _empty(client)
            _settle(client)
            floor.append(_insert_lines(client, lines))
            expected = _counts(client)
            _empty(client)
            asyncio.run(_begin_anew(nats_url))
            _settle(client)
            before = [tree_cpu_s(one) for one in servers]
            took, of_drain = _drain_apart(clickhouse_url, nats_url, messages)
            ours.append(took)
            cpu.append([*(tree_cpu_s(one) - was for one, was in zip(servers, before, strict=True)), of_drain])
            assert _counts(client) == expected
    rates = [messages / seconds / 1e3 for seconds in ours]
    shares = [one / other for one, other in zip(floor, ours, strict=True)]
    each = [median(column) / messages * 1e6 for column in zip(*cpu, strict=True)]
    size = sum(map(len, (line for batch in lines.values() for line in batch))) / messages
    detail = (
        f"{messages:,} messages of {INSTRUMENTS} instruments, {TRADES} trades for each update of a book of {2 * SIDE}"
        f" levels, {size:.0f} bytes on average, in batches of {PACE.batch_rows:,}, acked after each; the lines alone"
        f" into ClickHouse {messages / median(floor) / 1e3:.0f} k rows/s, ours {median(shares):.2f} of that;"
        f" CPU us a row: nats-server {each[0]:.1f}, ClickHouse {each[1]:.1f}, drain {each[2]:.1f};"
        f" {ROUNDS} interleaved rounds, {spread(rates, 0)} k"
    )
    return Figure("collector.drain_rows_per_s", median(rates) * 1e3, "rows/s", (">=", 150_000), detail)


def _records(messages: int) -> Iterator[Trade | OrderBook]:
    rng = random.Random(7)
    prices = [rng.uniform(1, 60_000) for _ in range(INSTRUMENTS)]
    for number in range(messages):
        at = number % INSTRUMENTS
        prices[at] *= 1 + rng.gauss(0, 1e-5)
        name = f"C{at:02d}"
        where: tuple[Exchange, MarketType, str, str] = ("binance", "linear", f"{name}-USDT", f"{name}USDT")
        ts = NOW + number * 50_000
        times = ts // 10**6 * 10**6, ts + 1_234_567
        if number // INSTRUMENTS % (TRADES + 1) < TRADES:
            side: Side = "buy" if rng.random() < 0.5 else "sell"
            size = f"{0.001 + rng.expovariate(2):.3f}"
            yield Trade(*where, *times, str(4_500_000_000 + number), f"{prices[at]:.2f}", size, None, side)
        else:
            ids = 10 * number, 10 * number + 9, 10 * number - 1
            sides = _levels(rng, prices[at], -1), _levels(rng, prices[at], 1)
            yield OrderBook(*where, *times, "delta", *sides, "base", *ids)


def _levels(rng: random.Random, price: float, away: int) -> tuple[Level, ...]:
    return tuple((f"{price + away * (n + rng.random()):.2f}", f"{0.001 + rng.expovariate(1):.3f}") for n in range(SIDE))


async def _fill(nats_url: str, made: Sequence[Item]) -> None:
    queue = BoundedQueue(4 * len(made), lambda *_: None)  # nothing of it goes to the disk
    folder = tempfile.TemporaryDirectory(prefix="bench-")
    spool = Spool(Path(folder.name), 1 << 30)
    publisher = Publisher(nats_url, queue, spool, prepare=lambda: ensure(nats_url, ROOMY))
    publisher.put(made)
    running = asyncio.create_task(publisher.run())
    while not publisher.state().connected:
        await asyncio.sleep(0.01)
    left = await publisher.drain(300)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    publisher.close()
    folder.cleanup()
    assert not left


async def _begin_anew(nats_url: str) -> None:
    """The consumers from the first message on."""
    import nats

    connection = await nats.connect(nats_url)
    try:
        for one in consumers().values():
            await connection.jetstream().delete_consumer(Stream.name, one.name)
    finally:
        await connection.close()
    await ensure(nats_url, ROOMY)


def _drain_apart(clickhouse_url: str, nats_url: str, messages: int) -> tuple[float, float]:
    """Seconds of a drain, and of its CPU time, in a process of its own, which has nothing else in its memory."""
    command = [sys.executable, "-m", __spec__.name, clickhouse_url, nats_url]
    told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert told[:3] == [messages, 0, 0], f"rows, rejected and left: {told[:3]} of {messages} messages"
    return told[3], told[4]


def _drain(clickhouse_url: str, nats_url: str) -> None:
    begin, cpu = time.perf_counter(), time.process_time()
    report = asyncio.run(drain(clickhouse_url, nats_url, types=TYPES, pace=PACE))
    took = time.perf_counter() - begin, time.process_time() - cpu
    print(json.dumps((report.rows, report.rejected, report.left, *took)))


def _insert_lines(client: "Client", lines: dict[str, list[bytes]]) -> float:
    """Seconds of as many inserts at a time as the drain makes, of batches that are ready."""
    size = PACE.batch_rows
    parts = [
        (name, b"\n".join(batch[at : at + size])) for name, batch in lines.items() for at in range(0, len(batch), size)
    ]
    begin = time.perf_counter()
    with ThreadPoolExecutor(INSERTS) as pool:
        list(pool.map(lambda part: _insert_part(client, *part), parts))
    return time.perf_counter() - begin


def _insert_part(client: "Client", name: str, block: bytes) -> None:
    table = schema.TABLES[name]
    client.raw_insert(
        table.name,
        column_names=list(table.columns),
        insert_block=block,
        settings={**SETTINGS, "insert_deduplicate": 0},
        fmt="JSONEachRow",
    )


def _empty(client: "Client") -> None:
    for table in schema.TABLES.values():
        client.command(f"DROP TABLE IF EXISTS {table.name} SYNC")
    schema.ensure(client)


def _counts(client: "Client") -> list[int]:
    return [client.query(f"SELECT count() FROM {schema.TABLES[name].name} FINAL").result_rows[0][0] for name in TYPES]


def _settle(client: "Client") -> None:
    """Until the server has nothing to merge."""
    while client.query("SELECT count() FROM system.merges").result_rows[0][0]:
        time.sleep(0.1)


if __name__ == "__main__":
    _drain(*sys.argv[1:])
