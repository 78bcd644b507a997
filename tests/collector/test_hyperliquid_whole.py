"""From Hyperliquid over the collector, JetStream and the drain into the tables, with faults."""

import datetime as dt
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from whole import At, gaps, is_the_venues, once_or_in_a_gap, whole

from marketdata_assets.exchanges.history_clients import HistoryHosts
from marketdata_assets.exchanges.tables import gap_backfill
from marketdata_demo.venues.hyperliquid_venue import HyperliquidVenue


@pytest.mark.slow
def test_the_collector_is_killed_and_the_connection_is_cut(
    tmp_path: Path, clickhouse_url: str, clickhouse_client: Client
) -> None:
    with HyperliquidVenue(["ABC", "XYZ"], book_ms=50) as venue:
        at = At(venue, "hyperliquid", "linear", ("trade", "orderbook"), only=["ABC", "XYZ"], best=20)
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
        assert all(is_the_venues(clickhouse_client, at, name) for name in at.names)
        day = dt.datetime.fromtimestamp(gaps(clickhouse_client)[0].ts_from / 1e9, dt.UTC).date()
        hosts = HistoryHosts(tmp_path / "budgets", {"hyperliquid": venue.url})
        report = gap_backfill.backfill_gaps(clickhouse_client, day, hosts, settled_ns=0)
        open_gaps = [one for one in report.gaps if one.outcome == "open" and one.gap.stream == "trades"]
        assert open_gaps
        assert all("the venue has only its last 10 trades" in one.why for one in open_gaps)
