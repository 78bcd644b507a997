"""Records as lines of JSON in a pipe: all of them in their order, the gap of a slow reader, and one that has gone."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, Any

from marketdata_assets.collector.items import items
from marketdata_assets.collector.sinks.stdout import StdoutSink
from tests.collector.collector_records import gap, trade, trades
from tests.collector.in_loop import in_loop, until


@asynccontextmanager
async def piped(queue_items: int = 100_000) -> AsyncIterator[tuple[StdoutSink, IO[bytes], "asyncio.Task[None]"]]:
    """A running sink and the reading end of its pipe."""
    reading, writing = os.pipe()
    sink = StdoutSink(lambda *_: None, queue_items=queue_items, descriptor=writing)
    task = asyncio.create_task(sink.run())
    with os.fdopen(reading, "rb", buffering=0) as reader:
        yield sink, reader, task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    sink.close()
    os.close(writing)


async def lines(reader: IO[bytes], count: int) -> list[dict[str, Any]]:
    return [json.loads(await asyncio.to_thread(reader.readline)) for _ in range(count)]


@in_loop
async def test_all_records_are_written_in_their_order() -> None:
    async with piped() as (sink, reader, _):
        sink.put(items([trade(1), gap(2)]))
        sink.put(items([trade(3)]))
        assert await sink.drain(10) == 0
        found = await lines(reader, 3)
        assert [one["type"] for one in found] == ["trade", "gap", "trade"]
        assert found[0] == json.loads(items([trade(1)])[0].payload)
        assert (sink.state().acked, sink.state().connected) == (3, True)


@in_loop
async def test_a_slow_reader_reads_a_gap_for_all_that_it_missed() -> None:
    total = 100_000
    async with piped(100) as (sink, reader, _):
        for first in range(1, total, 50):
            sink.put(items(trades(50, first=first)))
            await asyncio.sleep(0)
        assert sink.state().dropped > 0
        seen: set[int] = set()
        async with asyncio.timeout(60):
            while len(seen) < total:
                if sink.state().queued < 50:
                    sink.put(items([trade(total + 1)]))  # makes it say what it holds back
                (one,) = await lines(reader, 1)
                if one["type"] == "trade":
                    seen.add(int(one["trade_id"]))
                else:
                    assert (one["type"], one["stream"], one["cause"]) == ("gap", "trade", "overload")
                    seen.update(range(one["last_id"] + 1, one["next_id"]))
        assert set(range(1, total + 1)) <= seen


@in_loop
async def test_the_end_does_not_wait_for_a_reader_that_reads_nothing() -> None:
    async with piped() as (sink, _, _):
        for first in range(0, 20_000, 100):
            sink.put(items(trades(100, "L" * 2000, first)))
        assert await sink.drain(60) > 0


@in_loop
async def test_a_sink_whose_reader_has_gone_ends_and_keeps_nothing() -> None:
    async with piped() as (sink, reader, task):
        sink.put(items([trade(1)]))
        await until(lambda: sink.state().acked == 1)
        reader.close()
        sink.put(items(trades(5, first=2)))
        await task
        sink.put(items([trade(9)]))
        state = sink.state()
        assert (state.queued, state.connected, state.last_error) == (0, False, "its reader has gone")
        assert await sink.drain(60) == 0
