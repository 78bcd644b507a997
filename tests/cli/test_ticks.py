"""Ticks from the command line: the old words, from a test server and from files, and what every command says."""

import datetime as dt
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from marketdata_assets.cli import app
from marketdata_assets.cli.app import repeat_flags
from marketdata_assets.cli.instance import environment as found_by_dagster
from marketdata_assets.cli.ticks import days
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks import registry, tables
from marketdata_demo.servers.tushare import DAILY, TOKEN, TushareServer
from tests.cli.commands import answer, marketdata
from tests.ticks.unlimited import UNLIMITED

SYMBOLS = ("600000.SH", "600001.SH", "000001.SZ")
BARS_A_DAY = 241


def last_month() -> list[dt.date]:
    """The sessions of the newest past month that has no holiday on a weekday: the test server knows none."""
    day = dt.datetime.now(dt.UTC).date()
    while True:
        day = day.replace(day=1) - dt.timedelta(days=1)
        month = Days.month(f"{day:%Y-%m}")
        if (found := ashares().trading_days(month)) == [one for one in month if one.weekday() < 5]:
            return list(found)


SESSIONS = last_month()
MONTH = f"{SESSIONS[0]:%Y-%m}"


@dataclass(frozen=True)
class TicksEnv:
    """The running stack with a ClickHouse database of its own, a provider, and a folder for files."""

    stack: LocalStack
    tushare: TushareServer
    url: str
    folder: Path

    def variables(self) -> dict[str, object]:
        return {
            "MARKETDATA_CLICKHOUSE_URL": self.url,
            "MARKETDATA_TICKS_DIR": self.folder / "ticks",
            "MARKETDATA_TUSHARE_URL": self.tushare.url,
            "MARKETDATA_YAHOO_URL": self.tushare.url,
            "TUSHARE_TOKEN": TOKEN,
        }

    def run(self, *arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
        found = marketdata(self.stack.settings.root, *arguments, **(self.variables() | variables))
        assert "Traceback" not in found.stderr, found.stderr
        assert TOKEN not in found.stdout + found.stderr
        return found

    def ingest(self, *arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
        config = self.folder / "providers.yaml"
        config.write_text(UNLIMITED)
        return self.run("ingest", "ticks", "--providers-config", str(config), *arguments, **variables)

    def said(self, run: subprocess.CompletedProcess[str], code: int = 0) -> dict[str, Any]:
        assert run.returncode == code, run.stdout + run.stderr
        return answer(run)

    def stocks(self, *symbols: str) -> None:
        self.tushare.symbols[:] = symbols
        fields = ["ts_code", "name", "list_date", "delist_date", "list_status", "exchange"]
        rows = [[symbol, f"name of {symbol}", "20100104", None, "L", "SSE"] for symbol in symbols]
        self.tushare.tables["stock_basic"] = (fields, rows)
        self.tushare.tables["daily_basic"] = (["ts_code", "trade_date", *DAILY], [])
        self.tushare.tables["adj_factor"] = (["ts_code", "trade_date", "adj_factor"], [])

    def register(self, *symbols: str) -> None:
        """As `symbols refresh` does from a list, without a run that loads reference data."""
        (self.folder / "symbols.csv").write_text("\n".join(symbols))
        with clickhouse.connect(self.url) as client:
            tables.ensure(client)
            registry.refresh(client, None, self.folder / "symbols.csv", None, now=dt.datetime.now(dt.UTC))

    def bars(self) -> Mapping[tuple[str, dt.date], int]:
        """Bars by symbol and day."""
        sql = "SELECT toString(symbol) AS symbol, date, toInt64(count()) AS bars FROM tick_data GROUP BY ALL"
        with clickhouse.connect(self.url) as client:
            return {(symbol, day): bars for symbol, day, bars in clickhouse.read(client, sql).rows()}

    def materialised(self, asset: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
        for name, value in found_by_dagster(self.stack.settings, self.stack.endpoints).items():
            monkeypatch.setenv(name, value)
        with dg.DagsterInstance.get() as instance:
            return set(instance.get_materialized_partitions(dg.AssetKey(asset)))


@pytest.fixture
def ticks_env(running: LocalStack, tables_url: str, tmp_path: Path) -> Iterator[TicksEnv]:
    (tmp_path / "ticks").mkdir()
    with TushareServer(()) as tushare:
        yield TicksEnv(running, tushare, tables_url, tmp_path)


def squeezed(text: str) -> str:
    """What a refusal says, without the box around it."""
    return " ".join(text.replace("│", " ").split())


@pytest.mark.slow
def test_old_command_line_loads_all_symbols_and_the_last_line_counts_them(
    ticks_env: TicksEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks_env.stocks(*SYMBOLS)
    nothing = ticks_env.ingest("--symbols", "ALL")
    assert nothing.returncode == 1
    assert "marketdata symbols refresh" in nothing.stderr
    refreshed = ticks_env.run("symbols", "refresh")
    assert refreshed.stdout == "symbols       3 (3 from tushare), 3 added, 0 vanished\n"

    span = ("--start-date", str(SESSIONS[0]), "--end-date", str(SESSIONS[-1]))
    ticks_env.tushare.fail(500, 2, "600001.SH")
    first = ticks_env.ingest("--symbols", "ALL", *span, "--workers", "10", "--data-types", "tick_data", "factors")
    assert first.returncode == 1
    lines = first.stdout.splitlines()
    assert lines[-1] == "Successful: 2/3"
    assert lines[0].startswith("tick_data     ")
    assert "; 2 ok, 0 empty, 0 provisional, 0 unsupported, 1 failed, 2 changed, " in lines[0]
    assert f"tick_data of 600001.SH {MONTH}: " in first.stderr
    wanted = {(symbol, day): BARS_A_DAY for symbol in ("600000.SH", "000001.SZ") for day in SESSIONS}
    assert ticks_env.bars() == wanted
    landed = ticks_env.materialised("tick_data", monkeypatch)
    assert landed >= {f"{MONTH}|600000.SH", f"{MONTH}|000001.SZ"}
    assert f"{MONTH}|600001.SH" not in landed

    ticks_env.tushare.lines.clear()
    second = ticks_env.ingest("--symbols", "ALL", *span)
    assert second.returncode == 0, second.stderr
    assert second.stdout.splitlines()[-1] == "Successful: 3/3"
    assert len([line for line in ticks_env.tushare.lines if "stk_mins" in line]) == 1
    assert ticks_env.bars() == wanted | {("600001.SH", day): BARS_A_DAY for day in SESSIONS}

    rows = {
        row["asset"]: row
        for row in ticks_env.said(ticks_env.run("status", "--json"))["assets"]
        if row["group"] == "ticks"
    }
    bars = rows["tick_data"]
    assert (bars["symbols"], bars["ok"], bars["failed"]) == (3, 3, 0)
    assert bars["missing"] == bars["partitions"] - 3
    assert (bars["rows"], bars["newest"]) == (3 * BARS_A_DAY * len(SESSIONS), str(SESSIONS[-1]))
    assert "order_book" in ticks_env.run("status").stdout


@pytest.mark.slow
def test_named_symbols_and_days_are_loaded_and_nothing_else(ticks_env: TicksEnv) -> None:
    ticks_env.stocks(*SYMBOLS)
    span = ("--start-date", str(SESSIONS[3]), "--end-date", str(SESSIONS[4]))
    run = ticks_env.ingest("--symbols", "600000.SH", "000001.sz", *span, "--json")
    found = ticks_env.said(run)
    assert (found["success"], found["symbols"], found["successful"]) == (True, 2, 2)
    assert set(found["tables"]) == {"tick_data", "factors"}
    assert found["tables"]["tick_data"]["providers"] == {"tushare": 2}
    assert (found["checks_failed"], found["error"]) == ([], None)
    assert ticks_env.bars() == {
        (symbol, day): BARS_A_DAY for symbol in ("600000.SH", "000001.SZ") for day in SESSIONS[3:5]
    }
    assert run.stderr == ""


def test_failures_are_in_the_json_with_their_cause(ticks_env: TicksEnv) -> None:
    ticks_env.stocks("600000.SH")
    ticks_env.tushare.fail(500, 2, "600000.SH")
    day = str(SESSIONS[0])
    run = ticks_env.ingest("--symbols", "600000.SH", "--end-date", day, "--data-types", "tick_data", "--json")
    found = ticks_env.said(run, code=1)
    [failure] = found["tables"]["tick_data"]["failures"]
    assert (failure["symbol"], failure["month"]) == ("600000.SH", MONTH)
    assert "500" in failure["error"]
    assert (found["success"], found["successful"], found["symbols"]) == (False, 0, 1)
    assert "1 of 1 partitions failed" in found["error"]


@pytest.mark.slow
def test_symbols_are_removed_with_their_rows_and_restored(ticks_env: TicksEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks_env.stocks(*SYMBOLS)
    ticks_env.register(*SYMBOLS)
    span = ("--start-date", str(SESSIONS[0]), "--end-date", str(SESSIONS[1]))
    assert ticks_env.ingest("--symbols", "ALL", *span, "--data-types", "tick_data").returncode == 0
    kept = ticks_env.run("symbols", "remove", "600000.sh", "600001.SH")
    assert kept.stdout.splitlines() == [
        "2 symbols removed, 2 of them were partitions",
        "Their rows are kept; --rows deletes them.",
    ]
    assert {symbol for symbol, _ in ticks_env.bars()} == set(SYMBOLS)
    deleted = ticks_env.said(ticks_env.run("symbols", "remove", "600000.SH", "--rows", "--json"))
    assert (deleted["removed"], deleted["partitions_removed"]) == (["600000.SH"], 0)
    assert deleted["rows_deleted"]["tick_data"] == 2 * BARS_A_DAY
    assert {symbol for symbol, _ in ticks_env.bars()} == set(SYMBOLS[1:])
    refreshed = ticks_env.run("symbols", "refresh")
    assert "not registered, since a person removed them: 600000.SH, 600001.SH" in refreshed.stdout
    again = ticks_env.ingest("--symbols", "600000.SH", *span)
    assert again.returncode == 2
    assert "marketdata symbols restore 600000.SH" in squeezed(again.stderr)
    assert ticks_env.run("symbols", "remove", "700000.SH").returncode == 2
    shown = [row for row in ticks_env.said(ticks_env.run("status", "--json"))["assets"] if row["asset"] == "tick_data"]
    assert shown[0]["symbols"] == 1
    assert ticks_env.said(ticks_env.run("symbols", "restore", "600000.SH", "--json")) == {"restored": ["600000.SH"]}
    with clickhouse.connect(ticks_env.url) as client:
        found = registry.refresh(client, None, ticks_env.folder / "symbols.csv", None, now=dt.datetime.now(dt.UTC))
    assert found.added == ("600000.SH",)


def test_files_are_loaded_without_anybody_being_asked(ticks_env: TicksEnv) -> None:
    ticks_env.stocks(*SYMBOLS)
    path = ticks_env.folder / "ticks" / "mine.csv"
    rows = [f"600000.SH,{SESSIONS[2]} 09:{minute}:00,10,10,10,10,100" for minute in range(31, 51)]
    path.write_text("\n".join(["symbol,ts,open,high,low,close,volume", *rows, f"600000.SH,{SESSIONS[2]} x,1,1,1,1,1"]))
    os.utime(path, (time.time() - 100,) * 2)
    assert ticks_env.run("symbols", "refresh", "--provider", "files").returncode == 0
    listed = ticks_env.said(ticks_env.run("symbols", "list", "--json"))
    assert [row["symbol"] for row in listed["symbols"]] == ["600000.SH"]
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    span = ("--start-date", str(SESSIONS[0]), "--end-date", str(SESSIONS[-1]))
    found = ticks_env.said(
        ticks_env.ingest(*span, "--provider", "files", "--data-types", "tick_data", "order_book", "--json")
    )
    assert found["tables"]["tick_data"]["providers"] == {"files": 1}
    assert ticks_env.bars() == {("600000.SH", SESSIONS[2]): 20}
    assert ticks_env.tushare.requests == 0
    bad = [row.replace("10,10,10,10", "10,10,10,ten").replace("600000", "600001") for row in rows]
    (ticks_env.folder / "ticks" / "bad.csv").write_text("\n".join(["symbol,ts,open,high,low,close,volume", *bad]))
    failed = ticks_env.ingest("--symbols", "600001.SH", *span, "--provider", "files", "--data-types", "tick_data")
    assert failed.returncode == 1
    shown = ticks_env.run("status", "--json")
    [row] = json.loads(shown.stdout)["files"]
    assert row["asset"] == "tick_files"
    assert (row["loaded"], row["failed"], row["due"]) == (1, 1, 0)
    [named] = row["named"]
    assert (named["file"], named["state"]) == ("bad.csv", "failed")
    assert "20 of 20" in named["reason"]
    assert "tick_files: 2 files: 1 loaded, 1 failed (bad.csv: " in " ".join(ticks_env.run("status").stdout.split())
    assert "files         2 files: 1 loaded, 1 failed (bad.csv: " in failed.stdout
    of_files = {one["file"]: one for one in json.loads(ticks_env.run("files", "ticks", "--json").stdout)["files"]}
    assert [of_files["mine.csv"][name] for name in ("state", "read", "loaded", "rejected")] == ["loaded", 20, 20, 0]
    assert "bad.csv" not in ticks_env.run("files", "ticks", "--state", "loaded").stdout


@pytest.mark.slow
def test_dropped_files_alone_are_loaded_whatever_their_days_and_symbols_are(ticks_env: TicksEnv) -> None:
    """On a new installation, in which no symbol is registered."""
    header, folder = "symbol,ts,open,high,low,close,volume", ticks_env.folder / "ticks"
    for name, symbol, session in (("a.csv", "600000.SH", SESSIONS[2]), ("b.csv", "000001.SZ", SESSIONS[5])):
        rows = [f"{symbol},{session} 09:{minute}:00,10,10,10,10,100" for minute in range(31, 51)]
        (folder / name).write_text("\n".join([header, *rows]))
    (folder / "order_book").mkdir()
    book = f"symbol,ts,bid_price_1,bid_size_1\n600000.SH,{SESSIONS[2]} 09:31:03,9.4,100\n"
    (folder / "order_book" / "c.csv").write_text(book)
    found = ticks_env.said(ticks_env.ingest("--provider", "files", "--json"))
    assert found["files"] | {"loaded": 0} == dict.fromkeys(found["files"], 0)
    assert (found["files"]["loaded"], found["tables"]["order_book"]["rows"]) == (3, 1)
    assert ticks_env.bars() == {("600000.SH", SESSIONS[2]): 20, ("000001.SZ", SESSIONS[5]): 20}
    again = ticks_env.ingest("--symbols", "all", "--provider", "files")
    assert (again.returncode, "nothing to load: no dropped file is due" in again.stdout) == (0, True)
    assert "files         3 files: 3 loaded" in again.stdout
    assert ticks_env.tushare.requests == 0
    taken_back = ticks_env.run("ticks", "forget", "b.csv").stdout.splitlines()
    assert taken_back[0] == "b.csv: 20 rows deleted, 0 of other files are back, in 1 symbol-months"
    assert ticks_env.bars() == {("600000.SH", SESSIONS[2]): 20}
    assert "nothing to load" in ticks_env.ingest("--symbols", "all", "--provider", "files").stdout
    assert ticks_env.said(ticks_env.run("ticks", "forget", "b.csv", "--undo", "--json"))["remembered"] == ["b.csv"]
    assert ticks_env.ingest("--symbols", "all", "--provider", "files").returncode == 0
    assert ticks_env.bars() == {("600000.SH", SESSIONS[2]): 20, ("000001.SZ", SESSIONS[5]): 20}


def test_what_was_refused_is_shown_with_its_reason(ticks_env: TicksEnv) -> None:
    path = ticks_env.folder / "ticks" / "mine.csv"
    times = [f"{day} {hour}:{minute:02}:00" for day in SESSIONS[:3] for hour in (10, 14) for minute in range(60)]
    rows = [f"600000.SH,{moment},10,10,10,10,100" for moment in times]
    rows[7] = f"600000.SH,{times[7]},10,10,10,ten,100"
    path.write_text("\n".join(["symbol,ts,open,high,low,close,volume", *rows]))
    span = ("--start-date", str(SESSIONS[0]), "--end-date", str(SESSIONS[-1]), "--data-types", "tick_data")
    found = ticks_env.said(ticks_env.ingest("--symbols", "600000.SH", *span, "--provider", "files", "--json"))
    assert found["tables"]["tick_data"]["rejected"] == 1
    [refused] = ticks_env.said(ticks_env.run("quarantine", "show", "ticks", "--json"))["rows"]
    assert refused["dataset"] == "tick_data"
    assert "close is not a number" in refused["reason"]
    assert "ten" in refused["raw"]
    assert "close is not a number" in ticks_env.run("quarantine", "show", "ticks").stdout


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--symbols", "ALL", "600000.SH"], "ALL is every symbol; name it alone"),
        (["--data-types", "tick_data", "quotes"], "'quotes' is none of tick_data, order_book, factors"),
        (["--provider", "bloomberg"], "'bloomberg' is none of tushare, yahoo, alpaca, files"),
        (["--start-date", "2025-06-05", "--end-date", "2025-06-04"], "2025-06-04 is before 2025-06-05"),
        (["--start-date", "2999-01-01"], "2999-01-01 is not over yet"),
        (["--start-date", "yesterday"], "yesterday"),
        (["--providers-config", "nowhere.yaml"], "nowhere.yaml"),
        (["--workers", "-1"], "greater than or equal to 0"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(tmp_path: Path, options: list[str], sentence: str) -> None:
    variables = {"MARKETDATA_HOME": str(tmp_path), "COLUMNS": "200"}
    refused = CliRunner(env=variables).invoke(app, ["ingest", "ticks", *options])
    assert refused.exit_code == 2, refused.output
    assert sentence in squeezed(refused.stderr)
    assert refused.stdout == ""


def test_providers_file_with_a_key_that_nobody_reads_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(UNLIMITED.replace("priority: 1", "priorty: 1"))
    variables = {"MARKETDATA_HOME": str(tmp_path), "COLUMNS": "200"}
    refused = CliRunner(env=variables).invoke(
        app, ["ingest", "ticks", "--providers-config", str(tmp_path / "mine.yaml")]
    )
    assert refused.exit_code == 1
    assert "did you mean 'priority'?" in squeezed(refused.stderr)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("--symbols A B C --json", "--symbols A --symbols B --symbols C --json"),
        ("--symbols A --symbols B C", "--symbols A --symbols B --symbols C"),
        ("--workers 10 --symbols A B", "--workers 10 --symbols A --symbols B"),
        ("--symbols --json", "--symbols --json"),
        ("", ""),
    ],
)
def test_several_values_may_follow_one_flag(words: str, meant: str) -> None:
    assert [*repeat_flags(words.split(), ["--symbols"])] == meant.split()


SATURDAY = dt.datetime(2025, 6, 7, 4, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("start", "end", "meant"),
    [
        (None, None, ("2025-06-06", "2025-06-06")),
        ("2025-06-02", None, ("2025-06-02", "2025-06-06")),
        (None, "2025-06-03", ("2025-06-03", "2025-06-03")),
        ("2025-05-30", "2025-06-03", ("2025-05-30", "2025-06-03")),
        ("2025-06-05", "2025-06-07", ("2025-06-05", "2025-06-07")),
    ],
)
def test_days_are_both_included_and_none_is_the_last_session(
    start: str | None, end: str | None, meant: tuple[str, str]
) -> None:
    found = days(*(dt.date.fromisoformat(one) if one else None for one in (start, end)), SATURDAY)
    assert tuple(map(str, found)) == meant


@pytest.mark.parametrize(
    ("symbols", "day"),
    [
        (["AAPL.US"], "2024-12-31"),
        (["0700.HK"], "2025-01-02"),  # the first is a holiday
        (["BTC-USD"], "2025-01-01"),
        (["AAPL.US", "0700.HK"], "2025-01-02"),
        ([], "2025-01-02"),
    ],
)
def test_the_last_session_is_that_of_the_exchange_of_the_symbols(symbols: list[str], day: str) -> None:
    evening = dt.datetime(2025, 1, 2, 10, tzinfo=dt.UTC)  # of a Thursday in Hong Kong and Shanghai
    assert days(None, None, evening, symbols) == (dt.date.fromisoformat(day),) * 2
