"""The pages of alphas and flows: what is stored of them, compared and rejected, against what was put there."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psycopg
import pytest
from bson import Decimal128, Int64
from pymongo import MongoClient
from selenium.webdriver.common.keys import Keys

from marketdata_assets.fanout import Fanout
from marketdata_assets.flows.definition import read
from marketdata_assets.flows.run import run_flow
from marketdata_assets.read import alpha_records as read_records
from marketdata_assets.web.pages import STATIC
from tests.ui.browser import browser, missing_browser
from tests.web.served_market import HOSTILE, TOKEN, answer, get, on, served
from tests.web.test_web_browser import CLIPPED, CONTRAST, NAMELESS, SETTLED, WIDER, shots

__all__ = ["shots"]  # a fixture

DAYS = 300
TYPES = {"date": "date", "pnl": "amount"}
ALPHAS = {"Alp1": ("USA", "ACTIVE", 2.5), "Alp2": ("USA", "UNSUBMITTED", 1.5), "Alp3": ("EUR", "UNSUBMITTED", None)}
FLOW = """loader:
  folder: closes
  columns: {code: code, day: day, close: close}
  types: {day: date, close: "numeric(16,4)"}
target:
  table: closes
  mode: upsert
  key: [code, day]
  columns: {code: text, day: date, close: "numeric(16,4)"}
quality: {max_rejected_share: 0.5}
"""
STATUS = """
const real = window.fetch, counted = /^(regular|super)_alphas$/;
const asset = (asset, documents) => ({ asset, documents, rows: null, newest: "2026-01", counted: counted.test(asset) });
const assets = [asset("regular_alphas", 1000), asset("regular_alphas", 200), asset("super_alphas", 4),
  asset("alpha_pnl", 900), asset("brain_data_fields", 1134)];
window.fetch = (path, how) => path === "/api/status/alphas" ? Promise.resolve(Response.json({ assets, problems: [] }))
  : real(path, how);
"""
"""Answers with the assets of two accounts, whose files the status needs."""


def pnl() -> dict[str, list[float]]:
    random = np.random.default_rng(5)
    common = random.normal(size=DAYS)
    return {name: np.cumsum(common + random.normal(size=DAYS)).tolist() for name in ("Alp1", "Alp2")}


@pytest.fixture
def alphas(mongo_client: MongoClient[dict[str, Any]], mongo_uri: str) -> Iterator[str]:
    """The server with three alphas of one account, of which the last has no PnL; a name is hostile."""
    days = [str(day) for day in np.arange(DAYS) + np.datetime64("2023-01-02")]
    for name, (region, status, sharpe) in ALPHAS.items():
        facts = {"settings": {"region": region, "delay": 1}, "is": {"sharpe": sharpe, "turnover": 0.25}}
        document = {"_id": name, "id": name, "name": HOSTILE, "status": status, **facts}
        mongo_client["regular_alphas"]["web"].insert_one(document)
    for name, values in pnl().items():
        document = {"_id": name, "columns": {"date": days, "pnl": values}, "types": {}, "min": None, "max": None}
        mongo_client["alpha_pnl"]["web"].insert_one(document)
    yield mongo_uri
    for database in ("regular_alphas", "alpha_pnl"):
        for account in ("web", "web2"):
            mongo_client[database].drop_collection(account)


@pytest.fixture
def unusable(alphas: str, mongo_client: MongoClient[dict[str, Any]]) -> str:
    """Beside them seven alphas of a second account: Alp1 again without records, a day twice, constant, few, none."""
    days = [str(day) for day in np.arange(90) + np.datetime64("2023-01-02")]
    series = {"Alp1": ([], []), "Twi1": (days[:2] + days[1:3], [1.0, 2.0, 3.0, 4.0]), "Fla1": (days, [7.0] * 90)}
    series |= {"Bad1": (["soon", "late"], [1.0, 2.0])}
    for name in (*series, "Non1", "Non2", "Non3"):
        document = {"_id": name, "id": name, "name": name, "status": "ACTIVE", "is": {"sharpe": 0.5}}
        mongo_client["regular_alphas"]["web2"].insert_one(document)
    for name, (dates, values) in series.items():
        document = {"_id": name, "columns": {"date": dates, "pnl": values}, "types": {}, "min": None, "max": None}
        mongo_client["alpha_pnl"]["web2"].insert_one(document)
    return alphas


@pytest.fixture
def flows(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server with two rows of a flow, of which a third was rejected."""
    definition = tmp_path / "flows" / "closes" / "defs.yaml"
    data = tmp_path / "data" / "closes"
    for folder in (definition.parent, data):
        folder.mkdir(parents=True)
    definition.write_text(FLOW)
    (data / "a.csv").write_text(
        f"code,day,close\n000001,2024-01-02,9.5\n{HOSTILE},2024-01-03,x\n000002,2024-01-03,11\n"
    )
    monkeypatch.setenv("MARKETDATA_FLOWS_DIR", str(tmp_path / "flows"))
    monkeypatch.setenv("MARKETDATA_FLOWS_DATA", str(tmp_path / "data"))
    assert run_flow(read(definition), dsn, tmp_path / "data", run_id="web", fanout=Fanout(1)).rows == 2
    return dsn


def test_alphas_are_listed_and_compared(alphas: str) -> None:
    with served(on(mongo=alphas)) as url:
        found = answer(url, "/api/alphas")
        rows = [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]
        mine = [row for row in rows if row["account"] == "web"]
        assert [(row["id"], row["region"], row["sharpe"]) for row in mine] == [
            (name, region, sharpe) for name, (region, _, sharpe) in ALPHAS.items()
        ]
        both = answer(url, "/api/alphas/compared", ids="web/Alp2,Alp1,Alp2")
        series = pnl()
        assert [(one["account"], one["id"], one["pnl"], one["why"]) for one in both["alphas"]] == [
            ("web", name, series[name], None) for name in ("Alp2", "Alp1")
        ]
        wanted = np.corrcoef(np.diff(series["Alp2"]), np.diff(series["Alp1"]))
        assert both["correlations"] == [[pytest.approx(one, abs=1e-4) for one in row] for row in wanted]
        assert both["days"] == [[DAYS - 1] * 2] * 2
        assert get(url, "/api/alphas/compared", {"ids": ",".join("abcdefghi")}).status_code == 400


def test_alphas_without_a_usable_series_are_compared_by_account_and_say_why(unusable: str) -> None:
    with served(on(mongo=unusable)) as url:
        ids = "web/Alp1,web2/Alp1,Twi1,web2/Fla1,Bad1,web/Alp3"
        found = answer(url, "/api/alphas/compared", ids=ids)
        assert [(f"{one['account']}/{one['id']}", len(one["days"]), one["why"]) for one in found["alphas"]] == [
            ("web/Alp1", DAYS, None),
            ("web2/Alp1", 0, "fewer than two days of PnL"),
            ("web2/Twi1", 0, "days do not ascend, or are not as many as PnL"),
            ("web2/Fla1", 90, "PnL is constant, or rises by the same every day"),
            ("web2/Bad1", 0, 'PnL cannot be read: Error parsing datetime string "soon" at position 0'),
            ("web/Alp3", 0, "PnL is not in MongoDB, run marketdata alphas records --set pnl"),
        ]
        assert found["correlations"] == [[1.0, *[None] * 5], *[[None] * 6] * 5]
        both = answer(url, "/api/alphas/compared", ids="Alp1")
        assert [(one["account"], len(one["days"])) for one in both["alphas"]] == [("web", DAYS), ("web2", 0)]
        known = json.loads((STATIC / "zh.json").read_text())
        assert {one["why"].split(":")[0] for one in found["alphas"] if one["why"]} <= known.keys()
        long = ",".join(f"{'account' * 5}{number}/Alp1" for number in range(8))
        assert len(answer(url, "/api/alphas/compared", ids=long)["alphas"]) == 8


def test_figures_that_are_infinite_are_listed_as_none(alphas: str, mongo_client: MongoClient[dict[str, Any]]) -> None:
    figures = {"is.sharpe": float("-inf"), "is.turnover": float("nan")}
    mongo_client["regular_alphas"]["web"].update_one({"_id": "Alp1"}, {"$set": figures})
    with served(on(mongo=alphas)) as url:
        found = answer(url, "/api/alphas")
        rows = [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]
        assert [(row["sharpe"], row["turnover"]) for row in rows if row["id"] == "Alp1"] == [(None, None)]


def test_ids_with_a_slash_or_a_comma_are_compared(alphas: str, mongo_client: MongoClient[dict[str, Any]]) -> None:
    stored = mongo_client["alpha_pnl"]["web"]
    columns = stored.find_one({"_id": "Alp1"})["columns"]  # type: ignore[index]
    stored.insert_many({"_id": name, "columns": columns, "types": {}} for name in ("a/b", "c,d", "web/e"))
    with served(on(mongo=alphas)) as url:
        ids = ["web/a/b", "web/c,d", "web/web/e", "a/b"]
        found = get(url, "/api/alphas/compared", {"id": ids}).json()["alphas"]  # type: ignore[dict-item]
        assert [(one["account"], one["id"], one["why"]) for one in found] == [
            ("web", name, None) for name in ("a/b", "c,d", "web/e")
        ]


@pytest.mark.parametrize(
    ("column", "odd", "days"),
    [
        *(("date", odd, 0) for odd in (float("nan"), dt.datetime(2023, 1, 2), "12.5 USD", [1.0])),
        *(("pnl", odd, 0) for odd in (dt.datetime(2023, 1, 2), "12.5 USD", [1.0])),
        *(("pnl", odd, DAYS) for odd in (float("nan"), float("-inf"))),
    ],
)
def test_an_alpha_with_an_odd_value_does_not_blank_the_others(
    alphas: str, mongo_client: MongoClient[dict[str, Any]], column: str, odd: object, days: int
) -> None:
    stored = mongo_client["alpha_pnl"]["web"]
    stored.update_one({"_id": "Alp1"}, {"$set": {f"columns.{column}.7": odd, "columns.pnl.8": Int64(5)}})
    with served(on(mongo=alphas)) as url:
        found = answer(url, "/api/alphas/compared", ids="web/Alp1,web/Alp2")
        assert [(one["id"], len(one["days"])) for one in found["alphas"]] == [("Alp1", days), ("Alp2", DAYS)]
        assert bool(found["alphas"][0]["why"]) == (days == 0) and found["alphas"][1]["why"] is None
        assert found["correlations"][1][1] == 1.0
        assert days == 0 or found["alphas"][0]["pnl"][7:9] == [None, 5.0]


@pytest.mark.skipif(missing_browser() is not None, reason=str(missing_browser()))
def test_a_correlation_that_is_missing_has_its_reason(
    alphas: str, mongo_client: MongoClient[dict[str, Any]], shots: Path
) -> None:
    stored = mongo_client["alpha_pnl"]["web"]
    whole = {one["_id"]: one["columns"] for one in stored.find()}
    parts = {"Alp1": ("Alp1", 0, 200), "Alp2": ("Alp2", 170, 300), "Alp3": ("Alp2", 260, 300)}
    for name, (one, first, last) in parts.items():
        columns = {column: values[first:last] for column, values in whole[one].items()}
        stored.replace_one({"_id": name}, {"columns": columns, "types": {}}, upsert=True)
    with served(on(mongo=alphas)) as url, browser(url, TOKEN) as chromium:
        chromium.open("/alphas?ids=Alp1,Alp2,Alp3", height=1300)
        reason = "Alp1 and Alp2 have 29 common days, fewer than 60. Alp3 has 39 daily returns, fewer than 60."
        chromium.until(lambda: chromium.find("#reasons").text == reason, "why there is no correlation")
        assert chromium.find("#matrix td:nth-child(3)").text == "–"
        assert chromium.driver.execute_script(CONTRAST) == []
        chromium.shot(shots / "alphas_few.png")


def test_values_of_another_program_are_drawn_as_days_and_numbers(
    alphas: str, mongo_client: MongoClient[dict[str, Any]]
) -> None:
    days = [dt.datetime(2024, 1, 1, tzinfo=dt.UTC) + dt.timedelta(number) for number in range(90)]
    columns = {"date": days, "pnl": [float("nan"), *(float(number**2) for number in range(89))]}
    mongo_client["alpha_pnl"]["web2"].insert_one({"_id": "Odd1", "columns": columns, "types": TYPES})
    columns = {"date": [f"{day:%Y-%m-%d}" for day in days], "pnl": [Decimal128(str(number)) for number in range(90)]}
    mongo_client["alpha_pnl"]["web2"].insert_one({"_id": "Dec1", "columns": columns, "types": TYPES})
    with served(on(mongo=alphas)) as url:
        one, other = answer(url, "/api/alphas/compared", ids="Odd1,Dec1")["alphas"]
    assert (one["days"][0], one["pnl"][:3], one["why"]) == ("2024-01-01", [None, 0.0, 1.0], None)
    assert other["why"].startswith("PnL cannot be read")
    frame = read_records("pnl", ["Odd1", "Dec1"], "web2", connection=mongo_client)
    assert frame["date"].null_count() == 0
    assert frame.filter(pl.col("alpha") == "Dec1")["pnl"].to_list() == [float(number) for number in range(90)]


@pytest.mark.skipif(missing_browser() is not None, reason=str(missing_browser()))
def test_a_choice_is_kept_by_account_explained_and_taken_back(unusable: str, shots: Path) -> None:
    with served(on(mongo=unusable)) as url, browser(url, TOKEN) as chromium:

        def legend() -> list[str]:
            return [one.text.rstrip(" ×") for one in chromium.driver.find_elements("css selector", "#legend button")]

        def ticked() -> list[list[str]]:
            rows = chromium.driver.find_elements("css selector", "#alphas tbody tr:has(:checked)")
            return [one.text.split()[:2] for one in rows]

        chosen = ["web/Alp1", "web2/Alp1", "web2/Twi1", "web2/Fla1", "web2/Bad1", "web/Alp2", "web/Alp3", "web2/Non1"]
        shown = [one if one.endswith("Alp1") else one.partition("/")[2] for one in chosen]
        chromium.open(f"/alphas?ids={','.join(chosen)}", height=1500)
        chromium.until(lambda: legend() == shown, "the eight that are chosen")
        chromium.until(lambda: len(ticked()) == 8, "which of the list they are")
        assert chromium.find("#chart-note").text == "Cumulative PnL in USD."
        notes = chromium.find("#reasons").text
        assert "web2/Alp1: fewer than two days of PnL" in notes and "Fla1: PnL is constant" in notes
        assert len(chromium.driver.find_elements("css selector", "#chart canvas")) > 0
        chromium.complaints()  # of the front page, which asks servers that are missing
        other = chromium.find("#alphas tbody input:not(:checked)")
        other.click()
        assert "At most 8 alphas are compared" in chromium.find("#alphas-note").text and not other.is_selected()
        for check in (CONTRAST, NAMELESS, WIDER):
            assert chromium.driver.execute_script(check) == []
        chromium.shot(shots / "alphas_eight.png")
        chromium.find("#legend button:nth-child(2)").click()
        chromium.until(lambda: legend() == [shown[0].partition("/")[2], *shown[2:]], "the seven that are left")
        assert len(ticked()) == 7 and "At most" not in chromium.find("#alphas-note").text
        assert "web2%2FAlp1" not in chromium.driver.current_url and "web%2FAlp1" in chromium.driver.current_url
        chromium.driver.execute_script("localStorage.setItem('lang', 'zh')")
        chromium.open("/alphas?ids=Alp1", width=360, height=1500)
        chromium.until(lambda: legend() == shown[:2], "both alphas of the id")
        assert "web2/Alp1: 盈亏不足两日" in chromium.find("#reasons").text
        assert chromium.driver.title == "Alpha"
        assert chromium.driver.execute_script(WIDER) == []
        chromium.shot(shots / "alphas_zh.png")
        assert chromium.complaints() == []


@pytest.mark.skipif(missing_browser() is not None, reason=str(missing_browser()))
def test_of_more_alphas_than_are_listed_it_is_said(alphas: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketdata_assets.web.alphas.MOST_LISTED", 2)
    with served(on(mongo=alphas)) as url, browser(url, TOKEN) as chromium:
        chromium.open("/alphas")
        chromium.until(
            lambda: "2 alphas; of 3 that are stored the best 2 are read" in chromium.text(), "what is left out"
        )


def test_flows_show_their_loads_rows_and_what_was_rejected(flows: str) -> None:
    with served(on(flows)) as url:
        found = answer(url, "/api/flows")
        [mine] = [one for one in found["flows"] if one["name"] == "closes"]
        assert (mine["table"], mine["files"], mine["failed"], mine["rows"], mine["rejected"]) == ("closes", 1, 0, 2, 1)
        assert [(one["flow"], one["file"], one["outcome"], one["rows"]) for one in found["loads"]] == [
            ("closes", "a.csv", "ok", 2)
        ]
        one = answer(url, "/api/flows/closes")
        assert one["columns"] == {"code": "text", "day": "date", "close": "numeric(16,4)"}
        assert one["rows"] == [["000002", "2024-01-03", "11.0000"], ["000001", "2024-01-02", "9.5000"]]
        [rejected] = one["rejected"]
        assert (rejected["file"], rejected["line"], HOSTILE in rejected["raw"]) == ("a.csv", 3, True)
        assert [(load["flow"], load["file"]) for load in one["loads"]] == [("closes", "a.csv")]
        assert get(url, "/api/flows/nothing").status_code == 404


def test_rejected_rows_of_a_file_that_failed_are_counted(flows: str, tmp_path: Path) -> None:
    (tmp_path / "data" / "closes" / "b.csv").write_text("code,day,close\n000001,2024-01-04,x\n000002,2024-01-04,y\n")
    run_flow(read(tmp_path / "flows" / "closes" / "defs.yaml"), flows, tmp_path / "data", run_id="2", fanout=Fanout(1))
    with served(on(flows)) as url:
        [mine] = [one for one in answer(url, "/api/flows")["flows"] if one["name"] == "closes"]
        shown = answer(url, "/api/flows/closes")["rejected"]
        assert (mine["failed"], mine["rejected"]) == (1, len(shown)) and len(shown) > 1


def test_a_flow_whose_table_is_gone_or_whose_file_is_broken_keeps_its_loads(flows: str, tmp_path: Path) -> None:
    with served(on(flows)) as url:
        with psycopg.connect(flows) as connection:
            connection.execute("DROP TABLE closes")
        gone = answer(url, "/api/flows/closes")
        assert (gone["table"], gone["rows"], len(gone["loads"])) == (False, [], 1)
        (tmp_path / "flows" / "closes" / "defs.yaml").write_text(FLOW + "target: twice\n")
        found = answer(url, "/api/flows")
        [mine] = [one for one in found["flows"] if one["name"] == "closes"]
        assert (bool(mine["error"]), mine["table"], mine["files"], mine["rows"]) == (True, None, 1, 2)
        assert [(one["flow"], one["file"]) for one in found["loads"]] == [("closes", "a.csv")]


def test_pages_without_any_data_say_so(dsn: str, mongo_uri: str) -> None:
    with served(on(dsn, mongo=mongo_uri)) as url:
        assert answer(url, "/api/flows")["loads"] == []
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT to_regclass('marketdata_ledger')").fetchone() == (None,), "only read"
        assert json.dumps(answer(url, "/api/alphas")["columns"])


@pytest.mark.skipif(missing_browser() is not None, reason=str(missing_browser()))
def test_alphas_are_sorted_filtered_and_compared_in_the_browser(alphas: str, flows: str, shots: Path) -> None:
    with served(on(flows, mongo=alphas)) as url, browser(url, TOKEN) as chromium:
        chromium.open("/alphas?ids=Alp1,Alp2", height=1300)
        chromium.until(lambda: "Alp3" in chromium.text(), "the list")
        chromium.until(lambda: "Cumulative PnL in USD." in chromium.text(), "the comparison")
        chromium.complaints()  # of the front page, which asks a server that is missing
        ids = [one.text for one in chromium.driver.find_elements("css selector", "#alphas tbody td:nth-child(2)")]
        assert ids == ["Alp1", "Alp2", "Alp3"]
        assert len(chromium.driver.find_elements("css selector", "#chart canvas")) > 0
        correlation = np.corrcoef(*(np.diff(one) for one in pnl().values()))[0, 1]
        cells = [one.text for one in chromium.driver.find_elements("css selector", "#matrix tbody td")]
        assert cells == ["1.00", f"{correlation:.2f}", f"{correlation:.2f}", "1.00"]
        for check in (CONTRAST, NAMELESS, WIDER):
            assert chromium.driver.execute_script(check) == []
        chromium.shot(shots / "alphas.png")
        focused = "return document.activeElement.textContent"
        chromium.find("#alphas thead th:nth-child(3) button").send_keys(Keys.ENTER)
        assert chromium.driver.execute_script(focused) == "account ↑", "a column keeps the focus"
        chromium.find("#legend button").send_keys(Keys.ENTER)
        chromium.until(lambda: chromium.driver.execute_script(focused) == "Alp2 ×", "the name that is left")
        chromium.find("#search").send_keys("ＡＬＰ１")
        chromium.until(lambda: "1 alphas" in chromium.find("#alphas-note").text, "letters of full width")
        chromium.find("#alphas tbody input").click()
        chromium.find("#search").clear()
        chromium.find("#least").send_keys("2")
        chromium.until(lambda: "1 alphas" in chromium.find("#alphas-note").text, "what the filter leaves")
        chromium.find("#alphas tbody input").click()
        chromium.until(lambda: not chromium.find("#matrix").is_displayed(), "that one alpha is left")
        assert chromium.complaints() == []
        chromium.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": STATUS})
        chromium.open("/")
        chromium.until(lambda: "1,204 alphas\nnewest 2026-01" in chromium.find("#alphas").text, "the alphas of both")
        chromium.until(lambda: "2 rows\nnewest" in chromium.find("#flows").text, "the rows of the table of the flow")
        chromium.complaints()  # of a server that is missing
        chromium.open("/flows?flow=closes", height=1100)
        chromium.until(lambda: "2 of its 2 rows, 1 of its 1 rejected rows" in chromium.text(), "the rows of the flow")
        assert HOSTILE in chromium.find("#rejected").text
        for check in (CONTRAST, NAMELESS, WIDER):
            assert chromium.driver.execute_script(check) == []
        chromium.shot(shots / "flows.png")
        assert chromium.complaints() == []


@pytest.mark.skipif(missing_browser() is not None, reason=str(missing_browser()))
def test_paper_has_all_of_a_page(alphas: str, flows: str, shots: Path) -> None:
    with served(on(flows, mongo=alphas)) as url, browser(url, TOKEN) as chromium:
        for path in ("/", "/alphas?ids=Alp1,Alp2", "/flows?flow=closes", "/quality"):
            chromium.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
            chromium.open(path)
            chromium.until(lambda: chromium.driver.execute_script(SETTLED), "all answers")
            more = "for (const one of document.querySelectorAll('#problems li, #alphas tbody tr'))"
            chromium.driver.execute_script(f"{more} for (let n = 0; n < 30; n++) one.after(one.cloneNode(true))")
            chromium.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
            size = {"width": 718, "height": 2400, "deviceScaleFactor": 1, "mobile": False}
            chromium.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            chromium.driver.execute_script("dispatchEvent(new Event('beforeprint'))")
            chromium.shot(shots / f"paper{path.partition('?')[0].replace('/', '_')}.png")
            assert chromium.driver.execute_script(CLIPPED) == [], path
