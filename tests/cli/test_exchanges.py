"""Exchanges from the command line: captures, the stream, days, and what status and quarantine say of them."""

import datetime as dt
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.defs.checks import specs
from marketdata_assets.defs.exchanges.report import TABLES
from marketdata_assets.exchanges.records import Gap
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.stores import clickhouse
from marketdata_demo.venues.captures import Written, write
from marketdata_demo.venues.market import Plan
from tests.cli.commands import answer, marketdata

YESTERDAY = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
START = dt.datetime.combine(YESTERDAY, dt.time(9), dt.UTC)


@dataclass(frozen=True)
class Shell:
    """The running stack with a ClickHouse database of its own, and captures in a folder."""

    stack: LocalStack
    url: str
    folder: Path

    def run(self, *arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
        ours: dict[str, object] = {"MARKETDATA_CLICKHOUSE_URL": self.url, "MARKETDATA_CAPTURES_DIR": self.folder}
        found = marketdata(self.stack.settings.root, *arguments, **(ours | variables))
        assert "Traceback" not in found.stderr, found.stderr
        return found

    def said(self, *arguments: str, code: int = 0, **variables: object) -> dict[str, Any]:
        found = self.run(*arguments, "--json", **variables)
        assert found.returncode == code, found.stdout + found.stderr
        return answer(found)

    def sample(self) -> Written:
        return write(self.folder, Plan(START, minutes=4))


@pytest.fixture
def shell(running: LocalStack, tables_url: str, tmp_path: Path) -> Shell:
    return Shell(running, tables_url, tmp_path / "captures")


def test_captures_days_status_and_quarantine(shell: Shell) -> None:
    written = shell.sample()
    first = shell.said("ingest", "captures")
    assert first["rows"]["exchange_trades"] == sum(written.trades.values())
    assert (first["captures"]["ok"], first["rejected"], first["problems"]) == (len(written.files), 0, [])
    assert (first["checks_passed"], first["checks_failed"]) == (len(specs(*TABLES)), [])
    days = shell.run("ingest", "days", "--no-fetch")
    assert days.returncode == 0, days.stderr
    gaps, bars = days.stdout.splitlines()
    assert gaps.startswith("exchange gaps 1 of 1 days; 0 healed now with 0 trades, 0 open; ")
    assert bars.startswith(f"exchange bars {sum(written.bars.values()):,} of ")
    assert bars.endswith(f"{len(specs('exchange_gaps', 'exchange_ohlcv_1m'))} checks passed")
    rows = {row["asset"]: row for row in shell.said("status")["assets"] if row["group"] == "exchanges"}
    assert rows["exchange_trades"]["rows"] == sum(written.trades.values())
    assert (rows["exchange_ohlcv_1m"]["ok"], rows["exchange_gaps"]["ok"], rows["exchange_gaps"]["open"]) == (1, 1, 0)
    assert shell.said("quarantine", "show", "exchanges") == {"rows": [], "limit": 20, "more": []}
    again = shell.run("ingest", "captures", str(written.files[0]))
    assert again.stdout.startswith("exchanges     nothing new; 0 rejected, 0 unreadable, captures: 1 unchanged; ")
    nothing_due = shell.said("ingest", "captures")
    assert (nothing_due["run_id"], nothing_due.keys()) == (None, first.keys())
    assert nothing_due["rows"] == dict.fromkeys(first["rows"], 0)
    assert nothing_due["captures"] == dict.fromkeys(first["captures"], 0) | {"unchanged": len(written.files)}
    assert "next: marketdata ingest days" in again.stderr
    unknown = shell.run("ingest", "captures", MARKETDATA_EXCHANGE_KEEP_DAYS='{"trades": 90}')
    assert (unknown.returncode, "did you mean 'trade'?" in unknown.stderr) == (1, True)


def test_capture_that_is_not_there_fails_by_name(shell: Shell) -> None:
    found = shell.run("ingest", "captures", str(shell.folder / "nothing.capture.zst"))
    assert found.returncode == 2
    assert "is no file" in found.stderr


def test_drain_without_a_stream_says_what_makes_one(shell: Shell) -> None:
    found = shell.run("drain")
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("exchanges     nothing loaded; ")
    assert "created when the collector starts" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ingest", "days", "--first", "2026-01-02", "--last", "2026-01-01"), "2026-01-01 is before 2026-01-02"),
        (("ingest", "days", "--first", "1999-01-01"), "days are partitions from"),
        (("ingest", "captures", "--exchange", "mtgox"), "'mtgox' is none of binance, "),
    ],
)
def test_what_cannot_be_is_refused(shell: Shell, arguments: tuple[str, ...], said: str) -> None:
    found = shell.run(*arguments)
    assert found.returncode != 0
    assert said in " ".join(found.stderr.replace("│", " ").split())


@pytest.mark.slow
def test_days_are_those_that_have_to_be_computed_and_gaps_stay_open_with_their_reason(shell: Shell) -> None:
    """Captures of days ago: without days, the command takes the days that they are of."""
    old = START - dt.timedelta(days=3)
    written = write(shell.folder, Plan(old, minutes=5))
    write(shell.folder / "new", Plan(START, minutes=5))
    before = write(shell.folder / "before", Plan(START - dt.timedelta(days=400), minutes=5))
    assert shell.said("ingest", "captures")["success"]
    found = shell.run("ingest", "days", "--no-fetch", "--json")
    assert found.returncode == 0, found.stderr
    told = answer(found)
    assert told["exchange_ohlcv_1m"]["days"] == 2
    assert told["exchange_ohlcv_1m"]["rows"] == 2 * sum(written.bars.values())
    assert "1 days with trades" in found.stderr
    assert f"{(START - dt.timedelta(days=400)).date()}" in found.stderr
    assert before.trades
    again = shell.said("ingest", "days", "--no-fetch")
    assert again["exchange_ohlcv_1m"]["days"] == 1, "nothing is due: yesterday"
    gap = Gap(
        "binance", "spot", "BTC-USDT", "BTCUSDT", "trade", 1, 5, int(START.timestamp() * 1e9), time.time_ns(), "x"
    )
    with clickhouse.connect(shell.url) as client:
        insert_records(client, [gap])
    day = f"{YESTERDAY}"
    young = shell.said("ingest", "days", "--first", day)["exchange_gaps"]
    assert (young["open"], [*young["open_reasons"]]) == (
        1,
        ["younger than 10 minutes: trades around it may not be loaded yet"],
    )
