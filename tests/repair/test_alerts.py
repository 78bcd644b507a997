"""People are told of what failed for good, once, and nobody learns a secret of it."""

import datetime as dt
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from aiohttp import web
from clickhouse_connect.driver.client import Client
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.storage.tags import WILL_RETRY_TAG
from dagster._core.test_utils import instance_for_test
from dagster._utils.error import SerializableErrorInfo

from marketdata_assets.alerts import Alert, AlertNotSent, BadAlertAddress, mail, post
from marketdata_assets.defs.repair.alert import heartbeat, system_alert
from marketdata_assets.local.process import free_port
from marketdata_assets.resources import ClickHouse
from marketdata_assets.ticks import tables
from marketdata_demo.servers.loopback import LoopbackServer

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
ONE = Alert("something broke", ["- here"], {"runs": []})


class Hook(LoopbackServer):
    """Takes what is posted; says 503 while `ill`."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[dict[str, Any]] = []
        self.ill = False

    def application(self) -> web.Application:
        async def take(request: web.Request) -> web.Response:
            if self.ill:
                return web.Response(status=503)
            self.taken.append(await request.json())
            return web.Response()

        found = web.Application()
        found.router.add_post("/hook", take)
        return found


@dg.asset
def broken() -> None:
    raise dg.Failure("file x.zip is cut short; deliver it again", allow_retries=False)


@dg.definitions
def repository() -> dg.Definitions:
    return dg.Definitions(assets=[broken], sensors=[system_alert])


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hook]:
    monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MARKETDATA_CLICKHOUSE_URL", raising=False)
    with Hook() as server:
        monkeypatch.setenv("MARKETDATA_ALERT_WEBHOOK", f"{server.url}/hook")
        yield server


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with instance_for_test(temp_dir=str(tmp_path)) as found:
        yield found


def fail(instance: dg.DagsterInstance, **tags: str) -> str:
    return dg.materialize([broken], instance=instance, tags=tags, run_config=QUIET, raise_on_error=False).run_id


def tick(instance: dg.DagsterInstance, cursor: str | None) -> str | None:
    found = repository().get_repository_def()
    resources = {"clickhouse": ClickHouse()}
    with dg.build_sensor_context(
        instance=instance, repository_def=found, cursor=cursor, resources=resources
    ) as context:
        system_alert.evaluate_tick(context)
        return context.cursor


def test_failed_run_is_told_once_in_its_own_words(hook: Hook, instance: dg.DagsterInstance) -> None:
    fail(instance)
    cursor = tick(instance, None)
    assert hook.taken == [], "what failed before anybody listened is no news"
    run_id = fail(instance)
    cursor = tick(instance, cursor)
    [told] = hook.taken
    assert [one["run_id"] for one in told["runs"]] == [run_id]
    assert "file x.zip is cut short; deliver it again" in told["text"]
    assert told["text"].startswith("marketdata: 1 failed run\n")
    tick(instance, cursor)
    assert len(hook.taken) == 1


def test_run_that_is_tried_again_is_not_told(hook: Hook, instance: dg.DagsterInstance) -> None:
    cursor = tick(instance, None)
    fail(instance, **{WILL_RETRY_TAG: "true"})
    tick(instance, cursor)
    assert hook.taken == []


def test_what_was_not_taken_is_told_later_and_together(hook: Hook, instance: dg.DagsterInstance) -> None:
    cursor = tick(instance, None)
    fail(instance)
    hook.ill = True
    with pytest.raises(AlertNotSent, match="status 503"):
        tick(instance, cursor)
    fail(instance)
    hook.ill = False
    tick(instance, cursor)
    [told] = hook.taken
    assert len(told["runs"]) == 2


def test_asset_that_becomes_overdue_is_told_once_until_it_is_fresh_again(
    hook: Hook, instance: dg.DagsterInstance
) -> None:
    def becomes(state: FreshnessState, moment: float) -> None:
        change = FreshnessStateChange(
            key=broken.key, new_state=state, previous_state=FreshnessState.PASS, state_change_timestamp=moment
        )
        instance.report_runless_asset_event(change)

    cursor = tick(instance, None)
    becomes(FreshnessState.FAIL, 1.7e9)
    cursor = tick(instance, cursor)
    cursor = tick(instance, cursor)
    assert [told["overdue"] for told in hook.taken] == [["broken"]]
    becomes(FreshnessState.PASS, 1.7e9 + 1)
    cursor = tick(instance, cursor)
    becomes(FreshnessState.FAIL, 1.7e9 + 2)
    tick(instance, cursor)
    assert len(hook.taken) == 2


def test_ticks_without_the_last_trading_days_are_overdue_although_an_old_month_was_just_loaded(
    hook: Hook,
    instance: dg.DagsterInstance,
    clickhouse_client: Client,
    clickhouse_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A policy of Dagster takes any partition for the asset: by it `tick_data` would be fresh."""
    monkeypatch.setenv("MARKETDATA_CLICKHOUSE_URL", clickhouse_url)
    tables.ensure(clickhouse_client)

    def load(day: dt.date) -> None:
        row = f"'600000.SH', '{day}', '{day} 02:00:00', 'end', '1m', 'tushare'"
        clickhouse_client.command(f"INSERT INTO tick_data (symbol, date, ts, label, interval, provider) VALUES ({row})")
        part = f"{day:%Y-%m}|600000.SH"
        instance.report_runless_asset_event(dg.AssetMaterialization("tick_data", partition=part))

    today = dt.datetime.now(ZoneInfo("Asia/Shanghai")).date()
    cursor = tick(instance, tick(instance, None))
    assert hook.taken == [], "a table without rows is not overdue"
    load(today - dt.timedelta(days=60))
    cursor = tick(instance, cursor)
    assert hook.taken[0]["overdue"] == ["tick_data"]
    load(today - dt.timedelta(days=90))
    cursor = tick(instance, cursor)
    assert json.loads(cursor or "")["overdue"] == ["tick_data"]
    assert len(hook.taken) == 1, "it was reported, and is still overdue"
    monkeypatch.setenv("MARKETDATA_CLICKHOUSE_URL", clickhouse_url.replace("://", "://nobody:wrong@"))
    fail(instance)
    cursor = tick(instance, cursor)
    assert (len(hook.taken), hook.taken[1]["overdue"]) == (2, []), "a failed run is reported without ClickHouse"
    monkeypatch.setenv("MARKETDATA_CLICKHOUSE_URL", clickhouse_url)
    load(today)
    assert json.loads(tick(instance, cursor) or "")["overdue"] == []


def test_sensor_that_fails_three_times_in_a_row_is_told_once(hook: Hook, instance: dg.DagsterInstance) -> None:
    ours = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "ours")
    origin = RemoteInstigatorOrigin(ours, "files_sensor")
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, SensorInstigatorData())
    instance.add_instigator_state(state)

    def ends(status: TickStatus, moment: float) -> None:
        about = (origin.get_id(), "files_sensor", InstigatorType.SENSOR, status, moment)
        error = SerializableErrorInfo("as planned", [], "Error") if status == TickStatus.FAILURE else None
        instance.create_tick(TickData(*about, selector_id=state.selector_id, error=error))

    cursor = tick(instance, None)
    for number, status in enumerate((TickStatus.FAILURE, TickStatus.SKIPPED, TickStatus.FAILURE, TickStatus.FAILURE)):
        ends(status, 1.7e9 + number)
        cursor = tick(instance, cursor)
    assert hook.taken == []
    ends(TickStatus.FAILURE, 1.7e9 + 10)
    cursor = tick(instance, cursor)
    cursor = tick(instance, cursor)
    assert [told["failing"] for told in hook.taken] == [["files_sensor"]]
    assert hook.taken[0]["text"].startswith("marketdata: 1 failing sensor or schedule\n- files_sensor keeps failing")


def test_heartbeat_calls_outside_at_each_tick_and_fails_when_it_is_not_heard(
    hook: Hook, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MARKETDATA_HEARTBEAT_URL", raising=False)
    context = dg.build_sensor_context(instance)
    assert "MARKETDATA_HEARTBEAT_URL" in str(heartbeat(context).skip_message)
    assert hook.taken == []
    monkeypatch.setenv("MARKETDATA_HEARTBEAT_URL", f"{hook.url}/hook")
    for times in (1, 2):
        assert heartbeat(context).skip_message == "called"
        assert len(hook.taken) == times
    hook.ill = True
    with pytest.raises(AlertNotSent, match="503"):
        heartbeat(context)
    monkeypatch.setenv("MARKETDATA_HEARTBEAT_URL", "http://example.com/secret")
    with pytest.raises(BadAlertAddress, match="MARKETDATA_HEARTBEAT_URL must be") as raised:
        heartbeat(context)
    assert "secret" not in str(raised.value)


def test_nobody_is_told_where_nothing_is_set_up(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MARKETDATA_ALERT_WEBHOOK", raising=False)
    assert tick(instance, None) is None


def test_address_of_the_webhook_is_never_logged(hook: Hook, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        post(f"{hook.url}/hook?token=canary", ONE)
    assert len(hook.taken) == 1
    assert "canary" not in caplog.text


@pytest.mark.parametrize("address", ["http://example.com/canary", "https://me:canary@example.com/", "canary"])
def test_unsafe_webhook_is_refused_without_its_address(address: str) -> None:
    with pytest.raises(BadAlertAddress, match="MARKETDATA_ALERT_WEBHOOK") as caught:
        post(address, ONE)
    assert "canary" not in str(caught.value)


def test_webhook_that_is_away_is_named_without_its_address() -> None:
    port = free_port()
    with pytest.raises(AlertNotSent, match="ConnectionRefusedError") as caught:
        post(f"http://127.0.0.1:{port}/canary", ONE)
    assert "canary" not in str(caught.value)


class Postman(threading.Thread):
    """A mail server of one message, in the plainest SMTP there is."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"smtp://me:secret@127.0.0.1:{self.listening.getsockname()[1]}"
        self.said: list[str] = []

    def run(self) -> None:
        client, _ = self.listening.accept()
        with client, client.makefile("rw", newline="\r\n", encoding="utf-8") as lines:
            answers = {"EHLO": "250-here\r\n250 AUTH PLAIN", "AUTH": "235 in", "DATA": "354 go on", "QUIT": "221 bye"}
            body = False
            print("220 here", file=lines, flush=True)
            for line in lines:
                self.said.append(line.rstrip("\n"))
                body = body and line.rstrip() != "."
                if not body:
                    print(answers.get(line[:4].upper(), "250 ok"), file=lines, flush=True)
                body = body or line.upper().startswith("DATA")
                if line.upper().startswith("QUIT"):
                    return


def test_mail_reaches_all_receivers() -> None:
    postman = Postman()
    postman.start()
    with postman.listening:
        mail(postman.url, "me@example.com, you@example.com,they@example.com", ONE)
        postman.join(120)
    said = "\n".join(postman.said)
    assert "mail FROM:<me@example.com>" in said
    assert all(f"rcpt TO:<{name}@example.com>" in said for name in ("you", "they"))
    assert "Subject: something broke" in said
    assert "- here" in said


@pytest.mark.parametrize(
    ("server", "addresses", "variable"),
    [
        ("example.com", "a@example.com,b@example.com", "ALERT_SMTP"),
        ("smtp://canary:canary@127.0.0.1:1", "a@example.com", "ALERT_MAIL"),
        ("smtp://canary:canary@127.0.0.1:1", "", "ALERT_MAIL"),
    ],
)
def test_mail_that_is_not_set_up_says_which_variable(server: str, addresses: str, variable: str) -> None:
    with pytest.raises(BadAlertAddress, match=variable) as caught:
        mail(server, addresses, ONE)
    assert "canary" not in str(caught.value)
