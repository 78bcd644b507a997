"""Headless Chromium as a person uses it: pages, clicks, and whatever the page complains of meanwhile.

Needs Chromium and its driver on the PATH. What the pages of the demo show is in `pages`.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    NoSuchElementException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.ui import nginx

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTH, HEIGHT = 1400, 900
PAGE_SECONDS = 300
"""Timeout for content of a page, which takes one or two seconds on a quiet machine."""

REBOUND = "rebound.example"
"""A name that the browser resolves to this machine, as a foreign server can have it (DNS rebinding)."""
NAMES = (REBOUND, nginx.NAME)

LISTEN = """
window.heard = [];
const sent = window.fetch;
window.fetch = async (...request) => {
  const response = await sent(...request);
  const say = text => window.heard.push(`${String(request[0]?.url ?? request[0])}: ${text}`);
  if (!response.ok) say(response.status);
  response.clone().json().then(body => { for (const e of body.errors ?? []) say(e.message); }, () => {});
  return response;
};
"""
"""Keeps what a server answers with an error, also where the page says nothing of it."""

TOASTS = "return [...document.querySelectorAll('[class*=toast i],[role=alert]')].map(e => e.innerText.trim())"
"""A message, what holds it, and what holds them all; the last is always there."""


def missing_browser() -> str | None:
    """What is missing to look at pages, and how to get it; None when nothing is."""
    if not any(map(shutil.which, BROWSERS)) or not shutil.which("chromedriver"):
        return "needs Chromium and its driver: apt-get install chromium chromium-driver"
    return None


class Browser:
    """Headless Chromium on one site, logged in there."""

    def __init__(self, url: str, token: str) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = next(filter(None, map(shutil.which, BROWSERS)))
        names = "--host-resolver-rules=" + ", ".join(f"MAP {name} 127.0.0.1" for name in NAMES)
        plain = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars")
        for argument in (*plain, names, "--ignore-certificate-errors"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "SEVERE"})
        self.url = url
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": LISTEN})
        self.driver.get(f"{url}/?token={token}")

    def open(self, path: str, width: int = WIDTH, height: int = HEIGHT) -> None:
        """Go to a page of the site, in a window of this size."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.get(self.url + path)

    def text(self) -> str:
        """The visible text of the page: lines without empty ones, table cells separated by a space."""
        lines = str(self.driver.execute_script("return document.body?.innerText ?? ''")).splitlines()
        return "\n".join(filter(None, (" ".join(line.split()) for line in lines)))

    def until(self, seen: Callable[[], object], what: str, seconds: float = PAGE_SECONDS) -> None:
        """Wait until `seen()`; raises naming what never came and what the page showed instead."""
        ignored = (NoSuchElementException, StaleElementReferenceException, ElementClickInterceptedException)
        try:
            WebDriverWait(self.driver, seconds, 0.3, ignored_exceptions=ignored).until(lambda _: seen())
        except TimeoutException:
            raise AssertionError(f"{self.driver.current_url} never showed {what}, but:\n{self.text()}") from None

    def find(self, selector: str) -> WebElement:
        """The first element, by CSS; raises NoSuchElementException."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def labelled(self, text: str) -> WebElement:
        """The first element with exactly this text; raises NoSuchElementException."""
        return self.driver.find_element(By.XPATH, f"//*[text()='{text}']")

    def click(self, text: str) -> None:
        """Click what has exactly this text, as soon as it is there and nothing lies upon it."""

        def clicked() -> bool:
            self.labelled(text).click()
            return True

        self.until(clicked, f"{text!r} to click on")

    def toasts(self) -> list[str]:
        """The messages that pop up over the page at this moment."""
        return list(dict.fromkeys(text.splitlines()[0] for text in self.driver.execute_script(TOASTS) if text))

    def complaints(self) -> list[str]:
        """Errors in the console and in answers since the page was opened or this was last asked."""
        said = [entry["message"] for entry in self.driver.get_log("browser")]
        return said + list(self.driver.execute_script("return (window.heard ?? []).splice(0)"))

    def shot(self, file: Path) -> None:
        """Save what is in the window, after the page's animations."""
        time.sleep(0.5)
        if not self.driver.save_screenshot(str(file)):
            raise OSError(f"could not write {file}")


@contextmanager
def browser(url: str, token: str) -> Iterator[Browser]:
    """A browser that is logged in to the UI, and closed in the end."""
    chromium = Browser(url, token)
    try:
        yield chromium
    finally:
        chromium.driver.quit()
