"""One market of one venue, live: its list, its connections, its books kept whole, and its records to whoever asked.

All of it happens in one event loop. What a message becomes is the business of the venue's feed.
"""

import asyncio
import random
import re
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from marketdata_assets.budget import Budget
from marketdata_assets.collector.connections import views, watch
from marketdata_assets.collector.connections.connection import Connection
from marketdata_assets.collector.connections.errors import NotListed, UnknownDataTypes, UnknownSymbols
from marketdata_assets.collector.connections.intake import Intake, OnRecords, OnTrouble, OnWire
from marketdata_assets.collector.connections.jobs import NO_ANSWER, Job
from marketdata_assets.collector.connections.mending import Mending
from marketdata_assets.collector.connections.plan import Shard, parts
from marketdata_assets.collector.connections.speaking import AskFor, Request, Speaker, Subscription
from marketdata_assets.collector.connections.state import MarketState
from marketdata_assets.collector.connections.symbols import resolve
from marketdata_assets.collector.connections.timing import Timing
from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import OrderBook
from marketdata_assets.exchanges.rest import Rest
from marketdata_assets.http_client import RetryPolicy

LISTED_AGAIN = 10.0
"""Seconds; a symbol that is not known has the list asked for anew, but not more often."""


class Market:
    """Collects one market until it is stopped.

    `on_records` gets all records and gaps of one read or answer together, in order for each instrument; `on_trouble`
    what could not be read and what the venue complains of; `on_wire` everything that came and went. They are called in
    the event loop, and must neither block nor raise. `since` is until when (ns) an earlier run has kept everything:
    what may be missing from there on becomes gaps. Raises UnknownDataTypes.
    """

    def __init__(
        self,
        speaker: Speaker,
        symbols: Sequence[str],
        data_types: Collection[str],
        *,
        budgets: Path,
        on_records: OnRecords,
        on_trouble: OnTrouble | None = None,
        on_wire: OnWire | None = None,
        shard: Shard | None = None,
        timing: Timing | None = None,
        since: int | None = None,
    ) -> None:
        self.name = f"{speaker.exchange} {speaker.market_type}"
        unknown = [one for one in data_types if one not in speaker.data_types]
        if unknown:
            raise UnknownDataTypes(self.name, unknown, speaker.data_types)
        self.speaker, self.timing, self.shard = speaker, timing or Timing(), shard or Shard()
        self.unknown: list[str] = []  # symbols that the list does not have
        self._symbols, self._types = list(symbols), list(dict.fromkeys(data_types))
        self._budgets, self._since, self._on_wire = budgets, since, on_wire
        self.feed = speaker.feed()
        self._intake = Intake(speaker, self.feed, self.timing, self._types, on_records, on_trouble, on_wire)
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._places = 0
        self._mending = Mending(speaker, self.feed, self.timing, self._connection_of, self._ask)
        self._listing = Job("instruments", self.timing.listing, self._list, at_once=False)
        self._jobs = [self._listing, *(self._poll_job(*one) for one in speaker.polls(self._types).items())]
        self._listed_at = 0.0
        self._rest: Rest | None = None
        self._group: asyncio.TaskGroup | None = None
        self._stop = asyncio.Event()
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Collect until `stop` or until cancelled; nothing that a network or a venue does ends it."""
        patience = RetryPolicy(timeout=self.timing.rest, max_retries=3, backoff=self.timing.backoff)
        try:
            async with self.speaker.rest(self._budgets, patience) as self._rest, asyncio.TaskGroup() as group:
                self._group = group
                work = group.create_task(self._begin())
                await self._stop.wait()
                for task in (work, *self._connections.values()):
                    task.cancel()
        finally:
            self._group = self._rest = None
            self._over.set()

    async def stop(self) -> None:
        """Close the sockets in an orderly way and end `run`; nothing is called back afterwards."""
        if self._group is None:
            self._stop.set()
            return
        await asyncio.gather(*(one.stop() for one in self._connections))
        self._stop.set()
        await self._over.wait()

    async def add(self, symbols: Sequence[str]) -> list[str]:
        """Follow more instruments; the venue's names of those that are new and of this shard.

        Raises NotListed, and UnknownSymbols, then none is added.
        """
        if not self._listed_at or self._group is None:
            raise NotListed(self.name, self._listing.last_error or "it was asked for just now")
        found, unknown = self._resolved(symbols)
        if unknown and time.monotonic() - self._listed_at > LISTED_AGAIN and await self._listing.once():
            found, unknown = self._resolved(symbols)
        if unknown:
            raise UnknownSymbols(self.name, unknown)
        return self._follow(found)

    async def remove(self, symbols: Sequence[str]) -> list[str]:
        """Follow instruments no longer; the venue's names of those that were followed. Raises UnknownSymbols."""
        found, unknown = resolve(self._intake.names, self.speaker.market_type, symbols)
        if unknown:
            raise UnknownSymbols(self.name, unknown)
        names = [one.name for one in found]
        for name in names:
            del self._intake.names[name]
            self._intake.holes.forget(name)
        empty = self._unsubscribe()
        for name in names:
            self.feed.forget(name)
        await asyncio.gather(*map(self._close, empty))
        return names

    @property
    def instruments(self) -> list[str]:
        """The venue's names of what is followed."""
        return list(self._intake.names)

    def book(self, instrument: str) -> OrderBook | None:
        """The whole book of an instrument as a record; None when there is none to be believed."""
        if instrument not in self._intake.names:
            return None
        live = (one for one in self.feed.books.values() if one.instrument.name == instrument and one.status == "live")
        state = next(live, None)
        return views.snapshot(state) if state else None

    def watermark(self) -> int | None:
        """Where the oldest hole begins that no gap was given out for yet; ns."""
        return self._intake.holes.watermark()

    def state(self) -> MarketState:
        """All there is to know now."""
        intake, names = self._intake, self._intake.names
        ours = sum(one.market_type == self.speaker.market_type for one in self.feed.instruments.known.values())
        return MarketState(
            self.speaker.exchange,
            self.speaker.market_type,
            len(names),
            ours if self._listed_at else None,
            intake.dead_letters,
            intake.venue_errors,
            intake.repeats.dropped,
            intake.gaps,
            sum(want.instrument in names for want in self.feed.resync_requests.values()),
            tuple(one.state() for one in self._connections),
            views.subscriptions(self._connections),
            views.books(self.feed.books.values(), names),
            tuple(job.state() for job in self._jobs),
            tuple(self.unknown),
        )

    # Beginning.

    async def _begin(self) -> None:
        assert self._group
        failures = 0
        while not (await self._listing.once() and self._listed_at):
            failures += 1
            longest = min(self.timing.longest_backoff, self.timing.backoff * 2.0 ** min(failures, 30))
            await asyncio.sleep(longest * random.random())  # noqa: S311
        found, self.unknown = self._resolved(self._symbols)
        self._follow(found, self._since)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._mending.run())
            for job in self._jobs:
                group.create_task(job.run())

    async def _watch(self) -> None:
        while True:
            now = time.time_ns()
            for connection in list(self._connections):
                watch.look(connection, now)
            self._intake.look(now)
            await asyncio.sleep(self.timing.tick)

    # Requests.

    async def _ask(self, request: Request) -> None:
        """Ask, and take in the answer. Raises one of NO_ANSWER."""
        assert self._rest
        answer = await self._rest.get(request.path, request.params, lane=request.lane, cost=request.cost)
        if self._on_wire:
            self._on_wire(Entry(answer.ts_recv, "http", answer.raw, 0, answer.url))
        self._intake.told(self.feed.answer(answer.url, answer.raw, answer.ts_recv), answer.ts_recv)

    async def _list(self) -> None:
        for request in self.speaker.listings():
            await self._ask(request)
        if any(one.market_type == self.speaker.market_type for one in self.feed.instruments.known.values()):
            self._listed_at = time.monotonic()
        if self.unknown:
            found, self.unknown = self._resolved(self.unknown)
            self._follow(found)

    def _poll_job(self, data_type: str, ask_for: AskFor) -> Job:
        return Job(data_type, self.timing.polls[data_type], lambda: self._poll(ask_for))

    async def _poll(self, ask_for: AskFor) -> None:
        """Ask for each instrument, though some fail; then raise what the last one failed with."""
        failure: Exception | None = None
        for name in self.instruments:
            try:
                await self._ask(ask_for(name))
            except NO_ANSWER as error:
                failure = error
        if failure:
            raise failure

    # What is subscribed to.

    def _resolved(self, symbols: Sequence[str]) -> tuple[list[Instrument], list[str]]:
        return resolve(self.feed.instruments.known, self.speaker.market_type, symbols)

    def _follow(self, found: Iterable[Instrument], since: int | None = None) -> list[str]:
        intake, speaker = self._intake, self.speaker
        new = [one for one in found if one.name not in intake.names and self.shard.takes(one.exchange, one.name)]
        wanted: dict[str, Subscription] = {}
        for one in new:
            intake.names[one.name] = one
            self.feed.forget(one.name)
            wanted.update((each.key, each) for each in speaker.subscriptions(one, self._types))
        missing = [one for one in wanted.values() if one.key not in intake.subscribed]
        self._place(missing)
        if since is not None:
            for subscription in missing:
                intake.begin(subscription, "restarted", since)
        return [one.name for one in new]

    def _place(self, missing: Sequence[Subscription]) -> None:
        """Put subscriptions on sockets with room for them, and on new ones."""
        room = {one: self.speaker.most - len(one.subscriptions) for one in self._connections}
        rest = []
        for subscription in missing:
            connection = next((one for one, left in room.items() if left > 0 and one.url == subscription.url), None)
            if connection:
                room[connection] -= 1
                self._put(connection, subscription)
            else:
                rest.append(subscription)
        for part in parts(rest, self.speaker.most):
            connection = self._connection(part.url)
            for subscription in part.subscriptions:
                self._put(connection, subscription)
            assert self._group
            self._connections[connection] = self._group.create_task(connection.run())
        for connection in room:
            connection.flush()

    def _put(self, connection: Connection, subscription: Subscription) -> None:
        connection.add(subscription)
        self._intake.subscribed[subscription.key] = connection, subscription

    def _connection(self, url: str) -> Connection:
        self._places += 1
        rate = self.timing.connects_per_second or self.speaker.connects_per_second
        host = re.sub(r"[^A-Za-z0-9.-]", "_", urlsplit(url).netloc)
        connects = Budget(self._budgets, f"{host}.connections", 1.0 / rate, 1.0)
        return Connection(self._places, url, self.speaker, self.timing, self._intake, connects)

    def _unsubscribe(self) -> list[Connection]:
        """End what brings nothing that is followed; the connections that are for nothing any more."""
        subscribed, followed = self._intake.subscribed, self._intake.names.values()
        wanted = {each.key for one in followed for each in self.speaker.subscriptions(one, self._types)}
        ended: dict[Connection, list[str]] = {}
        for key in [key for key in subscribed if key not in wanted]:
            connection, _ = subscribed.pop(key)
            ended.setdefault(connection, []).append(key)
        for connection, keys in ended.items():
            connection.remove(keys)
        return [one for one in ended if not one.subscriptions]

    async def _close(self, connection: Connection) -> None:
        task = self._connections.pop(connection)
        await connection.stop()
        task.cancel()
        await asyncio.wait([task])

    def _connection_of(self, key: str) -> Connection | None:
        return self._intake.subscribed.get(key, (None, None))[0]
