"""The market page in headless Chromium: a stock is found, drawn and safe to look at.

`MARKETDATA_TEST_SHOTS` names a folder for pictures.
"""

import os
from pathlib import Path

import pytest
from browser import Browser, browser, missing_browser
from served_market import CODE, HOSTILE, NAME, TOKEN, load_market, served


@pytest.mark.skipif(missing_browser() is not None, reason=str(missing_browser()))
def test_a_stock_is_found_and_drawn(dsn: str, tmp_path: Path) -> None:
    load_market(dsn, tmp_path / "bars")
    shots = Path(os.environ.get("MARKETDATA_TEST_SHOTS", tmp_path))
    with served(lambda: dsn) as url, browser(url, TOKEN) as chromium:
        chromium.open("/")
        chromium.until(lambda: "stock_monthly_kline" in chromium.text(), "the tables")
        _search(chromium, "<img", HOSTILE)
        _search(chromium, "6000", NAME)
        chromium.shot(shots / "front.png")
        chromium.find("#found a").click()
        chromium.until(lambda: "expected minutes" in chromium.text(), "the coverage")
        chromium.until(lambda: "candles of days" in chromium.text(), "candles of days")
        assert chromium.find("h1").text == f"{CODE} {NAME}"
        assert len(chromium.find("#chart path.rise").get_attribute("d") or "") > 1000
        chromium.shot(shots / "stock.png")
        chromium.click("week")
        chromium.until(lambda: "candles of minutes" in chromium.text(), "candles of minutes")
        chromium.shot(shots / "minutes.png")
        chromium.open("/stock/000001.SZ")
        chromium.until(lambda: HOSTILE in chromium.text(), "the name as text")
        assert chromium.driver.title == f"000001.SZ {HOSTILE}"
        assert chromium.complaints() == []
        chromium.open("/stock/999999.SH")
        chromium.until(lambda: "no minute bars of '999999.SH'" in chromium.text(), "why there is nothing")


def _search(chromium: Browser, text: str, name: str) -> None:
    box = chromium.find("#search")
    box.clear()
    box.send_keys(text)
    chromium.until(lambda: name in chromium.find("#found").text, f"{name!r} among the stocks found")
