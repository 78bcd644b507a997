"""Serve records as lines of JSON to programs that read them as they arrive: stdout, TCP, a unix socket, a WebSocket.

Each reader has a bounded queue of its own, so a slow one delays nobody else. What does not fit is reported to it
as a gap (see `queue`). It starts with the records of the moment at which it connects, and each book with a snapshot.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from time import time_ns

from marketdata_assets.backoff import delay
from marketdata_assets.collector.counters import LatencyHistogram
from marketdata_assets.collector.items import Item, moment
from marketdata_assets.collector.output_address import OutputAddress
from marketdata_assets.collector.queue import BoundedQueue, SnapshotOf
from marketdata_assets.collector.sink import SinkState
from marketdata_assets.collector.sinks.output_servers import Write, serve
from marketdata_assets.exchanges.records import Exchange, MarketType, OrderBook
from marketdata_assets.logs import get_logger

BATCH = 1000
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
STALLED_SECONDS = 2.0
"""At shutdown, a reader that takes nothing for so long is not waited for."""
POLL_SECONDS = 0.02

log = get_logger(__name__)


class _Reader:
    """One connected program: its queue, and the books that it knows."""

    def __init__(self, queue: BoundedQueue, snapshot_of: SnapshotOf) -> None:
        self.queue = queue
        self.in_progress: list[Item] = []
        self._snapshot_of = snapshot_of
        self._books: set[tuple[Exchange, MarketType, str]] = set()

    def put(self, items: Sequence[Item]) -> None:
        self.queue.put([item for item in items if self._has_base(item)])

    def _has_base(self, item: Item) -> bool:
        """Whether the reader can use the item; the first update of a book is preceded by the whole book."""
        record = item.record
        if not isinstance(record, OrderBook):
            return True
        about = (record.exchange, record.market_type, record.instrument)
        if about in self._books:
            return True
        if record.kind == "delta":
            book = self._snapshot_of(*about)
            if book is None:
                return False
            self.queue.start_book(book)
        self._books.add(about)
        return True


class Output:
    """Serves records at one address to any number of readers."""

    takes_tops = True

    def __init__(self, address: OutputAddress, snapshot_of: SnapshotOf, *, queue_items: int = 100_000) -> None:
        self.name = f"output {address}"
        self.latency = LatencyHistogram()
        self.address = address
        self._snapshot_of, self._capacity = snapshot_of, queue_items
        self._readers: list[_Reader] = []
        self._sent = self._acked = self._dropped = self._conflated = self._failures = 0
        self._listening = False
        self._error: str | None = None

    def put(self, items: Sequence[Item]) -> None:
        for reader in self._readers:
            reader.put(items)

    async def run(self) -> None:
        """Listen until cancelled; an address in use is retried. For stdout: until its reader has gone."""
        while True:
            try:
                await serve(self.address, self._attend, self._on_listening)
            except OSError as error:
                self._listening = False
                self._failures += 1
                self._error = f"{self.address}: {error.strerror or error}"
                log.warning("output_unavailable", address=str(self.address), error=error, attempt=self._failures)
                await asyncio.sleep(delay(self._failures, FIRST_PAUSE, LONGEST_PAUSE))
            else:
                self._listening, self._error = False, "its reader has gone"
                return

    async def drain(self, seconds: float) -> int:
        """Deliver what is queued while readers take it; return the number of items left."""
        loop = asyncio.get_running_loop()
        progress = loop.time()
        until, acked = progress + seconds, self._acked
        while (left := self._left()) and loop.time() < min(until, progress + STALLED_SECONDS):
            await asyncio.sleep(POLL_SECONDS)
            if self._acked != acked:
                acked, progress = self._acked, loop.time()
        return left

    def close(self) -> None:
        """Nothing: the end of `run` has disconnected."""

    def state(self) -> SinkState:
        oldest = [one.queue.oldest_ns for one in self._readers]
        oldest += [moment(one.in_progress[0].record) for one in self._readers if one.in_progress]
        return SinkState(
            queued=self._left(),
            capacity=self._capacity * max(1, len(self._readers)),
            connected=self._listening,
            last_error=self._error,
            oldest_ns=min((ns for ns in oldest if ns is not None), default=None),
            spooled=0,
            sent=self._sent,
            acked=self._acked,
            dropped=self._dropped + sum(one.queue.dropped for one in self._readers),
            conflated=self._conflated + sum(one.queue.conflated for one in self._readers),
            durable=False,
        )

    def _left(self) -> int:
        return sum(len(one.queue) + len(one.in_progress) for one in self._readers)

    def _on_listening(self, port: int) -> None:
        self._listening, self._error, self._failures = True, None, 0
        self.address = replace(self.address, port=port)
        log.info("output_listening", address=str(self.address))

    async def _attend(self, write: Write) -> None:
        """Deliver to one reader until it has gone."""
        reader = _Reader(BoundedQueue(self._capacity, self._snapshot_of), self._snapshot_of)
        self._readers.append(reader)
        log.info("output_reader_connected", address=str(self.address), readers=len(self._readers))
        try:
            with suppress(OSError):  # it has gone
                await self._deliver(reader, write)
        finally:
            self._readers.remove(reader)
            self._dropped += reader.queue.dropped
            self._conflated += reader.queue.conflated
            log.info("output_reader_gone", address=str(self.address), readers=len(self._readers))

    async def _deliver(self, reader: _Reader, write: Write) -> None:
        while True:
            await reader.queue.wait()
            reader.in_progress = reader.queue.take(BATCH)
            self._sent += len(reader.in_progress)
            await write([item.payload for item in reader.in_progress])
            self._acked += len(reader.in_progress)
            self.latency.observe_since((moment(item.record) for item in reader.in_progress), time_ns())
            reader.in_progress = []
