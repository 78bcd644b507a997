"""The demo's UI as a person sees it in a browser; run as `python -m tests.ui.shots FOLDER` it takes the pictures.

Needs Chromium and its driver on the PATH. What the pages must show is decided in test_demo.py.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException, TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from marketdata_assets.local.process import port_is_free

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTH, HEIGHT = 1400, 900
WIDE = 2000
TALL = 1250
"""What five columns of assets need before Dagster shows more of them than their names."""
TALLER = 2100
"""The same for seven tables above one another."""
DOMAINS = ("BARS", "ALPHAS", "TICKS", "CAPTURES", "FLOWS")
START_SECONDS = 360
PAGE_SECONDS = 45

LINEAGE = "/locations/marketdata_assets/asset-groups/bars/lineage"
KLINE = "/assets/stock_monthly_kline"
CHECKS = f"{KLINE}?view=checks"
PARTITIONS = f"{KLINE}?view=partitions"
ALPHAS = "/locations/marketdata_assets/asset-groups/alphas/lineage"
ALPHA_CHECKS = "/assets/regular_alphas?view=checks"
SUMMARY = "/assets/alpha_summary"
TICKS = "/locations/marketdata_assets/asset-groups/ticks/lineage"
TICK_DATA = "/assets/tick_data"
TICK_CHECKS = "/assets/tick_data?view=checks"
EXCHANGES = "/locations/marketdata_assets/asset-groups/exchanges/lineage"
EXCHANGE_CHECKS = "/assets/exchange_ohlcv_1m?view=checks"
EXCHANGE_GAPS = "/assets/exchange_gaps"
AUTOMATION = "/automation"
PLOT = "img[src^='data:image/png;base64,']"


def missing_browser() -> str | None:
    """What is missing to look at pages, and how to get it; None when nothing is."""
    if not any(map(shutil.which, BROWSERS)) or not shutil.which("chromedriver"):
        return "needs Chromium and its driver: apt-get install chromium chromium-driver"
    return None


def quiet_port() -> int:
    """A free port that no server asking for any free one is given: the UI takes it only after the load."""
    return next(port for port in random.sample(range(20_000, 30_000), 1000) if port_is_free(port))


class Marketdata:
    """`marketdata demo` or `up` with its UI, on a folder and a port of its own; what it prints goes to files there."""

    def __init__(self, command: str, home: Path, interrupt: str = "default_int_handler") -> None:
        self.port = quiet_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.out, self.log = home / f"{command}.out", home / f"{command}.log"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MARKETDATA_", "DAGSTER_"))}
        # The samples count as still being written, so that the sensor does not load them again while pages are read.
        quiet = {f"MARKETDATA_{domain}_QUIET_SECONDS": 86400 for domain in DOMAINS}
        ours = {"MARKETDATA_HOME": home, "MARKETDATA_UI_PORT": self.port, **quiet}
        script = f"import signal; signal.signal(signal.SIGINT, signal.{interrupt})"
        with self.out.open("wb") as out, self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"{script}; from marketdata_assets.cli import app; app()", command],
                cwd=ROOT,
                env=kept | {k: str(v) for k, v in ours.items()},
                stdout=out,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Return when the UI has loaded the assets; raises with the end of the log when it never does."""
        until = time.monotonic() + START_SECONDS
        while not self._loaded():
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"no UI:\n{self.text()[-2000:]}")
            time.sleep(0.5)

    def text(self) -> str:
        """What it has printed."""
        return "".join(path.read_text(errors="replace") for path in (self.out, self.log))

    def end(self, number: signal.Signals, seconds: float = 60) -> list[str]:
        """Send the signal; returns the command lines of what outlives `seconds` of our processes, and kills that."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(number)
        until = time.monotonic() + seconds
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        _, alive = psutil.wait_procs(family, timeout=max(1.0, until - time.monotonic()))
        left = [" ".join(process.cmdline()) for process in alive]
        if self.process.poll() is None:
            left.insert(0, "marketdata itself")
            self.process.kill()
            self.process.wait()
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return left

    def _loaded(self) -> bool:
        query = {"query": "{repositoriesOrError {... on RepositoryConnection {nodes {assetNodes {id}}}}}"}
        try:
            found = httpx.post(f"{self.url}/graphql", json=query, timeout=10).json()
        except (httpx.HTTPError, ValueError):
            return False
        return any(node["assetNodes"] for node in found["data"]["repositoriesOrError"].get("nodes", []))


class Browser:
    """Headless Chromium on one site."""

    def __init__(self, url: str) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = next(filter(None, map(shutil.which, BROWSERS)))
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
            options.add_argument(argument)
        self.url = url
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))

    def open(self, path: str, width: int = WIDTH, height: int = HEIGHT) -> None:
        """Go to a page of the site, in a window of this size."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.get(self.url + path)

    def text(self) -> str:
        """What stands on the page, line by line."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def until(self, seen: Callable[[], object], what: str) -> None:
        """Wait until `seen()`; raises naming what never came and what the page showed instead."""
        ignored = (NoSuchElementException, StaleElementReferenceException)
        try:
            WebDriverWait(self.driver, PAGE_SECONDS, ignored_exceptions=ignored).until(lambda _: seen())
        except TimeoutException:
            raise AssertionError(f"{self.driver.current_url} never showed {what}, but:\n{self.text()}") from None

    def find(self, selector: str) -> WebElement:
        """The first element, by CSS; raises NoSuchElementException."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def labelled(self, text: str) -> WebElement:
        """The first element with exactly this text; raises NoSuchElementException."""
        return self.driver.find_element(By.XPATH, f"//*[text()='{text}']")

    def open_lineage(self) -> None:
        """The group's graph, once both tables show their checks."""
        self.open(LINEAGE)
        self.until(lambda: "1 / 1 Passed" in self.text() and "6 / 6 Passed" in self.text(), "1 and 6 passed checks")

    def open_plot(self) -> None:
        """The asset page of the K-line with its candlesticks unfolded."""
        self.open(KLINE)
        self.until(lambda: self.labelled("[Show Markdown]"), "the link to the candlesticks")
        self.labelled("[Show Markdown]").click()
        self.until(lambda: int(self.find(PLOT).get_attribute("naturalWidth") or 0) > 0, "the candlesticks")

    def open_checks(self) -> None:
        """The check that recomputes every K-line, with its verdict."""
        self.open(CHECKS)
        self.until(lambda: "Passed" in self.text().splitlines(), "a verdict")

    def open_alphas(self) -> None:
        """The graph of the alphas, once both collections show their checks."""
        self.open(ALPHAS, WIDE)
        self.until(lambda: self.text().count("5 / 5 Passed") == 2, "5 passed checks twice")

    def open_alpha_checks(self) -> None:
        """The checks of the regular alphas, with their verdicts."""
        self.open(ALPHA_CHECKS)
        self.until(lambda: "Passed" in self.text().splitlines(), "a verdict")

    def open_spread(self) -> None:
        """The summary of the alphas with its last picture unfolded."""
        self.open(SUMMARY)
        links = (By.XPATH, "//*[text()='[Show Markdown]']")
        self.until(lambda: len(self.driver.find_elements(*links)) == 3, "the links to a table and two pictures")
        self.driver.find_elements(*links)[-1].click()
        self.until(lambda: int(self.find(PLOT).get_attribute("naturalWidth") or 0) > 0, "the spread")

    def open_ticks(self) -> None:
        """The graph of the ticks, once the bars and the factors show their checks."""
        self.open(TICKS, WIDE, TALL)
        self.until(lambda: "6 / 6 Passed" in self.text() and "1 / 1 Passed" in self.text(), "6 and 1 passed checks")

    def open_tick_checks(self) -> None:
        """The checks of the bars, with their verdicts."""
        self.open(TICK_CHECKS)
        self.until(lambda: "Passed" in self.text().splitlines(), "a verdict")

    def open_exchanges(self) -> None:
        """The graph of the exchanges, once trades, gaps and bars show their checks."""
        self.open(EXCHANGES, WIDE, TALLER)
        wanted = ("3 / 3 Passed", "2 / 2 Passed")
        self.until(lambda: all(text in self.text() for text in wanted), "3 and 2 passed checks")

    def open_exchange_checks(self) -> None:
        """The checks of the bars of exchanges, with their verdicts."""
        self.open(EXCHANGE_CHECKS)
        self.until(lambda: "Passed" in self.text().splitlines(), "a verdict")

    def open_gaps(self) -> None:
        """The page of the gaps with their picture unfolded."""
        self.open(EXCHANGE_GAPS)
        self.until(lambda: self.labelled("[Show Markdown]"), "the link to a picture")
        self.labelled("[Show Markdown]").click()
        self.until(lambda: int(self.find(PLOT).get_attribute("naturalWidth") or 0) > 0, "a picture")

    def open_coverage(self) -> None:
        """The page of the bars with their first picture unfolded."""
        self.open(TICK_DATA)
        links = (By.XPATH, "//*[text()='[Show Markdown]']")
        self.until(lambda: len(self.driver.find_elements(*links)) >= 2, "the links to two pictures")
        self.driver.find_elements(*links)[0].click()
        self.until(lambda: int(self.find(PLOT).get_attribute("naturalWidth") or 0) > 0, "a picture")

    def shot(self, file: Path) -> None:
        """Save what is in the window, after the page's animations."""
        time.sleep(0.5)
        if not self.driver.save_screenshot(str(file)):
            raise OSError(f"could not write {file}")


@contextmanager
def running(command: str, home: Path, interrupt: str = "default_int_handler") -> Iterator[Marketdata]:
    """A command with its UI up, on a data folder; `interrupt` names what it starts with as handler of SIGINT."""
    started = Marketdata(command, home, interrupt)
    try:
        started.wait()
        yield started
    finally:
        if started.process.poll() is None:
            started.end(signal.SIGTERM)


@contextmanager
def short_folder() -> Iterator[Path]:
    """A data folder that is removed in the end; one under pytest's own would be too long for PostgreSQL's socket."""
    with tempfile.TemporaryDirectory(prefix="md-", ignore_cleanup_errors=True) as home:
        yield Path(home)


@contextmanager
def browser(url: str) -> Iterator[Browser]:
    """A browser that is closed in the end."""
    chromium = Browser(url)
    try:
        yield chromium
    finally:
        chromium.driver.quit()


def take(url: str, folder: Path) -> list[Path]:
    """The pictures of the documentation, from the UI at `url`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    with browser(url) as chromium:
        looks = {
            "lineage": chromium.open_lineage,
            "kline": chromium.open_plot,
            "checks": chromium.open_checks,
            "alphas": chromium.open_alphas,
            "ticks": chromium.open_ticks,
            "exchanges": chromium.open_exchanges,
        }
        for name, look in looks.items():
            look()
            files.append(folder / f"{name}.png")
            chromium.shot(files[-1])
    return files


def main() -> None:
    """Start the demo, or use the UI at --url, and write the pictures."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", help="a UI that runs already, such as http://127.0.0.1:3000")
    options = parser.parse_args()
    if missing := missing_browser():
        sys.exit(missing)
    if options.url:
        files = take(options.url, options.folder)
    else:
        with short_folder() as home, running("demo", home) as started:
            files = take(started.url, options.folder)
    print(*files, sep="\n")


if __name__ == "__main__":
    main()
