"""Bars exported from the command line: counts for people and machines, exit codes, mistakes."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from marketdata_assets.bars import ingest as load_bars
from marketdata_assets.fanout import Fanout
from tests.bars.bar_files import csv_text, deliver, line
from tests.cli.commands import answer, marketdata


@pytest.fixture
def run(home: Path, dsn: str) -> Any:
    """`marketdata` on a database with one minute of two stocks in each of two years."""
    for year in ("2023", "2024"):
        codes = ("sh600000", "sz000001")
        members = {f"{code}.csv": csv_text([line(f"{year}-01-04 09:31:00", code)]) for code in codes}
        deliver(home / "bars" / f"{year}_1min.zip", members)
    load_bars.ingest(dsn, home / "bars", ["2023-01", "2024-01"], run_id="test", fanout=Fanout(1))
    return lambda *arguments: marketdata(home, "export", *arguments, MARKETDATA_POSTGRES_DSN=dsn)


def test_bars_are_exported_and_the_second_time_nothing_is(run: Any, home: Path) -> None:
    first = run("parquet", "out", "--freq", "1d", "--codes", "600000.SH", "000001.SZ", "--years", "2023:2024")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("4 files written, 0 unchanged, 0 removed; 4 rows, ")
    assert pl.scan_parquet(home / "out/**/*.parquet", hive_partitioning=True).collect().height == 4
    again = answer(run("parquet", "out", "--freq", "1d", "--json"))
    assert {name: again[name] for name in ("success", "written", "unchanged", "failed")} == {
        "success": True,
        "written": 0,
        "unchanged": 4,
        "failed": {},
    }
    qlib = run("qlib", "qlib", "--codes", "600000.SH")
    assert qlib.stdout.startswith("1 stocks written, 0 unchanged, 0 removed; 2 rows, "), qlib.stderr
    assert (home / "qlib/calendars/day.txt").read_text() == "2023-01-04\n2024-01-04\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("parquet", "out", "--adjust", "none"), 2, 'adjust="none"'),
        (("parquet", "out", "--codes", "sh600000"), 2, "did you mean '600000.SH'"),
        (("parquet", "out", "--codes", "600009.SH"), 2, "'600009.SH' is no stock with minutes"),
        (("parquet", "out", "--years", "24"), 2, "write 2024 or 2020:2024"),
        (("parquet", "out", "--years", "2024:2020"), 2, "write 2020:2024"),
        (("qlib", "out", "--freq", "2m"), 2, "--freq"),
    ],
)
def test_a_mistake_is_an_exit_code_and_a_remedy(run: Any, arguments: Any, code: int, words: str) -> None:
    failed = run(*arguments)
    assert failed.returncode == code
    assert words in " ".join(failed.stderr.replace("│", " ").split())
