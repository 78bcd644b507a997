"""What one flow becomes: an asset with checks, a job, and a sensor and a schedule where it declares them.

What the flow does is in `marketdata_assets.flows`; nothing of it is imported here but its definition. The user's own
flows are a folder with a defs.yaml each, in MARKETDATA_FLOWS_DIR; one that cannot be read takes nothing else away: it
is an asset that says what is wrong.
"""

import hashlib
import os
import re
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from marketdata_assets.config_files import Document, InvalidConfigFile, Location, naming_failures
from marketdata_assets.defs.checks import log_skipped, result
from marketdata_assets.defs.flows import automation
from marketdata_assets.defs.flows.automation import partitions_of
from marketdata_assets.defs.metadata import (
    TRADING_DAYS,
    Column,
    Lineage,
    column_lineage,
    column_schema,
    observed_files,
)
from marketdata_assets.defs.partition_results import Partitions, as_dagster_failure, run_partitions
from marketdata_assets.defs.run_files import allowed
from marketdata_assets.flows import definition, discovery
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.discovery import FlowFile
from marketdata_assets.flows.storage import declared
from marketdata_assets.loading import watch
from marketdata_assets.local.flow_addresses import placed
from marketdata_assets.progress import ProgressLog
from marketdata_assets.resources import FlowFiles, Postgres, Workers
from marketdata_assets.stores.postgres import connect

OWNERS = ("team:flows",)
REFERENCE = ("trading_calendar", "instruments")
"""Upstream of the shipped flows, which load A-shares. Kept out of their YAML: the lineage does not change any row."""


class FlowConfig(dg.Config):
    """How a flow is run."""

    force: bool = False
    """Load even the files that have not changed."""

    data_dir: str = ""
    """The folder of the files, instead of the one that the flow names below MARKETDATA_FLOWS_DATA.

    Except in a command it is below MARKETDATA_FLOWS_DATA, too.
    """

    leave_out: list[str] = []  # noqa: RUF012 - a pydantic field: each config has a list of its own
    """Files that are not read, since they are still being written."""

    finished_only: bool = False
    """First wait for MARKETDATA_FLOWS_QUIET_SECONDS, and leave out files that have changed meanwhile."""


def definitions(flow: FlowDefinition) -> dg.Definitions:
    """Everything of one flow. Raises InvalidConfigFile where Dagster does not take a value of its file."""
    check(flow)
    flow = placed(flow)
    job = automation.job(flow)
    return dg.Definitions(
        assets=[_asset(flow)],
        asset_checks=[checks_of(flow)],
        jobs=[job],
        sensors=[automation.sensor_of(flow, job)] if flow.sensor else [],
        schedules=[automation.schedule_of(flow, job)] if flow.schedule else [],
    )


def files_key(flow: FlowDefinition) -> str:
    """The external asset of the flow's files; flows that read one folder share it."""
    folder = key_part(flow.loader.folder.strip("./"))
    return f"{folder or flow.name}_files"


def key_part(name: str) -> str:
    """A name with the characters that Dagster takes: others are underscores, those of other scripts their numbers."""
    return "".join(one if re.match(r"\w", one, re.ASCII) else "_" if one.isascii() else f"{ord(one):x}" for one in name)


def upstream(flow: FlowDefinition) -> list[str]:
    """The assets that the flow depends on: its files, and for a shipped flow the reference data of A-shares."""
    shipped = flow.file is not None and flow.file.is_relative_to(discovery.SHIPPED)
    return [files_key(flow), *(REFERENCE if shipped else ())]


def files_of(flow: FlowDefinition) -> dg.AssetSpec:
    """The flow's files as a dashed node on the left."""
    return dg.AssetSpec(
        files_key(flow),
        group_name="flows",
        kinds={"file", flow.loader.format},
        owners=flow.owners or OWNERS,
        description=f"Files `{', '.join(flow.loader.glob)}` in the folder `{flow.loader.folder}` below"
        " MARKETDATA_FLOWS_DATA, as they are delivered.",
        metadata=files_schema(flow),
    )


def files_schema(flow: FlowDefinition) -> dict[str, Any]:
    """What the flow's files look like, as far as it reads them."""
    loader = flow.loader
    kinds = {ours: cell.type.sql for ours, cell in loader.types.items()}
    read = column_schema(*((theirs, kinds.get(ours, "text"), ours) for theirs, ours in loader.columns.items()))
    return read | {"encoding": loader.encoding, "lines before the header": loader.skip_lines}


def _asset(flow: FlowDefinition) -> dg.AssetsDefinition:
    partitions = partitions_of(flow)

    @dg.asset(
        name=flow.name,
        deps=upstream(flow),
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run() if partitions else None,
        group_name="flows",
        kinds={flow.loader.format, flow.target.kind},
        owners=flow.owners or OWNERS,
        description=flow.description or f"Rows of {flow.loader.folder}, kept in {flow.target.place}.",
        # Of what is declared. The ledger's version also knows the code of the functions, which is not imported here.
        code_version=hashlib.sha256(flow.model_dump_json().encode()).hexdigest()[:12],
        pool="timescale",
        freshness_policy=TRADING_DAYS if flow.schedule else None,
        metadata=column_schema(*columns(flow), table=flow.target.table) | column_lineage(lineage(flow)),
    )
    def load(
        context: dg.AssetExecutionContext,
        config: FlowConfig,
        postgres: Postgres,
        flow_files: FlowFiles,
        workers: Workers,
    ) -> dg.MaterializeResult:
        from marketdata_assets.defs.flows import report
        from marketdata_assets.flows import run
        from marketdata_assets.flows.fetching import Fetched, fetch

        keys = {*run_partitions(context)} if partitions else set()
        with as_dagster_failure():
            named = [config.data_dir] if config.data_dir else []
            data = flow_files.place if named else flow_files.of(flow)
            allowed("data_dir", named, data, "MARKETDATA_FLOWS_DATA")
            at, folder = run.at_folder(flow, config.data_dir, data)
            budgets = flow_files.budgets(flow.name)
            fetched = Fetched() if config.data_dir else fetch(flow, folder, os.environ, budgets)
            unfinished = {*config.leave_out}
            if config.finished_only:
                scan = partial(automation.states_of, at, folder)
                unfinished |= watch.still_changing(scan, flow_files.quiet_seconds)
            found = [unit for unit in run.find_units(at, folder) if unit.place not in unfinished]
            places = {unit.place for unit in found}
            names = places if unfinished else None
            if flow.partitions == "file":
                names = places & keys
            marks = Partitions(context, context.asset_key)
            ended = run.run_flow(
                at,
                postgres.dsn,
                folder,
                run_id=context.run.run_id,
                fanout=workers.fanout(*run.PRELOAD),
                force=config.force,
                units=names,
                follow_deleted=not config.data_dir,
                progress=ProgressLog(context.log.info),
                loaded=lambda unit: marks(automation.partitions_in(flow, unit.unit, unit.months)),
            )
        marks.show_failed(key for unit in ended.failed for key in (unit.unit, *unit.months))
        files = [unit.file.path for unit in found]
        context.log_event(observed_files(files_key(flow), folder / at.loader.folder, files))
        try:
            materialized = report.of(context, flow, postgres.dsn, ended, unfinished)
            with as_dagster_failure():
                fetched.check(flow)
        except dg.Failure:
            log_skipped(context, answers(flow, postgres.dsn))
            raise
        return materialized

    return load


_OURS = {
    "created_at": "when the row came first",
    "updated_at": "when a value of it changed last",
    "etl_unit": "its file",
    "etl_time": "when its file was changed",
}


def columns(flow: FlowDefinition) -> list[Column]:
    """The table's columns, each with the expression that it is derived by; `lineage` has their names in the files."""
    sources = dict(_OURS)
    for step in flow.handlers:
        if step.derive:
            sources |= {name: f"`{expression}`" for name, expression in step.derive.columns.items()}
    return [(name, kind, sources.get(name, "")) for name, kind in declared(flow.target).items()]


def lineage(flow: FlowDefinition) -> Lineage:
    """The columns of the files that each column is read from, or that its expression names."""
    files = files_key(flow)
    origins = {ours: [(files, theirs)] for theirs, ours in flow.loader.columns.items()}
    for step in flow.handlers:
        for name, expression in step.derive.columns.items() if step.derive else ():
            named = dict.fromkeys(re.findall(r"\w+", expression))
            origins[name] = [origin for one in named for origin in origins.get(one, ())]
    return {name: [*dict.fromkeys(found)] for name in declared(flow.target) if (found := origins.get(name))}


CHECKS = {
    "keys_unique": "No two rows have one key.",
    "every_row_accounted": "Every row that was read is in the table, in quarantine, or was left out by a handler.",
    "no_drift": "The table has the columns, types and key that the flow declares.",
    "no_new_columns": "The files have no columns but those that the flow takes or ignores.",
}


def checks_of(flow: FlowDefinition) -> dg.AssetChecksDefinition:
    """The checks of one flow: that of keys only where there is a key, and one for all that is expected of a column."""
    declared = {name: CHECKS[name] for name in _asked(flow)} | expected_of(flow)

    @dg.multi_asset_check(
        name=f"{flow.name}_checks",
        specs=[dg.AssetCheckSpec(name, asset=flow.name, description=text) for name, text in declared.items()],
        pool="timescale",
    )
    def checks(postgres: Postgres) -> Iterator[dg.AssetCheckResult]:
        yield from answers(flow, postgres.dsn)

    return checks


def _asked(flow: FlowDefinition) -> list[str]:
    return [name for name in CHECKS if flow.target.key or name != "keys_unique"]


def answers(flow: FlowDefinition, dsn: str) -> Iterator[dg.AssetCheckResult]:
    """The results of the checks of one flow."""
    from marketdata_assets.flows import checks as questions

    with connect(dsn) as connection:
        for name in _asked(flow):
            yield result(flow.name, name, getattr(questions, name)(connection, flow))
        for column, expected in flow.quality.columns.items():
            finding = questions.column_as_expected(connection, flow, column, expected)
            yield result(flow.name, f"{column}_as_expected", finding)
        if flow.quality.rows:
            finding = questions.rows_as_expected(connection, flow, flow.quality.rows)
            yield result(flow.name, "rows_as_expected", finding)


def expected_of(flow: FlowDefinition) -> dict[str, str]:
    """The checks of the flow's expectations, by name, with what they expect."""
    checks = {f"{column}_as_expected": str(expected) for column, expected in flow.quality.columns.items()}
    if rows := flow.quality.rows:
        checks["rows_as_expected"] = (
            f"The newest day of {rows.by} has as many rows as the day before, within {rows.share:.0%}."
        )
    return checks


def check(flow: FlowDefinition, taken: Collection[str] = ()) -> None:
    """Raise InvalidConfigFile for values that Dagster rejects, and for a name that is `taken`."""
    if problems := list(_problems(flow, taken)):
        (definition.document(flow.file) if flow.file else Document(flow.name, None)).check(problems)


def _problems(flow: FlowDefinition, taken: Collection[str]) -> Iterator[tuple[Location, str]]:
    if flow.name in taken:
        cause = "an asset of this name exists already; give the flow another name (rename its folder, or set name)"
        yield ("name",), f"{flow.name!r}: {cause}"
    if not accepts(lambda: dg.GraphDefinition(name=flow.name)):
        yield ("name",), f"{flow.name!r} is reserved by Dagster or Python; give the flow another name"
    for number, owner in enumerate(flow.owners):
        if not accepts(lambda owner=owner: dg.AssetSpec("any", owners=[owner])):  # type: ignore[misc]
            yield ("owners", number), f"{owner!r} is no e-mail address and no team:NAME"
    clock = {"cron_schedule": flow.schedule or "", "execution_timezone": flow.timezone}
    if flow.schedule and not accepts(lambda: dg.ScheduleDefinition("any", job_name="any", **clock)):  # type: ignore[arg-type]
        yield ("schedule",), f"{flow.schedule!r} is no cron line of five fields, such as 0 18 * * 1-5"


def accepts(make: Callable[[], object]) -> bool:
    """Whether Dagster takes the value that is made."""
    try:
        make()
    except dg.DagsterError:
        return False
    return True


def find_own(folder: Path, taken: Collection[str] = ()) -> list[FlowFile]:
    """The flows in `folder`, by name; one that Dagster rejects, or whose name is `taken`, is invalid."""
    return [one.map(placed) for one in discovery.find(folder, taken, check)]


def own_definitions(folder: Path, taken: Collection[str]) -> dg.Definitions:
    """Assets, checks and automation of the flows in `folder`; `taken` are the names of all other assets."""
    found, built = list[FlowFile](), list[dg.Definitions]()
    for one in find_own(folder, taken):
        try:
            with naming_failures(str(one.file)):
                built += [definitions(one.flow)] if one.flow else []
            found.append(one)
        except InvalidConfigFile as error:
            found.append(replace(one, flow=None, error=error))
    flows = [one.flow for one in found if one.flow is not None]
    specs = {files_key(flow): files_of(flow) for flow in reversed(flows)}
    dashed = [spec for key, spec in specs.items() if key not in taken and key not in {one.name for one in found}]
    with warnings.catch_warnings():
        # As Dagster itself does for what it loads from a folder.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.Definitions.merge(dg.Definitions(assets=[*dashed, *_broken(found, taken)]), *built)


def _broken(found: list[FlowFile], taken: Collection[str]) -> Iterator[dg.AssetsDefinition]:
    names = {*taken, *(one.name for one in found if one.flow)}
    for one in found:
        if one.error is not None:
            name = key_part(one.name)
            while name in names or not accepts(lambda name=name: dg.GraphDefinition(name=name)):  # type: ignore[misc]
                name += "_broken"
            names.add(name)
            yield _complaint(name, one.error)


def _complaint(name: str, error: InvalidConfigFile) -> dg.AssetsDefinition:
    @dg.asset(
        name=name,
        group_name="flows",
        kinds={"yaml"},
        owners=OWNERS,
        description=f"This flow cannot be read; correct its file, then reload the definitions.\n\n```\n{error}\n```",
    )
    def broken() -> dg.MaterializeResult:
        raise dg.Failure(description=str(error), allow_retries=False)

    return broken


stock_daily_files = dg.AssetSpec(
    "stock_daily_files",
    group_name="flows",
    kinds={"file", "csv"},
    owners=["team:market-data"],
    description="Daily prices of A-shares, one CSV per stock with its whole history, as the vendor delivers them into"
    " `stock_daily` below `MARKETDATA_FLOWS_DATA`: GBK, a notice in line 1, 38 columns.",
)


@dg.definitions
def defs() -> dg.Definitions:
    [schema] = [files_schema(one.flow) for one in discovery.shipped() if one.flow and one.name == "stock_daily"]
    return dg.Definitions(assets=[stock_daily_files.replace_attributes(metadata=schema)])
