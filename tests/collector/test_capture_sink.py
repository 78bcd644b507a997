"""Captures that the collector writes: whole, in order, and honest about what the disk could not take."""

import asyncio
from pathlib import Path

from marketdata_assets.collector.sinks.capture import CaptureSink
from marketdata_assets.exchanges.captures.capture import open_capture
from marketdata_assets.exchanges.captures.native_format import Entry
from tests.collector.in_loop import in_loop, running, until

START = 1_700_000_000_000_000_000


def entry(number: int, *, size: int = 20, connection: int = 1) -> Entry:
    return Entry(START + number, "in", str(number).zfill(size).encode(), connection)


def read(folder: Path) -> list[Entry]:
    files = sorted(folder.glob("*.zst"), key=lambda path: (len(path.name), path.name))
    return [one for path in files for one in open_capture(path).entries()]


@in_loop
async def test_entries_are_read_back_in_order_by_market(tmp_path: Path) -> None:
    sink = CaptureSink(tmp_path, flush_seconds=0.01)
    spot, linear = sink.tap("binance", "spot", list), sink.tap("binance", "linear", list)
    async with running(sink):
        for number in range(100):
            spot(entry(number))
            linear(Entry(START + number, "http", b"{}", url="https://host/depth?symbol=A"))
            if number % 25 == 0:
                await asyncio.sleep(0.02)
    state = sink.state()
    assert (state.acked, state.queued, state.oldest_ns, state.dropped) == (200, 0, None, 0)
    assert sink.latency.count == 200
    by_market = {path.name.rpartition("-")[0]: list(open_capture(path).entries()) for path in tmp_path.glob("*.zst")}
    assert by_market["binance-spot"] == [entry(number) for number in range(100)]
    assert {one.url for one in by_market["binance-linear"]} == {"https://host/depth?symbol=A"}


@in_loop
async def test_entries_above_the_buffer_are_dropped_and_the_connection_is_marked_reopened(tmp_path: Path) -> None:
    sink = CaptureSink(tmp_path, flush_seconds=0.01, buffer_bytes=1000)
    tap = sink.tap("okx", "spot", list)
    for number in range(10):
        tap(entry(number, size=200, connection=number % 2))
    assert sink.state().dropped == 6
    assert sink.state().queued <= sink.state().capacity
    assert await sink.drain(5.0) == 0
    tap(entry(10, connection=0))
    tap(entry(11, connection=0))
    tap(Entry(START + 12, "open", connection=1))
    assert await sink.drain(5.0) == 0
    sink.close()
    kept = [(one.kind, one.ts_recv - START, one.connection) for one in read(tmp_path)]
    assert kept == [
        ("in", 0, 0), ("in", 1, 1), ("in", 2, 0), ("in", 3, 1),
        ("open", 10, 0), ("in", 10, 0), ("in", 11, 0), ("open", 12, 1),
    ]  # fmt: skip


@in_loop
async def test_a_failing_disk_is_retried_and_nothing_is_written_twice(tmp_path: Path) -> None:
    folder = tmp_path / "captures"
    folder.write_text("a file where the folder should be")
    sink = CaptureSink(folder, flush_seconds=0.01)
    tap = sink.tap("deribit", "inverse", list)
    async with running(sink):
        for number in range(50):
            tap(entry(number))
        await until(lambda: not sink.state().connected)
        assert str(folder) in (sink.state().last_error or "")
        assert sink.state().oldest_ns == START
        assert await sink.drain(0.05) == 50
        folder.unlink()
        await until(lambda: not sink.state().queued)
        assert sink.state().connected
    assert read(folder) == [entry(number) for number in range(50)]


@in_loop
async def test_files_are_rotated_as_configured(tmp_path: Path) -> None:
    sink = CaptureSink(tmp_path, flush_seconds=0.01, file_seconds=1.0)
    tap = sink.tap("okx", "linear", list)
    for number in range(4):
        tap(entry(number * 1_000_000_000))
    assert await sink.drain(5.0) == 0
    sink.close()
    assert len(list(tmp_path.glob("*.zst"))) == 4
    assert len(read(tmp_path)) == 4
