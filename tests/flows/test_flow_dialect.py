"""Files with quotes, escapes, comments and footers of their own give what pandas reads of them."""

import datetime as dt
import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.flows import delimited
from marketdata_assets.flows.definition import FlowDefinition, Loader, parse
from marketdata_assets.flows.trial import Trial, try_file
from marketdata_assets.flows.types import column_type
from marketdata_assets.loading import text as loading_text
from marketdata_assets.loading.errors import BadFile
from tests.flows.flow_files import deliver, flow

TARGET = "target: {table: t, mode: replace, columns: {sym: text, name: text, px: text}}\n"


def defined(loader: str, target: str = TARGET) -> FlowDefinition:
    return parse(f"loader:\n  columns: [sym, name, px]\n{loader}{target}quality: {{max_rejected_share: 0.9}}\n")


def tried(folder: Path, data: str | bytes, loader: str, target: str = TARGET) -> Trial:
    return try_file(defined(loader, target), deliver(folder, "a.csv", data))


DIALECTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "quotes are data": ("  delimiter: '|'\n  quote: none\n", {"sep": "|", "quoting": 3},
                        'sym|name|px\nA|"Foo|1\nB|b|2\nC|c"|3\nD|5" pipe|4\n'),
    "single quotes": ("  quote: \"'\"\n", {"quotechar": "'"}, "sym,name,px\nA,'Foo, \"x\"',1\nB,'it''s\nso',2\n"),
    "escaped quotes": ("  escape: \\\n", {"escapechar": "\\"},
                       'sym,name,px\nA,"a \\"q\\", b",1\nB,"\\\\",2\nC,x\\,y,3\nD,"a\nb \\" c",4\n'),
    "comments": ("  comment: '#'\n", {"comment": "#"}, "# made, today\nsym,name,px\nA,a,1\n# it's \"odd\nB,b,2\n"),
    "a footer": ("  skip_footer: 2\n", {"skipfooter": 2, "engine": "python"},
                 "sym,name,px\nA,a,1\nB,b,2\nTotal,,3\nmade by us\n"),
    "initial blanks": ("", {"skipinitialspace": True}, 'sym, name, px\nA, "Foo, Inc", 1\nB, b, 2\n'),
    "many characters": ("  delimiter: '||'\n", {"sep": r"\|\|", "engine": "python"},
                        "sym||name||px\nA||a|b||1\nB||b||2\n"),
    "fields of Hive": ("  delimiter: \"\\x01\"\n", {"sep": "\x01"}, "sym\x01name\x01px\nA\x01a,b\x011\n"),
    "a separator that is data": ("  delimiter: '||'\n", {"sep": r"\|\|", "engine": "python"},
                                 "sym||name||px\nA||a\x1fb||1\n"),
}  # fmt: skip


@pytest.mark.parametrize("lane", ["fast", "careful"])
@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_is_read_as_pandas_reads_it(
    name: str, lane: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader, options, data = DIALECTS[name]
    if lane == "careful":
        monkeypatch.setattr(delimited.Reader, "_fast", lambda *_: None)
    got = tried(tmp_path, data, loader)
    expected = pd.read_csv(io.StringIO(data), dtype=str, keep_default_na=False, **options)
    assert dict(got.rejects) == {}
    assert [list(row) for row in got.rows.rows()] == expected.to_numpy().tolist()


CELLS = st.text(st.sampled_from("xé名\"',|\\ \x1f#"), max_size=5).map(str.strip)


@given(
    st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8),
    st.sampled_from(["utf-8", "gb18030"]),
    st.sampled_from([8, 1 << 20]),
)
def test_what_is_written_with_escapes_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, ...]], encoding: str, size: int
) -> None:
    frame = pd.DataFrame([("x", "x", "x"), *cells], columns=["sym", "name", "px"])
    text = frame.to_csv(index=False, quoting=1, doublequote=False, escapechar="\\")
    loader = f"  escape: \\\n  encoding: {encoding}\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading_text, "BLOCK_BYTES", size)
        patch.setattr(delimited, "SMALL_BYTES", 1 << 30)
        got = tried(tmp_path_factory.mktemp("escapes"), text.encode(encoding), loader)
    assert got.rows.rows() == [tuple(cell or None for cell in row) for row in frame.to_numpy().tolist()]


@pytest.mark.parametrize("size", [8, 1 << 20])
@pytest.mark.parametrize("footer", [0, 1, 3, 9])
def test_each_line_of_a_file_is_a_row_or_left_out(
    footer: int, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading_text, "BLOCK_BYTES", size)
    text = "sym,name,px\nTicker,AAPL,AAPL\n" + "".join(f"{n},a,{n}\n" for n in range(4)) + "合计,,10\nB,b,2\n小计,,2\n"
    got = tried(tmp_path, text, f"  drop: '^(合计|小计|Ticker),'\n  skip_footer: {footer}\n")
    present = [line.split(",")[0] for line in text.split("\n")[1:-1]]
    present = present[: len(present) - footer] if footer < len(present) else []
    kept = [name for name in present if name not in ("合计", "小计", "Ticker")]
    assert (got.rows["sym"].to_list(), got.read, dict(got.rejects)) == (kept, 8, {})


def test_texts_of_missing_are_those_of_their_column(tmp_path: Path) -> None:
    target = "target: {table: t, mode: replace, columns: {sym: text, name: text, px: double}}\n"
    for text in ("sym,name,px\nNA,NA,NA\n.,.,1.5\n-,-,-\n", 'sym,name,px\nNA,"NA",NA\n.,.,1.5\n-,-,-\n'):
        got = tried(tmp_path, text, "  types: {px: double}\n  missing: {px: [NA, '-'], name: ['.']}\n", target)
        assert got.rows.rows() == [("NA", "NA", None), (".", None, 1.5), ("-", "-", None)]
    with pytest.raises(InvalidConfigFile, match=r"no column of loader.columns. did you mean 'px'"):
        defined("  missing: {pxx: [NA]}\n")


@pytest.mark.parametrize("kind", ["bigint", "integer", "double", "numeric(16,4)"])
@pytest.mark.parametrize("end", ["", ' "x"', "quoted"])
def test_a_number_with_leading_zeros_rejects_its_row_unless_declared(kind: str, end: str, tmp_path: Path) -> None:
    text = "sym,name,px\n" + "".join(
        f"A{end},2024-01-02,{number}\n" for number in ("600000", "000001", "-07", "0", "-0", "0.0", "100")
    )
    if end == "quoted":
        text = "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in text.split("\n")[:-1]) + "\n"
    target = f"target: {{table: t, mode: replace, columns: {{sym: text, name: date, px: '{kind}'}}}}\n"
    got = tried(tmp_path, text, f"  types: {{name: date, px: '{kind}'}}\n", target)
    assert [float(value) for value in got.rows["px"]] == [600000, 0, 0, 0, 100]
    assert [*got.rejects] == [3, 4]
    assert "px '000001' begins with 0" in got.rejects[3]
    declared = f"  types: {{name: date, px: {{type: '{kind}', leading_zeros: true}}}}\n"
    assert tried(tmp_path, text, declared, target).rows.height == 7


def test_what_excel_writes_is_undone_where_it_is_declared(tmp_path: Path) -> None:
    text = 'sym,name,px\n="000001",\'000001,"¥1,234.50"\n="000002",b,"(1,234.50)"\n="",c,-¥5\n="x",d,7.25元\n'
    types = (
        "  types: {sym: {type: text, excel_text: true}, name: {type: text, excel_text: true},"
        " px: {type: 'numeric(16,4)', thousands: ',', currency: ¥, parentheses: true}}\n"
    )
    target = "target: {table: t, mode: replace, columns: {sym: text, name: text, px: 'numeric(16,4)'}}\n"
    got = tried(tmp_path, text, types, target)
    assert got.rows.rows() == [("000001", "000001", 1234.5), ("000002", "b", -1234.5), (None, "c", -5)]
    assert got.rejects == {5: "px '7.25元' is no numeric(16,4) with groups of ',', '¥' beside them, or has more digits"
                              " than it keeps"}  # fmt: skip


def test_a_name_twice_in_the_header_is_two_columns_where_both_are_declared(tmp_path: Path) -> None:
    loader = Loader(columns={"a": "a", "p": "p", "p#2": "q"}, types={"q": column_type("bigint")})
    one = parse(
        "loader: {columns: {a: sym, p: name, 'p#2': px}}\n" + TARGET,
    )
    assert [*loader.columns] == [*one.loader.columns]
    path = deliver(tmp_path, "a.csv", "p,a,p\n1,x,2\n")
    assert try_file(one, path).rows.rows() == [("x", "1", "2")]


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("form", ["csv", "fixed_width"])
def test_a_byte_order_mark_is_no_part_of_the_first_row(encoding: str, form: str, tmp_path: Path) -> None:
    text = "\ufeff浦发银行,1\n万科企业,2\n".replace(",", "," if form == "csv" else "")
    widths = "\n  format: fixed_width\n  widths: [4, 1]" if form == "fixed_width" else ""
    defined = parse(
        f"loader:\n  encoding: {encoding}\n  header: false{widths}\n  columns: {{1: name, 2: px}}\n"
        "  types: {px: bigint}\ntarget: {table: t, mode: append, columns: {name: text, px: bigint}}\n",
        name="t",
    )
    tried = try_file(defined, deliver(tmp_path, "a.csv", text.encode(encoding)))
    assert (tried.rows.rows(), dict(tried.rejects)) == ([("浦发银行", 1), ("万科企业", 2)], {})


@pytest.mark.parametrize("rows", [2, 9000])
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
@pytest.mark.parametrize("blank", ["\u3000", "\xa0", " \u3000 "])
def test_blanks_of_any_width_around_a_cell_are_no_part_of_it(
    blank: str, encoding: str, rows: int, tmp_path: Path
) -> None:
    """A code with one behind it would be another key; those within a name are its own."""
    text = "code,px\n" + "".join(f"{blank}万\u3000科{number}{blank},{blank}2{blank}\n" for number in range(rows))
    defined = parse(
        f"loader:\n  encoding: {encoding}\n  columns: {{code: code, px: px}}\n"
        "  types: {px: bigint}\ntarget: {table: t, key: [code], columns: {code: text, px: bigint}}\n",
        name="t",
    )
    tried = try_file(defined, deliver(tmp_path, "a.csv", text.encode(encoding)))
    assert (tried.rows.rows(), dict(tried.rejects)) == ([(f"万\u3000科{n}", 2) for n in range(rows)], {})


def test_lines_that_end_with_cr_alone_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="its lines end with CR alone"):
        try_file(flow(tmp_path), deliver(tmp_path, "a.csv", "code,day,close,volume\rA,2024-01-02,1,2\r"))


def test_totals_of_a_sheet_and_of_fixed_widths_are_left_out(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["sym", "name", "px"], ["A", "a", 1], [None, "小计", 1], [], ["合计", None, 1], ["made", "by", "us"]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    ends = '  drop: "^,?(合计|小计)"\n  skip_footer: 1\n'
    got = try_file(defined(f"  format: excel\n{ends}"), tmp_path / "a.xlsx")
    assert (got.rows.rows(), got.read) == ([("A", "a", "1")], 4)
    path = deliver(tmp_path, "a.txt", "symnamepx\nA  a   1\n合计     1\nmade by us\n")
    got = try_file(defined(f"  format: fixed_width\n  widths: [3, 4, 2]\n{ends}"), path)
    assert (got.rows.rows(), got.read) == ([("A", "a", "1")], 3)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("date", [dt.date(2024, 1, 2)]),
        ("timestamp", [dt.datetime(2024, 1, 2), dt.datetime(2024, 1, 2, 15, 30)]),
        ("timestamptz", [dt.datetime(2024, 1, 1, 16, tzinfo=dt.UTC), dt.datetime(2024, 1, 2, 7, 30, tzinfo=dt.UTC)]),
    ],
)
def test_days_of_excel_are_days_and_clocks_of_their_zone(kind: str, expected: list[Any], tmp_path: Path) -> None:
    target = f"target: {{table: t, mode: replace, columns: {{px: {kind}}}}}\n"
    zone = ", zone: Asia/Shanghai" if kind == "timestamptz" else ""
    text = "sym,name,px\nA,a,45293\nB,b,45293.6458333333\nC,c,soon\n"
    got = tried(tmp_path, text, f"  types: {{px: {{type: {kind}, excel_days: true{zone}}}}}\n", target)
    assert got.rows["px"].to_list() == expected
    assert got.rejects[4] == "px 'soon' is no number of days since 1899-12-30"
