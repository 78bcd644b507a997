"""Streams of invented updates with faults in them: a book that calls itself live is the book of the venue.

The venue is a naive book that keeps each of its states. Snapshots come late, as they do.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketdata_assets.exchanges.books import Feed
from marketdata_assets.exchanges.records import Gap, OrderBook
from marketdata_assets.exchanges.replay import feed_of

Fault = Literal["none", "drop", "repeat", "swap", "garbage"]
Changes = list[tuple[int, int]]
State = tuple[dict[int, int], dict[int, int]]

MIDDLE = 5  # ticks up to this one are bids
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
            side = after[tick > MIDDLE]
            if size or tick in side:
                told.append((tick, size))
            if size:
                side[tick] = size
            else:
                side.pop(tick, None)
        update = Update(prev, prev + 1, prev + 1 + len(told) * self.jumps, before, after, told)
        self.updates.append(update)
        self.states[update.last] = after


def sides(changes: Changes, write: Callable[[int, int], list[Any]]) -> tuple[list[Any], list[Any]]:
    return (
        [write(tick, size) for tick, size in changes if tick <= MIDDLE],
        [write(tick, size) for tick, size in changes if tick > MIDDLE],
    )


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
        known = tick in update.before[tick > MIDDLE]
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


@dataclass(frozen=True)
class Venue:
    """How a venue's feed is made, and how it says an update and a whole book."""

    feed: Callable[[], Feed]
    message: Callable[[Update], bytes]
    snapshot: Callable[[Feed, int, State, int], list[Any]]
    jumps: bool = True


def okx_snapshot(feed: Feed, last_id: int, state: State, moment: int) -> list[Any]:
    return feed.push(okx_message("snapshot", -1, last_id, [*state[0].items(), *state[1].items()]), moment)


def deribit_snapshot(feed: Feed, last_id: int, state: State, moment: int) -> list[Any]:
    bids, asks = sides([*state[0].items(), *state[1].items()], lambda tick, size: ["new", tick + 0.5, float(size)])
    return feed.push(deribit_message({"type": "snapshot"}, last_id, bids, asks), moment)


def bybit_snapshot(feed: Feed, last_id: int, state: State, moment: int) -> list[Any]:
    return feed.push(bybit("snapshot", last_id, [*state[0].items(), *state[1].items()]), moment)


VENUES = {
    "spot": Venue(
        lambda: feed_of("binance", "spot", ""),
        lambda one: binance(one, futures=False),
        partial(binance_snapshot, "https://api.binance.com/api/v3/depth"),
    ),
    "linear": Venue(
        lambda: feed_of("binance", "linear", ""),
        lambda one: binance(one, futures=True),
        partial(binance_snapshot, "https://fapi.binance.com/fapi/v1/depth"),
    ),
    "okx": Venue(lambda: feed_of("okx", None, ""), okx, okx_snapshot),
    "deribit": Venue(lambda: feed_of("deribit", None, ""), deribit, deribit_snapshot),
    "bybit": Venue(
        lambda: feed_of("bybit", "linear", ""),
        lambda one: bybit("delta", one.last, one.changes),
        bybit_snapshot,
        jumps=False,
    ),
}

CLEAN: list[Fault] = ["none"] * 4
changes = st.lists(st.tuples(st.integers(1, 2 * MIDDLE), st.integers(0, 3)), min_size=1, max_size=4)
fault = st.sampled_from(["none", "none", "none", "none", "drop", "repeat", "swap", "garbage"])
steps = st.lists(st.tuples(changes, fault, st.integers(0, 3)), min_size=3, max_size=30)


@dataclass
class Session:
    """A feed under test, and the snapshot that is on its way to it."""

    venue: Venue
    world: World
    feed: Feed
    gaps: list[Gap] = field(default_factory=list)
    moment: int = 0
    due: int | None = None  # so many messages from now

    def receive(self, raw: bytes) -> None:
        self.moment += SECOND
        self._look(self.feed.push(raw, self.moment))

    def heal(self, told: int, delay: int) -> None:
        """The snapshot that a book asks for, of the venue's state `told`, when its time has come."""
        books = self.feed.books.values()
        if books and all(one.status == "live" for one in books):
            self.due = None
            return
        self.due = delay if self.due is None else self.due - 1
        if self.due <= 0:
            self.due = None
            self._look(self.venue.snapshot(self.feed, told, self.world.states[told], self.moment))

    def _look(self, made: list[Any]) -> None:
        self.gaps += [one for one in made if isinstance(one, Gap)]
        for state in self.feed.books.values():
            if state.status == "live":
                assert state.last_id is not None
                venues = self.world.states[state.last_id]
                assert [numbers(side) for side in state.book.levels()] == [numbers(levels_of(one)) for one in venues]
            else:
                assert not [one for one in made if isinstance(one, OrderBook)], "nothing of a broken book is given out"


def levels_of(side: dict[int, int]) -> list[tuple[str, str]]:
    return [(f"{tick}.5", f"{size}") for tick, size in side.items()]


def numbers(levels: list[tuple[str, str]]) -> frozenset[tuple[Decimal, Decimal]]:
    return frozenset((Decimal(price), Decimal(size)) for price, size in levels)


def sent(messages: list[bytes], faults: list[Fault]) -> list[list[bytes]]:
    """What arrives in the place of each message."""
    arriving: list[list[bytes]] = []
    late: list[bytes] = []
    for message, one in zip(messages, faults, strict=True):
        if one == "swap" and not late:
            late = [message]
            arriving.append([])
            continue
        now = {"drop": [], "repeat": [message, message], "garbage": [message[:-9]]}.get(one, [message])
        arriving.append([*now, *late])
        late = []
    return [*arriving[:-1], [*arriving[-1], *late]]


@pytest.mark.parametrize("name", VENUES)
@settings(max_examples=60)
@given(steps)
def test_a_live_book_is_the_venues_book_whatever_happens(name: str, told: list[tuple[Changes, Fault, int]]) -> None:
    venue, world = VENUES[name], World(VENUES[name].jumps)
    for change, _, _ in told:
        world.add(change)
    for tick in (1, 10, 2, 9):  # and then nothing happens any more that is wrong
        world.add([(tick, 7)])
    session = Session(venue, world, venue.feed())
    faults: list[Fault] = [*(one for _, one, _ in told), *CLEAN]
    delays = [*(delay for _, _, delay in told), *(0 for _ in CLEAN)]
    for update, arriving, delay in zip(
        world.updates, sent([venue.message(one) for one in world.updates], faults), delays, strict=True
    ):
        for raw in arriving:
            session.receive(raw)
        session.heal(update.last, delay)
    (state,) = session.feed.books.values()
    assert (state.status, state.last_id) == ("live", world.updates[-1].last)
    assert state.gaps == len([gap for gap in session.gaps if gap.healed_at is None or gap.cause == "repeat"])
    healed = [gap for gap in session.gaps if gap.healed_at is not None]
    assert len(healed) == state.gaps, "every gap is healed in the end"


@pytest.mark.parametrize("one", ["drop", "repeat", "swap", "garbage"])
@pytest.mark.parametrize("name", VENUES)
def test_each_fault_in_a_live_stream_is_exactly_one_gap(name: str, one: Fault) -> None:
    venue, world = VENUES[name], World(VENUES[name].jumps)
    for number in range(10):
        world.add([(1 + number % 5, 1 + number % 3), (6 + number % 5, 2)])
    session = Session(venue, world, venue.feed())
    faults: list[Fault] = [*CLEAN, "none", one, *CLEAN]
    for update, arriving in zip(
        world.updates, sent([venue.message(one) for one in world.updates], faults), strict=True
    ):
        for raw in arriving:
            session.receive(raw)
        if update.last <= world.updates[2].last:
            session.heal(update.last, 0)
    opened = [gap for gap in session.gaps if gap.healed_at is None or gap.cause == "repeat"]
    assert [gap.cause for gap in opened] == ["repeat" if one == "repeat" else "sequence"]
    assert opened[0].last_id == world.updates[5 if one == "repeat" else 4].last
