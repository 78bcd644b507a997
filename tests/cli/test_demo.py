"""`marketdata demo` in its own process: exit code, summary, exact K-lines, and a second time on the same folder."""

import datetime as dt
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pytest
from commands import answer, apart, stack_on
from plain_kline import KLINE_QUERY, expected_kline, file_rows

from marketdata_assets.bars import sample
from marketdata_assets.partitions import BAR_MONTHS
from marketdata_assets.ticks import sample as sample_ticks


@dataclass(frozen=True)
class Demo:
    """A data folder and what the first demo on it said."""

    home: Path
    first: subprocess.CompletedProcess[str]

    @property
    def files(self) -> list[Path]:
        return sorted((self.home / "bars").iterdir())


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """The first run. Two of its three years are there already, a day each month, as the demo leaves files alone."""
    home = Path(tempfile.mkdtemp(prefix="md-"))
    this_year = dt.datetime.now(ZoneInfo("Asia/Shanghai")).year
    (home / "bars").mkdir()
    for year in (this_year - 2, this_year - 1):
        write_a_day_a_month(home / "bars" / f"{year}_1min.zip", year)
    yield Demo(home, apart(home, "demo", "--no-ui"))
    shutil.rmtree(home, ignore_errors=True)


def write_a_day_a_month(path: Path, year: int) -> None:
    days = {day.month: day for day in sample.weekdays(year)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for code, name in sample.STOCKS:
            frame = sample.stock_year(code, name, list(days.values()), 7, sample.DIVIDENDS.get(code, 0.0))
            archive.writestr(f"{code}_{year}.csv", sample.csv_bytes(frame))


def test_demo_ends_well_and_prints_one_summary_line_per_table(demo: Demo) -> None:
    assert demo.first.returncode == 0, demo.first.stderr
    bars, kline, alphas, *ticks = demo.first.stdout.splitlines()
    rows = sum(len(file_rows(path)) for path in demo.files)
    assert bars.startswith(f"minute bars   {rows:,} rows, 0 rejected, ")
    assert bars.endswith(f" rows/s; {len(sample.STOCKS)} codes, 0 files unchanged")
    assert kline.startswith("monthly kline ")
    assert kline.endswith(" 7 checks passed")
    assert alphas.startswith("alphas        288 documents, 288 inserted, 0 updated, 0 unchanged, 0 rejected, ")
    assert alphas.endswith(" 20 checks passed")
    months, stocks = sample_ticks.MONTHS, len(sample_ticks.STOCKS)
    assert [line.split()[0] for line in ticks] == ["tick_data", "order_book", "factors", "checks", "Successful:"]
    assert f"; {months * stocks} ok, 0 empty, 0 unsupported, 0 failed, " in ticks[0]
    assert f"; {stocks} ok, {(months - 1) * stocks} empty, " in ticks[1]
    assert ticks[3].split()[1:] == ["7", "of", "7", "passed"]
    assert ticks[4] == f"Successful: {stocks}/{stocks}"


def test_demo_stops_what_it_started(demo: Demo) -> None:
    assert "stopped 4 servers" in demo.first.stderr
    assert not (demo.home / "stack.json").exists()


def test_kline_of_the_demo_is_right_to_the_last_digit(demo: Demo) -> None:
    with stack_on(demo.home, "postgres") as stack, psycopg.connect(stack.endpoints.postgres_dsn or "") as connection:
        found = connection.execute(KLINE_QUERY).fetchall()
    wanted = expected_kline(*demo.files)
    assert found == wanted
    assert len({code for _, code, *_ in found}) == len(sample.STOCKS)
    assert len({month for month, *_ in found}) >= 24
    assert any(line[3] < 0 for line in found)


def test_second_demo_changes_no_file_and_loads_no_row(demo: Demo) -> None:
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in demo.files}
    again = apart(demo.home, "demo", "--no-ui", "--json")
    assert again.returncode == 0, again.stderr
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in demo.files} == before
    said = answer(again)
    assert said["success"] is True
    assert (said["bars"]["rows"], said["bars"]["rejected"], said["bars"]["files_loaded"]) == (0, 0, 0)
    assert said["bars"]["files_unchanged"] == len(sample.STOCKS) * len(before)
    assert said["kline"]["months"] == len(BAR_MONTHS.get_partition_keys())
    assert (said["checks_passed"], said["checks_failed"], said["error"]) == (7, [], None)
    assert (said["alphas"]["documents"], said["alphas"]["success"]) == (0, True)
    assert said["alphas"]["packages_unchanged"] > 0
    assert again.stderr == ""
    assert [said["ticks"]["tables"][name]["changed"] for name in ("tick_data", "order_book", "factors")] == [0, 0, 0]
    assert (said["ticks"]["success"], said["ticks"]["tables"]["tick_data"]["requests"]) == (True, 0)


def test_samples_end_before_today(demo: Demo) -> None:
    today = dt.datetime.now(ZoneInfo("Asia/Shanghai")).date()
    newest = max(row["时间"][:10] for row in file_rows(demo.files[-1]))
    assert newest < today.isoformat()
    assert [path.name[:4] for path in demo.files][:2] == [str(today.year - 2), str(today.year - 1)]
