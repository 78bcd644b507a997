"""Books of OKX: checksums of older recordings, and what its rules say of numbers that stay, jump or begin anew."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.exchanges.books import Book, BookState
from marketdata_assets.exchanges.okx.book import checksum
from marketdata_assets.exchanges.okx.feed import OkxFeed
from marketdata_assets.exchanges.records import DeadLetter, Gap, OrderBook, Outcome

KEY = "books:ABC-USDT"
ARG = {"channel": "books", "instId": "ABC-USDT"}
BIDS, ASKS = range(100, 120), range(120, 140)  # never crossed, and few enough for the checksum to see all of them
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
    """A snapshot and what changes after it, as OKX sent them before 2023, and the book after each."""

    messages: list[dict[str, Any]]
    truth: list[Sides]

    @classmethod
    def of(cls, updates: Sequence[Sequence[tuple[int, str]]]) -> "Stream":
        book: Sides = ({100: "1", 101: "7"}, {121: "4", 125: "0.3"})
        stream = cls([], [])
        stream._add(book, book)
        for update in updates:
            bids, asks = ({tick: size for tick, size in update if tick in side} for side in (BIDS, ASKS))
            book = _changed(book[0], bids), _changed(book[1], asks)
            stream._add((bids, asks), book)
        return stream

    def snapshot(self, at: int) -> dict[str, Any]:
        """What a new subscription brings at that moment."""
        return self._message(self.truth[at], self.truth[at], at, "snapshot")

    def _add(self, told: Sides, book: Sides) -> None:
        at = len(self.messages)
        self.truth.append(book)
        self.messages.append(self._message(told, book, at, "update" if at else "snapshot"))

    def _message(self, told: Sides, book: Sides, at: int, action: str) -> dict[str, Any]:
        one: dict[str, Any] = {"asks": _rows(told[1]), "bids": _rows(told[0]), "ts": str(1_700_000_000_000 + at)}
        one["checksum"] = naive_checksum(book)
        return {"arg": ARG, "action": action, "data": [one]}


class Listener:
    """A feed, and everything that it gave out."""

    def __init__(self) -> None:
        self.feed = OkxFeed(strict=False)
        self.outcomes: list[Outcome] = []
        self._now = 1000

    def push(self, message: dict[str, Any]) -> list[Outcome]:
        self._now += 1
        made = self.feed.push(json.dumps(message, separators=(",", ":")).encode(), self._now)
        self.outcomes += made
        return made

    def believes(self) -> Sides | None:
        """The book, where it is called live."""
        if self.state.status != "live":
            return None
        bids, asks = ({int(price): size for price, size in side} for side in self.state.book.levels())
        return bids, asks

    @property
    def state(self) -> BookState:
        return self.feed.books[KEY]

    @property
    def gaps(self) -> list[Gap]:
        return [one for one in self.outcomes if isinstance(one, Gap)]


@given(updates, st.sampled_from(["none", "lost", "again", "old", "swapped"]), st.data())
def test_faults_show_in_the_checksum(updates: list[Any], fault: str, data: st.DataObject) -> None:
    """Messages of before 2023 have no numbers; newer ones have no checksum."""
    stream, listener = Stream.of(updates), Listener()
    at = data.draw(st.integers(1, len(updates) - 1))
    order = list(range(len(stream.messages)))
    if fault == "swapped":
        order[at], order[at + 1] = order[at + 1], order[at]
    elif fault != "none":
        order = {
            "lost": [*order[:at], *order[at + 1 :]],
            "again": [*order[: at + 1], *order[at:]],
            "old": [*order, at],
        }[fault]
    _follow(stream, listener, order)
    causes = [gap.cause for gap in listener.gaps]
    if fault in ("none", "again"):
        assert causes == ([] if fault == "none" else ["repeat"])
        assert (listener.believes(), listener.state.applied) == (stream.truth[-1], len(updates))
        assert listener.state.checksum_ok == len(stream.messages)
        return
    assert causes == ["sequence"] or fault != "old"
    _heals(stream, listener)


@given(updates, st.data())
def test_one_changed_level_fails_the_checksum(updates: list[Any], data: st.DataObject) -> None:
    stream, listener = Stream.of(updates), Listener()
    one = stream.messages[data.draw(st.integers(0, len(updates)))]["data"][0]
    row = data.draw(st.sampled_from(one["bids"] + one["asks"]))
    row[1] = "9" if row[1] != "9" else "8"
    _follow(stream, listener, range(len(stream.messages)))
    assert [gap.cause for gap in listener.gaps] == ["checksum"]
    assert listener.state.checksum_bad == 1
    _heals(stream, listener)


@given(updates)
def test_half_a_snapshot_is_none(updates: list[Any]) -> None:
    stream, listener = Stream.of(updates), Listener()
    halves = [stream.snapshot(0), stream.snapshot(0)]
    halves[0]["data"][0]["asks"], halves[1]["data"][0]["bids"] = [], []
    for half in halves:
        listener.push(half)
        assert listener.believes() is None
    assert not [one for one in listener.outcomes if isinstance(one, OrderBook)]
    _heals(stream, listener)


def test_quiet_hours_and_maintenance_keep_the_chain() -> None:
    listener = Listener()
    for seq, prev in ((10, -1), (15, 10), (15, 15), (3, 15), (5, 3)):
        message = _message(
            [["100", str(seq), "0", "1"]], "snapshot" if prev == -1 else "update", seqId=seq, prevSeqId=prev
        )
        assert [type(one) for one in listener.push(message)] == [OrderBook]
    assert listener.state.last_id == 5
    assert listener.gaps == []


def test_updates_that_are_in_the_book_are_repeats_unless_they_are_of_a_later_time() -> None:
    """Of recordings that overlap; after maintenance numbers are smaller and times are later."""
    listener = Listener()

    def push(seq: int, prev: int, at: int) -> None:
        message = _message(
            [["100", str(seq), "0", "1"]], "snapshot" if prev == -1 else "update", seqId=seq, prevSeqId=prev
        )
        message["data"][0]["ts"] = str(1_700_000_000_000 + at)
        listener.push(message)

    for seq in (10, 11, 12, 13, 11, 12, 13, 14, 15):
        push(seq, seq - 1 if seq > 10 else -1, seq)
    assert listener.believes() == ({100: "15"}, {})
    assert [(gap.cause, gap.next_id, gap.healed_at is None) for gap in listener.gaps] == [
        ("repeat", seq, False) for seq in (11, 12, 13)
    ]
    push(5, 3, 16)  # the message that began the new numbering, 3 after 15, is lost
    assert [gap.cause for gap in listener.gaps[3:]] == ["sequence"]
    assert listener.believes() is None


def test_minus_one_makes_a_snapshot_of_an_update() -> None:
    listener = Listener()
    listener.push(_message([["100", "1", "0", "1"]], "snapshot", seqId=10, prevSeqId=-1))
    _, record, _ = listener.push(_message([["105", "2", "0", "1"]], "update", seqId=7, prevSeqId=-1))
    assert isinstance(record, OrderBook)
    assert (record.kind, record.last_id) == ("snapshot", 7)
    assert listener.believes() == ({105: "2"}, {})


def test_delta_says_what_it_follows() -> None:
    listener = Listener()
    listener.push(_message([["100", "1", "0", "1"]], "snapshot", seqId=10, prevSeqId=-1))
    (record,) = listener.push(_message([["100", "0", "0", "0"]], "update", seqId=12, prevSeqId=10))
    assert isinstance(record, OrderBook)
    assert (record.kind, record.first_id, record.last_id, record.prev_id) == ("delta", 12, 12, 10)
    assert record.bids == (("100", "0"),)
    assert record.unit == "base"


def test_action_must_be_one_that_is_documented() -> None:
    listener = Listener()
    message = _message([["100", "1", "0", "1"]], "partial")
    assert [type(one) for one in listener.push(message)] == [DeadLetter]
    del message["action"]
    (letter,) = listener.push(message)
    assert isinstance(letter, DeadLetter)
    assert "action" in letter.cause


@given(
    st.lists(st.tuples(st.integers(1, 99), st.integers(1, 9)), max_size=40, unique_by=lambda level: level[0]),
    st.lists(st.tuples(st.integers(100, 200), st.integers(1, 9)), max_size=40, unique_by=lambda level: level[0]),
)
def test_checksum_takes_turns_over_the_best_25(bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> None:
    book = Book()
    book.replace([(str(price), f"{size}.0") for price, size in bids], [(str(price), str(size)) for price, size in asks])
    sides = {price: f"{size}.0" for price, size in bids}, {price: str(size) for price, size in asks}
    assert checksum(book) == naive_checksum(sides)


def naive_checksum(book: Sides) -> int:
    """As the documentation words it."""
    bids, asks = sorted(book[0].items(), reverse=True)[:25], sorted(book[1].items())[:25]
    parts = [f"{price}:{size}" for pair in zip_longest(bids, asks) for price, size in filter(None, pair)]
    value = crc32(":".join(parts).encode())
    return value if value < 2**31 else value - 2**32


def _follow(stream: Stream, listener: Listener, order: Sequence[int]) -> None:
    """Push in that order. What is called live must be the truth, and a gap must be the end of the records."""
    for at in order:
        made = listener.push(stream.messages[at])
        believed = listener.believes()
        assert believed in (None, stream.truth[at])
        if believed is None:
            assert not [one for one in made if isinstance(one, OrderBook)]


def _heals(stream: Stream, listener: Listener) -> None:
    """A new subscription makes the book whole again, and says of the gap when that was."""
    open_gaps = [gap for gap in listener.gaps if gap.healed_at is None]
    assert (KEY in listener.feed.resync_requests) == (listener.believes() is None)
    made = listener.push(stream.snapshot(len(stream.truth) - 1))
    assert listener.believes() == stream.truth[-1]
    assert listener.feed.resync_requests == {}
    healed = [one for one in made if isinstance(one, Gap)]
    assert [(gap.cause, gap.ts_from) for gap in healed] == [(gap.cause, gap.ts_from) for gap in open_gaps]
    assert all(gap.healed_at and gap.healed_at > gap.ts_to for gap in healed)


def _changed(side: dict[int, str], change: dict[int, str]) -> dict[int, str]:
    return {tick: size for tick, size in {**side, **change}.items() if size != "0"}


def _rows(side: dict[int, str]) -> list[list[str]]:
    return [[str(tick), size, "0", "1"] for tick, size in side.items()]


def _message(bids: list[Any], action: str, asks: list[Any] | None = None, **ids: int) -> dict[str, Any]:
    one = {"asks": asks or [], "bids": bids, "ts": "1700000000000", "checksum": 0, **ids}
    return {"arg": ARG, "action": action, "data": [one]}
