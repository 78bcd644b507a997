"""`system_alert`: alerts on failed runs, on assets that have become overdue, and on failing sensors and schedules.

A run that Dagster will retry does not alert. An alert that could not be sent is sent at the next tick, so none is lost.
Dagster's daemon cannot report that it is down itself: `system_heartbeat` calls a service outside, which reports when
the calls stop.
"""

import datetime as dt
import json
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from marketdata_assets.dagster_internals import WILL_RETRY_TAG, failing_automation, freshness_states
from marketdata_assets.defs.partition_results import failure_reason
from marketdata_assets.defs.runs import sensor
from marketdata_assets.partitions import PARTITION, RANGE_END, RANGE_START
from marketdata_assets.resources import ClickHouse, NoServer
from marketdata_assets.settings import Settings

if TYPE_CHECKING:
    from marketdata_assets.alerts import Alert

NAME = "system_alert"
OVERLAP = dt.timedelta(minutes=5)
"""Runs end in other processes, whose clocks may differ and whose commits may arrive late."""
FAILED_TICKS = 3  # failed ticks in a row after which a sensor or a schedule counts as failing
REPORTED = "reported"
"""The runs already reported: a key of the stored cursor, so it is not renamed."""
MAX_LISTED = 20
MAX_CHARACTERS = 500


@sensor(
    name=NAME,
    minimum_interval_seconds=60,
    description="Alerts MARKETDATA_ALERT_WEBHOOK, and by mail when it is set up, on failed runs that are not retried,"
    " on assets that have become overdue, and on sensors and schedules that keep failing: one message per tick.",
)
def system_alert(context: dg.SensorEvaluationContext, clickhouse: ClickHouse) -> dg.SkipReason:
    settings, now = Settings(), dt.datetime.now(dt.UTC)
    if not settings.alert_webhook and not settings.alert_smtp:
        return dg.SkipReason("no receiver: set MARKETDATA_ALERT_WEBHOOK, or MARKETDATA_ALERT_SMTP and _MAIL")
    first = {"until": now.isoformat(), REPORTED: [], "overdue": [], "failing": []}
    before: dict[str, Any] = json.loads(context.cursor) if context.cursor else first
    since = dt.datetime.fromisoformat(before["until"]) - OVERLAP
    failed = context.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since))
    runs = [run for run in failed if run.tags.get(WILL_RETRY_TAG) != "true"]
    assert context.repository_def
    keys = context.repository_def.asset_graph.materializable_asset_keys
    states = freshness_states(context.instance, keys)  # as Dagster's daemon has recorded them
    failed_policies = {name for name, state in states.items() if state == "FAIL"}
    overdue = sorted(failed_policies | _overdue_ticks(context, clickhouse, now, before["overdue"]))
    # This sensor could not report itself.
    failing = [name for name in failing_automation(context.instance, FAILED_TICKS) if name != NAME]
    new_runs = [run for run in runs if run.run_id not in before[REPORTED]] if context.cursor else []
    new_overdue = sorted(set(overdue) - set(before["overdue"]))
    new_failing = sorted(set(failing) - set(before.get("failing", ())))
    if new_runs or new_overdue or new_failing:
        send(settings, alert_of(context.instance, new_runs, new_overdue, new_failing))
    state = {"until": now.isoformat(), REPORTED: [run.run_id for run in runs], "overdue": overdue, "failing": failing}
    context.update_cursor(json.dumps(state))
    counts = f"{len(new_runs)} failed runs, {len(new_overdue)} overdue assets, {len(new_failing)} failing sensors"
    return dg.SkipReason(f"{counts} reported")


def _overdue_ticks(
    context: dg.SensorEvaluationContext, clickhouse: ClickHouse, now: dt.datetime, before: Collection[str]
) -> set[str]:
    """The tables of ticks without the last trading days; without an answer those that were overdue before."""
    from marketdata_assets.ticks import status

    try:
        with clickhouse.client() as client:
            return set(status.overdue(client, now))
    except NoServer:
        return set(before) & set(status.DAILY)
    except Exception as error:  # of whatever class: failed runs are reported without the server too
        context.log.warning(f"the newest days of ticks are not known: {error}")
        return set(before) & set(status.DAILY)


def send(settings: Settings, alert: "Alert") -> None:
    """Send to every receiver that is set up. Raises BadAlertAddress and AlertNotSent."""
    from marketdata_assets import alerts

    if settings.alert_webhook:
        alerts.post(settings.alert_webhook.get_secret_value(), alert)
    if settings.alert_smtp:
        alerts.mail(settings.alert_smtp.get_secret_value(), settings.alert_mail or "", alert)


def alert_of(
    instance: dg.DagsterInstance, runs: Sequence[dg.DagsterRun], overdue: Sequence[str], failing: Sequence[str]
) -> "Alert":
    """One message about all of them."""
    from marketdata_assets.alerts import Alert

    facts = [_facts(instance, run) for run in runs[:MAX_LISTED]]
    lines = [f"- {run['job']}{run['partitions'] and ' ' + run['partitions']}: {run['error']}" for run in facts]
    if len(runs) > MAX_LISTED:
        lines.append(f"- and {len(runs) - MAX_LISTED} more runs")
    lines += [f"- {name} is overdue" for name in overdue]
    lines += [f"- {name} keeps failing; see its ticks in the UI" for name in failing]
    counts = [(len(runs), "failed run"), (len(overdue), "overdue asset"), (len(failing), "failing sensor or schedule")]
    title = "marketdata: " + ", ".join(f"{count} {what}{'s' * (count > 1)}" for count, what in counts if count)
    return Alert(title, lines, {"runs": facts, "overdue": list(overdue), "failing": list(failing)})


def _facts(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[str, Any]:
    single = run.tags.get(PARTITION)
    ends = [run.tags[name] for name in (RANGE_START, RANGE_END) if name in run.tags]
    failed = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    error = "; ".join(dict.fromkeys(failure_reason(one.dagster_event) for one in failed if one.dagster_event))
    if len(error) > MAX_CHARACTERS:
        error = f"{error[:MAX_CHARACTERS]} ..."
    return {
        "run_id": run.run_id,
        "job": run.job_name,
        "partitions": single or " to ".join(dict.fromkeys(ends)),
        "error": error or "the run ended without an error message; its process may have been killed",
    }


VARIABLE = "MARKETDATA_HEARTBEAT_URL"


@sensor(
    name="system_heartbeat",
    minimum_interval_seconds=60,
    description="Calls MARKETDATA_HEARTBEAT_URL every minute; the service there reports when the calls stop.",
)
def heartbeat() -> dg.SkipReason:
    from marketdata_assets.alerts import Alert, post

    url = Settings().heartbeat_url
    if not url:
        return dg.SkipReason(f"no service to call: set {VARIABLE}")
    post(url.get_secret_value(), Alert("marketdata: daemon and code server are alive", [], {}), VARIABLE)
    return dg.SkipReason("called")
