"""Reading a durable consumer: every message at least once until it is acked, whoever read before."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from functools import partial

import msgspec
import nats
import pytest

from marketdata_assets.collector.errors import CollectorError, NatsUnavailable, StreamMissing
from marketdata_assets.collector.items import items
from marketdata_assets.collector.jetstream import stream as streams
from marketdata_assets.collector.jetstream.inspection import consumer_state
from marketdata_assets.collector.jetstream.publisher import Limits
from marketdata_assets.collector.jetstream.reader import Batch, Reader
from marketdata_assets.collector.jetstream.stream import Consumer, Stream, connected, consumers, ensure, redeliver_now
from marketdata_assets.errors import TransientError
from marketdata_assets.exchanges.records import Trade
from marketdata_assets.local.process import Server
from tests.collector.collector_records import delta, trades
from tests.collector.in_loop import in_loop, until
from tests.collector.jetstream_cases import leave_in_hand, publishing, start

TRADES = consumers()["trade"]


async def fill(url: str, count: int, first: int = 1) -> None:
    """Trades with an update of a book behind each, which the consumer does not want."""
    await ensure(url)
    async with publishing(url, limits=Limits(ack_seconds=120, spill_seconds=120)) as publisher:
        both = [record for one in trades(count, first=first) for record in (one, delta(int(one.trade_id)))]
        publisher.put(items(both))
        await until(lambda: publisher.state().oldest_ns is None)


def numbers(batch: Batch) -> list[int]:
    return [int(msgspec.json.decode(one, type=Trade).trade_id) for one in batch.payloads]


async def pending(server: Server) -> int:
    """Messages of trades without an ack."""
    async with connected(server.url) as client:
        state = await consumer_state(client, "MARKET", TRADES.name)
    return state.pending + state.unacked


async def read(url: str, rows: int = 1000, most: int | None = None, ack: bool = True) -> list[int]:
    """What there is now, or so many batches of it."""
    found: list[int] = []
    async with Reader(url, "MARKET", TRADES.name) as reader:
        async for batch in reader.batches(rows, 5, follow=False):
            found += numbers(batch)
            if ack:
                await batch.ack()
            if most is not None and len(found) >= most * rows:
                break
    return found


@in_loop
async def test_acked_batches_are_not_delivered_again(server: Server) -> None:
    await fill(server.url, 2_500)
    async with Reader(server.url, "MARKET", TRADES.name) as reader:
        sizes, seen = [], []
        async for batch in reader.batches(1_000, 5, follow=False):
            sizes.append(len(batch.payloads))
            seen += numbers(batch)
            assert (batch.redelivered, batch.last - batch.first) == (0, 2 * len(batch.payloads) - 2)
            await batch.ack()
    assert sizes == [1_000, 1_000, 500]
    assert seen == list(range(1, 2_501))
    assert await pending(server) == 0
    assert await read(server.url) == []


@in_loop
async def test_unacked_messages_are_redelivered_at_once(server: Server) -> None:
    await fill(server.url, 3_000)
    assert await read(server.url, most=1) == list(range(1, 1_001))
    # in whatever order: what the first reader gave back may come behind what was on its way to it
    assert sorted(await read(server.url, ack=False)) == list(range(1_001, 3_001))
    assert await pending(server) == 2_000
    assert sorted(await read(server.url)) == list(range(1_001, 3_001))
    assert await pending(server) == 0


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A server that gives back what was in hand when asked for the third time. The consumers that it was asked."""
    hasten, asked = streams.redeliver_now, []

    async def late(url: str, stream: str, consumer: str) -> None:
        asked.append(consumer)
        if len(asked) > 2:
            await hasten(url, stream, consumer)

    monkeypatch.setattr(streams, "redeliver_now", late)
    return asked


@in_loop
async def test_a_busy_server_is_asked_for_redelivery_again(server: Server, busy: list[str]) -> None:
    await fill(server.url, 3_000)
    await leave_in_hand(server.url)
    assert set(await read(server.url)) == set(range(1, 3_001))
    assert busy == [TRADES.name] * 3
    assert await pending(server) == 0


@in_loop
@pytest.mark.usefixtures("busy")
async def test_an_ack_of_newer_messages_does_not_ack_older_outstanding_ones(server: Server) -> None:
    await fill(server.url, 3_000)
    await leave_in_hand(server.url)
    seen: list[int] = []
    async with Reader(server.url, "MARKET", TRADES.name) as reader:
        async for batch in reader.batches(500, 5, follow=False):
            if min(numbers(batch)) > 500:
                await batch.ack()
            seen += numbers(batch)
    assert min(seen[:500]) > 500
    assert set(seen) == set(range(1, 3_001))
    assert set(range(1, 501)) <= set(await read(server.url))
    assert await pending(server) == 0


@in_loop
async def test_a_skipped_batch_is_not_acked_by_later_ones(server: Server) -> None:
    await fill(server.url, 4_000)
    async with Reader(server.url, "MARKET", TRADES.name) as reader:
        number = 0
        async for batch in reader.batches(1_000, 5, follow=False):
            number += 1
            if number != 2:
                await batch.ack()
    again = await read(server.url)
    assert set(range(1_001, 2_001)) <= set(again)
    assert not set(range(1, 1_001)) & set(again)
    assert await pending(server) == 0


PROCESS = """
import asyncio, sys
from marketdata_assets.collector.jetstream.reader import Reader
async def main():
    async with Reader(sys.argv[1], "MARKET", "clickhouse_trade") as reader:
        number = 0
        async for batch in reader.batches(700, 5, follow=False):
            number += 1
            if number <= 2:
                await batch.ack()
            if number == 4:
                print("in hand", flush=True)
                await asyncio.sleep(60)
asyncio.run(main())
"""


@in_loop
async def test_messages_in_flight_of_a_killed_reader_are_redelivered(server: Server) -> None:
    """The first ack of the next reader must not stand for what the killed one had not acked."""
    await fill(server.url, 5_000)
    process = subprocess.Popen([sys.executable, "-c", PROCESS, server.url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert await asyncio.to_thread(process.stdout.readline) == "in hand\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    first = await read(server.url, rows=500, most=1)  # and a kill in the middle of catching up
    rest = await read(server.url, rows=500)
    assert sorted({*first, *rest}) == list(range(1_401, 5_001))
    assert await pending(server) == 0


@in_loop
async def test_server_is_killed_between_batches(server: Server) -> None:
    await fill(server.url, 5_000)
    seen: list[int] = []
    with pytest.raises(NatsUnavailable):
        async with Reader(server.url, "MARKET", TRADES.name) as reader:
            async for batch in reader.batches(1_000, 5, follow=False):
                seen += numbers(batch)
                if len(seen) == 3_000:
                    server.kill()
                await batch.ack()
    await asyncio.to_thread(start, server)
    rest = await read(server.url)
    assert set(rest) | set(seen[:2_000]) == set(range(1, 5_001))
    assert await pending(server) == 0


@in_loop
async def test_a_reader_ends_although_a_request_has_lost_its_cancellation(server: Server) -> None:
    await fill(server.url, 3)
    reading = asyncio.Event()

    async def follow() -> None:
        async with Reader(server.url, "MARKET", TRADES.name) as reader:
            async for _ in reader.batches(1_000, 0.1, follow=True):
                reading.set()
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(3600)

    following = asyncio.create_task(follow())
    await reading.wait()
    following.cancel()
    await asyncio.wait([following], timeout=30)
    assert following.cancelled()


@in_loop
async def test_a_following_reader_does_not_wait_for_full_batches(server: Server) -> None:
    await ensure(server.url)
    seen: list[int] = []

    async def follow() -> None:
        async with Reader(server.url, "MARKET", TRADES.name) as reader:
            async for batch in reader.batches(10_000, 0.1):
                seen.extend(numbers(batch))
                await batch.ack()
                if len(seen) == 300:
                    return

    following = asyncio.create_task(follow())
    for first in (1, 101, 201):
        await fill(server.url, 100, first=first)
        await until(lambda first=first: len(seen) == first + 99)
    await following
    assert seen == list(range(1, 301))


@in_loop
async def test_two_readers_detect_each_other_and_lose_nothing(server: Server) -> None:
    await fill(server.url, 3_000)
    one = Reader(server.url, "MARKET", TRADES.name)
    other = Reader(server.url, "MARKET", TRADES.name)
    async with one, batches_of(one) as batches:
        first = await anext(batches)
        async with other, batches_of(other) as of_other:
            same = await anext(of_other)  # what the first has in hand and did not ack
            assert numbers(same) == numbers(first) == list(range(1, 501))
            await same.ack()
            await first.ack()
            with pytest.raises(TransientError, match="another reader takes its messages"):
                async for _ in batches:  # it had asked for the next one already
                    pass
    again = await read(server.url)
    assert set(again) == set(range(501, 3_001))
    assert await pending(server) == 0


@in_loop
async def test_concurrent_drains_lose_nothing(server: Server) -> None:
    await fill(server.url, 6_000)
    done: set[int] = set()

    async def drain() -> None:
        try:
            async with Reader(server.url, "MARKET", TRADES.name) as reader:
                async for batch in reader.batches(500, 5, follow=False):
                    await asyncio.sleep(0.01)
                    done.update(numbers(batch))
                    await batch.ack()
        except TransientError as error:
            assert "another reader takes its messages" in str(error)

    await asyncio.gather(drain(), drain(), drain())
    done.update(await read(server.url))
    assert done == set(range(1, 6_001))
    assert await pending(server) == 0


def batches_of(reader: Reader) -> aclosing[AsyncGenerator[Batch, None]]:
    return aclosing(reader.batches(500, 5, follow=False))


@in_loop
async def test_messages_deleted_from_the_stream_are_not_waited_for(server: Server) -> None:
    await fill(server.url, 2_000)
    await leave_in_hand(server.url)
    client = await nats.connect(server.url)
    await client.jetstream().purge_stream("MARKET")
    await client.close()
    await fill(server.url, 1_000, first=5_001)
    assert await read(server.url) == list(range(5_001, 6_001))
    assert await pending(server) == 0


@in_loop
async def test_settings_are_updated_and_conflicts_are_named(server: Server) -> None:
    await fill(server.url, 10)
    changed = [Consumer(TRADES.name, TRADES.subject, ack_seconds=7)]
    await ensure(server.url, Stream(max_age_seconds=3_600, duplicate_seconds=60), changed)
    client = await nats.connect(server.url)
    manager = client.jetstream()
    config = (await manager.stream_info("MARKET")).config
    assert (config.max_age, config.duplicate_window) == (3_600, 60)
    assert (await manager.consumer_info("MARKET", TRADES.name)).config.ack_wait == 7
    await manager.add_stream(name="OTHER", subjects=["other.>"], storage="memory")
    await manager.add_consumer("MARKET", nats.js.api.ConsumerConfig(durable_name="push", deliver_subject="there"))
    await client.close()
    with pytest.raises(CollectorError, match="storage is memory, not file"):
        await ensure(server.url, Stream(name="OTHER", subjects=("other.>",)), ())
    with pytest.raises(CollectorError, match="MARKET/push: ack_policy"):
        await ensure(server.url, durable=[Consumer("push", "market.>")])
    assert await read(server.url) == list(range(1, 11))


@pytest.mark.parametrize(("stream", "consumer"), [("MARKET", "nobody"), ("NOTHING", "nobody")])
@in_loop
async def test_a_missing_consumer_is_named(server: Server, stream: str, consumer: str) -> None:
    await ensure(server.url)
    with pytest.raises(StreamMissing, match=f"{stream}/{consumer}"):
        async with Reader(server.url, stream, consumer):
            pass
    with pytest.raises(StreamMissing, match=f"{stream}/{consumer}"):
        await redeliver_now(server.url, stream, consumer)


@in_loop
async def test_a_deleted_consumer_ends_the_batches(server: Server) -> None:
    await ensure(server.url)
    async with Reader(server.url, "MARKET", TRADES.name) as reader:
        waiting = asyncio.create_task(anext(reader.batches(10, 30)))
        client = await nats.connect(server.url)
        manager = client.jetstream()
        while not (await manager.consumer_info("MARKET", TRADES.name)).num_waiting:
            await asyncio.sleep(0.01)
        await manager.delete_consumer("MARKET", TRADES.name)
        await client.close()
        with pytest.raises(StreamMissing, match="Consumer Deleted"):
            await waiting


@in_loop
async def test_an_unavailable_server_is_named(server: Server) -> None:
    server.kill()
    for attempt in (
        partial(ensure, server.url),
        partial(pending, server),
        partial(read, server.url),
    ):
        with pytest.raises(NatsUnavailable, match=str(server.port)):
            await attempt()
