"""The one registry: every family with its labels, what it means, and what it is for.

Families are read from `status` when somebody scrapes. The table of docs/reference/metrics.md is made of them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from marketdata_assets.collector.counters import LatencyHistogram
from marketdata_assets.collector.health import Health, judge
from marketdata_assets.collector.status import MarketStatus, SinkStatus, Status

Row = tuple[tuple[str, ...], float | LatencyHistogram]
Read = Callable[[Status, Health], Iterable[Row]]
MARKET = ("exchange", "market_type")


@dataclass(frozen=True)
class Family:
    """One metric. `use` is the question that it answers."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    text: str
    use: str
    read: Read


def _markets(rows: Callable[[MarketStatus], Iterable[Row]]) -> Read:
    """Rows of each market, its name put before their labels."""

    def read(status: Status, _: Health) -> Iterator[Row]:
        for one in status.markets:
            for labels, value in rows(one):
                yield (one.state.exchange, one.state.market_type, *labels), value

    return read


def _sinks(value: Callable[[SinkStatus, int], float | LatencyHistogram | None]) -> Read:
    """One row a sink; none where the value is None."""

    def read(status: Status, _: Health) -> Iterator[Row]:
        for one in status.sinks:
            found = value(one, status.now)
            if found is not None:
                yield (one.name,), found

    return read


def _each(counts: Counter[str] | dict[str, int], scale: float = 1.0) -> Iterator[Row]:
    return (((name,), count * scale) for name, count in sorted(counts.items()))


def _one(value: float | LatencyHistogram) -> list[Row]:
    return [((), value)]


def _all_of(names: Iterable[str], known: tuple[str, ...]) -> Iterator[Row]:
    """How many there are of each known name, 0 included: an alert needs a row that is there."""
    counts = Counter(names)
    return (((name,), counts[name]) for name in known)


CONNECTION = ("connecting", "open", "replacing", "backoff", "closed")
SUBSCRIPTION = ("waiting", "requested", "confirmed", "rejected", "stale")
BOOK = ("waiting", "live", "broken")
ERRORS = ("dead_letter", "rate_limited", "venue_error")
HEALTH = ("healthy", "degraded", "unhealthy")

FAMILIES: tuple[Family, ...] = (
    Family(
        "collector_info", "gauge", ("version", "shard"), "Always 1.", "which version and part runs where",
        lambda status, _: [((status.version, status.shard), 1.0)],
    ),
    Family(
        "collector_health", "gauge", ("status",), "1 for the state that /health tells, else 0.", "alert",
        lambda _, health: [((name,), float(name == health.status)) for name in HEALTH],
    ),
    Family(
        "collector_messages_total", "counter", MARKET, "Messages that came over the sockets of a market.",
        "rate of each market; alert when it is 0",
        _markets(lambda one: _one(sum(each.messages for each in one.state.connections))),
    ),
    Family(
        "collector_message_bytes_total", "counter", MARKET, "Their bytes.", "what the network has to carry",
        _markets(lambda one: _one(sum(each.bytes for each in one.state.connections))),
    ),
    Family(
        "collector_records_total", "counter", (*MARKET, "data_type"), "Records that were made of them.",
        "rate of each type of data",
        _markets(lambda one: _each(one.counters.records)),
    ),
    Family(
        "collector_last_record_timestamp_seconds", "gauge", (*MARKET, "data_type"),
        "When the last record of a type came, in seconds since 1970.", "freshness; alert on data that stopped",
        _markets(lambda one: _each(one.counters.last, 1e-9)),
    ),
    Family(
        "collector_exchange_lag_seconds", "histogram", MARKET,
        "From the venue's time of an event to its receipt, by two clocks.",
        "how far the venue or the network is behind",
        _markets(lambda one: _one(one.counters.latency)),
    ),
    Family(
        "collector_errors_total", "counter", (*MARKET, "kind"),
        "Messages that are not as documented (dead_letter), errors that the venue told (venue_error), and its wish to "
        "be asked less (rate_limited).", "alert on a venue that changed its messages, or that is asked too much",
        _markets(lambda one: _each({kind: one.counters.errors[kind] for kind in ERRORS})),
    ),
    Family(
        "collector_gaps_total", "counter", (*MARKET, "cause"), "GapTracker in a stream, by what showed them.",
        "alert; which data is not whole",
        _markets(lambda one: _each(one.counters.gaps)),
    ),
    Family(
        "collector_gaps_healed_total", "counter", MARKET, "Gaps that were closed again.", "whether gaps stay open",
        _markets(lambda one: _one(one.counters.healed)),
    ),
    Family(
        "collector_repeats_total", "counter", MARKET, "Records that came over two sockets and were taken once.",
        "whether planned reconnects overlap",
        _markets(lambda one: _one(one.state.duplicates)),
    ),
    Family(
        "collector_books", "gauge", (*MARKET, "status"), "Order books by state.", "alert on books that stay broken",
        _markets(lambda one: _all_of((book.status for book in one.state.books), BOOK)),
    ),
    Family(
        "collector_connections", "gauge", (*MARKET, "status"), "Sockets by state.",
        "alert on a market without an open one",
        _markets(lambda one: _all_of((each.status for each in one.state.connections), CONNECTION)),
    ),
    Family(
        "collector_reconnects_total", "counter", (*MARKET, "planned"),
        "Sockets that were replaced, before the venue cuts them (planned) or after a loss.",
        "alert on a flapping network",
        _markets(
            lambda one: [
                (("false",), sum(each.reconnects for each in one.state.connections)),
                (("true",), sum(each.planned for each in one.state.connections)),
            ]
        ),
    ),
    Family(
        "collector_subscriptions", "gauge", (*MARKET, "status"), "Subscriptions by state.",
        "alert on those that are refused or silent",
        _markets(lambda one: _all_of((each.status for each in one.state.subscriptions), SUBSCRIPTION)),
    ),
    Family(
        "collector_instruments", "gauge", MARKET, "Instruments that are followed.", "what a shard has to do",
        _markets(lambda one: _one(one.state.instruments)),
    ),
    Family(
        "collector_job_runs_total", "counter", (*MARKET, "name"), "Polls and lists of instruments that were asked for.",
        "whether what is asked again and again is asked",
        _markets(lambda one: _each({job.name: job.runs for job in one.state.jobs})),
    ),
    Family(
        "collector_job_failures_total", "counter", (*MARKET, "name"), "Those without an answer.",
        "alert on data that is polled and does not come",
        _markets(lambda one: _each({job.name: job.failures for job in one.state.jobs})),
    ),
    Family(
        "collector_sink_connected", "gauge", ("sink",), "1 while the sink takes items, 0 while it does not.", "alert",
        _sinks(lambda one, _: float(one.state.connected)),
    ),
    Family(
        "collector_sink_queue_items", "gauge", ("sink",), "Items in memory.", "alert on a sink that is too slow",
        _sinks(lambda one, _: one.state.queued),
    ),
    Family(
        "collector_sink_queue_capacity", "gauge", ("sink",), "How many fit.", "the same",
        _sinks(lambda one, _: one.state.capacity),
    ),
    Family(
        "collector_sink_sent_total", "counter", ("sink",), "Items handed over, repeated ones included.",
        "against acked: how much is sent twice",
        _sinks(lambda one, _: one.state.sent),
    ),
    Family(
        "collector_sink_acked_total", "counter", ("sink",), "Items that are safe there.", "alert when it stands still",
        _sinks(lambda one, _: one.state.acked),
    ),
    Family(
        "collector_sink_dropped_total", "counter", ("sink",), "Items that could not be kept; a gap tells of each.",
        "alert on loss",
        _sinks(lambda one, _: one.state.dropped),
    ),
    Family(
        "collector_sink_conflated_total", "counter", ("sink",), "Items that a newer state of the same thing replaced.",
        "whether the sink keeps up",
        _sinks(lambda one, _: one.state.conflated),
    ),
    Family(
        "collector_sink_spool_items", "gauge", ("sink",), "Items on disk that wait for the server.",
        "alert; how long a recovery takes",
        _sinks(lambda one, _: one.state.spooled),
    ),
    Family(
        "collector_sink_spool_bytes", "gauge", ("sink",), "Their bytes.", "how long the disk lasts",
        _sinks(lambda one, _: one.state.spool_bytes),
    ),
    Family(
        "collector_sink_oldest_seconds", "gauge", ("sink",),
        "Age of the oldest item that is not safe yet; 0 without one.",
        "alert on a sink that hangs",
        _sinks(lambda one, now: 0.0 if one.state.oldest_ns is None else max(0.0, (now - one.state.oldest_ns) / 1e9)),
    ),
    Family(
        "collector_sink_lag_seconds", "histogram", ("sink",),
        "From the receipt of an item to its being safe: JetStream's ack, ClickHouse's answer, the disk.",
        "how old the newest data is there",
        _sinks(lambda one, _: one.latency),
    ),
    Family(
        "collector_loop_lag_seconds", "histogram", (), "How late the event loop does what was due.",
        "whether one process is enough; else use shards",
        lambda status, _: _one(status.loop_latency),
    ),
    Family(
        "collector_task_restarts_total", "counter", ("task",),
        "Tasks that ended by a fault of ours and were begun anew.",
        "alert: this is a defect",
        lambda status, _: _each(dict(status.restarts)),
    ),
    Family(
        "collector_http_requests_total", "counter", ("path", "status"), "Requests that were answered.",
        "whether the collector is scraped, and who is refused",
        lambda status, _: [((path, str(code)), n) for (path, code), n in sorted(status.requests.items())],
    ),
)  # fmt: skip

PROCESS = {
    "process_virtual_memory_bytes": "address space",
    "process_resident_memory_bytes": "memory; must stay flat",
    "process_start_time_seconds": "when the process began; changes after a crash",
    "process_cpu_seconds_total": "whether one core is enough",
    "process_open_fds": "sockets and files; must stay flat",
    "process_max_fds": "how many there may be",
}
"""What prometheus-client tells of the process, and what it is for."""


class _Families(Collector):
    def __init__(self, read: Callable[[], Status], judged: Callable[[Status], Health]) -> None:
        self._read, self._judged = read, judged

    def collect(self) -> Iterator[Metric]:
        status = self._read()
        health = self._judged(status)
        for family in FAMILIES:
            yield _metric(family, family.read(status, health))

    def describe(self) -> Iterator[Metric]:
        return (_metric(family, ()) for family in FAMILIES)


class Metrics:
    """The registry of one collector."""

    def __init__(self, read: Callable[[], Status], judged: Callable[[Status], Health] = judge) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Families(read, judged))
        ProcessCollector(registry=self.registry)

    def exposition(self) -> bytes:
        """All families as Prometheus reads them."""
        return generate_latest(self.registry)


def table() -> str:
    """All families as the table of the documentation."""
    rows = ["| metric | type | labels | meaning | use |", "|---|---|---|---|---|"]
    for one in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        rows.append(f"| `{one.name}` | {one.kind} | {labels} | {one.text} | {one.use} |")
    for name, use in PROCESS.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        rows.append(f"| `{name}` | {kind} | | Of the process, as every client of Prometheus tells it. | {use} |")
    return "\n".join(rows) + "\n"


def _metric(family: Family, rows: Iterable[Row]) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.text, labels=family.labels)
        for labels, lag in rows:
            assert isinstance(lag, LatencyHistogram)
            histogram.add_metric(labels, list(_buckets(lag)), lag.total_ns / 1e9)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.text, labels=family.labels)
    for labels, value in rows:
        assert not isinstance(value, LatencyHistogram)
        metric.add_metric(labels, value)
    return metric


def _buckets(lag: LatencyHistogram) -> Iterator[tuple[str, float]]:
    reached = 0
    for bound, count in zip((*lag.bounds, float("inf")), lag.counts, strict=True):
        reached += count
        yield ("+Inf" if bound == float("inf") else repr(float(bound))), reached
