"""Partitions and automation of a flow: a sensor for new or changed files and a schedule, as its file declares,
and the nightly repair of files that a run would read and of partitions that Dagster does not show.

What is outdated is decided in `flows.run` (`outdated`): by sizes and times of files, the ledger and the flow's version.
"""

import time
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from marketdata_assets.defs.partition_results import find_mismatches
from marketdata_assets.defs.runs import Repair, run_key, runs_that_load, schedule, sensor
from marketdata_assets.flows.definition import FlowDefinition, Month
from marketdata_assets.loading import watch
from marketdata_assets.local.flow_addresses import readable
from marketdata_assets.months import month_ranges, ranges
from marketdata_assets.partitions import joined, range_tags
from marketdata_assets.resources import FlowFiles, Postgres, Resources
from marketdata_assets.settings import Settings
from marketdata_assets.stores.postgres import connect

if TYPE_CHECKING:
    from marketdata_assets.loading.files import Unit

Job = Any
"""What `dg.define_asset_job` returns; its class is not public."""
MOST_RUNS = 12
MAX_FILES = 1000  # partitions that one tick asks for; the others wait for the next


def job_name(flow: FlowDefinition) -> str:
    return f"flow_{flow.name}"


def job(flow: FlowDefinition) -> Job:
    """The flow's asset and its checks as a job."""
    return dg.define_asset_job(
        job_name(flow),
        selection=dg.AssetSelection.assets(flow.name),
        description=f"Load the new and changed files of {flow.name}.",
    )


def sensor_of(flow: FlowDefinition, runs: Job) -> dg.SensorDefinition:
    """Scans every minute for files that a run would read and that are no longer being written."""

    @sensor(
        name=f"flows_{flow.name}_files",
        job=runs,
        minimum_interval_seconds=60,
        description=f"New or changed files of {flow.name}: one run for all of them.",
    )
    def scan(
        context: dg.SensorEvaluationContext, postgres: Postgres, flow_files: FlowFiles
    ) -> dg.SensorResult | dg.SkipReason:
        folder = flow_files.of(flow) / flow.loader.folder
        if not folder.is_dir():
            return dg.SkipReason(f"there is no {folder}")
        if runs_that_load(context.instance, [flow.name], [job_name(flow)]):
            return dg.SkipReason("a run is in progress; files that it leaves are loaded after it")
        units = {unit.place: unit for unit in _outdated(postgres, flow, flow_files)}
        states, quiet = _states(units.values()), flow_files.quiet_seconds
        seen = watch.compare(context.cursor, states, now_ns=time.time_ns(), quiet_seconds=quiet)
        context.update_cursor(seen.cursor(()))  # the ledger, not the cursor, knows what was loaded
        if not seen.finished:
            waiting = f"; {len(units)} files are still being written" if units else ""
            return dg.SkipReason(f"nothing new in {folder}{waiting}")
        due = [units[place] for place in seen.finished]
        return _requests(context.instance, postgres, flow, due, seen.unfinished)

    return scan


def schedule_of(flow: FlowDefinition, runs: Job) -> dg.ScheduleDefinition:
    """Runs the flow by the clock; files that have not changed are not read."""

    @schedule(
        name=f"flows_{flow.name}_clock",
        job=runs,
        cron_schedule=flow.schedule or "",
        execution_timezone=flow.timezone,
        description=f"Load what is new, changed or failed of {flow.name} and no longer being written.",
    )
    def by_clock(
        context: dg.ScheduleEvaluationContext, postgres: Postgres, flow_files: FlowFiles
    ) -> list[dg.RunRequest] | dg.SkipReason:
        names = [unit.place for unit in _outdated(postgres, flow, flow_files)]
        if not names and flow.source is None:
            return dg.SkipReason(f"nothing new in {flow_files.of(flow) / flow.loader.folder}")
        if runs_that_load(context.instance, [flow.name], [job_name(flow)]):
            return dg.SkipReason("a run is in progress; files that it leaves are loaded the next time")
        config = {"ops": {flow.name: {"config": {"finished_only": True}}}}
        return [dg.RunRequest(tags=tags, run_config=config) for tags in tags_of(context.instance, flow, names)]

    return by_clock


def tags_of(instance: dg.DagsterInstance, flow: FlowDefinition, names: Sequence[str]) -> list[dict[str, str]]:
    """The tags of the runs that load the files `names`; where these are partitions, Dagster knows them afterwards."""
    if isinstance(flow.partitions, Month):
        month = current_month(flow)
        return [range_tags(month, month)]
    if flow.partitions == "none":
        return [{}]
    known = set(instance.get_dynamic_partitions(dynamic_name(flow)))
    if new := [name for name in names if name not in known]:
        instance.add_dynamic_partitions(dynamic_name(flow), new)
    keys = instance.get_dynamic_partitions(dynamic_name(flow))
    return [range_tags(first, last) for first, last in spans(names, keys)]


def _outdated(postgres: Postgres, flow: FlowDefinition, flow_files: FlowFiles) -> "list[Unit]":
    from marketdata_assets.flows import run

    with connect(postgres.dsn) as connection:
        return run.outdated(connection, flow, flow_files.of(flow))


def _requests(
    instance: dg.DagsterInstance,
    postgres: Postgres,
    flow: FlowDefinition,
    due: "Sequence[Unit]",
    unfinished: Collection[str],
) -> dg.SensorResult:
    """One run for the same files in the same state, however often they are seen: what fails is not tried again.

    What is due again although it was loaded (a dropped table, an edited flow, a file that is as it was) is another run.
    """
    from marketdata_assets.flows import status

    if flow.partitions == "file":
        due = sorted(due, key=lambda unit: unit.place)[:MAX_FILES]
    with connect(postgres.dsn) as connection:
        key = run_key(status.known_of(connection, flow, due))
    requests = [
        dg.RunRequest(run_key=f"{key}:{number}", tags=tags, run_config=_leaving_out(flow, unfinished))
        for number, tags in enumerate(tags_of(instance, flow, [unit.place for unit in due]))
    ]
    return dg.SensorResult(run_requests=requests)


def partitions_of(flow: FlowDefinition) -> dg.PartitionsDefinition | None:
    """The flow's partitions: months up to and including the current one, or a key for each file that was seen."""
    if isinstance(flow.partitions, Month):
        since = flow.partitions.since
        return dg.MonthlyPartitionsDefinition(start_date=since, fmt="%Y-%m", timezone=flow.timezone, end_offset=1)
    return dg.DynamicPartitionsDefinition(name=dynamic_name(flow)) if flow.partitions == "file" else None


def partitions_in(flow: FlowDefinition, place: str, months: Iterable[str]) -> list[str]:
    """The partitions that a loaded file has rows of, or is."""
    if isinstance(flow.partitions, Month):
        return [month for month in months if month >= flow.partitions.since]
    return [place] if flow.partitions == "file" else []


def dynamic_name(flow: FlowDefinition) -> str:
    """The name under which Dagster keeps the files that are partitions."""
    return f"{flow.name}_files"


def current_month(flow: FlowDefinition) -> str:
    """The partition to run for new files: all months of the files are loaded and marked."""
    partitions = partitions_of(flow)
    assert isinstance(partitions, dg.MonthlyPartitionsDefinition)
    return str(partitions.get_last_partition_key())


def spans(wanted: Sequence[str], known: Sequence[str]) -> list[tuple[str, str]]:
    """Cut `wanted` into ranges without a gap in `known`, Dagster's own order, as (first, last)."""
    places = {key: place for place, key in enumerate(known)}
    return ranges(set(wanted) & places.keys(), places.__getitem__)


def repairs() -> list[Repair]:
    """What the nightly repair checks of all flows that can be read."""
    return [repair(flow) for flow in readable(Settings().flows_folder)]


def repair(flow: FlowDefinition) -> Repair:
    """What the nightly repair checks of a flow: the files that a run would read, and its partitions."""
    return Repair(
        f"flow {flow.name}",
        (flow.name,),
        (job_name(flow),),
        partial(due, flow),
        lambda has: (_states(_outdated(has.postgres, flow, has.flow_files)), has.flow_files.quiet_seconds),
        selections=True,
        part_of="flows",
    )


def states_of(flow: FlowDefinition, folder: Path) -> dict[str, watch.State]:
    """Size and last change of all files of the flow below the data folder."""
    from marketdata_assets.flows.run import find_units

    return _states(find_units(flow, folder))


def _states(units: "Iterable[Unit]") -> dict[str, watch.State]:
    return {unit.place: [unit.size, unit.file.changed_ns] for unit in units}


def due(
    flow: FlowDefinition, instance: dg.DagsterInstance, has: Resources, unfinished: Collection[str] = ()
) -> list[dg.RunRequest]:
    """The runs, each over neighbouring partitions where the flow has any; `unfinished` files are not read."""
    from marketdata_assets.flows import run, status
    from marketdata_assets.flows.targets import contents

    partitions = partitions_of(flow)
    with connect(has.postgres.dsn) as connection:
        outdated = [unit.place for unit in run.outdated(connection, flow, has.flow_files.of(flow))]
        outdated = [place for place in outdated if place not in unfinished]
        if isinstance(flow.partitions, Month) and partitions is not None:
            keys = known = list(partitions.get_partition_keys())
            counts = contents.of(connection, flow).by_month(keys)
        elif partitions is not None:
            keys = list(instance.get_dynamic_partitions(dynamic_name(flow)))
            counts = status.rows_by_unit(connection, flow)
            known = [key for key in keys if key in counts]
    tags = tags_of(instance, flow, outdated) if outdated else []
    if partitions is not None:
        marks = find_mismatches(instance, flow.name, partitions, [key for key in keys if counts.get(key)], known)
        due_ranges = (
            joined(month_ranges(marks), MOST_RUNS)
            if isinstance(flow.partitions, Month)
            else spans(sorted(marks - {*outdated, *unfinished}), keys)
        )
        tags += [tag for tag in (range_tags(*one) for one in due_ranges) if tag not in tags]
    config = _leaving_out(flow, unfinished)
    return [
        dg.RunRequest(str(number), job_name=job_name(flow), tags=one, run_config=config)
        for number, one in enumerate(tags)
    ]


def _leaving_out(flow: FlowDefinition, unfinished: Collection[str]) -> dict[str, Any]:
    """The run config by which a run does not read these files; a run over files names those that it reads."""
    if flow.partitions == "file" or not unfinished:
        return {}
    return {"ops": {flow.name: {"config": {"leave_out": sorted(unfinished)}}}}
