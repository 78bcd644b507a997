"""Each venue from its list to its records, against the simulated one: all that happened is given out, once."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from marketdata_assets.collector.connections.socket import RECEIVE_BYTES
from marketdata_assets.exchanges.bybit.adapter import DEPTH
from marketdata_assets.exchanges.records import (
    Exchange,
    FundingRate,
    Kline,
    Liquidation,
    MarketType,
    OpenInterest,
    OrderBook,
    Ticker,
    Trade,
)
from marketdata_demo.venues.binance_venue import BinanceVenue
from marketdata_demo.venues.bybit_venue import BybitVenue
from marketdata_demo.venues.coinbase_venue import CoinbaseVenue
from marketdata_demo.venues.deribit_venue import DeribitVenue
from marketdata_demo.venues.hyperliquid_venue import HyperliquidVenue
from marketdata_demo.venues.kraken_venue import KrakenVenue
from marketdata_demo.venues.okx_venue import OkxVenue
from marketdata_demo.venues.venue import Venue
from tests.collector.collecting import collecting
from tests.collector.in_loop import in_loop

SPOT = (Trade, OrderBook, Ticker, Kline)
SWAP = (*SPOT, FundingRate, OpenInterest, Liquidation)


@dataclass(frozen=True)
class Case:
    """A market, and the records that its venue sends of each instrument."""

    exchange: Exchange
    market_type: MarketType
    names: Sequence[str]
    venue: Callable[[Sequence[str]], Venue]
    kinds: Sequence[type]
    best: int = 1000  # so many levels of books at most


def bybit(market_type: MarketType) -> Callable[[Sequence[str]], Venue]:
    def opened(names: Sequence[str]) -> Venue:
        venue = BybitVenue(market_type, names)
        venue.page = 1  # instruments come page by page
        return venue

    return opened


def hyperliquid(_: Sequence[str]) -> Venue:
    return HyperliquidVenue(["ABC/USDC", "XYZ/USDC", "ABC", "XYZ"], book_ms=0)


CASES = (
    Case("binance", "spot", ["ABCUSDT", "XYZUSDT"], lambda names: BinanceVenue("spot", names), SPOT),
    Case("binance", "linear", ["ABCUSDT", "XYZUSDT"], lambda names: BinanceVenue("linear", names), SWAP),
    Case("binance", "inverse", ["ABCUSD_PERP"], lambda names: BinanceVenue("inverse", names), SWAP),
    Case("okx", "spot", ["ABC-USDT", "XYZ-USDT"], OkxVenue, SPOT),
    Case("okx", "linear", ["ABC-USDT-SWAP", "XYZ-USDT-SWAP"], OkxVenue, SWAP),
    Case("okx", "inverse", ["ABC-USD-SWAP"], OkxVenue, SWAP),
    Case("deribit", "inverse", ["ABC-PERPETUAL", "XYZ-PERPETUAL"], DeribitVenue, SWAP[:-1]),
    Case("deribit", "linear", ["ABC_USDC-PERPETUAL"], DeribitVenue, SWAP[:-1]),
    Case("deribit", "spot", ["ABC_USDC"], DeribitVenue, SPOT),
    Case("bybit", "spot", ["ABCUSDT", "XYZUSDT"], bybit("spot"), SPOT, DEPTH),
    Case("bybit", "linear", ["ABCUSDT", "XYZUSDT-27DEC30"], bybit("linear"), SWAP, DEPTH),
    Case("bybit", "inverse", ["ABCUSD"], bybit("inverse"), SWAP, DEPTH),
    Case("kraken", "spot", ["ABC/USD", "BTC/USD"], KrakenVenue, SPOT, 10),
    Case("coinbase", "spot", ["ABC-USD", "XYZ-USD"], CoinbaseVenue, SPOT[:-1]),
    Case("hyperliquid", "spot", ["ABC/USDC", "XYZ/USDC"], hyperliquid, SPOT, 20),
    Case("hyperliquid", "linear", ["ABC", "XYZ"], hyperliquid, SWAP[:-1], 20),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.exchange}-{case.market_type}")
@in_loop
async def test_every_event_is_delivered_once_and_books_equal_the_venues(case: Case, tmp_path: Path) -> None:
    types = [str(kind.__struct_config__.tag) for kind in case.kinds]  # type: ignore[attr-defined]
    with case.venue(case.names) as venue:
        async with collecting(
            venue, case.exchange, case.market_type, case.names, types, tmp_path, budgeted=True
        ) as run:
            await run.live()
            venue.rate = 100.0  # what is sent each second needs a market that moves
            await run.until(lambda: {type(one) for one in run.records} >= set(case.kinds))
            venue.rate = 0.0
            await run.emit(200)
            await run.caught_up()
            await run.until(lambda: all(run.is_the_venues(name, case.best) for name in case.names))
            assert len(run.ids()) == len(set(run.ids())) == sum(map(len, venue.source().trades.values()))
            assert not run.gaps()
            assert not run.trouble
    assert not venue.violations


@in_loop
async def test_a_flood_is_read_in_parts(tmp_path: Path) -> None:
    """What is read at a time is bounded, so that everything else has its turn."""
    with BinanceVenue("spot", ["ABCUSDT"]) as venue:
        types = ("trade", "ticker", "orderbook")
        async with collecting(venue, "binance", "spot", ["ABCUSDT"], types, tmp_path, wire=True) as run:
            await run.live()
            venue.hold()
            await run.emit(20_000)
            venue.release()
            await run.caught_up()
            read = Counter[int]()
            for one in run.wire:
                read[one.ts_recv] += len(one.raw)
    assert read.total() > 8 * RECEIVE_BYTES
    # The kernel counts what a packet takes in memory, and allows for more.
    assert max(read.values()) <= 3 * RECEIVE_BYTES
