"""A market of each venue, for what has to hold of all of them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_demo.venues.binance_venue import BinanceVenue
from marketdata_demo.venues.coinbase_venue import CoinbaseVenue
from marketdata_demo.venues.deribit_venue import DeribitVenue
from marketdata_demo.venues.hyperliquid_venue import HyperliquidVenue
from marketdata_demo.venues.kraken_venue import KrakenVenue
from marketdata_demo.venues.okx_venue import OkxVenue
from marketdata_demo.venues.venue import Venue
from tests.collector.collecting import Run, collecting

MAIN = ("trade", "orderbook")


@dataclass(frozen=True)
class Case:
    """A market with two instruments."""

    exchange: Exchange
    market_type: MarketType
    names: Sequence[str]
    open: Callable[..., Venue]  # with the names
    trades: str  # the stream of trades, without the instrument
    book: str  # the stream of books, without the instrument
    lost: str = "sequence"  # the cause of a gap of a book's message that does not come
    shared: bool = False  # such a message may be of any book of its connection
    best: int = 1000  # so many levels of books at most

    def trade_key(self, name: str) -> str:
        """The subscription to trades of an instrument."""
        if self.exchange == "binance":
            return f"{name.lower()}@{self.trades}"
        return f"{self.trades}:{name}" if self.exchange != "deribit" else f"trades.{name}.100ms"

    def book_key(self, name: str) -> str:
        """How the subscription to its book begins."""
        if self.exchange == "binance":
            return f"{name.lower()}@{self.book}"
        return f"{self.book}:{name}" if self.exchange != "deribit" else f"book.{name}"


BINANCE = Case("binance", "spot", ["ABCUSDT", "XYZUSDT"], lambda names: BinanceVenue("spot", names), "trade", "depth")
LINEAR = Case(
    "binance", "linear", ["ABCUSDT", "XYZUSDT"], lambda names: BinanceVenue("linear", names), "aggTrade", "depth"
)
OKX = Case("okx", "linear", ["ABC-USDT-SWAP", "XYZ-USDT-SWAP"], OkxVenue, "trades", "books")
DERIBIT = Case("deribit", "inverse", ["ABC-PERPETUAL", "XYZ-PERPETUAL"], DeribitVenue, "trades.100ms", "book")

KRAKEN = Case("kraken", "spot", ["ABC/USD", "BTC/USD"], KrakenVenue, "trade", "book", lost="checksum", best=10)
HYPERLIQUID = Case(
    "hyperliquid", "linear", ["ABC", "XYZ"], lambda names: HyperliquidVenue(names, book_ms=0), "trades", "l2Book",
    best=20,
)  # fmt: skip
COINBASE = Case("coinbase", "spot", ["ABC-USD", "XYZ-USD"], CoinbaseVenue, "market_trades", "level2", shared=True)

EVERY_VENUE = (BINANCE, OKX, DERIBIT)
EVERY_MARKET = (BINANCE, LINEAR, OKX, DERIBIT)
BY_CHANNEL = (KRAKEN, COINBASE)


def each(*cases: Case, alike: bool = False) -> pytest.MarkDecorator:
    """A test of each case. With `alike`, as what is tested is the same for every venue, all but the first are slow."""
    of = [pytest.param(one, marks=[pytest.mark.slow] if alike and number else []) for number, one in enumerate(cases)]
    return pytest.mark.parametrize("case", of, ids=lambda case: f"{case.exchange}-{case.market_type}")


def collected(*cases: Case, alike: bool = False, **options: Any) -> Callable[[Callable[..., Awaitable[None]]], Any]:
    """A coroutine as the test of a market that is live, for `each` case; it may take `case` and `tmp_path` as well."""

    def decorate(test: Callable[..., Awaitable[None]]) -> Any:
        def whole(case: Case, tmp_path: Path) -> None:
            given = {"case": case, "tmp_path": tmp_path}
            wanted = given.keys() & signature(test).parameters.keys()
            collect(case, tmp_path, partial(test, **{name: given[name] for name in wanted}), **options)

        whole.__name__, whole.__doc__, whole.__module__ = test.__name__, test.__doc__, test.__module__
        return each(*cases, alike=alike)(whole)

    return decorate


def collect(case: Case, folder: Path, act: Callable[[Run, Venue], Awaitable[None]], **options: Any) -> None:
    """Collect both instruments of a case until all is live, and then act."""

    async def scenario(venue: Venue) -> None:
        names, types = options.pop("names", case.names), options.pop("types", MAIN)
        async with collecting(venue, case.exchange, case.market_type, names, types, folder, **options) as run:
            await run.live()
            await act(run, venue)

    with case.open(case.names) as venue:
        asyncio.run(scenario(venue))
    assert not venue.violations
