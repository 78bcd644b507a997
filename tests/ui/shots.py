"""Takes the pictures of the documentation, from a demo of its own: `python -m tests.ui.shots FOLDER`."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from browser import Browser, browser, missing_browser
from clicks import backfill
from pages import GROUPS, KLINE, SUMMARY, links, open_asset, open_tab, unfold
from running_ui import running, short_folder

from marketdata_assets.partitions import BAR_MONTHS

Look = Callable[[Browser], object]


def looks() -> dict[str, Look]:
    """By name of the picture, what is opened for it."""
    found: dict[str, Look] = {"lineage" if group.name == "bars" else group.name: group.open for group in GROUPS}
    return found | {
        "asset": partial(open_asset, name="minute_bar_files", height=1150),
        "kline": partial(_last, name=KLINE),
        "start": _start,
        "preview": partial(_first, name="stock_1min_qfq"),
        "spread": partial(_last, name=SUMMARY),
        "gaps": partial(_last, name="exchange_gaps"),
        "coverage": partial(_first, name="tick_data"),
        "checks": partial(_tab, name=KLINE, tab="checks", wanted="Passed"),
        "partitions": partial(_tab, name="tick_data", tab="partitions", wanted="Materialized ("),
        "timeline": _timeline,
        "backfill": _backfill,
    }


def _first(chromium: Browser, name: str) -> None:
    open_asset(chromium, name)
    unfold(chromium)


def _tab(chromium: Browser, name: str, tab: str, wanted: str) -> None:
    open_asset(chromium, name)
    open_tab(chromium, tab, wanted)


def _last(chromium: Browser, name: str) -> None:
    open_asset(chromium, name)
    unfold(chromium, len(links(chromium)) - 1)


def _start(chromium: Browser) -> None:
    chromium.open("/assets/start_here", height=1300)
    chromium.click("Show more")


def _timeline(chromium: Browser) -> None:
    chromium.open("/overview/timeline")
    chromium.until(lambda: "bars_and_kline" in chromium.text().splitlines(), "the runs of the demo")


def _backfill(chromium: Browser) -> None:
    """One launched by clicks, once it has ended."""
    months = BAR_MONTHS.get_partition_keys()
    backfill(chromium, KLINE, months[-4], months[-2])
    chromium.until(lambda: "100% completed" in chromium.text(), "the end of the backfill", 180)


def take(url: str, token: str, folder: Path) -> list[Path]:
    """The pictures, from the UI at `url`; as small as they get without a loss that is seen."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    with browser(url, token) as chromium:
        for name, look in looks().items():
            look(chromium)
            files.append(folder / f"{name}.png")
            chromium.shot(files[-1])
            _shrink(files[-1])
    return files


def _shrink(file: Path) -> None:
    """A palette of 256 colours takes a quarter of the space, and a page of the UI has fewer."""
    from PIL import Image

    with Image.open(file) as picture:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(file, optimize=True)


def main() -> None:
    """Start the demo, or use the UI at --url, and write the pictures."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", help="a UI that runs already, such as http://127.0.0.1:3000")
    parser.add_argument("--token", default="", help="the token of its login")
    options = parser.parse_args()
    if missing := missing_browser():
        sys.exit(missing)
    if options.url:
        files = take(options.url, options.token, options.folder)
    else:
        with short_folder() as home, running("demo", home) as started:
            files = take(started.url, started.token, options.folder)
    print(*files, sep="\n")


if __name__ == "__main__":
    main()
