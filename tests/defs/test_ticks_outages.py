"""Symbol-months that fail in a short outage of a provider are requested again by the same run, and only these."""

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from marketdata_assets.dagster_internals import GRPC_INFO_TAG
from marketdata_assets.defs import partition_results
from marketdata_assets.defs.ticks.assets import STEP
from marketdata_assets.defs.ticks.run_config import JOB, adhoc_config
from marketdata_assets.partitions import tick_rectangle
from marketdata_assets.ticks.reports import Unit
from tests.defs.bar_runs import execute, failures
from tests.defs.tick_runs import BARS, FACTORS, MONTH, TABLES, TicksEnv
from tests.defs.tick_runs import SYMBOLS as LISTED

SYMBOLS = LISTED[:2]
LAUNCHED = {GRPC_INFO_TAG: "{}"}
OF_ONE = f"stk_mins {{'ts_code': '{SYMBOLS[1]}'"
"""The requests of bars of one symbol."""

ATTEMPTS = 2
"""What the providers of these tests request before they give up."""


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_results, "RETRY_SECONDS", (0, 0, 0))


def selected(ticks_env: TicksEnv, month: str, tags: dict[str, str]) -> dg.ExecuteInProcessResult:
    return execute(ticks_env.instance, JOB, adhoc_config({month: list(SYMBOLS)}, TABLES), tags)


def partitions(ticks_env: TicksEnv, month: str, tags: dict[str, str]) -> dg.ExecuteInProcessResult:
    config: dict[str, Any] = {"ops": {STEP: {"config": {}}}}
    return execute(
        ticks_env.instance, "ticks", config, tick_rectangle([month], sorted(SYMBOLS)) | tags, (BARS, FACTORS)
    )


Run = Callable[[TicksEnv, str, dict[str, str]], dg.ExecuteInProcessResult]


@pytest.mark.parametrize("run", [selected, pytest.param(partitions, marks=pytest.mark.slow)])
def test_only_what_failed_in_an_outage_is_requested_again(ticks_env: TicksEnv, run: Run) -> None:
    ticks_env.ready(*SYMBOLS)
    ticks_env.tushare.fail(500, ATTEMPTS, OF_ONE)
    result = run(ticks_env, MONTH, LAUNCHED)
    assert result.success, failures(result)
    requests = [line for line in ticks_env.tushare.lines if line.startswith("stk_mins")]
    assert sum(line.startswith(OF_ONE) for line in requests) == ATTEMPTS + 1
    assert len(requests) == ATTEMPTS + 2
    assert ticks_env.failed(BARS) == set()
    assert ticks_env.materialized(BARS) == {Unit(symbol, MONTH) for symbol in SYMBOLS}


def test_a_command_and_an_outage_that_stays_fail_with_its_cause(ticks_env: TicksEnv) -> None:
    ticks_env.ready(*SYMBOLS)
    ticks_env.tushare.fail(500, 10_000, OF_ONE)
    for tags, tries in (({}, 1), (LAUNCHED, 4)):
        ticks_env.tushare.lines.clear()
        result = partitions(ticks_env, MONTH, tags)
        assert not result.success
        assert "no successful response in 2 attempts" in str(failures(result))
        requests = [line for line in ticks_env.tushare.lines if line.startswith("stk_mins") and SYMBOLS[1] in line]
        assert len(requests) == tries * ATTEMPTS
    assert ticks_env.failed(BARS) == {Unit(SYMBOLS[1], MONTH)}
