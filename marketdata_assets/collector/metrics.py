"""The metrics registry: every family of a file such as `metrics.csv`, which has its labels, its meaning, and its use.

Values are read from `status` at each scrape. The table of docs/reference/metrics.md is generated from the families.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import accumulate
from typing import Any, Literal, get_args

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from marketdata_assets.collector.connections.state import Change, ConnectionStatus, MarketState, SubscriptionStatus
from marketdata_assets.collector.counters import BOUNDS, LatencyHistogram
from marketdata_assets.collector.health import Health, Verdict
from marketdata_assets.collector.jetstream.inspection import Backlog, TypeBacklog
from marketdata_assets.collector.sink import SinkState
from marketdata_assets.collector.status import Status
from marketdata_assets.exchanges.books import Status as BookStatus

Row = tuple[tuple[str, ...], float | LatencyHistogram]
Read = Callable[..., Iterable[Row]]
"""The rows of a family, by what `Metrics` reads; of a collector its status and its health."""
MARKET = ("exchange", "market_type")


@dataclass(frozen=True)
class Family:
    """One metric. `use` is the question it answers."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    text: str
    use: str
    read: Read


def _markets(rows: Callable[[MarketState], Iterable[Row]]) -> Read:
    """Rows of each market, labelled with its exchange and type."""

    def read(status: Status, _: Health) -> Iterator[Row]:
        for one in status.markets:
            for labels, value in rows(one):
                yield (one.exchange, one.market_type, *labels), value

    return read


def _sinks(value: Callable[[SinkState, int], float | LatencyHistogram]) -> Read:
    """One row for each sink."""

    def read(status: Status, _: Health) -> Iterator[Row]:
        for one in status.sinks:
            yield (one.name,), value(one, status.now)

    return read


def _each(counts: Counter[str] | dict[str, int], scale: float = 1.0) -> Iterator[Row]:
    return (((name,), count * scale) for name, count in sorted(counts.items()))


def _backlog(rows: Callable[[Backlog, int], Iterable[Row]]) -> Read:
    """Rows of what is not loaded of the stream; none without JetStream."""
    return lambda status, _: rows(status.backlog, status.now) if status.backlog else ()


def _types(value: Callable[[TypeBacklog, int], float]) -> Read:
    """A row for each record type of the backlog."""
    return _backlog(lambda found, now: [((name,), value(one, now)) for name, one in found.types.items()])


def _one(value: float | LatencyHistogram) -> list[Row]:
    return [((), value)]


def _age(oldest_ns: int | None, now: int) -> float:
    return 0.0 if oldest_ns is None else max(0.0, (now - oldest_ns) / 1e9)


def _all_of(names: Iterable[str], known: object) -> Iterator[Row]:
    """The count of each name of a Literal, 0 included: an alert needs the row to exist."""
    counts = Counter(names)
    return (((name,), counts[name]) for name in get_args(known))


ERRORS = ("dead_letter", "rate_limited", "venue_error")

READS: dict[str, Read] = {
    "collector_info": lambda status, _: [((status.version, status.shard), 1.0)],
    "collector_health": lambda _, health: [((name,), float(name == health.status)) for name in get_args(Verdict)],
    "collector_messages_total": _markets(lambda one: _one(sum(each.messages for each in one.connections))),
    "collector_received_bytes_total": _markets(lambda one: _one(sum(each.bytes for each in one.connections))),
    "collector_records_total": _markets(lambda one: _each(one.counters.records)),
    "collector_last_record_timestamp_seconds": _markets(lambda one: _each(one.counters.last, 1e-9)),
    "collector_exchange_lag_seconds": _markets(lambda one: _one(one.counters.latency)),
    "collector_errors_total": _markets(lambda one: _each({kind: one.counters.errors[kind] for kind in ERRORS})),
    "collector_gaps_total": _markets(lambda one: _each(one.counters.gaps)),
    "collector_gaps_healed_total": _markets(lambda one: _one(one.counters.healed)),
    "collector_duplicates_total": _markets(lambda one: _one(one.duplicates)),
    "collector_books": _markets(lambda one: _all_of((book.status for book in one.books), BookStatus)),
    "collector_connections": _markets(lambda one: _all_of((each.status for each in one.connections), ConnectionStatus)),
    "collector_reconnects_total": _markets(
        lambda one: [
            (("false",), sum(each.reconnects for each in one.connections)),
            (("true",), sum(each.planned for each in one.connections)),
        ]
    ),
    "collector_subscriptions": _markets(
        lambda one: _all_of((each.status for each in one.subscriptions), SubscriptionStatus)
    ),
    "collector_instruments": _markets(lambda one: _one(one.instruments)),
    "collector_instrument_changes_total": _markets(
        lambda one: _each({name: one.changed.get(name, 0) for name in get_args(Change)})
    ),
    "collector_job_runs_total": _markets(lambda one: _each({job.name: job.runs for job in one.jobs})),
    "collector_job_failures_total": _markets(lambda one: _each({job.name: job.failures for job in one.jobs})),
    "collector_sink_connected": _sinks(lambda one, _: float(one.connected)),
    "collector_sink_queue_items": _sinks(lambda one, _: one.queued),
    "collector_sink_queue_capacity": _sinks(lambda one, _: one.capacity),
    "collector_sink_sent_total": _sinks(lambda one, _: one.sent),
    "collector_sink_acked_total": _sinks(lambda one, _: one.acked),
    "collector_sink_dropped_total": _sinks(lambda one, _: one.dropped),
    "collector_sink_conflated_total": _sinks(lambda one, _: one.conflated),
    "collector_sink_errors_total": _sinks(lambda one, _: one.errors),
    "collector_sink_spool_items": _sinks(lambda one, _: one.spooled),
    "collector_sink_spool_bytes": _sinks(lambda one, _: one.spool_bytes),
    "collector_sink_oldest_item_age_seconds": _sinks(lambda one, now: _age(one.oldest_ns, now)),
    "collector_sink_lag_seconds": _sinks(lambda one, _: one.latency),
    "collector_stream_bytes": _backlog(lambda found, _: _one(found.bytes)),
    "collector_stream_bytes_limit": _backlog(lambda found, _: _one(found.bytes_limit)),
    "collector_backlog_messages": _types(lambda one, _: one.messages),
    "collector_backlog_age_seconds": _types(lambda one, now: _age(one.oldest_ns, now)),
    "collector_backlog_limit_share": _types(lambda one, _: one.limit_share),
    "collector_process_cpu_seconds_total": lambda status, _: _one(status.process.cpu_seconds),
    "collector_process_resident_memory_bytes": lambda status, _: _one(float(status.process.resident_bytes)),
    "collector_event_loop_lag_seconds": lambda status, _: _one(status.loop_latency),
    "collector_task_restarts_total": lambda status, _: _each(dict(status.restarts)),
    "collector_http_requests_total": lambda status, _: [
        ((path, str(code)), n) for (path, code), n in sorted(status.requests.items())
    ],
}
"""How the values of each family are read."""


def families(file: str, reads: Mapping[str, Read]) -> tuple[Family, ...]:
    """The families of a file beside this one, and how their values are read."""
    found = []
    for row in csv.DictReader(files(__package__).joinpath(file).read_text("utf-8").splitlines()):
        labels = row["labels"].replace("MARKET", " ".join(MARKET)).split()
        found.append(Family(row["name"], row["kind"], tuple(labels), row["meaning"], row["use"], reads[row["name"]]))  # type: ignore[arg-type]
    return tuple(found)


FAMILIES = families("metrics.csv", READS)
PROCESS = {
    "process_virtual_memory_bytes": "virtual memory",
    "process_resident_memory_bytes": "memory; must not grow",
    "process_start_time_seconds": "start time of the process; changes after a crash",
    "process_cpu_seconds_total": "whether one core is sufficient",
    "process_open_fds": "sockets and files; must not grow",
    "process_max_fds": "limit of open files",
}
"""Process metrics of prometheus-client, and their use."""


class Metrics(Collector):
    """The registry of one process: families, and what their rows are read from."""

    def __init__(self, read: Callable[[], tuple[Any, ...]], families: Sequence[Family] = FAMILIES) -> None:
        self._read, self._families = read, families
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def exposition(self) -> bytes:
        """All families in the Prometheus text format."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        values = self._read()
        return (_metric(family, family.read(*values)) for family in self._families)

    def describe(self) -> Iterator[Metric]:
        return (_metric(family, ()) for family in self._families)


def table(families: Sequence[Family] = FAMILIES) -> str:
    """The families and those of the process as the table of the documentation."""
    rows = ["| metric | type | labels | meaning | use |", "|---|---|---|---|---|"]
    for one in families:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        rows.append(f"| `{one.name}` | {one.kind} | {labels} | {one.text} | {one.use} |")
    for name, use in PROCESS.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        rows.append(f"| `{name}` | {kind} | | Standard process metric of Prometheus clients. | {use} |")
    return "\n".join(rows) + "\n"


def _metric(family: Family, rows: Iterable[Row]) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.text, labels=family.labels)
        for labels, lag in rows:
            assert isinstance(lag, LatencyHistogram)
            bounds = (*(repr(float(bound)) for bound in BOUNDS), "+Inf")
            histogram.add_metric(labels, list(zip(bounds, accumulate(lag.counts), strict=True)), lag.total_ns / 1e9)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.text, labels=family.labels)
    for labels, value in rows:
        assert not isinstance(value, LatencyHistogram)
        metric.add_metric(labels, value)
    return metric
