"""`run_failure_alert`: tells people of runs that failed for good, of assets that have become overdue, and of sensors
and schedules that fail whenever they are asked.

A run that Dagster will try again is not told of. What was not taken is told at the next tick, so nothing is lost.
"""

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.tags import WILL_RETRY_TAG

from marketdata_assets.defs.reasons import reason
from marketdata_assets.partitions import PARTITION, RANGE_END, RANGE_START
from marketdata_assets.settings import Settings

if TYPE_CHECKING:
    from marketdata_assets.alerts import Alert

NAME = "run_failure_alert"
OVERLAP = dt.timedelta(minutes=5)
"""Runs end in other processes, whose clocks and commits may come a little late."""
FAILED_TICKS = 3
"""So many in a row make a sensor or a schedule one that fails."""
MAX_TOLD = 20
MAX_CHARACTERS = 500


@dg.sensor(
    name=NAME,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells MARKETDATA_ALERT_WEBHOOK, and mail when it is set up, of runs that failed for good, of assets"
    " that have become overdue, and of sensors and schedules that keep failing: one message a tick.",
)
def run_failure_alert(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    settings, now = Settings(), dt.datetime.now(dt.UTC)
    if not settings.alert_webhook and not settings.alert_smtp:
        return dg.SkipReason("nobody to tell: set MARKETDATA_ALERT_WEBHOOK, or MARKETDATA_ALERT_SMTP and _MAIL")
    first = {"until": now.isoformat(), "told": [], "overdue": [], "failing": []}
    before: dict[str, Any] = json.loads(context.cursor) if context.cursor else first
    runs = _failed(context.instance, dt.datetime.fromisoformat(before["until"]) - OVERLAP)
    overdue, failing = _overdue(context), _failing(context.instance)
    new_runs = [run for run in runs if run.run_id not in before["told"]] if context.cursor else []
    new_overdue = sorted(set(overdue) - set(before["overdue"]))
    new_failing = sorted(set(failing) - set(before.get("failing", ())))
    if new_runs or new_overdue or new_failing:
        send(settings, alert_of(context.instance, new_runs, new_overdue, new_failing))
    told = [run.run_id for run in runs]
    state = {"until": now.isoformat(), "told": told, "overdue": overdue, "failing": failing}
    context.update_cursor(json.dumps(state))
    counts = f"{len(new_runs)} failed runs, {len(new_overdue)} overdue assets, {len(new_failing)} failing sensors"
    return dg.SkipReason(f"{counts} were told of")


def send(settings: Settings, alert: "Alert") -> None:
    """To all that are set up. Raises BadAlertAddress and AlertNotSent."""
    from marketdata_assets import alerts

    if settings.alert_webhook:
        alerts.post(settings.alert_webhook.get_secret_value(), alert)
    if settings.alert_smtp:
        alerts.mail(settings.alert_smtp.get_secret_value(), settings.alert_mail or "", alert)


def alert_of(
    instance: dg.DagsterInstance, runs: Sequence[dg.DagsterRun], overdue: Sequence[str], failing: Sequence[str]
) -> "Alert":
    """One message over all of them."""
    from marketdata_assets.alerts import Alert

    facts = [_facts(instance, run) for run in runs[:MAX_TOLD]]
    lines = [f"- {one['job']}{one['partitions'] and ' ' + one['partitions']}: {one['error']}" for one in facts]
    if len(runs) > MAX_TOLD:
        lines.append(f"- and {len(runs) - MAX_TOLD} more runs")
    lines += [f"- {name} is overdue" for name in overdue]
    lines += [f"- {name} fails whenever it is asked; the page of its ticks says why" for name in failing]
    counts = [(len(runs), "failed run"), (len(overdue), "overdue asset"), (len(failing), "failing sensor or schedule")]
    title = "marketdata: " + ", ".join(f"{count} {what}{'s' * (count > 1)}" for count, what in counts if count)
    return Alert(title, lines, {"runs": facts, "overdue": list(overdue), "failing": list(failing)})


def _failed(instance: dg.DagsterInstance, since: dt.datetime) -> list[dg.DagsterRun]:
    wanted = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since)
    return [run for run in instance.get_runs(wanted) if run.tags.get(WILL_RETRY_TAG) != "true"]


def _overdue(context: dg.SensorEvaluationContext) -> list[str]:
    """Assets that have missed their freshness policy, as Dagster's daemon has noted."""
    assert context.repository_def
    keys = context.repository_def.asset_graph.materializable_asset_keys
    states = context.instance.get_freshness_state_records(list(keys))
    return sorted(key.to_user_string() for key, one in states.items() if one.freshness_state == FreshnessState.FAIL)


def _failing(instance: dg.DagsterInstance) -> list[str]:
    """Sensors and schedules that are on and whose last ticks have all failed; not this one, which could not tell."""
    ended = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]
    found = []
    for state in instance.all_instigator_state():
        if not state.is_running or state.name == NAME:
            continue
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=FAILED_TICKS, statuses=ended)
        if len(ticks) == FAILED_TICKS and all(tick.status == TickStatus.FAILURE for tick in ticks):
            found.append(state.name)
    return sorted(found)


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
