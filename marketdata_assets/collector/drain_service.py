"""The drain as a service beside the collector: seconds from the stream into the tables, until it is stopped.

It retries what passes (a server that restarts, another drain in progress), and serves its health and metrics over HTTP.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from aiohttp import web

from marketdata_assets.backoff import delay
from marketdata_assets.collector.drain import Drained, Pace, TypeDrained, drain
from marketdata_assets.collector.errors import StreamMissing
from marketdata_assets.collector.jetstream.stream import Stream
from marketdata_assets.collector.metrics import Metrics, Read, families
from marketdata_assets.collector.status_server import HttpServer, json_response
from marketdata_assets.errors import TransientError
from marketdata_assets.logs import get_logger
from marketdata_assets.stores.errors import StoreFull

OWNER = "marketdata drain --follow"
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
BATCH_SECONDS = 2.0
UNHEALTHY_SECONDS = 120.0
"""So long without reaching the stream or the tables."""

log = get_logger(__name__)


@dataclass
class Progress:
    """What was loaded since the start, and whether it works now."""

    drained: Drained = field(default_factory=Drained)
    failures: int = 0
    error: str | None = None  # why it waits
    since: float = field(default_factory=time.monotonic)  # when `error` changed

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
            "rows": {name: one.rows for name, one in self.drained.loaded().items()},
            "lag": {name: one.lag for name, one in self.drained.loaded().items()},
        }


def _of_types(value: Callable[[TypeDrained], float]) -> Read:
    """A row for each record type that was loaded."""
    return lambda progress: [((name,), value(done)) for name, done in sorted(progress.drained.loaded().items())]


FAMILIES = families(
    "drain_metrics.csv",
    {
        "drain_rows_total": _of_types(lambda one: one.rows),
        "drain_rejected_rows_total": _of_types(lambda one: one.rejected),
        "drain_batches_total": _of_types(lambda one: one.batches),
        "drain_redelivered_messages_total": _of_types(lambda one: one.redelivered),
        "drain_last_batch_timestamp_seconds": _of_types(lambda one: one.last_batch),
        "drain_lag_seconds": _of_types(lambda one: one.lag),
        "drain_in_progress": lambda progress: [((), float(progress.error is None))],
        "drain_failures_total": lambda progress: [((), progress.failures)],
    },
)


class DrainService:
    """Drains one stream until stopped. Raises what no retry cures."""

    def __init__(
        self, clickhouse_url: str, nats_url: str, *, stream: str = Stream.name, keep_days: dict[str, int] | None = None
    ) -> None:
        self.progress = Progress()
        self._clickhouse_url, self._nats_url = clickhouse_url, nats_url
        self._stream, self._keep_days = stream, keep_days

    async def run(self, stop: asyncio.Event) -> Progress:
        """Drain until `stop` is set; the batch in progress is finished and acked."""
        stopped = asyncio.create_task(stop.wait())
        failures = 0
        while not stop.is_set():
            began = time.monotonic()
            running = asyncio.create_task(
                drain(
                    self._clickhouse_url,
                    self._nats_url,
                    stream=self._stream,
                    pace=Pace(batch_seconds=BATCH_SECONDS, follow=True),
                    keep_days=self._keep_days,
                    drained=self.progress.drained,
                    on_start=self.progress.works,
                    owner=OWNER,
                )
            )
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


class DrainServer(HttpServer):
    """GET /health and /metrics of one service."""

    def __init__(self, progress: Progress, host: str, port: int) -> None:
        super().__init__(host, port, Metrics(lambda: (progress,), FAMILIES))
        self._progress = progress

    async def start(self) -> None:
        """Listen. Raises PortTaken."""
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        remedy = "Stop the program that uses it, or choose another with --port (0: any free port)."
        await self.listen(app, remedy)

    async def _health(self, _: web.Request) -> web.Response:
        return json_response(self._progress.as_dict(), 200 if self._progress.is_healthy else 503)
