"""Binance's books: the rules of how diffs meet a snapshot, best prices that contradict a book, overlapping sockets."""

import json
from typing import Any

import pytest

from marketdata_assets.exchanges.binance import book as chains
from marketdata_assets.exchanges.books import ResyncRequest
from marketdata_assets.exchanges.records import Control, DeadLetter, Gap, MarketType, OrderBook, Outcome, Ticker
from tests.exchanges.binance_messages import NAME, URL, Run


def diff(first: int, last: int, prev: int | None = None, **levels: Any) -> bytes:
    """A spot diff, of futures with `prev`."""
    told: dict[str, Any] = {"e": "depthUpdate", "E": 5, "s": NAME, "U": first, "u": last, "b": [], "a": []}
    if prev is not None:
        told |= {"T": 4, "pu": prev}
    return json.dumps(told | levels).encode()


def snapshot(last: int, bid: str = "99", ask: str = "101") -> bytes:
    return json.dumps({"lastUpdateId": last, "bids": [[bid, "1"]], "asks": [[ask, "1"]]}).encode()


def controls(made: list[Outcome]) -> list[str]:
    """The kinds of outcomes that are all control outcomes."""
    assert all(isinstance(one, Control) for one in made)
    return [one.kind for one in made if isinstance(one, Control)]


SPOT_BRIDGES = [
    # diffs that wait, lastUpdateId, whether it is taken, dropped, applied
    ([(10, 12), (13, 15)], 8, False, 0, 0),
    ([(10, 12), (13, 15)], 9, True, 0, 2),
    ([(10, 12), (13, 15)], 10, True, 0, 2),
    ([(10, 12), (13, 15)], 12, True, 1, 1),
    ([(10, 12), (13, 15)], 15, True, 2, 0),
    ([(10, 12), (13, 15)], 20, True, 2, 0),
]


@pytest.mark.parametrize(("waiting", "last", "taken", "dropped", "applied"), SPOT_BRIDGES)
def test_spot_drops_what_the_snapshot_holds_and_begins_with_what_reaches_over_it(
    waiting: list[tuple[int, int]], last: int, taken: bool, dropped: int, applied: int
) -> None:
    run = Run.of("spot")
    for first, end in waiting:
        assert controls(run.push(diff(first, end))) == ["notice"]
    assert run.feed.resync_requests == {NAME: ResyncRequest(NAME, "depth", "snapshot", 1)}
    run.answer(snapshot(last))
    state = run.feed.books[NAME]
    assert (state.status == "live", state.dropped, state.applied) == (taken, dropped, applied)
    assert (run.feed.resync_requests == {}) is taken
    assert [one.kind for one in run.books] == ["snapshot", *["delta"] * applied] * taken
    assert run.gaps == []


FUTURES_BRIDGES = [
    ([(10, 12, 7), (15, 18, 12)], 6, False, 0, 0),
    ([(10, 12, 7), (15, 18, 12)], 7, True, 0, 2),  # the snapshot ends with what the first one follows
    ([(10, 12, 7), (15, 18, 12)], 9, False, 0, 0),
    ([(10, 12, 7), (15, 18, 12)], 11, True, 0, 2),
    ([(10, 12, 7), (15, 18, 12)], 12, True, 0, 2),  # u == lastUpdateId is not dropped
    ([(10, 12, 7), (15, 18, 12)], 16, True, 1, 1),
    ([(10, 12, 7), (15, 18, 12)], 18, True, 1, 1),
    ([(10, 12, 7), (15, 18, 12)], 19, True, 2, 0),
]


@pytest.mark.parametrize(("waiting", "last", "taken", "dropped", "applied"), FUTURES_BRIDGES)
def test_futures_drop_what_is_before_the_snapshot_and_begin_with_what_reaches_over_it(
    waiting: list[tuple[int, int, int]], last: int, taken: bool, dropped: int, applied: int
) -> None:
    run = Run.of("linear")
    for one in waiting:
        run.push(diff(*one))
    run.answer(snapshot(last))
    state = run.feed.books[NAME]
    assert (state.status == "live", state.dropped, state.applied) == (taken, dropped, applied)
    assert run.gaps == []


def test_futures_follow_by_pu_although_ids_jump() -> None:
    run = Run.of("linear")
    run.push(diff(140, 149, 130))
    run.answer(snapshot(149))
    assert [type(one) for one in run.push(diff(160, 165, 149))] == [OrderBook]
    (gap,) = run.push(diff(170, 172, 148))
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.last_id, gap.next_id, gap.healed_at) == ("sequence", 165, 170, None)


def test_diffs_that_the_snapshot_holds_are_dropped_after_it_too() -> None:
    for market_type, later in (("spot", [(13, 15, None), (16, 18, None)]), ("linear", [(13, 15, 12), (16, 18, 15)])):
        run = Run.of(market_type)  # type: ignore[arg-type]
        run.push(diff(10, 12, None if market_type == "spot" else 9))
        run.answer(snapshot(16))
        assert controls(run.push(diff(*later[0]))) == ["ignored"]
        assert [type(one) for one in run.push(diff(*later[1]))] == [OrderBook]
        assert run.feed.books[NAME].dropped == 2


def test_a_snapshot_before_the_first_diff_waits_for_it() -> None:
    run = Run.of("spot")
    assert [type(one) for one in run.answer(snapshot(20))] == [Control]
    assert run.feed.books[NAME].status == "waiting"
    assert [one.kind for one in run.push(diff(19, 22)) if isinstance(one, OrderBook)] == ["snapshot", "delta"]
    late = Run.of("spot")
    late.answer(snapshot(20))
    assert controls(late.push(diff(22, 23))) == ["notice"]
    assert NAME in late.feed.resync_requests


def test_a_snapshot_of_a_live_book_is_not_needed() -> None:
    run = Run.of("spot")
    run.push(diff(10, 12))
    run.answer(snapshot(12))
    assert controls(run.answer(snapshot(40))) == ["ignored"]
    assert [type(one) for one in run.push(diff(13, 13))] == [OrderBook]


def test_a_hole_is_healed_by_the_next_snapshot_and_says_from_where_to_where() -> None:
    run = Run.of("spot")
    run.push(diff(10, 12))
    run.answer(snapshot(12))
    run.push(diff(13, 14))
    (gap,) = run.push(diff(17, 18))
    assert run.feed.resync_requests == {NAME: ResyncRequest(NAME, "depth", "snapshot", 4)}
    assert controls(run.push(diff(19, 20, b=[["98", "3"]]))) == ["notice"]
    made = run.answer(snapshot(18))
    assert [type(one) for one in made] == [OrderBook, Gap, OrderBook]
    assert isinstance(gap, Gap)
    assert (gap.last_id, gap.next_id, gap.ts_from, gap.ts_to, gap.healed_at) == (14, 17, 3, 4, None)
    assert [one.healed_at for one in run.gaps] == [None, 6]
    assert run.feed.resync_requests == {}


def test_a_snapshot_that_is_too_old_heals_nothing() -> None:
    run = Run.of("spot")
    run.push(diff(10, 12))
    run.answer(snapshot(12))
    run.push(diff(17, 18))
    assert [type(one) for one in run.answer(snapshot(15))] == [Control]
    assert NAME in run.feed.resync_requests
    assert run.feed.books[NAME].status == "broken"


def best(update: int, bid: str, ask: str, **futures: Any) -> bytes:
    return json.dumps(futures | {"u": update, "s": NAME, "b": bid, "B": "1", "a": ask, "A": "1"}).encode()


@pytest.mark.parametrize("market_type", ["spot", "linear"])
def test_a_snapshot_from_before_the_last_diff_heals_nothing_although_no_diff_waits(market_type: MarketType) -> None:
    futures = market_type == "linear"
    run = Run.of(market_type)
    run.push(diff(10, 12, 9 if futures else None))
    run.answer(snapshot(11))
    run.push(diff(13, 20, 12 if futures else None, b=[["99", "7"]]))
    # Best prices of an update that the book has show that it is wrong: no diff waits, and 20 was the last one.
    run.push(best(20, "98", "101", **({"e": "bookTicker", "E": 5, "T": 4} if futures else {})))
    assert [gap.cause for gap in run.gaps] == ["best prices"]
    assert controls(run.answer(snapshot(15))) == ["ignored"]
    assert run.feed.books[NAME].status == "broken"
    run.push(diff(21, 22, 20 if futures else None, a=[["103", "2"]]))
    assert [gap.healed_at for gap in run.gaps] == [None]
    run.answer(snapshot(22, "98"))
    assert run.feed.books[NAME].status == "live"


def test_a_snapshot_that_repeats_the_wrong_best_prices_heals_nothing() -> None:
    run = Run.of("spot")
    run.push(diff(10, 12))
    run.answer(snapshot(12))
    run.push(best(12, "98", "101"))
    run.answer(snapshot(12))  # the same book, with the same fault
    assert (run.feed.books[NAME].status, [gap.healed_at for gap in run.gaps]) == ("broken", [None])
    assert run.feed.resync_requests
    run.answer(snapshot(12, "98"))
    assert (run.feed.books[NAME].status, len(run.gaps)) == ("live", 2)


def test_best_prices_that_came_before_the_snapshot_are_compared_with_it() -> None:
    run = Run.of("spot")
    run.push(diff(10, 12))
    run.push(best(12, "98", "101"))
    run.answer(snapshot(12))
    assert run.feed.books[NAME].status != "live"
    assert [one.kind for one in run.books] == []


def test_a_diff_that_crosses_is_taken_once_more_after_a_snapshot() -> None:
    run = Run.of("spot")
    run.push(diff(10, 12))
    run.answer(snapshot(12))
    assert [one.cause for one in run.push(diff(13, 13, b=[["101", "1"]])) if isinstance(one, Gap)] == ["crossed"]
    run.push(diff(14, 14))
    run.answer(snapshot(12, ask="103"))
    assert run.feed.books[NAME].status == "live"
    assert run.feed.books[NAME].book.bbo() == (("101", "1"), ("103", "1"))


def test_overlapping_sockets_make_one_chain() -> None:
    run = Run.of("linear")
    run.push(diff(10, 12, 9), connection=1)
    run.answer(snapshot(12))
    run.push(diff(13, 14, 12), connection=1)
    assert controls(run.push(diff(13, 14, 12), connection=2)) == ["ignored"]
    assert [type(one) for one in run.push(diff(15, 18, 14), connection=2)] == [OrderBook]
    assert controls(run.push(diff(15, 18, 14), connection=1)) == ["ignored"]
    assert run.gaps == []
    assert [type(one) for one in run.push(diff(17, 20, 16), connection=1)] == [OrderBook]  # cut elsewhere


def test_ids_that_begin_anew_are_noticed() -> None:
    run = Run.of("spot")
    run.push(diff(1000, 1001))
    run.answer(snapshot(1001))
    for number in range(1, chains.STRAYS + 2):
        run.push(diff(number, number))
    assert run.gaps[-1].cause == "sequence"
    run.answer(snapshot(chains.STRAYS + 1))
    assert run.feed.books[NAME].status == "live"


def test_repeats_among_diffs_that_follow_are_reported_and_nothing_more() -> None:
    run = Run.of("spot")
    run.push(diff(10, 12))
    run.answer(snapshot(12))
    for number in range(13, 16 + chains.STRAYS):
        run.push(diff(number, number))
        run.push(diff(number, number))
    assert {one.cause for one in run.gaps} == {"repeat"}
    assert run.feed.books[NAME].applied == len(run.gaps) == chains.STRAYS + 3


def test_only_so_many_diffs_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "KEPT_DIFFS", 3)
    run = Run.of("spot")
    for number in range(10, 20):
        run.push(diff(number, number))
    run.answer(snapshot(15))
    assert run.feed.books[NAME].status == "waiting"
    run.answer(snapshot(16))
    assert run.feed.books[NAME].applied == 3


def test_best_prices_that_are_not_the_books_take_it_out_of_use() -> None:
    run = Run.of("spot")
    run.push(diff(10, 12))
    run.answer(snapshot(12))
    assert [type(one) for one in run.push(best(14, "99.50", "101.00"))] == [Ticker]  # comes before its diff
    run.push(diff(13, 14, b=[["99.5", "1"]]))
    assert [type(one) for one in run.push(best(14, "99.5", "101.00"))] == [Ticker]
    assert run.feed.books[NAME].agreed == 2
    made = run.push(best(14, "99.4", "101.00"))
    assert [one.cause for one in made if isinstance(one, Gap)] == ["best prices"]
    assert NAME in run.feed.resync_requests


def test_a_snapshot_says_of_what_it_is() -> None:
    run = Run.of("spot")
    run.push(diff(10, 12))
    assert [type(one) for one in run.answer(snapshot(12), "")] == [OrderBook]  # only one book waits
    assert [type(one) for one in run.answer(snapshot(12), "")] == [DeadLetter]
    other = json.dumps(json.loads(snapshot(12)) | {"symbol": "XYZUSDT"}).encode()
    assert [type(one) for one in run.answer(other, URL)] == [DeadLetter]
