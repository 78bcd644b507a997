"""`marketdata metrics`: Prometheus metrics of servers, tables and runs, on loopback by default.

`figures.csv` has the labels, meaning and use of each. The collector has metrics of its own, in `collector.metrics`.
"""

import csv
import datetime as dt
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marketdata_assets import domains
from marketdata_assets.backup.files import MANIFEST
from marketdata_assets.cli import output, status
from marketdata_assets.cli.instance import dagster_instance
from marketdata_assets.local.errors import NoServer, PortTaken
from marketdata_assets.logs import get_logger
from marketdata_assets.overview import FILE_STATES
from marketdata_assets.server_addresses import answers_to
from marketdata_assets.settings import Settings

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from dagster import DagsterInstance, RepositoryDefinition
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

Value = tuple[str, tuple[str, ...], float]
"""A metric's name, the values of its labels, and the number."""

log = get_logger(__name__)

TABLE = ("group", "asset", "account")
COUNTS = {
    "marketdata_rows": ("rows", "documents"),
    "marketdata_quarantined_rows": ("quarantine",),
    "marketdata_open_gaps": ("open_gaps",),
}
STATES = ("ok", "provisional", "incomplete", "unsupported", "missing", "stale", "open", *FILE_STATES)
DAY = dt.timedelta(days=1)
MOST_RUNS = 5000


@dataclass(frozen=True)
class Figure:
    """One gauge. `use` is the question that it answers."""

    name: str
    labels: tuple[str, ...]
    text: str
    use: str


@cache
def gauges() -> tuple[Figure, ...]:
    """All figures, as `figures.csv` has them; `TABLE` there is the labels of a table."""
    rows = csv.DictReader(files(__package__).joinpath("figures.csv").read_text("utf-8").splitlines())
    labels = " ".join(TABLE)
    return tuple(
        Figure(row["name"], tuple(row["labels"].replace("TABLE", labels).split()), row["meaning"], row["use"])
        for row in rows
    )


Scrape = Callable[[], Iterator[Value]]


@dataclass
class Figures:
    """The metrics of the last scrape. A part that fails keeps those of the scrape before, and reports the failure."""

    parts: dict[str, Scrape]
    _values: dict[str, list[Value]] = field(default_factory=dict)
    _scraped: dict[str, tuple[bool, float]] = field(default_factory=dict)

    def scrape(self) -> None:
        """Query all parts again."""
        for name, query in self.parts.items():
            started = time.time()
            try:
                self._values[name] = list(query())
                self._scraped[name] = (True, started)
            except NoServer:
                self._values[name] = []
                self._scraped[name] = (True, started)
            except Exception as error:  # whatever is wrong with one part, the others are reported
                log.warning("scrape_failed", part=name, error=error)
                self._scraped[name] = (False, self._scraped.get(name, (False, 0.0))[1])

    def metrics(self) -> "Iterator[Metric]":
        """The metrics in the form of prometheus-client."""
        from prometheus_client.core import GaugeMetricFamily

        found = [value for part in list(self._values.values()) for value in part]  # a scrape may be in progress
        for name, (good, at) in list(self._scraped.items()):
            found += [
                ("marketdata_scrape_success", (name,), float(good)),
                ("marketdata_scrape_timestamp_seconds", (name,), at),
            ]
        for figure in gauges():
            family = GaugeMetricFamily(figure.name, figure.text, labels=figure.labels)
            for name, labels, value in found:
                if name == figure.name:
                    family.add_metric(labels, value)
            yield family


def all_figures(instance: "DagsterInstance", repository: "RepositoryDefinition") -> Figures:
    """Metrics of the servers, each domain's tables, and the runs of `instance`."""
    parts: dict[str, Scrape] = {"servers": of_servers, "disks": lambda: of_disks(Settings())}
    for one in domains.every():
        if one.files:
            parts[one.name] = lambda name=one.name: of_tables(status.rows_of(name))  # type: ignore[misc]
    return Figures(parts | {"runs": lambda: of_runs(instance), "assets": lambda: of_assets(instance, repository)})


def of_servers() -> Iterator[Value]:
    """The servers that are configured."""
    from marketdata_assets.server_health import ASK, check

    for health in map(check, ASK):
        if health.url:
            yield "marketdata_server_up", (health.store,), float(health.ok)
            if health.latency_ms is not None:
                yield "marketdata_server_latency_seconds", (health.store,), health.latency_ms / 1000


def of_disks(settings: Settings) -> Iterator[Value]:
    """The space on the disks of the data folder and of the backups, and the time of the last backup."""
    folders = {"data": settings.root, "backups": settings.backup_dir}
    for name, folder in folders.items():
        if folder is not None and folder.is_dir():
            space = shutil.disk_usage(folder)
            yield "marketdata_disk_free_bytes", (name,), space.free
            yield "marketdata_disk_size_bytes", (name,), space.total
    if settings.backup_dir is not None:
        made = [path.stat().st_mtime for path in settings.backup_dir.glob(f"*/{MANIFEST}")]
        yield "marketdata_backup_timestamp_seconds", (), max(made, default=0.0)


def of_tables(rows: list[dict[str, Any]]) -> Iterator[Value]:
    """The rows of `marketdata status`."""
    for row in rows:
        labels = tuple(str(row.get(name, "")) for name in TABLE)
        for state in STATES:
            if state in row:
                yield "marketdata_partitions", (*labels, state), row[state]
        for name, counts in COUNTS.items():
            for count in (row[one] for one in counts if row.get(one) is not None):
                yield name, labels, count
        if newest := row.get("newest_at"):
            yield "marketdata_newest_data_timestamp_seconds", labels, newest.timestamp()


def of_runs(instance: "DagsterInstance") -> Iterator[Value]:
    """Runs in progress, those of the last day, and the daemon's heartbeats."""
    from dagster import DagsterRunStatus, RunsFilter

    finished = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
    in_progress = [status for status in DagsterRunStatus if status not in finished]
    records = instance.get_run_records(RunsFilter(statuses=in_progress), limit=MOST_RUNS)
    counts = Counter(one.dagster_run.status for one in records)
    for one in in_progress:
        yield "marketdata_runs", (one.value,), counts[one]
    began = [record.start_time for record in records if record.start_time]
    yield "marketdata_oldest_run_timestamp_seconds", (), min(began, default=time.time())
    since = dt.datetime.now(dt.UTC) - DAY
    ended = instance.get_run_records(RunsFilter(statuses=finished, updated_after=since), limit=MOST_RUNS)
    jobs = Counter((one.dagster_run.job_name, one.dagster_run.status.value) for one in ended)
    for labels, count in sorted(jobs.items()):
        yield "marketdata_runs_ended_day", labels, count
    for kind, heartbeat in instance.get_daemon_heartbeats().items():
        yield "marketdata_daemon_heartbeat_timestamp_seconds", (kind,), heartbeat.timestamp


def of_assets(instance: "DagsterInstance", repository: "RepositoryDefinition") -> Iterator[Value]:
    """When each asset was materialized, the results of its checks, and its freshness."""
    from marketdata_assets.dagster_internals import freshness_states, latest_check_results

    graph = repository.asset_graph
    for record in instance.get_asset_records(list(graph.materializable_asset_keys)):
        if latest := record.asset_entry.last_materialization_record:
            name = record.asset_entry.asset_key.to_user_string()
            yield "marketdata_materialized_timestamp_seconds", (name,), latest.timestamp
    for key, passed in latest_check_results(instance, graph.asset_check_keys).items():
        yield "marketdata_check_passed", (key.asset_key.to_user_string(), key.name), float(passed)
    for name, state in freshness_states(instance, graph.materializable_asset_keys).items():
        yield "marketdata_freshness", (name, state), 1.0


def table() -> str:
    """All metrics as the table of the documentation."""
    rows = ["| metric | type | labels | meaning | use |", "|---|---|---|---|---|"]
    for one in gauges():
        labels = ", ".join(f"`{label}`" for label in one.labels)
        rows.append(f"| `{one.name}` | gauge | {labels} | {one.text} | {one.use} |")
    return "\n".join(rows) + "\n"


def metrics(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="port to listen on; 0 takes a free one")] = 9101,
    every: Annotated[float, typer.Option(min=1.0, help="seconds between two scrapes of servers and tables")] = 120.0,
    once: Annotated[bool, typer.Option("--once", help="scrape once, print the metrics and exit")] = False,
) -> None:
    """Serve Prometheus metrics for servers, tables and runs at http://HOST:PORT/metrics.

    Runs until Ctrl-C."""
    settings = Settings()
    from marketdata_assets.cli.collect import Needed

    with Needed():
        import prometheus_client  # noqa: F401
    from marketdata_assets.definitions import defs

    with dagster_instance(settings) as instance:
        figures = all_figures(instance, defs().get_repository_def())
        if once:
            figures.scrape()
            sys.stdout.write(exposition(figures).decode())
            return
        port = serve(figures, host, port)
        output.notes().print(f"metrics at http://{host}:{port}/metrics, updated every {every:g} s")
        while True:
            figures.scrape()
            time.sleep(every)


def serve(figures: Figures, host: str, port: int) -> int:
    """Serve the metrics by a thread, to requests that name this machine; returns the port. Raises PortTaken."""
    from prometheus_client import make_wsgi_app, start_http_server

    app = make_wsgi_app(registry_of(figures))

    def answer(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if answers_to(host, named := environ.get("HTTP_HOST", "")):
            found: Iterable[bytes] = app(environ, start)
            return found
        start("421 Misdirected Request", [("Content-Type", "text/plain")])
        return [f"host {named} is unknown: call this machine by its address\n".encode()]

    try:
        server, _ = start_http_server(port, host, registry_of(figures))
    except OSError as error:
        raise PortTaken("marketdata metrics", port, "--port") from error
    server.set_app(answer)
    return server.server_port


def exposition(figures: Figures) -> bytes:
    """All metrics in Prometheus' text format."""
    from prometheus_client import generate_latest

    return generate_latest(registry_of(figures))


def registry_of(figures: Figures) -> "CollectorRegistry":
    """A registry with these metrics alone."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.registry import Collector

    class Families(Collector):
        def collect(self) -> "Iterator[Metric]":
            return figures.metrics()

    registry = CollectorRegistry()
    registry.register(Families())
    return registry
