"""What the collector answers over HTTP, and whom it lets change what it follows."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from marketdata_assets.collector.connections import Shard
from marketdata_assets.collector.drain_service import DrainServer, Progress
from marketdata_assets.collector.errors import PortTaken
from marketdata_assets.collector.servers import Servers
from marketdata_demo.venues.binance_venue import BinanceVenue
from tests.collector.in_loop import in_loop
from tests.collector.service_runs import LINEAR, SPOT, Running, market, running, text_of

CHANGE = {"exchange": "binance", "market_type": "spot", "add": ["DEF-USDT"]}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def spot() -> Iterator[BinanceVenue]:
    with BinanceVenue("spot", ["ABCUSDT", "DEFUSDT"], seed=3) as venue:
        yield venue


def config_of(venue: BinanceVenue, symbols: list[str], **sections: Any) -> str:
    return text_of({"spot": market(venue, symbols, SPOT)}, **sections)


@in_loop
async def test_health_status_and_scheduler_responses_are_as_documented(spot: BinanceVenue, tmp_path: Path) -> None:
    with BinanceVenue("linear", ["ABCUSDT"], seed=4) as linear:
        markets = {"spot": market(spot, ["ABCUSDT"], SPOT), "linear": market(linear, ["ABCUSDT"], LINEAR)}
        async with running(text_of(markets), tmp_path) as run:
            await run.subscribed()
            await run.emit(spot, 50)
            await run.until(lambda: _trades(run, 0) == len(spot.source().trades["ABCUSDT"]))
            for path in ("/health", "/status", "/scheduler"):
                assert (await run.client.get(path)).headers["Content-Type"] == "application/json"
            health = await run.get("/health")
            assert health["status"] in ("healthy", "degraded")
            assert set(health) == {
                "status", "timestamp", "uptime_seconds", "version", "checks", "reasons"
            }  # fmt: skip
            assert set(health["checks"]) == {"binance spot", "binance linear", "capture"}
            assert health["checks"]["binance spot"] == {"status": "healthy", "reasons": []}
            status = await run.get("/status")
            assert [one["market_type"] for one in status["markets"]] == ["spot", "linear"]
            first = status["markets"][0]
            assert first["records"]["trade"] == len(spot.source().trades["ABCUSDT"])
            assert {one["key"] for one in first["subscriptions"]} >= {"abcusdt@trade", "abcusdt@kline_1m"}
            assert [one["status"] for one in first["connections"]] == ["open"]
            assert first["books"][0]["instrument"] == "ABCUSDT"
            assert first["lag_seconds"]["count"] > 0
            assert status["sinks"][0]["name"] == "capture"
            jobs = (await run.get("/scheduler"))["jobs"]
            assert {(one["market_type"], one["name"]) for one in jobs} == {
                ("spot", "instruments"), ("linear", "instruments"), ("linear", "open_interest")
            }  # fmt: skip
            metrics = await run.client.get("/metrics")
            assert metrics.headers["Content-Type"].startswith("text/plain")
            assert "# TYPE collector_messages_total counter" in metrics.text
            assert (await run.client.get("/nothing")).json() == {"error": "Not Found"}
            assert (await run.client.post("/health")).status_code == 405
    assert run.report
    assert run.report.records["trade"] >= len(spot.source().trades["ABCUSDT"])
    assert run.report.remaining == 0


@in_loop
async def test_symbols_are_added_and_removed_while_it_runs(spot: BinanceVenue, tmp_path: Path) -> None:
    async with running(config_of(spot, ["ABCUSDT"]), tmp_path) as run:
        await run.subscribed()
        answer = await run.client.post("/subscriptions", json=CHANGE)
        assert answer.json() == {"added": ["DEFUSDT"], "removed": [], "instruments": ["ABCUSDT", "DEFUSDT"]}
        await run.subscribed()
        await run.emit(spot, 100)
        await run.until(lambda: _trades(run, 0) == sum(map(len, spot.source().trades.values())))
        assert spot.source().trades["DEFUSDT"]
        answer = await run.client.post("/subscriptions", json={**CHANGE, "add": [], "remove": ["ABCUSDT"]})
        assert answer.json() == {"added": [], "removed": ["ABCUSDT"], "instruments": ["DEFUSDT"]}
        await run.until(lambda: not any(name.startswith("abcusdt@") for name in spot.subscribed()))
        again = await run.client.post("/subscriptions", json=CHANGE)
        assert again.json()["added"] == []


VENUES = "binance, bybit, coinbase, deribit, hyperliquid, kraken, okx"
INVALID: list[tuple[Any, int, str]] = [
    (CHANGE | {"add": ["NOPE"]}, 422, "NOPE is not listed"),
    (CHANGE | {"market_type": "linear"}, 404, "binance linear is not collected; the config"),
    (CHANGE | {"exchange": "nasdaq"}, 400, f"exchange 'nasdaq' is unknown; there are {VENUES}"),
    (CHANGE | {"ad": []}, 400, "unknown key 'ad'; did you mean 'add'?"),
    (CHANGE | {"add": []}, 400, "nothing to change"),
    ("no object", 400, "Expected `object`"),
]


@in_loop
async def test_an_invalid_change_is_rejected(spot: BinanceVenue, tmp_path: Path) -> None:
    async with running(config_of(spot, ["ABCUSDT"]), tmp_path) as run:
        await run.subscribed()
        for body, status, words in INVALID:
            answer = await run.client.post("/subscriptions", json=body)
            assert answer.status_code == status, body
            assert words in answer.json()["error"]
        assert (await run.get("/status"))["markets"][0]["instruments"] == 1


@in_loop
async def test_a_page_in_a_browser_changes_nothing(spot: BinanceVenue, tmp_path: Path) -> None:
    """It cannot send JSON to another site without asking first, and a name that was bent to loopback is no loopback."""
    async with running(config_of(spot, ["ABCUSDT"]), tmp_path) as run:
        await run.subscribed()
        body = json.dumps(CHANGE)
        for headers, status in (
            ({"Content-Type": "text/plain"}, 415),
            (JSON | {"Host": "evil.example"}, 403),
            (JSON | {"Host": "[::1"}, 403),
            (JSON | {"Host": "localhost:1"}, 200),
        ):
            answer = await run.client.post("/subscriptions", content=body, headers=headers)
            assert answer.status_code == status, headers
        allowed = await run.client.options("/subscriptions", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in allowed.headers


FOREIGN = {
    "127.0.0.1": ("evil.example", "127.0.0.1.evil.example", "collector", "[::1"),
    "0.0.0.0": ("evil.example",),
}
OWN = {
    "127.0.0.1": ("localhost:1", "[::1]:8080"),
    "0.0.0.0": ("collector:8080", "collector.market.svc.cluster.local:8080", "10.1.2.3:8080", "[fd00::1]:8080"),
}
"""By where a server listens: the hosts that a request may name, and those under which it is not answered."""


async def check_names(client: httpx.AsyncClient, host: str, url: str, paths: Sequence[str]) -> None:
    for name in (*FOREIGN[host], *OWN[host]):
        for path in paths:
            answer = await client.get(url + path, headers={"Host": name})
            assert (answer.status_code == 421) == (name in FOREIGN[host]), (name, path, answer.text)


@pytest.mark.parametrize("host", FOREIGN)
@in_loop
async def test_nothing_is_shown_under_a_foreign_name(spot: BinanceVenue, tmp_path: Path, host: str) -> None:
    text = config_of(spot, ["ABCUSDT"], http={"host": host, "port": 0})
    paths = ("/status", "/scheduler", "/metrics", "/health", "/nothing")
    async with running(text, tmp_path, Servers(token="let-me-in")) as run:
        url = f"http://127.0.0.1:{run.collector.server.port}"
        await check_names(run.client, host, url, paths)
        for name in (*FOREIGN[host], *OWN[host]):
            login = {"Host": name, "Authorization": "Bearer let-me-in"}
            assert [(await run.client.get(url + path, headers=login)).status_code for path in paths].count(421) == 0


@pytest.mark.parametrize("host", FOREIGN)
@in_loop
async def test_the_drain_shows_nothing_under_a_foreign_name_either(host: str) -> None:
    server = DrainServer(Progress(), host, 0)
    await server.start()
    try:
        async with httpx.AsyncClient() as client:
            await check_names(client, host, f"http://127.0.0.1:{server.port}", ("/health", "/metrics", "/nothing"))
    finally:
        await server.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("token", [None, "canary"])
@in_loop
async def test_authorization_of_changes(spot: BinanceVenue, tmp_path: Path, host: str, token: str | None) -> None:
    text = config_of(spot, ["ABCUSDT"], http={"host": host, "port": 0})
    async with running(text, tmp_path, Servers(token=token)) as run:
        await run.subscribed()
        url = f"http://127.0.0.1:{run.collector.server.port}/subscriptions"

        async def asked(**headers: str) -> httpx.Response:
            return await run.client.post(url, json=CHANGE, headers=headers)

        without = await asked()
        assert without.status_code == (401 if token else 200 if host == "127.0.0.1" else 403)
        for wrong in ("Bearer wrong", "Basic canary", "Bearer", "Bearer canary2", "Bearer é"):
            answer = await run.client.post(url, json=CHANGE, headers={"Authorization": wrong.encode()})
            assert answer.status_code == (401 if token else without.status_code), wrong
        right = await asked(Authorization="Bearer canary")
        assert right.status_code == (200 if token or host == "127.0.0.1" else 403)
        said = json.dumps([await run.get("/status"), await run.get("/health"), right.json(), without.json()])
        assert "canary" not in said


@in_loop
async def test_a_port_in_use_is_reported(spot: BinanceVenue, tmp_path: Path) -> None:
    async with running(config_of(spot, ["ABCUSDT"]), tmp_path / "one") as run:
        taken = config_of(spot, ["ABCUSDT"], http={"port": run.collector.server.port})
        with pytest.raises(PortTaken, match=r"in use.* HTTP_PORT"):
            async with running(taken, tmp_path / "two"):
                pass


@in_loop
async def test_two_shards_follow_each_instrument_once(spot: BinanceVenue, tmp_path: Path) -> None:
    text = config_of(spot, ["ABCUSDT", "DEFUSDT"])
    async with running(text, tmp_path, shard=Shard(1, 2)) as one, running(text, tmp_path, shard=Shard(2, 2)) as two:
        for run in (one, two):
            await run.until(lambda run=run: run.collector.status().markets[0].listed)
        follow = [(await run.client.post("/subscriptions", json=CHANGE)).json()["instruments"] for run in (one, two)]
        assert sorted(follow[0] + follow[1]) == ["ABCUSDT", "DEFUSDT"]
        assert [(await run.get("/status"))["shard"] for run in (one, two)] == ["1/2", "2/2"]
    assert sorted(path.name for path in (tmp_path / "captures").iterdir()) == ["1-of-2", "2-of-2"]
    assert {path.name for path in (tmp_path / "collector").iterdir()} == {"since-1-of-2.json", "since-2-of-2.json"}


def _trades(run: Running, index: int) -> int:
    return run.collector.status().markets[index].counters.records["trade"]
