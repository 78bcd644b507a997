"""The verdict over a simulation: is everything fresh, and does a fault explain each failure.

What should stand in the tables is told by `delivered`.
"""

import datetime as dt
import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import dagster as dg
import psycopg
from dagster._core.events import JobFailureData
from dagster._core.scheduler.instigation import TickStatus
from dagster._utils.error import SerializableErrorInfo
from typer.testing import CliRunner

from marketdata_assets.cli import app
from tests.soak.simulation import Simulation
from tests.soak.world import World

BEHIND = ("stale", "failed", "missing", "open")


@dataclass(frozen=True)
class Failure:
    """A run, a look of a sensor or a turn of a daemon that ended badly."""

    what: str
    name: str
    run_id: str
    began: dt.datetime
    ended: dt.datetime
    error: str

    def __str__(self) -> str:
        lines = [line.strip() for line in self.error.splitlines() if line.strip()]
        return f"{self.what} {self.name} {self.run_id[:8]} {self.began:%d %H:%M}: {' | '.join(lines)[:600]}"


# Fresh.


def behind(world: World) -> list[str]:
    """What `marketdata status` does not call fresh, and what the nightly repair would run now."""
    answer = CliRunner().invoke(app, ["status", "--json", "--due"], prog_name="marketdata")
    if not answer.stdout.strip():
        return [f"status: {answer.stderr[-500:]} {answer.exception!r}"]
    told = json.loads(answer.stdout)
    return [f"due: {run}" for run in told["due"]] + [
        f"{row['asset']}{' of ' + row['account'] if row.get('account') else ''}: {row[state]} {state}"
        for row in told["assets"]
        for state in BEHIND
        if row.get(state) and not _rightly_missing(row, state)
    ]


def _rightly_missing(row: dict[str, Any], state: str) -> bool:
    """Months for which there never was a file are not behind, nor are hours of alphas that nobody was to fetch yet.

    What is behind of them would be due.
    """
    return state == "missing" and (row["group"] in ("bars", "ticks", "exchanges") or row["asset"] == "alpha_files")


def failing_checks(simulation: Simulation) -> list[str]:
    """Checks whose last answer was no."""
    graph = simulation.context.create_request_context().asset_graph
    keys = list(graph.asset_check_keys)
    latest = simulation.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    told = []
    for key, record in latest.items():
        event = record.event.dagster_event if record.event else None
        if event is None or event.event_type != dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            continue  # planned by a run that failed, whose failure is told
        answer = event.asset_check_evaluation_data
        if not answer.passed and answer.severity == dg.AssetCheckSeverity.ERROR:
            told.append(f"{key.asset_key.to_user_string()}:{key.name}: {answer.metadata}")
    return told


# Failures.


def failures(simulation: Simulation) -> list[Failure]:
    """Everything that ended badly, in order of time."""
    found = [*_failed_runs(simulation), *_failed_looks(simulation)]
    for at, name, text in simulation.errors:
        looks = re.findall(r"for (?:sensor|schedule) (\w+)", text)
        found.append(Failure("daemon", " ".join([name, *looks[:1]]), "", at, at, text))
    return sorted(found, key=lambda one: one.began)


def _failed_runs(simulation: Simulation) -> Iterator[Failure]:
    bad = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    for record in simulation.instance.get_run_records(dg.RunsFilter(statuses=bad)):
        run = record.dagster_run
        began = dt.datetime.fromtimestamp(record.start_time or record.create_timestamp.timestamp(), dt.UTC)
        ended = dt.datetime.fromtimestamp(record.end_time or began.timestamp(), dt.UTC)
        yield Failure("run", _named(run), run.run_id, began, ended, _words(simulation.instance, run.run_id))


def _named(run: dg.DagsterRun) -> str:
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    return " ".join([run.job_name, *assets])


def _words(instance: dg.DagsterInstance, run_id: str) -> str:
    """All that a failed run says of its failure."""
    told = []
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event is None:
            continue
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data:
                told += [data.user_failure_data.description or "", str(data.user_failure_data.metadata)]
            told += _chain(data.error)
        elif event.is_run_failure:
            data = event.event_specific_data
            told += [event.message or "", *_chain(data.error if isinstance(data, JobFailureData) else None)]
        elif "unexpectedly" in (event.message or ""):
            told.append(event.message or "")
    return "\n".join(told)


def _chain(error: SerializableErrorInfo | None) -> list[str]:
    """What an error says, and those that it came of."""
    told = []
    while error is not None:
        told.append(error.message)
        error = error.cause or error.context
    return told


def _failed_looks(simulation: Simulation) -> Iterator[Failure]:
    storage = simulation.instance.schedule_storage
    assert storage
    for state in simulation.instance.all_instigator_state():
        for tick in storage.get_ticks(state.instigator_origin_id, state.selector_id, statuses=[TickStatus.FAILURE]):
            at = dt.datetime.fromtimestamp(tick.timestamp, dt.UTC)
            text = tick.error.to_string() if tick.error else ""
            yield Failure("look", state.instigator_name, "", at, at, text)


def without_reason(simulation: Simulation, found: list[Failure]) -> list[Failure]:
    """Failures that no fault explains."""
    return [
        one
        for one in found
        if not any(fault.explains(one.name, one.run_id, one.began, one.ended, one.error) for fault in simulation.faults)
    ]


def not_mended(simulation: Simulation, found: list[Failure]) -> list[Failure]:
    """Failed runs after which some asset of theirs was never materialised, or their job never succeeded."""
    good = simulation.instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS]))
    last: dict[str, float] = {}
    for record in good:
        for name in _named(record.dagster_run).split():
            last[name] = max(last.get(name, 0.0), record.end_time or 0.0)
    left = []
    for one in found:
        if one.what != "run":
            continue
        job, *assets = one.name.split()
        done = [last.get(name, 0.0) for name in assets] or [last.get(job, 0.0)]
        again = max(last.get(job, 0.0), min(done))
        if again < one.ended.timestamp() and not _asset_later(simulation, one):
            left.append(one)
    return left


def _asset_later(simulation: Simulation, one: Failure) -> bool:
    """Whether every asset that the run had planned was materialised after it began."""
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
    planned = {
        entry.dagster_event.asset_key
        for entry in simulation.instance.all_logs(one.run_id, of_type=kind)
        if entry.dagster_event
    }
    latest = [simulation.instance.get_latest_materialization_event(key) for key in planned if key]
    return bool(latest) and all(event and event.timestamp >= one.began.timestamp() for event in latest)


# Growth.


def growth(world: World) -> dict[str, tuple[int, int]]:
    """By table of Dagster's storage: rows, and bytes on disk."""
    dsn = world.stack.endpoints.dagster_pg
    assert dsn
    with closing(psycopg.connect(dsn, autocommit=True)) as connection:
        tables = [row[0] for row in connection.execute("SELECT relname FROM pg_stat_user_tables").fetchall()]
        told = {}
        for table in tables:
            row = connection.execute(
                f"SELECT count(*), pg_total_relation_size('{table}') FROM {table}"  # type: ignore[arg-type]
            ).fetchone()
            assert row
            told[table] = (int(row[0]), int(row[1]))
    return told
