"""Whether the collector does what it is for: a verdict with its reasons, from `status` alone.

unhealthy   no market tells anything, or a sink can neither hand over nor keep what comes
degraded    one of them does not, or something waits, is refused, or is not whole
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from marketdata_assets.collector.config import HealthLimits
from marketdata_assets.collector.status import MarketStatus, SinkStatus, Status

Verdict = Literal["healthy", "degraded", "unhealthy"]
MAX_NAMED = 5
LAST_VALUES = "redis"
"""A sink that may be away without anything being lost."""


@dataclass(frozen=True)
class Check:
    """One market or sink. `down`: it does nothing of what it is for."""

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
        """Why it is not healthy."""
        return [f"{check.name}: {reason}" for check in self.checks for reason in check.reasons]


def judge(status: Status, limits: HealthLimits | None = None) -> Health:
    """The verdict on a moment."""
    limits = limits or HealthLimits()
    young = status.uptime_seconds < limits.start_seconds
    markets = [_market(one, status, limits, young) for one in status.markets]
    sinks = [_sink(one, limits) for one in status.sinks]
    lost = any(check.down for check in sinks if check.name != LAST_VALUES)
    dark = bool(markets) and all(check.down for check in markets)
    checks = (*markets, *sinks)
    verdict: Verdict = "healthy"
    if any(check.reasons for check in checks):
        verdict = "degraded"
    if lost or dark:
        verdict = "unhealthy"
    return Health(verdict, checks)


def _market(one: MarketStatus, status: Status, limits: HealthLimits, young: bool) -> Check:
    dark = "" if status.shard != "1/1" and not one.state.instruments else _dark(one, status.now, limits)
    if dark and young:
        return Check(one.name, False, (f"starting, {dark}",))
    reasons = [] if young else list(_not_whole(one, status, limits))
    return Check(one.name, bool(dark), (*([dark] if dark else []), *reasons))


def _dark(one: MarketStatus, now: int, limits: HealthLimits) -> str:
    """Why nothing comes; empty when something does."""
    state = one.state
    if state.listed is None:
        return "the venue's list of instruments did not come"
    if not state.instruments:
        return "none of its symbols is traded there"
    if not any(each.status in ("open", "replacing") for each in state.connections):
        errors = [each.last_error for each in state.connections if each.last_error]
        return f"no socket is open{f' ({errors[-1]})' if errors else ''}"
    last = one.last_message_at
    if last is None:
        return "nothing came yet"
    if now - last > limits.silence_seconds * 1e9:
        return f"nothing came for {(now - last) / 1e9:.0f} s"
    return ""


def _not_whole(one: MarketStatus, status: Status, limits: HealthLimits) -> Iterator[str]:
    state = one.state
    if state.unknown:
        yield f"not traded there: {_named(list(state.unknown))}"
    for word in ("refused", "stale"):
        if found := [each.key for each in state.subscriptions if each.status == word]:
            yield f"{len(found)} subscriptions {word}: {_named(found)}"
    latest = status.now - limits.book_seconds * 1e9
    old = [
        book.instrument for book in state.books if book.status != "live" and (book.ts_last or status.started) < latest
    ]
    if old:
        yield f"{len(old)} books are not live: {_named(old)}"
    closed = [each.url for each in state.connections if each.status == "backoff"]
    if closed and len(closed) < len(state.connections):
        yield f"{len(closed)} of {len(state.connections)} sockets are down"


def _sink(one: SinkStatus, limits: HealthLimits) -> Check:
    state = one.state
    full = state.queued >= limits.queue_share * state.capacity
    reasons = []
    if not state.connected:
        reasons.append(f"not connected ({state.last_error})" if state.last_error else "not connected")
    if full:
        reasons.append(f"{state.queued} of {state.capacity} places of the queue are taken")
    if state.spooled:
        reasons.append(f"{state.spooled} items wait on disk")
    return Check(one.name, full and not state.connected, tuple(reasons))


def _named(names: list[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
