"""What all sinks of the collector (JetStream, ClickHouse, Redis, captures, stdout, Python) have in common."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from marketdata_assets.collector.counters import LatencyHistogram
from marketdata_assets.collector.items import Item

T = TypeVar("T")


@dataclass(frozen=True)
class SinkState:
    """State of a sink. Counts are items since the start."""

    queued: int  # in memory, not delivered yet
    capacity: int  # of the queue in memory
    connected: bool
    last_error: str | None
    oldest_ns: int | None  # receive time of the oldest unacknowledged item; None when all are acknowledged
    spooled: int  # on disk, waiting for the server
    sent: int  # delivered to the server, repeats included
    acked: int
    dropped: int  # lost; a gap records each
    conflated: int = 0  # superseded by a newer state of the same thing
    spool_bytes: int = 0
    errors: int = 0  # calls of a user's function that raised
    durable: bool = True  # False: a copy for another program; what it misses is not lost


class Sink(Protocol):
    """A destination of items. It keeps the order of each instrument and type."""

    name: str
    takes_tops: bool
    """Whether it takes records of the best levels of books."""

    latency: LatencyHistogram
    """From the receipt of an item to its acknowledgement."""

    def put(self, items: Sequence[Item]) -> None:
        """Take items in the event loop: never blocks, never raises; above its bounds the policy of `queue` applies."""
        ...

    async def run(self) -> None:
        """Work until cancelled. A failing server is retried forever, with a capped exponential backoff and jitter."""
        ...

    async def drain(self, seconds: float) -> int:
        """Deliver everything, to a spool on disk if need be; return the number of items left after `seconds`.

        `run` continues meanwhile, and is cancelled afterwards.
        """
        ...

    def close(self) -> None:
        """Close files and connections, after `run` has ended."""
        ...

    def state(self) -> SinkState:
        """The state now."""
        ...


async def shield_until_done(work: Coroutine[Any, Any, T]) -> T:
    """Finish `work` even when cancelled: a thread runs it, and its effects must not be repeated."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
