"""Binance from its list to its records, against the simulated venue, and each fault by itself."""

import asyncio
from pathlib import Path

import pytest
from binance_venue import BinanceVenue
from collecting import collecting

from marketdata_assets.exchanges.records import MarketType, OpenInterest, OrderBook, Ticker, Trade

ABC, XYZ = "ABCUSDT", "XYZUSDT"
NAMES: dict[MarketType, list[str]] = {"spot": [ABC, XYZ], "linear": [ABC, XYZ], "inverse": ["ABCUSD_PERP"]}
MAIN = ("trade", "orderbook", "ticker", "kline")


@pytest.mark.parametrize("market_type", NAMES)
def test_every_trade_and_every_book_of_the_venue_is_given_out(market_type: MarketType, tmp_path: Path) -> None:
    async def scenario(venue: BinanceVenue) -> None:
        types = MAIN if market_type == "spot" else (*MAIN, "open_interest")
        async with collecting(venue, "binance", market_type, NAMES[market_type], types, tmp_path) as run:
            await run.live()
            await run.emit(400)
            await run.caught_up()
            for name in NAMES[market_type]:
                state = run.market.feed.books[name]
                await run.until(lambda state=state, name=name: state.last_id == venue.markets[name].last_id)
                bids, asks = venue.markets[name].levels()
                book = run.market.book(name)
                assert book
                assert [(float(a), float(b)) for a, b in book.bids] == [(float(a), float(b)) for a, b in bids]
                assert [(float(a), float(b)) for a, b in book.asks] == [(float(a), float(b)) for a, b in asks]
            assert len(run.ids()) == len(set(run.ids()))
            assert {type(one) for one in run.records} >= {Trade, OrderBook, Ticker}
            if market_type != "spot":
                await run.until(lambda: run.of(OpenInterest))
            assert not run.gaps()
            assert not run.trouble

    with BinanceVenue(market_type, NAMES[market_type]) as venue:
        asyncio.run(scenario(venue))
    assert not venue.violations
