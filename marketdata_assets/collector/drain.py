"""Load the JetStream stream into ClickHouse in large batches, and ack each batch when it is inserted.

Idempotent: after a kill, unacknowledged messages are delivered again, in other batches, and a row that is in the table
already is the same row. Only one drain of each type runs at a time.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marketdata_assets.collector.jetstream.reader import Batch, Reader
from marketdata_assets.collector.jetstream.stream import Stream, consumers, pending
from marketdata_assets.collector.sink import shield_until_done
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.rows import Inserted, insert_json
from marketdata_assets.stores import clickhouse

Load = Callable[[str, Batch], Coroutine[Any, Any, Inserted]]

SOURCE = "drain"
INSERTS = 2
"""Concurrent inserts: the server uses one core for each."""


@dataclass(frozen=True)
class TypeDrained:
    """The result for one record type. `rows` were inserted, or present already."""

    type: str
    rows: int
    batches: int
    redelivered: int  # messages delivered before
    rejected: int  # in quarantine (exchange_rejects)
    seconds: float
    left: int  # unacknowledged messages at the end


@dataclass(frozen=True)
class Drained:
    """The result for each type, in the order of the tables."""

    types: tuple[TypeDrained, ...]

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.types)

    @property
    def rejected(self) -> int:
        return sum(one.rejected for one in self.types)

    @property
    def left(self) -> int:
        return sum(one.left for one in self.types)


@dataclass(frozen=True)
class Pace:
    """The size of batches, and when a drain ends: with `follow`, only when its `seconds` are over."""

    batch_rows: int = 50_000
    batch_seconds: float = 2.0
    follow: bool = False
    seconds: float | None = None


async def drain(
    clickhouse_url: str,
    nats_url: str,
    *,
    stream: str = Stream.name,
    types: Iterable[str] | None = None,
    pace: Pace | None = None,
    keep_days: Mapping[str, int] | None = None,
) -> Drained:
    """Load the records of some types, or of all, from their durable consumers into the tables.

    Raises UnknownTable; StreamMissing, NatsUnavailable, NatsRejected, ConcurrentReader; StoreAway, StoreFull. What was
    acked by then is in the tables, and everything else still in the stream.
    """
    selected = [schema.table_of(name).type for name in types] if types is not None else list(schema.TABLES)
    pace = pace or Pace()
    with clickhouse.connect(clickhouse_url) as client:
        await asyncio.to_thread(schema.ensure, client, keep_days)
        turns = asyncio.Semaphore(INSERTS)

        async def load(name: str, batch: Batch) -> Inserted:
            """Insert a batch, deduplicated by content as redelivered messages come in other batches; then ack it."""
            async with turns:
                inserted = await asyncio.to_thread(insert_json, client, name, batch.payloads, source=SOURCE)
            await batch.ack()
            return inserted

        drains = [_drain(nats_url, stream, name, load, pace) for name in selected]
        return Drained(tuple(await _all(drains)))


async def _drain(nats_url: str, stream: str, name: str, load: Load, pace: Pace) -> TypeDrained:
    rows = batches = redelivered = rejected = 0
    started = time.monotonic()
    end = math.inf if pace.seconds is None else started + pace.seconds
    consumer = consumers()[name].name
    async with Reader(nats_url, stream, consumer) as reader:
        batches_read = reader.batches(pace.batch_rows, pace.batch_seconds, follow=pace.follow)
        while (batch := await _next(batches_read, end)) is not None:
            inserted = await shield_until_done(load(name, batch))
            rows += inserted.rows
            rejected += len(inserted.rejects)
            batches += 1
            redelivered += batch.redelivered
    took = time.monotonic() - started
    left = await pending(nats_url, stream, consumer)
    return TypeDrained(name, rows, batches, redelivered, rejected, took, left)


async def _next(batches: AsyncIterator[Batch], end: float) -> Batch | None:
    left = end - time.monotonic()
    if left <= 0:
        return None
    try:
        async with asyncio.timeout(None if left == math.inf else left):
            return await anext(batches, None)
    except TimeoutError:
        return None


async def _all(works: Sequence[Coroutine[Any, Any, TypeDrained]]) -> list[TypeDrained]:
    """Run them concurrently; when one fails, the others end after the current batch."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for one in ended:
        if isinstance(one, BaseException) and not isinstance(one, asyncio.CancelledError):
            raise one
    return [task.result() for task in tasks]
