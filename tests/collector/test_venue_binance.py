"""The simulated Binance against our own feed: what it sends is read whole, and makes the book that the venue has."""

import pytest
from venue_client import Client, assert_whole, same

from marketdata_assets.exchanges.binance.feed import BinanceFeed
from marketdata_assets.exchanges.binance.session import MARKETS, Session
from marketdata_assets.exchanges.records import (
    Control,
    FundingRate,
    Kline,
    Liquidation,
    MarketType,
    OrderBook,
    Ticker,
    Trade,
)
from marketdata_demo.venues.binance_venue import BinanceVenue

NAMES: dict[MarketType, str] = {"spot": "ABCUSDT", "linear": "ABCUSDT", "inverse": "ABCUSD_PERP"}
PUBLIC = ("trade", "depth@100ms", "bookTicker")
MARKET = ("aggTrade", "kline_1m", "ticker", "markPrice", "forceOrder")


def _client(venue: BinanceVenue, part: str) -> Client:
    market_type, name = venue.market_type, NAMES[venue.market_type]
    two = market_type == "linear"
    kinds = (PUBLIC if part == "public" else MARKET) if two else PUBLIC + MARKET
    path = MARKETS[market_type].path
    return Client(
        venue,
        BinanceFeed(market_type),
        f"/{part}/stream" if two else "/stream",
        Session(market_type).subscribe(f"{name.lower()}@{kind}" for kind in kinds),
        lists=[f"{path}/exchangeInfo"],
        snapshots=[f"{path}/depth?symbol={name}&limit=1000"] if part == "public" else [],
    )


@pytest.mark.parametrize("market_type", ["spot", "linear", "inverse"])
def test_all_that_the_venue_sends_is_read_and_its_book_is_ours(market_type: MarketType) -> None:
    name = NAMES[market_type]
    with BinanceVenue(market_type, [name], seed=7, speed=120.0, start_ms=1_700_000_000_000) as venue:
        client = _client(venue, "public").talk(300)
        source = venue.source()
    more = {"spot": [Kline], "linear": [], "inverse": [FundingRate, Liquidation]}
    assert_whole(
        client, {name: [str(one.number) for one in source.trades[name]]}, (OrderBook, Ticker, *more[market_type])
    )
    assert client.feed.books[name].last_id == venue.markets[name].last_id
    assert same(client.feed.books[name].book, venue.markets[name])
    assert client.feed.chains[name].agreed > 10
    assert market_type != "spot" or [one for one in client.of(Kline) if one.closed]


def test_a_stream_on_the_wrong_address_is_confirmed_and_silent() -> None:
    with BinanceVenue("linear", [NAMES["linear"]]) as venue:
        client = _client(venue, "market")
        client.asks = Session("linear").subscribe(["abcusdt@depth@100ms", "abcusdt@aggTrade"])
        client.talk(20, 0.1)
    assert [one.detail for one in client.of(Control)][-1:] == ["1"]
    assert client.of(Trade)
    assert not client.of(OrderBook)
