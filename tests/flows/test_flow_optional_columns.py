"""Columns that files may lack: NULL in every format, while a file without a required column still fails."""

import io
import json
from pathlib import Path

import polars as pl
import pytest
from flow_files import PRICES, deliver, flow, only_error, rows, run
from test_flow_formats import workbook

from marketdata_assets.config_files import InvalidConfigFile

OPTIONAL = "\n  optional_columns: {}"
TABLE = """
target:
  table: prices
  mode: replace
  columns: {code: text, close: "numeric(16,4)", note: text}
"""
TYPES = "\n  types: {close: 'numeric(16,4)'}"
LOADERS = {
    "csv": "columns: [code, close, note]",
    "numbers": "columns: {1: code, 2: close, 3: note}\n  header: false",
    "fixed_width": "columns: [code, close, note]\n  format: fixed_width\n  widths: [6]",
    "json_lines": "format: json_lines\n  columns: [code, close, note]",
    "json": "format: json\n  columns: [code, close, note]",
    "parquet": "format: parquet\n  columns: [code, close, note]",
    "excel": "format: excel\n  sheet: Sheet1\n  columns: [code, close, note]",
    "function": "function: .mine.read\n  glob: '*.bin'\n  columns: [code, close, note]",
}
NAMES = {"numbers": "['2', '3']"}
READER = "import polars as pl\n\ndef read(file):\n    return pl.read_csv(file, infer_schema=False)\n"
SUFFIXES = {
    "fixed_width": "txt",
    "json_lines": "jsonl",
    "json": "json",
    "parquet": "parquet",
    "excel": "xlsx",
    "function": "bin",
}


def with_code_alone(kind: str) -> bytes:
    """A file of two rows that has one of the three columns."""
    if kind == "parquet":
        file = io.BytesIO()
        pl.DataFrame({"code": ["a", "b"]}).write_parquet(file)
        return file.getvalue()
    if kind == "excel":
        return workbook([["code"], ["a"], ["b"]])
    texts = {
        "numbers": "a\nb\n",
        "json_lines": '{"code": "a"}\n{"code": "b"}\n',
        "json": json.dumps([{"code": "a"}, {"code": "b"}]),
    }
    return texts.get(kind, "code\na\nb\n").encode()


@pytest.mark.parametrize("kind", LOADERS)
def test_a_column_that_a_file_lacks_is_null(dsn: str, tmp_path: Path, kind: str) -> None:
    (tmp_path / "mine.py").write_text(READER)
    deliver(tmp_path, f"a.{SUFFIXES.get(kind, 'csv')}", with_code_alone(kind))
    strict = flow(tmp_path, f"loader:\n  {LOADERS[kind]}{TYPES}{TABLE}")
    assert "loader.optional_columns" in only_error(strict, dsn, tmp_path)
    names = NAMES.get(kind, "[close, n*]")
    lenient = flow(tmp_path, f"loader:\n  {LOADERS[kind]}{TYPES}{OPTIONAL.format(names)}{TABLE}")
    report = run(lenient, dsn, tmp_path)
    assert (report.rows, [unit.error for unit in report.failed]) == (2, [])
    assert rows(dsn, "SELECT code, close, note FROM prices ORDER BY code") == [("a", None, None), ("b", None, None)]


def test_files_before_a_new_column_was_delivered_are_loaded_beside_those_that_have_it(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path, "a.csv", "code,day,close,volume\na,2024-01-01,1,100\n")
    run(flow(tmp_path), dsn, tmp_path)
    deliver(tmp_path, "b.csv", "code,day,close,volume,vwap\nb,2024-01-01,1,100,1.5\n")
    text = PRICES.replace("volume: volume}", "volume: volume, vwap: vwap}\n  optional_columns: [vwap]")
    with_vwap = flow(tmp_path, text.replace("volume: bigint}", "volume: bigint, vwap: double}"))
    report = run(with_vwap, dsn, tmp_path)
    assert (report.count("ok"), report.failed) == (2, ())
    assert rows(dsn, "SELECT code, vwap FROM prices ORDER BY code") == [("a", None), ("b", 1.5)]


@pytest.mark.parametrize("quoted", [False, True])
def test_rows_that_are_none_are_rejected_in_a_file_that_lacks_a_column(dsn: str, tmp_path: Path, quoted: bool) -> None:
    text = PRICES.replace("volume: volume}", "volume: volume}\n  optional_columns: [volume]")
    prices = flow(tmp_path, text + "quality: {max_rejected_share: 0.5}\n")
    bad = '"x\ny",2024-01-02,nothing' if quoted else "a,2024-01-02,nothing"
    deliver(tmp_path, "a.csv", f"code,day,close\na,2024-01-01,1\n{bad}\na,2024-01-03\na,2024-01-04,3\n")
    report = run(prices, dsn, tmp_path)
    assert (report.rows, report.rejected) == (2, 2)
    assert [row[2:] for row in rows(dsn)] == [(1, None), (3, None)]


def test_an_optional_column_is_one_of_the_flow(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigFile, match="did you mean 'volume'"):
        flow(tmp_path, PRICES.replace("types:", "optional_columns: [volumes]\n  types:"))
