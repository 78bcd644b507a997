"""Dropped files: by the names of their columns, newest file first, bad rows one by one."""

import asyncio
import datetime as dt
import os
from pathlib import Path

import polars as pl
import pytest
from tick_clients import JUNE, SYMBOL, files_config

from marketdata_assets.ticks.errors import BadFile
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.records import BARS, Days, Delivery

HEADER = "symbol,ts,open,high,low,close,volume,turnover\n"
ROW = f"{SYMBOL},2025-06-02 09:31:00,9.4,9.5,9.3,9.45,1200,11340.5\n"
INSTANT = dt.datetime(2025, 6, 2, 1, 31, tzinfo=dt.UTC)


def bars(folder: Path, symbol: str = SYMBOL, days: Days = JUNE) -> Delivery:
    return asyncio.run(Files(folder, files_config()).bars(symbol, days))


def written(folder: Path, text: str, name: str = "a.csv", age: int = 0) -> Path:
    file = folder / name
    file.write_text(text, "utf-8")
    os.utime(file, (1_700_000_000 - age, 1_700_000_000 - age))
    return file


def test_a_csv_file_is_read_in_exchange_time(tmp_path: Path) -> None:
    written(tmp_path, "\ufeff" + HEADER + ROW)
    delivery = bars(tmp_path)
    assert (delivery.outcome, delivery.provider, delivery.rows.schema) == ("ok", "files", BARS)
    assert delivery.rows.row(0) == ("files", SYMBOL, INSTANT, "1m", 9.4, 9.5, 9.3, 9.45, 1200, 11340.5, 0)


def test_columns_go_by_name_in_any_order_and_case(tmp_path: Path) -> None:
    text = (
        f"Close,extra,trade_time,TS_CODE,low,high,open,vol\n9.45,x,2025/06/02 09:31,{SYMBOL.lower()},9.3,9.5,9.4,1200\n"
    )
    written(tmp_path, text)
    assert bars(tmp_path).rows.row(0)[2:10] == (INSTANT, "1m", 9.4, 9.5, 9.3, 9.45, 1200, None)


@pytest.mark.parametrize("time", ["2025-06-02T01:31:00Z", "2025-06-02T09:31:00+08:00", "2025-06-02T09:31:00"])
def test_a_time_with_an_offset_is_an_instant(tmp_path: Path, time: str) -> None:
    written(tmp_path, HEADER + ROW.replace("2025-06-02 09:31:00", time))
    assert bars(tmp_path).rows["ts"].to_list() == [INSTANT]


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Shanghai"])
def test_parquet_keeps_its_types(tmp_path: Path, zone: str | None) -> None:
    moment = INSTANT if zone else dt.datetime(2025, 6, 2, 9, 31)
    frame = pl.DataFrame({"symbol": [SYMBOL], "ts": [moment], "volume": [1200], "open": 9.4, "high": 9.5, "low": 9.3,
                          "close": 9.45})  # fmt: skip
    if zone:
        frame = frame.with_columns(pl.col("ts").dt.convert_time_zone(zone))
    frame.write_parquet(tmp_path / "a.parquet")
    assert bars(tmp_path).rows.row(0)[2:10] == (INSTANT, "1m", 9.4, 9.5, 9.3, 9.45, 1200, None)


def test_the_newer_file_wins_a_minute(tmp_path: Path) -> None:
    second = ROW.replace("09:31", "09:32")
    written(tmp_path, HEADER + ROW.replace("9.45", "9.40") + second, "z.csv", age=100)
    written(tmp_path, HEADER + ROW, "sub.csv")
    assert bars(tmp_path).rows["close"].to_list() == [9.45, 9.45]
    assert bars(tmp_path).rows.height == 2


def test_bad_rows_are_refused_with_their_line(tmp_path: Path) -> None:
    lines = [
        ROW,
        ROW.replace("9.45", "9,45").replace(",1200,11340.5", ",1200"),
        ROW.replace("09:31:00", "25:00:00"),
        ROW.replace("09:31", "09:33").replace("1200", "12.5"),
        ROW.replace("09:31", "09:34").replace("1200", ""),
        ROW.replace("09:31", "09:35").replace("9.4,", "n/a,"),
    ]
    written(tmp_path, HEADER + "".join(lines))
    delivery = bars(tmp_path)
    assert {reject.line: reject.reason for reject in delivery.rejected} == {
        3: "a.csv: contradicts an earlier row of the same minute",
        5: "a.csv: volume is not a whole number of shares",
        7: "a.csv: open is not a number",
        4: "a.csv: the time cannot be parsed",
    }
    assert delivery.rows["volume"].to_list() == [1200, None]


def test_other_days_and_symbols_stay_out(tmp_path: Path) -> None:
    other = ROW.replace(SYMBOL, "000001.SZ")
    written(tmp_path, HEADER + ROW + ROW.replace("2025-06-02", "2025-07-01") + other)
    files = Files(tmp_path, files_config())
    assert files.symbols() == ["000001.SZ", SYMBOL]
    assert bars(tmp_path).rows.height == 1
    assert bars(tmp_path, "600001.SH").outcome == "empty"
    assert bars(tmp_path, days=Days.month("2025-05")).outcome == "empty"
    assert bars(tmp_path, "AAPL.US").outcome == "unsupported"
    assert bars(tmp_path / "none").outcome == "empty"


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    files = Files(tmp_path, files_config())
    written(tmp_path, HEADER)
    written(tmp_path, "", "empty.csv")
    assert asyncio.run(files.bars(SYMBOL, JUNE)).outcome == "empty"
    written(tmp_path, HEADER + ROW)
    assert asyncio.run(files.bars(SYMBOL, JUNE)).outcome == "ok"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (HEADER.replace("volume", "成交量") + ROW, "no column volume or vol; it has symbol, ts"),
        (HEADER.replace("turnover", "vol") + ROW, "columns volume and vol both mean volume"),
        (HEADER + ROW.replace(SYMBOL, ""), "a row without a symbol"),
        (HEADER + ROW.strip() + ",1,2,3\n", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str, cause: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(BadFile, match=cause) as error:
        bars(tmp_path)
    assert str(error.value).startswith(str(file))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    file.unlink()
    with pytest.raises(BadFile, match=r"b\.parquet"):
        bars(tmp_path)
