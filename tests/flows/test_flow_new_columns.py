"""Columns of files that a flow does not declare: reported in every format, ignored, or a failure; never unnoticed."""

import io
import json
import re
from pathlib import Path

import polars as pl
import psycopg
import pytest
from flow_files import PRICES, closes, deliver, flow, only_error, rows, run
from test_flow_formats import workbook

from marketdata_assets.cli.backup import BOOKS
from marketdata_assets.fanout import Fanout
from marketdata_assets.flows import checks, new_columns
from marketdata_assets.flows import run as running
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.forget import forget
from marketdata_assets.flows.rebuild import rebuild
from marketdata_assets.stores.postgres import statement

TABLE = """
target:
  table: prices
  mode: replace
  columns: {code: text, close: text}
"""
FIXED = "columns: [code, close]\n  header: false\n  format: fixed_width\n  widths: [2, 2, 2]"
LOADERS = {
    "csv": "columns: {code: code, close: close}",
    "numbers": "columns: [code, close]\n  header: false",
    "fixed_width": FIXED,
    "json_lines": "format: json_lines\n  columns: {code: code, quote.last: close}",
    "json": "format: json\n  rows: data\n  columns: {code: code, quote.last: close}",
    "parquet": "format: parquet\n  columns: [code, close]",
    "excel": "format: excel\n  sheet: Sheet1\n  columns: [code, close]",
    "function": "function: .mine.read\n  glob: '*.bin'\n  columns: [code, close]",
}
READER = "import polars as pl\n\ndef read(file):\n    return pl.read_csv(file, infer_schema=False)\n"
ROW = {"code": "a", "quote": {"last": "1", "bid": "2"}, "vwap": "3"}
FRAME = pl.DataFrame({"code": ["a"], "close": ["1"], "vwap": ["3"]})
WITH_VWAP = "code,day,close,volume,vwap\na,2024-01-01,1,100,3\n"
WITHOUT = "code,day,close,volume\na,2024-01-01,1,100\n"


def data(kind: str) -> bytes:
    """A file of one row with a third column."""
    if kind == "parquet":
        file = io.BytesIO()
        FRAME.write_parquet(file)
        return file.getvalue()
    if kind == "excel":
        return workbook([FRAME.columns, *map(list, FRAME.rows())])
    texts = {
        "csv": "code,close,vwap,\na,1,3,\n",
        "function": "code,close,vwap\na,1,3\n",
        "numbers": "a,1,3\n",
        "fixed_width": "a 1 3 \n",
        "json_lines": json.dumps(ROW) + "\n",
        "json": json.dumps({"data": [ROW]}),
    }
    return texts[kind].encode()


SUFFIXES = {"fixed_width": "txt", "json_lines": "jsonl", "json": "json", "parquet": "parquet", "excel": "xlsx"}


def found(dsn: str, flow: FlowDefinition) -> list[tuple[str, int]]:
    with psycopg.connect(dsn) as connection:
        return [(one.name, one.files) for one in new_columns.of_flow(connection, flow)]


@pytest.mark.parametrize("kind", LOADERS)
def test_a_column_that_nobody_declares_is_reported(dsn: str, tmp_path: Path, kind: str) -> None:
    (tmp_path / "mine.py").write_text(READER)
    prices = flow(tmp_path, f"loader:\n  {LOADERS[kind]}{TABLE}")
    deliver(tmp_path, f"a.{SUFFIXES.get(kind, 'bin' if kind == 'function' else 'csv')}", data(kind))
    report = run(prices, dsn, tmp_path)
    assert (report.rows, report.failed) == (1, ())
    assert rows(dsn, "SELECT code, close FROM prices") == [("a", "1")]
    assert found(dsn, prices) == [("3" if kind in ("numbers", "fixed_width") else "vwap", 1)]
    with psycopg.connect(dsn) as connection:
        finding = checks.no_new_columns(connection, prices)
    assert (finding.passed, finding.advice, finding.count) == (False, True, 1)


def test_what_is_ignored_or_declared_later_is_reported_no_more_and_ignoring_loads_nothing(
    dsn: str, tmp_path: Path
) -> None:
    prices = flow(tmp_path)
    deliver(tmp_path, "a.csv", WITH_VWAP)
    deliver(tmp_path, "b.csv", WITH_VWAP.replace("vwap", "remark_1").replace("\na", "\nb"))
    run(prices, dsn, tmp_path)
    assert found(dsn, prices) == [("remark_1", 1), ("vwap", 1)]
    ignoring = flow(tmp_path, PRICES.replace("loader:", "loader:\n  ignored_columns: ['remark*']"))
    assert run(ignoring, dsn, tmp_path).unchanged == 2
    assert found(dsn, ignoring) == [("vwap", 1)]
    text = PRICES.replace("volume: volume}", "volume: volume, vwap: vwap}")
    taking = flow(tmp_path, text.replace("volume: bigint}", "volume: bigint, vwap: double}"))
    (tmp_path / "b.csv").unlink()
    with psycopg.connect(dsn) as connection:
        forget(connection, taking, ["b.csv"])
    assert run(taking, dsn, tmp_path).count("ok") == 1
    assert rows(dsn, "SELECT vwap FROM prices") == [(3,)]
    assert found(dsn, prices) == []


def test_a_file_that_has_the_column_no_more_is_reported_no_more(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path)
    deliver(tmp_path, "a.csv", WITH_VWAP)
    run(prices, dsn, tmp_path)
    rebuild(prices, dsn, tmp_path, run_id="rebuild", fanout=Fanout(1))
    assert found(dsn, prices) == [("vwap", 1)]
    deliver(tmp_path, "a.csv", WITHOUT)
    run(prices, dsn, tmp_path)
    assert found(dsn, prices) == []


def test_a_flow_may_reject_files_with_new_columns(dsn: str, tmp_path: Path) -> None:
    strict = flow(tmp_path, PRICES.replace("loader:", "loader:\n  new_columns: fail"))
    deliver(tmp_path, "a.csv", WITHOUT)
    assert not run(strict, dsn, tmp_path).failed
    deliver(tmp_path, "a.csv", WITH_VWAP.replace(",1,100", ",2,100"))
    assert "a.csv: undeclared columns vwap, and loader.new_columns is fail" in only_error(strict, dsn, tmp_path)
    assert closes(dsn) == [1]
    assert running.code_version(strict) == running.code_version(flow(tmp_path))


def test_every_table_of_what_is_recorded_of_files_is_in_a_backup() -> None:
    made = [statement("marketdata_assets.flows", "schema.sql"), statement("marketdata_assets.stores", "ledger.sql")]
    names = re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", "\n".join(made))
    assert "marketdata_flow_new_columns" in names
    assert {*names} <= {*BOOKS}
