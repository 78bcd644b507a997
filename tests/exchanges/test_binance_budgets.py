"""Binance's weights, pauses and budgets, against a server that counts."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.budget import Budget, ReservedShares
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.binance.adapter import BinanceAdapter
from marketdata_assets.exchanges.binance.history import MARKETS, STATISTICS_LANE, limits
from marketdata_assets.exchanges.errors import UnknownExchange
from marketdata_assets.exchanges.records import MarketType
from marketdata_assets.exchanges.rest import Limits
from marketdata_assets.local.endpoints import exchange_budgets
from marketdata_assets.settings import BadSettings, Settings
from marketdata_demo.venues.binance_venue import MINUTE, BinanceServer
from marketdata_demo.venues.live_market import Happened
from tests.exchanges import history_pages
from tests.exchanges.history_pages import all_of, numbers, windows_after
from tests.recorded_budgets import RecordedBudgets

START = 1_700_000_040_000  # ms, on a minute
LINEAR = "ABCUSDT"
window = windows_after(START)


@pytest.fixture
def server() -> Iterator[BinanceServer]:
    with BinanceServer() as one:
        yield one


def run(
    server: BinanceServer,
    folder: Path,
    body: Callable[[Any], Coroutine[Any, Any, Any]],
    allowed: Limits | None = None,
) -> Any:
    return history_pages.run(server, folder, ("binance", "linear"), body, allowed=allowed, listed=True)


@pytest.mark.parametrize("status", [429, 418])
def test_a_host_that_wants_silence_gets_it_and_then_all_goes_on(tmp_path: Path, status: int) -> None:
    with BinanceServer() as server:
        server.fail(status, where="klines", text='{"code":-1003,"msg":"Too many requests"}', retry="1")
        ends = time.monotonic() + 1.0
        found = run(server, tmp_path, lambda history: all_of(history.klines(LINEAR, "1m", window(0, 3 * MINUTE))))
        assert len(found) == 3
        assert time.monotonic() >= ends


def test_a_ban_whose_end_only_its_words_tell_is_waited_for(server: BinanceServer, tmp_path: Path) -> None:
    ends = time.time() + 0.7
    words = f"Way too much request weight used; IP banned until {int(ends * 1000)}. Please wait."
    server.say(json.dumps({"code": -1003, "msg": words}).encode(), where="klines", status=418)
    found = run(server, tmp_path, lambda history: all_of(history.klines(LINEAR, "1m", window(0, 3 * MINUTE))))
    assert len(found) == 3
    assert time.time() >= ends


def test_requests_are_counted_by_their_weight(tmp_path: Path) -> None:
    with BinanceServer() as server:
        server.trades = [Happened(START, 1)]
        budgets = RecordedBudgets(tmp_path)
        allowed = Limits(Budget(budgets, "weighted", 1.0, 100))
        for _ in range(2):
            found = run(server, tmp_path, lambda history: all_of(history.trades(LINEAR, window(0, 5))), allowed=allowed)
            assert numbers(found) == [1]
        assert budgets.costs["weighted"] == [1, 20, 20] * 2, "the listing, and two pages of trades"
        assert server.requests == 2 * 3


def test_every_market_has_the_budget_of_its_pool(tmp_path: Path) -> None:
    pools = {"spot": "api", "linear": "fapi", "inverse": "fapi", "option": "eapi"}
    for market_type, market in MARKETS.items():
        found = limits(tmp_path, market_type)
        assert (found.host.requests, found.host.per_seconds) == (market.weight_per_minute, 60.0)
        assert found.host.name == venues.find("binance").pool(market_type) == f"{pools[market_type]}.binance.com"
        assert found.lanes[STATISTICS_LANE].requests == 1000


def test_both_markets_of_futures_take_turns_of_one_budget(tmp_path: Path) -> None:
    """As the venue counts them since 2026-06-30: 2400 a minute for both hosts together."""
    budgets = RecordedBudgets(tmp_path)
    markets: tuple[MarketType, ...] = ("linear", "inverse")

    async def once() -> None:
        for market_type in markets:
            await limits(budgets, market_type).host.acquire(cost=20)

    asyncio.run(once())
    first, second = budgets.turns["fapi.binance.com"]
    assert second - first >= 20 * 60 / 2400


def test_a_share_is_left_to_a_program_on_the_same_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETDATA_EXCHANGE_RESERVED", '{"binance": 0.6}')
    found = exchange_budgets(Settings())
    assert isinstance(found, ReservedShares)
    assert set(found.shares) == {f"{pool}.binance.com" for pool in ("api", "fapi", "eapi")}
    budgets = RecordedBudgets(tmp_path)
    shared = ReservedShares(budgets, found.shares)
    asyncio.run(limits(shared, "inverse").host.acquire(cost=2))
    asyncio.run(Budget(shared, "www.okx.com", 1.0, 100).acquire(cost=2))
    assert budgets.costs["fapi.binance.com"] == [pytest.approx(5.0)]
    assert budgets.costs["www.okx.com"] == [2]
    monkeypatch.setenv("MARKETDATA_EXCHANGE_RESERVED", '{"binanse": 0.6}')
    with pytest.raises(UnknownExchange, match="binance"):
        exchange_budgets(Settings())
    monkeypatch.setenv("MARKETDATA_EXCHANGE_RESERVED", '{"binance": 1}')
    with pytest.raises(BadSettings, match="MARKETDATA_EXCHANGE_RESERVED"):
        Settings()


@pytest.mark.parametrize(
    ("market_type", "levels", "weight"),
    [
        *(("linear", None, 20), ("linear", 500, 10), ("inverse", 100, 5), ("linear", 50, 2)),
        *(("spot", None, 50), ("spot", 100, 5)),
    ],
)
def test_a_snapshot_costs_what_its_levels_cost(market_type: MarketType, levels: int | None, weight: int) -> None:
    request = BinanceAdapter(venues.find("binance"), market_type, depth=levels).snapshot("ABCUSDT")
    assert request.params == {"symbol": "ABCUSDT", "limit": levels or 1000}
    assert (request.path.rpartition("/")[2], request.cost) == ("depth", weight)


def test_1500_books_of_futures_are_complete_in_three_minutes(tmp_path: Path) -> None:
    seconds = {
        levels: 1500 * weight * limits(tmp_path, "linear").host.spacing
        for levels, weight in MARKETS["linear"].snapshot_weights.items()
    }
    assert seconds[50] < 80 and seconds[100] < 200 < seconds[500]
