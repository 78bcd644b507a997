"""One collector on several cores: a process for each share of the instruments, under one command.

The processes are shards (see `connections.sharding`). This one starts them, restarts those that end, and answers for
all: one health, one status, one set of metrics, one place for changes. Each serves requests over a pipe, in order.
"""

import asyncio
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, cast

from marketdata_assets import logs
from marketdata_assets.backoff import delay
from marketdata_assets.collector import assembly
from marketdata_assets.collector.assembly import Places
from marketdata_assets.collector.config import Config, Http
from marketdata_assets.collector.connections import Shard
from marketdata_assets.collector.counters import LatencyHistogram
from marketdata_assets.collector.errors import CollectorError, NotListed, UnknownSymbols
from marketdata_assets.collector.health import Check, Health, judge, worst
from marketdata_assets.collector.merging import merged, merged_reports
from marketdata_assets.collector.metrics import Metrics
from marketdata_assets.collector.servers import Servers
from marketdata_assets.collector.service import Collector
from marketdata_assets.collector.status import Report, Status
from marketdata_assets.collector.status_server import Changed, StatusServer
from marketdata_assets.errors import MarketDataError
from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.logs import get_logger

POLL_SECONDS = 1.0
SILENT_SECONDS = 15.0
"""A process that has not answered for so long does not work."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a process that ended is started again."""
STOP_SECONDS = 20.0
"""For a process to close its sockets and files, besides the time for what it has to deliver."""

log = get_logger(__name__)


class Child:
    """One process, over all its restarts."""

    def __init__(self, shard: Shard, start: Callable[[Connection, Shard], SpawnProcess]) -> None:
        self.shard = shard
        self.status: Status | None = None  # the last one; None until it has answered
        self.started = self.answered = time.monotonic()
        self.process: SpawnProcess | None = None
        self._start = start
        self._threads = ThreadPoolExecutor(1, f"process-{shard.index}")
        self._pipe: Connection | None = None

    def start(self) -> None:
        """Start the process, which is not running."""
        self._pipe, theirs = multiprocessing.get_context("spawn").Pipe()
        self.started = time.monotonic()
        self.process = self._start(theirs, self.shard)
        theirs.close()

    async def ask(self, *request: object) -> Any:
        """The answer to a request. Raises EOFError when the process has ended, and what the request raised."""
        answer = await asyncio.get_running_loop().run_in_executor(self._threads, self._exchange, request)
        if isinstance(answer, MarketDataError):
            raise answer
        return answer

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.is_alive()

    async def ended(self) -> int | None:
        """The exit code, once the process has ended."""
        assert self.process
        while self.is_running:
            await asyncio.sleep(0.05)
        return self.process.exitcode

    def close(self) -> None:
        """Kill the process if it still runs."""
        if self.process is not None and self.is_running:
            self.process.kill()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _exchange(self, request: tuple[object, ...]) -> Any:
        assert self._pipe
        try:
            self._pipe.send(request)
            return self._pipe.recv()
        except OSError as error:
            raise EOFError(str(error)) from error


class Processes:
    """The collector on several processes. Raises CollectorError."""

    def __init__(self, config: Config, servers: Servers, places: Places, count: int, log_format: logs.Format) -> None:
        assembly.check(config, servers)
        if config.output.addresses:
            raise CollectorError("output.addresses: several processes cannot serve one address. Use one process.")
        self.config = config
        self.requests: Counter[tuple[str, int]] = Counter()
        self._restarts: Counter[str] = Counter()
        inner = config.model_copy(update={"http": Http(host="127.0.0.1", port=0)})
        start = partial(_started, inner, servers, places, log_format)
        self._children = [Child(Shard(number, count), start) for number in range(1, count + 1)]
        self._metrics = Metrics(self.status, self.health)
        self.server = StatusServer(self, config.http.host, config.http.port, servers.token)
        now = time.time_ns()
        latency = LatencyHistogram()
        self._nothing = Status(now, now, version("marketdata-assets"), "1/1", (), (), latency, {}, {})

    def status(self) -> Status:
        """The status of all processes that have answered."""
        known = [one.status for one in self._children if one.status]
        whole = merged(known) if known else self._nothing
        restarts = Counter(whole.restarts)
        restarts.update(self._restarts)
        return replace(whole, now=time.time_ns(), requests=self.requests, restarts=restarts)

    def health(self, _: Status) -> Health:
        """The worst of the processes, each judged alone."""
        return worst([self._judge(one) for one in self._children])

    def _judge(self, child: Child) -> tuple[str, Health]:
        name = f"process {child.shard.index}/{child.shard.count}"
        silent = time.monotonic() - child.answered
        starts = child.answered <= child.started
        if child.status and child.is_running and not starts and silent < SILENT_SECONDS:
            return name, judge(child.status, self.config.health)
        what = "does not run" if not child.is_running else "starts" if starts else "does not answer"
        down = silent > SILENT_SECONDS
        return name, Health("unhealthy" if down else "degraded", (Check("", down, (f"{what}, for {silent:.0f} s",)),))

    def exposition(self) -> bytes:
        return self._metrics.exposition()

    async def change(
        self, exchange: Exchange, market_type: MarketType, add: Sequence[str], remove: Sequence[str]
    ) -> Changed:
        """Follow other instruments, each in its process. Raises NotCollected, UnknownSymbols, NotListed."""
        market = exchange, market_type
        answers = [await self._changed(*market, add, ())] if add else []
        answers += [await self._changed(*market, (), [symbol]) for symbol in remove]
        return Changed(
            sorted(name for one in answers for name in one.added),
            sorted(name for one in answers for name in one.removed),
            answers[-1].instruments,
        )

    async def _changed(
        self, exchange: Exchange, market_type: MarketType, add: Sequence[str], remove: Sequence[str]
    ) -> Changed:
        """A change by all processes; a symbol to remove is followed by one of them."""
        request = "change", exchange, market_type, list(add), list(remove)
        answers = await asyncio.gather(*(one.ask(*request) for one in self._children), return_exceptions=True)
        found = [cast(Changed, one) for one in answers if not isinstance(one, BaseException)]
        for one in answers:
            if isinstance(one, EOFError):
                raise NotListed("a process of the collector is being restarted. Retry in a few seconds.") from one
            if isinstance(one, BaseException) and not (remove and found and isinstance(one, UnknownSymbols)):
                raise one
        return Changed(
            [name for one in found for name in one.added],
            [name for one in found for name in one.removed],
            sorted(await self._instruments(exchange, market_type)),
        )

    async def _instruments(self, exchange: Exchange, market_type: MarketType) -> list[str]:
        answers = await asyncio.gather(*(one.ask("instruments", exchange, market_type) for one in self._children))
        return [name for one in answers for name in one]

    async def run(self, stop: asyncio.Event, duration: float | None = None) -> Report:
        """Collect until `stop` is set or `duration` seconds have passed, then shut down. Raises PortTaken."""
        await self.server.start()
        log.info("started", url=self.server.url, processes=len(self._children))
        supervised = [asyncio.create_task(self._supervise(one)) for one in self._children]
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(duration):
                    await stop.wait()
            for task in supervised:
                task.cancel()
            await asyncio.gather(*supervised, return_exceptions=True)
            reports = await asyncio.gather(*(self._stop(one) for one in self._children))
            made = [one for one in reports if one is not None]
            if not made:
                raise CollectorError("no process of the collector ended in order. The next start records a gap.")
            return merged_reports(made)
        finally:
            for child in self._children:
                child.close()
            await self.server.stop()

    async def _supervise(self, child: Child) -> None:
        """Keep one process running, and its status up to date, until cancelled."""
        failures = 0
        while True:
            began = time.monotonic()
            child.start()
            polling = asyncio.create_task(self._poll(child))
            try:
                code = await child.ended()
            finally:
                polling.cancel()
                await asyncio.gather(polling, return_exceptions=True)
            failures = 1 if time.monotonic() - began > LONGEST_PAUSE else failures + 1
            name = f"process {child.shard.index}"
            self._restarts[name] += 1
            log.error("process_ended", process=name, exit_code=code, attempt=failures)
            await asyncio.sleep(delay(failures, FIRST_PAUSE, LONGEST_PAUSE))

    async def _poll(self, child: Child) -> None:
        with suppress(EOFError):
            while True:
                child.status = await child.ask("status")
                child.answered = time.monotonic()
                await asyncio.sleep(POLL_SECONDS)

    async def _stop(self, child: Child) -> Report | None:
        """End one process in order; its report, None when it did not end."""
        with suppress(TimeoutError, EOFError):
            async with asyncio.timeout(self.config.shutdown_seconds + STOP_SECONDS):
                report: Report = await child.ask("stop")
                await child.ended()
                return report
        log.error("process_not_stopped", process=f"process {child.shard.index}")
        return None


def _started(
    config: Config, servers: Servers, places: Places, log_format: logs.Format, pipe: Connection, shard: Shard
) -> SpawnProcess:
    arguments = config, servers, places, log_format, shard, pipe
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=arguments, daemon=True)
    process.start()
    return process


def _serve(
    config: Config, servers: Servers, places: Places, log_format: logs.Format, shard: Shard, pipe: Connection
) -> None:
    """One process: a collector that ends on request, or when the process that started it has ended."""
    for number in (signal.SIGTERM, signal.SIGINT):  # a terminal and systemd send them to all processes of the group
        signal.signal(number, signal.SIG_IGN)
    logs.configure(log_format, config.log_level.upper())
    asyncio.run(_answer(Collector(config, servers, places, shard), pipe))


async def _answer(collector: Collector, pipe: Connection) -> None:
    """Run the collector and answer requests, in order."""
    stop, requests = asyncio.Event(), asyncio.Queue[tuple[Any, ...]]()
    loop = asyncio.get_running_loop()

    def receive() -> None:
        try:
            requests.put_nowait(pipe.recv())
        except (EOFError, OSError):
            loop.remove_reader(pipe.fileno())
            stop.set()

    loop.add_reader(pipe.fileno(), receive)
    answering = asyncio.create_task(_answer_all(collector, pipe, requests, stop))
    report = await collector.run(stop)
    answering.cancel()
    with suppress(OSError):  # the other process has ended
        pipe.send(report)


async def _answer_all(
    collector: Collector, pipe: Connection, requests: "asyncio.Queue[tuple[Any, ...]]", stop: asyncio.Event
) -> None:
    while True:
        what, *arguments = await requests.get()
        if what == "stop":
            stop.set()
            return
        answer: object
        try:
            if what == "status":
                answer = collector.status()
            elif what == "instruments":
                answer = collector.instruments(*arguments)
            else:
                answer = await collector.change(*arguments)
        except MarketDataError as error:
            answer = error
        pipe.send(answer)
