"""Reference data from the command line: dropped files without a token, what status and doctor say, a file with an
error."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from marketdata_assets.cli.demo import today
from marketdata_assets.local.stack import LocalStack
from marketdata_demo import sample_reference
from tests.cli.commands import answer, marketdata

Run = Callable[..., subprocess.CompletedProcess[str]]
DAILY = ("suspensions", "adjust_factors", "price_limits")


@pytest.fixture
def run(running: LocalStack, tables_url: str, tmp_path: Path) -> Run:
    variables = {"MARKETDATA_CLICKHOUSE_URL": tables_url, "MARKETDATA_REFERENCE_DIR": tmp_path}
    return lambda *arguments: marketdata(running.settings.root, *arguments, **variables)


@pytest.mark.slow
def test_files_are_loaded_and_what_is_unknown_is_counted(run: Run, tmp_path: Path) -> None:
    sample_reference.write(tmp_path, today())
    loaded = run("ingest", "reference", "--json")
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    tables = answer(loaded)["tables"]
    assert list(tables) == ["trading_calendar", "instruments", *DAILY]
    assert {tables[name]["unknown_days"] for name in DAILY} == {0}
    assert [one["checks_failed"] for one in answer(loaded)["runs"]] == [[], []]
    shown = answer(run("status", "--json"))["assets"]
    rows = {row["asset"]: row for row in shown if row["group"] == "reference"}
    assert list(rows) == ["trading_calendar", "instruments", *DAILY]
    assert rows["trading_calendar"]["newest"] == f"{today().year + 1}-12-31"
    assert rows["price_limits"]["unknown_days"] > 200
    assert rows["price_limits"]["missing"] == 23
    said = answer(run("doctor", "--json"))["calendar"]
    assert (said["known_until"], said["warning"]) == (f"{today().year + 1}-12-31", "")
    assert f"trading days are known until {today().year + 1}-12-31" in run("doctor").stdout


def test_file_with_an_error_fails_the_command_with_line_and_value(run: Run, tmp_path: Path) -> None:
    (tmp_path / "suspensions.csv").write_text("symbol,date\n600000.SH,2026-3\n")
    failed = run("ingest", "reference", "--months", "2026-01:2026-03")
    assert failed.returncode == 1
    said = " ".join(failed.stderr.split())
    [told] = [one for one in said.split("- ") if "suspensions.csv:2: column 'date' must not be '2026-3'" in one]
    assert "suspensions of 2026-01, 2026-02, 2026-03:" in told
    assert "Traceback" not in failed.stderr
    [row] = answer(run("quarantine", "show", "reference", "--json"))["rows"]
    assert (row["place"], row["raw"]) == ("suspensions.csv:2", "600000.SH,2026-3")
    (tmp_path / "suspensions_2026-03.csv").write_text("symbol,date\n600000.SH,2026-03-02\n")
    failed = run("ingest", "reference", "--months", "2026-03")
    said = " ".join((failed.stdout + failed.stderr).split())
    assert failed.returncode == 1
    assert "check failed files_read: such as file suspensions.csv" in said
    assert "2 files: 1 loaded, 1 failed (suspensions.csv:" in said
