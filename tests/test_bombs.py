"""Files of a few megabytes that unfold to a gigabyte are refused in little memory."""

import datetime as dt
import gzip
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from marketdata_demo import sample_bars

MB = 1024 * 1024
UNFOLDED = 1024 * MB
MEMORY = 700 * MB
"""Of a process that reads a bomb, imports and all; the bomb alone would be more."""

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


def in_little_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


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
    tmp_path: Path, name: str, content: Callable[[], bytes], code: str, refusal: str
) -> None:
    (tmp_path / name).write_bytes(content())
    assert (tmp_path / name).stat().st_size < 2 * MB
    begin = f"from pathlib import Path\nfolder = Path({str(tmp_path)!r})\nDAILY = {DAILY!r}\n"
    ended = subprocess.run(
        [sys.executable, "-c", begin + code], capture_output=True, text=True, preexec_fn=in_little_memory, timeout=120
    )
    assert refusal in ended.stderr, ended.stderr
    assert "MemoryError" not in ended.stderr
