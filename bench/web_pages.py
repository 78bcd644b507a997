"""The market page in headless Chromium: when something is seen first."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING

from bench.figure import Figure, spread

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

LONGEST_SECONDS = 30
FIRST_PAINT = """
    return performance.getEntriesByType('paint').filter(e => e.name === 'first-contentful-paint').map(e => e.startTime)
"""


def figures(url: str, rounds: int, size: str) -> Iterator[Figure]:
    """Milliseconds from opening the front page; none where Chromium and its driver are not installed."""
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        print("web.first_paint_ms: not measured, needs Chromium and its driver: apt-get install chromium-driver")
        return
    with _chromium() as driver:
        painted = [_first_paint(driver, url) for _ in range(rounds)]
    yield Figure("web.first_paint_ms", median(painted), "ms", ("<", 300), f"front page, {size}; {spread(painted)} ms")


def _first_paint(driver: "Chrome", url: str) -> float:
    """Open a page anew; the milliseconds until its first content is painted, by the browser's own clock."""
    driver.get("about:blank")
    driver.get(url)
    ends = time.monotonic() + LONGEST_SECONDS
    while True:
        found: list[float] = driver.execute_script(FIRST_PAINT)
        if found:
            return found[0]
        assert time.monotonic() < ends, f"{url}: nothing is painted"
        time.sleep(0.002)


@contextmanager
def _chromium() -> "Iterator[Chrome]":
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver") or ""))
    try:
        yield driver
    finally:
        driver.quit()
