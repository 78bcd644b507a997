"""Runs that automation asks for: keys, places in the queue, those in progress, and what the nightly repair checks."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from marketdata_assets.defs.selection import config_of, months_of
from marketdata_assets.loading.watch import State
from marketdata_assets.months import EXCHANGE_CLOCK, month_ranges
from marketdata_assets.partitions import Span, range_tags, span_of
from marketdata_assets.resources import Resources

FIRST_IN_QUEUE = {"dagster/priority": "1"}
"""Tags of runs that start before those that wait longer: live data, in a pool of its own."""
LAST_IN_QUEUE = {"dagster/priority": "-1"}
"""Tags of runs that start when nothing else waits for their slot: repairs of the past."""
IN_PROGRESS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]

DOMAIN = "marketdata/domain"
MOST_RANGES = 20
"""More are no backfill, which starts a run for each."""


Due = Callable[[dg.DagsterInstance, Resources, Collection[str]], list[dg.RunRequest]]
"""What is due, given the instance, the resources, and the keys of files that are still being written."""

FileStates = Callable[[Resources], tuple[Mapping[str, State], float]]
"""By key the states of the files that runs would read, and the seconds that a finished file does not change for."""


@dataclass(frozen=True)
class Repair:
    """What the nightly repair checks as one unit: its assets, the jobs that load them, and the files they read."""

    name: str
    assets: tuple[str, ...]
    jobs: tuple[str, ...]
    due: Due
    files: FileStates | None = None
    ranges: bool = True
    """Whether what is due may be ranges of partitions of one dimension, or all of an asset without partitions."""
    selections: bool = False
    """Whether what is due may need a run of its own."""
    part_of: str = ""
    """The domain of MARKETDATA_DOMAINS, where it has another name."""
    after: tuple[str, ...] = ()
    """The domains that its assets are computed from: it is checked after the runs that tonight's repair of these
    requests."""

    @property
    def domain(self) -> str:
        return self.part_of or self.name


def sensor(**options: Any) -> Callable[[Callable[..., Any]], dg.SensorDefinition]:
    """As `dg.sensor`, running, with the tag of its domain: what is before the first `_` in its name."""
    return _declared(dg.sensor, {"default_status": dg.DefaultSensorStatus.RUNNING} | options)


def schedule(**options: Any) -> Callable[[Callable[..., Any]], dg.ScheduleDefinition]:
    """As `dg.schedule`, running, on the exchange's clock, with the tag of its domain."""
    clock = {"default_status": dg.DefaultScheduleStatus.RUNNING, "execution_timezone": EXCHANGE_CLOCK}
    return _declared(dg.schedule, clock | options)


def _declared(decorator: Any, options: dict[str, Any]) -> Callable[[Callable[..., Any]], Any]:
    def declare(function: Callable[..., Any]) -> Any:
        name = options.get("name", function.__name__)
        return decorator(**{"name": name, "tags": {DOMAIN: name.partition("_")[0]}} | options)(function)

    return declare


def runs_that_load(
    instance: dg.DagsterInstance, assets: Iterable[str], jobs: Iterable[str] = ()
) -> list[dg.DagsterRun]:
    """The runs in progress, queued ones included, that load one of the assets: of a schedule, the UI, a backfill.

    A run of part of a job, or of no named job, names its assets; one of a whole job names only it, one of `jobs`.
    """
    keys, names = {dg.AssetKey(asset) for asset in assets}, set(jobs)
    return [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS))
        if (run.job_name in names if run.asset_selection is None else run.asset_selection & keys)
    ]


def span_of_run(tags: Mapping[str, str], config: Mapping[str, Any]) -> Span | None:
    """The months or days that a run is about; None when that is not known, so that it may be any."""
    months = sorted(months_of(config))
    return (months[0], months[-1]) if months else span_of(tags)


def range_requests(
    ranges: Iterable[tuple[str, str]], before: str = "", after: str = "", **options: Any
) -> list[dg.RunRequest]:
    """A run for each range of partitions; its key is the range, with what is put before and after it."""
    return [
        dg.RunRequest(run_key=f"{before}{first}:{last}{after}", tags=range_tags(first, last), **options)
        for first, last in ranges
    ]


def ranges_or_selection(months: Collection[str], job: str, selected_job: str, selected_op: str) -> list[dg.RunRequest]:
    """A run of `job` for each range of months; where these are more than MOST_RANGES, one of `selected_job` instead."""
    ranges = month_ranges(months)
    if len(ranges) <= MOST_RANGES:
        return range_requests(ranges, job_name=job)
    config = config_of(selected_op, sorted(months))
    return [dg.RunRequest(run_key="selected", job_name=selected_job, run_config=config)]


def run_key(state: str) -> str:
    """A short run key for an observed state: Dagster indexes keys in Postgres, where long values do not fit."""
    return hashlib.sha256(state.encode()).hexdigest()[:16]
