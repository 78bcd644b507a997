"""A flow whose target is a table of ClickHouse: readers see the rows of each unit's last committed load."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path

import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from dying import DATABASE_STEPS, Load, server
from flow_files import HEADER, PRICES, deliver, flow, lines, only_error, run

from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.flows import checks, status
from marketdata_assets.flows import run as running
from marketdata_assets.flows.definition import FlowDefinition, parse, read
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.forget import forget
from marketdata_assets.flows.targets import clickhouse_table, contents
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.bookkeeping import Finding

REPLACE = PRICES.replace("mode: upsert", "mode: replace\n  kind: clickhouse")
APPEND = REPLACE.replace("mode: replace", "mode: append")
UPSERT = REPLACE.replace("mode: replace", "mode: upsert\n  removed_rows: delete")
BY_VOLUME = UPSERT.replace("mode: upsert", "mode: upsert\n  order_by: volume")
STEPS = (*DATABASE_STEPS, (clickhouse, "insert"))


def doomed(file: str, dsn: str, folder: str, url: str) -> None:
    run(read(Path(file)).at(partial(str, url)), dsn, Path(folder))


@pytest.fixture(scope="module")
def survived() -> Iterator[Load]:
    with server(Path(__file__)) as load:
        yield load


def table(folder: Path, url: str, text: str = REPLACE) -> FlowDefinition:
    return flow(folder, text).at(partial(str, url))


def seen(client: Client, query: str = "SELECT code, day, close, volume FROM prices ORDER BY code, day, close") -> list:
    """What a reader of the table sees."""
    return list(clickhouse.read(client, query).iter_rows())


def closes(client: Client, code: str = "a") -> list[int]:
    return [int(row[2]) for row in seen(client) if row[0] == code]


def accounted(prices: FlowDefinition, dsn: str) -> Finding:
    with psycopg.connect(dsn) as connection:
        return checks.every_row_accounted(connection, prices)


def loads(client: Client) -> int:
    """How many loads have rows, those that nobody sees included."""
    return len(seen(client, "SELECT DISTINCT etl_file, etl_load FROM prices_rows"))


def test_rows_have_the_declared_types_and_their_file(
    dsn: str, tmp_path: Path, clickhouse_url: str, clickhouse_client: Client
) -> None:
    prices = table(tmp_path, clickhouse_url)
    deliver(tmp_path, "x/贵州.csv", lines("a", ["1.2345", ""]))
    deliver(tmp_path, "empty.csv", HEADER)
    assert run(prices, dsn, tmp_path).rows == 2
    assert seen(clickhouse_client, "SELECT * FROM prices ORDER BY day") == [
        ("a", dt.date(2024, 1, 1), Decimal("1.2345"), 100, "x/贵州.csv"),
        ("a", dt.date(2024, 1, 2), None, 100, "x/贵州.csv"),
    ]
    assert not run(prices, dsn, tmp_path).units
    assert accounted(prices, dsn).passed


def test_every_type_is_in_clickhouse_as_it_is_in_postgres(
    dsn: str, tmp_path: Path, clickhouse_url: str, clickhouse_client: Client
) -> None:
    kinds = {"n": "numeric(38,10)", "m": "numeric(5,2)", "i": "integer", "f": "double", "t": "timestamp"}
    kinds |= {"z": "timestamptz", "b": "boolean", "d": "date", "s": "text"}
    columns = ", ".join(f'{name}: "{kind}"' for name, kind in kinds.items())
    names = ", ".join(f"{name}: {name}" for name in kinds)
    types = columns.removesuffix(', s: "text"')
    text = f"loader: {{columns: {{{names}}}, types: {{{types}}}}}\n"
    text += f"target: {{table: kinds, mode: append, columns: {{{columns}}}"
    row = "1234567890123456789012345678.0123456789,-0.05,-7,0.1,2024-01-02 03:04:05.000006,2024-01-02 08:00+08:00,true,"
    deliver(tmp_path, "k.csv", f"{','.join(kinds)}\n{row}1990-12-19,股票\n,,,,,,,,\n")
    run(flow(tmp_path, f"{text}}}\n", "kinds"), dsn, tmp_path)
    run(flow(tmp_path, f"{text}, kind: clickhouse}}\n", "others").at(partial(str, clickhouse_url)), dsn, tmp_path)
    with psycopg.connect(dsn) as connection:
        [full, empty] = connection.execute(f"SELECT {', '.join(kinds)} FROM kinds ORDER BY n").fetchall()
    found = seen(clickhouse_client, f"SELECT {', '.join(kinds)} FROM kinds ORDER BY n")
    assert [tuple(_naive(one) for one in row) for row in found] == [tuple(_naive(one) for one in full), empty]


def _naive(value: object) -> object:
    """ClickHouse has no times without a zone: those are kept as UTC."""
    return value.astimezone(dt.UTC).replace(tzinfo=None) if isinstance(value, dt.datetime) and value.tzinfo else value


def test_a_corrected_file_takes_the_place_of_its_rows(
    dsn: str, tmp_path: Path, clickhouse_url: str, clickhouse_client: Client
) -> None:
    prices = table(tmp_path, clickhouse_url)
    deliver(tmp_path, "a.csv", lines("a", [1, 2, 3]))
    deliver(tmp_path, "b.csv", lines("b", [4]))
    run(prices, dsn, tmp_path)
    deliver(tmp_path, "a.csv", lines("a", [7]))
    assert run(prices, dsn, tmp_path).rows == 1
    assert (closes(clickhouse_client), closes(clickhouse_client, "b")) == ([7], [4])
    assert accounted(prices, dsn).passed
    assert loads(clickhouse_client) == 3
    assert not run(prices, dsn, tmp_path).units
    assert loads(clickhouse_client) == 2, "the next run deletes what nobody sees"


def test_append_never_replaces(dsn: str, tmp_path: Path, clickhouse_url: str, clickhouse_client: Client) -> None:
    prices = table(tmp_path, clickhouse_url, APPEND)
    deliver(tmp_path, "a.csv", lines("a", [1]))
    run(prices, dsn, tmp_path)
    deliver(tmp_path, "a.csv", lines("a", [2]))
    assert "changed after its rows were appended" in only_error(prices, dsn, tmp_path)
    assert closes(clickhouse_client) == [1]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_the_last_file_by_name_wins_in_any_order_of_loading(
    dsn: str, tmp_path: Path, clickhouse_url: str, clickhouse_client: Client, order: list[int]
) -> None:
    prices = table(tmp_path, clickhouse_url, UPSERT)
    names = ["day_2.csv", "day_10.csv", "day_11.csv"]
    for number in order:
        deliver(tmp_path, names[number], lines("a", [number]) + f"a,2024-05-0{number + 1},5,5\n")
        run(prices, dsn, tmp_path)
    assert closes(clickhouse_client) == [2, 5, 5, 5]
    (tmp_path / "day_11.csv").unlink()
    with psycopg.connect(dsn) as connection:
        forget(connection, prices, ["day_11.csv"])
    assert closes(clickhouse_client) == [1, 5, 5]
    assert accounted(prices, dsn).passed
    with psycopg.connect(dsn) as connection:
        assert checks.keys_unique(connection, prices).passed


def test_a_column_may_order_rows(dsn: str, tmp_path: Path, clickhouse_url: str, clickhouse_client: Client) -> None:
    prices = table(tmp_path, clickhouse_url, BY_VOLUME)
    deliver(tmp_path, "a.csv", HEADER + "a,2024-01-01,1,30\n")
    deliver(tmp_path, "b.csv", HEADER + "a,2024-01-01,2,4\n")
    run(prices, dsn, tmp_path)
    assert closes(clickhouse_client) == [1]


def test_rows_that_somebody_deleted_are_loaded_again(
    dsn: str, tmp_path: Path, clickhouse_url: str, clickhouse_client: Client
) -> None:
    prices = table(tmp_path, clickhouse_url, APPEND)
    for code in "ab":
        deliver(tmp_path, f"{code}.csv", lines(code, [1]))
    run(prices, dsn, tmp_path)
    clickhouse_client.command("DROP TABLE prices_rows")
    with psycopg.connect(dsn) as connection:
        assert [unit.place for unit in running.outdated(connection, prices, tmp_path)] == ["a.csv", "b.csv"]
    assert run(prices, dsn, tmp_path).rows == 2
    assert len(seen(clickhouse_client)) == 2
    clickhouse_client.command("DELETE FROM prices_rows WHERE code = 'a'")
    assert not accounted(prices, dsn).passed
    assert run(prices, dsn, tmp_path).rows == 1
    assert len(seen(clickhouse_client)) == 2


def test_a_new_column_is_added_and_another_type_is_an_error(
    dsn: str, tmp_path: Path, clickhouse_url: str, clickhouse_client: Client
) -> None:
    deliver(tmp_path, "a.csv", lines("a", [1]))
    without = REPLACE.replace(", volume: bigint}\n", "}\n")
    run(table(tmp_path, clickhouse_url, without), dsn, tmp_path)
    prices = table(tmp_path, clickhouse_url)
    with psycopg.connect(dsn) as connection:
        assert checks.no_drift(connection, prices).count == 1
    assert run(prices, dsn, tmp_path).rows == 1
    assert seen(clickhouse_client) == [("a", dt.date(2024, 1, 1), Decimal(1), 100)]
    with pytest.raises(FlowError, match="drop prices and prices_rows there"):
        run(table(tmp_path, clickhouse_url, REPLACE.replace("volume: bigint}\n", "volume: text}\n")), dsn, tmp_path)


def test_figures_and_expectations_are_those_of_the_rows(dsn: str, tmp_path: Path, clickhouse_url: str) -> None:
    text = REPLACE + "partitions: {month: day}\nquality: {columns: {close: {min: 2, not_null: true}}}\n"
    prices = table(tmp_path, clickhouse_url, text)
    deliver(tmp_path, "a.csv", lines("a", [1, *range(2, 41)]))
    assert run(prices, dsn, tmp_path).loaded_months == ("2024-01", "2024-02")
    with psycopg.connect(dsn) as connection:
        assert contents.of(connection, prices).by_month(["2024-01", "2024-02"]) == {"2024-01": 31, "2024-02": 9}
        summary = status.summary(connection, prices, tmp_path)
        assert (summary.rows, summary.newest) == (40, dt.date(2024, 2, 9))
        expected = prices.quality.columns["close"]
        assert checks.column_as_expected(connection, prices, "close", expected).count == 1
        assert [row["close"] for row in contents.of(connection, prices).last(2)] == [40, 39]


def test_a_kill_before_any_step_leaves_each_file_old_or_new(
    dsn: str, tmp_path: Path, clickhouse_url: str, clickhouse_client: Client, survived: Load
) -> None:
    prices = table(tmp_path, clickhouse_url)
    deliver(tmp_path, "a.csv", lines("a", [1, 1]))
    deliver(tmp_path, "b.csv", lines("b", [1]))
    run(prices, dsn, tmp_path)
    steps, close = 0, 1
    done = False
    while not done:
        old = close
        close += 1
        deliver(tmp_path, "a.csv", lines("a", [close] * (close % 3 + 1)))
        done = survived(prices.file, dsn, tmp_path, clickhouse_url, steps)
        assert set(closes(clickhouse_client)) in ({old}, {close}), steps
        assert not run(prices, dsn, tmp_path).failed
        assert closes(clickhouse_client) == [close] * (close % 3 + 1)
        assert closes(clickhouse_client, "b") == [1]
        assert accounted(prices, dsn).passed
        steps += 3
    run(prices, dsn, tmp_path)
    assert loads(clickhouse_client) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("mode: replace", "mode: upsert"), "declare removed_rows: delete"),
        (("mode: replace", "mode: upsert\n  removed_rows: delete\n  order_by: file time"), "order by a column"),
        (("kind: clickhouse", "kind: clickhouse\n  folder: lake"), "belongs to kind: parquet"),
        (("mode: replace", "mode: replace\n  hypertable: day"), "ClickHouse has none"),
        (("loader:\n", "loader:\n  new_columns: add\n"), "add needs kind: postgres"),
    ],
)
def test_what_clickhouse_does_not_have_is_rejected_with_the_remedy(change: tuple[str, str], said: str) -> None:
    assert parse(REPLACE).target.kind == "clickhouse"
    with pytest.raises(InvalidConfigFile, match=said):
        parse(REPLACE.replace(*change))


def test_a_flow_without_an_address_says_so(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path, "a.csv", lines("a", [1]))
    with pytest.raises(FlowError, match="of kind clickhouse"):
        run(flow(tmp_path, REPLACE), dsn, tmp_path)


def test_names_sort_with_their_numbers_by_value() -> None:
    names = ["b_1.csv", "a_10/b.csv", "a_10.csv", "a_2.csv"]
    assert sorted(names, key=clickhouse_table._sortable) == names[::-1]
