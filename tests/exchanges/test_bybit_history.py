"""Bybit's history in the tables."""

import datetime as dt
from pathlib import Path

from clickhouse_connect.driver.client import Client
from history_pages import HASTY, HOUR, MINUTE

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.history_clients import HistoryHosts
from marketdata_assets.exchanges.tables.history import HistoryRequest, load_history
from marketdata_demo.venues.bybit_venue import BybitServer

NAME = "ABCUSDT"
DAY = dt.date(2023, 11, 15)


def test_past_days_are_loaded_into_the_tables(tmp_path: Path, client: Client) -> None:
    """All that the descriptor says: candles, funding rates and open interest; of trades Bybit has the last ones."""
    midnight = int(dt.datetime.combine(DAY, dt.time(), dt.UTC).timestamp()) * 1000
    server = BybitServer("linear", [NAME])
    server.now = midnight + 48 * HOUR
    server.paid = [midnight + hours * HOUR for hours in (0, 8, 16, 24)]
    server.kept = [midnight + number * 5 * MINUTE for number in range(300)]
    types = tuple(venues.find("bybit").markets["linear"].history)
    assert types == ("kline", "funding_rate", "open_interest")
    request = HistoryRequest("bybit", (NAME,), types, (DAY,), "linear", origin="rest")
    now = dt.datetime.combine(DAY, dt.time(), dt.UTC) + dt.timedelta(days=2)
    with server:
        hosts = HistoryHosts(tmp_path, {"bybit": server.url}, HASTY)
        report = load_history(client, hosts, request, keep_days=None, now=lambda: now)
    assert {unit.outcome for unit in report.units} == {"ok"}
    stored = {
        table: client.query(f"SELECT count() FROM exchange_{table} FINAL").result_rows[0][0]
        for table in ("klines", "funding_rates", "open_interest")
    }
    assert stored == {"klines": 1440, "funding_rates": 3, "open_interest": 288}
