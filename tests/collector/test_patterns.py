"""Patterns of instruments: what they come to, and a chain that contracts enter and leave while it is collected."""

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from marketdata_assets.collector.connections import Shard
from marketdata_assets.collector.connections.selection import Selection
from marketdata_assets.collector.errors import UnknownSymbols
from marketdata_assets.collector.symbols import resolve_symbols
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.deribit.instruments import from_name
from marketdata_assets.exchanges.instruments import Instrument, ListedStates
from marketdata_assets.exchanges.records import InstrumentState
from marketdata_demo.venues.deribit_venue import DeribitVenue
from tests.collector.collecting import Run, collecting
from tests.collector.in_loop import in_loop

CALL, PUT, LATER = "ABC-25DEC30-100-C", "ABC-25DEC30-100-P", "ABC-26DEC30-100-C"
OTHER, USDC = "XYZ-25DEC30-5-C", "ABC_USDC-25DEC30-100-C"
MAIN = ("trade", "orderbook")


@pytest.fixture
def venue() -> Iterator[DeribitVenue]:
    with DeribitVenue([CALL, PUT, OTHER, "ABC-PERPETUAL"], seed=5) as made:
        yield made
    assert not made.violations


def listed(*names: str) -> dict[str, Instrument]:
    return {name: instrument for name in names if (instrument := from_name(name))}


@pytest.mark.parametrize(
    ("symbols", "found"),
    [
        (["ABC-*"], [CALL, PUT, USDC]),  # ours is ABC-USDC-301225-100-C
        (["abc-usd-*"], [CALL, PUT]),
        (["*-C"], [CALL, USDC, OTHER]),
        (["ABC-25DEC30-1??-[CP]"], [CALL, PUT]),
        (["*", "!*-P", "!xyz*"], [CALL, USDC]),
        (["ABC-*", f"!{CALL.lower()}", "!ABC-USDC-301225-100-C"], [PUT]),
        ([PUT, "*-C", "!*USDC*"], [PUT, CALL, OTHER]),
        ([PUT, "!*-P"], []),
    ],
)
def test_a_pattern_matches_either_name_less_what_is_excluded(symbols: list[str], found: list[str]) -> None:
    resolved = resolve_symbols(listed(CALL, PUT, USDC, OTHER), "option", symbols)
    assert [one.name for one in resolved.instruments] == found
    assert not resolved.problems


def test_a_pattern_without_instruments_and_one_with_too_many_are_told() -> None:
    known = listed(CALL, PUT, USDC, OTHER, "ABC-PERPETUAL")
    resolved = resolve_symbols(known, "option", ["DEF-*", OTHER, "ABC-*"], most=2)
    assert resolved.problems == {"DEF-*": "matches no instrument of the list"}
    assert [one.name for one in resolved.instruments] == [OTHER], "what has its own name is collected"
    [(patterns, why)] = resolved.rejected.items()
    assert patterns == "DEF-*, ABC-*"
    assert "3 instruments, more than max_instruments (2)" in why
    assert "raise max_instruments" in why
    assert not resolve_symbols(known, "option", ["ABC-*", "!*USDC*"], most=2).rejected


def followed(run: Run) -> set[str]:
    return set(run.market.instruments)


def changes(run: Run) -> list[tuple[str, str]]:
    return [(one.instrument, one.change) for one in run.market.state().changes]


@in_loop
async def test_contracts_of_a_chain_are_followed_from_their_listing_to_their_end(
    venue: DeribitVenue, tmp_path: Path
) -> None:
    names, pace = ["ABC-*", "!*-P"], {"pattern_listing": 0.2}
    async with collecting(venue, "deribit", "option", names, MAIN, tmp_path, **pace) as run:
        await run.live()
        assert followed(run) == {CALL}
        assert run.market.state().patterns == {"ABC-*": 1}
        await run.emit(50)
        venue.list_instrument(LATER)
        await run.until(lambda: followed(run) == {CALL, LATER})
        await run.live()
        await run.until(lambda: {name for name, _ in run.ids()} == {CALL, LATER}, emit=5)
        assert {(one.instrument, one.cause) for one in run.gaps()} == {(LATER, "listed")}
        assert all(one.ts_to - one.ts_from < 20 * 10**9 for one in run.gaps())
        venue.delist(CALL)
        await run.until(lambda: followed(run) == {LATER})
        await run.until(lambda: not [one for one in venue.subscribed() if CALL in one])
        await run.emit(50)
        await run.caught_up()
        assert changes(run) == [(LATER, "listed"), (CALL, "delisted")]
        assert run.market.state().changed == {"listed": 1, "delisted": 1}
        assert {one.cause for one in run.gaps()} == {"listed"}, "nobody blames the network"
        assert not run.market.state().unknown
        assert len(venue.opened) == 1
        assert not run.trouble


@in_loop
async def test_states_of_all_listed_instruments_are_events(venue: DeribitVenue, tmp_path: Path) -> None:
    """First seen, changed, and gone from two lists; whether they are followed or not, and of this market alone."""
    pace, types = {"pattern_listing": 0.1}, ("trade", "instrument_state")
    async with collecting(venue, "deribit", "option", ["ABC-*"], types, tmp_path, **pace) as run:
        await run.until(lambda: len(states(run)) == 3)
        assert states(run) == [(name, "trading", "open") for name in (CALL, PUT, OTHER)]
        venue.states[PUT] = "locked"
        await run.until(lambda: states(run)[3:] == [(PUT, "suspended", "locked")])
        venue.delist(OTHER)
        await run.until(lambda: states(run)[4:] == [(OTHER, "delisted", "")])
        listings = venue.listings
        await run.until(lambda: venue.listings > listings + 3)
        assert len(states(run)) == 5


def test_a_list_that_is_not_whole_delists_nothing() -> None:
    """An entry without a name may be any instrument; an instrument without a state is listed nevertheless."""
    feed, lists, selection = venues.find("deribit").feed("option"), ListedStates("option"), Selection("option", ["*"])
    entry = {"kind": "option", "base_currency": "ABC", "quote_currency": "ABC", "contract_size": 1}

    def after(*entries: object) -> list[object]:
        feed.instruments.listed.clear()
        feed.answer("https://h/api/v2/public/get_instruments", msgspec.json.encode({"result": entries}), 1)
        gone = selection.delisted(feed.instruments, [CALL, PUT])
        return [(one.instrument, one.state) for one in lists.changes(feed.instruments, 1)] + gone

    call, put = ({**entry, "instrument_name": name, "state": "open"} for name in (CALL, PUT))
    silent, unread = {**put, "state": ""}, {**put, "base_currency": None}
    assert after(call, put) == [(CALL, "trading"), (PUT, "trading")]
    for told in ([call, silent], [call, unread]):
        assert after(*told) == after(*told) == []
    assert after(call) == after(call, {"odd": 1}) == []
    assert after(call, put) == after(call, {"odd": 1}) == after(call) == []
    assert after(call, {"odd": 1}) == []
    assert after(call) == [(PUT, "delisted"), PUT]


def states(run: Run) -> list[tuple[str, str, str]]:
    return [(one.instrument, one.state, one.venue_state) for one in run.of(InstrumentState)]


@in_loop
async def test_an_expired_contract_is_left_without_a_list_and_without_a_gap(
    venue: DeribitVenue, tmp_path: Path
) -> None:
    soon = time.time_ns() // 1_000_000 + 1500
    venue.list_instrument(LATER, soon)
    async with collecting(venue, "deribit", "option", ["ABC-*-C"], MAIN, tmp_path, expired=0.1) as run:
        await run.live()
        assert followed(run) == {CALL, LATER}
        venue.hang_up()
        await run.until(lambda: followed(run) == {CALL}, emit=1)
        assert time.time_ns() // 1_000_000 >= soon
        await run.live()
        await run.until(lambda: not [one for one in venue.subscribed() if LATER in one])
        assert changes(run) == [(LATER, "expired")]
        assert all(one.ts_to <= soon * 1_000_000 for one in run.gaps() if one.instrument == LATER)
        await run.market._listing.run_once()
        assert followed(run) == {CALL}, "a venue may list it for a while"


@in_loop
async def test_what_one_list_lacks_is_still_followed_and_the_time_without_it_is_a_gap(
    venue: DeribitVenue, tmp_path: Path
) -> None:
    async with collecting(venue, "deribit", "option", ["ABC-*"], ("trade",), tmp_path) as run:
        await run.ready()
        held = venue.markets
        venue.markets = {name: market for name, market in held.items() if name != PUT}
        await run.market._listing.run_once()
        assert PUT in followed(run)
        await run.market._listing.run_once()
        assert PUT not in followed(run)
        [left] = run.market.state().changes
        venue.markets = held
        await run.market._listing.run_once()
        await run.ready()
        await run.until(lambda: any(name == PUT for name, _ in run.ids()), emit=5)
        assert [(one.instrument, one.cause, one.ts_from) for one in run.gaps()] == [(PUT, "listed", left.at)]


@in_loop
async def test_too_many_matches_are_refused_and_what_is_followed_stays(venue: DeribitVenue, tmp_path: Path) -> None:
    async with collecting(venue, "deribit", "option", ["*-C"], ("trade",), tmp_path, max_instruments=2) as run:
        await run.ready()
        venue.list_instrument(LATER)
        await run.market._listing.run_once()
        assert followed(run) == {CALL, OTHER}
        [unknown] = run.market.state().unknown
        assert "*-C match 3 instruments, more than max_instruments (2)" in unknown


@in_loop
async def test_patterns_are_added_and_removed_while_the_market_runs(venue: DeribitVenue, tmp_path: Path) -> None:
    async with collecting(venue, "deribit", "option", [OTHER], ("trade",), tmp_path, max_instruments=3) as run:
        await run.ready()
        assert await run.market.add(["ABC-*"]) == [CALL, PUT]
        assert await run.market.remove([PUT]) == [PUT]
        venue.list_instrument(LATER)
        await run.market._listing.run_once()
        assert followed(run) == {OTHER, CALL, LATER}, "what was removed does not come back"
        assert await run.market.remove(["ABC-*"]) == [CALL, LATER]
        await run.market._listing.run_once()
        assert followed(run) == {OTHER}
        assert await run.market.add([PUT]) == [PUT]
        with pytest.raises(UnknownSymbols, match="ABC-\\*-C matches no instrument"):
            await run.market.remove(["ABC-*-C"])
        with pytest.raises(UnknownSymbols, match="DEF-\\* matches no instrument"):
            await run.market.add(["DEF-*"])


@in_loop
async def test_a_chain_is_shared_by_sockets_and_by_shards(tmp_path: Path) -> None:
    names = [f"ABC-25DEC30-{strike}-{right}" for strike in range(100, 160) for right in "CP"]
    types = ("trade", "orderbook", "ticker", "kline", "open_interest")
    with DeribitVenue(names, seed=5) as venue:
        async with (
            collecting(venue, "deribit", "option", ["*"], types, tmp_path, shard=Shard(1, 2)) as one,
            collecting(venue, "deribit", "option", ["*"], types, tmp_path, shard=Shard(2, 2)) as two,
        ):
            await one.ready()
            await two.ready()
            assert followed(one) | followed(two) == set(names)
            assert not followed(one) & followed(two)
            assert one.market.state().patterns == two.market.state().patterns == {"*": 120}
        async with collecting(venue, "deribit", "option", ["*"], types, tmp_path, expired=0.1) as run:
            await run.ready()
            assert [state.subscriptions for state in run.connections] == [480]
            for strike in range(200, 210):
                venue.list_instrument(f"ABC-25DEC30-{strike}-C")
            await run.market._listing.run_once()
            await run.ready()
            assert [state.subscriptions for state in run.connections] == [500, 20]
    assert not venue.violations
