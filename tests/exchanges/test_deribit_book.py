"""Deribit's books: what happened to each level shows a wrong book, and what makes a message contradict itself."""

import json

import pytest

from marketdata_assets.exchanges.deribit.feed import DeribitFeed
from marketdata_assets.exchanges.records import DeadLetter, Gap, OrderBook, Outcome
from marketdata_demo.venues.deribit_messages import LINEAR, NS, OPTION, PERPETUAL, RECV, book, feed, grouped

KEY = f"book.raw:{PERPETUAL}"


def held(one: DeribitFeed, key: str = KEY) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    bids, asks = one.books[key].book.levels()
    return [(float(price), float(size)) for price, size in bids], [(float(price), float(size)) for price, size in asks]


def gaps(made: list[Outcome]) -> list[Gap]:
    return [one for one in made if isinstance(one, Gap)]


def test_a_price_that_was_corrupted_is_noticed_when_its_level_is_touched() -> None:
    one = feed()
    one.push(book(5, None, [["new", 100.0, 5.0]]), RECV)
    one.push(book(6, 5, [["new", 98.75, 1.0]]), RECV + 1)  # it was 99.0
    (gap,) = gaps(one.push(book(7, 6, [["change", 99.0, 2.0]]), RECV + 2))
    assert (gap.cause, one.books[KEY].status) == ("actions", "broken")


@pytest.mark.parametrize("side", ["bids", "asks"])
def test_a_snapshot_that_lacks_a_level_is_noticed_when_the_level_goes(side: str) -> None:
    levels = {"bids": [["new", 100.0, 5.0], ["new", 99.0, 5.0]], "asks": [["new", 101.0, 5.0], ["new", 102.0, 5.0]]}
    gone = levels[side].pop()
    one = feed()
    one.push(book(5, None, **levels), RECV)
    (gap,) = gaps(one.push(book(6, 5, **{side: [["delete", gone[1], 0.0]]}), RECV + 1))
    assert (gap.cause, gap.last_id, gap.next_id) == ("actions", 5, 6)


def test_an_empty_book_and_the_first_order_in_it() -> None:
    one = feed()
    (empty,) = one.push(book(0, None), RECV)
    assert isinstance(empty, OrderBook)
    assert (empty.bids, empty.asks, empty.last_id) == ((), (), 0)
    assert one.books[KEY].book.bbo() == (None, None)
    (first,) = one.push(book(9, 0, [["new", 0.5, 1.0]]), RECV)
    assert isinstance(first, OrderBook)
    assert (first.prev_id, first.last_id, first.first_id) == (0, 9, None)


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


def test_snapshots_of_before_2020_do_not_say_that_they_are() -> None:
    one = feed()
    old = json.loads(book(5, None, [["new", 99.0, 5.0]]))
    del old["params"]["data"]["type"]
    (record,) = one.push(json.dumps(old).encode(), RECV)
    assert isinstance(record, OrderBook)
    assert record.kind == "snapshot"


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
