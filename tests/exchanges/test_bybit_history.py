"""Bybit's history against a server with its page sizes, limits and faults."""

import asyncio
import datetime as dt
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from history_pages import HASTY, MS, all_of, numbers, windows_after

from marketdata_assets.budget import Budget
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.bybit.history import BybitHistory
from marketdata_assets.exchanges.bybit.instruments import known_instruments
from marketdata_assets.exchanges.bybit.rest import BANNED_MS, error_of, limits
from marketdata_assets.exchanges.errors import BadCursor, BadPage, RequestRejected, UnknownInstrument
from marketdata_assets.exchanges.history_clients import HistoryHosts
from marketdata_assets.exchanges.instruments import Instruments
from marketdata_assets.exchanges.records import FundingRate, Kline, MarketType, OpenInterest
from marketdata_assets.exchanges.rest import Limits, Rest
from marketdata_assets.exchanges.rest_history import Cursor, Page, Window
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.history import HistoryRequest, load_history
from marketdata_assets.stores import clickhouse_ledger
from marketdata_demo.venues.bybit_venue import BybitServer
from marketdata_demo.venues.live_market import Happened

START = 1_700_006_400_000  # ms, on an hour
MINUTE, HOUR = 60_000, 3_600_000
NAME = "ABCUSDT"
window = windows_after(START)


@pytest.fixture
def server() -> Iterator[BybitServer]:
    with BybitServer("linear", [NAME, "XYZUSDT", "ABC-27DEC30"]) as one:
        yield one


def run(
    server: BybitServer,
    folder: Path,
    body: Callable[[BybitHistory], Coroutine[Any, Any, Any]],
    allowed: Limits | None = None,
    listed: Instruments | None = None,
) -> Any:
    free = Limits(Budget(folder, "bybit", 1.0, 100_000))
    market_type: MarketType = server.market_type

    async def main() -> Any:
        async with Rest("bybit", server.url, allowed or free, error_of, patience=HASTY) as client:
            known = known_instruments(market_type, strict=False) if listed is None else listed
            return await body(BybitHistory(client, known, market_type))

    return asyncio.run(main())


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_instruments_come_over_many_pages(server: BybitServer, tmp_path: Path, page: int) -> None:
    server.page = page
    known = known_instruments("linear")
    found = run(server, tmp_path, lambda history: history.listed(), listed=known)
    assert [one.symbol for one in found] == ["ABC-USDT", "XYZ-USDT", "ABC-USDC-301227"]
    assert known["ABC-27DEC30"] == found[2]
    assert len(server.lines) == -(-3 // page)
    assert all("category=linear" in line for line in server.lines)


@pytest.mark.parametrize("page", [1, 7, 1000])
def test_candles_of_a_window_come_once_over_many_pages(server: BybitServer, tmp_path: Path, page: int) -> None:
    server.page, server.now = page, START + HOUR
    found = run(server, tmp_path, lambda history: all_of(history.klines(NAME, "1m", window(0, 10 * MINUTE + 1))))
    assert [one.open_time for one in found] == [(START + minute * MINUTE) * MS for minute in range(10, -1, -1)]
    assert all(isinstance(one, Kline) and one.closed for one in found)


def test_candle_in_progress_is_not_closed(server: BybitServer, tmp_path: Path) -> None:
    server.now = START + HOUR + 1
    found = run(server, tmp_path, lambda history: all_of(history.klines(NAME, "1h", window(0, 2 * HOUR))))
    assert [one.closed for one in found] == [False, True]


@pytest.mark.parametrize("page", [1, 3, 200])
def test_funding_and_open_interest_come_once(server: BybitServer, tmp_path: Path, page: int) -> None:
    server.page = page
    server.paid = server.kept = [START + hour * HOUR for hour in range(-3, 12)]
    paid = run(server, tmp_path, lambda history: all_of(history.funding(NAME, window(0, 8 * HOUR))))
    assert [one.funding_time for one in paid] == [(START + hour * HOUR) * MS for hour in range(7, -1, -1)]
    assert all(isinstance(one, FundingRate) for one in paid)
    held = run(server, tmp_path, lambda history: all_of(history.past_open_interest(NAME, "1h", window(0, 8 * HOUR))))
    assert [one.ts_event for one in held] == [one.funding_time for one in paid]
    assert all(isinstance(one, OpenInterest) and one.size == "200" for one in held)


def test_windows_side_by_side_share_nothing_and_leave_nothing_out(server: BybitServer, tmp_path: Path) -> None:
    server.paid = [START + at for at in range(20)]
    odd = START * MS + 7 * MS + 5  # between two milliseconds
    parts = [Window(odd, (START + 40) * MS), Window(START * MS, odd), Window(odd, odd + 3)]
    found = [run(server, tmp_path, lambda history, part=part: all_of(history.funding(NAME, part))) for part in parts]
    assert [len(one) for one in found] == [12, 8, 0]


def test_a_stored_cursor_resumes(server: BybitServer, tmp_path: Path) -> None:
    server.page, server.paid = 2, [START + hour * HOUR for hour in range(9)]
    where = window(0, 9 * HOUR)

    async def first(history: BybitHistory) -> Page:
        return await anext(history.funding(NAME, where))

    page = run(server, tmp_path, first)
    cursor = Cursor.read(page.cursor.text())
    rest = run(server, tmp_path, lambda history: all_of(history.funding(NAME, cursor)))
    whole = run(server, tmp_path, lambda history: all_of(history.funding(NAME, where)))
    assert [one.funding_time for one in [*page.records, *rest]] == [one.funding_time for one in whole]
    with pytest.raises(BadCursor):
        run(server, tmp_path, lambda history: all_of(history.funding("XYZUSDT", cursor)))


def test_trades_that_bybit_still_has_are_found(server: BybitServer, tmp_path: Path) -> None:
    server.trades = [Happened(START + number // 3, number + 100) for number in range(90)]
    found = run(server, tmp_path, lambda history: all_of(history.trades(NAME, window(2, 20))))
    assert numbers(found) == [one.number for one in reversed(server.trades) if 2 <= one.ts - START < 20]


def test_trades_that_do_not_reach_back_to_the_window_are_an_error(server: BybitServer, tmp_path: Path) -> None:
    """Otherwise a gap would be called healed that nobody looked at."""
    server.trades = [Happened(START + number, number) for number in range(1500)]
    with pytest.raises(BadPage, match="last 1000 trades only"):
        run(server, tmp_path, lambda history: all_of(history.trades(NAME, window(100, 900))))
    assert len(run(server, tmp_path, lambda history: all_of(history.trades(NAME, window(501, 900))))) == 399


def test_what_bybit_does_not_have_is_an_error(server: BybitServer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="interval '7m': Bybit has 1m, 3m"):
        run(server, tmp_path, lambda history: all_of(history.klines(NAME, "7m", window(0, 1))))
    with pytest.raises(ValueError, match="interval '1m': Bybit has 5m"):
        run(server, tmp_path, lambda history: all_of(history.past_open_interest(NAME, "1m", window(0, 1))))
    with pytest.raises(UnknownInstrument):
        run(server, tmp_path, lambda history: all_of(history.trades("NONE", window(0, 1))))
    with pytest.raises(RequestRejected, match="Not supported symbols"):
        run(server, tmp_path, lambda history: all_of(history.trades("DEFUSDT", window(0, 1))))


def test_too_many_requests_are_repeated_later(server: BybitServer, tmp_path: Path) -> None:
    server.trades = [Happened(START, 1)]
    server.say(b'{"retCode":10006,"retMsg":"Too many visits!","result":{},"time":1}', times=2)
    assert numbers(run(server, tmp_path, lambda history: all_of(history.trades(NAME, window(0, 5))))) == [1]
    assert server.requests == 3


def test_a_ban_of_the_address_is_a_pause() -> None:
    error = error_of(b"403, access too frequent")
    assert error is not None
    assert error.rate_limited
    assert error.until_ms is not None
    assert BANNED_MS == 600_000


def test_limits_are_by_address(tmp_path: Path) -> None:
    assert limits(tmp_path).lanes == {}
    assert error_of(b"<html>") is None
    assert error_of(b'{"retCode":0}') is None


def test_past_days_are_loaded_into_the_tables(server: BybitServer, tmp_path: Path, clickhouse_client: Client) -> None:
    """All that the descriptor says: candles, funding rates and open interest; of trades Bybit has the last ones."""
    day = dt.datetime.fromtimestamp(START / 1000, dt.UTC).date()
    midnight = int(dt.datetime.combine(day, dt.time(), dt.UTC).timestamp()) * 1000
    server.now = midnight + 48 * HOUR
    server.paid = [midnight + hours * HOUR for hours in (0, 8, 16, 24)]
    server.kept = [midnight + number * 5 * MINUTE for number in range(300)]
    schema.ensure(clickhouse_client)
    clickhouse_ledger.ensure(clickhouse_client)
    types = tuple(venues.find("bybit").markets["linear"].history)
    assert types == ("kline", "funding_rate", "open_interest")
    request = HistoryRequest("bybit", (NAME,), types, (day,), "linear", origin="rest")
    hosts = HistoryHosts(tmp_path, {"bybit": server.url}, HASTY)
    now = dt.datetime.combine(day, dt.time(), dt.UTC) + dt.timedelta(days=2)
    report = load_history(clickhouse_client, hosts, request, keep_days=None, now=lambda: now)
    assert {unit.outcome for unit in report.units} == {"ok"}
    stored = {
        table: clickhouse_client.query(f"SELECT count() FROM exchange_{table} FINAL").result_rows[0][0]
        for table in ("klines", "funding_rates", "open_interest")
    }
    assert stored == {"klines": 1440, "funding_rates": 3, "open_interest": 288}
