"""The asset `start_here`: what to do next, and what is loaded, missing and failed in every domain at its last run."""

import datetime as dt
from importlib.resources import files
from typing import Any

import dagster as dg

from marketdata_assets import databases, defs, domains, overview
from marketdata_assets.defs.metadata import asset, column_schema, markdown_table
from marketdata_assets.defs.runs import schedule
from marketdata_assets.settings import Settings

START, CHECK = "start_here", "nothing_failed"
COLUMNS = ("asset", "state", "what")


@asset(
    START,
    kinds={"markdown"},
    code_version="health-1",
    metadata=column_schema(
        ("asset", "text", "the asset, or the domain whose server does not answer"),
        ("state", "text", "such as failed, stale or missing"),
        ("what", "text", "how many partitions or files, and the command for them, or the cause"),
    ),
    description=files(defs).joinpath("start_here.md").read_text("utf-8"),
    check_specs=[dg.AssetCheckSpec(CHECK, asset=START, description="Nothing has failed, and every server answers.")],
)
def start_here(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    settings, now = Settings(), dt.datetime.now(dt.UTC)
    rows, silent = list[overview.Row](), list[tuple[str, str, str]]()
    for domain in settings.domain_names:
        status = domains.find(domain)
        try:
            with databases.connected(status.store, status.name, *status.needs) as connection:
                rows += status.rows(connection, settings, now)
        except Exception as error:  # of whatever class: the other domains are shown
            silent.append((domain, "failed", str(error)))
    known = [(one.asset, one.state, f"{one.what}: marketdata {one.command}") for one in overview.problems(rows)]
    problems = [*silent, *known]
    metadata: dict[str, Any] = {"problems": markdown_table(COLUMNS, problems)}
    for about in domains.every():
        if lines := overview.lines_of(about.name, rows):
            metadata[about.name] = markdown_table(about.columns, lines)
    failed = [one for one in problems if one[1] == "failed"]
    found = dg.AssetCheckResult(
        check_name=CHECK,
        passed=not failed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"failed": markdown_table(COLUMNS, failed)},
    )
    return dg.MaterializeResult(metadata=metadata, check_results=[found])


health_job = dg.define_asset_job("health", [START], description="Look at what is loaded in every domain.")


@schedule(
    job=health_job,
    cron_schedule="10 8,18 * * *",
    description="Before the open and after the close: what is loaded, missing and failed, on the page of `start_here`.",
)
def system_health() -> dg.RunRequest:
    return dg.RunRequest()
