"""What all sinks of the collector (JetStream, ClickHouse, Redis, captures, stdout, Python) have in common."""

import asyncio
import inspect
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from time import time_ns
from typing import Any, TypeVar

from marketdata_assets.collector.counters import LatencyHistogram
from marketdata_assets.collector.items import Item
from marketdata_assets.secret_values import without_password

T = TypeVar("T")


@dataclass(frozen=True)
class SinkState:
    """State of a sink. Counts are items since the start."""

    name: str
    queued: int  # in memory, not delivered yet
    capacity: int  # of the queue in memory
    connected: bool
    last_error: str | None = None  # without a password
    oldest_ns: int | None = None  # receive time of the oldest unacknowledged item; None when all are acknowledged
    spooled: int = 0  # on disk, waiting for the server
    sent: int = 0  # delivered to the server, repeats included
    acked: int = 0
    dropped: int = 0  # lost; a gap records each
    conflated: int = 0  # superseded by a newer state of the same thing
    spool_bytes: int = 0
    errors: int = 0  # calls of a user's function that raised
    durable: bool = True  # False: a copy for another program; what it misses is not lost
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)  # from receipt to acknowledgement


class Sink(ABC):
    """A destination of items. It keeps the order of each instrument and type."""

    name: str
    takes_tops = False
    """Whether it takes records of the best levels of books."""
    durable = True

    def __init__(self) -> None:
        self.latency = LatencyHistogram()
        self._sent = self._acked = 0
        self._failures = 0  # in a row
        self._error: str | None = None  # the last one, while it lasts

    @abstractmethod
    def put(self, items: Sequence[Item]) -> None:
        """Take items in the event loop: never blocks, never raises; above its bounds the policy of `queue` applies."""

    @abstractmethod
    async def run(self) -> None:
        """Work until cancelled. A failing server is retried forever, with a capped exponential backoff and jitter."""

    @abstractmethod
    async def drain(self, seconds: float) -> int:
        """Deliver everything, to a spool on disk if need be; return the number of items left after `seconds`.

        `run` continues meanwhile, and is cancelled afterwards.
        """

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Close files and connections, after `run` has ended."""

    @abstractmethod
    def state(self) -> SinkState:
        """The state now."""

    def _state(
        self, queued: int, capacity: int, *, connected: bool, moments: Iterable[int | None], **others: Any
    ) -> SinkState:
        """The state, with the oldest of some receive times and `others` of its fields."""
        error = others.pop("last_error", self._error)
        return SinkState(
            self.name,
            queued,
            capacity,
            connected,
            without_password(error) if error else None,
            min((ns for ns in moments if ns is not None), default=None),
            sent=self._sent,
            acked=self._acked,
            durable=self.durable,
            latency=self.latency,
            **others,
        )

    def _delivered(self, moments: Sequence[int]) -> None:
        """Count items that are acknowledged, by their receive times (ns)."""
        self._acked += len(moments)
        self.latency.observe_since(moments, time_ns())

    def _failed(self, error: Exception) -> None:
        """Note a failure; `_failures` counts those in a row."""
        self._failures += 1
        self._error = f"{type(error).__name__}: {error}"


class OwnThread:
    """Calls functions and coroutines in a daemon thread: one that hangs delays nothing else, nor the process's end."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)

    async def run(self, call: Callable[[], Awaitable[None] | None]) -> None:
        """Wait until it returns. Raises what it raises."""
        if not self._thread.is_alive():
            self._thread.start()
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_called(call), self._loop))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)


async def _called(call: Callable[[], Awaitable[None] | None]) -> None:
    try:
        if (result := call()) is not None and inspect.isawaitable(result):
            await result
    except (SystemExit, KeyboardInterrupt) as error:  # would end the thread
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


async def shield_until_done(work: Coroutine[Any, Any, T]) -> T:
    """Finish `work` even when cancelled: a thread runs it, and its effects must not be repeated."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
