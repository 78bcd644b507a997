"""The nightly repair: checks each domain every night and loads what is missing, failed or stale.

`repair_backfills` requests backfills, of ranges of partitions; `repair_selected` requests runs, of selections that are
no range and of loads with a config of their own: a backfill would be a run for each range of them, and has no config.
They are sensors because a schedule has only one job, and because a sensor retries: a domain whose server is
unavailable, or of which a run in progress loads some of what is due, is checked again some minutes later, and so are
all domains when Dagster was down at 02:30.
What is due is decided in `automation` of each domain. Files are read when two checks have seen them in the same state,
as the sensors of files do; those that change in between are left to these sensors.
"""

import datetime as dt
import json
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import reduce
from itertools import chain
from operator import or_
from pkgutil import resolve_name
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import dagster as dg

from marketdata_assets import domains
from marketdata_assets.dagster_internals import backfill_request
from marketdata_assets.defs import selection
from marketdata_assets.defs.runs import DOMAIN, LAST_IN_QUEUE, Repair, run_key, runs_that_load, sensor, span_of_run
from marketdata_assets.defs.selection import months_of
from marketdata_assets.errors import MarketDataError
from marketdata_assets.loading.reports import and_more
from marketdata_assets.loading.watch import State, fingerprint
from marketdata_assets.months import EXCHANGE_CLOCK, month_ranges, months_from
from marketdata_assets.partitions import RANGE_END, RANGE_START, Span, overlap, range_tags, span_of
from marketdata_assets.resources import NoServer, Resources

NAME = "repair_backfills"
SELECTED = "repair_selected"
BEGINS = dt.timedelta(hours=2, minutes=30)  # after midnight on the exchange's clock
SECONDS_PER_TICK = 25.0  # a tick may take a minute; domains for which there is no time wait for the next
MOST_WAITS = 60
"""Ticks, two hours: where files arrive all the time, some run upstream is always in progress."""
TAG = "marketdata/repair"
MONTH = re.compile(r"\d{4}-\d{2}")
RESOURCES = {one.name for one in fields(Resources)} - {"nats", "workers"}


def repairs(chosen: Iterable[str]) -> list[Repair]:
    """What is checked of the `chosen` domains, as they declare it; each flow is one."""
    declared = [found for name in chosen if (found := domains.find(name).repairs)]
    return [repair for found in declared for repair in resolve_name(found)()]


def due_now(
    instance: dg.DagsterInstance, resources: Resources, chosen: Iterable[str]
) -> Iterator[tuple[str, dg.RunRequest]]:
    """The runs due in each domain now, including those requested tonight; domains without a server are skipped."""
    for domain in repairs(chosen):
        with suppress(NoServer):
            yield from ((domain.name, request) for request in domain.due(instance, resources, ()))


class Requested(NamedTuple):
    """A part of a backfill that was requested in one night: the job, and the first and last month or day, if any."""

    night: str
    job: str | None
    span: Span | None


@dataclass
class Progress:
    """A sensor's cursor: the last night in which each domain was checked, files that were observed tonight, how many of
    its ticks in a row had no run upstream of a domain in progress, of how many, and what was requested of domains that
    are checked again.

    A domain that was never seen begins with the next night: at a first start, no night was missed.
    """

    nights: dict[str, str]
    idle: dict[str, tuple[str, int, int]]
    observed: dict[str, tuple[int, dict[str, State]]]
    requested: dict[str, list[Requested]]

    @classmethod
    def of(cls, cursor: str | None) -> "Progress":
        content = dict[str, Any]({"nights": {}, "idle": {}, "observed": {}, "requested": {}})
        content |= json.loads(cursor) if cursor else {}
        requested = {name: [Requested(*one) for one in found] for name, found in content["requested"].items()}
        return cls(content["nights"], content["idle"], content["observed"], requested)

    def text(self, known: Iterable[Repair]) -> str:
        names = {domain.name for domain in known}
        content = {
            key: {name: one for name, one in value.items() if name in names} for key, value in vars(self).items()
        }
        return json.dumps(content)

    def unfinished(
        self, domain: str, states: Mapping[str, State], now_ns: int, quiet_seconds: float
    ) -> set[str] | None:
        """The files that have changed since the first observation; None while that is too recent."""
        states = {key: fingerprint(json.dumps(state)) for key, state in states.items()}
        since, before = self.observed.get(domain, (now_ns, states))
        if since > now_ns:  # the clock was set back
            since, before = now_ns, states
        if states and now_ns - since < quiet_seconds * 1e9:
            self.observed[domain] = since, before
            return None
        self.observed.pop(domain, None)
        return {key for key, state in states.items() if before.get(key) != state}


def night_of(now: dt.datetime) -> str:
    """The day whose nightly repair a check at `now` belongs to."""
    return f"{now.astimezone(ZoneInfo(EXCHANGE_CLOCK)) - BEGINS:%Y-%m-%d}"


def repair_sensors(jobs: Sequence[Any], chosen: Iterable[str]) -> list[dg.SensorDefinition]:
    """The two sensors over the `chosen` domains; `jobs` are all existing ones: a flow that Dagster rejects has none."""
    existing = {job.name for job in jobs}
    every = [domain for domain in repairs(chosen) if not existing.isdisjoint(domain.jobs)]
    upstream = {domain.name: [other for other in every if other.domain in domain.after] for domain in every}
    ranged = [domain for domain in every if domain.ranges]
    scattered = [domain for domain in every if domain.selections]
    names = {name for domain in scattered for name in domain.jobs}
    assets = {job.name: job.selection for job in jobs if hasattr(job, "selection")}

    selections = [assets[name] for domain in ranged for name in domain.jobs if name in assets]

    @sensor(
        name=NAME,
        asset_selection=reduce(or_, selections, dg.AssetSelection.assets()),
        minimum_interval_seconds=120,
        required_resource_keys=RESOURCES,
        description="Every night from 02:30, Asia/Shanghai: compares sources, ledgers and Dagster's partitions, domain"
        " by domain, and requests backfills of what is missing, failed or stale.",
    )
    def repair_backfills(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        def backfills(_: Repair, due: Sequence[dg.RunRequest], tags: Mapping[str, str]) -> list[dg.RunRequest]:
            assert context.repository_def is not None
            return _backfills(context.repository_def.asset_graph, context.instance, assets, due, tags)

        return _tick(context, ranged, upstream, lambda _, request: not request.run_config, backfills)

    @sensor(
        name=SELECTED,
        jobs=[job for job in jobs if job.name in names],
        minimum_interval_seconds=120,
        required_resource_keys=RESOURCES,
        description="The same for what is no range of partitions, or needs a config: ticks by symbol, alphas by"
        " account, captures, scattered months of bars, flows of which some files are still being written.",
    )
    def repair_selected(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        def is_ours(domain: Repair, request: dg.RunRequest) -> bool:
            return bool(request.run_config) or not domain.ranges

        return _tick(context, scattered, upstream, is_ours, _runs)

    return [*([repair_backfills] if ranged else []), *([repair_selected] if scattered else [])]


Upstream = Mapping[str, Sequence[Repair]]
"""By name of a repair, those of the domains that it is computed from."""
Submit = Callable[[Repair, Sequence[dg.RunRequest], Mapping[str, str]], list[dg.RunRequest]]
"""What is requested for runs that are due in a domain, with these tags."""


def _tick(
    context: dg.SensorEvaluationContext,
    every: Sequence[Repair],
    upstream: Upstream,
    is_ours: Callable[[Repair, dg.RunRequest], bool],
    submit: Submit,
) -> dg.SensorResult | dg.SkipReason:
    night = night_of(dt.datetime.now(dt.UTC))
    progress = Progress.of(context.cursor)
    new = [domain.name for domain in every if domain.name not in progress.nights]
    progress.nights |= dict.fromkeys(new, night)
    todo = [domain for domain in every if progress.nights[domain.name] != night]
    if not todo:
        context.update_cursor(progress.text(every))
        begins = f"; {and_more(new, 3)} from the next night on" if new else ""
        return dg.SkipReason(f"the nightly repair of {night} is complete{begins}")
    due, notes = _check(context, todo, upstream, night, progress, is_ours)
    cursor = progress.text(every)
    requests = [
        request
        for domain, found in due
        for request in submit(domain, found, {**LAST_IN_QUEUE, TAG: night, DOMAIN: domain.domain})
    ]
    if requests:
        return dg.SensorResult(run_requests=requests, cursor=cursor)
    context.update_cursor(cursor)
    return dg.SkipReason("; ".join(notes))


def _runs(domain: Repair, due: Sequence[dg.RunRequest], tags: Mapping[str, str]) -> list[dg.RunRequest]:
    return [
        request.with_replaced_attrs(
            run_key=f"{tags[TAG]}:{domain.name}:{request.run_key}", tags={**request.tags, **tags}
        )
        for request in due
    ]


def _backfills(
    graph: Any,
    instance: dg.DagsterInstance,
    assets: Mapping[str, dg.AssetSelection],
    due: Sequence[dg.RunRequest],
    tags: Mapping[str, str],
) -> list[dg.RunRequest]:
    """A backfill for each job: of its `assets`, over all ranges that are due together."""
    found = []
    for job in dict.fromkeys(request.job_name for request in due):
        ranges = [
            (request.tags[RANGE_START], request.tags[RANGE_END])
            for request in due
            if request.job_name == job and RANGE_START in request.tags
        ]
        subsets, whole = {}, set[dg.AssetKey]()
        for key in assets[str(job)].resolve(graph):
            partitions = graph.get(key).partitions_def
            if partitions is None:
                whole.add(key)
            else:
                known = list(partitions.get_partition_keys(dynamic_partitions_store=instance))
                inside = [known[known.index(first) : known.index(last) + 1] for first, last in ranges]
                subsets[key] = partitions.subset_with_partition_keys([*chain.from_iterable(inside)])
        found.append(backfill_request(subsets, whole, tags))
    return found


def _check(
    context: dg.SensorEvaluationContext,
    todo: Sequence[Repair],
    upstream: Upstream,
    night: str,
    progress: Progress,
    is_ours: Callable[[Repair, dg.RunRequest], bool],
) -> tuple[list[tuple[Repair, list[dg.RunRequest]]], list[str]]:
    """Check the domains, and note in `progress` those that need no further check tonight, and what was requested."""
    until = time.monotonic() + SECONDS_PER_TICK
    requests, notes = list[tuple[Repair, list[dg.RunRequest]]](), list[str]()
    for domain in todo:
        busy = [
            span_of_run(run.tags, run.run_config)
            for run in runs_that_load(context.instance, domain.assets, domain.jobs)
        ]
        if None in busy:
            notes.append(f"{domain.name}: a run is in progress; checked again after it")
            continue
        if waits_for := _waits_for(context.instance, domain.name, upstream, night, progress):
            notes.append(f"{domain.name}: checked after {waits_for}")
            continue
        if time.monotonic() > until:
            notes.append(f"{domain.name}: checked at the next tick")
            continue
        try:
            unfinished = _unfinished(context, domain, progress)
            if unfinished is None:
                notes.append(f"{domain.name}: checked again when its files have not changed for a while")
                continue
            due = domain.due(context.instance, context.resources, unfinished)  # type: ignore[arg-type]
        except MarketDataError as error:
            context.log.warning(f"{domain.name}: {error}")
            notes.append(f"{domain.name}: {error}")
            continue
        before = [one for one in progress.requested.get(domain.name, ()) if one.night == night]
        due = [left for request in due if is_ours(domain, request) for left in _without(request, before)]
        found = [free for request in due for free in _free(request, busy)]
        if found == due:
            progress.nights[domain.name] = night
            progress.requested.pop(domain.name, None)
        elif domain.ranges:
            requested = [Requested(night, one.job_name, span_of(one.tags)) for one in found]
            progress.requested[domain.name] = [*before, *requested]
        left = f"; still being written: {and_more(sorted(unfinished), 3)}" if unfinished else ""
        waiting = sum(request not in found for request in due)
        wait = f"; {waiting} wait for a run in progress and are checked again after it" if waiting else ""
        notes.append(f"{domain.name}: {len(found) or 'nothing'} to run{left}{wait}")
        if found:
            requests.append((domain, found))
    return requests, notes


def _waits_for(instance: dg.DagsterInstance, name: str, upstream: Upstream, night: str, progress: Progress) -> str:
    """The upstream domains that one waits for tonight; their runs are requested first, by this sensor or the other.

    A chain of domains needs a tick without a run in progress for each of them, in which the next one requests its runs.
    """
    busy = [other.name for other in upstream[name] if runs_that_load(instance, other.assets, other.jobs)]
    since, idle, waited = progress.idle.get(name, (night, 0, 0))
    if since != night:
        idle = waited = 0
    idle = 0 if busy else idle + 1
    progress.idle[name] = night, idle, waited + 1
    waits = waited < MOST_WAITS and (busy or idle <= _depth(name, upstream))
    return ", ".join(busy or [other.name for other in upstream[name]]) if waits else ""


def _depth(name: str, upstream: Upstream) -> int:
    """How many domains are upstream of one, one after the other."""
    return max((1 + _depth(other.name, upstream) for other in upstream[name]), default=0)


def _without(request: dg.RunRequest, before: Iterable[Requested]) -> Iterable[dg.RunRequest]:
    """What of a request was not requested before: a backfill has no run key, and for some seconds no run.

    A run with a config has a run key, of which Dagster starts no second one.
    """
    same = [one for one in before if one.job == request.job_name]
    if request.run_config or not same:
        return [request]
    return _free(request, [one.span for one in same]) if RANGE_START in request.tags else []


def _free(request: dg.RunRequest, busy: Collection[Span | None]) -> Iterable[dg.RunRequest]:
    """What of a request no run in progress loads: months are left out of a selection and of a range of months.

    Runs count for all symbols of their months. A range of anything else is requested whole.
    """
    months = months_of(request.run_config)
    if months:
        free = sorted(month for month in months if not _is_loading((month, month), busy))
        if len(free) == len(months):
            return [request]
        config, key = selection.only(request.run_config, free), run_key(",".join(free))
        replaced = request.with_replaced_attrs(run_config=config, run_key=f"{request.run_key}:{key}")
        return [replaced] if free else []
    if not _is_loading(span_of(request.tags), busy):
        return [request]
    first, last = (request.tags.get(name, "") for name in (RANGE_START, RANGE_END))
    inside = months_from(first, last) if MONTH.fullmatch(first) else []
    left = month_ranges(month for month in inside if not _is_loading((month, month), busy))
    return [request.with_replaced_attrs(tags={**request.tags, **range_tags(*one)}) for one in left]


def _is_loading(span: Span | None, busy: Collection[Span | None]) -> bool:
    return any(span is None or one is None or overlap(span, one) for one in busy)


def _unfinished(context: dg.SensorEvaluationContext, domain: Repair, progress: Progress) -> set[str] | None:
    """The files of a domain that are still being written and left to its sensor; None while that is not known."""
    if domain.files is None:
        return set()
    states, quiet_seconds = domain.files(context.resources)  # type: ignore[arg-type]  # has the same attributes
    return progress.unfinished(domain.name, states, time.time_ns(), quiet_seconds)
