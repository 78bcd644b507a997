"""The nightly repair of a night in which three domains fail: how a person sees it in the UI, and cancels a part."""

import datetime as dt
import os
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from marketdata_assets.defs.repair.nightly import TAG, night_of
from tests.ui import failed_night
from tests.ui.browser import Browser, browser, missing_browser
from tests.ui.failed_night import BARS, DOMAINS, REPAIR, REPAIR_SECONDS, YEARS, Backfill
from tests.ui.running_ui import Marketdata, short_folder

ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stack() -> Iterator[Marketdata]:
    missing = missing_browser()
    if missing and os.environ.get("CI"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    with short_folder() as home, failed_night.failed_night(home) as started:
        yield started


@pytest.fixture(scope="module")
def bars(stack: Marketdata) -> Backfill:
    return failed_night.backfill_of_bars(stack)


@pytest.fixture(scope="module")
def chromium(stack: Marketdata) -> Iterator[Browser]:
    with browser(stack.url, stack.token) as opened:
        yield opened


def test_each_domain_has_backfills_with_tags_that_say_what_asked_for_them(stack: Marketdata, bars: Backfill) -> None:
    found = failed_night.requested(stack)
    assert {one.domain for one in found} == {*DOMAINS}
    assert {one.tags[TAG] for one in found} == {night_of(dt.datetime.now(dt.UTC))}
    assert {one.tags["dagster/sensor_name"] for one in found} == {REPAIR}
    assert {BARS, "stock_daily", "suspensions"} <= set[str]().union(*(one.assets for one in found))


def test_the_page_of_backfills_shows_which_failed_and_the_one_in_progress(bars: Backfill, chromium: Browser) -> None:
    failed_night.see_all(chromium)
    failed_night.see_progress(chromium, bars.id)


def test_a_backfill_in_progress_is_canceled_in_the_ui(stack: Marketdata, bars: Backfill, chromium: Browser) -> None:
    before = Counter(status for status, _ in failed_night.runs_of(stack, bars.id).values())
    assert before["SUCCESS"] + before["FAILURE"] < len(YEARS), "all is loaded: nothing is left to cancel"
    failed_night.cancel(chromium, bars.id)
    runs = failed_night.runs_of(stack, bars.id)
    statuses = Counter(status for status, _ in runs.values())
    assert {*statuses} <= ENDED, statuses
    assert statuses["CANCELED"] > 0, statuses
    seen, until = failed_night.heartbeat(stack), time.monotonic() + REPAIR_SECONDS
    while failed_night.heartbeat(stack) == seen:
        assert time.monotonic() < until, "the daemon of backfills has stopped"
        time.sleep(0.5)
    assert failed_night.runs_of(stack, bars.id) == runs, "nothing is started, and nothing ends otherwise"
    assert {one.status for one in failed_night.requested(stack) if one.id == bars.id} == {"CANCELED"}
