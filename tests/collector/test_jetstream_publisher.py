"""Publishing to a real server that is killed, goes away and loses acks: each item is in the stream exactly once."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import nats
import psutil
import pytest

from marketdata_assets.collector.items import Recorded, items
from marketdata_assets.collector.jetstream.spool import Spool
from marketdata_assets.collector.jetstream.stream import Stream
from marketdata_assets.exchanges.records import Gap, Trade
from marketdata_assets.local.process import Server
from tests.collector.collector_records import delta, ticker, trade, trades
from tests.collector.in_loop import in_loop, until
from tests.collector.jetstream_cases import (
    QUICK,
    Line,
    OldServer,
    change_stream,
    publishing,
    put_slowly,
    start,
    stored,
)


def payloads(records: list[Recorded]) -> list[bytes]:
    return [one.payload for one in items(records)]


def numbers(found: list[bytes]) -> list[int]:
    return [int(msgspec.json.decode(one, type=Trade).trade_id) for one in found]


@in_loop
async def test_items_are_published_in_order_with_subject_id_and_payload(server: Server) -> None:
    records = [one for number in range(1, 400) for one in (trade(number), delta(number), ticker(number, "XYZ"))]
    async with publishing(server.url) as publisher:
        await put_slowly(publisher, records)
        await until(lambda: publisher.state().oldest_ns is None)
        assert await publisher.drain(10) == 0
        state = publisher.state()
    assert (state.acked, state.queued, state.oldest_ns, state.last_error) == (len(records), 0, None, None)
    assert await stored(server.url) == payloads(records)
    assert await stored(server.url, "market.trade.binance.linear.ABC-USDT") == payloads(records[::3])


@in_loop
async def test_the_same_event_from_two_processes_is_stored_once(server: Server) -> None:
    async with publishing(server.url) as one, publishing(server.url) as other:
        for sink in (one, other):
            sink.put(items(trades(500)))
        await until(lambda: one.state().acked + other.state().acked == 1000)
    assert sorted(numbers(await stored(server.url))) == list(range(1, 501))


@in_loop
async def test_bursts_of_two_processes_at_once_are_each_stored_whole(server: Server) -> None:
    """The server knows a batch by its id alone, whoever sends it."""
    async with publishing(server.url) as one, publishing(server.url) as other:
        both = [put_slowly(sink, [*trades(5_000, first=first)], step=37) for sink, first in ((one, 1), (other, 5_001))]
        await asyncio.gather(*both)
        await until(lambda: one.state().oldest_ns is other.state().oldest_ns is None)
    assert sorted(numbers(await stored(server.url))) == list(range(1, 10_001))


@in_loop
async def test_repeated_kills_of_the_server_leave_each_item_once(server: Server, tmp_path: Path) -> None:
    async with publishing(server.url, tmp_path / "spool") as publisher:
        putting = asyncio.create_task(put_slowly(publisher, [*trades(12_000)], step=50))
        for done in (1_000, 3_000, 6_000):
            await until(lambda done=done: publisher.state().acked > done)
            server.kill()
            if done == 3_000:
                await until(lambda: publisher.state().spooled > 1_000)
            await asyncio.to_thread(start, server)
        await putting
        await until(lambda: publisher.state().oldest_ns is None, 60)
        state = publisher.state()
    assert (state.dropped, state.spooled, state.spool_bytes, state.oldest_ns) == (0, 0, 0, None)
    assert numbers(await stored(server.url)) == list(range(1, 12_001))


@in_loop
async def test_lost_acks_make_no_duplicates(server: Server) -> None:
    line = Line(server.url)
    async with line as url, publishing(url, prepare_url=server.url) as publisher:
        publisher.put(items(trades(100)))
        await until(lambda: publisher.state().acked == 100)
        line.deaf = True
        publisher.put(items(trades(900, first=101)))
        before = line.opened
        await until(lambda: line.opened > before)  # no ack for so long: another connection
        line.deaf = False
        line.cut()
        await until(lambda: publisher.state().acked == 1000)
    assert numbers(await stored(server.url)) == list(range(1, 1001))


@in_loop
async def test_a_connection_broken_anywhere_loses_and_duplicates_nothing(server: Server) -> None:
    line = Line(server.url)
    async with line as url, publishing(url, prepare_url=server.url) as publisher:
        for attempt in range(12):
            line.limit = 50_000 + 7_919 * attempt
            await put_slowly(publisher, [*trades(500, first=1 + 500 * attempt)])
        line.limit = None
        await until(lambda: publisher.state().oldest_ns is None)
        assert line.opened > 3
    assert numbers(await stored(server.url)) == list(range(1, 6001))


@in_loop
async def test_items_beyond_queue_and_disk_become_gaps(server: Server, tmp_path: Path) -> None:
    async with publishing(server.url, tmp_path / "spool", capacity=1_000, spool_bytes=20_000) as publisher:
        await until(lambda: publisher.state().connected)
        server.kill()
        await put_slowly(publisher, [*trades(20_000)], step=50)
        state = publisher.state()
        assert state.dropped > 1_000
        assert state.spool_bytes <= 20_000
        assert "20000 bytes" in (state.last_error or "")
        await asyncio.to_thread(start, server)
        await until(lambda: publisher.state().oldest_ns is None)
    found = [msgspec.json.decode(one, type=Trade | Gap) for one in await stored(server.url)]
    whole: list[int] = []
    for one in found:
        if isinstance(one, Gap):
            assert one.last_id is not None
            assert one.next_id is not None
            whole += range(one.last_id + 1, one.next_id)
        else:
            whole.append(int(one.trade_id))
    assert sorted(whole) == list(range(1, 20_001))
    assert sum(isinstance(one, Gap) for one in found) < 20


PROCESS = """
import asyncio, sys
from pathlib import Path
sys.path.append(sys.argv[3])
from tests.collector.collector_records import trades
from tests.collector.jetstream_cases import publishing, put_slowly
async def main():
    async with publishing(sys.argv[1], Path(sys.argv[2])) as publisher:
        given, put = 0, publisher.put
        def counted(items):
            nonlocal given
            put(items)
            given += len(items)
        publisher.put = counted
        putting = asyncio.create_task(put_slowly(publisher, trades(1_000_000), step=50))
        while True:
            await asyncio.sleep(0.02)
            if not publisher._turn.locked():  # nothing is on its way to the disk
                state = publisher.state()
                print(state.acked, state.spooled, given - publisher._in_memory(), flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize("stalls", [False, True])
@in_loop
async def test_a_killed_process_leaves_a_complete_prefix(server: Server, tmp_path: Path, stalls: bool) -> None:
    """What was acked or spooled is there; what comes after was in memory alone, and nothing in between is missing.

    A server that stalls for more than `ack_seconds` gets and acks messages of the spool twice.
    """
    arguments = [sys.executable, "-c", PROCESS, server.url, str(tmp_path / "spool"), str(Path(__file__).parents[2])]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = map(str.split, process.stdout)

    async def reported(enough: Callable[[int, int], bool]) -> int:
        """How many were acked or spooled, once the counts of both are enough."""
        while not enough(*(counts := [int(one) for one in await asyncio.to_thread(next, lines)])[:2]):
            continue
        return counts[2]

    if stalls:
        await reported(lambda acked, _: acked > 500)
        psutil.Process(server.pid).suspend()
        await reported(lambda _, spooled: spooled > 0)
        psutil.Process(server.pid).resume()
    await reported(lambda acked, _: acked >= 3_000)
    server.kill()
    safe = await reported(lambda _, spooled: spooled >= 3_000)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    await asyncio.to_thread(start, server)
    async with publishing(server.url, tmp_path / "spool") as publisher:
        await until(lambda: publisher.state().connected and not publisher.state().spooled)
    found = numbers(await stored(server.url))
    assert len(found) >= safe
    assert found == list(range(1, len(found) + 1))


@in_loop
async def test_drain_without_a_server_leaves_all_to_the_next_process(server: Server, tmp_path: Path) -> None:
    async with publishing(server.url, tmp_path / "spool") as publisher:
        publisher.put(items(trades(1_000)))
        await until(lambda: publisher.state().acked == 1_000)
        server.kill()
        publisher.put(items(trades(3_000, first=1_001)))
        assert await publisher.drain(0.1) == 0
        assert publisher.state().spooled == 3_000
    await asyncio.to_thread(start, server)
    async with publishing(server.url, tmp_path / "spool") as publisher:
        publisher.put(items(trades(1_000, first=4_001)))
        await until(lambda: publisher.state().oldest_ns is None)
    assert numbers(await stored(server.url)) == list(range(1, 5_001))


@in_loop
async def test_outage_beyond_the_duplicate_window_may_repeat_but_loses_nothing(server: Server) -> None:
    """In doubt is only what was sent and not acked: with acks lost for longer than the window, it is there twice."""
    line, stream = Line(server.url), Stream(duplicate_seconds=0.5)
    async with line as url, publishing(url, prepare_url=server.url, stream=stream) as publisher:
        publisher.put(items(trades(100)))
        await until(lambda: publisher.state().acked == 100)
        line.deaf = True
        publisher.put(items(trades(10, first=101)))
        await asyncio.sleep(1.2)
        line.deaf = False
        line.cut()
        publisher.put(items(trades(890, first=111)))
        await until(lambda: publisher.state().acked == 1_000)
    found = numbers(await stored(server.url))
    assert set(found) == set(range(1, 1_001))
    assert {one for one in found if found.count(one) > 1} <= set(range(101, 111))


@in_loop
async def test_a_deleted_stream_is_recreated(server: Server) -> None:
    async with publishing(server.url) as publisher:
        publisher.put(items(trades(10)))
        await until(lambda: publisher.state().acked == 10)
        client = await nats.connect(server.url)
        await client.jetstream().delete_stream("MARKET")
        await client.close()
        publisher.put(items(trades(10, first=11)))
        await until(lambda: publisher.state().acked == 20)
    assert numbers(await stored(server.url)) == list(range(11, 21))


@in_loop
async def test_a_message_above_the_size_limit_becomes_a_gap(server: Server, tmp_path: Path) -> None:
    huge = msgspec.structs.replace(trade(2), price="1" * (8 << 20))
    async with publishing(server.url, tmp_path / "spool") as publisher:
        publisher.put(items([trade(1), huge, trade(3)]))
        await until(lambda: publisher.state().acked == 3)
        server.kill()
        publisher.put(items([trade(4), msgspec.structs.replace(huge, trade_id="5"), trade(6)]))
        await until(lambda: publisher.state().spooled == 3)
        await asyncio.to_thread(start, server)
        await until(lambda: publisher.state().acked == 6)
        assert publisher.state().dropped == 2
    found = [msgspec.json.decode(one, type=Trade | Gap) for one in await stored(server.url)]
    reported = [(one.cause, one.last_id, one.next_id) if isinstance(one, Gap) else one.trade_id for one in found]
    assert reported == ["1", ("too large", 1, 3), "3", "4", ("too large", 4, 6), "6"]


@in_loop
async def test_a_message_that_the_server_rejects_is_repeated_behind_those_that_it_stores(server: Server) -> None:
    large = msgspec.structs.replace(trade(3), price="1" * 2_000)
    async with publishing(server.url) as publisher:
        publisher.put(items(trades(1)))
        await until(lambda: publisher.state().acked == 1)
        await change_stream(server.url, max_msg_size=1_000)
        publisher.put(items([trade(2), large, *trades(7, first=4)]))
        await until(lambda: publisher.state().acked == 9)
        assert publisher.state().oldest_ns == large.ts_recv
        await change_stream(server.url, max_msg_size=-1)
        await until(lambda: publisher.state().acked == 10)
    assert numbers(await stored(server.url)) == [1, 2, *range(4, 11), 3]


@in_loop
async def test_batches_that_the_stream_stops_taking_are_enabled_again(server: Server) -> None:
    async with publishing(server.url) as publisher:
        publisher.put(items(trades(10)))
        await until(lambda: publisher.state().acked == 10)
        await change_stream(server.url, allow_batched=False)
        publisher.put(items(trades(500, first=11)))
        await until(lambda: publisher.state().acked == 510)
    assert numbers(await stored(server.url)) == list(range(1, 511))


@in_loop
async def test_a_server_without_batches_acks_each_message() -> None:
    """As servers before 2.14 do; they take the reply subject of a batch as any other one."""
    async with OldServer(ignored=7) as old, publishing(old.url, prepare=False) as publisher:
        publisher.put(items(trades(100)))
        await until(lambda: publisher.state().acked == 100)
        assert publisher.state().oldest_ns is None
    assert old.ids == [f"trade.binance.linear.ABCUSDT.{number}" for number in (*range(1, 101), 7)]


@in_loop
async def test_an_unavailable_server_is_retried_forever(tmp_path: Path) -> None:
    async with publishing("nats://127.0.0.1:9", tmp_path / "spool", limits=QUICK) as publisher:
        publisher.put(items(trades(100)))
        await until(lambda: publisher.state().spooled == 100)
        assert not publisher.state().connected
        await until(lambda: publisher.state().last_error is not None)
        assert "127.0.0.1:9" in (publisher.state().last_error or "")
    spool = Spool(tmp_path / "spool", 1 << 20)
    assert len(spool) == 100
    spool.close()
