"""Collectors, one a shard, between a venue that sends as fast as it is asked and a real nats-server, for minutes.

Each of them is a process of its own. What is counted: messages of the venue that JetStream has acknowledged, how long
it took from their receipt to the ack, and the memory of the collector meanwhile. At the end the stream is drained into
ClickHouse and bars are made: every trade of the venue has to be in all of them once.
"""

import asyncio
import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

import httpx
import nats
import psutil

from bench.figure import Figure, Target
from bench.size import sized
from marketdata_assets.collector.drain import drain
from marketdata_assets.exchanges.tables import ohlcv, schema
from marketdata_assets.local import servers
from marketdata_assets.local.process import Server
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_assets.stores import clickhouse, clickhouse_ledger
from marketdata_demo.collector_process import CollectorProcess, Place

SYMBOLS = sized(20, 3)
ASKED = sized(22_000.0, 500.0)
"""Messages a second: a little more than the floor, so that it is held with something in hand."""

FAST = sized(61_500.0, 500.0)
FAST_GOAL = 60_000.0
FAST_SECONDS = sized(60.0, 2.0)

WARM_SECONDS = sized(15.0, 0.5)
SOAK_SECONDS = sized(180.0, 2.0)
LOOK_SECONDS = sized(5.0, 0.5)
"""Between two looks, which cost the collector some milliseconds each."""

PATIENCE = 300.0
"""Seconds, at the end, for what was not acknowledged yet."""

MOST_GROWTH = 5.0
"""MB a minute: less than four bytes for each message. What a burst leaves to the allocator is some MB, once."""

MB = 1 << 20


@dataclass(frozen=True)
class Look:
    """One look at everything, at a moment of the monotonic clock."""

    at: float
    sent: int  # by the venue
    acked: int
    queued: int
    spooled: int
    rss: int  # bytes, of all processes of the collector
    cpu: float  # seconds so far, of the collector
    nats_cpu: float
    venue_cpu: float
    lag: Sequence[tuple[float, int]]  # bound in seconds, how many within; only of the first and the last look


@dataclass(frozen=True)
class Soak:
    """What came of a run. `looks` begin when it was warm."""

    looks: Sequence[Look]
    trades_sent: int
    messages_sent: int
    stored: dict[str, int]  # in the stream, by type of record
    tables: dict[str, int]  # rows of trades, and trades in bars
    reports: Sequence[dict[str, Any]]  # of the shards
    violations: Sequence[str]

    @property
    def rate(self) -> float:
        """Messages acked a second."""
        first, last = self.looks[0], self.looks[-1]
        return (last.acked - first.acked) / (last.at - first.at)

    @property
    def asked(self) -> float:
        first, last = self.looks[0], self.looks[-1]
        return (last.sent - first.sent) / (last.at - first.at)

    def cores(self, of: str = "cpu") -> float:
        first, last = self.looks[0], self.looks[-1]
        used: float = (getattr(last, of) - getattr(first, of)) / (last.at - first.at)
        return used

    def lag_ms(self, share: float) -> float:
        """The receive -> ack time that this share stayed within, by interpolation between bounds of the histogram."""
        before, after = self.looks[0].lag, self.looks[-1].lag
        counts = [(bound, late - early) for (bound, early), (_, late) in zip(before, after, strict=True)]
        wanted, below, begin = share * counts[-1][1], 0, 0.0
        for bound, within in counts:
            if within >= wanted:
                return 1000.0 * (begin + (bound - begin) * (wanted - below) / max(within - below, 1))
            below, begin = within, bound
        return float("inf")

    @property
    def growth(self) -> float:
        """Memory, MB a minute, by a line through all looks."""
        slope, _ = linear_regression([one.at / 60.0 for one in self.looks], [one.rss / MB for one in self.looks])
        return slope


def figures() -> Iterator[Figure]:
    """The figures of a long soak of one process, and of the rate that two have to sustain."""
    with tempfile.TemporaryDirectory(prefix="marketdata-bench-") as folder:
        one = soak(Path(folder), ASKED, SOAK_SECONDS, WARM_SECONDS)
    yield from _sustained("collector.", one, 20_000.0)
    first, last = one.looks[0], one.looks[-1]
    memory = f"RSS {first.rss / MB:.0f} MB at the beginning and {last.rss / MB:.0f} MB at the end of the same run"
    yield _missing("collector.soak_trades_missing", one)
    yield Figure("collector.memory_growth_mb_per_min", one.growth, "MB/min", ("<=", MOST_GROWTH), memory)
    for processes in (1, 2):
        with tempfile.TemporaryDirectory(prefix="marketdata-bench-") as folder:
            fast = soak(Path(folder), FAST, FAST_SECONDS, WARM_SECONDS, processes=processes)
        begin = f"collector.fast_{processes}_"
        yield from _sustained(begin, fast, FAST_GOAL, 20.0)
        yield _missing(f"{begin}trades_missing", fast)


def _sustained(begin: str, one: Soak, least: float, longest_ms: float | None = None) -> Iterator[Figure]:
    first, last = one.looks[0], one.looks[-1]
    acked = last.acked - first.acked
    shares = ", ".join(
        f"{name} {(getattr(last, of) - getattr(first, of)) / acked * 1e6:.1f}"
        for name, of in (("collector", "cpu"), ("nats-server", "nats_cpu"), ("venue", "venue_cpu"))
    )
    cores = f"{one.cores():.2f}, {one.cores('nats_cpu'):.2f} and {one.cores('venue_cpu'):.2f} cores"
    about = (
        f"{last.at - first.at:.0f} s of {one.asked:,.0f} messages/s asked for over {SYMBOLS} spot symbols (10 best"
        f" prices, 3 trades, 1 book update of 14); CPU us a message: {shares}; {cores}"
    )
    queued = median(look.queued for look in one.looks)
    yield Figure(f"{begin}sustained_msgs_per_s", one.rate, "messages/s", (">=", least), about)
    lag = f"receive -> ack over the same run; p50 {one.lag_ms(0.5):.1f} ms, p99.9 {one.lag_ms(0.999):.1f} ms"
    target: Target | None = None if longest_ms is None else ("<", longest_ms)
    yield Figure(f"{begin}lag_p99_ms", one.lag_ms(0.99), "ms", target, f"{lag}, {queued:,.0f} queued in the middle")


def _missing(name: str, one: Soak) -> Figure:
    counts = (one.stored["trade"], one.tables["rows"], one.tables["in bars"])
    missing = max(abs(one.trades_sent - count) for count in counts)
    places = ", ".join(
        f"{count:,} {where}" for count, where in zip(counts, ("in the stream", "rows", "in bars"), strict=True)
    )
    counted = (
        f"{one.trades_sent:,} trades were sent in the same run; {places}; {sum(one.stored.values()):,} records in all"
    )
    return Figure(name, missing, "trades", ("<=", 0), counted)


def soak(home: Path, rate: float, seconds: float, warm: float, symbols: int = SYMBOLS, processes: int = 1) -> Soak:
    """Run all of it for so long at so many messages a second, and count at the end."""
    server = Server(servers.NATS, home, 0)
    server.start()
    venue = Venue(symbols)
    try:
        place = Place("binance", "spot", venue.names, ("trade", "orderbook", "ticker"), venue.url, venue.ws_url)
        more = {"jetstream": {"enabled": True}}
        with ExitStack() as running:
            shards = [
                running.enter_context(
                    CollectorProcess(home, [place], server.url, shard=f"{index}/{processes}", more=more)
                )
                for index in range(1, processes + 1)
            ]
            for one in shards:
                one.subscribed()
                one.until(lambda told: _sink(told)["connected"])
            venue.go(rate)
            time.sleep(warm)
            looks = list(_looks(shards, venue, server, seconds))
            venue.go(0.0)
            sent, end = venue.told(), time.monotonic() + PATIENCE
            while sum(_received(one.until(_is_delivered, PATIENCE)) for one in shards) < sent["trades"]:
                assert time.monotonic() < end, f"not all of {sent['trades']} trades were received"
                time.sleep(0.05)
            reports = [one.stop() for one in shards]
            stored = _stored(server)
            tables = _drained(server, home)
        return Soak(looks, sent["trades"], sent["messages"], stored, tables, reports, sent["violations"])
    finally:
        venue.end()
        server.stop()


class Venue:
    """The simulated venue in its process."""

    def __init__(self, symbols: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "marketdata_demo.venues.fast_venue", str(symbols)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        port = json.loads(self._process.stdout.readline())["port"]
        self.url, self.ws_url = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"
        self._http = httpx.Client(base_url=self.url, timeout=10.0, trust_env=False)
        self.names = list(self.told()["by_instrument"])

    @property
    def pid(self) -> int:
        return self._process.pid

    def go(self, rate: float) -> None:
        """Send so many messages a second from now on."""
        self._http.get("/control", params={"rate": rate}).raise_for_status()

    def told(self) -> dict[str, Any]:
        """What it sent."""
        answer: dict[str, Any] = self._http.get("/control").raise_for_status().json()
        return answer

    def end(self) -> None:
        self._http.close()
        self._process.communicate()


def _looks(shards: Sequence[CollectorProcess], venue: Venue, server: Server, seconds: float) -> Iterator[Look]:
    theirs, sender = psutil.Process(server.pid), psutil.Process(venue.pid)
    now = began = time.monotonic()
    while True:
        statuses = [one.status() for one in shards]
        told, used = [_sink(one) for one in statuses], [one["process"] for one in statuses]
        at_an_end = now == began or now >= began + seconds
        yield Look(
            now,
            venue.told()["messages"],
            sum(one["acked"] for one in told),
            sum(one["queued"] for one in told),
            sum(one["spooled"] for one in told),
            sum(one["resident_bytes"] for one in used),
            sum(one["cpu_seconds"] for one in used),
            sum(theirs.cpu_times()[:2]),
            sum(sender.cpu_times()[:2]),
            _lag([one.metrics() for one in shards]) if at_an_end else (),
        )
        if now >= began + seconds:
            return
        time.sleep(max(0.0, min(LOOK_SECONDS, began + seconds - time.monotonic())))
        now = time.monotonic()


def _sink(told: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in told["sinks"] if one["name"] == "jetstream")
    return found


def _received(told: dict[str, Any]) -> int:
    """Trades."""
    return sum(one["records"].get("trade", 0) for one in told["markets"])


def _is_delivered(told: dict[str, Any]) -> bool:
    return bool(_sink(told)["queued"] == _sink(told)["spooled"] == 0)


def _lag(metrics: Sequence[str]) -> list[tuple[float, int]]:
    """The histogram of receive -> ack of all shards, as bounds and how many stayed within."""
    found = Counter[float]()
    for line in chain.from_iterable(text.splitlines() for text in metrics):
        if line.startswith("collector_sink_lag_seconds_bucket") and 'sink="jetstream"' in line:
            bound = line.partition('le="')[2].partition('"')[0]
            found[float(bound)] += int(float(line.rpartition(" ")[2]))
    return sorted(found.items())


def _drained(server: Server, home: Path) -> dict[str, int]:
    """Bring the stream into tables and trades into bars; what stands there."""
    settings = Settings(home=home / "tables", clickhouse_url=None, clickhouse_port=0)
    with LocalStack(settings, services=("clickhouse",)) as stack:
        url = stack.endpoints.clickhouse_url
        assert url
        asyncio.run(drain(url, server.url))
        with clickhouse.connect(url) as client:
            clickhouse_ledger.ensure(client)
            for day in ohlcv.days_with_trades(client):
                ohlcv.compute(client, day, run_id="bench", now=dt.datetime.now(dt.UTC))
            rows = client.command("SELECT count() FROM exchange_trades FINAL", settings=schema.FINAL_SETTINGS)
            in_bars = client.command("SELECT sum(trades) FROM exchange_ohlcv_1m")
    return {"rows": int(str(rows)), "in bars": int(str(in_bars))}


def _stored(server: Server) -> dict[str, int]:
    """How many messages of each type the stream has."""

    async def ask() -> dict[str, int]:
        connection = await nats.connect(server.url)
        try:
            info = await connection.jetstream().stream_info("MARKET", subjects_filter="market.>")
        finally:
            await connection.close()
        counts: dict[str, int] = {}
        for subject, count in (info.state.subjects or {}).items():
            kind = subject.split(".")[1]
            counts[kind] = counts.get(kind, 0) + count
        return counts

    return asyncio.run(ask())
