"""Recorded traffic of OKX: what is expected of it, what two connections have in common, and what faults in it show."""

import json
from collections import Counter
from collections.abc import Iterable
from heapq import merge
from pathlib import Path
from typing import Any

import msgspec
import pytest
from okx_captures import BOOKS_2022, CONN_A, CONN_B, FOLDER, Heard, heard

from marketdata_assets.exchanges.okx.feed import OkxFeed
from marketdata_assets.exchanges.records import Control, DeadLetter, Gap, OrderBook, Outcome, Trade, VenueError

CAPTURES = (CONN_A, CONN_B, BOOKS_2022)


@pytest.fixture(scope="module")
def expected(fixtures: Path) -> dict[str, Any]:
    everything = json.loads((fixtures / "EXPECTED_captures.json").read_bytes())
    return {name: everything[f"{FOLDER}/{name}"] for name in CAPTURES}


def replayed(messages: Iterable[Heard], feed: OkxFeed | None = None) -> tuple[OkxFeed, list[Outcome]]:
    feed = feed or OkxFeed(strict=False)
    return feed, [outcome for one in messages for outcome in feed.push(one.raw, one.ts_recv)]


@pytest.mark.parametrize("name", CAPTURES)
def test_books_end_as_expected(fixtures: Path, expected: dict[str, Any], name: str) -> None:
    feed, outcomes = replayed(heard(fixtures, name))
    assert not [one for one in outcomes if isinstance(one, (Gap, DeadLetter, VenueError))]
    assert feed.books.keys() == expected[name]["books"].keys()
    assert feed.resync_requests == {}
    for key, book in expected[name]["books"].items():
        state, final = feed.books[key], book["final"]
        assert (state.status, state.gaps, state.dropped) == ("live", 0, 0)
        assert (state.checksum_ok, state.checksum_bad) == (book["checksum_ok"], 0)
        assert state.applied == book["messages"] - book["snapshots"]
        bids, asks = state.book.top(5)
        assert ([*map(list, bids)], [*map(list, asks)]) == (final["top5_bids"], final["top5_asks"])
        assert (len(state.book.bids), len(state.book.asks)) == (final["n_bids"], final["n_asks"])
        assert state.book.sha256_all_levels() == final["sha256_all_levels"]


@pytest.mark.parametrize("name", CAPTURES)
def test_every_message_is_counted(fixtures: Path, expected: dict[str, Any], name: str) -> None:
    messages = list(heard(fixtures, name))
    feed, outcomes = replayed(messages)
    counts = expected[name]["message_counts"]
    books = [one for one in outcomes if isinstance(one, OrderBook)]
    assert len(books) == sum(counts[f"okx {kind}"] for kind in _book_kinds(counts))
    assert sum(one.kind == "snapshot" for one in books) == len(feed.books)
    assert sum(isinstance(one, Trade) for one in outcomes) == counts["okx trades"]
    acks = [one for one in outcomes if isinstance(one, Control)]
    assert {one.kind for one in acks} == {"ack"}
    assert len(acks) == sum(count for kind, count in counts.items() if kind.endswith(" subscribe"))
    streams = Counter(feed.stream_of(one.raw) for one in messages)
    assert streams["event:subscribe"] == len(acks)
    assert streams["tickers"] == counts["okx tickers"]


def test_all_checksums_together(fixtures: Path) -> None:
    states = [state for name in CAPTURES for state in replayed(heard(fixtures, name))[0].books.values()]
    assert sum(state.checksum_ok for state in states) == 3240
    assert sum(state.checksum_bad for state in states) == 0


def test_the_second_connection_has_nothing_that_the_first_has_not(fixtures: Path) -> None:
    first, second = (_without_receive_time(heard(fixtures, name)) for name in (CONN_A, CONN_B))
    for kind in (Trade, OrderBook):
        mine, other = ({one for one in side if isinstance(one, kind)} for side in (first, second))
        if kind is OrderBook:  # each connection begins with a snapshot of its own
            mine, other = ({one for one in side if one.kind == "delta"} for side in (mine, other))
        assert len(mine) >= len(other) > 0
        assert mine | other == mine


def test_two_connections_into_one_feed_leave_one_whole_book_each(fixtures: Path, expected: dict[str, Any]) -> None:
    feed = OkxFeed(strict=False)
    both = merge(
        ((one.ts_recv, 0, one.raw) for one in heard(fixtures, CONN_A)),
        ((one.ts_recv, 1, one.raw) for one in heard(fixtures, CONN_B)),
    )
    gaps = [
        outcome
        for ts_recv, connection, raw in both
        for outcome in feed.push(raw, ts_recv, connection=connection)
        if isinstance(outcome, Gap)
    ]
    assert not gaps
    ends = [expected[name]["books"] for name in (CONN_A, CONN_B)]
    for key, state in feed.books.items():
        assert state.book.sha256_all_levels() in {end[key]["final"]["sha256_all_levels"] for end in ends}
        assert state.checksum_bad == 0


@pytest.mark.parametrize("name", [CONN_A, BOOKS_2022])
def test_a_size_that_is_spelled_in_another_way_is_found_at_once(fixtures: Path, name: str) -> None:
    messages = [one for one in heard(fixtures, name) if b'"action"' in one.raw]
    at = next(number for number, one in enumerate(messages) if _best_ask(one.raw) and b'"update"' in one.raw)
    messages[at] = Heard(_respelled(messages[at].raw), messages[at].ts_recv)
    feed, outcomes = replayed(messages)
    broken = [state for state in feed.books.values() if state.status == "broken"]
    assert [state.checksum_bad for state in broken] == [1]
    (gap,) = [one for one in outcomes if isinstance(one, Gap)]
    assert (gap.cause, gap.ts_to, gap.instrument) == ("checksum", messages[at].ts_recv, broken[0].instrument.name)
    assert [want.instrument for want in feed.resync_requests.values()] == [gap.instrument]
    after = [one for one in outcomes if isinstance(one, OrderBook) and one.instrument == gap.instrument]
    assert max(one.ts_recv for one in after) < gap.ts_to  # nothing more of this book, and the others go on
    assert max(one.ts_recv for one in outcomes if isinstance(one, OrderBook)) == messages[-1].ts_recv


def _book_kinds(counts: dict[str, int]) -> list[str]:
    channels = {kind.split()[1] for kind in counts if kind.endswith(" snapshot")}
    return [f"{channel} {action}" for channel in channels for action in ("snapshot", "update")]


def _without_receive_time(messages: Iterable[Heard]) -> set[Outcome]:
    return {
        msgspec.structs.replace(one, ts_recv=0) for one in replayed(messages)[1] if isinstance(one, (Trade, OrderBook))
    }


def _best_ask(raw: bytes) -> bool:
    """Whether the message sets a level of a whole size among its first asks."""
    asks = json.loads(raw)["data"][0]["asks"]
    return bool(asks) and asks[0][1] != "0"


def _respelled(raw: bytes) -> bytes:
    """The first ask with zeros behind its size: the same number, another text."""
    message = json.loads(raw)
    size = message["data"][0]["asks"][0][1]
    message["data"][0]["asks"][0][1] = f"{size}0" if "." in size else f"{size}.0"
    return json.dumps(message, separators=(",", ":")).encode()
