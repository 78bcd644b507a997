"""The service when things of ours go wrong: tasks that fail, sinks that take nothing until the end, complaints."""

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.collector.shard_files import Checkpoint
from marketdata_assets.collector.sinks.capture import CaptureSink
from marketdata_assets.exchanges.records import VenueError
from marketdata_demo.venues.binance_venue import BinanceVenue
from tests.collector.in_loop import in_loop
from tests.collector.service_runs import SPOT, market, running, text_of


def config_of(venue: BinanceVenue, **sections: Any) -> str:
    return text_of({"spot": market(venue, ["ABCUSDT"], SPOT)}, **sections)


def test_a_crashed_task_is_restarted_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    run_sink = CaptureSink.run

    async def fails_first(sink: CaptureSink) -> None:
        begun.append(1)
        if len(begun) == 1:
            raise RuntimeError("a defect")
        await run_sink(sink)

    monkeypatch.setattr(CaptureSink, "run", fails_first)

    async def collect() -> None:
        with BinanceVenue("spot", ["ABCUSDT"]) as venue:
            async with running(config_of(venue), tmp_path) as run:
                await run.subscribed()
                await run.emit(venue, 20)
                trades = len(venue.source().trades["ABCUSDT"])
                await run.until(lambda: run.collector.status().sinks[0].acked > trades)
                status = run.collector.status()
                assert status.restarts["capture"] == 1
                assert sum(status.restarts.values()) == 1
                metrics = (await run.client.get("/metrics")).text
                assert 'collector_task_restarts_total{task="capture"} 1.0' in metrics

    asyncio.run(asyncio.wait_for(collect(), 60))


def test_lost_items_are_reported_and_belong_to_the_next_gap(tmp_path: Path) -> None:
    async def collect() -> tuple[Any, int]:
        nowhere = {"enabled": True, "folder": "/dev/null/nowhere", "flush_seconds": 0.05}
        with BinanceVenue("spot", ["ABCUSDT"]) as venue:
            async with running(config_of(venue, capture=nowhere, shutdown_seconds=0.2), tmp_path) as run:
                await run.subscribed()
                await run.emit(venue, 50)
                trades = len(venue.source().trades["ABCUSDT"])
                await run.until(lambda: run.collector.status().markets[0].counters.records["trade"] == trades)
                await run.until(lambda: not run.collector.status().sinks[0].connected)
                oldest = run.collector.status().sinks[0].oldest_ns
        assert oldest
        return run.report, oldest

    report, oldest = asyncio.run(asyncio.wait_for(collect(), 60))
    assert report.remaining == report.sinks["capture"].remaining > 50
    assert report.sinks["capture"].acked == 0
    assert Checkpoint(tmp_path / "collector" / "since.json").read() == {"binance spot": oldest}


@in_loop
async def test_checkpoint_is_written_while_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "collector" / "since.json"
    with BinanceVenue("spot", ["ABCUSDT"]) as venue:
        async with running(config_of(venue), tmp_path) as run:
            await run.subscribed()
            begun = time.time_ns()
            await run.until(lambda: Checkpoint(file).read().get("binance spot", 0) > begun)


@in_loop
async def test_errors_of_a_venue_are_all_counted_and_few_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), BinanceVenue("spot", ["ABCUSDT"]) as venue:
        async with running(config_of(venue), tmp_path) as run:
            await run.subscribed()
            counters = run.collector.status().markets[0].counters
            errors = [VenueError(number, "too much", rate_limited=number % 2 == 0) for number in range(500)]
            run.collector._markets["binance", "spot"]._dispatcher.emit(errors)
            assert counters.errors == {"rate_limited": 250, "venue_error": 250}
    lines = [record for record in caplog.records if "too much" in record.message]
    assert 1 <= len(lines) < 50


@in_loop
async def test_chosen_channels_of_books_and_trades_are_collected(tmp_path: Path) -> None:
    with BinanceVenue("spot", ["ABCUSDT"]) as venue:
        chosen = {"book_speed": "1000ms", "trade_channel": "aggTrade"}
        text = text_of({"spot": {**market(venue, ["ABCUSDT"], ["trade", "orderbook"]), **chosen}})
        async with running(text, tmp_path) as run:
            await run.subscribed()
            counters = run.collector.status().markets[0].counters
            await run.emit(venue, 50)
            await run.until(lambda: counters.records["orderbook"])
            await run.emit(venue, 50)
            await run.until(lambda: counters.records["orderbook"] > 10)
            await run.until(lambda: counters.records["trade"] == len(venue.source().trades["ABCUSDT"]))
            assert counters.gaps == {}
