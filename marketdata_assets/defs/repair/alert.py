"""`run_failure_alert`: tells people of runs that failed for good, and of assets that have become overdue.

A run that Dagster will try again is not told of. What was not taken is told at the next tick, so nothing is lost.
"""

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.storage.tags import WILL_RETRY_TAG

from marketdata_assets.defs.reasons import reason
from marketdata_assets.partitions import PARTITION, RANGE_END, RANGE_START
from marketdata_assets.settings import Settings

if TYPE_CHECKING:
    from marketdata_assets.alerts import Alert

NAME = "run_failure_alert"
OVERLAP = dt.timedelta(minutes=5)
"""Runs end in other processes, whose clocks and commits may come a little late."""
MAX_TOLD = 20
MAX_CHARACTERS = 500


@dg.sensor(
    name=NAME,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells MARKETDATA_ALERT_WEBHOOK, and mail when it is set up, of runs that failed for good and of assets"
    " that have become overdue: one message a tick.",
)
def run_failure_alert(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    settings, now = Settings(), dt.datetime.now(dt.UTC)
    if not settings.alert_webhook and not settings.alert_smtp:
        return dg.SkipReason("nobody to tell: set MARKETDATA_ALERT_WEBHOOK, or MARKETDATA_ALERT_SMTP and _MAIL")
    first = {"until": now.isoformat(), "told": [], "overdue": []}
    before: dict[str, Any] = json.loads(context.cursor) if context.cursor else first
    runs = _failed(context.instance, dt.datetime.fromisoformat(before["until"]) - OVERLAP)
    overdue = _overdue(context)
    new_runs = [run for run in runs if run.run_id not in before["told"]] if context.cursor else []
    new_overdue = sorted(set(overdue) - set(before["overdue"]))
    if new_runs or new_overdue:
        send(settings, alert_of(context.instance, new_runs, new_overdue))
    told = [run.run_id for run in runs]
    context.update_cursor(json.dumps({"until": now.isoformat(), "told": told, "overdue": overdue}))
    return dg.SkipReason(f"{len(new_runs)} failed runs and {len(new_overdue)} overdue assets were told of")


def send(settings: Settings, alert: "Alert") -> None:
    """To all that are set up. Raises BadAlertAddress and AlertNotSent."""
    from marketdata_assets import alerts

    if settings.alert_webhook:
        alerts.post(settings.alert_webhook.get_secret_value(), alert)
    if settings.alert_smtp:
        alerts.mail(settings.alert_smtp.get_secret_value(), settings.alert_mail or "", alert)


def alert_of(instance: dg.DagsterInstance, runs: Sequence[dg.DagsterRun], overdue: Sequence[str]) -> "Alert":
    """One message over all of them."""
    from marketdata_assets.alerts import Alert

    facts = [_facts(instance, run) for run in runs[:MAX_TOLD]]
    lines = [f"- {one['job']}{one['partitions'] and ' ' + one['partitions']}: {one['error']}" for one in facts]
    if len(runs) > MAX_TOLD:
        lines.append(f"- and {len(runs) - MAX_TOLD} more runs")
    lines += [f"- {name} is overdue" for name in overdue]
    counts = [(len(runs), "failed run"), (len(overdue), "overdue asset")]
    title = "marketdata: " + ", ".join(f"{count} {what}{'s' * (count > 1)}" for count, what in counts if count)
    return Alert(title, lines, {"runs": facts, "overdue": list(overdue)})


def _failed(instance: dg.DagsterInstance, since: dt.datetime) -> list[dg.DagsterRun]:
    wanted = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since)
    return [run for run in instance.get_runs(wanted) if run.tags.get(WILL_RETRY_TAG) != "true"]


def _overdue(context: dg.SensorEvaluationContext) -> list[str]:
    """Assets that have missed their freshness policy, as Dagster's daemon has noted."""
    assert context.repository_def
    keys = context.repository_def.asset_graph.materializable_asset_keys
    states = context.instance.get_freshness_state_records(list(keys))
    return sorted(key.to_user_string() for key, one in states.items() if one.freshness_state == FreshnessState.FAIL)


def _facts(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[str, Any]:
    single = run.tags.get(PARTITION)
    ends = [run.tags[name] for name in (RANGE_START, RANGE_END) if name in run.tags]
    failed = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    said = _reasons(entry.dagster_event for entry in failed if entry.dagster_event)
    return {
        "run_id": run.run_id,
        "job": run.job_name,
        "partitions": single or " to ".join(dict.fromkeys(ends)),
        "error": said or "the run ended without a word of its own; its process may have been killed",
    }


def _reasons(events: Iterable[dg.DagsterEvent]) -> str:
    text = "; ".join(dict.fromkeys(reason(event) for event in events))
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]} ..."


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions(sensors=[run_failure_alert])
