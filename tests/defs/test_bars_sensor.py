"""The file sensor: what it asks for when files come, change, go, are not finished, or are too many for one tick."""

import datetime as dt
import time
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from marketdata_assets.defs.bars import automation
from marketdata_assets.defs.bars.automation import bars_files
from marketdata_assets.partitions import BAR_MONTHS, RANGE_END, RANGE_START
from marketdata_assets.resources import BarFiles, Postgres
from marketdata_demo import sample_bars
from tests.defs.bar_runs import ALL_YEAR, BARS, BarsEnv, aged, deliver, failures, repository, write_zip

Tick = tuple[list[tuple[str, str]], str | None]


def evaluate(bars_env: BarsEnv, cursor: str | None) -> dg._core.definitions.sensor_definition.SensorExecutionData:
    with dg.build_sensor_context(
        instance=bars_env.instance,
        cursor=cursor,
        repository_def=repository(),
        resources={"postgres": Postgres(), "bar_files": BarFiles()},
    ) as context:
        return bars_files.evaluate_tick(context)


def tick(bars_env: BarsEnv, cursor: str | None = None) -> Tick:
    """The ranges of months asked for, and the cursor to go on with."""
    found = evaluate(bars_env, cursor)
    ranges = [(request.tags[RANGE_START], request.tags[RANGE_END]) for request in found.run_requests or []]
    assert bool(ranges) != bool(found.skip_message)
    return ranges, found.cursor


def year(number: int) -> tuple[str, str]:
    return f"{number}-01", f"{number}-12"


def loose_file(path: Path, code: str = "sz000001") -> Path:
    """A file of the first trading day of 2014."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(sample_bars.csv_bytes(sample_bars.stock_year(code, "样本地产", sample_bars.weekdays(2014)[:1], 7)))
    return path


def test_empty_folder_is_skipped(bars_env: BarsEnv) -> None:
    assert tick(bars_env)[0] == []


def test_new_file_asks_for_its_year_once(bars_env: BarsEnv) -> None:
    deliver(bars_env.folder, 2014, [3])
    ranges, cursor = tick(bars_env)
    assert ranges == [year(2014)]
    assert tick(bars_env, cursor) == ([], cursor)


def test_a_correction_of_the_same_size_that_is_older_than_other_files_asks_for_its_year(bars_env: BarsEnv) -> None:
    """As one digit that a vendor corrects, in a copy that keeps its time."""
    for code, seconds in (("sz000001", 7200), ("sz000002", 3600)):
        aged(loose_file(bars_env.folder / f"{code}_2014.csv", code), seconds)
    assert bars_env.run("2014-01", "2014-12").success
    _, cursor = tick(bars_env)
    assert tick(bars_env, cursor)[0] == []
    corrected = bars_env.folder / "sz000001_2014.csv"
    content = corrected.read_bytes()
    corrected.write_bytes(content[:-2] + (b"1" if content[-2:-1] == b"0" else b"0") + content[-1:])
    aged(corrected, 5400)
    assert tick(bars_env, cursor)[0] == [year(2014)]


def test_neighbouring_years_are_one_range_and_a_gap_makes_two(bars_env: BarsEnv) -> None:
    for number in (2012, 2013):
        deliver(bars_env.folder, number, [3])
    assert tick(bars_env)[0] == [("2012-01", "2013-12")]
    (bars_env.folder / "2013_1min.zip").rename(bars_env.folder / "2014_1min.zip")
    assert tick(bars_env)[0] == [year(2012), year(2014)]


def test_changed_file_asks_for_its_year_only(bars_env: BarsEnv) -> None:
    for number in (2012, 2014):
        deliver(bars_env.folder, number, [3])
    _, cursor = tick(bars_env)
    deliver(bars_env.folder, 2014, [3], dividend=1.0, age_seconds=1800)
    assert tick(bars_env, cursor)[0] == [year(2014)]


def test_second_file_of_a_year_asks_for_that_year(bars_env: BarsEnv) -> None:
    deliver(bars_env.folder, 2014, [3])
    _, cursor = tick(bars_env)
    loose = aged(loose_file(bars_env.folder / "late" / "sz000001_2014.csv"), 1800)
    ranges, cursor = tick(bars_env, cursor)
    assert ranges == [year(2014)]
    loose.unlink()
    assert tick(bars_env, cursor)[0] == [year(2014)]


def test_a_file_is_waited_for_until_two_ticks_have_seen_it_unchanged(
    bars_env: BarsEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its modification time is: here it is eight hours ahead, as from a machine in another time zone."""
    now = time.time_ns()
    monkeypatch.setattr(automation.time, "time_ns", lambda: now)
    monkeypatch.setenv("MARKETDATA_BARS_QUIET_SECONDS", "900")
    path = deliver(bars_env.folder, 2014, [3], age_seconds=-8 * 3600)
    first = evaluate(bars_env, None)
    assert not first.run_requests
    assert "2014" in (first.skip_message or "")
    now += 899 * 10**9
    early = evaluate(bars_env, first.cursor)
    assert not early.run_requests
    aged(path, -9 * 3600)
    now += 10**9
    changed = evaluate(bars_env, early.cursor)
    assert not changed.run_requests
    now += 900 * 10**9
    ranges, cursor = tick(bars_env, changed.cursor)
    assert ranges == [year(2014)]
    assert tick(bars_env, cursor)[0] == []


def test_more_than_24_months_are_spread_over_ticks(bars_env: BarsEnv) -> None:
    for number in range(2010, 2015):
        deliver(bars_env.folder, number, [3])
    cursor, asked = None, []
    for _ in range(4):
        ranges, cursor = tick(bars_env, cursor)
        asked.append(ranges)
    assert asked == [[("2010-01", "2011-12")], [("2012-01", "2013-12")], [year(2014)], []]


def test_current_year_is_asked_for_up_to_the_current_month(bars_env: BarsEnv) -> None:
    today = dt.datetime.now(ZoneInfo("Asia/Shanghai"))
    write_zip(bars_env.folder / f"{today.year}_1min.zip", {"sz000001.csv": b""})
    assert tick(bars_env)[0] == [(f"{today.year}-01", BAR_MONTHS.get_partition_keys()[-1])]


def test_year_before_the_first_partition_asks_for_nothing(bars_env: BarsEnv) -> None:
    deliver(bars_env.folder, 1999, [3])
    ranges, cursor = tick(bars_env)
    assert ranges == []
    assert tick(bars_env, cursor) == ([], cursor)


def test_loose_file_without_a_year_asks_for_the_months_inside(bars_env: BarsEnv) -> None:
    days = [day for day in sample_bars.weekdays(2014) if day.month in (3, 6) and day.day <= 3]
    path = bars_env.folder / "correction.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(sample_bars.csv_bytes(sample_bars.stock_year("sz000001", "样本地产", days, 7)))
    aged(path, 1800)
    assert tick(bars_env)[0] == [("2014-03", "2014-03"), ("2014-06", "2014-06")]


def test_one_delivery_has_one_run_key_and_the_next_another(bars_env: BarsEnv) -> None:
    cursor = evaluate(bars_env, None).cursor

    def keys() -> list[str | None]:
        return [request.run_key for request in evaluate(bars_env, cursor).run_requests or []]

    deliver(bars_env.folder, 2012, [3])
    deliver(bars_env.folder, 2014, [3])
    first = keys()
    assert len(set(first)) == 2
    assert keys() == first
    deliver(bars_env.folder, 2014, [3], age_seconds=1800)
    assert not set(keys()) & set(first)
    cursor = None
    assert not set(keys()) & set(first), "a cursor that is lost asks again"


def test_what_the_sensor_asks_for_loads_the_files(bars_env: BarsEnv) -> None:
    deliver(bars_env.folder, 2014, [3, 4])
    [(first, last)], cursor = tick(bars_env)
    result = bars_env.run(first, last, job="bars")
    assert result.success, failures(result)
    assert bars_env.materialized(BARS) == {f"2014-{month:02d}" for month in ALL_YEAR}
    assert bars_env.rows("SELECT DISTINCT to_char(time, 'YYYY-MM') FROM stock_1min_qfq ORDER BY 1") == [
        ("2014-03",),
        ("2014-04",),
    ]
    assert tick(bars_env, cursor)[0] == []


def test_file_that_was_only_touched_or_is_loaded_already_asks_for_nothing(bars_env: BarsEnv) -> None:
    path = deliver(bars_env.folder, 2014, [3])
    assert bars_env.run("2014-01", "2014-12").success
    ranges, cursor = tick(bars_env)
    assert ranges == []
    aged(path, 1800)
    ranges, cursor = tick(bars_env, cursor)
    assert ranges == []
    deliver(bars_env.folder, 2014, [3], dividend=1.0, age_seconds=900)
    assert tick(bars_env, cursor)[0] == [year(2014)]


def test_every_delivery_of_thousands_of_loose_files_is_noticed(bars_env: BarsEnv) -> None:
    paths = [bars_env.folder / f"sh60{n:04d}_{2012 + n % 2}.csv" for n in range(2000)]
    for path in paths:
        path.touch()
        aged(path, 3600)
    ranges, cursor = tick(bars_env)
    assert ranges == [("2012-01", "2013-12")]
    assert cursor is not None
    assert len(cursor) < 200
    aged(paths[1001], 1800)
    assert tick(bars_env, cursor)[0] == [year(2013)]


def test_run_keys_stay_short_however_many_files_there_are(bars_env: BarsEnv) -> None:
    days = sample_bars.weekdays(2014)[:1]
    data = sample_bars.csv_bytes(sample_bars.stock_year("sz000001", "样本地产", days, 7))
    for number in range(200):
        path = bars_env.folder / f"correction of an evening {number}.csv"
        path.write_bytes(data[:400])
        aged(path, 1800)
    [request] = evaluate(bars_env, None).run_requests or []
    assert request.tags[RANGE_START] == "2014-01"
    assert len(request.run_key or "") < 100


FOREIGN = b"date,open,high,low,close,volume,money\n2014-03-03 09:31:00,10,10,10,10,100,100000\n"


def test_a_file_of_which_no_month_is_known_asks_for_a_run_and_so_does_its_correction(bars_env: BarsEnv) -> None:
    newest = BAR_MONTHS.get_partition_keys()[-1]
    path = bars_env.folder / "600001.XSHG.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(FOREIGN)
    aged(path, 1800)
    ranges, cursor = tick(bars_env)
    assert ranges == [(newest, newest)]
    assert "600001.XSHG.csv: its prices are not adjusted" in failures(bars_env.run(newest, newest))["stock_1min_qfq"]
    assert tick(bars_env, cursor)[0] == []
    path.write_bytes(FOREIGN.replace(b"money", b"amount"))
    aged(path, 900)
    assert tick(bars_env, cursor)[0] == [(newest, newest)]
    days = [day for day in sample_bars.weekdays(2014) if day.month == 3][:1]
    path.write_bytes(sample_bars.csv_bytes(sample_bars.stock_year("sz000001", "样本地产", days, 7)))
    aged(path, 600)
    ranges, cursor = tick(bars_env, cursor)
    assert ranges == [("2014-03", "2014-03")]
    assert bars_env.run("2014-03", "2014-03").success
    assert tick(bars_env, cursor)[0] == []
