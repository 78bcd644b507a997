"""Files through a flow into its table: what is stored, what is in the ledger, and what a second run does."""

import gzip
import os
import zipfile
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from marketdata_assets.flows import checks, status, storage
from marketdata_assets.flows import run as running
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.forget import forget
from marketdata_assets.flows.targets import contents
from tests.flows.flow_files import (
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

REPLACE = PRICES.replace("mode: upsert", "mode: replace")
APPEND = PRICES.replace("mode: upsert", "mode: append")


def test_files_land_with_ledger_and_a_second_run_reads_nothing(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path)
    deliver(tmp_path, "a.csv", lines("a", ["1.5", "2.25"]))
    deliver(tmp_path, "deep/b.csv", lines("b", ["3"]))
    report = run(prices, dsn, tmp_path)
    assert (report.rows, report.rejected, report.count("ok"), report.unchanged) == (3, 0, 2, 0)
    assert closes(dsn) == [Decimal("1.5000"), Decimal("2.2500")]
    known = metadata(dsn)["deep/b.csv"]
    assert (known["source_identifier"], known["status"], known["rows"]) == ("prices/deep/b.csv", "completed", 1)
    with psycopg.connect(dsn) as connection:
        assert running.outdated(connection, prices, tmp_path) == []
    again = run(prices, dsn, tmp_path)
    assert (again.units, again.unchanged) == ((), 2)


def test_a_touched_file_is_hashed_and_a_forced_one_changes_no_row(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path)
    path = deliver(tmp_path, "a.csv", lines("a", [1, 2]))
    run(prices, dsn, tmp_path)
    stamps = "SELECT code, day, created_at, updated_at, xmin FROM prices ORDER BY day"
    before = rows(dsn, stamps)
    path.touch()
    assert run(prices, dsn, tmp_path).unchanged == 1
    forced = run(prices, dsn, tmp_path, force=True)
    assert (forced.count("ok"), forced.rows) == (1, 2)
    assert rows(dsn, stamps) == before


def test_a_table_restored_without_its_ledger_is_counted_and_shown(dsn: str, tmp_path: Path) -> None:
    prices = loaded(dsn, tmp_path, a=[1, 2])
    with psycopg.connect(dsn) as connection:
        connection.execute("DROP VIEW etl_metadata; DROP TABLE marketdata_flow_units, marketdata_ledger")
        assert (contents.of(connection, prices).count(), len(contents.of(connection, prices).last())) == (2, 2)
        assert checks.keys_unique(connection, prices).passed
        assert checks.every_row_accounted(connection, prices).examples == (
            {"unit": "(no file of a flow)", "loaded": "0", "in_table": "2"},
        )


def test_upsert_changes_the_rows_that_changed_and_keeps_those_that_vanished(dsn: str, tmp_path: Path) -> None:
    prices = loaded(dsn, tmp_path, a=[1, 2, 3])
    deliver(tmp_path, "a.csv", lines("a", [1, 20]))
    run(prices, dsn, tmp_path)
    assert closes(dsn) == [1, 20, 3]
    assert rows(dsn, "SELECT updated_at > created_at FROM prices ORDER BY day") == [(False,), (True,), (False,)]


def test_new_files_find_by_the_key_that_no_row_can_conflict(dsn: str, tmp_path: Path) -> None:
    codes = {f"code{number}": range(1, 21) for number in range(60)}
    loaded(dsn, tmp_path, **codes)
    query = "SELECT n_tup_ins, seq_tup_read FROM pg_stat_user_tables WHERE relname = 'prices'"
    while (counted := rows(dsn, query)[0])[0] < 60 * 20:  # a session counts when it ends
        pass
    assert counted[1] < 60 * 20, "each file read the rows of all files before it"


def test_replace_never_takes_a_row_of_another_file(dsn: str, tmp_path: Path) -> None:
    prices = loaded(dsn, tmp_path, REPLACE, a=[1, 2, 3])
    deliver(tmp_path, "b.csv", lines("a", [9]))
    assert "has a row of the same key from another file" in only_error(prices, dsn, tmp_path)
    deliver(tmp_path, "b.csv", lines("b", [9]))
    run(prices, dsn, tmp_path)
    deliver(tmp_path, "b.csv", lines("a", [8]))
    assert len(run(prices, dsn, tmp_path).failed) == 1
    assert (closes(dsn), closes(dsn, "b")) == ([1, 2, 3], [9])


def test_append_with_a_key_names_the_row_that_stands(dsn: str, tmp_path: Path) -> None:
    prices = loaded(dsn, tmp_path, APPEND, a=[1])
    deliver(tmp_path, "b.csv", lines("a", [2]))
    assert "(a, 2024-01-01)" in only_error(prices, dsn, tmp_path)


def test_rejected_rows_are_kept_with_line_and_reason(dsn: str, tmp_path: Path) -> None:
    rule = "handlers: [{drop_invalid: {price above 0: close > 0}}]\nquality: {max_rejected_share: 0.9}\n"
    prices = flow(tmp_path, PRICES + rule)
    bad = "a,2024-02-30,1,1\na,2024-03-01,x,1\na,2024-03-02,1.23456,1\na,2024-03-03,-1,1\na,2024-03-04,1,1.5\n"
    more = 'a,2024-03-05\n,2024-03-06,1,1\na,2024-01-01,5,1\na,2024-03-07,1e13,1\n"a,2024-03-08,1,1\n'
    deliver(tmp_path, "a.csv", lines("a", [1, 2]) + bad + more)
    report = run(prices, dsn, tmp_path)
    (unit,) = report.units
    assert (unit.outcome, unit.read, unit.rows, unit.rejected, unit.skipped) == ("ok", 12, 2, 10, 0)
    found = quarantined(dsn)
    assert [line for _, line, _, _ in found] == [2, *range(4, 11), 12, 13]
    assert [reason for _, _, reason, _ in found] == [
        "duplicate key a 2024-01-01, which a later row of this file has too",
        "day '2024-02-30' is no date (YYYY-MM-DD, YYYY/MM/DD or YYYYMMDD)",
        "close 'x' is no numeric(16,4), or has more digits than it keeps",
        "close '1.23456' is no numeric(16,4), or has more digits than it keeps",
        "breaks the rule 'price above 0'",
        "volume '1.5' is no bigint",
        "2 columns, expected 4",
        "code is NULL, and belongs to the key",
        "close '1e13' is no numeric(16,4), or has more digits than it keeps",
        "a quote without end",
    ]
    assert found[1][3] == "a,2024-02-30,1,1"


def test_a_failed_file_that_is_gone_fails_no_longer(dsn: str, tmp_path: Path) -> None:
    prices = loaded(dsn, tmp_path, a=[1])
    bad = deliver(tmp_path, "b.csv", "nonsense")
    only_error(prices, dsn, tmp_path)
    bad.unlink()
    assert run(prices, dsn, tmp_path).failed == ()
    with psycopg.connect(dsn) as connection:
        assert status.summary(connection, prices, tmp_path).states["failed"] == 0


def test_the_first_rejected_rows_of_a_file_that_failed_by_them_are_in_quarantine(dsn: str, tmp_path: Path) -> None:
    prices = loaded(dsn, tmp_path, a=[1])
    bad = deliver(tmp_path, "a.csv", lines("a", [2, *(f"x{number}" for number in range(30))]))
    only_error(prices, dsn, tmp_path)
    found = quarantined(dsn)
    assert [line for _, line, _, _ in found] == [*range(3, 23)]
    assert found[0][2:] == (
        "close 'x0' is no numeric(16,4), or has more digits than it keeps",
        "a,2024-01-02,x0,100",
    )
    assert found[-1][2].endswith("; 10 more rejected rows of this file are not listed")
    with psycopg.connect(dsn) as connection:
        assert checks.every_row_accounted(connection, prices).passed
    bad.write_text(lines("a", [2]))
    run(prices, dsn, tmp_path)
    assert quarantined(dsn) == []


def test_too_many_rejected_rows_load_nothing_and_keep_what_was_loaded(dsn: str, tmp_path: Path) -> None:
    prices = loaded(dsn, tmp_path, a=[1, 2])
    deliver(tmp_path, "a.csv", lines("a", [5, "junk", 7]))
    error = only_error(prices, dsn, tmp_path)
    assert "a.csv: 1 of 3 rows rejected, over the limit of 1 % or 1000" in error
    assert "line 3: close 'junk'" in error
    assert closes(dsn) == [1, 2]
    deliver(tmp_path, "a.csv", lines("a", [5, 6, 7]))
    run(prices, dsn, tmp_path)
    assert closes(dsn) == [5, 6, 7]
    assert metadata(dsn)["a.csv"]["status"] == "completed"


def test_packed_files_are_read_like_plain_ones(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, PRICES.replace("loader:\n", "loader:\n  glob: ['*.gz', '*.zip']\n"))
    deliver(tmp_path, "a.csv.gz", gzip.compress(lines("a", [1]).encode()))
    with zipfile.ZipFile(tmp_path / "more.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.csv", lines("b", [2]))
        archive.writestr("c.csv", lines("c", [3]))
    report = run(prices, dsn, tmp_path)
    assert sorted(unit.unit for unit in report.units) == ["a.csv.gz", "more.zip!b.csv", "more.zip!c.csv"]
    assert [row[0] for row in rows(dsn)] == ["a", "b", "c"]
    assert run(prices, dsn, tmp_path).unchanged == 3


def test_an_empty_file_is_empty_and_a_missing_folder_or_file_is_named(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path)
    deliver(tmp_path, "a.csv", lines("a", []))
    assert run(prices, dsn, tmp_path).count("empty") == 1
    assert run(prices, dsn, tmp_path).unchanged == 1
    with pytest.raises(FlowError, match=r"no file 'x\.csv'"):
        run(prices, dsn, tmp_path, units=["x.csv"])
    with pytest.raises(FlowError, match="no such folder"):
        run(prices, dsn, tmp_path / "nowhere")


def test_only_the_units_asked_for_are_read(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path)
    deliver(tmp_path, "a.csv", lines("a", [1]))
    deliver(tmp_path, "b.csv", lines("b", [2]))
    assert [unit.unit for unit in run(prices, dsn, tmp_path, units=["b.csv"]).units] == ["b.csv"]
    assert [row[0] for row in rows(dsn)] == ["b"]


def test_another_definition_loads_again_and_another_table_is_rejected(dsn: str, tmp_path: Path) -> None:
    loaded(dsn, tmp_path, a=[1])
    doubled = flow(tmp_path, PRICES + "handlers: [{derive: {close: close * 2}}]\n")
    assert run(doubled, dsn, tmp_path).rows == 1
    assert closes(dsn) == [2]
    owned = flow(tmp_path, PRICES + "handlers: [{derive: {close: close * 2}}]\nowners: [me]\n")
    assert run(owned, dsn, tmp_path).unchanged
    wider = flow(tmp_path, PRICES.replace('"numeric(16,4)"', "double"))
    with pytest.raises(FlowError, match=r"close is numeric\(16,4\), declared double precision \(ALTER TABLE"):
        run(wider, dsn, tmp_path)
    with psycopg.connect(dsn) as connection:
        connection.execute("ALTER TABLE prices DROP COLUMN volume, ADD COLUMN extra text")
        assert [text.partition(" (")[0] for text in storage.drift(connection, doubled)] == [
            "it has no column volume, NULL in present rows until their files are loaded again",
            "its column extra is not declared",
        ]


ALL_TYPES = """loader:
  columns: [k, n2, n0, wide, big, small, label, day, at, "yes", real]
  missing: ["", NA]
handlers:
  - flag: {column: marks, flags: {odd: "k = '1'", "é": "k IN ('1', '2')"}}
target:
  table: every
  mode: MODE
  key: [k]
  columns: {k: text, n2: "numeric(18,2)", n0: "numeric(3)", wide: "numeric(38,18)", big: bigint, small: integer,
            label: text, day: date, at: timestamp, "yes": boolean, real: double, marks: "text[]"}
"""


@pytest.mark.parametrize("mode", ["upsert", "replace", "append"])
def test_every_type_arrives_without_loss(dsn: str, tmp_path: Path, mode: str) -> None:
    every = flow(tmp_path, ALL_TYPES.replace("MODE", mode))
    header = "k,n2,n0,wide,big,small,label,day,at,yes,real\n"
    one = "1,9999999999999999.99,-999,12345678901234567890.123456789012345678,9223372036854775807,-2147483648,"
    one += '"a ""b"",c",1900-01-31,2024-02-29 23:59:59.123456,true,0.1\n'
    two = "2,-0.01,0,-0.000000000000000001,-1e3,12.0,名字,2024/02/29,2024-02-29T01:02,N,-1e300\n"
    deliver(tmp_path, "every.csv", header + one + two + "3,NA,,,,,NA,,,,\n")
    assert run(every, dsn, tmp_path).rows == 3
    got = rows(dsn, "SELECT k, n2::text, n0::text, wide::text, big, small, label, day::text, at::text, yes, real, marks"
                    " FROM every ORDER BY k")  # fmt: skip
    assert got == [
        ("1", "9999999999999999.99", "-999", "12345678901234567890.123456789012345678", 9223372036854775807,
         -2147483648, 'a "b",c', "1900-01-31", "2024-02-29 23:59:59.123456", True, 0.1, ["odd", "é"]),
        ("2", "-0.01", "0", "-0.000000000000000001", -1000, 12, "名字", "2024-02-29", "2024-02-29 01:02:00", False,
         -1e300, ["é"]),
        ("3", *[None] * 10, []),
    ]  # fmt: skip


@pytest.mark.parametrize("mode", ["upsert", "replace", "append"])
def test_a_hypertable_holds_the_same_rows(either_dsn: str, tmp_path: Path, mode: str) -> None:
    prices = flow(tmp_path, PRICES.replace("mode: upsert", f"mode: {mode}\n  hypertable: day"))
    deliver(tmp_path, "a.csv", lines("a", range(1, 41)))
    run(prices, either_dsn, tmp_path)
    if mode != "append":
        deliver(tmp_path, "a.csv", lines("a", range(2, 42)))
        run(prices, either_dsn, tmp_path)
    assert closes(either_dsn) == list(range(1, 41) if mode == "append" else range(2, 42))
    with psycopg.connect(either_dsn) as connection:
        assert storage.drift(connection, prices) == []


def test_rows_that_a_function_makes_and_leaves_out_are_counted(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import polars as pl\n\ndef each_twice(frame):\n"
        "    kept = frame.filter(pl.col('volume') > 0)\n"
        "    return pl.concat([kept, kept.with_columns(code=pl.lit('twin'))])\n"
        "\ndef first(frame):\n    return frame.head(1)\n"
    )
    calls = "handlers: [{call: {function: .mine.each_twice}}, {call: {function: .mine.first}}]\n"
    prices = flow(tmp_path, PRICES + calls)
    deliver(tmp_path, "a.csv", lines("a", [1, 2]))
    (unit,) = run(prices, dsn, tmp_path).units
    assert (unit.read, unit.rows, unit.rejected, unit.skipped) == (4, 1, 0, 3)
    with psycopg.connect(dsn) as connection:
        assert checks.every_row_accounted(connection, prices).passed
        [entry] = [one for one in status.entries(connection, prices, tmp_path) if one.file == "a.csv"]
    assert (entry.read, entry.loaded, entry.duplicates, entry.left_out) == (4, 1, 0, 3)
    assert entry.balanced


def test_other_bytes_of_the_same_size_and_time_are_loaded(dsn: str, tmp_path: Path) -> None:
    prices = loaded(dsn, tmp_path, a=[1, 2])
    stat = (tmp_path / "a.csv").stat()
    with psycopg.connect(dsn) as connection:
        assert running.outdated(connection, prices, tmp_path) == []
        (tmp_path / "a.csv").write_text(lines("a", [1, 3]))
        os.utime(tmp_path / "a.csv", ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as rsync -t and cp -p do
        assert [unit.place for unit in running.outdated(connection, prices, tmp_path)] == ["a.csv"]
    assert run(prices, dsn, tmp_path).rows == 2
    assert closes(dsn) == [1, 3]
    (tmp_path / "a.csv").chmod(0o640)
    assert run(prices, dsn, tmp_path).units == ()
    with psycopg.connect(dsn) as connection:
        assert running.outdated(connection, prices, tmp_path) == []


def test_a_loaded_file_with_a_time_of_the_future_is_not_due_until_it_changes(dsn: str, tmp_path: Path) -> None:
    """As of a server whose clock is ahead, or of an archive."""
    prices = flow(tmp_path)
    future = deliver(tmp_path, "a.csv", lines("a", (1, 2)), iter([4_000_000_000]))
    assert not run(prices, dsn, tmp_path).failed
    with psycopg.connect(dsn) as connection:
        assert running.outdated(connection, prices, tmp_path) == []
        future.write_text(lines("a", (1, 3)))
        assert [unit.place for unit in running.outdated(connection, prices, tmp_path)] == ["a.csv"]


def test_lines_that_a_rule_leaves_out_are_no_duplicates(dsn: str, tmp_path: Path) -> None:
    text = PRICES.replace("loader:", 'loader:\n  drop: "^Total"').replace("upsert\n  key: [code, day]", "append")
    prices = flow(tmp_path, text)
    for name in ("a.csv", "b.csv"):
        deliver(tmp_path, name, lines("a", [1, 2]) + "Total,,3,200\n")
    run(prices, dsn, tmp_path)
    with psycopg.connect(dsn) as connection:
        found = [one for one in status.entries(connection, prices, tmp_path) if one.file.endswith(".csv")]
    assert [(one.read, one.loaded, one.duplicates, one.left_out) for one in found] == [(3, 2, 0, 1), (3, 0, 3, 0)]
    assert all(one.balanced for one in found)


def test_forgetting_an_archive_forgets_its_members(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, PRICES.replace("loader:", 'loader:\n  glob: "*.zip"'))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for code in "ab":
            archive.writestr(f"{code}.csv", lines(code, [1]))
    run(prices, dsn, tmp_path)
    with psycopg.connect(dsn) as connection:
        assert [(one.unit, one.rows) for one in forget(connection, prices, ["all.zip"])] == [
            ("all.zip!a.csv", 1),
            ("all.zip!b.csv", 1),
        ]
    assert rows(dsn) == []


@pytest.mark.parametrize(
    ("columns", "first", "reason"),
    [
        ("code: text, day: date, close: double", "A\0B,2024-01-02,1", "code holds a NUL"),
        ("code: 'text[]', day: date, close: double", "A\0B,2024-01-02,1", "code holds a NUL"),
        (
            "code: text, day: date, close: double",
            "A,2024-\0,1",
            r"day '2024-\x00' is no date (YYYY-MM-DD, YYYY/MM/DD or",
        ),
        ("code: text, day: date, close: double", "A,2024-01-02,1\0", r"close '1\x00' is no number"),
    ],
)
def test_a_row_with_a_nul_is_rejected_alone(dsn: str, tmp_path: Path, columns: str, first: str, reason: str) -> None:
    table = f"target: {{table: prices, mode: replace, columns: {{{columns}}}}}\n"
    prices = flow(tmp_path, "loader: {columns: [code, day, close], types: {day: date, close: double}}\n" + table)
    deliver(tmp_path, "a.csv", f"code,day,close\n{first}\n" + "A,2024-01-02,1\n" * 999)
    report = run(prices, dsn, tmp_path)
    assert (report.failed, report.rows, report.rejected) == ((), 999, 1)
    [(unit, line, said, raw)] = quarantined(dsn)
    assert (unit, line, said.startswith(reason), raw) == ("a.csv", 2, True, first.replace("\0", "\\0"))


HYPERTABLE = PRICES.replace("  key: [code, day]\n", "  key: [code, day]\n  hypertable: day\n")


def compress(dsn: str) -> None:
    """Compress every chunk, and let no transaction decompress more than one row but those that lift the limit."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        limit = "SET timescaledb.max_tuples_decompressed_per_dml_transaction = 1"
        connection.execute(f'ALTER DATABASE "{connection.info.dbname}" {limit}'.encode())
        connection.execute("ALTER TABLE prices SET (timescaledb.compress, timescaledb.compress_segmentby = 'code')")
        connection.execute("SELECT compress_chunk(c) FROM show_chunks('prices') c")


@pytest.mark.parametrize("mode", ["upsert", "replace"])
def test_a_delivery_into_compressed_chunks_ends_in_the_same_rows(timescale_dsn: str, tmp_path: Path, mode: str) -> None:
    prices = loaded(timescale_dsn, tmp_path, HYPERTABLE.replace("upsert", mode), a=[1, 2, 3, 4], b=[7, 8])
    compress(timescale_dsn)
    deliver(tmp_path, "a.csv", lines("a", [1, 20, 30, 40, 50]))
    assert run(prices, timescale_dsn, tmp_path).failed == ()
    assert closes(timescale_dsn) == [1, 20, 30, 40, 50]
    assert closes(timescale_dsn, "b") == [7, 8]


def test_the_rows_of_a_forgotten_file_are_deleted_from_compressed_chunks(timescale_dsn: str, tmp_path: Path) -> None:
    prices = loaded(timescale_dsn, tmp_path, HYPERTABLE, a=[1, 2, 3, 4], b=[7, 8])
    compress(timescale_dsn)
    with psycopg.connect(timescale_dsn) as connection:
        assert [forgotten.rows for forgotten in forget(connection, prices, ["a.csv"])] == [4]
    assert closes(timescale_dsn) == []
    assert closes(timescale_dsn, "b") == [7, 8]
