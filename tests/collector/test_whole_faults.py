"""Whatever is killed or stalls between a venue and the tables: every trade stands there once, or in a recorded gap."""

import time
from pathlib import Path

from binance_venue import BinanceVenue
from clickhouse_connect.driver.client import Client
from collector_process import CollectorProcess, sink
from own_clickhouse import OwnClickHouse
from whole import At, gaps, is_the_venues, once_or_in_a_gap, rows, spot, trade_ids, whole

from marketdata_assets.stores import clickhouse

RATE = 300.0


def test_nats_is_killed_and_comes_back(tmp_path: Path, clickhouse_url: str, clickhouse_client: Client) -> None:
    with BinanceVenue("spot", ["ABCUSDT", "XYZUSDT"]) as venue, whole(tmp_path, [spot(venue)]) as path:
        path.begin(RATE)
        path.go_on(0.5)
        path.nats.kill()
        path.collector.until(lambda told: sink(told)["spooled"] > RATE)
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


def test_the_collector_is_killed_and_comes_back(tmp_path: Path, clickhouse_url: str, clickhouse_client: Client) -> None:
    with BinanceVenue("spot", ["ABCUSDT", "XYZUSDT"]) as venue, whole(tmp_path, [spot(venue)]) as path:
        path.begin(RATE)
        path.collector.until(lambda told: sink(told)["acked"] > RATE)
        path.go_on(1.2)  # it has remembered how far it came
        path.nats.kill()
        path.collector.until(lambda told: sink(told)["spooled"] > 0)
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
        assert {one.cause for one in gaps(clickhouse_client)} == {"restarted"}
        assert all(is_the_venues(clickhouse_client, path.ats[0], name) for name in venue.markets)


def test_the_network_stalls_breaks_and_is_away(tmp_path: Path, clickhouse_url: str, clickhouse_client: Client) -> None:
    with BinanceVenue("linear", ["ABCUSDT"]) as venue:
        at = At(venue, "binance", "linear", ("trade", "orderbook"), lambda number: str(number - 500))
        with whole(tmp_path, [at]) as path:
            path.begin(RATE)
            for fault in (_stall, _hang_up, _away):
                path.go_on(0.3)
                fault(venue, path.collector)
                path.collector.subscribed()
            path.go_on(0.5)
            path.settle()
            path.collector.stop()
            path.drain(clickhouse_url)
        once_or_in_a_gap(clickhouse_client, at)
        assert is_the_venues(clickhouse_client, at, "ABCUSDT")
        assert venue.violations == []


def test_clickhouse_is_killed_while_it_is_written_to(tmp_path: Path) -> None:
    server = OwnClickHouse(tmp_path / "clickhouse")
    try:
        with BinanceVenue("spot", ["ABCUSDT"]) as venue:
            at = At(venue, "binance", "spot", ("trade", "orderbook"))
            direct = {"clickhouse": {"direct_write": True, "batch_seconds": 0.2}}
            with whole(tmp_path / "one", [at], more=direct, clickhouse_url=server.url) as path:
                path.begin(RATE)
                path.collector.until(lambda told: sink(told, "clickhouse")["acked"] > RATE)
                server.kill()
                path.go_on(1.0)
                server.start()
                path.settle()
                path.collector.until(lambda told: sink(told, "clickhouse")["oldest_ns"] is None)
                report = path.collector.stop()
                assert report["sinks"]["clickhouse"]["dropped"] == 0
                with clickhouse.connect(server.url) as client:
                    assert not any(once_or_in_a_gap(client, at).values())
                    before = _everything(client)
                    assert path.drain(server.url).rows == report["sinks"]["jetstream"]["acked"]
                    assert _everything(client) == before, "the drain adds nothing to what was written directly"
    finally:
        server.stop()


def test_two_shards_take_everything_once(tmp_path: Path, clickhouse_url: str, clickhouse_client: Client) -> None:
    names = ["ABCUSDT", "XYZUSDT", "KLMUSDT", "NOPUSDT"]
    with BinanceVenue("spot", names) as venue, whole(tmp_path, [spot(venue)], shard="1/2") as path:
        first = path.collector
        with CollectorProcess(tmp_path, first.places, first.nats_url, shard="2/2", more=first.more) as second:
            for one in (first, second):
                one.until(lambda told: any(market["subscriptions"] for market in told["markets"]))
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


def _stall(venue: BinanceVenue, collector: CollectorProcess) -> None:
    venue.hold()
    time.sleep(1.0)
    venue.release()


def _hang_up(venue: BinanceVenue, collector: CollectorProcess) -> None:
    opened = len(venue.opened)
    venue.hang_up()
    collector.until(lambda _: len(venue.opened) > opened)


def _away(venue: BinanceVenue, collector: CollectorProcess) -> None:
    venue.away()
    collector.until(lambda told: any(one["status"] == "backoff" for one in told["markets"][0]["connections"]))
    venue.back()
    collector.until(lambda told: all(one["status"] == "open" for one in told["markets"][0]["connections"]))


def _instruments(told: dict[str, list[dict[str, list[dict[str, str]]]]]) -> list[str]:
    return sorted({one["instrument"] for market in told["markets"] for one in market["subscriptions"]})


def _everything(client: Client) -> list[tuple[object, ...]]:
    return rows(client, "SELECT trade_id FROM exchange_trades FINAL ORDER BY trade_id") + rows(
        client, "SELECT last_id, kind FROM exchange_orderbooks FINAL ORDER BY last_id, kind"
    )
