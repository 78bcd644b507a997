"""Files of a few megabytes that unfold to a gigabyte are refused in little memory."""

import datetime as dt
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import openpyxl
import polars as pl
import pytest
import zstandard

from marketdata_demo import sample_bars
from tests.forks import Call, server

MB = 1024 * 1024
UNFOLDED = 1024 * MB
MEMORY = 400 * MB
"""Of a process that reads a bomb, beside its imports; the bomb alone would be more."""
READERS = (
    "marketdata_assets.alphas.files",
    "marketdata_assets.bars.layout",
    "marketdata_assets.bars.unit",
    "marketdata_assets.exchanges.captures.capture",
    "marketdata_assets.flows.definition",
    "marketdata_assets.flows.excel",
    "marketdata_assets.flows.reading",
    "marketdata_assets.flows.run",
    "marketdata_assets.ticks.file_drop",
)

DAILY = """
loader: {folder: ., glob: '*.csv*', columns: {a: a}}
target: {table: t, columns: {a: text}, key: [a], mode: upsert}
"""

BARS = """
from marketdata_assets.bars.layout import scan, units
from marketdata_assets.loading.files import Opener
from marketdata_assets.bars.unit import parse
[unit] = units(scan(folder)[0])
parse(Opener(), unit, None)
"""
FLOWS = """
from marketdata_assets.flows import definition
from marketdata_assets.flows.reading import frames
from marketdata_assets.flows.run import find_units
from marketdata_assets.loading.files import Opener
from marketdata_assets.loading.rejects import Rejects
flow = definition.parse(DAILY, "daily.yaml", "daily")
with frames(Opener(), find_units(flow, folder)[0], flow, Rejects()) as (read, _):
    for frame in read:
        pass
"""
ALPHAS = """
from marketdata_assets.alphas.files import lines_of
for line in lines_of(folder / "2024-11-01.ndjson.zst"):
    pass
"""
CAPTURES = """
from marketdata_assets.exchanges.captures.capture import open_capture
[file] = folder.iterdir()
for entry in open_capture(file).entries():
    pass
"""


def gzipped(head: bytes) -> bytes:
    """A gzip of `head` and a gigabyte of one line, without the work: a piece that stands alone is repeated."""
    piece = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = piece.compress(b"0" * MB) + piece.flush(zlib.Z_FULL_FLUSH)
    begin = zlib.compressobj(9, zlib.DEFLATED, -15)
    deflated = begin.compress(head) + begin.flush(zlib.Z_FULL_FLUSH) + zeros * (UNFOLDED // MB)
    return gzip.compress(b"")[:10] + deflated + zlib.compressobj(9, zlib.DEFLATED, -15).flush() + b"\0" * 8


def bars_header() -> bytes:
    """The first line of a file of minute bars."""
    day = [dt.date(2024, 1, 5)]
    return sample_bars.csv_bytes(sample_bars.stock_year("sh600000", "name", day, 7)).splitlines(keepends=True)[0]


def zstd() -> bytes:
    """One frame of a gigabyte of zeros, in 64 KB."""
    squeezed = zstandard.ZstdCompressor(1).compressobj()
    return b"".join([squeezed.compress(b"0" * MB) for _ in range(UNFOLDED // MB)] + [squeezed.flush()])


@pytest.fixture(scope="module")
def forked() -> Iterator[Call]:
    with server(*READERS) as call:
        yield call


@pytest.mark.parametrize(
    ("name", "content", "code", "refusal"),
    [
        ("sh600000_2024.csv.gz", lambda: gzipped(b"a\n"), FLOWS, "has more than 64 MB"),
        ("2024-11-01.ndjson.zst", zstd, ALPHAS, "has more than 64 MB"),
        ("x.txt.gz", lambda: gzipped(b""), CAPTURES, "has more than 64 MB"),
        ("sh600000_2024.csv.gz", lambda: gzipped(bars_header()), BARS, "has more than 64 MB"),
        ("x.capture.zst", zstd, CAPTURES, "is larger than any frame of a capture"),
    ],
)
def test_a_bomb_is_refused_in_little_memory(
    forked: Call, tmp_path: Path, name: str, content: Callable[[], bytes], code: str, refusal: str
) -> None:
    (tmp_path / name).write_bytes(content())
    assert (tmp_path / name).stat().st_size < 2 * MB
    check_refused(forked, tmp_path, code, refusal)


def check_refused(forked: Call, folder: Path, code: str, refusal: str) -> None:
    begin = f"from pathlib import Path\nfolder = Path({str(folder)!r})\n"
    ended = forked("tests.forks", "execute", code=begin + code, names={"DAILY": DAILY}, memory=MEMORY)
    assert refusal in ended.said, ended
    assert "MemoryError" not in ended.said


SHEETS = """
import sys
from pathlib import Path
from marketdata_assets.flows import excel
[file] = folder.iterdir()
excel.every_cell(file.read_bytes(), file.name, None, [])
"""
TICKS = """
from marketdata_assets.loading.files import walk
from marketdata_assets.ticks import file_drop
[file] = walk(folder)
file_drop.table(file)
"""
PARQUET = """
from marketdata_assets.flows import definition
from marketdata_assets.flows.reading import frames
from marketdata_assets.flows.run import find_units
from marketdata_assets.loading.files import Opener
from marketdata_assets.loading.rejects import Rejects
flow = definition.parse(DAILY.replace("'*.csv*', ", "'*.*', format: parquet, "), "daily.yaml", "daily")
with frames(Opener(), find_units(flow, folder)[0], flow, Rejects()) as (read, _):
    for frame in read:
        pass
"""
JSON = PARQUET.replace("parquet", "json")


def parquet(rows: int, value: object, groups: int = 1) -> bytes:
    """A file of so many rows of one value in two columns, in a few kilobytes."""
    out = io.BytesIO()
    column = pl.select(a=pl.lit(value).repeat_by(1).explode()).to_series().new_from_index(0, rows // groups)
    frame = pl.DataFrame({"a": column, "b": column})
    pl.concat([frame] * groups).write_parquet(out, compression="zstd", row_group_size=rows // groups)
    return out.getvalue()


def feather(rows: int) -> bytes:
    """The same as Feather."""
    out = io.BytesIO()
    pl.DataFrame({"a": pl.Series([1.0]).new_from_index(0, rows)}).write_ipc(out, compression="zstd")
    return out.getvalue()


def repeated(rows: int, columns: int) -> bytes:
    """An ods of one cell that is repeated."""
    cell = f'<table:table-cell table:number-columns-repeated="{columns}"><text:p>a</text:p></table:table-cell>'
    content = (
        f'<table:table><table:table-row table:number-rows-repeated="{rows}">{cell}</table:table-row></table:table>'
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        book.writestr("content.xml", content)
    return out.getvalue()


def workbook(change: Callable[[bytes], bytes]) -> bytes:
    """A workbook whose sheet has been changed."""
    out, book = io.BytesIO(), openpyxl.Workbook()
    book.active["A1"], book.active["A2"] = "a", 1
    book.save(out)
    changed = io.BytesIO()
    with zipfile.ZipFile(out) as before, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as after:
        for name in before.namelist():
            data = before.read(name)
            after.writestr(name, change(data) if name.endswith("sheet1.xml") else data)
    return changed.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "code", "refusal"),
    [
        ("a.parquet", lambda: parquet(60_000_000, 1.0), TICKS, "times above 256 MB"),
        pytest.param(
            "a.parquet", lambda: parquet(60_000_000, 1.0, 10), TICKS, "times above 256 MB", marks=pytest.mark.slow
        ),
        pytest.param(
            "a.parquet", lambda: parquet(60_000_000, 1.0), PARQUET, "times above 256 MB", marks=pytest.mark.slow
        ),
        pytest.param(
            "a_2024.parquet", lambda: parquet(60_000_000, 1.0), BARS, "times above 256 MB", marks=pytest.mark.slow
        ),
        pytest.param("a_2024.feather", lambda: feather(60_000_000), BARS, "times above 256 MB", marks=pytest.mark.slow),
        ("a.parquet", lambda: parquet(100_000, "x" * 5000), PARQUET, "MB of text; the limit is 256 MB"),
        (
            "a.xlsx",
            lambda: workbook(lambda data: data.replace(b'r="A2"', b'r="XFD1048576"')),
            SHEETS,
            "limit is 200000",
        ),
        ("a.ods", lambda: repeated(2000, 16384), SHEETS, "limit is 20000000 cells"),
        ("a.xlsx", lambda: workbook(lambda data: data + b" " * (300 * MB)), SHEETS, "times its"),
        ("a.xls", lambda: b"<table><tr>" + b"<td colspan=999>1" * 100_000, SHEETS, "limit is 20000000 cells"),
        pytest.param(
            "a.xls",
            lambda: b"<table><tr>" + b"<td colspan=999 rowspan=999>1" * 9**5,
            SHEETS,
            "limit is 20000000 cells",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "a.xls",
            lambda: b"<table><tr><td colspan=999 rowspan=999>" + b"<tr>" * 9**5,
            SHEETS,
            "999 columns",
            marks=pytest.mark.slow,
        ),
        ("a.json.gz", lambda: gzipped(b"["), JSON, "it has more than 256 MB, unpacked; deliver JSON lines"),
        pytest.param(
            "a.json",
            lambda: b"[" + b"[]," * 30_000_000 + b"[]]",
            JSON,
            "a JSON document of 60000002 values; the limit",
            marks=pytest.mark.slow,
        ),
        ("a.json", lambda: b"[" * 200_000, JSON, "not JSON"),
    ],
)
def test_a_file_that_is_large_in_memory_alone_is_refused_before_it_is(
    forked: Call, tmp_path: Path, name: str, content: Callable[[], bytes], code: str, refusal: str
) -> None:
    (tmp_path / name).write_bytes(content())
    check_refused(forked, tmp_path, code, refusal)
