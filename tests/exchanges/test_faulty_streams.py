"""The law of books, for every venue that sends changes: a book that calls itself live is the book of the venue.

Updates are invented, with faults in them (`bench.faulty_books`). Rules that one venue has alone are in the tests of its
own book.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.faulty_books import CROSSING, FAULTS, MIDDLE, SECOND, VENUES, Changes, Fault, Session, World, run
from marketdata_assets.exchanges.records import Gap, OrderBook

CLEAN: list[Fault] = ["none"] * 4
changes = st.lists(st.tuples(st.integers(1, 2 * MIDDLE), st.integers(0, 3)), min_size=1, max_size=4)
fault = st.sampled_from([*CLEAN, *FAULTS])
steps = st.lists(st.tuples(changes, fault, st.integers(0, 3)), min_size=3, max_size=30)


@pytest.mark.parametrize("name", VENUES)
@given(steps)
def test_a_live_book_is_the_venues_book_whatever_happens(name: str, told: list[tuple[Changes, Fault, int]]) -> None:
    world = World(VENUES[name].jumps)
    for change, _, _ in told:
        world.add(change)
    for tick in (1, 10, 2, 9):  # and then nothing happens any more that is wrong
        world.add([(tick, 7)])
    faults: list[Fault] = [*(one for _, one, _ in told), *CLEAN]
    session = run(name, world, faults, [*(delay for *_, delay in told), *(0 for _ in CLEAN)])
    (state,) = session.feed.books.values()
    assert (state.status, (state.last_id or 0) // session.venue.scale) == ("live", world.updates[-1].last)
    opened = [gap for gap in session.gaps if gap.healed_at is None or gap.cause == "repeat"]
    healed = [gap for gap in session.gaps if gap.healed_at is not None]
    assert state.gaps == len(opened) == len(healed), "every gap is healed in the end"
    assert all(gap.healed_at and gap.healed_at >= gap.ts_to for gap in healed)


def steady(name: str) -> World:
    world = World(VENUES[name].jumps)
    for number in range(10):
        world.add([(1 + number % 5, 1 + number % 3), (6 + number % 5, 2)])
    return world


@pytest.mark.parametrize("one", ["none", "drop", "repeat", "swap", "garbage", "again", "reopen"])
@pytest.mark.parametrize("name", VENUES)
def test_each_fault_in_a_live_stream_is_exactly_one_gap(name: str, one: Fault) -> None:
    world = steady(name)
    session = run(name, world, [*CLEAN, "none", one, *CLEAN], [0] * 3 + [99] * 7)
    opened = [gap for gap in session.gaps if gap.healed_at is None or gap.cause == "repeat"]
    causes = {"none": [], "repeat": ["repeat"], "again": ["repeat"], "reopen": ["reopened"]}
    causes |= {"drop": [VENUES[name].lost], "swap": [VENUES[name].lost]}
    assert [gap.cause for gap in opened] == causes.get(one, ["sequence"])
    if opened:
        assert opened[0].last_id == VENUES[name].scale * world.updates[5 if one in ("repeat", "again") else 4].last
    else:
        (state,) = session.feed.books.values()
        assert (state.applied + state.dropped, state.gaps) == (10, 0)


def live(name: str, connection: int = 0) -> Session:
    """A session whose book is live after two updates over a socket."""
    world = World(VENUES[name].jumps)
    world.add([(1, 1), (10, 2)])
    world.add([(2, 1), (9, 2)])
    return run(name, world, ["none", "none"], [0, 0], connection)


@pytest.mark.parametrize("name", VENUES)
def test_changes_before_any_snapshot_are_kept_back_and_one_is_requested(name: str) -> None:
    world, feed = steady(name), VENUES[name].feed()
    made = feed.push(VENUES[name].message(world.updates[3]), SECOND)
    assert not [one for one in made if isinstance(one, OrderBook | Gap)]
    ((key, state),) = feed.books.items()
    assert state.status == "waiting"
    (wanted,) = [feed.resync_requests[key]]
    assert (wanted.instrument, wanted.how, wanted.since) == (
        state.instrument.name,
        "subscription" if VENUES[name].by_channel else "snapshot",
        SECOND,
    )
    feed.forget(state.instrument.name)
    assert feed.resync_requests == {}
    assert {one.status for one in feed.books.values()} <= {"waiting"}


@pytest.mark.parametrize("name", VENUES)
def test_a_change_that_crosses_the_book_is_not_given_out(name: str) -> None:
    session = live(name)
    session.world.add([(CROSSING, 1)])
    (gap,) = session.receive(VENUES[name].message(session.world.updates[-1]))
    assert (gap.cause, gap.healed_at) == ("crossed", None)
    assert session.feed.resync_requests


@pytest.mark.parametrize("name", VENUES)
def test_a_new_socket_takes_its_own_book_out_of_use_and_no_other(name: str) -> None:
    session = live(name, connection=3)
    assert session.feed.reopened(session.moment, 5) == session.feed.reopened(session.moment, 0) == []
    session.reopen()
    (gap,) = session.gaps
    assert (gap.cause, gap.next_id, gap.last_id) == (
        "reopened",
        None,
        session.venue.scale * session.world.updates[-1].last,
    )


@pytest.mark.parametrize("name", [name for name, venue in VENUES.items() if venue.by_channel])
def test_another_socket_takes_a_live_book_over_with_a_gap_only_where_it_changed_unseen(name: str) -> None:
    """The old socket may be behind: what it had still to deliver is taken from it no more."""
    session = live(name)
    last, scale = session.world.updates[-1].last, session.venue.scale
    later = {} if scale == 1 else {"time": last + 1}  # of venues whose numbers are times
    session.connection += 1
    (same,) = session.snapshot(last, **later)
    assert (same.kind, same.last_id) == ("snapshot", scale * last), "records follow one another"
    for tick in (3, 4):
        session.world.add([(tick, 2)])
    session.connection += 1
    gap, newest, healed = session.snapshot(session.world.updates[-1].last)
    assert (gap.cause, gap.last_id, gap.healed_at) == ("sequence", scale * last, None)
    assert (newest.kind, newest.last_id) == ("snapshot", scale * session.world.updates[-1].last)
    assert healed.healed_at


@pytest.mark.parametrize("name", [name for name, venue in VENUES.items() if venue.by_channel])
def test_a_snapshot_of_a_live_book_from_its_own_socket_is_a_gap_unless_nothing_changed(name: str) -> None:
    """A silent subscription that was made again: what it did not deliver is missing."""
    session = live(name)
    last = session.world.updates[-1].last
    assert [type(one) for one in session.snapshot(last)] == [OrderBook]
    for tick in (3, 4):
        session.world.add([(tick, 1)])
    gap, whole, healed = session.snapshot(session.world.updates[-1].last)
    ids = (session.venue.scale * number for number in (last, session.world.updates[-1].last))
    assert (gap.cause, gap.last_id, gap.next_id) == ("sequence", *ids)
    assert whole.kind == "snapshot"
    assert healed.healed_at == whole.ts_recv


@pytest.mark.parametrize("far", ["0.100000000000000000001", "12345678901234567.5"])
@pytest.mark.parametrize("name", ["spot", "linear", "okx", "bybit"])
def test_prices_with_more_digits_than_a_float_keeps_are_told_apart(name: str, far: str) -> None:
    world, near = World(VENUES[name].jumps), f"{far[:-1]}2"
    feed = VENUES[name].feed()
    for changes in ([(1, 1)], [(2, 2)], [(1, 0)]):
        world.add(changes)
        update = world.updates[-1]
        text = VENUES[name].message(update).decode()
        for tick, price in ((1, far), (2, near)):
            text = text.replace(f'"{tick}.50"', f'"{price}"').replace(f'"{tick}.5"', f'"{price}"')
        raw = text.encode()
        feed.push(raw, SECOND)
        if not [one for one in feed.books.values() if one.status == "live"]:
            VENUES[name].snapshot(feed, update.prev, ({}, {}), SECOND)
            feed.push(raw, SECOND)
    (state,) = feed.books.values()
    assert [price for price, _ in state.book.levels()[0]] == [near]
