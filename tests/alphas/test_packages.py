"""Packages: nothing lost, each id once in its newest version, unchanged days left alone, damage told of."""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.alphas import file_index, files, layout, packaging
from marketdata_assets.loading.errors import BadFile
from tests.alphas.archives import ACCOUNT, MONTH, alpha, names, on_disk, pack, packed, put, put_single, write


def test_a_day_a_file_sorted_by_instant_and_id(tmp_path: Path) -> None:
    put(
        tmp_path,
        "2024-11-03T00:00",
        [
            alpha("later", "2024-11-03T01:10:00-05:00"),
            alpha("z", "2024-11-03T01:30:00-04:00"),
            alpha("a", "2024-11-03T05:30:00Z"),
            alpha("evening", "2024-11-03T20:00:00-05:00"),
        ],
        hours=48,
    )
    report = pack(tmp_path)
    assert names(tmp_path) == {"2024-11-03.ndjson": ["a", "z", "later"], "2024-11-04.ndjson": ["evening"]}
    assert (report.documents, report.duplicates, report.rejected, report.failed) == (4, 0, 0, {})
    assert ([d.day for d in report.written], report.unchanged, len(report.empty)) == ([3, 4], [], 28)


def test_the_newest_version_wins_as_an_instant(tmp_path: Path) -> None:
    put(tmp_path, "2024-11-01T09:00", [alpha("a", modified="2024-11-03T01:10:00-05:00", v=2)], hours=700, mtime=1)
    put(tmp_path, "2024-11-27T09:00", [alpha("a", modified="2024-11-03T01:30:00-04:00", v=1)], mtime=2)
    put(tmp_path, "2024-11-27T08:00", [alpha("a", modified="2024-11-3", v=0)], hours=2, mtime=3)
    assert pack(tmp_path).duplicates == 2
    assert [document["v"] for document in packed(tmp_path)["2024-11-27.ndjson"]] == [2]


@pytest.mark.parametrize("suffix", [".ndjson", ".ndjson.zst"])
def test_package_that_is_overwritten_while_it_is_read_counts_as_nothing(tmp_path: Path, suffix: str) -> None:
    path, other = (tmp_path / f"{name}{suffix}" for name in ("2024-11-27", "other"))
    # Of random bytes, which stay longer than one read when they are packed.
    write(path, [random.Random(number).randbytes(2000).hex().encode() + b"\n" for number in range(3000)])
    write(other, [b"{}\n"] * 10)
    lines = files.lines_of(path)
    assert next(lines)
    path.write_bytes(other.read_bytes())
    with pytest.raises(BadFile, match="overwritten while it was being read") as caught:
        list(lines)
    assert path.name in str(caught.value)
    assert len(list(files.lines_of(path))) == 10


def test_of_equally_new_versions_the_younger_file_wins(tmp_path: Path) -> None:
    put(tmp_path, "2024-11-27T09:00", [alpha("a", v=1)], mtime=50)
    pack(tmp_path)
    put_single(tmp_path, "2024-11-27", "a", alpha("a", v=2), mtime=60)
    put(tmp_path, "2024-11-27T08:00", [alpha("a", v=3)], hours=2, mtime=40)
    assert [d.day for d in pack(tmp_path).written] == [27]
    assert [document["v"] for document in packed(tmp_path)["2024-11-27.ndjson"]] == [2]


def test_a_slice_that_a_fetch_replaces_meanwhile_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "2024-11-27T09:00", [alpha("a", v=1)], mtime=50)
    superseded = put(tmp_path, "2024-11-27T09:00", [alpha("a", v=1), alpha("b", v=1)], hours=3, mtime=40)
    listed = packaging.listed

    def and_then_fetched(*arguments: Any) -> Any:
        found = listed(*arguments)
        if superseded.exists():
            superseded.unlink()
            put(tmp_path, "2024-11-27T08:00", [alpha("a", v=1), alpha("b", v=1)], hours=9, mtime=60)
        return found

    monkeypatch.setattr(packaging, "listed", and_then_fetched)
    report = pack(tmp_path)
    assert (report.documents, report.failed) == (2, {})


def written(folder: Path) -> dict[str, tuple[int, int]]:
    """Of each file which one it is and when it was written; the time of reading is of no interest."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_an_unchanged_day_is_not_written(tmp_path: Path) -> None:
    put(tmp_path, "2024-11-03T09:00", [alpha("a", "2024-11-03T09:00:00Z")])
    put(tmp_path, "2024-11-05T09:00", [alpha("b", "2024-11-05T09:00:00Z")])
    pack(tmp_path)
    folder = layout.packages_folder(tmp_path, ACCOUNT, "regular", MONTH)
    before = written(folder)
    put(tmp_path, "2024-11-05T10:00", [alpha("c", "2024-11-05T10:00:00Z")])
    report = pack(tmp_path)
    assert ([d.day for d in report.written], [d.day for d in report.unchanged]) == ([5], [3])
    after = written(folder)
    assert after["2024-11-03.ndjson"] == before["2024-11-03.ndjson"]
    assert after["2024-11-05.ndjson"] != before["2024-11-05.ndjson"]


def test_deleting_raw_files_loses_nothing(tmp_path: Path) -> None:
    first = put(tmp_path, "2024-11-03T09:00", [alpha("a", "2024-11-03T09:00:00Z"), {"id": "undated"}])
    pack(tmp_path)
    first.unlink()
    put(tmp_path, "2024-11-03T10:00", [alpha("b", "2024-11-03T10:00:00Z")])
    assert pack(tmp_path).documents == 3
    assert names(tmp_path) == {"2024-11-03.ndjson": ["undated", "a", "b"]}


def test_an_alpha_that_gets_a_date_moves_to_its_day(tmp_path: Path) -> None:
    put(tmp_path, "2024-11-03T09:00", [{"id": "a"}])
    pack(tmp_path)
    assert names(tmp_path) == {"2024-11-03.ndjson": ["a"]}
    put(tmp_path, "2024-11-01T00:00", [alpha("a", "2024-11-05T09:00:00Z")], hours=240)
    pack(tmp_path)
    assert names(tmp_path) == {"2024-11-05.ndjson": ["a"]}


def test_a_failed_input_stops_no_other_and_is_reported(tmp_path: Path) -> None:
    good = put(tmp_path, "2024-11-03T09:00", [alpha("a", "2024-11-03T09:00:00Z")])
    broken = [
        put(tmp_path, "2024-11-03T10:00", b""),
        put(tmp_path, "2024-11-03T11:00", good.read_bytes()[:-1]),
        put(tmp_path, "2024-11-03T12:00", json.dumps([alpha("价")], ensure_ascii=False).encode("gbk")),
        put_single(tmp_path, "2024-11-03", "x", b"[]"),
    ]
    report = pack(tmp_path)
    assert report.failed.keys() == {str(path) for path in broken}
    assert all(place in error for place, error in report.failed.items())
    assert names(tmp_path) == {"2024-11-03.ndjson": ["a"]}


def test_rejects_are_replaced_as_a_whole(tmp_path: Path) -> None:
    path = put(tmp_path, "2024-11-03T09:00", [7, alpha("a", "2024-11-03T09:00:00Z"), {"x": "y" * 9000}])
    rejects = layout.packages_folder(tmp_path, ACCOUNT, "regular", MONTH) / ".rejects.ndjson"
    assert pack(tmp_path).rejected == 2
    first, second = (json.loads(line) for line in rejects.read_text().splitlines())
    assert first == {"place": f"{path.relative_to(tmp_path).as_posix()}:1", "reason": "not a JSON object", "raw": "7"}
    assert len(second["raw"]) == 2000
    assert names(tmp_path) == {"2024-11-03.ndjson": ["a"]}
    put(tmp_path, "2024-11-03T09:00", [alpha("a", "2024-11-03T09:00:00Z")])
    assert pack(tmp_path).rejected == 0
    assert not rejects.exists()


def test_a_month_without_anything_leaves_no_trace(tmp_path: Path) -> None:
    report = pack(tmp_path)
    assert (report.documents, len(report.empty), list(tmp_path.iterdir())) == (0, 30, [])
    put(tmp_path, "2024-11-03T09:00", [])
    assert len(pack(tmp_path).empty) == 30
    assert on_disk(tmp_path) == {}
    assert file_index.months_on_disk(tmp_path, ACCOUNT, "regular") == {MONTH}


def test_of_two_forms_of_a_day_both_are_read_and_one_is_left(tmp_path: Path) -> None:
    folder = layout.packages_folder(tmp_path, ACCOUNT, "regular", MONTH)
    lines = [json.dumps(alpha(name, f"2024-11-03T0{name}:00:00Z")).encode() + b"\n" for name in "12"]
    write(folder / "2024-11-03.ndjson", lines[:1])
    write(folder / "2024-11-03.ndjson.zst", lines[1:])
    pack(tmp_path)
    assert names(tmp_path) == {"2024-11-03.ndjson": ["1", "2"]}


def test_a_damaged_package_is_told_of_and_left_alone(tmp_path: Path) -> None:
    days = [
        [alpha(f"{day}{n}", f"2024-11-{day}T09:00:00Z", text=random.Random(n).random()) for n in range(50)]
        for day in (13, 15)
    ]
    put(tmp_path, "2024-11-10T00:00", days[0] + days[1], hours=240)
    pack(tmp_path)
    path = file_index.list_packages(tmp_path, ACCOUNT, "regular")[0]
    path.write_bytes(path.read_bytes()[:-20])
    damaged = path.read_bytes()
    put(
        tmp_path,
        "2024-11-10T01:00",
        [alpha("n", "2024-11-13T10:00:00Z"), alpha("m", "2024-11-15T10:00:00Z")],
        hours=240,
    )
    report = pack(tmp_path)
    assert ([d.day for d in report.written], report.documents) == ([15], 51)
    assert [place.startswith(str(path)) for place in report.failed] == [True]
    assert path.read_bytes() == damaged
    path.unlink()
    assert pack(tmp_path).documents == 102


def test_reading_a_package(tmp_path: Path) -> None:
    plain, squeezed = tmp_path / "2024-11-03.ndjson", tmp_path / "2024-11-03.ndjson.zst"
    lines = [b'{"id":"%d","x":"%s"}' % (n, os.urandom(400).hex().encode()) for n in range(3000)]
    for path in (plain, squeezed):
        write(path, (line + b"\n" for line in lines))
        assert list(packaging.read_package(path)) == list(enumerate(lines, 1))
    squeezed.write_bytes(squeezed.read_bytes()[:-1000])
    with pytest.raises(BadFile, match="cut off"):
        list(packaging.read_package(squeezed))
    squeezed.write_bytes(b"no zstd")
    with pytest.raises(BadFile, match="damaged zstd"):
        list(packaging.read_package(squeezed))
    plain.write_bytes(b"\n{}\r\n\n[]")
    assert list(packaging.read_package(plain)) == [(2, b"{}"), (4, b"[]")]


def test_packages_are_listed_by_day(tmp_path: Path) -> None:
    folder = layout.packages_folder(tmp_path, ACCOUNT, "regular", "")
    for name in (
        *("2024-12/2024-12-01.ndjson", "2024-11/2024-11-30.ndjson.zst", "2024-11/2024-11-02.ndjson"),
        *("2024-11/rejects.ndjson", "2024-11/2024-12-01.ndjson", "2024-11/2024-11-31.ndjson", "2024-10/notes"),
        *("2024-11/.2024-11-05.ndjson.partial", ".2024-11.lock"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    found = file_index.list_packages(tmp_path, ACCOUNT, "regular")
    assert [path.name for path in found] == ["2024-11-02.ndjson", "2024-11-30.ndjson.zst", "2024-12-01.ndjson"]
    assert file_index.list_packages(tmp_path, ACCOUNT, "regular", ["2024-12"]) == found[2:]
    put_single(tmp_path, "2024-08-01", "a", alpha("a"))
    put(tmp_path, "2024-12-31T00:00", [], hours=48)
    assert file_index.months_on_disk(tmp_path, ACCOUNT, "regular") == {"2024-08", "2024-11", "2024-12", "2025-01"}
    assert file_index.months_on_disk(tmp_path, ACCOUNT, "super") == set()


def test_recorded_alphas_come_back_unchanged(fixtures: Path, tmp_path: Path) -> None:
    folder = fixtures / "brain"
    page = json.loads((folder / "alpha_list/users_self_alphas_page.json").read_text())["results"]
    recorded = [*page, *(json.loads(path.read_text()) for path in sorted(folder.glob("alpha_[rs]*/*.json")))]
    put(tmp_path, "2025-06-01T00:00", page, hours=720)
    for path in folder.glob("alpha_[rs]*/*.json"):
        document = json.loads(path.read_text())
        put_single(tmp_path, document["dateCreated"][:10], document["id"], path.read_bytes())
    months = sorted(file_index.months_on_disk(tmp_path, ACCOUNT, "regular"))
    read = []
    for month in months:
        assert pack(tmp_path, month).failed == {}
        read += [document for documents in packed(tmp_path, month).values() for document in documents]
    assert len(months) > 1
    assert sorted(map(json.dumps, read)) == sorted(map(json.dumps, recorded))
