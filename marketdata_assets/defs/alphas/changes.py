"""The job that fetches alphas that were submitted or changed, whatever their month; the sensor of files imports them.

Fetching is in `marketdata_assets.alphas.changes`.
"""

import datetime as dt
import time
from typing import Any

import dagster as dg

from marketdata_assets.alphas import filters as alpha_filters
from marketdata_assets.defs.alphas import accounts
from marketdata_assets.defs.partition_results import MAX_LISTED, as_dagster_failure, failure_of
from marketdata_assets.defs.runs import runs_that_load, schedule
from marketdata_assets.loading.reports import and_more
from marketdata_assets.resources import AlphaFiles, Brain

JOB = "alpha_changes"
OP = "fetch_changes"


class ChangesConfig(dg.Config):
    """Which alphas; by default those that were submitted, or changed since the last run."""

    accounts: list[str] = []  # noqa: RUF012 - pydantic fields: each config has a list of its own
    """All that can log in when empty."""

    filters: dict[str, Any] = {}  # noqa: RUF012
    """Such as {"status": ["ACTIVE"], "submitted_from": "2024-01-01"}."""

    ids: list[str] = []  # noqa: RUF012
    """Fetch these alphas."""


@dg.op(name=OP, pool="alpha_api", out=dg.Out(dg.Nothing))
def fetch_changes(context: dg.OpExecutionContext, config: ChangesConfig, brain: Brain, alphas_dir: AlphaFiles) -> None:
    """Fetch alphas of all months that were submitted or changed, that match filters, or by id, into raw files."""
    from marketdata_assets.alphas import changes

    started = time.monotonic()
    with as_dagster_failure():
        filters = alpha_filters.parse(config.filters) if config.filters else None
        reports = changes.fetch_changes(
            alphas_dir.path,
            config.accounts or brain.ready(),
            brain.client,
            changes.Selection(filters, tuple(config.ids)),
            now=dt.datetime.now(dt.UTC),
        )
    metadata: dict[str, Any] = {
        "listed": sum(one.listed for one in reports),
        "written": sum(one.written for one in reports),
        "months": and_more(sorted({month for one in reports for month in one.months}), MAX_LISTED),
        "unknown": and_more([name for one in reports for name in one.unknown], MAX_LISTED),
        "requests": sum(one.requests for one in reports),
        "seconds": round(time.monotonic() - started, 2),
    }
    notes = {one.note for one in reports if one.note}
    if notes:
        metadata["note"] = "; ".join(sorted(notes))
    causes = [one.error for one in reports if one.error]
    causes += [f"{one.account}: no alpha: {text}" for one in reports for text in one.rejected]
    if causes:
        raise failure_of("some alphas were not fetched, the others are", causes, metadata)
    context.add_output_metadata(metadata)


@dg.job(name=JOB, description="Fetch alphas of all months that were submitted or changed; or by filters or id.")
def changes_job() -> None:
    fetch_changes()


@schedule(
    name="alphas_changes",
    job=changes_job,
    cron_schedule="27 */6 * * *",
    description="Every six hours: alphas of all months that were submitted, or changed since the last run.",
)
def alphas_changes(context: dg.ScheduleEvaluationContext, brain: Brain) -> dg.RunRequest | dg.SkipReason:
    if not set(brain.ready()) & set(accounts.known(context.instance)):
        return dg.SkipReason("no enabled account has credentials")
    if runs_that_load(context.instance, (), [JOB]):
        return dg.SkipReason("a run is in progress")
    return dg.RunRequest()
