"""Deribit's book against a naive one: what is lost, repeated, moved or corrupted is noticed, and heals."""

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.exchanges.deribit.feed import DeribitFeed
from marketdata_assets.exchanges.records import DeadLetter, Gap, OrderBook, Outcome
from marketdata_demo.venues.deribit_messages import LINEAR, NS, OPTION, PERPETUAL, RECV, book, feed, grouped

KEY = f"book.raw:{PERPETUAL}"
LEVELS = 12


@dataclass
class Venue:
    """A book as the venue has it, in plain dictionaries, and the messages that it sends about it."""

    random: Random
    change_id: int = 0
    bids: dict[float, float] = field(default_factory=dict)
    asks: dict[float, float] = field(default_factory=dict)

    def snapshot(self) -> bytes:
        sides = [[["new", price, amount] for price, amount in side.items()] for side in (self.bids, self.asks)]
        return book(self.change_id, None, *sides)

    def change(self) -> bytes:
        """Some levels come, change and go; bids stay below 100, asks above."""
        before, self.change_id = self.change_id, self.change_id + self.random.randint(1, 9)
        told: list[list[Any]] = []
        for side, direction in ((self.bids, -1), (self.asks, 1)):
            entries = {}
            for _ in range(self.random.randint(0, 3)):
                price = 100.0 + direction * 0.5 * self.random.randint(1, LEVELS)
                if price not in entries:
                    entries[price] = self._touch(side, price)
            told.append(list(entries.values()))
        return book(self.change_id, before, *told)

    def _touch(self, side: dict[float, float], price: float) -> list[Any]:
        if price in side and self.random.random() < 0.5:
            del side[price]
            return ["delete", price, 0.0]
        action = "change" if price in side else "new"
        side[price] = float(self.random.randint(1, 10**6))
        return [action, price, side[price]]

    def best_first(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())


def held(one: DeribitFeed, key: str = KEY) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    bids, asks = one.books[key].book.levels()
    return [(float(price), float(size)) for price, size in bids], [(float(price), float(size)) for price, size in asks]


def gaps(made: list[Outcome]) -> list[Gap]:
    return [one for one in made if isinstance(one, Gap)]


def session(seed: int, changes: int = 30) -> tuple[Venue, list[bytes], list[Any]]:
    """Messages of a new venue, and its book after each."""
    venue = Venue(Random(seed))
    messages, books = [venue.snapshot()], [venue.best_first()]
    for _ in range(changes):
        messages.append(venue.change())
        books.append(venue.best_first())
    return venue, messages, books


@given(st.integers(0, 10**9))
def test_whole_session_keeps_the_book_of_the_venue(seed: int) -> None:
    _, messages, books = session(seed)
    one = feed()
    for number, (raw, expected) in enumerate(zip(messages, books, strict=True)):
        (record,) = one.push(raw, RECV + number)
        assert isinstance(record, OrderBook)
        assert record.kind == ("delta" if number else "snapshot")
        assert held(one) == expected
    state = one.books[KEY]
    assert (state.applied, state.gaps, state.status, one.resync_requests) == (30, 0, "live", {})


@given(st.integers(0, 10**9), st.integers(1, 29), st.sampled_from(["drop", "repeat", "swap", "again", "garbage"]))
def test_faults_are_noticed_before_anything_wrong_is_given_out_and_heal(seed: int, at: int, fault: str) -> None:
    venue, messages, books = session(seed)
    after = {
        json.loads(raw)["params"]["data"]["change_id"]: expected for raw, expected in zip(messages, books, strict=True)
    }
    faulty = list(messages)
    if fault == "drop":
        del faulty[at]
    elif fault == "repeat":
        faulty.insert(at + 1, messages[at])
    elif fault == "swap":
        faulty[at], faulty[at + 1] = faulty[at + 1], faulty[at]
    elif fault == "again":  # an old message comes once more, much later
        faulty.append(messages[at])
    else:
        faulty[at] = messages[at][:-7]
    one, found = feed(), []
    for number, raw in enumerate(faulty):
        made = one.push(raw, RECV + number)
        found += gaps(made)
        if any(isinstance(record, OrderBook) for record in made):
            assert held(one) == after[one.books[KEY].last_id]
    state = one.books[KEY]
    if fault in ("repeat", "again"):
        assert [gap.cause for gap in found] == ["repeat"]
        assert found[0].healed_at
        assert (state.status, held(one), one.resync_requests) == ("live", books[-1], {})
        return
    assert [(gap.cause, gap.healed_at) for gap in found] == [("sequence", None)]
    assert found[0].last_id == json.loads(messages[at - 1])["params"]["data"]["change_id"]
    assert state.status == "broken"
    (want,) = one.resync_requests.values()
    assert (want.instrument, want.stream, want.how) == (PERPETUAL, f"book.{PERPETUAL}.raw", "subscription")
    snapshot, healed = one.push(venue.snapshot(), RECV + 1000)
    assert isinstance(snapshot, OrderBook)
    assert isinstance(healed, Gap)
    assert healed.healed_at == RECV + 1000
    assert (healed.last_id, healed.next_id) == (found[0].last_id, found[0].next_id)
    (record,) = one.push(venue.change(), RECV + 1001)
    assert isinstance(record, OrderBook)
    assert (held(one), one.resync_requests) == (venue.best_first(), {})


@given(st.integers(0, 10**9))
def test_a_price_that_was_corrupted_is_noticed_by_the_time_its_level_is_touched(seed: int) -> None:
    messages = session(seed, 60)[1]
    one = feed()
    one.push(messages[0], RECV)
    corrupted: float | None = None
    for number, raw in enumerate(messages[1:]):
        message = json.loads(raw)
        data = message["params"]["data"]
        entries = [*data["bids"], *data["asks"]]
        if corrupted is None and data["bids"] and data["bids"][0][0] == "new":
            corrupted = data["bids"][0][1]
            data["bids"][0][1] = corrupted - 0.25  # at which no order ever is
            raw = json.dumps(message).encode()
            one.push(raw, RECV + number)
            continue
        touched = corrupted is not None and any(price == corrupted for _, price, _ in entries)
        found = gaps(one.push(raw, RECV + number))
        assert [gap.cause for gap in found] == (["actions"] if touched else [])
        if touched:
            assert one.books[KEY].status == "broken"
            return


@pytest.mark.parametrize("side", ["bids", "asks"])
def test_a_snapshot_that_lacks_a_level_is_noticed_when_the_level_goes(side: str) -> None:
    levels = {"bids": [["new", 100.0, 5.0], ["new", 99.0, 5.0]], "asks": [["new", 101.0, 5.0], ["new", 102.0, 5.0]]}
    gone = levels[side].pop()
    one = feed()
    one.push(book(5, None, **levels), RECV)
    (gap,) = gaps(one.push(book(6, 5, **{side: [["delete", gone[1], 0.0]]}), RECV + 1))
    assert (gap.cause, gap.last_id, gap.next_id) == ("actions", 5, 6)


def test_a_change_that_crosses_the_book_is_not_given_out() -> None:
    one = feed()
    one.push(book(5, None, [["new", 100.0, 5.0]], [["new", 101.0, 5.0]]), RECV)
    (gap,) = one.push(book(6, 5, [["new", 101.5, 5.0]]), RECV + 1)
    assert isinstance(gap, Gap)
    assert gap.cause == "crossed"
    assert one.push(book(7, 6, [["delete", 101.5, 0.0]]), RECV + 2) == []


def test_an_empty_book_and_the_first_order_in_it() -> None:
    one = feed()
    (empty,) = one.push(book(0, None), RECV)
    assert isinstance(empty, OrderBook)
    assert (empty.bids, empty.asks, empty.last_id) == ((), (), 0)
    assert one.books[KEY].book.bbo() == (None, None)
    (first,) = one.push(book(9, 0, [["new", 0.5, 1.0]]), RECV)
    assert isinstance(first, OrderBook)
    assert (first.prev_id, first.last_id, first.first_id) == (0, 9, None)


def test_changes_before_the_snapshot_are_dropped_and_a_new_subscription_is_wanted() -> None:
    one = feed()
    assert one.push(book(6, 5, [["new", 100.0, 5.0]]), RECV) == []
    assert one.books[KEY].dropped == 1
    assert list(one.resync_requests) == [KEY]
    assert [type(made) for made in one.push(book(6), RECV)] == [OrderBook]
    assert one.resync_requests == {}


@pytest.mark.parametrize(
    "raw",
    [
        book(6, None, [["change", 100.0, 5.0]]),
        book(6, 5, [["delete", 100.0, 5.0]]),
        book(6, 5, [["new", 100.0, 0.0]]),
        book(6, 5, [["moved", 100.0, 5.0]]),
        book(5, 5),
        book(5, 6),
        book(6, 5, [[100.0, 5.0]]),
        book(6, 5, [["new", 100.0]]),
        book(6, 5, type="other"),
        book(6, None, type="change"),
        book(-1),
        book(2**63, 5),
        book(6, 5)[:-5],
    ],
)
def test_a_message_that_cannot_be_used_puts_its_book_in_doubt(raw: bytes) -> None:
    one = feed()
    one.push(book(5, None, [["new", 99.0, 5.0]]), RECV)
    one.push(book(5, instrument=OPTION), RECV)
    letter, gap = one.push(raw, RECV + 1)
    assert isinstance(letter, DeadLetter)
    assert letter.raw == raw
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.last_id, gap.next_id) == ("sequence", 5, None)
    assert {key: state.status for key, state in one.books.items()} == {KEY: "broken", f"book.raw:{OPTION}": "live"}
    assert list(one.resync_requests) == [KEY]
    assert held(one) == ([(99.0, 5.0)], [])
    assert one.push(book(6, 5, [["new", 98.0, 1.0]]), RECV + 2) == []
    again = one.push(raw, RECV + 3)
    assert [type(made) for made in again] == [DeadLetter]  # one hole, one gap
    assert [type(made) for made in one.push(book(6), RECV + 4)] == [OrderBook, Gap]


def test_a_snapshot_of_a_live_book_from_its_own_connection_is_a_gap_unless_nothing_changed() -> None:
    """A silent subscription that was made again: what it did not deliver is missing."""
    one = feed()
    one.push(book(5, None, [["new", 99.0, 5.0]]), RECV)
    [same] = one.push(book(5, None, [["new", 99.0, 5.0]]), RECV + 1)
    assert isinstance(same, OrderBook)
    gap, whole, healed = one.push(book(8, None, [["new", 98.0, 1.0]]), RECV + 2)
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.last_id, gap.next_id, gap.ts_from, gap.ts_to) == ("sequence", 5, 8, RECV + 1, RECV + 2)
    assert isinstance(whole, OrderBook)
    assert isinstance(healed, Gap)
    assert healed.healed_at == RECV + 2
    assert [type(made) for made in one.push(book(9, None, [["new", 98.0, 1.0]]), RECV + 3, 2)] == [OrderBook]


def test_snapshots_of_before_2020_do_not_say_that_they_are() -> None:
    one = feed()
    old = json.loads(book(5, None, [["new", 99.0, 5.0]]))
    del old["params"]["data"]["type"]
    (record,) = one.push(json.dumps(old).encode(), RECV)
    assert isinstance(record, OrderBook)
    assert record.kind == "snapshot"


def test_a_new_socket_puts_its_own_books_in_doubt() -> None:
    one = feed()
    one.push(book(5), RECV, connection=0)
    one.push(book(5, instrument=OPTION), RECV, connection=1)
    (gap,) = one.reopened(RECV + 1, connection=0)
    assert isinstance(gap, Gap)
    assert (gap.instrument, gap.cause, gap.last_id) == (PERPETUAL, "reopened", 5)
    assert [want.instrument for want in one.resync_requests.values()] == [PERPETUAL]
    assert one.push(book(6, 5, instrument=OPTION), RECV + 2, connection=1) != []
    assert one.push(book(7, 5), RECV + 2) == []
    snapshot, healed = one.push(book(8), RECV + 3)
    assert isinstance(snapshot, OrderBook)
    assert isinstance(healed, Gap)
    assert healed.healed_at == RECV + 3
    assert one.resync_requests == {}


def test_two_channels_of_one_instrument_are_two_books() -> None:
    one = feed()
    one.push(book(5, None, [["new", 99.0, 5.0]]), RECV)
    one.push(book(7, None, [["new", 99.5, 5.0]], interval="100ms"), RECV)
    one.push(grouped(6, [[99.5, 5.0]], []), RECV)
    assert sorted(one.books) == [f"book.100ms:{PERPETUAL}", f"book.none.20.100ms:{PERPETUAL}", KEY]
    assert [type(made) for made in one.push(book(6, 5), RECV)] == [OrderBook]
    assert held(one, f"book.100ms:{PERPETUAL}") == ([(99.5, 5.0)], [])


def test_best_levels_come_whole_and_never_from_before() -> None:
    one = feed()
    first = one.push(grouped(7, [[99.5, 5.0]], [[100.0, 1.0]]), RECV)
    second = one.push(grouped(9, [[99.0, 2.0e3]], []), RECV)
    assert [type(made) for made in first + second] == [OrderBook, OrderBook]
    (gap,) = gaps(one.push(grouped(8, [[1.0, 1.0]], []), RECV))
    assert gap.cause == "repeat"
    key = f"book.none.20.100ms:{PERPETUAL}"
    assert held(one, key) == ([(99.0, 2000.0)], [])
    crossed = one.push(grouped(10, [[100.0, 1.0]], [[99.0, 1.0]]), RECV)
    assert [gap.cause for gap in gaps(crossed)] == ["crossed"]
    assert [type(made) for made in one.push(grouped(11, [], []), RECV)] == [OrderBook, Gap]


def test_units_of_levels_are_those_of_the_instrument() -> None:
    units = {}
    for instrument in (PERPETUAL, OPTION, LINEAR):
        (record,) = feed().push(book(5, instrument=instrument), RECV)
        assert isinstance(record, OrderBook)
        assert record.ts_event == NS
        units[instrument] = record.unit
    assert units == {PERPETUAL: "quote", OPTION: "base", LINEAR: "base"}
