"""The simulated Binance against our own feed: what it sends is read whole, and makes the book that the venue has."""

import asyncio
from decimal import Decimal

import aiohttp
import pytest
from binance_venue import BinanceVenue

from marketdata_assets.exchanges.binance.feed import BinanceFeed
from marketdata_assets.exchanges.binance.session import Session, snapshot_path
from marketdata_assets.exchanges.outcomes import Control, DeadLetter, Outcome
from marketdata_assets.exchanges.records import (
    FundingRate,
    Gap,
    Kline,
    Liquidation,
    MarketType,
    OrderBook,
    Ticker,
    Trade,
)

NAMES = {"spot": "ABCUSDT", "linear": "ABCUSDT", "inverse": "ABCUSD_PERP"}
KINDS = ("trade", "aggTrade", "depth@100ms", "bookTicker", "kline_1m", "ticker", "markPrice", "forceOrder")
PUBLIC = ("trade", "depth", "bookTicker")


class Client:
    """A plain client of one market: all streams, and the snapshot that the feed wants."""

    def __init__(self, venue: BinanceVenue) -> None:
        self.venue = venue
        self.name = NAMES[venue.market_type]
        self.feed = BinanceFeed(venue.market_type)
        self.made: list[Outcome] = []
        self.clock = 0

    async def listed(self, http: aiohttp.ClientSession) -> None:
        await self._ask(http, "/fapi/v1/exchangeInfo")

    async def snapshot(self, http: aiohttp.ClientSession) -> None:
        path, params, _ = snapshot_path(self.venue.market_type, self.name)
        await self._ask(http, path + "?" + "&".join(f"{key}={value}" for key, value in params.items()))

    async def _ask(self, http: aiohttp.ClientSession, path: str) -> None:
        async with http.get(self.venue.url + path) as answer:
            self.made += self.feed.answer(str(answer.url), await answer.read(), self.tick())

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def take(self, raw: bytes) -> None:
        self.made += self.feed.push(raw, self.tick())

    def of(self, kind: type) -> list[Outcome]:
        return [one for one in self.made if isinstance(one, kind)]


def _streams(venue: BinanceVenue, part: str) -> list[str]:
    kinds = KINDS
    if venue.market_type == "linear":
        kinds = tuple(kind for kind in KINDS if kind.startswith(PUBLIC) is (part == "public"))
    return [f"{NAMES[venue.market_type].lower()}@{kind}" for kind in kinds]


async def _talk(venue: BinanceVenue, part: str, events: int) -> Client:
    client = Client(venue)
    async with aiohttp.ClientSession() as http:
        await client.listed(http)
        path = f"/{part}/stream" if venue.market_type == "linear" else "/stream"
        async with http.ws_connect(venue.ws_url + path) as socket:
            for request in Session(venue.market_type).subscribe(_streams(venue, part)):
                await socket.send_str(request.decode())
            client.take((await socket.receive()).data.encode())
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, venue.emit, 5)
            await asyncio.sleep(0.05)
            await client.snapshot(http)
            venue.rate = 500.0
            await asyncio.sleep(1.3)
            venue.rate = 0.0
            await loop.run_in_executor(None, venue.emit, events)
            while True:
                try:
                    client.take((await asyncio.wait_for(socket.receive(), 0.3)).data.encode())
                except TimeoutError:
                    return client


@pytest.mark.parametrize("market_type", ["spot", "linear", "inverse"])
def test_all_that_the_venue_sends_is_read_and_its_book_is_ours(market_type: MarketType) -> None:
    with BinanceVenue(market_type, [NAMES[market_type]], seed=7, speed=120.0, start_ms=1_700_000_000_000) as venue:
        client = asyncio.run(_talk(venue, "public", 300))
        source = venue.source()
    name = NAMES[market_type]
    assert not client.of(DeadLetter)
    assert not client.of(Gap)
    assert {int(one.trade_id) for one in client.of(Trade) if not one.first_id} == {
        one.number for one in source.trades[name]
    }
    book = client.feed.books[name]
    assert book.status == "live"
    assert book.last_id == venue.markets[name].last_id
    ours = [[(Decimal(p), Decimal(s)) for p, s in side] for side in book.book.levels()]
    theirs = [[(Decimal(p), Decimal(s)) for p, s in side] for side in venue.markets[name].levels()]
    assert ours == theirs
    assert client.feed.chains[name].agreed > 10
    assert client.of(OrderBook)
    assert client.of(Ticker)
    if market_type == "spot":
        assert [one for one in client.of(Kline) if one.closed]
    if market_type == "inverse":
        assert client.of(FundingRate)
        assert client.of(Liquidation)


def test_a_stream_on_the_wrong_address_is_confirmed_and_silent() -> None:
    with BinanceVenue("linear", [NAMES["linear"]]) as venue:
        client = asyncio.run(_talk(venue, "market", 20))
        assert not [stream for stream in venue.subscribed() if "depth" in stream]
    assert [one for one in client.made if isinstance(one, Control) and one.kind == "ack"]
    assert [one for one in client.of(Trade) if one.first_id]
    assert not [one for one in client.of(Trade) if not one.first_id]
