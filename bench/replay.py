"""The replay server: records a second that one client gets, beside a direct read of the same rows."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import aiohttp
import httpx

from bench.figure import Figure, spread
from bench.size import sized
from marketdata_assets import read
from marketdata_assets.exchanges.records import OrderBook, Trade
from marketdata_assets.exchanges.tables import schema
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_assets.local.process import free_port, port_answers
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_assets.stores import clickhouse

RECORDS = sized(400_000, 2_000)
"""Half trades, half changes of books of 20 levels."""
PER_SECOND = 2_000
LEVELS = 20
ROUNDS = sized(3, 1)
BEGIN = 1_767_571_200 * 1_000_000_000  # 2026-01-05
SPAN = {"from": "2026-01-05", "to": "2026-01-06", "speed": "0", "types": "trade,orderbook"}


def figures() -> Iterator[Figure]:
    """Both ways of the server."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = Settings(home=Path(folder), clickhouse_url=None)
        with LocalStack(settings, services=("clickhouse",)) as stack:
            url = stack.endpoints.clickhouse_url
            assert url
            _fill(url)
            began = time.perf_counter()
            counts = [read.records(kind, connection=url).height for kind in ("trade", "orderbook")]
            direct = sum(counts) / (time.perf_counter() - began)
            with _served(url, Path(folder)) as address:
                http = [_over_http(address) for _ in range(ROUNDS)]
                socket = [asyncio.run(_over_socket(address)) for _ in range(ROUNDS)]
    detail = f"{RECORDS:,} records, half of them changes of books of {LEVELS} levels, one client, {ROUNDS} rounds"
    detail += f"; a direct read into polars {direct:,.0f}/s"
    yield Figure("exchanges.replay_http_per_s", median(http), "records/s", None, f"{detail}; {spread(http, 0)}")
    yield Figure("exchanges.replay_socket_per_s", median(socket), "messages/s", None, f"{detail}; {spread(socket, 0)}")


def _fill(url: str) -> None:
    levels = tuple((f"{100 + level}.25", "1.5") for level in range(LEVELS // 2))
    with clickhouse.connect(url) as client:
        schema.ensure(client)
        for first in range(0, RECORDS, 100_000):
            records: list[Trade | OrderBook] = []
            for number in range(first, min(first + 100_000, RECORDS), 2):
                at = BEGIN + number * 1_000_000_000 // PER_SECOND
                head = "binance", "linear", "ABC-USDT", "ABCUSDT", at - 5_000_000, at
                records.append(Trade(*head, str(number), "100.25", "1.5", None, "buy"))  # type: ignore[arg-type]
                records.append(OrderBook(*head, "delta", levels, levels, "base", number, number, number - 1))  # type: ignore[arg-type]
            insert_records(client, records)


@contextmanager
def _served(url: str, home: Path) -> Iterator[str]:
    port = free_port()
    command = [str(Path(sys.executable).with_name("marketdata")), "replay-server", "--port", str(port)]
    variables = {"MARKETDATA_CLICKHOUSE_URL": url, "MARKETDATA_HOME": str(home)}
    process = subprocess.Popen(command, env=os.environ | variables, stderr=subprocess.DEVNULL)
    try:
        while not port_answers(port):
            assert process.poll() is None, "the server ended"
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _over_http(address: str) -> float:
    began, lines = time.perf_counter(), 0
    with httpx.stream("GET", f"http://{address}/replay", params=SPAN, timeout=60, trust_env=False) as answer:
        lines = sum(chunk.count(b"\n") for chunk in answer.iter_raw())
    assert lines == RECORDS, lines
    return lines / (time.perf_counter() - began)


async def _over_socket(address: str) -> float:
    began, messages = time.perf_counter(), 0
    async with aiohttp.ClientSession() as http, http.ws_connect(f"http://{address}/ws-replay", params=SPAN) as socket:
        async for _ in socket:
            messages += 1
    assert messages == RECORDS, messages
    return messages / (time.perf_counter() - began)
