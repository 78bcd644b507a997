"""The sink that publishes to JetStream: each item is kept until its ack, on disk while the server is unavailable.

Items are sent in order of arrival: unacknowledged ones, then the spool, then the queue. A repeated message has the same
id, so the stream deduplicates it within its duplicate window. A single message that the server rejects is repeated
after those that it accepted.
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

from marketdata_assets.backoff import delay
from marketdata_assets.collector.counters import LatencyHistogram
from marketdata_assets.collector.errors import NatsRejected, NatsUnavailable, SpoolFull
from marketdata_assets.collector.items import Item, Recorded, items, message_id, moment, subject
from marketdata_assets.collector.jetstream.in_flight import Entry, InFlight, SpooledMessage, stored_message
from marketdata_assets.collector.jetstream.nats_connection import CRLF, Address, Message, NatsConnection, publish_header
from marketdata_assets.collector.jetstream.spool import Spool
from marketdata_assets.collector.jetstream.spool_queue import SpoolQueue
from marketdata_assets.collector.queue import BoundedQueue, LostRange
from marketdata_assets.collector.sink import SinkState
from marketdata_assets.errors import MarketDataError
from marketdata_assets.logs import get_logger

HEADER_BYTES = 4096
"""Bytes of the server's maximum message size that are reserved for subject and headers."""
SPILL_ITEMS = 8192
"""Items written to the disk at once."""


log = get_logger(__name__)


@dataclass(frozen=True)
class Limits:
    """Limits of the publisher. One burst may exceed `window_bytes`."""

    window: int = 8192  # unacknowledged messages; the server buffers 10,000 before it rejects
    window_bytes: int = 32 << 20
    burst: int = 512  # with so many queued, no lingering
    linger_seconds: float = 0.001  # messages of this time are sent together
    ack_seconds: float = 10.0  # then a message is repeated, or the connection is closed
    spill_seconds: float = 1.0  # the server is unavailable this long before items are spooled
    first_backoff_seconds: float = 0.1
    last_backoff_seconds: float = 10.0


class Publisher:
    """A sink for one stream, with its own connection. Without a spool only the queue bridges an outage.

    `prepare` runs before each connection is used, to create a missing stream. Latencies do not include what went
    through the spool. Call `close` after `drain`.
    """

    name = "jetstream"
    takes_tops = True

    def __init__(
        self,
        url: str,
        queue: BoundedQueue,
        spool: Spool | None = None,
        *,
        prepare: Callable[[], Awaitable[None]] | None = None,
        limits: Limits | None = None,
        context: ssl.SSLContext | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.duplicates = 0  # acks of messages that the stream already had
        self.latency = LatencyHistogram()
        self._address = Address.of(url)
        self._queue, self._spool_queue = queue, SpoolQueue(spool) if spool is not None else None
        self._prepare, self._limits = prepare, limits or Limits()
        self._context, self._jitter = context, jitter
        self._inbox = f"_INBOX.{uuid.uuid4().hex[:12]}."
        self._in_flight = InFlight()
        self._stash: list[Item] = []  # taken out of the queue for the spool, which was full
        self._connection: NatsConnection | None = None
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        self._down_since = self._acked_at = self._spilled_at = time.monotonic()
        self._retry_disk_at = 0.0
        self._attempt = 0
        self._sent = self._acked = self._too_large = 0
        self._last_error: str | None = None  # from the server

    def put(self, items: Sequence[Item]) -> None:
        self._queue.put(items)
        self._wake.set()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._stay_connected())
                group.create_task(self._pump())
        finally:
            self._disconnect("stopped")

    async def drain(self, seconds: float) -> int:
        """Wait for acks while `run` continues, then spool the rest; the number of items left in memory."""
        end = time.monotonic() + seconds
        while self._in_memory() and time.monotonic() < end:
            if self._connection is None and self._spool_queue is not None:
                break
            self._wake.set()
            await asyncio.sleep(0.01)
        async with self._turn:
            if self._in_memory() and self._spool_queue is not None:
                await self._spool_in_flight(self._spool_queue)
                while taken := self._stash or self._queue.take(SPILL_ITEMS):
                    self._stash = taken[await self._spool_queue.work(taken, 0) :]
                    if self._stash:
                        break
        return self._in_memory()

    def close(self) -> None:
        self._disconnect("closed")
        if self._spool_queue is not None:
            self._spool_queue.spool.close()

    def state(self) -> SinkState:
        spool = self._spool_queue.spool if self._spool_queue else None
        stashed = moment(self._stash[0].record) if self._stash else None
        oldest = [self._in_flight.oldest_ns, stashed, self._queue.oldest_ns]
        errors = [self._last_error or (self._connection.last_error if self._connection else None)]
        if self._spool_queue is not None and spool is not None:
            oldest.append(spool.oldest_ns)
            errors = [spool.damage, self._spool_queue.error, *errors]
        return SinkState(
            queued=len(self._queue) + len(self._stash),
            capacity=self._queue.capacity,
            connected=self._connection is not None,
            last_error=" ".join(error for error in errors if error) or None,
            oldest_ns=min((ns for ns in oldest if ns is not None), default=None),
            spooled=len(spool) if spool is not None else 0,
            sent=self._sent,
            acked=self._acked,
            dropped=self._queue.dropped + self._too_large,
            conflated=self._queue.conflated,
            spool_bytes=spool.bytes if spool is not None else 0,
        )

    def _in_memory(self) -> int:
        return len(self._queue) + len(self._stash) + self._in_flight.items

    async def _stay_connected(self) -> None:
        while True:
            try:
                await self._connect()
                assert self._connection is not None
                why = await asyncio.shield(self._connection.closed)
                self._last_error = str(NatsUnavailable(str(self._address), self._connection.last_error or why))
            except MarketDataError as error:
                # A stream that cannot be created as configured may be corrected while we spool.
                self._last_error = str(error)
            self._attempt += 1
            spooled = len(self._spool_queue.spool) if self._spool_queue else 0
            log.warning("nats_unavailable", error=self._last_error, attempt=self._attempt, spooled=spooled)
            self._disconnect("")
            first, longest = self._limits.first_backoff_seconds, self._limits.last_backoff_seconds
            await asyncio.sleep(delay(self._attempt, first, longest, self._jitter))

    async def _connect(self) -> None:
        connection = await NatsConnection.open(self._address, self._on_messages, context=self._context)
        try:
            if self._prepare is not None:
                await self._prepare()
        except BaseException:
            connection.abort("the stream is not ready")
            raise
        connection.write(f"SUB {self._inbox}* 1\r\n".encode())
        log.info("nats_connected", server=str(self._address), unacked=len(self._in_flight))
        self._connection = connection
        self._acked_at = time.monotonic()
        self._write(connection, self._in_flight.sent_again(self._acked_at))
        self._wake.set()

    def _disconnect(self, why: str) -> None:
        if self._connection is not None:
            self._connection.abort(why)
            self._connection = None
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
        """Spool and send what is due; whether anything was sent."""
        async with self._turn:
            if self._spool_queue is not None:
                await self._to_disk(self._spool_queue)
            connection = self._connection
            if connection is None or connection.closed.done():
                return False
            now, oldest = time.monotonic(), self._in_flight.oldest()
            if oldest is not None and now - oldest[0] > self._limits.ack_seconds:
                if now - self._acked_at > self._limits.ack_seconds:
                    connection.abort(f"no ack for {self._limits.ack_seconds:g} s")
                else:
                    self._write(connection, self._in_flight.sent_again(now, oldest[1]))
            entries = self._within_limit(connection, self._next())
            if entries:
                self._write(connection, zip(self._in_flight.add(entries, time.monotonic()), entries, strict=True))
        await connection.writable()
        return bool(entries)

    async def _to_disk(self, spool_queue: SpoolQueue) -> None:
        now = time.monotonic()
        unavailable = self._connection is None and now - self._down_since >= self._limits.spill_seconds
        if unavailable and self._in_flight and now >= self._retry_disk_at:
            await self._spool_in_flight(spool_queue)
        taken = self._for_disk(spool_queue, unavailable, now)
        sending = self._connection is not None and not self._in_flight.items
        urgent = len(taken) > SPILL_ITEMS
        wanted = self._limits.window if sending and not urgent and spool_queue.lacks(self._limits.window) else 0
        if not taken and not wanted and not spool_queue.spool.sync_is_due:
            return
        if taken:
            self._stash = taken
        appended = await spool_queue.work(taken, wanted)
        if taken:
            self._stash, self._spilled_at = taken[appended:], now
            if self._stash:
                self._retry_disk_at = time.monotonic() + 1

    def _for_disk(self, spool_queue: SpoolQueue, unavailable: bool, now: float) -> list[Item]:
        """The items to spool now. While the spool is being drained all new items go there, to keep the order."""
        waiting = len(self._queue) + len(self._stash)
        if not waiting or now < self._retry_disk_at:
            return []
        if unavailable or spool_queue.has_more:
            due = waiting >= self._limits.burst or now - self._spilled_at >= 0.05
        elif not spool_queue.is_empty:
            due = waiting > self._limits.window  # else wait for its last acks
        else:
            # While fewer messages are in flight than allowed, the server keeps up and we are slow: no use in the disk.
            full = len(self._in_flight) >= self._limits.window
            due = waiting > self._queue.capacity * (0.5 if full else 0.75)
        if not due:
            return []
        # At least what is above half of the capacity, so that the queue does not overflow.
        return self._stash or self._queue.take(max(SPILL_ITEMS, waiting - self._queue.capacity // 2))

    async def _spool_in_flight(self, spool_queue: SpoolQueue) -> None:
        """Write the unacknowledged messages to the disk, in front of all others."""
        if not self._in_flight.items:
            self._in_flight.clear()
            spool_queue.restart()
            return
        entries = self._in_flight.clear()
        try:
            await spool_queue.prepend(entries)
        except SpoolFull:
            self._in_flight.add(entries, time.monotonic())
            self._retry_disk_at = time.monotonic() + 1

    def _next(self) -> list[Entry]:
        """The messages to send next: of the spool or of the queue, never while acks of the other are pending."""
        free = self._limits.window - len(self._in_flight)
        if free <= 0 or self._in_flight.bytes >= self._limits.window_bytes:
            return []
        if self._spool_queue is not None and not self._spool_queue.is_empty:
            return [] if self._in_flight.items else self._spool_queue.take(free)
        if self._stash:
            entries, self._stash = self._stash[:free], self._stash[free:]
            return [*entries]
        return [*self._queue.take(free)]

    def _within_limit(self, connection: NatsConnection, entries: list[Entry]) -> list[Entry]:
        """Replace messages above the server's maximum size by gaps; the server would close the connection over them."""
        limit = connection.max_payload - HEADER_BYTES
        if all(len(entry.payload) <= limit for entry in entries):
            return entries
        return [entry if len(entry.payload) <= limit else self._gap_instead(entry) for entry in entries]

    def _gap_instead(self, entry: Entry) -> Entry:
        self._too_large += 1
        if isinstance(entry, Item):
            return items([LostRange.of(entry.record).gap("too large")])[0]
        record = msgspec.json.decode(entry.payload, type=Recorded)
        [gap] = items([LostRange.of(record).gap("too large")])
        return SpooledMessage(stored_message(gap), entry.source)

    def _write(
        self, connection: NatsConnection, numbered: "Sequence[tuple[int, Entry]] | zip[tuple[int, Entry]]"
    ) -> None:
        parts: list[bytes] = []
        for number, entry in numbered:
            payload = entry.payload
            if isinstance(entry, Item):
                record = entry.record
                names = subject(record), message_id(record)
            else:
                names = entry.message.subject, entry.message.message_id
            parts += publish_header(names[0], f"{self._inbox}{number}", names[1], len(payload)), payload, CRLF
            self._sent += 1
        if parts:
            connection.write(*parts)

    def _on_messages(self, messages: list[Message]) -> None:
        skip, acked = len(self._inbox), []
        for message in messages:
            answer = message.payload
            if b'"seq"' not in answer or b'"error"' in answer:
                self._rejected(message)
                continue
            entry = self._in_flight.pop(int(message.subject[skip:]))
            if entry is not None:
                acked.append(entry)
                self.duplicates += b'"duplicate"' in answer
        if acked:
            self._count(acked)

    def _count(self, acked: list[Entry]) -> None:
        self._acked += len(acked)
        self._acked_at, self._attempt, self._last_error = time.monotonic(), 0, None
        self._wake.set()
        direct = [entry for entry in acked if isinstance(entry, Item)]
        if direct:
            self.latency.observe_since((moment(item.record) for item in direct), time.time_ns())
        if len(direct) < len(acked):
            assert self._spool_queue is not None
            self._spool_queue.acked([entry for entry in acked if isinstance(entry, SpooledMessage)])

    def _rejected(self, message: Message) -> None:
        """No stream has the subject, or it rejects the message now; it is repeated after `ack_seconds`."""
        if message.headers:
            answer = message.headers.split(CRLF)[0].decode(errors="replace")
            self._last_error = str(NatsRejected(str(self._address), f"no stream for the subject ({answer})"))
            if self._connection is not None:
                self._connection.abort("no stream for the subject")  # so that `prepare` runs again
        else:
            self._last_error = str(NatsRejected(str(self._address), message.payload.decode(errors="replace")))
            log.warning("publish_rejected", error=self._last_error)
