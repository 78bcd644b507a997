"""Recovery of books that are out of sync: a snapshot over REST, or a new subscription."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from marketdata_assets.collector.connections.clock import Clock
from marketdata_assets.collector.connections.connection import NS, Connection, Timing
from marketdata_assets.collector.connections.socket import Socket
from marketdata_assets.exchanges.books import Feed, ResyncRequest
from marketdata_assets.exchanges.venue_adapter import REQUEST_ERRORS, Request, RequestFor, Subscription, VenueAdapter
from marketdata_assets.logs import get_logger

log = get_logger(__name__)

MAX_SNAPSHOTS = 4
"""Snapshot requests in progress."""


@dataclass(eq=False)
class BookRecovery:
    """Serves the resync requests of one feed. `ask` sends a request and passes the response to the feed."""

    adapter: VenueAdapter
    feed: Feed
    timing: Timing
    subscribed: Mapping[str, tuple[Connection, Subscription]]  # by key
    ask: Callable[[Request], Awaitable[object]]
    clock: Clock
    _tried: dict[str, int] = field(default_factory=dict)  # steady ns, by the feed's key
    _since: dict[str, tuple[ResyncRequest, int]] = field(default_factory=dict)  # the same, with the request
    _in_progress: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)

    async def run(self) -> None:
        try:
            while True:
                self.check(self.clock.steady_ns())
                await asyncio.sleep(min(self.timing.tick, self.timing.before_snapshot))
        finally:
            for task in self._in_progress.values():
                task.cancel()

    def check(self, now: int) -> None:
        """Start whatever recovery is due at `now` (steady ns)."""
        resyncs, resubscribe = self.feed.resync_requests, dict[Socket, list[str]]()
        self._since = {name: self._seen(name, resync, now) for name, resync in resyncs.items()}
        for name in self._tried.keys() - resyncs.keys():
            if now - self._tried[name] > self.timing.snapshot * NS:
                del self._tried[name]
        for name, resync in list(resyncs.items()):
            connection, _ = self.subscribed.get(self.adapter.book_key(resync), (None, None))
            if connection is None or connection.socket is None or connection.socket.over:
                continue
            if resync.how == "snapshot" and self.adapter.snapshot:
                self._snapshot(name, resync, self.adapter.snapshot, connection.socket, now)
            elif not connection.socket.busy and self._is_due(name, resync, connection.socket, now):
                self._tried[name] = now
                log.info("book_resync", instrument=resync.instrument, market=self.adapter.name, how="resubscribe")
                resubscribe.setdefault(connection.socket, []).append(self.adapter.book_key(resync))
        for socket, keys in resubscribe.items():
            socket.resubscribe(keys)

    def _seen(self, name: str, resync: ResyncRequest, now: int) -> tuple[ResyncRequest, int]:
        """A request, and since when it is there by the steady clock."""
        known = self._since.get(name)
        return known if known and known[0] is resync else (resync, min(self.clock.steady(resync.since), now))

    def _snapshot(self, name: str, resync: ResyncRequest, request_for: RequestFor, socket: Socket, now: int) -> None:
        """Request a snapshot once updates arrive that it can be joined with."""
        key = self.adapter.book_key(resync)
        if name in self._in_progress or len(self._in_progress) >= MAX_SNAPSHOTS:
            return
        if now - self._tried.get(name, 0) < self.timing.snapshot * NS:
            return
        last = max((seen for channel, seen in socket.seen.items() if self.adapter.key_of(channel) == key), default=0)
        request = socket.requests.get(key)
        began = max(self._since[name][1], request.confirmed_at if request else 0, socket.opened_at)
        if not last or now - began < self.timing.before_snapshot * NS:
            return
        self._tried[name] = now
        log.info("book_resync", instrument=resync.instrument, market=self.adapter.name, how="snapshot")
        task = self._in_progress[name] = asyncio.ensure_future(self._fetch(request_for(resync.instrument)))
        task.add_done_callback(lambda _: self._in_progress.pop(name, None))

    async def _fetch(self, request: Request) -> None:
        try:
            await self.ask(request)
        except REQUEST_ERRORS as error:
            log.warning("snapshot_failed", market=self.adapter.name, path=request.path, error=error)

    def _is_due(self, name: str, resync: ResyncRequest, socket: Socket, now: int) -> bool:
        """Whether a confirmed subscription is useless: it is older than the resync request, or delivered nothing."""
        request = socket.requests.get(self.adapter.book_key(resync))
        if request is None or not request.confirmed_at:
            return False
        if now - request.requested_at > self.timing.resubscribe * NS:
            return True
        return (
            self._since[name][1] > request.confirmed_at
            and now - self._tried.get(name, 0) > self.timing.resubscribe * NS
        )
