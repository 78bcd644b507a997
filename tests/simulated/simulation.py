"""Hours of collecting with faults at random, in minutes, from simulated venues into a real ClickHouse.

What happens at the venues and what fails is drawn from the seed. The collector lives in this process by a virtual
clock; NATS and ClickHouse are processes, and so is the drain.
"""

import asyncio
import json
import os
import resource
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from marketdata_assets.collector import config as configuration
from marketdata_assets.collector import service
from marketdata_assets.collector.assembly import Places
from marketdata_assets.collector.jetstream.publisher import Publisher
from marketdata_assets.collector.servers import Servers
from marketdata_assets.collector.service import Collector
from marketdata_assets.local import servers
from marketdata_assets.local.process import Server
from marketdata_demo.venues import venue as venues
from marketdata_demo.venues.binance_venue import BinanceVenue
from marketdata_demo.venues.bybit_venue import BybitVenue
from marketdata_demo.venues.coinbase_venue import CoinbaseVenue
from marketdata_demo.venues.deribit_venue import DeribitVenue
from marketdata_demo.venues.hyperliquid_venue import HyperliquidVenue
from marketdata_demo.venues.kraken_venue import KrakenVenue
from marketdata_demo.venues.okx_venue import OkxVenue
from marketdata_demo.venues.venue import Venue
from tests.collector.whole import At
from tests.own_clickhouse import OwnClickHouse
from tests.simulated.drain_process import Drainer, Marker
from tests.simulated.virtual_loop import SECOND, Clock, Life, VirtualLoop, virtual_clock

START = 1_772_411_400 * SECOND  # 2026-03-02 00:30 UTC
MINUTE = 60 * SECOND
HOUR = 3600 * SECOND
BETWEEN_BOOKS, BETWEEN_TRADES = 8.0, 25.0
"""Seconds between two changes of a book and two trades of an instrument, on average."""

HOURS = float(os.environ.get("SIMULATED_HOURS", "6"))
"""Of the longest one; in a day there is a fault of each kind."""

SAMPLED = {"hyperliquid"}
"""Venues that send a book of now and then, and not its changes: only their trades are collected here."""

SELDOM = {"CHECKPOINT_SECONDS": 10.0, "BACKLOG_SECONDS": 600.0, "LOOP_SECONDS": 60.0}
"""What the collector does each second, or more often, takes most of the real time."""


@dataclass(frozen=True)
class Sizes:
    """How long, and what is small enough to be reached."""

    hours: float
    between_faults: float  # hours, on average
    socket_hours: float  # after which a venue closes a socket, and shortly before which it is replaced
    without_drain: float  # hours, until the stream deletes what nobody loaded
    stream_gigabytes: float
    spool_gigabytes: float = 0.00015


SHORT = Sizes(hours=0.8, between_faults=0.08, socket_hours=0.4, without_drain=0.5, stream_gigabytes=0.0018)
SMALL_STREAM = Sizes(hours=0.4, between_faults=0.05, socket_hours=0.2, without_drain=0.25, stream_gigabytes=0.0009)
LONG = Sizes(hours=HOURS, between_faults=0.4, socket_hours=8.0, without_drain=3.0, stream_gigabytes=0.005)


def ats(seed: int) -> list[At]:
    """A market of each venue; some clocks are not ours."""
    now = START // 1_000_000
    return [
        At(BinanceVenue("spot", ["ABCUSDT"], seed=seed, start_ms=now + 700), "binance", "spot"),
        At(
            BinanceVenue("linear", ["ABCUSDT"], seed=seed + 1, start_ms=now - 400),
            "binance",
            "linear",
            of_trade=lambda number: str(number - 500),
        ),
        At(OkxVenue(["ABC-USDT"], seed=seed + 2, start_ms=now + 90), "okx", "spot"),
        At(
            DeribitVenue(["ABC_USDC-PERPETUAL"], seed=seed + 3),
            "deribit",
            "linear",
            of_trade=lambda number: f"ABC-{number}",
        ),
        At(BybitVenue("spot", ["ABCUSDT"], seed=seed + 4), "bybit", "spot", best=200),
        At(KrakenVenue(["ABC/USD"], seed=seed + 5, start_ms=now - 250), "kraken", "spot", best=10),
        At(CoinbaseVenue(["ABC-USD"], seed=seed + 6), "coinbase", "spot"),
        At(HyperliquidVenue(["ABC"], seed=seed + 7), "hyperliquid", "linear", only=("ABC",)),
    ]


@dataclass
class World:
    """Everything that runs and can fail. `happened` says when what was begun, and for how long (ns)."""

    folder: Path
    sizes: Sizes
    clock: Clock
    loop: VirtualLoop
    ats: Sequence[At]
    nats: Server
    clickhouse: OwnClickHouse
    drainer: Drainer
    random: Random
    first: Mapping[tuple[str, str, str], Any]
    happened: list[tuple[int, int, str]] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    draining: bool = True
    going: bool = True
    life: Life | None = None
    collector: Collector | None = None
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _run: "asyncio.Task[Any] | None" = None

    @property
    def venues(self) -> list[Venue]:
        return [at.venue for at in self.ats]

    # The collector.

    def start_collector(self) -> None:
        self.life = Life(self.loop, self.folder / "collector")
        self.life.run(self._start_collector)

    def _start_collector(self) -> None:
        folder = self.folder / "collector"
        places = Places(folder / "own", folder / "budgets", folder / "captures")
        config = configuration.parse(json.dumps(self._config()), "simulated.yaml")
        self.collector = Collector(config, Servers(nats_url=self.nats.url), places)
        self._stop = asyncio.Event()
        self._run = asyncio.ensure_future(self.collector.run(self._stop))

    async def stop_collector(self) -> None:
        if self._run:
            self._stop.set()
            await self._run
        self.life = self.collector = self._run = None

    def kill_collector(self) -> None:
        if self.life:
            self.life.kill()
        self.life = self.collector = self._run = None

    def publisher(self) -> Publisher | None:
        sinks = self.collector._sinks if self.collector else ()
        return next((sink for sink in sinks if isinstance(sink, Publisher)), None)

    def owed(self) -> bool:
        """Whether something outside is in progress: a drain, messages without an ack, or a login to NATS."""
        if self.drainer.in_progress:
            return True
        publisher = self.publisher()
        if publisher is None or not self.nats.alive:
            return False
        return publisher._connection is None or len(publisher._in_flight) > 0

    def _config(self) -> dict[str, Any]:
        exchanges: dict[str, Any] = {}
        for at in self.ats:
            markets = exchanges.setdefault(at.exchange, {"markets": {}})["markets"]
            types = ["trade"] if at.exchange in SAMPLED else ["trade", "orderbook"]
            markets[at.market_type] = at.place.section() | {"data_types": types}
        sizes = self.sizes
        stream = {"enabled": True, "max_gigabytes": sizes.stream_gigabytes, "queue_items": 100}
        stream |= {"spool_gigabytes": sizes.spool_gigabytes}
        return {
            "exchanges": exchanges,
            "http": {"port": 0},
            "jetstream": stream,
            "capture": {"enabled": True},
            "connections": {"age_seconds": sizes.socket_hours * 3600 - 300},
        }

    # What happens at the venues.

    def happen(self, venue: Venue, name: str, kind: str, seconds: float) -> None:
        """Something now, and again after so many seconds on average."""
        if self.going and (name, kind) in venue._wanted:
            venue._happen(name, kind)
        pause = round(self.random.expovariate(1 / seconds) * SECOND) + 1
        self.loop.at(self.clock.now + pause, lambda: self.happen(venue, name, kind, seconds))

    async def burst(self) -> None:
        """Much at once at all venues, and an end in the midst of its processing."""
        for venue in self.venues:
            venue._burst(self.random.randrange(20))
        for _ in range(self.random.randrange(12)):
            await asyncio.sleep(0)

    def some_venue(self) -> Venue:
        return self.random.choice(self.venues)

    # Time.

    async def pause(self, low: float, high: float) -> None:
        """So many seconds at random."""
        await asyncio.sleep(self.random.uniform(low, high))

    async def drain_always(self) -> None:
        while True:
            await self.pause(900, 3600)
            if self.draining and self.nats.alive:
                self.drainer.begin()


# Faults of a venue.


AT_ONCE: dict[str, Callable[[Venue, Random], object]] = {
    "hang_up": lambda venue, _: venue.hang_up(),
    "close_all": lambda venue, _: venue.close_all(),
    "half_open": lambda venue, _: venue.half_open(),
    "mute": lambda venue, _: venue.for_each_socket(lambda one: one.muted.update(one.streams)),
    "skip": lambda venue, random: venue.skip(random.randrange(1, 4)),
    "repeat": lambda venue, random: venue.repeat(random.randrange(1, 4)),
    "spoil": lambda venue, random: venue.spoil(random.randrange(1, 3)),
    "garbage": lambda venue, random: venue.garbage(text=random.random() < 0.5),
}


async def hold(world: World) -> None:
    venue = world.some_venue()
    venue.hold()
    await world.pause(5, 90)
    venue.release()


async def away(world: World) -> None:
    """The venue refuses connections."""
    venue = world.some_venue()
    await venue._away()
    venue.hang_up()
    await world.pause(30, 1800)
    await venue._listen()


async def rest_fails(world: World) -> None:
    """A book needs a snapshot, and the venue's REST does not answer."""
    venue = world.some_venue()
    venue.fail(500, times=world.random.randrange(1, 20))
    venue.hang_up()
    await world.pause(60, 300)
    venue.no_more_faults()


async def late_snapshot(world: World) -> None:
    venue = world.some_venue()
    venue.stall(world.random.uniform(1, 20), times=2)
    venue.hang_up()


# Faults of ours.


async def kill_collector(world: World) -> None:
    await world.burst()
    world.kill_collector()
    await world.pause(1, 900)
    world.start_collector()


async def restart_collector(world: World) -> None:
    await world.stop_collector()
    await world.pause(1, 600)
    world.start_collector()


async def kill_nats(world: World) -> None:
    await world.burst()
    world.nats.kill()
    await world.pause(1, 300)
    world.nats.start()


async def fill_spool(world: World) -> None:
    """NATS is away until the spool and the queue have no room left."""
    world.nats.kill()
    publisher = world.publisher()
    before = publisher.state().dropped if publisher else 0
    while publisher and publisher.state().dropped == before:
        await world.pause(60, 120)
    world.nats.start()


async def fill_disk(world: World) -> None:
    """No file of the collector can grow, and NATS is away."""
    world.nats.kill()
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, usual[1]))
    try:
        await world.pause(60, 1200)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    world.nats.start()


async def kill_both(world: World) -> None:
    """The collector dies while what it received is only in its spool."""
    world.nats.kill()
    await world.pause(1, 400)
    await world.burst()
    world.kill_collector()
    await world.pause(1, 300)
    world.nats.start()
    world.start_collector()


async def kill_clickhouse(world: World) -> None:
    world.drainer.begin()
    await world.pause(0, 10)
    world.clickhouse.kill()
    await world.pause(60, 3600)
    world.clickhouse.start()


async def kill_drain(world: World) -> None:
    world.drainer.begin()
    await world.pause(0, 10)
    world.drainer.kill()


async def overflow(world: World) -> None:
    """Nobody drains for longer than the stream keeps messages."""
    world.draining = False
    await asyncio.sleep(world.sizes.without_drain * 3600)
    world.draining = True


LASTING = {
    fault.__name__: fault
    for fault in (
        hold, away, rest_fails, late_snapshot, kill_collector, restart_collector, kill_nats, fill_spool, fill_disk,
        kill_both, kill_clickhouse, kill_drain,
    )
}  # fmt: skip
FAULTS = (*AT_ONCE, *LASTING)
"""All but `overflow`, which happens beside them."""


def plan(sizes: Sizes, random: Random) -> list[str]:
    """Each fault once before any comes again, as many as there is time for."""
    many = round(sizes.hours / sizes.between_faults)
    return [fault for _ in range(many // len(FAULTS) + 1) for fault in random.sample(FAULTS, len(FAULTS))][:many]


async def _fail(world: World) -> None:
    """All faults of the plan, one after the other, with quiet times between."""
    between = world.sizes.between_faults * 3600
    for fault in plan(world.sizes, world.random):
        end = world.loop.time() + between
        await world.pause(0, between / 4)
        await happened(world, fault)
        await asyncio.sleep(max(0.0, end - world.loop.time()))


async def happened(world: World, name: str) -> None:
    began = world.clock.now
    if name in AT_ONCE:
        AT_ONCE[name](world.some_venue(), world.random)
    else:
        await (LASTING | {"overflow": overflow})[name](world)
    world.happened.append((began, world.clock.now, name))
    world.counted[name] += 1


async def _live(world: World) -> None:
    for at in world.ats:
        venue = at.venue
        venue.lifetime = world.sizes.socket_hours * 3600
        await venue._start()
        for name in at.names:
            world.happen(venue, name, "book", BETWEEN_BOOKS)
            world.happen(venue, name, "trade", BETWEEN_TRADES)
    world.start_collector()
    drains = asyncio.ensure_future(world.drain_always())
    overflows = asyncio.ensure_future(happened(world, "overflow"))
    await _fail(world)
    await overflows
    await asyncio.sleep(600)
    world.going = False
    await asyncio.sleep(120)
    await world.stop_collector()
    drains.cancel()
    world.drainer.finish()
    world.drainer.begin()
    world.drainer.finish()
    for venue in world.venues:
        await venue._stop()


@contextmanager
def lived(folder: Path, seed: int, sizes: Sizes) -> Iterator[World]:
    """The world after its hours, with ClickHouse still there."""
    with ExitStack() as stack:
        clickhouse = OwnClickHouse(folder / "clickhouse")
        stack.callback(clickhouse.stop)
        nats = Server(servers.NATS, folder, 0)
        nats.start()
        stack.callback(nats.kill)
        (folder / "collector").mkdir()
        marks = folder / "marks"
        with virtual_clock(START) as clock, loop_of(clock) as loop:
            marker = Marker(marks, (2 * sizes.hours + 1) * 3600)
            stack.callback(marker.close)
            clock.on_move = marker.mark
            clock.move(START)
            drainer = Drainer(clickhouse.url, nats.url, marks)
            stack.callback(drainer.close)
            made = ats(seed)
            for at in made:
                live_in(loop, at.venue)
            first = {
                (at.exchange, at.market_type, name): at.venue.markets[name].levels() for at in made for name in at.names
            }
            world = World(folder, sizes, clock, loop, made, nats, clickhouse, drainer, Random(seed), first)
            loop.owed = world.owed
            loop.run_until_complete(_live(world))
        yield world


@contextmanager
def loop_of(clock: Clock) -> Iterator[VirtualLoop]:
    """A loop in which the collector and simulated venues live by this clock."""
    loop = VirtualLoop(clock)
    asyncio.set_event_loop(loop)
    try:
        with patch.multiple(service, **SELDOM), patch.object(venues, "PULSE", 86_400.0):
            yield loop
    finally:
        asyncio.set_event_loop(None)
        loop.threads.shutdown()
        loop.close()


def live_in(loop: VirtualLoop, venue: Venue) -> None:
    """Have a venue live in this loop instead of a thread of its own."""
    venue._loop.close()
    venue._loop = loop
    venue.call = lambda act, *given: act(*given)  # type: ignore[method-assign]
