"""Which symbol-months new and changed files have, once the files are finished, and what the ledger knows of them."""

import os
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.loading.files import Delivered
from marketdata_assets.stores import clickhouse_files
from marketdata_assets.ticks import file_ledger, file_scan
from marketdata_assets.ticks.file_drop import Folder
from marketdata_assets.ticks.file_scan import FileScan, mark, scan
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.reports import Unit
from marketdata_assets.ticks.tables import ORDER_BOOK, TICK_DATA
from tests.ticks.tick_clients import SYMBOL, files_config

NOW = 2_000_000_000
QUIET_SECONDS = 30.0
OTHER = "000001.SZ"
BARS = "symbol,ts,open,high,low,close,volume\n"
BOOKS = "symbol,ts,bid_price_1,bid_size_1\n"


def scanned(client: Client, folder: Path, cursor: str | None, seconds: int) -> FileScan:
    """One tick of the sensor, `seconds` after the first."""
    now_ns = (NOW + seconds) * 10**9
    files = Files(folder, files_config())
    found = scan(client, files, cursor, now_ns=now_ns, quiet_seconds=QUIET_SECONDS, seconds=60)
    mark(client, found)
    return found


def look(client: Client, folder: Path, cursor: str | None = None, at: int = 0) -> FileScan:
    """Two ticks, so far apart that what has not changed in between is finished."""
    return scanned(client, folder, scanned(client, folder, cursor, at).cursor, at + 31)


def units(found: FileScan) -> tuple[Unit, ...]:
    return found.units(TICK_DATA)


def states(client: Client) -> dict[str, str]:
    return dict(clickhouse_files.table(client, TICK_DATA.name).select("file", "state").iter_rows())


def put(folder: Path, name: str, *rows: tuple[str, str], age: int = 100) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.startswith("order_book"):
        path.write_text(BOOKS + "".join(f"{symbol},{ts},9.4,100\n" for symbol, ts in rows))
    else:
        path.write_text(BARS + "".join(f"{symbol},{ts},1,1,1,1,1\n" for symbol, ts in rows))
    os.utime(path, (NOW - age, NOW - age))
    return path


def test_files_are_given_with_their_symbols_and_months_once(client: Client, tmp_path: Path) -> None:
    assert look(client, tmp_path / "none").batches == {}
    put(tmp_path, "a.csv", (SYMBOL, "2025-06-02 09:31"), (SYMBOL, "2025-06-30 23:30:00Z"), (OTHER, "2025-05-02 09:31"))
    put(tmp_path, "sub/b.csv", (OTHER, "2025-06-02 09:31"), ("AAPL.DE", "2025-06-02 09:31"))
    put(tmp_path, "order_book/c.csv", (OTHER, "2025-04-02 09:31:00.500"))
    seen = look(client, tmp_path)
    assert units(seen) == (
        Unit(OTHER, "2025-05"),
        Unit(OTHER, "2025-06"),
        Unit(SYMBOL, "2025-06"),
        Unit(SYMBOL, "2025-07"),
    )
    assert seen.units(ORDER_BOOK) == (Unit(OTHER, "2025-04"),)
    again = look(client, tmp_path, seen.cursor, 100)
    assert (again.batches, again.cursor) == ({}, seen.cursor)


def test_what_changed_is_given_again_and_only_that(client: Client, tmp_path: Path) -> None:
    put(tmp_path, "a.csv", (SYMBOL, "2025-06-02 09:31"))
    put(tmp_path, "b.csv", (OTHER, "2025-06-02 09:31"))
    cursor = look(client, tmp_path).cursor
    put(tmp_path, "a.csv", (SYMBOL, "2025-07-02 09:31"), age=90)
    assert units(look(client, tmp_path, cursor, 100)) == (Unit(SYMBOL, "2025-07"),)


def test_a_scan_of_an_unchanged_folder_reads_none_and_makes_no_object_for_each_file(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        put(tmp_path, f"{number}.csv", (SYMBOL, "2025-06-02 09:31"))
    cursor = look(client, tmp_path).cursor
    made: list[object] = []
    init = Delivered.__init__
    monkeypatch.setattr(
        Delivered, "__init__", lambda file, *state, **times: (made.append(state), init(file, *state, **times))[1]
    )
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "spans", lambda *_: pytest.fail("it was read"))
        assert units(look(client, tmp_path, cursor, 100)) == ()
    assert made == []
    put(tmp_path, "5.csv", (OTHER, "2025-06-02 09:31"))
    assert units(look(client, tmp_path, cursor, 200)) == (Unit(OTHER, "2025-06"),)
    assert [state[0] for state in made] == ["5.csv"]


def test_files_that_vanish_and_return_keep_what_is_recorded_of_them(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_ledger, "MAX_BOUND", 2)
    cursor = look(client, tmp_path).cursor
    for number in range(5):
        put(tmp_path, f"{number}.csv", (SYMBOL, "2025-06-02 09:31"))
    cursor = look(client, tmp_path, cursor, 100).cursor
    before = clickhouse_files.table(client, TICK_DATA.name)
    assert (before["units"].to_list(), before["last"].n_unique()) == ([1] * 5, 1)
    for number in range(3):
        (tmp_path / f"{number}.csv").unlink()
    cursor = look(client, tmp_path, cursor, 200).cursor
    gone = clickhouse_files.table(client, TICK_DATA.name)
    assert gone["state"].to_list() == ["lost"] * 3 + ["waiting"] * 2
    same = ["file", "size", "modified", "units", "last", "compared", "rows", "attempts", "reader"]
    assert gone.select(same).equals(before.select(same))
    for number in range(3):
        put(tmp_path, f"{number}.csv", (SYMBOL, "2025-06-02 09:31"))
    look(client, tmp_path, cursor, 300)
    back = clickhouse_files.table(client, TICK_DATA.name)
    assert back["state"].to_list() == ["waiting"] * 5
    assert back.select(same).equals(before.select(same))


def test_a_file_whose_name_is_not_utf8_is_read(client: Client, tmp_path: Path) -> None:
    put(tmp_path, "a.csv", (SYMBOL, "2025-06-02 09:31")).rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xbd\xf0.csv"))
    assert units(look(client, tmp_path)) == (Unit(SYMBOL, "2025-06"),)
    assert list(states(client)) == ["\u91d1.csv"]


def test_a_file_that_is_being_written_waits_and_holds_up_no_other(client: Client, tmp_path: Path) -> None:
    put(tmp_path, "a.csv", (SYMBOL, "2025-06-02 09:31"))
    first = scanned(client, tmp_path, None, 0)
    put(tmp_path, "b.csv", (OTHER, "2025-06-02 09:31"), age=-40_000)  # the clock of its writer is ahead
    second = scanned(client, tmp_path, first.cursor, 20)
    put(tmp_path, "b.csv", (OTHER, "2025-06-03 09:31"), (OTHER, "2025-06-02 09:31"), age=-40_000)
    third = scanned(client, tmp_path, second.cursor, 45)
    assert [(units(seen), seen.unfinished) for seen in (first, second, third)] == [
        ((), ("a.csv",)),
        ((), ("a.csv", "b.csv")),
        ((Unit(SYMBOL, "2025-06"),), ("b.csv",)),
    ]
    assert units(scanned(client, tmp_path, third.cursor, 80)) == (Unit(OTHER, "2025-06"),)


def test_a_file_that_cannot_be_read_holds_up_no_other(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.csv", (SYMBOL, "2025-06-02 09:31"))
    (tmp_path / "b.csv").write_text("symbol,ts\n1,2\n")
    seen = look(client, tmp_path)
    assert units(seen) == (Unit(SYMBOL, "2025-06"),)
    [why] = seen.unreadable
    assert "b.csv: no column open" in why
    listed = clickhouse_files.table(client, TICK_DATA.name).row(-1, named=True)
    assert (listed["file"], listed["state"], listed["error"]) == ("b.csv", "failed", why)
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "spans", lambda *_: pytest.fail("it was read again"))
        assert look(client, tmp_path, seen.cursor, 100).unreadable == seen.unreadable
    put(tmp_path, "b.csv", (OTHER, "2025-06-02 09:31"), age=50)
    assert units(look(client, tmp_path, seen.cursor, 200)) == (Unit(OTHER, "2025-06"),)


def test_many_files_are_spread_over_runs(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_scan, "MAX_UNITS", 2)
    symbols = [f"{600000 + number}.SH" for number in range(5)]
    for symbol in symbols:
        put(tmp_path, f"{symbol}.csv", (symbol, "2025-06-02 09:31"))
    cursor, given = None, []
    for at in (0, 31, 62, 93, 124):
        seen = scanned(client, tmp_path, cursor, at)
        cursor = seen.cursor
        given.append([unit.symbol for unit in units(seen)])
    assert given == [[], symbols[:2], symbols[2:4], symbols[4:], []]


def test_a_scan_without_time_reads_nothing_and_the_next_one_continues(client: Client, tmp_path: Path) -> None:
    put(tmp_path, "a.csv", (SYMBOL, "2025-06-02 09:31"))
    files, options = Files(tmp_path, files_config()), {"quiet_seconds": 0.0}
    hurried = scan(client, files, None, now_ns=NOW * 10**9, seconds=-1.0, **options)
    assert (hurried.batches, hurried.left) == ({}, 1)
    assert units(scan(client, files, hurried.cursor, now_ns=NOW * 10**9, **options)) == (Unit(SYMBOL, "2025-06"),)


def test_what_was_requested_without_a_cursor_being_stored_is_requested_again_as_the_same_run(
    client: Client, tmp_path: Path
) -> None:
    put(tmp_path, "a.csv", (SYMBOL, "2025-06-02 09:31"))
    before = scanned(client, tmp_path, None, 0).cursor
    lost = scanned(client, tmp_path, before, 31)
    put(tmp_path, "b.csv", (OTHER, "2025-06-02 09:31"))
    again = scanned(client, tmp_path, before, 62)
    assert (units(again), again.batches[TICK_DATA.name].key) == (units(lost), lost.batches[TICK_DATA.name].key)
    assert units(scanned(client, tmp_path, again.cursor, 93)) == (Unit(OTHER, "2025-06"),)


def test_the_cursor_does_not_grow_with_the_files(client: Client, tmp_path: Path) -> None:
    sizes = set()
    for count in (1, 40):
        for number in range(count):
            put(tmp_path, f"{number}.csv", (SYMBOL, "2025-06-02 09:31"), age=count)
        sizes.add(len(look(client, tmp_path, None, 100 * count).cursor))
    assert len(sizes) == 1


def test_a_file_that_vanished_before_it_was_loaded_is_lost_and_comes_back(client: Client, tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", (SYMBOL, "2025-06-02 09:31"))
    cursor = look(client, tmp_path).cursor
    text, at = path.read_text(), path.stat().st_mtime_ns
    path.unlink()
    look(client, tmp_path, cursor, 100)
    [lost] = clickhouse_files.table(client, TICK_DATA.name).iter_rows(named=True)
    assert (lost["file"], lost["state"], lost["error"]) == ("a.csv", "lost", "deleted before it was loaded")
    path.write_text(text)
    os.utime(path, ns=(at, at))
    assert units(look(client, tmp_path, cursor, 200)) == (Unit(SYMBOL, "2025-06"),)
    assert states(client) == {"a.csv": "waiting"}


def test_a_file_that_was_moved_is_not_lost(client: Client, tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", (SYMBOL, "2025-06-02 09:31"))
    look(client, tmp_path)
    (tmp_path / "sub").mkdir()
    path.rename(tmp_path / "sub" / "a.csv")
    look(client, tmp_path, None, 100)
    assert states(client) == {"a.csv": "removed", "sub/a.csv": "waiting"}
