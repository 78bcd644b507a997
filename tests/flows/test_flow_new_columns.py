"""Columns of files that a flow does not declare: reported in every format, ignored, or a failure; never unnoticed.

Columns that files may lack are NULL in every format, while a file without a required column fails.
"""

import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest

from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.fanout import Fanout
from marketdata_assets.flows import checks, new_columns, reading
from marketdata_assets.flows import run as running
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.forget import forget
from marketdata_assets.flows.rebuild import rebuild
from marketdata_assets.flows.run import find_units
from marketdata_assets.flows.trial import try_file
from marketdata_assets.loading.errors import LoadError
from marketdata_assets.loading.files import Opener
from marketdata_assets.loading.rejects import Rejects
from tests.flows.flow_files import PRICES, closes, deliver, flow, only_error, rows, run
from tests.flows.test_flow_formats import workbook

TABLE = """
target:
  table: prices
  mode: replace
  columns: {code: text, close: text}
"""
FORMATS = {
    "csv": "",
    "numbers": "header: false",
    "fixed_width": "header: false\n  format: fixed_width\n  widths: [2, 2, 2]",
    "json_lines": "format: json_lines",
    "json": "format: json\n  rows: data",
    "parquet": "format: parquet",
    "excel": "format: excel\n  sheet: Sheet1",
    "function": "function: .mine.read\n  glob: '*.bin'",
}
LOADERS = {
    kind: f"columns: {'{code: code, quote.last: close}' if 'json' in kind else '[code, close]'}\n  {form}"
    for kind, form in FORMATS.items()
}
READER = "import polars as pl\n\ndef read(file):\n    return pl.read_csv(file, infer_schema=False)\n"
ROW = {"code": "a", "quote": {"last": "1", "bid": "2"}, "vwap": "3"}
WITH_VWAP = "code,day,close,volume,vwap\na,2024-01-01,1,100,3\n"
WITHOUT = "code,day,close,volume\na,2024-01-01,1,100\n"


def data(kind: str) -> bytes:
    """A file of one row with a third column."""
    return written(kind, [ROW if "json" in kind else {"code": "a", "close": "1", "vwap": "3"}])


def written(kind: str, found: list[dict[str, Any]]) -> bytes:
    """A file of these rows."""
    file = io.BytesIO()
    match kind:
        case "parquet":
            pl.DataFrame(found).write_parquet(file)
            return file.getvalue()
        case "excel":
            return workbook([[*found[0]], *([*row.values()] for row in found)])
        case "json":
            return json.dumps({"data": found}).encode()
        case "json_lines":
            lines = [*map(json.dumps, found)]
        case "fixed_width":
            lines = ["".join(f"{cell} " for cell in row.values()) for row in found]
        case "numbers":
            lines = [",".join(row.values()) for row in found]
        case _:  # a comma ends each line: a column without a name
            lines = ["".join(f"{cell}," for cell in row) for row in (found[0], *(row.values() for row in found))]
    return "".join(f"{line}\n" for line in lines).encode()


SUFFIXES = {"fixed_width": "txt", "json_lines": "jsonl", "json": "json", "parquet": "parquet", "excel": "xlsx"}
SUFFIXES |= {"function": "bin"}


def found(dsn: str, flow: FlowDefinition) -> list[tuple[str, int]]:
    with psycopg.connect(dsn) as connection:
        return [(one.name, one.files) for one in new_columns.of_flow(connection, flow)]


@pytest.mark.parametrize("kind", LOADERS)
def test_a_column_that_nobody_declares_is_seen_in_every_format_and_may_be_added(tmp_path: Path, kind: str) -> None:
    (tmp_path / "mine.py").write_text(READER)
    text = f"loader:\n  {LOADERS[kind]}{TABLE}"
    path, prices = deliver(tmp_path, f"a.{SUFFIXES.get(kind, 'csv')}", data(kind)), flow(tmp_path, text)
    rejects, [unit] = Rejects(), find_units(prices, tmp_path)
    with Opener() as opener, reading.frames(opener, unit, prices, rejects) as (frames, _):
        assert [row for frame in frames for row in frame.select("code", "close").rows()] == [("a", "1")]
    numbered = kind in ("numbers", "fixed_width")
    assert rejects.undeclared == {"3" if numbered else "vwap"}
    adding = flow(tmp_path, text.replace("loader:", "loader:\n  new_columns: add"))
    expected = {"code": "a", "close": "1", "column_3" if numbered else "vwap": "3"}
    assert try_file(adding, path).rows.to_dicts() == [expected]


def test_a_new_column_is_advice_for_a_person(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path)
    deliver(tmp_path, "a.csv", WITH_VWAP)
    assert run(prices, dsn, tmp_path).rows == 1
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


@pytest.mark.parametrize("kind", LOADERS)
def test_a_column_that_a_file_lacks_is_null(tmp_path: Path, kind: str) -> None:
    (tmp_path / "mine.py").write_text(READER)
    path = deliver(tmp_path, f"a.{SUFFIXES.get(kind, 'csv')}", written(kind, [{"code": "a"}, {"code": "b"}]))
    columns, names = "[code, close, note]", "['2', '3']" if kind in ("numbers", "fixed_width") else "[close, n*]"
    text = f"loader:\n  columns: {columns}\n  {FORMATS[kind].replace('[2, 2, 2]', '[2]')}"
    table = TABLE.replace("close: text}", "close: double, note: text}")
    with pytest.raises(LoadError, match=r"loader\.optional_columns"):
        try_file(flow(tmp_path, text + table), path)
    lenient = flow(tmp_path, f"{text}\n  optional_columns: {names}\n  types: {{close: double}}{table}")
    assert try_file(lenient, path).rows.rows() == [("a", None, None), ("b", None, None)]


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
