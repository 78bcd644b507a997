"""Tables in metadata, and what a run tells of the files that it found."""

import os
from pathlib import Path

from marketdata_assets.defs.metadata import INLINE_CHARACTERS, markdown_table, observed_files


def test_cells_cannot_break_their_row() -> None:
    shown = markdown_table(["id", "why"], [["a|b", "two\nlines"], [None, 1]]).md_str
    assert shown.splitlines()[2:] == ["| a\\|b | two lines |", "|  | 1 |"]


def test_a_table_that_would_be_cut_off_is_long_enough_to_be_a_link() -> None:
    narrow = markdown_table(["a", "b", "c"], [[1, 2, 3]]).md_str
    wide = markdown_table(["a", "b", "c", "d"], [[1, 2, 3, 4]]).md_str
    assert len(narrow) < INLINE_CHARACTERS <= len(wide)
    assert wide.splitlines()[2].rstrip() == "| 1 | 2 | 3 | 4 |"


def test_files_are_counted_and_the_newest_is_named(tmp_path: Path) -> None:
    for number, name in enumerate(("old.csv", "new.csv")):
        path = tmp_path / name
        path.write_bytes(b"x" * 2_000_000)
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
    gone = tmp_path / "gone.csv"
    found = observed_files("minute_bar_files", tmp_path, [tmp_path / "new.csv", tmp_path / "old.csv", gone]).metadata
    told = {name: found[name].value for name in ("files", "megabytes", "newest", "modified")}
    assert told == {"files": 2, "megabytes": 4, "newest": "new.csv", "modified": 1_700_000_001.0}
    assert observed_files("minute_bar_files", tmp_path, []).metadata["files"].value == 0
