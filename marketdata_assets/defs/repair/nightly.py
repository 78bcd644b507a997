"""`backfill_missing`: checks each domain every night and runs what is missing, failed or stale.

It is a sensor because a schedule has only one job, and because a sensor retries: a domain whose server is unavailable
or whose run is in progress is checked again some minutes later, and so are all domains when Dagster was down at 02:30.
What is due is decided in `automation` of each domain.
"""

import datetime as dt
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from marketdata_assets.defs import reconciliation
from marketdata_assets.defs.alphas import automation as alphas
from marketdata_assets.defs.bars import automation as bars
from marketdata_assets.defs.exchanges import automation as exchanges
from marketdata_assets.defs.exchanges import days
from marketdata_assets.defs.flows import automation as flows
from marketdata_assets.defs.reference import automation as reference
from marketdata_assets.defs.runs import runs_in_progress, sensor
from marketdata_assets.defs.ticks import automation as ticks
from marketdata_assets.defs.ticks.run_config import JOB as TICKS_JOB
from marketdata_assets.errors import MarketDataError
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.months import EXCHANGE_CLOCK
from marketdata_assets.resources import NoServer

NAME = "backfill_missing"
BEGINS = dt.timedelta(hours=2, minutes=30)  # after midnight on the exchange's clock
SECONDS_PER_TICK = 25.0  # a tick may take a minute; domains for which there is no time wait for the next
TAG = "marketdata/repair"
RESOURCES = {"postgres", "mongo", "clickhouse", "brain", "bar_files", "alphas_dir", "flow_files", "ticks"}

Due = Callable[[dg.DagsterInstance, Any], list[dg.RunRequest]]
"""What is due, given the instance and the resources."""


@dataclass(frozen=True)
class Domain:
    """What is checked as one unit, and the jobs that load it."""

    name: str
    jobs: tuple[str, ...]
    due: Due


def domains(own: Iterable[FlowDefinition]) -> list[Domain]:
    """All domains; each flow is one."""
    return [
        Domain("bars", bars.JOBS, lambda instance, has: bars.due(instance, has.postgres, has.bar_files)),
        Domain(
            "alphas",
            (alphas.FETCH_JOB, alphas.IMPORT_JOB),
            lambda instance, has: alphas.due(instance, has.mongo, has.alphas_dir, has.brain),
        ),
        Domain(
            "reference",
            (reference.JOB, reference.SYMBOLS_JOB),
            lambda instance, has: reference.due(instance, has.clickhouse, has.ticks),
        ),
        Domain("ticks", (TICKS_JOB, "ticks"), lambda instance, has: ticks.due(instance, has.clickhouse, has.ticks)),
        Domain("exchanges", (days.DAYS_JOB,), lambda instance, has: exchanges.due(instance, has.clickhouse)),
        Domain("captures", (days.TABLES_JOB,), lambda instance, _: exchanges.captures(instance)),
        Domain("reconciliation", (reconciliation.JOB,), lambda instance, _: reconciliation.due(instance)),
        *(Domain(f"flow {one.name}", (flows.job_name(one),), _of_flow(one)) for one in own),
    ]


def _of_flow(flow: FlowDefinition) -> Due:
    return lambda instance, has: flows.due(instance, flow, has.postgres, has.flow_files)


def due_now(
    instance: dg.DagsterInstance, own: Iterable[FlowDefinition], resources: Any
) -> Iterator[tuple[str, dg.RunRequest]]:
    """The runs due in each domain now, including those requested tonight; domains without a server are skipped."""
    for domain in domains(own):
        with suppress(NoServer):
            yield from ((domain.name, request) for request in domain.due(instance, resources))


def night_of(now: dt.datetime) -> str:
    """The day whose nightly repair a check at `now` belongs to."""
    return f"{now.astimezone(ZoneInfo(EXCHANGE_CLOCK)) - BEGINS:%Y-%m-%d}"


def repair_sensor(own: Sequence[FlowDefinition], jobs: Sequence[Any]) -> dg.SensorDefinition:
    """The sensor over these flows and the other domains; `jobs` are all existing jobs."""
    every = domains(own)
    wanted = {name for domain in every for name in domain.jobs}

    @sensor(
        name=NAME,
        jobs=[job for job in jobs if job.name in wanted],
        minimum_interval_seconds=120,
        required_resource_keys=RESOURCES,
        description="Every night from 02:30, Asia/Shanghai: compares sources, ledgers and Dagster's partitions, domain"
        " by domain, and runs what is missing, failed or stale.",
    )
    def backfill_missing(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        night = night_of(dt.datetime.now(dt.UTC))
        seen: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
        todo = [domain for domain in every if seen.get(domain.name) != night]
        if not todo:
            return dg.SkipReason(f"the nightly repair of {night} is complete")
        requests, notes = _check(context, todo, night, seen)
        cursor = json.dumps({domain.name: seen[domain.name] for domain in every if domain.name in seen})
        if requests:
            return dg.SensorResult(run_requests=requests, cursor=cursor)
        context.update_cursor(cursor)
        return dg.SkipReason("; ".join(notes))

    return backfill_missing


def _check(
    context: dg.SensorEvaluationContext, todo: Sequence[Domain], night: str, seen: dict[str, str]
) -> tuple[list[dg.RunRequest], list[str]]:
    """Check the domains, and note in `seen` those that need no further check tonight."""
    until = time.monotonic() + SECONDS_PER_TICK
    busy = {run.job_name for run in runs_in_progress(context.instance)}
    requests, notes = list[dg.RunRequest](), list[str]()
    for domain in todo:
        if busy & {*domain.jobs}:
            notes.append(f"{domain.name}: a run is in progress; checked again after it")
            continue
        if time.monotonic() > until:
            notes.append(f"{domain.name}: checked at the next tick")
            continue
        try:
            found = domain.due(context.instance, context.resources)
        except MarketDataError as error:
            context.log.warning(f"{domain.name}: {error}")
            notes.append(f"{domain.name}: {error}")
            continue
        seen[domain.name] = night
        notes.append(f"{domain.name}: {len(found) or 'nothing'} to run")
        requests += (
            request.with_replaced_attrs(
                run_key=f"{night}:{domain.name}:{request.run_key}", tags={**request.tags, TAG: night}
            )
            for request in found
        )
    return requests, notes
