"""The stream into the tables: what stands in JetStream is inserted in large batches, and acked when it is on disk.

Killed at any point and run again it gives the same rows: what was not acked comes again, in other batches, and a row
that is there already is the same row. Of each type only one drain runs at a time.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from marketdata_assets.collector.finishing import to_its_end
from marketdata_assets.collector.jetstream.reader import Batch, Reader
from marketdata_assets.collector.jetstream.stream import Stream, consumers, pending
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.rows import Inserted, insert_json
from marketdata_assets.stores import clickhouse

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SOURCE = "drain"
INSERTS = 2
"""Inserts at a time: the server reads one with one core."""


@dataclass(frozen=True)
class TypeDrained:
    """What became of one type of record. `rows` went in, or were there already."""

    type: str
    rows: int
    batches: int
    redelivered: int  # messages that had been given out before
    rejected: int  # kept in exchange_rejects
    seconds: float
    left: int  # messages that were not acked at the end


@dataclass(frozen=True)
class Drained:
    """What became of each type, in the order of the tables."""

    types: tuple[TypeDrained, ...]

    @property
    def rows(self) -> int:
        """Of all types."""
        return sum(one.rows for one in self.types)

    @property
    def rejected(self) -> int:
        """Of all types."""
        return sum(one.rejected for one in self.types)

    @property
    def left(self) -> int:
        """Of all types."""
        return sum(one.left for one in self.types)


@dataclass(frozen=True)
class Pace:
    """How large batches are, and when a drain ends: with `follow`, only when its `seconds` are over."""

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
    """Bring the records of some types, or of all, from their durable consumers into the tables.

    Raises UnknownTable; StreamMissing, NatsAway, NatsRefused, NotAlone; StoreAway, StoreFull. What was acked by then is
    in the tables, and everything else still in the stream.
    """
    wanted = [schema.table_of(name).type for name in types] if types is not None else list(schema.TABLES)
    pace = pace or Pace()
    with clickhouse.connect(clickhouse_url) as client:
        await asyncio.to_thread(schema.ensure, client, keep_days)
        into = _Into(client)
        one_each = [_drain(nats_url, stream, name, into, pace) for name in wanted]
        return Drained(tuple(await _all(one_each)))


class _Into:
    """The tables, with so many inserts at a time."""

    def __init__(self, client: "Client") -> None:
        self._client, self._turns = client, asyncio.Semaphore(INSERTS)

    async def insert(self, name: str, payloads: Sequence[bytes]) -> Inserted:
        # Without a token the batch is named by its content: a range of sequences does not say what is in it.
        async with self._turns:
            return await asyncio.to_thread(insert_json, self._client, name, payloads, source=SOURCE)


async def _drain(nats_url: str, stream: str, name: str, into: _Into, pace: Pace) -> TypeDrained:
    rows = batches = redelivered = rejected = 0
    began = time.monotonic()
    end = math.inf if pace.seconds is None else began + pace.seconds
    consumer = consumers()[name].name
    async with Reader(nats_url, stream, consumer) as reader:
        found = reader.batches(pace.batch_rows, pace.batch_seconds, follow=pace.follow)
        while (batch := await _next(found, end)) is not None:
            made = await to_its_end(_safe(batch, name, into))
            rows += made.rows
            rejected += len(made.rejects)
            batches += 1
            redelivered += batch.redelivered
    took = time.monotonic() - began
    left = await pending(nats_url, stream, consumer)
    return TypeDrained(name, rows, batches, redelivered, rejected, took, left)


async def _next(found: AsyncIterator[Batch], end: float) -> Batch | None:
    left = end - time.monotonic()
    if left <= 0:
        return None
    try:
        async with asyncio.timeout(None if left == math.inf else left):
            return await anext(found, None)
    except TimeoutError:
        return None


async def _safe(batch: Batch, name: str, into: _Into) -> Inserted:
    """Insert a batch, and only then ack it."""
    made = await into.insert(name, batch.payloads)
    await batch.ack()
    return made


async def _all(works: Sequence[Coroutine[Any, Any, TypeDrained]]) -> list[TypeDrained]:
    """Do them side by side; when one fails the others end after the batch at hand."""
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
