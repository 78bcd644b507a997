"""Hyperliquid against the simulated venue, with faults: each event once, or in a gap."""

from collections.abc import Callable
from pathlib import Path

import pytest

import marketdata_assets.collector.connections.market as market_module
from marketdata_assets.collector import config
from marketdata_assets.collector.assembly import Places
from marketdata_assets.collector.errors import UnknownSymbols
from marketdata_assets.collector.servers import Servers
from marketdata_assets.collector.service import Collector
from marketdata_assets.exchanges.hyperliquid.adapter import HyperliquidAdapter
from marketdata_assets.exchanges.records import DeadLetter, FundingRate, InstrumentState, OrderBook
from marketdata_demo.venues.hyperliquid_venue import HyperliquidVenue
from tests.collector.collecting import collecting
from tests.collector.in_loop import in_loop

NAMES = ["ABC", "XYZ"]
MAIN = ("trade", "orderbook")


@in_loop
async def test_the_fast_book_is_the_choice_of_a_market(tmp_path: Path) -> None:
    with HyperliquidVenue(["ABC"], book_ms=0) as venue:
        types, depth = ("orderbook",), 5
        async with collecting(venue, "hyperliquid", "linear", ["ABC"], types, tmp_path, depth=depth) as run:
            await run.live()
            await run.emit(20)
            assert run.subscription("fastBook:ABC").status == "confirmed"
            await run.until(lambda: run.is_the_venues("ABC", 5))
            assert {len(one.bids) for one in run.of(OrderBook)} == {5}
            assert not run.gaps()
            assert not run.trouble


@in_loop
async def test_a_dex_is_collected_by_its_symbols(tmp_path: Path) -> None:
    """Its perpetuals are in its own list, paid in its collateral; a dex that the venue does not know stops nothing."""
    with HyperliquidVenue(["ABC", "dex:ABC", "dex:XYZ"], book_ms=0) as venue:
        symbols = ["ABC", "dex:*", "other:ABC"]
        async with collecting(venue, "hyperliquid", "linear", symbols, (*MAIN, "funding_rate"), tmp_path) as run:
            await run.live()
            assert set(run.market.instruments) == {"ABC", "dex:ABC", "dex:XYZ"}
            assert run.market.state().unknown == ("other:ABC is not listed",)
            await run.emit(50)
            await run.caught_up()
            assert {one.symbol for one in run.of(FundingRate)} == {"ABC-USDC", "dex:ABC-USDH", "dex:XYZ-USDH"}
            await run.until(lambda: run.is_the_venues("dex:ABC", 20), emit=1)
            assert not run.gaps()
    assert not venue.violations


@in_loop
async def test_a_dex_is_added_while_the_collector_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_module, "RELIST_SECONDS", 0.0)
    with HyperliquidVenue(["ABC", "dex:ABC"], book_ms=0) as venue:
        async with collecting(venue, "hyperliquid", "linear", ["ABC"], MAIN, tmp_path) as run:
            await run.live()
            assert await run.market.add(["dex:ABC-USDH"]) == ["dex:ABC"]
            await run.live()


@in_loop
async def test_a_dex_whose_list_is_rejected_is_still_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with HyperliquidVenue(["ABC", "dex:ABC"], book_ms=0) as venue:
        types = (*MAIN, "instrument_state")
        async with collecting(venue, "hyperliquid", "linear", ["ABC", "dex:*", "other:ABC"], types, tmp_path) as run:
            await run.live()
            listed = venue.info_meta
            monkeypatch.setattr(venue, "info_meta", lambda about: None if about.get("dex") else listed(about))
            for _ in range(3):
                assert await run.market._listing.run_once()
            assert run.market.instruments == ["ABC", "dex:ABC"]
            assert [one.state for one in run.of(InstrumentState) if one.instrument == "dex:ABC"] == ["trading"]
            assert "nothing is delisted" in (run.market.state().jobs[0].last_error or "")
            monkeypatch.setattr(venue, "info_meta", listed)
            await run.market._listing.run_once()
            assert run.market.state().jobs[0].last_error is None, "no list of the other dex was ever known"


Fault = Callable[[HyperliquidVenue], None]

FAULTS: dict[str, tuple[Fault, bool]] = {
    "cut": (lambda venue: venue.hang_up(), False),
    "closed": (lambda venue: venue.close_all(), False),
    "half open": (lambda venue: venue.half_open(), False),
    "an unreadable trade": (lambda venue: venue.spoil(1, "trades:ABC"), True),
    "a repeated message": (lambda venue: venue.repeat(20), False),
    "a lost book": (lambda venue: venue.skip(3, "l2Book"), False),
    "garbage": (lambda venue: venue.garbage(), False),
}
"""What happens to the sockets, and whether trades may be missing because of it."""


QUICK = ("cut", "an unreadable trade")
MARKED = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FAULTS]


@pytest.mark.parametrize("fault", MARKED)
@in_loop
async def test_after_a_fault_trades_are_there_or_in_a_gap_and_books_are_the_venues(fault: str, tmp_path: Path) -> None:
    act, loses = FAULTS[fault]
    with HyperliquidVenue(NAMES, book_ms=0) as venue:
        async with collecting(venue, "hyperliquid", "linear", NAMES, MAIN, tmp_path, ping_after=0.2) as run:
            await run.live()
            await run.emit(50)
            opened = len(venue.opened)
            act(venue)
            await run.emit(50)
            if fault in ("cut", "closed", "half open"):
                await run.until(lambda: len(venue.opened) > opened, emit=1)
                await run.ready()
            await run.emit(50)
            await run.caught_up()
            await run.until(lambda: all(run.is_the_venues(name, 20) for name in NAMES), emit=1)
            assert bool(run.gaps("trades")) is loses
            assert all(isinstance(one, DeadLetter) for one in run.trouble)
            assert bool(run.trouble) is (fault in ("an unreadable trade", "garbage"))
    assert not venue.violations


@in_loop
async def test_trades_of_before_a_subscription_fill_a_short_interruption(tmp_path: Path) -> None:
    """Hyperliquid repeats the last trades to a new subscription; each is given out once."""
    with HyperliquidVenue(["ABC"]) as venue:
        async with collecting(venue, "hyperliquid", "linear", ["ABC"], ("trade",), tmp_path) as run:
            await run.ready()
            await run.emit(5)
            await run.caught_up()
            opened = len(venue.opened)
            venue.hang_up()
            await run.emit(5)
            await run.until(lambda: len(venue.opened) > opened)
            await run.until(lambda: set(run.ids()) == venue.source().ids())
            assert len(run.ids()) == len(set(run.ids()))
            assert not run.gaps("trades")


@in_loop
async def test_a_quiet_coin_is_no_gap_and_is_left_alone_for_longer(tmp_path: Path) -> None:
    with HyperliquidVenue(["ABC"]) as venue:
        silence = {"trade": 0.2}
        async with collecting(venue, "hyperliquid", "linear", ["ABC"], ("trade",), tmp_path, silence=silence) as run:
            await run.ready()
            await run.emit(5)
            await run.caught_up()
            await run.until(lambda: run.subscription("trades:ABC").resubscribed >= 2)
            await run.emit(5)
            await run.caught_up()
            [health] = [one.health["trades:ABC"] for one in run.market.connections]
            assert health.learned > 0.4
            assert len(run.ids()) == len(set(run.ids()))
            assert not run.gaps()


@in_loop
async def test_a_subscription_that_died_is_a_gap_where_more_was_lost_than_is_repeated(tmp_path: Path) -> None:
    with HyperliquidVenue(["ABC"]) as venue:
        silence = {"trade": 0.2}
        async with collecting(venue, "hyperliquid", "linear", ["ABC"], ("trade",), tmp_path, silence=silence) as run:
            await run.ready()
            await run.emit(5)
            await run.caught_up()
            venue.mute("trades")
            await run.emit(40)
            await run.caught_up()
            assert [one.cause for one in run.gaps("trades")] == ["silent"]


@in_loop
async def test_more_trades_than_a_new_subscription_repeats_are_a_gap(tmp_path: Path) -> None:
    with HyperliquidVenue(["ABC"]) as venue:
        async with collecting(venue, "hyperliquid", "linear", ["ABC"], ("trade",), tmp_path) as run:
            await run.ready()
            await run.emit(5)
            await run.caught_up()
            venue.away()
            await run.emit(40)
            venue.back()
            await run.caught_up()
            [gap] = run.gaps("trades")
            assert gap.cause == "reopened"
            missing = venue.source().ids() - set(run.ids())
            assert 10 <= len(missing) < 40


@in_loop
async def test_what_an_address_has_no_subscriptions_for_is_not_collected_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HyperliquidAdapter, "address_subscriptions", 4)
    with HyperliquidVenue(["ABC", "DEF", "XYZ"], book_ms=0) as venue:
        async with collecting(venue, "hyperliquid", "linear", ["*"], MAIN, tmp_path) as run:
            await run.live()
            assert len(run.market.instruments) == 2
            [left] = {"ABC", "DEF", "XYZ"} - {*run.market.instruments}
            full = "not collected: 4 subscriptions can be planned for an address, 4 are in use"
            assert run.market.state().unknown == (f"{left} {full}",)
            with pytest.raises(UnknownSymbols, match=full):
                await run.market.add([left])
            await run.market.remove([run.market.instruments[0]])
            assert await run.market.add([left]) == [left]
            await run.live()
    assert not venue.violations


@in_loop
async def test_markets_of_one_address_share_its_subscriptions(tmp_path: Path) -> None:
    text = "exchanges: {hyperliquid: {markets: {linear: {symbols: [BTC]}, spot: {symbols: ['@1']}}}}"
    places = Places(tmp_path / "own", tmp_path / "budgets", tmp_path / "captures")
    collector = Collector(config.parse(text, "x.yaml"), Servers(), places)
    linear, spot = collector._markets.values()
    assert linear._address is spot._address
    collector._close()
