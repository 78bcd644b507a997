"""The direct writer: records into their ClickHouse tables without a stream between.

Batches go by size and time. What the server does not take goes to a spool on disk and from there to the server when it
is back; a batch may land twice, and its rows are the same rows. Until a batch is inserted or spooled it is in memory.
"""

import asyncio
import random
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from time import time_ns
from typing import TYPE_CHECKING

from marketdata_assets.collector.finishing import to_its_end
from marketdata_assets.collector.items import Item, moment, subject
from marketdata_assets.collector.jetstream.errors import SpoolFull
from marketdata_assets.collector.jetstream.spool import Frame, Kept, Spool
from marketdata_assets.collector.lag import Lag
from marketdata_assets.collector.queue import BoundedQueue, SnapshotOf
from marketdata_assets.collector.sink import SinkState
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.rows import insert_json
from marketdata_assets.stores import clickhouse

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SOURCE = "direct writer"
LONGEST_PAUSE = 30.0
LOOK_SECONDS = 0.05


class ClickHouseSink:
    """Writes into the tables of `url`; `spool` is its own, and closed by `close`."""

    name = "clickhouse"

    def __init__(
        self,
        url: str,
        spool: Spool,
        snapshot_of: SnapshotOf,
        *,
        queue_items: int = 100_000,
        batch_rows: int = 20_000,
        batch_seconds: float = 3.0,
        timeout_seconds: float = 60.0,
        longest_pause: float = LONGEST_PAUSE,
        lag: Lag | None = None,
    ) -> None:
        self.lag = lag or Lag()
        self.rejected = 0  # records that their tables cannot take; they are in exchange_rejects
        self._url, self._timeout, self._longest_pause = url, timeout_seconds, longest_pause
        self._rows, self._seconds = batch_rows, batch_seconds
        self._queue = BoundedQueue(queue_items, snapshot_of)
        self._capacity, self._spool = queue_items, spool
        self._under_way: list[Item] = []  # being inserted
        self._aside: list[Item] = []  # on their way to the disk
        self._open = ExitStack()
        self._client: Client | None = None
        self._sent = self._acked = self._failures = 0
        self._error: str | None = None
        self._turn, self._spilling = asyncio.Lock(), asyncio.Lock()

    def put(self, items: Sequence[Item]) -> None:
        """Take items; beyond the queue's bounds its policy holds."""
        self._queue.put(items)

    async def run(self) -> None:
        """Insert until cancelled; a server that is away is tried again for ever, and meanwhile the disk takes all."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._insert_for_ever())
            group.create_task(self._spill_for_ever())

    async def drain(self, seconds: float) -> int:
        """Insert or spool what is left; the number of items that remain. `run` may go on meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                while self._left():
                    await to_its_end(self._step())
                    if self._aside:  # neither the server nor the spool takes it
                        await asyncio.sleep(LOOK_SECONDS)
                        await to_its_end(self._put_aside())
        except TimeoutError:
            pass
        return self._left()

    def close(self) -> None:
        """Let server and spool go, after `run` has ended."""
        self._let_go()
        self._spool.close()

    def state(self) -> SinkState:
        """How it is doing; what is spooled is not acknowledged yet."""
        moments = [moment(item.record) for item in (*self._under_way, *self._aside)]
        moments += [one for one in (self._queue.oldest_ns, self._spool.oldest_ns) if one is not None]
        return SinkState(
            queued=self._left(),
            capacity=self._capacity,
            connected=self._client is not None and not self._failures,
            last_error=self._error,
            oldest_ns=min(moments, default=None),
            spooled=len(self._spool),
            sent=self._sent,
            acked=self._acked,
            dropped=self._queue.dropped,
            conflated=self._queue.conflated,
            spool_bytes=self._spool.bytes,
        )

    def _left(self) -> int:
        return len(self._queue) + len(self._under_way) + len(self._aside)

    async def _insert_for_ever(self) -> None:
        while True:
            if self._failures:
                longest = min(self._longest_pause, 0.2 * 2.0 ** min(self._failures, 12))
                await asyncio.sleep(random.uniform(longest / 2, longest))  # noqa: S311 - no secret
            else:
                await self._gather()
            await to_its_end(self._step())

    async def _spill_for_ever(self) -> None:
        """What the server does not take in time goes to the disk: an insert that hangs may hang for long."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            while self._aside or self._presses():
                self._aside = self._aside or self._queue.take(self._rows)
                if not await to_its_end(self._put_aside()):
                    await asyncio.sleep(1)

    def _presses(self) -> bool:
        waiting = len(self._queue)
        return waiting >= self._capacity // 2 or (self._failures > 0 and waiting >= self._rows)

    async def _gather(self) -> None:
        """Until a batch is full, or its first item has waited long enough; at once while the spool has something."""
        if not len(self._spool):
            await self._queue.wait()
        loop = asyncio.get_running_loop()
        until = loop.time() + self._seconds
        while not len(self._spool) and len(self._queue) < self._rows and loop.time() < until:
            await asyncio.sleep(min(LOOK_SECONDS, self._seconds))

    async def _step(self) -> None:
        """Insert one batch and one frame of the spool; what fails is in the spool then."""
        async with self._turn:
            self._under_way = self._under_way or self._queue.take(self._rows)
            items = self._under_way
            frame = None
            try:
                if items:
                    self._sent += len(items)
                    batches = _by_type((subject(record), payload) for record, payload in items)
                    await asyncio.to_thread(self._insert, batches)
                    self._taken((moment(record) for record, _ in items), len(items))
                    self._under_way = []
                frame = await asyncio.to_thread(self._spool.read)
                if frame is not None:
                    self._sent += len(frame.messages)
                    await self._insert_frame(frame)
                self._failures, self._error = 0, None
            except Exception as error:  # whatever it is, the sink goes on
                self._failures += 1
                self._error = f"{type(error).__name__}: {error}"
                self._spool.rewind()
                await asyncio.to_thread(self._let_go)
            if self._under_way and not self._aside:
                self._aside, self._under_way = self._under_way, []
        if self._aside:
            await self._put_aside()

    async def _insert_frame(self, frame: Frame) -> None:
        await asyncio.to_thread(self._insert, _by_type((one.subject, one.payload) for one in frame.messages))
        await asyncio.to_thread(self._spool.consume, frame)
        self._taken((one.ts for one in frame.messages), len(frame.messages))

    async def _put_aside(self) -> bool:
        """What was put aside into the spool; when that is full, it waits, and the queue's policy holds."""
        async with self._spilling:
            messages = [Kept(subject(record), "", payload, moment(record)) for record, payload in self._aside]
            if not messages:
                return True
            try:
                await asyncio.to_thread(self._spool.append, messages)
            except (SpoolFull, OSError) as error:
                self._error = f"{type(error).__name__}: {error}"
                return False
            self._aside = []
            return True

    def _taken(self, moments: Iterable[int], count: int) -> None:
        self._acked += count
        self.lag.observe_since(moments, time_ns())

    def _insert(self, batches: dict[str, list[bytes]]) -> None:
        if self._client is None:
            client = self._open.enter_context(clickhouse.connect(self._url, timeout_seconds=self._timeout))
            schema.ensure(client)
            self._client = client
        for name, payloads in batches.items():
            self.rejected += len(insert_json(self._client, name, payloads, source=SOURCE).rejects)

    def _let_go(self) -> None:
        self._client = None
        self._open.close()
        self._open = ExitStack()


def _by_type(messages: Iterable[tuple[str, bytes]]) -> dict[str, list[bytes]]:
    """Payloads by the type that their subject names."""
    batches: dict[str, list[bytes]] = {}
    for name, payload in messages:
        batches.setdefault(name.split(".", 2)[1], []).append(payload)
    return batches
