"""A flow whose target is a folder of Parquet files: one for each unit, old or new and never both."""

import datetime as dt
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import polars as pl
import psycopg
import pytest
from dying import DATABASE_STEPS, Load, server
from flow_files import HEADER, PRICES, deliver, flow, lines, metadata, only_error, run

from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.fanout import Fanout
from marketdata_assets.flows import checks, status
from marketdata_assets.flows import run as running
from marketdata_assets.flows.definition import FlowDefinition, parse, read
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.forget import forget
from marketdata_assets.flows.rebuild import rebuild
from marketdata_assets.flows.targets import contents
from marketdata_assets.flows.targets.parquet_folder import file_name
from marketdata_assets.loading.errors import CannotForget
from marketdata_assets.stores.bookkeeping import Finding

REPLACE = PRICES.replace("mode: upsert", "mode: replace\n  kind: parquet\n  folder: lake")
APPEND = REPLACE.replace("mode: replace", "mode: append")
STEPS = (*DATABASE_STEPS, (Path, "replace"), (os, "fsync"), (pl.LazyFrame, "sink_parquet"), (Path, "unlink"))
EXPECTED = """quality:
  columns:
    close: {min: 2, not_null: true, mean: {by: day, share: 0.5}}
    code: {matches: "^[a-z]$", one_of: [a, b]}
    day: {unique: true, max: 2024-01-02}
    volume: {increasing_by: day, within: [code]}
  rows: {by: day, share: 0.1}
"""


def doomed(file: str, dsn: str, folder: str) -> None:
    run(read(Path(file)), dsn, Path(folder))


@pytest.fixture(scope="module")
def survived() -> Iterator[Load]:
    with server(Path(__file__)) as load:
        yield load


def lake(folder: Path) -> pl.DataFrame:
    """What a reader of the folder sees."""
    return pl.read_parquet(folder / "lake" / "prices" / "*.parquet").sort("code", "day")


def closes(folder: Path, code: str = "a") -> list[int]:
    return [int(close) for close in lake(folder).filter(pl.col("code") == code)["close"]]


def stale(prices: FlowDefinition, dsn: str, folder: Path) -> list[str]:
    with psycopg.connect(dsn) as connection:
        return [unit.place for unit in running.outdated(connection, prices, folder)]


def accounted(prices: FlowDefinition, dsn: str) -> Finding:
    with psycopg.connect(dsn) as connection:
        return checks.every_row_accounted(connection, prices)


def test_each_unit_is_a_file_with_the_declared_types(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, REPLACE)
    deliver(tmp_path, "x/a.csv", lines("a", ["1.2345", ""]))
    deliver(tmp_path, "贵州.csv", HEADER)
    assert run(prices, dsn, tmp_path).rows == 2
    assert sorted(path.name for path in (tmp_path / "lake/prices").iterdir()) == [
        "x%2Fa.csv.parquet",
        "贵州.csv.parquet",
    ]
    assert lake(tmp_path).schema == {
        "code": pl.String(),
        "day": pl.Date(),
        "close": pl.Decimal(16, 4),
        "volume": pl.Int64(),
    }
    assert lake(tmp_path).rows() == [
        ("a", dt.date(2024, 1, 1), Decimal("1.2345"), 100),
        ("a", dt.date(2024, 1, 2), None, 100),
    ]
    assert not run(prices, dsn, tmp_path).units


def test_every_type_is_in_parquet_as_it_is_in_postgres(dsn: str, tmp_path: Path) -> None:
    kinds = {
        "n": "numeric(38,10)",
        "m": "numeric(5,2)",
        "i": "integer",
        "f": "double",
        "t": "timestamp",
        "z": "timestamptz",
        "b": "boolean",
        "l": "text[]",
    }
    columns = ", ".join(f'{name}: "{kind}"' for name, kind in kinds.items())
    loaded = columns.replace(', l: "text[]"', "")
    names = ", ".join(f"{name}: {name}" for name in kinds if name != "l")
    text = (
        f"loader: {{columns: {{{names}}}, types: {{{loaded}}}}}\n"
        "handlers: [{flag: {column: l, flags: {big: n > 1}}}]\n"
        f"target: {{table: kinds, mode: append, columns: {{{columns}}}"
    )
    row = (
        "1234567890123456789012345678.0123456789,-0.05,-7,0.1,2024-01-02 03:04:05.000006,2024-01-02 08:00+08:00,true\n"
    )
    deliver(tmp_path, "k.csv", "n,m,i,f,t,z,b\n" + row + ",,,,,,\n")
    run(flow(tmp_path, f"{text}}}\n", "kinds"), dsn, tmp_path)
    run(flow(tmp_path, f"{text}, kind: parquet, folder: lake}}\n", "others"), dsn, tmp_path)
    with psycopg.connect(dsn) as connection:
        expected = connection.execute("SELECT n, m, i, f, t, z, b, l FROM kinds ORDER BY n").fetchall()
    found = pl.read_parquet(tmp_path / "lake/kinds/*.parquet").sort("n", nulls_last=True)
    assert found.rows() == expected
    assert found.schema["n"] == pl.Decimal(38, 10)


def test_replace_takes_the_rows_that_a_file_has_now(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, REPLACE)
    deliver(tmp_path, "a.csv", lines("a", [1, 2, 3]))
    deliver(tmp_path, "b.csv", lines("b", [4]))
    run(prices, dsn, tmp_path)
    deliver(tmp_path, "a.csv", lines("a", [7]))
    assert run(prices, dsn, tmp_path).rows == 1
    assert (closes(tmp_path), closes(tmp_path, "b")) == ([7], [4])
    assert accounted(prices, dsn).passed


def test_append_never_replaces_and_adds_the_same_bytes_once(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, APPEND.replace("  key: [code, day]\n", ""))
    deliver(tmp_path, "a.csv", lines("a", [1]))
    deliver(tmp_path, "copy.csv", lines("a", [1]))
    run(prices, dsn, tmp_path)
    assert closes(tmp_path) == [1]
    deliver(tmp_path, "a.csv", lines("a", [2]))
    assert "changed after its rows were appended" in only_error(prices, dsn, tmp_path)
    assert closes(tmp_path) == [1]
    assert accounted(prices, dsn).passed


@pytest.mark.parametrize("text", [REPLACE, APPEND], ids=["replace", "append"])
def test_a_changed_declaration_writes_every_file_again(dsn: str, tmp_path: Path, text: str) -> None:
    deliver(tmp_path, "a.csv", lines("a", [1]))
    run(flow(tmp_path, text), dsn, tmp_path)
    changed = flow(tmp_path, text.replace('close: "numeric(16,4)", volume: bigint}\n', "close: double}\n"))
    assert stale(changed, dsn, tmp_path) == ["a.csv"]
    with psycopg.connect(dsn) as connection:
        assert checks.no_drift(connection, changed).count == 1
    assert not run(changed, dsn, tmp_path).failed
    assert lake(tmp_path).schema == {"code": pl.String(), "day": pl.Date(), "close": pl.Float64()}


def test_a_file_that_is_missing_or_another_is_written_again(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, APPEND)
    for code in "abc":
        deliver(tmp_path, f"{code}.csv", lines(code, [1]))
    run(prices, dsn, tmp_path)
    expected = lake(tmp_path)
    (tmp_path / "lake/prices/a.csv.parquet").unlink()
    expected.head(0).write_parquet(tmp_path / "lake/prices/b.csv.parquet")
    assert stale(prices, dsn, tmp_path) == ["a.csv", "b.csv"]
    assert not accounted(prices, dsn).passed
    assert run(prices, dsn, tmp_path).rows == 2
    assert lake(tmp_path).equals(expected)
    assert accounted(prices, dsn).passed


def test_a_file_that_fails_keeps_its_rows(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, REPLACE)
    deliver(tmp_path, "a.csv", lines("a", [1]))
    run(prices, dsn, tmp_path)
    deliver(tmp_path, "a.csv", lines("a", ["junk"]))
    only_error(prices, dsn, tmp_path)
    assert closes(tmp_path) == [1]


def test_forget_deletes_the_file_of_a_unit(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, APPEND)
    deliver(tmp_path, "a.csv", lines("a", [1, 2]))
    deliver(tmp_path, "b.csv", lines("b", [3]))
    run(prices, dsn, tmp_path)
    (tmp_path / "a.csv").unlink()
    with psycopg.connect(dsn) as connection:
        with pytest.raises(CannotForget):
            forget(connection, prices, ["a.csv", "other.csv"])
        assert lake(tmp_path).height == 3
        assert [one.rows for one in forget(connection, prices, ["a.csv"])] == [2]
    assert (closes(tmp_path), closes(tmp_path, "b")) == ([], [3])
    assert accounted(prices, dsn).passed
    assert not run(prices, dsn, tmp_path).units


def test_checks_and_figures_are_those_of_a_table(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path, "a.csv", HEADER + "a,2024-01-01,1,5\na,2024-01-02,9,4\n")
    deliver(tmp_path, "b.csv", HEADER + "b,2024-01-02,,7\nX,2024-01-03,3,8\nb,2024-01-03,3,8\n")
    table = flow(tmp_path, PRICES.replace("mode: upsert", "mode: append") + EXPECTED)
    files = flow(tmp_path, APPEND + EXPECTED, "files")
    for one in (table, files):
        run(one, dsn, tmp_path)
    with psycopg.connect(dsn) as connection:
        for column, expected in table.quality.columns.items():
            of_table, of_files = (
                checks.column_as_expected(connection, one, column, expected) for one in (table, files)
            )
            assert (of_files.count, of_files.checked) == (of_table.count, of_table.checked)
            assert of_files.count, f"nothing is wrong with {column}"
            rows = [
                {(one["row"], one["expected"].split(".")[0]) for one in found.examples}
                for found in (of_table, of_files)
            ]
            assert rows[0] == rows[1]
        assert table.quality.rows
        assert [checks.rows_as_expected(connection, one, table.quality.rows).count for one in (table, files)] == [
            0,
            0,
        ]
        assert [contents.of(connection, one).count() for one in (table, files)] == [5, 5]
        assert contents.of(connection, files).last(2) == contents.of(connection, table).last(2)
        summaries = [status.summary(connection, one, tmp_path) for one in (table, files)]
        assert summaries[0].states == summaries[1].states


def test_a_key_in_two_files_is_found(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, REPLACE)
    for name in ("a.csv", "b.csv"):
        deliver(tmp_path, name, lines("a", [1]) + ("a,2024-03-01,2,3\n" if name == "a.csv" else ""))
    run(prices, dsn, tmp_path)
    with psycopg.connect(dsn) as connection:
        found = checks.keys_unique(connection, prices)
    assert (found.count, found.examples) == (1, ({"code": "a", "day": "2024-01-01", "times": "2"},))


def test_partitions_by_month_are_counted(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, REPLACE + "partitions: {month: day}\n")
    deliver(tmp_path, "a.csv", lines("a", range(40)))
    assert run(prices, dsn, tmp_path).loaded_months == ("2024-01", "2024-02")
    with psycopg.connect(dsn) as connection:
        assert contents.of(connection, prices).by_month(["2024-01", "2024-02", "2024-03"]) == {
            "2024-01": 31,
            "2024-02": 9,
            "2024-03": 0,
        }
        assert status.summary(connection, prices, tmp_path).newest == dt.date(2024, 2, 9)


def test_a_second_flow_does_not_load_into_the_folder(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path, "a.csv", lines("a", [1]))
    run(flow(tmp_path, REPLACE), dsn, tmp_path)
    with pytest.raises(FlowError, match="has the rows of flow prices"):
        run(flow(tmp_path, REPLACE, "other"), dsn, tmp_path)


def test_a_folder_is_not_rebuilt(dsn: str, tmp_path: Path) -> None:
    with pytest.raises(FlowError, match="--force"):
        rebuild(flow(tmp_path, REPLACE), dsn, tmp_path, run_id="rebuild", fanout=Fanout(1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("mode: replace", "mode: upsert"), "declare mode: replace"),
        (("  folder: lake\n", ""), "needs the folder"),
        (("kind: parquet\n", "kind: postgres\n"), "belongs to kind: parquet"),
        (("mode: replace", "mode: replace\n  hypertable: day"), "no chunks"),
        (("mode: replace", "mode: replace\n  timestamps: true"), "replaced as a whole"),
        (("mode: replace", "mode: replace\n  removed_rows: delete"), "is for mode upsert"),
        (("loader:\n", "loader:\n  new_columns: add\n"), "add needs kind: postgres"),
    ],
)
def test_what_a_folder_does_not_have_is_rejected_with_the_remedy(change: tuple[str, str], said: str) -> None:
    assert parse(REPLACE).target.kind == "parquet"
    with pytest.raises(InvalidConfigFile, match=said):
        parse(REPLACE.replace(*change))


def test_names_of_files_are_no_paths_and_differ() -> None:
    units = [
        "../a.csv",
        ".a.csv",
        "_a.csv",
        "a/b.csv",
        "a%2Fb.csv",
        "a b*[c]=?.csv",
        "a~b",
        "贵" * 100,
        "贵" * 101,
        "A" * 300,
    ]
    names = [file_name(unit) for unit in units]
    assert len(set(names)) == len(units)
    for name in names:
        assert not name.startswith((".", "_")) and "/" not in name
        assert len(name.encode()) <= 200


def first(folder: Path) -> None:
    deliver(folder, "a.csv", lines("a", range(1, 120)))
    deliver(folder, "b.csv", lines("b", [1, 2, 3]))


def second(folder: Path) -> None:
    deliver(folder, "a.csv", lines("a", [*range(2, 119), "junk"]))
    deliver(folder, "b.csv", lines("b", [7]))


def test_kill_before_any_step_leaves_each_file_old_or_new(dsn: str, tmp_path: Path, survived: Load) -> None:
    prices = flow(tmp_path, REPLACE)
    expected = {}
    for delivery in (second, first):
        delivery(tmp_path)
        run(prices, dsn, tmp_path)
        expected[delivery] = {code: closes(tmp_path, code) for code in "ab"}
    steps, ended = 0, 0
    while ended < 2:
        delivery, other = ((second, first), (first, second))[steps % 2]
        delivery(tmp_path)
        ended = ended + 1 if survived(prices.file, dsn, tmp_path, steps) else 0
        for code in "ab":
            assert closes(tmp_path, code) in (expected[delivery][code], expected[other][code])
        if steps % 3 == 0:  # the earlier delivery comes again: its rows are not taken for those of the table
            other(tmp_path)
            delivery = other
        assert not run(prices, dsn, tmp_path).failed
        assert {code: closes(tmp_path, code) for code in "ab"} == expected[delivery]
        assert not [path for path in (tmp_path / "lake/prices").iterdir() if path.suffix != ".parquet"]
        assert accounted(prices, dsn).passed
        steps += 1
    assert steps > 30


def test_rows_of_a_file_that_was_killed_and_taken_away_are_deleted(dsn: str, tmp_path: Path, survived: Load) -> None:
    """The first load of a file that never ended, and whose file is gone, leaves nothing."""
    prices = flow(tmp_path, REPLACE)
    deliver(tmp_path, "kept.csv", lines("b", [1]))
    run(prices, dsn, tmp_path)
    steps, left_behind = 0, 0
    while True:
        source = deliver(tmp_path, "gone.csv", lines("a", [1, 2]))
        if survived(prices.file, dsn, tmp_path, steps):
            break
        source.unlink()
        left_behind += bool(closes(tmp_path)) and metadata(dsn).get("gone.csv", {}).get("rows") is None
        run(prices, dsn, tmp_path)
        if metadata(dsn).get("gone.csv", {}).get("rows"):  # its transaction had ended
            with psycopg.connect(dsn) as connection:
                forget(connection, prices, ["gone.csv"])
        assert closes(tmp_path) == []
        assert accounted(prices, dsn).passed
        steps += 1
    assert left_behind, "no kill was between the file and the ledger"
