"""One status and one report of several processes that share the instruments of a configuration."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import TypeVar

from marketdata_assets.collector.connections.state import JobState, MarketState
from marketdata_assets.collector.counters import LatencyHistogram, MarketCounters
from marketdata_assets.collector.sink import SinkState
from marketdata_assets.collector.status import MarketStatus, Report, SinkReport, SinkStatus, Status

T = TypeVar("T")


def merged(statuses: Sequence[Status]) -> Status:
    """The status of all processes as that of one; the first one says what is common to them. At least one."""
    first = statuses[0]
    return replace(
        first,
        started=min(one.started for one in statuses),
        shard="1/1",
        markets=tuple(map(_market, _by_name([one.markets for one in statuses], lambda one: one.name))),
        sinks=tuple(map(_sink, _by_name([one.sinks for one in statuses], lambda one: one.name))),
        loop_latency=_latency([one.loop_latency for one in statuses]),
        restarts=_counts([Counter(one.restarts) for one in statuses]),
        processes=tuple(chain.from_iterable(one.processes for one in statuses)),
    )


def merged_reports(reports: Sequence[Report]) -> Report:
    """What all processes did. At least one."""
    names = dict.fromkeys(chain.from_iterable(one.sinks for one in reports))
    return Report(
        seconds=max(one.seconds for one in reports),
        messages=sum(one.messages for one in reports),
        records=dict(sorted(_counts([Counter(one.records) for one in reports]).items())),
        gaps=sum(one.gaps for one in reports),
        errors=dict(sorted(_counts([Counter(one.errors) for one in reports]).items())),
        sinks={name: _sink_report([one.sinks[name] for one in reports if name in one.sinks]) for name in names},
    )


def _by_name(parts: Sequence[Sequence[T]], name: Callable[[T], str]) -> list[list[T]]:
    """The elements of all parts in groups of one name."""
    groups: dict[str, list[T]] = {}
    for one in chain.from_iterable(parts):
        groups.setdefault(name(one), []).append(one)
    return list(groups.values())


def _market(parts: Sequence[MarketStatus]) -> MarketStatus:
    return MarketStatus(_market_state([one.state for one in parts]), _counters([one.counters for one in parts]))


def _market_state(states: Sequence[MarketState]) -> MarketState:
    """Connections are numbered through; a symbol that one process does not know, none does."""
    first = states[0]
    offsets = [sum(len(one.connections) for one in states[:index]) for index in range(len(states))]
    listed = [one.listed for one in states]
    return MarketState(
        first.exchange,
        first.market_type,
        instruments=sum(one.instruments for one in states),
        listed=None if None in listed else first.listed,
        dead_letters=sum(one.dead_letters for one in states),
        venue_errors=sum(one.venue_errors for one in states),
        duplicates=sum(one.duplicates for one in states),
        gaps=sum(one.gaps for one in states),
        resyncs_pending=sum(one.resyncs_pending for one in states),
        connections=tuple(
            replace(each, number=each.number + offset)
            for one, offset in zip(states, offsets, strict=True)
            for each in one.connections
        ),
        subscriptions=tuple(
            replace(each, connection=each.connection + offset)
            for one, offset in zip(states, offsets, strict=True)
            for each in one.subscriptions
        ),
        books=tuple(chain.from_iterable(one.books for one in states)),
        jobs=tuple(map(_job, _by_name([one.jobs for one in states], lambda one: one.name))),
        unknown=tuple(dict.fromkeys(chain.from_iterable(one.unknown for one in states))),
        absent=tuple(dict.fromkeys(chain.from_iterable(one.absent for one in states))),
        patterns=first.patterns,
        changed=sum((Counter(one.changed) for one in states), Counter()),
        changes=tuple(sorted(chain.from_iterable(one.changes for one in states), key=lambda one: one.at)),
    )


def _job(jobs: Sequence[JobState]) -> JobState:
    return replace(
        jobs[0],
        runs=sum(one.runs for one in jobs),
        failures=sum(one.failures for one in jobs),
        last_at=max((one.last_at for one in jobs if one.last_at), default=None),
        next_at=min((one.next_at for one in jobs if one.next_at), default=None),
        last_error=next((one.last_error for one in jobs if one.last_error), None),
    )


def _counters(parts: Sequence[MarketCounters]) -> MarketCounters:
    last: dict[str, int] = {}
    for one in parts:
        last |= {tag: max(moment, last.get(tag, 0)) for tag, moment in one.last.items()}
    return MarketCounters(
        parts[0].exchange,
        parts[0].market_type,
        _counts([one.records for one in parts]),
        last,
        _counts([one.gaps for one in parts]),
        sum(one.healed for one in parts),
        _counts([one.errors for one in parts]),
        _latency([one.latency for one in parts]),
    )


def _sink(parts: Sequence[SinkStatus]) -> SinkStatus:
    states = [one.state for one in parts]
    state = SinkState(
        queued=sum(one.queued for one in states),
        capacity=sum(one.capacity for one in states),
        connected=all(one.connected for one in states),
        last_error=next((one.last_error for one in states if one.last_error), None),
        oldest_ns=min((one.oldest_ns for one in states if one.oldest_ns is not None), default=None),
        spooled=sum(one.spooled for one in states),
        sent=sum(one.sent for one in states),
        acked=sum(one.acked for one in states),
        dropped=sum(one.dropped for one in states),
        conflated=sum(one.conflated for one in states),
        spool_bytes=sum(one.spool_bytes for one in states),
        errors=sum(one.errors for one in states),
        durable=states[0].durable,
    )
    return SinkStatus(parts[0].name, state, _latency([one.latency for one in parts]))


def _sink_report(parts: Sequence[SinkReport]) -> SinkReport:
    return SinkReport(
        sum(one.acked for one in parts),
        sum(one.dropped for one in parts),
        sum(one.spooled for one in parts),
        sum(one.remaining for one in parts),
        parts[0].durable,
    )


def _latency(parts: Sequence[LatencyHistogram]) -> LatencyHistogram:
    found = LatencyHistogram(parts[0].bounds)
    found.counts = [sum(counts) for counts in zip(*(one.counts for one in parts), strict=True)]
    found.total_ns = sum(one.total_ns for one in parts)
    return found


def _counts(parts: Sequence[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in parts:
        total.update(one)
    return total
