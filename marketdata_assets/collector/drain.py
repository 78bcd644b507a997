"""Load the JetStream stream into ClickHouse in large batches, and ack each batch when it is inserted.

Idempotent: after a kill, unacknowledged messages are delivered again, in other batches, and a row that is in the table
already is the same row. Only one drain of a stream runs at a time. What the stream deleted before it was loaded
becomes a gap.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nats.aio.client import Client as NatsClient

from marketdata_assets.collector.jetstream import inspection
from marketdata_assets.collector.jetstream.claim import claim
from marketdata_assets.collector.jetstream.reader import Batch, Reader, end_if_cancelled
from marketdata_assets.collector.jetstream.stream import Stream, connected, consumers
from marketdata_assets.collector.sink import shield_until_done
from marketdata_assets.collector.stream_losses import BOOK, StreamLosses
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.rows import Inserted, insert_json
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clients import Client

SOURCE = "drain"
INSERTS = 2
"""Concurrent inserts: the server uses one core for each."""
SAVE_SECONDS = 10.0
"""Between two writes of the positions while messages are loaded."""


@dataclass
class TypeDrained:
    """What was loaded of one record type. `rows` were inserted, or present already."""

    rows: int = 0
    batches: int = 0
    redelivered: int = 0  # messages delivered before
    rejected: int = 0  # in quarantine (exchange_rejects)
    seconds: float = 0.0
    left: int = 0  # unacknowledged messages at the end
    last_batch: float = 0.0  # seconds since 1970
    lag: float = 0.0  # seconds from the stream to the table, of the oldest message of the last batch

    def add(self, batch: Batch, inserted: Inserted) -> None:
        """Count one more batch that is inserted."""
        self.rows += inserted.rows
        self.batches += 1
        self.redelivered += batch.redelivered
        self.rejected += len(inserted.rejects)
        self.last_batch = time.time()
        self.lag = max(0.0, self.last_batch - batch.oldest_stored / 1e9)


@dataclass
class Drained:
    """What was loaded, by type in the order of the tables; `lost_gaps` are of what the stream had deleted."""

    types: dict[str, TypeDrained] = field(default_factory=dict)
    lost_gaps: int = 0

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.types.values())

    @property
    def rejected(self) -> int:
        return sum(one.rejected for one in self.types.values())

    @property
    def left(self) -> int:
        return sum(one.left for one in self.types.values())

    def loaded(self) -> dict[str, TypeDrained]:
        """The types of which there was a batch."""
        return {name: one for name, one in self.types.items() if one.batches}


@dataclass(frozen=True)
class Pace:
    """The size of batches, and when a drain ends: with `follow`, only when its `seconds` are over."""

    batch_rows: int = 50_000
    batch_seconds: float = 2.0
    follow: bool = False
    seconds: float | None = None


def claim_of(stream: str) -> str:
    """The name of the claim to drain a stream."""
    return f"drain.{stream}"


async def drain(
    clickhouse_url: str,
    nats_url: str,
    *,
    stream: str = Stream.name,
    types: Iterable[str] | None = None,
    pace: Pace | None = None,
    keep_days: Mapping[str, int] | None = None,
    drained: Drained | None = None,
    on_start: Callable[[], None] | None = None,
    owner: str = "a drain",
) -> Drained:
    """Load the records of some types, or of all, from their durable consumers into the tables.

    What is inserted is counted in `drained`, beside what it has; also what an error ends, or the ack of which fails.
    `on_start` is called once it has the stream and the tables. `owner` is what another drain of the stream reports; it
    raises Claimed meanwhile. Raises ExchangesError for a type of no table, TransientError beside another reader, and
    StreamMissing, NatsUnavailable, NatsRejected, Claimed, StoreAway, StoreFull. What was acked by then is in the
    tables, and everything else still in the stream.
    """
    selected = [schema.table_of(name).type for name in types] if types is not None else list(schema.TABLES)
    with clickhouse.connect(clickhouse_url) as client:
        await asyncio.to_thread(schema.ensure, client, keep_days)
        async with connected(nats_url) as nats, claim(nats, claim_of(stream), owner):
            losses = await StreamLosses.open(client, nats, stream, selected)
            end_if_cancelled()
            if on_start:
                on_start()
            drained = Drained() if drained is None else drained
            drained.types = {name: TypeDrained() for name in selected} | drained.types
            try:
                await _Drain(client, nats, nats_url, stream, pace or Pace(), losses, drained).types(selected)
            finally:
                drained.lost_gaps += losses.gaps
            return drained


@dataclass
class _Drain:
    """One run over a stream."""

    client: Client
    nats: NatsClient
    nats_url: str
    stream: str
    pace: Pace
    losses: StreamLosses
    drained: Drained
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(INSERTS))
    readers: dict[str, Reader] = field(default_factory=dict)
    noting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def types(self, names: Sequence[str]) -> None:
        """Load the types concurrently; when one fails, or saving positions, the others end after the current batch."""
        try:
            async with asyncio.TaskGroup() as group:
                saving = group.create_task(self._save_always())
                await asyncio.wait([group.create_task(self._type(name)) for name in names])
                saving.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            await self.losses.save()

    async def _type(self, name: str) -> None:
        done = self.drained.types[name]
        started = time.monotonic()
        pace = self.pace
        end = math.inf if pace.seconds is None else started + pace.seconds
        consumer = consumers()[name].name
        async with Reader(self.nats_url, self.stream, consumer) as reader:
            self.readers[name] = reader
            batches_read = reader.batches(pace.batch_rows, pace.batch_seconds, follow=pace.follow)
            try:
                while (batch := await _next(batches_read, end)) is not None:
                    await shield_until_done(self._load(name, batch, reader))
                await self._note_caught_up(name, reader)
            finally:
                async with self.noting:  # the reader is not closed during a request of it
                    del self.readers[name]
        done.seconds += time.monotonic() - started
        state = await inspection.consumer_state(self.nats, self.stream, consumer)
        done.left = state.pending + state.unacked

    async def _load(self, name: str, batch: Batch, reader: Reader) -> None:
        """Insert a batch, deduplicated by content as redelivered messages come in other batches; then ack it."""
        async with self.turns:
            inserted = await asyncio.to_thread(insert_json, self.client, name, batch.payloads, source=SOURCE)
        self.drained.types[name].add(batch, inserted)
        if reader.in_order:  # what waited for redelivery may have been deleted meanwhile
            await self.losses.record(name)
        if name == BOOK:
            await self.losses.books_loaded(batch)
        if reader.in_order:
            self.losses.loaded(name, batch)
        await batch.ack()

    async def _save_always(self) -> None:
        while True:
            end_if_cancelled()
            await asyncio.sleep(SAVE_SECONDS)
            for name in list(self.readers):
                async with self.noting:
                    if name in self.readers:
                        await self._note_caught_up(name, self.readers[name])
            await self.losses.save()

    async def _note_caught_up(self, name: str, reader: Reader) -> None:
        """A type without more messages is loaded up to the end of the stream as it was before that was known.

        What was deleted before it was delivered is recorded first.
        """
        state = await inspection.stream_state(self.nats, self.stream)
        if await reader.is_caught_up():
            await self.losses.record(name)
            self.losses.caught_up(name, state.last, state.last_stored)


async def _next(batches: AsyncIterator[Batch], end: float) -> Batch | None:
    left = end - time.monotonic()
    if left <= 0:
        return None
    try:
        async with asyncio.timeout(None if left == math.inf else left):
            return await anext(batches, None)
    except TimeoutError:
        return None
