"""Members of archives are units, whatever packs them, however deep, and in whatever encoding their names are."""

import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest
import zstandard

from marketdata_assets.flows.run import find_units
from tests.flows.flow_files import PRICES, closes, deliver, flow, lines, only_error, read_all, run

ANY = PRICES.replace("loader:\n", "loader:\n  glob: '**/*.*'\n  file_name: '{name}.csv'\n").replace(
    "  key: [code, day]\n  columns: {", "  key: [code, day]\n  columns: {name: text, "
)
FILES = {"平安银行.csv": lines("a", [1, 2]).encode(), "b/万科A.csv": lines("b", [3]).encode()}


def zipped(files: dict[str, bytes], encoding: str = "utf-8") -> bytes:
    """A zip as Chinese tools write it: with names in GBK and no flag, they look like cp437."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for letter, (name, data) in zip("xyz", files.items(), strict=False):
            archive.writestr(letter * len(name.encode(encoding)), data)
    packed = out.getvalue()
    for letter, name in zip(b"xyz", files, strict=False):
        raw = name.encode(encoding)
        packed = packed.replace(bytes([letter]) * len(raw), raw, 2)
    return packed


def tarred(files: dict[str, bytes], encoding: str = "utf-8") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, encoding=encoding) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


NESTED = {"2024年/一月.zip": zipped(FILES, "gbk"), "__MACOSX/._a.csv": b"x"}
PACKED = {
    "a.zip": zipped(FILES, "gbk"),
    "a.tar": tarred(FILES),
    "a.tar.gz": gzip.compress(tarred(FILES, "gbk")),
    "a.tgz": gzip.compress(tarred(FILES)),
    "a.tar.xz": lzma.compress(tarred(FILES)),
    "a.tar.zst": zstandard.compress(tarred(FILES)),
    "nested.zip": zipped(NESTED, "gbk"),
    "nested.tar.gz": gzip.compress(tarred({"inner.tgz": gzip.compress(tarred(FILES))})),
    "gz.zip": zipped({f"{name}.gz": gzip.compress(data) for name, data in FILES.items()}),
    "zst.zip": zipped({f"{name}.zst": zstandard.compress(data) for name, data in FILES.items()}),
}


@pytest.mark.parametrize("name", PACKED)
def test_members_of_an_archive_are_read_under_their_names(name: str, tmp_path: Path) -> None:
    defined = flow(tmp_path, ANY.replace("loader:\n", "loader:\n  folder: in\n"))
    deliver(tmp_path / "in", name, PACKED[name])
    found = [(row["code"], row["name"], row["close"]) for row in read_all(defined, tmp_path)]
    assert sorted(found) == [("a", "平安银行", 1), ("a", "平安银行", 2), ("b", "万科A", 3)]


def test_a_place_has_all_archives_around_a_member(tmp_path: Path) -> None:
    deliver(tmp_path, "nested.zip", PACKED["nested.zip"])
    places = [
        unit.place
        for unit in find_units(flow(tmp_path, PRICES.replace("loader:\n", "loader:\n  glob: '*.zip'\n")), tmp_path)
    ]
    assert sorted(places) == [
        "nested.zip!2024年/一月.zip!b/万科A.csv",
        "nested.zip!2024年/一月.zip!平安银行.csv",
    ]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "nested.zip", "a.tar.zst"])
def test_an_archive_that_is_cut_fails_by_name(name: str, dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path, name, PACKED[name][: -10 * 1024 if name == "a.tar" else -60])
    defined = flow(tmp_path, PRICES.replace("loader:\n", f"loader:\n  glob: '{name}'\n"))
    assert only_error(defined, dsn, tmp_path).startswith(f"{name}: ")


def test_a_member_without_a_name_fails_the_archive_by_name(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path, "a.zip", zipped({"a.csv": b"x"}).replace(b"a.csv", b"\0.csv"))
    defined = flow(tmp_path, PRICES.replace("loader:\n", "loader:\n  glob: '*.zip'\n"))
    assert only_error(defined, dsn, tmp_path).startswith("a.zip: not a whole zip file (string index out of range)")


def test_a_single_file_in_zstd_is_a_unit(dsn: str, tmp_path: Path) -> None:
    defined = flow(tmp_path, PRICES.replace("loader:\n", "loader:\n  glob: '*.zst'\n"))
    deliver(tmp_path, "a.csv.zst", zstandard.compress(lines("a", [1, 2]).encode()))
    run(defined, dsn, tmp_path)
    assert closes(dsn) == [1, 2]
    deliver(tmp_path, "b.csv.zst", zstandard.compress(lines("b", [1, 2]).encode())[:-8])
    assert only_error(defined, dsn, tmp_path).startswith("b.csv.zst: ")
