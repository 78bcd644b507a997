"""The demo from the command line and in a real browser: summary, exact K-lines, each page, its end, a second time.

One demo with its UI is looked at from all sides; a second one on the same folder comes after its sudden death.
"""

import datetime as dt
import itertools
import os
import re
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import psutil
import psycopg
import pytest
from commands import answer, apart
from plain_kline import KLINE_QUERY, expected_kline, file_rows
from shots import (
    AUTOMATION,
    PARTITIONS,
    PLOT,
    TALLER,
    Browser,
    Marketdata,
    browser,
    missing_browser,
    running,
    short_folder,
)

from marketdata_assets.bars import sample
from marketdata_assets.cli.demo import DAILY_FILES
from marketdata_assets.defs.exchanges.checks import OF_DAYS, OF_TABLES
from marketdata_assets.local import record
from marketdata_assets.partitions import BAR_MONTHS
from marketdata_assets.ticks import sample as sample_ticks

ASSETS = ("minute_bar_files", "stock_1min_qfq", "stock_monthly_kline")
CHECKS = (
    "kline_equals_minutes",
    "missing_name",
    "month_gain",
    "negative_volume_or_amount",
    "ohlc_order",
    "volume_without_amount",
)

ALPHAS = ("brain_api", "alpha_files", "alpha_packages", "regular_alphas", "super_alphas", "alpha_summary")
ALPHA_CHECKS = ("every_id_landed", "repeat_changes_nothing", "required_fields", "unique_check_names", "unique_ids")
TICKS = ("tushare_api", "yahoo_chart", "tick_files", "symbol_registry", "tick_data", "order_book", "factors")
TICK_CHECKS = ("coverage", "duplicates", "ledger_agrees", "ohlc_order", "price_bounds", "volume_bounds")
EXCHANGES = (
    *("exchange_feed", "exchange_trades", "exchange_orderbooks", "exchange_klines", "exchange_tickers"),
    *("exchange_funding_rates", "exchange_open_interest", "exchange_liquidations", "exchange_gaps"),
    "exchange_ohlcv_1m",
)
EXCHANGE_CHECKS = ("bars_equal_klines", "bars_recomputed", "price_order")
FLOWS = ("stock_daily", "stock_daily_indicators")
SWITCHED = {
    *("minute_bar_files_sensor", "kline_behind_bars", "alphas_hourly", "alphas_daily"),
    *("alphas_rotation", "alpha_files_sensor", "alphas_follow", "brain_accounts_sensor"),
    *("tick_files_sensor", "ticks_daily", "symbols_daily", "backfill_missing"),
    *("run_failure_alert", "housekeeping_daily"),
    *("exchange_captures_sensor", "exchange_drain", "exchange_hourly"),
    *(f"{flow}_{what}" for flow in FLOWS for what in ("sensor", "schedule")),
}

DASHED = "return [...document.querySelectorAll('*')].filter(e => getComputedStyle(e).borderTopStyle == 'dashed')"
SWITCHES = "return [...document.querySelectorAll('[class*=formatSwitch] input')].map(e => e.checked)"


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Two of the demo's three years are there already, a day each month, as the demo leaves files alone."""
    this_year = dt.datetime.now(ZoneInfo("Asia/Shanghai")).year
    with short_folder() as folder:
        (folder / "bars").mkdir()
        for year in (this_year - 2, this_year - 1):
            write_a_day_a_month(folder / "bars" / f"{year}_1min.zip", year)
        yield folder


@pytest.fixture(scope="module")
def demo(home: Path) -> Iterator[Marketdata]:
    """The demo as a script starts it with `&`, deaf to SIGINT."""
    with running("demo", home, interrupt="SIG_IGN") as started:
        yield started


@pytest.fixture(scope="module")
def chromium(demo: Marketdata) -> Iterator[Browser]:
    missing = missing_browser()
    if missing and os.environ.get("CI"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    with browser(demo.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def left(demo: Marketdata) -> list[str]:
    """What outlives the demo's sudden death; tests of what it shows come before."""
    return demo.end(signal.SIGKILL)


def write_a_day_a_month(path: Path, year: int) -> None:
    days = {day.month: day for day in sample.weekdays(year)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for code, name in sample.STOCKS:
            frame = sample.stock_year(code, name, list(days.values()), 7, sample.DIVIDENDS.get(code, 0.0))
            archive.writestr(f"{code}_{year}.csv", sample.csv_bytes(frame))


def bar_files(home: Path) -> list[Path]:
    return sorted((home / "bars").iterdir())


def test_summary_has_one_line_per_table(home: Path, demo: Marketdata) -> None:
    ours = itertools.takewhile(lambda line: not line.startswith("\x1b"), demo.out.read_text().splitlines())
    bars, kline, alphas, *others = ours  # Dagster's coloured lines come after them
    ticks, exchanges, flows = others[:5], others[5:8], others[8:]
    rows = sum(len(file_rows(path)) for path in bar_files(home))
    assert bars.startswith(f"minute bars   {rows:,} rows, 0 rejected, ")
    assert bars.endswith(f" rows/s; {len(sample.STOCKS)} codes, 0 files unchanged")
    assert kline.startswith("monthly kline ")
    assert kline.endswith(" 7 checks passed")
    assert alphas.startswith("alphas        288 documents, 288 inserted, 0 updated, 0 unchanged, 0 rejected, ")
    assert alphas.endswith(" 20 checks passed")
    months, stocks = sample_ticks.MONTHS, len(sample_ticks.STOCKS)
    assert [line.split()[0] for line in ticks] == ["tick_data", "order_book", "factors", "checks", "Successful:"]
    assert f"; {months * stocks} ok, 0 empty, 0 unsupported, 0 failed, " in ticks[0]
    assert f"; {stocks} ok, {(months - 1) * stocks} empty, " in ticks[1]
    assert ticks[3].split()[1:] == ["7", "of", "7", "passed"]
    assert ticks[4] == f"Successful: {stocks}/{stocks}"
    tables, gaps, days = exchanges
    assert tables.startswith("exchanges     ")
    assert " 0 refused, 0 unreadable, captures: 3 ok; " in tables
    assert tables.endswith(f" {len(OF_TABLES)} checks passed")
    assert gaps.startswith("exchange gaps 1 of 2 days; 0 healed now with 0 trades, 0 open; ")
    assert days.startswith("exchange bars ")
    assert days.endswith(f" {len(OF_DAYS)} checks passed")
    assert [line.split()[0] for line in flows] == list(FLOWS)
    loaded = f"; {DAILY_FILES} files loaded, 0 unchanged, 0 failed; 3 checks passed"
    assert all(line.endswith(loaded) for line in flows)


def test_kline_is_right_to_the_last_digit(home: Path, demo: Marketdata) -> None:
    found = record.read(home)
    assert found is not None
    with psycopg.connect(found.urls["postgres_dsn"]) as connection:
        lines = connection.execute(KLINE_QUERY).fetchall()
    assert lines == expected_kline(*bar_files(home))
    assert len({code for _, code, *_ in lines}) == len(sample.STOCKS)
    assert len({month for month, *_ in lines}) >= 24
    assert any(line[3] < 0 for line in lines)


def test_samples_end_before_today(home: Path, demo: Marketdata) -> None:
    today = dt.datetime.now(ZoneInfo("Asia/Shanghai")).date()
    files = bar_files(home)
    newest = max(row["时间"][:10] for row in file_rows(files[-1]))
    assert newest < today.isoformat()
    assert [path.name[:4] for path in files][:2] == [str(today.year - 2), str(today.year - 1)]


def test_lineage_shows_the_files_and_both_tables(chromium: Browser, tmp_path: Path) -> None:
    chromium.open_lineage()
    chromium.shot(tmp_path / "lineage.png")
    lines = chromium.text().splitlines()
    assert [line for line in lines if line in ASSETS] == list(ASSETS)
    assert lines.count("100% filled") == 2
    assert [box.text.split()[0] for box in chromium.driver.execute_script(DASHED)] == ["minute_bar_files"]


def test_asset_page_shows_candlesticks(chromium: Browser, tmp_path: Path) -> None:
    chromium.open_plot()
    chromium.shot(tmp_path / "kline.png")
    plot = chromium.find(PLOT)
    assert plot.is_displayed()
    assert plot.size["width"] > 400
    page = chromium.text()
    assert "Monthly K-line per stock" in page
    assert re.search(r"Row count\n[1-9]\d+\n", page)
    assert "rollup" in page


def test_every_check_of_the_kline_passed(chromium: Browser, tmp_path: Path) -> None:
    chromium.open_checks()
    chromium.shot(tmp_path / "checks.png")
    lines = chromium.text().splitlines()
    assert [(check, lines[lines.index(check) + 1]) for check in CHECKS] == [(check, "Succeeded") for check in CHECKS]


def test_every_month_is_materialised(chromium: Browser, tmp_path: Path) -> None:
    months = BAR_MONTHS.get_partition_keys()
    chromium.open(PARTITIONS)
    chromium.until(lambda: f"Materialized ({len(months)})" in chromium.text(), f"{len(months)} materialised months")
    chromium.shot(tmp_path / "partitions.png")
    lines = chromium.text().splitlines()
    assert {"Failed (0)", "Missing (0)"} <= set(lines)
    assert months[-1] in lines


def test_lineage_of_the_alphas_goes_from_the_api_to_the_summary(chromium: Browser, tmp_path: Path) -> None:
    chromium.open_alphas()
    chromium.shot(tmp_path / "alphas.png")
    lines = chromium.text().splitlines()
    assert {line for line in lines if line in ALPHAS} == set(ALPHAS)
    assert lines.count("MongoDB") == 2
    assert "Materialized" in lines
    assert [box.text.split()[0] for box in chromium.driver.execute_script(DASHED)] == ["brain_api"]


def test_every_check_of_the_alphas_passed(chromium: Browser, tmp_path: Path) -> None:
    chromium.open_alpha_checks()
    chromium.shot(tmp_path / "alpha_checks.png")
    lines = chromium.text().splitlines()
    assert [(check, lines[lines.index(check) + 1]) for check in ALPHA_CHECKS] == [
        (check, "Succeeded") for check in ALPHA_CHECKS
    ]


def test_summary_of_the_alphas_shows_a_picture(chromium: Browser, tmp_path: Path) -> None:
    chromium.open_spread()
    chromium.shot(tmp_path / "spread.png")
    assert chromium.find(PLOT).size["width"] > 400


def test_lineage_of_the_ticks_goes_from_the_providers_to_the_factors(chromium: Browser, tmp_path: Path) -> None:
    chromium.open_ticks()
    chromium.shot(tmp_path / "ticks.png")
    lines = chromium.text().splitlines()
    assert {line for line in lines if line in TICKS} == set(TICKS)
    dashed = {box.text.split()[0] for box in chromium.driver.execute_script(DASHED)}
    assert dashed == {"tushare_api", "yahoo_chart", "tick_files"}


def test_every_check_of_the_bars_of_ticks_passed(chromium: Browser, tmp_path: Path) -> None:
    chromium.open_tick_checks()
    chromium.shot(tmp_path / "tick_checks.png")
    lines = chromium.text().splitlines()
    assert [(check, lines[lines.index(check) + 1]) for check in TICK_CHECKS] == [
        (check, "Succeeded") for check in TICK_CHECKS
    ]


def test_page_of_the_bars_shows_what_is_covered(chromium: Browser, tmp_path: Path) -> None:
    chromium.open_coverage()
    chromium.shot(tmp_path / "coverage.png")
    assert chromium.find(PLOT).size["width"] > 400


def test_lineage_of_the_exchanges_goes_from_the_feed_to_bars_and_gaps(chromium: Browser, tmp_path: Path) -> None:
    chromium.open_exchanges()
    chromium.shot(tmp_path / "exchanges.png")
    lines = chromium.text().splitlines()
    assert {line for line in lines if line in EXCHANGES} == set(EXCHANGES)
    assert {box.text.split()[0] for box in chromium.driver.execute_script(DASHED)} == {"exchange_feed"}


def test_every_check_of_the_bars_of_exchanges_passed(chromium: Browser, tmp_path: Path) -> None:
    chromium.open_exchange_checks()
    chromium.shot(tmp_path / "exchange_checks.png")
    lines = chromium.text().splitlines()
    assert [(check, lines[lines.index(check) + 1]) for check in EXCHANGE_CHECKS] == [
        (check, "Succeeded") for check in EXCHANGE_CHECKS
    ]


def test_page_of_the_gaps_shows_them_on_a_line_of_time(chromium: Browser, tmp_path: Path) -> None:
    chromium.open_gaps()
    chromium.shot(tmp_path / "gaps.png")
    assert chromium.find(PLOT).size["width"] > 400


def test_automation_is_on(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(AUTOMATION, height=TALLER)
    chromium.until(lambda: len(chromium.driver.execute_script(SWITCHES)) == len(SWITCHED), "all switches")
    chromium.shot(tmp_path / "automation.png")
    lines = chromium.text().splitlines()
    assert set(lines) >= SWITCHED
    assert chromium.driver.execute_script(SWITCHES) == [True] * len(SWITCHED)


def test_sudden_death_leaves_nothing(left: list[str]) -> None:
    assert left == []


def test_second_demo_changes_no_file_loads_no_row_and_stops_what_it_started(home: Path, left: list[str]) -> None:
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in bar_files(home)}
    again = apart(home, "demo", "--no-ui", "--json")
    assert again.returncode == 0, again.stderr
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in bar_files(home)} == before
    said = answer(again)
    assert said["success"] is True
    assert (said["bars"]["rows"], said["bars"]["rejected"], said["bars"]["files_loaded"]) == (0, 0, 0)
    assert said["bars"]["files_unchanged"] == len(sample.STOCKS) * len(before)
    assert said["kline"]["months"] == len(BAR_MONTHS.get_partition_keys())
    assert (said["checks_passed"], said["checks_failed"], said["error"]) == (7, [], None)
    assert (said["alphas"]["documents"], said["alphas"]["success"]) == (0, True)
    assert said["alphas"]["packages_unchanged"] > 0
    assert again.stderr == ""
    assert [said["ticks"]["tables"][name]["changed"] for name in ("tick_data", "order_book", "factors")] == [0, 0, 0]
    assert (said["ticks"]["success"], said["ticks"]["tables"]["tick_data"]["requests"]) == (True, 0)
    assert said["exchanges"]["tables"]["captures"]["unchanged"] == 3
    assert [said["flows"][name]["files_unchanged"] for name in FLOWS] == [DAILY_FILES] * len(FLOWS)
    assert [said["flows"][name]["rows"] for name in FLOWS] == [0] * len(FLOWS)
    assert not (home / "stack.json").exists()
    commands = [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
    assert [command for command in commands if str(home) in command] == []
