"""The bars jobs end to end: a month, a range and all months, failing files, re-deliveries, late corrections."""

import base64
import io
import re
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from marketdata_assets.defs.checks import specs
from marketdata_assets.defs.partition_results import find_mismatches
from marketdata_assets.partitions import BAR_MONTHS
from marketdata_demo import sample_bars
from tests.defs.bar_runs import (
    BARS,
    KLINE,
    STOCKS,
    BarsEnv,
    deliver,
    failures,
    materializations,
    totals,
    verdicts,
    write_zip,
)
from tests.defs.nights import night
from tests.plain_kline import KLINE_QUERY, expected_kline, file_rows


def rows_by_month(bars_env: BarsEnv) -> dict[str, int]:
    return dict(bars_env.rows("SELECT to_char(time, 'YYYY-MM'), count(*) FROM stock_1min_qfq GROUP BY 1"))


def prices(bars_env: BarsEnv, month: str) -> list[tuple[Any, ...]]:
    return bars_env.rows("SELECT code, open, close FROM stock_monthly_kline WHERE month = %s ORDER BY 1", f"{month}-01")


def test_one_month_lands_and_its_neighbours_do_not(either_bars_env: BarsEnv) -> None:
    path = deliver(either_bars_env.folder, 2014, [3, 4])
    result = either_bars_env.run("2014-03")
    assert result.success, failures(result)
    in_march = [row for row in file_rows(path) if row["时间"].startswith("2014-03")]
    assert rows_by_month(either_bars_env) == {"2014-03": len(in_march)}
    assert either_bars_env.rows(KLINE_QUERY) == [line for line in expected_kline(path) if line[0] == "2014-03"]
    assert either_bars_env.materialized(BARS) == either_bars_env.materialized(KLINE) == {"2014-03"}


def test_a_range_is_one_run_with_a_row_count_for_each_month(either_bars_env: BarsEnv) -> None:
    path = deliver(either_bars_env.folder, 2014, [3, 4])
    result = either_bars_env.run("2014-02", "2014-05")
    assert result.success, failures(result)
    counts = {
        month: found["dagster/partition_row_count"]
        for month, found in materializations(either_bars_env.instance, result, BARS).items()
    }
    assert counts == {"2014-02": 0, **rows_by_month(either_bars_env), "2014-05": 0}
    assert sum(counts.values()) == len(file_rows(path))
    assert either_bars_env.materialized(KLINE) == {"2014-02", "2014-03", "2014-04", "2014-05"}
    assert either_bars_env.rows(KLINE_QUERY) == expected_kline(path)
    assert len(either_bars_env.instance.get_runs()) == 1


def test_every_check_runs_and_passes(either_bars_env: BarsEnv) -> None:
    deliver(either_bars_env.folder, 2014, [3, 4])
    assert verdicts(either_bars_env.run("2014-03", "2014-04", checks=True)) == dict.fromkeys(
        [
            "every_row_accounted",
            "month_gain",
            "negative_volume_or_amount",
            "ohlc_order",
            "volume_without_amount",
            "units",
            "missing_name",
            "kline_equals_minutes",
            "one_price_basis",
        ],
        True,
    ) | {"bars_complete": False}, "three days of a month are no month"


@pytest.mark.slow
def test_all_months_are_one_run_and_a_repeat_reads_nothing(bars_env: BarsEnv) -> None:
    path = deliver(bars_env.folder, 2014, [3, 4])
    months = BAR_MONTHS.get_partition_keys()
    assert bars_env.run(months[0], months[-1]).success
    of_2014 = {month for month in months if month.startswith("2014-")}
    assert bars_env.materialized(BARS) == bars_env.materialized(KLINE) == of_2014
    again = bars_env.run("2014-01", "2014-12")
    assert again.success
    found = totals(again, BARS)
    assert (found["rows"], found["files_loaded"], found["files_unchanged"]) == (0, 0, 2)
    assert found["dagster/row_count"] == len(file_rows(path))
    assert bars_env.rows(KLINE_QUERY) == expected_kline(path)


def test_metadata_of_a_load_tells_rows_codes_and_speed(bars_env: BarsEnv) -> None:
    path = deliver(bars_env.folder, 2014, [3])
    found = totals(bars_env.run("2014-03"), BARS)
    rows = len(file_rows(path))
    assert (found["dagster/row_count"], found["rows"], found["rejected"], found["codes"]) == (rows, rows, 0, 2)
    assert (found["files_loaded"], found["files_failed"]) == (2, 0)
    assert found["rows_per_second"] > 0
    header, rule, *lines = found["preview"].splitlines()
    assert header == "| time | code | name | open | high | low | close | volume | amount |"
    assert rule.count("---") == 9
    assert len(lines) == len(set(lines)) == 8
    standing = set(bars_env.rows("SELECT time::text, code, volume::text FROM stock_1min_qfq"))
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert {(row[0], row[1], row[7]) for row in cells} <= standing


@pytest.mark.usefixtures("pictures")
def test_metadata_of_the_kline_names_the_engine_and_draws_candles(
    either_bars_env: BarsEnv, request: pytest.FixtureRequest
) -> None:
    image = pytest.importorskip("matplotlib.image")
    deliver(either_bars_env.folder, 2014, [3, 4])
    found = totals(either_bars_env.run("2014-03", "2014-04"), KLINE)
    assert found["engine"] == request.node.callspec.params["either_dsn"]
    assert (found["dagster/row_count"], found["rows"], found["codes"], found["months"]) == (4, 4, 2, 2)
    assert len(found["preview"].splitlines()) == 2 + 4
    encoded = re.fullmatch(r"!\[.*\]\(data:image/png;base64,(.*)\)", found["candlesticks"])
    assert encoded
    picture = image.imread(io.BytesIO(base64.b64decode(encoded[1], validate=True)), format="png")
    assert picture.shape[0] > 100
    assert len({tuple(colour) for colour in picture.reshape(-1, picture.shape[2])[::7]}) > 3


def test_refused_rows_are_counted_and_the_books_still_balance(bars_env: BarsEnv) -> None:
    days = [day for day in sample_bars.weekdays(2014) if day.month == 3 and day.day <= 3]
    lines = sample_bars.csv_bytes(sample_bars.stock_year("sz000001", "样本地产", days, 7)).split(b"\n")
    cells = lines[5].split(b",")
    lines[5] = b",".join([*cells[:3], b"inf", *cells[4:]])
    write_zip(bars_env.folder / "2014_1min.zip", {"sz000001_2014.csv": b"\n".join(lines)})
    result = bars_env.run("2014-03", checks=True)
    found = totals(result, BARS)
    assert (found["rows"], found["rejected"]) == (len(lines) - 3, 1)
    assert verdicts(result)["every_row_accounted"]
    assert bars_env.rows("SELECT source, unit, line FROM marketdata_quarantine") == [
        ("2014_1min.zip", "sz000001_2014.csv", 6)
    ]


def test_truncated_file_fails_the_run_and_the_good_months_stay(bars_env: BarsEnv) -> None:
    good = deliver(bars_env.folder, 2014, [12])
    bad = deliver(bars_env.folder, 2015, [1, 2])
    whole = bad.read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    result = bars_env.run("2014-12", "2015-02")
    assert not result.success
    said = failures(result)["stock_1min_qfq"]
    assert "2015_1min.zip" in said
    assert "Deliver the file again" in said
    assert "2014_1min.zip" not in said
    assert bars_env.materialized(BARS) == {"2014-12"}
    assert bars_env.materialized(KLINE) == {"2014-12"}
    assert sum(rows_by_month(bars_env).values()) == len(file_rows(good))

    bad.write_bytes(whole)
    assert bars_env.run("2014-12", "2015-02").success
    assert bars_env.materialized(BARS) == bars_env.materialized(KLINE) == {"2014-12", "2015-01", "2015-02"}
    assert bars_env.rows(KLINE_QUERY) == expected_kline(good, bad)


def test_one_bad_member_fails_its_months_and_its_neighbours_are_loaded(bars_env: BarsEnv) -> None:
    deliver(bars_env.folder, 2014, [12])
    path = deliver(bars_env.folder, 2015, [1])
    good = sample_bars.csv_bytes(sample_bars.stock_year("sz000001", "样本地产", sample_bars.weekdays(2015)[:2], 7))
    write_zip(path, {"sh600001_2015.csv": good.replace("成交额".encode(), b"other"), "sz000001_2015.csv": good})
    result = bars_env.run("2014-12", "2015-01")
    assert not result.success
    said = failures(result)["stock_1min_qfq"]
    assert "1 files failed" in said
    assert "2015_1min.zip!sh600001_2015.csv" in said
    assert bars_env.materialized(BARS) == {"2014-12"}
    assert bars_env.materialized(KLINE) == {"2014-12", "2015-01"}
    assert bars_env.rows("SELECT DISTINCT code FROM stock_1min_qfq WHERE time >= '2015-01-01'") == [("000001.SZ",)]


def bad_and_good(bars_env: BarsEnv, dividend: float = 0.0, age_seconds: float = 1800) -> list[Any]:
    """Deliver January and February of 2015 with a member that no profile fits; the K-lines of the good one."""
    good = deliver(bars_env.folder, 2015, [1, 2], dividend=dividend, stocks=STOCKS[1:])
    lines = expected_kline(good)
    data = good_member(good)
    bad = data.replace("成交额".encode(), b"other")
    write_zip(good, {"sh600001_2015.csv": bad, "sz000001_2015.csv": data}, age_seconds)
    return lines


def good_member(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read("sz000001_2015.csv")


@pytest.mark.parametrize("job", [pytest.param("bars", marks=pytest.mark.slow), "bars_and_kline"])
def test_kline_of_good_stocks_is_refreshed_in_the_run_in_which_a_member_fails(
    either_bars_env: BarsEnv, job: str
) -> None:
    both = deliver(either_bars_env.folder, 2015, [1, 2], age_seconds=7200)
    assert either_bars_env.run("2015-01", "2015-12").success
    bank = [line for line in expected_kline(both) if line[1] == "600001.SH"]
    lines = bad_and_good(either_bars_env, dividend=1.5)
    result = either_bars_env.run("2015-01", "2015-03", job=job)
    assert list(failures(result)) == ["stock_1min_qfq"]
    assert either_bars_env.rows(KLINE_QUERY) == sorted(lines + bank)
    marked = either_bars_env.instance.fetch_materializations(KLINE, limit=2).records
    assert {record.run_id for record in marked} == {result.run_id}
    assert {record.partition_key for record in marked} == {"2015-01", "2015-02"}
    assert {record.asset_materialization.metadata["stale_stocks"].value for record in marked} == {"600001.SH"}
    keys = [spec.key for asset in (BARS, KLINE) for spec in specs(asset.to_user_string())]
    found = either_bars_env.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    assert {found[key].run_id for key in keys} == {result.run_id}
    failed = {key.name for key in keys if found[key].status.value != "SUCCEEDED"}
    assert failed == {"bars_complete"}, "three days of a month are no month"
    months = ["2015-01", "2015-02"]
    assert find_mismatches(either_bars_env.instance, KLINE.to_user_string(), BAR_MONTHS, months) == set()


def test_months_changed_beside_those_requested_are_refreshed_in_the_same_run(either_bars_env: BarsEnv) -> None:
    deliver(either_bars_env.folder, 2014, [3, 4])
    assert either_bars_env.run("2014-03", "2014-04").success
    corrected = deliver(either_bars_env.folder, 2014, [3, 4], dividend=1.5, age_seconds=1800)
    result = either_bars_env.run("2014-03")
    assert result.success
    assert set(materializations(either_bars_env.instance, result, KLINE)) == {"2014-03", "2014-04"}
    assert either_bars_env.rows(KLINE_QUERY) == expected_kline(corrected)


def test_failed_refresh_after_a_failed_file_hides_neither(bars_env: BarsEnv) -> None:
    bad_and_good(bars_env)
    assert not bars_env.run("2015-01", "2015-12").success
    bad_and_good(bars_env, dividend=1.5, age_seconds=900)
    with psycopg.connect(bars_env.dsn) as connection:
        [(relation,)] = bars_env.rows("SELECT relkind FROM pg_class WHERE relname = 'stock_monthly_kline'")
        kind = {"r": "TABLE", "v": "VIEW"}[relation]
        connection.execute(f"COMMENT ON {kind} stock_monthly_kline IS 'marketdata definition of old'".encode())
    result = bars_env.run("2015-01", "2015-12")
    assert "sh600001_2015.csv" in failures(result)["stock_1min_qfq"]
    logged = [entry.user_message for entry in bars_env.instance.all_logs(result.run_id)]
    assert any("the K-line is not refreshed" in text and "kline rebuild" in text for text in logged)
    assert materializations(bars_env.instance, result, KLINE) == {}


def test_redelivered_year_marks_every_month_it_changed(bars_env: BarsEnv) -> None:
    deliver(bars_env.folder, 2014, [1, 2, 3])
    assert bars_env.run("2014-01", "2014-03", job="bars").success
    before = dict(bars_env.rows("SELECT time, close FROM stock_1min_qfq WHERE code = '000001.SZ'"))
    deliver(bars_env.folder, 2014, [1, 2, 3], dividend=2.0, age_seconds=1800)
    result = bars_env.run("2014-02", job="bars")
    assert result.success, failures(result)
    marked = materializations(bars_env.instance, result, BARS)
    assert set(marked) == {"2014-01", "2014-02", "2014-03"}
    assert {month: found["dagster/partition_row_count"] for month, found in marked.items()} == rows_by_month(bars_env)
    after = dict(bars_env.rows("SELECT time, close FROM stock_1min_qfq WHERE code = '000001.SZ'"))
    assert after == {time: close - 2 for time, close in before.items()}


def test_late_correction_reaches_the_kline_by_its_month(either_bars_env: BarsEnv) -> None:
    deliver(either_bars_env.folder, 2014, [3, 4])
    assert either_bars_env.run("2014-03", "2014-04").success
    corrected = deliver(either_bars_env.folder, 2014, [3, 4], dividend=1.5, age_seconds=1800)
    before = prices(either_bars_env, "2014-03")
    assert either_bars_env.run("2014-03").success
    shift = Decimal("1.5")
    assert prices(either_bars_env, "2014-03") == [(code, o - shift, c - shift) for code, o, c in before]
    assert either_bars_env.run("2014-04").success
    assert either_bars_env.rows(KLINE_QUERY) == expected_kline(corrected)


def test_rows_that_vanished_from_the_file_leave_the_kline(either_bars_env: BarsEnv) -> None:
    deliver(either_bars_env.folder, 2014, [3, 4])
    assert either_bars_env.run("2014-03", "2014-04").success
    before = sum(rows_by_month(either_bars_env).values())
    rest = deliver(either_bars_env.folder, 2014, [4], age_seconds=1800)
    result = either_bars_env.run("2014-03", "2014-04")
    assert result.success
    assert set(rows_by_month(either_bars_env)) == {"2014-04"}
    found = totals(result, BARS)
    assert found["removed"] == before - sum(rows_by_month(either_bars_env).values())
    half = found["removed"] // 2
    members = ", ".join(f"{half:,} rows of 2014_1min.zip!{code}_2014.csv" for code, _ in STOCKS)
    assert found["removed_of"] == members
    assert either_bars_env.rows(KLINE_QUERY) == expected_kline(rest)


def test_forced_load_reads_unchanged_files_again(bars_env: BarsEnv) -> None:
    path = deliver(bars_env.folder, 2014, [3])
    assert bars_env.run("2014-03", job="bars").success
    bars_env.change("DELETE FROM stock_1min_qfq WHERE code = '000001.SZ'")
    forced = bars_env.run("2014-03", job="bars", ops={"stock_1min_qfq": {"config": {"force": True}}})
    assert totals(forced, BARS)["rows"] == len(file_rows(path))
    assert rows_by_month(bars_env) == {"2014-03": len(file_rows(path))}


def test_kline_of_another_definition_is_refused_until_rebuilt(either_bars_env: BarsEnv) -> None:
    path = deliver(either_bars_env.folder, 2014, [3])
    assert either_bars_env.run("2014-03").success
    [(kind,)] = either_bars_env.rows("SELECT relkind::text FROM pg_class WHERE relname = 'stock_monthly_kline'")
    with_mark = f"COMMENT ON {'TABLE' if kind == 'r' else 'VIEW'} stock_monthly_kline IS 'marketdata definition of old'"
    with psycopg.connect(either_bars_env.dsn) as connection:
        connection.execute(with_mark)
    refused = either_bars_env.run("2014-03")
    assert not refused.success
    assert "marketdata kline rebuild" in failures(refused)["stock_monthly_kline"]
    assert either_bars_env.run("2014-03", ops={"stock_monthly_kline": {"config": {"rebuild": True}}}).success
    assert either_bars_env.rows(KLINE_QUERY) == expected_kline(path)


def test_months_that_no_file_covers_are_missing(bars_env: BarsEnv) -> None:
    deliver(bars_env.folder, 2014, [3, 4])
    result = bars_env.run("2013-11", "2014-05")
    assert result.success, failures(result)
    proven = {f"2014-0{number}" for number in range(1, 6)}
    for asset in (BARS, KLINE):
        assert bars_env.materialized(asset) == proven
        found = materializations(bars_env.instance, result, asset)
        rows = {month: own["dagster/partition_row_count"] for month, own in found.items()}
        assert {month for month, count in rows.items() if count} == {"2014-03", "2014-04"}
        [last] = [month for month, own in found.items() if "dagster/row_count" in own]
        assert last == max(found), "the figures of the table are with the last partition alone"
        assert not {"rows", "files_loaded", "seconds"} & {name for own in found.values() for name in own}
    requests = night(bars_env.instance).run_requests
    months = {one.tags.get("dagster/asset_partition_range_start", "") for one in requests if "bars" in one.job_name}
    assert not any(month.startswith("2013") for month in months), "a month that no file covers is requested by nobody"
