"""Files of every format give the rows that they hold: the same prices, whatever they are delivered in."""

import datetime as dt
import gzip
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.definition import parse as parse_flow
from marketdata_assets.flows.trial import try_file
from marketdata_assets.loading.errors import LoadError
from tests.flows.flow_files import deliver, flow, only_error, quarantined, read_all, rows, run

TARGET = """target:
  table: prices
  key: [symbol, day]
  columns: {symbol: text, day: date, close: "numeric(16,4)"}
"""
TYPES = '  types: {day: date, close: "numeric(16,4)"}\n'
NAMED = "  columns: {Symbol: symbol, Date: day, Close: close}\n" + TYPES
CHINESE = "  columns: {代码: symbol, 日期: day, 收盘: close}\n" + TYPES
ROWS = [("A", dt.date(2024, 1, 2), Decimal("10.5000")), ("B", dt.date(2024, 1, 3), Decimal("0.3000"))]


def parquet() -> bytes:
    frame = pl.DataFrame(
        {"Symbol": ["A", "B"], "Date": [dt.date(2024, 1, 2), dt.date(2024, 1, 3)], "Close": [10.5, 0.3], "x": [1, 2]}
    )
    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()


def workbook(cells: list[list[Any]], sheet: str = "Sheet1") -> bytes:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.title = "notes"
    page = book.create_sheet(sheet)
    for row in cells:
        page.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def lines(*objects: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in objects).encode()


OBJECTS = [{"Symbol": "A", "Date": "2024-01-02", "Close": 10.5}, {"Symbol": "B", "Date": "2024-01-03", "Close": 0.3}]
SHEET = [
    ["delivered by the vendor"],
    ["Symbol", "Date", "Close"],
    ["A", dt.date(2024, 1, 2), 10.5],
    ["B", dt.date(2024, 1, 3), 0.1 + 0.2],
]
DELIVERIES = {
    "tab": ("  delimiter: \"\\t\"\n  glob: '*.tsv'\n" + NAMED, "a.tsv",
            b"Symbol\tDate\tClose\nA\t2024-01-02\t10.5\nB\t2024-01-03\t0.3\n"),
    "quoted": ("  columns: {Symbol: symbol, 'Date, local': day, Close: close}\n" + TYPES, "a.csv",
               b'"Symbol","Date, local","Close"\n"A","2024-01-02","10.5"\n"B","2024-01-03","0.3"\n'),
    "headerless": ("  header: false\n  columns: [symbol, day, close]\n" + TYPES, "a.csv",
                   b"\xef\xbb\xbfA,2024-01-02,10.5\nB,2024-01-03,0.3\n"),
    "numbered": ("  header: false\n  columns: {1: symbol, 4: close, 2: day}\n" + TYPES, "a.csv",
                 b"A,2024-01-02,x,10.5\nB,2024-01-03,x,0.3\n"),
    "fixed": ("  format: fixed_width\n  widths: [3, 10, 8]\n" + NAMED, "a.txt",
              b"SymDate      Close\nA  2024-01-02    10.5\nB  2024-01-03     0.3\n"),
    "fixed headerless": ("  format: fixed_width\n  header: false\n  widths: [3, 10, 8]\n"
                         "  columns: [symbol, day, close]\n" + TYPES, "a.txt",
                         b"A  2024-01-02    10.5\r\nB  2024-01-030.3\r\n"),
    "json lines": ("  format: json_lines\n" + NAMED, "a.jsonl", lines(*OBJECTS)),
    "json": ("  format: json\n  rows: data.items\n  columns: {id.Symbol: symbol, Date: day, Close: close}\n" + TYPES,
             "a.json", json.dumps({"data": {"items": [{**row, "id": row} for row in OBJECTS]}}).encode()),
    "json arrays": ("  format: json\n  rows: data\n  columns: {1: day, 2: symbol, 3: close}\n" + TYPES, "a.json",
                    b'{"code": "0", "data": [["2024-01-02", "A", "10.5"], ["2024-01-03", "B", 0.3]]}'),
    "json lines of arrays": ("  format: json_lines\n  columns: {1: day, 2: symbol, 3: close}\n" + TYPES, "a.jsonl",
                             b'["2024-01-02", "A", "10.5"]\n["2024-01-03", "B", 0.3]\n'),
    "json by key": ("  format: json\n  rows: Series (Daily)\n  columns: {'@key': day, s: symbol, 4. close: close}\n"
                    + TYPES, "a.json", b'{"Series (Daily)": {"2024-01-02": {"s": "A", "4. close": "10.5"},'
                    b' "2024-01-03": {"s": "B", "4. close": "0.3"}}}'),
    "json by symbol": ("  format: json\n  columns: {'@key': symbol, 1: day, 2: close}\n" + TYPES, "a.json",
                       b'{"A": {"1": "2024-01-02", "2": 10.5}, "B": {"1": "2024-01-03", "2": 0.3}}'),
    "json columns": ("  format: json\n  rows: result\n  columns: {t: day, s: symbol, c: close}\n" + TYPES, "a.json",
                     b'{"result": {"t": ["2024-01-02", "2024-01-03"], "s": ["A", "B"], "c": [10.5, 0.3], "ok": true}}'),
    "page": ("  format: excel\n  glob: '*.xls'\n" + CHINESE, "a.xls",
             "<html><meta charset='gbk'><table><tr><td>x</table><TABLE><tr><th>代码<th>日期<th>收盘</tr><tr><td> A</td>"
             "<td>2024-01-02<td><b>10</b>.5</tr><tr><td>B<td>2024-01-03<td>0.3</table>".encode("gbk")),
    "page within a page": ("  format: excel\n  glob: '*.xls'\n" + CHINESE, "a.xls",
             "<html><table><tr><td>menu<table><tr><th>代码<th>日期<th>收盘<tr><td>A<td>2024-01-02<td>10.5"
             "<tr><td>B<td>2024-01-03<td>0.3</table>foot<td>more</table>".encode()),
    "page with cells over rows": ("  format: excel\n  glob: '*.xls'\n" + CHINESE, "a.xls",
             "<table><tr><th>板块<th>代码<th>日期<th>收盘<tr><td rowspan=2>主板</td><td>A"
             "<td>2024-01-02<td>10.5</tr><tr><td>B<td>2024-01-03<td>0.3</table>".encode()),
    "parquet": ("  format: parquet\n" + NAMED, "a.parquet", parquet()),
    "gzip": ("  glob: '*.csv.gz'\n" + NAMED, "a.csv.gz",
             gzip.compress(b"Symbol,Date,Close\nA,2024-01-02,10.5\nB,2024-01-03,0.3\n")),
}  # fmt: skip


def definition(folder: Path, loader: str) -> FlowDefinition:
    return flow(folder, f"loader:\n{loader}{TARGET}")


@pytest.mark.parametrize("case", [*DELIVERIES, "excel"])
def test_a_delivery_gives_its_rows_whatever_its_format(case: str, tmp_path: Path) -> None:
    excel = "  format: excel\n  sheet: prices\n  skip_lines: 1\n" + NAMED
    loader, name, data = DELIVERIES.get(case) or (excel, "a.xlsx", workbook(SHEET, "prices"))
    if case == "fixed":
        loader = loader.replace("Symbol: symbol", "Sym: symbol")
    deliver(tmp_path, name, data)
    found = read_all(definition(tmp_path, loader), tmp_path)
    assert [(row["symbol"], row["day"], Decimal(str(row["close"]))) for row in found] == ROWS


BAD = {
    "fixed": ("  format: fixed_width\n  header: false\n  widths: [3, 10, 8]\n  columns: [symbol, day, close]\n" + TYPES,
              "a.txt", b"A  2024-01-02    10.5\nB  2024\nC  2024-01-02 1.23456\n",
              {2: "7 characters, expected 14 to 21", 3: "close '1.23456' is no numeric(16,4), or has more"}),
    "json lines": ("  format: json_lines\n" + NAMED, "a.jsonl",
                   lines(OBJECTS[0])
                   + b'{"Symbol": \n1\n{"Symbol": "A", "Date": "2024-01-05", "Close": 1.23456}\n[1, 2]\n'
                   + b'{"Symbol": "B", "Date": "2024-01-05", "Close" : 1.5, "Close" : 2.5}\n',
                   {2: "not JSON: ", 3: "not an object", 4: "close '1.23456' is no numeric(16,4), or has more",
                    5: "an array, and loader.columns names keys of objects",
                    6: "not JSON: an object has a name twice"}),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_row_that_is_none_is_rejected_with_its_line(case: str, dsn: str, tmp_path: Path) -> None:
    loader, name, data, reasons = BAD[case]
    defined = flow(tmp_path, f"loader:\n{loader}{TARGET}quality: {{max_rejected_share: 0.9}}\n")
    deliver(tmp_path, name, data)
    report = run(defined, dsn, tmp_path)
    assert not report.failed, report.failed
    assert rows(dsn, "SELECT symbol, day, close FROM prices") == ROWS[:1]
    found = quarantined(dsn)
    assert [line for _, line, _, _ in found] == [*reasons]
    for (_, line, reason, raw), said in zip(found, reasons.values(), strict=True):
        assert reason.startswith(said)
        assert raw == data.decode().split("\n")[line - 1]


def test_a_value_of_a_parquet_file_is_rejected_when_it_would_lose_digits(tmp_path: Path, dsn: str) -> None:
    times = pl.Series([1, 1000, 2000, 3000]).cast(pl.Datetime("ns", "Asia/Shanghai"))
    frame = pl.DataFrame(
        {"t": times, "x": [1.0, 1.00001, 2.5, float("nan")], "n": [1, 2, 2**40, 4], "s": ["a", None, "c", "d"]}
    )
    frame.write_parquet(tmp_path / "a.parquet")
    defined = flow(
        tmp_path,
        "loader:\n  format: parquet\n  columns: [t, x, n, s]\n"
        "  types: {t: timestamptz, x: 'numeric(8,4)', n: integer}\n"
        "target: {table: prices, mode: append, columns: {t: timestamptz, x: 'numeric(8,4)', n: integer, s: text}}\n"
        "quality: {max_rejected_share: 0.9}\n",
    )
    assert not run(defined, dsn, tmp_path).failed
    assert rows(dsn, "SELECT t AT TIME ZONE 'UTC', x, n, s FROM prices") == [
        (dt.datetime(1970, 1, 1, 0, 0, 0, 3), None, 4, "d")
    ]
    reasons = [(line, reason.partition(" is ")[0]) for _, line, reason, _ in quarantined(dsn)]
    assert reasons == [(1, "t '1970-01-01 00:00:00.000000001+00:00'"), (2, "x '1.00001'"), (3, "n '1099511627776'")]
    assert json.loads(quarantined(dsn)[1][3])["x"] == 1.00001


def test_the_name_of_a_file_gives_columns(dsn: str, tmp_path: Path) -> None:
    defined = flow(
        tmp_path,
        """loader:
  glob: "**/*.csv*"
  file_name: "{exchange}/{symbol}_{day}.csv"
  file_columns: {source: name, place: folder, row: line, changed: modified}
  columns: {Close: close}
  types: {close: "numeric(16,4)", day: {type: date, format: "%Y%m%d"}}
target:
  table: prices
  key: [symbol, row]
  columns: {exchange: text, symbol: text, day: date, close: "numeric(16,4)", source: text, place: text, row: bigint,
            changed: timestamptz}
""",
    )
    deliver(tmp_path, "us/XNAS/BRK_B_20240102.csv.gz", gzip.compress(b"Close\n1\n2\n"), iter([1_700_000_000]))
    deliver(tmp_path, "us/XNAS/AAPL_2024.csv", "Close\n1\n")
    deliver(tmp_path, "README.csv", "Close\n1\n")
    report = run(defined, dsn, tmp_path)
    errors = sorted(failed.error or "" for failed in report.failed)
    assert errors[0].startswith(
        "README.csv: its name is not as loader.file_name declares ({exchange}/{symbol}_{day}.csv)"
    )
    assert errors[1].startswith("us/XNAS/AAPL_2024.csv: its name gives day '2024' is no date (%Y%m%d)")
    got = rows(dsn, "SELECT exchange, symbol, day, close, source, place, row, extract(epoch FROM changed) FROM prices")
    same = ("XNAS", "BRK_B", dt.date(2024, 1, 2))
    after = ("BRK_B_20240102.csv.gz", "us/XNAS")
    assert sorted(got) == [
        (*same, Decimal(1), *after, 2, Decimal(1_700_000_000)),
        (*same, Decimal(2), *after, 3, Decimal(1_700_000_000)),
    ]


def test_a_function_of_the_user_reads_a_format_of_their_own(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import polars as pl\n\n\ndef read(file, factor):\n"
        "    for line in file.read().decode().splitlines():\n"
        "        symbol, close = line.split('=')\n"
        "        yield pl.DataFrame({'symbol': [symbol], 'close': [int(close) * factor]})\n"
    )
    defined = flow(
        tmp_path,
        "loader:\n  function: .mine.read\n  arguments: {factor: 2}\n  glob: '*.dat'\n  columns: [symbol, close]\n"
        "target: {table: prices, key: [symbol], columns: {symbol: text, close: bigint}}\n",
    )
    deliver(tmp_path, "a.dat", "A=1\nB=2\n")
    assert not run(defined, dsn, tmp_path).failed
    assert rows(dsn, "SELECT symbol, close FROM prices ORDER BY 1") == [("A", 2), ("B", 4)]
    deliver(tmp_path, "b.dat", "A\n")
    assert "b.dat: loader.function .mine.read: ValueError: not enough values to unpack" in only_error(
        defined, dsn, tmp_path
    )


@pytest.mark.parametrize(
    ("loader", "name", "data", "said"),
    [
        (DELIVERIES["headerless"][0], "a.csv", b"A,2024-01-02\n",
         "a.csv:1: the row has 2 columns, and loader.columns takes column 3"),
        (DELIVERIES["json"][0], "a.json", b'{"data": 1}', "a.json: no rows at data.items; correct"),
        (DELIVERIES["json"][0], "a.json", b'{"data": {"items": {"A": {"p": 1}, "A": {"p": 2}}}}', "a name twice"),
        (DELIVERIES["json columns"][0], "a.json", b'{"result": {"t": ["2024-01-02"], "s": [], "c": [1]}}',
         "a.json: no rows at result; correct"),
        (DELIVERIES["json lines"][0], "a.jsonl", b'{"symbol": 1}\n', "a.jsonl:1: no row has Symbol, Date, Close."),
        (DELIVERIES["parquet"][0], "a.parquet", b"PAR1", "a.parquet: not a Parquet file that can be read"),
        ("  format: excel\n" + NAMED, "a.xlsx", b"x", "a.xlsx: not a workbook that can be read"),
    ],
)  # fmt: skip
def test_a_file_of_another_shape_fails_with_the_reason(
    loader: str, name: str, data: bytes, said: str, tmp_path: Path
) -> None:
    path = deliver(tmp_path, name, data)
    with pytest.raises(LoadError) as raised:
        try_file(definition(tmp_path, loader), path)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("loader", "said"),
    [
        ("  widths: [3]\n" + NAMED, "loader.widths: belongs to format: fixed_width"),
        ("  format: json\n  delimiter: ';'\n" + NAMED, "loader.delimiter: belongs to format: csv; take it out"),
        ("  header: false\n" + NAMED, "loader.columns.Symbol: without a header a column is named by its number"),
        ("  file_name: AAPL.csv\n" + NAMED, "loader.file_name: names no column; write such as {symbol}.csv"),
        ("  file_columns: {row: number}\n" + NAMED, "loader.file_columns.row: "),
        ("  function: .mine.read\n  format: csv\n" + NAMED, "loader.format: give either a format or a function"),
        ("  arguments: {a: 1}\n" + NAMED, "loader.arguments: belongs to loader.function"),
    ],
)
def test_keys_that_do_not_belong_together_are_errors(loader: str, said: str) -> None:
    with pytest.raises(InvalidConfigFile) as raised:
        parse_flow(f"loader:\n{loader}{TARGET}")
    assert said in str(raised.value)


def test_an_empty_file_of_any_format_has_no_rows(tmp_path: Path) -> None:
    for case in ("headerless", "fixed headerless", "json lines", "json"):
        loader, name, _ = DELIVERIES[case]
        path = deliver(tmp_path / case, name, b"")
        assert try_file(definition(tmp_path, loader), path).rows.height == 0


def test_a_row_of_another_length_than_the_names_in_the_first_array_is_rejected(dsn: str, tmp_path: Path) -> None:
    """Its values belong to no column, or one of them has none."""
    days = [f"2024-01-{day:02}" for day in range(2, 12)]
    document = [["Symbol", "Date", "Close"], *(["A", day, 1] for day in days), ["B", days[0], 2, 9], ["C", days[0]]]
    defined = flow(tmp_path, f"loader:\n  format: json\n{NAMED}{TARGET}quality: {{max_rejected_share: 0.9}}\n")
    deliver(tmp_path, "a.json", json.dumps(document))
    report = run(defined, dsn, tmp_path)
    assert (report.failed, report.rows, report.rejected) == ((), 10, 2)
    assert [(line, json.loads(raw)) for _, line, _, raw in quarantined(dsn)] == [(11, document[11]), (12, document[12])]
