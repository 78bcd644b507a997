"""What may go wrong in a flow: a clear outcome, the right rows, and all well after the next run."""

import gzip
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psycopg
import pytest

from marketdata_assets.flows import claims, storage
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.prepare import prepare
from marketdata_assets.flows.run import FlowReport, find_units
from marketdata_assets.flows.table_writer import Statements, TableWriter
from marketdata_assets.loading import text as loading_text
from marketdata_assets.loading.files import Opener
from tests.flows.flow_files import (
    HEADER,
    PRICES,
    closes,
    deliver,
    flow,
    lines,
    loaded,
    metadata,
    only_error,
    quarantined,
    rows,
    run,
)

CALLS = PRICES + "handlers: [{call: {function: .mine.handle}}]\n"
KEY = "key: [code, day]"
APPEND = PRICES.replace("mode: upsert", "mode: append")
REPLACE = PRICES.replace("mode: upsert", "mode: replace")
TEXTS = "".join(line for line in PRICES.splitlines(keepends=True) if "types:" not in line).replace(
    'day: date, close: "numeric(16,4)", volume: bigint', "day: text, close: text, volume: text"
)


def handler(folder: Path, body: str, kind: str = "def") -> None:
    """A module `mine` beside the flow, whose function `handle` has this body."""
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    text = f"import asyncio, os, pathlib, signal, time\nimport polars as pl\n\n{kind} handle(frame):\n{indented}"
    (folder / "mine.py").write_text(text)


def test_a_handler_that_raises_on_one_file_fails_that_file_alone(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, CALLS)
    handler(tmp_path, "assert 'b' not in frame['code'], 'no b please'\nreturn frame")
    for code in "abc":
        deliver(tmp_path, f"{code}.csv", lines(code, [1, 2]))
    assert only_error(prices, dsn, tmp_path) == (
        "flow prices, b.csv: handler 1 (call .mine.handle) on 2 rows x 4 columns: AssertionError: no b please."
        " Nothing of the file is loaded; correct the handler or the file and run the flow again."
    )
    assert sorted({row[0] for row in rows(dsn)}) == ["a", "c"]
    assert {unit: known["status"] for unit, known in metadata(dsn).items()} == {
        "a.csv": "completed",
        "b.csv": "failed",
        "c.csv": "completed",
    }
    handler(tmp_path, "return frame.with_columns(close=pl.col('close') + 1)")
    assert run(prices, dsn, tmp_path).count("ok") == 3
    assert closes(dsn, "b") == [2, 3]


def test_an_async_handler_is_awaited(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, CALLS)
    handler(tmp_path, "await asyncio.sleep(0)\nreturn frame.with_columns(close=pl.lit(9.0))", "async def")
    deliver(tmp_path, "a.csv", lines("a", [1]))
    run(prices, dsn, tmp_path)
    assert closes(dsn) == [9]


GIVEN = [
    ("return None", "it gave NoneType, not a polars DataFrame"),
    ("return frame.drop('close')", "the handlers give no column close; they give code, day, volume"),
    ("return frame.with_columns(day=pl.lit(1))", "column day is Int32, the target has date"),
    ("return frame.with_columns(volume=pl.lit(0.5))", "line 2: volume 0.5 does not fit bigint"),
    ("return frame.with_columns(close=pl.lit(1e15))", "does not fit numeric(16,4)"),
    ("return pl.DataFrame({**frame.to_dict(), 'code': [None]})", "code is NULL, and belongs to the key"),
    ("return frame.select('nothing')", "ColumnNotFoundError"),
    ("raise OSError('no file of mine')", "OSError: no file of mine"),
    ("raise SystemExit(3)", "SystemExit: 3"),
    ("raise asyncio.CancelledError", "CancelledError"),
    ("raise type('Odd', (BaseException,), {'__str__': lambda self: 1 / 0})", "handler 1 (call .mine.handle)"),
    ("raise MemoryError('\\0 ' + chr(0xDC80))", "MemoryError: \\0 \\udc80"),
]


def test_what_a_function_gives_is_judged(dsn: str, tmp_path: Path) -> None:
    """Its file fails alone, whatever is raised, and in the same batch as others."""
    prices = flow(tmp_path, CALLS)
    bodies = [f"if 'c{at:02}' in frame['code']:\n    {body}" for at, (body, _) in enumerate(GIVEN)]
    handler(tmp_path, "\n".join([*bodies, "return frame"]))
    for at in range(len(GIVEN) + 1):
        deliver(tmp_path, f"{at:02}.csv", lines(f"c{at:02}", [1]))
    errors = {unit.unit: unit.error or "" for unit in run(prices, dsn, tmp_path).failed}
    assert sorted(errors) == [f"{at:02}.csv" for at in range(len(GIVEN))]
    for at, (_, said) in enumerate(GIVEN):
        assert said in errors[f"{at:02}.csv"]
    assert [row[0] for row in rows(dsn)] == [f"c{len(GIVEN):02}"]


def test_a_function_that_is_not_there_stops_the_flow(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, CALLS)
    with pytest.raises(FlowError, match=r"\.mine\.handle: cannot be imported"):
        run(prices, dsn, tmp_path)
    (tmp_path / "mine.py").write_text("x = 1\n")
    with pytest.raises(FlowError, match="has no function 'handle'"):
        run(prices, dsn, tmp_path)


def test_a_column_that_changes_its_type_half_way_is_named_by_line(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path)
    deliver(tmp_path, "a.csv", lines("a", [*range(1, 50), *["n/a"] * 50]))
    said = only_error(prices, dsn, tmp_path)
    assert "a.csv: 50 of 99 rows rejected" in said
    assert "line 51: close 'n/a' is no numeric(16,4)" in said
    assert rows(dsn) == []


def test_rows_of_another_type_within_the_limit_are_rejected_and_the_others_are_loaded(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading_text, "BLOCK_BYTES", 2000)
    prices = flow(tmp_path)
    deliver(tmp_path, "a.csv", lines("a", [*range(1, 600), *["1e-9", "9,9", "n/a"], *range(602, 1000)]))
    report = run(prices, dsn, tmp_path)
    assert (report.rows, report.rejected, report.failed) == (997, 3, ())
    assert closes(dsn) == [*range(1, 600), *range(602, 1000)]
    assert [(line, reason) for _, line, reason, _ in quarantined(dsn)] == [
        (601, "close '1e-9' is no numeric(16,4), or has more digits than it keeps"),
        (602, "5 columns, expected 4"),
        (603, "close 'n/a' is no numeric(16,4), or has more digits than it keeps"),
    ]


DAMAGED = {
    "0.csv": (HEADER.replace("close", "收盘").encode("gb18030"), "0.csv:1: not utf-8"),
    "1.csv": (HEADER.encode() + "名,2024-01-01,1,1\n".encode("gb18030"), "line 2: not utf-8"),
    "2.csv": (b"", "2.csv:1: there is no header"),
    "3.csv": (b'{"code": "b", "day": "2024-01-01", "close": 1, "volume": 1}\n', "3.csv:1: the header has no code"),
    "4.csv.gz": (gzip.compress(lines("b", range(1, 900)).encode())[:-20], "4.csv.gz: damaged: "),
    "5.csv.gz": (b"plain", "5.csv.gz: damaged: Not a gzipped file"),
    "6.zip": (b"PK\3\4 half a zip", "6.zip: not a whole zip file"),
}


def test_a_damaged_file_fails_alone_and_is_loaded_once_corrected(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, PRICES.replace("loader:\n", "loader:\n  glob: ['*.csv', '*.gz', '*.zip']\n"))
    deliver(tmp_path, "a.csv", lines("a", [1]))
    for name, (data, _) in DAMAGED.items():
        deliver(tmp_path, name, data)
    errors = {unit.unit: unit.error or "" for unit in run(prices, dsn, tmp_path).failed}
    assert errors.keys() == DAMAGED.keys()
    for name, (_, said) in DAMAGED.items():
        assert said in errors[name]
    assert closes(dsn) == [1]
    for name in DAMAGED:
        (tmp_path / name).unlink()
        deliver(tmp_path, f"{name[0]}.csv", lines(f"b{name[0]}", [2]))
    assert not run(prices, dsn, tmp_path).failed
    assert [row[0] for row in rows(dsn)] == ["a", *(f"b{name[0]}" for name in DAMAGED)]


def test_what_a_worker_loaded_before_it_died_is_reported_by_its_run(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, CALLS)
    handler(
        tmp_path,
        f"mark = pathlib.Path({str(tmp_path)!r}, 'died')\n"
        "if 'b' in frame['code'] and not mark.exists():\n"
        "    mark.touch()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "return frame",
    )
    deliver(tmp_path, "large.csv", lines("z", range(1, 200)))
    for code in "ab":  # of one batch, in this order
        deliver(tmp_path, f"{code}.csv", lines(code, [1, 2]))
    report = run(prices, dsn, tmp_path, workers=2)
    assert (report.rows, report.failed, report.unchanged) == (203, (), 0)
    assert (tmp_path / "died").exists()
    again = run(prices, dsn, tmp_path, workers=2)
    assert (again.rows, again.unchanged) == (0, 3)


@pytest.mark.slow
def test_a_file_that_kills_every_worker_is_on_record_as_failed(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, CALLS)
    handler(tmp_path, "if 'b' in frame['code']:\n    os.kill(os.getpid(), signal.SIGKILL)\nreturn frame")
    deliver(tmp_path, "a.csv", lines("a", range(1, 400)))
    deliver(tmp_path, "b.csv", lines("b", range(1, 400)))
    (failed,) = run(prices, dsn, tmp_path, workers=2).failed
    assert failed.error is not None
    assert failed.error.startswith("b.csv: the worker process was killed")
    assert metadata(dsn)["b.csv"]["status"] == "failed"
    assert len(closes(dsn)) == 399


@contextmanager
def running(file: Path, dsn: str, folder: Path, workers: int = 1) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own that runs the flow."""
    code = (
        "import sys; from pathlib import Path; from tests.flows.flow_files import run;"
        " from marketdata_assets.flows.definition import read;"
        " run(read(Path(sys.argv[1])), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))"
    )
    command = [sys.executable, "-c", code, str(file), dsn, str(folder), str(workers)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not come"
        time.sleep(0.02)


def test_a_killed_run_leaves_whole_units_and_the_next_one_need_not_wait(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, CALLS)
    begun = tmp_path / "begun"
    handler(
        tmp_path, f"if 'b' in frame['code']:\n    open({str(begun)!r}, 'w').close()\n    time.sleep(60)\nreturn frame"
    )
    deliver(tmp_path, "a.csv", lines("a", [1, 2, 3]))
    deliver(tmp_path, "b.csv", lines("b", [1]))
    assert prices.file is not None
    with running(prices.file, dsn, tmp_path) as process:
        wait_for(begun)
        assert metadata(dsn)["b.csv"]["status"] == "processing"
        os.kill(process.pid, signal.SIGKILL)
    assert (len(closes(dsn)), closes(dsn, "b")) == (3, [])
    handler(tmp_path, "return frame")
    run(prices, dsn, tmp_path)
    assert (len(closes(dsn)), closes(dsn, "b")) == (3, [1])
    assert {known["status"] for known in metadata(dsn).values()} == {"completed"}


def test_workers_of_a_killed_run_let_go_of_their_files(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, CALLS)
    handler(tmp_path, f"open({str(tmp_path)!r} + '/begun-' + frame['code'][0], 'w').close()\ntime.sleep(600)")
    for code in "ab":
        deliver(tmp_path, f"{code}.csv", lines(code, [1, 2]))
    assert prices.file is not None
    with running(prices.file, dsn, tmp_path, workers=2) as process:
        for code in "ab":
            wait_for(tmp_path / f"begun-{code}")
        os.kill(process.pid, signal.SIGKILL)
    handler(tmp_path, "return frame")
    report = run(prices, dsn, tmp_path)
    assert (report.rows, report.failed) == (4, ())
    assert {known["status"] for known in metadata(dsn).values()} == {"completed"}


def test_a_key_that_stands_is_seen_before_rows_are_copied(dsn: str, tmp_path: Path) -> None:
    prices = loaded(dsn, tmp_path, a=[1, 2])
    deliver(tmp_path, "a.csv", lines("a", [1, 3, 4]))
    (unit,) = find_units(prices, tmp_path)
    prepared = prepare(Opener(), prices, unit, 1)
    with psycopg.connect(dsn) as connection, closing(prepared.payload):
        writer = TableWriter(connection, Statements(prices.target), unit.place, 1)
        writer.write(prepared, loaded=True)  # KeysClash would be raised
    assert closes(dsn) == [1, 3, 4]


def loaded_beside(dsn: str, statement: str, prices: FlowDefinition, folder: Path) -> list[FlowReport]:
    """A run that meets rows of another session, which commits when the run waits for it."""
    reports = []
    with psycopg.connect(dsn) as other, psycopg.connect(dsn, autocommit=True) as looker:
        other.execute(statement.encode())
        loading = threading.Thread(target=lambda: reports.append(run(prices, dsn, folder)))
        loading.start()
        while not looker.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
            time.sleep(0.02)
        other.commit()
        loading.join()
    return reports


def test_a_key_that_another_writes_meanwhile_is_merged(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path)
    with psycopg.connect(dsn) as connection:
        storage.ensure(connection, prices)
    deliver(tmp_path, "a.csv", lines("a", [1, 2, 3]))
    reports = loaded_beside(
        dsn, "INSERT INTO prices (code, day, close, volume) VALUES ('a', '2024-01-02', 9, 9)", prices, tmp_path
    )
    assert [(report.rows, report.failed) for report in reports] == [(3, ())]
    assert closes(dsn) == [1, 2, 3]


def test_a_row_that_another_changes_meanwhile_is_overwritten(dsn: str, tmp_path: Path) -> None:
    prices = loaded(dsn, tmp_path, a=[1, 2, 3])
    deliver(tmp_path, "a.csv", lines("a", [4, 5, 6, 7]))
    reports = loaded_beside(dsn, "UPDATE prices SET close = 9 WHERE day = '2024-01-02'", prices, tmp_path)
    assert [(report.rows, report.failed) for report in reports] == [(4, ())]
    assert closes(dsn) == [4, 5, 6, 7]


def test_rows_in_a_part_of_the_table_are_overwritten(dsn: str, tmp_path: Path) -> None:
    prices = loaded(dsn, tmp_path, a=[1, 2, 3])
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE part () INHERITS (prices)")
        connection.execute(
            "WITH moved AS (DELETE FROM ONLY prices WHERE day = '2024-01-02' RETURNING *)"
            " INSERT INTO part SELECT * FROM moved"
        )
    deliver(tmp_path, "a.csv", lines("a", [4, 5, 6]))
    assert not run(prices, dsn, tmp_path).failed
    assert closes(dsn) == [4, 5, 6]
    assert rows(dsn, "SELECT close FROM part") == [(5,)]


OTHER_MODES = [pytest.param(text, marks=pytest.mark.slow) for text in (REPLACE, REPLACE.replace(KEY, "key: []"))]


@pytest.mark.parametrize("text", [PRICES, APPEND.replace(KEY, "key: []"), *OTHER_MODES])
def test_two_runs_at_once_double_nothing_and_lose_nothing(dsn: str, tmp_path: Path, text: str) -> None:
    prices = flow(tmp_path, text)
    for number in range(12):
        deliver(tmp_path, f"{number:02}.csv", lines(f"c{number:02}", range(1, 40)))
    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(lambda _: run(prices, dsn, tmp_path), range(3)))
    assert [report.failed for report in reports] == [(), (), ()]
    assert sum(report.rows for report in reports) == 12 * 39
    assert all(len(report.units) + report.unchanged == 12 for report in reports)
    assert rows(dsn, "SELECT count(*), count(DISTINCT (code, day)) FROM prices") == [(12 * 39, 12 * 39)]


def test_a_unit_in_other_hands_is_waited_for_until_its_claim_runs_out(dsn: str, tmp_path: Path) -> None:
    prices = loaded(dsn, tmp_path, a=[1])
    (unit,) = find_units(prices, tmp_path)
    with psycopg.connect(dsn, autocommit=True) as other, psycopg.connect(dsn, autocommit=True) as ours:
        assert claims.claim(other, prices.dataset, unit, "other", wait=False) is not None
        assert claims.claim(ours, prices.dataset, unit, "ours", wait=False) is None
        other.execute("UPDATE marketdata_flow_units SET claim_until = now() - interval '1 second'")
        assert claims.claim(ours, prices.dataset, unit, "ours", wait=True) is not None


def test_names_in_gbk_are_loaded_in_any_number_of_processes(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path)
    for code in "abc":
        deliver(tmp_path, os.fsdecode(f"行情/平安{code}.csv".encode("gbk")), lines(code, [1, 2]))
    report = run(prices, dsn, tmp_path, workers=2)
    assert sorted(unit.unit for unit in report.units) == [f"行情/平安{code}.csv" for code in "abc"]
    assert (report.failed, len(rows(dsn))) == ((), 6)


def test_two_files_of_one_decoded_name_are_not_taken_for_each_other(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path)
    deliver(tmp_path, "a.csv", lines("a", [1]))
    deliver(tmp_path, "平安.csv", lines("b", [1]))
    deliver(tmp_path, os.fsdecode("平安.csv".encode("gbk")), lines("c", [1]))
    assert [unit.error for unit in run(prices, dsn, tmp_path).failed] == [
        "平安.csv: another file has the same name once it is decoded; rename one of them. Deliver the file again; rows"
        " loaded from it before are kept."
    ]
    assert closes(dsn) == [1]


def test_a_key_too_long_for_the_index_fails_its_file_alone(dsn: str, tmp_path: Path) -> None:
    """The server rejects the statement with a class of errors that a lost connection has too."""
    prices = flow(tmp_path)
    for number in range(20):
        deliver(tmp_path, f"{number}.csv", lines(f"c{number}", [1]))
    long = "".join(str(hash(str(number))) for number in range(2000))
    deliver(tmp_path, "bad.csv", lines(long, [1]))
    error = only_error(prices, dsn, tmp_path)
    assert error.startswith("bad.csv: ProgramLimitExceeded: index row")
    assert len(rows(dsn)) == 20


def test_an_exception_while_a_file_is_claimed_fails_it_alone(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = flow(tmp_path)
    for code in "abc":
        deliver(tmp_path, f"{code}.csv", lines(code, [1]))
    claim = claims.claim

    def claim_but_b(*given: Any, **options: Any) -> int | None:
        if given[2].place == "b.csv":
            raise LookupError("of no class that is expected")
        return claim(*given, **options)

    monkeypatch.setattr(claims, "claim", claim_but_b)
    assert only_error(prices, dsn, tmp_path) == "b.csv: LookupError: of no class that is expected"
    assert len(rows(dsn)) == 2


def test_a_file_or_folder_that_vanishes_during_the_scan_is_left_out(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = flow(tmp_path)
    for name in ("a", "gone/b", "c"):
        deliver(tmp_path, f"{name}.csv", lines(name[-1], [1]))
    scandir = os.scandir

    def scandir_but_gone(path: Any = ".") -> Any:
        if str(path).endswith("gone") and (tmp_path / "gone").exists():
            shutil.rmtree(path)
        entries = list(scandir(path))
        if any(entry.name == "c.csv" for entry in entries):
            (tmp_path / "c.csv").unlink()
        return nullcontext(entries)

    monkeypatch.setattr(os, "scandir", scandir_but_gone)
    assert [unit.unit for unit in run(prices, dsn, tmp_path).units] == ["a.csv"]


def test_a_zip_with_a_readme_and_folders_of_a_mac_is_data_alone(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, PRICES.replace("loader:\n", "loader:\n  glob: ['*.zip']\n"))
    with zipfile.ZipFile(tmp_path / "day.zip", "w") as archive:
        archive.writestr("__MACOSX/._a.csv", b"\0\5\26\7")
        archive.writestr("data/.DS_Store", bytes(4096))
        archive.writestr("README.txt", "read me")
        archive.writestr("使用说明.txt", "说明")
        archive.writestr("data/prices.md5", "d41d8")
        archive.writestr("data/a.csv", lines("a", [1]))
        archive.writestr("data/b.csv", lines("b", [2]))
    report = run(prices, dsn, tmp_path)
    assert sorted(unit.unit for unit in report.units) == ["day.zip!data/a.csv", "day.zip!data/b.csv"]
    assert report.failed == ()
    chosen = flow(tmp_path, PRICES.replace("loader:\n", "loader:\n  glob: ['*.zip']\n  members: ['*/c*.csv']\n"))
    assert "no member matches */c*.csv" in only_error(chosen, dsn, tmp_path)


def test_a_folder_without_a_file_is_no_success(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path)
    with pytest.raises(FlowError, match=r"no file matches \*\*/\*\.csv"):
        run(prices, dsn, tmp_path)


@pytest.mark.parametrize("text", [PRICES, APPEND], ids=["upsert", "append"])
def test_a_file_that_is_overwritten_while_it_is_read_is_not_loaded_and_due_again(
    dsn: str, tmp_path: Path, text: str
) -> None:
    prices = flow(tmp_path, text + CALLS.removeprefix(PRICES))
    file = deliver(tmp_path, "a.csv", lines("a", [1, 2]))
    handler(tmp_path, f"pathlib.Path({str(file)!r}).write_text({lines('b', [3, 4])!r})\nreturn frame")
    assert "a.csv: it was overwritten while it was being read" in only_error(prices, dsn, tmp_path)
    assert rows(dsn) == []
    handler(tmp_path, "return frame")
    assert run(prices, dsn, tmp_path).count("ok") == 1
    assert closes(dsn, "b") == [3, 4]
    assert closes(dsn, "a") == []


@pytest.mark.parametrize(
    ("again", "fails"),
    [
        ("code,day,volume,close", True),
        ("code,day,adj_close,volume", True),
        ('"Code";day', False),
        ("Code,Day,Close,Volume", False),
    ],
)
@pytest.mark.parametrize("text", [PRICES, TEXTS], ids=["typed", "texts"])
def test_rows_below_another_header_are_not_read_by_the_first(
    again: str, fails: bool, text: str, dsn: str, tmp_path: Path
) -> None:
    """Files that are joined to one may have their columns in different orders; the same header again is one bad row."""
    joined = f"{again}\n" + lines("b", range(1, 150)).removeprefix(HEADER)
    deliver(tmp_path, "joined.csv", lines("a", range(1, 150)) + joined)
    report = run(flow(tmp_path, text), dsn, tmp_path)
    assert len(report.failed) == fails
    if fails:
        assert "line 151 is a header of other columns" in (report.failed[0].error or "")
    else:
        assert [one[1] for one in quarantined(dsn)] == [151]


def test_the_header_of_a_sheet_that_comes_again_is_no_row_of_a_flow_of_texts(dsn: str, tmp_path: Path) -> None:
    book = pytest.importorskip("openpyxl").Workbook()
    days = [["A", f"day {number}", "x", "1"] for number in range(150)]
    for row in [
        ["code", "day", "close", "volume"],
        *days,
        ["Code", "day", " close", "Volume"],
        ["day", "x", "code", "2"],
    ]:
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    [unit] = run(flow(tmp_path, TEXTS.replace("loader:\n", "loader:\n  format: excel\n")), dsn, tmp_path).units
    assert (unit.read, unit.rows, unit.rejected) == (152, 151, 1)
    assert [one[1] for one in quarantined(dsn)] == [152]
