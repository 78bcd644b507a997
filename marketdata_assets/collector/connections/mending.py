"""Books that cannot go on by themselves: each gets a snapshot over REST, or its subscription made anew."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from marketdata_assets.collector.connections.connection import NS, Connection
from marketdata_assets.collector.connections.jobs import NO_ANSWER
from marketdata_assets.collector.connections.socket import Socket
from marketdata_assets.collector.connections.speaking import AskFor, Feed, Request, Speaker
from marketdata_assets.collector.connections.timing import Timing
from marketdata_assets.exchanges.books import ResyncRequest

AT_ONCE = 4
"""Snapshots under way."""


@dataclass(eq=False)
class Mending:
    """Serves the resync requests of one feed. `ask` sends a request and gives its answer to the feed."""

    speaker: Speaker
    feed: Feed
    timing: Timing
    find: Callable[[str], Connection | None]  # by the key of a subscription
    ask: Callable[[Request], Awaitable[None]]
    last_error: str | None = None
    _tried: dict[str, int] = field(default_factory=dict)  # ns, by the feed's key
    _under_way: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self.look(time.time_ns())
                await asyncio.sleep(min(self.timing.tick, self.timing.before_snapshot))
        finally:
            for task in self._under_way.values():
                task.cancel()

    def look(self, now: int) -> None:
        """See which books want something, and whether it is time for that; ns."""
        requests, anew = self.feed.resync_requests, dict[Socket, list[str]]()
        for gone in self._tried.keys() - requests.keys():
            if now - self._tried[gone] > self.timing.snapshot * NS:
                del self._tried[gone]
        for name, want in list(requests.items()):
            connection = self.find(self.speaker.book_key(want))
            if connection is None or connection.socket is None or connection.socket.over:
                continue
            if want.how == "snapshot" and self.speaker.snapshot:
                self._snapshot(name, want, self.speaker.snapshot, connection.socket, now)
            elif not connection.socket.busy and self._due(name, want, connection.socket, now):
                self._tried[name] = now
                anew.setdefault(connection.socket, []).append(self.speaker.book_key(want))
        for socket, keys in anew.items():
            socket.again(keys)

    def _snapshot(self, name: str, want: ResyncRequest, ask_for: AskFor, socket: Socket, now: int) -> None:
        """A snapshot is of use once diffs come that it can meet."""
        key = self.speaker.book_key(want)
        if name in self._under_way or len(self._under_way) >= AT_ONCE:
            return
        if now - self._tried.get(name, 0) < self.timing.snapshot * NS:
            return
        heard = max((seen for one, seen in socket.seen.items() if self.speaker.name_of(one) == key), default=0)
        asked = socket.asked.get(key)
        began = max(want.since, asked.confirmed if asked else 0, socket.opened_at)
        if not heard or now - began < self.timing.before_snapshot * NS:
            return
        self._tried[name] = now
        task = self._under_way[name] = asyncio.ensure_future(self._fetch(ask_for(want.instrument)))
        task.add_done_callback(lambda _: self._under_way.pop(name, None))

    async def _fetch(self, request: Request) -> None:
        try:
            await self.ask(request)
        except NO_ANSWER as error:
            self.last_error = str(error)[:300]

    def _due(self, name: str, want: ResyncRequest, socket: Socket, now: int) -> bool:
        """Whether a subscription is of no use any more: it is confirmed and older than the want, or brought nothing."""
        key = self.speaker.book_key(want)
        asked = socket.asked.get(key)
        if asked is None or not asked.confirmed:
            return False
        if now - asked.at > self.timing.resubscribe * NS:
            return True
        return want.since > asked.confirmed and now - self._tried.get(name, 0) > self.timing.resubscribe * NS
