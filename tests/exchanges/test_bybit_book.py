"""Books of Bybit against a plain one: whatever is lost, repeated or swapped, no wrong book is called live."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.exchanges.books import Book, BookState
from marketdata_assets.exchanges.bybit.feed import BybitFeed
from marketdata_assets.exchanges.captures.capture import open_capture
from marketdata_assets.exchanges.records import Control, DeadLetter, Gap, MarketType, OrderBook, Outcome, VenueError

TOPIC, KEY = "orderbook.50.ABCUSDT", "orderbook.50:ABCUSDT"
BIDS, ASKS = range(100, 120), range(120, 140)  # never crossed
FIRST = 500  # `u` of the first message
Sides = tuple[dict[int, str], dict[int, str]]

changes = st.lists(
    st.tuples(st.sampled_from([*BIDS, *ASKS]), st.sampled_from(["0", "1", "2.50", "30"])),
    min_size=1,
    max_size=4,
    unique_by=lambda change: change[0],
)
updates = st.lists(changes, min_size=3, max_size=8)


@dataclass
class Stream:
    """What Bybit sends of a book, and the book after each message. `renew` is a restart of its service."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    truth: list[Sides] = field(default_factory=list)
    number: int = FIRST - 1
    seq: int = 9_000

    @classmethod
    def of(cls, updates: Iterable[Sequence[tuple[int, str]]], restart_before: int = -1) -> "Stream":
        stream = cls()
        stream._add("snapshot", ({100: "1", 101: "7"}, {121: "4", 125: "0.3"}))
        for place, update in enumerate(updates):
            if place == restart_before:
                stream.number = 0
                stream._add("snapshot", stream.truth[-1])
            stream._add("delta", tuple({tick: size for tick, size in update if tick in side} for side in (BIDS, ASKS)))  # type: ignore[arg-type]
        return stream

    def snapshot(self, at: int) -> dict[str, Any]:
        """What a new subscription brings at that moment."""
        data = {**self.messages[at]["data"], "b": _rows(self.truth[at][0]), "a": _rows(self.truth[at][1])}
        return {**self.messages[at], "type": "snapshot", "data": data}

    def _add(self, kind: str, told: Sides) -> None:
        self.number, self.seq = self.number + 1, self.seq + 7
        before: Sides = ({}, {}) if kind == "snapshot" else self.truth[-1]
        self.truth.append((_changed(before[0], told[0]), _changed(before[1], told[1])))
        self.messages.append(message(kind, self.number, self.seq, *told))


def message(kind: str, number: int, seq: int, bids: dict[int, str], asks: dict[int, str]) -> dict[str, Any]:
    data = {"s": "ABCUSDT", "b": _rows(bids), "a": _rows(asks), "u": number, "seq": seq}
    return {"topic": TOPIC, "type": kind, "ts": 1_700_000_000_000 + seq, "data": data, "cts": 1_700_000_000_000 + seq}


def _rows(side: dict[int, str]) -> list[list[str]]:
    return [[str(tick), size] for tick, size in side.items()]


def _changed(side: dict[int, str], changes: dict[int, str]) -> dict[int, str]:
    return {tick: size for tick, size in {**side, **changes}.items() if Decimal(size)}


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


def _heals(stream: Stream, listener: Listener) -> None:
    """A book out of use asks for a subscription, whose snapshot brings it back and closes the gap."""
    if listener.state.status != "live":
        assert KEY in listener.feed.resync_requests
        listener.push(stream.snapshot(-1))
    assert listener.believes() == stream.truth[-1]
    assert listener.feed.resync_requests == {}
    assert listener.state.open_gap is None
    assert [gap for gap in listener.gaps if gap.healed_at is None] == [] or listener.gaps[-1].healed_at is not None


@given(updates, st.integers(-1, 5))
def test_a_stream_without_faults_is_the_plain_book_at_every_step(updates: list[Any], restart_before: int) -> None:
    stream, listener = Stream.of(updates, restart_before), Listener()
    for told, truth in zip(stream.messages, stream.truth, strict=True):
        record = listener.push(told)[-1]
        assert isinstance(record, OrderBook | Gap)
        assert listener.believes() == truth
    assert listener.state.applied == len(updates)


@given(updates, st.data())
def test_a_lost_message_never_leaves_a_wrong_book(updates: list[Any], data: st.DataObject) -> None:
    stream, listener = Stream.of(updates), Listener()
    lost = data.draw(st.integers(1, len(updates) - 1))
    for at, told in enumerate(stream.messages):
        if at != lost:
            listener.push(told)
        assert at == lost or listener.believes() in (None, stream.truth[at])
    (gap,) = listener.gaps
    assert (gap.cause, gap.last_id, gap.next_id) == ("sequence", FIRST + lost - 1, FIRST + lost + 1)
    _heals(stream, listener)


@given(updates, st.data())
def test_an_old_message_again_is_reported_and_changes_nothing(updates: list[Any], data: st.DataObject) -> None:
    stream, listener = Stream.of(updates), Listener()
    last = data.draw(st.integers(1, len(updates)))
    again = data.draw(st.integers(1, last))
    for at, told in enumerate(stream.messages):
        listener.push(told)
        if at == last:
            listener.push(stream.messages[again])
    (gap,) = listener.gaps
    assert gap.cause == "repeat"
    assert gap.healed_at == gap.ts_to
    assert listener.believes() == stream.truth[-1]


@given(updates, st.data())
def test_swapped_messages_are_found(updates: list[Any], data: st.DataObject) -> None:
    stream, listener = Stream.of(updates), Listener()
    first = data.draw(st.integers(1, len(updates) - 1))
    order = list(range(len(stream.messages)))
    order[first], order[first + 1] = order[first + 1], order[first]
    for at in order:
        listener.push(stream.messages[at])
    assert [gap.cause for gap in listener.gaps] == ["sequence"]
    _heals(stream, listener)


@given(updates, st.data())
def test_any_faults_over_two_connections_never_leave_a_wrong_book(updates: list[Any], data: st.DataObject) -> None:
    """Each message is delivered, lost, repeated, cut short or late; sockets are replaced and lost at any time."""
    stream, listener = Stream.of(updates, data.draw(st.integers(-1, len(updates) - 1))), Listener()
    connection = 1
    for at, told in enumerate(stream.messages):
        fault = data.draw(
            st.sampled_from(["none", "none", "none", "lost", "repeat", "old", "replace", "reopen", "cut"])
        )
        if fault == "replace":  # the new socket begins with a snapshot; the old one goes on for a while
            listener.push(stream.snapshot(at), connection + 1)
            if told["type"] == "delta":  # the collector takes nothing else from the old one by now
                listener.push(told, connection)
            connection += 1
        elif fault == "reopen":
            listener.outcomes += listener.feed.reopened(2000 + at, connection)
            connection += 1
            listener.push(stream.snapshot(at), connection)
        elif fault == "cut":
            raw = json.dumps(told, separators=(",", ":")).encode()
            listener.outcomes += listener.feed.push(raw[: len(raw) // 2 + 30], 3000 + at, connection)
        elif fault != "lost":
            listener.push(told, connection)
            if fault == "repeat":
                listener.push(told, connection)
            elif fault == "old":
                listener.push(stream.messages[data.draw(st.integers(0, at))], connection)
                if listener.believes() != stream.truth[at]:  # an old snapshot: Bybit sends none, and the next one heals
                    listener.push(stream.snapshot(at), connection)
        missed = fault in ("lost", "cut")
        assert missed or listener.believes() in (None, stream.truth[at])
    before = len(listener.gaps)
    listener.push(stream.snapshot(-1), connection)
    assert listener.believes() == stream.truth[-1]
    assert listener.state.open_gap is None
    assert len(listener.gaps) >= before


@given(updates)
def test_a_restart_of_the_service_is_a_gap_that_its_snapshot_closes(updates: list[Any]) -> None:
    stream, listener = Stream.of(updates, restart_before=1), Listener()
    for told in stream.messages:
        listener.push(told)
    opened, closed = listener.gaps
    assert (opened.cause, opened.last_id, opened.next_id, opened.healed_at) == ("sequence", FIRST + 1, 1, None)
    assert closed.healed_at == closed.ts_to
    assert listener.believes() == stream.truth[-1]
    assert listener.state.last_id == len(updates)


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


def test_delta_before_any_snapshot_is_dropped_and_a_subscription_wanted() -> None:
    listener = Listener()
    assert [type(one) for one in listener.push(message("delta", 5, 1, {100: "1"}, {}))] == [Control]
    assert (listener.state.status, listener.state.dropped) == ("waiting", 1)
    want = listener.feed.resync_requests[KEY]
    assert (want.instrument, want.stream, want.how) == ("ABCUSDT", "orderbook.50", "subscription")


def test_delta_says_what_it_follows() -> None:
    listener = Listener()
    listener.push(message("snapshot", 10, 1, {100: "1"}, {}))
    (record,) = listener.push(message("delta", 11, 2, {100: "0"}, {}))
    assert isinstance(record, OrderBook)
    assert (record.kind, record.first_id, record.last_id) == ("delta", 11, 11)
    assert record.bids == (("100", "0"),)


@pytest.mark.parametrize("row", [["x", "1"], ["100", ""], ["100"], ["100", 5], "100", ["100", "-1"], ["1e999", "1"]])
def test_message_that_cannot_be_read_takes_its_book_out_of_use(row: Any) -> None:
    listener = Listener()
    listener.push(message("snapshot", 10, 1, {100: "1"}, {}))
    bad = message("delta", 11, 2, {}, {})
    bad["data"]["b"] = [row]
    assert [type(one) for one in listener.push(bad)] == [DeadLetter, Gap]
    assert listener.believes() is None
    assert KEY in listener.feed.resync_requests


def test_crossed_book_is_taken_out_of_use() -> None:
    listener = Listener()
    listener.push(message("snapshot", 10, 1, {100: "1"}, {121: "1"}))
    (gap,) = listener.push(message("delta", 11, 2, {125: "1"}, {}))
    assert isinstance(gap, Gap)
    assert gap.cause == "crossed"
    assert listener.believes() is None


@pytest.mark.parametrize("far", ["0.100000000000000000001", "12345678901234567.5"])
def test_prices_with_more_digits_than_a_float_keeps_are_told_apart(far: str) -> None:
    feed, near = BybitFeed("linear", strict=False), f"{far[:-1]}2"
    for number, kind, row in ((1, "snapshot", [far, "1"]), (2, "delta", [near, "2"]), (3, "delta", [far, "0"])):
        told = message(kind, number, number, {}, {})
        told["data"]["b"] = [row]
        feed.push(json.dumps(told).encode(), number)
    assert feed.books[KEY].book.levels() == ([(near, "2")], [])


# Recorded traffic.


@pytest.mark.parametrize("market_type", ["spot", "linear"])
def test_recorded_books_equal_plain_ones_at_every_message(fixtures: Path, market_type: MarketType) -> None:
    """All messages are read with the recorded list of instruments, and every book has the levels of a plain one."""
    path = fixtures / "bybit" / f"{market_type}.ndjson"
    if not path.is_file():
        pytest.skip(f"no recorded traffic of Bybit: {path}")
    feed, plain, checked = BybitFeed(market_type), dict[str, PlainBook](), 0
    for recv, raw, url in _recorded(path):
        made = feed.answer(url, raw, recv) if url else feed.push(raw, recv)
        assert not [one for one in made if isinstance(one, DeadLetter | Gap | VenueError)]
        told = json.loads(raw)
        if "orderbook" in told.get("topic", ""):
            topic, _, name = told["topic"].rpartition(".")
            book = plain.setdefault(name, PlainBook())
            book.take(told)
            assert book.equals(feed.books[f"{topic}:{name}"].book)
            checked += 1
    assert checked > 500


class PlainBook:
    """A book as two dicts of decimals, which knows no rule but: set, or take away."""

    def __init__(self) -> None:
        self.sides: tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]] = ({}, {})

    def take(self, told: dict[str, Any]) -> None:
        if told["type"] == "snapshot":
            self.sides = ({}, {})
        for side, levels in zip(self.sides, (told["data"]["b"], told["data"]["a"]), strict=True):
            for price, size in levels:
                side[Decimal(price)] = Decimal(size)
                if not Decimal(size):
                    del side[Decimal(price)]

    def equals(self, book: Book) -> bool:
        ours = [[(Decimal(price), Decimal(size)) for price, size in side] for side in book.levels()]
        return ours == [sorted(self.sides[0].items(), reverse=True), sorted(self.sides[1].items())]


def _recorded(path: Path) -> Iterator[tuple[int, bytes, str]]:
    for entry in open_capture(path).entries():
        if entry.kind in ("in", "http"):
            yield entry.ts_recv, entry.raw, entry.url if entry.kind == "http" else ""
