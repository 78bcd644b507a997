"""How much of a budget loading processes use between them while whole months land in ClickHouse, and in which memory.

The simulated server counts over a sliding minute, rejects what is over the limit, and has its answers prepared.
"""

import asyncio
import datetime as dt
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from aiohttp import web

from bench.figure import Figure
from bench.load_once import peak_mb
from bench.size import sized
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.reference.records import Days
from marketdata_assets.settings import Settings
from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks import tables, tushare
from marketdata_assets.ticks.load import load
from marketdata_assets.ticks.load_run import LoadOptions
from marketdata_assets.ticks.provider_client import rate_limiter
from marketdata_assets.ticks.providers_file import RateLimits, shipped
from marketdata_assets.ticks.reports import Unit
from marketdata_demo.servers.tushare import TushareServer, minute_rows

PER_MINUTE = 2000
SYMBOLS = sized(500, 10)
MONTHS = sized(("2025-01", "2025-02", "2025-03", "2025-04", "2025-05"), ("2025-01",))
SETTLING_SECONDS, SATURATED_SECONDS = 2.0, 60.0
RUNS = sized(((1, 1), (1, 5), (1, 20), (2, 5)), ((2, 5),))  # processes, workers of each
FLAT = sized((1000, 4000), (5, 10))
"""Symbols of a load; some 850 of a month are published together, so that both have a full batch in memory."""
FREE = 1e9
NOW = dt.datetime(2025, 7, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Job:
    """What one loading process does."""

    store: str
    provider: str
    folder: str
    symbols: tuple[int, int]  # from, up to
    months: tuple[str, ...]
    workers: int
    per_minute: float


def figures() -> Iterator[Figure]:
    """The smallest share of the budget that any run used, all overruns, and how memory grows with symbols."""
    with (
        tempfile.TemporaryDirectory(prefix="md-") as home,
        LocalStack(Settings(home=Path(home), clickhouse_url=None), services=("clickhouse",)) as stack,
    ):
        server = (stack.endpoints.clickhouse_url or "").rpartition("/")[0]
        shares, overruns, said = [], 0, []
        for processes, workers in RUNS:
            share, over, text = _budget(server, home, processes, workers)
            shares.append(share)
            overruns += over
            said.append(text)
        detail = f"{SYMBOLS} symbols x {len(MONTHS)} months of 1-minute bars into ClickHouse; " + "; ".join(said)
        yield Figure("ticks.budget_used", min(shares), "of the budget", (">=", 0.98), detail)
        yield Figure("ticks.budget_overruns", overruns, "requests", ("<=", 0), f"over a sliding minute; {detail}")
        yield _memory(server, home)


def _budget(store: str, home: str, processes: int, workers: int) -> tuple[float, int, str]:
    cut = [SYMBOLS * number // processes for number in range(processes + 1)]
    with _database(store) as url, _provider(PER_MINUTE) as provider:
        folder = tempfile.mkdtemp(dir=home)
        jobs = [
            Job(url, provider.url, folder, (first, end), MONTHS, workers, PER_MINUTE) for first, end in pairwise(cut)
        ]
        _loaded(jobs)
        arrivals, over = provider.told()
    start = arrivals[0] + SETTLING_SECONDS
    used = sum(start <= moment < start + SATURATED_SECONDS for moment in arrivals)
    share = used / (PER_MINUTE * SATURATED_SECONDS / 60.0)
    many = f"{processes} processes x {workers}" if processes > 1 else f"{workers}"
    return share, over, f"{many} workers {share:.4f}, {over} over"


def _memory(store: str, home: str) -> Figure:
    peaks = []
    for symbols in FLAT:
        with _database(store) as url, _provider(None) as provider:
            job = Job(url, provider.url, tempfile.mkdtemp(dir=home), (0, symbols), MONTHS[:1], 5, FREE)
            peaks.append(_loaded([job])[0])
    detail = f"peak memory {peaks[0]:.0f} MB at {FLAT[0]} symbols of one month, {peaks[1]:.0f} MB at {FLAT[1]}"
    return Figure("ticks.fetch_memory_ratio", peaks[1] / peaks[0], "times", ("<=", 1.2), detail)


def _loaded(jobs: Sequence[Job]) -> list[float]:
    """Run each job in a process of its own, side by side; the peak memory of each in MB."""
    command = [sys.executable, "-m", "bench.ticks_fetch", "load"]
    children = [subprocess.Popen([*command, json.dumps(vars(job))], stdout=subprocess.PIPE, text=True) for job in jobs]
    told = [child.communicate()[0] for child in children]
    if codes := [child.returncode for child in children if child.returncode]:
        raise SystemExit(f"a loading process ended with {codes}")
    return [json.loads(text)["peak_mb"] for text in told]


@contextmanager
def _database(server: str) -> Iterator[str]:
    with clickhouse.connect(f"{server}/default") as client:
        client.command("CREATE DATABASE bench ENGINE = Atomic")
        yield f"{server}/bench"
        client.command("DROP DATABASE bench SYNC")


class _Provider:
    """A server in a process of its own."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self._child = child
        assert child.stdout
        self.url = child.stdout.readline().strip()

    def told(self) -> tuple[list[float], int]:
        """When requests arrived, and how many were over the limit. Ends the server."""
        said = json.loads(self._child.communicate("")[0])
        return said["arrivals"], said["overruns"]


@contextmanager
def _provider(per_minute: int | None) -> Iterator[_Provider]:
    command = [sys.executable, "-m", "bench.ticks_fetch", "serve", json.dumps(per_minute)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield _Provider(child)
    finally:
        child.kill()
        child.wait()


def serve(per_minute: int | None) -> None:
    """Answer until the input ends, then tell what arrived."""
    bodies = {month: _body(month) for month in MONTHS}
    arrivals: list[float] = []

    class Ready(TushareServer):
        async def answer(self, request: web.Request) -> web.StreamResponse:
            arrivals.append(asyncio.get_running_loop().time())
            params = (await request.json())["params"]
            body = bodies[params["start_date"][:7]].replace(b"SYMBOL", params["ts_code"].encode())
            return web.Response(body=body, content_type="application/json")

    with Ready(minute=per_minute) as server:
        print(server.url, flush=True)
        sys.stdin.read()
        print(json.dumps({"arrivals": arrivals, "overruns": server.overruns}))


def _body(month: str) -> bytes:
    fields = ["ts_code", "trade_time", "close", "open", "high", "low", "vol", "amount"]
    days = [day for day in Days.month(month) if day.weekday() < 5]
    rows = [row for day in reversed(days) for row in reversed(minute_rows("SYMBOL", day))]
    data = {"fields": fields, "items": rows, "has_more": False}
    return json.dumps({"code": 0, "msg": "", "data": data}).encode()


def work(job: Job) -> None:
    """Load all units of a job, and tell the peak memory."""
    token = "canary-token"
    section = shipped().tushare
    assert section
    config = section.model_copy(
        update={"rate_limits": RateLimits(requests_per_minute=job.per_minute, requests_per_hour=FREE)}
    )
    account = tushare.Account(token, rate_limiter(tushare.NAME, config, Path(job.folder), token))
    provider = tushare.Tushare([account], config, url=job.provider)
    units = [Unit(f"{600000 + number}.SH", month) for month in job.months for number in range(*job.symbols)]
    options = LoadOptions(workers=job.workers, turns=Path(job.folder) / "turns")
    with clickhouse.connect(job.store) as client:
        tables.ensure(client)
        report = load(client, [provider], units, options=options, run_id="bench", now=NOW, trading_days=_weekdays)
    if report.failed:
        raise SystemExit(f"{len(report.failed)} units failed, one: {report.failed[0].error}")
    print(json.dumps({"peak_mb": peak_mb()}))


def _weekdays(days: Days) -> list[dt.date]:
    return [day for day in days if day.weekday() < 5]


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(json.loads(sys.argv[2]))
    else:
        fields = json.loads(sys.argv[2])
        work(Job(**{**fields, "symbols": tuple(fields["symbols"]), "months": tuple(fields["months"])}))
