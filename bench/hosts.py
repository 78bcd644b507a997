"""How much of one budget two hosts use between them, before and after one of them is killed.

The hosts are network namespaces; the budget is in PostgreSQL, the ticks go into one ClickHouse.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from bench import ticks_fetch
from bench.figure import Figure
from bench.size import sized
from bench.ticks_fetch import Job
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_demo import hosts
from marketdata_demo.hosts import Host, Network

PER_MINUTE = 600
SECONDS = sized(60.0, 5.0)
SYMBOLS = sized(2000, 200)  # of each host; more than it can load in the time
MONTHS = ("2025-01",)
WORKERS = 4
SETTLING_SECONDS = 10.0


def figures() -> Iterator[Figure]:
    """The share of the budget with two hosts and with the one that is left, and the requests over the limit."""
    if cause := hosts.why_not():
        raise SystemExit(f"bench hosts: {cause}")
    with (
        tempfile.TemporaryDirectory(prefix="md-") as home,
        LocalStack(Settings(home=Path(home), clickhouse_url=None, postgres_dsn=None), ("postgres", "clickhouse")) as it,
        hosts.network() as net,
    ):
        before, after, over = _shares(it, net, home)
    limit = f"{PER_MINUTE} requests a minute, {WORKERS} workers on each of two hosts, one killed after {SECONDS:.0f} s"
    detail = f"{limit}: {before:.4f} with both, {after:.4f} in the {SECONDS:.0f} s after the kill"
    yield Figure("hosts.budget_used", min(before, after), "of the budget", (">=", 0.98), detail)
    yield Figure("hosts.budget_overruns", over, "requests", ("<=", 0), f"over a sliding minute; {limit}")


def _shares(stack: LocalStack, net: Network, home: str) -> tuple[float, float, int]:
    """The share of the budget used by both hosts, and by the second after the first was killed; and the overruns."""
    clickhouse, postgres = stack.endpoints.clickhouse_url or "", stack.endpoints.postgres_dsn or ""
    with (
        ticks_fetch.database(clickhouse.rpartition("/")[0]) as url,
        ticks_fetch.simulated_provider(PER_MINUTE) as provider,
    ):
        ports = [urlsplit(address).port or 0 for address in (url, postgres, provider.url)]
        net.publish(*ports)
        loads = []
        for number, host in enumerate(net.hosts):
            for port in ports:
                host.forward(port, net.address)
            symbols = (number * SYMBOLS, (number + 1) * SYMBOLS)
            folder = str(Path(home) / host.name)
            job = Job(url, provider.url, folder, symbols, MONTHS, WORKERS, PER_MINUTE, budgets=postgres)
            loads.append(_load(host, job))
        _wait_for_first_turn(postgres)
        time.sleep(SETTLING_SECONDS + SECONDS)
        net.hosts[0].kill()
        killed = time.monotonic()
        time.sleep(SECONDS)
        if (code := loads[1].poll()) is not None:
            raise SystemExit(f"the second host ended early, with {code}")
        arrivals, over = provider.told()
    whole = PER_MINUTE * SECONDS / 60.0
    used = [
        sum(start <= moment < start + SECONDS for moment in arrivals) / whole for start in (killed - SECONDS, killed)
    ]
    return used[0], used[1], over


def _wait_for_first_turn(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        while connection.execute("SELECT to_regclass('request_budgets')").fetchone() == (None,):
            time.sleep(0.1)


def _load(host: Host, job: Job) -> "subprocess.Popen[str]":
    Path(job.folder).mkdir()
    command = [sys.executable, "-m", "bench.ticks_fetch", "load", json.dumps(vars(job))]
    return host.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
