"""The factors of symbol-months: computed from tick_data, and returned by providers, written together.

Existing rows of a provider that is not used, or that fails, are kept; such a failure fails only the symbols it
concerns, and their computed factors are written anyway. Symbol-months with unchanged inputs are skipped.
"""

import asyncio
import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from marketdata_assets.progress import Progress
from marketdata_assets.reference import stored
from marketdata_assets.reference.calendar import TradingDays, calendar_of
from marketdata_assets.reference.exchanges import by_exchange
from marketdata_assets.reference.records import Days
from marketdata_assets.reference.stored import Suspensions
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks import provider_factors, table_writer
from marketdata_assets.ticks.circuit_breaker import CircuitBreaker
from marketdata_assets.ticks.factor_reconcile import (
    FAILED,
    PENDING,
    SUPERSEDED,
    MonthRun,
    Task,
    decide,
    input_digests,
    months_of,
)
from marketdata_assets.ticks.factor_sql import NAME, computed
from marketdata_assets.ticks.fallback import Provider, in_order
from marketdata_assets.ticks.finality import Finality, Moment, stored_suspensions
from marketdata_assets.ticks.load_run import Ended, LoadOptions, LoadRun
from marketdata_assets.ticks.provider_factors import Actions, Daily, ProviderFactors
from marketdata_assets.ticks.reconcile import of_entry, report_before
from marketdata_assets.ticks.reports import LoadReport, Unit, UnitReport, by_month
from marketdata_assets.ticks.table_writer import UnitWrite
from marketdata_assets.ticks.tables import FACTORS, TICK_DATA, statement

SYMBOLS_A_PUBLISH = 1000


def compute(
    client: Client,
    providers: Sequence[Provider],
    units: Iterable[Unit],
    *,
    options: LoadOptions | None = None,
    run_id: str,
    now: dt.datetime,
    progress: Progress | None = None,
    ended: Ended | None = None,
    trading_days: TradingDays | None = None,
    suspended: Suspensions | None = None,
) -> LoadReport:
    """Write the factors that follow from tick_data, and those that providers have of `units`; report how each ended.

    Without a provider of factors only computed ones are written. Opens and closes the providers. Of `options`, refetch,
    accept_empty, workers, providers, patience, pause and turns count. Raises StoreAway when the ledger cannot be read
    at first.
    """
    run = LoadRun(client, options or LoadOptions(), run_id, now, progress, ended)
    usable = [provider for provider in in_order(run.selected(providers), "factors") if provider.configured]
    calendar, wanted = trading_days or stored.calendar(client).trading_days, set(units)
    finality = Finality(run.options.rules, Moment(now, calendar), suspended or stored_suspensions(client, wanted))
    return asyncio.run(_all(run, usable, finality, wanted))


async def _all(run: LoadRun, providers: Sequence[Provider], finality: Finality, units: Collection[Unit]) -> LoadReport:
    """The factors of the symbols of one exchange after the other: their days differ."""
    run.total = len(units)
    async with run.open(providers) as breakers:
        for symbols in by_exchange({unit.symbol for unit in units}).values():
            names = set(symbols)
            await _Computation(run, providers, finality.of(symbols[0])).all(
                [unit for unit in units if unit.symbol in names], breakers
            )
    return run.report(providers)


def stored_digests(
    client: Client, units: Sequence[Unit], closed: dt.date, trading_days: TradingDays
) -> dict[Unit, str]:
    """The digests of what the factors of units of one exchange are to be made from now; limits count up to the day
    `closed`."""
    months = {name for _, month in units for name in months_of(month)}
    symbols = {symbol for symbol, _ in units}
    limits = stored.limit_digests(client, months, closed, symbols)
    return input_digests(units, ledger.table(client, TICK_DATA.name, months, symbols), limits, trading_days)


@dataclass(frozen=True)
class _Computation:
    run: LoadRun
    providers: Sequence[Provider]
    finality: Finality

    @property
    def moment(self) -> Moment:
        return self.finality.moment

    async def all(self, units: Collection[Unit], breakers: Mapping[str, CircuitBreaker]) -> None:
        due = {month: self._due(month, symbols) for month, symbols in by_month(units).items()}
        actions = await self._actions(due, breakers)
        for month, tasks in due.items():
            provided = await self._provided(month, tasks, actions, breakers)
            write = partial(self._write, month, provided)
            for start in range(0, len(tasks), SYMBOLS_A_PUBLISH):
                batch = tasks[start : start + SYMBOLS_A_PUBLISH]
                reports = self.run.write(batch, write, partial(_before, month))
                self.run.end(*reports)

    def _due(self, month: str, symbols: Sequence[str]) -> list[Task]:
        closed = self._closed(month)
        if not closed:
            for symbol in symbols:
                self.run.end(UnitReport(symbol, month, "provisional", note=f"no day of {month} is closed yet"))
            return []
        loads, tasks = self._loads(month, symbols), []
        units = [Unit(symbol, month) for symbol in symbols]
        known = stored_digests(self.run.client, units, self.moment.last, self.moment.trading_days)
        for symbol, digest in zip(symbols, known.values(), strict=True):
            task = Task(symbol, loads.get(symbol), digest)
            requested = [provider.name for provider in self.providers if provider.config.symbol_mapping.theirs(symbol)]
            missing = task.before.missing(requested, str(closed[-1]), self.moment)
            same = task.before.bars == digest != PENDING and not missing
            if same and task.load and not self.run.options.refetch:
                self.run.end(replace(_before(month, task), note="unchanged inputs; skipped"))
            else:
                tasks.append(task)
        return tasks

    def _closed(self, month: str) -> list[dt.date]:
        return self.moment.closed_days(Days.month(month))

    async def _actions(
        self, due: Mapping[str, Sequence[Task]], breakers: Mapping[str, CircuitBreaker]
    ) -> list[ProviderFactors]:
        """Splits and dividends of all months at once: such a response may go back to the listing."""
        months = [month for month, tasks in due.items() if tasks]
        if not months:
            return []
        days = Days(Days.month(months[0]).first, self._closed(months[-1])[-1])
        answers = []
        for provider in self.providers:
            if isinstance(provider, Actions):
                asking = [task for month in months for task in self._asking(provider, month, due[month])]
                symbols = sorted({task.symbol for task in asking})
                answers.append(await provider_factors.actions(provider, breakers[provider.name], days, symbols))
        return answers

    def _asking(self, provider: Provider, month: str, tasks: Sequence[Task]) -> list[Task]:
        """The tasks that the provider has not answered up to the last closed day, or is requested again for."""
        if self.run.options.refetch:
            return list(tasks)
        until = str(self._closed(month)[-1])
        return [task for task in tasks if task.before.missing([provider.name], until, self.moment)]

    async def _provided(
        self,
        month: str,
        tasks: Sequence[Task],
        actions: Sequence[ProviderFactors],
        breakers: Mapping[str, CircuitBreaker],
    ) -> list[ProviderFactors]:
        provided = [factors.within(Days.month(month), [task.symbol for task in tasks]) for factors in actions]
        for provider in self.providers:
            asking = self._asking(provider, month, tasks) if tasks and isinstance(provider, Daily) else []
            if isinstance(provider, Daily) and asking:
                answers = [task.before.answered.get(provider.name, FAILED) for task in asking]
                final = "" if self.run.options.refetch else min(answer.final for answer in answers)
                days = [day for day in self._closed(month) if str(day) > final]
                symbols = [task.symbol for task in asking]
                provided.append(await provider_factors.daily(provider, breakers[provider.name], days, symbols))
        return provided

    def _write(self, month: str, provided: Sequence[ProviderFactors], tasks: Sequence[Task]) -> list[UnitReport]:
        symbols = [task.symbol for task in tasks]
        days = Days.month(month)
        # Requests to providers may have taken long: the ledger entries are read again.
        loads = self._loads(month, symbols)
        tasks = [replace(task, load=loads.get(task.symbol)) for task in tasks]
        client, started = self.run.client, self.run.moment()
        fresh = computed(client, symbols, month, self.moment.trading_days, calendar_of(symbols[0]))
        bound = {"symbols": symbols, "first": days.first, "last": days.last, "computed": NAME}
        existing = clickhouse.read(client, statement("provider_factors"), bound).cast(FACTORS.columns)
        month_run = MonthRun(
            month, self.finality, self.run.options.accept_empty, self.run.run_id, started, self.run.moment()
        )
        decisions = decide(month_run, tasks, fresh, existing, [factors.within(days, symbols) for factors in provided])
        writes = [decision.write for decision in decisions if decision.write]
        loads |= table_writer.write(client, FACTORS, month, writes, turns=self.run.options.turns)
        lost = self._superseded(month, [write for write in writes if write.frame is not None])
        reports = [of_entry(one.report, loads.get(one.report.symbol)) for one in decisions]
        return [replace(one, outcome="failed", error=SUPERSEDED) if one.symbol in lost else one for one in reports]

    def _superseded(self, month: str, writes: Sequence[UnitWrite]) -> set[str]:
        """Symbols that another run wrote after we had read: its rows of a provider may be lost."""
        if not writes:
            return set()
        loads = self._loads(month, [write.symbol for write in writes])
        lost = []
        for write in writes:
            load, mine = loads.get(write.symbol), write.load
            if load is None or load.content_hash != mine.content_hash:
                continue  # another run wrote after us and checks for itself
            if load.previous_hash not in (mine.previous_hash, mine.content_hash):
                entry = replace(mine, outcome="failed", error=SUPERSEDED, attempted_hash=None)
                lost.append(replace(write, frame=None, load=entry))
        if lost:
            table_writer.write(self.run.client, FACTORS, month, lost, turns=self.run.options.turns)
        return {write.symbol for write in lost}

    def _loads(self, month: str, symbols: Sequence[str]) -> dict[str, ledger.Load]:
        return {load.source: load for load in ledger.entries(self.run.client, FACTORS.name, [month], symbols)}


def _before(month: str, task: Task) -> UnitReport:
    return report_before(Unit(task.symbol, month), task.load)
