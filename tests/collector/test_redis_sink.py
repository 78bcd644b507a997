"""The cache in a real Redis: which keys there are, what they hold, how long, and that an outage leaves the newest."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from collector_records import START, funding, gap, place, snapshot, trade
from in_loop import in_loop, running, until
from redis.asyncio import Redis
from service_runs import redis_server

from marketdata_assets.collector.items import Recorded, items
from marketdata_assets.collector.sinks.redis import RedisSink, connect
from marketdata_assets.exchanges.records import Ticker


def best(bid: str | None, ask: str | None, number: int = 0, **more: Any) -> Ticker:
    return Ticker(*place(), None, START + number, bid=bid, bid_size="1", ask=ask, ask_size="2", unit="base", **more)


@asynccontextmanager
async def against_redis(folder: Path, **options: Any) -> AsyncIterator[tuple[RedisSink, Redis]]:
    with redis_server(folder) as port:
        url = f"redis://127.0.0.1:{port}/0"
        async with (
            running(RedisSink(connect(url), flush_seconds=0.01, **options)) as sink,
            Redis.from_url(url) as client,
        ):
            yield sink, client


@in_loop
async def test_the_newest_values_are_under_the_documented_keys(tmp_path: Path) -> None:
    given: list[Recorded] = [trade(1), trade(2), best("1.4", "1.6"), best(None, "1.7"), funding(1), gap(1), snapshot(1)]
    given.append(Ticker(*place(), START, START, last="1.5", mark_price="1.55"))
    async with against_redis(tmp_path, ttl_seconds=90) as (sink, client):
        sink.put(items(given))
        assert sink.state().queued == 4
        assert sink.state().conflated == 2
        assert await sink.drain(10) == 0
        found = {key.decode(): json.loads(await client.get(key)) for key in await client.keys("*")}
        key = "binance:linear:ABC-USDT"
        assert set(found) == {f"market:{name}:{key}" for name in ("trade", "bbo", "ticker", "funding_rate")}
        assert found[f"market:trade:{key}"]["trade_id"] == "2"
        assert found[f"market:trade:{key}"] == json.loads(items([trade(2)])[0].payload)
        assert found[f"market:ticker:{key}"]["mark_price"] == "1.55"
        assert found[f"market:funding_rate:{key}"]["rate"] == "0.0001"
        quote = found[f"market:bbo:{key}"]
        assert (quote["bid"], quote["ask"], quote["unit"]) == (None, "1.7", "base")
        assert quote["type"] == "bbo"
        lives = [await client.ttl(name) for name in found]
        assert all(0 < seconds <= 90 for seconds in lives)
        assert sink.state().acked == sink.latency.count == 4


@in_loop
async def test_the_bbo_stream_takes_precedence_over_24_hour_summaries(tmp_path: Path) -> None:
    async with against_redis(tmp_path) as (sink, client):

        async def bid() -> str:
            assert await sink.drain(10) == 0
            return str(json.loads(await client.get("market:bbo:binance:linear:ABC-USDT") or b"{}")["bid"])

        sink.put(items([best(None, None, mark_price="9"), best("1", "2", last="1.5")]))
        assert await bid() == "1", "the only one there is"
        sink.put(items([best("3", "4")]))
        assert await bid() == "3"
        sink.put(items([best("2", "4", last="1.5")]))
        assert await bid() == "3"


@in_loop
async def test_prefix_and_ttl_are_as_configured(tmp_path: Path) -> None:
    async with against_redis(tmp_path, prefix="mine", ttl_seconds=70) as (sink, client):
        sink.put(items([trade(1)]))
        while not await client.exists("mine:trade:binance:linear:ABC-USDT"):
            await asyncio.sleep(0.01)
        assert 60 < await client.ttl("mine:trade:binance:linear:ABC-USDT") <= 70


@in_loop
async def test_while_redis_is_unavailable_only_the_newest_values_are_kept(tmp_path: Path) -> None:
    with redis_server(tmp_path) as port:
        url = f"redis://127.0.0.1:{port}/0"
        sink = RedisSink(connect(url), flush_seconds=0.01)
        task = asyncio.create_task(sink.run())
        sink.put(items([trade(1)]))
        await until(lambda: sink.state().acked == 1)
        assert sink.state().connected
    for number in range(2, 50):
        sink.put(items([trade(number)]))
        await asyncio.sleep(0.002)
    await until(lambda: not sink.state().connected)
    state = sink.state()
    assert (state.queued, state.last_error is None, state.oldest_ns) == (1, False, START + 49)
    with redis_server(tmp_path, port):
        await until(lambda: sink.state().connected)
        client: Redis = Redis.from_url(url)
        found = await client.get("market:trade:binance:linear:ABC-USDT")
        assert json.loads(found or b"{}")["trade_id"] == "49"
        await client.aclose()
        assert await sink.drain(5) == 0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_stop_without_redis_does_not_hang(tmp_path: Path) -> None:
    async def end() -> int:
        sink = RedisSink(connect("redis://127.0.0.1:9/0"), flush_seconds=0.01)
        sink.put(items([trade(1), best("1", "2")]))
        return await sink.drain(0.2)

    assert asyncio.run(asyncio.wait_for(end(), 20)) == 2
