"""A definition made of a file loads that file whole, and says what was guessed."""

import datetime as dt
import io
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from marketdata_assets.flows import sample
from marketdata_assets.flows.definition import FlowDefinition, parse
from marketdata_assets.flows.draft import Draft, draft
from marketdata_assets.flows.inference import guess
from marketdata_assets.flows.trial import preview, try_file
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import Unit, file_at


def made(folder: Path, name: str, data: str | bytes) -> tuple[FlowDefinition, Draft, Path]:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    one = draft("mine", sample.read(path), path)
    return parse(one.text, name="mine"), one, path


def parquet() -> bytes:
    out = io.BytesIO()
    times = [dt.datetime(2024, 1, 2, 1), dt.datetime(2024, 1, 2, 2)]
    pl.DataFrame({"sym": ["A", "A"], "t": times, "p": [1.5, 2.5]}).write_parquet(out)
    return out.getvalue()


CASES = {
    "AAPL.csv": (
        "Date,Close,Volume\n2024-01-02,185.64,82488700\n2024-01-03,184.25,58414500\n",
        {"symbol": "text", "date": "date", "close": "numeric(16,4)", "volume": "bigint"},
        ["symbol", "date"],
        ("AAPL", dt.date(2024, 1, 2), 185.64, 82488700),
    ),
    "gbk.csv": (
        "注意：供应商数据\n股票代码,交易日期,收盘价,成交额,涨跌幅\n000001,20240102,9.21,11.6亿,-1.2%\n000002,20240102,9,8000万,0%\n".encode(
            "gb18030"
        ),
        {"symbol": "text", "trade_date": "date", "close": "numeric(16,4)", "amount": "numeric(17,4)",
         "pct_change": "numeric(16,4)"},
        ["symbol", "trade_date"],
        ("000001", dt.date(2024, 1, 2), 9.21, 1_160_000_000, -0.012),
    ),
    "headerless.csv": (
        "A,1704162600000,10.5\nB,1704162600000,0.25\n",
        {"column_1": "text", "column_2": "timestamptz", "column_3": "numeric(16,4)"},
        ["column_1", "column_2"],
        ("A", dt.datetime(2024, 1, 2, 2, 30, tzinfo=dt.UTC), 10.5),
    ),
    "c.tsv": (
        "code\ttime\tpx\nA\t02.01.2024 10:30\t1,234.5\nB\t02.01.2024 10:30\t-\n",
        {"code": "text", "time": "timestamp", "px": "numeric(16,4)"},
        ["code", "time"],
        ("A", dt.datetime(2024, 1, 2, 10, 30), 1234.5),
    ),
    "d.jsonl": (
        '{"s":"A","q":{"t":"2024-01-02T03:04:05Z","p":1.25}}\n{"s":"B","q":{"t":"2024-01-02T03:04:05Z"}}\n',
        {"s": "text", "q_t": "timestamptz", "q_p": "numeric(16,4)"},
        ["s", "q_t"],
        ("A", dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC), 1.25),
    ),
    "e.json": (
        json.dumps({"data": {"items": [{"s": "A", "d": "2024-01-02", "n": 5}, {"s": "B", "d": "2024-01-02", "n": 6}]}}),
        {"s": "text", "d": "date", "n": "bigint"},
        ["s", "d"],
        ("A", dt.date(2024, 1, 2), 5),
    ),
    "f.parquet": (
        parquet(),
        {"sym": "text", "t": "timestamp", "p": "double"},
        ["sym", "t"],
        ("A", dt.datetime(2024, 1, 2, 1), 1.5),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_definition_made_of_a_file_loads_all_of_it(name: str, tmp_path: Path) -> None:
    data, columns, key, first = CASES[name]
    flow, _, path = made(tmp_path, name, data)
    assert {name: str(kind) for name, kind in flow.target.columns.items()} == columns
    assert (flow.target.key, flow.target.mode) == (key, "upsert")
    tried = try_file(flow, path)
    assert (dict(tried.rejects), tried.read, tried.rows.height) == ({}, 2, 2)
    assert tried.rows.row(0) == first


@pytest.mark.parametrize(
    ("texts", "kind", "unsure"),
    [
        (["1", "2"], "bigint", ""),
        (["000001", "600000"], "text", ""),
        (["1.5", "2"], "numeric(16,4)", ""),
        (["123456789012.25"], "numeric(19,4)", ""),
        (["0.00000001"], "numeric(16,8)", ""),
        (["1e-5", "2.0"], "double", "with exponents, so not exact"),
        (["1,234", "12"], "bigint", ""),
        (["0,5", "1,25"], "numeric(16,4)", "a comma is taken for the decimal point"),
        (["true", "false"], "boolean", ""),
        (["20240102", "20240103"], "date", ""),
        (["20240102", "20249999"], "bigint", ""),
        (["01/02/2024"], "date", "%d/%m/%Y and %m/%d/%Y fit all values; %d/%m/%Y is taken"),
        (["13/02/2024"], "date", ""),
        (["2024-01-02T03:04:05+08:00"], "timestamptz", ""),
        (["", None], "text", "no value in the sample"),
        (["a", "1"], "text", ""),
    ],
)
def test_a_type_takes_every_value_of_the_sample(texts: Sequence[str | None], kind: str, unsure: str) -> None:
    found = guess("x", texts)
    assert (str(found.cell.type), found.unsure) == (kind, unsure)


def test_what_is_unsure_is_said_in_the_definition(tmp_path: Path) -> None:
    _, one, _ = made(tmp_path, "headerless.csv", CASES["headerless.csv"][0])
    assert "the first line looks like a row, so the file is taken to have no header" in one.text
    assert "column_2: {type: timestamptz, epoch: auto}  # taken for ms since 1970, by its digits" in one.text
    assert any("column_2: taken for ms since 1970" in remark for remark in one.unsure)


def test_rows_without_a_key_are_kept_by_file(tmp_path: Path) -> None:
    flow, one, _ = made(tmp_path, "prices.csv", "price\n1.5\n1.5\n")
    assert (flow.target.mode, flow.target.key) == ("replace", [])
    assert "no columns identify a row of the sample" in one.text


def test_a_file_that_is_no_table_says_so(tmp_path: Path) -> None:
    for name, data, said in [("a.bin", b"\0\1", "it is not text"), ("a.json", b"{}", "no array of objects or arrays")]:
        with pytest.raises(BadFile, match=said):
            made(tmp_path, name, data)


def test_a_preview_shows_the_rows_after_each_step(tmp_path: Path) -> None:
    flow = parse(
        "loader: {columns: [code, close], types: {close: double}}\n"
        "handlers:\n  - drop_invalid: {positive: close > 0}\n  - derive: {twice: close * 2}\n"
        "target: {table: t, key: [code], columns: {code: text, twice: 'numeric(16,4)'}}\n"
        "quality: {max_rejected_share: 1}\n"
    )
    path = tmp_path / "a.csv"
    path.write_text("code,close\nA,1\nB,-1\nC,x\nD,4\n")
    unit = Unit(file_at(path), size=path.stat().st_size)
    steps: list[tuple[str, int, list[Any]]] = [(s.title, s.count, s.rows.rows()) for s in preview(flow, unit, 2)]
    assert steps == [
        ("read", 3, [("A", 1.0), ("B", -1.0)]),
        ("1 drop_invalid", 2, [("A", 1.0), ("D", 4.0)]),
        ("2 derive", 2, [("A", 1.0, 2.0), ("D", 4.0, 8.0)]),
        ("table t", 2, [("A", 2.0), ("D", 8.0)]),
        ("rejected", 2, [(3, "breaks the rule 'positive'"), (4, "close 'x' is no number")]),
    ]
    assert Decimal(2) == steps[3][2][0][1]
