"""Runs of the ticks graph: from a provider to ClickHouse, symbols that fail beside others, files, what is refused."""

import datetime as dt
import json
from typing import Any

import dagster as dg
import pytest

from marketdata_assets.defs.ticks import symbols
from marketdata_assets.defs.ticks.assets import CHECKS
from marketdata_assets.ticks.reports import Unit
from marketdata_demo.servers.tushare import TOKEN
from tests.defs.bar_runs import failures
from tests.defs.tick_runs import (
    BARS,
    BARS_A_DAY,
    BOOKS,
    EARLIER,
    FACTORS,
    MONTH,
    OLD,
    SYMBOLS,
    TicksEnv,
    drop,
    minutes,
    sessions,
    units,
    whole,
)

NAMES = {spec.name for spec in CHECKS}
ATTEMPTS = 2
"""Requests that a symbol is tried for."""


def lose(ticks_env: TicksEnv, symbol: str = "600001.SH") -> None:
    """Let the next run be without the bars of one symbol."""
    ticks_env.tushare.fail(500, ATTEMPTS, symbol)


def test_registry_fills_the_table_and_makes_partitions_that_stay(ticks_env: TicksEnv) -> None:
    ticks_env.sign_in()
    ticks_env.stocks(*SYMBOLS)
    result = ticks_env.registry()
    assert result.success, failures(result)
    assert sorted(symbols.known(ticks_env.instance)) == sorted(SYMBOLS)
    ticks_env.stocks(*SYMBOLS[:2], "600002.SH")
    found = ticks_env.registry().asset_materializations_for_node("symbol_registry")[0].metadata
    assert (found["added"].value, found["vanished"].value, found["partitions_added"].value) == (1, 1, 1)
    assert found["vanished_symbols"].value == "000001.SZ"
    assert set(symbols.known(ticks_env.instance)) == {*SYMBOLS, "600002.SH"}


@pytest.mark.usefixtures("pictures")
def test_month_of_all_symbols_lands_in_one_run_with_factors_and_checks(ticks_env: TicksEnv) -> None:
    ticks_env.ready(*SYMBOLS)
    result = ticks_env.run([MONTH], symbols.known(ticks_env.instance), checks=True)
    assert result.success, failures(result)
    assert ticks_env.counts() == whole(SYMBOLS)
    assert ticks_env.materialized(BARS) == ticks_env.materialized(FACTORS) == units(SYMBOLS)
    assert ticks_env.materialized(BOOKS) == set()
    for symbol in SYMBOLS:
        told = ticks_env.metadata(BARS, Unit(symbol, MONTH))
        assert told["dagster/partition_row_count"] == BARS_A_DAY * len(sessions(MONTH))
        assert (told["outcome"], told["provider"]) == ("ok", "tushare")
    assert set(ticks_env.counts("factors")) == units(SYMBOLS)
    assert set(ticks_env.verdicts(result)) == NAMES
    errors = [one for one in result.get_asset_check_evaluations() if one.severity == dg.AssetCheckSeverity.ERROR]
    assert all(one.passed for one in errors)
    told = ticks_env.metadata(BARS, Unit(max(SYMBOLS), MONTH))
    assert (told["units_ok"], told["units_failed"], told["units_changed"]) == (3, 0, 3)
    assert told["dagster/row_count"] == sum(whole(SYMBOLS).values())
    assert told["requests"] == 3
    assert "units_ok" not in ticks_env.metadata(BARS, Unit(min(SYMBOLS), MONTH))
    assert sum(str(value).startswith("![") for value in told.values()) == 2


@pytest.mark.parametrize("way", ["partitions", pytest.param("selected", marks=pytest.mark.slow)])
def test_symbol_that_fails_is_named_the_others_are_materialised_with_factors_and_it_alone_is_requested_again(
    ticks_env: TicksEnv, way: str
) -> None:
    ticks_env.ready(*SYMBOLS)
    lose(ticks_env)
    listed = symbols.known(ticks_env.instance)

    def run(*, checks: bool = False) -> dg.ExecuteInProcessResult:
        return ticks_env.run([MONTH], listed, checks=checks) if way == "partitions" else ticks_env.select({MONTH: []})

    result = run(checks=True)
    assert not result.success
    [said] = failures(result).values()
    assert "1 of 6 partitions failed, the others are done" in said
    assert f"tick_data of 600001.SH {MONTH}: " in said
    assert "500" in said
    good = units(["600000.SH", "000001.SZ"])
    assert ticks_env.materialized(BARS) == good
    assert ticks_env.failed(BARS) == units(["600001.SH"])
    assert ticks_env.materialized(FACTORS) >= good
    assert ticks_env.counts() == whole(["600000.SH", "000001.SZ"])
    assert set(ticks_env.verdicts(result)) == NAMES
    assert not any(event.event_type_value == "STEP_UP_FOR_RETRY" for event in result.all_events)
    ticks_env.tushare.lines.clear()
    assert run().success
    [asked] = [line for line in ticks_env.tushare.lines if "stk_mins" in line]
    assert "600001.SH" in asked
    assert ticks_env.counts() == whole(SYMBOLS)
    assert ticks_env.failed(BARS) == set()
    ticks_env.tushare.lines.clear()
    assert run().success
    assert ticks_env.tushare.lines == []
    assert ticks_env.metadata(BARS, Unit("600000.SH", MONTH))["note"] == "complete; no request was needed"
    assert ticks_env.metadata(BARS, Unit(max(SYMBOLS), MONTH))["units_changed"] == 0


def test_other_month_and_symbol_are_left_alone(ticks_env: TicksEnv) -> None:
    ticks_env.ready(*SYMBOLS)
    assert ticks_env.select({EARLIER: ["600000.SH"], MONTH: ["000001.SZ"]}, ["tick_data"]).success
    wanted = {Unit("600000.SH", EARLIER), Unit("000001.SZ", MONTH)}
    assert ticks_env.materialized(BARS) == wanted == set(ticks_env.counts())
    assert ticks_env.materialized(FACTORS) == set()


def test_history_older_than_the_window_lands_without_a_partition(ticks_env: TicksEnv) -> None:
    ticks_env.ready("600000.SH")
    result = ticks_env.select({OLD: ["600000.SH"]}, ["tick_data"])
    assert result.success, failures(result)
    assert set(ticks_env.counts()) == {Unit("600000.SH", OLD)}
    assert ticks_env.materialized(BARS) == set()


def test_named_symbol_becomes_a_partition_once_it_has_rows(ticks_env: TicksEnv) -> None:
    ticks_env.sign_in()
    ticks_env.stocks("600000.SH")
    result = ticks_env.select({MONTH: ["600000.SH", "60000.SH"]}, ["tick_data"])
    assert result.success, failures(result)
    assert symbols.known(ticks_env.instance) == ["600000.SH"]
    assert ticks_env.materialized(BARS) == units(["600000.SH"])


def test_registered_symbol_without_bars_is_empty_and_materialised(ticks_env: TicksEnv) -> None:
    ticks_env.ready("600000.SH", "600009.SH")
    ticks_env.tushare.symbols.remove("600009.SH")
    result = ticks_env.select({EARLIER: []}, ["tick_data"])
    assert result.success, failures(result)
    told = ticks_env.metadata(BARS, Unit("600009.SH", EARLIER))
    assert (told["outcome"], told["dagster/partition_row_count"]) == ("empty", 0)


@pytest.mark.slow
def test_nothing_is_materialised_when_no_provider_is_configured_and_no_file_is_dropped(ticks_env: TicksEnv) -> None:
    ticks_env.partitions(*SYMBOLS)
    result = ticks_env.run([EARLIER, MONTH], SYMBOLS, (BARS, BOOKS, FACTORS))
    assert result.success, failures(result)
    assert [ticks_env.materialized(asset) for asset in (BARS, BOOKS, FACTORS)] == [set()] * 3


def test_nothing_is_materialised_of_days_that_are_not_proven_to_be_empty(ticks_env: TicksEnv) -> None:
    """The last days of the month before this one are younger than this deadline."""
    ticks_env.patch.setenv("MARKETDATA_TICKS_DEADLINE_DAYS", "30")
    month = f"{dt.datetime.now(dt.UTC).date().replace(day=1) - dt.timedelta(days=1):%Y-%m}"
    ticks_env.ready("600000.SH", "600009.SH")
    ticks_env.tushare.symbols.remove("600009.SH")
    result = ticks_env.select({month: []})
    assert result.success, failures(result)
    assert ticks_env.materialized(BARS) == ticks_env.materialized(FACTORS) == {Unit("600000.SH", month)}
    summary = ticks_env.metadata(BARS, Unit("600000.SH", month))
    assert (summary["units_ok"], summary["units_provisional"]) == (1, 1)
    assert summary["units_provisional_days"] > 1


@pytest.mark.slow
def test_days_narrow_a_month_down(ticks_env: TicksEnv) -> None:
    ticks_env.ready("600000.SH")
    first, last = sessions(MONTH)[2], sessions(MONTH)[4]
    assert ticks_env.select({MONTH: ["600000.SH"]}, ["tick_data"], first_day=str(first), last_day=str(last)).success
    assert ticks_env.counts() == {Unit("600000.SH", MONTH): 3 * BARS_A_DAY}
    assert ticks_env.select({MONTH: ["600000.SH"]}, ["tick_data"]).success
    assert ticks_env.counts() == whole(["600000.SH"])


@pytest.mark.slow
def test_files_land_without_anybody_being_asked(ticks_env: TicksEnv) -> None:
    ticks_env.sign_in()
    day = sessions(MONTH)[3]
    drop(ticks_env.folder, "mine.csv", [*minutes("600000.SH", day), *minutes("000001.SZ", day, 12)])
    result = ticks_env.registry(providers=["files"])
    assert result.success, failures(result)
    result = ticks_env.run([MONTH], symbols.known(ticks_env.instance), (BARS, BOOKS, FACTORS), providers=["files"])
    assert result.success, failures(result)
    assert ticks_env.counts() == {Unit("600000.SH", MONTH): 20, Unit("000001.SZ", MONTH): 12}
    assert ticks_env.tushare.requests == 0
    assert ticks_env.metadata(BARS, Unit("600000.SH", MONTH))["provider"] == "files"


@pytest.mark.slow
def test_files_do_not_replace_what_a_better_provider_delivered(ticks_env: TicksEnv) -> None:
    ticks_env.ready("600000.SH")
    assert ticks_env.select({MONTH: ["600000.SH"]}, ["tick_data"]).success
    drop(ticks_env.folder, "mine.csv", minutes("600000.SH", sessions(MONTH)[3]))
    result = ticks_env.select({MONTH: ["600000.SH"]}, ["tick_data"], providers=["files"], refetch=True)
    assert result.success, failures(result)
    assert ticks_env.counts() == whole(["600000.SH"])
    assert ticks_env.rows("SELECT DISTINCT toString(provider) FROM tick_data") == [("tushare",)]


def test_month_that_nobody_reaches_is_no_failure_and_no_partition(ticks_env: TicksEnv) -> None:
    ticks_env.ready("600000.SH")
    result = ticks_env.run([MONTH], ["600000.SH"], (BOOKS,), providers=["tushare"])
    assert result.success, failures(result)
    assert ticks_env.materialized(BOOKS) == ticks_env.failed(BOOKS) == set()


def test_selection_that_cannot_be_read_is_refused(ticks_env: TicksEnv) -> None:
    ticks_env.sign_in()
    one = {MONTH: ["600000.SH"]}
    refused: list[tuple[dict[str, list[str]], dict[str, Any], str]] = [
        ({"2026-13": ["600000.SH"]}, {}, "'2026-13' is no month; write 2026-01"),
        ({MONTH: []}, {}, "no symbol is registered, and none is named"),
        (one, {"wanted": ["bars"]}, "'bars' is none of tick_data, order_book, factors"),
        (one, {"first_day": "yesterday"}, "write 2026-01-05"),
        (one, {"first_day": "2026-02-02", "last_day": "2026-02-01"}, "2026-02-01 is before"),
        (one, {"providers": ["bloomberg"]}, "it has no provider 'bloomberg'"),
    ]
    for months, options, said in refused:
        assert said in failures(ticks_env.select(months, **options))["load_selected"]
    assert ticks_env.tushare.requests == 0
    assert ticks_env.counts() == {}


def test_registry_without_anybody_to_ask_says_what_to_do(ticks_env: TicksEnv) -> None:
    told = failures(ticks_env.registry())["symbol_registry"]
    assert "TUSHARE_TOKEN" in told
    assert "MARKETDATA_TICKS_SYMBOLS" in told


def test_server_that_is_away_fails_the_run_and_says_what_to_do(ticks_env: TicksEnv) -> None:
    ticks_env.ready("600000.SH")
    ticks_env.patch.setenv("MARKETDATA_CLICKHOUSE_URL", "http://127.0.0.1:1/default")
    told = failures(ticks_env.run([MONTH], ["600000.SH"]))["tick_tables"]
    assert "ClickHouse is not answering" in told
    assert ticks_env.materialized(BARS) == set()


def test_token_never_reaches_events_or_metadata(ticks_env: TicksEnv) -> None:
    ticks_env.ready(*SYMBOLS)
    lose(ticks_env)
    ticks_env.tushare.fail(400, 1, "000001.SZ", text=f"token {TOKEN} is odd")
    result = ticks_env.select({MONTH: []})
    run = ticks_env.instance.get_run_by_id(result.run_id)
    assert run is not None
    events = [entry.to_json() for entry in ticks_env.instance.all_logs(result.run_id)]
    said = "\n".join([*events, json.dumps(run.run_config), json.dumps(run.tags)])
    assert "is odd" in said
    assert TOKEN not in said
