"""A collector that is killed: every trade is in the tables once, or in a gap that the venue's history heals."""

import datetime as dt
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.exchanges.history_clients import HistoryHosts
from marketdata_assets.exchanges.tables import gap_backfill
from marketdata_assets.exchanges.tables.gaps import is_trade_gap
from marketdata_demo.collector_process import sink
from marketdata_demo.venues.binance_venue import AGGREGATES_LATER, BinanceVenue
from tests.collector.whole import At, Chain, gaps, is_the_venues, once_or_in_a_gap, whole

RATE = 300.0
MAIN = ("trade", "orderbook")


@pytest.mark.slow
def test_the_collector_is_killed_and_missed_data_is_backfilled(
    tmp_path: Path, clickhouse_url: str, clickhouse_client: Client
) -> None:
    with BinanceVenue("linear", ["ABCUSDT", "XYZUSDT"]) as venue, whole(tmp_path, [_linear(venue)]) as path:
        path.begin(RATE)
        path.collector.until(lambda status: sink(status)["acked"] > RATE)
        path.go_on(1.2)  # it has remembered how far it came
        path.nats.kill()
        path.collector.until(lambda status: sink(status)["spooled"] > 0)
        path.collector.kill()
        path.nats.start()
        path.go_on(0.5)
        path.collector.start()
        path.collector.subscribed()
        path.go_on(0.5)
        path.settle()
        path.collector.stop()
        path.drain(clickhouse_url)
        missing = once_or_in_a_gap(clickhouse_client, path.ats[0])
        assert all(missing.values()), "what happened while there was no collector is missing"
        assert "restarted" in {one.cause for one in gaps(clickhouse_client)}
        assert all(is_the_venues(clickhouse_client, path.ats[0], name) for name in venue.markets)
        _heal(clickhouse_client, path)


def _linear(venue: BinanceVenue) -> At:
    return At(venue, "binance", "linear", MAIN, lambda number: str(number - AGGREGATES_LATER))


def _heal(client: Client, path: Chain) -> None:
    """With what the venue's history has, nothing is missing any more."""
    urls = {f"{at.exchange}-{at.market_type}": at.rest for at in path.ats}
    for day in {dt.datetime.fromtimestamp(one.ts_from / 1e9, dt.UTC).date() for one in gaps(client)}:
        found = gap_backfill.backfill_gaps(client, day, HistoryHosts(path.home / "budgets", urls), settled_ns=0)
        assert not [one.why for one in found.gaps if is_trade_gap(one.gap) and one.outcome == "open"]
    assert not any(once_or_in_a_gap(client, path.ats[0]).values())
