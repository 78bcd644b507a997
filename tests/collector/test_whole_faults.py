"""Whatever is killed or stalls between a venue and the tables: every trade is there once, or in a recorded gap."""

import datetime as dt
import time
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from own_clickhouse import OwnClickHouse
from whole import At, Chain, gaps, is_the_venues, once_or_in_a_gap, rows, spot, trade_ids, whole

from marketdata_assets.exchanges.history_clients import HistoryHosts
from marketdata_assets.exchanges.tables import gap_backfill
from marketdata_assets.exchanges.tables.gaps import is_trade_gap
from marketdata_assets.stores import clickhouse
from marketdata_demo.collector_process import CollectorProcess, sink
from marketdata_demo.venues.binance_venue import AGGREGATES_LATER, BinanceVenue
from marketdata_demo.venues.deribit_venue import DeribitVenue
from marketdata_demo.venues.okx_venue import OkxVenue

RATE = 300.0


def test_nats_is_killed_and_restarted(tmp_path: Path, clickhouse_url: str, clickhouse_client: Client) -> None:
    with BinanceVenue("spot", ["ABCUSDT", "XYZUSDT"]) as venue, whole(tmp_path, [spot(venue)]) as path:
        path.begin(RATE)
        path.go_on(0.5)
        path.nats.kill()
        path.collector.until(lambda status: sink(status)["spooled"] > RATE)
        path.nats.start()
        path.go_on(0.5)
        path.nats.kill()
        path.nats.start()
        path.go_on(0.5)
        path.settle()
        report = path.collector.stop()
        assert report["sinks"]["jetstream"]["dropped"] == 0
        path.drain(clickhouse_url)
        assert not any(once_or_in_a_gap(clickhouse_client, path.ats[0]).values())
        assert gaps(clickhouse_client) == []
        assert all(is_the_venues(clickhouse_client, path.ats[0], name) for name in venue.markets)


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


@pytest.mark.slow
def test_the_network_stalls_breaks_and_is_unavailable(
    tmp_path: Path, clickhouse_url: str, clickhouse_client: Client
) -> None:
    with (
        BinanceVenue("linear", ["ABCUSDT"]) as binance,
        OkxVenue(["ABC-USDT-SWAP"]) as okx,
        DeribitVenue(["ABC-PERPETUAL"]) as deribit,
    ):
        types = ("trade", "orderbook")
        ats = [
            _linear(binance),
            At(okx, "okx", "linear", types),
            At(deribit, "deribit", "inverse", types, lambda number: f"ABC-{number}"),
        ]
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
                assert is_the_venues(clickhouse_client, at, *at.names)
                assert at.venue.violations == []
            assert gaps(clickhouse_client)
            _heal(clickhouse_client, path)


@pytest.mark.slow
def test_clickhouse_is_killed_while_it_is_written_to(tmp_path: Path) -> None:
    server = OwnClickHouse(tmp_path / "clickhouse")
    try:
        with BinanceVenue("spot", ["ABCUSDT"]) as venue:
            at = At(venue, "binance", "spot", ("trade", "orderbook"))
            direct = {"clickhouse": {"direct_write": True, "batch_seconds": 0.2}}
            with whole(tmp_path / "one", [at], more=direct, clickhouse_url=server.url) as path:
                path.begin(RATE)
                path.collector.until(lambda status: sink(status, "clickhouse")["acked"] > RATE)
                server.kill()
                path.go_on(1.0)
                server.start()
                path.settle()
                path.collector.until(lambda status: sink(status, "clickhouse")["oldest_ns"] is None)
                report = path.collector.stop()
                assert report["sinks"]["clickhouse"]["dropped"] == 0
                with clickhouse.connect(server.url) as client:
                    assert not any(once_or_in_a_gap(client, at).values())
                    before = _everything(client)
                    assert path.drain(server.url).rows == report["sinks"]["jetstream"]["acked"]
                    assert _everything(client) == before, "the drain adds nothing to what was written directly"
    finally:
        server.stop()


@pytest.mark.slow
def test_two_shards_store_everything_once(tmp_path: Path, clickhouse_url: str, clickhouse_client: Client) -> None:
    names = ["ABCUSDT", "XYZUSDT", "KLMUSDT", "NOPUSDT"]
    with BinanceVenue("spot", names) as venue, whole(tmp_path, [spot(venue)], shard="1/2") as path:
        first = path.collector
        with CollectorProcess(tmp_path, first.places, first.nats_url, shard="2/2", more=first.more) as second:
            for one in (first, second):
                one.until(lambda status: any(market["subscriptions"] for market in status["markets"]))
            path.rate(RATE)
            taken = [_instruments(one.subscribed()) for one in (first, second)]
            path.go_on(1.0)
            path.settle()
            reports = [one.stop() for one in (first, second)]
        assert sorted(taken[0] + taken[1]) == sorted(names)
        assert all(taken)
        drained = path.drain(clickhouse_url)
        assert drained.rows == sum(one["sinks"]["jetstream"]["acked"] for one in reports)
        [made] = [sum(map(len, venue.source().trades.values()))]
        stored = {name: len(trade_ids(clickhouse_client, path.ats[0], name)) for name in names}
        assert sum(stored.values()) == sum(one["records"]["trade"] for one in reports) == made
        once_or_in_a_gap(clickhouse_client, path.ats[0])


def _linear(venue: BinanceVenue) -> At:
    return At(venue, "binance", "linear", ("trade", "orderbook"), lambda number: str(number - AGGREGATES_LATER))


def _heal(client: Client, path: Chain) -> None:
    """With what the venues' histories have, nothing is missing any more."""
    urls = {f"{at.exchange}-{at.market_type}" if at.exchange == "binance" else at.exchange: at.rest for at in path.ats}
    days = {dt.datetime.fromtimestamp(one.ts_from / 1e9, dt.UTC).date() for one in gaps(client)}
    for day in days:
        gap_backfill.backfill_gaps(client, day, HistoryHosts(path.home / "budgets", urls), settled_ns=0)
    assert [one for one in gaps(client) if is_trade_gap(one) and one.healed_at is None] == []
    for at in path.ats:
        assert not any(once_or_in_a_gap(client, at).values())


def _stall(path: Chain) -> None:
    for at in path.ats:
        at.venue.hold()
    time.sleep(1.0)
    for at in path.ats:
        at.venue.release()


def _hang_up(path: Chain) -> None:
    opened = [len(at.venue.opened) for at in path.ats]
    for at in path.ats:
        at.venue.hang_up()
    path.collector.until(lambda _: all(len(at.venue.opened) > one for at, one in zip(path.ats, opened, strict=True)))


def _away(path: Chain) -> None:
    for at in path.ats:
        at.venue.away()
    path.collector.until(lambda status: all("backoff" in _states(market) for market in status["markets"]))
    for at in path.ats:
        at.venue.back()
    path.collector.until(lambda status: all(_states(market) == {"open"} for market in status["markets"]))


def _states(market: dict[str, Any]) -> set[str]:
    return {one["status"] for one in market["connections"]}


def _instruments(status: dict[str, Any]) -> list[str]:
    return sorted({one["instrument"] for market in status["markets"] for one in market["subscriptions"]})


def _everything(client: Client) -> list[tuple[object, ...]]:
    return rows(client, "SELECT trade_id FROM exchange_trades FINAL ORDER BY trade_id") + rows(
        client, "SELECT last_id, kind FROM exchange_orderbooks FINAL ORDER BY last_id, kind"
    )
