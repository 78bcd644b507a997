"""Hyperliquid's books: each message is a whole book, the newest one wins, and messages out of order are recorded."""

import json
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.exchanges.books import Book
from marketdata_assets.exchanges.hyperliquid.feed import HyperliquidFeed
from marketdata_assets.exchanges.records import (
    Control,
    DeadLetter,
    Gap,
    OrderBook,
    Outcome,
)
from marketdata_demo.venues.live_market import Market

RECV = 1_700_000_000_000_000_000
MS = 1_000_000
KEY = "l2Book:ABC"


def level(price: str, size: str = "1") -> dict[str, Any]:
    return {"px": price, "sz": size, "n": 1}


def book(time: int, bid: str = "4.2", ask: str = "4.3", coin: str = "ABC") -> bytes:
    told = {"coin": coin, "time": time, "levels": [[level(bid), level("1")], [level(ask)]]}
    return json.dumps({"channel": "l2Book", "data": told}, separators=(",", ":")).encode()


@pytest.fixture
def feed() -> HyperliquidFeed:
    return HyperliquidFeed(strict=False)


def kinds(made: list[Outcome]) -> list[type]:
    return [type(one) for one in made]


def test_each_message_is_a_snapshot_of_its_own(feed: HyperliquidFeed) -> None:
    for time, bid in ((5, "4.2"), (6, "4.25"), (700, "4.1")):
        (record,) = feed.push(book(time, bid=bid), RECV + time)
        assert isinstance(record, OrderBook)
        assert (record.kind, record.ts_event, record.last_id) == ("snapshot", time * MS, None)
        assert feed.books[KEY].book.bbo() == ((bid, "1"), ("4.3", "1"))
    assert feed.books[KEY].status == "live"
    assert not feed.resync_requests


def test_the_same_message_over_two_sockets_is_one_record(feed: HyperliquidFeed) -> None:
    assert kinds(feed.push(book(5), RECV, connection=1)) == [OrderBook]
    assert kinds(feed.push(book(5), RECV, connection=2)) == [Control]
    assert kinds(feed.push(book(6), RECV, connection=2)) == [OrderBook]
    assert kinds(feed.push(book(6), RECV, connection=1)) == [Control]
    assert kinds(feed.push(book(5), RECV, connection=1)) == [Control]  # the socket that is behind
    assert feed.books[KEY].last_id is None
    assert feed.books[KEY].gaps == 0


def test_time_that_goes_back_on_a_socket_is_a_gap_until_the_next_message(feed: HyperliquidFeed) -> None:
    feed.push(book(5), RECV)
    (gap,) = feed.push(book(4, bid="4.0"), RECV + 1)
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.stream, gap.healed_at) == ("sequence", "l2Book", None)
    assert list(feed.resync_requests) == [KEY]
    record, healed = feed.push(book(4, bid="4.1"), RECV + 2)
    assert isinstance(record, OrderBook)
    assert isinstance(healed, Gap)
    assert healed.healed_at == RECV + 2
    assert not feed.resync_requests


def test_another_book_of_the_same_moment_replaces_the_first(feed: HyperliquidFeed) -> None:
    feed.push(book(5), RECV)
    assert kinds(feed.push(book(5, bid="4.25"), RECV)) == [OrderBook]
    assert feed.books[KEY].book.bbo()[0] == ("4.25", "1")


def test_a_crossed_book_is_a_gap_and_never_a_record(feed: HyperliquidFeed) -> None:
    feed.push(book(5), RECV)
    (gap,) = feed.push(book(6, bid="4.3"), RECV)
    assert isinstance(gap, Gap)
    assert gap.cause == "crossed"
    assert kinds(feed.push(book(7), RECV)) == [OrderBook, Gap]


def test_an_unreadable_book_invalidates_what_is_kept_of_the_coin(feed: HyperliquidFeed) -> None:
    feed.push(book(5), RECV)
    assert kinds(feed.push(book(6)[:60], RECV)) == [DeadLetter, Gap]
    assert kinds(feed.push(book(6, bid="nonsense"), RECV)) == [DeadLetter]  # nothing is left to invalidate
    assert kinds(feed.push(book(7), RECV)) == [OrderBook, Gap]


def test_a_new_socket_makes_books_wait_for_their_next_message(feed: HyperliquidFeed) -> None:
    feed.push(book(5), RECV, connection=1)
    feed.push(book(5, coin="DEF"), RECV, connection=2)
    (gap,) = feed.reopened(RECV + 1, connection=1)
    assert isinstance(gap, Gap)
    assert (gap.instrument, gap.cause) == ("ABC", "reopened")
    assert kinds(feed.push(book(4), RECV + 2, connection=3)) == [OrderBook, Gap]  # whichever time it has


def test_the_fast_book_is_another_one(feed: HyperliquidFeed) -> None:
    fast = book(6, bid="4.21").replace(b'"time":6', b'"time":6,"fast":true')
    renamed = book(7, bid="4.22").replace(b"l2Book", b"fastBook")
    for raw in (book(5), fast, renamed):
        assert kinds(feed.push(raw, RECV)) == [OrderBook]
    best = {key: state.book.bbo()[0] for key, state in feed.books.items()}
    assert best == {KEY: ("4.2", "1"), "fastBook:ABC": ("4.22", "1")}


class Naive:
    """A book as plain dicts, from the messages alone."""

    def __init__(self) -> None:
        self.time = -1
        self.sides: list[dict[Decimal, Decimal]] = [{}, {}]

    def take(self, raw: bytes) -> None:
        told = json.loads(raw)["data"]
        if told["time"] > self.time:
            self.time = told["time"]
            self.sides = [{Decimal(one["px"]): Decimal(one["sz"]) for one in side} for side in told["levels"]]


@given(st.integers(0, 10_000), st.lists(st.sampled_from(["send", "lose", "repeat", "behind"]), max_size=60))
def test_books_equal_a_naive_book_whatever_is_lost_or_repeated(seed: int, faults: list[str]) -> None:
    market, feed, naive, rng = Market("ABC", seed), HyperliquidFeed(strict=False), Naive(), random.Random(seed)
    sent: list[bytes] = []
    for number, fault in enumerate(faults):
        market.change(number, 0)
        bids, asks = market.levels(20)
        levels = [[level(*one) for one in side] for side in (bids, asks)]
        raw = json.dumps({"channel": "l2Book", "data": {"coin": "ABC", "time": number, "levels": levels}}).encode()
        told = {"send": [raw], "lose": [], "repeat": [raw, raw], "behind": [raw]}[fault]
        for one in told:
            feed.push(one, RECV + number, connection=1)
            naive.take(one)
        sent += told
        if fault == "behind" and sent:  # another socket tells of the past
            feed.push(rng.choice(sent), RECV + number, connection=2)
    if sent:
        state = feed.books[KEY]
        assert state.status == "live"
        assert state.gaps == 0
        assert sides_of(state.book) == naive.sides


def sides_of(book: Book) -> list[dict[Decimal, Decimal]]:
    return [{Decimal(price): Decimal(size) for price, size in side} for side in book.levels()]
