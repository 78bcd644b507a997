"""One collector on two processes: one health, status, set of metrics and report; a killed process is restarted."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from in_loop import in_loop
from service_runs import SPOT, Running, market, text_of

from marketdata_assets.collector import config as configuration
from marketdata_assets.collector.assembly import Places
from marketdata_assets.collector.connections import Shard
from marketdata_assets.collector.errors import CollectorError
from marketdata_assets.collector.processes import Processes
from marketdata_assets.collector.servers import Servers
from marketdata_assets.exchanges.replay import replay
from marketdata_demo.venues.binance_venue import BinanceVenue

SYMBOLS = [f"{name}USDT" for name in ("ABC", "BCD", "CDE", "DEF", "EFG")]
LATER = "FGHUSDT"


def parts(names: list[str]) -> list[list[str]]:
    return [[name for name in names if Shard(index, 2).takes("binance", name)] for index in (1, 2)]


@asynccontextmanager
async def running(text: str, home: Path) -> AsyncIterator[Running]:
    places = Places(home / "collector", home / "budgets", home / "captures")
    collector: Any = Processes(configuration.parse(text, "test.yaml"), Servers(), places, 2, "text")
    stop = asyncio.Event()
    task = asyncio.create_task(collector.run(stop))
    while not collector.server.port and not task.done():
        await asyncio.sleep(0.01)
    async with httpx.AsyncClient(base_url=collector.server.url) as client:
        run = Running(collector, client)
        try:
            yield run
        finally:
            stop.set()
            run.report = await task


def config_of(venue: BinanceVenue, symbols: list[str], **sections: Any) -> str:
    return text_of({"spot": market(venue, symbols, SPOT)}, **sections)


async def followed(run: Running, count: int) -> None:
    """Until all have reported, and each of so many instruments is confirmed."""

    def so() -> bool:
        found = [one.state for one in run.collector.status().markets]
        subscriptions = [each for state in found for each in state.subscriptions]
        ready = all(each.status == "confirmed" for each in subscriptions)
        return sum(state.instruments for state in found) == count and ready and bool(subscriptions)

    await run.until(so)


def records_of(folder: Path) -> int:
    return sum(replay([file]).records()["trade"] for file in sorted(folder.rglob("*.capture.zst")))


@in_loop
async def test_two_processes_are_one_collector(tmp_path: Path) -> None:
    assert all(parts(SYMBOLS)), "both have some"
    with BinanceVenue("spot", [*SYMBOLS, LATER]) as venue:
        async with running(config_of(venue, SYMBOLS), tmp_path) as run:
            await followed(run, len(SYMBOLS))
            await run.emit(venue, 200)
            trades = sum(len(venue.source().trades[name]) for name in SYMBOLS)
            await run.until(lambda: run.collector.status().markets[0].counters.records["trade"] == trades)
            status, health = await run.get("/status"), await run.get("/health")
            assert [one["number"] for one in status["processes"]] == [1, 2]
            [state] = status["markets"]
            assert state["instruments"] == len(SYMBOLS)
            assert len({one["number"] for one in state["connections"]}) == len(state["connections"]) == 2
            assert set(health["checks"]) == {
                f"{name} process {index}/2" for name in ("binance spot", "capture") for index in (1, 2)
            }
            metrics = (await run.client.get("/metrics")).text
            line = 'collector_records_total{data_type="trade",exchange="binance",market_type="spot"}'
            assert f"{line} {float(trades)}" in metrics
            assert 'collector_process_cpu_seconds_total{process="2"}' in metrics
            await changes(run)
        assert run.report
        assert (run.report.records["trade"], run.report.remaining) == (trades, 0)
        assert records_of(tmp_path / "captures") == trades


async def changes(run: Running) -> None:
    """Each instrument is added and removed in the process of its share; what is wrong changes nothing."""
    body = {"exchange": "binance", "market_type": "spot", "add": [LATER], "remove": [SYMBOLS[0]]}
    answer = await run.client.post("/subscriptions", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "added": [LATER],
        "removed": [SYMBOLS[0]],
        "instruments": sorted([*SYMBOLS[1:], LATER]),
    }
    for change in ({"add": ["NONEUSDT"]}, {"remove": ["NONEUSDT"]}):
        answer = await run.client.post("/subscriptions", json={"exchange": "binance", "market_type": "spot", **change})
        assert (answer.status_code, "NONEUSDT" in answer.text) == (422, True)
    answer = await run.client.post("/subscriptions", json={"exchange": "okx", "market_type": "spot", "add": ["ABC"]})
    assert answer.status_code == 404


@in_loop
async def test_a_killed_process_is_started_again_and_the_other_one_continues(tmp_path: Path) -> None:
    with BinanceVenue("spot", SYMBOLS) as venue:
        async with running(config_of(venue, SYMBOLS), tmp_path) as run:
            await followed(run, len(SYMBOLS))
            await run.emit(venue, 50)
            first, second = (one.process for one in run.collector._children)  # type: ignore[attr-defined]
            os.kill(second.pid, signal.SIGKILL)
            await run.until(lambda: run.collector.status().restarts.get("process 2") == 1)
            await run.until(lambda: run.collector._children[1].process.pid != second.pid)  # type: ignore[attr-defined]
            await run.until(lambda: len(venue.sockets) == 2)
            assert run.collector._children[0].process is first  # type: ignore[attr-defined]
            assert not first.exitcode


def test_a_process_that_does_not_run_is_a_reason(tmp_path: Path) -> None:
    with BinanceVenue("spot", SYMBOLS) as venue:
        config = configuration.parse(config_of(venue, SYMBOLS), "test.yaml")
    collector = Processes(config, Servers(), Places(tmp_path, tmp_path, tmp_path), 2, "text")
    health = collector.health(collector.status())
    assert health.status == "degraded"
    assert [reason.partition(",")[0] for reason in health.reasons] == [
        "process 1/2: does not run",
        "process 2/2: does not run",
    ]


def test_one_address_for_records_is_for_one_process(tmp_path: Path) -> None:
    with BinanceVenue("spot", SYMBOLS) as venue:
        text = config_of(venue, SYMBOLS, output={"addresses": ["tcp://127.0.0.1:0"]})
    places = Places(tmp_path, tmp_path, tmp_path)
    with pytest.raises(CollectorError, match="Use one process"):
        Processes(configuration.parse(text, "test.yaml"), Servers(), places, 2, "text")
