"""Hyperliquid's history against a server with its page sizes and faults."""

from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import history_pages
import pytest
from history_pages import HOUR, MINUTE, all_of, numbers, windows_after

from marketdata_assets.exchanges.errors import BadPage, UnknownInstrument
from marketdata_assets.exchanges.hyperliquid.parse import INTERVALS
from marketdata_demo.venues.hyperliquid_venue import HyperliquidServer
from marketdata_demo.venues.live_market import Happened

START = 1_700_006_400_000  # ms, on an hour
PERP, SPOT = "ABC", "ABC/USDC"
window = windows_after(START)


@pytest.fixture
def server() -> Iterator[HyperliquidServer]:
    with HyperliquidServer() as one:
        yield one


def run(
    server: HyperliquidServer,
    folder: Path,
    body: Callable[[Any], Coroutine[Any, Any, Any]],
    *names: str,
    now: int = START + 2000 * MINUTE,
) -> Any:
    return history_pages.run(
        server, folder, ("hyperliquid", "linear"), body, *names or (PERP, SPOT, "NONE"), now_ms=now
    )


def test_listed_are_perpetuals_and_pairs(server: HyperliquidServer, tmp_path: Path) -> None:
    listed = run(server, tmp_path, lambda history: history.listed())
    assert {(one.name, one.market_type, one.symbol) for one in listed} == {
        (PERP, "linear", "ABC-USDC"),
        (SPOT, "spot", "ABC-USDC"),
    }


def test_candles_that_the_venue_no_longer_has_are_refused_and_not_taken_for_none(
    server: HyperliquidServer, tmp_path: Path
) -> None:
    now = START + 5000 * MINUTE
    found = run(server, tmp_path, lambda history: all_of(history.klines(PERP, "1m", window(0, HOUR))), now=now)
    assert len(found) == 60
    with pytest.raises(BadPage, match="the venue has only the last 5000 candles of 1m, since 1700006460000 ms"):
        run(server, tmp_path, lambda history: all_of(history.klines(PERP, "1m", window(0, HOUR))), now=now + MINUTE)


def test_every_interval_is_asked_for_by_its_name(server: HyperliquidServer, tmp_path: Path) -> None:
    for interval in INTERVALS:
        span = window(0, 40 * 24 * HOUR) if interval[-1] in "dwM" else window(0, 12 * HOUR)
        found = run(server, tmp_path, lambda history, span=span, i=interval: all_of(history.klines(SPOT, i, span)))
        assert {one.interval for one in found} == {interval}


def test_the_last_ten_trades_are_all_there_are(server: HyperliquidServer, tmp_path: Path) -> None:
    server.trades = [Happened(START + number // 2, 100 + number) for number in range(30)]
    found = run(server, tmp_path, lambda history: all_of(history.trades(PERP, window(11, 14))))
    assert numbers(found) == [122, 123, 124, 125, 126, 127]


@pytest.mark.parametrize("begin", [0, 10])  # the oldest of the ten may be the rest of a block
def test_a_window_that_begins_before_them_is_refused(server: HyperliquidServer, tmp_path: Path, begin: int) -> None:
    server.trades = [Happened(START + number // 2, 100 + number) for number in range(30)]
    with pytest.raises(BadPage, match="last 10 trades, since 1700006400010 ms"):
        run(server, tmp_path, lambda history: all_of(history.trades(PERP, window(begin, 14))))


def test_without_any_trade_nothing_is_known(server: HyperliquidServer, tmp_path: Path) -> None:
    with pytest.raises(BadPage, match="sent none"):
        run(server, tmp_path, lambda history: all_of(history.trades(PERP, window(0, 14))))


def test_an_answer_about_a_coin_that_is_not_in_the_list_is_no_page(server: HyperliquidServer, tmp_path: Path) -> None:
    with pytest.raises(BadPage, match="not in the instrument list") as caught:
        run(server, tmp_path, lambda history: all_of(history.klines(PERP, "1m", window(0, HOUR))), SPOT)
    assert isinstance(caught.value.__cause__, UnknownInstrument)
