"""One connection: its socket is reopened forever, and replaced without a loss before the venue closes it.

What messages mean is decided in `dispatcher`, whether subscriptions are alive in `liveness`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from marketdata_assets.backoff import delay
from marketdata_assets.budget import Budget, BudgetUnavailable
from marketdata_assets.collector.connections.socket import CANNOT_CONNECT, DEFAULT, Network, RateWindow, Socket
from marketdata_assets.collector.connections.state import ConnectionState, ConnectionStatus
from marketdata_assets.exchanges.gap_tracker import WAIT_SECONDS
from marketdata_assets.exchanges.venue_adapter import Subscription, VenueAdapter
from marketdata_assets.logs import get_logger

if TYPE_CHECKING:
    from marketdata_assets.collector.connections.dispatcher import Dispatcher

NS = 1_000_000_000

log = get_logger(__name__)


@dataclass(frozen=True)
class Timing:
    """All durations of connections, in seconds. None takes the value of the venue's adapter."""

    connect: float = 10.0  # to open a socket, handshake included
    backoff: float = 0.5  # the first wait is a random part of it, and it doubles
    longest_backoff: float = 60.0
    settled: float = 30.0  # a socket that lived this long resets the backoff
    connects_per_second: float | None = None
    ping_after: float | None = None  # of silence
    pong_within: float = 10.0  # then the socket is dead
    confirm: float = 10.0  # for a subscription to be confirmed
    age: float | None = None  # of a socket, when it is replaced
    overlap: float = 30.0  # at most, of the old socket and its replacement
    repeats: float = 5.0  # ids are kept for deduplication this long before and after an overlap
    silence: Mapping[str, float] = field(default_factory=dict)  # by type of record, how long is normal
    longest_silence: float = 3600.0  # a subscription that is silent by nature is checked this often
    resubscribe: float = 10.0  # between two subscriptions for the sake of one book
    snapshot: float = 30.0  # between two snapshots of one book
    book_checkpoint: float = 3600.0  # between two records of each whole book
    book_checkpoint_updates: int = 20_000  # so many updates after the last one a book is recorded earlier
    before_snapshot: float = 0.5  # from the first update; a younger snapshot is more likely to fit
    hole: float = WAIT_SECONDS  # for the first message of a stream after its confirmation
    polls: Mapping[str, float] = field(default_factory=lambda: {"open_interest": 30.0, "funding_rate": 30.0})
    listing: float = 86_400.0  # between two instrument lists
    pattern_listing: float = 300.0  # the same of a market that follows patterns
    expired: float = 60.0  # an instrument is followed for so long after it expired
    tick: float = 0.5  # between two checks of all of this
    goodbye: float = 2.0  # for the venue to close a socket that we left
    rest: float = 10.0  # for a REST response


@dataclass
class SubscriptionHealth:
    """What was done for a subscription that is silent."""

    resubscribed: int = 0
    acted_at: int = 0  # steady ns
    step: int = 0  # 0: healthy; 1: restarted; 2: socket replaced
    doubled: int = 0  # how often all that did not help
    since: int = 0  # steady ns, start of the silence
    learned: float = 0.0  # seconds of silence that turned out to be normal


@dataclass(eq=False)
class Connection:
    """The subscriptions at one URL, over one socket, or two while one replaces the other."""

    number: int
    url: str
    adapter: VenueAdapter
    timing: Timing
    events: "Dispatcher"
    connects: Budget
    shared: Sequence[RateWindow] = ()  # of all connections to the address
    network: Network = DEFAULT
    subscriptions: dict[str, Subscription] = field(default_factory=dict)  # by key
    health: dict[str, SubscriptionHealth] = field(default_factory=dict)
    socket: Socket | None = None
    replacement: Socket | None = None
    status: ConnectionStatus = "connecting"
    reconnects: int = 0
    planned: int = 0
    failures: int = 0  # in a row
    last_error: str | None = None
    _messages: int = 0  # of sockets that are closed
    _received: int = 0
    _leave: str = ""  # why the socket is to be replaced
    _stopping: bool = False
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Keep a socket open until cancelled."""
        try:
            while True:
                if self.socket is None:
                    self.socket = await self._open()
                elif self._leave:
                    await self._replace(self.socket)
                else:
                    await self._wait(self.socket)
        finally:
            for socket in (self.socket, self.replacement):
                if socket and not socket.over:
                    self._stopping = True
                    socket.drop("stopped")

    async def stop(self) -> None:
        """Close the sockets gracefully. Cancel `run` afterwards."""
        self._stopping = True
        sockets = [socket for socket in (self.socket, self.replacement) if socket]
        await asyncio.gather(*(socket.leave(self.timing.goodbye) for socket in sockets))
        self.status = "closed"

    def replace(self, why: str) -> None:
        """Have another socket take over."""
        if not self._leave and self.replacement is None:
            self._leave = why
            self._wake.set()

    def flush(self) -> None:
        """Subscribe to what was added to `subscriptions`."""
        for socket in self._alive():
            socket.subscribe(list(self.subscriptions))

    def remove(self, keys: list[str]) -> None:
        for key in keys:
            self.subscriptions.pop(key, None)
            self.health.pop(key, None)
        for socket in self._alive():
            socket.unsubscribe(keys)

    def state(self) -> ConnectionState:
        socket, clock = self.socket, self.events.clock
        return ConnectionState(
            self.number,
            self.url,
            self.status,
            clock.shown(socket.opened_at) if socket else None,
            self._messages + (socket.messages if socket else 0),
            self._received + (socket.received if socket else 0),
            self.reconnects,
            self.planned,
            clock.shown(socket.last_at) if socket and socket.last_at else None,
            self.last_error,
            len(self.subscriptions),
            socket.unconfirmed if socket else len(self.subscriptions),
            self.failures,
        )

    def covers(self, new: Socket, old: Socket) -> bool:
        """Whether the new socket delivers everything that the old one delivers."""
        if new.unconfirmed or self.events.clock.steady_ns() - new.opened_at < self.timing.repeats * NS:
            return False
        ready = max((request.confirmed_at for request in new.requests.values()), default=0)
        return all(seen <= ready or key in new.seen for key, seen in old.seen.items())

    def _alive(self) -> list[Socket]:
        return [socket for socket in (self.socket, self.replacement) if socket and not socket.over]

    async def _wait(self, socket: Socket) -> None:
        """Until something happens, or the socket is too old."""
        self.status = "open"
        age = self.timing.age if self.timing.age is not None else self.adapter.age
        left = None if age is None else max(0.0, age - (self.events.clock.steady_ns() - socket.opened_at) / NS)
        try:
            async with asyncio.timeout(left):
                await self._wake.wait()
        except TimeoutError:
            self._leave = "maximum age reached"
        self._wake.clear()

    async def _open(self) -> Socket:
        """Open and subscribe a socket; retried forever, with exponential backoff."""
        events = self.events
        while True:
            if self.failures or self.reconnects:
                if self.socket is None:
                    self.status = "backoff"
                timing = self.timing
                await asyncio.sleep(delay(self.failures + 1, timing.backoff, timing.longest_backoff))
            try:
                await self.connects.acquire()
            except BudgetUnavailable as error:
                self._cannot_connect(error)
                continue
            if self.socket is None:
                self.status = "connecting"
            session, rates = self.adapter.socket_session(), self.adapter.message_rates
            windows = [*self.shared, *(RateWindow(rate) for rate in rates if not rate.by_address)]
            callbacks = events.take, events.sent, self._ended
            socket = Socket(events.number(), self.url, session, windows, *callbacks, self.network, events.clock)
            try:
                await socket.open(self.timing.connect)
            except CANNOT_CONNECT as error:
                self._cannot_connect(error)
                continue
            if socket.over:
                self.failures += 1
                continue
            events.opened(socket)
            socket.subscribe(list(self.subscriptions))
            log.info("connected", market=self.adapter.name, url=self.url, subscriptions=len(self.subscriptions))
            return socket

    def _cannot_connect(self, error: Exception) -> None:
        self.failures += 1
        self.last_error = f"{type(error).__name__} {error}"[:200].strip()
        log.warning("connect_failed", market=self.adapter.name, url=self.url, error=error, attempt=self.failures)

    async def _replace(self, old: Socket) -> None:
        """Have another socket take over from one that still works."""
        why, self._leave, self.status = self._leave, "", "replacing"
        log.info("replacing_socket", market=self.adapter.name, url=self.url, reason=why)
        self.events.replacing()
        await asyncio.sleep(self.timing.repeats)  # what came shortly before is known by then
        new = await self._open()
        if self.socket is None:  # the old one was lost meanwhile
            self.socket = new
            return
        self.replacement, new.predecessor = new, old
        self.events.replacing()
        until = self.events.clock.steady_ns() + self.timing.overlap * NS
        while not (old.over or new.over or self.events.clock.steady_ns() > until or self.covers(new, old)):
            await asyncio.sleep(min(self.timing.tick, 0.1))
        self.replacement = new.predecessor = None
        if new.over:
            self._leave = "" if self.socket is None else why
            return
        self.socket = new
        if not old.over:
            self._count(old)
            self.planned += 1
            self.last_error = None
            await old.leave(self.timing.goodbye)
            self.events.replaced(old)

    def _ended(self, socket: Socket) -> None:
        if self._stopping or socket not in (self.socket, self.replacement):
            return
        self.last_error = socket.error
        lived = (self.events.clock.steady_ns() - socket.opened_at) / NS
        self.failures = 0 if lived >= self.timing.settled else self.failures + 1
        if socket is self.socket:
            self.reconnects += 1
            self.socket = None
            self._leave = ""
            self._count(socket)
            log.warning(
                "reconnecting", market=self.adapter.name, url=self.url, reason=socket.error, attempt=self.failures
            )
            self.events.lost(self, socket, self.replacement)
        else:
            self.events.replacement_lost(self.socket, socket)
        self._wake.set()

    def _count(self, socket: Socket) -> None:
        self._messages += socket.messages
        self._received += socket.received
