"""The drain as a service beside the collector: seconds from the stream into the tables, until it is stopped.

It retries what passes (a server that restarts, another drain in progress), and serves its health and metrics over HTTP.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from marketdata_assets.backoff import delay
from marketdata_assets.collector.drain import Drained, Pace, drain
from marketdata_assets.collector.errors import StreamMissing
from marketdata_assets.collector.jetstream.reader import Batch
from marketdata_assets.collector.jetstream.stream import Stream
from marketdata_assets.collector.listening import HttpServer
from marketdata_assets.errors import TransientError
from marketdata_assets.exchanges.tables.rows import Inserted
from marketdata_assets.logs import get_logger
from marketdata_assets.stores.errors import StoreFull

OWNER = "marketdata drain --follow"
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
BATCH_SECONDS = 2.0
UNHEALTHY_SECONDS = 120.0
"""So long without reaching the stream or the tables."""

METRICS = {
    "drain_rows_total": "Rows inserted into the table of a type, or present already.",
    "drain_rejected_rows_total": "Rows in quarantine, by type.",
    "drain_batches_total": "Batches inserted, by type.",
    "drain_redelivered_messages_total": "Messages that were delivered before, by type.",
    "drain_last_batch_timestamp_seconds": "When the last batch of a type was inserted, seconds since 1970.",
    "drain_lag_seconds": "From the stream to the table, of the oldest message of the last batch of a type.",
    "drain_in_progress": "1 while it reads the stream, 0 while it retries or waits for another drain.",
    "drain_failures_total": "How often it could not continue, and retried.",
}
"""The metrics and their meaning; by type means the label `data_type`."""

log = get_logger(__name__)


def table() -> str:
    """The metrics as the table of the documentation."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for name, text in METRICS.items():
        labels = "`data_type`" if "type" in text else ""
        rows.append(f"| `{name}` | {'counter' if name.endswith('_total') else 'gauge'} | {labels} | {text} |")
    return "\n".join(rows) + "\n"


@dataclass
class Progress:
    """What was loaded since the start, by type, and whether it works now."""

    rows: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    batches: Counter[str] = field(default_factory=Counter)
    redelivered: Counter[str] = field(default_factory=Counter)
    last_batch: dict[str, float] = field(default_factory=dict)  # seconds since 1970
    lag: dict[str, float] = field(default_factory=dict)  # seconds
    failures: int = 0
    error: str | None = None  # why it waits
    since: float = field(default_factory=time.monotonic)  # when `error` changed

    def batch(self, name: str, batch: Batch, inserted: Inserted) -> None:
        """Count one that is loaded."""
        now = time.time()
        self.rows[name] += inserted.rows
        self.rejected[name] += len(inserted.rejects)
        self.batches[name] += 1
        self.redelivered[name] += batch.redelivered
        self.last_batch[name] = now
        self.lag[name] = max(0.0, now - batch.oldest_stored / 1e9)
        self.works()

    def works(self) -> None:
        if self.error is not None:
            self.error, self.since = None, time.monotonic()

    def fails(self, error: str) -> None:
        self.failures += 1
        if self.error is None:
            self.since = time.monotonic()
        self.error = error

    @property
    def is_healthy(self) -> bool:
        return self.error is None or time.monotonic() - self.since < UNHEALTHY_SECONDS

    def as_dict(self) -> dict[str, object]:
        status = "unhealthy" if not self.is_healthy else "degraded" if self.error else "healthy"
        return {
            "status": status,
            "reasons": [self.error] if self.error else [],
            "rows": dict(self.rows),
            "lag": self.lag,
        }


class DrainService:
    """Drains one stream until stopped. Raises what no retry cures."""

    def __init__(
        self, clickhouse_url: str, nats_url: str, *, stream: str = Stream.name, keep_days: dict[str, int] | None = None
    ) -> None:
        self.progress = Progress()
        self._clickhouse_url, self._nats_url, self._stream, self._keep_days = (
            clickhouse_url,
            nats_url,
            stream,
            keep_days,
        )

    async def run(self, stop: asyncio.Event) -> Progress:
        """Drain until `stop` is set; the batch in progress is finished and acked."""
        stopped = asyncio.create_task(stop.wait())
        failures = 0
        while not stop.is_set():
            began = time.monotonic()
            running = asyncio.create_task(self._drain())
            await asyncio.wait((running, stopped), return_when=asyncio.FIRST_COMPLETED)
            running.cancel()
            [ended] = await asyncio.gather(running, return_exceptions=True)
            if isinstance(ended, TransientError | StreamMissing | StoreFull):
                failures = 1 if time.monotonic() - began > LONGEST_PAUSE else failures + 1
                self.progress.fails(str(ended))
                log.warning("drain_retries", stream=self._stream, reason=ended, attempt=failures)
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay(failures, FIRST_PAUSE, LONGEST_PAUSE)):
                        await stop.wait()
            elif isinstance(ended, Exception):
                stopped.cancel()
                raise ended
        stopped.cancel()
        return self.progress

    async def _drain(self) -> Drained:
        return await drain(
            self._clickhouse_url,
            self._nats_url,
            stream=self._stream,
            pace=Pace(batch_seconds=BATCH_SECONDS, follow=True),
            keep_days=self._keep_days,
            on_batch=self.progress.batch,
            on_start=self.progress.works,
            owner=OWNER,
        )


class DrainServer(HttpServer):
    """GET /health and /metrics of one service."""

    def __init__(self, progress: Progress, host: str, port: int) -> None:
        super().__init__(host, port)
        self._progress = progress
        self._registry = CollectorRegistry()
        self._registry.register(_Families(progress))
        ProcessCollector(registry=self._registry)

    async def start(self) -> None:
        """Listen. Raises PortTaken."""
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        remedy = "Stop the program that uses it, or choose another with --port (0: any free port)."
        await self.listen(app, remedy)

    async def _health(self, _: web.Request) -> web.Response:
        body = msgspec.json.encode(self._progress.as_dict()) + b"\n"
        status = 200 if self._progress.is_healthy else 503
        return web.Response(body=body, status=status, content_type="application/json")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


class _Families(Collector):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def collect(self) -> Iterator[Metric]:
        progress = self._progress
        counters = {
            "drain_rows_total": progress.rows,
            "drain_rejected_rows_total": progress.rejected,
            "drain_batches_total": progress.batches,
            "drain_redelivered_messages_total": progress.redelivered,
        }
        for name, counts in counters.items():
            counter = CounterMetricFamily(name, METRICS[name], labels=["data_type"])
            for kind, count in sorted(counts.items()):
                counter.add_metric([kind], count)
            yield counter
        gauges = {"drain_last_batch_timestamp_seconds": progress.last_batch, "drain_lag_seconds": progress.lag}
        for name, values in gauges.items():
            gauge = GaugeMetricFamily(name, METRICS[name], labels=["data_type"])
            for kind, value in sorted(values.items()):
                gauge.add_metric([kind], value)
            yield gauge
        yield GaugeMetricFamily("drain_in_progress", METRICS["drain_in_progress"], float(progress.error is None))
        yield CounterMetricFamily("drain_failures_total", METRICS["drain_failures_total"], progress.failures)
