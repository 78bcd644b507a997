"""The metrics registry: every family with its labels, its meaning, and its use.

Values are read from `status` at each scrape. The table of docs/reference/metrics.md is generated from the families.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from marketdata_assets.collector.connections.state import Change, ConnectionStatus, SubscriptionStatus
from marketdata_assets.collector.counters import LatencyHistogram
from marketdata_assets.collector.health import Health, Verdict, judge
from marketdata_assets.collector.jetstream.backlog import Backlog, TypeBacklog
from marketdata_assets.collector.status import MarketStatus, SinkStatus, Status
from marketdata_assets.exchanges.books import Status as BookStatus

Row = tuple[tuple[str, ...], float | LatencyHistogram]
Read = Callable[[Status, Health], Iterable[Row]]
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


def _markets(rows: Callable[[MarketStatus], Iterable[Row]]) -> Read:
    """Rows of each market, labelled with its exchange and type."""

    def read(status: Status, _: Health) -> Iterator[Row]:
        for one in status.markets:
            for labels, value in rows(one):
                yield (one.state.exchange, one.state.market_type, *labels), value

    return read


def _sinks(value: Callable[[SinkStatus, int], float | LatencyHistogram]) -> Read:
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


def _all_of(names: Iterable[str], known: object) -> Iterator[Row]:
    """The count of each name of a Literal, 0 included: an alert needs the row to exist."""
    counts = Counter(names)
    return (((name,), counts[name]) for name in get_args(known))


ERRORS = ("dead_letter", "rate_limited", "venue_error")

FAMILIES: tuple[Family, ...] = (
    Family("collector_info", "gauge", ("version", "shard"), "Always 1.", "which version and shard runs where",
        lambda status, _: [((status.version, status.shard), 1.0)]),
    Family("collector_health", "gauge", ("status",), "1 for the current /health status, else 0.", "alert",
        lambda _, health: [((name,), float(name == health.status)) for name in get_args(Verdict)]),
    Family("collector_messages_total", "counter", MARKET, "Messages received over the sockets of a market.",
        "rate of each market; alert at 0",
        _markets(lambda one: _one(sum(each.messages for each in one.state.connections)))),
    Family("collector_received_bytes_total", "counter", MARKET, "Bytes of these messages.", "network load",
        _markets(lambda one: _one(sum(each.bytes for each in one.state.connections)))),
    Family("collector_records_total", "counter", (*MARKET, "data_type"), "Records parsed from these messages.",
        "rate of each type of data",
        _markets(lambda one: _each(one.counters.records))),
    Family("collector_last_record_timestamp_seconds", "gauge", (*MARKET, "data_type"),
        "Receive time of the last record of a type, seconds since 1970.", "freshness; alert on stale data",
        _markets(lambda one: _each(one.counters.last, 1e-9))),
    Family("collector_exchange_lag_seconds", "histogram", MARKET,
        "From the venue's time of an event to its receipt, by two clocks.", "delay of the venue or the network",
        _markets(lambda one: _one(one.counters.latency))),
    Family("collector_errors_total", "counter", (*MARKET, "kind"),
        "Unreadable messages (dead_letter), errors reported by the venue (venue_error), and rate limiting "
        "(rate_limited).", "alert on a venue that changed its messages, or limits our requests",
        _markets(lambda one: _each({kind: one.counters.errors[kind] for kind in ERRORS}))),
    Family("collector_gaps_total", "counter", (*MARKET, "cause"), "Gaps in a stream, by what showed them.",
        "alert; which data is incomplete",
        _markets(lambda one: _each(one.counters.gaps))),
    Family("collector_gaps_healed_total", "counter", MARKET, "Gaps that were healed.", "whether gaps stay open",
        _markets(lambda one: _one(one.counters.healed))),
    Family("collector_duplicates_total", "counter", MARKET, "Duplicate records of overlapping sockets, dropped.",
        "whether planned reconnects overlap",
        _markets(lambda one: _one(one.state.duplicates))),
    Family("collector_books", "gauge", (*MARKET, "status"), "Order books by state.",
        "alert on books that stay out of sync",
        _markets(lambda one: _all_of((book.status for book in one.state.books), BookStatus))),
    Family("collector_connections", "gauge", (*MARKET, "status"), "Sockets by state.",
        "alert on a market without an open one",
        _markets(lambda one: _all_of((each.status for each in one.state.connections), ConnectionStatus))),
    Family("collector_reconnects_total", "counter", (*MARKET, "planned"),
        "Sockets replaced before the venue closes them (planned) or after a loss.", "alert on a flapping network",
        _markets(lambda one: [
            (("false",), sum(each.reconnects for each in one.state.connections)),
            (("true",), sum(each.planned for each in one.state.connections)),
        ])),
    Family("collector_subscriptions", "gauge", (*MARKET, "status"), "Subscriptions by state.",
        "alert on rejected and silent ones",
        _markets(lambda one: _all_of((each.status for each in one.state.subscriptions), SubscriptionStatus))),
    Family("collector_instruments", "gauge", MARKET, "Followed instruments.", "load of a shard",
        _markets(lambda one: _one(one.state.instruments))),
    Family("collector_instrument_changes_total", "counter", (*MARKET, "change"),
        "Instruments that are followed, or not any more, because the venue's list has changed: listed, expired, "
        "delisted.", "rollover of chains that patterns select",
        _markets(lambda one: _each({name: one.state.changed.get(name, 0) for name in get_args(Change)}))),
    Family("collector_job_runs_total", "counter", (*MARKET, "name"),
        "Runs of periodic jobs: polls and instrument lists.", "whether the jobs run",
        _markets(lambda one: _each({job.name: job.runs for job in one.state.jobs}))),
    Family("collector_job_failures_total", "counter", (*MARKET, "name"), "Failed runs of periodic jobs.",
        "alert on polled data that does not arrive",
        _markets(lambda one: _each({job.name: job.failures for job in one.state.jobs}))),
    Family("collector_sink_connected", "gauge", ("sink",), "1 while the sink accepts items, else 0.", "alert",
        _sinks(lambda one, _: float(one.state.connected))),
    Family("collector_sink_queue_items", "gauge", ("sink",), "Items in memory.", "alert on a sink that is too slow",
        _sinks(lambda one, _: one.state.queued)),
    Family("collector_sink_queue_capacity", "gauge", ("sink",), "Capacity of that queue.", "the same",
        _sinks(lambda one, _: one.state.capacity)),
    Family("collector_sink_sent_total", "counter", ("sink",), "Items delivered, repeats included.",
        "compared with acked: how much is repeated",
        _sinks(lambda one, _: one.state.sent)),
    Family("collector_sink_acked_total", "counter", ("sink",), "Items acknowledged by the server or written to disk.",
        "alert when it stalls",
        _sinks(lambda one, _: one.state.acked)),
    Family("collector_sink_dropped_total", "counter", ("sink",), "Lost items; a gap records each.", "alert on loss",
        _sinks(lambda one, _: one.state.dropped)),
    Family("collector_sink_conflated_total", "counter", ("sink",),
        "Items superseded by a newer state of the same thing.", "whether the sink keeps up",
        _sinks(lambda one, _: one.state.conflated)),
    Family("collector_sink_errors_total", "counter", ("sink",), "Calls of a Python sink that raised.",
        "alert on a defect of your own code",
        _sinks(lambda one, _: one.state.errors)),
    Family("collector_sink_spool_items", "gauge", ("sink",), "Items spooled on disk.",
        "alert; how long a recovery takes",
        _sinks(lambda one, _: one.state.spooled)),
    Family("collector_sink_spool_bytes", "gauge", ("sink",), "Bytes of the spool.", "how long the disk lasts",
        _sinks(lambda one, _: one.state.spool_bytes)),
    Family("collector_sink_oldest_item_age_seconds", "gauge", ("sink",),
        "Age of the oldest unacknowledged item; 0 without one.", "alert on a sink that hangs",
        _sinks(lambda one, now: 0.0 if one.state.oldest_ns is None else max(0.0, (now - one.state.oldest_ns) / 1e9))),
    Family("collector_sink_lag_seconds", "histogram", ("sink",),
        "From the receipt of an item to its acknowledgement: JetStream's ack, ClickHouse's response, the disk.",
        "freshness of the data in the sink",
        _sinks(lambda one, _: one.latency)),
    Family("collector_stream_bytes", "gauge", (), "Bytes of the stream; only with JetStream.", "disk of the server",
        _backlog(lambda found, _: _one(found.bytes))),
    Family("collector_stream_bytes_limit", "gauge", (), "Bytes at which the stream deletes its oldest messages.",
        "the same", _backlog(lambda found, _: _one(found.bytes_limit))),
    Family("collector_backlog_messages", "gauge", ("data_type",), "Messages of the stream that are not loaded yet.",
        "whether the drain keeps up", _types(lambda one, _: one.messages)),
    Family("collector_backlog_age_seconds", "gauge", ("data_type",),
        "Age of the oldest message that is not loaded; 0 without one.", "alert on a drain that stopped",
        _types(lambda one, now: 0.0 if one.oldest_ns is None else max(0.0, (now - one.oldest_ns) / 1e9))),
    Family("collector_backlog_limit_share", "gauge", ("data_type",),
        "How far the oldest message that is not loaded is towards the limit of age or bytes; at 1 it is deleted.",
        "alert before data is lost",
        _types(lambda one, _: one.limit_share)),
    Family("collector_process_cpu_seconds_total", "counter", (), "CPU time of the process.",
        "whether one core is sufficient for its share",
        lambda status, _: _one(status.process.cpu_seconds)),
    Family("collector_process_resident_memory_bytes", "gauge", (), "Memory of the process.",
        "memory; must not grow",
        lambda status, _: _one(float(status.process.resident_bytes))),
    Family("collector_event_loop_lag_seconds", "histogram", (), "Delay of the event loop.",
        "whether one process is sufficient; else use shards",
        lambda status, _: _one(status.loop_latency)),
    Family("collector_task_restarts_total", "counter", ("task",), "Tasks that crashed and were restarted.",
        "alert: this is a defect",
        lambda status, _: _each(dict(status.restarts))),
    Family("collector_http_requests_total", "counter", ("path", "status"), "HTTP requests answered.",
        "whether the collector is scraped, and rejected requests",
        lambda status, _: [((path, str(code)), n) for (path, code), n in sorted(status.requests.items())]),
)  # fmt: skip

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
    """The registry of one collector."""

    def __init__(self, read: Callable[[], Status], judge_status: Callable[[Status], Health] = judge) -> None:
        self._read, self._judge = read, judge_status
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def exposition(self) -> bytes:
        """All families in the Prometheus text format."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        status = self._read()
        health = self._judge(status)
        for family in FAMILIES:
            yield _metric(family, family.read(status, health))

    def describe(self) -> Iterator[Metric]:
        return (_metric(family, ()) for family in FAMILIES)


def table() -> str:
    """All families as the table of the documentation."""
    rows = ["| metric | type | labels | meaning | use |", "|---|---|---|---|---|"]
    for one in FAMILIES:
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
            bounds = (*(repr(float(bound)) for bound in lag.bounds), "+Inf")
            histogram.add_metric(labels, list(zip(bounds, accumulate(lag.counts), strict=True)), lag.total_ns / 1e9)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.text, labels=family.labels)
    for labels, value in rows:
        assert not isinstance(value, LatencyHistogram)
        metric.add_metric(labels, value)
    return metric
