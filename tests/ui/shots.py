"""Takes the pictures of the documentation, from a demo of its own: `python -m tests.ui.shots FOLDER`."""

import argparse
import sys
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from marketdata_assets.partitions import BAR_MONTHS
from tests.deploy.compose_processes import deployed, write_flow
from tests.ui.browser import Browser, browser, missing_browser
from tests.ui.clicks import backfill, materialise
from tests.ui.failed_night import backfill_of_bars, cancel, failed_night, see_all, see_progress
from tests.ui.pages import (
    GROUPS,
    KLINE,
    SUMMARY,
    SWITCHES,
    links,
    open_asset,
    open_flows,
    open_lineage,
    open_tab,
    reload_code,
    unfold,
)
from tests.ui.running_ui import running, short_folder

Box = tuple[float, float, float, float]
Look = Callable[[Browser], Box | None]
"""What opens a page, and the part of the window that its picture has: left, top, right, bottom; None for all of it."""
GRAPH = """const boxes = [...document.querySelectorAll('svg foreignObject')].map(e => e.getBoundingClientRect());
const search = document.querySelector("[aria-label='Search and filter assets']").getBoundingClientRect();
return [Math.min(...boxes.map(b => b.left)), Math.max(Math.min(...boxes.map(b => b.top)), search.bottom + 68),
        Math.max(...boxes.map(b => b.right)), Math.max(...boxes.map(b => b.bottom))];"""
MARGIN = 40


def looks() -> dict[str, Look]:
    """By name of the picture, what is opened for it."""
    found: dict[str, Callable[[Browser], None]] = {
        "lineage" if group.name == "bars" else group.name: group.open for group in GROUPS
    }
    found |= {
        "groups": partial(open_lineage, size=(1800, 760)),
        "group_open": partial(open_lineage, opened="bars", size=(1900, 1250)),
    }
    return {name: partial(_graph, look=look) for name, look in found.items()} | {
        "asset": partial(open_asset, name="minute_bar_files", height=1150),
        "kline": partial(_last, name=KLINE),
        "start": _start,
        "preview": partial(_first, name="stock_1min_qfq"),
        "spread": partial(_last, name=SUMMARY),
        "gaps": partial(_last, name="exchange_gaps"),
        "coverage": partial(_first, name="tick_data"),
        "checks": partial(_tab, name=KLINE, tab="checks", wanted="Passed"),
        "partitions": partial(_tab, name="tick_data", tab="partitions", wanted="Materialized ("),
        "automation": _automation,
        "timeline": _timeline,
        "backfill": _backfill,
    }


def _graph(chromium: Browser, look: Callable[[Browser], object]) -> Box:
    """Of a lineage the picture has the boxes of assets alone."""
    look(chromium)
    time.sleep(1)  # the graph moves into the middle
    left, top, right, bottom = chromium.driver.execute_script(GRAPH)
    return left - MARGIN, top - MARGIN, right + MARGIN, bottom + MARGIN


def _first(chromium: Browser, name: str) -> None:
    open_asset(chromium, name)
    unfold(chromium)


def _tab(chromium: Browser, name: str, tab: str, wanted: str) -> None:
    open_asset(chromium, name)
    open_tab(chromium, tab, lambda lines: any(line.startswith(wanted) for line in lines), wanted)


def _last(chromium: Browser, name: str) -> None:
    open_asset(chromium, name)
    unfold(chromium, len(links(chromium)) - 1)


def _start(chromium: Browser) -> None:
    """The page after it has looked for problems."""
    chromium.open(materialise(chromium, "start_here"))
    chromium.until(lambda: "Failure" in chromium.text().splitlines() or "Success" in chromium.text(), "its end", 180)
    open_asset(chromium, "start_here", height=1500)
    chromium.click("Show more")


def _automation(chromium: Browser) -> None:
    """Each row has its name, when or how it starts, and a switch."""

    def complete() -> bool:
        *_, rows = chromium.text().partition("\nmarketdata_assets\n")
        return len(rows.splitlines()) == 2 * len(chromium.driver.execute_script(SWITCHES)) > 0

    chromium.open("/automation", height=2040)
    chromium.until(complete, "all schedules and sensors")
    time.sleep(1)  # their last ticks


def _timeline(chromium: Browser) -> None:
    chromium.open("/overview/timeline", height=680)
    chromium.click("1hr")
    chromium.until(lambda: "bars_and_kline" in chromium.text().splitlines(), "the runs of the demo")


def _backfill(chromium: Browser) -> None:
    """One launched by clicks, once it has ended."""
    months = BAR_MONTHS.get_partition_keys()
    chromium.open(backfill(chromium, KLINE, months[-4], months[-2]), height=320)
    chromium.until(lambda: "Status\nSucceeded" in chromium.text(), "the end of the backfill", 180)


def take(url: str, token: str, folder: Path, only: Collection[str] | None = None) -> list[Path]:
    """The pictures, from the UI at `url`; as small as they get without a loss that is seen."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    with browser(url, token) as chromium:
        for name, look in looks().items():
            if only is None or name in only:
                files.append(_shot(chromium, folder / f"{name}.png", look(chromium)))
    return files


def take_night(folder: Path) -> list[Path]:
    """The pictures of a night in which loads fail: all backfills, the progress of one, and the same when canceled."""
    with short_folder() as home, failed_night(home) as started, browser(started.url, started.token) as chromium:
        bars = backfill_of_bars(started).id
        see_all(chromium)
        files = [_shot(chromium, folder / "repair_backfills.png")]
        see_progress(chromium, bars)
        files.append(_shot(chromium, folder / "repair_progress.png"))
        cancel(chromium, bars)
        return [*files, _shot(chromium, folder / "repair_canceled.png")]


def take_deployment(folder: Path) -> list[Path]:
    """The flows of a deployment before and after one was added and the code location loaded again."""
    with short_folder() as home, deployed(home) as machine, browser(machine.url, machine.token) as chromium:
        files = [_shot(chromium, folder / "deployed_before.png", _graph(chromium, open_flows))]
        write_flow(machine.folder / "input" / "flows", "closes", "Closing prices.")
        reload_code(chromium)
        return [*files, _shot(chromium, folder / "deployed_after.png", _graph(chromium, open_flows))]


def _shot(chromium: Browser, file: Path, part: Box | None = None) -> Path:
    chromium.shot(file)
    _shrink(file, part)
    return file


def _shrink(file: Path, part: Box | None = None) -> None:
    """A palette of 256 colours takes a quarter of the space, and a page of the UI has fewer."""
    from PIL import Image

    with Image.open(file) as picture:
        small = picture.crop(part).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(file, optimize=True)


def main() -> None:
    """Start the demo, or use the UI at --url, and write the pictures."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", help="a UI that runs already, such as http://127.0.0.1:3000")
    parser.add_argument("--only", nargs="*", help="names of pictures of that UI; all by default")
    parser.add_argument("--token", default="", help="the token of its login")
    options = parser.parse_args()
    if missing := missing_browser():
        sys.exit(missing)
    if options.url:
        files = take(options.url, options.token, options.folder, options.only)
    else:
        with short_folder() as home, running("demo", home) as started:
            files = take(started.url, started.token, options.folder)
        files += take_night(options.folder) + take_deployment(options.folder)
    print(*files, sep="\n")


if __name__ == "__main__":
    main()
