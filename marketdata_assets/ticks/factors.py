"""The factors of symbol-months: computed from tick_data, and what providers send, landed together.

What stands of a provider that is not asked, or that has trouble, stays; such trouble fails only the symbols it
concerns, and their computed factors land all the same. Symbol-months whose inputs are as they were are left alone.
"""

import asyncio
import datetime as dt
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from marketdata_assets.progress import Progress
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.ticks import provider_factors
from marketdata_assets.ticks.batch_runner import BatchReport, BatchRunner
from marketdata_assets.ticks.calendar import ashares
from marketdata_assets.ticks.factor_inputs import PENDING, Inputs, bars_digest, months_of
from marketdata_assets.ticks.factor_reconcile import OVERTAKEN, Run, Task, overtaken, settle, standing
from marketdata_assets.ticks.factor_sql import NAME, TradingDays, computed
from marketdata_assets.ticks.fallback import Provider, in_order
from marketdata_assets.ticks.load import HttpProvider, LoadOptions
from marketdata_assets.ticks.provider_factors import ProviderFactors
from marketdata_assets.ticks.records import Days
from marketdata_assets.ticks.reports import LoadReport, Unit, UnitReport
from marketdata_assets.ticks.table_writer import UnitWrite, land
from marketdata_assets.ticks.tables import FACTORS, TICK_DATA
from marketdata_assets.ticks.windows import last_closed

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SYMBOLS_A_PUBLISH = 1000

_PROVIDED = f"""
    SELECT toString(symbol) AS symbol, date, toString(factor) AS factor, value, toString(provider) AS provider
    FROM factors
    WHERE symbol IN %(symbols)s AND date BETWEEN %(first)s AND %(last)s AND provider != '{NAME}'"""


def compute(
    client: "Client",
    providers: Sequence[Provider],
    units: Iterable[Unit],
    *,
    options: LoadOptions | None = None,
    run_id: str,
    now: dt.datetime,
    progress: Progress | None = None,
    trading_days: TradingDays | None = None,
) -> LoadReport:
    """Make `factors` hold what follows from tick_data and what the providers have of `units`, and tell how each ended.

    Without a provider of factors only computed ones are made. Opens and closes the providers. Of `options`, refetch,
    accept_empty, workers, providers and turns count. Raises StoreAway when the ledger cannot be read at first.
    """
    days = trading_days or ashares().trading_days
    work = _Work(client, providers, options or LoadOptions(), run_id, now, progress, days)
    return asyncio.run(work.all(sorted(set(units))))


class _Work:
    """One computation under way."""

    def __init__(
        self,
        client: "Client",
        providers: Sequence[Provider],
        options: LoadOptions,
        run_id: str,
        now: dt.datetime,
        progress: Progress | None,
        trading_days: TradingDays,
    ) -> None:
        wanted = [one for one in providers if not options.providers or one.name in options.providers]
        self._client, self._providers, self._options = client, in_order(wanted, "factors"), options
        self._run_id, self._now, self._progress, self._trading_days = run_id, now, progress, trading_days
        self._began = time.monotonic()
        self._store = BatchRunner()
        self._told = BatchReport(0, None)
        self._actions: list[ProviderFactors] = []

    async def all(self, units: Sequence[Unit]) -> LoadReport:
        self._told = BatchReport(len(units), self._progress)
        months: dict[str, list[str]] = {}
        for symbol, month in units:
            months.setdefault(month, []).append(symbol)
        due = {month: self._due(month, symbols) for month, symbols in sorted(months.items())}
        async with AsyncExitStack() as opened:
            for provider in self._providers:
                if isinstance(provider, AbstractAsyncContextManager):
                    await opened.enter_async_context(provider)
            await self._ask_for_actions(due)
            for month, tasks in due.items():
                sent = await self._sent(month, tasks)
                for at in range(0, len(tasks), SYMBOLS_A_PUBLISH):
                    self._told.end(*self._landed(month, tasks[at : at + SYMBOLS_A_PUBLISH], sent))
        requests = sum(one.requests for one in self._providers if isinstance(one, HttpProvider))
        return LoadReport(self._told.in_order(), time.monotonic() - self._began, requests)

    # What there is to do.

    def _due(self, month: str, symbols: Sequence[str]) -> list[Task]:
        closed = self._closed(month)
        if not closed:
            for symbol in symbols:
                self._told.end(UnitReport(symbol, month, "empty", note=f"no day of {month} is closed yet"))
            return []
        both = ledger.entries(self._client, TICK_DATA.name, months_of(month), symbols)
        bars = {(load.source, load.unit): load for load in both}
        known = {load.source: load for load in ledger.entries(self._client, FACTORS.name, [month], symbols)}
        tasks = []
        for symbol in symbols:
            digest = bars_digest(bars.get((symbol, one)) for one in months_of(month))
            before = Inputs.of(known.get(symbol))
            task = Task(symbol, known.get(symbol), replace(before, bars=digest))
            asked = [one.name for one in self._providers if one.config.symbol_mapping.theirs(symbol)]
            same = before.bars == digest != PENDING and not before.missing(asked, str(closed[-1]))
            if same and task.known and not self._options.refetch:
                self._told.end(replace(standing(task, month), note="nothing has changed"))
            else:
                tasks.append(task)
        return tasks

    def _closed(self, month: str) -> list[dt.date]:
        """The trading days of a month that are over."""
        last = last_closed(self._now)
        return [day for day in self._trading_days(Days.month(month)) if day <= last]

    # What providers send.

    async def _ask_for_actions(self, due: Mapping[str, Sequence[Task]]) -> None:
        """Of all months at once: such an answer may go back to the listing."""
        months = [month for month, tasks in due.items() if tasks]
        if not months:
            return
        days = Days(Days.month(months[0]).first, self._closed(months[-1])[-1])
        symbols = sorted({task.symbol for tasks in due.values() for task in tasks})
        for provider in self._providers:
            if isinstance(provider, provider_factors.Actions):
                self._actions.append(await provider_factors.actions(provider, days, symbols, self._options.workers))

    async def _sent(self, month: str, tasks: Sequence[Task]) -> list[ProviderFactors]:
        symbols, closed = [task.symbol for task in tasks], self._closed(month)
        sent = [one.within(Days.month(month), symbols) for one in self._actions]
        daily = [one for one in self._providers if tasks and isinstance(one, provider_factors.Daily)]
        return sent + [await provider_factors.daily(one, closed, symbols, self._options.workers) for one in daily]

    # What lands.

    def _landed(self, month: str, tasks: Sequence[Task], sent: Sequence[ProviderFactors]) -> list[UnitReport]:
        return self._store.land([standing(task, month) for task in tasks], lambda: self._land(month, tasks, sent))

    def _land(self, month: str, tasks: Sequence[Task], sent: Sequence[ProviderFactors]) -> list[UnitReport]:
        symbols = [task.symbol for task in tasks]
        days = Days.month(month)
        tasks = self._as_they_stand(month, tasks)
        mine = [one.within(days, symbols) for one in sent]
        started = self._moment()
        fresh = computed(self._client, symbols, month, self._trading_days)
        bound = {"symbols": symbols, "first": days.first, "last": days.last}
        stands = clickhouse.read(self._client, _PROVIDED, bound).cast(FACTORS.columns)
        covered = min(days.last, last_closed(self._now))
        until = str(self._closed(month)[-1])
        run = Run(month, until, covered, self._options.accept_empty, self._run_id, started, self._moment())
        ended = settle(run, tasks, fresh, stands, mine)
        land(self._client, FACTORS, month, [one.landing for one in ended], turns=self._options.turns)
        lost = self._overtaken(month, [one.landing for one in ended if one.landing.frame is not None])
        reports = [one.report for one in ended]
        return [replace(one, outcome="failed", error=OVERTAKEN) if one.symbol in lost else one for one in reports]

    def _as_they_stand(self, month: str, tasks: Sequence[Task]) -> list[Task]:
        """The tasks with what the ledger says now: to ask providers may take long."""
        symbols = [task.symbol for task in tasks]
        known = {load.source: load for load in ledger.entries(self._client, FACTORS.name, [month], symbols)}
        return [
            Task(symbol, load := known.get(symbol), replace(Inputs.of(load), bars=task.inputs.bars))
            for symbol, task in zip(symbols, tasks, strict=True)
        ]

    def _overtaken(self, month: str, landings: Sequence[UnitWrite]) -> set[str]:
        """Symbols where somebody else landed after we had looked: what they had of a provider may be lost."""
        symbols = [one.symbol for one in landings]
        if not symbols:
            return set()
        now = {load.source: load for load in ledger.entries(self._client, FACTORS.name, [month], symbols)}
        lost = []
        for one in landings:
            stands, mine = now.get(one.symbol), one.load
            if stands is None or stands.content_hash != mine.content_hash:
                continue  # they came after us and look for themselves
            if stands.previous_hash not in (mine.previous_hash, mine.content_hash):
                lost.append(overtaken(one))
        if lost:
            land(self._client, FACTORS, month, lost, turns=self._options.turns)
        return {one.symbol for one in lost}

    def _moment(self) -> dt.datetime:
        return self._now + dt.timedelta(seconds=time.monotonic() - self._began)
