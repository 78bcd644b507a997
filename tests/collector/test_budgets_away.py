"""The store of the budgets goes away below a market: nothing is sent without a turn, and what is missed is in gaps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from marketdata_assets.budget import Budget, BudgetUnavailable
from marketdata_demo.venues.venue import Venue
from tests.collector.collecting import Run, collecting
from tests.collector.in_loop import in_loop
from tests.collector.market_cases import BINANCE, MAIN
from tests.recorded_budgets import RecordedBudgets


class Store(RecordedBudgets):
    """A store that does not answer while it is `away`; `refused` counts who asked it meanwhile."""

    away, refused = False, 0

    async def take(self, budget: Budget, cost: float) -> float:
        if self.away:
            self.refused += 1
            raise BudgetUnavailable("postgresql://db", "connection refused")
        return await super().take(budget, cost)


@asynccontextmanager
async def market(store: Store) -> AsyncIterator[tuple[Run, Venue]]:
    names = list(BINANCE.names)
    with BINANCE.open(names) as venue:
        async with collecting(venue, BINANCE.exchange, BINANCE.market_type, names, MAIN, store) as run:
            yield run, venue


def failing(run: Run) -> bool:
    return any(one.failures > 2 and "BudgetUnavailable" in one.last_error for one in run.connections)


@in_loop
async def test_no_socket_is_opened_while_the_store_is_away_and_all_is_accounted_for_after_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    async with market(store) as (run, venue):
        await run.live()
        await run.emit(50)
        await run.caught_up()
        store.away, turns = True, {name: list(moments) for name, moments in store.turns.items()}
        venue.hang_up()
        await run.until(lambda: failing(run), emit=5)
        assert store.turns == turns
        store.away = False
        await run.live()
        await run.emit(50)
        await run.caught_up()
        assert len(run.ids()) == len(set(run.ids()))


@in_loop
async def test_a_market_starts_as_soon_as_the_store_answers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.away = True
    async with market(store) as (run, venue):
        await run.until(lambda: store.refused > 1, emit=5)
        assert (venue.requests, run.records, run.connections) == (0, [], ())
        store.away = False
        await run.live()
        await run.emit(20)
        await run.caught_up()
