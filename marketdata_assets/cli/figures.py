"""What Prometheus is told of servers, tables and runs: every figure with its labels, what it means and what it is for.

Serving them belongs to `metrics`; the collector has figures of its own, in `collector.metrics`.
"""

import datetime as dt
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from marketdata_assets.cli import status
from marketdata_assets.resources import ClickHouse, Mongo, NoServer, Postgres
from marketdata_assets.resources.nats import Nats

if TYPE_CHECKING:
    from dagster import DagsterInstance, RepositoryDefinition
    from prometheus_client.core import Metric

Value = tuple[str, tuple[str, ...], float]
"""A figure's name, the values of its labels, and the number."""

TABLE = ("group", "asset", "account")
COUNTS = {
    "marketdata_rows": ("rows", "documents"),
    "marketdata_quarantined_rows": ("quarantine",),
    "marketdata_open_gaps": ("open_gaps",),
}
STATES = ("ok", "empty", "unsupported", "missing", "stale", "failed", "open")
DAY = dt.timedelta(days=1)
MOST_RUNS = 5000


@dataclass(frozen=True)
class Figure:
    """One gauge. `use` is the question that it answers."""

    name: str
    labels: tuple[str, ...]
    text: str
    use: str


FIGURES = (
    Figure(
        "marketdata_look_ok",
        ("look",),
        "1 when the last look at servers, a domain's tables or runs went well, else"
        " 0; its other figures are then those of the look before.",
        "alert",
    ),
    Figure(
        "marketdata_look_timestamp_seconds",
        ("look",),
        "When the last look that went well began.",
        "how old the figures are",
    ),
    Figure("marketdata_server_up", ("server",), "1 when the server answers, else 0.", "alert"),
    Figure(
        "marketdata_server_latency_seconds",
        ("server",),
        "Median of a few smallest questions to it.",
        "which server is slow",
    ),
    Figure(
        "marketdata_partitions",
        (*TABLE, "state"),
        "Partitions of a table by state, files where a flow has none: ok, empty, missing, stale, failed.",
        "alert on what failed; what is missing",
    ),
    Figure("marketdata_rows", TABLE, "Rows, or documents, of a table.", "how a table grows"),
    Figure(
        "marketdata_quarantined_rows",
        TABLE,
        "Rejected rows in quarantine.",
        "whether a source went bad",
    ),
    Figure("marketdata_open_gaps", TABLE, "Gaps of trades that no history has closed.", "what exchanges lack"),
    Figure(
        "marketdata_newest_data_timestamp_seconds",
        TABLE,
        "The newest time in a table, or the beginning of its newest day or month.",
        "freshness of data",
    ),
    Figure("marketdata_runs", ("status",), "Runs that have not ended, by status.", "whether runs wait"),
    Figure(
        "marketdata_runs_ended_day",
        ("job", "status"),
        "Runs that ended in the last 24 hours.",
        "alert on a job that only fails",
    ),
    Figure(
        "marketdata_oldest_run_timestamp_seconds",
        (),
        "When the oldest run began that has not ended; now when there is none.",
        "alert on a run that hangs",
    ),
    Figure(
        "marketdata_daemon_heartbeat_timestamp_seconds",
        ("daemon",),
        "When a part of Dagster's daemon last said that it is there.",
        "alert: without it no schedule and no sensor runs",
    ),
    Figure(
        "marketdata_materialized_timestamp_seconds", ("asset",), "When an asset was last made.", "freshness of assets"
    ),
    Figure(
        "marketdata_check_passed", ("asset", "check"), "1 when the last answer of a check was good, else 0.", "alert"
    ),
    Figure(
        "marketdata_freshness",
        ("asset", "state"),
        "1 for the state that an asset's freshness policy has: PASS, WARN, FAIL, UNKNOWN.",
        "alert on FAIL",
    ),
)

Look = Callable[[], Iterator[Value]]


@dataclass
class Figures:
    """The figures of the last look. A part that fails leaves those of the look before, and says so."""

    parts: dict[str, Look]
    _values: dict[str, list[Value]] = field(default_factory=dict)
    _well: dict[str, tuple[bool, float]] = field(default_factory=dict)

    def look(self) -> None:
        """Ask all parts anew."""
        for name, ask in self.parts.items():
            began = time.time()
            try:
                self._values[name] = list(ask())
                self._well[name] = (True, began)
            except NoServer:
                self._values[name] = []
                self._well[name] = (True, began)
            except Exception as error:  # whatever is wrong with one part, the others are told, and this is on record
                logging.getLogger(__name__).warning("no figures of %s: %s", name, error)
                self._well[name] = (False, self._well.get(name, (False, 0.0))[1])

    def metrics(self) -> "Iterator[Metric]":
        """The figures as prometheus-client takes them."""
        from prometheus_client.core import GaugeMetricFamily

        found = [value for part in list(self._values.values()) for value in part]  # a look may be under way
        for name, (good, at) in list(self._well.items()):
            found += [("marketdata_look_ok", (name,), float(good)), ("marketdata_look_timestamp_seconds", (name,), at)]
        for figure in FIGURES:
            family = GaugeMetricFamily(figure.name, figure.text, labels=figure.labels)
            for name, labels, value in found:
                if name == figure.name:
                    family.add_metric(labels, value)
            yield family


def all_figures(instance: "DagsterInstance", repository: "RepositoryDefinition") -> Figures:
    """Of the servers, each domain's tables, and the runs of `instance`."""
    tables = {
        "bars": status.bars_rows,
        "alphas": status.alphas_rows,
        "ticks": status.ticks_rows,
        "exchanges": status.exchanges_rows,
        "flows": status.flows_rows,
    }
    parts: dict[str, Look] = {"servers": of_servers}
    parts |= {name: lambda rows=rows: of_tables(rows()) for name, rows in tables.items()}  # type: ignore[misc]
    return Figures(parts | {"runs": lambda: of_runs(instance), "assets": lambda: of_assets(instance, repository)})


def of_servers() -> Iterator[Value]:
    """Servers that nobody named are left out."""
    for health in (Postgres().check(), Mongo().check(), ClickHouse().check(), Nats().check()):
        if health.url:
            yield "marketdata_server_up", (health.store,), float(health.ok)
            if health.latency_ms is not None:
                yield "marketdata_server_latency_seconds", (health.store,), health.latency_ms / 1000


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
        if newest := row.get("newest"):
            yield "marketdata_newest_data_timestamp_seconds", labels, _moment(newest).timestamp()


def of_runs(instance: "DagsterInstance") -> Iterator[Value]:
    """Runs under way, those of the last day, and the daemon's signs of life."""
    from dagster import DagsterRunStatus, RunsFilter

    finished = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
    under_way = [status for status in DagsterRunStatus if status not in finished]
    records = instance.get_run_records(RunsFilter(statuses=under_way), limit=MOST_RUNS)
    counts = Counter(one.dagster_run.status for one in records)
    for one in under_way:
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
    """When each asset was made, what its checks said, and how fresh Dagster calls it."""
    from marketdata_assets.dagster_internals import freshness_states, latest_check_results

    graph = repository.asset_graph
    for record in instance.get_asset_records(list(graph.materializable_asset_keys)):
        if made := record.asset_entry.last_materialization_record:
            name = record.asset_entry.asset_key.to_user_string()
            yield "marketdata_materialized_timestamp_seconds", (name,), made.timestamp
    for key, passed in latest_check_results(instance, graph.asset_check_keys).items():
        yield "marketdata_check_passed", (key.asset_key.to_user_string(), key.name), float(passed)
    for name, state in freshness_states(instance, graph.materializable_asset_keys).items():
        yield "marketdata_freshness", (name, state.value), 1.0


def table() -> str:
    """All figures as the table of the documentation."""
    rows = ["| metric | type | labels | meaning | use |", "|---|---|---|---|---|"]
    for one in FIGURES:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        rows.append(f"| `{one.name}` | gauge | {labels} | {one.text} | {one.use} |")
    return "\n".join(rows) + "\n"


def _moment(text: str) -> dt.datetime:
    """A time as `marketdata status` shows it: to the minute, the day or the month."""
    return dt.datetime.fromisoformat(text if len(text) > len("2024-01") else f"{text}-01").replace(tzinfo=dt.UTC)
