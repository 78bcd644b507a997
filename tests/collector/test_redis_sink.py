"""The cache in a real Redis: which keys there are, what they hold, how long, and that an outage leaves the newest."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from redis.asyncio import Redis

from marketdata_assets.collector import config
from marketdata_assets.collector.items import Item, Recorded, TopOf, items
from marketdata_assets.collector.servers import Servers
from marketdata_assets.collector.sinks.redis import RedisSink, connect, parts_of
from marketdata_assets.exchanges.records import Ticker
from marketdata_demo.venues.binance_venue import BinanceVenue
from tests.collector.collector_records import (
    START,
    candle,
    delta,
    funding,
    gap,
    interest,
    liquidation,
    place,
    snapshot,
    state,
    trade,
)
from tests.collector.in_loop import in_loop, running, until
from tests.collector.service_runs import LINEAR, market, redis_server, text_of
from tests.collector.service_runs import running as running_collector


def best(bid: str | None, ask: str | None, number: int = 0, **more: Any) -> Ticker:
    return Ticker(*place(), None, START + number, bid=bid, bid_size="1", ask=ask, ask_size="2", unit="base", **more)


def levels_of(*_: Any) -> None:
    """No book is valid."""


@asynccontextmanager
async def against_redis(
    folder: Path, top_of: TopOf = levels_of, **options: Any
) -> AsyncIterator[tuple[RedisSink, Redis]]:
    with redis_server(folder) as port:
        url = f"redis://127.0.0.1:{port}/0"
        async with (
            running(RedisSink(connect(url), top_of, config.Redis(flush_seconds=0.01, **options))) as sink,
            Redis.from_url(url) as client,
        ):
            yield sink, client


@in_loop
async def test_the_newest_values_are_under_the_documented_keys(tmp_path: Path) -> None:
    given: list[Recorded] = [trade(1), trade(2), best("1.4", "1.6"), best(None, "1.7"), funding(1), gap(1), snapshot(1)]
    given.append(Ticker(*place(), START, START, last="1.5", mark_price="1.55"))
    given.append(state(1))  # has no key
    async with against_redis(tmp_path, ttl_seconds=90) as (sink, client):
        sink.put(items(given))
        assert sink.state().queued == 5, "the book is one of them, though it has no key"
        assert sink.state().conflated == 4
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
        assert sink.state().acked == sink.latency.count == 5


@in_loop
async def test_the_best_levels_of_a_book_are_written_while_it_is_valid(tmp_path: Path) -> None:
    book: list[list[tuple[str, str]]] = [[("1.5", "3"), ("1.4", "2")], [("1.6", "1")]]
    valid = [True]

    def top_of(*about: Any) -> Any:
        assert about == ("binance", "linear", "ABCUSDT", 7)
        return book if valid[0] else None

    key = "market:book:binance:linear:ABC-USDT"
    async with against_redis(tmp_path, top_of, book_levels=7, ttl_seconds=90) as (sink, client):
        sink.put(items([snapshot(1), delta(2), delta(3)]))
        assert sink.state().conflated == 2
        await until(lambda: sink.state().acked == 1)
        found = json.loads(await client.get(key) or b"{}")
        assert (found["type"], found["last_id"], found["ts_recv"]) == ("book_top", 3, START + 3)
        assert (found["bids"], found["asks"], found["unit"]) == ([["1.5", "3"], ["1.4", "2"]], [["1.6", "1"]], "base")
        assert 0 < await client.ttl(key) <= 90
        valid[0] = False
        sink.put(items([gap(4)]))
        await until(lambda: sink.state().acked == 2)
        assert await client.get(key) is None, "a book that is out of sync is not served"
        valid[0] = True
        sink.put(items([snapshot(9)]))
        await until(lambda: sink.state().acked == 3)
        assert json.loads(await client.get(key) or b"{}")["last_id"] == 9
    async with against_redis(tmp_path, top_of, book_levels=0) as (sink, client):
        sink.put(items([snapshot(1)]))
        assert sink.state().queued == 0


@in_loop
async def test_the_newest_candle_of_each_interval_is_kept(tmp_path: Path) -> None:
    async with against_redis(tmp_path) as (sink, client):
        late = candle(3, minute=0, closed=True)
        hour = structs.replace(candle(4), interval="1h")
        sink.put(items([candle(1, minute=0), candle(2, minute=1), late, hour, interest(5)]))
        await until(lambda: sink.state().acked == 3)
        key = "binance:linear:ABC-USDT"
        found = {key.decode(): json.loads(await client.get(key)) for key in await client.keys("*")}
        assert {name: one.get("close", one.get("size")) for name, one in found.items()} == {
            f"market:kline:{key}:1m": "2",
            f"market:kline:{key}:1h": "4",
            f"market:open_interest:{key}": "5",
        }
        sink.put(items([late]))
        assert sink.state().queued == 0


@in_loop
async def test_the_newest_liquidations_are_kept_through_an_outage_each_once(tmp_path: Path) -> None:
    key = "market:liquidations:binance:linear:ABC-USDT"

    async def held(client: Redis) -> list[int]:
        return [json.loads(one)["ts_recv"] - START for one in await client.zrange(key, 0, -1)]

    def at(ms: int) -> Item:
        return items([structs.replace(liquidation(0), ts_recv=START + ms * 1_000_000)])[0]

    with redis_server(tmp_path) as port:
        url = f"redis://127.0.0.1:{port}/0"
        sink = RedisSink(connect(url), levels_of, config.Redis(flush_seconds=0.01, liquidations=3, ttl_seconds=90))
        task = asyncio.create_task(sink.run())
        sink.put([at(1), at(2)])
        await until(lambda: sink.state().acked == 2)
        async with Redis.from_url(url) as client:
            sink.put([at(2)])
            await until(lambda: sink.state().acked == 3)
            assert await held(client) == [1_000_000, 2_000_000]
            assert 0 < await client.ttl(key) <= 90
    sink.put([at(3)])
    await until(lambda: not sink.state().connected)
    for ms in range(4, 9):
        sink.put([at(ms)])
    with redis_server(tmp_path, port):
        await until(lambda: sink.state().connected)
        assert await sink.drain(5) == 0
        async with Redis.from_url(url) as client:
            assert await held(client) == [6_000_000, 7_000_000, 8_000_000]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@in_loop
async def test_the_bbo_stream_takes_precedence_over_24_hour_summaries(tmp_path: Path) -> None:
    async with against_redis(tmp_path) as (sink, client):

        async def bid() -> str:
            assert await sink.drain(10) == 0
            return str(json.loads(await client.get("market:bbo:binance:linear:ABC-USDT") or b"{}")["bid"])

        sink.put(items([best(None, None, mark_price="9"), best("1", "2", last="1.5")]))
        assert await bid() == "1", "the only one there is"
        sink.put(items([best("3", "4", update_id=7)]))
        assert await bid() == "3"
        sink.put(items([best("2", "4", last="1.5")]))
        assert await bid() == "3"
        sink.put(items([best("5", "6", 5 * 10**9, last="1.5")]))
        assert await bid() == "5", "the stream has had nothing newer"


@in_loop
async def test_the_newest_quote_counts_also_after_the_first_trade(tmp_path: Path) -> None:
    """Deribit and OKX: one message has best prices and, as soon as there is one, the last trade."""
    async with against_redis(tmp_path) as (sink, client):
        for bid, last in (("1", None), ("2", "1.5"), ("3", "1.5")):
            sink.put(items([best(bid, "4", last=last)]))
            assert await sink.drain(10) == 0
            for name in ("bbo", "ticker"):
                assert json.loads(await client.get(f"market:{name}:binance:linear:ABC-USDT") or b"{}")["bid"] == bid


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"mark_price": "101", "index_price": "100", "open": "1"}, {"day", "mark", "index"}),  # Hyperliquid: no last
        (
            {"bid": "0.049", "mark_price": "0.05", "index_price": "1", "underlying_price": "1"}
            | {"mark_iv": "50", "delta": "0.5"},
            {"quote", "mark", "index", "underlying", "volatility", "greeks"},
        ),
        ({"mark_iv": "50", "gamma": "0.1", "underlying_price": "1"}, {"underlying", "volatility", "greeks"}),
        ({"bid_size": "1"}, set()),
        ({"bid_size": "0", "ask_size": "0.0", "last": "1"}, {"quote", "last"}),  # Deribit: nobody quotes
        ({"unit": "base"}, {"quote"}),  # nobody quotes
    ],
)
def test_what_a_message_says_is_known_by_its_fields(values: dict[str, Any], parts: set[str]) -> None:
    assert parts_of(Ticker(*place(), None, START, **values)) == parts


@in_loop
async def test_a_state_is_merged_of_its_parts_each_with_its_time(tmp_path: Path) -> None:
    second = 1_000_000_000
    async with against_redis(tmp_path, ttl_seconds=60) as (sink, client):

        async def state(*tickers: Ticker) -> dict[str, Any]:
            sink.put(items(tickers))
            assert await sink.drain(10) == 0
            found: dict[str, Any] = json.loads(await client.get("market:ticker:binance:linear:ABC-USDT"))
            return found

        first = await state(
            best("3", "4", update_id=7),
            Ticker(*place(), START + 1, START + 2, bid="1", last="1.5", high="9"),
            Ticker(*place(), START + 3, START + 4, mark_price="1.55"),
        )
        assert (first["bid"], first["ask"], first["last"], first["high"], first["mark_price"], first["unit"]) == (
            "3", "4", "1.5", "9", "1.55", "base",
        )  # fmt: skip
        assert first["parts"] == {
            "quote": {"ts_event": None, "ts_recv": START},
            "last": {"ts_event": START + 1, "ts_recv": START + 2},
            "day": {"ts_event": START + 1, "ts_recv": START + 2},
            "mark": {"ts_event": START + 3, "ts_recv": START + 4},
        }
        emptied = await state(Ticker(*place(), START + 5, START + 5, unit="base"))
        assert (emptied["bid"], emptied["ask"], emptied["last"]) == (None, None, "1.5")
        assert emptied["parts"]["quote"]["ts_recv"] == START + 5
        assert json.loads(await client.get("market:bbo:binance:linear:ABC-USDT") or b"{}")["ask"] is None
        later = await state(Ticker(*place(), None, START + 61 * second, index_price="2"))
        assert (set(later["parts"]), later["last"], later["index_price"]) == ({"index"}, None, "2")


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
        sink = RedisSink(connect(url), levels_of, config.Redis(flush_seconds=0.01))
        task = asyncio.create_task(sink.run())
        sink.put(items([trade(1)]))
        await until(lambda: sink.state().acked == 1)
        assert sink.state().connected
    for number in range(2, 50):
        sink.put(items([trade(number)]))
        await asyncio.sleep(0.002)
    await until(lambda: not sink.state().connected and sink.state().queued == 1)  # none while they are being written
    state = sink.state()
    assert (state.last_error is None, state.oldest_ns) == (False, START + 49)
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
        sink = RedisSink(connect("redis://127.0.0.1:9/0"), levels_of, config.Redis(flush_seconds=0.01))
        sink.put(items([trade(1), best("1", "2")]))
        return await sink.drain(0.2)

    assert asyncio.run(asyncio.wait_for(end(), 20)) == 3, "the trade, the quote and the state"


@in_loop
async def test_a_collector_serves_the_books_that_it_has(tmp_path: Path) -> None:
    with redis_server(tmp_path) as port, BinanceVenue("linear", ["ABCUSDT"]) as venue:
        servers = Servers(redis_url=f"redis://127.0.0.1:{port}/0")
        sections = {"redis": {"cache": True, "flush_seconds": 0.01, "book_levels": 5}}
        text = text_of({"linear": market(venue, ["ABCUSDT"], LINEAR)}, **sections)
        async with running_collector(text, tmp_path, servers) as run, Redis.from_url(servers.redis_url or "") as client:
            await run.subscribed()
            while not run.collector._book("binance", "linear", "ABCUSDT"):
                await run.emit(venue, 5)
                await asyncio.sleep(0.02)
            await run.emit(venue, 200)
            key = "binance:linear:ABC-USDT"

            async def same() -> bool:
                book = run.collector._book("binance", "linear", "ABCUSDT")
                found = json.loads(await client.get(f"market:book:{key}") or b"{}")
                expected = [[list(level) for level in side[:5]] for side in (book.bids, book.asks)] if book else []
                return expected == [found.get("bids"), found.get("asks")] and len(expected[0]) == 5

            async with asyncio.timeout(30):
                while not (await same() and await client.exists(f"market:open_interest:{key}")):
                    await asyncio.sleep(0.05)
