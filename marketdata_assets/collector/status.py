"""How the collector is doing at one moment: /status, /metrics and /health are three views of this, of nothing else."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from marketdata_assets.collector.connections.state import MarketState
from marketdata_assets.collector.flow import Flow
from marketdata_assets.collector.lag import Lag
from marketdata_assets.collector.sink import SinkState

QUANTILES = (0.5, 0.99)


@dataclass(frozen=True)
class MarketStatus:
    """One market: its sockets, and what came over them."""

    state: MarketState
    flow: Flow

    @property
    def name(self) -> str:
        """As `binance spot`."""
        return f"{self.state.exchange} {self.state.market_type}"

    @property
    def last_message_at(self) -> int | None:
        """ns; None when nothing came yet."""
        came = [one.last_message_at for one in self.state.connections if one.last_message_at is not None]
        return max(came, default=None)


@dataclass(frozen=True)
class SinkStatus:
    """One sink, and how long it took from receiving an item to its being safe there."""

    name: str
    state: SinkState
    lag: Lag


@dataclass(frozen=True)
class Status:
    """All of it. Times are ns since 1970."""

    now: int
    started: int
    version: str
    shard: str
    markets: tuple[MarketStatus, ...]
    sinks: tuple[SinkStatus, ...]
    loop_lag: Lag  # how late the event loop is
    restarts: Mapping[str, int]  # of tasks that ended by a fault of ours
    requests: Mapping[tuple[str, int], int]  # answers over HTTP, by path and status

    @property
    def uptime_seconds(self) -> float:
        return (self.now - self.started) / 1e9


def as_dict(status: Status) -> dict[str, Any]:
    """The whole of it for machines; lags in seconds, as the bounds that half and 99 % of the items stayed within."""
    return {
        "timestamp_ns": status.now,
        "started_ns": status.started,
        "uptime_seconds": round(status.uptime_seconds, 3),
        "version": status.version,
        "shard": status.shard,
        "markets": [_market(one) for one in status.markets],
        "sinks": [{"name": one.name, **asdict(one.state), "lag_seconds": _lag(one.lag)} for one in status.sinks],
        "loop_lag_seconds": _lag(status.loop_lag),
        "restarts": dict(status.restarts),
    }


def scheduler(status: Status) -> dict[str, Any]:
    """What is done again and again, of every market."""
    return {
        "timestamp_ns": status.now,
        "jobs": [
            {"exchange": one.state.exchange, "market_type": one.state.market_type, **asdict(job)}
            for one in status.markets
            for job in one.state.jobs
        ],
    }


def _market(one: MarketStatus) -> dict[str, Any]:
    state = asdict(one.state)
    del state["jobs"]  # /scheduler has them
    flow = one.flow
    return {
        **state,
        "records": dict(flow.records),
        "gaps_by_cause": dict(flow.gaps),
        "gaps_healed": flow.healed,
        "errors": dict(flow.errors),
        "lag_seconds": _lag(flow.lag),
    }


def _lag(lag: Lag) -> dict[str, Any]:
    found = {f"p{share * 100:g}": lag.quantile(share) for share in QUANTILES}
    return {"count": lag.count, **{name: None if value == float("inf") else value for name, value in found.items()}}
