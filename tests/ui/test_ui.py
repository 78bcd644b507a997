"""The demo as its user sees it: each page of the UI in a real browser, and how it ends."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from shots import AUTOMATION, PARTITIONS, PLOT, TALL, Browser, Marketdata, browser, missing_browser, running

from marketdata_assets.partitions import BAR_MONTHS

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
SWITCHED = {
    *("minute_bar_files_sensor", "bars_nightly", "kline_behind_bars", "alphas_hourly", "alphas_daily"),
    *("alphas_rotation", "alphas_nightly", "alpha_files_sensor", "alphas_follow", "brain_accounts_sensor"),
    *("tick_files_sensor", "ticks_daily", "ticks_nightly", "symbols_daily"),
}

DASHED = "return [...document.querySelectorAll('*')].filter(e => getComputedStyle(e).borderTopStyle == 'dashed')"
SWITCHES = "return [...document.querySelectorAll('[class*=formatSwitch] input')].map(e => e.checked)"


@pytest.fixture(scope="module")
def demo() -> Iterator[Marketdata]:
    """The demo as a script starts it with `&`, deaf to SIGINT; after the last test its sudden death leaves nothing."""
    missing = missing_browser()
    if missing and os.environ.get("CI"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    with running("demo", interrupt="SIG_IGN") as started:
        yield started
        assert started.end(signal.SIGKILL) == []


@pytest.fixture(scope="module")
def chromium(demo: Marketdata) -> Iterator[Browser]:
    with browser(demo.url) as opened:
        yield opened


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


def test_automation_is_on(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(AUTOMATION, height=TALL)
    chromium.until(lambda: len(chromium.driver.execute_script(SWITCHES)) == len(SWITCHED), "all switches")
    chromium.shot(tmp_path / "automation.png")
    lines = chromium.text().splitlines()
    assert set(lines) >= SWITCHED
    assert chromium.driver.execute_script(SWITCHES) == [True] * len(SWITCHED)


def test_ctrl_c_ends_everything_quietly() -> None:
    with running("up") as started:
        assert started.end(signal.SIGINT) == []
        assert "Traceback" not in started.text(), started.text()[-3000:]
        assert started.process.returncode == 0
