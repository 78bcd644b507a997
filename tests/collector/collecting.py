"""A market of ours against a simulated venue: what it gave out, and waiting until something is so."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from marketdata_assets.budget import Budget, BudgetPlace
from marketdata_assets.collector.connections import Market, Shard, Timing, VenueAdapter, adapter_for
from marketdata_assets.collector.connections.state import ConnectionState, SubscriptionState
from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.records import AnyRecord, DeadLetter, Exchange, Gap, MarketType, Trade, VenueError
from marketdata_assets.exchanges.rest import Limits, Rest
from marketdata_assets.http_client import RetryPolicy
from marketdata_demo.venues.venue import Venue
from tests.collector.venue_client import numbers

T = TypeVar("T")

LONGEST = 20.0
"""Seconds that something may take on a busy machine."""

QUICK = Timing(
    connect=2.0,
    backoff=0.02,
    longest_backoff=0.2,
    settled=0.5,
    connects_per_second=100.0,
    pong_within=0.3,
    confirm=2.0,
    overlap=2.0,
    repeats=0.1,
    resubscribe=0.3,
    snapshot=0.3,
    before_snapshot=0.05,
    hole=0.5,
    tick=0.02,
    goodbye=0.5,
    rest=2.0,
)


class Hasty:
    """A adapter whose REST has no limits to speak of, so that tests need not wait for their turns."""

    def __init__(self, adapter: VenueAdapter) -> None:
        self._adapter = adapter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def rest(self, budgets: BudgetPlace, patience: RetryPolicy) -> Rest:
        rest = self._adapter.rest(budgets, patience)
        rest.limits = Limits(Budget(budgets, "hasty", 1.0, 100_000.0))
        return rest


@dataclass
class Run:
    """One market that runs, and all it said."""

    market: Market
    venue: Venue
    records: list[AnyRecord | Gap] = field(default_factory=list)
    trouble: list[DeadLetter | VenueError] = field(default_factory=list)
    wire: list[Entry] = field(default_factory=list)
    take: Callable[[list[AnyRecord | Gap]], None] | None = None  # instead of `records`

    def of(self, kind: type[T]) -> list[T]:
        return [one for one in self.records if isinstance(one, kind)]

    def gaps(self, stream: str = "", cause: str = "") -> list[Gap]:
        return [one for one in self.of(Gap) if one.stream.startswith(stream) and one.cause.startswith(cause)]

    def ids(self) -> list[tuple[str, int]]:
        """Instrument and number of each trade; an aggregate is known by the trade in it."""
        return [(one.instrument, number_of(one)) for one in self.of(Trade)]

    @property
    def connections(self) -> tuple[ConnectionState, ...]:
        return self.market.state().connections

    def subscription(self, key: str) -> SubscriptionState:
        return next(one for one in self.market.state().subscriptions if one.key == key)

    async def ready(self) -> None:
        """Until all is subscribed to."""
        await self.until(lambda: self._confirmed())

    def _confirmed(self) -> bool:
        listed = self.market.state().subscriptions
        return bool(listed) and all(one.status in ("confirmed", "stale") for one in listed)

    async def live(self) -> None:
        """Until every book is."""
        await self.ready()
        await self.until(lambda: len(self._live()) == len(self.market.instruments), emit=5)

    def _live(self) -> list[str]:
        return [one.instrument for one in self.market.state().books if one.status == "live"]

    async def emit(self, events: int) -> None:
        """Let so many events happen, and the venue say so."""
        await asyncio.get_running_loop().run_in_executor(None, self.venue.emit, events)

    async def caught_up(self) -> None:
        """Until every trade that happened is here, or in a gap."""
        await self.until(lambda: not self.missing())

    def missing(self) -> set[tuple[str, int]]:
        """Trades of the source that are neither here nor in a gap."""
        gaps = [one for one in self.of(Gap) if "rade" in one.stream]
        absent = {
            (name, made.number): made.at_ns
            for name, all_made in self.venue.source().trades.items()
            for made in all_made
            if name in self.market.instruments
        }
        for one in self.ids():
            absent.pop(one, None)
        return {
            one for one, at in absent.items() if not any(gap.instrument == one[0] and covers(gap, at) for gap in gaps)
        }

    def is_the_venues(self, name: str, best: int = 1000) -> bool:
        """Whether our book of an instrument is the venue's, or its best levels."""
        book, told = self.market.book(name), self.venue.markets[name].levels(best)
        return book is not None and [numbers(book.bids), numbers(book.asks)] == [numbers(side) for side in told]

    async def until(self, so: Callable[[], Any], *, emit: int = 0) -> None:
        """Wait for something, with so many events happening meanwhile each time it is looked for."""
        end = time.monotonic() + LONGEST
        while not so():
            assert time.monotonic() < end, f"{self.market.state()}\n{self.trouble[-3:]}"
            if emit:
                await self.emit(emit)
            await asyncio.sleep(0.02)


@asynccontextmanager
async def collecting(
    venue: Venue,
    exchange: Exchange,
    market_type: MarketType,
    symbols: Sequence[str],
    types: Sequence[str],
    budgets: BudgetPlace,
    *,
    shard: Shard | None = None,
    since: int | None = None,
    wire: bool = False,
    budgeted: bool = False,
    match_dollar_quotes: bool = False,
    depth: int | None = None,
    max_instruments: int | None = None,
    **timing: Any,
) -> AsyncIterator[Run]:
    """A market that collects, from its beginning to its orderly end; `budgeted` with the venue's own limits of REST."""
    adapter = adapter_for(exchange, market_type, rest_url=venue.url, socket_url=venue.ws_url, depth=depth)
    if not budgeted:
        adapter = Hasty(adapter)  # type: ignore[assignment]
    run = Run(None, venue)  # type: ignore[arg-type]
    run.market = Market(
        adapter,
        symbols,
        types,
        budgets=budgets,
        on_records=lambda made: (run.take or run.records.extend)(made),
        on_error=run.trouble.append,
        on_entry=run.wire.append if wire else None,
        shard=shard,
        timing=replace(QUICK, **timing),
        since=since,
        match_dollar_quotes=match_dollar_quotes,
        max_instruments=max_instruments,
    )
    task = asyncio.create_task(run.market.run())
    try:
        yield run
    finally:
        await run.market.stop()
        await task


def number_of(one: Trade) -> int:
    """The number of the trade at the venue."""
    return int(one.first_id or one.trade_id.rpartition("-")[2])


def covers(gap: Gap, at: int) -> bool:
    """Whether something that happened then, by this machine's clock, may have been in the hole."""
    return gap.ts_from - 50_000_000 <= at <= gap.ts_to
