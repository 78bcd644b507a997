"""The collector process: starts markets and sinks, passes records from these to those, and shuts them down in order.

What is collected and where it goes is set up in `assembly`, its state is described in `status`.
"""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from itertools import count

from marketdata_assets.backoff import delay
from marketdata_assets.collector import assembly
from marketdata_assets.collector.assembly import Places
from marketdata_assets.collector.config import Config
from marketdata_assets.collector.connections import Address, Clock, Market, Shard
from marketdata_assets.collector.counters import LatencyHistogram
from marketdata_assets.collector.errors import NotCollected, PortTaken, StreamMissing
from marketdata_assets.collector.health import Health, judge
from marketdata_assets.collector.items import BookTops, Levels, Recorded, items
from marketdata_assets.collector.jetstream.inspection import Backlog, backlog
from marketdata_assets.collector.jetstream.stream import connected
from marketdata_assets.collector.servers import Servers
from marketdata_assets.collector.shard_files import Checkpoint, DeadLetterFile, ListedFile, moments, own_path
from marketdata_assets.collector.sink import Sink
from marketdata_assets.collector.sinks.capture import CaptureSink
from marketdata_assets.collector.status import ProcessUsage, Report, Status, report
from marketdata_assets.collector.status_server import Changed, StatusServer
from marketdata_assets.errors import TransientError
from marketdata_assets.exchanges.checkpoints import FeedCheckpoint
from marketdata_assets.exchanges.records import DeadLetter, Exchange, InstrumentState, MarketType, OrderBook, VenueError
from marketdata_assets.logs import get_logger

LOOP_SECONDS = 0.25
"""Between two measurements of the event loop's latency."""

CHECKPOINT_SECONDS = 1.0
BACKLOG_SECONDS = 15.0
CHECKPOINT = "checkpoint"
"""The task that writes it."""
TOPS = "orderbook_top"
"""The task that makes records of the best levels of books."""
CLOSE_SECONDS = 10.0
"""For the venues, to close the sockets."""
CANCEL_SECONDS = 0.5
"""Between two cancellations of a task."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a crashed task is restarted."""

Key = tuple[Exchange, MarketType]

log = get_logger(__name__)


class Collector:
    """One process of the collector. Raises CollectorError."""

    def __init__(
        self,
        config: Config,
        servers: Servers,
        places: Places,
        shard: Shard | None = None,
    ) -> None:
        assembly.check(config, servers, shard or assembly.WHOLE)
        self.config, self.shard = config, shard or assembly.WHOLE
        self._clock = Clock()
        self._started = self._clock.steady_ns()
        self._restarts: Counter[str] = Counter()
        self._loop_latency = LatencyHistogram()
        self._backlog: Backlog | None = None
        self._nats_url = servers.nats_url
        own = partial(own_path, places.own, shard=self.shard)
        self._checkpoint = Checkpoint(own("since", suffix=".json"))
        self._listed, self._listed_at = ListedFile(own("listed", suffix=".json")), dict[str, int]()
        self._dead_letters = DeadLetterFile(own("dead-letters", suffix=".ndjson"))
        self._sinks: list[Sink] = assembly.sinks(config, servers, places, self.shard, self._book, self._top)
        tops, puts = config.orderbook_top, [sink.put for sink in self._sinks if sink.takes_tops]
        wanted = tops.levels and puts
        self._tops = BookTops(tops.levels, tops.interval_ms / 1000, self._top, puts) if wanted else None
        self._since = moments(places.own, self.shard)
        self._markets = self._create_markets(places)
        self.server = StatusServer(config.http.host, config.http.port, self.judged, self.change, servers.token)
        self._version = version("marketdata-assets")

    # Requests from outside.

    def status(self) -> Status:
        return Status(
            now=self._clock.time_ns(),
            started=self._clock.shown(self._started),
            version=self._version,
            shard=f"{self.shard.index}/{self.shard.count}",
            markets=tuple(market.state() for market in self._markets.values()),
            sinks=tuple(sink.state() for sink in self._sinks),
            loop_latency=self._loop_latency,
            restarts={name: self._restarts[name] for name in self._tasks()},
            requests=self.server.requests,
            backlog=self._backlog,
            process=ProcessUsage.now(),
        )

    def judged(self) -> tuple[Status, Health]:
        """The status, and the verdict on it by the limits of the configuration."""
        status = self.status()
        return status, judge(status, self.config.health)

    async def change(
        self, exchange: Exchange, market_type: MarketType, add: Sequence[str], remove: Sequence[str]
    ) -> Changed:
        """Follow other instruments until the process ends. Raises NotCollected, UnknownSymbols, NotListed."""
        market = self._markets.get((exchange, market_type))
        if market is None:
            known = ", ".join(one.name for one in self._markets.values())
            raise NotCollected(f"{exchange} {market_type} is not collected; the configuration has {known}.")
        added = await market.add(add) if add else []
        removed = await market.remove(remove) if remove else []
        log.info("subscriptions_changed", market=market.name, added=len(added), removed=len(removed))
        return Changed(added, removed, market.instruments)

    # Life cycle.

    async def run(self, stop: asyncio.Event, duration: float | None = None) -> Report:
        """Collect until `stop` is set or `duration` seconds have passed, then shut down. Raises PortTaken."""
        try:
            await self.server.start()
        except PortTaken:
            self._close()
            raise
        now = self._clock.time_ns()
        await self._write({one.name: now for one in self._markets.values() if one.name not in self._since})
        log.info("started", url=self.server.url, sinks=", ".join(sink.name for sink in self._sinks))
        tasks = {
            name: asyncio.create_task(self._restarted(name, run), name=name) for name, run in self._tasks().items()
        }
        for sink in self._sinks:  # as stdout does when its reader has gone
            tasks[sink.name].add_done_callback(lambda _: stop.set())
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(duration):
                    await stop.wait()
        finally:
            try:
                remaining = await self._shut_down(tasks)
            finally:
                await self.server.stop()
        return report(self.status(), remaining)

    def _tasks(self) -> dict[str, Callable[[], Awaitable[None]]]:
        runs: dict[str, Callable[[], Awaitable[None]]] = {sink.name: sink.run for sink in self._sinks}
        runs |= {one.name: one.run for one in self._markets.values()}
        if any(sink.name == "jetstream" for sink in self._sinks):
            runs["backlog"] = self._read_backlog
        if self._tops:
            runs[TOPS] = self._tops.run
        return runs | {"loop": self._measure_loop, CHECKPOINT: self._save_always, "health": self._log_health}

    async def _restarted(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a task until it is cancelled or returns; after a crash it is restarted, and the others continue."""
        for crashes in count(1):
            try:
                await run()
                return
            except Exception:
                self._restarts[name] += 1
                pause = delay(crashes, FIRST_PAUSE, LONGEST_PAUSE, lambda: random.uniform(0.5, 1))  # noqa: S311 - no secret
                log.exception("task_crashed", task=name, restart_in_s=pause)
                await asyncio.sleep(pause)

    async def _shut_down(self, tasks: dict[str, asyncio.Task[None]]) -> dict[str, int]:
        """Close the sockets, drain the sinks, and write the checkpoint; the items that remain, by sink."""
        log.info("closing_sockets")
        ended = self._clock.time_ns()
        producers = {CHECKPOINT, TOPS, *(one.name for one in self._markets.values())}
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(*(one.stop() for one in self._markets.values()))
        await _cancel([task for name, task in tasks.items() if name in producers])
        log.info("draining_sinks")
        left = await asyncio.gather(*(sink.drain(self.config.shutdown_seconds) for sink in self._sinks))
        await _cancel(list(tasks.values()))
        self._close()
        remaining = {sink.name: count for sink, count in zip(self._sinks, left, strict=True)}
        lost = sum(remaining[sink.name] for sink in self._sinks if sink.durable)
        log.info("stopped", items_lost=lost)
        # What is spooled is safe: the next start delivers it.
        await self._save([ended, *(self._unacknowledged() if lost else ())])
        return remaining

    def _close(self) -> None:
        for sink in self._sinks:
            sink.close()

    # Data flow.

    def _create_markets(self, places: Places) -> dict[Key, Market]:
        timing = assembly.timing_of(self.config.connections)
        capture = next((sink for sink in self._sinks if isinstance(sink, CaptureSink)), None)
        markets, on_records, states = dict[Key, Market](), self._to_sinks(), self._listed.read()
        addresses: dict[Exchange, Address] = {}
        for exchange, market_type, wanted in self.config.markets():
            adapter = assembly.adapter_of(exchange, market_type, wanted)
            markets[exchange, market_type] = Market(
                adapter,
                wanted.symbols,
                wanted.data_types,
                budgets=places.budgets,
                on_records=on_records,
                on_error=partial(self._on_error, exchange, market_type),
                on_entry=capture.tap(
                    exchange,
                    market_type,
                    partial(self._state, exchange, market_type),
                    resumed=adapter.name in self._since,
                )
                if capture
                else None,
                shard=self.shard,
                timing=timing,
                network=assembly.network_of(self.config, exchange),
                since=self._since.get(adapter.name),
                match_dollar_quotes=wanted.match_dollar_quotes,
                max_instruments=wanted.max_instruments,
                clock=self._clock,
                states=states.get(adapter.name, ()),
                address=addresses.setdefault(exchange, Address(adapter.address_subscriptions)),
            )
        return markets

    def _to_sinks(self) -> Callable[[Sequence[Recorded]], None]:
        puts = [sink.put for sink in self._sinks if not isinstance(sink, CaptureSink)]

        def take(records: Sequence[Recorded]) -> None:
            if self._tops:
                self._tops.note(records)
            if puts:
                encoded = items(records)
                for put in puts:
                    put(encoded)

        return take

    def _on_error(self, exchange: Exchange, market_type: MarketType, error: DeadLetter | VenueError) -> None:
        market = f"{exchange} {market_type}"
        if isinstance(error, DeadLetter):
            self._dead_letters.keep(exchange, market_type, error)
            log.warning("unreadable_message", market=market, cause=error.cause)
        else:
            event = "rate_limited" if error.rate_limited else "venue_error"
            log.warning(event, market=market, code=error.code, cause=error.message)

    def _top(self, exchange: Exchange, market_type: MarketType, instrument: str, levels: int) -> Levels | None:
        market = self._markets.get((exchange, market_type))
        return market.top(instrument, levels) if market else None

    def _book(self, exchange: Exchange, market_type: MarketType, instrument: str) -> OrderBook | None:
        market = self._markets.get((exchange, market_type))
        return market.book(instrument) if market else None

    def _state(self, exchange: Exchange, market_type: MarketType) -> Sequence[FeedCheckpoint]:
        return self._markets[exchange, market_type].feed.checkpoint()

    # Background tasks.

    async def _measure_loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOP_SECONDS
            await asyncio.sleep(LOOP_SECONDS)
            self._loop_latency.observe(round((loop.time() - due) * 1e9))

    async def _read_backlog(self) -> None:
        """Read what is not loaded of the stream; while NATS does not answer, the sink's state says so."""
        while True:
            try:
                async with connected(self._nats_url or "") as client:
                    while True:
                        self._backlog = await backlog(client, self.config.jetstream.stream, self._clock.time_ns())
                        await asyncio.sleep(BACKLOG_SECONDS)
            except (StreamMissing, TransientError):
                self._backlog = None
            await asyncio.sleep(BACKLOG_SECONDS)

    async def _save_always(self) -> None:
        while True:
            await asyncio.sleep(CHECKPOINT_SECONDS)
            await self._save(self._unacknowledged())

    def _unacknowledged(self) -> list[int | None]:
        return [sink.state().oldest_ns for sink in self._sinks if sink.durable]

    async def _save(self, oldest: Sequence[int | None]) -> None:
        """Write the checkpoint: now, or the time of the oldest item or gap that is not safe yet.

        That of a market is its first start until it has its list of instruments.
        """
        moments, states = dict[str, int](), dict[str, list[InstrumentState]]()
        safe = min(moment for moment in (self._clock.time_ns(), *oldest) if moment is not None)
        for market in self._markets.values():
            if market.state().listed is not None:
                watermark = market.watermark()
                moments[market.name] = safe if watermark is None else min(safe, watermark)
            if self._listed_at.get(market.name, 0) < market.states.changed_at < safe:
                self._listed_at[market.name] = market.states.changed_at
                states[market.name] = [*market.states.last.values()]
        await self._write(moments, states)

    async def _write(
        self, moments: Mapping[str, int], states: Mapping[str, list[InstrumentState]] | None = None
    ) -> None:
        """Write the checkpoint and the states of these markets, and the messages that could not be read."""
        try:
            await asyncio.to_thread(self._checkpoint.write, moments)
            await asyncio.to_thread(self._listed.write, states or {})
            await asyncio.to_thread(self._dead_letters.write)
        except OSError as error:
            log.warning("checkpoint_failed", folder=str(self._checkpoint.file.parent), error=error)

    async def _log_health(self) -> None:
        logged: list[str] = []
        while True:
            await asyncio.sleep(CHECKPOINT_SECONDS)
            _, health = self.judged()
            reasons = [re.sub(r"\d", "#", reason) for reason in health.reasons]
            if reasons != logged:
                logged = reasons
                write = log.info if health.status == "healthy" else log.warning
                write("health_changed", status=health.status, reason="; ".join(health.reasons))


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    """End all tasks. Cancelled again until they do: asyncio.wait_for may lose a cancellation while it connects."""
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=CANCEL_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
