"""The header line, and what a file's name says."""

import random
from pathlib import Path

import pytest
from bar_files import BOM, HEADER, deliver

from marketdata_assets.bars.layout import COLUMNS, read_header, scan, year_of
from marketdata_assets.loading.errors import BadHeader

NAMES = HEADER.split(",")
OURS = (
    "time", "code", "name", "open", "close", "high", "low", "volume", "amount", "change_pct", "amplitude",
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        BOM + HEADER.encode() + b"\r\n",
        HEADER.encode() + b"\n",
        HEADER.encode(),
        ",".join(f'"{name}"' for name in NAMES).encode(),
        " , ".join(NAMES).encode(),
    ],
)
def test_spellings_of_the_header_are_one(text: bytes) -> None:
    assert read_header("a.csv", text) == OURS


def test_columns_are_found_by_name_in_any_order() -> None:
    shuffled = random.Random(4).sample(NAMES, len(NAMES))
    assert read_header("a.csv", ",".join(shuffled).encode()) == tuple(COLUMNS[name] for name in shuffled)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (HEADER.replace(",振幅", ""), ["column 振幅 is missing", "Expected 时间,代码"]),
        (HEADER + ",换手率", ["'换手率' is unknown"]),
        (f"{HEADER}\r2024-01-02 09:31:00,sh600000,x,1,1,1,1,1,1,0,0\r", ["lines end with CR alone. Save the file"]),
        (HEADER.replace("成交额", "成交金额"), ["成交额 is missing", "'成交金额' is unknown (nearest: 成交额)"]),
        (HEADER + ",时间", ["column 时间 appears twice"]),
        ("2000-06-09 09:30:00,sh600000,浦发银行,1,1,1,1,1,1,1,1", ["时间", "is missing"]),
        ("", ["the file is empty"]),
        (HEADER.encode("gbk"), ["the file is GBK, not UTF-8. Convert it: iconv -f GB18030 -t UTF-8"]),
        (b"\xff\xfe\x00", ["not UTF-8", "0xff"]),
    ],
)
def test_wrong_header_names_place_column_and_remedy(line: str | bytes, said: list[str]) -> None:
    with pytest.raises(BadHeader) as caught:
        read_header("2000.zip!a.csv", line if isinstance(line, bytes) else line.encode())
    assert str(caught.value).startswith("2000.zip!a.csv:1: ")
    for part in said:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "year"),
    [
        ("2000_1min.zip", 2000),
        ("2000_1MIN.ZIP", 2000),
        ("2000.zip", 2000),
        ("sh600000_2000.csv", 2000),
        ("sh600000_1999.csv.gz", 1999),
        ("more/sh600000_2024.csv", 2024),
        ("sz002001.csv", None),
        ("sh600000.csv", None),
        ("bars.zip", None),
        ("sh600000_20001.csv", None),
        ("sh600000_2000_one_row.csv", None),
        ("sh600000_2100.csv", None),
    ],
)
def test_year_in_a_name(name: str, year: int | None) -> None:
    assert year_of(name) == year


def test_scan_finds_bars_at_any_depth_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b/2001_1min.zip", "a.csv", "c/d.CSV.GZ"):
        deliver(tmp_path / name, b"x")
    for name in (".hidden.csv", "__MACOSX/2000_1min.zip", "notes.txt", "2002_1min.partial", ".git/x.csv"):
        deliver(tmp_path / name, b"x")
    (tmp_path / "folder.csv").mkdir()
    assert [file.name for file in scan(tmp_path)] == ["a.csv", "b/2001_1min.zip", "c/d.CSV.GZ"]
    assert scan(tmp_path / "missing") == []
