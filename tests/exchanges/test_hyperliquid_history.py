"""Hyperliquid's history against a server with its page sizes and faults."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from history_pages import HASTY, MS, all_of, numbers, windows_after

from marketdata_assets.budget import Budget
from marketdata_assets.exchanges.errors import BadPage, RequestRejected, UnknownInstrument
from marketdata_assets.exchanges.hyperliquid.history import HyperliquidHistory, body_of
from marketdata_assets.exchanges.hyperliquid.instruments import known_instruments
from marketdata_assets.exchanges.hyperliquid.parse import INTERVALS
from marketdata_assets.exchanges.hyperliquid.wire import refusal
from marketdata_assets.exchanges.instruments import Instruments
from marketdata_assets.exchanges.records import FundingRate, Kline
from marketdata_assets.exchanges.rest import Limits, Rest
from marketdata_demo.venues.hyperliquid_venue import HyperliquidServer
from marketdata_demo.venues.live_market import Happened

START = 1_700_006_400_000  # ms, on an hour
MINUTE, HOUR = 60_000, 3_600_000
PERP, SPOT = "ABC", "ABC/USDC"
window = windows_after(START)


@pytest.fixture
def server() -> Iterator[HyperliquidServer]:
    with HyperliquidServer() as one:
        yield one


def run(
    server: HyperliquidServer,
    folder: Path,
    body: Callable[[HyperliquidHistory], Coroutine[Any, Any, Any]],
    listed: Instruments | None = None,
    now: int = START + 2000 * MINUTE,
) -> Any:
    free = Limits(Budget(folder, "hyperliquid", 1.0, 1_000_000))

    async def main() -> Any:
        clock = partial(int, now * MS)
        async with Rest(
            "hyperliquid", server.url, free, refusal, body_of=body_of, patience=HASTY, clock=clock
        ) as client:
            return await body(HyperliquidHistory(client, known_instruments(strict=False) if listed is None else listed))

    return asyncio.run(main())


def test_listed_are_perpetuals_and_pairs(server: HyperliquidServer, tmp_path: Path) -> None:
    listed = run(server, tmp_path, lambda history: history.listed(), known_instruments())
    assert {(one.name, one.market_type, one.symbol) for one in listed} == {
        (PERP, "linear", "ABC-USDC"),
        (SPOT, "spot", "ABC-USDC"),
    }


@pytest.mark.parametrize(("interval", "length"), [("1m", MINUTE), ("1h", HOUR), ("1d", 24 * HOUR)])
def test_candles_that_begin_in_the_window_come_once(
    server: HyperliquidServer, tmp_path: Path, interval: str, length: int
) -> None:
    first = -START % length
    span = window(first + 1, first + 1200 * length)  # a page has 500
    found = run(server, tmp_path, lambda history: all_of(history.klines(PERP, interval, span)))
    assert [one.open_time // MS for one in found] == [START + first + n * length for n in range(1, 1200)]
    assert all(isinstance(one, Kline) and one.interval == interval and one.closed is None for one in found)
    assert len(server.lines) == 3


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
    with pytest.raises(ValueError, match="interval '7m': Hyperliquid has 1m, 3m"):
        run(server, tmp_path, lambda history: all_of(history.klines(PERP, "7m", window(0, HOUR))))


def test_what_was_paid_in_the_window_comes_once(server: HyperliquidServer, tmp_path: Path) -> None:
    server.hours = [START + hour * HOUR + 48 for hour in range(-2, 700)]
    found = run(server, tmp_path, lambda history: all_of(history.funding(PERP, window(0, 600 * HOUR))))
    assert [one.funding_time // MS for one in found] == server.hours[2:602]
    assert all(isinstance(one, FundingRate) and one.interval_hours == 1 for one in found)


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


def test_a_coin_that_the_venue_does_not_know_is_refused(server: HyperliquidServer, tmp_path: Path) -> None:
    with pytest.raises(RequestRejected, match="no such coin"):
        run(server, tmp_path, lambda history: all_of(history.klines("NONE", "1m", window(0, HOUR))))
    with pytest.raises(BadPage, match="not in the instrument list") as caught:
        run(server, tmp_path, lambda history: all_of(history.klines(PERP, "1m", window(0, HOUR))), known_instruments())
    assert isinstance(caught.value.__cause__, UnknownInstrument)


def test_requests_are_repeated_after_faults(server: HyperliquidServer, tmp_path: Path) -> None:
    server.fail(429, 1, retry="0")
    server.drop(1)
    found = run(server, tmp_path, lambda history: all_of(history.klines(PERP, "1m", window(0, HOUR))))
    assert len(found) == 60
