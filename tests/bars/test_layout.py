"""The header line, and what a file's name says."""

import random
from pathlib import Path

import pytest

from marketdata_assets.bars.layout import COLUMNS, first_header, scan, units, year_of
from marketdata_assets.bars.profiles import SHIPPED, detect
from marketdata_assets.bars.sources import opened
from marketdata_assets.loading.errors import LoadError
from marketdata_assets.loading.files import Opener
from tests.bars.bar_files import BOM, HEADER, deliver

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
    assert first_header("a.csv", text) == OURS


def test_columns_are_found_by_name_in_any_order() -> None:
    shuffled = random.Random(4).sample(NAMES, len(NAMES))
    assert first_header("a.csv", ",".join(shuffled).encode()) == tuple(COLUMNS[name] for name in shuffled)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (HEADER.replace(",振幅", ""), ["the nearest is classic, without 振幅"]),
        (HEADER.replace("成交额", "成交金额"), ["成交金额", "the nearest is classic, without 成交额"]),
        (HEADER.replace("成交额", "成交金额").encode("gbk"), ["成交金额", "the nearest is classic, without 成交额"]),
        (HEADER + ",时间", ["the nearest is classic, without 时间 only once"]),
        (f"{HEADER}\r2024-01-02 09:31:00,sh600000,x,1,1,1,1,1,1,0,0\r", ["lines end with CR alone. Save the file"]),
        (
            "2000-06-09 09:30:00,sh600000,浦发银行,1,1,1,1,1,1,1,1",
            ["no profile fits its first line '2000-06-09 09:30:00,"],
        ),
        ("", ["the file is empty"]),
        (b"\xff\xfe\x00", ["no profile fits its first line"]),
        (b"\xff\xff\xff\n\xfe", ["no profile fits its first line"]),
    ],
)
def test_wrong_header_names_place_column_and_remedy(tmp_path: Path, line: str | bytes, said: list[str]) -> None:
    deliver(tmp_path / "2000.zip", {"a.csv": line if isinstance(line, bytes) else line.encode()})
    [unit] = units(scan(tmp_path)[0])
    with pytest.raises(LoadError) as caught, Opener() as opener, opened(opener, unit, SHIPPED):
        pass
    assert str(caught.value).startswith("2000.zip!a.csv:1: ")
    for part in said:
        assert part in str(caught.value)


def test_a_header_with_another_column_is_of_the_profile_as_well() -> None:
    assert first_header("a.csv", (HEADER + ",换手率").encode()) is None
    assert detect("a.csv", (HEADER + ",换手率\n").encode(), "a.csv", SHIPPED).name == "classic"


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
