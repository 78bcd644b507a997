"""A venue's stream of book updates with faults in it, as each venue writes it, and a feed that reads it.

The venue is a naive book that keeps each of its states: what a feed calls live has to be that state, in the book that
it keeps and in the one that its records make. Snapshots come late, as they do. Nothing of the package is used to say
what is right.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any, Literal
from zlib import crc32

from bench.figure import Figure
from bench.size import sized
from marketdata_assets.exchanges.books import Feed
from marketdata_assets.exchanges.records import Gap, OrderBook
from marketdata_assets.exchanges.replay import feed_of

ROUNDS, STREAM = sized(33, 1), 300
"""Sessions of each venue, and updates of one session."""

Fault = Literal["none", "drop", "repeat", "swap", "garbage", "again", "reopen", "replace"]
Changes = list[tuple[int, int]]
State = tuple[dict[int, int], dict[int, int]]

MIDDLE = 5  # ticks up to this one are bids
CROSSING = 100  # and one from here on, which is above all offers
SECOND = 1_000_000_000


@dataclass
class Update:
    """One update of the venue."""

    prev: int
    first: int
    last: int
    before: State
    after: State
    changes: Changes


@dataclass
class World:
    """All updates of the venue, and its book after each. `jumps`: an update has several numbers."""

    jumps: bool = True
    updates: list[Update] = field(default_factory=list)
    states: dict[int, State] = field(default_factory=lambda: {100: ({}, {})})

    def add(self, changes: Changes) -> None:
        prev = self.updates[-1].last if self.updates else 100
        before = self.states[prev]
        after: State = (dict(before[0]), dict(before[1]))
        told = []
        for tick, size in dict(changes).items():
            side = after[not is_bid(tick)]
            if size or tick in side:
                told.append((tick, size))
            if size:
                side[tick] = size
            else:
                side.pop(tick, None)
        update = Update(prev, prev + 1, prev + 1 + len(told) * self.jumps, before, after, told)
        self.updates.append(update)
        self.states[update.last] = after


def is_bid(tick: int) -> bool:
    return not MIDDLE < tick < CROSSING


def sides(changes: Changes, write: Callable[[int, int], list[Any]]) -> tuple[list[Any], list[Any]]:
    return (
        [write(tick, size) for tick, size in changes if is_bid(tick)],
        [write(tick, size) for tick, size in changes if not is_bid(tick)],
    )


def split(changes: Changes) -> tuple[Changes, Changes]:
    return [one for one in changes if is_bid(one[0])], [one for one in changes if not is_bid(one[0])]


def texts(tick: int, size: int) -> list[Any]:
    return [f"{tick}.50", f"{size}.0"]


def binance(update: Update, futures: bool) -> bytes:
    bids, asks = sides(update.changes, texts)
    message = {"e": "depthUpdate", "E": 5, "s": "BTCUSDT", "U": update.first, "u": update.last, "b": bids, "a": asks}
    return json.dumps(message | ({"T": 4, "pu": update.prev} if futures else {})).encode()


def binance_snapshot(url: str, feed: Feed, last_id: int, state: State, moment: int) -> list[Any]:
    bids, asks = sides([*state[0].items(), *state[1].items()], texts)
    body = json.dumps({"lastUpdateId": last_id, "E": 5, "T": 4, "bids": bids, "asks": asks}).encode()
    return feed.answer(f"{url}?symbol=BTCUSDT&limit=1000", body, moment)


def okx(update: Update) -> bytes:
    return okx_message("update", update.prev, update.last, update.changes)


def okx_message(action: str, prev: int, last: int, changes: Changes) -> bytes:
    bids, asks = sides(changes, lambda tick, size: [f"{tick}.5", f"{size}", "0", "1"])
    data = {"asks": asks, "bids": bids, "ts": "5", "checksum": 0, "prevSeqId": prev, "seqId": last}
    return json.dumps({"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": action, "data": [data]}).encode()


def deribit(update: Update) -> bytes:
    def action(tick: int, size: int) -> list[Any]:
        known = tick in update.before[not is_bid(tick)]
        return ["change" if size and known else "new" if size else "delete", tick + 0.5, float(size)]

    bids, asks = sides(update.changes, action)
    return deribit_message({"type": "change", "prev_change_id": update.prev}, update.last, bids, asks)


def deribit_message(more: dict[str, Any], last: int, bids: list[Any], asks: list[Any]) -> bytes:
    data = {"timestamp": 5, "instrument_name": "BTC-PERPETUAL", "change_id": last, "bids": bids, "asks": asks, **more}
    params = {"channel": "book.BTC-PERPETUAL.raw", "data": data}
    return json.dumps({"jsonrpc": "2.0", "method": "subscription", "params": params}).encode()


def bybit(kind: str, number: int, changes: Changes) -> bytes:
    bids, asks = sides(changes, texts)
    data = {"s": "BTCUSDT", "b": bids, "a": asks, "u": number, "seq": 3 * number}
    return json.dumps({"topic": "orderbook.200.BTCUSDT", "type": kind, "ts": 5, "data": data, "cts": 4}).encode()


def kraken(kind: str, last: int, changes: Changes, state: State) -> bytes:
    """Messages have no number but their time, and a checksum of the book after them."""
    bids, asks = ([f'{{"price":{tick}.50,"qty":{size}.0}}' for tick, size in side] for side in split(changes))
    best = [*sorted(state[1].items()), *sorted(state[0].items(), reverse=True)]
    checksum = crc32("".join(f"{tick}50{size}0" for tick, size in best).encode())
    time = f"1970-01-01T00:00:00.{last:06}Z"
    data = f'"symbol":"BTC/USD","bids":[{",".join(bids)}],"asks":[{",".join(asks)}],"checksum":{checksum}'
    return f'{{"channel":"book","type":"{kind}","data":[{{{data},"timestamp":"{time}"}}]}}'.encode()


def coinbase(kind: str, last: int, changes: Changes) -> bytes:
    """The number is that of all messages of a connection, which are of this book alone."""
    time = f"1970-01-01T00:00:00.{last:06}Z"
    told = [("bid" if is_bid(tick) else "offer", f"{tick}.50", f"{size}.0") for tick, size in changes]
    levels = [{"side": side, "event_time": time, "price_level": p, "new_quantity": s} for side, p, s in told]
    event = {"type": kind, "product_id": "BTC-USD", "updates": levels}
    head = {"channel": "l2_data", "client_id": "", "timestamp": time, "sequence_num": last}
    return json.dumps({**head, "events": [event]}).encode()


@dataclass(frozen=True)
class Venue:
    """How a venue's feed is made, and how it says an update and a whole book."""

    feed: Callable[[], Feed]
    message: Callable[[Update], bytes]
    snapshot: Callable[..., list[Any]]
    jumps: bool = True
    by_channel: bool = True  # a subscription brings the snapshot, and its socket the changes of it
    lost: str = "sequence"  # and of one that does not come
    scale: int = 1  # so many of its numbers for one of the world's; times, of which a late message takes the next


def okx_snapshot(feed: Feed, last_id: int, state: State, moment: int, connection: int = 0) -> list[Any]:
    return feed.push(okx_message("snapshot", -1, last_id, [*state[0].items(), *state[1].items()]), moment, connection)


def deribit_snapshot(feed: Feed, last_id: int, state: State, moment: int, connection: int = 0) -> list[Any]:
    bids, asks = sides([*state[0].items(), *state[1].items()], lambda tick, size: ["new", tick + 0.5, float(size)])
    return feed.push(deribit_message({"type": "snapshot"}, last_id, bids, asks), moment, connection)


def bybit_snapshot(feed: Feed, last_id: int, state: State, moment: int, connection: int = 0) -> list[Any]:
    return feed.push(bybit("snapshot", last_id, [*state[0].items(), *state[1].items()]), moment, connection)


def kraken_snapshot(feed: Feed, last_id: int, state: State, moment: int, connection: int = 0) -> list[Any]:
    levels = [*state[0].items(), *state[1].items()]
    return feed.push(kraken("snapshot", last_id, levels, state), moment, connection)


def coinbase_snapshot(feed: Feed, last_id: int, state: State, moment: int, connection: int = 0) -> list[Any]:
    levels = [*state[0].items(), *state[1].items()]
    return feed.push(coinbase("snapshot", last_id, levels), moment, connection)


VENUES = {
    "spot": Venue(
        lambda: feed_of("binance", "spot", ""),
        lambda one: binance(one, futures=False),
        partial(binance_snapshot, "https://api.binance.com/api/v3/depth"),
        by_channel=False,
    ),
    "linear": Venue(
        lambda: feed_of("binance", "linear", ""),
        lambda one: binance(one, futures=True),
        partial(binance_snapshot, "https://fapi.binance.com/fapi/v1/depth"),
        by_channel=False,
    ),
    "okx": Venue(lambda: feed_of("okx", None, ""), okx, okx_snapshot),
    "deribit": Venue(lambda: feed_of("deribit", None, ""), deribit, deribit_snapshot),
    "bybit": Venue(
        lambda: feed_of("bybit", "linear", ""),
        lambda one: bybit("delta", one.last, one.changes),
        bybit_snapshot,
        jumps=False,
    ),
    "kraken": Venue(
        lambda: feed_of("kraken", "spot", ""),
        lambda one: kraken("update", one.last, one.changes, one.after),
        kraken_snapshot,
        lost="checksum",
        scale=1000,
    ),
    "coinbase": Venue(
        lambda: feed_of("coinbase", "spot", ""),
        lambda one: coinbase("update", one.last, one.changes),
        coinbase_snapshot,
        jumps=False,
        scale=1000,
    ),
}

FAULTS: list[Fault] = ["drop", "repeat", "swap", "garbage", "again", "reopen", "replace"]


@dataclass
class Session:
    """A feed under test, and the snapshot that is on its way to it."""

    venue: Venue
    world: World
    feed: Feed
    gaps: list[Gap] = field(default_factory=list)
    moment: int = 0
    due: int | None = None  # so many messages from now

    connection: int = 0
    records: int = 0
    rebuilt: tuple[dict[Decimal, str], dict[Decimal, str]] = field(default_factory=lambda: ({}, {}))

    def receive(self, raw: bytes) -> list[Any]:
        self.moment += SECOND
        return self._look(self.feed.push(raw, self.moment, self.connection))

    def reopen(self) -> None:
        self._look(self.feed.reopened(self.moment, self.connection))

    def replace(self, told: int) -> None:
        """A new socket, which begins with a whole book; the collector takes nothing more from the old one."""
        self.connection += 1
        if self.venue.by_channel:
            self.snapshot(told)

    def snapshot(self, told: int, time: int | None = None) -> list[Any]:
        """The venue's state `told`, said at another time where one is given."""
        more = {"connection": self.connection} if self.venue.by_channel else {}
        state = self.world.states[told]
        return self._look(self.venue.snapshot(self.feed, told if time is None else time, state, self.moment, **more))

    def heal(self, told: int, delay: int) -> None:
        """The snapshot that a book asks for, of the venue's state `told`, when its time has come."""
        books = self.feed.books.values()
        if books and all(one.status == "live" for one in books):
            assert not self.feed.resync_requests
            self.due = None
            return
        assert bool(books) == bool(self.feed.resync_requests)
        self.due = delay if self.due is None else self.due - 1
        if self.due <= 0:
            self.due = None
            self.snapshot(told)

    def _look(self, made: list[Any]) -> list[Any]:
        self.gaps += [one for one in made if isinstance(one, Gap)]
        for one in made:
            if isinstance(one, OrderBook):
                self.records += 1
                self._rebuild(one)
        for state in self.feed.books.values():
            if state.status == "live":
                assert state.last_id is not None
                venues = [numbers(levels_of(one)) for one in self.world.states[state.last_id // self.venue.scale]]
                assert [numbers(side) for side in state.book.levels()] == venues
                assert [numbers([*side.items()]) for side in self.rebuilt] == venues, "records make the book"
            else:
                assert not made or not isinstance(made[-1], OrderBook), "nothing of a broken book is given out"
        return made

    def _rebuild(self, record: OrderBook) -> None:
        for side, levels in zip(self.rebuilt, (record.bids, record.asks), strict=True):
            if record.kind == "snapshot":
                side.clear()
            side.update((Decimal(price), size) for price, size in levels)
            for price in [price for price, size in side.items() if not Decimal(size)]:
                del side[price]


def levels_of(side: dict[int, int]) -> list[tuple[str, str]]:
    return [(f"{tick}.5", f"{size}") for tick, size in side.items()]


def numbers(levels: list[tuple[Any, str]]) -> frozenset[tuple[Decimal, Decimal]]:
    return frozenset((Decimal(price), Decimal(size)) for price, size in levels)


def sent(messages: list[bytes], faults: list[Fault]) -> list[list[bytes]]:
    """What arrives in the place of each message."""
    arriving: list[list[bytes]] = []
    late: list[bytes] = []
    for at, (message, one) in enumerate(zip(messages, faults, strict=True)):
        if one == "swap" and not late:
            late = [message]
            arriving.append([])
            continue
        now = {"drop": [], "repeat": [message, message], "garbage": [message[:-9]]}.get(one, [message])
        now += [messages[max(0, at - 2)]] if one == "again" else []
        arriving.append([*now, *late])
        late = []
    return [*arriving[:-1], [*arriving[-1], *late]]


def run(name: str, world: World, faults: list[Fault], delays: list[int], connection: int = 0) -> Session:
    """A session in which each update has a fault, and a snapshot comes so many updates after it is needed."""
    session = Session(VENUES[name], world, VENUES[name].feed(), connection=connection)
    messages = sent([VENUES[name].message(one) for one in world.updates], faults)
    for update, arriving, fault, delay in zip(world.updates, messages, faults, delays, strict=True):
        if fault == "reopen":
            session.reopen()
        elif fault == "replace":
            session.replace(update.prev)
        for raw in arriving:
            session.receive(raw)
        session.heal(update.last, delay)
    return session


def figures() -> Iterator[Figure]:
    """How many sessions with random faults had a record or a live book that was not the venue's, or no record."""
    random, counts, wrong, faults = Random(7), dict.fromkeys(VENUES, 0), list[str](), 0
    for _ in range(ROUNDS):
        for name in VENUES:
            world = World(VENUES[name].jumps)
            for _ in range(STREAM):
                world.add([(random.randint(1, 2 * MIDDLE), random.randint(0, 3)) for _ in range(random.randint(1, 4))])
            chosen: list[Fault] = [random.choice(FAULTS) if random.random() < 0.3 else "none" for _ in range(STREAM)]
            faults += STREAM - chosen.count("none")
            try:
                records = run(name, world, chosen, [random.randint(0, 3) for _ in range(STREAM)]).records
                assert records, "no record at all"
                counts[name] += records
            except AssertionError as error:
                wrong.append(f"{name}: {error}")
    made = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    detail = f"{sum(counts.values()):,} records after {faults:,} faults of {len(FAULTS)} kinds, each compared: {made}"
    yield Figure("exchanges.wrong_books", len(wrong), "sessions", ("<=", 0), "; ".join([detail, *wrong[:3]]))
