"""How much of an account's rate budget two fetching processes use between them, by the clock of the server.

The simulated server counts requests over a sliding period and rejects those over the limit.
"""

import asyncio
import datetime as dt
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figure import Figure
from bench.size import sized
from marketdata_assets.alphas.accounts import Credentials
from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.fetch import fetch_month
from marketdata_assets.alphas.layout import month_window
from marketdata_assets.budget import Budget
from marketdata_demo.servers.brain import BrainServer, spread

REQUESTS, PER_SECONDS = 100, 10.0
SATURATED_SECONDS = sized(25.0, 1.0)
LATENCY = 0.05
ALPHAS = sized(4000, 400)  # a month
MONTHS = ("2024-10", "2024-11")
ACCOUNT, EMAIL, PASSWORD = "lk", "person@example.com", "no secret"


def figures() -> Iterator[Figure]:
    """The share of the budget in a stretch of SATURATED_SECONDS, in which both processes always have work."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        BrainServer(requests=REQUESTS, per_seconds=PER_SECONDS, latency=LATENCY) as server,
    ):
        server.add_user(EMAIL, PASSWORD)
        for number, month in enumerate(MONTHS):
            window = month_window(month)
            server.add_alphas(EMAIL, spread(window.start, window.end, ALPHAS, first=number * ALPHAS))
        seconds = SATURATED_SECONDS + 4
        command = [sys.executable, "-m", "bench.alphas_fetch", server.url, folder]
        children = [subprocess.Popen([*command, month, str(seconds)]) for month in MONTHS]
        codes = [child.wait() for child in children]
        if any(codes):
            raise SystemExit(f"a fetching process ended with {codes}")
        yield _figure(server)


def _figure(server: BrainServer) -> Figure:
    arrivals = sorted(server.arrivals[EMAIL])
    start = arrivals[0] + 2.0
    used = sum(start <= moment < start + SATURATED_SECONDS for moment in arrivals)
    share = used / (REQUESTS / PER_SECONDS * SATURATED_SECONDS)
    detail = (
        f"{used} requests in {SATURATED_SECONDS:.0f} s of a budget of {REQUESTS} per {PER_SECONDS:.0f} s, 2 processes,"
        f" {1000 * LATENCY:.0f} ms latency; overruns {server.overruns}, logins {server.logins}"
    )
    if server.overruns:
        share = 0.0  # a budget that is not kept counts for nothing
    return Figure("alphas.fetch_budget_used", share, "of the budget", (">=", 0.98), detail)


async def work(url: str, home: Path, month: str, seconds: float) -> None:
    """Fetch one month again and again for some seconds; the fetch that is under way then is broken off."""
    budget = Budget(home / "budgets", ACCOUNT, PER_SECONDS, REQUESTS)
    now = dt.datetime.now(dt.UTC)
    async with BrainClient(
        ACCOUNT, Credentials(EMAIL, PASSWORD), url, sessions=home / "sessions", budget=budget
    ) as client:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left):
                    root = home / "alphas"
                    report = await fetch_month(client, root, ACCOUNT, month, kinds=["regular"], now=now, refetch=True)
            except TimeoutError:
                return
            assert not report.failed, report.failed


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])))
