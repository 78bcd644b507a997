"""One market of one venue, live: its instrument list, its connections, its books, and its records to the callbacks.

All of it runs in one event loop. What a message becomes is decided in the venue's feed.
"""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from urllib.parse import urlsplit

from marketdata_assets.backoff import delay
from marketdata_assets.budget import Budget, BudgetPlace
from marketdata_assets.collector.connections import liveness
from marketdata_assets.collector.connections.book_recovery import BookRecovery
from marketdata_assets.collector.connections.clock import Clock
from marketdata_assets.collector.connections.connection import NS, Connection, Timing
from marketdata_assets.collector.connections.dispatcher import Dispatcher, OnEntry, OnError, OnRecords
from marketdata_assets.collector.connections.selection import Selection, Shard
from marketdata_assets.collector.connections.socket import Network, RateWindow
from marketdata_assets.collector.connections.state import BookView, Change, JobState, MarketState, snapshot_of
from marketdata_assets.collector.errors import NotListed, UnknownSymbols
from marketdata_assets.collector.items import TAGS
from marketdata_assets.collector.symbols import is_pattern, resolve_symbols
from marketdata_assets.exchanges.books import BookState
from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.errors import VenueRateLimited
from marketdata_assets.exchanges.instruments import Instrument, ListedStates
from marketdata_assets.exchanges.records import InstrumentState, Level, OrderBook
from marketdata_assets.exchanges.rest import Rest
from marketdata_assets.exchanges.venue_adapter import (
    REQUEST_ERRORS,
    Request,
    RequestFor,
    Subscription,
    VenueAdapter,
    request_list,
)
from marketdata_assets.http_client import RetryPolicy
from marketdata_assets.loading.reports import and_more
from marketdata_assets.logs import get_logger

log = get_logger(__name__)

RELIST_SECONDS = 10.0
"""An unknown symbol refreshes the instrument list, but not more often than this."""

RELIST_UNKNOWN_SECONDS = 600.0
"""So often the list is requested while a configured symbol is not traded; a venue in maintenance trades none."""

INCOMPLETE = "a part of the list was rejected or cannot be read (see dead-letters.ndjson); nothing is delisted by it"

NAMED = 20
"""So many instruments of a change are named in the log."""


@dataclass
class Address:
    """The subscriptions of one address at a venue, which all its markets share."""

    most: int | None
    of_markets: list[Mapping[str, object]] = field(default_factory=list)

    @property
    def used(self) -> int:
        return sum(map(len, self.of_markets))

    @property
    def full(self) -> str:
        return f"not collected: {self.most:,} subscriptions can be planned for an address, {self.used:,} are in use"


@dataclass(eq=False)
class PeriodicJob:
    """Runs `act` every `state.every_seconds` seconds over REST: a poll, or the instrument list.

    A failure waits for the next turn.
    """

    market: str
    state: JobState
    act: Callable[[], Awaitable[str | None]]  # what is wrong with an answer that could be used
    at_once: bool = True

    async def run(self) -> None:
        pause = 0.0 if self.at_once else self.state.every_seconds
        while True:
            self.state.next_at = time.time_ns() + int(pause * NS)
            await asyncio.sleep(pause)
            started = time.monotonic()
            await self.run_once()
            every = self.state.every_seconds * random.uniform(0.95, 1.0)  # noqa: S311 - no secret
            pause = max(0.0, every - (time.monotonic() - started))

    async def run_once(self) -> bool:
        """Run it now; whether it succeeded."""
        state = self.state
        state.last_at = time.time_ns()
        state.runs += 1
        try:
            state.last_error = await self.act()
        except REQUEST_ERRORS as error:
            state.failures += 1
            state.last_error = str(error)[:300]
            event = "rate_limited" if isinstance(error, VenueRateLimited) else "request_failed"
            log.warning(event, market=self.market, job=state.name, error=error, failures=state.failures)
            return False
        return True


class Market:
    """Collects one market until it is stopped.

    `on_records` receives all records and gaps of one read or response together, in order for each instrument;
    `on_error` unreadable messages and errors of the venue; `on_entry` everything sent and received. They are called in
    the event loop, and must neither block nor raise. `since` (ns) is the checkpoint of an earlier run: what may be
    missing from there on becomes gaps; `states` are those of its last list. `symbols` may be patterns, of at most
    `max_instruments` together. `data_types` are those of the venue's market; `config` validates them. Markets of one
    `address` share the subscriptions that it may have.
    """

    def __init__(
        self,
        adapter: VenueAdapter,
        symbols: Sequence[str],
        data_types: Collection[str],
        *,
        budgets: BudgetPlace,
        on_records: OnRecords,
        on_error: OnError | None = None,
        on_entry: OnEntry | None = None,
        shard: Shard | None = None,
        timing: Timing | None = None,
        network: Network | None = None,
        since: int | None = None,
        match_dollar_quotes: bool = False,
        max_instruments: int | None = None,
        clock: Clock | None = None,
        states: Iterable[InstrumentState] = (),
        address: Address | None = None,
    ) -> None:
        self.name, self.clock = adapter.name, clock or Clock()
        self.adapter, self.timing, self.shard = adapter, timing or Timing(), shard or Shard()
        shared = [rate for rate in adapter.message_rates if rate.by_address]  # by all shards too
        own = [replace(rate, limit=max(1, rate.limit // self.shard.count)) for rate in shared]
        self._windows = [RateWindow(rate) for rate in own]
        self._address = address or Address(adapter.address_subscriptions)
        self.network = network or Network()
        self.selection = Selection(adapter.market_type, list(symbols), match_dollar_quotes, max_instruments)
        self.states = ListedStates(adapter.market_type, {one.instrument: one for one in states})
        self._tried: Sequence[str] = ()  # symbols that are not followed yet
        self._types = list(dict.fromkeys(data_types))
        self._budgets, self._since, self._on_entry = budgets, since, on_entry
        self.feed = adapter.feed()
        self._books_of: dict[str, list[str]] = {}  # keys of feed.books by instrument
        self._books_indexed = 0  # so many books
        callbacks = on_records, on_error, on_entry
        self._dispatcher = Dispatcher(adapter, self.feed, self.timing, self._types, *callbacks, self.clock)
        self._address.of_markets.append(self._dispatcher.subscribed)
        self.connections: dict[Connection, asyncio.Task[None]] = {}  # with the task that runs it
        self._created = 0  # connections
        subscribed = self._dispatcher.subscribed
        self._book_recovery = BookRecovery(adapter, self.feed, self.timing, subscribed, self._ask, self.clock)
        listing = JobState("instruments", self.timing.listing)
        self._listing = PeriodicJob(self.name, listing, self._list, at_once=False)
        self._jobs = [self._listing]
        for data_type, request_for in adapter.polls(self._types).items():
            poll = JobState(data_type, self.timing.polls[data_type])
            self._jobs.append(PeriodicJob(self.name, poll, partial(self._poll, request_for)))
        self._listed_at = 0.0
        self._one_list = asyncio.Lock()  # at a time
        self._answered_at = 0  # ns, when the latest response was received
        self._before_listing = 0  # ns, when the latest list was requested; 0 before the first
        self._rest: Rest | None = None
        self._group: asyncio.TaskGroup | None = None
        self._stop = asyncio.Event()
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Collect until `stop` or until cancelled; no failure of a network or a venue ends it."""
        patience = RetryPolicy(
            timeout=self.timing.rest, max_retries=3, backoff=self.timing.backoff, proxy=self.network.proxy
        )
        try:
            async with self.adapter.rest(self._budgets, patience) as self._rest, asyncio.TaskGroup() as group:
                self._group = group
                work = group.create_task(self._work())
                await self._stop.wait()
                for task in (work, *self.connections.values()):
                    task.cancel()
        finally:
            self._group = self._rest = None
            self._over.set()

    async def stop(self) -> None:
        """Close the sockets gracefully and end `run`; no callback is called afterwards."""
        if self._group is None:
            self._stop.set()
            return
        await asyncio.gather(*(connection.stop() for connection in self.connections))
        self._stop.set()
        await self._over.wait()

    async def add(self, symbols: Sequence[str]) -> list[str]:
        """Follow more instruments; the venue's names of those that are new and of this shard.

        Raises NotListed, and UnknownSymbols, then none is added.
        """
        if not self._listed_at or self._group is None:
            cause = self._listing.state.last_error or "it was requested just now"
            raise NotListed(f"{self.name}: the instrument list has not arrived yet ({cause}). Retry in a few seconds.")
        resolved = self.selection.resolve(self.feed.instruments, symbols)
        relist, self._tried = resolved.problems and time.monotonic() - self._listed_at > RELIST_SECONDS, symbols
        if relist and await self._listing.run_once():
            resolved = self.selection.resolve(self.feed.instruments, symbols)
        if problems := resolved.problems | resolved.rejected:
            raise UnknownSymbols(self.name, problems)
        if left := self._fitting(resolved.instruments)[1]:
            raise UnknownSymbols(self.name, dict.fromkeys(left, self._address.full))
        self.selection.add(symbols)
        self._pace_listing()
        return self._follow(resolved.instruments)

    async def remove(self, symbols: Sequence[str]) -> list[str]:
        """Stop following instruments; the venue's names of those that were followed. Raises UnknownSymbols."""
        resolved = resolve_symbols(self._dispatcher.followed, self.adapter.market_type, symbols)
        followed = set(self.selection.symbols) & resolved.matched.keys()  # patterns, also without instruments
        if problems := {symbol: why for symbol, why in resolved.problems.items() if symbol not in followed}:
            raise UnknownSymbols(self.name, problems)
        names = [instrument.name for instrument in resolved.instruments]
        self.selection.exclude([*names, *resolved.matched])
        await self._unfollow(names)
        return names

    async def _unfollow(self, names: Sequence[str]) -> None:
        now = self.clock.time_ns()
        for name in names:
            self._dispatcher.unfollow(name, now)
        empty = self._unsubscribe() if names else []
        for name in names:
            self.feed.forget(name)
        await asyncio.gather(*map(self._close, empty))

    @property
    def instruments(self) -> list[str]:
        """The venue's names of the followed instruments."""
        return list(self._dispatcher.followed)

    def book(self, instrument: str) -> OrderBook | None:
        """The whole book of an instrument as a record; None when no valid book exists."""
        state = self._live_book(instrument)
        return snapshot_of(state) if state else None

    def top(self, instrument: str, levels: int) -> tuple[list[Level], list[Level]] | None:
        """The best levels of both sides of an instrument's book; None when no valid book exists."""
        state = self._live_book(instrument)
        return state.book.top(levels) if state else None

    def _live_book(self, instrument: str) -> BookState | None:
        if instrument not in self._dispatcher.followed:
            return None
        books = self.feed.books
        if len(books) != self._books_indexed:
            self._books_indexed, self._books_of = len(books), {}
            for key, state in books.items():
                self._books_of.setdefault(state.instrument.name, []).append(key)
        found = (books[key] for key in self._books_of.get(instrument, ()) if key in books)
        return next((state for state in found if state.status == "live"), None)

    def watermark(self) -> int | None:
        """Start of the oldest open gap that was not emitted yet; ns."""
        return self._dispatcher.watermark()

    def state(self) -> MarketState:
        dispatcher, followed = self._dispatcher, self._dispatcher.followed
        selection = self.selection
        return MarketState(
            self.adapter.exchange,
            self.adapter.market_type,
            len(followed),
            self._count_listed() if self._listed_at else None,
            dispatcher.counters,
            dispatcher.dedup.dropped,
            sum(resync.instrument in followed for resync in self.feed.resync_requests.values()),
            tuple(one.state() for one in self.connections),
            tuple(state for one in self.connections for state in liveness.subscription_states(one)),
            tuple(BookView.of(one) for one in self.feed.books.values() if one.instrument.name in followed),
            tuple(replace(job.state) for job in self._jobs),
            tuple(f"{symbol} {why}" for symbol, why in selection.unknown.items()),
            tuple(selection.absent),
            dict(selection.matched),
            dict(selection.counts),
            tuple(selection.changes),
        )

    async def _work(self) -> None:
        assert self._group
        failures = 0
        while not (await self._listing.run_once() and self._listed_at):
            failures += 1
            await asyncio.sleep(delay(failures + 1, self.timing.backoff, self.timing.longest_backoff))
        absent = ", ".join(self.selection.absent)
        log.info("instruments_listed", market=self.name, followed=len(self._dispatcher.followed), absent=absent)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._check())
            group.create_task(self._book_recovery.run())
            group.create_task(self._record_books_always())
            group.create_task(self._unfollow_expired())
            for job in self._jobs:
                group.create_task(job.run())

    async def _check(self) -> None:
        while True:
            now = self.clock.steady_ns()
            for connection in list(self.connections):
                liveness.check(connection, now)
            self._dispatcher.check(now)
            await asyncio.sleep(self.timing.tick)

    async def _record_books_always(self) -> None:
        """Record all books at each multiple of the interval by UTC, so when a day begins too; busy ones more often."""
        every, recorded = round(self.timing.book_checkpoint * NS), dict[str, int]()
        last = self.clock.time_ns() // every
        while True:
            await asyncio.sleep(self.timing.tick)
            turn = self.clock.time_ns() // every  # an earlier one where the clock was set back
            for key, state in list(self.feed.books.items()):
                if turn != last or state.applied - recorded.get(key, 0) >= self.timing.book_checkpoint_updates:
                    recorded[key] = state.applied
                    self._record_book(state)
                    await asyncio.sleep(0)  # messages that wait come between
            last = turn

    def _record_book(self, state: BookState) -> None:
        """Emit a book as a record: as it was when its socket delivered anything for the last time."""
        sockets = (socket for one in self.connections for socket in (one.socket, one.replacement) if socket)
        socket = next((one for one in sockets if one.number == state.connection), None)
        last_at = self.clock.shown(socket.last_at) if socket else 0
        record = state.record(last_at) if last_at >= state.ts_last else None
        if record:
            self._dispatcher.emit([record])

    # REST requests.

    async def _ask(self, request: Request) -> bytes:
        """The response, which the feed has read. Raises one of REQUEST_ERRORS."""
        assert self._rest
        answer = await self._rest.get(request.path, request.params, lane=request.lane, cost=request.cost)
        if self._on_entry:
            self._on_entry(Entry(answer.ts_recv, "http", answer.raw, 0, answer.url))
        self._answered_at = answer.ts_recv
        self._dispatcher.emit(self.feed.answer(answer.url, answer.raw, answer.ts_recv))
        return answer.raw

    async def _list(self) -> str | None:
        """Request the list, and follow what it changes."""
        async with self._one_list:
            requested, before = self.clock.time_ns(), self._before_listing
            symbols = [*self.selection.symbols, *self._tried]
            await request_list(self.adapter, self.feed.instruments, self._ask, symbols)
            answered = self._answered_at
        if not self._count_listed():
            return None  # a venue in maintenance lists nothing
        if TAGS[InstrumentState] in self._types:
            states = self.states.changes(self.feed.instruments, answered)
            self._dispatcher.emit_states([one for one in states if self.shard.takes(one.exchange, one.instrument)])
            if len(self.feed.instruments.lists) > len(self.adapter.listings()):
                self.states.changed_at = 0  # the next run may not request the lists that symbols name
        self._listed_at, self._before_listing = time.monotonic(), requested
        wanted = self._wanted()
        if not before:
            self._follow(wanted, self._since)
            return self._incomplete()
        gone = self.selection.delisted(self.feed.instruments, self._dispatcher.followed)
        self._note("listed", self._follow(wanted, before, "listed"))
        self._note("delisted", gone)
        await self._unfollow(gone)
        return self._incomplete()

    def _incomplete(self) -> str | None:
        """Why nothing is delisted by the latest list; the dead letters have what could not be read."""
        return None if self.feed.instruments.whole else INCOMPLETE

    def _count_listed(self) -> int:
        instruments = self.feed.instruments
        return sum(instruments.known[name].market_type == self.adapter.market_type for name in instruments.listed)

    async def _unfollow_expired(self) -> None:
        """Stop following instruments that have expired, before their silence looks like a fault."""
        while True:
            latest = self.clock.time_ns() - int(self.timing.expired * NS)
            followed = self._dispatcher.followed.values()
            names = [one.name for one in followed if one.expires_at is not None and one.expires_at <= latest]
            self._note("expired", names)
            await self._unfollow(names)
            await asyncio.sleep(min(1.0, self.timing.expired))

    def _note(self, change: Change, names: Sequence[str]) -> None:
        if names:
            self.selection.note(change, names)
            named = ", ".join(names[:NAMED])
            log.info("instruments_changed", market=self.name, change=change, count=len(names), instruments=named)

    async def _poll(self, request_for: RequestFor) -> None:
        """Request each instrument, even if some fail; then raise the last failure."""
        failure: Exception | None = None
        for name in self.instruments:
            try:
                await self._ask(request_for(name))
            except REQUEST_ERRORS as error:
                failure = error
        if failure:
            raise failure

    # Subscriptions.

    def _wanted(self) -> list[Instrument]:
        """The listed instruments of all symbols, expired ones excepted; a symbol without one is logged once."""
        known = self.selection.unknown
        wanted = self.selection.wanted(self.feed.instruments)
        for symbol, why in self.selection.unknown.items():
            if symbol not in known:
                log.warning("symbol_not_collected", market=self.name, symbol=symbol, reason=why)
        self._pace_listing()
        now = self.clock.time_ns()
        return [one for one in wanted if one.expires_at is None or one.expires_at > now]

    def _pace_listing(self) -> None:
        """Set how often the list is requested."""
        timing = self.timing
        every = timing.pattern_listing if any(map(is_pattern, self.selection.symbols)) else timing.listing
        self._listing.state.every_seconds = min(every, RELIST_UNKNOWN_SECONDS if self.selection.unknown else every)

    def _follow(
        self, instruments: Iterable[Instrument], since: int | None = None, cause: str = "restarted"
    ) -> list[str]:
        """Subscribe to instruments; the names of those that are new.

        What may have happened from `since` (ns) on is a gap; of one that was delisted, since then.
        """
        dispatcher, adapter = self._dispatcher, self.adapter
        followed = dispatcher.followed
        new, left = self._fitting(instruments)
        wanted: dict[str, Subscription] = {}
        for instrument in new:
            followed[instrument.name] = instrument
            self.feed.forget(instrument.name)
            wanted.update((each.key, each) for each in adapter.subscriptions(instrument, self._types))
        missing = [one for one in wanted.values() if one.key not in dispatcher.subscribed]
        self._place(missing)
        if left:
            self.selection.unknown[and_more(left, 3)] = self._address.full
            log.warning("instruments_left_out", market=self.name, count=len(left), reason=self._address.full)
        dropped = {one.name: self.selection.dropped_at(one.name) for one in new}
        for subscription in missing:
            if begin := dropped.get(subscription.instrument) or since:
                dispatcher.begin_gap(subscription, cause, begin)
                dispatcher.begin_book_gap(subscription, cause, begin)
        return list(dropped)

    def _fitting(self, instruments: Iterable[Instrument]) -> tuple[list[Instrument], list[str]]:
        """Those of this shard that are not followed yet, and the names of those for which the address has no room."""
        followed, takes = self._dispatcher.followed, self.shard.takes
        new = [one for one in instruments if one.name not in followed and takes(one.exchange, one.name)]
        if self._address.most is None:
            return new, []
        room, fitting = self._address.most - self._address.used, list[Instrument]()
        for one in new:
            room -= len(self.adapter.subscriptions(one, self._types))
            if room >= 0:
                fitting.append(one)
        return fitting, [one.name for one in new[len(fitting) :]]

    def _place(self, missing: Sequence[Subscription]) -> None:
        """Assign subscriptions to connections with free capacity, and to new ones."""
        limit = self.adapter.max_subscriptions
        free = {one: limit - len(one.subscriptions) for one in self.connections}
        rest = []
        for subscription in missing:
            connection = next((one for one, left in free.items() if left > 0 and one.url == subscription.url), None)
            if connection:
                free[connection] -= 1
                self._assign(connection, subscription)
            else:
                rest.append(subscription)
        rate = self.timing.connects_per_second or self.adapter.connects_per_second
        for url, subscriptions in plan_sockets(rest, limit):
            assert self._group
            self._created += 1
            host = re.sub(r"[^A-Za-z0-9.-]", "_", urlsplit(url).netloc)
            connects = Budget(self._budgets, f"{host}.connections", 1.0 / rate, 1.0)
            connection = Connection(
                self._created, url, self.adapter, self.timing, self._dispatcher, connects, self._windows, self.network
            )
            for subscription in subscriptions:
                self._assign(connection, subscription)
            self.connections[connection] = self._group.create_task(connection.run())
        for connection in free:
            connection.flush()

    def _assign(self, connection: Connection, subscription: Subscription) -> None:
        connection.subscriptions[subscription.key] = subscription
        self._dispatcher.subscribed[subscription.key] = connection, subscription

    def _unsubscribe(self) -> list[Connection]:
        """Unsubscribe what no followed instrument needs; the connections that have no subscription left."""
        subscribed, followed = self._dispatcher.subscribed, self._dispatcher.followed.values()
        wanted = {each.key for one in followed for each in self.adapter.subscriptions(one, self._types)}
        ended: dict[Connection, list[str]] = {}
        for key in [key for key in subscribed if key not in wanted]:
            connection, _ = subscribed.pop(key)
            ended.setdefault(connection, []).append(key)
        for connection, keys in ended.items():
            connection.remove(keys)
        return [one for one in ended if not one.subscriptions]

    async def _close(self, connection: Connection) -> None:
        task = self.connections.pop(connection)
        await connection.stop()
        task.cancel()
        await asyncio.wait([task])


def plan_sockets(subscriptions: Iterable[Subscription], limit: int) -> list[tuple[str, list[Subscription]]]:
    """Spread subscriptions evenly over sockets of at most `limit`; those of one instrument stay together.

    The URL and the subscriptions of each socket.
    """
    by_url: dict[str, dict[str, Subscription]] = {}
    for subscription in subscriptions:
        by_url.setdefault(subscription.url, {})[subscription.key] = subscription
    plans = []
    for url, by_key in sorted(by_url.items()):
        each, count = list(by_key.values()), -(-len(by_key) // limit)
        bounds = [len(each) * at // count for at in range(count + 1)]
        plans += [(url, each[begin:end]) for begin, end in pairwise(bounds)]
    return plans
