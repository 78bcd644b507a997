"""The DDL of the project for the replicas of a cluster: every statement is rendered, and an engine can read it."""

import ast
import re
from importlib.resources import files
from pathlib import Path

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.errors import TerminalError
from marketdata_assets.flows.definition import Target
from marketdata_assets.flows.targets.clickhouse_table import ClickHouseTable
from marketdata_assets.reference import tables as reference
from marketdata_assets.stores import clickhouse_ledger
from marketdata_assets.stores.clickhouse_ddl import Table, comment_of, name_of, rendered, unreplicated
from marketdata_assets.ticks import tables as ticks

PACKAGE = Path(str(files("marketdata_assets")))
FLOW = ClickHouseTable(
    "",
    Target.model_validate(
        {"table": "quotes", "columns": {"code": "text", "n": "bigint"}, "key": ["code"], "kind": "clickhouse"}
    ),
)


def statements() -> list[str]:
    """Every statement of the package that creates something in ClickHouse."""
    texts = [file.read_text("utf-8") for file in sorted(PACKAGE.rglob("*.sql"))]
    scripts = [text for text in texts if "MergeTree" in text and "CREATE TABLE" in text]
    found = [one for script in scripts for one in script.split(";\n") if name_of(one)]
    return [*found, FLOW._creation(), FLOW._view()]


@pytest.mark.parametrize("statement", statements(), ids=name_of)
def test_every_statement_is_for_all_replicas_and_an_engine_can_read_it(
    statement: str, clickhouse_client: Client
) -> None:
    text = rendered(statement, "bars-1")
    assert text.count(f"{name_of(statement)} ON CLUSTER `bars-1`") + text.count("` ON CLUSTER `bars-1`") >= 1
    assert len(re.findall(r"ENGINE = Replicated\w*MergeTree\('[^']+', '\{replica\}'", text)) == text.count("ENGINE = ")
    assert text.count("replicated_deduplication_window") == text.count("ENGINE = ")
    assert "non_replicated" not in text
    assert clickhouse_client.command(f"EXPLAIN AST {text}")
    comment = comment_of(statement)
    assert rendered(statement, "").removesuffix(f" COMMENT '{comment}'").rstrip(";\n") == statement.rstrip(";\n")


def test_there_are_tables_views_and_materialized_views() -> None:
    names = {name_of(one) for one in statements()}
    assert {"tick_data", "marketdata_ledger", "marketdata_ledger_attempts", "exchange_trades", "quotes"} <= names
    assert len(names) >= 28


def test_no_other_place_creates_a_table_by_itself() -> None:
    """A literal with CREATE TABLE is given to `create`, or makes what is on one node alone."""
    found = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "command":
                text = "".join(part.value for part in ast.walk(node) if _is_text(part))  # type: ignore[attr-defined]
                if re.match(r"\s*CREATE (OR|TABLE|VIEW|MATERIALIZED)\b", text):
                    found.add(file.name)
    assert found == {"clickhouse_cluster.py"}


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@given(
    st.sampled_from(["", "Replacing", "Summing"]),
    st.one_of(st.none(), st.from_regex(r"[a-z]{1,9}(, [a-z]{1,9})?", fullmatch=True)),
)
def test_a_copy_without_replication_has_the_engine_of_one_server(family: str, arguments: str | None) -> None:
    engine = f"{family}MergeTree" + (f"({arguments})" if arguments else "")
    rest = " PARTITION BY k ORDER BY (n, s) SETTINGS replicated_deduplication_window = 0"
    text = rendered(f"CREATE TABLE t (n UInt8) ENGINE = {engine}{rest}", "c")
    assert unreplicated(text.partition("ENGINE = ")[2]).startswith(f"{engine} PARTITION BY")
    assert unreplicated(engine + rest) == engine + rest


def test_a_changed_view_is_replaced_and_an_unchanged_one_is_known() -> None:
    first, second = "CREATE OR REPLACE VIEW v AS SELECT 1", "CREATE OR REPLACE VIEW v AS SELECT 2"
    assert rendered(first, "c").endswith(f" COMMENT '{comment_of(first)}'")
    assert comment_of(first) != comment_of(second)
    assert comment_of("CREATE TABLE t (n UInt8) ENGINE = Memory") == ""


def test_tables_have_the_columns_that_the_server_makes_of_their_scripts(clickhouse_client: Client) -> None:
    """No column is passed over because nothing reads its line."""
    reference.ensure(clickhouse_client)
    ticks.ensure(clickhouse_client)
    own = Table(clickhouse_ledger.LEDGER, "marketdata_assets.stores", "clickhouse_ledger")
    files_of = Table("marketdata_files", "marketdata_assets.stores", "clickhouse_files")
    for table in (own, files_of, *reference.TABLES.values(), *ticks.TABLES):
        sql = "SELECT name, type, default_expression FROM system.columns WHERE database = currentDatabase()"
        found = clickhouse_client.query(f"{sql} AND table = '{table.name}' ORDER BY position").result_rows
        made = [(name, kind) for name, kind, default in found if "now64" not in default]
        assert table.columns.names() == [name for name, _ in made], table.name
        lists = [name for name, kind in made if "Array(" in kind]
        assert [name for name, kind in table.columns.items() if isinstance(kind, pl.List)] == lists, table.name
        few = [name for name, kind in made if kind.startswith("LowCardinality")]
        assert list(table.dictionaries) == few, table.name
        sql = "SELECT sorting_key FROM system.tables WHERE database = currentDatabase()"
        assert clickhouse_client.command(f"{sql} AND name = '{table.name}'") == ", ".join(table.keys)


def test_a_table_whose_column_has_another_type_is_rejected_with_the_statement_that_alters_it(
    clickhouse_client: Client,
) -> None:
    """Into an integer the server writes 0 for half a coin, without a word."""
    ticks.ensure(clickhouse_client)
    clickhouse_client.command("ALTER TABLE tick_data MODIFY COLUMN volume Nullable(Int64)")
    row = "SELECT '600000.SH', 'files', 'end', '1m', 7"
    clickhouse_client.command(f"INSERT INTO tick_data (symbol, provider, label, interval, volume) {row}")
    with pytest.raises(TerminalError, match=r"volume of tick_data is Nullable\(Int64\)") as rejected:
        ticks.ensure(clickhouse_client)
    clickhouse_client.command(str(rejected.value).rpartition("Run: ")[2])
    ticks.ensure(clickhouse_client)
    assert clickhouse_client.query("SELECT volume FROM tick_data").result_rows == [(7.0,)]
