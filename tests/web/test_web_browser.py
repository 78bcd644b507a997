"""The market page in headless Chromium: what is loaded is found, drawn and safe, also while servers are down.

`MARKETDATA_TEST_SHOTS` names a folder for pictures.
"""

import datetime as dt
import os
from pathlib import Path

import pytest
import test_web_symbols
from browser import Browser, browser, missing_browser
from clickhouse_connect.driver.client import Client
from landed_market import land, records
from served_market import CODE, HOSTILE, NAME, TOKEN, load_market, on, served

from marketdata_assets.exchanges.tables import ohlcv
from marketdata_assets.local.process import free_port
from marketdata_assets.stores import clickhouse_ledger
from marketdata_demo.venues.market import Plan

pytestmark = pytest.mark.skipif(missing_browser() is not None, reason=str(missing_browser()))


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    return Path(os.environ.get("MARKETDATA_TEST_SHOTS", tmp_path))


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path / "home"))


def test_a_stock_is_found_and_drawn_while_other_servers_are_down(dsn: str, tmp_path: Path, shots: Path) -> None:
    load_market(dsn, tmp_path / "bars")
    nowhere = f"http://127.0.0.1:{free_port()}/x"
    with served(on(dsn, nowhere)) as url, browser(url, TOKEN) as chromium:
        chromium.open("/", height=1300)
        chromium.until(lambda: "stock_monthly_kline" in chromium.text(), "the tables")
        chromium.until(lambda: "asking …" not in chromium.text(), "the servers")
        servers = chromium.find("#servers").text.splitlines()
        assert [line.split()[:2] for line in servers[1:]] == [
            ["PostgreSQL", "answers"],
            ["ClickHouse", "ClickHouse"],  # its name again, in the reason
            ["MongoDB", "no"],
        ]
        for domain in ("ticks", "exchanges", "alphas"):
            chromium.until(
                lambda of=domain: "MARKETDATA_" in _row(chromium, of) or "answering" in _row(chromium, of), domain
            )  # type: ignore[misc]
        _search(chromium, "<img", HOSTILE)
        _search(chromium, "6000", NAME)
        chromium.shot(shots / "front.png")
        chromium.find("#stocks a").click()
        chromium.until(lambda: "expected minutes" in chromium.text(), "the coverage")
        chromium.until(lambda: "candles of days" in chromium.text(), "candles of days")
        assert chromium.find("h1").text == f"{CODE} {NAME}"
        assert len(chromium.find("#chart path.rise").get_attribute("d") or "") > 1000
        chromium.shot(shots / "stock.png")
        chromium.click("week")
        chromium.until(lambda: "candles of minutes" in chromium.text(), "candles of minutes")
        chromium.shot(shots / "minutes.png")
        chromium.complaints()  # of the servers that are down
        chromium.open("/stock/000001.SZ")
        chromium.until(lambda: HOSTILE in chromium.text(), "the name as text")
        assert chromium.driver.title == f"000001.SZ {HOSTILE}"
        assert chromium.complaints() == []
        chromium.open("/stock/999999.SH")
        chromium.until(lambda: "no minute bars of '999999.SH'" in chromium.text(), "why there is nothing")


def test_an_instrument_is_found_and_its_book_is_drawn(
    clickhouse_url: str, clickhouse_client: Client, shots: Path
) -> None:
    begin = dt.datetime(2025, 1, 5, 23, 30, tzinfo=dt.UTC)
    plan = Plan(begin, 60)
    land(clickhouse_client, records(plan, ("binance",)))
    clickhouse_ledger.ensure(clickhouse_client)
    for day in ohlcv.days_with_trades(clickhouse_client):
        ohlcv.compute(clickhouse_client, day, run_id="test", now=begin + dt.timedelta(days=2))
    with served(on(clickhouse=clickhouse_url)) as url, browser(url, TOKEN) as chromium:
        chromium.open("/")
        _search(chromium, "smpl", "SMPLUSDT")
        chromium.find("#instruments a").click()
        chromium.until(lambda: "Proven by the records" in chromium.text(), "the last book")
        chromium.until(lambda: "candles of minutes from trades" in chromium.text(), "candles")
        chromium.complaints()  # of the front page, whose other servers are missing
        assert chromium.find("h1").text == "SMPLUSDT binance"
        rungs = [line.split() for line in chromium.find("#ladder tbody").text.splitlines()]
        bids, asks = ([float(rung[side]) for rung in rungs if len(rung) == 4] for side in (1, 2))
        assert bids == sorted(bids, reverse=True) and asks == sorted(asks) and bids[0] < asks[0]
        assert len(chromium.find("#depth path.fall").get_attribute("d") or "") > 50
        before = chromium.find("#at").get_property("value")
        chromium.click("−1 min")
        chromium.until(lambda: chromium.find("#at").get_property("value") != before, "a minute before")
        chromium.until(lambda: "Proven by the records" in chromium.text(), "the book of that minute")
        chromium.find("#gaps button").click()
        chromium.until(lambda: "sequence" in chromium.find("#day-gaps").text, "the gaps of the day")
        chromium.driver.execute_script("window.scrollTo(0, 0)")
        chromium.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", _tall(1650))
        chromium.shot(shots / "instrument.png")
        assert chromium.complaints() == []
        lost = dt.datetime.fromtimestamp(plan.middle / 1000, dt.UTC)
        market = "exchange=binance&market_type=linear&instrument=SMPLUSDT"
        chromium.open(f"/instrument?{market}&at={lost:%Y-%m-%dT%H:%M:%S}.500Z")
        chromium.until(lambda: "Not known at" in chromium.text(), "that the book is not known")
        assert not chromium.find("#book").is_displayed()
        chromium.shot(shots / "unproven.png")
        chromium.open("/instrument?exchange=okx&market_type=linear&instrument=<img src=x>")
        chromium.until(lambda: "of '<img src=x>' of okx" in chromium.text(), "why there is nothing")


def test_a_symbol_shows_days_that_are_not_final_and_quality_counts_them(
    clickhouse_url: str, clickhouse_client: Client, shots: Path
) -> None:
    test_web_symbols.fill(clickhouse_client)
    with served(on(clickhouse=clickhouse_url)) as url, browser(url, TOKEN) as chromium:
        chromium.open("/symbol/000001.SZ")
        chromium.until(lambda: "1 days are provisional, 1 incomplete" in chromium.text(), "what is not final")
        assert chromium.find("h1").text == f"000001.SZ {HOSTILE}"
        marks = [button.text for button in chromium.driver.find_elements("css selector", "#coverage button")]
        assert [mark.split()[1:] for mark in marks] == [["pi"], ["!"]]
        chromium.find("#coverage button").click()
        chromium.until(lambda: "tushare" in chromium.find("#load").text, "how the month was loaded")
        chromium.shot(shots / "symbol.png")
        chromium.complaints()  # of the front page, whose other servers are missing
        chromium.open("/symbol/600001.SH")
        chromium.until(lambda: f"600001.SH {NAME}" in chromium.text(), "the Chinese name")
        assert chromium.complaints() == []
        chromium.open("/quality", height=1100)
        chromium.until(lambda: "ticks: tick_data" in chromium.text(), "the quality of ticks")
        chromium.until(lambda: "PostgreSQL: no Postgres to connect to" in chromium.text(), "which server is missing")
        assert len(chromium.driver.find_elements("css selector", "rect.column0")) == 1
        assert len(chromium.driver.find_elements("css selector", "rect.column2")) == 1
        chromium.find("summary").click()
        chromium.shot(shots / "quality.png")


def _tall(height: int) -> dict[str, object]:
    return {"width": 1400, "height": height, "deviceScaleFactor": 1, "mobile": False}


def _row(chromium: Browser, domain: str) -> str:
    return chromium.find(f"#{domain}").text


def _search(chromium: Browser, text: str, name: str) -> None:
    box = chromium.find("#search")
    box.clear()
    box.send_keys(text)
    chromium.until(lambda: name in chromium.find("main").text, f"{name!r} among what is found")
