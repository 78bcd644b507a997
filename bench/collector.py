"""The collector's ways into JetStream and out of it: ours against nats-py's, on a real nats-server.

Both sides publish the same trades with the same message ids, made by the same functions, and wait for all acks. The
server is that of the local stack: an acked message outlives its death, and is on the disk within a second.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import nats
from nats.js import JetStreamContext

from bench.figure import Figure, spread
from bench.size import sized
from marketdata_assets.collector.items import Item, items, message_id, subject
from marketdata_assets.collector.jetstream.publisher import Publisher
from marketdata_assets.collector.jetstream.reader import Reader
from marketdata_assets.collector.jetstream.spool import Spool
from marketdata_assets.collector.jetstream.stream import Consumer, ensure
from marketdata_assets.collector.queue import BoundedQueue
from marketdata_assets.exchanges.records import Exchange, MarketType, Trade
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings

MESSAGES = sized(40_000, 2_000)
ROUNDS = sized(9, 1)
PENDING = 4_000
"""Of nats-py, its own default; our window is 8192."""
STEP = 2_000  # items handed over at once
BATCH = 50_000  # messages of one read
START = 1_700_000_000_000_000_000


@dataclass(frozen=True)
class Run:
    """One side's round."""

    rate: float  # messages a second
    cpu_us: float  # of this process, a message


def figures() -> Iterator[Figure]:
    """All figures of the module."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = Settings(home=Path(folder) / "stack", nats_url=None, nats_port=0)
        with LocalStack(settings, services=("nats",)) as stack:
            assert stack.endpoints.nats_url
            yield from asyncio.run(_figures(stack.endpoints.nats_url, Path(folder) / "spool"))


async def _figures(url: str, spool: Path) -> list[Figure]:
    await ensure(url, durable=[Consumer("bench", "market.>")])
    publisher = Publisher(url, BoundedQueue(4 * MESSAGES, lambda *_: None), Spool(spool, 1 << 30))
    running = asyncio.create_task(publisher.run())
    client = await nats.connect(url)
    manager = client.jetstream(publish_async_max_pending=PENDING)
    theirs, ours = [], []
    try:
        for number in range(ROUNDS):
            theirs.append(await _timed(partial(_publish_async, manager, _trades(2 * number))))
            ours.append(await _timed(partial(_publish, publisher, _trades(2 * number + 1))))
        state = publisher.state()
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        publisher.close()
        await client.close()
    assert state.acked == ROUNDS * MESSAGES
    return [_publish_figure(ours, theirs), await _read_figure(url)]


def _publish_figure(ours: list[Run], theirs: list[Run]) -> Figure:
    ratios = [one.rate / other.rate for one, other in zip(ours, theirs, strict=True)]
    told = [
        f"{name} {median(run.rate for run in runs) / 1e3:.0f} k/s at {median(run.cpu_us for run in runs):.1f} us CPU"
        for name, runs in (("ours", ours), ("publish_async", theirs))
    ]
    detail = (
        f"{MESSAGES:,} trades a round with dedup ids until the last ack, {ROUNDS} interleaved rounds, {PENDING} pending"
        f" on their side; {'; '.join(told)} a message; {spread(ratios)}"
    )
    return Figure("collector.publish_vs_publish_async", median(ratios), "x rate", (">=", 1.5), detail)


async def _read_figure(url: str) -> Figure:
    counted, spent = 0, 0.0
    started, wall = time.process_time(), time.perf_counter()
    async with Reader(url, "MARKET", "bench") as reader:
        async for batch in reader.batches(BATCH, 5, follow=False):
            counted += len(batch.payloads)
            before = time.perf_counter()
            await batch.ack()
            spent += time.perf_counter() - before
    wall = time.perf_counter() - wall
    assert counted == 2 * ROUNDS * MESSAGES
    detail = (
        f"{counted:,} messages in batches of {BATCH:,}, each acked; {counted / wall / 1e3:.0f} k/s with the server"
        f" beside it, {spent / wall:.0%} of the time waiting for acks"
    )
    cpu_us = (time.process_time() - started) / counted * 1e6
    return Figure("collector.read_cpu_us", cpu_us, "us a message", None, detail)


async def _timed(run: Callable[[], Awaitable[None]]) -> Run:
    cpu, wall = time.process_time(), time.perf_counter()
    await run()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Run(MESSAGES / wall, cpu / MESSAGES * 1e6)


async def _publish(publisher: Publisher, given: list[Item]) -> None:
    for at in range(0, len(given), STEP):
        publisher.put(given[at : at + STEP])
    goal = publisher.state().acked // MESSAGES * MESSAGES + MESSAGES
    while publisher.state().acked < goal:
        await asyncio.sleep(0.002)


async def _publish_async(manager: JetStreamContext, given: list[Item]) -> None:
    for one in given:
        headers = {"Nats-Msg-Id": message_id(one.record)}
        await manager.publish_async(subject(one.record), one.payload, headers=headers)
    await manager.publish_async_completed()


def _trades(number: int) -> list[Item]:
    place: tuple[Exchange, MarketType, str, str] = ("binance", "spot", "BTC-USDT", "BTCUSDT")
    first = number * MESSAGES
    return items(
        Trade(*place, START + at, START + at, str(5_000_000_000 + at), "60123.45", "0.01230", None, "buy")
        for at in range(first, first + MESSAGES)
    )
