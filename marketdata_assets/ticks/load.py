"""Minute bars or order books of many symbols and months from the providers into ClickHouse, concurrently.

Units succeed or fail independently, and an interrupted load continues where it ended. Which days are due is decided in
`plan`, what becomes of an answer in `reconcile`, and `table_writer` writes it.
"""

import asyncio
import datetime as dt
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from marketdata_assets.backoff import retry
from marketdata_assets.logs import get_logger
from marketdata_assets.progress import Progress
from marketdata_assets.reference import stored
from marketdata_assets.reference.calendar import TradingDays, closings
from marketdata_assets.reference.exchanges import exchange_of
from marketdata_assets.reference.records import Days, Listing
from marketdata_assets.reference.stored import Suspensions
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.errors import StoreAway
from marketdata_assets.ticks import file_ledger, plan, table_writer
from marketdata_assets.ticks.circuit_breaker import CircuitBreaker
from marketdata_assets.ticks.errors import TicksError
from marketdata_assets.ticks.existing import ExistingRows, read_existing
from marketdata_assets.ticks.fallback import Answer, BookProvider, Fallback, Provider, Tried, in_order
from marketdata_assets.ticks.file_drop import NAME as FILES
from marketdata_assets.ticks.file_ledger import Compared, FileLedger
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.finality import Finality, Moment, stored_suspensions
from marketdata_assets.ticks.load_run import Batches, Ended, Limits, LoadOptions, LoadRun, failure_of
from marketdata_assets.ticks.plan import Due, Loaded, NotDue
from marketdata_assets.ticks.provider_client import HttpProvider
from marketdata_assets.ticks.reconcile import Decision, FetchResult, Reconciler, of_entry, report_before
from marketdata_assets.ticks.records import Delivery
from marketdata_assets.ticks.reports import LoadReport, Unit, UnitReport
from marketdata_assets.ticks.tables import ORDER_BOOK, TICK_DATA, Table

T = TypeVar("T")
Ask = Callable[[Fallback, Unit], Awaitable[FetchResult | None]]
"""Requests what is due of a unit; None when there is nothing to write."""

READ_AHEAD = 2  # units fetched beyond the number of concurrent requests: while one is parsed, the next is requested

BOOK_LIMITS = Limits(rows=500_000, held=1_000_000)  # a row of order books has 40 numbers

log = get_logger(__name__)


def load(
    client: Client,
    providers: Sequence[Provider],
    units: Iterable[Unit],
    *,
    table: Table = TICK_DATA,
    options: LoadOptions | None = None,
    run_id: str,
    now: dt.datetime,
    progress: Progress | None = None,
    ended: Ended | None = None,
    listings: Iterable[Listing] = (),
    trading_days: TradingDays | None = None,
    suspended: Suspensions | None = None,
) -> LoadReport:
    """Load what the providers have of the closed days of `units` into `table`, and report how each unit ended.

    A unit that fails stops no other and its existing rows are kept. Final bars are not fetched again; of order books,
    which come from files only, every closed day is compared. `listings` and `suspended` limit requests to the days on
    which a stock traded.
    Opens and closes the providers, which serve one load. `client` is used by one thread at a time. Raises StoreAway
    when the ledger cannot be read at first; when the store is lost later, the units that are left fail.
    """
    run = LoadRun(client, options or LoadOptions(), run_id, now, progress, ended)
    by_symbol = {listing.symbol: listing for listing in listings}
    calendar = trading_days or stored.calendar(client).trading_days
    wanted = list(units)
    work = _Load(run, table, providers, by_symbol, calendar, suspended or stored_suspensions(client, wanted))
    return asyncio.run(work.all(wanted))


@dataclass
class _Load:
    run: LoadRun
    table: Table
    providers: Sequence[Provider]
    listings: Mapping[str, Listing]
    trading_days: TradingDays
    suspended: Suspensions

    def __post_init__(self) -> None:
        options = self.run.options
        books = self.table is ORDER_BOOK
        self._moment = Moment(self.run.now, self.trading_days)
        self._reconciler = Reconciler(
            self.table,
            {provider.name: provider.config.priority for provider in self.providers},
            options.accept_empty,
            options.refetch if books else options.accept_empty,
            self.run.run_id,
            None if books else Finality(options.rules, self._moment, self.suspended),
        )
        self._usable = [provider for provider in in_order(self.providers, self.table.name) if provider.configured]
        self._limits = options.limits or (BOOK_LIMITS if books else Limits())
        self._loads: dict[Unit, Load] = {}
        self._todo: deque[Unit] = deque()
        in_use = in_order(self.run.selected(self.providers), self.table.name)
        files = next((one for one in in_use if isinstance(one, Files)), None)
        self._dropped = FileLedger(self.run.client, files, self.table) if files else None
        self._unreadable: tuple[str, ...] = ()
        self._changed: set[Unit] = set()
        self._lacking: dict[Unit, str] = {}
        """Units of which the provider that answered does not have the last closed day yet, while others may."""
        self._thread = ThreadPoolExecutor(1, "ticks-writer")

    async def all(self, units: Sequence[Unit]) -> LoadReport:
        try:
            months, symbols = {unit.month for unit in units}, {unit.symbol for unit in units}
            client, table = self.run.client, self.table.name
            loads = await self._in_thread(ledger.entries, client, table, months, symbols)
            self._loads = {Unit(load.source, load.unit): load for load in loads}
            attempted = {unit: load.finished for unit, load in self._loads.items()}
            self._changed = await self._in_thread(self._changed_units, set(units))
            async with self.run.open(self.providers) as breakers:
                fallback = self._fallback(breakers)
                await self._pass(fallback, self._missing, plan.ordered(units, self.run.options.first, attempted))
                await self._pass(fallback, self._last_day, sorted(self._lacking.keys() - self.run.failed))
                if self._dropped:
                    of_files = replace(fallback, providers=(self._dropped.files,))
                    await self._pass(of_files, self._changed_files, sorted(self._changed))
            undated = await self._in_thread(self._record_files)
        finally:
            self._thread.shutdown()
        self.run.end(*self.run.not_written(self._todo, self._before))
        return replace(self.run.report(self.providers), undated=undated, unreadable=self._unreadable)

    def _changed_units(self, units: set[Unit]) -> set[Unit]:
        """Of `units`, those whose dropped files have changed."""
        if (dropped := self._dropped) is None:
            return set()
        seen = dropped.known() if self.run.options.registered_files else dropped.see(now_ns=time.time_ns())
        self._unreadable = tuple(seen.unreadable)
        dropped.select(units, seen)
        return units & file_ledger.due(self.run.client, self.table, closings(self.run.now))

    def _record_files(self) -> int:
        run, dropped = self.run, self._dropped
        if dropped is None or run.store_error is not None:
            return 0
        errors = {unit.unit: unit.error or "" for unit in run.report(self.providers).failed}
        undated = dropped.settle(dropped.folder.read(), errors, closings(run.now), run.run_id)
        self._unreadable = tuple(dict.fromkeys((*self._unreadable, *dropped.folder.broken().values())))
        return undated

    async def _pass(self, fallback: Fallback, ask: Ask, units: Sequence[Unit]) -> None:
        """Request and write what `ask` finds due of `units`, unless the store is lost."""
        if not units or self.run.store_error is not None:
            return
        self._todo.extend(units)
        self.run.total += len(units)
        batches: Batches[FetchResult] = Batches(self._limits)
        workers = self.run.options.workers + READ_AHEAD
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(batches))
                fetching = [group.create_task(self._fetch(fallback, ask, batches)) for _ in range(workers)]
                await asyncio.gather(*fetching)
                await batches.close()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    def _fallback(self, breakers: Mapping[str, CircuitBreaker]) -> Fallback:
        selected = self.run.selected(self.providers)
        books = self.table is ORDER_BOOK
        usable = in_order(selected, self.table.name)

        async def fetch(provider: Provider, symbol: str, days: Days) -> Delivery:
            request = provider.books if books and isinstance(provider, BookProvider) else provider.bars
            return await breakers[provider.name].call(symbol, partial(request, symbol, days))

        if books:
            others = [provider.name for provider in selected if provider not in usable]
            without = [Tried(name, "unsupported", "it has no order books of the past") for name in others]
            if not selected:
                without = [Tried("order_book", "unsupported", "no provider of order books is in use")]
            return Fallback(tuple(usable), None, fetch, tuple(without))
        if not usable:
            names = ", ".join(self.run.options.providers) or "all"
            cause = f"no provider of {self.table.name} among {names}; enable one that supports it"
            raise TicksError(f"providers file: {cause}")
        return Fallback(tuple(usable), self.trading_days, fetch)

    async def _fetch(self, fallback: Fallback, ask: Ask, batches: Batches[FetchResult]) -> None:
        while self._todo and self.run.store_error is None:
            unit, started = self._todo.popleft(), self.run.moment()
            try:
                result = await ask(fallback, unit)
            except Exception as error:  # of one unit: every other is loaded
                if not isinstance(error, TicksError):
                    log.exception("unit_failed", table=self.table.name, unit=unit)
                result = FetchResult(unit, Days.month(unit.month), None, None, started, error=failure_of(error))
            if result is not None:
                await batches.put(unit.month, result, result.rows)
            del result  # or it is held while the next is waited for
            await asyncio.sleep(0)

    async def _missing(self, fallback: Fallback, unit: Unit) -> FetchResult | None:
        """The answer for the days that are missing or due again."""
        due = self._due(
            unit,
            listing=self.listings.get(unit.symbol),
            refetch=self.run.options.refetch or self.table is ORDER_BOOK,
            suspended=partial(self.suspended.all_day, unit.symbol),
            reach=self._reach(unit.symbol),
        )
        return await self._result(fallback, unit, due)

    async def _changed_files(self, fallback: Fallback, unit: Unit) -> FetchResult | None:
        """What the dropped files alone have: what is missing was requested before."""
        return await self._result(fallback, unit, self._due(unit, refetch=True))

    def _due(self, unit: Unit, **options: Any) -> Due | NotDue:
        loaded, moment = Loaded.of(self._loads.get(unit)), self._moment.of(unit.symbol)
        return plan.due(unit.month, moment, loaded=loaded, only=self.run.options.days, **options)

    async def _result(self, fallback: Fallback, unit: Unit, due: Due | NotDue) -> FetchResult | None:
        """The answer for a unit; None when nothing was due, which is reported here."""
        started = self.run.moment()
        if isinstance(due, Due):
            answer = await self._at(fallback, unit.symbol).rows(unit.symbol, due.fetch)
            better = answer.better(self._usable_for(unit.symbol))
            if answer.provider and self._lacks_last_day(unit, due, answer, fallback):
                self._lacking[unit] = answer.provider
            return FetchResult(unit, due.fetch, due, answer, started, better=better)
        load = self._loads.get(unit)
        covers = [day for day in due.covers if load is None or load.pending or str(day) not in load.slices]
        if covers:
            days = Days(covers[0], covers[-1])
            return FetchResult(unit, days, None, None, started, reason=due.reason, covers=due.covers)
        self.run.end(replace(self._before(unit), note=due.reason or "complete; no request was needed"))
        return None

    async def _last_day(self, fallback: Fallback, unit: Unit) -> FetchResult | None:
        """What the providers after the one that answered have of the last closed day; None when they have nothing."""
        day, provider = self._moment.of(unit.symbol).closed, self._lacking[unit]
        started = self.run.moment()
        days, others = Days(day, day), self._others(fallback, unit.symbol, provider)
        answer = await self._at(replace(fallback, providers=tuple(others)), unit.symbol).rows(unit.symbol, days)
        if answer.delivery is None:
            self.run.total -= 1
            return None
        answer = replace(answer, tried=(Tried(provider, "empty", f"it has no bar of {day} yet"), *answer.tried))
        better = answer.better(self._usable_for(unit.symbol))
        return FetchResult(unit, days, Due(days, days), answer, started, better=better)

    def _lacks_last_day(self, unit: Unit, due: Due, answer: Answer, fallback: Fallback) -> bool:
        """Whether the answer has nothing of the last closed day, on which the stock traded, and others may have it."""
        day, delivery = self._moment.of(unit.symbol).closed, answer.delivery
        if self.table is ORDER_BOOK or delivery is None or delivery.provider == FILES or delivery.rows.is_empty():
            return False
        newest: dt.datetime = delivery.rows["ts"].max()  # type: ignore[assignment]
        newest_day = newest.astimezone(exchange_of(unit.symbol).zone).date()
        if day not in due.fetch or newest_day >= day or self.suspended.all_day(unit.symbol, day):
            return False
        return bool(self._others(fallback, unit.symbol, delivery.provider))

    def _others(self, fallback: Fallback, symbol: str, provider: str) -> list[Provider]:
        """The providers on the network that are tried after this one."""
        names = [one.name for one in fallback.providers]
        later = fallback.providers[names.index(provider) + 1 :]
        return [one for one in later if one.name != FILES and one in self._usable_for(symbol)]

    def _at(self, fallback: Fallback, symbol: str) -> Fallback:
        """The fallback with the trading days of the symbol's exchange."""
        days = self._moment.of(symbol).trading_days
        return fallback if fallback.trading_days in (None, days) else replace(fallback, trading_days=days)

    def _usable_for(self, symbol: str) -> list[Provider]:
        return [one for one in self._usable if one.config.symbol_mapping.theirs(symbol)]

    def _reach(self, symbol: str) -> dt.date | None:
        """The first day that a provider on the network has; None when one of them has any day."""
        days = [one.first_day(symbol) for one in self._usable_for(symbol) if isinstance(one, HttpProvider)]
        return min((day for day in days if day), default=None) if None not in days else None

    async def _write(self, batches: Batches[FetchResult]) -> None:
        while (batch := await batches.take()) is not None:
            month, results, rows = batch
            write = partial(self._write_batch, month)
            reports = await self._in_thread(self.run.write, results, write, lambda result: self._before(result.unit))
            self.run.end(*reports)
            await batches.release(rows)

    def _write_batch(self, month: str, results: Sequence[FetchResult]) -> list[UnitReport]:
        loads, existing = self._stored(month, results)
        finished = self.run.moment()
        decisions = [
            self._reconciler.decide(
                result, loads.get(result.unit.symbol), existing.get(result.unit.symbol, ExistingRows()), finished
            )
            for result in results
        ]
        options = self.run.options
        loads |= table_writer.write(
            self.run.client,
            self.table,
            month,
            [decision.write for decision in decisions if decision.write],
            turns=options.turns,
            retries=options.write_retries,
        )
        self._record_compared(results, decisions)
        return [
            _with_flaw(of_entry(decision.report, loads.get(result.unit.symbol)), result)
            for result, decision in zip(results, decisions, strict=True)
        ]

    def _record_compared(self, results: Sequence[FetchResult], decisions: Sequence[Decision]) -> None:
        """Record the units that were compared with the dropped files that they have."""
        if self._dropped is None:
            return
        done = [
            Compared(result.unit, result.due.fetch, result.answer.delivery.dropped, decision.replaced)
            for result, decision in zip(results, decisions, strict=True)
            if result.due and result.answer and result.answer.delivery and decision.report.outcome != "failed"
            if result.answer.delivery.dropped
        ]
        try:
            self._changed -= self._dropped.record_compared(done, self._moment)
        except StoreAway as error:  # the rows are written; the next load compares them again
            log.warning("compared_files_not_recorded", table=self.table.name, units=len(done), error=error)

    def _stored(self, month: str, results: Sequence[FetchResult]) -> tuple[dict[str, Load], dict[str, ExistingRows]]:
        """The ledger entries and existing rows of each symbol; retried while the store is unavailable."""
        replaced = {result.unit.symbol: result.replaces for result in results}
        client = self.run.client

        def read() -> tuple[dict[str, Load], dict[str, ExistingRows]]:
            entries = ledger.entries(client, self.table.name, [month], list(replaced))
            loads = {load.source: load for load in entries}
            return loads, read_existing(client, self.table, month, replaced, loads)

        return retry(read, StoreAway, self.run.options.write_retries.waits)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def _before(self, unit: Unit) -> UnitReport:
        return report_before(unit, self._loads.get(unit))


def _with_flaw(report: UnitReport, result: FetchResult) -> UnitReport:
    """Failed where a dropped file with rows of the unit is not loaded, whatever others have."""
    delivery = result.answer.delivery if result.answer else None
    flaw = delivery.dropped.flaw if delivery and delivery.dropped else ""
    return replace(report, outcome="failed", error=flaw) if flaw and report.outcome != "failed" else report
