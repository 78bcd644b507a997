"""The direct writer: insert records into their ClickHouse tables, without JetStream.

It is off unless `clickhouse.direct_write` is set; else `collector.drain` inserts what JetStream has.

Batches are limited by size and time. A batch that the server does not take goes to a spool on disk, and from there to
the server when it is back; a batch inserted twice gives the same rows. Until it is inserted or spooled it is in memory.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import ExitStack

from marketdata_assets.backoff import delay
from marketdata_assets.collector.config import ClickHouse
from marketdata_assets.collector.errors import SpoolFull
from marketdata_assets.collector.items import Item, moment, subject
from marketdata_assets.collector.jetstream.spool import Frame, Spool, StoredMessage
from marketdata_assets.collector.queue import BoundedQueue, SnapshotOf
from marketdata_assets.collector.sink import Sink, SinkState, shield_until_done
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.rows import insert_json
from marketdata_assets.logs import get_logger
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clients import Client

SOURCE = "direct writer"
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0
POLL_SECONDS = 0.05

log = get_logger(__name__)


class ClickHouseSink(Sink):
    """Writes into the tables of `url`; `spool` is its own, and closed by `close`."""

    name = "clickhouse"

    def __init__(
        self,
        url: str,
        spool: Spool,
        snapshot_of: SnapshotOf,
        settings: ClickHouse,
        *,
        timeout_seconds: float = 60.0,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        super().__init__()
        self.rejected = 0  # records in quarantine (exchange_rejects)
        self._url, self._timeout, self._longest_pause = url, timeout_seconds, longest_pause
        self._rows, self._seconds = settings.batch_rows, settings.batch_seconds
        self._queue, self._spool = BoundedQueue(settings.queue_items, snapshot_of), spool
        self._in_progress: list[Item] = []  # being inserted
        self._to_spool: list[Item] = []  # on their way to the disk
        self._open = ExitStack()
        self._client: Client | None = None
        self._turn, self._spilling = asyncio.Lock(), asyncio.Lock()

    def put(self, items: Sequence[Item]) -> None:
        self._queue.put(items)

    async def run(self) -> None:
        """Insert until cancelled; an unavailable server is retried forever, and the disk takes everything meanwhile."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._insert_loop())
            group.create_task(self._spill_loop())

    async def drain(self, seconds: float) -> int:
        """Insert or spool what is left; return the number of items that remain. `run` may continue meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                while self._left():
                    await shield_until_done(self._step())
                    if self._to_spool:  # neither the server nor the spool takes it
                        await asyncio.sleep(POLL_SECONDS)
                        await shield_until_done(self._spool_batch())
        except TimeoutError:
            pass
        return self._left()

    def close(self) -> None:
        self._disconnect()
        self._spool.close()

    def state(self) -> SinkState:
        """The state now; what is spooled is not acknowledged yet."""
        held = (moment(item.record) for item in (*self._in_progress, *self._to_spool))
        return self._state(
            self._left(),
            self._queue.capacity,
            connected=self._client is not None and not self._failures,
            moments=(self._queue.oldest_ns, self._spool.oldest_ns, *held),
            spooled=len(self._spool),
            dropped=self._queue.dropped,
            conflated=self._queue.conflated,
            spool_bytes=self._spool.bytes,
        )

    def _left(self) -> int:
        return len(self._queue) + len(self._in_progress) + len(self._to_spool)

    async def _insert_loop(self) -> None:
        while True:
            if self._failures:
                await asyncio.sleep(delay(self._failures, FIRST_PAUSE, self._longest_pause))
            elif self._spool.is_empty:  # wait until a batch is full or its first item waited long enough
                await self._queue.wait()
                loop = asyncio.get_running_loop()
                until = loop.time() + self._seconds
                while self._spool.is_empty and len(self._queue) < self._rows and loop.time() < until:
                    await asyncio.sleep(min(POLL_SECONDS, self._seconds))
            await shield_until_done(self._step())

    async def _spill_loop(self) -> None:
        """Spool what the server does not take in time: an insert may hang for long."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            while self._to_spool or self._is_overdue():
                self._to_spool = self._to_spool or self._queue.take(self._rows)
                if not await shield_until_done(self._spool_batch()):
                    await asyncio.sleep(1)

    def _is_overdue(self) -> bool:
        waiting = len(self._queue)
        return waiting >= self._queue.capacity // 2 or (self._failures > 0 and waiting >= self._rows)

    async def _step(self) -> None:
        """Insert one batch and one frame of the spool; a batch that fails goes to the spool."""
        async with self._turn:
            self._in_progress = self._in_progress or self._queue.take(self._rows)
            try:
                if items := self._in_progress:
                    self._sent += len(items)
                    batches = _by_type((subject(item.record), item.payload) for item in items)
                    await asyncio.to_thread(self._insert, batches)
                    self._delivered([moment(item.record) for item in items])
                    self._in_progress = []
                if (frame := await asyncio.to_thread(self._spool.read)) is not None:
                    await self._insert_frame(frame)
                if self._failures:
                    log.info("clickhouse_available", attempts=self._failures, spooled=len(self._spool))
                self._failures, self._error = 0, None
            except Exception as error:  # border: the sink continues after any failure
                self._failed(error)
                log.warning("clickhouse_insert_failed", error=error, attempt=self._failures, spooled=len(self._spool))
                self._spool.rewind()
                await asyncio.to_thread(self._disconnect)
            if self._in_progress and not self._to_spool:
                self._to_spool, self._in_progress = self._in_progress, []
        if self._to_spool:
            await self._spool_batch()

    async def _insert_frame(self, frame: Frame) -> None:
        self._sent += len(frame.messages)
        batches = _by_type((one.subject, one.payload) for one in frame.messages)
        await asyncio.to_thread(self._insert, batches)
        await asyncio.to_thread(self._spool.consume, frame)
        if self._spool.is_empty:
            log.info("spool_drained", folder=str(self._spool.folder))
        self._delivered([one.ts for one in frame.messages])

    async def _spool_batch(self) -> bool:
        """Append the batch to the spool; while that is full it waits, and the queue's policy applies."""
        async with self._spilling:
            items = self._to_spool
            if not items:
                return True
            messages = [StoredMessage(subject(one.record), "", one.payload, moment(one.record)) for one in items]
            if self._spool.is_empty:
                log.warning("spooling", folder=str(self._spool.folder), reason=self._error)
            try:
                await asyncio.to_thread(self._spool.append, messages)
            except (SpoolFull, OSError) as error:
                self._error = f"{type(error).__name__}: {error}"
                log.warning("spool_full", folder=str(self._spool.folder), error=error)
                return False
            self._to_spool = []
            return True

    def _insert(self, batches: dict[str, list[bytes]]) -> None:
        if self._client is None:
            client = self._open.enter_context(clickhouse.connect(self._url, timeout_seconds=self._timeout))
            schema.ensure(client)
            self._client = client
        for name, payloads in batches.items():
            self.rejected += len(insert_json(self._client, name, payloads, source=SOURCE).rejects)

    def _disconnect(self) -> None:
        self._client = None
        self._open.close()
        self._open = ExitStack()


def _by_type(messages: Iterable[tuple[str, bytes]]) -> dict[str, list[bytes]]:
    batches: dict[str, list[bytes]] = {}
    for name, payload in messages:
        batches.setdefault(name.split(".", 2)[1], []).append(payload)
    return batches
