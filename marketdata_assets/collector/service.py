"""The collector: markets on one side, sinks on the other, records from these to those; begun, watched, ended in order.

What is collected and where it goes is decided in `assembly`, how it is told of in `status`.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version

from marketdata_assets.collector import assembly
from marketdata_assets.collector.assembly import Outlet, Places
from marketdata_assets.collector.config import Config
from marketdata_assets.collector.connections import Market, Shard
from marketdata_assets.collector.errors import NotCollected, PortTaken
from marketdata_assets.collector.flow import Flow
from marketdata_assets.collector.health import LAST_VALUES, Health, judge
from marketdata_assets.collector.http import Changed, Face
from marketdata_assets.collector.items import Recorded, items
from marketdata_assets.collector.lag import Lag
from marketdata_assets.collector.memory import DeadLetters, Since
from marketdata_assets.collector.metrics import Metrics
from marketdata_assets.collector.report import Report, lost, report
from marketdata_assets.collector.servers import Servers
from marketdata_assets.collector.sinks.capture import CaptureSink
from marketdata_assets.collector.status import MarketStatus, SinkStatus, Status
from marketdata_assets.exchanges.records import DeadLetter, Exchange, MarketType, OrderBook, VenueError
from marketdata_assets.secret_values import without_password

LOOK_SECONDS = 0.25
"""Between two looks at how late the event loop is."""

REMEMBER_SECONDS = 1.0
COMPLAINT_NS = 1_000_000_000
"""Between two lines of log about what a venue complains of; all are counted."""

MEMORY = "memory"
GOODBYE_SECONDS = 10.0
"""For the venues, when the sockets are closed."""

Key = tuple[Exchange, MarketType]


class Collector:
    """One process of the collector. Raises NoSink, UnknownDataTypes, and BadAddress of a server."""

    def __init__(
        self,
        config: Config,
        servers: Servers,
        places: Places,
        shard: Shard | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        assembly.check(config, servers)
        self.config, self.shard = config, shard or assembly.WHOLE
        self.requests: Counter[tuple[str, int]] = Counter()
        self._clock = clock
        self._started = clock()
        self._restarts: Counter[str] = Counter()
        self._complained: dict[Key, int] = {}
        self._loop_lag = Lag()
        self._log = logging.getLogger(__name__)
        own = partial(assembly.own_folder, places, shard=self.shard)
        self._since = Since(own("since").with_suffix(".json"))
        self._letters = DeadLetters(own("dead-letters").with_suffix(".ndjson"))
        self._outlets: list[Outlet] = assembly.outlets(config, servers, places, self.shard, self._book)
        self._flows: dict[Key, Flow] = {}
        self._markets = self._all_markets(places)
        self._metrics = Metrics(self.status, self.health)
        self.face = Face(self, config.http.host, config.http.port, servers.token)
        self._version = version("marketdata-assets")

    # What is asked from outside.

    def status(self) -> Status:
        """How it is now."""
        return Status(
            now=self._clock(),
            started=self._started,
            version=self._version,
            shard=f"{self.shard.index}/{self.shard.count}",
            markets=tuple(MarketStatus(one.state(), self._flows[key]) for key, one in self._markets.items()),
            sinks=tuple(_sink_status(one) for one in self._outlets),
            loop_lag=self._loop_lag,
            restarts={name: self._restarts[name] for name in self._tasks()},
            requests=self.requests,
        )

    def health(self, status: Status) -> Health:
        """The verdict on a moment, by the limits of the configuration."""
        return judge(status, self.config.health)

    def exposition(self) -> bytes:
        """All metrics as Prometheus reads them."""
        return self._metrics.exposition()

    async def change(
        self, exchange: Exchange, market_type: MarketType, add: Sequence[str], remove: Sequence[str]
    ) -> Changed:
        """Follow other instruments, until the process ends. Raises NotCollected, UnknownSymbols, NotListed."""
        market = self._markets.get((exchange, market_type))
        if market is None:
            known = [one.name for one in self._markets.values()]
            raise NotCollected(f"{exchange} {market_type}", known)
        added = await market.add(add) if add else []
        removed = await market.remove(remove) if remove else []
        self._log.info("%s: %d instruments added, %d removed", market.name, len(added), len(removed))
        return Changed(added, removed, market.instruments)

    # Its life.

    async def run(self, stop: asyncio.Event, duration: float | None = None) -> Report:
        """Collect until `stop` is set or `duration` seconds are over, then end in order. Raises PortTaken."""
        try:
            await self.face.start()
        except PortTaken:
            self._close()
            raise
        self._log.info("listening on %s, sinks: %s", self.face.url, ", ".join(one.sink.name for one in self._outlets))
        tasks = {name: asyncio.create_task(self._kept(name, run), name=name) for name, run in self._tasks().items()}
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(duration):
                    await stop.wait()
        finally:
            try:
                remaining = await self._end(tasks)
            finally:
                await self.face.stop()
        return report(self.status(), remaining)

    def _tasks(self) -> dict[str, Callable[[], Awaitable[None]]]:
        runs: dict[str, Callable[[], Awaitable[None]]] = {one.sink.name: one.sink.run for one in self._outlets}
        runs |= {one.name: one.run for one in self._markets.values()}
        return runs | {"watch": self._watch, MEMORY: self._remember_always, "health": self._tell_health}

    async def _kept(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a task until it is cancelled or ends by itself; a fault of ours must not end the rest."""
        pause = 0.5
        while True:
            try:
                await run()
            except Exception:
                self._restarts[name] += 1
                self._log.exception("%s failed; it is begun anew", name)
                await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - no secret
                pause = min(pause * 2, 30.0)
            else:
                return

    async def _end(self, tasks: dict[str, asyncio.Task[None]]) -> dict[str, int]:
        """Close the sockets, hand everything over, remember how far it went; what remains, by sink."""
        self._log.info("ending: closing sockets")
        ended = self._clock()
        names = {one.name for one in self._markets.values()}
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await asyncio.gather(*(one.stop() for one in self._markets.values()))
        await _cancel([task for name, task in tasks.items() if name in names or name == MEMORY])
        self._log.info("ending: draining sinks")
        sinks = [one.sink for one in self._outlets]
        left = await asyncio.gather(*(sink.drain(self.config.shutdown_seconds) for sink in sinks))
        await _cancel(list(tasks.values()))
        self._close()
        remaining = {sink.name: count for sink, count in zip(sinks, left, strict=True)}
        # What is spooled is safe: the next start goes on with it.
        await self._remember([ended, *(self._waiting() if lost(remaining) else ())])
        return remaining

    def _close(self) -> None:
        for one in self._outlets:
            one.sink.close()

    # What comes.

    def _all_markets(self, places: Places) -> dict[Key, Market]:
        timing = assembly.timing_of(self.config.connections)
        since = self._since.read()
        capture = next((one.sink for one in self._outlets if isinstance(one.sink, CaptureSink)), None)
        made: dict[Key, Market] = {}
        for exchange, market_type, wanted in self.config.markets():
            flow = self._flows[exchange, market_type] = Flow(exchange, market_type)
            made[exchange, market_type] = assembly.market(
                exchange,
                market_type,
                wanted,
                timing,
                places,
                self.shard,
                since.get(f"{exchange} {market_type}"),
                self._taker(flow),
                partial(self._trouble, flow),
                capture.tap(exchange, market_type) if capture else None,
            )
        return made

    def _taker(self, flow: Flow) -> Callable[[list[Recorded]], None]:
        puts = [one.sink.put for one in self._outlets if not isinstance(one.sink, CaptureSink)]

        def take(records: list[Recorded]) -> None:
            flow.count(records)
            if puts:
                made = items(records)
                for put in puts:
                    put(made)

        return take

    def _trouble(self, flow: Flow, one: DeadLetter | VenueError) -> None:
        flow.trouble(one)
        if isinstance(one, DeadLetter):
            self._letters.keep(flow.exchange, flow.market_type, one)
            self._log.debug("%s %s: not understood: %s", flow.exchange, flow.market_type, one.cause)
            return
        now, key = self._clock(), (flow.exchange, flow.market_type)
        if now - self._complained.get(key, 0) >= COMPLAINT_NS:
            self._complained[key] = now
            self._log.warning("%s %s: error %s: %s", *key, one.code, one.message)

    def _book(self, exchange: Exchange, market_type: MarketType, instrument: str) -> OrderBook | None:
        market = self._markets.get((exchange, market_type))
        return market.book(instrument) if market else None

    # What goes on beside.

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOK_SECONDS
            await asyncio.sleep(LOOK_SECONDS)
            self._loop_lag.observe(round((loop.time() - due) * 1e9))

    async def _remember_always(self) -> None:
        while True:
            await asyncio.sleep(REMEMBER_SECONDS)
            await self._remember(self._waiting())

    def _waiting(self) -> list[int | None]:
        return [one.sink.state().oldest_ns for one in self._outlets if one.sink.name != LAST_VALUES]

    async def _remember(self, waiting: Sequence[int | None]) -> None:
        """Until when everything is safe: now, where nothing waits and no socket is down."""
        moments = {}
        for market in self._markets.values():
            if market.state().listed is not None:
                moments[market.name] = min(m for m in (self._clock(), market.watermark(), *waiting) if m is not None)
        try:
            await asyncio.to_thread(self._since.write, moments)
            await asyncio.to_thread(self._letters.write)
        except OSError as error:
            self._log.warning("%s: %s", self._since.file.parent, error.strerror)

    async def _tell_health(self) -> None:
        """Log what changes in the verdict."""
        told: list[str] = []
        while True:
            await asyncio.sleep(REMEMBER_SECONDS)
            health = self.health(self.status())
            reasons = [_without_numbers(reason) for reason in health.reasons]
            if reasons != told:
                told = reasons
                level = logging.INFO if health.status == "healthy" else logging.WARNING
                self._log.log(level, "%s%s", health.status, "".join(f"; {reason}" for reason in health.reasons))


def _sink_status(one: Outlet) -> SinkStatus:
    state = one.sink.state()
    if state.last_error:
        state = replace(state, last_error=without_password(state.last_error))
    return SinkStatus(one.sink.name, state, one.lag)


def _without_numbers(reason: str) -> str:
    return "".join("#" if one.isdigit() else one for one in reason)


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
