"""What every sink of the collector is: JetStream, ClickHouse, Redis and captures alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from marketdata_assets.collector.items import Item


@dataclass(frozen=True)
class SinkState:
    """How a sink is doing. Counts are of items, since the start."""

    queued: int  # in memory, not handed over yet
    capacity: int  # of the queue in memory
    connected: bool
    last_error: str | None
    oldest_ns: int | None  # receive time of the oldest item that is not acknowledged; None when all are
    spooled: int  # on disk, waiting for the server
    sent: int  # handed to the server, repeated ones included
    acked: int
    dropped: int  # lost, each in a gap that says so
    conflated: int = 0  # passed over for a newer state of the same thing
    spool_bytes: int = 0


class Sink(Protocol):
    """Where items go. A sink keeps the order of each instrument and type."""

    name: str

    def put(self, items: Sequence[Item]) -> None:
        """Take items in the event loop: never blocks, never raises; beyond its bounds `queue`'s policy holds."""
        ...

    async def run(self) -> None:
        """Work until cancelled. A server that fails is tried again for ever, with a capped backoff and jitter."""
        ...

    async def drain(self, seconds: float) -> int:
        """Hand everything over, as a spool on disk does too; the number of items that remain after so long.

        `run` goes on meanwhile, and is cancelled afterwards.
        """
        ...

    def close(self) -> None:
        """Let files and servers go, when `run` has ended."""
        ...

    def state(self) -> SinkState:
        """How it is doing."""
        ...
