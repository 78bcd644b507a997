"""The listing of a folder, the state of a file, and the law of its rows."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from marketdata_assets.loading import file_ledger
from marketdata_assets.loading.file_ledger import (
    FileEntry,
    FileState,
    Recorded,
    name_in,
    state_of,
)
from marketdata_assets.loading.files import Delivered, everything


def test_every_entry_of_a_folder_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    (tmp_path / "B.CSV").write_text("xy")
    (tmp_path / "notes.xyz").write_text("")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "c.zip").write_text("x")
    (tmp_path / "link.csv").symlink_to(tmp_path / "a.csv")
    (tmp_path / "nothing.csv").symlink_to(tmp_path / "absent")
    (tmp_path / "around").symlink_to("around")
    (tmp_path / "folder").symlink_to(tmp_path / "deep")
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / ".hidden.csv").write_text("x")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "a.csv").write_text("x")
    found = {one.name: one for one in everything(tmp_path)}
    assert {name for name, one in found.items() if not one.problem} == {
        "a.csv",
        "B.CSV",
        "notes.xyz",
        "deep/er/c.zip",
        "link.csv",
    }
    assert {name: one.problem.split(":")[0] for name, one in found.items() if one.problem} == {
        "nothing.csv": "a link to nothing",
        "around": "a link to nothing",
        "folder": "a link to a folder, which is not followed",
        "pipe.csv": "not a regular file",
    }
    assert (found["B.CSV"].size, found["link.csv"].size) == (2, 1)
    assert everything(tmp_path / "absent") == []


def test_a_folder_that_is_a_file_and_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode("深发展.csv".encode("gbk"))
    path.write_text("x")
    assert [one.name for one in everything(tmp_path)] == ["深发展.csv"]
    assert everything(path) == []


def test_a_folder_that_cannot_be_looked_into_has_failed_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "deep")
    (tmp_path / "notes.txt").symlink_to(tmp_path / "absent")
    states = {one.name: state_of(one, None, not_taken="another suffix").state for one in everything(tmp_path)}
    assert states == {"link": FileState.FAILED, "notes.txt": FileState.NOT_TAKEN}


def test_a_file_may_be_named_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bars"
    (folder / "2024").mkdir(parents=True)
    (folder / "2024" / "a.csv").write_text("x")
    monkeypatch.chdir(tmp_path)
    given = [
        "2024/a.csv",
        "bars/2024/a.csv",
        f"{folder}/2024/a.csv",
        f"{tmp_path}/x/../bars/2024/a.csv",
        "./bars/2024/a.csv",
    ]
    assert {name_in(folder, one) for one in given} == {"2024/a.csv"}
    assert name_in(folder, f"{folder}/2024/gone.csv") == "2024/gone.csv"
    assert [name_in(folder, one) for one in ("b.csv", "/etc/b.csv", "bars/b.csv")] == [
        "b.csv",
        "/etc/b.csv",
        "bars/b.csv",
    ]


FILE = Delivered("a.csv", "/a.csv", 3, 5, changed_ns=7)
LOADED = Recorded("3:5:7", FileEntry("a.csv", FileState.LOADED, read=2, loaded=2))
FAILED = Recorded("3:5:7", FileEntry("a.csv", FileState.FAILED, "a.csv:1: the file is empty"))


@pytest.mark.parametrize(
    ("found", "recorded", "not_taken", "waiting", "state"),
    [
        (FILE, None, "", False, FileState.DUE),
        (FILE, None, "", True, FileState.WAITING),
        (FILE, LOADED, "", False, FileState.LOADED),
        (FILE, LOADED, "", True, FileState.LOADED),
        (FILE, FAILED, "", False, FileState.FAILED),
        (replace(FILE, size=4), LOADED, "", False, FileState.DUE),
        (replace(FILE, modified_ns=6), FAILED, "", False, FileState.DUE),
        (replace(FILE, modified_ns=6), LOADED, "", True, FileState.WAITING),
        (FILE, LOADED, "forgotten", False, FileState.NOT_TAKEN),
        (replace(FILE, problem="not a regular file"), None, "", True, FileState.FAILED),
    ],
)
def test_the_state_of_a_file(
    found: Delivered, recorded: Recorded | None, not_taken: str, waiting: bool, state: FileState
) -> None:
    entry = state_of(found, recorded, not_taken=not_taken, waiting=waiting)
    assert entry.state is state
    assert entry.reason or state in (FileState.LOADED, FileState.EMPTY)


def test_a_reason_names_its_file_once() -> None:
    for reason in ("a.csv:1: the file is empty", "a.csv!b.csv: no text", "no text"):
        shown = file_ledger.summary([FileEntry("a.csv", FileState.FAILED, reason)])
        assert (shown.count("a.csv"), shown[:18]) == (1, "1 file: 1 failed (")


def test_a_row_without_a_fate_is_seen() -> None:
    entry = FileEntry("a.csv", FileState.LOADED, "", 10, 5, 1, 2, {"b.csv": 2})
    assert entry.balanced
    assert not replace(entry, loaded=4).balanced
    assert not replace(entry, replaced={}).balanced


def test_only_settled_files_need_nothing() -> None:
    entries = [FileEntry(state.value, state, "reason") for state in FileState]
    assert [one.file for one in file_ledger.unsettled(entries)] == ["waiting", "due", "failed"]
    assert file_ledger.summary(entries) == (
        "6 files: 1 waiting, 1 due, 1 loaded, 1 empty, 1 failed (failed: reason), 1 not taken (not taken: reason)"
    )
    assert file_ledger.summary([]) == "no files"


def test_suffixes_count_in_any_case() -> None:
    assert file_ledger.other_suffix("A.CSV", (".csv", ".zip"), "minute bars") == ""
    assert file_ledger.other_suffix("a.xlsx", (".csv", ".zip"), "minute bars") == (
        "minute bars are read from files named *.csv, *.zip: convert or rename it"
    )
