"""Records as lines of JSON for other programs: what a reader receives and since when, and the gaps of a slow reader."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from collector_records import delta, gap, snapshot, trade, trades
from in_loop import in_loop, until

from marketdata_assets.collector.items import items
from marketdata_assets.collector.output_address import parse
from marketdata_assets.collector.sinks.output import Output
from marketdata_assets.exchanges.records import OrderBook

TCP = "tcp://127.0.0.1:0"


@asynccontextmanager
async def serving(address: str = TCP, book: OrderBook | None = None, **options: Any) -> AsyncIterator[Output]:
    """An output that listens; `book` is the current one of every instrument."""
    output = Output(parse(address), lambda *_: book, **options)
    task = asyncio.create_task(output.run())
    try:
        await until(lambda: output.state().connected)
        yield output
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def lines(reader: asyncio.StreamReader, count: int) -> list[dict[str, Any]]:
    return [json.loads(await reader.readline()) for _ in range(count)]


def readers(output: Output) -> int:
    return len(output._readers)


@in_loop
async def test_every_reader_receives_the_records_from_when_it_connected() -> None:
    async with serving() as output:
        host = output.address.host, output.address.port
        output.put(items([trade(1)]))
        first, _ = await asyncio.open_connection(*host)
        await until(lambda: readers(output) == 1)
        output.put(items([trade(2), gap(2)]))
        second, closing = await asyncio.open_connection(*host)
        await until(lambda: readers(output) == 2)
        output.put(items([trade(3)]))
        found = await lines(first, 3)
        assert [one["type"] for one in found] == ["trade", "gap", "trade"]
        assert found[0] == json.loads(items([trade(2)])[0].payload)
        assert [one["trade_id"] for one in await lines(second, 1)] == ["3"]
        closing.close()
        for number in range(4, 2000):
            output.put(items([trade(number)]))
            await asyncio.sleep(0.001)
            if readers(output) == 1:
                break
        assert readers(output) == 1, "a reader that went is forgotten"
        assert await output.drain(10) == 0
        assert [one["trade_id"] for one in await lines(first, number - 3)] == [str(n) for n in range(4, number + 1)]


@in_loop
async def test_a_slow_reader_delays_nobody_and_is_told_what_it_missed() -> None:
    async with serving(queue_items=100) as output:
        host = output.address.host, output.address.port
        slow, slowly = await asyncio.open_connection(*host, limit=1024)
        fast, fastly = await asyncio.open_connection(*host)
        await until(lambda: readers(output) == 2)
        total = 100_000
        for first in range(1, total, 50):
            output.put(items(trades(50, first=first)))
            assert len(await lines(fast, 50)) == 50
        assert output.state().dropped > 0
        seen: set[int] = set()
        async with asyncio.timeout(60):
            while len(seen) < total:
                if output.state().queued < 50:
                    output.put(items([trade(total + 1)]))  # makes it say what it holds back
                (one,) = await lines(slow, 1)
                if one["type"] == "trade":
                    seen.add(int(one["trade_id"]))
                else:
                    assert (one["type"], one["stream"], one["cause"]) == ("gap", "trade", "overload")
                    seen.update(range(one["last_id"] + 1, one["next_id"]))
        assert set(range(1, total + 1)) <= seen
        slowly.close()
        fastly.close()


@in_loop
async def test_a_reader_that_connects_later_starts_with_the_whole_book() -> None:
    book = snapshot(5)
    async with serving(book=book) as output:
        reader, _ = await asyncio.open_connection(output.address.host, output.address.port)
        await until(lambda: readers(output) == 1)
        output.put(items([delta(4), delta(5), delta(6)]))  # the book of the moment has the first two
        output.put(items([delta(7), snapshot(8), delta(9)]))
        found = await lines(reader, 5)
        assert [(one["kind"], one["last_id"]) for one in found] == [
            ("snapshot", 5), ("delta", 6), ("delta", 7), ("snapshot", 8), ("delta", 9),
        ]  # fmt: skip


@in_loop
async def test_updates_without_a_valid_book_wait_for_its_snapshot() -> None:
    async with serving() as output:
        reader, _ = await asyncio.open_connection(output.address.host, output.address.port)
        await until(lambda: readers(output) == 1)
        output.put(items([delta(4), snapshot(5), delta(6)]))
        assert [(one["kind"], one["last_id"]) for one in await lines(reader, 2)] == [("snapshot", 5), ("delta", 6)]


@in_loop
async def test_a_unix_socket_replaces_that_of_a_killed_process_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "records.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    async with serving(f"unix://{path}") as output:
        reader, _ = await asyncio.open_unix_connection(str(path))
        await until(lambda: readers(output) == 1)
        output.put(items([trade(1)]))
        assert [one["trade_id"] for one in await lines(reader, 1)] == ["1"]
        other = Output(parse(f"unix://{path}"), lambda *_: None)
        task = asyncio.create_task(other.run())
        await until(lambda: other.state().last_error)
        assert other.state().last_error == f"unix://{path}: {path} is in use by another process"
        assert not other.state().connected
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert not path.exists()


@in_loop
async def test_a_websocket_has_one_record_in_each_message() -> None:
    async with serving("ws://127.0.0.1:0") as output, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"http://127.0.0.1:{output.address.port}/") as reader:
            await until(lambda: readers(output) == 1)
            output.put(items([trade(1), delta(2), trade(3)]))
            assert [(await reader.receive_json())["trade_id"] for _ in range(2)] == ["1", "3"]
        await until(lambda: not readers(output))


@in_loop
async def test_an_address_in_use_is_reported_and_retried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        output = Output(parse(f"tcp://127.0.0.1:{taken.getsockname()[1]}"), lambda *_: None)
        task = asyncio.create_task(output.run())
        await until(lambda: output.state().last_error)
        assert not output.state().connected
    await until(lambda: output.state().connected)
    assert output.state().last_error is None
    assert not output.state().durable
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@in_loop
async def test_the_end_does_not_wait_for_a_reader_that_reads_nothing() -> None:
    async with serving(queue_items=20_000) as output:
        _, writer = await asyncio.open_connection(output.address.host, output.address.port, limit=1024)
        await until(lambda: readers(output) == 1)
        name = "L" * 2000
        for first in range(0, 20_000, 100):
            output.put(items(trades(100, name, first)))
            await asyncio.sleep(0)
        assert await output.drain(60) > 0
        writer.close()


@pytest.mark.parametrize("text", ["-", "tcp://127.0.0.1:9001", "tcp://[::1]:9001", "unix:///run/x.sock", "ws://h:1"])
def test_addresses_are_read_as_they_are_written(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("stdout", "write -, tcp://127.0.0.1:9001"),
        ("http://127.0.0.1:1", "write -, tcp://127.0.0.1:9001"),
        ("tcp://127.0.0.1", "with a host and a port"),
        ("tcp://127.0.0.1:99999", "is no address"),
        ("ws://me:secret@h:1", "with a host and a port"),
        ("unix://records.sock", "an absolute path"),
    ],
)
def test_an_address_that_is_none_names_the_valid_forms(text: str, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        parse(text)
