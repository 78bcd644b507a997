"""The state of the collector at one moment, and the report of a run.

/status, /metrics and /health are three views of `Status`; nothing else is behind them.
"""

import resource
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self, cast

import msgspec
import psutil

from marketdata_assets.collector.connections.state import MarketState
from marketdata_assets.collector.counters import LatencyHistogram
from marketdata_assets.collector.jetstream.inspection import Backlog
from marketdata_assets.collector.sink import SinkState

QUANTILES = (0.5, 0.99)


@dataclass(frozen=True)
class ProcessUsage:
    """What this process has used since its start."""

    cpu_seconds: float
    resident_bytes: int

    @classmethod
    def now(cls) -> Self:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return cls(used.ru_utime + used.ru_stime, psutil.Process().memory_info().rss)


@dataclass(frozen=True)
class Status:
    """The state at `now`. Times are ns since 1970."""

    now: int
    started: int
    version: str
    shard: str
    markets: tuple[MarketState, ...]
    sinks: tuple[SinkState, ...]
    loop_latency: LatencyHistogram  # of the event loop
    restarts: Mapping[str, int]  # of tasks that crashed
    requests: Mapping[tuple[str, int], int]  # HTTP responses by path and status
    backlog: Backlog | None = None  # of the stream; None without JetStream, and while it cannot be read
    process: ProcessUsage = ProcessUsage(0.0, 0)

    @property
    def uptime_seconds(self) -> float:
        return (self.now - self.started) / 1e9


def as_dict(status: Status) -> dict[str, Any]:
    """The status as JSON types; latencies in seconds, as histogram bounds of the quantiles."""
    document = {
        "timestamp_ns": status.now,
        "started_ns": status.started,
        "uptime_seconds": round(status.uptime_seconds, 3),
        "version": status.version,
        "shard": status.shard,
        "markets": [_market(one) for one in status.markets],
        "sinks": [_without(one, "latency") | {"lag_seconds": one.latency} for one in status.sinks],
        "loop_lag_seconds": status.loop_latency,
        "restarts": status.restarts,
        "backlog": status.backlog,
        "process": status.process,
    }
    return cast("dict[str, Any]", msgspec.to_builtins(document, enc_hook=_quantiles))


def scheduler(status: Status) -> dict[str, Any]:
    """The periodic jobs of every market."""
    return {
        "timestamp_ns": status.now,
        "jobs": [
            {"exchange": one.exchange, "market_type": one.market_type, **asdict(job)}
            for one in status.markets
            for job in one.jobs
        ],
    }


def _market(market: MarketState) -> dict[str, Any]:
    counters = market.counters
    return {
        **_without(market, "jobs", "counters"),  # /scheduler has the jobs
        "records": counters.records,
        "gaps": counters.gaps.total(),
        "gaps_by_cause": counters.gaps,
        "gaps_healed": counters.healed,
        "dead_letters": counters.errors["dead_letter"],
        "venue_errors": counters.errors["venue_error"] + counters.errors["rate_limited"],
        "errors": counters.errors,
        "lag_seconds": counters.latency,
    }


def _without(state: MarketState | SinkState, *names: str) -> dict[str, Any]:
    """The fields of a state, but for these."""
    return {name: value for name, value in vars(state).items() if name not in names}


def _quantiles(latency: LatencyHistogram) -> dict[str, Any]:
    bounds = {f"p{share * 100:g}": latency.quantile(share) for share in QUANTILES}
    return {"count": latency.count} | {key: None if value == float("inf") else value for key, value in bounds.items()}


@dataclass(frozen=True)
class SinkReport:
    """What one sink did. `remaining` items were not delivered when the time was up."""

    acked: int
    dropped: int
    spooled: int
    remaining: int
    durable: bool


@dataclass(frozen=True)
class Report:
    """What a run of the collector did."""

    seconds: float
    messages: int
    records: dict[str, int]  # by type
    gaps: int
    errors: dict[str, int]  # by kind
    sinks: dict[str, SinkReport]

    @property
    def remaining(self) -> int:
        """Items lost with this process; those of sinks that are not durable do not count."""
        return sum(one.remaining for one in self.sinks.values() if one.durable)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"remaining": self.remaining}


def report(status: Status, remaining: Mapping[str, int]) -> Report:
    """The report of a run that ended; `remaining` by sink."""
    counters = [one.counters for one in status.markets]
    return Report(
        seconds=round(status.uptime_seconds, 3),
        messages=sum(each.messages for one in status.markets for each in one.connections),
        records=dict(sorted(sum((one.records for one in counters), Counter[str]()).items())),
        gaps=sum(one.gaps.total() for one in counters),
        errors=dict(sorted(sum((one.errors for one in counters), Counter[str]()).items())),
        sinks={
            one.name: SinkReport(one.acked, one.dropped, one.spooled, remaining[one.name], one.durable)
            for one in status.sinks
        },
    )
