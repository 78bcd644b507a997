"""Books of Bybit: what its rules say of snapshots and of numbers that begin anew."""

import json
from typing import Any

from marketdata_assets.exchanges.bybit.feed import BybitFeed
from marketdata_assets.exchanges.records import Gap, OrderBook, Outcome

Side = dict[int, str]


def push(feed: BybitFeed, kind: str, number: int, seq: int, bids: Side, asks: Side | None = None) -> list[Outcome]:
    """What a feed makes of a message, which is of the depth that spot has alone where the market is that."""
    rows = [[[str(tick), size] for tick, size in side.items()] for side in (bids, asks or {})]
    data = {"s": "ABCUSDT", "b": rows[0], "a": rows[1], "u": number, "seq": seq}
    topic = f"orderbook.{1 if feed.market_type == 'spot' else 50}.ABCUSDT"
    told: dict[str, Any] = {"topic": topic, "type": kind, "ts": seq, "data": data, "cts": seq}
    return feed.push(json.dumps(told, separators=(",", ":")).encode(), 1000 + seq)


def book_of(feed: BybitFeed) -> tuple[Side, Side] | None:
    """The book, where it is called live."""
    (state,) = feed.books.values()
    bids, asks = ({int(price): size for price, size in side} for side in state.book.levels())
    return (bids, asks) if state.status == "live" else None


def begun(number: int, seq: int = 1) -> BybitFeed:
    feed = BybitFeed("linear", strict=False)
    assert [type(one) for one in push(feed, "snapshot", number, seq, {100: "1"})] == [OrderBook]
    return feed


def test_a_restart_of_the_service_is_a_gap_that_its_snapshot_closes() -> None:
    feed = begun(500)
    push(feed, "delta", 501, 2, {101: "1"})
    opened, _, closed = push(feed, "snapshot", 1, 3, {102: "1"})
    assert isinstance(opened, Gap)
    assert isinstance(closed, Gap)
    assert (opened.cause, opened.last_id, opened.next_id, opened.healed_at) == ("sequence", 501, 1, None)
    assert closed.healed_at == closed.ts_to
    push(feed, "delta", 2, 4, {103: "1"})
    assert book_of(feed) == ({102: "1", 103: "1"}, {})


def test_a_restart_that_calls_its_snapshot_a_delta_replaces_the_book() -> None:
    feed = begun(10)
    push(feed, "delta", 1, 2, {105: "2"}, {121: "3"})
    assert book_of(feed) == ({105: "2"}, {121: "3"})


def test_messages_numbered_anew_without_a_snapshot_break_the_book() -> None:
    feed = begun(500, 70)
    (gap,) = push(feed, "delta", 8, 77, {100: "2"})
    assert isinstance(gap, Gap)
    assert (gap.healed_at, book_of(feed)) == (None, None)


def test_a_snapshot_that_repeats_the_book_or_follows_it_is_no_gap() -> None:
    feed = begun(10, 10)
    for number in (10, 11):
        assert [type(one) for one in push(feed, "snapshot", number, number, {100: "1"})] == [OrderBook]


def test_a_snapshot_of_depth_1_comes_again_while_nothing_changes() -> None:
    feed = BybitFeed("spot", strict=False)
    for _ in range(3):
        assert [type(one) for one in push(feed, "snapshot", 10, 1, {100: "1"}, {120: "2"})] == [OrderBook]


def test_delta_says_what_it_follows() -> None:
    (record,) = push(begun(10), "delta", 11, 2, {100: "0"})
    assert isinstance(record, OrderBook)
    assert (record.kind, record.first_id, record.last_id) == ("delta", 11, 11)
    assert record.bids == (("100", "0"),)
