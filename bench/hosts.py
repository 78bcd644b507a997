"""How much of one budget two hosts use between them, before and after one of them is killed.

The hosts are network namespaces, the budget is in PostgreSQL, and the simulated server counts over a sliding minute.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from aiohttp import web

from bench.figure import Figure
from bench.size import sized
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.reference.records import Days
from marketdata_assets.settings import Settings
from marketdata_assets.stores.budgets import PostgresBudgets
from marketdata_assets.ticks import tushare
from marketdata_assets.ticks.provider_client import rate_limiter
from marketdata_assets.ticks.providers_file import RateLimits, shipped
from marketdata_demo import hosts
from marketdata_demo.hosts import Network
from marketdata_demo.servers.tushare import TOKEN, TushareServer

PER_MINUTE = 600
SETTLING_SECONDS = 10.0
SECONDS = sized(60.0, 5.0)
WORKERS = 4
SYMBOL = "600000.SH"
DAY = Days.month("2025-06").slices(1)[1]
FREE = 1e9


def figures() -> Iterator[Figure]:
    """The share of the budget with two hosts and with the one that is left, and the requests over the limit."""
    if cause := hosts.why_not():
        raise SystemExit(f"bench hosts: {cause}")
    with (
        tempfile.TemporaryDirectory(prefix="md-") as home,
        LocalStack(Settings(home=Path(home), postgres_dsn=None), services=("postgres",)) as stack,
        hosts.network() as net,
    ):
        before, after, over = _shares(stack.endpoints.postgres_dsn or "", net)
    limit = (
        f"{PER_MINUTE} requests a minute of one day of bars each, {WORKERS} workers on each of two hosts, one killed"
        f" after {SECONDS:.0f} s"
    )
    detail = f"{limit}: {before:.4f} with both, {after:.4f} in the {SECONDS:.0f} s after the kill"
    yield Figure("hosts.budget_used", min(before, after), "of the budget", (">=", 0.98), detail)
    yield Figure("hosts.budget_overruns", over, "requests", ("<=", 0), f"over a sliding minute; {limit}")


def _shares(dsn: str, net: Network) -> tuple[float, float, int]:
    """The share of the budget used by both hosts, and by the second after the first was killed; and the overruns."""
    command = [sys.executable, "-m", "bench.hosts"]
    server = subprocess.Popen([*command, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        url = server.stdout.readline().strip()
        ports = [urlsplit(address).port or 0 for address in (url, dsn)]
        net.publish(*ports)
        for host in net.hosts:
            for port in ports:
                host.forward(port, net.address)
            host.start([*command, "ask", url, dsn])
        _wait_for_first_turn(dsn)
        time.sleep(SETTLING_SECONDS + SECONDS)
        net.hosts[0].kill()
        killed = time.monotonic()
        time.sleep(SECONDS)
        net.hosts[1].kill()
        told = json.loads(server.communicate("")[0])
    finally:
        server.kill()
        server.wait()
    starts = (killed - SECONDS, killed)
    used = [sum(start <= moment < start + SECONDS for moment in told["arrivals"]) for start in starts]
    before, after = (count / (PER_MINUTE * SECONDS / 60.0) for count in used)
    return before, after, told["overruns"]


def _wait_for_first_turn(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        while connection.execute("SELECT to_regclass('request_budgets')").fetchone() == (None,):
            time.sleep(0.1)


def serve() -> None:
    """Answer until the input ends, then tell when requests arrived, and how many were over the limit."""
    arrivals: list[float] = []

    class Timed(TushareServer):
        async def answer(self, request: web.Request) -> web.StreamResponse:
            arrivals.append(time.monotonic())
            return await super().answer(request)

    with Timed(minute=PER_MINUTE) as server:
        print(server.url, flush=True)
        sys.stdin.read()
        print(json.dumps({"arrivals": arrivals, "overruns": server.overruns}))


async def ask(url: str, dsn: str) -> None:
    """Request the same day of bars again and again, until killed."""
    section = shipped().tushare
    assert section
    limits = RateLimits(requests_per_minute=PER_MINUTE, requests_per_hour=FREE)
    config = section.model_copy(update={"rate_limits": limits})
    account = tushare.Account(TOKEN, rate_limiter(tushare.NAME, config, PostgresBudgets(dsn), TOKEN))

    async def work(client: tushare.Tushare) -> None:
        while True:
            await client.bars(SYMBOL, DAY)

    async with tushare.Tushare([account], config, url=url) as client:
        await asyncio.gather(*(work(client) for _ in range(WORKERS)))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        asyncio.run(ask(sys.argv[2], sys.argv[3]))
