"""The night of the bars: which months are found missing, failed, stale or without a K-line, and when it rests."""

import pytest

from marketdata_assets.bars.ingest import ingest
from marketdata_assets.defs.selection import months_of
from marketdata_assets.fanout import Fanout
from marketdata_assets.months import month_ranges
from marketdata_assets.partitions import BAR_MONTHS, months_of_tags
from marketdata_demo import sample_bars
from tests.defs.bar_runs import BARS, KLINE, BarsEnv, aged, deliver, execute, write_zip
from tests.defs.nights import night
from tests.plain_kline import KLINE_QUERY, expected_kline


def tonight(bars_env: BarsEnv) -> list[tuple[str, str]]:
    """The ranges of months that the night asks for, of whatever job."""
    return [
        one
        for request in night(bars_env.instance, "bars").run_requests
        for one in month_ranges(months_of(request.run_config) or months_of_tags(request.tags))
    ]


def repair(bars_env: BarsEnv) -> list[bool]:
    """Run what the schedule asks for."""
    return [
        execute(bars_env.instance, str(request.job_name), request.run_config, request.tags).success
        for request in night(bars_env.instance, "bars").run_requests
    ]


def test_empty_database_without_files_needs_nothing(either_bars_env: BarsEnv) -> None:
    assert tonight(either_bars_env) == []


def test_files_never_loaded_are_due_and_once_loaded_are_not(either_bars_env: BarsEnv) -> None:
    paths = [deliver(either_bars_env.folder, year, [3, 4]) for year in (2012, 2014)]
    assert tonight(either_bars_env) == [("2012-01", "2012-12"), ("2014-01", "2014-12")]
    assert repair(either_bars_env) == [True, True]
    assert either_bars_env.rows(KLINE_QUERY) == expected_kline(*paths)
    assert tonight(either_bars_env) == []


def test_months_left_out_so_far_are_due(bars_env: BarsEnv) -> None:
    deliver(bars_env.folder, 2014, [3, 4])
    assert bars_env.run("2014-03", "2014-11").success
    assert tonight(bars_env) == [("2014-01", "2014-02"), ("2014-12", "2014-12")]


@pytest.mark.slow
def test_failed_file_is_due_every_night_until_it_is_mended(bars_env: BarsEnv) -> None:
    path = deliver(bars_env.folder, 2014, [3])
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    assert tonight(bars_env) == [("2014-01", "2014-12")]
    assert repair(bars_env) == [False]
    assert tonight(bars_env) == [("2014-01", "2014-12")]
    path.write_bytes(whole)
    assert repair(bars_env) == [True]
    assert tonight(bars_env) == []


@pytest.mark.slow
def test_corrected_file_of_long_ago_is_found_stale(either_bars_env: BarsEnv) -> None:
    deliver(either_bars_env.folder, 2014, [3, 4])
    assert either_bars_env.run("2014-01", "2014-12").success
    corrected = deliver(either_bars_env.folder, 2014, [3, 4], dividend=1.5, age_seconds=1800)
    assert tonight(either_bars_env) == [("2014-01", "2014-12")]
    assert repair(either_bars_env) == [True]
    assert either_bars_env.rows(KLINE_QUERY) == expected_kline(corrected)
    assert tonight(either_bars_env) == []


def test_bars_without_a_kline_are_due(bars_env: BarsEnv) -> None:
    path = deliver(bars_env.folder, 2014, [3, 4])
    assert bars_env.run("2014-01", "2014-12", job="bars").success
    assert tonight(bars_env) == [("2014-03", "2014-04")]
    assert repair(bars_env) == [True]
    assert bars_env.rows(KLINE_QUERY) == expected_kline(path)
    assert tonight(bars_env) == []


def test_kline_older_than_its_bars_is_due(either_bars_env: BarsEnv) -> None:
    deliver(either_bars_env.folder, 2014, [3, 4])
    assert either_bars_env.run("2014-01", "2014-12").success
    corrected = deliver(either_bars_env.folder, 2014, [3, 4], dividend=1.5, age_seconds=1800)
    assert either_bars_env.run("2014-03", job="bars").success
    assert "2014-04" in either_bars_env.materialized(BARS) & either_bars_env.materialized(KLINE)
    assert ("2014-03", "2014-04") in tonight(either_bars_env)
    assert all(repair(either_bars_env))
    assert either_bars_env.rows(KLINE_QUERY) == expected_kline(corrected)
    assert tonight(either_bars_env) == []


def test_file_that_fails_every_night_does_not_keep_the_kline_of_others_stale(either_bars_env: BarsEnv) -> None:
    bad = either_bars_env.folder / "sh600009_2014.csv"
    for dividend in (0, 1):
        good = deliver(either_bars_env.folder, 2014, [3], dividend=dividend, age_seconds=1800 - dividend)
        aged(bad, 900) if bad.exists() else bad.write_bytes(b"not a header")
        ingest(either_bars_env.dsn, either_bars_env.folder, ["2014-03"], run_id="x", fanout=Fanout(1))
        assert repair(either_bars_env) == [False]
        assert either_bars_env.rows(KLINE_QUERY) == expected_kline(good)
        assert "2014-03" in either_bars_env.materialized(KLINE)
        assert tonight(either_bars_env) == [("2014-01", "2014-12")]


@pytest.mark.slow
def test_zip_whose_members_name_the_year_is_due(bars_env: BarsEnv) -> None:
    days = [day for day in sample_bars.weekdays(2014) if day.month == 3 and day.day <= 3]
    data = sample_bars.csv_bytes(sample_bars.stock_year("sz000001", "样本地产", days, 7))
    path = write_zip(bars_env.folder / "bars.zip", {"sz000001_2014.csv": data})
    assert tonight(bars_env) == [("2014-01", "2014-12")]
    assert repair(bars_env) == [True]
    assert bars_env.rows(KLINE_QUERY) == expected_kline(path)
    assert tonight(bars_env) == []


@pytest.mark.slow
def test_file_of_which_no_month_is_known_is_due_until_it_loads(bars_env: BarsEnv) -> None:
    newest = BAR_MONTHS.get_partition_keys()[-1]
    path = bars_env.folder / "20140303.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"date,open\n2014-03-03,10\n")
    for _ in range(2):
        assert tonight(bars_env) == [(newest, newest)]
        assert repair(bars_env) == [False]
    days = [day for day in sample_bars.weekdays(2014) if day.month == 3][:2]
    data = sample_bars.csv_bytes(sample_bars.stock_year("sz000001", "样本地产", days, 7))
    path.write_bytes(data.replace(b"2014-03-0", b"2014/3/").replace(b" 09:", b" 9:"))
    assert b"2014/3/3 9:31:00" in path.read_bytes()
    assert tonight(bars_env) == [("2014-03", "2014-03"), (newest, newest)]  # the failed run has left the newest red
    assert repair(bars_env) == [True, True]
    assert bars_env.rows("SELECT min(time)::text, count(*) FROM stock_1min_qfq") == [("2014-03-03 09:30:00", 482)]
    assert tonight(bars_env) == []
