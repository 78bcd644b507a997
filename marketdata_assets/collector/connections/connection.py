"""One place for a socket: opened again for ever, and replaced before its time is over without losing anything.

What its messages mean is the business of `market`, whether its subscriptions are alive that of `watch`.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from marketdata_assets.budget import Budget
from marketdata_assets.collector.connections.socket import CANNOT_CONNECT, Socket
from marketdata_assets.collector.connections.speaking import Speaker, Subscription
from marketdata_assets.collector.connections.state import ConnectionState, ConnectionStatus
from marketdata_assets.collector.connections.timing import Timing

NS = 1_000_000_000


class Events(Protocol):
    """Whom a connection tells what happens."""

    def number(self) -> int:
        """A number that no socket had."""
        ...

    def take(self, socket: Socket, raws: list[bytes], now: int) -> None: ...

    def said(self, socket: Socket, raw: bytes) -> None: ...

    def opened(self, socket: Socket) -> None: ...

    def lost(self, connection: "Connection", socket: Socket, heir: Socket | None) -> None:
        """A socket ended that was not replaced; `heir` was about to."""
        ...

    def heir_lost(self, elder: Socket | None, socket: Socket) -> None:
        """A socket ended before it took over."""
        ...

    def woken(self, subscription: Subscription, since: int, until: int) -> None:
        """A subscription that was silent brings something since it was made anew; ns."""
        ...

    def replacing(self, connection: "Connection") -> None:
        """From now on two sockets may bring the same."""
        ...

    def replaced(self, connection: "Connection", old: Socket) -> None:
        """Another socket took over, and this one is closed."""
        ...


@dataclass
class Health:
    """What was done for a subscription that is silent."""

    resubscribed: int = 0
    acted_at: int = 0  # ns
    step: int = 0  # 0: it is well; 1: asked for anew; 2: the socket replaced
    doubled: int = 0  # how often all that did not help
    since: int = 0  # ns, from when on it was silent
    learned: float = 0.0  # seconds, that it may be silent though nothing is wrong


@dataclass(eq=False)
class Connection:
    """What is subscribed to at one address over one socket, or two while one takes over from the other."""

    place: int
    url: str
    speaker: Speaker
    timing: Timing
    events: Events
    connects: Budget
    random: Callable[[], float] = random.random
    subscriptions: dict[str, Subscription] = field(default_factory=dict)  # by key
    health: dict[str, Health] = field(default_factory=dict)
    socket: Socket | None = None
    heir: Socket | None = None
    status: ConnectionStatus = "connecting"
    reconnects: int = 0
    planned: int = 0
    failures: int = 0  # in a row
    last_error: str | None = None
    _messages: int = 0  # of sockets that are over
    _received: int = 0
    _leave: str = ""  # why the socket is to be replaced
    _stopping: bool = False
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Keep a socket open until cancelled."""
        try:
            while True:
                if self.socket is None:
                    self.socket = await self._opened()
                elif self._leave:
                    await self._replace(self.socket)
                else:
                    await self._rest(self.socket)
        finally:
            for one in (self.socket, self.heir):
                if one and not one.over:
                    self._stopping = True
                    one.drop("stopped")

    async def stop(self) -> None:
        """Close the sockets in an orderly way. Cancel `run` afterwards."""
        self._stopping = True
        await asyncio.gather(*(one.leave(self.timing.goodbye) for one in (self.socket, self.heir) if one))
        self.status = "closed"

    def replace(self, why: str) -> None:
        """Have another socket take over."""
        if not self._leave and self.heir is None:
            self._leave = why
            self._wake.set()

    def add(self, subscription: Subscription) -> None:
        """Subscribe; `flush` sends it."""
        self.subscriptions[subscription.key] = subscription

    def flush(self) -> None:
        """Ask for what was added."""
        for one in (self.socket, self.heir):
            if one and not one.over:
                one.subscribe(list(self.subscriptions))

    def remove(self, keys: list[str]) -> None:
        """End subscriptions."""
        for key in keys:
            self.subscriptions.pop(key, None)
            self.health.pop(key, None)
        for one in (self.socket, self.heir):
            if one and not one.over:
                one.unsubscribe(keys)

    def state(self) -> ConnectionState:
        one = self.socket
        return ConnectionState(
            self.place,
            self.url,
            self.status,
            one.opened_at if one else None,
            self._messages + (one.messages if one else 0),
            self._received + (one.received if one else 0),
            self.reconnects,
            self.planned,
            (one.last_at or None) if one else None,
            self.last_error,
            len(self.subscriptions),
            one.unconfirmed if one else len(self.subscriptions),
            self.failures,
        )

    async def _rest(self, socket: Socket) -> None:
        """Until something happens, or the socket is too old."""
        self.status = "open"
        age = self.timing.age if self.timing.age is not None else self.speaker.age
        left = None if age is None else max(0.0, age - (time.time_ns() - socket.opened_at) / NS)
        try:
            async with asyncio.timeout(left):
                await self._wake.wait()
        except TimeoutError:
            self._leave = "its time is over"
        self._wake.clear()

    async def _opened(self) -> Socket:
        """A socket that is open and subscribed; tried for ever, with pauses that grow."""
        events = self.events
        while True:
            await asyncio.sleep(self._pause())
            await self.connects.acquire()
            if self.socket is None:
                self.status = "connecting"
            talk, paces = self.speaker.conversation(), self.speaker.paces
            socket = Socket(events.number(), self.url, talk, paces, events.take, events.said, self._ended)
            try:
                await socket.open(self.timing.connect)
            except CANNOT_CONNECT as error:
                self.failures += 1
                self.last_error = f"{type(error).__name__} {error}"[:200].strip()
                continue
            if socket.over:
                self.failures += 1
                continue
            events.opened(socket)
            socket.subscribe(list(self.subscriptions))
            return socket

    def _pause(self) -> float:
        """Seconds: a random part of what doubles with each failure."""
        if not (self.failures or self.reconnects):
            return 0.0
        if self.socket is None:
            self.status = "backoff"
        longest = min(self.timing.longest_backoff, self.timing.backoff * 2.0 ** min(self.failures, 30))
        return longest * self.random()

    async def _replace(self, old: Socket) -> None:
        """Have another socket take over from one that works still."""
        why, self._leave, self.status = self._leave, "", "replacing"
        self.events.replacing(self)
        await asyncio.sleep(self.timing.repeats)  # what came shortly before is known by then
        new = await self._opened()
        if self.socket is None:  # the old one was lost meanwhile
            self.socket = new
            return
        self.heir, new.elder = new, old
        self.events.replacing(self)
        until = time.time_ns() + self.timing.overlap * NS
        while not (old.over or new.over or time.time_ns() > until or self._covers(new, old)):
            await asyncio.sleep(min(self.timing.tick, 0.1))
        self.heir = new.elder = None
        if new.over:
            self._leave = "" if self.socket is None else why
            return
        self.socket = new
        if not old.over:
            self._count(old)
            self.planned += 1
            self.last_error = None
            await old.leave(self.timing.goodbye)
            self.events.replaced(self, old)

    def _covers(self, new: Socket, old: Socket) -> bool:
        """Whether all that the old socket brings comes over the new one too."""
        if new.unconfirmed or time.time_ns() - new.opened_at < self.timing.repeats * NS:
            return False
        ready = max((one.confirmed for one in new.asked.values()), default=0)
        return all(seen <= ready or key in new.seen for key, seen in old.seen.items())

    def _ended(self, socket: Socket) -> None:
        """A socket is over, ours or the venue's doing."""
        if self._stopping or socket not in (self.socket, self.heir):
            return
        self.last_error = socket.error
        lived = (time.time_ns() - socket.opened_at) / NS
        self.failures = 0 if lived >= self.timing.settled else self.failures + 1
        if socket is self.socket:
            self.reconnects += 1
            self.socket = None
            self._leave = ""
            self._count(socket)
            self.events.lost(self, socket, self.heir)
        else:
            self.events.heir_lost(self.socket, socket)
        self._wake.set()

    def _count(self, socket: Socket) -> None:
        self._messages += socket.messages
        self._received += socket.received
