"""A night in which loads of three domains fail: files as they were delivered, and what the nightly repair requests."""

import datetime as dt
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from selenium.common.exceptions import WebDriverException

from marketdata_assets.bars import coverage
from marketdata_assets.months import last_months
from marketdata_assets.reference.exchanges import canonical
from marketdata_demo import sample_bars, sample_flows
from tests.ui.browser import Browser
from tests.ui.running_ui import Marketdata, postgres_dsn, running

DOMAINS = ("bars", "flows", "reference")
BARS = "stock_1min_qfq"
YEARS = range(2020, 2026, 2)
"""Of the zips of minute bars: each is a range of its own, and a run of the backfill. The first cannot be read."""
STOCKS, LOCKED = sample_bars.STOCKS[:2], sample_bars.STOCKS[2:3]
"""Those of most zips, and the one of the last: its rows are locked, so that its run stays in progress."""
EARLIER = "2024-01-01"
FILE_SENSORS = ("bars_files", "flows_stock_daily_files", "flows_stock_daily_indicators_files", "reference_files")
REPAIR = "repair_backfills"
LIST_HEIGHT, PAGE_HEIGHT = 760, 380
"""Of windows that have just what is on the pages of all backfills and of that of bars."""
REPAIR_SECONDS = 1200
"""The sensor is evaluated every 120 seconds, and what it finds takes a few; pages wait for its runs as long."""

CANCEL_SECONDS = 60
"""For the daemon to end what is to be canceled."""

SELECTOR = {"repositoryLocationName": "marketdata_assets", "repositoryName": "__repository__"}
SENSORS = """query ($from: RepositorySelector!) {sensorsOrError(repositorySelector: $from) {
  ... on Sensors {results {id name}}}}"""
STOP = "mutation ($id: String!) {stopSensor(id: $id) {__typename}}"
LAST = """query ($sensor: SensorSelector!) {sensorOrError(sensorSelector: $sensor) {... on Sensor {
  sensorState {typeSpecificData {... on SensorData {lastCursor}}}}}}"""
CURSOR = """mutation ($sensor: SensorSelector!, $cursor: String) {
  setSensorCursor(sensorSelector: $sensor, cursor: $cursor) {__typename}}"""
BACKFILLS = """{partitionBackfillsOrError {... on PartitionBackfills {results {
  id status isAssetBackfill tags {key value} assetSelection {path}}}}}"""
RUNS = """query ($id: String!) {runsOrError(filter: {tags: [{key: "dagster/backfill", value: $id}]}) {
  ... on Runs {results {runId status startTime}}}}"""
HEARTBEAT = """{instance {daemonHealth {daemonStatus(daemonType: "BACKFILL") {lastHeartbeatTime}}}}"""


@dataclass(frozen=True)
class Backfill:
    """One that a sensor, or a person, has requested."""

    id: str
    status: str
    assets: frozenset[str]
    tags: dict[str, str]

    @property
    def domain(self) -> str:
        return self.tags.get("marketdata/domain", "")


@contextmanager
def failed_night(home: Path) -> Iterator[Marketdata]:
    """`marketdata up` in the evening: the files are there, no sensor has taken them, and the repair has not begun."""
    deliver(home)
    with running("up", home, quiet_seconds=0) as started, psycopg.connect(postgres_dsn(home)) as connection:
        coverage.lock(connection, [canonical(code) for code, _ in LOCKED])
        found = started.ask(SENSORS, **{"from": SELECTOR})["sensorsOrError"]["results"]
        for sensor in found:
            if sensor["name"] in FILE_SENSORS:
                started.ask(STOP, id=sensor["id"])
        begin(started)
        yield started


def deliver(home: Path) -> None:
    """Zips of minute bars, daily files and a file of suspensions; one of each kind cannot be loaded."""
    for year in YEARS:
        stocks = LOCKED if year == YEARS[-1] else STOCKS
        path = sample_bars.write_year(home / "bars", year, stocks, dt.date(year, 2, 28))
    broken = home / "bars" / path.name.replace(str(YEARS[-1]), str(YEARS[0]))
    broken.write_bytes(broken.read_bytes()[:1000])
    today = dt.datetime.now(dt.UTC).date()
    [*_, daily] = sample_flows.write(home / "flows_data" / "stock_daily", 3, today - dt.timedelta(days=1))
    daily.write_bytes(b"no header\n1,2,3\n")
    month = last_months(2, dt.datetime.now(dt.UTC))[0]
    (home / "reference").mkdir(exist_ok=True)
    (home / "reference" / f"suspensions_{month}.csv").write_text("symbol,from\n600001.SH,1\n")


def begin(started: Marketdata) -> None:
    """Let the next evaluation of the repair be the first of a night, after the one with which it starts."""
    sensor = {**SELECTOR, "sensorName": REPAIR}
    until = time.monotonic() + REPAIR_SECONDS
    while not started.ask(LAST, sensor=sensor)["sensorOrError"]["sensorState"]["typeSpecificData"]["lastCursor"]:
        assert time.monotonic() < until, f"{REPAIR} was never evaluated"
        time.sleep(0.5)
    nights = dict.fromkeys(("bars", "flow stock_daily", "reference"), EARLIER)
    cursor = json.dumps({"nights": nights, "observed": {}, "requested": {}})
    started.ask(CURSOR, sensor=sensor, cursor=cursor)


def requested(started: Marketdata) -> list[Backfill]:
    """The backfills there are."""
    found = started.ask(BACKFILLS)["partitionBackfillsOrError"]["results"]
    return [
        Backfill(
            one["id"],
            one["status"],
            frozenset(asset["path"][0] for asset in one["assetSelection"] or ()),
            {tag["key"]: tag["value"] for tag in one["tags"]},
        )
        for one in found
    ]


def runs_of(started: Marketdata, backfill: str) -> dict[str, tuple[str, bool]]:
    """By id of each run of a backfill, its status, and whether it has ever started."""
    found = started.ask(RUNS, id=backfill)["runsOrError"]["results"]
    return {one["runId"]: (one["status"], one["startTime"] is not None) for one in found}


def backfill_of_bars(started: Marketdata) -> Backfill:
    """The one of minute bars, once each domain has requested its own and a run of it has started."""
    until = time.monotonic() + REPAIR_SECONDS
    while True:
        found = requested(started)
        bars = [one for one in found if BARS in one.assets]
        runs = runs_of(started, bars[0].id) if bars else {}
        if {one.domain for one in found} >= {*DOMAINS} and any(has_started for _, has_started in runs.values()):
            return bars[0]
        assert time.monotonic() < until, f"no backfills of {DOMAINS}, but {found}"
        time.sleep(0.5)


def heartbeat(started: Marketdata) -> float:
    """When the daemon of backfills was last seen."""
    return float(started.ask(HEARTBEAT)["instance"]["daemonHealth"]["daemonStatus"]["lastHeartbeatTime"] or 0)


def see_all(chromium: Browser) -> None:
    """The page of backfills, once two have failed and one is in progress."""
    chromium.open("/runs?view=backfills", height=LIST_HEIGHT)
    wanted = Counter({f"marketdata/domain: {name}": 1 for name in DOMAINS} | {"Failure": 2, "Started": 1})
    chromium.until(lambda: wanted <= Counter(chromium.text().splitlines()), str(wanted), REPAIR_SECONDS)


def see_progress(chromium: Browser, backfill: str) -> None:
    """The page of one, once a part of its partitions is loaded."""
    chromium.open(f"/runs/b/{backfill}", height=PAGE_HEIGHT)
    chromium.until(lambda: re.search(r"\b[1-9]\d?% completed", chromium.text()), "progress", REPAIR_SECONDS)


def cancel(chromium: Browser, backfill: str) -> None:
    """Press Cancel on the page of a backfill, and again where it asks; return when it has ended.

    Again after a while: Dagster's daemon reads a backfill, and writes it without what was requested in between.
    """
    chromium.open(f"/runs/b/{backfill}", height=PAGE_HEIGHT)
    until = time.monotonic() + REPAIR_SECONDS
    while "Canceled" not in chromium.text().splitlines():
        assert time.monotonic() < until, f"the backfill was never canceled:\n{chromium.text()}"
        if "In progress" in chromium.text().splitlines():
            _press(chromium, "expand_more", "@aria-label")
            _press(chromium, "Cancel backfill")
            chromium.until(lambda: "Close" in chromium.text().splitlines(), "a question")
            _press(chromium, "Cancel backfill")
        with suppress(AssertionError):
            chromium.until(lambda: "Canceled" in chromium.text().splitlines(), "the end", CANCEL_SECONDS)


def _press(chromium: Browser, text: str, what: str = "text()") -> None:
    def pressed() -> bool:
        [*shown] = [
            one for one in chromium.driver.find_elements("xpath", f"//*[{what}='{text}']") if one.is_displayed()
        ]
        try:
            shown[-1].click()
        except (IndexError, WebDriverException):
            return False
        return True

    chromium.until(pressed, f"{text!r} to press")
