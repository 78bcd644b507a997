"""Which symbol-months new and changed files have, once the files are finished."""

import json
import os
from pathlib import Path

import pytest
from tick_clients import SYMBOL, files_config

from marketdata_assets.loading.watch import fingerprint
from marketdata_assets.ticks import files as module
from marketdata_assets.ticks.file_drop import Folder
from marketdata_assets.ticks.files import Files, FileScan, scan
from marketdata_assets.ticks.reports import Unit

NOW = 2_000_000_000
QUIET_SECONDS = 30.0
OTHER = "000001.SZ"
BARS = "symbol,ts,open,high,low,close,volume\n"
BOOKS = "symbol,ts,bid_price_1,bid_size_1\n"


def look(folder: Path, cursor: str | None = None) -> FileScan:
    """Two scans, so far apart that what has not changed in between is finished."""
    files = Files(folder, files_config())
    first = scan(files, cursor, NOW * 10**9, QUIET_SECONDS)
    return scan(files, first.cursor, (NOW + 31) * 10**9, QUIET_SECONDS)


def put(folder: Path, name: str, *rows: tuple[str, str], age: int = 100) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.startswith("order_book"):
        path.write_text(BOOKS + "".join(f"{symbol},{ts},9.4,100\n" for symbol, ts in rows))
    else:
        path.write_text(BARS + "".join(f"{symbol},{ts},1,1,1,1,1\n" for symbol, ts in rows))
    os.utime(path, (NOW - age, NOW - age))
    return path


def test_files_are_given_with_their_symbols_and_months_once(tmp_path: Path) -> None:
    assert look(tmp_path / "none").units == ()
    put(tmp_path, "a.csv", (SYMBOL, "2025-06-02 09:31"), (SYMBOL, "2025-06-30 23:30:00Z"), (OTHER, "2025-05-02 09:31"))
    put(tmp_path, "sub/b.csv", (OTHER, "2025-06-02 09:31"), ("AAPL.US", "2025-06-02 09:31"))
    put(tmp_path, "order_book/c.csv", (OTHER, "2025-04-02 09:31:00.500"))
    seen = look(tmp_path)
    assert seen.units == (
        Unit(OTHER, "2025-05"),
        Unit(OTHER, "2025-06"),
        Unit(SYMBOL, "2025-06"),
        Unit(SYMBOL, "2025-07"),
    )
    assert seen.books == (Unit(OTHER, "2025-04"),)
    again = look(tmp_path, seen.cursor)
    assert (again.units, again.books, again.cursor) == ((), (), seen.cursor)


def test_what_changed_is_given_again_and_only_that(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", (SYMBOL, "2025-06-02 09:31"))
    put(tmp_path, "b.csv", (OTHER, "2025-06-02 09:31"))
    cursor = look(tmp_path).cursor
    put(tmp_path, "a.csv", (SYMBOL, "2025-07-02 09:31"), age=90)
    seen = look(tmp_path, cursor)
    assert seen.units == (Unit(SYMBOL, "2025-07"),)
    (tmp_path / "b.csv").unlink()
    gone = look(tmp_path, seen.cursor)
    assert gone.units == ()
    assert len(json.loads(gone.cursor)["handled"]) == 1


def test_an_unchanged_folder_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.csv", (SYMBOL, "2025-06-02 09:31"))
    cursor = look(tmp_path).cursor
    monkeypatch.setattr(Folder, "spans", lambda *_: pytest.fail("it was read"))
    assert look(tmp_path, cursor).units == ()


def test_everything_waits_for_a_file_that_is_being_written(tmp_path: Path) -> None:
    def scanned(cursor: str | None, seconds: int) -> FileScan:
        return scan(Files(tmp_path, files_config()), cursor, (NOW + seconds) * 10**9, QUIET_SECONDS)

    put(tmp_path, "a.csv", (SYMBOL, "2025-06-02 09:31"))
    first = scanned(None, 0)
    put(tmp_path, "b.csv", (OTHER, "2025-06-02 09:31"), age=-40_000)  # the clock of its writer is ahead
    second = scanned(first.cursor, 20)
    put(tmp_path, "b.csv", (OTHER, "2025-06-03 09:31"), (OTHER, "2025-06-02 09:31"), age=-40_000)
    third = scanned(second.cursor, 45)
    assert [(seen.units, seen.waiting) for seen in (first, second, third)] == [
        ((), ("a.csv",)),
        ((), ("a.csv", "b.csv")),
        ((), ("a.csv", "b.csv")),
    ]
    assert scanned(third.cursor, 80).units == (Unit(OTHER, "2025-06"), Unit(SYMBOL, "2025-06"))


def test_a_cursor_of_an_earlier_version_is_understood(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", (SYMBOL, "2025-06-02 09:31"))
    key = fingerprint("order_book", "a.csv", path.stat().st_size, path.stat().st_mtime_ns)
    assert look(tmp_path, json.dumps({"seen": [key], "bad": {"gone": "why"}})).units == ()


def test_hidden_files_and_those_of_the_operating_system_are_skipped(tmp_path: Path) -> None:
    for name in (".a.csv", "__MACOSX/a.csv", ".hidden/a.csv"):
        put(tmp_path, name, (SYMBOL, "2025-06-02 09:31"))
    assert (look(tmp_path).units, look(tmp_path).waiting) == ((), ())


def test_a_file_that_cannot_be_read_holds_all_back_until_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.csv", (SYMBOL, "2025-06-02 09:31"))
    (tmp_path / "b.csv").write_text("symbol,ts\n1,2\n")
    os.utime(tmp_path / "b.csv", (NOW - 100,) * 2)
    seen = look(tmp_path)
    assert (seen.units, seen.waiting) == ((), ("a.csv", "b.csv"))
    [why] = seen.unreadable
    assert "b.csv: no column open" in why
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "spans", lambda *_: pytest.fail("it was read again"))
        assert look(tmp_path, seen.cursor).unreadable == seen.unreadable
    put(tmp_path, "b.csv", (OTHER, "2025-06-02 09:31"), age=50)
    assert look(tmp_path, seen.cursor).units == (Unit(OTHER, "2025-06"), Unit(SYMBOL, "2025-06"))


def test_many_files_are_spread_over_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNITS", 2)
    symbols = [f"{600000 + number}.SH" for number in range(5)]
    for symbol in symbols:
        put(tmp_path, f"{symbol}.csv", (symbol, "2025-06-02 09:31"))
    cursor, given = None, []
    for _ in range(4):
        seen = look(tmp_path, cursor)
        cursor = seen.cursor
        given.append([unit.symbol for unit in seen.units])
    assert given == [symbols[:2], symbols[2:4], symbols[4:], []]


def test_the_cursor_of_many_files_stays_small(tmp_path: Path) -> None:
    for number in range(1000):
        put(tmp_path, f"{number}.csv")
    assert len(look(tmp_path).cursor) < 30_000
