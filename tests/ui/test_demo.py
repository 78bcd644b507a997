"""The demo from the command line and in a real browser: summary, exact K-lines, each page, its end, a second time.

One demo with its UI is looked at from all sides; a second one on the same folder comes after its sudden death.
"""

import datetime as dt
import itertools
import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import psutil
import psycopg
import pytest

from marketdata_assets.defs.checks import specs
from marketdata_assets.defs.exchanges.days import HISTORY
from marketdata_assets.defs.exchanges.report import TABLES
from marketdata_assets.partitions import BAR_MONTHS
from marketdata_demo import sample_bars, sample_flows, sample_reconciliation, sample_ticks
from marketdata_demo.venues.market import VENUES
from tests.cli.commands import answer, apart
from tests.plain_kline import KLINE_QUERY, expected_kline
from tests.ui import attack, nginx
from tests.ui.browser import REBOUND, Browser, browser, missing_browser
from tests.ui.clicks import Launched, backfill, materialise
from tests.ui.pages import (
    ASSETS,
    GROUPS,
    KLINE,
    OUTSIDE,
    OVER_ALL,
    SUMMARY,
    Group,
    fold,
    links,
    open_asset,
    open_tab,
    unfold,
)
from tests.ui.running_ui import Marketdata, postgres_dsn, running, short_folder

pytestmark = pytest.mark.slow

DAILY_FILES = 100
OF_EARLIER_YEARS = sample_bars.STOCKS[:1]
FLOWS = ("stock_daily", "stock_daily_indicators")
SWITCHED = {
    *("bars_files", "bars_kline", "alphas_hourly", "alphas_daily", "alphas_rotation"),
    *("alphas_changes", "alphas_records_daily", "alphas_catalogues_weekly"),
    *("alphas_files", "alphas_follow", "alphas_accounts", "ticks_files", "ticks_daily"),
    *(
        "ticks_symbols_daily",
        "reference_daily",
        "reference_files",
        "exchanges_captures",
        "exchanges_drain",
        "exchanges_hourly",
    ),
    *(f"flows_{flow}_{what}" for flow in FLOWS for what in ("files", "clock")),
    "repair_selected",
    *(
        "repair_backfills",
        "system_health",
        "system_housekeeping_daily",
        "system_backup_daily",
        "system_alert",
        "system_heartbeat",
        "system_killed_runs",
    ),
}
LAUNCHED_SECONDS = 1200
DRAWN = ("alpha_summary", "exchange_gaps", "exchange_ohlcv_1m", "exchange_trades", KLINE, "tick_data")
"""Assets with a picture; the others have tables, or figures alone."""

FULL = ("exchange_gaps", "exchange_ohlcv_1m")
"""Those of which the demo fills every partition."""

FACTS = """query Facts($key: AssetKeyInput!) {assetNodeOrError(assetKey: $key) {... on AssetNode {
  description isPartitioned isMaterializable assetChecksOrError {... on AssetChecks {checks {name}}}}}}"""
AUTOMATION = """{repositoriesOrError {... on RepositoryConnection {nodes {
  sensors {name state: sensorState {status}} schedules {name state: scheduleState {status}}}}}}"""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Two of the three years of bars, of one stock, and few daily files are there; the demo leaves files alone."""
    today = dt.datetime.now(ZoneInfo("Asia/Shanghai")).date()
    with short_folder() as folder:
        for year in (today.year - 2, today.year - 1):
            sample_bars.write_year(folder / "bars", year, OF_EARLIER_YEARS)
        sample_flows.write(folder / "flows_data" / "stock_daily", DAILY_FILES, today - dt.timedelta(days=1))
        yield folder


@pytest.fixture(scope="module")
def demo(home: Path) -> Iterator[Marketdata]:
    """The demo as a script starts it with `&`, deaf to SIGINT."""
    with running("demo", home, interrupt="SIG_IGN") as started:
        yield started


@pytest.fixture(scope="module")
def chromium(demo: Marketdata) -> Iterator[Browser]:
    missing = missing_browser()
    if missing and os.environ.get("CI"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    with browser(demo.url, demo.token) as opened:
        yield opened


@pytest.fixture(scope="module")
def launched(chromium: Browser) -> Launched:
    """A materialisation and a backfill that are under way."""
    months = BAR_MONTHS.get_partition_keys()[-4:-1]
    wanted = backfill(chromium, KLINE, months[0], months[-1])
    return Launched(materialise(chromium, SUMMARY), wanted)


@pytest.fixture(scope="module")
def left(demo: Marketdata) -> list[str]:
    """What outlives the demo's sudden death; tests of what it shows come before."""
    return demo.end(signal.SIGKILL)


def bar_files(home: Path) -> list[Path]:
    return sorted((home / "bars").iterdir())


def stored(home: Path, query: str) -> list[tuple[Any, ...]]:
    """What the demo's database answers; that it has the rows of the files, the K-line shows to the last digit."""
    with psycopg.connect(postgres_dsn(home)) as connection:
        return connection.execute(query.encode()).fetchall()


def test_the_link_that_logs_in_is_in_no_log(home: Path, demo: Marketdata) -> None:
    said = (home / "logs" / "up.log").read_text()
    assert "Ctrl-C stops everything" in said
    assert demo.token not in said


def test_summary_has_one_line_per_table(home: Path, demo: Marketdata) -> None:
    ours = itertools.takewhile(lambda line: not line.startswith("\x1b"), demo.out.read_text().splitlines())
    bars, kline, alphas, records, *others = ours  # Dagster's coloured lines come after them
    catalogues, others = others[:3], others[3:]
    reference, ticks, exchanges, flows = others[:5], others[5:10], others[10:14], others[14:-1]
    [(rows,)] = stored(home, "SELECT count(*) FROM stock_1min_qfq")
    assert bars.startswith(f"minute bars   {rows:,} rows, 0 rejected, ")
    assert bars.endswith(f" rows/s; {len(sample_bars.STOCKS)} codes, 0 files unchanged")
    assert kline.startswith("monthly kline ")
    assert kline.endswith(" 10 checks passed")
    assert alphas.startswith("alphas        288 documents, 288 inserted, 0 updated, 0 unchanged, 0 rejected, ")
    assert alphas.endswith(" 20 checks passed")
    assert re.fullmatch(
        r"alpha records [\d,]+ record sets of \d+ alphas, 0 failed, [\d,]+ requests; 18 checks passed", records
    )
    assert [line.split()[0] for line in catalogues] == ["brain_data_fields:", "brain_data_sets:", "brain_operators:"]
    assert [line.split()[0] for line in reference] == [
        *("trading_calendar", "instruments", "suspensions", "adjust_factors", "price_limits")
    ]
    months, stocks = sample_ticks.MONTHS, len(sample_ticks.STOCKS)
    assert [line.split()[0] for line in ticks] == ["tick_data", "order_book", "factors", "checks", "Successful:"]
    assert f"; {months * stocks} ok, 0 empty, 0 provisional, {stocks} unsupported, 0 failed, " in ticks[0]
    assert f"; {stocks} ok, 0 empty, 0 provisional, {months * stocks} unsupported, 0 failed, " in ticks[1]
    assert ticks[3].split()[1:] == ["9", "of", "9", "passed"]
    assert ticks[4] == f"Successful: {stocks}/{stocks}"
    tables, gaps, days, history = exchanges
    assert tables.startswith("exchanges     ")
    assert f" 0 rejected, 0 unreadable, captures: {len(VENUES)} ok; " in tables
    assert tables.endswith(f" {len(specs(*TABLES))} checks passed")
    assert gaps.startswith("exchange gaps 1 of 2 days; 0 healed now with 0 trades, 0 open; ")
    assert days.startswith("exchange bars ")
    assert days.endswith(f" {len(specs('exchange_gaps', 'exchange_ohlcv_1m'))} checks passed")
    assert history.startswith("exchange history 8,655 rows, 0 rejected; days of streams: 15 ok; ")
    assert history.endswith(f" {len(specs(HISTORY))} checks passed")
    assert [line.split()[0] for line in flows] == list(FLOWS)
    loaded = f"; {DAILY_FILES} files loaded, 0 unchanged, 0 failed; 4 checks passed"
    assert all(line.endswith(loaded) for line in flows)
    assert others[-1].startswith(
        f"reconciliation {len(sample_reconciliation.CHANGES)} values on which sources disagree, "
    )


def test_kline_is_right_to_the_last_digit(home: Path, demo: Marketdata) -> None:
    lines = stored(home, KLINE_QUERY)
    assert lines == expected_kline(*bar_files(home))
    assert len({code for _, code, *_ in lines}) == len(sample_bars.STOCKS)
    assert len({month for month, *_ in lines}) >= 24
    assert any(line[3] < 0 for line in lines)


@pytest.mark.usefixtures("demo")
def test_samples_end_before_today(home: Path) -> None:
    today = dt.datetime.now(ZoneInfo("Asia/Shanghai")).date()
    files = bar_files(home)
    [(newest,)] = stored(home, "SELECT max(time)::date FROM stock_1min_qfq")
    assert newest < today
    assert [path.name[:4] for path in files][:2] == [str(today.year - 2), str(today.year - 1)]


def is_counted(lines: list[str]) -> bool:
    """Whether the tab of partitions has its counts: some materialized, none failed."""
    materialized = [line for line in lines if line.startswith("Materialized (")]
    return bool(materialized) and "Failed (0)" in lines and "Materialized (0)" not in materialized


def facts(demo: Marketdata, name: str) -> dict[str, Any]:
    found = demo.ask(FACTS, key={"path": [name]})["assetNodeOrError"]
    assert isinstance(found, dict)
    return found


@pytest.fixture
def quiet(chromium: Browser) -> Iterator[Browser]:
    """The browser, whose pages must not complain of anything while the test looks at them."""
    chromium.complaints()
    yield chromium
    assert (chromium.complaints(), chromium.toasts()) == ([], [])


def edges(demo: Marketdata) -> set[tuple[str, str]]:
    """Each asset with one that depends on it."""
    nodes = demo.ask("{assetNodes {assetKey {path} dependencyKeys {path}}}")["assetNodes"]
    return {(above["path"][0], node["assetKey"]["path"][0]) for node in nodes for above in node["dependencyKeys"]}


def neighbours(demo: Marketdata, group: Group) -> set[str]:
    """Assets of other groups that the page of a group links to."""
    own = {*group.outside, *group.assets}
    return {name for edge in edges(demo) if own & {*edge} for name in edge} - own


def test_the_lineage_of_ashares_is_one_graph(demo: Marketdata) -> None:
    found = edges(demo)
    for name in ("stock_daily", "stock_daily_indicators"):
        assert {("trading_calendar", name), ("instruments", name)} <= found
    reached = {"trading_calendar"}
    while more := {name for edge in found if reached & {*edge} for name in edge} - reached:
        reached |= more
    assert reached >= {
        "stock_1min_qfq",
        "stock_monthly_kline",
        "tick_data",
        "factors",
        "symbol_registry",
        "instruments",
        "stock_daily",
        "stock_daily_indicators",
        "reconciliation",
    }


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_lineage_goes_from_outside_to_the_tables(quiet: Browser, demo: Marketdata, group: Group) -> None:
    group.open(quiet)
    own, near = {*group.outside, *group.assets}, neighbours(demo, group)
    shown = {line for line in quiet.text().splitlines() if line in (*OUTSIDE, *ASSETS)}
    assert own <= shown <= own | near
    assert set(group.outside) <= group.dashed(quiet) <= set(group.outside) | near


def test_every_asset_of_the_demo_is_looked_at(demo: Marketdata) -> None:
    found = demo.ask("{assetNodes {assetKey {path}}}")["assetNodes"]
    assert sorted(node["assetKey"]["path"][0] for node in found) == sorted((*OUTSIDE, *ASSETS, "start_here"))


@pytest.mark.parametrize("name", OUTSIDE)
def test_page_of_what_comes_from_outside_says_what_it_is(quiet: Browser, name: str) -> None:
    open_asset(quiet, name)
    page = quiet.text()
    assert "External Asset" in page
    assert "No metadata found" not in page
    assert {"Columns", "requests", "files"} & {*page.splitlines()}


@pytest.mark.parametrize("name", ASSETS)
def test_page_of_an_asset_shows_its_rows_pictures_passed_checks_and_partitions(
    quiet: Browser, demo: Marketdata, name: str
) -> None:
    open_asset(quiet, name)
    page, told = quiet.text(), facts(demo, name)
    assert "Never materialized" not in page
    assert "market-data" in page
    assert told["description"].split(".")[0].replace("`", "")[:60] in " ".join(page.split())
    assert re.search(r"Row count\n[0-9,]+\n", page) or name in ("alpha_files", "alpha_packages")
    drawn = set()
    for number in range(len(links(quiet))):
        opened = unfold(quiet, number)
        drawn.add(opened.tag_name)
        assert opened.tag_name != "img" or opened.size["width"] > 400
        fold(quiet)
    assert ("img" in drawn) == (name in DRAWN)
    checks = {check["name"] for check in told["assetChecksOrError"].get("checks", [])}
    if checks:
        ended = {(check, "Failed" if name == "reconciliation" else "Succeeded") for check in checks}
        open_tab(quiet, "checks", lambda lines: ended <= {*itertools.pairwise(lines)}, str(ended))
    if told["isPartitioned"]:
        lines = open_tab(quiet, "partitions", is_counted, "materialized partitions, and none that failed")
        assert ("Missing (0)" in lines) == (name in FULL)


def test_a_materialisation_and_a_backfill_are_launched_by_clicks(launched: Launched) -> None:
    """They go on while the pages over all assets are looked at; those of the assets themselves come before."""
    assert re.fullmatch(r"/runs/[0-9a-f-]{36}", launched.run)
    assert re.fullmatch(r"/runs/b/[a-z]+", launched.backfill)


@pytest.mark.parametrize("path", OVER_ALL)
def test_pages_over_all_assets_open_without_complaint(quiet: Browser, path: str) -> None:
    quiet.open(path)
    quiet.until(lambda: OVER_ALL[path] in quiet.text(), OVER_ALL[path])


def test_timeline_has_the_runs_that_filled_the_demo(quiet: Browser) -> None:
    quiet.open("/overview/timeline")
    jobs = {"bars_and_kline", "alphas", "symbols", "ticks_selected", "exchange_tables", "exchange_days"}
    quiet.until(lambda: jobs <= set(quiet.text().splitlines()), f"runs of {jobs}")


def test_automation_is_on(demo: Marketdata) -> None:
    [found] = demo.ask(AUTOMATION)["repositoriesOrError"]["nodes"]
    states = {one["name"]: one["state"]["status"] for one in (*found["sensors"], *found["schedules"])}
    assert states == dict.fromkeys(SWITCHED, "RUNNING")


def test_what_was_launched_by_clicks_ended_green(quiet: Browser, launched: Launched) -> None:
    quiet.open(launched.run)
    quiet.until(lambda: "Success" in quiet.text().splitlines(), "success", LAUNCHED_SECONDS)
    quiet.open(launched.backfill)
    quiet.until(lambda: "100% completed" in quiet.text(), "success", LAUNCHED_SECONDS)


@pytest.mark.parametrize(
    "where",
    [REBOUND, "127.0.0.1", "localhost", "tunnel", "proxy"],
)
def test_a_page_of_another_site_starts_nothing(demo: Marketdata, chromium: Browser, where: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        target = ours = f"http://127.0.0.1:{demo.port}"
        if where == "tunnel":
            target = ours = f"http://127.0.0.1:{stack.enter_context(attack.tunnel(demo.port))}"
        if where == "proxy":
            name = stack.enter_context(nginx.proxied(demo.port, tmp_path))
            target, ours = f"https://{name}", f"https://{nginx.LOGIN}@{name}"
            without = httpx.get(target.replace(nginx.NAME, "127.0.0.1"), verify=False, trust_env=False)
            assert (without.status_code, without.headers["WWW-Authenticate"]) == (401, 'Basic realm="marketdata"')
        chromium.driver.get(f"{ours}/?token={demo.token}")
        chromium.driver.get(target)
        chromium.until(lambda: "Deployment" in chromium.text(), "the UI")
        assert chromium.driver.execute_async_script(attack.OPEN_SOCKET) == "open"
        port = stack.enter_context(attack.attacking(target, where))
        chromium.driver.get(f"http://{'localhost' if where in ('tunnel', 'proxy') else where}:{port}/")
        chromium.until(lambda: chromium.driver.execute_script("return window.attempts"), "the end of the attempts", 60)
        attempts = chromium.driver.execute_script("return window.attempts")
    assert set(attempts) >= set(attack.HOW)
    assert attempts["socket"] == "failed"
    assert not any(said.startswith("read {") for said in attempts.values()), attempts
    assert attack.reached(demo.ask(attack.SYMBOLS), where) == []


def test_what_the_page_sends_is_done_for_who_may(demo: Marketdata) -> None:
    demo.ask(attack.ADD, key="allowed-json")
    assert attack.reached(demo.ask(attack.SYMBOLS), "allowed") == ["json"]
    demo.ask(attack.DELETE, keys=["allowed-json"])
    assert attack.reached(demo.ask(attack.SYMBOLS), "allowed") == []


def test_the_ui_answers_to_no_foreign_name(demo: Marketdata, chromium: Browser) -> None:
    chromium.driver.get(f"http://{REBOUND}:{demo.port}/?token={demo.token}")
    assert "Host 'rebound.example:" in chromium.text()
    assert "MARKETDATA_UI_HOSTS" in chromium.text()


def test_sudden_death_leaves_nothing(left: list[str]) -> None:
    assert left == []


def test_second_demo_changes_no_file_loads_no_row_and_stops_what_it_started(home: Path, left: list[str]) -> None:
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in bar_files(home)}
    again = apart(home, "demo", "--no-ui", "--json")
    assert again.returncode == 0, again.stderr
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in bar_files(home)} == before
    said = answer(again)
    assert said["success"] is True
    assert (said["bars"]["rows"], said["bars"]["rejected"], said["bars"]["files_loaded"]) == (0, 0, 0)
    assert said["bars"]["files_unchanged"] == len(sample_bars.STOCKS) + len(OF_EARLIER_YEARS) * (len(before) - 1)
    assert said["kline"]["months"] == len(BAR_MONTHS.get_partition_keys())
    assert (said["checks_passed"], said["checks_failed"], said["error"]) == (10, [], None)
    assert (said["alphas"]["documents"], said["alphas"]["success"]) == (0, True)
    assert said["alphas"]["packages_unchanged"] > 0
    assert again.stderr == ""
    assert [said["ticks"]["tables"][name]["changed"] for name in ("tick_data", "order_book", "factors")] == [0, 0, 0]
    assert (said["ticks"]["success"], said["ticks"]["tables"]["tick_data"]["requests"]) == (True, 0)
    assert said["exchanges"]["tables"]["captures"]["unchanged"] == len(VENUES)
    assert [said["flows"][name]["files_unchanged"] for name in FLOWS] == [DAILY_FILES] * len(FLOWS)
    assert [said["flows"][name]["rows"] for name in FLOWS] == [0] * len(FLOWS)
    assert not (home / "stack.json").exists()
    commands = [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
    assert [command for command in commands if str(home) in command] == []


def test_ctrl_c_of_up_with_its_ui_ends_everything_quietly() -> None:
    with short_folder() as home, running("up", home) as started:
        assert started.end(signal.SIGINT) == []
        assert "Traceback" not in started.text(), started.text()[-3000:]
        assert started.process.returncode == 0
