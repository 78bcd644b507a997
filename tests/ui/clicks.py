"""Runs and backfills launched by clicks, as a person does."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.ui.browser import Browser
from tests.ui.pages import open_asset

SELECTION = "input[placeholder^='ex:']"


@dataclass(frozen=True)
class Launched:
    """The paths of the pages of what was launched."""

    run: str
    backfill: str


def materialise(chromium: Browser, name: str) -> str:
    """Launch a run of an asset without partitions; returns the path of its page."""
    open_asset(chromium, name)
    chromium.click("Materialize")
    return _view(chromium, "Launched run", "/runs/")


def backfill(chromium: Browser, name: str, first: str, last: str) -> str:
    """Launch a backfill of an asset's partitions from the first to the last; returns the path of its page."""
    open_asset(chromium, name)
    chromium.click("Materialize…")
    chromium.until(lambda: chromium.find(SELECTION).is_displayed(), "a field for partitions")
    chromium.find(SELECTION).send_keys(f"[{first}...{last}]\t")
    chromium.click("Launch backfill")
    return _view(chromium, "Created backfill", "/runs/b/")


def _view(chromium: Browser, said: str, path: str) -> str:
    """Follow the link of the message that says what was launched."""
    chromium.until(lambda: any(toast.startswith(said) for toast in chromium.toasts()), said)
    chromium.click("View")
    chromium.until(lambda: path in chromium.driver.current_url, f"the page behind {said!r}")
    return urlsplit(chromium.driver.current_url).path
