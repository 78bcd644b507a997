"""The K-line behind the bars: each month whose bars changed is requested, by what the database has recorded."""

import dagster as dg
import pytest

from marketdata_assets.bars.ingest import ingest
from marketdata_assets.defs.bars.automation import bars_kline
from marketdata_assets.fanout import Fanout
from marketdata_assets.partitions import RANGE_END, RANGE_START
from marketdata_assets.resources import Postgres
from tests.defs.bar_runs import KLINE, BarsEnv, deliver, repository
from tests.plain_kline import KLINE_QUERY, expected_kline


def tick(bars_env: BarsEnv) -> dict[tuple[str, str], str | None]:
    """The ranges of months requested, each with its run key."""
    with dg.build_sensor_context(
        instance=bars_env.instance, repository_def=repository(), resources={"postgres": Postgres()}
    ) as context:
        found = bars_kline.evaluate_tick(context)
    assert bool(found.run_requests) != bool(found.skip_message)
    return {(one.tags[RANGE_START], one.tags[RANGE_END]): one.run_key for one in found.run_requests or []}


def load(bars_env: BarsEnv, *months: str) -> None:
    """Load without Dagster: no event says that the bars changed."""
    ingest(bars_env.dsn, bars_env.folder, months, run_id="x", fanout=Fanout(1))


def test_changed_months_are_requested_until_they_are_refreshed(bars_env: BarsEnv) -> None:
    assert tick(bars_env) == {}
    path = deliver(bars_env.folder, 2014, [3, 4, 6])
    load(bars_env, "2014-03", "2014-04", "2014-06")
    asked = tick(bars_env)
    assert list(asked) == [("2014-03", "2014-04"), ("2014-06", "2014-06")]
    assert tick(bars_env) == asked
    for first, last in asked:
        assert bars_env.run(first, last, job="kline").success
    assert bars_env.rows(KLINE_QUERY) == expected_kline(path)
    assert bars_env.materialized(KLINE) >= {"2014-03", "2014-04", "2014-06"}
    assert tick(bars_env) == {}


def test_bars_changed_again_are_requested_under_another_key(bars_env: BarsEnv) -> None:
    keys = []
    for dividend in (0.0, 1.0):
        deliver(bars_env.folder, 2014, [3], dividend=dividend, age_seconds=1800 - dividend)
        load(bars_env, "2014-03")
        keys.append(tick(bars_env)["2014-03", "2014-03"])
    assert len({*keys}) == 2


def test_every_month_that_a_redelivery_touched_is_requested(bars_env: BarsEnv) -> None:
    deliver(bars_env.folder, 2014, [1, 2, 3])
    assert bars_env.run("2014-01", "2014-03").success
    assert tick(bars_env) == {}
    deliver(bars_env.folder, 2014, [1, 2, 3], dividend=2.0, age_seconds=1800)
    assert bars_env.run("2014-02", job="bars").success
    assert list(tick(bars_env)) == [("2014-01", "2014-03")]


def test_nothing_is_requested_while_a_run_is_in_progress(bars_env: BarsEnv) -> None:
    deliver(bars_env.folder, 2014, [3])
    load(bars_env, "2014-03")
    for job in ("bars", "bars_and_kline", "kline"):
        run = bars_env.instance.create_run_for_job(repository().get_job(job), status=dg.DagsterRunStatus.STARTED)
        assert tick(bars_env) == {}, job
        bars_env.instance.report_run_failed(run)
        assert list(tick(bars_env)) == [("2014-03", "2014-03")], job


def test_months_that_no_run_loads_do_not_wait(bars_env: BarsEnv) -> None:
    deliver(bars_env.folder, 2014, [3, 5])
    load(bars_env, "2014-03", "2014-05")
    run = bars_env.in_progress("stock_1min_qfq", "2014-05")
    assert list(tick(bars_env)) == [("2014-03", "2014-03")]
    bars_env.instance.report_run_failed(run)
    assert list(tick(bars_env)) == [("2014-03", "2014-03"), ("2014-05", "2014-05")]


def test_without_a_server_nothing_is_requested(bars_env: BarsEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MARKETDATA_POSTGRES_DSN")
    assert tick(bars_env) == {}
