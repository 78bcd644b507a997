"""Wrong dropped files are taken back, whatever interrupts it, and files of one day complete each other."""

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.httpclient import HttpClient

from marketdata_assets.loading.errors import CannotForget
from marketdata_assets.loading.file_ledger import FileEntry, FileState
from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks import file_ledger, forget
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.load import load
from marketdata_assets.ticks.load_run import LoadOptions
from marketdata_assets.ticks.reports import LoadReport, Unit
from marketdata_assets.ticks.tables import ORDER_BOOK, TICK_DATA, Table
from tests.dying import Load, server
from tests.ticks.tick_clients import SYMBOL, files_config
from tests.ticks.tick_loads import MONTH, NOW, landed
from tests.ticks.tick_rows import weekdays

STEPS = ((HttpClient, "command"), (HttpClient, "raw_insert"))
MINUTES = range(31, 36)
TWO = dt.date(2025, 6, 2)


def files(folder: Path) -> Files:
    return Files(folder, files_config())


def put(
    folder: Path, name: str, prices: dict[int, float], *, day: dt.date = TWO, age: int = 1, end: str = "\n"
) -> None:
    """A file with the price of some minutes after 9 o'clock."""
    rows = [f"{SYMBOL},{day} 09:{minute}:00,{price},{price},{price},{price},100" for minute, price in prices.items()]
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("\n".join(["symbol,ts,open,high,low,close,volume", *rows]) + end)
    os.utime(path, (1_750_000_000 + age,) * 2)


def loaded(client: Client, folder: Path, table: Table = TICK_DATA) -> LoadReport:
    options = LoadOptions(providers=("files",), patience=0.0)
    units = [Unit(SYMBOL, MONTH)]
    return load(
        *(client, [files(folder)], units), table=table, options=options, run_id="test", now=NOW, trading_days=weekdays
    )


def forgotten(client: Client, folder: Path, file: str) -> forget.Forgotten:
    return forget.forget(client, files(folder), file, run_id="test", now=NOW, trading_days=weekdays)


def doomed(url: str, folder: str, file: str) -> None:
    with clickhouse.connect(url) as client:
        forgotten(client, Path(folder), file)


def prices(client: Client) -> list[float]:
    return landed(client)["close"].to_list()


def entries(client: Client, folder: Path) -> dict[str, FileEntry]:
    return {entry.file: entry for entry in file_ledger.entries(client, files(folder))}


@pytest.fixture(scope="module")
def dying() -> Iterator[Load]:
    with server(Path(__file__)) as load:
        yield load


@pytest.mark.slow
def test_a_newer_file_replaces_the_minutes_that_it_has_and_no_others_of_an_archived_file(
    client: Client, tmp_path: Path
) -> None:
    put(tmp_path, "whole.csv", dict.fromkeys(MINUTES, 10.0))
    loaded(client, tmp_path)
    (tmp_path / "whole.csv").unlink()
    put(tmp_path, "fix.csv", {33: 11.0}, age=2)
    loaded(client, tmp_path)
    assert prices(client) == [10.0, 10.0, 11.0, 10.0, 10.0]
    put(tmp_path, "late.csv", {33: 9.0, 36: 9.0}, age=0)
    loaded(client, tmp_path)
    assert prices(client) == [10.0, 10.0, 11.0, 10.0, 10.0, 9.0]
    assert dict(entries(client, tmp_path)["late.csv"].replaced) == {"fix.csv": 1}


def test_a_forgotten_file_gives_back_what_it_replaced_until_it_changes_or_is_remembered(
    client: Client, tmp_path: Path
) -> None:
    put(tmp_path, "good.csv", dict.fromkeys(MINUTES, 10.0))
    put(tmp_path, "wrong.csv", {32: 99.0, 59: 99.0}, age=2)
    loaded(client, tmp_path)
    assert prices(client) == [10.0, 99.0, 10.0, 10.0, 10.0, 99.0]
    done = forgotten(client, tmp_path, "wrong.csv")
    assert (done.rows, done.restored, done.units) == (2, 1, (Unit(SYMBOL, MONTH),))
    assert prices(client) == [10.0] * 5
    entry = entries(client, tmp_path)["wrong.csv"]
    assert (entry.state, entry.reason) == (
        FileState.NOT_TAKEN,
        "forgotten; to load it again: marketdata ticks forget --undo wrong.csv",
    )
    os.utime(tmp_path / "wrong.csv", (1_750_000_009,) * 2)
    loaded(client, tmp_path)
    assert (prices(client), entries(client, tmp_path)["wrong.csv"].state) == ([10.0] * 5, FileState.NOT_TAKEN)
    forget.undo(client, "wrong.csv")
    loaded(client, tmp_path)
    assert prices(client) == [10.0, 99.0, 10.0, 10.0, 10.0, 99.0]
    forgotten(client, tmp_path, "wrong.csv")
    put(tmp_path, "wrong.csv", {32: 12.0}, age=3)
    loaded(client, tmp_path)
    assert (prices(client), entries(client, tmp_path)["wrong.csv"].state) == (
        [10.0, 12.0, 10.0, 10.0, 10.0],
        FileState.LOADED,
    )


@pytest.mark.slow
def test_all_rows_of_a_file_leave_also_those_of_days_that_it_no_longer_has_and_of_a_deleted_one(
    client: Client, tmp_path: Path
) -> None:
    put(tmp_path, "today.csv", {31: 1.0})
    loaded(client, tmp_path)
    put(tmp_path, "today.csv", {31: 2.0}, day=dt.date(2025, 6, 5), age=2)
    loaded(client, tmp_path)
    assert prices(client) == [1.0, 2.0]
    (tmp_path / "today.csv").unlink()
    assert forgotten(client, tmp_path, "today.csv").rows == 2
    report = loaded(client, tmp_path)
    assert (prices(client), [unit.outcome for unit in report.units]) == ([], ["unsupported"])
    assert file_ledger.due(client, TICK_DATA, dt.date(2025, 6, 30)) == set()


@pytest.mark.slow
def test_order_books_are_taken_back_by_their_path_below_the_folder(client: Client, tmp_path: Path) -> None:
    (tmp_path / "order_book").mkdir()
    (tmp_path / "order_book" / "a.csv").write_text(f"symbol,ts,bid_price_1,bid_size_1\n{SYMBOL},{TWO} 09:31:03,9.4,1\n")
    loaded(client, tmp_path, ORDER_BOOK)
    assert forgotten(client, tmp_path, "order_book/a.csv").rows == 1
    assert clickhouse.read(client, "SELECT * FROM order_book").is_empty()
    entry = entries(client, tmp_path)["order_book/a.csv"]
    assert (entry.state, "forget --undo order_book/a.csv" in entry.reason) == (FileState.NOT_TAKEN, True)


def test_a_name_that_is_no_file_is_refused_with_the_one_that_was_meant(client: Client, tmp_path: Path) -> None:
    put(tmp_path, "a.csv", {31: 1.0})
    loaded(client, tmp_path)
    with pytest.raises(CannotForget, match=r"a.cvs: no such file in .*; did you mean 'a\.csv'"):
        forgotten(client, tmp_path, "a.cvs")
    with pytest.raises(CannotForget, match="it is not forgotten"):
        forget.undo(client, "a.csv")


@pytest.mark.slow
def test_a_forget_that_is_killed_anywhere_is_completed_by_the_next_load_or_never_began(
    client: Client, clickhouse_url: str, tmp_path: Path, dying: Load
) -> None:
    put(tmp_path, "good.csv", dict.fromkeys(MINUTES, 10.0))
    put(tmp_path, "wrong.csv", {32: 99.0}, age=2)
    loaded(client, tmp_path)
    before, after = [10.0, 99.0, 10.0, 10.0, 10.0], [10.0] * 5
    steps = seen = 0
    while True:
        ended = dying(clickhouse_url, tmp_path, "wrong.csv", steps)
        assert prices(client) in (before, after)
        loaded(client, tmp_path)
        taken = entries(client, tmp_path)["wrong.csv"].state is FileState.NOT_TAKEN
        assert (prices(client), file_ledger.due(client, TICK_DATA, NOW.date())) == (after if taken else before, set())
        assert all(one.balanced and one.state.settled for one in entries(client, tmp_path).values())
        if ended:
            break
        seen += taken
        steps += 1
        if taken:
            forget.undo(client, "wrong.csv")
            loaded(client, tmp_path)
            assert prices(client) == before
    assert seen > 3


def test_a_load_that_is_killed_between_its_last_unit_and_its_end_is_repeated(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.csv", {31: 1.0})

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    for step in ("settle", "_record_rows"):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(file_ledger.FileLedger, step, killed)
            loaded(client, tmp_path)
        assert file_ledger.due(client, TICK_DATA, NOW.date()) == {Unit(SYMBOL, MONTH)}
    loaded(client, tmp_path)
    [entry] = entries(client, tmp_path).values()
    assert (entry.state, entry.loaded, entry.balanced) == (FileState.LOADED, 1, True)
    assert file_ledger.due(client, TICK_DATA, NOW.date()) == set()


def test_a_file_over_the_limit_of_rejected_rows_holds_up_no_other_of_its_symbol(client: Client, tmp_path: Path) -> None:
    put(tmp_path, "bad.csv", {31: 1.0, 32: 1.0}, end=f"\n{SYMBOL},soon,1,1,1,1,1\n")
    put(tmp_path, "good.csv", {33: 2.0}, age=2)
    [unit] = loaded(client, tmp_path).units
    assert (unit.outcome, "bad.csv" in (unit.error or ""), prices(client)) == ("failed", True, [2.0])
    found = entries(client, tmp_path)
    assert (found["bad.csv"].state, found["good.csv"].state) == (FileState.FAILED, FileState.LOADED)


@pytest.mark.slow
def test_a_line_that_was_cut_is_rejected(client: Client, tmp_path: Path) -> None:
    put(tmp_path, "a.csv", dict.fromkeys(MINUTES, 10.0), end=f"\n{SYMBOL},{TWO} 09:40:00,10.0,1")
    loaded(client, tmp_path)
    entry = entries(client, tmp_path)["a.csv"]
    assert (prices(client), entry.state) == ([], FileState.FAILED)
    assert "line 7: a.csv: 4 columns, expected 7" in entry.reason
