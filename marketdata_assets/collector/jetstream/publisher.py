"""The sink that publishes to JetStream: each item is kept until its ack, on disk while the server is unavailable.

Items are sent in order of arrival: unacknowledged ones, then the spool, then the queue. A burst is a batch with one
ack; a server without batches acks each message. A repeated message has the same id, so the stream deduplicates it
within its duplicate window. A message that the server rejects is repeated after those that it accepted.
"""

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from marketdata_assets.backoff import delay
from marketdata_assets.collector.errors import NatsRejected, NatsUnavailable, SpoolFull
from marketdata_assets.collector.items import Item, Recorded, items, moment, names
from marketdata_assets.collector.jetstream.in_flight import Entry, InFlight, SpooledMessage, SpoolQueue, stored_message
from marketdata_assets.collector.jetstream.nats_connection import CRLF, Address, Message, NatsConnection, publish_header
from marketdata_assets.collector.jetstream.spool import Spool
from marketdata_assets.collector.queue import BoundedQueue, LostRange
from marketdata_assets.collector.sink import Sink, SinkState
from marketdata_assets.errors import MarketDataError
from marketdata_assets.logs import get_logger

HEADER_BYTES = 4096
"""Bytes of the server's maximum message size that are reserved for subject and headers."""
SPILL_ITEMS = 8192
"""Items written to the disk at once."""

# The end of the reply subject of a message in a batch, see docs/decisions/0010.
START, APPEND, COMMIT = ".0.$FI", ".1.$FI", ".2.$FI"
FLOW = 1000
"""An ack within a batch after so many messages, at most. They are not used."""
FLOW_ACK = b'{"type":"ack"'
BATCHES_DISABLED = 10205

log = get_logger(__name__)


@dataclass(frozen=True)
class Limits:
    """Limits of the publisher. One burst may exceed `window_bytes`."""

    window: int = 8192  # unacknowledged messages; the server buffers 10,000 before it rejects
    window_bytes: int = 32 << 20
    burst: int = 512  # messages of one batch at most; with so many queued, no lingering
    linger_seconds: float = 0.001  # messages of this time are sent together
    busy: int = 32  # after a burst of so many, that of
    busy_linger_seconds: float = 0.004  # a fourth of the bursts costs half the CPU, here and in the server
    ack_seconds: float = 10.0  # then a message is repeated, or the connection is closed
    spill_seconds: float = 1.0  # the server is unavailable this long before items are spooled
    first_backoff_seconds: float = 0.1
    last_backoff_seconds: float = 10.0


class Failure(msgspec.Struct):
    """Why the server did not store a message."""

    err_code: int = 0


class Answer(msgspec.Struct):
    """To a message, or to a batch, then with the `count` of its messages that are stored; a `type` is of a report.

        {"stream": "MARKET", "seq": 60, "batch": "7", "count": 60}
        {"stream": "MARKET", "seq": 60, "duplicate": true}
        {"stream": "MARKET", "seq": 0, "error": {"code": 400, "err_code": 10205, "description": "..."}}
        {"type": "gap", "last_seq": 17, "seq": 20}
        {"type": "err", "seq": 17, "error": {"code": 400, "err_code": 10054, "description": "..."}}

    https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-50.md
    """

    type: str | None = None
    last_seq: int | None = None  # the first message that is missing in a batch
    count: int | None = None
    error: Failure | None = None


_answer = msgspec.json.Decoder(Answer).decode


class Publisher(Sink):
    """A sink for one stream, with its own connection.

    `prepare` runs before each connection is used, to create a missing stream. Latencies do not include what went
    through the spool. Call `close` after `drain`.
    """

    name = "jetstream"
    takes_tops = True

    def __init__(
        self,
        url: str,
        queue: BoundedQueue,
        spool: Spool,
        *,
        prepare: Callable[[], Awaitable[None]] | None = None,
        limits: Limits | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        super().__init__()
        self._address = Address.of(url)
        self._queue, self._spool_queue = queue, SpoolQueue(spool)
        self._prepare, self._limits = prepare, limits or Limits()
        self._jitter = jitter
        self._inbox = f"_INBOX.{uuid.uuid4().hex[:12]}."
        self._in_flight = InFlight()
        self._stash: list[Item] = []  # taken out of the queue for the spool, which was full
        self._connection: NatsConnection | None = None
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        self._down_since = self._acked_at = self._spilled_at = time.monotonic()
        self._retry_disk_at = 0.0
        self._too_large = 0

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
            if self._connection is None:
                break
            self._wake.set()
            await asyncio.sleep(0.01)
        async with self._turn:
            if self._in_memory():
                await self._spool_in_flight()
                while taken := self._stash or self._queue.take(SPILL_ITEMS):
                    self._stash = taken[await self._spool_queue.work(taken, 0) :]
                    if self._stash:
                        break
        return self._in_memory()

    def close(self) -> None:
        self._disconnect("closed")
        self._spool_queue.spool.close()

    def state(self) -> SinkState:
        spool = self._spool_queue.spool
        stashed = moment(self._stash[0].record) if self._stash else None
        server = self._error or (self._connection.last_error if self._connection else None)
        errors = (spool.damage, self._spool_queue.error, server)
        return self._state(
            len(self._queue) + len(self._stash),
            self._queue.capacity,
            connected=self._connection is not None,
            moments=(self._in_flight.oldest_ns, stashed, self._queue.oldest_ns, spool.oldest_ns),
            last_error=" ".join(error for error in errors if error) or None,
            spooled=len(spool),
            dropped=self._queue.dropped + self._too_large,
            conflated=self._queue.conflated,
            spool_bytes=spool.bytes,
        )

    def _in_memory(self) -> int:
        return len(self._queue) + len(self._stash) + self._in_flight.items

    async def _stay_connected(self) -> None:
        while True:
            try:
                await self._connect()
                assert self._connection is not None
                why = await asyncio.shield(self._connection.closed)
                self._error = str(NatsUnavailable(str(self._address), self._connection.last_error or why))
            except MarketDataError as error:
                # A stream that cannot be created as configured may be corrected while we spool.
                self._error = str(error)
            self._failures += 1
            spooled = len(self._spool_queue.spool)
            log.warning("nats_unavailable", error=self._error, attempt=self._failures, spooled=spooled)
            self._disconnect("")
            first, longest = self._limits.first_backoff_seconds, self._limits.last_backoff_seconds
            await asyncio.sleep(delay(self._failures, first, longest, self._jitter))

    async def _connect(self) -> None:
        connection = await NatsConnection.open(self._address, self._on_messages)
        try:
            if self._prepare is not None:
                await self._prepare()
        except BaseException:
            connection.abort("the stream is not ready")
            raise
        connection.write(f"SUB {self._inbox}> 1\r\n".encode())
        log.info("nats_connected", server=str(self._address), unacked=len(self._in_flight))
        self._connection = connection
        self._acked_at = time.monotonic()
        for entries in self._in_flight.take():
            self._write(connection, entries)
        self._wake.set()

    def _disconnect(self, why: str) -> None:
        if self._connection is not None:
            self._connection.abort(why)
            self._connection = None
            self._down_since = time.monotonic()

    async def _pump(self) -> None:
        while True:
            self._wake.clear()
            if sent := await self._step():
                limits = self._limits
                linger = limits.busy_linger_seconds if sent >= limits.busy else limits.linger_seconds
                await asyncio.sleep(0 if len(self._queue) >= limits.burst else linger)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await self._wake.wait()

    async def _step(self) -> int:
        """Spool and send what is due; how many messages were sent."""
        async with self._turn:
            await self._to_disk()
            connection = self._connection
            if connection is None or connection.closed.done():
                return 0
            late, oldest = time.monotonic() - self._limits.ack_seconds, self._in_flight.oldest
            if oldest is not None and oldest < late:
                if self._acked_at < late:
                    connection.abort(f"no ack for {self._limits.ack_seconds:g} s")
                else:
                    for again in self._in_flight.take(late):
                        self._write(connection, again)
            entries = self._within_limit(connection, self._next())
            for at in range(0, len(entries), self._limits.burst):
                self._write(connection, entries[at : at + self._limits.burst])
        await connection.writable()
        return len(entries)

    async def _to_disk(self) -> None:
        spool_queue, now = self._spool_queue, time.monotonic()
        unavailable = self._connection is None and now - self._down_since >= self._limits.spill_seconds
        if unavailable and self._in_flight and now >= self._retry_disk_at:
            await self._spool_in_flight()
        taken = self._for_disk(unavailable, now)
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

    def _for_disk(self, unavailable: bool, now: float) -> list[Item]:
        """The items to spool now. While the spool is being drained all new items go there, to keep the order."""
        waiting = len(self._queue) + len(self._stash)
        if not waiting or now < self._retry_disk_at:
            return []
        if unavailable or self._spool_queue.has_more:
            due = waiting >= self._limits.burst or now - self._spilled_at >= 0.05
        elif not self._spool_queue.is_empty:
            due = waiting > self._limits.window  # else wait for its last acks
        else:
            # While fewer messages are in flight than allowed, the server keeps up and we are slow: no use in the disk.
            full = len(self._in_flight) >= self._limits.window
            due = waiting > self._queue.capacity * (0.5 if full else 0.75)
        if not due:
            return []
        # At least what is above half of the capacity, so that the queue does not overflow.
        return self._stash or self._queue.take(max(SPILL_ITEMS, waiting - self._queue.capacity // 2))

    async def _spool_in_flight(self) -> None:
        """Write the unacknowledged messages to the disk, in front of all others."""
        in_memory = self._in_flight.items
        entries = [entry for burst in self._in_flight.take() for entry in burst]
        if not in_memory:
            self._spool_queue.restart()
            return
        try:
            await self._spool_queue.prepend(entries)
        except SpoolFull:
            self._in_flight.add(entries, time.monotonic())
            self._retry_disk_at = time.monotonic() + 1

    def _next(self) -> list[Entry]:
        """The messages to send next: of the spool or of the queue, never while acks of the other are pending."""
        free = self._limits.window - len(self._in_flight)
        if free <= 0 or self._in_flight.bytes >= self._limits.window_bytes:
            return []
        if not self._spool_queue.is_empty:
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

    def _write(self, connection: NatsConnection, entries: Sequence[Entry]) -> None:
        """Send entries as one batch, whose last message asks for the ack of all."""
        number, last = self._in_flight.add(entries, time.monotonic()), len(entries)
        reply = f"{self._inbox}{number}.{FLOW}.fail."
        parts: list[bytes] = []
        for position, entry in enumerate(entries, 1):
            payload = entry.payload
            name, own = names(entry.record) if isinstance(entry, Item) else entry.message[:2]
            operation = COMMIT if position == last else START if position == 1 else APPEND
            parts += publish_header(name, f"{reply}{position}{operation}", own, len(payload)), payload, CRLF
        self._sent += last
        connection.write(*parts)

    def _on_messages(self, messages: list[Message]) -> None:
        acked: list[Entry] = []
        for message in messages:
            if message.payload.startswith(FLOW_ACK):
                continue
            if message.headers:
                self._no_stream(message.headers)
                continue
            number, _, _, place, *_ = message.subject[len(self._inbox) :].split(b".")
            burst, position = int(number), int(place)
            answer = _answer(message.payload)
            if answer.type is not None or answer.error is not None:
                if self._in_flight.rejected(burst, answer.last_seq or position):
                    self._rejected(answer, message.payload)
            elif answer.count is None:
                acked += self._in_flight.acked(burst, range(position, position + 1))
            else:
                acked += self._in_flight.acked(burst, range(1, answer.count + 1))
        if acked:
            self._count(acked)

    def _count(self, acked: list[Entry]) -> None:
        self._acked += len(acked)
        self._acked_at, self._failures, self._error = time.monotonic(), 0, None
        self._wake.set()
        direct = [entry for entry in acked if isinstance(entry, Item)]
        if direct:
            self.latency.observe_since((moment(item.record) for item in direct), time.time_ns())
        if len(direct) < len(acked):
            self._spool_queue.acked([entry for entry in acked if isinstance(entry, SpooledMessage)])

    def _no_stream(self, headers: bytes) -> None:
        answer = headers.split(CRLF)[0].decode(errors="replace")
        self._error = str(NatsRejected(str(self._address), f"no stream for the subject ({answer})"))
        if self._connection is not None:
            self._connection.abort("no stream for the subject")  # so that `prepare` runs again

    def _rejected(self, answer: Answer, text: bytes) -> None:
        """The stream rejects messages now; they are repeated after `ack_seconds`."""
        self._error = str(NatsRejected(str(self._address), text.decode(errors="replace")))
        log.warning("publish_rejected", error=self._error)
        if answer.error is not None and answer.error.err_code == BATCHES_DISABLED and self._connection is not None:
            self._connection.abort("the stream takes no batches")  # so that `prepare` runs again
