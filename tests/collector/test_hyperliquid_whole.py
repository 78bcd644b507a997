"""From Hyperliquid over the collector, JetStream and the drain into the tables, in peace and with faults."""

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from whole import TYPES, At, gaps, once_or_in_a_gap, rows, whole

from marketdata_assets.exchanges.history_clients import HistoryHosts
from marketdata_assets.exchanges.tables import gap_backfill, ohlcv
from marketdata_assets.stores import clickhouse_ledger
from marketdata_demo.venues.hyperliquid_venue import HyperliquidVenue
from marketdata_demo.venues.live_market import Candle, Market

START = 1_700_000_000_000  # 2023-11-14 22:13:20
PERP_TYPES = (*TYPES, "funding_rate", "open_interest")


def test_the_tables_equal_the_events(tmp_path: Path, clickhouse_url: str, clickhouse_client: Client) -> None:
    names = ["ABC", "XYZ", "ABC/USDC"]
    with HyperliquidVenue(names, seed=6, speed=60.0, start_ms=START) as venue:
        ats = [
            At(venue, "hyperliquid", "linear", PERP_TYPES, only=names[:2]),
            At(venue, "hyperliquid", "spot", TYPES, only=names[2:]),
        ]
        with whole(tmp_path, ats) as path:
            path.begin(60.0)
            path.go_on(2.0)
            path.settle()
            path.go_on(1.5)  # minutes that are not over yet end
            path.settle()
            report = path.collector.stop()
            drained = path.drain(clickhouse_url)
        assert venue.violations == []
        assert report["errors"] == {}
        assert drained.rejected == drained.left == 0
        assert gaps(clickhouse_client) == []
        for at in ats:
            assert not any(once_or_in_a_gap(clickhouse_client, at).values())
            assert all(_is_the_venues(clickhouse_client, at, name) for name in at.names)
        for table in ("klines", "tickers", "funding_rates", "open_interest"):
            assert rows(clickhouse_client, f"SELECT count() FROM exchange_{table} FINAL") > [(0,)]
        _bars_are_the_venues(clickhouse_client, ats)


@pytest.mark.slow
def test_the_collector_is_killed_and_the_connection_is_cut(
    tmp_path: Path, clickhouse_url: str, clickhouse_client: Client
) -> None:
    with HyperliquidVenue(["ABC", "XYZ"], book_ms=50) as venue:
        at = At(venue, "hyperliquid", "linear", ("trade", "orderbook"), only=["ABC", "XYZ"])
        with whole(tmp_path, [at]) as path:
            path.begin(200.0)
            path.go_on(1.2)  # it has remembered how far it came
            path.collector.kill()
            path.go_on(0.5)
            path.collector.start()
            path.collector.subscribed()
            venue.hang_up()
            path.go_on(0.3)
            path.collector.subscribed()
            path.settle()
            path.collector.stop()
            path.drain(clickhouse_url)
        missing = once_or_in_a_gap(clickhouse_client, at)
        assert all(missing.values()), "what happened while there was no collector is missing"
        assert all(_is_the_venues(clickhouse_client, at, name) for name in at.names)
        day = dt.datetime.fromtimestamp(gaps(clickhouse_client)[0].ts_from / 1e9, dt.UTC).date()
        hosts = HistoryHosts(tmp_path / "budgets", {"hyperliquid": venue.url})
        report = gap_backfill.backfill_gaps(clickhouse_client, day, hosts, settled_ns=0)
        open_gaps = [one for one in report.gaps if one.outcome == "open" and one.gap.stream == "trades"]
        assert open_gaps
        assert all("the venue has only its last 10 trades" in one.why for one in open_gaps)


def _is_the_venues(client: Client, at: At, name: str) -> bool:
    """Whether the last book in the table is the venue's best 20 levels."""
    where = f"exchange = '{at.exchange}' AND market_type = '{at.market_type}' AND instrument = '{name}'"
    sides = "bids.price, bids.size, asks.price, asks.size, kind"
    sql = f"SELECT {sides} FROM exchange_orderbooks FINAL WHERE {where} ORDER BY ts_event DESC LIMIT 1"
    [(*levels, kind)] = rows(client, sql)
    told = at.venue.markets[name].levels(20)
    return kind == "snapshot" and [list(one) for one in levels] == [
        [Decimal(level[part]) for level in side] for side in told for part in (0, 1)
    ]


def _bars_are_the_venues(client: Client, ats: list[At]) -> None:
    day = dt.datetime.fromtimestamp(START / 1000, dt.UTC).date()
    clickhouse_ledger.ensure(client)
    ohlcv.compute(client, day, run_id="test", now=dt.datetime.now(dt.UTC))
    sql = "SELECT market_type, instrument, toUnixTimestamp(time) * 1000, open, high, low, close, trades"
    stored = {row[:3]: row[3:] for row in rows(client, f"{sql} FROM exchange_ohlcv_1m")}
    wanted = {
        (at.market_type, name, candle.start): _candle_row(at.venue.markets[name], candle)
        for at in ats
        for name in at.names
        for candle in at.venue.source().candles[name]
    }
    assert len(wanted) >= 2 * len(ats)
    assert stored == wanted


def _candle_row(market: Market, candle: Candle) -> tuple[Any, ...]:
    prices = (candle.open, candle.high, candle.low, candle.close)
    return (*(Decimal(market.price(one)) for one in prices), candle.trades)
