"""Bybit's history against a server with its page sizes, limits and faults."""

import datetime as dt
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import history_pages
import pytest
from clickhouse_connect.driver.client import Client
from history_pages import HASTY, HOUR, MINUTE, all_of, numbers, windows_after

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.bybit.history import BANNED_MS, error_of, limits
from marketdata_assets.exchanges.errors import BadPage, UnknownInstrument
from marketdata_assets.exchanges.history_clients import HistoryHosts
from marketdata_assets.exchanges.rest import Limits
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.history import HistoryRequest, load_history
from marketdata_assets.stores import clickhouse_ledger
from marketdata_demo.venues.bybit_venue import BybitServer
from marketdata_demo.venues.live_market import Happened

START = 1_700_006_400_000  # ms, on an hour
NAME = "ABCUSDT"
window = windows_after(START)


@pytest.fixture
def server() -> Iterator[BybitServer]:
    with BybitServer("linear", [NAME, "XYZUSDT", "ABC-27DEC30"]) as one:
        yield one


def run(
    server: BybitServer, folder: Path, body: Callable[[Any], Coroutine[Any, Any, Any]], allowed: Limits | None = None
) -> Any:
    return history_pages.run(server, folder, ("bybit", server.market_type), body, NAME, allowed=allowed)


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_instruments_come_over_many_pages(server: BybitServer, tmp_path: Path, page: int) -> None:
    server.page = page
    found = run(server, tmp_path, lambda history: history.listed())
    assert [one.symbol for one in found] == ["ABC-USDT", "XYZ-USDT", "ABC-USDC-301227"]
    assert len(server.lines) == -(-3 // page)
    assert all("category=linear" in line for line in server.lines)


def test_candle_in_progress_is_not_closed(server: BybitServer, tmp_path: Path) -> None:
    server.now = START + HOUR + 1
    found = run(server, tmp_path, lambda history: all_of(history.klines(NAME, "1h", window(0, 2 * HOUR))))
    assert [one.closed for one in found] == [False, True]


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
    with pytest.raises(ValueError, match="interval '1m': Bybit has 5m"):
        run(server, tmp_path, lambda history: all_of(history.past_open_interest(NAME, "1m", window(0, 1))))
    with pytest.raises(UnknownInstrument):
        run(server, tmp_path, lambda history: all_of(history.trades("NONE", window(0, 1))))


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
