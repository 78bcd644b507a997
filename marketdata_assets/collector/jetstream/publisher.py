"""The sink that publishes to JetStream: each item until its ack, and on disk while the server is away.

Items leave in the order in which they came: what is sent and not acknowledged, then the spool, then the queue. What is
sent again has the id it had, so the stream takes it once as long as its duplicate window has not passed. Where the
server refuses a single message, it is sent again behind those that it took.
"""

import asyncio
import random
import ssl
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from marketdata_assets.collector.holes import Hole
from marketdata_assets.collector.items import Item, Recorded, items, message_id, moment, subject
from marketdata_assets.collector.jetstream.errors import NatsAway, NatsRefused, SpoolFull
from marketdata_assets.collector.jetstream.shelf import Shelf
from marketdata_assets.collector.jetstream.spool import Spool
from marketdata_assets.collector.jetstream.window import Entry, Spooled, Window, kept
from marketdata_assets.collector.jetstream.wire import CRLF, Address, Message, Wire, publication
from marketdata_assets.collector.queue import BoundedQueue
from marketdata_assets.collector.sink import SinkState
from marketdata_assets.errors import MarketDataError

HEADER_ROOM = 4096
"""Bytes of the server's greatest message that are left for subject and headers."""
SPILL = 8192
"""So many items go to the disk at once."""


@dataclass(frozen=True)
class Limits:
    """How far the publisher goes. `window_bytes` may be passed by one burst."""

    window: int = 8192  # messages that are sent and not acknowledged; the server buffers 10,000 before it refuses
    window_bytes: int = 32 << 20
    burst: int = 512  # with so many waiting there is no lingering
    linger_seconds: float = 0.001  # what gathers in that time goes out together
    ack_seconds: float = 10.0  # without an ack for so long a message is sent again, or the connection is given up
    spill_seconds: float = 1.0  # the server is away for so long before the spool is begun
    first_backoff_seconds: float = 0.1
    last_backoff_seconds: float = 10.0


class Publisher:
    """A sink for one stream, with its own connection. Without a spool the queue alone bridges an outage.

    `prepare` runs before each connection is used, to make the stream where it is missing. `on_acked` is told of items
    as they are acknowledged; what went through the spool is not among them. `close` it after `drain`.
    """

    name = "jetstream"

    def __init__(
        self,
        url: str,
        queue: BoundedQueue,
        spool: Spool | None = None,
        *,
        prepare: Callable[[], Awaitable[None]] | None = None,
        on_acked: Callable[[Sequence[Item]], None] | None = None,
        limits: Limits | None = None,
        context: ssl.SSLContext | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.duplicates = 0  # acks of messages that the stream had already
        self._address = Address.of(url)
        self._queue, self._shelf = queue, Shelf(spool) if spool is not None else None
        self._prepare, self._on_acked, self._limits = prepare, on_acked, limits or Limits()
        self._context, self._jitter = context, jitter
        self._inbox = f"_INBOX.{uuid.uuid4().hex[:12]}."
        self._window = Window()
        self._stash: list[Item] = []  # taken out of the queue for the spool, which had no room
        self._wire: Wire | None = None
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        self._down_since = self._acked_at = self._spilled_at = time.monotonic()
        self._retry_disk_at = 0.0
        self._attempt = 0
        self._sent = self._acked = self._too_large = 0
        self._last_error: str | None = None  # of the server

    def put(self, items: Sequence[Item]) -> None:
        """Take items; in the event loop."""
        self._queue.put(items)
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._stay_connected())
                group.create_task(self._pump())
        finally:
            self._disconnect("stopped")

    async def drain(self, seconds: float) -> int:
        """Wait for the acks while `run` goes on; what has none by then goes to the spool. What is lost otherwise."""
        end = time.monotonic() + seconds
        while self._in_memory() and time.monotonic() < end and (self._wire is not None or self._shelf is None):
            self._wake.set()
            await asyncio.sleep(0.01)
        async with self._turn:
            if self._in_memory() and self._shelf is not None:
                await self._shelve(self._shelf)
                while taken := self._stash or self._queue.take(SPILL):
                    self._stash = taken[await self._shelf.work(taken, 0) :]
                    if self._stash:
                        break
        return self._in_memory()

    def close(self) -> None:
        """Let go of the connection and of the spool's folder."""
        self._disconnect("closed")
        if self._shelf is not None:
            self._shelf.spool.close()

    def state(self) -> SinkState:
        """How it is doing."""
        spool = self._shelf.spool if self._shelf else None
        oldest = (
            self._window.oldest_ns,
            spool.oldest_ns if spool is not None else None,
            moment(self._stash[0].record) if self._stash else None,
            self._queue.oldest_ns,
        )
        errors = (
            spool.damage if spool is not None else None,
            self._shelf.error if self._shelf else None,
            self._last_error or (self._wire.last_error if self._wire else None),
        )
        return SinkState(
            queued=len(self._queue) + len(self._stash),
            capacity=self._queue.capacity,
            connected=self._wire is not None,
            last_error=" ".join(one for one in errors if one) or None,
            oldest_ns=min((one for one in oldest if one is not None), default=None),
            spooled=len(spool) if spool is not None else 0,
            sent=self._sent,
            acked=self._acked,
            dropped=self._queue.dropped + self._too_large,
            conflated=self._queue.conflated,
            spool_bytes=spool.bytes if spool is not None else 0,
        )

    def _in_memory(self) -> int:
        return len(self._queue) + len(self._stash) + self._window.items

    async def _stay_connected(self) -> None:
        while True:
            try:
                await self._connect()
                assert self._wire is not None
                why = await asyncio.shield(self._wire.closed)
                self._last_error = str(NatsAway(str(self._address), self._wire.last_error or why))
            except MarketDataError as error:
                # A stream that cannot be made as configured may be put right while we spool.
                self._last_error = str(error)
            self._disconnect("")
            limits = self._limits
            longest = min(limits.last_backoff_seconds, limits.first_backoff_seconds * 2 ** min(self._attempt, 30))
            self._attempt += 1
            await asyncio.sleep(longest * self._jitter())

    async def _connect(self) -> None:
        wire = await Wire.open(self._address, self._on_messages, context=self._context)
        try:
            if self._prepare is not None:
                await self._prepare()
        except BaseException:
            wire.abort("the stream is not ready")
            raise
        wire.write(f"SUB {self._inbox}* 1\r\n".encode())
        self._wire = wire
        self._acked_at = time.monotonic()
        self._write(wire, self._window.sent_again(self._acked_at))
        self._wake.set()

    def _disconnect(self, why: str) -> None:
        if self._wire is not None:
            self._wire.abort(why)
            self._wire = None
            self._down_since = time.monotonic()

    async def _pump(self) -> None:
        while True:
            self._wake.clear()
            if await self._step():
                await asyncio.sleep(0 if len(self._queue) >= self._limits.burst else self._limits.linger_seconds)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await self._wake.wait()

    async def _step(self) -> bool:
        """Move on what can be moved; whether anything was sent."""
        async with self._turn:
            if self._shelf is not None:
                await self._to_disk(self._shelf)
            wire = self._wire
            if wire is None or wire.closed.done():
                return False
            self._look_for_acks(wire)
            entries = self._fitting(wire, self._next())
            if entries:
                self._write(wire, zip(self._window.add(entries, time.monotonic()), entries, strict=True))
        await wire.writable()
        return bool(entries)

    async def _to_disk(self, shelf: Shelf) -> None:
        now = time.monotonic()
        away = self._wire is None and now - self._down_since >= self._limits.spill_seconds
        if away and self._window and now >= self._retry_disk_at:
            await self._shelve(shelf)
        taken = self._for_disk(shelf, away, now)
        sending = self._wire is not None and not self._window.items
        urgent = len(taken) > SPILL
        wanted = self._limits.window if sending and not urgent and shelf.lacks(self._limits.window) else 0
        if not taken and not wanted and not shelf.spool.sync_is_due:
            return
        if taken:
            self._stash = taken
        appended = await shelf.work(taken, wanted)
        if taken:
            self._stash, self._spilled_at = taken[appended:], now
            if self._stash:
                self._retry_disk_at = time.monotonic() + 1

    def _for_disk(self, shelf: Shelf, away: bool, now: float) -> list[Item]:
        """What goes to the spool. While it is worked off all new items go there, or the order would be lost."""
        waiting = len(self._queue) + len(self._stash)
        if not waiting or now < self._retry_disk_at:
            return []
        if away or shelf.has_more:
            due = waiting >= self._limits.burst or now - self._spilled_at >= 0.05
        elif not shelf.is_empty:
            due = waiting > self._limits.window  # else its last acks are awaited
        else:
            # With room in the window the server keeps up, and it is we who are slow: the disk would make that worse.
            full = len(self._window) >= self._limits.window
            due = waiting > self._queue.capacity * (0.5 if full else 0.75)
        if not due:
            return []
        # At least what is above half, so that nothing is lost for want of room in the queue.
        return self._stash or self._queue.take(max(SPILL, waiting - self._queue.capacity // 2))

    async def _shelve(self, shelf: Shelf) -> None:
        """Bring what is sent and not acknowledged to the disk; it goes in front of all others."""
        if not self._window.items:
            self._window.clear()
            shelf.begin_anew()
            return
        entries = self._window.clear()
        try:
            await shelf.put_in_front(entries)
        except SpoolFull:
            self._window.add(entries, time.monotonic())
            self._retry_disk_at = time.monotonic() + 1

    def _next(self) -> list[Entry]:
        """What is sent next. Neither of the spool nor of the queue while acks of the other are awaited."""
        room = self._limits.window - len(self._window)
        if room <= 0 or self._window.bytes >= self._limits.window_bytes:
            return []
        if self._shelf is not None and not self._shelf.is_empty:
            return [] if self._window.items else self._shelf.take(room)
        if self._stash:
            entries, self._stash = self._stash[:room], self._stash[room:]
            return [*entries]
        return [*self._queue.take(room)]

    def _fitting(self, wire: Wire, entries: list[Entry]) -> list[Entry]:
        """The server would end the connection over a message that is too large for it, again and again."""
        most = wire.max_payload - HEADER_ROOM
        if all(len(one.payload) <= most for one in entries):
            return entries
        return [one if len(one.payload) <= most else self._lost(one) for one in entries]

    def _lost(self, one: Entry) -> Entry:
        self._too_large += 1
        record = msgspec.json.decode(one.payload, type=Recorded) if isinstance(one, Spooled) else one.record
        [gap] = items([Hole.of(record).gap("too large")])
        return Spooled(kept(gap), one.source) if isinstance(one, Spooled) else gap

    def _write(self, wire: Wire, numbered: "Sequence[tuple[int, Entry]] | zip[tuple[int, Entry]]") -> None:
        parts: list[bytes] = []
        for number, one in numbered:
            payload = one.payload
            if isinstance(one, Item):
                record = one.record
                names = subject(record), message_id(record)
            else:
                names = one.kept.subject, one.kept.message_id
            parts += publication(names[0], f"{self._inbox}{number}", names[1], len(payload)), payload, CRLF
            self._sent += 1
        if parts:
            wire.write(*parts)

    def _look_for_acks(self, wire: Wire) -> None:
        now, oldest = time.monotonic(), self._window.oldest()
        if oldest is None or now - oldest[0] <= self._limits.ack_seconds:
            return
        if now - self._acked_at > self._limits.ack_seconds:
            wire.abort(f"no ack for {self._limits.ack_seconds:g} s")
        else:
            self._write(wire, self._window.sent_again(now, oldest[1]))

    def _on_messages(self, messages: list[Message]) -> None:
        skip, acked = len(self._inbox), []
        for message in messages:
            answer = message.payload
            if b'"seq"' not in answer or b'"error"' in answer:
                self._refused(message)
                continue
            one = self._window.pop(int(message.subject[skip:]))
            if one is not None:
                acked.append(one)
                self.duplicates += b'"duplicate"' in answer
        if acked:
            self._count(acked)

    def _count(self, acked: list[Entry]) -> None:
        self._acked += len(acked)
        self._acked_at, self._attempt, self._last_error = time.monotonic(), 0, None
        self._wake.set()
        direct = [one for one in acked if isinstance(one, Item)]
        if direct and self._on_acked is not None:
            self._on_acked(direct)
        if len(direct) < len(acked):
            assert self._shelf is not None
            self._shelf.acked([one for one in acked if isinstance(one, Spooled)])

    def _refused(self, message: Message) -> None:
        """No stream has the subject, or it cannot take the message now; it is sent again when its time is over."""
        if message.headers:
            answer = message.headers.split(CRLF)[0].decode(errors="replace")
            self._last_error = str(NatsRefused(str(self._address), f"no stream takes it ({answer})"))
            if self._wire is not None:
                self._wire.abort("no stream takes what we publish")  # so that it is prepared anew
        else:
            self._last_error = str(NatsRefused(str(self._address), message.payload.decode(errors="replace")))
