"""Files of any vendor: each shape is loaded by its profile with the values that a plain reading has, or is rejected by
name with what to do. The readings here share nothing with the package: pandas, csv and Decimal.
"""

from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pandas as pd
import polars as pl
import psycopg
import pytest

from marketdata_assets.bars import checks, kline, profiles, schema, status
from marketdata_assets.bars.reading import any_times
from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.loading.errors import LoadError
from marketdata_assets.loading.file_ledger import FileState
from tests.bars.bar_files import books_balance, csv_text, deliver, line, run, table
from tests.bars.bar_files import minutes as bar_minutes
from tests.bars.vendor_bars import CODES, MONTHS, OWN, SHAPES, Row, classic, jq, jq_many, market, read_classic, rq


def rows_of(dsn: str) -> Iterator[Row]:
    for time, code, _, high_open, *rest in table(dsn):
        open_, high, low, close, volume, amount, *_ = (high_open, *rest)
        yield code, time, open_, high, low, close, volume, amount


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_loaded_as_a_plain_reading_has_it_or_rejected_by_name(dsn: str, tmp_path: Path, name: str) -> None:
    one, folder = SHAPES[name], tmp_path / "bars"
    folder.mkdir()
    one.write(folder)
    own = tmp_path / "bars.yaml" if one.own else None
    if own:
        own.write_text(one.own)
    report = run(dsn, folder, MONTHS, profiles=own)
    with psycopg.connect(dsn) as connection:
        [entry] = status.file_entries(connection, folder, MONTHS, profiles.read(own)) if one.said else [None]
    if one.read is None:
        assert [one.said in (unit.error or "") for unit in report.failed] == [True], [u.error for u in report.units]
        assert entry is not None
        assert (entry.state, one.said in entry.reason) == (FileState.FAILED, True)
        assert table(dsn) == []
        return
    assert [unit.error for unit in report.failed] == []
    expected = one.read(folder)
    assert len(expected) > 400
    assert list(rows_of(dsn)) == expected
    books_balance(dsn)
    with psycopg.connect(dsn) as connection:
        entries = status.file_entries(connection, folder, MONTHS, profiles.read(own))
    assert {found.state for found in entries} == {FileState.LOADED}
    assert all(found.balanced and found.rejected == 0 for found in entries)


@pytest.mark.parametrize("name", ["vendor.csv", "classic.csv", "joinquant.parquet", "joinquant.feather", "small.zip"])
def test_a_bar_off_the_whole_minute_is_rejected_in_every_lane(dsn: str, tmp_path: Path, name: str) -> None:
    frame = pl.from_pandas(market(CODES[0])).rename({"amount": "money"}).drop("code")
    frame = frame.with_columns(code=pl.lit("600000.XSHG"), volume=pl.col("volume").cast(pl.Float64))
    late = frame["time"].dt.offset_by(pl.Series(["30s", *["0s"] * (len(frame) - 1)]))
    frame = frame.with_columns(late)
    if name.endswith("parquet"):
        frame.write_parquet(tmp_path / name)
    elif name.endswith("feather"):
        frame.write_ipc(tmp_path / name)
    elif name == "vendor.csv":
        frame.write_csv(tmp_path / name, datetime_format="%Y-%m-%d %H:%M:%S")
    else:
        times = ["2024-01-31 09:31:30", *bar_minutes("2024-01-31 09:32:00", 110)]
        text = csv_text(line(time) for time in times)
        members = {f"sh60000{number}.csv": text.replace(b"sh600000", b"sh60000%d" % number) for number in range(2)}
        deliver(tmp_path / name, members if name == "small.zip" else text)
    report = run(dsn, tmp_path, MONTHS)
    assert [(unit.outcome, unit.rejected, unit.rows) for unit in report.units] == [
        ("ok", 1, unit.read - 1) for unit in report.units
    ]
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT DISTINCT reason FROM marketdata_quarantine").fetchall()
    assert [reason.replace(".000000", "") for (reason,) in found] == [
        "time 2024-01-31 09:31:30 is not on a whole minute"
    ]
    assert all(time.second == 0 for time, *_ in table(dsn))
    books_balance(dsn)


def test_shipped_profiles_need_no_line_and_the_lines_of_others_are_few() -> None:
    loaded = {name: len(one.own.splitlines()) for name, one in SHAPES.items() if one.read}
    assert len(SHAPES) > 22
    assert max(loaded.values()) == 5
    assert sum(lines == 0 for lines in loaded.values()) == 11
    assert all(lines <= 1 for name, lines in loaded.items() if not name.startswith("another"))


def head(header: str, row: str = "") -> bytes:
    return f"{header}\n{row}\n".encode()


GENERIC = """generic:
  columns:
    {time: [time, trade_time, ""], code: [code, ts_code], open: open, high: high, low: low, close: close, volume: vol}
  volume: shares
  adjustment: forward
"""
TUSHARE = head("ts_code,trade_time,open,close,high,low,vol,amount", "1.SZ,2024-01-02 09:31:00,1,1,1,1,1,1")


def shapes(folder: Path, text: str) -> profiles.Shapes:
    (folder / "mine.yaml").write_text(text)
    return profiles.read(folder / "mine.yaml")


def test_the_profile_that_explains_more_columns_counts(tmp_path: Path) -> None:
    assert profiles.detect("a.csv", TUSHARE, "a.csv", shapes(tmp_path, GENERIC)).name == "tushare_mins"


def test_a_profile_for_names_counts_for_these_alone(tmp_path: Path) -> None:
    own = shapes(tmp_path, GENERIC + "  files: ['bought/*.csv', 'b?.csv']\n")
    found = [profiles.detect("a", TUSHARE, name, own).name for name in ("bought/x.csv", "deep/b1.csv", "a.csv")]
    assert found == ["generic", "generic", "tushare_mins"]


def test_two_profiles_that_fit_equally_are_named(tmp_path: Path) -> None:
    own = shapes(tmp_path, GENERIC + GENERIC.replace("generic:", "other:"))
    data = head("time,code,open,high,low,close,vol", "2024-01-02 09:31:00,sh600000,1,1,1,1,1")
    with pytest.raises(
        LoadError,
        match=r"profiles (generic and other|other and generic) fit it. Deliver another, or write files: \['a.csv'\]",
    ):
        profiles.detect("a.csv", data, "a.csv", own)


def test_a_key_of_a_shipped_profile_is_changed_and_the_others_stay(tmp_path: Path) -> None:
    own = shapes(tmp_path, "tushare_mins: {adjustment: forward, volume: lots}\n").own["tushare_mins"]
    assert own == profiles.shipped()["tushare_mins"].model_copy(update={"adjustment": "forward", "volume": "lots"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "tushare_mins: {adjustmnt: forward}",
            "mine.yaml:1: tushare_mins.adjustmnt: unknown key; did you mean 'adjustment'?",
        ),
        ("tushare_mins: {volume: pieces}", "tushare_mins.volume: "),
        ("mine: {columns: {time: t}, volume: lots, adjustment: forward}", "has no close, high, low, open, volume"),
        ("jqdata: {columns: {opne: o}}", "'opne' is none of our columns"),
        ("jqdata: {timezone: Asia/Shanghia}", "Asia/Shanghia"),
        ("jqdata: {encodings: [utf9]}", "utf9"),
        ("- jqdata", "mine.yaml"),
        ("jqdata: [", "not YAML"),
    ],
)
def test_a_wrong_file_of_profiles_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidConfigFile) as caught:
        shapes(tmp_path, text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "bare", "code"),
    [
        ("SHSE.600000", False, "600000.SH"), ("SH#600000", False, "600000.SH"), ("sz000001", False, "000001.SZ"),
        ("000001.XSHE", False, "000001.SZ"), ("sh.600000", False, "600000.SH"), ("bj_920001", False, "920001.BJ"),
        ("000001", False, None), ("000001", True, "000001.SZ"), ("600000", True, "600000.SH"), ("1", True, None),
        ("600000.HK", False, None), ("6000001", True, None), ("sh60000", True, None), ("600000 x", True, None),
    ],
)  # fmt: skip
def test_spellings_of_codes(text: str, bare: bool, code: str | None) -> None:
    assert profiles.code_of(text, bare) == code


@pytest.mark.parametrize(
    ("name", "bare", "code"),
    [
        ("600000.XSHG.csv", False, "600000.SH"), ("x/SH#600000.txt", False, "600000.SH"), ("000001.csv", False, None),
        ("sh600000_2024.csv", False, "600000.SH"), ("000001.csv", True, "000001.SZ"), ("202401.csv", True, None),
        ("000001_1min.csv", True, "000001.SZ"), ("600000/202401.csv", True, "600000.SH"), ("20240102.csv", True, None),
        ("2024.zip/sz000002.csv", False, "000002.SZ"), ("浦发银行600000.csv", True, "600000.SH"),
    ],
)  # fmt: skip
def test_codes_in_names_of_files(name: str, bare: bool, code: str | None) -> None:
    assert profiles.code_in(name, bare) == code


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("20240102 0931", "Asia/Shanghai"), ("20240102093100", "Asia/Shanghai"), ("2024/1/2 9:31", "Asia/Shanghai"),
        ("20240102093100000", "Asia/Shanghai"), ("1704159060", "UTC"), ("1704159060000", "Asia/Shanghai"),
        ("1704159060000000000", "UTC"), ("2024-01-02 01:31:00", "UTC"),
        ("2024-01-02T09:31:00+08:00", "UTC"), ("2024-01-02 01:31:00Z", "Asia/Tokyo"),
        ("2024-01-02 10:31", "Asia/Tokyo"),
    ],
)  # fmt: skip
def test_times_of_a_profile(text: str, zone: str) -> None:
    [found] = any_times(pl.Series([text]), zone)
    assert str(found) == "2024-01-02 09:31:00"


@pytest.mark.parametrize("text", ["170415906000", "20241302 0931", "0931", "202401020931001", ""])
def test_no_times_of_a_profile(text: str) -> None:
    assert any_times(pl.Series([text])).to_list() == [None]


def test_a_bad_row_of_a_table_is_in_quarantine_with_its_row(dsn: str, tmp_path: Path) -> None:
    rows = rq().reset_index()
    rows.loc[100, "high"] = 1.0
    rows.to_parquet(tmp_path / "rq.parquet")
    assert run(dsn, tmp_path, MONTHS).rejected == 1
    with psycopg.connect(dsn) as connection:
        [(line, reason, raw)] = connection.execute("SELECT line, reason, raw FROM marketdata_quarantine").fetchall()
    assert (line, reason.startswith("high 1.0 < ")) == (101, True)
    assert raw.startswith("600000.XSHG,2024-01-31 11:11:00")
    books_balance(dsn)


def test_a_column_that_says_two_adjustments_fails(dsn: str, tmp_path: Path) -> None:
    rows = market(CODES[0]).assign(symbol="SHSE.600000", frequency="60s")
    rows.loc[300, "frequency"] = "300s"
    rows.rename(columns={"time": "eob"}).to_csv(tmp_path / "gm.csv")
    (tmp_path / "mine").write_text("myquant: {adjustment: forward}")
    [failed] = run(dsn, tmp_path, MONTHS, profiles=tmp_path / "mine").failed
    assert "its column frequency has '300s' beside other values" in (failed.error or "")


def test_prices_are_rounded_and_yuan_of_thousands_are_exact(dsn: str, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text(OWN.replace("lots", "shares"))
    (tmp_path / "bars").mkdir()
    lines = ["TradingDay,Minute,Ticker,O,H,L,C,V,Value", "20240102,931,sh600000,1.00005,2,1,1.5,150,0.00000005",
             "20240102,932,sh600000,1,2,1,1.5,149,1.2345678"]  # fmt: skip
    (tmp_path / "bars" / "mine.csv").write_text("\n".join(lines))
    assert run(dsn, tmp_path / "bars", ["2024-01"], profiles=own).rows == 2
    found = [(row[3], *row[7:9]) for row in table(dsn)]
    assert found == [(Decimal("1.0001"), Decimal(2), Decimal("0.0001")), (Decimal(1), Decimal(1), Decimal("1234.5678"))]


def test_a_changed_profile_of_the_first_shape_counts(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "bars").mkdir()
    rows = classic(market(CODES[0])).assign(成交量=market(CODES[0])["volume"])
    rows.to_csv(tmp_path / "bars" / "sh600000_2024.csv", index=False)
    (tmp_path / "own").write_text("classic: {volume: shares}")
    assert run(dsn, tmp_path / "bars", MONTHS, profiles=tmp_path / "own").failed == ()
    rows["成交量"] = [str((Decimal(int(one)) / 100).quantize(Decimal(1), ROUND_HALF_UP)) for one in rows["成交量"]]
    assert list(rows_of(dsn)) == read_classic(rows.astype(str))


def test_rows_without_a_code_or_of_another_exchange_are_rejected(dsn: str, tmp_path: Path) -> None:
    rows = pd.concat([market(CODES[0])] * 3, ignore_index=True)
    rows["code"] = ["600000.XSHG"] * 1438 + ["", "AAPL.US"]
    rows["time"] = pd.date_range("2024-01-02", periods=len(rows), freq="min")
    jq(rows).assign(code=rows["code"]).to_csv(tmp_path / "a.csv", index=False)
    report = run(dsn, tmp_path, MONTHS)
    assert (report.failed, report.rows, report.rejected) == ((), 1438, 2)
    with psycopg.connect(dsn) as connection:
        reasons = connection.execute("SELECT reason FROM marketdata_quarantine ORDER BY line").fetchall()
    assert [reason for (reason,) in reasons] == ["code is missing", "code 'AAPL.US' is not sh, sz or bj and six digits"]


def test_a_file_of_a_header_alone_is_empty(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("order_book_id,datetime,open,close,high,low,total_turnover,volume\n")
    pd.DataFrame(rq().reset_index().iloc[:0]).to_parquet(tmp_path / "b.parquet")
    assert run(dsn, tmp_path, MONTHS).failed == ()
    with psycopg.connect(dsn) as connection:
        schema.ensure(connection)
        assert {one.state for one in status.file_entries(connection, tmp_path, MONTHS)} == {FileState.EMPTY}


def test_bars_of_a_vendor_without_names_have_a_kline_that_passes_its_checks(dsn: str, tmp_path: Path) -> None:
    jq_many(tmp_path)
    run(dsn, tmp_path, MONTHS)
    assert kline.refresh(dsn, MONTHS).rows == 6
    with psycopg.connect(dsn) as connection:
        for rule in ("missing_name", "units", "ohlc_order", "volume_without_amount"):
            assert checks.rule(connection, MONTHS, rule).count == 0, rule
        assert checks.kline_equals_minutes(connection, MONTHS).count == 0
        connection.execute(
            "UPDATE stock_monthly_kline SET name = 'x' WHERE month = '2024-01-01' AND code = '600000.SH'"
        )
        assert checks.rule(connection, MONTHS, "missing_name").count == 1
