"""The pages of the demo, and the moment at which each shows what it has to show."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from urllib.parse import quote

from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.ui.browser import HEIGHT, WIDTH, Browser

LOCATION = "/locations/marketdata_assets"
OVER_ALL = {
    "/overview/timeline": "bars_and_kline",
    "/runs": "ticks_selected",
    "/assets": "alpha_files",
    "/asset-groups": "exchanges",
    "/automation": "bars_files",
    "/jobs": "exchange_days",
    "/deployment/locations": "marketdata_assets",
    "/deployment/daemons": "Freshness Daemon",
    "/deployment/concurrency": "timescale",
    "/deployment/config": "MaskedRunStorage",
    LOCATION: "start_here",
    "/assets/start_here": "What to do next",
    "/assets?asset-selection=tag%3A%22source%2Ftushare_api%22": "adjust_factors",
}
"""Pages over all assets, and a word that each shows."""
KLINE = "stock_monthly_kline"
SUMMARY = "alpha_summary"
CORRELATIONS = ("alpha_self_correlation", "alpha_prod_correlation", "alpha_power_pool_correlation")
PLOT = "img[src^='data:image/png;base64,']"
OPENED = "[class*=dialog i] "
LINKS = (By.XPATH, "//*[text()='[Show Markdown]']")
DASHED = "return [...document.querySelectorAll('*')].filter(e => getComputedStyle(e).borderTopStyle == 'dashed')"
SWITCHES = "return [...document.querySelectorAll('[class*=formatSwitch] input')].map(e => e.checked)"


@dataclass(frozen=True)
class Group:
    """The lineage of a group in a window that shows all of it: assets, those from outside first, and the verdicts."""

    name: str
    outside: tuple[str, ...]
    assets: tuple[str, ...]
    passed: tuple[str, ...]
    size: tuple[int, int] = (WIDTH, HEIGHT)

    @property
    def path(self) -> str:
        return f"{LOCATION}/asset-groups/{self.name}/lineage"

    def open(self, chromium: Browser) -> None:
        """Return when all of it is seen, with all checks passed."""
        chromium.open(self.path, *self.size)
        wanted = Counter((*self.passed, *self.outside, *self.assets))
        chromium.until(lambda: wanted <= Counter(chromium.text().splitlines()), str(wanted))

    def dashed(self, chromium: Browser) -> set[str]:
        """The names of the assets that are drawn as coming from outside."""
        return {box.text.split()[0] for box in chromium.driver.execute_script(DASHED)}


GROUPS = (
    Group("bars", ("minute_bar_files",), ("stock_1min_qfq", KLINE, "reconciliation"), ("3 / 3 Passed", "7 / 7 Passed")),
    Group(
        "alphas",
        ("brain_api",),
        ("alpha_files", "alpha_packages", "regular_alphas", "super_alphas", SUMMARY),
        ("5 / 5 Passed",) * 2,
        (8000, 4400),
    ),
    Group(
        "alpha_records",
        (),
        (
            "alpha_pnl",
            "alpha_daily_pnl",
            "alpha_turnover",
            "alpha_sharpe",
            "alpha_yearly_stats",
        ),
        ("2 / 2 Passed",) * 5,
        (2800, 1800),
    ),
    Group(
        "alpha_correlations",
        (),
        (*CORRELATIONS, "alpha_submission_check"),
        ("2 / 2 Passed",) * 4,
        (2800, 1800),
    ),
    Group("alpha_catalogues", (), ("brain_operators", "brain_data_sets", "brain_data_fields"), ()),
    Group(
        "reference",
        ("reference_files",),
        ("trading_calendar", "instruments", "suspensions", "adjust_factors", "price_limits"),
        ("3 / 3 Passed", *("2 / 2 Passed",) * 4),
        (2800, 2300),
    ),
    Group(
        "ticks",
        ("tick_files",),
        ("symbol_registry", "tick_data", "order_book", "factors"),
        ("8 / 8 Passed", "1 / 1 Passed"),
        (2800, 1800),
    ),
    Group(
        "exchanges",
        ("exchange_feed", "exchange_apis"),
        (
            *("exchange_trades", "exchange_orderbooks", "exchange_klines", "exchange_tickers"),
            *("exchange_funding_rates", "exchange_open_interest", "exchange_liquidations"),
            *("exchange_instrument_states", "exchange_gaps"),
            "exchange_ohlcv_1m",
            "exchange_history",
        ),
        ("3 / 3 Passed",) * 2 + ("2 / 2 Passed",) * 2,
        (2000, 2100),
    ),
    Group("flows", ("stock_daily_files",), ("stock_daily", "stock_daily_indicators"), ("4 / 4 Passed",) * 2),
)
OUTSIDE = ("tushare_api", "yahoo_chart", "alpaca_bars", *(name for group in GROUPS for name in group.outside))
ASSETS = tuple(name for group in GROUPS for name in group.assets)


def open_lineage(chromium: Browser, opened: str = "", size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    """The lineage of all assets, as groups of which one may be opened, once the states of all are known."""
    chromium.open(
        f"/asset-groups?expanded={quote(f'global@global:{opened}', safe='')}" if opened else "/asset-groups", *size
    )
    groups = {*(group.name for group in GROUPS), "sources", "start_here"}
    chromium.until(lambda: groups <= {*chromium.text().splitlines()}, str(groups))
    chromium.driver.find_elements(By.CSS_SELECTOR, "[aria-label=panel_show_right]")[-1].click()
    chromium.until(lambda: "fetching statuses" not in chromium.text(), "the states of assets")


def open_flows(chromium: Browser) -> set[str]:
    """The lineage of the flows; returns the names in its boxes."""
    chromium.open(GROUPS[-1].path, 1900, 1400)
    chromium.until(lambda: "stock_daily_files" in chromium.text().splitlines(), "the flows")
    return {*chromium.text().splitlines()}


def reload_code(chromium: Browser) -> None:
    """Press the button of the code location, and wait until it is loaded again."""
    chromium.open("/deployment/locations")
    chromium.click("Reload")
    chromium.until(lambda: any("reloaded" in toast.lower() for toast in chromium.toasts()), "a loaded location", 180)


def add_flow(chromium: Browser, write: Callable[[], object]) -> None:
    """Write a flow `closes` that reads a folder `prices`, press the button: only then its assets are there."""
    assert not {"closes", "prices_files"} & open_flows(chromium)
    write()
    reload_code(chromium)
    assert {"closes", "prices_files"} <= open_flows(chromium)


def open_asset(chromium: Browser, name: str, height: int = HEIGHT) -> None:
    """The page of an asset, once its last metadata are there."""
    chromium.open(f"/assets/{name}", height=height)
    chromium.until(lambda: {"Description", "Metadata", "Lineage"} <= set(chromium.text().splitlines()), "the asset")
    chromium.until(lambda: "Key Timestamp Value" in chromium.text(), "metadata")


def open_tab(chromium: Browser, tab: str, seen: Callable[[list[str]], object], what: str) -> list[str]:
    """Open a tab of the asset's page; returns its lines once `seen(lines)`, `what` names it in the error.

    Dagster renders a name twice to measure its width, so consecutive duplicate lines are dropped.
    """

    def lines() -> list[str]:
        return [line for line, _ in groupby(chromium.text().splitlines())]

    chromium.find(f"a[role=tab][href$='view={tab}']").click()
    chromium.until(lambda: seen(lines()), what)
    return lines()


def links(chromium: Browser) -> list[WebElement]:
    """What opens the tables and pictures of an asset."""
    return chromium.driver.find_elements(*LINKS)


def unfold(chromium: Browser, number: int = 0) -> WebElement:
    """Open a table or picture of the asset's page; returns it when it is drawn."""

    def drawn() -> WebElement | None:
        for found in chromium.driver.find_elements(By.CSS_SELECTOR, f"{OPENED}table, {OPENED}{PLOT}"):
            if found.is_displayed() and (found.tag_name == "table" or int(found.get_attribute("naturalWidth") or 0)):
                return found
        return None

    chromium.until(lambda: len(links(chromium)) > number, "a link to a table or picture")
    links(chromium)[number].click()
    chromium.until(drawn, "a table or picture")
    found = drawn()
    assert found is not None
    return found


def fold(chromium: Browser) -> None:
    """Close what was opened."""
    chromium.click("Close")
    opened = f"{OPENED}table, {OPENED}{PLOT}"
    chromium.until(lambda: not chromium.driver.find_elements(By.CSS_SELECTOR, opened), "the page")
