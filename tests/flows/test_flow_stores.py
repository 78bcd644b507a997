"""A flow whose target is a folder of Parquet files or a table of ClickHouse: of each unit readers see old or new rows.

The kills are those of a table in Postgres too.
"""

import datetime as dt
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest

from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.fanout import Fanout
from marketdata_assets.flows import checks, status
from marketdata_assets.flows import run as running
from marketdata_assets.flows.definition import FlowDefinition, parse, read
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.forget import forget
from marketdata_assets.flows.rebuild import rebuild
from marketdata_assets.flows.targets import clickhouse_table, contents
from marketdata_assets.flows.targets.parquet_folder import file_name
from marketdata_assets.loading.errors import CannotForget
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.bookkeeping import Finding
from tests.dying import DATABASE_STEPS, Load, server
from tests.flows.flow_files import HEADER, PRICES, Row, deliver, flow, lines, metadata, only_error, rows, run

KINDS = {"parquet": "kind: parquet\n  folder: lake", "clickhouse": "kind: clickhouse", "postgres": "timestamps: true"}
REPLACE = PRICES.replace("mode: upsert", "mode: replace\n  KIND")
APPEND = REPLACE.replace("mode: replace", "mode: append")
UPSERT = REPLACE.replace("mode: replace", "mode: upsert\n  removed_rows: delete")
BY_VOLUME = UPSERT.replace("mode: upsert", "mode: upsert\n  order_by: volume")
PARQUET_STEPS = ((Path, "replace"), (os, "fsync"), (pl.LazyFrame, "sink_parquet"), (Path, "unlink"))
STEPS = (*DATABASE_STEPS, *PARQUET_STEPS, (clickhouse, "insert"))
EXPECTED = """quality:
  columns:
    close: {min: 2, not_null: true, mean: {by: day, share: 0.5}}
    code: {matches: "^[a-z]$", one_of: [a, b]}
    day: {unique: true, max: 2024-01-02}
    volume: {increasing_by: day, within: [code]}
  rows: {by: day, share: 0.1}
"""


def doomed(file: str, dsn: str, folder: str, url: str) -> None:
    run(read(Path(file)).at(partial(str, url)), dsn, Path(folder))


@pytest.fixture(scope="module")
def survived() -> Iterator[Load]:
    with server(Path(__file__)) as load:
        yield load


@dataclass
class Store:
    """A kind of target, and what a reader of it sees; the files are delivered into `folder`."""

    kind: str
    dsn: str
    folder: Path
    url: str = ""

    def flow(self, text: str = REPLACE, name: str = "prices") -> FlowDefinition:
        return flow(self.folder, text.replace("KIND", KINDS[self.kind]), name).at(partial(str, self.url))

    def run(self, prices: FlowDefinition, **options: Any) -> running.FlowReport:
        return run(prices, self.dsn, self.folder, **options)

    def query(self, query: str) -> pl.DataFrame:
        with clickhouse.connect(self.url) as client:
            return clickhouse.read(client, query)

    def command(self, command: str) -> None:
        with clickhouse.connect(self.url) as client:
            client.command(command)

    def frame(self, table: str = "prices") -> pl.DataFrame:
        if self.kind == "parquet":
            return pl.read_parquet(self.folder / "lake" / table / "*.parquet")
        return self.query(f"SELECT * EXCEPT etl_file FROM {table}")

    def rows(self) -> list[Row]:
        return rows(self.dsn) if self.kind == "postgres" else self.frame().sort("code", "day", "close").rows()

    def closes(self, code: str = "a") -> list[int]:
        return [int(row[2]) for row in self.rows() if row[0] == code]

    def stale(self, prices: FlowDefinition) -> list[str]:
        with psycopg.connect(self.dsn) as connection:
            return [unit.place for unit in running.outdated(connection, prices, self.folder)]

    def accounted(self, prices: FlowDefinition) -> Finding:
        with psycopg.connect(self.dsn) as connection:
            return checks.every_row_accounted(connection, prices)

    def forget(self, prices: FlowDefinition, *names: str) -> list[int]:
        with psycopg.connect(self.dsn) as connection:
            return [one.rows for one in forget(connection, prices, names)]

    def loads(self) -> int:
        """How many loads have rows in ClickHouse, those that nobody sees included."""
        return self.query("SELECT DISTINCT etl_file, etl_load FROM prices_rows").height

    def lose(self) -> Iterator[list[str]]:
        """Rows of a.csv, then of b.csv, are no longer those that were loaded; which files that makes stale."""
        if self.kind == "parquet":
            (self.folder / "lake/prices/a.csv.parquet").unlink()
            yield ["a.csv"]
            self.frame().head(0).write_parquet(self.folder / "lake/prices/b.csv.parquet")
            yield ["b.csv"]
        else:
            self.command("DELETE FROM prices_rows WHERE code = 'a'")
            yield ["a.csv"]
            self.command("DROP TABLE prices_rows")
            yield ["a.csv", "b.csv"]


@pytest.fixture
def place(dsn: str, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], Store]:
    def made(kind: str) -> Store:
        url = request.getfixturevalue("clickhouse_url") if kind == "clickhouse" else ""
        return Store(kind, dsn, tmp_path, url)

    return made


@pytest.fixture(params=["parquet", "clickhouse"])
def store(place: Callable[[str], Store], request: pytest.FixtureRequest) -> Store:
    return place(request.param)


@pytest.fixture(params=["parquet", "clickhouse", "postgres"])
def any_store(place: Callable[[str], Store], request: pytest.FixtureRequest) -> Store:
    return place(request.param)


def test_each_unit_is_a_file_with_the_declared_types(place: Callable[[str], Store]) -> None:
    lake = place("parquet")
    prices = lake.flow()
    deliver(lake.folder, "x/a.csv", lines("a", ["1.2345", ""]))
    deliver(lake.folder, "贵州.csv", HEADER)
    assert lake.run(prices).rows == 2
    names = sorted(path.name for path in (lake.folder / "lake/prices").iterdir())
    assert names == ["x%2Fa.csv.parquet", "贵州.csv.parquet"]
    kinds = {"code": pl.String(), "day": pl.Date(), "close": pl.Decimal(16, 4), "volume": pl.Int64()}
    assert lake.frame().schema == kinds
    days = (dt.date(2024, 1, 1), dt.date(2024, 1, 2))
    assert lake.rows() == [("a", days[1], None, 100), ("a", days[0], Decimal("1.2345"), 100)][::-1]
    assert not lake.run(prices).units


def test_rows_in_clickhouse_have_their_file_and_what_nobody_sees_is_deleted(place: Callable[[str], Store]) -> None:
    table = place("clickhouse")
    prices = table.flow()
    deliver(table.folder, "x/贵州.csv", lines("a", ["1.2345"]))
    deliver(table.folder, "empty.csv", HEADER)
    assert table.run(prices).rows == 1
    row = ("a", dt.date(2024, 1, 1), Decimal("1.2345"), 100, "x/贵州.csv")
    assert table.query("SELECT * FROM prices").rows() == [row]
    deliver(table.folder, "x/贵州.csv", lines("a", [2]))
    table.run(prices)
    assert table.loads() == 2
    table.run(prices)
    assert table.loads() == 1
    assert table.accounted(prices).passed


def test_every_type_is_as_it_is_in_postgres(store: Store) -> None:
    kinds = {"n": "numeric(38,10)", "m": "numeric(5,2)", "i": "integer", "f": "double", "t": "timestamp"}
    kinds |= {"z": "timestamptz", "b": "boolean", "d": "date", "s": "text"}
    columns = ", ".join(f'{name}: "{kind}"' for name, kind in kinds.items())
    text = (
        f"loader: {{columns: [{', '.join(kinds)}], types: {{{columns}}}}}\n"
        "handlers: [{flag: {column: l, flags: {big: n > 1}}}]\n"
        f'target: {{table: kinds, mode: append, columns: {{{columns}, l: "text[]"}}'
    )
    row = "1234567890123456789012345678.0123456789,-0.05,-7,0.1,2024-01-02 03:04:05.000006,2024-01-02 08:00+08:00,true,"
    deliver(store.folder, "k.csv", f"{','.join(kinds)}\n{row}1990-12-19,股票\n,,,,,,,,\n")
    store.run(flow(store.folder, f"{text}}}\n", "kinds"))
    store.run(store.flow(f"{text}, {KINDS[store.kind].replace(chr(10), ',')}}}\n", "others"))
    expected = rows(store.dsn, f"SELECT {', '.join(kinds)}, l FROM kinds ORDER BY n")
    found = store.frame("kinds").sort("n", nulls_last=True).rows()
    assert [[*map(_naive, one)] for one in found] == [[*map(_naive, one)] for one in expected]


def _naive(value: object) -> object:
    """ClickHouse has no times without a zone: those are kept as UTC."""
    return value.astimezone(dt.UTC).replace(tzinfo=None) if isinstance(value, dt.datetime) and value.tzinfo else value


@pytest.mark.parametrize("key", ["key: [code, day]", "key: []"])
def test_replace_takes_the_rows_that_a_file_has_now(any_store: Store, key: str) -> None:
    prices = any_store.flow(REPLACE.replace("key: [code, day]", key))
    deliver(any_store.folder, "a.csv", lines("a", [1, 2, 3]))
    deliver(any_store.folder, "b.csv", lines("b", [4]))
    any_store.run(prices)
    deliver(any_store.folder, "a.csv", lines("a", [1, 20]))
    assert any_store.run(prices).rows == 2
    assert (any_store.closes(), any_store.closes("b")) == ([1, 20], [4])
    assert any_store.accounted(prices).passed


def test_append_never_replaces_and_adds_the_same_bytes_once(any_store: Store) -> None:
    prices = any_store.flow(APPEND.replace("  key: [code, day]\n", ""))
    deliver(any_store.folder, "a.csv", lines("a", [1]))
    deliver(any_store.folder, "copy.csv", lines("a", [1]))
    for force in (False, True):
        assert any_store.run(prices, force=force).failed == ()
        assert any_store.closes() == [1]
    deliver(any_store.folder, "a.csv", lines("a", [2]))
    assert "changed after its rows were appended" in only_error(prices, any_store.dsn, any_store.folder)
    assert any_store.closes() == [1]
    assert metadata(any_store.dsn)["a.csv"]["status"] == "failed"
    assert any_store.accounted(prices).passed


@pytest.mark.parametrize("text", [REPLACE, APPEND], ids=["replace", "append"])
def test_a_changed_declaration_writes_every_file_again(place: Callable[[str], Store], text: str) -> None:
    lake = place("parquet")
    deliver(lake.folder, "a.csv", lines("a", [1]))
    lake.run(lake.flow(text))
    changed = lake.flow(text.replace('close: "numeric(16,4)", volume: bigint}\n', "close: double}\n"))
    assert lake.stale(changed) == ["a.csv"]
    with psycopg.connect(lake.dsn) as connection:
        assert checks.no_drift(connection, changed).count == 1
    assert not lake.run(changed).failed
    assert lake.frame().schema == {"code": pl.String(), "day": pl.Date(), "close": pl.Float64()}


def test_a_new_column_is_added_to_clickhouse_and_another_type_is_an_error(place: Callable[[str], Store]) -> None:
    table = place("clickhouse")
    deliver(table.folder, "a.csv", lines("a", [1]))
    table.run(table.flow(REPLACE.replace(", volume: bigint}\n", "}\n")))
    prices = table.flow()
    with psycopg.connect(table.dsn) as connection:
        assert checks.no_drift(connection, prices).count == 1
    assert table.run(prices).rows == 1
    assert table.rows() == [("a", dt.date(2024, 1, 1), Decimal(1), 100)]
    with pytest.raises(FlowError, match="drop prices and prices_rows there"):
        table.run(table.flow(REPLACE.replace("volume: bigint}\n", "volume: text}\n")))


def test_rows_that_somebody_deleted_or_changed_are_loaded_again(store: Store) -> None:
    prices = store.flow(APPEND)
    for code in "ab":
        deliver(store.folder, f"{code}.csv", lines(code, [1]))
    store.run(prices)
    expected = store.rows()
    for stale in store.lose():
        assert store.stale(prices) == stale
        assert not (store.accounted(prices).passed and stale == ["a.csv"])
        assert store.run(prices).rows == len(stale)
        assert store.rows() == expected
        assert store.accounted(prices).passed


def test_rejected_rows_of_a_file_whose_rows_were_lost_go_with_them(store: Store) -> None:
    prices = store.flow()
    deliver(store.folder, "a.csv", lines("a", [*range(1, 119), "junk"]))
    deliver(store.folder, "b.csv", lines("b", [1]))
    store.run(prices)
    for stale in store.lose():
        assert "a.csv" in stale
        deliver(store.folder, "a.csv", lines("a", range(1, 119)))
        store.run(prices)
        assert store.accounted(prices).passed
        break


def test_a_file_that_fails_keeps_its_rows(store: Store) -> None:
    prices = store.flow()
    deliver(store.folder, "a.csv", lines("a", [1]))
    store.run(prices)
    deliver(store.folder, "a.csv", lines("a", ["junk"]))
    only_error(prices, store.dsn, store.folder)
    assert store.closes() == [1]


def test_forget_deletes_the_rows_of_a_unit(store: Store) -> None:
    prices = store.flow(APPEND)
    deliver(store.folder, "a.csv", lines("a", [1, 2]))
    deliver(store.folder, "b.csv", lines("b", [3]))
    store.run(prices)
    (store.folder / "a.csv").unlink()
    with pytest.raises(CannotForget):
        store.forget(prices, "a.csv", "other.csv")
    assert len(store.rows()) == 3
    assert store.forget(prices, "a.csv") == [2]
    with psycopg.connect(store.dsn) as connection:
        assert forget(connection, prices, ["a.csv"], missing_ok=True) == [], "another run was first"
    assert (store.closes(), store.closes("b")) == ([], [3])
    assert store.accounted(prices).passed
    assert not store.run(prices).units


def test_checks_and_figures_are_those_of_a_table(store: Store) -> None:
    deliver(store.folder, "a.csv", HEADER + "a,2024-01-01,1,5\na,2024-01-02,9,4\n")
    deliver(store.folder, "b.csv", HEADER + "b,2024-01-02,,7\nX,2024-01-03,3,8\nb,2024-01-03,3,8\n")
    table = flow(store.folder, PRICES.replace("mode: upsert", "mode: append") + EXPECTED, "table")
    both = (table, store.flow(APPEND + EXPECTED))
    for one in both:
        store.run(one)
    with psycopg.connect(store.dsn) as connection:
        for column, expected in table.quality.columns.items():
            of_table, found = (checks.column_as_expected(connection, one, column, expected) for one in both)
            assert (found.count, found.checked) == (of_table.count, of_table.checked)
            assert found.count, f"nothing is wrong with {column}"
            named = [{(e["row"], e["expected"].split(".")[0]) for e in one.examples} for one in (of_table, found)]
            assert named[0] == named[1] or found.count > len(found.examples)  # of many the first, in any order
        assert table.quality.rows
        assert [checks.rows_as_expected(connection, one, table.quality.rows).count for one in both] == [0, 0]
        assert [contents.of(connection, one).count() for one in both] == [5, 5]
        last = [contents.of(connection, one).last(2) for one in both]
        assert last[0] == last[1]
        states = [status.summary(connection, one, store.folder).states for one in both]
        assert states[0] == states[1]


def test_a_key_in_two_files_is_found(store: Store) -> None:
    prices = store.flow()
    for name in ("a.csv", "b.csv"):
        deliver(store.folder, name, lines("a", [1]) + ("a,2024-03-01,2,3\n" if name == "a.csv" else ""))
    store.run(prices)
    with psycopg.connect(store.dsn) as connection:
        found = checks.keys_unique(connection, prices)
    assert (found.count, found.examples) == (1, ({"code": "a", "day": "2024-01-01", "times": "2"},))


def test_partitions_by_month_are_counted(store: Store) -> None:
    prices = store.flow(REPLACE + "partitions: {month: day}\n")
    deliver(store.folder, "a.csv", lines("a", range(40)))
    assert store.run(prices).loaded_months == ("2024-01", "2024-02")
    with psycopg.connect(store.dsn) as connection:
        counts = contents.of(connection, prices).by_month(["2024-01", "2024-02", "2024-03"])
        assert counts == {"2024-01": 31, "2024-02": 9, "2024-03": 0}
        summary = status.summary(connection, prices, store.folder)
    assert (summary.rows, summary.newest) == (40, dt.date(2024, 2, 9))


def test_a_second_flow_does_not_load_into_it_and_it_is_not_rebuilt(store: Store) -> None:
    deliver(store.folder, "a.csv", lines("a", [1]))
    prices = store.flow()
    store.run(prices)
    with pytest.raises(FlowError, match="has the rows of flow prices"):
        store.run(store.flow(REPLACE, "other"))
    with pytest.raises(FlowError, match="--force"):
        rebuild(prices, store.dsn, store.folder, run_id="rebuild", fanout=Fanout(1))


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 2, 0]])
def test_the_last_file_by_name_wins_in_any_order_of_loading(place: Callable[[str], Store], order: list[int]) -> None:
    table = place("clickhouse")
    prices = table.flow(UPSERT)
    names = ["day_2.csv", "day_10.csv", "day_11.csv"]
    for number in order:
        deliver(table.folder, names[number], lines("a", [number]) + f"a,2024-05-0{number + 1},5,5\n")
        table.run(prices)
    assert table.closes() == [2, 5, 5, 5]
    (table.folder / "day_11.csv").unlink()
    table.forget(prices, "day_11.csv")
    assert table.closes() == [1, 5, 5]
    assert table.accounted(prices).passed
    with psycopg.connect(table.dsn) as connection:
        assert checks.keys_unique(connection, prices).passed


def test_a_column_may_order_rows(place: Callable[[str], Store]) -> None:
    table = place("clickhouse")
    deliver(table.folder, "a.csv", HEADER + "a,2024-01-01,1,30\n")
    deliver(table.folder, "b.csv", HEADER + "a,2024-01-01,2,4\n")
    table.run(table.flow(BY_VOLUME))
    assert table.closes() == [1]


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("parquet", ("mode: replace", "mode: upsert"), "declare mode: replace"),
        ("parquet", ("  folder: lake\n", ""), "needs the folder"),
        ("parquet", ("kind: parquet\n", "kind: postgres\n"), "belongs to kind: parquet"),
        ("parquet", ("mode: replace", "mode: replace\n  hypertable: day"), "no chunks"),
        ("parquet", ("mode: replace", "mode: replace\n  timestamps: true"), "replaced as a whole"),
        ("parquet", ("mode: replace", "mode: replace\n  removed_rows: delete"), "is for mode upsert"),
        ("parquet", ("loader:\n", "loader:\n  new_columns: add\n"), "add needs kind: postgres"),
        ("clickhouse", ("mode: replace", "mode: upsert"), "declare removed_rows: delete"),
        (
            "clickhouse",
            ("mode: replace", "mode: upsert\n  removed_rows: delete\n  order_by: file time"),
            "order by a column",
        ),
        ("clickhouse", ("kind: clickhouse", "kind: clickhouse\n  folder: lake"), "belongs to kind: parquet"),
        ("clickhouse", ("mode: replace", "mode: replace\n  hypertable: day"), "ClickHouse has none"),
        ("clickhouse", ("loader:\n", "loader:\n  new_columns: add\n"), "add needs kind: postgres"),
    ],
)
def test_what_a_kind_does_not_have_is_rejected_with_the_remedy(kind: str, change: tuple[str, str], said: str) -> None:
    text = REPLACE.replace("KIND", KINDS[kind])
    assert parse(text).target.kind == kind
    with pytest.raises(InvalidConfigFile, match=said):
        parse(text.replace(*change))


def test_a_flow_without_an_address_says_so(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path, "a.csv", lines("a", [1]))
    with pytest.raises(FlowError, match="of kind clickhouse"):
        run(flow(tmp_path, REPLACE.replace("KIND", KINDS["clickhouse"])), dsn, tmp_path)


def test_names_sort_with_their_numbers_by_value() -> None:
    names = ["b_1.csv", "a_10/b.csv", "a_10.csv", "a_2.csv"]
    assert sorted(names, key=clickhouse_table._sortable) == names[::-1]


def test_names_of_files_are_no_paths_and_differ() -> None:
    units = ["../a.csv", ".a.csv", "_a.csv", "a/b.csv", "a%2Fb.csv", "a b*[c]=?.csv", "a~b"]
    units += ["贵" * 100, "贵" * 101, "A" * 300]
    names = [file_name(unit) for unit in units]
    assert len(set(names)) == len(units)
    for name in names:
        assert not name.startswith((".", "_")) and "/" not in name
        assert len(name.encode()) <= 200


def first(folder: Path) -> None:
    deliver(folder, "a.csv", lines("a", range(1, 120)))
    deliver(folder, "b.csv", lines("b", [1, 2, 3]))


def second(folder: Path) -> None:
    """One file with a row less, other prices and, within the limit, a rejected row; the other with one row."""
    deliver(folder, "a.csv", lines("a", [*range(2, 119), "junk"]))
    deliver(folder, "b.csv", lines("b", [7]))


@pytest.mark.parametrize("stride", [47, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        pytest.param("postgres", PRICES, id="upsert"),
        pytest.param("postgres", REPLACE, id="replace", marks=pytest.mark.slow),
        pytest.param("parquet", REPLACE, id="parquet"),
        pytest.param("clickhouse", REPLACE, id="clickhouse"),
    ],
)
def test_kill_before_any_step_leaves_each_file_old_or_new(
    place: Callable[[str], Store], survived: Load, kind: str, text: str, stride: int
) -> None:
    store = place(kind)
    prices, folder = store.flow(text), store.folder
    with psycopg.connect(store.dsn, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{connection.info.dbname}" SET synchronous_commit = off')
    expected = {}
    for delivery in (first, second, first):
        delivery(folder)
        store.run(prices)
        expected[delivery] = by_code(store.rows())
    steps, ended = 0, 0
    while ended < 2:
        delivery, other = ((second, first), (first, second))[steps // stride % 2]
        delivery(folder)
        ended = ended + 1 if survived(prices.file, store.dsn, folder, store.url, steps) else 0
        now, known = by_code(store.rows()), metadata(store.dsn)
        for code in "ab":
            assert now[code] in (expected[delivery][code], expected[other][code]), f"{code} is half loaded"
            if kind == "postgres" and text is REPLACE:
                assert known[f"{code}.csv"]["rows"] == len(now[code])
        if kind != "postgres" and steps % 3 == 0:  # an earlier delivery returns: its rows are not taken for the table's
            other(folder)
            delivery = other
        assert not store.run(prices).failed
        assert by_code(store.rows()) == expected[delivery]
        assert store.accounted(prices).passed
        if kind == "parquet":
            assert not [path for path in (folder / "lake/prices").iterdir() if path.suffix != ".parquet"]
        steps += stride
    assert steps > 30
    store.run(prices)
    assert kind != "clickhouse" or store.loads() == 2, "the next run deletes what nobody sees"


@pytest.mark.parametrize("order", ["renamed first", "declared first"])
def test_a_file_that_was_renamed_is_in_the_table_once_under_another_declaration(any_store: Store, order: str) -> None:
    text = REPLACE.replace("key: [code, day]", "key: []")
    before = deliver(any_store.folder, "z.csv", lines("a", [1, 2]))
    copied = deliver(any_store.folder, "copied.csv", lines("a", [1, 2]))
    kept = deliver(any_store.folder, "kept.csv", lines("b", [3]))
    any_store.run(any_store.flow(text))
    copied.unlink()
    kept.unlink()  # its rows stay, by removed_rows: keep
    before.rename(any_store.folder / "a.csv")
    if order == "renamed first":
        any_store.run(any_store.flow(text))
    prices = any_store.flow(text.replace("loader:\n", "loader:\n  missing: ['-']\n"))
    report = any_store.run(prices)
    assert any_store.closes() == [1, 2]
    assert any_store.closes("b") == [3]
    assert [one.rows for one in report.forgotten if one.rows] == [2]
    assert not any_store.run(prices).units
    with psycopg.connect(any_store.dsn) as connection:
        assert checks.every_row_accounted(connection, prices).passed
        assert checks.no_drift(connection, prices).passed


def test_only_a_file_with_the_bytes_of_a_present_one_is_forgotten_as_renamed(dsn: str, tmp_path: Path) -> None:
    """A file that is gone and one that failed, both to be loaded again, have no bytes on record."""
    text = REPLACE.replace("key: [code, day]", "key: []").replace("KIND", "")
    gone = deliver(tmp_path, "gone.csv", lines("a", [1]))
    deliver(tmp_path, "here.csv", lines("b", [2]))
    run(flow(tmp_path, text), dsn, tmp_path)
    gone.unlink()
    deliver(tmp_path, "here.csv", "nothing")
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE marketdata_ledger SET (content_hash, previous_hash) = (NULL, content_hash)")
    report = run(flow(tmp_path, text), dsn, tmp_path)
    assert (len(report.failed), report.forgotten) == (1, ())
    assert [row[0] for row in rows(dsn)] == ["a", "b"]


def by_code(found: list[Row]) -> dict[object, list[Row]]:
    return {code: [row for row in found if row[0] == code] for code in "ab"}


@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_rows_of_a_file_that_was_killed_and_taken_away_are_deleted(
    place: Callable[[str], Store], survived: Load, stride: int
) -> None:
    """The first load of a file that never ended, and whose file is gone, leaves nothing."""
    lake = place("parquet")
    prices = lake.flow()
    deliver(lake.folder, "kept.csv", lines("b", [1]))
    lake.run(prices)
    steps, left_behind = 0, 0
    while True:
        source = deliver(lake.folder, "gone.csv", lines("a", [1, 2]))
        if survived(prices.file, lake.dsn, lake.folder, lake.url, steps):
            break
        source.unlink()
        left_behind += bool(lake.closes()) and metadata(lake.dsn).get("gone.csv", {}).get("rows") is None
        lake.run(prices)
        if metadata(lake.dsn).get("gone.csv", {}).get("rows"):  # its transaction had ended
            lake.forget(prices, "gone.csv")
        assert lake.closes() == []
        assert lake.accounted(prices).passed
        steps += stride
    assert left_behind, "no kill was between the file and the ledger"
