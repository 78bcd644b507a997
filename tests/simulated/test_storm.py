"""Hours of all markets of all venues from one address, with patterns: no limit is exceeded, and storms end soon.

Requests are counted by the simulated servers, against the limits of the venues' documentation as they stand here; those
of sockets and messages by the simulated venues, which take the numbers from the adapters.
"""

import asyncio
import json
import os
from collections import deque
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from string import ascii_uppercase
from unittest.mock import patch

import pytest

from marketdata_assets.collector import config as configuration
from marketdata_assets.collector.assembly import Places
from marketdata_assets.collector.servers import Servers
from marketdata_assets.collector.service import Collector
from marketdata_assets.exchanges import venues
from marketdata_demo.venues.binance_venue import BinanceVenue
from marketdata_demo.venues.bybit_venue import BybitVenue
from marketdata_demo.venues.coinbase_venue import CoinbaseVenue
from marketdata_demo.venues.deribit_venue import DeribitVenue
from marketdata_demo.venues.hyperliquid_venue import HyperliquidVenue
from marketdata_demo.venues.kraken_venue import KrakenVenue
from marketdata_demo.venues.okx_venue import OkxVenue
from marketdata_demo.venues.venue import Venue
from tests.simulated import virtual_loop
from tests.simulated.simulation import START, live_in, loop_of
from tests.simulated.virtual_loop import SECOND, VirtualLoop, virtual_clock

COINS = ["".join(letters) for letters in product(ascii_uppercase[:8], repeat=3)]
HOURS = float(os.environ.get("STORM_HOURS", "0.4"))
STORMS = 3
KEPT = 50
"""Events of each instrument that its venue remembers."""

SOON = 180.0
"""Seconds until all books are live again."""

USUAL, HASTE = 50, 10
"""Seconds between two changes of each book, and while books are not live: some are known to live by a change alone."""

TYPES = "trade", "orderbook"

Placed = tuple[str, str, Venue]
"""An exchange, a market type, and where it is."""


def names(form: str, count: int) -> list[str]:
    return [form.format(coin) for coin in COINS[:count]]


def all_markets() -> list[Placed]:
    """Each market as large as it is, or nearly so; a venue with one address for its markets is one server."""
    okx = OkxVenue(
        names("{}-USDT", 300)
        + names("{}-USDT-SWAP", 250)
        + names("{}-USD-SWAP", 20)
        + names("{}-USD-301225-100-C", 100),
        minute=20,
        minute_seconds=2.0,
    )
    deribit = DeribitVenue(
        names("{}_USDC", 20)
        + names("{}_USDC-PERPETUAL", 40)
        + names("{}-PERPETUAL", 2)
        + names("{}-25DEC30-100-C", 400)
    )
    hyperliquid = HyperliquidVenue(names("{}/USDC", 100) + names("{}", 180), book_ms=60_000, minute=60)
    return [
        ("binance", "spot", BinanceVenue("spot", names("{}USDT", 400), minute=6000)),
        ("binance", "linear", BinanceVenue("linear", names("{}USDT", 500), minute=2400)),
        ("binance", "inverse", BinanceVenue("inverse", names("{}USD_PERP", 40), minute=2400)),
        ("binance", "option", BinanceVenue("option", names("{}-301225-100-C", 100), minute=400)),
        *(("okx", market, okx) for market in ("spot", "linear", "inverse", "option")),
        ("bybit", "spot", BybitVenue("spot", names("{}USDT", 400), minute=600, minute_seconds=5.0)),
        ("bybit", "linear", BybitVenue("linear", names("{}USDT", 500), minute=600, minute_seconds=5.0)),
        ("bybit", "inverse", BybitVenue("inverse", names("{}USD", 20), minute=600, minute_seconds=5.0)),
        *(("deribit", market, deribit) for market in ("spot", "linear", "inverse", "option")),
        ("kraken", "spot", KrakenVenue(names("{}/USD", 400), minute=1, minute_seconds=0.9)),
        ("coinbase", "spot", CoinbaseVenue(names("{}-USD", 400), minute=10, minute_seconds=1.0)),
        *(("hyperliquid", market, hyperliquid) for market in ("spot", "linear")),
    ]


def configured(placed: Sequence[Placed]) -> configuration.Config:
    exchanges: dict[str, dict[str, dict[str, object]]] = {}
    for exchange, market_type, venue in placed:
        types = [one for one in TYPES if one in venues.find(exchange).markets[market_type].data_types]
        market: dict[str, object] = {"symbols": ["*"], "data_types": types}
        if exchange == "binance" and market_type != "option":
            market["book_depth"] = 100
        market |= {"ws_url": venue.ws_url, "base_url": venue.url}
        exchanges.setdefault(exchange, {"markets": {}})["markets"][market_type] = market
    text = json.dumps({"exchanges": exchanges, "http": {"port": 0}, "capture": {"enabled": True}})
    return configuration.parse(text, "storm.yaml")


def requests_of(venue: Venue) -> list[tuple[float, int]]:
    """When the venue is asked from now on, and what each request costs."""
    asked: list[tuple[float, int]] = []
    count = venue._over

    def counted(arrived: float, cost: int) -> str | None:
        asked.append((arrived, cost))
        return count(arrived, cost)

    venue._over = counted  # type: ignore[method-assign]
    return asked


def most_in_a_minute(asked: Sequence[tuple[float, int]]) -> int:
    window, within, most = deque[tuple[float, int]](), 0, 0
    for at, cost in sorted(asked):
        window.append((at, cost))
        within += cost
        while window[0][0] <= at - 60:
            within -= window.popleft()[1]
        most = max(most, within)
    return most


def waiting(collector: Collector) -> int:
    """Books that are not live, of all that are wanted."""
    waits = 0
    for one in collector.status().markets:
        followed = one.instruments or 1  # the list has not come
        waits += followed - sum(book.status == "live" for book in one.books) if one.name != "binance option" else 0
    return waits


async def live_after(loop: VirtualLoop, collector: Collector, servers: Sequence[Venue]) -> float:
    """Seconds until no book waits."""
    began = loop.time()
    with patch.object(virtual_loop, "TICK", SECOND // 5):
        while waiting(collector) and loop.time() - began < 3600:
            await asyncio.sleep(1)
            if round(loop.time() - began) % HASTE == 0:
                happen(servers)
    return loop.time() - began


def happen(servers: Sequence[Venue]) -> None:
    """A trade and a change of each instrument that somebody subscribed to; what is long ago is forgotten."""
    for venue in servers:
        venue._forget(KEPT)
        for name in venue.markets:
            for kind in ("book", "trade"):
                if (name, kind) in venue._wanted:
                    venue._happen(name, kind)


async def until(loop: VirtualLoop, hour: float, servers: Sequence[Venue]) -> None:
    while (left := hour * 3600 - (loop.clock.now - START) / SECOND) > 0:
        await asyncio.sleep(min(USUAL, max(left, 1.0)))  # a sleep below its resolution would not advance the clock
        happen(servers)


async def live(loop: VirtualLoop, folder: Path, placed: Sequence[Placed]) -> dict[str, float]:
    servers = list({id(venue): venue for *_, venue in placed}.values())
    for venue in servers:
        await venue._start()
    collector = Collector(
        configured(placed), Servers(), Places(folder / "own", folder / "budgets", folder / "captures")
    )
    stop = asyncio.Event()
    running = asyncio.ensure_future(collector.run(stop))
    took = {"start": await live_after(loop, collector, servers)}
    for storm in range(1, STORMS + 1):
        await until(loop, HOURS * storm / (STORMS + 1), servers)
        for venue in servers:
            venue.hang_up()
        await asyncio.sleep(1)
        took[f"storm {storm}"] = await live_after(loop, collector, servers)
    await until(loop, HOURS, servers)
    assert waiting(collector) == 0
    stop.set()
    await running
    for venue in servers:
        await venue._stop()
    return took


@pytest.mark.slow
@pytest.mark.timeout(int(3600 + 300 * HOURS))
def test_hours_of_all_markets_from_one_address_exceeds_no_limit_and_storms_end_soon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with virtual_clock(START) as clock, loop_of(clock) as loop:
        placed = all_markets()
        servers = {id(venue): venue for *_, venue in placed}
        for venue in servers.values():
            live_in(loop, venue)
        asked = {key: requests_of(venue) for key, venue in servers.items()}
        took = loop.run_until_complete(live(loop, tmp_path, placed))
    futures = [one for exchange, market, venue in placed if (exchange, market) in FUTURES for one in asked[id(venue)]]
    shared = most_in_a_minute(futures)
    followed = sum(len(venue.markets) for venue in servers.values())
    with capsys.disabled():
        print(
            f"\n{followed} instruments; seconds until live: {took}; {shared} of 2400 in a minute by Binance's futures"
        )
    broken = [rule for venue in servers.values() for rule in venue.violations]
    assert broken == []
    assert {venue.__class__.__name__: venue.overruns for venue in servers.values() if venue.overruns} == {}
    assert shared <= 2400
    assert max(took.values()) < SOON


FUTURES = {("binance", "linear"), ("binance", "inverse")}
"""Markets of one pool of weight."""
