"""Every entry of the folder has a state: what cannot be dated is due until it was tried, failed when that failed."""

import os
import zipfile
from pathlib import Path

import psycopg
import pytest

from marketdata_assets.bars import preview, schema, status
from marketdata_assets.bars.profiles import SHIPPED
from marketdata_assets.loading.file_ledger import FileEntry, FileState
from marketdata_assets.loading.files import file_at
from tests.bars.bar_files import csv_text, deliver, line, minutes, months, run

ALL = [*months(2000), *months(2001)]
GOOD = csv_text(line(label) for label in minutes("2000-06-09 09:30:00", 3))
FOREIGN = b"date,open,high,low,close,volume,money\n2000-06-09 09:31:00,10,10,10,10,5,5000\n"


def looked(dsn: str, folder: Path) -> dict[str, FileEntry]:
    with psycopg.connect(dsn) as connection:
        schema.ensure(connection)
        entries = {entry.file: entry for entry in status.file_entries(connection, folder, ALL)}
        surveyed = status.survey(connection, folder, ALL)
    assert {one.file: one.state for one in surveyed.files} == {name: one.state for name, one in entries.items()}
    assert all(entry.balanced for entry in entries.values())
    assert surveyed.due(ALL) == any(not entry.state.settled for entry in entries.values())
    return entries


def test_members_whose_names_are_gbk_are_loaded(dsn: str, tmp_path: Path) -> None:
    """In a zip whose name has no year, by a program that does not mark the encoding of its names."""
    path = deliver(tmp_path / "history.zip", {"abcdefgh.csv": GOOD})
    path.write_bytes(path.read_bytes().replace(b"abcdefgh", "浦发银行".encode("gbk")))
    assert looked(dsn, tmp_path)["history.zip"].state is FileState.DUE
    report = run(dsn, tmp_path, ["2000-06"])
    assert (report.rows, report.failed) == (3, ())
    assert looked(dsn, tmp_path)["history.zip"].state is FileState.LOADED


def test_a_corrected_delivery_is_due_and_loads(dsn: str, tmp_path: Path) -> None:
    path = deliver(tmp_path / "600000.csv", FOREIGN)
    run(dsn, tmp_path, ALL)
    deliver(path, FOREIGN.replace(b"money", b"amount"), day=2)
    assert looked(dsn, tmp_path)["600000.csv"].state is FileState.DUE
    deliver(path, GOOD, day=3)
    assert looked(dsn, tmp_path)["600000.csv"].state is FileState.DUE
    assert run(dsn, tmp_path, ["2000-06"]).rows == 3
    loaded = looked(dsn, tmp_path)["600000.csv"]
    assert (loaded.state, loaded.read, loaded.loaded, loaded.rejected) == (FileState.LOADED, 3, 3, 0)


@pytest.mark.parametrize("time", ["2000/6/9 9:31", "2000-6-9 9:31:00", "2000/06/09 09:31:00", "2000-06-09T01:31:00Z"])
def test_months_are_read_from_each_time_that_loads(dsn: str, tmp_path: Path, time: str) -> None:
    deliver(tmp_path / "a.csv", csv_text([line(time), line("2000/11/1 10:00")]))
    assert run(dsn, tmp_path, ["2001-01"]).units == ()
    assert looked(dsn, tmp_path)["a.csv"].state is FileState.DUE
    assert run(dsn, tmp_path, ["2000-06"]).loaded_months == ("2000-06", "2000-11")
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT min(time)::text FROM stock_1min_qfq").fetchone()
    assert found == ("2000-06-09 09:31:00",)
    assert looked(dsn, tmp_path)["a.csv"].state is FileState.LOADED


def test_a_year_or_months_that_are_never_loaded_are_named(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path / "1999_1min.zip", {"a_1999.csv": GOOD})
    deliver(tmp_path / "old.csv", GOOD.replace(b"2000-", b"1998-"))
    assert run(dsn, tmp_path, ALL).units == ()
    for entry in looked(dsn, tmp_path).values():
        assert (entry.state, "2000-01 to 2001-12" in entry.reason) == (FileState.NOT_TAKEN, True)


def test_only_part_of_the_months_is_due(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path / "2000_1min.zip", {"a_2000.csv": GOOD})
    run(dsn, tmp_path, ["2000-05"])
    assert looked(dsn, tmp_path)["2000_1min.zip"].state is FileState.DUE
    run(dsn, tmp_path, ALL)
    assert looked(dsn, tmp_path)["2000_1min.zip"].state is FileState.LOADED


def test_a_header_alone_is_empty(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path / "none.csv", csv_text([]))
    assert looked(dsn, tmp_path)["none.csv"].state is FileState.DUE
    report = run(dsn, tmp_path, ["2001-01"])
    assert (report.count("empty"), report.failed) == (1, ())
    assert run(dsn, tmp_path, ["2001-01"]).units == ()
    assert looked(dsn, tmp_path)["none.csv"].state is FileState.EMPTY


def test_entries_that_no_load_reads_are_named_and_others_that_cannot_be_read_fail(dsn: str, tmp_path: Path) -> None:
    names = ("bars.txt", "README_2024.txt", "bars.xlsx", "bars.7z", "bars.rar")
    for name in names:
        deliver(tmp_path / name, b"x")
    deliver(tmp_path / "UPPER_2000.CSV", GOOD)
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.csv")
    found = looked(dsn, tmp_path)
    assert {name: found[name].state for name in names} == dict.fromkeys(names, FileState.NOT_TAKEN)
    assert all("convert or rename it" in found[name].reason for name in names[:3])
    assert all("a zip of them" in found[name].reason for name in names[3:])
    assert found["UPPER_2000.CSV"].state is FileState.DUE
    assert {found[name].state for name in ("gone.csv", "pipe.csv")} == {FileState.FAILED}
    report = run(dsn, tmp_path, ALL)
    assert sorted(unit.unit for unit in report.failed) == ["gone.csv", "pipe.csv"]
    assert report.rows == 3
    assert looked(dsn, tmp_path)["UPPER_2000.CSV"].state is FileState.LOADED


def test_a_text_of_a_zip_that_may_be_bars_is_never_passed_over(dsn: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bars.zip", "w") as archive:
        archive.writestr("sh600000_2000.csv", GOOD)
        archive.writestr("浦发银行.txt", GOOD)
        archive.writestr("说明.txt", "bars of a minute")
    assert len(run(dsn, tmp_path, ALL).failed) == 1
    entry = looked(dsn, tmp_path)["bars.zip"]
    assert (entry.state, "浦发银行.txt: a text without a code or a day in its name" in entry.reason) == (
        FileState.FAILED,
        True,
    )


@pytest.mark.parametrize(
    ("member", "remedy"),
    [
        ("sh600000_2000.xlsx", ".arrow. Convert or rename it, or leave it out of the zip; rows loaded"),
        ("sh600000_2000.csv.bak", ".arrow. Convert or rename it, or leave it out of the zip; rows loaded"),
        ("inner.zip", "an archive within a zip is not read. Unpack it, and deliver the files or a zip of them; rows"),
        ("sh600000_2000.csv.7z", "not read. Unpack it, and deliver the files or a zip of them; rows loaded"),
        ("浦发银行.txt", "its name. Name it as SH600000.txt, or leave it out; rows loaded"),
    ],
)
def test_a_member_that_is_no_csv_fails_its_zip_with_what_to_do(
    dsn: str, tmp_path: Path, member: str, remedy: str
) -> None:
    with zipfile.ZipFile(tmp_path / "bars.zip", "w") as archive:
        archive.writestr("sh600000_2000.csv", GOOD)
        archive.writestr(member, b"x")
    assert len(run(dsn, tmp_path, ALL).failed) == 1
    entry = looked(dsn, tmp_path)["bars.zip"]
    assert (entry.state, entry.loaded) == (FileState.FAILED, 3)
    assert entry.reason.startswith(f"bars.zip!{member}: ")
    assert remedy in entry.reason
    assert "Deliver the file again" not in entry.reason


def test_a_file_that_only_seems_to_be_of_a_year_is_to_be_renamed(dsn: str, tmp_path: Path) -> None:
    file = deliver(tmp_path / "sh600000_v2001.csv", GOOD)
    [failed] = run(dsn, tmp_path, ["2000-06", "2001-06"]).failed
    said = "Rename the file if 2001 is not the year of its rows; else correct it and deliver it again."
    assert str(failed.error).endswith(said)
    [kind] = preview.of_file(file_at(file, file.name), SHIPPED, 0)
    assert kind["problems"][0].endswith(said)


def test_a_file_whose_name_and_rows_disagree_or_whose_end_may_be_cut_is_remarked(dsn: str, tmp_path: Path) -> None:
    other = GOOD.replace(b"sh600000", b"sz000116")
    deliver(tmp_path / "sh600116_2000.csv", other)
    deliver(tmp_path / "sh600000_2000.csv", GOOD[:-1])
    deliver(tmp_path / "2000_1min.zip", {"sh600117.csv": other.replace(b"000116", b"000117")[:-1]})
    report = run(dsn, tmp_path, ALL)
    assert report.failed == ()
    said = {
        "sh600116_2000.csv": "its name says 600116.SH and its rows 000116.SZ: the rows count",
        "sh600000_2000.csv": "its last line has no end: its last row may be cut, then deliver it again",
        "2000_1min.zip": "sh600117.csv: its name says 600117.SH and its rows 000117.SZ: the rows count",
    }
    entries = looked(dsn, tmp_path)
    assert {name: (entry.state, entry.reason) for name, entry in entries.items()} == {
        name: (FileState.LOADED, text) for name, text in said.items()
    }
    remarks = {str(unit.error) for unit in report.units}
    assert remarks == {text.removeprefix("sh600117.csv: ") for text in said.values()}


def test_rows_that_a_newer_file_replaced_are_counted_with_its_name(dsn: str, tmp_path: Path) -> None:
    labels = minutes("2000-06-09 09:30:00", 200)
    deliver(tmp_path / "old_2000.csv", csv_text(map(line, [*labels, labels[0]])), day=1)
    deliver(tmp_path / "new.csv", csv_text(map(line, labels[:3])), day=2)
    run(dsn, tmp_path, ALL)
    old, new = (looked(dsn, tmp_path)[name] for name in ("old_2000.csv", "new.csv"))
    assert (old.read, old.loaded, old.duplicates, dict(old.replaced)) == (201, 197, 1, {"new.csv": 3})
    assert (new.read, new.loaded, dict(new.replaced)) == (3, 3, {})
