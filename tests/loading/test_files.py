"""Which files and members are found, what they are called, and what a stream that fails raises."""

import errno
import gzip
import os
import random
import zipfile
from pathlib import Path

import pytest

from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import Delivered, Opener, Unit, everything, file_hash, members, walk
from marketdata_assets.loading.overwrites import unchanged


def one_file(path: Path) -> Delivered:
    (state,) = walk(path.parent, keep=lambda name: name == path.name)
    return state


def zipped(path: Path, *names: str | bytes, method: int = zipfile.ZIP_DEFLATED) -> list[Unit]:
    """A zip with members of these names; bytes are names without the UTF-8 flag."""
    raw = [name if isinstance(name, bytes) else name.encode() for name in names]
    masked = [chr(0xE000 + number) + "x" * (len(name) - 3) for number, name in enumerate(raw)]
    with zipfile.ZipFile(path, "w", method) as archive:
        for number, mask in enumerate(masked):
            archive.writestr(mask, f"member {number}")
    data = path.read_bytes()
    for name, mask, given in zip(raw, masked, names, strict=True):
        data = data.replace(mask.encode(), name)
        if isinstance(given, bytes):
            for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
                at = data.rindex(signature, 0, data.index(name) if signature == b"PK\3\4" else data.rindex(name))
                data = data[: at + flags] + b"\0\0" + data[at + flags + 2 :]
    path.write_bytes(data)
    return members(one_file(path))


def read(unit: Unit) -> bytes:
    with Opener() as opener, opener.open(unit) as stream:
        return b"".join(iter(lambda: stream.read(7), b""))


def test_walk_skips_hidden_files_and_what_operating_systems_add(tmp_path: Path) -> None:
    for name in (
        "a.csv",
        "deep/b.csv",
        ".c.csv",
        ".git/d.csv",
        "__MACOSX/e.csv",
        "x/Thumbs.db",
        "deep/__MACOSX/f.csv",
        "~$g.csv",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    assert [file.name for file in walk(tmp_path)] == ["a.csv", "deep/b.csv"]
    assert walk(tmp_path / "missing") == []


@pytest.mark.parametrize(
    "pattern",
    [
        *("*.csv", "**/*.csv", "a/*.csv", "./a/*.csv", "a/**/*.csv", "**/b/*.csv", "[ab]*/x.csv", "?.csv", "**/*"),
        *("*/*/*.csv", "a*/**/x.csv", "**/a/**/x.csv", "*", "x.csv", "**/x*"),
    ],
)
def test_patterns_match_as_those_of_pathlib_and_in_any_case(tmp_path: Path, pattern: str) -> None:
    for name in ("x.csv", "y.txt", "a/x.csv", "a/b/x.csv", "a/b/c/xy.csv", "ab/b/z.csv", "b/x.csv", "b/b/b/q.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    wanted = sorted(one.relative_to(tmp_path).as_posix() for one in tmp_path.glob(pattern) if one.is_file())
    assert [file.name for file in walk(tmp_path, [pattern])] == wanted
    assert [file.name for file in walk(tmp_path, [pattern.upper()])] == wanted
    assert [file.name for file in walk(tmp_path, [pattern, "y.txt"])] == sorted({*wanted, "y.txt"})


def test_of_links_in_a_circle_links_to_nothing_and_pipes_only_files_are_walked(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    (folder / "real").mkdir(parents=True)
    elsewhere.mkdir()
    (folder / "real" / "back").symlink_to(folder, target_is_directory=True)
    (folder / "around.csv").symlink_to("around.csv")
    (folder / "0.csv").symlink_to(tmp_path / "nothing")
    os.mkfifo(folder / "1.csv")
    (elsewhere / "a.csv").write_bytes(b"1")
    (folder / "2.csv").symlink_to(elsewhere / "a.csv")  # data may lie on another disk
    (folder / "3.csv").write_bytes(b"1")
    assert [file.path for file in walk(folder)] == [folder / "2.csv", folder / "3.csv"]
    assert [file.name for file in walk(folder, ["**/*.csv"])] == ["2.csv", "3.csv"]


def test_a_folder_that_cannot_be_listed_now_hides_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not listed would count as deleted; a folder without permission is a state of its own."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.csv").write_bytes(b"1")
    scandir = os.scandir

    def failing(path: str) -> object:
        if path.endswith("deep"):
            raise OSError(number, os.strerror(number))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    number = errno.EIO
    with pytest.raises(OSError, match=r"deep: the folder cannot be read \(Input/output error\)"):
        walk(tmp_path)
    assert [(one.name, bool(one.problem)) for one in everything(tmp_path)] == [("a.csv", False), ("deep", True)]
    number = errno.EACCES
    assert [one.name for one in walk(tmp_path)] == ["a.csv"]
    number = errno.ENOENT
    assert [one.name for one in everything(tmp_path)] == ["a.csv"]


def test_file_names_of_any_encoding_are_printable(tmp_path: Path) -> None:
    for raw in ("平安.csv".encode("gbk"), b"\xff\xfe.csv", "茅台2.csv".encode()):
        (tmp_path / os.fsdecode(raw)).write_bytes(b"1")
    names = [file.name for file in walk(tmp_path)]
    assert names == ["\\xff\\xfe.csv", "平安.csv", "茅台2.csv"]
    assert all(file_hash(file) for file in walk(tmp_path))


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("平安银行.csv", "平安银行.csv"),
        ("平安银行.csv".encode("gbk"), "平安银行.csv"),
        ("*ST茅台.csv".encode("gbk"), "*ST茅台.csv"),
        ("證券.csv".encode("gbk"), "證券.csv"),
        ("平安银行.csv".encode(), "平安银行.csv"),
        ("naïve.csv".encode("cp437"), "naïve.csv"),
        ("plain.csv", "plain.csv"),
    ],
    ids=["utf-8 flag", "gbk", "gbk that is valid utf-8", "traditional", "utf-8 without flag", "cp437", "ascii"],
)
def test_member_names_of_any_encoding_are_read(tmp_path: Path, stored: str | bytes, name: str) -> None:
    (unit,) = zipped(tmp_path / "a.zip", stored)
    assert (unit.member, unit.place) == (name, f"a.zip!{name}")
    assert read(unit) == b"member 0"


def test_hidden_members_are_skipped_and_those_of_one_name_have_a_problem(tmp_path: Path) -> None:
    units = zipped(tmp_path / "a.zip", "__MACOSX/._a.csv", ".hidden", "twin.csv", "b.csv", "twin.csv")
    assert [(unit.member, bool(unit.problem)) for unit in units] == [
        ("twin.csv", True), ("b.csv", False), ("twin.csv", True),
    ]  # fmt: skip
    with pytest.raises(BadFile, match=r"a.zip!twin.csv: the zip has 2 members of this name"):
        read(units[0])


def test_a_member_with_a_dot_as_a_folder_is_data(tmp_path: Path) -> None:
    """Zips made of a folder have names as `./a.csv`, some `../a.csv`: nothing of them is hidden."""
    units = zipped(tmp_path / "a.zip", "./a.csv", "../b.csv", "deep/./c.csv", "./.hidden.csv", "../.git/d.csv")
    assert [(unit.member, read(unit)) for unit in units] == [
        ("./a.csv", b"member 0"),
        ("../b.csv", b"member 1"),
        ("deep/./c.csv", b"member 2"),
    ]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_of_every_common_compression_are_read(tmp_path: Path, method: int) -> None:
    assert [read(unit) for unit in zipped(tmp_path / "a.zip", "a.csv", "b.csv", method=method)] == [
        b"member 0",
        b"member 1",
    ]


def test_a_zip_whose_directory_is_damaged_is_named(tmp_path: Path) -> None:
    zipped(tmp_path / "a.zip", "a.csv")
    data = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(data[:-9])
    with pytest.raises(BadFile, match=r"a.zip: not a whole zip file"):
        members(one_file(tmp_path / "a.zip"))


def test_failing_streams_name_the_file_and_the_cause(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    packed = gzip.compress(random.Random(1).randbytes(1000))
    for cut in (10, 200, -12, -4):
        path.write_bytes(packed[:cut])
        with pytest.raises(BadFile, match=r"a.csv.gz: damaged: "):
            read(Unit(one_file(path)))
    gone = Unit(one_file(path))
    path.unlink()
    with pytest.raises(BadFile, match=r"a.csv.gz: the file was moved away"):
        read(gone)
    unit, _ = zipped(tmp_path / "b.zip", "a.csv", "b.csv")
    zipped(tmp_path / "b.zip", "other.csv", "a.csv")
    with pytest.raises(BadFile, match=r"b.zip!a.csv: the zip was replaced"):
        read(unit)


def overwrite(path: Path, content: bytes, at: int = 2_000_000_000) -> None:
    """Write into the file as it is, as cp does."""
    with path.open("r+b") as file:
        file.truncate(len(content))
        file.write(content)
    os.utime(path, (at, at))


@pytest.mark.parametrize("content", [b"other" * 20, b"longer" * 30, b"short"], ids=["same size", "longer", "shorter"])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_file_that_is_overwritten_while_it_is_read_is_of_no_version(
    tmp_path: Path, name: str, content: bytes
) -> None:
    pack = gzip.compress if name.endswith(".gz") else bytes
    path = tmp_path / name
    path.write_bytes(pack(b"given" * 20))
    unit = Unit(one_file(path), size=100)
    said = "overwritten while it was being read"
    with pytest.raises(BadFile, match=said), Opener() as opener, opener.open(unit) as stream:
        stream.read(7)
        overwrite(path, pack(content))
    with pytest.raises(BadFile, match=said), Opener() as opener, opener.open(unit):
        overwrite(path, pack(content), at=1_900_000_000)
        raise BadFile(name, "such as of a row of both versions")


def test_an_open_file_that_another_replaces_is_read_to_its_end(tmp_path: Path) -> None:
    path, other = tmp_path / "a.csv", tmp_path / "b.csv"
    path.write_bytes(b"given")
    other.write_bytes(b"other")
    with Opener() as opener, opener.open(Unit(one_file(path), size=5)) as stream:
        other.replace(path)
        assert stream.read() == b"given"


def test_a_path_is_another_file_once_it_is_replaced(tmp_path: Path) -> None:
    path, other = tmp_path / "a.csv", tmp_path / "b.csv"
    for file in (path, other):
        file.write_bytes(b"given")
        os.utime(file, (1, 1))
    with unchanged("a.csv", path):
        path.read_bytes()
    with pytest.raises(BadFile, match="overwritten"), unchanged("a.csv", path):
        other.replace(path)
