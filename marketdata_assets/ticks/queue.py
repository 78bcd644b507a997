"""Which unit is next, and what waits to be written: a queue in order, and batches by month that hold a bounded load.

What a unit's answer is, and how a batch lands, is not known here.
"""

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from marketdata_assets.ticks.reports import Unit

T = TypeVar("T")


def ordered(units: Iterable[Unit], first: Sequence[str], attempted: Mapping[Unit, dt.datetime]) -> list[Unit]:
    """Each unit once: symbols of `first` in that order, then what was never attempted, then the stalest attempt.

    Of equals the newest month first, then by symbol.
    """
    rank = {symbol: number for number, symbol in reversed(list(enumerate(first)))}
    never = dt.datetime.min.replace(tzinfo=dt.UTC)
    newest_first = sorted(sorted(set(units)), key=lambda unit: unit.month, reverse=True)
    return sorted(newest_first, key=lambda unit: (rank.get(unit.symbol, len(rank)), attempted.get(unit, never)))


@dataclass(frozen=True)
class Limits:
    """A batch is due when it has so many rows or items, or its first item is so old; `held` bounds the rows of all."""

    rows: int = 1_500_000
    items: int = 500
    seconds: float = 10.0
    held: int = 2_500_000


@dataclass
class _Batch(Generic[T]):
    since: float
    items: list[T] = field(default_factory=list)
    rows: int = 0


class Batches(Generic[T]):
    """Items on their way to the writer. Use within one event loop; one task takes."""

    def __init__(self, limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.held = 0
        self._limits, self._clock = limits, clock
        self._months: dict[str, _Batch[T]] = {}
        self._closed = False
        self._blocked = 0
        self._changed = asyncio.Condition()

    async def put(self, month: str, item: T, rows: int) -> None:
        """Add an item; waits while too many rows are held. One that is too large by itself passes when it is alone."""
        async with self._changed:
            self._blocked += 1
            self._changed.notify_all()
            try:
                await self._changed.wait_for(lambda: not self.held or self.held + rows <= self._limits.held)
            finally:
                self._blocked -= 1
            self.held += rows
            batch = self._months.setdefault(month, _Batch(self._clock()))
            batch.items.append(item)
            batch.rows += rows
            self._changed.notify_all()

    async def take(self) -> tuple[str, list[T], int] | None:
        """The month, items and rows of the next batch that is due; None when closed and empty."""
        async with self._changed:
            while self._months or not self._closed:
                month = self._due()
                if month is not None:
                    batch = self._months.pop(month)
                    return month, batch.items, batch.rows
                await self._news()
        return None

    async def landed(self, rows: int) -> None:
        """Give back the room of a batch that was taken."""
        async with self._changed:
            self.held -= rows
            self._changed.notify_all()

    async def close(self) -> None:
        """Nothing more will come: what is there is due."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _due(self) -> str | None:
        """The largest of the months that are due."""
        now, limits = self._clock(), self._limits
        found = [
            (batch.rows, month)
            for month, batch in self._months.items()
            if self._closed
            or self._blocked
            or batch.rows >= limits.rows
            or len(batch.items) >= limits.items
            or now - batch.since >= limits.seconds
        ]
        return max(found)[1] if found else None

    async def _news(self) -> None:
        """Wait for a change, or until the oldest batch is due."""
        oldest = min((batch.since for batch in self._months.values()), default=None)
        wait = None if oldest is None else max(oldest + self._limits.seconds - self._clock(), 0.0)
        try:
            async with asyncio.timeout(wait):
                await self._changed.wait()
        except TimeoutError:
            pass
