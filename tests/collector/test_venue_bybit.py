"""The simulated Bybit against our feed and collector: what it sends is read whole, and makes its books."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from collecting import collecting
from in_loop import in_loop
from venue_client import Client, assert_whole
from whole import DERIVATIVES

from marketdata_assets.collector.connections import adapter_for
from marketdata_assets.exchanges.bybit.adapter import DEPTH
from marketdata_assets.exchanges.bybit.feed import BybitFeed
from marketdata_assets.exchanges.bybit.parse import INTERVALS
from marketdata_assets.exchanges.bybit.session import PATH, Session
from marketdata_assets.exchanges.records import (
    Control,
    DeadLetter,
    FundingRate,
    Kline,
    Liquidation,
    MarketType,
    OpenInterest,
    OrderBook,
    Ticker,
    Trade,
    VenueError,
)
from marketdata_demo.venues.bybit_venue import DEPTHS, BybitVenue

START = 1_700_000_000_000  # 2023-11-14 22:13:20
NAMES: dict[MarketType, list[str]] = {
    "spot": ["ABCUSDT", "XYZUSDT"],
    "linear": ["ABCUSDT", "XYZUSDT-27DEC30"],
    "inverse": ["ABCUSD"],
}
SPOT = (Trade, OrderBook, Ticker, Kline)
CONTRACTS = (*SPOT, FundingRate, OpenInterest, Liquidation)
LIST = "/v5/market/instruments-info?category={}&limit=1000"


def client(venue: BybitVenue, topics: Sequence[str], market_type: MarketType | None = None) -> Client:
    path = PATH + (market_type or venue.market_type)
    lists = [LIST.format(venue.market_type)]
    return Client(venue, BybitFeed(venue.market_type), path, Session().subscribe(topics), lists=lists)


def topics_of(market_type: MarketType, name: str) -> list[str]:
    topics = [*(f"orderbook.{depth}.{name}" for depth in DEPTHS), f"publicTrade.{name}", f"tickers.{name}"]
    topics += [f"kline.1.{name}"]
    return topics if market_type == "spot" else [*topics, f"allLiquidation.{name}"]


@pytest.mark.parametrize("market_type", NAMES)
def test_bybit_sends_what_our_feed_reads_whole(market_type: MarketType) -> None:
    names = NAMES[market_type]
    with BybitVenue(market_type, names, seed=5, speed=120.0) as venue:
        heard = client(venue, [topic for name in names for topic in topics_of(market_type, name)]).talk(300)
        source = venue.source()
    trades = {name: [venue.trade_id(one.number) for one in made] for name, made in source.trades.items()}
    assert_whole(heard, trades, SPOT if market_type == "spot" else CONTRACTS)
    for name in names:
        for depth, most in DEPTHS.items():
            ours = heard.feed.books[f"orderbook.{depth}:{name}"].book.levels()
            assert [list(side) for side in ours] == [list(side) for side in venue.markets[name].levels(most)]


def test_bybit_rejects_a_whole_request_for_one_unknown_topic() -> None:
    with BybitVenue("linear", NAMES["linear"]) as venue:
        heard = client(venue, ["publicTrade.ABCUSDT", "kline.7.ABCUSDT"]).talk(1, 0.05)
        assert venue.subscribed() == set()
    assert [one.message for one in heard.of(VenueError)] == ["error:handler not found,topic:kline.7.ABCUSDT"]


def test_bybit_has_each_market_on_its_own_address() -> None:
    with BybitVenue("linear", NAMES["linear"]) as venue:
        assert client(venue, ["publicTrade.ABCUSDT"], "spot").talk(1, 0.05).of(VenueError)


def test_bybit_answers_pings_and_cuts_who_says_nothing() -> None:
    with BybitVenue("spot", NAMES["spot"], silence_seconds=0.3) as venue:
        heard = Client(venue, BybitFeed("spot"), f"{PATH}spot", [b'{"op":"ping"}']).talk(0, 0.05, rate=0.0)
        assert [one.kind for one in heard.of(Control)] == ["pong"]
        with pytest.raises(ConnectionError):
            heard.talk(0, 1.0, rate=0.0)
        assert venue.violations == ["/v5/public/spot: silence"]


# The collector.


@in_loop
async def test_lost_repeated_and_broken_messages_and_a_restart_leave_exact_books(tmp_path: Path) -> None:
    with BybitVenue("linear", ["ABCUSDT"]) as venue:
        async with collecting(venue, "bybit", "linear", ["ABCUSDT"], ("trade", "orderbook", "ticker"), tmp_path) as run:
            await run.live()
            for fault, cause in ((venue.skip, "sequence"), (venue.repeat, "repeat"), (venue.spoil, "sequence")):
                before = len(run.gaps("orderbook"))
                fault(1, "orderbook")
                await run.until(lambda before=before: len(run.gaps("orderbook")) > before, emit=5)  # type: ignore[misc]
                assert run.gaps("orderbook")[before].cause == cause
                await run.until(lambda: run.is_the_venues("ABCUSDT", DEPTH))
            before = len(run.gaps("orderbook"))
            await asyncio.get_running_loop().run_in_executor(None, venue.restart)
            await run.until(lambda: len(run.gaps("orderbook")) == before + 2)  # opened, and closed by the snapshot
            assert run.gaps("orderbook")[-1].next_id == 1
            await run.emit(50)
            await run.until(lambda: run.is_the_venues("ABCUSDT", DEPTH))
            venue.spoil(1, "tickers")
            venue.rate = 20.0
            await run.until(lambda: any(isinstance(one, DeadLetter) and b"tickers" in one.raw for one in run.trouble))
            seen = len(run.of(Ticker))
            await run.until(lambda: len(run.of(Ticker)) > seen)  # a new subscription brought the state again
            venue.rate = 0.0
            await run.until(lambda: not run.market.feed.resync_requests)
            assert {gap.stream for gap in run.gaps() if gap.healed_at is None} == {f"orderbook.{DEPTH}"}
            healed = [gap for gap in run.gaps("orderbook") if gap.healed_at is not None]
            assert len(healed) >= 4
    assert not venue.violations


@in_loop
async def test_one_unknown_topic_does_not_stop_the_others(tmp_path: Path) -> None:
    """An instrument that was delisted since its list was made."""
    with BybitVenue("linear", NAMES["linear"]) as venue:
        names, types = list(NAMES["linear"]), ("trade", "orderbook", "kline")
        async with collecting(venue, "bybit", "linear", names, types, tmp_path) as run:
            gone = venue.markets.pop(names[1])
            await run.until(
                lambda: sum(one.status == "confirmed" for one in run.market.state().subscriptions) == len(types)
            )
            await run.until(lambda: run.is_the_venues(names[0], DEPTH), emit=5)
            states = run.market.state().subscriptions
            assert {one.status for one in states if one.instrument == gone.name} == {"rejected"}
            reason = next(one.error for one in states if one.instrument == gone.name)
            assert reason is not None
            assert "handler not found" in reason


@in_loop
async def test_a_busy_socket_is_pinged_too(tmp_path: Path) -> None:
    with BybitVenue("spot", ["ABCUSDT"]) as venue:
        async with collecting(venue, "bybit", "spot", ["ABCUSDT"], ("trade",), tmp_path, wire=True) as run:
            run.market.adapter._adapter.ping_every = 0.1  # type: ignore[attr-defined]
            venue.rate = 200.0
            await run.until(lambda: sum(one.kind == "out" and b"ping" in one.raw for one in run.wire) >= 3)
            assert not run.trouble


def test_every_subscription_is_recognised_in_its_messages() -> None:
    feed = BybitFeed("linear", strict=False)
    instrument = feed.instruments["ABCUSDT"]
    adapters = [
        adapter_for("bybit", "linear", intervals=tuple(INTERVALS), depth=depth) for depth in (None, 1, 50, 1000)
    ]
    books = [
        one.stream
        for adapter in adapters
        for one in adapter.subscriptions(instrument, DERIVATIVES)
        if one.types == ("orderbook",)
    ]
    assert books == ["orderbook.200", "orderbook.1", "orderbook.50", "orderbook.1000"]
    adapter = adapters[0]
    for one in adapter.subscriptions(instrument, DERIVATIVES):
        raw = json.dumps({"topic": one.key, "data": []}, separators=(",", ":")).encode()
        assert adapter.key_of(adapter.channel_of(raw)) == one.key
        assert feed.stream_of(raw) == one.stream
