"""Write records as lines of JSON to the standard output, for a program at the end of a pipe.

Its queue is bounded, so a slow program delays no other sink; what does not fit is a gap (see `queue`).
"""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from marketdata_assets.collector.items import Item, moment
from marketdata_assets.collector.queue import BoundedQueue, SnapshotOf
from marketdata_assets.collector.sink import OwnThread, Sink, SinkState
from marketdata_assets.logs import get_logger
from marketdata_assets.standard_streams import write_all

NAME = "stdout"
BATCH = 1000
STALLED_SECONDS = 2.0
"""At shutdown, a program that reads nothing for so long is not waited for."""
POLL_SECONDS = 0.02

log = get_logger(__name__)


class StdoutSink(Sink):
    """Writes all items in their order. When the program has gone, `run` returns, and the collector shuts down."""

    name = NAME
    takes_tops = True
    durable = False

    def __init__(self, snapshot_of: SnapshotOf, *, queue_items: int, descriptor: int | None = None) -> None:
        super().__init__()
        self._queue = BoundedQueue(queue_items, snapshot_of)
        self._descriptor, self._thread = descriptor, OwnThread(NAME)
        self._in_progress: list[Item] = []
        self._is_open = True

    def put(self, items: Sequence[Item]) -> None:
        if self._is_open:
            self._queue.put(items)

    async def run(self) -> None:
        """Deliver until cancelled, or until the program has gone."""
        descriptor = sys.stdout.fileno() if self._descriptor is None else self._descriptor
        with suppress(OSError):  # it has gone
            while True:
                await self._queue.wait()
                self._in_progress = self._queue.take(BATCH)
                self._sent += len(self._in_progress)
                lines = b"\n".join((*(item.payload for item in self._in_progress), b""))
                await self._thread.run(partial(write_all, descriptor, lines))
                self._delivered([moment(item.record) for item in self._in_progress])
                self._in_progress = []
        self._is_open, self._in_progress, self._error = False, [], "its reader has gone"
        self._queue.take(len(self._queue))
        log.info("stdout_closed")

    async def drain(self, seconds: float) -> int:
        """Deliver what is queued while the program reads it; return the number of items left."""
        loop = asyncio.get_running_loop()
        progress = loop.time()
        until, acked = progress + seconds, self._acked
        while (left := self._left()) and loop.time() < min(until, progress + STALLED_SECONDS):
            await asyncio.sleep(POLL_SECONDS)
            if self._acked != acked:
                acked, progress = self._acked, loop.time()
        return left

    def close(self) -> None:
        self._thread.close()

    def state(self) -> SinkState:
        moments = [self._queue.oldest_ns, *(moment(item.record) for item in self._in_progress[:1])]
        about = {"dropped": self._queue.dropped, "conflated": self._queue.conflated}
        return self._state(self._left(), self._queue.capacity, connected=self._is_open, moments=moments, **about)

    def _left(self) -> int:
        return len(self._queue) + len(self._in_progress)
