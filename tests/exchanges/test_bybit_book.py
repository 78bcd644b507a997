"""Books of Bybit: what its rules say of snapshots and of numbers that begin anew, and recorded books."""

import json
from typing import Any

from marketdata_assets.exchanges.books import BookState
from marketdata_assets.exchanges.bybit.feed import BybitFeed
from marketdata_assets.exchanges.records import Gap, OrderBook, Outcome

TOPIC, KEY = "orderbook.50.ABCUSDT", "orderbook.50:ABCUSDT"
Sides = tuple[dict[int, str], dict[int, str]]


def message(kind: str, number: int, seq: int, bids: dict[int, str], asks: dict[int, str]) -> dict[str, Any]:
    data = {"s": "ABCUSDT", "b": _rows(bids), "a": _rows(asks), "u": number, "seq": seq}
    return {"topic": TOPIC, "type": kind, "ts": 1_700_000_000_000 + seq, "data": data, "cts": 1_700_000_000_000 + seq}


def _rows(side: dict[int, str]) -> list[list[str]]:
    return [[str(tick), size] for tick, size in side.items()]


class Listener:
    """A feed, and everything that it gave out."""

    def __init__(self) -> None:
        self.feed = BybitFeed("linear", strict=False)
        self.outcomes: list[Outcome] = []
        self._now = 1000

    def push(self, told: dict[str, Any], connection: int = 0) -> list[Outcome]:
        self._now += 1
        made = self.feed.push(json.dumps(told, separators=(",", ":")).encode(), self._now, connection)
        self.outcomes += made
        return made

    def believes(self) -> Sides | None:
        """The book, where it is called live."""
        if KEY not in self.feed.books or self.state.status != "live":
            return None
        bids, asks = ({int(price): size for price, size in side} for side in self.state.book.levels())
        return bids, asks

    @property
    def state(self) -> BookState:
        return self.feed.books[KEY]

    @property
    def gaps(self) -> list[Gap]:
        return [one for one in self.outcomes if isinstance(one, Gap)]


def test_a_restart_of_the_service_is_a_gap_that_its_snapshot_closes() -> None:
    listener = Listener()
    listener.push(message("snapshot", 500, 1, {100: "1"}, {}))
    listener.push(message("delta", 501, 2, {101: "1"}, {}))
    opened, _, closed = listener.push(message("snapshot", 1, 3, {102: "1"}, {}))
    assert isinstance(opened, Gap)
    assert isinstance(closed, Gap)
    assert (opened.cause, opened.last_id, opened.next_id, opened.healed_at) == ("sequence", 501, 1, None)
    assert closed.healed_at == closed.ts_to
    listener.push(message("delta", 2, 4, {103: "1"}, {}))
    assert listener.believes() == ({102: "1", 103: "1"}, {})


def test_a_restart_that_calls_its_snapshot_a_delta_replaces_the_book() -> None:
    listener = Listener()
    listener.push(message("snapshot", 10, 1, {100: "1"}, {}))
    listener.push(message("delta", 1, 2, {105: "2"}, {121: "3"}))
    assert listener.believes() == ({105: "2"}, {121: "3"})


def test_messages_numbered_anew_without_a_snapshot_break_the_book() -> None:
    listener = Listener()
    listener.push(message("snapshot", 500, 70, {100: "1"}, {}))
    (gap,) = listener.push(message("delta", 8, 77, {100: "2"}, {}))
    assert isinstance(gap, Gap)
    assert gap.healed_at is None
    assert listener.believes() is None


def test_a_snapshot_that_repeats_the_book_or_follows_it_is_no_gap() -> None:
    listener = Listener()
    for number in (10, 10, 11):
        assert [type(one) for one in listener.push(message("snapshot", number, number, {100: "1"}, {}))] == [OrderBook]
    assert listener.gaps == []


def test_a_snapshot_of_depth_1_comes_again_while_nothing_changes() -> None:
    feed = BybitFeed("spot", strict=False)
    one = {**message("snapshot", 10, 1, {100: "1"}, {120: "2"}), "topic": "orderbook.1.ABCUSDT"}
    for _ in range(3):
        assert [type(made) for made in feed.push(json.dumps(one).encode(), 1)] == [OrderBook]


def test_delta_says_what_it_follows() -> None:
    listener = Listener()
    listener.push(message("snapshot", 10, 1, {100: "1"}, {}))
    (record,) = listener.push(message("delta", 11, 2, {100: "0"}, {}))
    assert isinstance(record, OrderBook)
    assert (record.kind, record.first_id, record.last_id) == ("delta", 11, 11)
    assert record.bids == (("100", "0"),)
