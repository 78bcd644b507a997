"""Pass batches of records to a user's Python function or class, which the configuration names.

A class is created with the `options` of the configuration and has `write(records)` and, if it likes, `close()`; a
function is called with the records and the options. All may be coroutines. They run in a thread with an event loop of
its own, one call after the other: what they raise is counted, what is slow or hangs delays nothing else.
"""

import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from marketdata_assets.backoff import delay
from marketdata_assets.collector import config
from marketdata_assets.collector.errors import CollectorError
from marketdata_assets.collector.items import TAGS, Item, Recorded, moment
from marketdata_assets.collector.queue import BoundedQueue, SnapshotOf
from marketdata_assets.collector.sink import OwnThread, Sink, SinkState
from marketdata_assets.logs import get_logger

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between two attempts to create an object of the user's class."""
CLOSE_SECONDS = 5.0
POLL_SECONDS = 0.02

log = get_logger(__name__)

Write = Callable[[list[Recorded]], Awaitable[None] | None]


def load(path: str) -> Callable[..., Any]:
    """The function or class at `module:name`, of an installed module or one in this folder. Raises CollectorError."""
    module_name, _, name = path.partition(":")
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.append(folder)
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        remedy = "Install the module, or start the collector in its folder."
        raise CollectorError(f"sinks: {path!r} cannot be imported ({cause}). {remedy}") from error
    if found is None:
        raise CollectorError(f"sinks: {path!r}: the module has no {name!r}. Name a function or a class of it.")
    if not callable(found) or (isinstance(found, type) and not callable(getattr(found, "write", None))):
        needs = "a class needs the method write(records)" if isinstance(found, type) else "it cannot be called"
        raise CollectorError(f"sinks: {path!r}: {needs}.")
    return found  # type: ignore[no-any-return]


class PythonSink(Sink):
    """Calls what its `settings` name with the records of their types."""

    takes_tops = True
    durable = False

    def __init__(self, name: str, settings: config.PythonSink, snapshot_of: SnapshotOf) -> None:
        super().__init__()
        self.name = name
        self._make, self._options, self._batch = load(settings.python), settings.options, settings.batch_items
        self._kinds = {kind for kind, tag in TAGS.items() if tag in settings.types}
        self._queue = BoundedQueue(settings.queue_items, snapshot_of)
        self._in_progress: list[Item] = []
        self._write: Write | None = None
        self._target: Any = None  # of a class
        self._thread = OwnThread(name)
        self._errors = 0

    def put(self, items: Sequence[Item]) -> None:
        self._queue.put([item for item in items if type(item.record) in self._kinds])

    async def run(self) -> None:
        """Deliver until cancelled. A batch whose call raises is counted, and not delivered again."""
        while self._write is None:
            if not await self._attempt(self._create):
                await asyncio.sleep(delay(self._failures, FIRST_PAUSE, LONGEST_PAUSE))
        while True:
            await self._queue.wait()
            self._in_progress = self._queue.take(self._batch)
            records = [item.record for item in self._in_progress if type(item.record) in self._kinds]
            self._sent += len(records)
            if not records or await self._attempt(partial(self._write, records)):
                self._delivered([moment(record) for record in records])
            self._in_progress = []

    async def drain(self, seconds: float) -> int:
        """Deliver what is queued, and close the user's object; return the number of items left."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._left():
                    await asyncio.sleep(POLL_SECONDS)
        if close := getattr(self._target, "close", None):
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._attempt(close)
        return self._left()

    def close(self) -> None:
        self._thread.close()

    def state(self) -> SinkState:
        connected = self._write is not None and not self._failures
        moments = [self._queue.oldest_ns, *(moment(item.record) for item in self._in_progress[:1])]
        about = {"dropped": self._queue.dropped, "conflated": self._queue.conflated, "errors": self._errors}
        return self._state(self._left(), self._queue.capacity, connected=connected, moments=moments, **about)

    def _left(self) -> int:
        return len(self._queue) + len(self._in_progress)

    def _create(self) -> None:
        if isinstance(self._make, type):
            self._target = self._make(**self._options)
            self._write = self._target.write
        else:
            self._write = partial(self._make, **self._options)

    async def _attempt(self, call: Callable[[], Any]) -> bool:
        """Call it in the thread; whether it returned."""
        try:
            await self._thread.run(call)
        except Exception as error:  # border: it is the user's code
            self._errors += 1
            self._failed(error)
            log.warning("python_sink_failed", sink=self.name, error=error, errors=self._errors)
            return False
        self._failures, self._error = 0, None
        return True
