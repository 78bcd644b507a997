"""Packages: nothing lost, each id once in its newest version, equal bytes for equal content, whatever is killed."""

import datetime as dt
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from archives import ACCOUNT, MONTH, alpha, names, on_disk, pack, packed, put, put_single
from hypothesis import given, settings
from hypothesis import strategies as st

from marketdata_assets.alphas import layout, package_files, packages, sample
from marketdata_assets.alphas.archive import Alpha
from marketdata_assets.alphas.errors import BadSlice
from marketdata_assets.alphas.newest import Newest


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
    assert (report.documents, report.duplicates, report.rejected, report.failed) == (4, 0, 0, ())
    assert ([d.day for d in report.written], report.unchanged, len(report.empty)) == ([3, 4], (), 28)


def test_the_newest_version_wins_as_an_instant(tmp_path: Path) -> None:
    put(tmp_path, "2024-11-01T09:00", [alpha("a", modified="2024-11-03T01:10:00-05:00", v=2)], hours=700, mtime=1)
    put(tmp_path, "2024-11-27T09:00", [alpha("a", modified="2024-11-03T01:30:00-04:00", v=1)], mtime=2)
    put(tmp_path, "2024-11-27T08:00", [alpha("a", modified="2024-11-3", v=0)], hours=2, mtime=3)
    assert pack(tmp_path).duplicates == 2
    assert [document["v"] for document in packed(tmp_path)["2024-11-27.ndjson"]] == [2]


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
    listed = packages.raw_files

    def and_then_fetched(*arguments: Any) -> Any:
        found = listed(*arguments)
        if superseded.exists():
            superseded.unlink()
            put(tmp_path, "2024-11-27T08:00", [alpha("a", v=1), alpha("b", v=1)], hours=9, mtime=60)
        return found

    monkeypatch.setattr(packages, "raw_files", and_then_fetched)
    report = pack(tmp_path)
    assert (report.documents, report.failed) == (2, ())


def test_an_unchanged_day_is_not_written(tmp_path: Path) -> None:
    put(tmp_path, "2024-11-03T09:00", [alpha("a", "2024-11-03T09:00:00Z")])
    put(tmp_path, "2024-11-05T09:00", [alpha("b", "2024-11-05T09:00:00Z")])
    pack(tmp_path)
    folder = layout.packages_folder(tmp_path, ACCOUNT, "regular", MONTH)
    before = {path.name: path.stat() for path in folder.iterdir()}
    put(tmp_path, "2024-11-05T10:00", [alpha("c", "2024-11-05T10:00:00Z")])
    report = pack(tmp_path)
    assert ([d.day for d in report.written], [d.day for d in report.unchanged]) == ([5], [3])
    after = {path.name: path.stat() for path in folder.iterdir()}
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
        put(tmp_path, "2024-11-03T13:00", b"[]").rename(good.with_name("nameless.json")),
    ]
    report = pack(tmp_path)
    assert {failure.place for failure in report.failed} == {str(path) for path in broken}
    assert all(failure.place in failure.error for failure in report.failed)
    assert names(tmp_path) == {"2024-11-03.ndjson": ["a"]}


def test_rejects_are_replaced_as_a_whole(tmp_path: Path) -> None:
    path = put(tmp_path, "2024-11-03T09:00", [7, alpha("a", "2024-11-03T09:00:00Z"), {"x": "y" * 9000}])
    rejects = layout.packages_folder(tmp_path, ACCOUNT, "regular", MONTH) / "rejects.ndjson"
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
    assert packages.months_on_disk(tmp_path, ACCOUNT, "regular") == [MONTH]


def test_switching_zstd_on_and_off_replaces_the_other_form(tmp_path: Path) -> None:
    put(tmp_path, "2024-11-03T09:00", [alpha("a", "2024-11-03T09:00:00Z")])
    pack(tmp_path)
    plain = on_disk(tmp_path)
    assert [d.day for d in pack(tmp_path, zstd=True).written] == [3]
    squeezed = on_disk(tmp_path)
    assert [Path(name).name for name in squeezed] == ["2024-11-03.ndjson.zst"]
    assert [d.day for d in pack(tmp_path, zstd=True).unchanged] == [3]
    pack(tmp_path)
    assert on_disk(tmp_path) == plain
    pack(tmp_path, zstd=True)
    assert on_disk(tmp_path) == squeezed


@pytest.mark.parametrize("zstd", [False, True])
def test_of_two_forms_of_a_day_both_are_read(tmp_path: Path, zstd: bool) -> None:
    folder = layout.packages_folder(tmp_path, ACCOUNT, "regular", MONTH)
    lines = [json.dumps(alpha(name, f"2024-11-03T0{name}:00:00Z")).encode() + b"\n" for name in "12"]
    package_files.write(folder / "2024-11-03.ndjson", lines[:1])
    package_files.write(folder / "2024-11-03.ndjson.zst", lines[1:])
    pack(tmp_path, zstd=zstd)
    assert names(tmp_path) == {f"2024-11-03.ndjson{'.zst' if zstd else ''}": ["1", "2"]}


@pytest.mark.parametrize("zstd", [False, True])
def test_a_damaged_package_is_told_of_and_left_alone(tmp_path: Path, zstd: bool) -> None:
    days = [
        [alpha(f"{day}{n}", f"2024-11-{day}T09:00:00Z", text=random.Random(n).random()) for n in range(50)]
        for day in (13, 15)
    ]
    put(tmp_path, "2024-11-10T00:00", days[0] + days[1], hours=240)
    pack(tmp_path, zstd=zstd)
    path = packages.list_packages(tmp_path, ACCOUNT, "regular")[0]
    path.write_bytes(path.read_bytes()[:-20])
    damaged = path.read_bytes()
    put(
        tmp_path,
        "2024-11-10T01:00",
        [alpha("n", "2024-11-13T10:00:00Z"), alpha("m", "2024-11-15T10:00:00Z")],
        hours=240,
    )
    report = pack(tmp_path, zstd=zstd)
    assert ([d.day for d in report.written], report.documents) == ([15], 51)
    assert [failure.place.startswith(str(path)) for failure in report.failed] == [True]
    assert path.read_bytes() == damaged
    path.unlink()
    assert pack(tmp_path, zstd=zstd).documents == 102


def test_reading_a_package(tmp_path: Path) -> None:
    plain, squeezed = tmp_path / "2024-11-03.ndjson", tmp_path / "2024-11-03.ndjson.zst"
    lines = [b'{"id":"%d","x":"%s"}' % (n, os.urandom(400).hex().encode()) for n in range(3000)]
    for path in (plain, squeezed):
        package_files.write(path, (line + b"\n" for line in lines))
        assert list(packages.read_package(path)) == list(enumerate(lines, 1))
    squeezed.write_bytes(squeezed.read_bytes()[:-1000])
    with pytest.raises(BadSlice, match="cut off"):
        list(packages.read_package(squeezed))
    squeezed.write_bytes(b"no zstd")
    with pytest.raises(BadSlice, match="no sound zstd"):
        list(packages.read_package(squeezed))
    plain.write_bytes(b"\n{}\r\n\n[]")
    assert list(packages.read_package(plain)) == [(2, b"{}"), (4, b"[]")]


def test_what_a_killed_process_left_half_written_is_swept_away(tmp_path: Path) -> None:
    put(tmp_path, "2024-11-03T09:00", [alpha("a", "2024-11-03T09:00:00Z")])
    folder = layout.packages_folder(tmp_path, ACCOUNT, "regular", MONTH)
    folder.mkdir(parents=True)
    (folder / ".2024-11-09.ndjson.zst.partial").write_bytes(b"half")
    pack(tmp_path)
    assert [path.name for path in folder.iterdir()] == ["2024-11-03.ndjson"]


def test_packages_are_listed_by_day(tmp_path: Path) -> None:
    folder = layout.packages_folder(tmp_path, ACCOUNT, "regular", "")
    for name in (
        *("2024-12/2024-12-01.ndjson", "2024-11/2024-11-30.ndjson.zst", "2024-11/2024-11-02.ndjson"),
        *("2024-11/rejects.ndjson", "2024-11/2024-12-01.ndjson", "2024-11/2024-11-31.ndjson", "2024-10/notes"),
        *("2024-11/.2024-11-05.ndjson.partial", ".2024-11.lock"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    found = packages.list_packages(tmp_path, ACCOUNT, "regular")
    assert [path.name for path in found] == ["2024-11-02.ndjson", "2024-11-30.ndjson.zst", "2024-12-01.ndjson"]
    assert packages.list_packages(tmp_path, ACCOUNT, "regular", ["2024-12"]) == found[2:]
    put_single(tmp_path, "2024-08-01", "a", alpha("a"))
    put(tmp_path, "2024-12-31T00:00", [], hours=48)
    assert packages.months_on_disk(tmp_path, ACCOUNT, "regular") == ["2024-08", "2024-11", "2024-12", "2025-01"]
    assert packages.months_on_disk(tmp_path, ACCOUNT, "super") == []


def test_progress_counts_every_input(tmp_path: Path) -> None:
    for hour in range(3):
        put(tmp_path, f"2024-11-03T0{hour}:00", [])
    told: list[tuple[int, int]] = []
    packages.package(tmp_path, ACCOUNT, "regular", MONTH, progress=lambda done, total, _: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


# Laws. An input is a slice, or single files, of alphas whose ids, dates and versions clash on purpose.

DATES = st.sampled_from(
    ["2024-11-02T21:30:00-04:00", "2024-11-03T01:30:00Z", "2024-11-03T01:10:00-05:00", "2024-11-04", "none", None]
)
ALPHAS = st.fixed_dictionaries(
    {"id": st.sampled_from("abcd"), "dateCreated": DATES, "dateModified": DATES, "v": st.integers(0, 2)}
)
INPUTS = st.lists(st.tuples(st.booleans(), st.integers(1, 3), st.lists(ALPHAS, max_size=4)), min_size=1, max_size=5)


def deliver(root: Path, inputs: list[tuple[int, tuple[bool, int, list[Any]]]]) -> None:
    for number, (single, mtime, documents) in inputs:
        if single:
            for index, document in enumerate(documents):
                put_single(root, f"2024-11-0{number + 1}", f"{number}{index}", document, mtime=mtime)
        else:
            put(root, f"2024-11-0{number + 1}T00:00", documents, hours=24, mtime=mtime)


@settings(max_examples=60)
@given(inputs=INPUTS, shuffler=st.randoms(), zstd=st.booleans())
def test_packaging_is_idempotent_and_order_does_not_matter(inputs: Any, shuffler: random.Random, zstd: bool) -> None:
    numbered = list(enumerate(inputs))
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        deliver(Path(one), numbered)
        report = pack(Path(one), zstd=zstd)
        at_once = on_disk(Path(one))
        assert pack(Path(one), zstd=zstd).written == ()
        assert on_disk(Path(one)) == at_once
        kept = [document["id"] for documents in packed(Path(one)).values() for document in documents]
        assert sorted(kept) == sorted({document["id"] for _, _, documents in inputs for document in documents})
        assert report.documents == len(kept)
        shuffler.shuffle(numbered)
        for part in numbered:
            deliver(Path(other), [part])
            pack(Path(other), zstd=shuffler.random() < 0.5)
        pack(Path(other), zstd=zstd)
        assert on_disk(Path(other)) == at_once


OFFERS = st.tuples(
    *(st.sampled_from("ab"), st.sampled_from([b'{"id":1}', b'{"id":2}']), st.integers(1, 2), st.booleans()),
    *(st.integers(1, 2), st.integers(1, 2)),
)


@given(offers=st.lists(OFFERS, max_size=6), shuffler=st.randoms())
def test_the_newest_is_the_same_in_whatever_order_versions_are_offered(offers: Any, shuffler: random.Random) -> None:
    def kept() -> list[tuple[dt.date, str, bytes]]:
        with tempfile.TemporaryFile() as spool:
            newest = Newest(spool)
            for name, raw, modified, is_raw, mtime, day in offers:
                moment = dt.datetime(2024, 11, modified, tzinfo=dt.UTC)
                newest.offer(Alpha(name, None, moment, dt.date(2024, 11, day), raw), raw=is_raw, mtime_ns=mtime)
            return [(day, v.id, newest.line(v)) for day, versions in newest.by_day().items() for v in versions]

    before = kept()
    shuffler.shuffle(offers)
    assert kept() == before


@settings(max_examples=40)
@given(inputs=INPUTS)
def test_without_its_raw_files_a_package_stays_as_it_is(inputs: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        deliver(root, list(enumerate(inputs)))
        pack(root)
        before = on_disk(root)
        for path in root.rglob("*.json"):
            path.unlink()
        assert pack(root).written == ()
        assert on_disk(root) == before


# Kills and races.


def doomed(work: Callable[[], Any], steps: int) -> bool:
    """Do `work` in a child that is killed before the file system step after `steps`; True when it needed no more."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _mortal(steps)
            work()
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code == 0


def _mortal(steps: int) -> None:
    left = steps

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return step

    for owner, name in (
        *((os, name) for name in ("replace", "unlink", "fsync", "mkdir", "pread")),
        *((Path, name) for name in ("open", "read_bytes")),
    ):
        setattr(owner, name, mortal(getattr(owner, name)))


@pytest.mark.parametrize("zstd", [False, True])
def test_a_kill_at_any_write_loses_nothing(tmp_path: Path, zstd: bool) -> None:
    raw, wanted = tmp_path / "raw", tmp_path / "wanted"
    old = [alpha(f"o{day}", f"2024-11-0{day}T09:00:00Z") for day in (1, 2)]
    new = [alpha(f"n{day}", f"2024-11-0{day}T09:00:00Z") for day in (2, 3)]
    for root in (raw, wanted):
        first = put(root, "2024-11-01T00:00", old, hours=96, mtime=1)
        pack(root, zstd=not zstd)
        first.unlink()
        put(root, "2024-11-01T00:00", [*new, 7], hours=72, mtime=2)
    pack(wanted, zstd=zstd)
    for steps in range(200):
        root = tmp_path / str(steps)
        subprocess.run(["cp", "-a", raw, root], check=True)
        survived = doomed(lambda root=root: pack(root, zstd=zstd), steps)  # type: ignore[misc]
        ids = {document["id"] for documents in packed(root).values() for document in documents}
        assert ids >= {"o1", "o2"}
        pack(root, zstd=zstd)
        assert on_disk(root) == on_disk(wanted)
        if survived:
            break
    assert steps > 20


def test_processes_packaging_the_same_month_at_once_end_in_the_same_files(tmp_path: Path) -> None:
    together, alone = tmp_path / "together", tmp_path / "alone"
    for root in (together, alone):
        sample.write_archive(root, ACCOUNT, ["2024-10", MONTH], regular=200, superalphas=0)
    pack(alone)
    code = (
        "import sys; from pathlib import Path; from marketdata_assets.alphas.packages import package\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for n in range(6): package(Path(sys.argv[1]), 'lk', 'regular', '2024-11', zstd=(n + int(sys.argv[2])) % 2 > 0)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, together, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for n in range(3)
    ]
    for process in processes:
        assert process.stdout and process.stdout.readline()
    for process in processes:
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.close()
    for process in processes:
        assert process.stdout
        assert process.wait(timeout=60) == 0
        process.stdout.close()
    pack(together)
    assert on_disk(together) == on_disk(alone)


def test_recorded_alphas_come_back_unchanged(fixtures: Path, tmp_path: Path) -> None:
    folder = fixtures / "brain"
    page = json.loads((folder / "alpha_list/users_self_alphas_page.json").read_text())["results"]
    recorded = [*page, *(json.loads(path.read_text()) for path in sorted(folder.glob("alpha_[rs]*/*.json")))]
    put(tmp_path, "2025-06-01T00:00", page, hours=720)
    for path in folder.glob("alpha_[rs]*/*.json"):
        document = json.loads(path.read_text())
        put_single(tmp_path, document["dateCreated"][:10], document["id"], path.read_bytes())
    months = packages.months_on_disk(tmp_path, ACCOUNT, "regular")
    read = []
    for month in months:
        assert pack(tmp_path, month, zstd=True).failed == ()
        read += [document for documents in packed(tmp_path, month).values() for document in documents]
    assert len(months) > 1
    assert sorted(map(json.dumps, read)) == sorted(map(json.dumps, recorded))
