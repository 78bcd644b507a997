"""Every check objects when the tables are changed behind the package's back, and only to the months of its run."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import psycopg

from marketdata_assets.bars import kline
from marketdata_assets.bars.ingest import ingest
from marketdata_assets.fanout import Fanout
from marketdata_assets.partitions import range_tags
from marketdata_demo import sample_bars
from tests.defs.bar_runs import BARS, KLINE, STOCKS, BarsEnv, deliver, run_checks, write_zip

MONTHS = ("2014-03", "2014-04")
POSITIVE = "code = '000001.SZ' AND month = '2014-03-01'"
MINUTES = "code = '000001.SZ' AND time >= '2014-03-01' AND time < '2014-04-01'"
FIRST = f"time = (SELECT min(time) FROM stock_1min_qfq WHERE {MINUTES}) AND {MINUTES}"

WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR

KLINE_CHANGES = [
    ("month_gain", WARN, f"UPDATE stock_monthly_kline SET close = open * 12, high = open * 12 WHERE {POSITIVE}"),
    ("negative_volume_or_amount", ERROR, f"UPDATE stock_monthly_kline SET volume = -1 WHERE {POSITIVE}"),
    ("negative_volume_or_amount", ERROR, f"UPDATE stock_monthly_kline SET amount = -0.01 WHERE {POSITIVE}"),
    ("ohlc_order", ERROR, f"UPDATE stock_monthly_kline SET high = greatest(open, close) - 0.01 WHERE {POSITIVE}"),
    ("ohlc_order", ERROR, f"UPDATE stock_monthly_kline SET low = least(open, close) + 0.01 WHERE {POSITIVE}"),
    ("volume_without_amount", ERROR, f"UPDATE stock_monthly_kline SET amount = 0 WHERE {POSITIVE}"),
    ("missing_name", ERROR, f"UPDATE stock_monthly_kline SET name = NULL WHERE {POSITIVE}"),
    ("units", ERROR, f"UPDATE stock_monthly_kline SET volume = volume * 100 WHERE {POSITIVE}"),
    ("kline_equals_minutes", ERROR, f"UPDATE stock_monthly_kline SET volume = volume + 1 WHERE {POSITIVE}"),
    ("kline_equals_minutes", ERROR, f"DELETE FROM stock_monthly_kline WHERE {POSITIVE}"),
    (
        "kline_equals_minutes",
        ERROR,
        f"""INSERT INTO stock_monthly_kline SELECT month, '600999.SH', name, open, high, low, close, volume, amount
            FROM stock_monthly_kline WHERE {POSITIVE}""",
    ),
]

BAR_CHANGES = [
    ("deleted", f"DELETE FROM stock_1min_qfq WHERE {FIRST}"),
    (
        "inserted",
        f"""INSERT INTO stock_1min_qfq
            SELECT time - interval '1 hour', code, name, open, high, low, close, volume, amount
            FROM stock_1min_qfq WHERE {FIRST}""",
    ),
    (
        "refused but not kept",
        "UPDATE marketdata_ledger SET rejected = rejected + 1, read = read + 1 WHERE unit = 'sz000001_2014.csv'",
    ),
    ("read but not accounted", "UPDATE marketdata_ledger SET read = read + 1 WHERE unit = 'sz000001_2014.csv'"),
    (
        "kept but not counted",
        """INSERT INTO marketdata_quarantine (dataset, source, unit, line, reason, raw)
           VALUES ('stock_1min_qfq', '2014_1min.zip', 'sz000001_2014.csv', 3, 'because', 'text')""",
    ),
]

# Changes of minutes that the K-line's filter lets through, so that both engines show them.
MINUTE_CHANGES = [
    (
        "month_gain",
        WARN,
        f"""UPDATE stock_1min_qfq SET close = open * 2000, high = open * 2000 WHERE {MINUTES}
            AND time = (SELECT max(time) FROM stock_1min_qfq WHERE {MINUTES})""",
    ),
    ("volume_without_amount", ERROR, f"UPDATE stock_1min_qfq SET amount = 0 WHERE {MINUTES}"),
    ("missing_name", ERROR, f"UPDATE stock_1min_qfq SET name = NULL WHERE {MINUTES}"),
    ("units", ERROR, f"UPDATE stock_1min_qfq SET amount = amount / 1000 WHERE {MINUTES}"),
]


def load(bars_env: BarsEnv) -> None:
    """Both tables of two months, without Dagster."""
    deliver(bars_env.folder, 2014, [3, 4])
    ingest(bars_env.dsn, bars_env.folder, MONTHS, run_id="test", fanout=Fanout(1))
    kline.refresh(bars_env.dsn, MONTHS)


@contextmanager
def changed(bars_env: BarsEnv, change: str) -> Iterator[None]:
    """Change the minutes, the ledger or the refused rows, and put all of them back."""
    tables = ("stock_1min_qfq", "marketdata_ledger", "marketdata_quarantine")
    with psycopg.connect(bars_env.dsn, autocommit=True) as connection:
        for table in tables:
            connection.execute(f"CREATE TABLE saved_{table} AS TABLE {table}".encode())
        bars_env.change(change)
        yield
        for table in tables:
            connection.execute(f"TRUNCATE {table}; INSERT INTO {table} TABLE saved_{table}".encode())
            connection.execute(f"DROP TABLE saved_{table}".encode())


def objections(bars_env: BarsEnv, tags: dict[str, str]) -> dict[str, dg.AssetCheckEvaluation]:
    """Run the checks alone and give those that failed, by name."""
    result = run_checks(bars_env.instance, (BARS, KLINE), tags)
    evaluations = result.get_asset_check_evaluations()
    assert len(evaluations) == 10
    found = {evaluation.check_name: evaluation for evaluation in evaluations if not evaluation.passed}
    found.pop("bars_complete", None)  # the deliveries have three days of a month
    return found


def count(evaluation: dg.AssetCheckEvaluation) -> object:
    return evaluation.metadata["objections"].value


def test_changed_kline_is_objected_to(bars_env: BarsEnv) -> None:
    load(bars_env)
    for check, severity, change in KLINE_CHANGES:
        bars_env.change(change)
        found = objections(bars_env, range_tags(*MONTHS))
        assert set(found) == {check, "kline_equals_minutes"}, change
        assert found[check].severity == severity, change
        assert "2014-03" in str(found[check].metadata["examples"].value), change
        kline.refresh(bars_env.dsn, MONTHS, force=True)


def test_odd_minutes_show_in_the_kline_of_either_engine(either_bars_env: BarsEnv) -> None:
    load(either_bars_env)
    for check, severity, change in MINUTE_CHANGES:
        with changed(either_bars_env, change):
            stale = objections(either_bars_env, {"dagster/partition": "2014-03"})
            assert {*stale} - {"units"} == {"kline_equals_minutes"}, change  # which is judged by minutes too
            assert count(stale["kline_equals_minutes"]) == 2, change
            kline.refresh(either_bars_env.dsn, MONTHS, force=True)
            found = objections(either_bars_env, {"dagster/partition": "2014-03"})
            assert set(found) == {check}, change
            assert (found[check].severity, count(found[check])) == (severity, 1), change
        kline.refresh(either_bars_env.dsn, MONTHS, force=True)


def test_rows_that_do_not_add_up_are_objected_to(either_bars_env: BarsEnv) -> None:
    load(either_bars_env)
    for what, change in BAR_CHANGES:
        with changed(either_bars_env, change):
            found = objections(either_bars_env, range_tags(*MONTHS))
        assert found["every_row_accounted"].severity == ERROR, what
        place = "2014-03" if what in ("deleted", "inserted") else "2014_1min.zip!sz000001_2014.csv"
        assert place in str(found["every_row_accounted"].metadata["examples"].value), what
        assert set(found) - {"kline_equals_minutes"} == {"every_row_accounted"}, what
    assert objections(either_bars_env, range_tags(*MONTHS)) == {}


def test_days_that_were_not_delivered_and_a_second_price_basis_are_objected_to(bars_env: BarsEnv) -> None:
    for year, days, dividend in ((2014, ("12-25", "12-31"), 0.0), (2015, ("01-05", "01-06"), 5.0)):
        trading = [dt.date.fromisoformat(f"{year}-{day}") for day in days]
        members = {
            f"{code}_{year}.csv": sample_bars.csv_bytes(sample_bars.stock_year(code, name, trading, 7, dividend))
            for code, name in STOCKS
        }
        write_zip(bars_env.folder / f"{year}_1min.zip", members)
    ingest(bars_env.dsn, bars_env.folder, ["2014-12", "2015-01"], run_id="test", fanout=Fanout(1))
    result = run_checks(bars_env.instance, (BARS, KLINE), range_tags("2014-12", "2015-01"))
    found = {one.check_name: one for one in result.get_asset_check_evaluations()}
    complete, basis = found["bars_complete"], found["one_price_basis"]
    assert [(one.passed, one.severity) for one in (complete, basis)] == [(False, ERROR)] * 2
    assert complete.metadata["days_with_many_silent"].value == 3  # 26, 29 and 30 December
    assert "unknown: suspensions" in str(complete.metadata["examples"].value)
    assert basis.metadata["codes_with_two_bases"].value == len(STOCKS)


def test_checks_look_at_the_months_of_the_run_only(bars_env: BarsEnv) -> None:
    load(bars_env)
    bars_env.change(f"UPDATE stock_monthly_kline SET name = NULL WHERE {POSITIVE}")
    for month in ("2014-04", "2999-01"):  # the latter is no partition yet
        assert objections(bars_env, {"dagster/partition": month}) == {}
    assert set(objections(bars_env, {"dagster/partition": "2014-03"})) == {"missing_name", "kline_equals_minutes"}
    assert set(objections(bars_env, range_tags("2014-02", "2014-03"))) == {"missing_name", "kline_equals_minutes"}


def test_checks_run_by_themselves_look_at_every_month(bars_env: BarsEnv) -> None:
    load(bars_env)
    assert objections(bars_env, {}) == {}
    bars_env.change(f"DELETE FROM stock_1min_qfq WHERE {FIRST}")
    assert set(objections(bars_env, {})) == {"every_row_accounted", "kline_equals_minutes"}


def test_objections_are_counted_whole_and_a_few_are_shown(bars_env: BarsEnv) -> None:
    stocks = [(f"sz00000{n}", "样本") for n in range(1, 9)]
    deliver(bars_env.folder, 2014, [3], stocks=stocks)
    ingest(bars_env.dsn, bars_env.folder, MONTHS, run_id="test", fanout=Fanout(1))
    kline.refresh(bars_env.dsn, MONTHS)
    bars_env.change("UPDATE stock_monthly_kline SET name = NULL")
    found = objections(bars_env, {"dagster/partition": "2014-03"})["missing_name"]
    assert count(found) == 8
    assert len(found.metadata["examples"].value) == 5


def test_negative_prices_are_legal(bars_env: BarsEnv) -> None:
    deliver(bars_env.folder, 2014, [3, 4], stocks=STOCKS, dividend=sample_bars.DIVIDENDS["sh600001"])
    ingest(bars_env.dsn, bars_env.folder, MONTHS, run_id="test", fanout=Fanout(1))
    kline.refresh(bars_env.dsn, MONTHS)
    assert bars_env.rows("SELECT bool_and(high < 0), count(*) FROM stock_monthly_kline") == [(True, 4)]
    assert objections(bars_env, range_tags(*MONTHS)) == {}


def test_checks_of_an_empty_database_pass_once_the_kline_stands(bars_env: BarsEnv) -> None:
    assert bars_env.run("2014-03").success
    assert objections(bars_env, {}) == {}
