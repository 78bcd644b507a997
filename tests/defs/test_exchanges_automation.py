"""When the exchanges run by themselves: on what waits in the stream, on captures, and on days that are behind."""

import asyncio
import datetime as dt
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.tags import PRIORITY_TAG

from marketdata_assets.collector.drain import claim_of
from marketdata_assets.collector.jetstream.claim import claim
from marketdata_assets.collector.jetstream.stream import connected, ensure
from marketdata_assets.defs.exchanges.automation import (
    days_job,
    exchanges_captures,
    exchanges_drain,
    exchanges_hourly,
    tables_job,
)
from marketdata_assets.defs.exchanges.days import DAYS_JOB, TABLES_JOB, TABLES_STEP
from marketdata_assets.exchanges.records import Gap, Trade
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.partitions import PARTITION, range_tags
from marketdata_assets.resources import ClickHouse, Exchanges, Nats
from marketdata_assets.settings import Settings
from tests.defs.bar_runs import repository
from tests.defs.exchange_runs import FIRST, LAST, YESTERDAY, ExchangesEnv

NOON = int(dt.datetime.combine(YESTERDAY, dt.time(12), dt.UTC).timestamp()) * 10**9
DAY_NS = 86_400 * 10**9
RESOURCES = {"clickhouse": ClickHouse(), "exchanges": Exchanges(), "nats": Nats()}


@pytest.fixture(scope="module")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(home=tmp_path_factory.mktemp("nats"), nats_url=None, nats_port=0)
    with LocalStack(settings, services=("nats",)) as stack:
        assert stack.endpoints.nats_url
        yield stack.endpoints.nats_url


def capture(exchanges_env: ExchangesEnv, name: str, content: str = "") -> Path:
    exchanges_env.patch.setenv("MARKETDATA_CAPTURES_QUIET_SECONDS", "0")
    path = exchanges_env.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content or name)
    return path


def sensed(exchanges_env: ExchangesEnv, cursor: str | None = None) -> tuple[list[list[str]], str, str]:
    """The files of each run that the sensor asks for, the cursor, and why it asks for none."""
    with dg.build_sensor_context(
        instance=exchanges_env.instance, cursor=cursor, repository_def=repository(), resources=RESOURCES
    ) as context:
        said = exchanges_captures.evaluate_tick(context)
    configs = [request.run_config["ops"][TABLES_STEP]["config"] for request in said.run_requests or ()]
    assert all(config["stream"] is False for config in configs)
    files = [[Path(name).name for name in config["files"]] for config in configs]
    return files, said.cursor or "", said.skip_message or ""


def scheduled(exchanges_env: ExchangesEnv, schedule: dg.ScheduleDefinition) -> Any:
    with (
        pytest.MonkeyPatch.context() as patch,
        dg.build_schedule_context(repository_def=repository(), resources=RESOURCES) as context,
    ):
        # A schedule opens the instance anew, which one in memory does not allow.
        patch.setattr(dg.ScheduleEvaluationContext, "instance", exchanges_env.instance)
        return schedule.evaluate_tick(context)


def hourly(exchanges_env: ExchangesEnv) -> list[tuple[str, ...]] | str:
    """The ranges of days that the schedule asks for, or why it asks for none."""
    said = scheduled(exchanges_env, exchanges_hourly)
    if not said.run_requests:
        return str(said.skip_message)
    return [tuple(request.tags[name] for name in range_tags("", "")) for request in said.run_requests]


def why_not(exchanges_env: ExchangesEnv) -> str:
    """Why the stream is not drained."""
    said = scheduled(exchanges_env, exchanges_drain)
    assert not said.run_requests
    return str(said.skip_message)


def trade(number: int, ns: int = NOON) -> Trade:
    about = ("okx", "spot", "ABC-USDT", "ABC-USDT")
    return Trade(*about, ns + number, ns + number, str(number), "1", "1", None, "buy")  # type: ignore[arg-type]


def gap(ns: int, stream: str = "trades") -> Gap:
    about = ("okx", "spot", "ABC-USDT", "ABC-USDT", stream, None, None)
    return Gap(*about, ns, ns + 10**9, "reopened")  # type: ignore[arg-type]


def begun(exchanges_env: ExchangesEnv, job: str, tags: dict[str, str]) -> None:
    """A run that has begun."""
    found = repository().get_job(job)
    exchanges_env.instance.create_run_for_job(found, tags=tags, status=dg.DagsterRunStatus.STARTED)


def test_new_captures_are_asked_for_once(exchanges_env: ExchangesEnv) -> None:
    capture(exchanges_env, "a.capture.zst")
    capture(exchanges_env, "deep/b.ndjson")
    capture(exchanges_env, "notes.txt")
    capture(exchanges_env, ".sample-x/c.capture.zst")
    files, cursor, _ = sensed(exchanges_env)
    assert files == [["a.capture.zst", "b.ndjson"]]
    assert sensed(exchanges_env, cursor)[0] == []
    capture(exchanges_env, "a.capture.zst", "more")
    files, cursor, _ = sensed(exchanges_env, cursor)
    assert files == [["a.capture.zst"]]
    assert "nothing new" in sensed(exchanges_env, cursor)[2]


def test_capture_that_is_still_written_waits_and_keeps_no_other(exchanges_env: ExchangesEnv) -> None:
    capture(exchanges_env, "a.capture.zst")
    files, cursor, _ = sensed(exchanges_env)
    assert files == [["a.capture.zst"]]
    capture(exchanges_env, "b.capture.zst")
    exchanges_env.patch.setenv("MARKETDATA_CAPTURES_QUIET_SECONDS", "3600")
    files, again, why = sensed(exchanges_env, cursor)
    assert files == []
    assert "still being written: b.capture.zst" in why
    exchanges_env.patch.setenv("MARKETDATA_CAPTURES_QUIET_SECONDS", "0")
    assert sensed(exchanges_env, again)[0] == [["b.capture.zst"]]


def test_sensor_waits_for_a_run_in_progress(exchanges_env: ExchangesEnv) -> None:
    capture(exchanges_env, "a.capture.zst")
    begun(exchanges_env, TABLES_JOB, {})
    files, cursor, why = sensed(exchanges_env)
    assert files == []
    assert "already in progress" in why
    assert "a.capture.zst" not in json.loads(cursor)["handled"]


def test_a_folder_that_was_never_made_is_said(exchanges_env: ExchangesEnv) -> None:
    assert "there is no " in sensed(exchanges_env)[2]


def test_outdated_days_are_requested_in_ranges_once(exchanges_env: ExchangesEnv) -> None:
    assert hourly(exchanges_env) == "all days are up to date"
    insert_records(exchanges_env.client, [trade(1), trade(2, NOON - DAY_NS), trade(3, NOON - 5 * DAY_NS)])
    old = str(YESTERDAY - dt.timedelta(days=5))
    assert hourly(exchanges_env) == [(old, old), (FIRST, LAST)]
    assert exchanges_env.days(FIRST, LAST).success
    assert hourly(exchanges_env) == [(old, old)]
    insert_records(exchanges_env.client, [trade(4)])
    assert hourly(exchanges_env) == [(old, old), (LAST, LAST)]


def test_days_of_runs_in_progress_are_skipped(exchanges_env: ExchangesEnv) -> None:
    assert hourly(exchanges_env) == "all days are up to date"
    insert_records(exchanges_env.client, [trade(1), trade(2, NOON - DAY_NS)])
    begun(exchanges_env, DAYS_JOB, {PARTITION: LAST})
    assert hourly(exchanges_env) == [(FIRST, FIRST)]
    begun(exchanges_env, DAYS_JOB, range_tags(FIRST, FIRST))
    assert hourly(exchanges_env) == "runs for the outdated days are already in progress"


def test_open_gap_of_trades_is_tried_again_each_hour_and_one_of_a_book_is_not(exchanges_env: ExchangesEnv) -> None:
    assert hourly(exchanges_env) == "all days are up to date"
    insert_records(exchanges_env.client, [gap(NOON), gap(NOON - DAY_NS, "books"), gap(time.time_ns() - 10**9)])
    assert hourly(exchanges_env) == [(LAST, LAST)]


def test_day_outside_the_window_is_no_partition(exchanges_env: ExchangesEnv) -> None:
    assert hourly(exchanges_env) == "all days are up to date"
    insert_records(exchanges_env.client, [trade(1, NOON - 3 * DAY_NS)])
    exchanges_env.patch.setenv("MARKETDATA_EXCHANGE_DAYS", "2")
    assert hourly(exchanges_env) == "all days are up to date"


def test_stream_is_drained_only_when_something_waits(exchanges_env: ExchangesEnv, nats_url: str) -> None:
    import nats

    assert "MARKETDATA_NATS_URL is not set" in why_not(exchanges_env)
    exchanges_env.patch.setenv("MARKETDATA_NATS_URL", nats_url)
    assert "stream not found" in why_not(exchanges_env)

    async def publish(count: int) -> None:
        await ensure(nats_url)
        client = await nats.connect(nats_url)
        for _ in range(count):
            await client.jetstream().publish("market.trade.okx.spot.ABC-USDT", b"{}")
        await client.close()

    asyncio.run(publish(0))
    assert why_not(exchanges_env) == "no pending messages in the stream"
    asyncio.run(publish(2))
    [request] = scheduled(exchanges_env, exchanges_drain).run_requests
    assert request.run_config["ops"][TABLES_STEP]["config"] == {"stream": True, "captures": False}
    assert request.tags[PRIORITY_TAG] == "1"
    begun(exchanges_env, TABLES_JOB, {})
    assert "already in progress" in why_not(exchanges_env)


def test_schedule_leaves_the_stream_to_a_drain_service_and_records_what_that_loads(
    exchanges_env: ExchangesEnv, nats_url: str
) -> None:
    exchanges_env.patch.setenv("MARKETDATA_NATS_URL", nats_url)

    async def beside_a_drain() -> None:
        await ensure(nats_url)
        async with connected(nats_url) as client, claim(client, claim_of("MARKET"), "marketdata drain --follow"):
            assert "the stream is drained by marketdata drain --follow" in await asyncio.to_thread(
                why_not, exchanges_env
            )
            insert_records(exchanges_env.client, [trade(1, NOON)])
            [request] = (await asyncio.to_thread(scheduled, exchanges_env, exchanges_drain)).run_requests or ()
            assert request.run_config["ops"][TABLES_STEP]["config"] == {"stream": False, "captures": False}

    asyncio.run(beside_a_drain())


def test_what_runs_by_itself_is_switched_on(exchanges_env: ExchangesEnv) -> None:
    running = dg.DefaultScheduleStatus.RUNNING
    assert exchanges_drain.default_status == exchanges_hourly.default_status == running
    assert exchanges_captures.default_status == dg.DefaultSensorStatus.RUNNING
    assert {tables_job.name, days_job.name} <= {job.name for job in repository().get_all_jobs()}
