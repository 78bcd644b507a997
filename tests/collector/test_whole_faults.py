"""A collector that is killed and a network that fails: every trade is in the tables once, or in a recorded gap."""

import datetime as dt
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from whole import At, Chain, bybit, gaps, hyperliquid, is_the_venues, once_or_in_a_gap, whole

from marketdata_assets.exchanges.history_clients import HistoryHosts
from marketdata_assets.exchanges.tables import gap_backfill
from marketdata_assets.exchanges.tables.gaps import is_trade_gap
from marketdata_demo.collector_process import sink
from marketdata_demo.venues.binance_venue import AGGREGATES_LATER, BinanceVenue
from marketdata_demo.venues.deribit_venue import DeribitVenue
from marketdata_demo.venues.okx_venue import OkxVenue
from marketdata_demo.venues.venue import Venue

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


def three_venues(opened: ExitStack) -> list[At]:
    okx, deribit = OkxVenue(["ABC-USDT-SWAP"]), DeribitVenue(["ABC-PERPETUAL"])
    return [
        _linear(opened.enter_context(BinanceVenue("linear", ["ABCUSDT"]))),
        At(opened.enter_context(okx), "okx", "linear", MAIN),
        At(opened.enter_context(deribit), "deribit", "inverse", MAIN, lambda number: f"ABC-{number}"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("markets", "reach"),
    [(three_venues, ""), (bybit, "has the last 60 trades only"), (hyperliquid, "has only its last 10 trades")],
)
def test_the_network_stalls_breaks_and_is_unavailable(
    tmp_path: Path,
    clickhouse_url: str,
    clickhouse_client: Client,
    markets: Callable[[ExitStack], list[At]],
    reach: str,
) -> None:
    with ExitStack() as opened:
        ats = markets(opened)
        with whole(tmp_path, ats) as path:
            path.begin(RATE / 3)
            for fault in (_stall, _hang_up, _away):
                path.go_on(0.3)
                fault(path)
                path.collector.subscribed()
            path.go_on(0.3)
            path.settle()
            path.collector.stop()
            path.drain(clickhouse_url)
            for at in ats:
                once_or_in_a_gap(clickhouse_client, at)
                assert all(is_the_venues(clickhouse_client, at, name) for name in at.names)
                assert at.venue.violations == []
            assert gaps(clickhouse_client)
            _heal(clickhouse_client, path, reach)


def _linear(venue: BinanceVenue) -> At:
    return At(venue, "binance", "linear", MAIN, lambda number: str(number - AGGREGATES_LATER))


def _heal(client: Client, path: Chain, reach: str = "") -> None:
    """With what the venues' histories have, nothing is missing any more; what is beyond their `reach` says so."""
    of_market = ("binance", "bybit")
    urls = {f"{at.exchange}-{at.market_type}" if at.exchange in of_market else at.exchange: at.rest for at in path.ats}
    why: list[str] = []
    days = {dt.datetime.fromtimestamp(one.ts_from / 1e9, dt.UTC).date() for one in gaps(client)}
    for day in days:
        found = gap_backfill.backfill_gaps(client, day, HistoryHosts(path.home / "budgets", urls), settled_ns=0)
        why += [one.why for one in found.gaps if is_trade_gap(one.gap) and one.outcome == "open"]
    assert all(reach and reach in one for one in why), why
    missing = [any(once_or_in_a_gap(client, at).values()) for at in path.ats]
    assert reach or not any(missing)


def _venues(path: Chain) -> list[Venue]:
    """Each once; one may have several markets."""
    return list(dict.fromkeys(at.venue for at in path.ats))


def _stall(path: Chain) -> None:
    for venue in _venues(path):
        venue.hold()
    time.sleep(1.0)
    for venue in _venues(path):
        venue.release()


def _hang_up(path: Chain) -> None:
    opened = {venue: len(venue.opened) for venue in _venues(path)}
    for venue in opened:
        venue.hang_up()
    path.collector.until(lambda _: all(len(venue.opened) > count for venue, count in opened.items()))


def _away(path: Chain) -> None:
    for venue in _venues(path):
        venue.away()
    path.collector.until(lambda status: all("backoff" in _states(market) for market in status["markets"]))
    for venue in _venues(path):
        venue.back()
    path.collector.until(lambda status: all(_states(market) == {"open"} for market in status["markets"]))


def _states(market: dict[str, Any]) -> set[str]:
    return {one["status"] for one in market["connections"]}
