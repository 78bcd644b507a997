"""Dropped files that changed: which units are due, what leaves quarantine, and every row accounted for."""

import datetime as dt
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.loading.errors import TooManyRejects
from marketdata_assets.loading.file_ledger import FileState
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.ticks import file_ledger, records, status
from marketdata_assets.ticks.file_drop import Folder
from marketdata_assets.ticks.file_ledger import FileLedger
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.reports import LoadReport, Unit, UnitReport, merged
from marketdata_assets.ticks.tables import TICK_DATA, Table
from tests.ticks.tick_clients import JUNE, SYMBOL, files_config
from tests.ticks.tick_loads import MONTH, NOW, Loader, codes, landed, told, units
from tests.ticks.tick_rows import weekdays

HEADER = "symbol,ts,open,high,low,close,volume"
CLOSED = dt.date(2025, 6, 30)
A_DAY = 241


@dataclass
class Drops:
    """A folder of dropped files, and loads in which they are among the providers."""

    folder: Path
    loader: Loader
    written: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.loader.others, self.loader.now = [self.files], NOW

    def files(self) -> Files:
        return Files(self.folder, files_config())

    def put(self, name: str, rows: Iterable[str], header: str = HEADER) -> Path:
        """Write a file; each is newer than the one before."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join([header, *rows]) + "\n", "utf-8")
        self.written += 1
        os.utime(path, (1_750_000_000 + self.written,) * 2)
        return path

    def load(self, symbols: Iterable[str], **options: Any) -> LoadReport:
        """As the command loads symbols from files: nothing is fetched again that is complete."""
        return self.loader(units(symbols), **{"providers": ("files",), **options})

    def due(self, closed: dt.date = CLOSED) -> set[Unit]:
        self.see()
        return file_ledger.due(self.loader.client, TICK_DATA, closed)

    def see(self, table: Table = TICK_DATA) -> list[str]:
        """Register finished files; why others cannot be read."""
        return FileLedger(self.loader.client, self.files(), table).see(now_ns=time.time_ns()).unreadable

    def quarantine(self) -> list[tuple[str, int, str]]:
        """Dataset, line and reason of what is listed."""
        names = (TICK_DATA.name, file_ledger.DATASET)
        found = [(name, row) for name in names for row in ledger.quarantined(self.loader.client, name)]
        return [(name, row.line, row.reason.partition(": ")[2]) for name, row in found]


@pytest.fixture
def drops(loader: Loader, tmp_path: Path) -> Drops:
    return Drops(tmp_path / "dropped", loader)


def bar(symbol: str, day: dt.date, minute: int = 0, price: float = 10.0) -> str:
    at = dt.datetime.combine(day, dt.time(9, 30)) + dt.timedelta(minutes=minute)
    return f"{symbol},{at},{price},{price},{price},{price},100"


def month(symbol: str, price: float = 10.0, days: Days = JUNE, minutes: int = 2) -> list[str]:
    return [bar(symbol, day, minute, price) for day in weekdays(days) for minute in range(minutes)]


def changed(report: LoadReport) -> set[str]:
    return {unit.symbol for unit in report.units if unit.changed}


def prices(client: Client) -> dict[str, set[float]]:
    return {str(symbol): set(rows["close"]) for (symbol,), rows in landed(client).group_by("symbol")}


def test_a_corrected_file_is_loaded_by_the_command_that_loaded_it(drops: Drops) -> None:
    one, two, other = symbols = codes(3)
    drops.put("a.csv", month(one) + month(two))
    drops.put("b.csv", month(other))
    assert drops.due() == set(units(symbols))
    assert changed(drops.load(symbols)) == set(symbols)
    assert (drops.due(), changed(drops.load(symbols))) == (set(), set())
    drops.put("a.csv", month(one, 11.0) + month(two))
    assert drops.due() == set(units([one, two]))
    report = drops.load(symbols, days=Days(JUNE.first, CLOSED))
    assert (told(report), changed(report)) == (dict.fromkeys(symbols, "ok"), {one})
    assert prices(drops.loader.client) == {one: {11.0}, two: {10.0}, other: {10.0}}
    assert drops.due() == set()


def test_other_bytes_with_the_same_size_and_modification_time_are_loaded(drops: Drops) -> None:
    """As of a copy that keeps times: only the time of the last change says so."""
    one, two = symbols = codes(2)
    path = drops.put("a.csv", [*month(one, minutes=6), f",{MONTH}-04 09:30,1,1,1,1,1"])
    drops.load(symbols)
    assert (drops.due(), [row[2] for row in drops.quarantine()]) == (set(), ["a row without a symbol"])
    stat = path.stat()
    [entry] = file_ledger.entries(drops.loader.client, drops.files())
    assert entry.state is FileState.LOADED
    drops.put("a.csv", [*month(two, 11.0, minutes=6), f",{MONTH}-05 09:30,1,1,1,1,1"])
    os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    [entry] = file_ledger.entries(drops.loader.client, drops.files())
    assert (entry.state, entry.reason) == (FileState.DUE, "changed since it was loaded")
    assert drops.due() == set(units([two]))
    assert changed(drops.load(symbols)) == {two}
    assert (prices(drops.loader.client), drops.due()) == ({one: {10.0}, two: {11.0}}, set())
    [row] = ledger.quarantined(drops.loader.client, file_ledger.DATASET)
    assert f"{MONTH}-05" in row.raw
    [entry] = file_ledger.entries(drops.loader.client, drops.files())
    assert entry.state is FileState.LOADED


def test_status_calls_changed_months_stale_and_new_ones_missing(drops: Drops) -> None:
    def states() -> dict[str, int]:
        given = file_ledger.changed_by_table(drops.loader.client, drops.files(), NOW)
        [bars, *_] = status.overview(drops.loader.client, [MONTH], NOW, trading_days=weekdays, changed=given)
        return dict(bars.months.get(MONTH, {}))  # type: ignore[arg-type]

    drops.put("a.csv", month(SYMBOL))
    assert states() == {"missing": 1}
    drops.load([SYMBOL])
    assert states() == {"provisional": 1}  # Tushare, which comes first, was not requested
    drops.put("a.csv", month(SYMBOL, 11.0))
    assert states() == {"stale": 1}


@pytest.mark.slow
def test_only_days_that_were_asked_for_are_compared_and_the_rest_stays_due(drops: Drops) -> None:
    drops.put("a.csv", month(SYMBOL))
    drops.load([SYMBOL])
    drops.put("a.csv", month(SYMBOL, 11.0))
    part = Days(dt.date(2025, 6, 10), dt.date(2025, 6, 11))
    assert changed(drops.load([SYMBOL], days=part)) == {SYMBOL}
    found = landed(drops.loader.client).filter(pl.col("close") == 11.0)
    assert set(found["date"]) == {part.first, part.last}
    assert drops.due() == {Unit(SYMBOL, MONTH)}
    drops.load([SYMBOL])
    assert (prices(drops.loader.client), drops.due()) == ({SYMBOL: {11.0}}, set())


def test_a_changed_file_asks_no_network_and_replaces_no_better_rows(drops: Drops) -> None:
    server = drops.loader.server
    server.symbols = [SYMBOL]
    drops.load([SYMBOL], providers=())
    before = landed(drops.loader.client)
    drops.put("a.csv", month(SYMBOL, 11.0))
    server.lines.clear()
    [report] = drops.load([SYMBOL], providers=()).units
    assert (report.outcome, report.changed, report.provider, server.lines) == ("ok", False, "tushare", [])
    assert "those of tushare, which comes before it, are kept" in report.note
    assert landed(drops.loader.client).equals(before)
    assert drops.due() == set()


@pytest.mark.slow
def test_what_is_missing_is_requested_and_what_changed_is_compared_in_one_load(drops: Drops) -> None:
    first = Days(dt.date(2025, 6, 2), dt.date(2025, 6, 6))
    drops.put("a.csv", month(SYMBOL, days=first))
    drops.load([SYMBOL])
    drops.put("a.csv", month(SYMBOL, 11.0, days=first))
    server = drops.loader.server
    server.symbols = [SYMBOL]
    server.suspended = set(weekdays(first))
    [report] = drops.load([SYMBOL], providers=()).units
    found = landed(drops.loader.client)
    assert report.outcome == "ok"
    assert set(found.filter(pl.col("provider") == "files")["close"]) == {11.0}
    assert set(found.filter(pl.col("provider") == "tushare")["date"]) == set(weekdays(JUNE)) - server.suspended
    assert drops.due() == set()


@pytest.mark.slow
def test_a_file_that_cannot_be_read_is_named_and_one_that_was_removed_changes_nothing(drops: Drops) -> None:
    kept = drops.put("a.csv", month(SYMBOL))
    drops.load([SYMBOL])
    kept.unlink()
    assert (drops.due(), changed(drops.load([SYMBOL]))) == (set(), set())
    drops.put("b.csv", ["x"], header="symbol,ts")
    unreadable = drops.see()
    assert (drops.due(), len(unreadable), "b.csv" in unreadable[0]) == (set(), 1, True)
    assert landed(drops.loader.client).height == len(month(SYMBOL))


def test_a_file_that_changed_after_it_was_registered_is_not_read_until_a_scan_finds_it_finished(drops: Drops) -> None:
    drops.put("a.csv", month(SYMBOL))
    assert drops.due() == {Unit(SYMBOL, MONTH)}
    drops.put("a.csv", month(SYMBOL, 11.0))
    drops.load([SYMBOL], registered_files=True)
    assert prices(drops.loader.client) == {}
    assert drops.due() == {Unit(SYMBOL, MONTH)}
    drops.load([SYMBOL], registered_files=True)
    assert (prices(drops.loader.client), drops.due()) == ({SYMBOL: {11.0}}, set())


@pytest.mark.slow
def test_a_load_opens_only_the_files_that_have_its_symbol_months(drops: Drops, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = codes(2)
    drops.put("a.csv", month(one))
    drops.put("b.csv", month(other))
    assert drops.due() == set(units([one, other]))
    read, content = list[str](), Folder.content

    def noted(folder: Folder, file: Any) -> Any:
        read.append(file.name)
        return content(folder, file)

    monkeypatch.setattr(Folder, "content", noted)
    assert told(drops.load([one])) == {one: "ok"}
    assert (read, drops.due()) == (["a.csv"], {Unit(other, MONTH)})
    assert told(drops.load([other])) == {other: "ok"}
    assert (read, drops.due()) == (["a.csv", "b.csv"], set())


# Rejected rows.


def test_three_rows_without_a_time_block_no_day_and_are_listed_once(drops: Drops) -> None:
    """Days of bars, and 3 rows whose time is missing: more than a hundredth of the 241 rows of a day."""
    days = weekdays(JUNE)[:3]
    rows = [bar(SYMBOL, day, minute) for day in days for minute in range(A_DAY)]
    holes = [f"{SYMBOL},,1,1,1,1,1"] * 3
    drops.put("a.csv", rows + holes)
    [narrow] = drops.load([SYMBOL], days=Days(days[1], days[1])).units
    assert (narrow.outcome, narrow.rows) == ("ok", A_DAY)
    report = drops.load([SYMBOL])
    assert (report.failed, report.rows, report.rejected) == ((), 3 * A_DAY, 3)
    assert landed(drops.loader.client).height == 3 * A_DAY
    lines = range(len(rows) + 2, len(rows) + 5)
    reason = "time '' cannot be read, unlike 2026-03-02 09:31:00"
    assert drops.quarantine() == [(file_ledger.DATASET, line, reason) for line in lines]
    drops.put("a.csv", rows)
    assert drops.load([SYMBOL]).rejected == 0
    assert drops.quarantine() == []


@pytest.mark.parametrize(
    "corrected", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["corrected", "taken out"]
)
def test_a_rejected_row_leaves_quarantine_with_the_corrected_file(drops: Drops, corrected: bool) -> None:
    rows = month(SYMBOL, minutes=10)
    bad = rows[17].replace("10.0,100", "ten,100")
    drops.put("a.csv", [*rows[:17], bad, *rows[18:]])
    [report] = drops.load([SYMBOL]).units
    assert (report.rejected, drops.quarantine()) == (1, [(TICK_DATA.name, 19, "close is not a number: 'ten'")])
    drops.put("a.csv", rows if corrected else [*rows[:17], *rows[18:]])
    [report] = drops.load([SYMBOL]).units
    assert (report.rejected, report.changed, drops.quarantine()) == (0, corrected, [])


@pytest.mark.slow
def test_a_file_with_too_many_bad_rows_fails_its_symbols_and_no_other(drops: Drops) -> None:
    one, other = codes(2)
    drops.put("a.csv", [*month(one), *[f"{one},soon,1,1,1,1,1"] * 3])
    drops.put("b.csv", month(other))
    report = drops.load([one, other])
    assert told(report) == {one: "failed", other: "ok"}
    assert "3 of 45 rows rejected, over the limit of 1 % or 1000" in (report.failed[0].error or "")
    assert len(drops.quarantine()) == 3
    assert drops.due() == {Unit(one, MONTH)}
    drops.put("a.csv", month(one))
    assert (told(drops.load([one, other])), drops.quarantine(), drops.due()) == (
        dict.fromkeys((one, other), "ok"),
        [],
        set(),
    )


def test_rows_read_are_rows_loaded_rejected_and_duplicates(drops: Drops) -> None:
    rows = month(SYMBOL, minutes=20)
    contradiction = rows[5].replace("10.0,100", "10.5,100")
    drops.put("a.csv", [*rows, *rows[:7], contradiction, f"{SYMBOL},,1,1,1,1,1"])
    [report] = (loaded := drops.load([SYMBOL])).units
    assert (report.rows, report.rejected, report.skipped, loaded.rejected) == (len(rows), 1, 7, 2)
    [entry] = ledger.entries(drops.loader.client, TICK_DATA.name)
    assert (entry.read, entry.rows, entry.rejected, entry.skipped) == (len(rows) + 8, len(rows), 1, 7)
    [file] = file_ledger.entries(drops.loader.client, drops.files())
    assert (file.file, file.read, file.loaded, file.rejected, file.duplicates) == (
        "a.csv",
        len(rows) + 9,
        len(rows),
        2,
        7,
    )
    drops.put("b.csv", rows[:4])
    [again] = drops.load([SYMBOL]).units
    assert (again.changed, again.skipped) == (True, 11)  # four rows are those of b.csv now


CELL = st.sampled_from(["10", "10.5", "", "ten", "inf"])
TIME = st.sampled_from(["2025-06-02 09:31:00", "2025-06-02 09:32:00", "2025-06-03 09:31", "", "soon"])
ROW = st.tuples(st.sampled_from(codes(2)), TIME, CELL, CELL, CELL, CELL, st.sampled_from(["100", "1.5", ""]))


@given(st.lists(ROW, max_size=30))
def test_every_line_is_loaded_rejected_or_a_duplicate(cells: list[tuple[str, ...]]) -> None:
    names = HEADER.split(",")
    raw = pl.DataFrame(cells, dict.fromkeys(names, pl.String), orient="row").with_row_index("line", 2)
    at = pl.col("ts").str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False).dt.replace_time_zone("UTC")
    numbers = pl.col(*names[2:]).cast(pl.Float64, strict=False)
    raw = raw.with_columns(
        pl.col("line").cast(pl.Int64), at, numbers, raw=pl.lit(""), turnover=pl.lit(None, pl.Float64)
    )
    rows, others = records.judged(raw)
    assert sorted([*rows["line"], *others["line"]]) == list(range(2, len(cells) + 2))
    kept = set(rows.select("symbol", "ts").rows())
    assert len(kept) == rows.height
    duplicates = others.filter(pl.col("reason").is_null())
    assert set(duplicates.select("symbol", "ts").rows()) <= kept


def test_the_limit_is_that_of_the_file_whatever_is_asked_of_it(drops: Drops) -> None:
    folder: Folder = drops.files().of_bars
    drops.put("a.csv", [*month(SYMBOL), f"{SYMBOL},soon,1,1,1,1,1"])
    [content] = folder.contents()
    assert (content.read, content.rejected, content.flaw is not None) == (43, 1, True)
    with pytest.raises(TooManyRejects, match=r"a\.csv: 1 of 43 rows"):
        folder.delivery(SYMBOL, JUNE, "end")


def test_reports_of_two_steps_fail_when_one_failed() -> None:
    failed = UnitReport(SYMBOL, MONTH, "failed", error="away")
    ok = UnitReport(SYMBOL, MONTH, "ok", 5, note="unchanged", changed=True)
    assert merged(failed, ok) == UnitReport(SYMBOL, MONTH, "failed", 5, note="unchanged", error="away", changed=True)
    assert merged(None, ok) == ok


@pytest.mark.slow
def test_every_entry_of_the_folder_has_a_state_and_every_row_one_fate(drops: Drops) -> None:
    one, two = codes(2)
    first, second = weekdays(JUNE)[:2]
    old = [bar(one, day, minute) for day in (first, second) for minute in range(4)]
    drops.put("old.csv", [*old, old[0], bar(two, first)])
    drops.put("new.csv", [bar(one, first, minute, 11.0) for minute in range(3)] + [bar(one, second, 9, 11.0)])
    drops.put("deep/newest.csv", [bar(one, first, 2, 12.0)])
    drops.put("codes.csv", [bar("600906", first)])
    drops.put("header.csv", [])
    drops.put("notes.txt", ["text"])
    (drops.folder / "gone.csv").symlink_to(drops.folder / "absent")
    loader = drops.loader
    before = {entry.file: entry.state for entry in file_ledger.entries(loader.client, drops.files())}
    assert before == {
        **dict.fromkeys(("old.csv", "new.csv", "deep/newest.csv", "codes.csv", "header.csv"), "due"),
        "notes.txt": "not taken",
        "gone.csv": "failed",
    }
    report = drops.load([one, two])
    assert len(report.unreadable) == 1
    assert "write 600906.SH" in report.unreadable[0]
    found = {entry.file: entry for entry in file_ledger.entries(loader.client, drops.files())}
    assert {name: entry.state for name, entry in found.items()} == {
        **dict.fromkeys(("old.csv", "new.csv", "deep/newest.csv"), "loaded"),
        "codes.csv": "failed",
        "header.csv": "empty",
        "notes.txt": "not taken",
        "gone.csv": "failed",
    }
    assert all(entry.balanced for entry in found.values())
    counts = [(found[name].read, found[name].loaded, found[name].duplicates) for name in ("old.csv", "new.csv")]
    assert counts == [(10, 6, 1), (4, 3, 0)]
    assert (found["old.csv"].replaced, found["new.csv"].replaced) == (
        {"new.csv": 2, "deep/newest.csv": 1},
        {"deep/newest.csv": 1},
    )
    assert landed(loader.client).height == sum(entry.loaded for entry in found.values())


def test_a_row_of_a_year_to_come_is_rejected_and_one_of_a_day_that_is_open_is_named(drops: Drops) -> None:
    """A wrong year would wait for its day, and its file would count as loaded."""
    one, two = codes(2)
    drops.put("a.csv", [*month(one, minutes=6), bar(one, dt.date(2052, 6, 10))])
    drops.put("b.csv", [bar(two, dt.date(2052, 6, 10))])
    drops.put("c.csv", [*month(two), bar(two, dt.date(2025, 7, 1))])
    drops.load([one, two])
    entries = {entry.file: entry for entry in file_ledger.entries(drops.loader.client, drops.files())}
    assert (entries["a.csv"].state, entries["a.csv"].read, entries["a.csv"].loaded) == (FileState.LOADED, 127, 126)
    assert entries["a.csv"].rejected == 1
    assert entries["b.csv"].state is FileState.FAILED
    assert "time '2052-06-10 09:30:00' is after the file was written" in entries["b.csv"].reason
    assert (entries["c.csv"].state, entries["c.csv"].reason) == (
        FileState.LOADED,
        "rows after 2025-06-30 are loaded when their days have closed",
    )
    assert landed(drops.loader.client).height == 126 + 42
