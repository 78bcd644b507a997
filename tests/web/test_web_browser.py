"""The market page in headless Chromium: what is loaded is found, drawn and safe, also while servers are down.

`MARKETDATA_TEST_SHOTS` names a folder for pictures.
"""

import datetime as dt
import os
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from marketdata_assets.exchanges.records import Gap
from marketdata_assets.exchanges.tables import ohlcv
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_assets.exchanges.tables.schema import OHLCV_1M, TABLES
from marketdata_assets.local.process import free_port
from marketdata_assets.stores import clickhouse_ledger
from marketdata_demo.venues.market import Plan
from tests.exchanges.landed_market import land, records
from tests.ui.browser import Browser, browser, missing_browser
from tests.web import test_web_symbols
from tests.web.served_market import CODE, HOSTILE, NAME, TOKEN, load_market, on, served

pytestmark = pytest.mark.skipif(missing_browser() is not None, reason=str(missing_browser()))

PAGES = {
    "/": "Things that need attention:",
    "/quality": "ticks: tick_data",
    "/alphas": "no MongoDB to connect to",
    "/flows": "Nothing is loaded yet.",
    f"/stock/{CODE}": "expected minutes",
    "/symbol/000001.SZ": "1 days are provisional",
    "/instrument?exchange=binance&market_type=linear&instrument=SMPLUSDT": "Proven by the records",
}
"""Every page, and what is seen last on it."""

SETTLED = "return !/reading …|asking …/.test(document.body.innerText) && !document.querySelector('[aria-busy]')"
OPENED = """
for (const one of document.querySelectorAll("details")) one.open = true;
document.getElementById("settings").showPopover();
"""
SHIFTS = """
const done = arguments[0];
let sum = 0;
new PerformanceObserver(list => { for (const e of list.getEntries()) if (!e.hadRecentInput) sum += e.value; })
  .observe({ type: "layout-shift", buffered: true });
requestAnimationFrame(() => setTimeout(() => done(sum)));
"""
CONTRAST = """
const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
const over = (colours) => {
  canvas.clearRect(0, 0, 1, 1);
  for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(c => c / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
};
const luminance = ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b;
const found = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const one = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || !one.checkVisibility({ visibilityProperty: true })) continue;
  const grounds = [];
  for (let at = one; at; at = at.parentElement) grounds.unshift(getComputedStyle(at).backgroundColor);
  const [text, ground] = [over([...grounds, getComputedStyle(one).color]), over(grounds)].map(luminance);
  const ratio = (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
  if (ratio < 4.5) found.push(`${walk.currentNode.data.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
}
return found;
"""
"""Texts whose contrast with what is behind them is below that of WCAG AA."""
NAMELESS = """
return [...document.querySelectorAll("a, button, input, select, summary, [role=img], [tabindex]")].filter(one => {
  const labels = [...(one.labels ?? [])].map(label => label.textContent).join("");
  const name = one.getAttribute("aria-label") || labels || (/INPUT|SELECT/.test(one.tagName) ? "" : one.textContent);
  return !name.trim();
}).map(one => one.outerHTML.slice(0, 120));
"""
WIDER = """
const wide = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth <= wide) return [];
return [...document.querySelectorAll("main *")].filter(one => one.getBoundingClientRect().right > wide + 1)
  .map(one => one.outerHTML.slice(0, 80)).slice(0, 5);
"""
COLUMNS = """
function columns(canvas) {
  const { data } = canvas.getContext("2d").getImageData(0, canvas.height - 36, canvas.width, 6);
  const found = [];
  for (let at = 0; at < data.length; at += 4) {
    if (Math.max(data[at], data[at + 1]) > 1.2 * Math.min(data[at], data[at + 1]))
      found.push(((at / 4) % canvas.width) / canvas.width);
  }
  return [found.reduce((one, other) => Math.min(one, other), 1), found.reduce((one, other) => Math.max(one, other), 0)];
}
"""
"""The columns of a picture, as shares of its width, that its volumes begin and end in."""
CLIPPED = """
return [...document.querySelectorAll("main, main *")].filter(one => one.checkVisibility()
  && !one.matches(".hidden, #chart *")
  && (one.scrollHeight > one.clientHeight + 1 || one.scrollWidth > one.clientWidth + 1)
  && (/auto|hidden|scroll/.test(getComputedStyle(one).overflow) || one.matches(".list, .card, #problems")))
  .map(one => one.outerHTML.slice(0, 80));
"""
"""What is cut off, or reaches beyond its card, on paper."""
COLOURS = """
const counts = new Map();
for (const one of document.querySelectorAll("#chart canvas")) {
  if (!one.width || !one.height) continue;
  const { data } = one.getContext("2d").getImageData(0, 0, one.width, one.height);
  for (let at = 0; at < data.length; at += 4) {
    const colour = data.slice(at, at + 4).join();
    counts.set(colour, (counts.get(colour) ?? 0) + 1);
  }
}
return [...counts].filter(([, count]) => count > 50).map(([colour]) => colour);
"""


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    return Path(os.environ.get("MARKETDATA_TEST_SHOTS", tmp_path))


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path / "home"))


def test_a_stock_is_found_and_drawn_while_other_servers_are_down(dsn: str, tmp_path: Path, shots: Path) -> None:
    load_market(dsn, tmp_path / "bars")
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE stock_1min_days SET bars[28] = 0 WHERE code = %s AND month = '2024-03-01'", [CODE])
        connection.execute("DELETE FROM stock_1min_qfq WHERE code = %s AND time::date = '2024-03-28'", [CODE])
    nowhere = f"http://127.0.0.1:{free_port()}/x"
    with served(on(dsn, nowhere)) as url, browser(url, TOKEN) as chromium:
        chromium.open("/", height=1300)
        chromium.until(lambda: "Things that need attention:" in chromium.text(), "the problems")
        states = {name: chromium.find(f"#{name} .badge").text for name in ("postgres", "clickhouse", "mongo", "bars")}
        assert states == {"postgres": "answers", "clickhouse": "no answer", "mongo": "no answer", "bars": "fresh"}
        problems = [one.text for one in chromium.driver.find_elements("css selector", "#problems li")]
        assert sorted(one.split(":")[0] for one in problems) == ["ClickHouse", "MongoDB"]
        assert all(one.endswith("marketdata doctor") for one in problems)
        for domain in ("ticks", "exchanges", "alphas"):
            text = chromium.find(f"#{domain}").text
            assert "no answer" in text and ("MARKETDATA_" in text or "answering" in text), text
        chromium.until(lambda: "rows by month until 2024-03" in chromium.find("#bars").text, "the rows by month")
        _search(chromium, "<img", HOSTILE)
        _search(chromium, "slyh", NAME)  # initials
        _search(chromium, "6000", NAME)
        chromium.shot(shots / "front.png")
        chromium.find("#stocks a").click()
        chromium.until(lambda: "expected minutes" in chromium.text(), "the coverage")
        chromium.until(lambda: _legend(chromium).startswith("2024-03-29 open "), "the newest day")
        assert chromium.find("h1").text == f"{CODE} {NAME}"
        assert len(_colours(chromium)) > 2, "candles are drawn"
        chromium.shot(shots / "stock.png")
        chromium.until(lambda: _pointed(chromium, "trading day without data"), "the day without minutes")
        assert _legend(chromium).startswith("2024-03-28")
        chromium.click("1 min")
        chromium.until(lambda: _legend(chromium).startswith("2024-03-29 15:00"), "minutes")
        before = _requested(chromium)

        def zoomed_out() -> bool:
            chromium.find("#chart").send_keys("-")
            return len(_requested(chromium)) > len(before)

        chromium.until(zoomed_out, "older minutes")
        older = parse_qs(urlsplit(_requested(chromium)[-1]).query)
        assert older["freq"] == ["1m"] and older["end"] < parse_qs(urlsplit(before[-1]).query)["start"]
        Select(chromium.find("#source")).select_by_value("daily none")
        chromium.until(lambda: chromium.find("#lengths [value='1d']").get_attribute("aria-pressed") == "true", "days")
        assert not chromium.find("#lengths [value='1m']").is_enabled(), "daily files have no minutes"
        chromium.until(lambda: "stock_daily" in chromium.find("#chart-note").text, "why there are no daily files")
        chromium.until(lambda: not _legend(chromium).strip(), "nothing of the bars before")
        chromium.complaints()  # of the servers that are down
        chromium.open("/stock/000001.SZ")
        chromium.until(lambda: HOSTILE in chromium.text(), "the name as text")
        assert chromium.driver.title == f"000001.SZ {HOSTILE}"
        assert all("suspensions" in one for one in chromium.complaints()), "only ClickHouse is missing"
        chromium.open("/stock/999999.SH")
        chromium.until(lambda: "no minute bars of '999999.SH'" in chromium.text(), "why there is nothing")
        chromium.open("/")
        assert [one.text for one in chromium.driver.find_elements("css selector", "#recent a")] == [
            f"000001.SZ {HOSTILE}",
            f"{CODE} {NAME}",
        ]


@pytest.mark.slow
def test_go_to_shows_the_day_at_every_length_and_the_chart_fits_the_paper(dsn: str, tmp_path: Path) -> None:
    load_market(dsn, tmp_path / "bars")
    with psycopg.connect(dsn) as connection:
        connection.execute("DELETE FROM stock_1min_qfq WHERE code = %s AND time >= '2024-03-28'", [CODE])
        connection.execute(
            "UPDATE stock_1min_qfq SET low = 0.0001 WHERE code = %s AND time::date = '2023-06-12'", [CODE]
        )
    with served(on(dsn)) as url, browser(url, TOKEN) as chromium:
        chromium.open(f"/stock/{CODE}", height=1300)
        chromium.until(lambda: _legend(chromium).startswith("2024-03-27 open "), "the newest day")
        for length, label in (
            ("day", "2023-06-12"),
            ("1 hour", "2023-06-12"),
            ("5 min", "2023-06-12"),
            ("week", "2023-06-16"),
        ):
            chromium.click(length)
            _go(chromium, "2023-06-12")
            chromium.until(lambda label=label: _pointed(chromium, label), f"the day among bars of a {length}")
            if length == "day":
                assert "low 0.0001 " in _legend(chromium)
        chromium.until(lambda: not chromium.find("#chart-note").get_attribute("class").count("error"), "no error")
        answered = len(_requested(chromium))
        _go(chromium, "0202-06-12")
        assert len(_requested(chromium)) == answered, "a year that is being typed asks for nothing"
        _go(chromium, "")
        newest = "return document.getElementById('values').textContent.slice(0, 10)"
        chromium.until(lambda: chromium.driver.execute_script(newest) == "2024-03-29", "the last week, of three days")
        chromium.click("day")
        chromium.until(lambda: _legend(chromium).startswith("2024-03-27 open "), "the newest days")
        chromium.driver.execute_script(
            "document.documentElement.dataset.theme = 'dark'; dispatchEvent(new Event('beforeprint'))"
        )
        chromium.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        chromium.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", _tall(900) | {"width": 718})
        picture = chromium.find("#chart > .paper")
        assert 500 < picture.size["width"] < 718 and not chromium.find("#chart > div").is_displayed()
        drawn = chromium.driver.execute_script(f"{COLUMNS} return columns(arguments[0])", picture)
        assert drawn[0] < 0.1 and 0.85 < drawn[1] < 0.95, "from the oldest to the newest candle in view"
        chromium.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
        ground = "return getComputedStyle(document.querySelector('.card')).backgroundColor"
        assert chromium.driver.execute_script(ground) == "rgb(255, 255, 255)"
        chromium.driver.execute_script("dispatchEvent(new Event('afterprint'))")
        assert not _cells(chromium, ".paper") and chromium.find("#chart canvas").is_displayed()
        late = "/source=minutes/.test(path) ? new Promise((go) => setTimeout(go, 800)) : Promise.resolve()"
        slow = f"(path, how) => ({late}).then(() => real(path, how))"
        script = {"source": f"const real = window.fetch; window.fetch = {slow};"}
        chromium.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
        chromium.open(f"/stock/{CODE}")
        Select(chromium.find("#source")).select_by_value("daily none")
        chromium.until(lambda: any("source=minutes" in one for one in _requested(chromium)), "the late answer")
        chromium.until(lambda: "stock_daily" in chromium.find("#chart-note").text, "why there are no daily files")
        assert len(_requested(chromium)) == 2, "a read that was replaced requests nothing more"
        chromium.open("/stock/a/b")
        assert chromium.find("h1").text == "No such page"


def test_a_phone_scrolls_past_the_chart_and_another_length_keeps_the_day(market: str) -> None:
    with served(on(market)) as url, browser(url, TOKEN) as chromium:
        chromium.open(f"/stock/{CODE}")
        chromium.until(lambda: _legend(chromium).startswith("2024-03-29 open "), "the newest day")
        _go(chromium, "2023-06-12")

        def there() -> bool:
            chart, pointer = chromium.find("#chart canvas"), ActionChains(chromium.driver, duration=0)
            pointer.move_to_element(chromium.find("h1"))
            pointer.move_to_element_with_offset(chart, -chart.size["width"] // 4, 0).perform()
            return _legend(chromium).startswith("2023-06-")

        for length in ("1 hour", "5 min", "day"):
            chromium.until(there, "that day")
            asked = len(_requested(chromium))
            chromium.click(length)
            chromium.until(lambda asked=asked: len(_requested(chromium)) > asked, "its candles")  # type: ignore[misc]
        chromium.until(there, "that day at the first length")
        chromium.click("Settings")
        assert chromium.find("#settings").is_displayed()
        chromium.find("h1").click()
        assert not chromium.find("#settings").is_displayed(), "a click elsewhere closes the menu"
        chromium.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
        chromium.open(f"/stock/{CODE}", width=360, height=640)
        chromium.until(lambda: _legend(chromium).startswith("2024-03-29 open "), "the newest day")
        chromium.until(lambda: chromium.driver.execute_script(SETTLED), "all answers")
        chromium.until(lambda: _swiped(chromium) > 50, "the rest of the page after a swipe over the chart")


@pytest.mark.slow
def test_without_the_chart_library_the_values_are_a_table(market: str) -> None:
    with served(on(market)) as url, browser(url, TOKEN) as chromium:
        chromium.driver.execute_cdp_cmd("Network.enable", {})
        chromium.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/static/charts.js"]})
        chromium.open(f"/stock/{CODE}")
        chromium.until(lambda: "marketdata-assets[web]" in chromium.find("#chart").text, "what to install")
        chromium.until(lambda: chromium.find("#values").text.startswith("2024-03-29 "), "the newest days")
        assert len(chromium.driver.find_elements("css selector", "#values tr")) == 20


def test_an_instrument_is_found_and_its_book_is_drawn(
    clickhouse_url: str, clickhouse_client: Client, shots: Path
) -> None:
    begin = dt.datetime(2025, 1, 5, 23, 30, tzinfo=dt.UTC)
    plan = Plan(begin, 60)
    land(clickhouse_client, records(plan, ("binance",)))
    began = int(begin.replace(hour=0, minute=10).timestamp() + 86_400) * 10**9
    lost_trades = Gap(
        exchange="binance",
        market_type="linear",
        symbol="SMPL-USDT",
        instrument="SMPLUSDT",
        stream="trades",
        last_id=5,
        next_id=9,
        ts_from=began,
        ts_to=began + 90 * 10**9,
        cause="sequence",
        healed_at=None,
    )
    insert_records(clickhouse_client, [lost_trades])
    clickhouse_ledger.ensure(clickhouse_client)
    for day in ohlcv.days_with_trades(clickhouse_client):
        ohlcv.compute(clickhouse_client, day, run_id="test", now=begin + dt.timedelta(days=2))
    with served(on(clickhouse=clickhouse_url)) as url, browser(url, TOKEN) as chromium:
        chromium.open("/")
        _search(chromium, "smpl", "SMPLUSDT")
        chromium.find("#instruments a").click()
        chromium.until(lambda: "Proven by the records" in chromium.text(), "the last book")
        chromium.until(lambda: _legend(chromium).startswith("2025-01-06 00:29"), "candles")
        chromium.complaints()  # of the front page, whose other servers are missing
        assert chromium.find("h1").text == "SMPLUSDT binance"
        assert len(_colours(chromium)) > 2, "candles are drawn"
        chromium.until(lambda: _pointed(chromium, "recorded gap"), "the minutes that lack trades")
        assert _legend(chromium)[:16] in ("2025-01-06 00:10", "2025-01-06 00:11")
        sides = ["tr.falling", "tr.rising"]
        asks, bids = ([float(one.text) for one in _cells(chromium, f"#ladder {side} td:first-child")] for side in sides)
        assert bids == sorted(bids, reverse=True) and asks == sorted(asks, reverse=True) and bids[0] < asks[-1]
        assert len(chromium.find("#depth path.fall").get_attribute("d") or "") > 50
        chromium.until(lambda: len(_cells(chromium, "#trades tbody tr")) > 5, "the trades before")
        before = chromium.find("#at").get_property("value")
        chromium.click("−1 min")
        chromium.until(lambda: chromium.find("#at").get_property("value") != before, "a minute before")
        chromium.until(lambda: "Proven by the records" in chromium.text(), "the book of that minute")
        moved = chromium.find("#slider").get_property("value")
        chromium.find("#slider").send_keys(Keys.ARROW_LEFT)
        at = str(begin.replace(hour=0, minute=0) + dt.timedelta(days=1, seconds=int(moved) - 1))[:19].replace(" ", "T")
        chromium.until(lambda: str(chromium.find("#at").get_property("value")).startswith(at), "a second before")
        chromium.find("#gaps button").click()
        chromium.until(lambda: "sequence" in chromium.find("#day-gaps").text, "the gaps of the day")
        chromium.driver.execute_script("window.scrollTo(0, 0)")
        chromium.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", _tall(1650))
        chromium.shot(shots / "instrument.png")
        assert chromium.complaints() == []
        midnight = int(begin.replace(hour=0, minute=0).timestamp() + 86_400) * 10**9
        long = msgspec.structs.replace(lost_trades, ts_from=midnight + 3600 * 10**9, ts_to=midnight + 50 * 3600 * 10**9)
        insert_records(clickhouse_client, [long])
        land(clickhouse_client, records(Plan(begin + dt.timedelta(days=3), 10), ("binance",)))
        ohlcv.compute(
            clickhouse_client, begin.date() + dt.timedelta(days=3), run_id="test", now=begin + dt.timedelta(days=9)
        )
        chromium.open("/instrument?exchange=binance&market_type=linear&instrument=SMPLUSDT", height=1300)
        chromium.until(lambda: _legend(chromium).startswith("2025-01-08"), "the newest candles")
        visited = "const one = arguments[0]; one.value = '2025-01-07'; one.dispatchEvent(new Event('change'))"
        chromium.driver.execute_script(visited, chromium.find("#goto"))
        note = "a recorded gap covers 1,440 of 1,440 candles"
        chromium.until(lambda: note in chromium.find("#chart-note").text, "that the day is within a gap")
        chromium.until(lambda: _pointed(chromium, "recorded gap"), "the band of the gap")
        assert "2025-01-07" <= _legend(chromium)[:16] < "2025-01-08 02:00"
        chromium.shot(shots / "instrument_gap.png")
        chromium.complaints()
        lost = dt.datetime.fromtimestamp(plan.middle / 1000, dt.UTC)
        market = "exchange=binance&market_type=linear&instrument=SMPLUSDT"
        chromium.open(f"/instrument?{market}&at={lost:%Y-%m-%dT%H:%M:%S}.500Z")
        chromium.until(lambda: "Not known at" in chromium.text(), "that the book is not known")
        assert chromium.complaints() == []
        chromium.open(f"/instrument?{market}&at={lost - dt.timedelta(days=3):%Y-%m-%d}T12:00:00Z")
        chromium.until(lambda: "Not known at" in chromium.text(), "that the day has no records")
        chromium.find("#slider").send_keys(Keys.ARROW_RIGHT)
        chromium.until(lambda: "T12:00:01" in chromium.find("#book-note").text, "a second later")
        assert chromium.complaints() == []
        assert not chromium.find("#book").is_displayed()
        chromium.shot(shots / "unproven.png")
        chromium.open("/instrument?exchange=okx&market_type=linear&instrument=<img src=x>")
        chromium.until(lambda: "of '<img src=x>' of okx" in chromium.text(), "why there is nothing")


def test_a_card_counts_each_row_once_and_shows_days_without_rows(
    clickhouse_url: str, clickhouse_client: Client
) -> None:
    newest = dt.datetime.now(dt.UTC).replace(hour=12, minute=0, second=0, microsecond=0) - dt.timedelta(days=4)
    for begin in (newest, newest - dt.timedelta(days=3)):
        land(clickhouse_client, records(Plan(begin, 4), ("binance",)))
    clickhouse_ledger.ensure(clickhouse_client)
    facts = {"code_version": "1", "run_id": "run", "outcome": "ok", "rows": 999, "started": newest}
    history = clickhouse_ledger.Load(
        dataset="exchange_history", source="binance|linear|X|klines", unit=f"{newest:%Y-%m-%d}", **facts
    )
    clickhouse_ledger.record(clickhouse_client, [history], 1)
    tables = [*(table.name for table in TABLES.values()), OHLCV_1M]
    stored = [int(clickhouse_client.command(f"SELECT count() FROM {one}")) for one in tables]  # type: ignore[arg-type]
    with served(on(clickhouse=clickhouse_url)) as url, browser(url, TOKEN) as chromium:
        chromium.open("/")
        said = f"{sum(stored):,} rows of {sum(map(bool, stored))} tables"
        chromium.until(lambda: said in chromium.find("#exchanges").text, said)
        chromium.until(lambda: f"until {newest:%Y-%m-%d}" in chromium.find("#exchanges .trend").text, "the last day")
        heights = re.findall(r"v-?([\d.]+)", chromium.find("#exchanges .spark path").get_attribute("d") or "")
        assert [float(one) > 0 for one in heights[-4:]] == [True, False, False, True], "no rows on two days"


def test_a_symbol_shows_days_that_are_not_final_and_quality_counts_them(
    clickhouse_url: str, clickhouse_client: Client, shots: Path
) -> None:
    test_web_symbols.fill(clickhouse_client)
    with served(on(clickhouse=clickhouse_url)) as url, browser(url, TOKEN) as chromium:
        chromium.open("/symbol/000001.SZ")
        chromium.until(lambda: "1 days are provisional, 1 incomplete" in chromium.text(), "what is not final")
        assert chromium.find("h1").text == f"000001.SZ {HOSTILE}"
        marks = [button.text for button in _cells(chromium, "#coverage button")]
        assert [mark.split()[1:] for mark in marks] == [["pi"], ["!"]]
        chromium.open("/symbol/000001.sz")
        chromium.until(lambda: chromium.driver.current_url.endswith("/symbol/000001.SZ"), "the code as it is written")
        chromium.until(lambda: _legend(chromium).startswith("2025-01-"), "candles of ticks")
        chromium.find("#coverage button").click()
        chromium.until(lambda: "tushare" in chromium.find("#load").text, "how the month was loaded")
        chromium.shot(shots / "symbol.png")
        chromium.complaints()  # of the front page, whose other servers are missing
        chromium.open("/symbol/600001.SH")
        chromium.until(lambda: f"600001.SH {NAME}" in chromium.text(), "the Chinese name")
        assert chromium.complaints() == []
        chromium.open("/quality?domain=ticks", height=1100)
        chromium.until(lambda: "ticks: tick_data" in chromium.text(), "the quality of ticks")
        chromium.until(lambda: "PostgreSQL: no Postgres to connect to" in chromium.text(), "which server is missing")
        assert [one.text for one in _cells(chromium, ".calendar [title]")] == ["·", "!"]
        assert len(_cells(chromium, ".calendar td")) == 12
        chromium.find(".calendar .level0 button").click()
        chromium.until(lambda: "000001.SZ" in chromium.text(), "the symbols of the month")
        assert len(_cells(chromium, "#datasets a")) == len(_cells(chromium, "#datasets tbody tr:has(a)")) > 0
        chromium.find("main summary").click()
        chromium.shot(shots / "quality.png")


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_every_page_can_be_read_and_has_named_controls(
    market: str, clickhouse_url: str, clickhouse_client: Client, theme: str
) -> None:
    test_web_symbols.fill(clickhouse_client)
    plan = Plan(dt.datetime(2025, 1, 5, 23, 55, tzinfo=dt.UTC), 10)
    land(clickhouse_client, records(plan, ("binance",)))
    with served(on(market, clickhouse_url), wait=0.2) as url, browser(url, TOKEN) as chromium:
        chromium.driver.execute_script("localStorage.setItem('theme', arguments[0])", theme)
        for path, last in PAGES.items():
            for width in (1400, 360):
                chromium.open(path, width=width)
                chromium.until(lambda last=last: last in chromium.text(), f"{last!r} on {path}")  # type: ignore[misc]
                chromium.until(lambda: chromium.driver.execute_script(SETTLED), "all answers")
                assert chromium.driver.execute_async_script(SHIFTS) < 0.1, f"the layout of {path} moves at {width} px"
                chromium.driver.execute_script(OPENED)
                assert chromium.driver.execute_script(CONTRAST) == [], path
                assert chromium.driver.execute_script(NAMELESS) == [], path
                assert chromium.driver.execute_script(WIDER) == [], f"{path} scrolls sideways at {width} px"
        ground = chromium.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(244, 246, 249)", "dark": "rgb(14, 18, 23)"}[theme]


@pytest.mark.slow
def test_language_and_colours_are_those_that_were_chosen(market: str, shots: Path) -> None:
    with served(on(market)) as url, browser(url, TOKEN) as chromium:
        chromium.open(f"/stock/{CODE}")
        chromium.until(lambda: "expected minutes" in chromium.text(), "the coverage")
        chromium.click("Settings")
        rising = "return getComputedStyle(document.querySelector('#legend .rising, #legend .falling')).color"
        chromium.until(lambda: chromium.find("#legend .rising"), "the newest day")
        red = chromium.driver.execute_script(rising)
        Select(chromium.find("#settings [name=rise]")).select_by_value("green")
        assert red == "rgb(201, 34, 47)" and chromium.driver.execute_script(rising) == "rgb(8, 120, 63)"
        Select(chromium.find("#settings [name=lang]")).select_by_value("zh")
        chromium.until(lambda: "应有" in chromium.text(), "the coverage in Chinese")
        chromium.until(lambda: "前复权" in chromium.find("#chart-note").text, "the note in Chinese")
        assert chromium.find("nav").text.split() == ["市场", "质量", "Alpha", "数据流"]
        assert chromium.driver.execute_script(rising) == "rgb(8, 120, 63)", "the choice is kept"
        chromium.shot(shots / "stock_zh.png")


@pytest.mark.slow
def test_a_server_that_ends_and_a_login_that_is_lost_are_said(market: str) -> None:
    with served(on(market)) as url, browser(url, TOKEN) as chromium:
        chromium.open(f"/stock/{CODE}")
        chromium.until(lambda: _legend(chromium).startswith("2024-03-29"), "the newest day")
        chromium.driver.delete_all_cookies()
        chromium.click("week")
        chromium.until(lambda: "Not logged in." in chromium.find("#chart-note").text, "that the login is lost")
        chromium.driver.get(f"{url}/?token={TOKEN}")
        chromium.open(f"/stock/{CODE}")
        chromium.until(lambda: _legend(chromium).startswith("2024-03-29"), "the newest day")
        chromium.driver.execute_cdp_cmd("Network.enable", {})
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        chromium.driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
        chromium.click("month")
        chromium.until(lambda: "does not answer" in chromium.find("#chart-note").text, "that the server is away")


def test_searches_that_fail_or_find_nothing_are_said_in_chinese(market: str, shots: Path) -> None:
    with served(on(market)) as url, browser(url, TOKEN) as chromium:

        def notes() -> list[str]:
            return [chromium.find(f"#{kind}-note").text for kind in ("stocks", "instruments", "symbols")]

        chromium.driver.execute_script("localStorage.setItem('lang', 'zh')")
        chromium.open("/", width=360, height=1300)
        chromium.until(lambda: "有分钟线的股票：共 3 个" in notes(), "how many stocks there are")
        assert chromium.driver.title == "市场数据"
        chromium.until(lambda: "2 个表共" in chromium.find("#bars").text, "the rows of both tables")
        chromium.until(lambda: [one.split(":")[0] for one in notes()[1:]] == ["交易所品种", "逐笔代码"], "what failed")
        chromium.find("#search").send_keys("6000")
        chromium.until(lambda: notes()[0] == "有分钟线的股票：找到 1 个，共 3 个", "what is found")
        chromium.shot(shots / "front_zh.png")


def _legend(chromium: Browser) -> str:
    return chromium.find("#legend").text


def _cells(chromium: Browser, selector: str) -> list[WebElement]:
    return chromium.driver.find_elements("css selector", selector)


def _colours(chromium: Browser) -> list[str]:
    """The colours of the chart's canvas that cover at least 50 pixels."""
    found: list[str] = chromium.driver.execute_script(COLOURS)
    return found


def _requested(chromium: Browser) -> list[str]:
    """The addresses of the candles that were requested."""
    sql = "return performance.getEntriesByType('resource').map(e => e.name).filter(e => e.includes('/candles?'))"
    found: list[str] = chromium.driver.execute_script(sql)
    return found


def _pointed(chromium: Browser, text: str) -> bool:
    """Whether pointing somewhere at the chart says the text; the pointer stays there."""
    chart = chromium.find("#chart canvas")
    half = chart.size["width"] // 2
    for x in range(half - 4, -half, -5):
        ActionChains(chromium.driver, duration=0).move_to_element_with_offset(chart, x, 0).perform()
        if text in _legend(chromium):
            return True
    return False


def _go(chromium: Browser, day: str) -> None:
    typed = "const one = arguments[0]; one.value = arguments[1]; one.dispatchEvent(new Event('change'))"
    chromium.driver.execute_script(typed, chromium.find("#goto"), day)


def _swiped(chromium: Browser) -> int:
    """How far the page has scrolled after a finger moved up over its chart."""
    place = (
        "const box = document.getElementById('chart').getBoundingClientRect(); return [box.left + 90, box.top + 150]"
    )
    x, y = chromium.driver.execute_script(place)
    for kind, at in (("touchStart", 0), *(("touchMove", at) for at in range(20, 220, 20)), ("touchEnd", None)):
        points = [] if at is None else [{"x": x, "y": y - at}]
        chromium.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    scrolled: int = chromium.driver.execute_script("return scrollY")
    return scrolled


def _tall(height: int) -> dict[str, object]:
    return {"width": 1400, "height": height, "deviceScaleFactor": 1, "mobile": False}


def _search(chromium: Browser, text: str, name: str) -> None:
    box = chromium.find("#search")
    box.clear()
    box.send_keys(text)
    chromium.until(lambda: name in chromium.find("main").text, f"{name!r} among what is found")
