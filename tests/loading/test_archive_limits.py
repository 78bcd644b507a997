"""Archives that are small, and would be large in memory, on disk or in open files, are refused; large ones load."""

import bz2
import datetime as dt
import gzip
import io
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.input_limits import MOST_TIMES
from marketdata_assets.loading.archives import Pieces
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import Opener, Unit, file_at, units_of
from tests.forks import Call, server

MB = 1024 * 1024
CSV = b"k,v\n1,2\n"
LITTLE_MEMORY = 290 * MB
"""Of a process that reads an archive, beside its imports."""
READ = """
import tempfile
from pathlib import Path
from marketdata_assets.loading.files import Opener, file_at, units_of
tempfile.tempdir = folder
read = 0
with Opener() as opener:
    for unit in units_of(file_at(Path(folder) / name)):
        with opener.open(unit) as stream:
            while piece := stream.read(1 << 20):
                read += len(piece)
print(read)
"""


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def nested(depth: int) -> bytes:
    data = zipped({"a.csv": CSV})
    for _ in range(depth):
        data = zipped({"a.zip": data})
    return data


def of_parts(parts: list[tuple[bytes, int, bytes]], deflated: bytes, payload: bytes) -> bytes:
    """A zip of one deflated payload behind local headers, each member by its local name, offset and central name."""
    crc, out, directory = zlib.crc32(payload), b"", b""
    for local, offset, central in parts:
        if offset == len(out):
            head = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, crc, len(deflated), len(payload), len(local), 0)
            out += head + local + deflated
        directory += struct.pack(
            *("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 0, crc, len(deflated), len(payload), len(central)),
            *(0, 0, 0, 0, 0, offset),
        )
        directory += central
    count = len(parts)
    return out + directory + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(directory), len(out), 0)


def overlapping() -> bytes:
    payload = b"k,v\n" + b"1,2\n" * 1000
    return of_parts([(b"a.csv", 0, f"{number}.csv".encode()) for number in range(5000)], raw(payload), payload)


def raw(payload: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflater.compress(payload) + deflater.flush()


def long_name(size: int) -> bytes:
    """A packed tar whose member has a name of so many bytes."""
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = b"L", size
    data = name.tobuf(tarfile.GNU_FORMAT) + bytes(size + -size % 512) + tarfile.TarInfo("x.csv").tobuf() + bytes(1024)
    return gzip.compress(data, 1)


def many_members() -> bytes:
    """A zip in a zip with 2,000,000 members, all at the beginning, which has a directory of 94 MB and is small."""
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    zip64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2_000_000, 2_000_000, 2_000_000 * len(entry), 0)
    at = struct.pack("<4sIQI", b"PK\6\7", 0, 2_000_000 * len(entry), 1)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return zipped({"inner.zip": entry * 2_000_000 + zip64 + at + end})


ZEROS = bytes(MB)
TAR_MEMBER = tarfile.TarInfo("a.csv")
TAR_MEMBER.size = 299 * MB
TAR_HEAD = TAR_MEMBER.tobuf(tarfile.GNU_FORMAT)


def of_pieces(pack: Callable[[bytes], bytes], head: bytes = b"") -> bytes:
    """300 MB of zeros behind `head`, of a piece that is packed once: these formats take several in a file."""
    return (pack(head) if head else b"") + pack(ZEROS) * 300


PACKED: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "zip": ("a.zip", lambda: zipped({"a.parquet": ZEROS * 300}), "1028 times its"),
    "zip, bzip2": ("a.zip", lambda: zipped({"a.csv": ZEROS * 300}, zipfile.ZIP_BZIP2), "times its"),
    "zip, LZMA": ("a.zip", lambda: zipped({"a.csv": ZEROS * 300}, zipfile.ZIP_LZMA), "times its"),
    "gz": ("a.csv.gz", lambda: of_pieces(gzip.compress), "times its"),
    "gz in a zip": ("a.zip", lambda: zipped({"a.csv.gz": of_pieces(gzip.compress)}, zipfile.ZIP_STORED), "times its"),
    "zst": ("a.csv.zst", lambda: of_pieces(zstandard.compress), "times its"),
    "tar.gz": ("a.tar.gz", lambda: of_pieces(gzip.compress, TAR_HEAD), "times its"),
    "tar.bz2": ("a.tar.bz2", lambda: of_pieces(bz2.compress, TAR_HEAD), "times its"),
    "tar.xz": ("a.tar.xz", lambda: of_pieces(lzma.compress, TAR_HEAD), "times its"),
    "tar.zst": ("a.tar.zst", lambda: of_pieces(zstandard.compress, TAR_HEAD), "times its"),
    "zip in a zip": ("a.zip", lambda: zipped({"a.zip": zipped({"a.csv": ZEROS * 300})}), "times its"),
    "a member's name": ("a.tar.gz", lambda: long_name(200 * MB), "more than 32 MB"),
    "a directory": ("a.zip", many_members, "more than 32 MB"),
    "overlapping members": ("a.zip", overlapping, "member '1.csv' overlaps another one"),
    "zips in zips": ("a.zip", lambda: nested(12), "within more than 8 archives"),
}


@pytest.fixture(scope="module")
def forked() -> Iterator[Call]:
    with server("marketdata_assets.loading.files") as call:
        yield call


SLOW_TO_PACK = ("zip, bzip2", "zip, LZMA", "a member's name")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW_TO_PACK else name for name in PACKED]
)
def test_a_bomb_of_any_format_is_refused_with_figure_and_limit_in_little_memory(
    forked: Call, name: str, tmp_path: Path
) -> None:
    file, content, refusal = PACKED[name]
    (tmp_path / file).write_bytes(content())
    place = {"folder": tmp_path, "name": file}
    ended = forked("tests.forks", "execute", code=READ, names=place, memory=LITTLE_MEMORY)
    assert f"BadFile: {file}" in ended.said, ended
    assert refusal in ended.said.splitlines()[-1]


def test_an_archive_of_many_archives_loads_with_few_open_files(forked: Call, tmp_path: Path) -> None:
    count = 1100
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for number in range(count):
            archive.writestr(f"{number:04}.zip", zipped({f"{number}.csv": CSV}))
    place = {"folder": tmp_path, "name": "all.zip"}
    ended = forked("tests.forks", "execute", code=READ, names=place, files=64)
    assert ended.said == f"{count * len(CSV)}\n"


def test_only_the_archives_around_a_member_are_on_disk(tmp_path: Path) -> None:
    random = os.urandom(MB)
    (tmp_path / "all.zip").write_bytes(zipped({f"{number}.zip": zipped({"a.csv": random}) for number in range(20)}))
    with Opener() as opener:
        for unit in units_of(file_at(tmp_path / "all.zip")):
            with opener.open(unit) as stream:
                assert len(stream.read()) == MB
                links = {at: at.readlink() for at in Path("/proc/self/fd").iterdir() if at.is_symlink()}
                held = [at.stat().st_size for at, link in links.items() if str(link).endswith("(deleted)")]
            assert sum(size for size in held if size > MB) < 25 * MB


def content(opener: Opener, unit: Unit) -> bytes:
    with opener.open(unit) as stream:
        return stream.read()


@pytest.mark.parametrize(
    ("at", "value", "cause"),
    [
        (b"a.csv", b"b.csv", "the header before the member is of another one, 'b.csv'"),
        (struct.pack("<I", zlib.crc32(CSV)), b"\1\2\3\4", "of another one"),
        (struct.pack("<II", len(CSV), len(CSV)), struct.pack("<II", len(CSV), 900), "of another one"),
    ],
)
def test_a_header_that_contradicts_the_directory_is_refused(
    at: bytes, value: bytes, cause: str, tmp_path: Path
) -> None:
    data = zipped({"a.csv": CSV}, zipfile.ZIP_STORED)
    (tmp_path / "a.zip").write_bytes(data.replace(at, value, 1))
    [unit] = units_of(file_at(tmp_path / "a.zip"))
    with Opener() as opener, pytest.raises(BadFile, match=rf"a\.zip!a\.csv: .*{cause}"):
        content(opener, unit)


def test_a_member_that_is_longer_than_the_directory_says_is_refused(tmp_path: Path) -> None:
    payload = b"1,2\n" * 1000
    data = of_parts([(b"a.csv", 0, b"a.csv")], raw(payload), payload).replace(
        struct.pack("<I", len(payload)), struct.pack("<I", 8)
    )
    (tmp_path / "a.zip").write_bytes(data)
    [unit] = units_of(file_at(tmp_path / "a.zip"))
    with Opener() as opener, pytest.raises(BadFile, match="more than the 8 bytes that the directory says"):
        content(opener, unit)


@pytest.mark.parametrize("name", ["a.zip", "a.csv.gz", "a.csv.zst", "a.tar.gz", "a.tar.xz"])
def test_equal_lines_are_no_bomb(name: str, tmp_path: Path) -> None:
    """A file of a stock that is suspended: lines that differ in the time alone, of any number."""
    days = [dt.date(2000, 1, 1) + dt.timedelta(number) for number in range(500)]
    minutes = [f"{9 + minute // 60}:{minute % 60:02}:00,0.00,0.00,0.00,0.00,0,0\n" for minute in range(240)]
    data = "".join(f"sh600000,{day} {line}" for day in days for line in minutes).encode()
    pack: dict[str, Callable[[], bytes]] = {
        "a.zip": lambda: zipped({"a.csv": data}),
        "a.csv.gz": lambda: gzip.compress(data),
        "a.csv.zst": lambda: zstandard.compress(data),
        "a.tar.gz": lambda: gzip.compress(tarred("a.csv", data)),
        "a.tar.xz": lambda: lzma.compress(tarred("a.csv", data), preset=0),
    }
    (tmp_path / name).write_bytes(pack[name]())
    [unit] = units_of(file_at(tmp_path / name))
    with Opener() as opener:
        assert len(content(opener, unit)) == len(data)
    assert len(data) < MOST_TIMES * (tmp_path / name).stat().st_size, "a long file of such lines would be one"


@given(st.lists(st.binary(max_size=9)), st.lists(st.integers(-1, 12), max_size=20))
def test_any_reads_give_the_bytes_of_a_file(pieces: list[bytes], sizes: list[int]) -> None:
    stream, file = Pieces(iter(pieces)), io.BytesIO(b"".join(pieces))
    assert [stream.read(size) for size in sizes] == [file.read(size) for size in sizes]
    assert stream.read() == file.read()
