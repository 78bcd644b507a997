"""Minute bars of many symbols and months from the providers into tick_data, side by side; each by itself, resumable.

Which days are due is in `windows`, what becomes of an answer in `reconcile`, how it is written in `table_writer`.
"""

import asyncio
import datetime as dt
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from marketdata_assets.progress import Progress
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.stores.errors import StoreAway
from marketdata_assets.ticks import queue, table_writer, windows
from marketdata_assets.ticks.batch_runner import BatchReport, BatchRunner
from marketdata_assets.ticks.calendar import ashares
from marketdata_assets.ticks.circuit_breaker import FIRST_PAUSE_SECONDS, CircuitBreaker
from marketdata_assets.ticks.concurrency_limit import ConcurrencyLimit
from marketdata_assets.ticks.errors import BadProviders, TicksError
from marketdata_assets.ticks.existing import stood
from marketdata_assets.ticks.fallback import Fallback, Provider
from marketdata_assets.ticks.queue import Batches, Limits
from marketdata_assets.ticks.reconcile import ExistingRows, FetchResult, Reconciler, standing
from marketdata_assets.ticks.records import Days, Listing
from marketdata_assets.ticks.reports import LoadReport, Unit, UnitReport
from marketdata_assets.ticks.tables import TICK_DATA
from marketdata_assets.ticks.windows import Due, Standing, TradingDays

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

T = TypeVar("T")

AT_ONCE = 2
"""So many more units than requests are under way: while one is read, the next is asked for."""


@runtime_checkable
class HttpProvider(Protocol):
    """A provider that sends requests."""

    @property
    def requests(self) -> int: ...

    def set_concurrency_limit(self, limit: ConcurrencyLimit) -> None: ...


@dataclass(frozen=True)
class LoadOptions:
    """How to load.

    `refetch` asks for whole months again; `accept_empty` lets an answer without bars erase bars that stand; `workers`
    is how many requests may be under way at one provider; `providers` are the only ones asked, all when empty; `first`
    are symbols that come before others; `days` narrows every month down; an outage of a provider is waited for
    `patience` seconds, in which it is probed after `pause` seconds, and then after twice as many each time; in the
    folder `turns` processes of one machine wait for each other's writes.
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
    limits: Limits = field(default_factory=Limits)
    store_patience: table_writer.Patience = field(default_factory=table_writer.Patience)


def load(
    client: "Client",
    providers: Sequence[Provider],
    units: Iterable[Unit],
    *,
    options: LoadOptions = LoadOptions(),
    run_id: str,
    now: dt.datetime,
    progress: Progress | None = None,
    listings: Iterable[Listing] = (),
    trading_days: TradingDays | None = None,
) -> LoadReport:
    """Make tick_data hold what the providers have of the closed days of `units`, and tell how each ended.

    A unit that fails stops no other and leaves what stands of it; what is complete is not asked for again. `listings`
    say when a stock was listed, for nothing is asked for outside of that. Opens and closes the providers, which serve
    one load. `client` is used by one thread at a time. Raises StoreAway when the ledger cannot even be read; when the
    store goes away later, the units that are left fail.
    """
    days = trading_days or ashares().trading_days
    work = _Work(client, providers, options, run_id, now, progress, {one.symbol: one for one in listings}, days)
    return asyncio.run(work.all(list(units)))


class _Work:
    """One load under way."""

    def __init__(
        self,
        client: "Client",
        providers: Sequence[Provider],
        options: LoadOptions,
        run_id: str,
        now: dt.datetime,
        progress: Progress | None,
        listings: Mapping[str, Listing],
        trading_days: TradingDays,
    ) -> None:
        self._client, self._providers, self._options = client, providers, options
        self._now, self._progress, self._listings, self._trading_days = now, progress, listings, trading_days
        self._began = time.monotonic()
        self._judge = Reconciler({one.name: one.config.priority for one in providers}, options.accept_empty, run_id)
        self._known: dict[Unit, Load] = {}
        self._todo: deque[Unit] = deque()
        self._told = BatchReport(0, progress)
        self._store = BatchRunner()
        self._thread = ThreadPoolExecutor(1, "ticks-writer")

    async def all(self, units: Sequence[Unit]) -> LoadReport:
        try:
            known = await self._in_thread(self._read_ledger, units)
            self._known = {Unit(load.source, load.unit): load for load in known}
            attempted = {unit: load.finished for unit, load in self._known.items()}
            self._todo.extend(queue.ordered(units, self._options.first, attempted))
            self._told = BatchReport(len(self._todo), self._progress)
            async with AsyncExitStack() as opened:
                for provider in self._providers:
                    if isinstance(provider, AbstractAsyncContextManager):
                        await opened.enter_async_context(provider)
                await self._work()
        finally:
            self._thread.shutdown()
        self._told.end(*self._store.land([self._standing(unit) for unit in self._todo], list))
        requests = sum(one.requests for one in self._providers if isinstance(one, HttpProvider))
        return LoadReport(self._told.in_order(), time.monotonic() - self._began, requests)

    async def _work(self) -> None:
        fallback = self._fallback()
        batches: Batches[FetchResult] = Batches(self._options.limits)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(batches))
                takers = [
                    group.create_task(self._take(fallback, batches)) for _ in range(self._options.workers + AT_ONCE)
                ]
                await asyncio.gather(*takers)
                await batches.close()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    def _fallback(self) -> Fallback:
        asked = [one for one in self._providers if not self._options.providers or one.name in self._options.providers]
        for provider in asked:
            if isinstance(provider, HttpProvider):
                provider.set_concurrency_limit(ConcurrencyLimit(self._options.workers))
        guarded = [
            CircuitBreaker(provider, patience=self._options.patience, pause=self._options.pause) for provider in asked
        ]
        fallback = Fallback.of(guarded, self._trading_days)
        if not fallback.providers:
            among = ", ".join(self._options.providers) or "all"
            raise BadProviders(
                "providers file", f"nobody to ask for {TICK_DATA.name} among {among}; enable one that supports it"
            )
        return fallback

    # Asking.

    async def _take(self, fallback: Fallback, batches: Batches[FetchResult]) -> None:
        while self._todo and self._store.over is None:
            unit = self._todo.popleft()
            asked = await self._ask(fallback, unit)
            if asked is not None:
                await batches.put(unit.month, asked, asked.rows)
            del asked  # or it is held while the next is waited for
            await asyncio.sleep(0)

    async def _ask(self, fallback: Fallback, unit: Unit) -> FetchResult | None:
        """What came of a unit; None when there was nothing to do, and that is reported."""
        started = self._moment()
        month = Days.month(unit.month)
        try:
            due = self._due(unit)
            if isinstance(due, Due):
                answer = await fallback.bars(unit.symbol, due.ask)
                return FetchResult(unit, due.ask, due, answer, started)
        except TicksError as error:
            return FetchResult(unit, month, None, None, started, error=str(error))
        known = self._known.get(unit)
        if due.covers is not None and (known is None or known.pending):
            return FetchResult(unit, due.covers, None, None, started, reason=due.reason)
        self._told.end(replace(self._standing(unit), note=due.reason or "complete; nothing was asked for"))
        return None

    def _due(self, unit: Unit) -> Due | windows.NotDue:
        known = self._known.get(unit)
        stands = Standing()
        if known is not None:
            stands = Standing(windows.as_days(known.slices), not known.pending, known.outcome == "failed")
        return windows.due(
            unit.month,
            self._now,
            self._trading_days,
            standing=stands,
            listing=self._listings.get(unit.symbol),
            only=self._options.days,
            refetch=self._options.refetch,
        )

    # Writing.

    async def _write(self, batches: Batches[FetchResult]) -> None:
        while (batch := await batches.take()) is not None:
            month, asked, rows = batch
            before = [self._standing(one.unit) for one in asked]
            reports = await self._in_thread(self._store.land, before, partial(self._land, month, asked))
            self._told.end(*reports)
            await batches.landed(rows)

    def _land(self, month: str, asked: Sequence[FetchResult]) -> list[UnitReport]:
        known, stands = self._before(month, asked)
        finished = self._moment()
        settled = []
        for one in asked:
            symbol = one.unit.symbol
            settled.append(self._judge.settle(one, known.get(symbol), stands.get(symbol, ExistingRows()), finished))
        landings = [one.landing for one in settled]
        patience, turns = self._options.store_patience, self._options.turns
        table_writer.land(self._client, TICK_DATA, month, landings, turns=turns, patience=patience)
        return [one.report for one in settled]

    def _before(self, month: str, asked: Sequence[FetchResult]) -> tuple[dict[str, Load], dict[str, ExistingRows]]:
        """What the ledger says and what stands, for each symbol; waits for a store that is away, within bounds."""
        symbols = [one.unit.symbol for one in asked]
        away = 0
        while True:
            try:
                known = {one.source: one for one in ledger.entries(self._client, TICK_DATA.name, [month], symbols)}
                return known, stood(self._client, month, asked, known)
            except StoreAway:
                away += 1
                if away >= self._options.store_patience.away:
                    raise
                time.sleep(self._options.store_patience.pause(away))

    def _read_ledger(self, units: Sequence[Unit]) -> list[Load]:
        return ledger.entries(self._client, TICK_DATA.name, {one.month for one in units}, {one.symbol for one in units})

    async def _in_thread(self, function: Callable[..., list[T]], *arguments: object) -> list[T]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def _moment(self) -> dt.datetime:
        return self._now + dt.timedelta(seconds=time.monotonic() - self._began)

    def _standing(self, unit: Unit) -> UnitReport:
        """What stood of a unit when the load began."""
        known = self._known.get(unit)
        return standing(unit, known, "ok" if known is not None and known.rows else "empty")
