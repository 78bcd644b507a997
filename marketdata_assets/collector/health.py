"""The health of the collector: a verdict with its reasons, from `status` alone.

unhealthy   no market delivers data, or a sink can neither deliver nor keep it
degraded    one market delivers no data, or something is queued, rejected or out of sync
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from marketdata_assets.collector.config import HealthLimits
from marketdata_assets.collector.connections.state import MarketState
from marketdata_assets.collector.sink import SinkState
from marketdata_assets.collector.status import Status

Verdict = Literal["healthy", "degraded", "unhealthy"]
MAX_NAMED = 5
LISTING = "instruments"
"""The job that reads the instrument list."""


@dataclass(frozen=True)
class Check:
    """One market or sink. `down`: it does not work at all."""

    name: str
    down: bool
    reasons: tuple[str, ...]

    @property
    def status(self) -> Verdict:
        return "unhealthy" if self.down else "degraded" if self.reasons else "healthy"


@dataclass(frozen=True)
class Health:
    """The verdict."""

    status: Verdict
    checks: tuple[Check, ...]

    @property
    def reasons(self) -> list[str]:
        return [f"{check.name}: {reason}" for check in self.checks for reason in check.reasons]


def judge(status: Status, limits: HealthLimits | None = None) -> Health:
    limits = limits or HealthLimits()
    starting = status.uptime_seconds < limits.start_seconds
    markets = [_market(one, status, limits, starting) for one in status.markets]
    sinks = [_sink(one, limits) for one in status.sinks]
    lost = any(check.down for check, one in zip(sinks, status.sinks, strict=True) if one.durable)
    no_data = bool(markets) and all(check.down for check in markets)
    checks = (*markets, *sinks)
    verdict: Verdict = "healthy"
    if any(check.reasons for check in checks):
        verdict = "degraded"
    if lost or no_data:
        verdict = "unhealthy"
    return Health(verdict, checks)


def _market(market: MarketState, status: Status, limits: HealthLimits, starting: bool) -> Check:
    no_data = "" if status.shard != "1/1" and not market.instruments else _no_data(market, status.now, limits)
    if no_data and starting:
        return Check(market.name, False, (f"starting, {no_data}",))
    reasons = [] if starting else list(_problems(market, status, limits))
    return Check(market.name, bool(no_data), (*([no_data] if no_data else []), *reasons))


def _no_data(market: MarketState, now: int, limits: HealthLimits) -> str:
    """Why no data arrives; empty when some does."""
    if market.listed is None:
        errors = [job.last_error for job in market.jobs if job.name == LISTING and job.last_error]
        return f"the instrument list has not arrived{f' ({errors[0]})' if errors else ''}"
    if not market.instruments:
        return "" if market.absent else "none of its symbols is listed"
    if not any(each.status in ("open", "replacing") for each in market.connections):
        errors = [each.last_error for each in market.connections if each.last_error]
        return f"no socket is open{f' ({errors[-1]})' if errors else ''}"
    last = market.last_message_at
    if last is None:
        return "no message yet"
    if now - last > limits.silence_seconds * 1e9:
        return f"no message for {(now - last) / 1e9:.0f} s"
    return ""


def _problems(market: MarketState, status: Status, limits: HealthLimits) -> Iterator[str]:
    if market.unknown:
        yield f"symbols: {_named(list(market.unknown))}"
    for word in ("rejected", "stale"):
        if keys := [each.key for each in market.subscriptions if each.status == word]:
            yield f"{len(keys)} subscriptions {word}: {_named(keys)}"
    latest = status.now - limits.book_seconds * 1e9
    late = (one for one in market.books if one.status != "live" and (one.ts_last or status.started) < latest)
    if old := [book.instrument for book in late]:
        yield f"{len(old)} books are not live: {_named(old)}"
    closed = [each.url for each in market.connections if each.status == "backoff"]
    if closed and len(closed) < len(market.connections):
        yield f"{len(closed)} of {len(market.connections)} sockets are down"


def _sink(sink: SinkState, limits: HealthLimits) -> Check:
    full = sink.queued >= limits.queue_share * sink.capacity
    reasons = []
    if not sink.connected:
        what = f"{sink.errors} calls failed" if sink.errors else "not connected"
        reasons.append(f"{what} ({sink.last_error})" if sink.last_error else what)
    if full:
        reasons.append(f"the queue holds {sink.queued} of {sink.capacity} items")
    if sink.spooled:
        reasons.append(f"{sink.spooled} items are spooled on disk")
    return Check(sink.name, full and not sink.connected, tuple(reasons))


def _named(names: list[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
