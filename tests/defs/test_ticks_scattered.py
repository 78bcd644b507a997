"""Symbol-months that failed at random are retried in one run, however they lie in the grid."""

from random import Random

import dagster as dg
import pytest

from marketdata_assets.defs.ticks.run_config import JOB, OP
from marketdata_assets.ticks.reports import Unit
from marketdata_assets.ticks.tables import TICK_DATA
from tests.defs.bar_runs import execute, failures
from tests.defs.nights import night
from tests.defs.tick_runs import BARS, EARLIER, MONTH, TicksEnv

NAMES = [f"{600000 + number}.SH" for number in range(0, 20, 2)]
ATTEMPTS = 2


def retries(ticks_env: TicksEnv) -> list[dg.RunRequest]:
    return [request for request in night(ticks_env.instance, "ticks").run_requests if request.job_name == JOB]


def cells(request: dg.RunRequest) -> set[Unit]:
    months = request.run_config["ops"][OP]["config"]["months"]
    return {Unit(symbol, month) for month, symbols in months.items() for symbol in symbols}


@pytest.mark.slow
def test_cells_that_failed_at_random_are_one_run_and_then_loaded(ticks_env: TicksEnv) -> None:
    ticks_env.ready(*NAMES, listed=f"{EARLIER}-01")
    for symbol in Random(19).sample(NAMES, 3):
        ticks_env.tushare.fail(500, ATTEMPTS, symbol)
    assert not ticks_env.select({MONTH: [], EARLIER: []}, [TICK_DATA.name]).success
    failed = ticks_env.failed(BARS)
    assert 3 <= len(failed) < len(NAMES)
    requests = retries(ticks_env)
    assert len(requests) <= 2, "one of bars, and one of the factors of those that were loaded"
    [retry] = [request for request in requests if "factors" not in str(request.run_key)]
    assert failed <= cells(retry)
    result = execute(ticks_env.instance, JOB, retry.run_config)
    assert result.success, failures(result)
    assert failed <= ticks_env.materialized(BARS)
    assert ticks_env.failed(BARS) == set()
    assert failed <= ticks_env.counts().keys()
