"""What a flow expects of its table: every kind of expectation, tolerances, and mistakes in the YAML by line."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.flows import checks
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.expectations import Change, Expectation
from tests.databases import Databases
from tests.flows.flow_files import PRICES, deliver, flow, loaded, run


@pytest.fixture(scope="module")
def prices(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, FlowDefinition]]:
    """A database with five days of `a` and five of `b`, and its flow."""
    folder = tmp_path_factory.mktemp("expected")
    with databases.fresh() as dsn:
        defined = loaded(dsn, folder, a=[10, 11, 12, 13, 14], b=[20, 21, 19, 23, 24])
        with psycopg.connect(dsn) as connection:
            connection.execute("UPDATE prices SET volume = NULL WHERE code = 'a' AND close = 14")
        yield dsn, defined


@pytest.mark.parametrize(
    ("column", "expected", "rows"),
    [
        ("volume", {"not_null": True}, ["a, 2024-01-05"]),
        ("volume", {"min": 100, "max": "100"}, []),
        ("close", {"min": "10.5", "max": 23}, ["a, 2024-01-01", "b, 2024-01-05"]),
        ("day", {"min": "2024-01-02"}, ["a, 2024-01-01", "b, 2024-01-01"]),
        ("code", {"one_of": ["a", "c"]}, [f"b, 2024-01-0{day}" for day in range(1, 6)]),
        ("code", {"matches": "^[ab]$"}, []),
        ("code", {"matches": "^b"}, [f"a, 2024-01-0{day}" for day in range(1, 6)]),
        ("close", {"unique": True}, []),
        ("close", {"increasing_by": "day", "within": ["code"]}, ["b, 2024-01-03"]),
        ("close", {"mean": {"by": "day", "share": 0.05}}, ["2024-01-05"]),
        ("close", {"mean": {"by": "day", "share": 0.06}}, []),
        ("close", {"min": 12, "max_rows": 2}, []),
        ("close", {"min": 12, "max_share": 0.2}, []),
        ("close", {"min": 13, "max_rows": 2, "max_share": 0.2}, ["a, 2024-01-01", "a, 2024-01-02", "a, 2024-01-03"]),
    ],
)
def test_rows_that_are_not_as_expected_are_named(
    prices: tuple[str, FlowDefinition], column: str, expected: dict[str, object], rows: list[str]
) -> None:
    dsn, defined = prices
    with psycopg.connect(dsn) as connection:
        finding = checks.column_as_expected(connection, defined, column, Expectation.model_validate(expected))
    named = [] if finding.passed else sorted(example["row"] for example in finding.examples)
    assert (named, finding.count, finding.checked) == (sorted(rows), len(rows), 10)


def test_values_that_repeat_are_named(dsn: str, tmp_path: Path) -> None:
    defined = loaded(dsn, tmp_path, a=[10, 11, 10])
    with psycopg.connect(dsn) as connection:
        finding = checks.column_as_expected(connection, defined, "close", Expectation(unique=True))
    assert [example["row"] for example in finding.examples] == ["a, 2024-01-01", "a, 2024-01-03"]


def test_a_day_with_too_few_rows_is_named(dsn: str, tmp_path: Path) -> None:
    defined = loaded(dsn, tmp_path, a=[1, 2, 3], b=[1, 2, 3], c=[1, 2])
    with psycopg.connect(dsn) as connection:
        finding = checks.rows_as_expected(connection, defined, Change(by="day", share=0.3))
        assert finding.examples == ({"row": "2024-01-03", "value": "2", "expected": "near 3"},)
        assert checks.rows_as_expected(connection, defined, Change(by="day", share=0.34)).passed


def test_the_days_of_instants_are_those_of_the_flows_zone(dsn: str, tmp_path: Path) -> None:
    instants = """timezone: Asia/Shanghai
loader:
  columns: {at: at, close: close}
  types: {at: {type: timestamptz, format: "%Y-%m-%dT%H:%M:%S%z"}, close: double}
target: {table: instants, key: [at], columns: {at: timestamptz, close: double}}
"""
    defined = flow(tmp_path, instants)
    hours = [
        "02T15",
        "02T16",
        "03T01",
        "03T15",
        "03T16",
    ]  # of Shanghai: 02 23:00, 03 00:00, 03 09:00, 03 23:00, 04 00:00
    deliver(tmp_path, "a.csv", "at,close\n" + "".join(f"2024-01-{hour}:00:00+0000,1\n" for hour in hours))
    assert run(defined, dsn, tmp_path).failed == ()
    with psycopg.connect(dsn) as connection:
        connection.execute("SET TimeZone TO 'America/New_York'")
        finding = checks.rows_as_expected(connection, defined, Change(by="at", share=0.1))
    assert finding.examples == ({"row": "2024-01-04", "value": "1", "expected": "near 3"},)


def test_a_table_that_does_not_exist_yet_has_nothing_unexpected(dsn: str, tmp_path: Path) -> None:
    defined = flow(tmp_path, PRICES)
    with psycopg.connect(dsn) as connection:
        assert checks.column_as_expected(connection, defined, "close", Expectation(not_null=True)).passed
        assert checks.rows_as_expected(connection, defined, Change(by="day", share=0.3)).passed


MISTAKES = [
    ("columns: {closed: {min: 1}}", "quality.columns.closed: is no column of the target; did you mean 'close'?"),
    ("columns: {code: {mean: {by: day, share: 1}}}", "quality.columns.code.mean: the column is text"),
    ("columns: {close: {mean: {by: code, share: 1}}}", "quality.columns.close.mean.by: 'code' is text"),
    ("columns: {close: {min: low}}", "quality.columns.close.min: 'low' is no number"),
    ("columns: {close: {matches: a}}", "quality.columns.close.matches: the column is numeric"),
    ("columns: {code: {matches: '['}}", "'[' is no regular expression"),
    ("columns: {close: {within: [code]}}", "quality.columns.close.within: belongs to increasing_by"),
    ("columns: {close: {increasing_by: dy}}", "quality.columns.close.increasing_by: 'dy' is no column of the target"),
    ("rows: {by: month, share: 1}", "quality.rows.by: 'month' is no column of the target"),
]


@pytest.mark.parametrize(("declared", "said"), MISTAKES)
def test_mistakes_are_reported_by_field(tmp_path: Path, declared: str, said: str) -> None:
    with pytest.raises(InvalidConfigFile) as error:
        flow(tmp_path, PRICES + f"quality:\n  {declared}\n")
    assert said in str(error.value)


def test_expectations_load_no_file_again(dsn: str, tmp_path: Path) -> None:
    loaded(dsn, tmp_path, a=[1])
    assert run(flow(tmp_path, PRICES + "quality: {columns: {close: {min: 0}}}\n"), dsn, tmp_path).units == ()
