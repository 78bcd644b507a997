"""What every load of ticks has in common: its options, its reports, batches of bounded size, and isolated writes.

How a unit is fetched and what is written of it is decided by `load` and `factors`.
"""

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from marketdata_assets.concurrency_limit import ConcurrencyLimit
from marketdata_assets.errors import MarketDataError, TransientError
from marketdata_assets.logs import get_logger
from marketdata_assets.progress import Progress
from marketdata_assets.reference.records import Days
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.errors import StoreAway, StoreFull
from marketdata_assets.ticks.circuit_breaker import FIRST_PAUSE_SECONDS, CircuitBreaker
from marketdata_assets.ticks.fallback import Provider
from marketdata_assets.ticks.finality import Rules
from marketdata_assets.ticks.provider_client import HttpProvider
from marketdata_assets.ticks.reports import LoadReport, Unit, UnitReport, merged
from marketdata_assets.ticks.table_writer import WriteRetries

T = TypeVar("T")

log = get_logger(__name__)


@dataclass(frozen=True)
class Limits:
    """A batch is due at so many rows or items, or when its first item is so old; `held` bounds the rows of all.

    The first batch of a load is due after `first` seconds, and each later one after twice as long, up to `seconds`: a
    load that is killed early keeps what it has received.
    """

    rows: int = 1_500_000
    items: int = 500
    seconds: float = 10.0
    held: int = 2_500_000
    first: float = 0.5


@dataclass(frozen=True)
class LoadOptions:
    """How to load.

    `refetch` fetches whole months again; `accept_empty` lets an empty response delete existing rows; `workers` is the
    number of concurrent requests to one provider; `providers` are the only ones used, all when empty; `first` are
    symbols that come before others; `days` narrows every month down; an outage of a provider is waited for `patience`
    seconds, with a probe after `pause` seconds, and then after twice as many each time; processes of one machine take
    turns with locks in the folder `turns`. `limits` of None are those of the table. With
    `registered_files`, dropped files are read that a scan has found finished, and no others. `rules` say when a day is
    final.
    """

    refetch: bool = False
    accept_empty: bool = False
    workers: int = 8
    providers: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    days: Days | None = None
    patience: float = 120.0
    pause: float = FIRST_PAUSE_SECONDS
    turns: Path | None = None
    limits: Limits | None = None
    registered_files: bool = False
    rules: Rules = field(default_factory=Rules)
    write_retries: WriteRetries = field(default_factory=WriteRetries)


Ended = Callable[[Sequence[UnitReport]], None]
"""Called with units as they end, in the thread of the load; a unit may end again when more of it is loaded."""


class LoadRun:
    """One load: its clock, its reports so far, and whether the store still accepts writes."""

    def __init__(
        self,
        client: Client,
        options: LoadOptions,
        run_id: str,
        now: dt.datetime,
        progress: Progress | None,
        ended: Ended | None = None,
    ) -> None:
        self.client, self.options, self.run_id, self.now = client, options, run_id, now
        self.store_error: MarketDataError | None = None
        self.total = 0
        self._progress, self._ended = progress, ended
        self._began = time.monotonic()
        self._reports: list[UnitReport] = []

    def moment(self) -> dt.datetime:
        """The time of this load's clock, UTC."""
        return self.now + dt.timedelta(seconds=time.monotonic() - self._began)

    def selected(self, providers: Sequence[Provider]) -> list[Provider]:
        """Those that the options name; all when they name none."""
        names = self.options.providers
        return [provider for provider in providers if not names or provider.name in names]

    @asynccontextmanager
    async def open(self, providers: Sequence[Provider]) -> AsyncIterator[dict[str, CircuitBreaker]]:
        """Open the providers, limit their concurrent requests, and give a circuit breaker for each by name."""
        options = self.options
        async with AsyncExitStack() as stack:
            for provider in providers:
                if isinstance(provider, AbstractAsyncContextManager):
                    await stack.enter_async_context(provider)
                if isinstance(provider, HttpProvider):
                    provider.set_concurrency_limit(ConcurrencyLimit(options.workers, name=provider.name))
            yield {
                provider.name: CircuitBreaker(provider.name, patience=options.patience, pause=options.pause)
                for provider in providers
            }

    def write(
        self, batch: Sequence[T], write: Callable[[Sequence[T]], list[UnitReport]], before: Callable[[T], UnitReport]
    ) -> list[UnitReport]:
        """What `write` reports of a batch. When it fails, its halves are written, down to the units that fail.

        A failed unit is reported as it was `before`. A lost or full store fails every unit that is left.
        """
        if self.store_error is not None:
            return self.not_written(batch, before)
        try:
            return write(batch)
        except (StoreAway, StoreFull) as error:
            self.store_error = error
            cause = str(error)
            log.error("load_stopped", units=len(batch), error=error)
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, TransientError):
                halves = batch[: len(batch) // 2], batch[len(batch) // 2 :]
                return [report for half in halves for report in self.write(half, write, before)]
            cause = failure_of(error)
            log.exception("write_failed", unit=before(batch[0]).unit, units=len(batch), error=error)
        away = isinstance(self.store_error, StoreAway)
        return [replace(before(item), outcome="failed", error=cause, transient=away) for item in batch]

    def not_written(self, items: Iterable[T], before: Callable[[T], UnitReport]) -> list[UnitReport]:
        """Reports of units that are left when the store no longer accepts writes."""
        cause = f"not written: {self.store_error}"
        away = isinstance(self.store_error, StoreAway)
        return [replace(before(item), outcome="failed", error=cause, transient=away) for item in items]

    def end(self, *reports: UnitReport) -> None:
        """Take the reports of units that have ended, hand them on, and show progress."""
        if self._ended:
            self._ended(reports)
        for report in reports:
            self._reports.append(report)
            if self._progress:
                text = report.error or report.note or f"{report.rows} rows"
                self._progress(len(self._reports), self.total, f"{report.unit}: {text}")

    @property
    def failed(self) -> set[Unit]:
        """The units of which an attempt failed."""
        return {report.unit for report in self._reports if report.outcome == "failed"}

    def report(self, providers: Sequence[Provider]) -> LoadReport:
        """How all units ended, by month and symbol, and the requests sent."""
        ended: dict[Unit, UnitReport] = {}
        for report in self._reports:
            ended[report.unit] = merged(ended.get(report.unit), report)
        units = sorted(ended.values(), key=lambda report: (report.month, report.symbol))
        requests = sum(provider.requests for provider in providers if isinstance(provider, HttpProvider))
        return LoadReport(tuple(units), time.monotonic() - self._began, requests)


def failure_of(error: Exception) -> str:
    """The cause that a report names; an unexpected error with its class."""
    return str(error) if isinstance(error, MarketDataError) else f"{type(error).__name__}: {error}"


@dataclass
class _Batch(Generic[T]):
    since: float
    items: list[T] = field(default_factory=list)
    rows: int = 0


class Batches(Generic[T]):
    """A queue of items that are written in batches by month. Use within one event loop; one task takes."""

    def __init__(self, limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.held = 0
        self._limits, self._clock = limits, clock
        self._seconds = min(limits.first, limits.seconds)
        self._months: dict[str, _Batch[T]] = {}
        self._closed = False
        self._blocked = 0
        self._changed = asyncio.Condition()

    async def put(self, month: str, item: T, rows: int) -> None:
        """Add an item; waits while too many rows are held. One over the limit passes when it is alone."""
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
                    self._seconds = min(2 * self._seconds, self._limits.seconds)
                    return month, batch.items, batch.rows
                oldest = min((batch.since for batch in self._months.values()), default=None)
                wait = None if oldest is None else max(oldest + self._seconds - self._clock(), 0.0)
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._changed.wait()
        return None

    async def release(self, rows: int) -> None:
        """Release the rows of a batch that was taken."""
        async with self._changed:
            self.held -= rows
            self._changed.notify_all()

    async def close(self) -> None:
        """No more items come: every batch is due."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _due(self) -> str | None:
        now, limits = self._clock(), self._limits
        sizes = [
            (batch.rows, month)
            for month, batch in self._months.items()
            if self._closed
            or self._blocked
            or batch.rows >= limits.rows
            or len(batch.items) >= limits.items
            or now - batch.since >= self._seconds
        ]
        return max(sizes)[1] if sizes else None
