"""How a sample is read before anything is known of it: encoding, cells, header, and the lines that are no rows."""

import datetime as dt
import gzip
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pandas as pd
import polars as pl
import psycopg
import pytest

from marketdata_assets.flows import sample, status
from marketdata_assets.flows.definition import parse
from marketdata_assets.flows.draft import draft
from marketdata_assets.flows.trial import try_file
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.text import OPEN_END
from tests.flows.flow_files import deliver, made, rows, run


def test_a_file_that_is_no_table_says_so(tmp_path: Path) -> None:
    for name, data, said in [("a.bin", b"\0\1", "it is not text"), ("a.json", b"{}", "no array of objects or arrays")]:
        with pytest.raises(BadFile, match=said):
            made(tmp_path, name, data)


HEADERS: dict[str, tuple[str, list[str], int]] = {
    "years": ("Country Name,Country Code,1960,1961\nAruba,ABW,1.5,2.5\nChina,CHN,,3.5\n",
              ["Country Name", "Country Code", "1960", "1961"], 2),
    "descending years": ("item,2024,2023,2022\nsales,1,2,3\ncosts,2,3,4\n", ["item", "2024", "2023", "2022"], 2),
    "quarters": ("item,2024Q1,2024Q2\nsales,1.5,2\ncosts,2,3\n", ["item", "2024Q1", "2024Q2"], 2),
    "twice": ("code,date,price,price,volume\nA,2024-01-02,1.5,1.6,10\nB,2024-01-02,2.5,2.6,20\n",
              ["code", "date", "price", "price#2", "volume"], 2),
    "numbers": ("Date,1,2,30\n2024-01-02,5.5,5.4,4.3\n2024-01-03,5.5,5.4,4.3\n", ["Date", "1", "2", "30"], 2),
    "none": ("A,2024-01-02,1.5\nB,2024-01-02,2.5\n", ["1", "2", "3"], 2),
    "none, of years": ("A,2023,2024\nB,2022,2025\nC,2021,2020\n", ["1", "2", "3"], 3),
    "none, of texts": ("AAPL,XNAS,USD\nMSFT,XNAS,USD\n", ["1", "2", "3"], 2),
    "none, dates": ("20240102,000001,5.5\n20240103,000001,5.4\n", ["1", "2", "3"], 2),
    "units": ("日期,代码,成交量\n,,手\n2024-01-02,000001,5\n2024-01-03,000001,6\n2024-01-04,000001,6\n",
              ["日期", "代码", "成交量"], 3),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_the_header_is_found_and_no_row_is_taken_for_it(name: str, tmp_path: Path) -> None:
    data, names, count = HEADERS[name]
    flow, one, path = made(tmp_path, "some table.csv", data)
    assert [*flow.loader.columns] == names
    tried = try_file(flow, path)
    assert (tried.rows.height, dict(tried.rejects)) == (count, {})
    said = {"years": "names that are periods", "twice": "the header has price more than once", "none": "no header"}
    assert any(said.get(name, "") in remark for remark in one.unsure)


@pytest.mark.parametrize(
    ("first", "column", "kind"),
    [("2024-01-02 09:31:00", "time", "timestamp"), ("2024-01-02", "date", "date"), ("AAPL", "index", "text")],
)
def test_a_first_column_without_a_name_is_kept_unless_it_counts_rows(
    first: str, column: str, kind: str, tmp_path: Path
) -> None:
    frame = pd.DataFrame({"open": [1.5, 2.5]}, index=[first, first[:-1] + "9"])
    flow, one, path = made(tmp_path, "600001.XSHG.csv", frame.to_csv())
    assert flow.target.columns[column].kind == kind
    assert f"column 1 has no name and is called {column}" in one.unsure
    assert [str(row[-2]) for row in try_file(flow, path).rows.rows()] == [*map(str, frame.index)]
    flow, one, _ = made(tmp_path, "b.csv", pd.DataFrame({"day": ["2024-01-02"] * 2, "open": [1.5, 2.5]}).to_csv())
    assert [*flow.loader.columns] == ["day", "open"]
    assert "column 1 has no name and is left out" in one.unsure


def test_lines_of_header_that_tell_columns_of_one_name_apart_are_labels(tmp_path: Path) -> None:
    two = "Price,Close,Close\nTicker,AAPL,MSFT\nDate,,\n2024-01-02,1.5,2.5\n2024-01-03,1.6,2.6\n"
    flow, one, path = made(tmp_path, "two.csv", two)
    rows = try_file(flow, path).rows
    assert (rows["close_aapl"].to_list(), rows["close_msft"].to_list()) == ([1.5, 1.6], [2.5, 2.6])
    assert any("2 more lines belong to the header" in remark for remark in one.unsure)


@pytest.mark.parametrize("line", [",,元,{1}", "单位,,元,{1}", "指标,,{},{}", "{1},,元,手"])
def test_a_line_of_a_header_that_says_something_else_in_another_file_is_no_part_of_it(
    line: str, tmp_path: Path
) -> None:
    """In another unit its numbers would be loaded as they are."""
    body = "".join(f"{code:06},2024-01-02,9.65,{code}\n" for code in range(1, 9))
    flow, _, path = made(tmp_path, "a.csv", f"代码,日期,收盘价,成交量\n{line.format('', '手')}\n{body}")
    tried = try_file(flow, path)
    assert (tried.read, tried.rows.height, tried.rejects) == (9, 8, {})
    other = deliver(tmp_path, "b.csv", f"代码,日期,收盘价,成交量\n{line.format('千', '股')}\n{body}")
    assert [*try_file(flow, other).rejects] == [2]


@pytest.mark.parametrize("end", ["", ",,,"])
def test_lines_above_a_header_are_skipped_with_a_remark(end: str, tmp_path: Path) -> None:
    """Those of a sheet that was saved as CSV have as many delimiters as its rows."""
    above = f"导出时间：2024-01-02{end}\n单位：手{end}\n"
    flow, one, path = made(tmp_path, "a.csv", f"{above}代码,日期,收盘价,成交量\n000001,2024-01-02,9.65,100\n")
    assert [str(value) for value in try_file(flow, path).rows.row(0)] == ["000001", "2024-01-02", "9.65", "100"]
    assert any(remark.startswith("'导出时间：2024-01-02' above the header is skipped") for remark in one.unsure)


@pytest.mark.parametrize(("of_header", "of_rows"), [("", ","), (",", ""), (",", ",")])
def test_a_delimiter_at_the_end_of_rows_or_of_the_header_is_no_column(
    of_header: str, of_rows: str, tmp_path: Path
) -> None:
    """The header is not lost to a flow of numbered columns, which would load files with another order as they are."""
    rows = [f"{n:06},2024-01-02,{n}.5,{n}00,{'x' * 400}" for n in range(1, 2_700)]  # beyond the sample
    text = "\n".join([f"代码,日期,收盘价,成交量,备注{of_header}", *(row + of_rows for row in rows), ""])
    flow, _, path = made(tmp_path, "a.csv", text)
    assert (flow.loader.header, [*flow.loader.columns]) == (True, ["代码", "日期", "收盘价", "成交量", "备注"])
    assert try_file(flow, path).rows.height == len(rows)
    other = deliver(
        tmp_path, "b.csv", f"备注,收盘价,代码,日期,成交量{of_header}\nx,9.65,000001,2024-01-03,100{of_rows}\n"
    )
    assert [str(value) for value in try_file(flow, other).rows.row(0)][:-1] == ["000001", "2024-01-03", "9.65", "100"]
    joined = deliver(tmp_path, "c.csv", text[:2000].rpartition("\n")[0] + "\n" + other.read_text())
    with pytest.raises(BadFile, match="is a header of other columns or another order"):
        try_file(flow, joined)


BODY = "".join(f"2024-01-{n % 28 + 1:02},{n:06},{n}.5\n" for n in range(60_000))


ENDS: dict[str, tuple[str, str]] = {
    "a total": ("合计,,9.5\n", "drop"),
    "subtotals": ("小计,,1.5\n2024-01-02,600000,1.5\n小计,,1.5\n总计,,3\n", "drop"),
    "Total": ("Total,,9.5\n", "drop"),
    "a time": ("File Creation Time: 1124202521:30,,\n", "drop"),
    "a source": ("数据来源:通达信\n", "drop"),
    "a short line": ("END OF FILE\n", "drop"),
    "a day": ("Report generated 2024-01-02\n", "drop"),
    "a count": ("60000,,\n", "drop"),
    "a line of Windows": ("END OF FILE\r\n", "drop"),
    "nothing": ("", ""),
}


BODIES = {"short": BODY[:300], "middle": BODY[:400_000], "long": BODY}
LENGTHS = [(name, length) for name in ENDS for length in ("short", "long")]
LENGTHS += [("subtotals", "middle"), ("a count", "middle")]


TICKERS = ("AAPL", "AMZN", "GOOG", "IBM", "META", "MSFT", "NVDA", "TSLA")
STOCKS = [f"{600000 + n}" for n in range(8)]
LAST: dict[str, tuple[str, Sequence[str], str, str, str]] = {
    "without values": ("symbol,close,volume", TICKERS, "{},1.5,100", "ZION,,", ""),
    "a code without values": ("代码,收盘,成交量", STOCKS, "{},1.5,100", "688999,,", ""),
    "cut in a value": ("symbol,date,close,volume", TICKERS, "{},2024-01-02,1.5,100", "ZION,2024-01-02,4", "3 cells"),
    "cut in a day": ("symbol,date,close,volume", TICKERS, "{},2024-01-02,1.5,100", "ZION,2024-01-0", "2 cells"),
    "a delimiter too many": (
        "symbol,date,close,name",
        TICKERS,
        "{},2024-01-02,1.5,A Inc",
        "BRK.B,2024-01-02,9,B, I",
        "5",
    ),
    "two of other widths": (
        "symbol,day,px,qty",
        TICKERS,
        "{},2024-01-02,1,2",
        "X1,2024-01-02,1,2,3\nX2,2024-01-02,5",
        "3 c",
    ),
    "a ticker that is a word": ("symbol,close,volume", TICKERS, "{},1.5,100", "SUM,,", ""),
    "a name of words": ("name,close,volume", [f"{one} Inc" for one in TICKERS], "{},1.5,100", "Zions Bancorp,,", ""),
}


@pytest.mark.parametrize("body", [1, 3000], ids=["short", "long"])
@pytest.mark.parametrize("case", LAST)
def test_a_last_row_of_the_sample_declares_nothing_that_takes_rows_of_another_file(
    case: str, body: int, tmp_path: Path
) -> None:
    """A line that begins as the others do is a row of it, rejected where it has another number of cells, and named."""
    header, subjects, line, last, cells = LAST[case]
    lines = [line.format(subject) for subject in subjects] * body
    flow, one, path = made(tmp_path, "some table.csv", "\n".join([header, *lines, last, ""]))
    assert not {"drop", "skip_footer"} & flow.loader.model_fields_set
    tried = try_file(flow, path)
    assert len(tried.rejects) == (last.count("\n") + 1 if cells else 0)
    assert any(cells in remark and repr(last.rpartition("\n")[2].split(",")[0])[:-1] in remark for remark in one.unsure)
    subject = last.partition(",")[0]
    after = deliver(tmp_path, "next.csv", "\n".join([header, *(line.format(one) for one in (*subjects, subject)), ""]))
    assert try_file(flow, after).rows.height == len(subjects) + 1


@pytest.mark.parametrize("note", ["IBM: see note {}", "IBM {} shares", "Source: IBM {}", "数据来源：IBM{}"])
@pytest.mark.parametrize("count", [1, 8])
def test_a_note_that_begins_with_a_ticker_takes_no_row_of_it(note: str, count: int, tmp_path: Path) -> None:
    day = "symbol,close,volume\n" + "".join(f"{one},1.5,100\n" for one in (*TICKERS, "Source")[-count:])
    flow, one, path = made(tmp_path, "some table.csv", day + note.format(1) + "\n")
    assert any("are no rows (drop)" in said for said in one.unsure)
    after = deliver(tmp_path, "next.csv", day + "IBM,2.5,100\n" + note.format(2) + "\n")
    for file, expected in ((path, count), (after, count + 1)):
        tried = try_file(flow, file)
        assert (tried.rows.height, dict(tried.rejects)) == (expected, {})


def test_a_first_row_without_numbers_takes_no_row_of_another_file(tmp_path: Path) -> None:
    day = "symbol,close,volume\n{}\n" + "".join(f"{one},1.5,100\n" for one in TICKERS[1:])
    flow, _, path = made(tmp_path, "some table.csv", day.format("AAPL,halted,halted"))
    assert try_file(flow, path).rows.height == len(TICKERS) - 1
    after = deliver(tmp_path, "next.csv", day.format("AAPL,2.5,100"))
    assert try_file(flow, after).rows.height == len(TICKERS)


@pytest.mark.parametrize("body", [1, 60_000])
def test_a_last_line_without_an_end_is_named(body: int, dsn: str, tmp_path: Path) -> None:
    """By a new flow, by its runs and in the state of the file. The end of a packed file is checked by itself."""
    whole = "symbol,date,close\n" + "A,2024-01-02,4900\n" * body
    for text, named in ((whole, False), (whole[:-3], True)):
        flow, one, _ = made(tmp_path, "a.csv", text)
        deliver(tmp_path, "b.csv.gz", gzip.compress(text.replace("A", "B").encode()))
        flow = flow.model_copy(update={"loader": flow.loader.model_copy(update={"glob": ("*.csv", "*.gz")})})
        report = run(flow, dsn, tmp_path)
        said = {unit.unit: unit.error for unit in report.units if unit.error}
        assert (OPEN_END in one.unsure, said) == (named, {"a.csv": OPEN_END} if named else {})
        with psycopg.connect(dsn) as connection:
            files = status.entries(connection, flow, tmp_path)
        assert [file.reason for file in files] == [OPEN_END if named else "", ""]


def test_a_row_that_begins_as_a_comment_does_is_one(tmp_path: Path) -> None:
    flow, one, path = made(tmp_path, "a.csv", "# made\nsymbol,date,px\nES,2024-01-02,1\n# end, of file\n")
    assert try_file(flow, path).rows["symbol"].to_list() == ["ES"]
    assert "lines that begin with # and have not 3 cells are no rows (drop)" in one.unsure
    after = deliver(tmp_path, "b.csv", "# made\nsymbol,date,px\n#ES,2024-01-03,1\nNQ,2024-01-03,2\n# end\n")
    assert try_file(flow, after).rows["symbol"].to_list() == ["#ES", "NQ"]


@pytest.mark.parametrize(("name", "length"), LENGTHS)
def test_lines_that_are_no_rows_are_declared_and_named(name: str, length: str, tmp_path: Path) -> None:
    """Those at the end of a file that is longer than the sample too."""
    (end, key), body = ENDS[name], BODIES[length]
    body = body[: body.rfind("\n") + 1]
    flow, one, path = made(tmp_path, "some table.csv", "date,code,px\n" + body + end)
    assert {one for one in ("drop", "skip_footer") if one in flow.loader.model_fields_set} == ({key} if key else set())
    assert any("no rows" in remark for remark in one.unsure) == bool(key)
    tried = try_file(flow, path)
    lines = [line for line in (body + end).splitlines() if line.startswith("2024")]
    assert (tried.rows.height, dict(tried.rejects)) == (len(lines), {})
    assert tried.rows.row(-1)[1] == lines[-1].split(",")[1]


NAMED_AS_TOTALS = {
    "in both files": ("Apple,2024-01-02,1.5\nTotal,2024-01-02,50.5\nTotal,,52\n", 2),
    "in the next file": ("Apple,2024-01-02,1.5\nIBM,2024-01-02,3\nTotal,,4.5\n", 2),
    "without a price on a day": ("Apple,2024-01-02,1.5\nTotal,2024-01-02,50.5\nTotal,2024-01-03,\n", 3),
    "with a total of fewer cells": ("Apple,2024-01-02,1.5\nIBM,2024-01-02,3\nTotal: 2 rows\n", 2),
    "with one that has marks": ("Apple,2024-01-02,1.5\nIBM,2024-01-02,3\nTotal,-,4.5\n", 2),
    "in quotes": ('"Apple, Inc",2024-01-02,1.5\nIBM,2024-01-02,3\n"Total",,"4.5"\n', 2),
}


@pytest.mark.parametrize("case", NAMED_AS_TOTALS)
@pytest.mark.parametrize("name", ["Total", "合计"])
def test_a_company_whose_name_is_a_word_of_totals_keeps_its_rows(name: str, case: str, tmp_path: Path) -> None:
    lines, count = NAMED_AS_TOTALS[case]
    flow, _, path = made(tmp_path, "a.csv", "name,date,px\n" + lines.replace("Total", name))
    tried = try_file(flow, path)
    assert (tried.rows.height, dict(tried.rejects)) == (count, {})
    last = lines.splitlines()[-1].replace("Total", name)
    footer = f"{last}\n" if flow.loader.drop else ""
    after = deliver(tmp_path, "b.csv", f"name,date,px\nIBM,2024-01-04,3\n{name},2024-01-04,51.5\n{footer}")
    tried = try_file(flow, after)
    assert (tried.rows["px"].to_list(), dict(tried.rejects)) == ([3, 51.5], {})


def test_a_last_line_of_one_cell_without_the_time_of_rows_is_no_row_of_any_file(tmp_path: Path) -> None:
    flow, one, path = made(tmp_path, "some table.csv", "symbol,date,px\nAAPL,2024-01-02,3\nIBM,2024-01-02,4\nEND,,\n")
    assert one.key == ["symbol", "date"]
    after = deliver(tmp_path, "next.csv", "symbol,date,px\nEND,2024-01-03,3\nIBM,2024-01-03,\nEND,,\n")
    for file in (path, after):
        tried = try_file(flow, file)
        assert (tried.rows.height, dict(tried.rejects)) == (2, {})


@pytest.mark.parametrize("end", ["END", "EOF\n", "600\n", "Total"])
def test_a_last_line_of_one_word_is_no_row_of_any_file(end: str, tmp_path: Path) -> None:
    flow, _, path = made(tmp_path, "a.csv", f"symbol,px,qty\nAAPL,1.5,3\nIBM,2,4\n{end}")
    after = deliver(tmp_path, "b.csv", f"symbol,px,qty\n{end.strip()},2,4\nIBM,2,4\n{end}")
    for file in (path, after):
        tried = try_file(flow, file)
        assert (tried.rows.height, dict(tried.rejects)) == (2, {})


@pytest.mark.parametrize("end", ["Total", "Sum", "合计"])
def test_a_name_that_begins_as_a_total_does_is_a_row(end: str, tmp_path: Path) -> None:
    names = ["TotalEnergies", "Total Return", "Sum Hk", "Summit"]
    lines = [f"{name},2024-01-02,1.5" for name in names]
    flow, _, path = made(tmp_path, "a.csv", "\n".join(["name,date,px", *lines, f"{end},,3.5", ""]))
    assert try_file(flow, path).rows["name"].to_list() == names


def test_a_cell_that_swallows_a_delimiter_over_lines_is_named(tmp_path: Path) -> None:
    _, one, _ = made(tmp_path, "a.csv", 'sym,name,px\nA,"x, y\nz",1\nB,b,2\n')
    assert any(remark.startswith("line 2: a cell goes over 2 lines and has the delimiter") for remark in one.unsure)
    _, one, _ = made(tmp_path, "a.csv", "sym,name,px\nA,a,1\nB,b\nC,c,2\n")
    assert any("1 of the sample, as line 3 ('B b')" in remark for remark in one.unsure)


def test_a_file_with_a_hole_at_its_end_is_no_utf_16(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="it is not text"):
        made(tmp_path, "a.csv", b"code,date,px\n600000,2024-01-02,1.5\n" + bytes(64))


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(encoding: str, tmp_path: Path) -> None:
    mark = "" if encoding == "utf-16" else "\ufeff"
    flow, _, path = made(tmp_path, "a.csv", f"{mark}股票代码,日期,收盘\n600000,2024-01-02,1.5\n".encode(encoding))
    assert [*flow.loader.columns] == ["股票代码", "日期", "收盘"]
    assert try_file(flow, path).rows.rows() == [("600000", dt.date(2024, 1, 2), 1.5)]


ENCODINGS = {
    "cp1252": "Datum;Stücke\n2024-01-02;1.5\n",
    "latin-1": "Société;Clôture\nCrédit Agricole;12,5\nL'Oréal;430\n",
    "big5": "證券代號,證券名稱,成交股數\n0050,元大台灣50,1234\n2330,台積電,99\n",
    "gb18030": "股票代码,名称\n000001,平安银行\n600519,贵州茅台\n",
    "gbk": "code,name\n600000,浦发银行\n",
    "cp932": "銘柄コード,終値\n7203,2500\n",
    "cp1251": "Дата;Цена\n2024-01-02;12\nСбербанк;1\n",
    "cp1250": "Spółka;Cena zamknięcia\nŻabka;12\n",
    "euc_kr": "종목코드,종가,시가,고가,저가,거래량,날짜\n005930,71000,1,1,1,1,2024\n삼성전자,1,1,1,1,1,1\n",
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_encoding_is_judged_by_the_characters_it_gives(encoding: str, tmp_path: Path) -> None:
    text = ENCODINGS[encoding]
    raw = text.encode(encoding)
    assert raw.decode(sample.readings(raw)[0].encoding) == text
    flow, one, path = made(tmp_path, "some table.csv", raw)
    header = text.split("\n")[0].replace(";", ",").split(",")
    assert [*flow.loader.columns] == header
    assert any("the bytes are no UTF-8; they are read as" in remark and "--encoding" in remark for remark in one.unsure)
    assert try_file(flow, path).rows.height == text.count("\n") - 1


def test_an_encoding_that_is_given_is_taken(tmp_path: Path) -> None:
    flow, one, _ = made(tmp_path, "some table.csv", "Datum;Stьcke\n2024-01-02;1\n".encode("cp1251"), "cp1251")
    assert (flow.loader.encoding, [*flow.loader.columns][1]) == ("cp1251", "Stьcke")
    assert not any("UTF-8" in remark for remark in one.unsure)


ROWS = [("A", "2024-01-02", 1.5), ("B", "2024-01-02", 2.5)]


NAMES = ("symbol", "date", "close")


OBJECTS = [dict(zip(NAMES, row, strict=True)) for row in ROWS]


DOCUMENTS: dict[str, str] = {
    "columns of pandas": pd.DataFrame(OBJECTS).to_json(),
    "arrays below names": json.dumps([NAMES, *ROWS]),
    "arrays by what they are about": json.dumps({s: [{"date": d, "close": c}] for s, d, c in ROWS}),
    "a byte order mark": "\ufeff" + json.dumps({"data": OBJECTS}),
    "lines": "\n".join(map(json.dumps, OBJECTS)),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_rows_of_json_in_more_forms(name: str, tmp_path: Path) -> None:
    flow, one, path = made(tmp_path, "data1.json", DOCUMENTS[name])
    read = try_file(flow, path).rows.select([*flow.target.columns]).rows()
    assert (read, len(flow.target.key)) == ([(s, dt.date.fromisoformat(d), c) for s, d, c in ROWS], 2)
    assert not any("none from" in remark for remark in one.unsure)


def test_what_a_document_has_beside_its_rows_is_named(tmp_path: Path) -> None:
    _, one, _ = made(tmp_path, "book1.json", json.dumps({"bids": [["1.5", "2"]], "asks": [["1.6", "3"]]}))
    assert "rows are taken from bids, and none from asks (rows)" in one.unsure
    missing = {"symbol": "A", "date": "2024-01-03", "close": float("nan")}
    flow, one, path = made(tmp_path, "nan1.json", json.dumps([*OBJECTS, missing]))
    assert "close: 'NaN' is taken for NULL (1 of 3 rows)" in one.unsure
    assert try_file(flow, path).rows["close"].to_list() == [1.5, 2.5, None]


TABLE = "symbol,date,close\nA,2024-01-02,1.5\nB,2024-01-02,2.5\n"


FILES: dict[str, bytes] = {
    "two files in one": (TABLE[: TABLE.rfind("B")] + "symbol,date,close\n" + TABLE[TABLE.rfind("B") :]).encode(),
    "lines of delimiters": (TABLE.replace("\nA", "\n,,\nA") + ",,\n").encode(),
    "single quotes": "".join(",".join(f"'{c}'" for c in line.split(",")) + "\n" for line in TABLE.split()).encode(),
    "UTF-16 without a mark": TABLE.encode("utf-16-le"),
    "big endian without a mark": TABLE.encode("utf-16-be"),
}


@pytest.mark.parametrize("name", FILES)
def test_lines_that_are_no_rows_and_marks_that_are_no_data(name: str, tmp_path: Path) -> None:
    flow, _, path = made(tmp_path, "data1.csv", FILES[name])
    tried = try_file(flow, path)
    expected = [(s, dt.date.fromisoformat(d), c) for s, d, c in ROWS]
    assert (dict(tried.rejects), tried.rows.select([*flow.target.columns]).rows()) == ({}, expected)


def test_a_nul_in_the_sample_rejects_its_row_alone(tmp_path: Path) -> None:
    flow, _, path = made(tmp_path, "data1.csv", TABLE.replace("B", "B\0"))
    assert (flow.target.key, [*try_file(flow, path).rejects]) == (["symbol", "date"], [3])


def test_what_may_be_a_total_or_of_fixed_width_is_named(tmp_path: Path) -> None:
    _, one, _ = made(tmp_path, "data1.csv", "date,close,name\n2024-01-02,1.5,A\n2024-01-02,2.5,B\n2024-01-02,4,合计\n")
    assert any(remark.startswith("rows such as '2024-01-02 4 合计' may be totals") for remark in one.unsure)
    _, one, _ = made(tmp_path, "data2.csv", TABLE.replace(",", "    "))
    assert any("format: fixed_width" in remark for remark in one.unsure)


def test_sheets_that_are_not_read_are_named_by_a_new_flow_and_its_runs(dsn: str, tmp_path: Path) -> None:
    book = pytest.importorskip("openpyxl").Workbook()
    book.active.append(["symbol", "date", "close"])
    book.active.append(["A", dt.date(2024, 1, 2), 1.5])
    book.create_sheet("empty")
    book.create_sheet("二月").append(["symbol", "date", "close"])
    book.save(tmp_path / "book.xlsx")
    said = "only the first sheet is read (loader.sheet names another); deliver a workbook for each of the others: 二月"
    flow, one, path = made(tmp_path, "a.xlsx", (tmp_path / "book.xlsx").read_bytes())
    path.with_name("book.xlsx").unlink()
    assert said in one.unsure
    assert [unit.error for unit in run(flow, dsn, tmp_path).units] == [said]
    chosen = flow.model_copy(update={"loader": flow.loader.model_copy(update={"sheet": "Sheet"})})
    assert [unit.error for unit in run(chosen, dsn, tmp_path).units] == [None]


def test_a_page_with_a_table_is_read_as_one(tmp_path: Path) -> None:
    lines = "".join("<tr><td>" + line.replace(",", "<td>") for line in TABLE.split())
    flow, _, path = made(tmp_path, "data1.html", f"<html><table>{lines}</table></html>")
    assert (flow.loader.glob, try_file(flow, path).rows.height) == (["**/*.html"], 2)


SAMPLES: dict[str, tuple[str, str, list[tuple[object, ...]]]] = {
    "weeks": ("2024-W01.csv", "symbol,close\nA,1.5\n", [("2024-W01", "A", Decimal("1.5"))]),
    "thousands of a file with decimal commas": (
        "a.csv",
        "code;day;px;shares\nA;03.01.2024;1.234,56;1.000\nA;04.01.2024;9,50;2.500\n",
        [
            ("A", dt.date(2024, 1, 3), Decimal("1234.56"), Decimal(1000)),
            ("A", dt.date(2024, 1, 4), Decimal("9.5"), Decimal(2500)),
        ],
    ),
    "days that follow one another": (
        "a.csv",
        "code,day,px\nA,01/02/2024,1.5\nA,01/03/2024,2.5\nA,01/04/2024,2.5\n",
        [("A", dt.date(2024, 1, day), Decimal(px)) for day, px in ((2, "1.5"), (3, "2.5"), (4, "2.5"))],
    ),
    "blank lines between comments and header": (
        "a.csv",
        "# source: x\n\n \ncode,day,px\n\nA,2024-01-02,1.5\n# more\nB,2024-01-02,2.5\n\n",
        [(code, dt.date(2024, 1, 2), Decimal(px)) for code, px in (("A", "1.5"), ("B", "2.5"))],
    ),
    "blank lines before the header": (
        "a.csv",
        "\n\ncode,day,px\nA,2024-01-02,1.5\n",
        [("A", dt.date(2024, 1, 2), Decimal("1.5"))],
    ),
    "cells between single blanks": (
        "a.txt",
        "code day px\n000001 2024-01-02 1.5\n000002 2024-01-02 2.5\n",
        [(code, dt.date(2024, 1, 2), Decimal(px)) for code, px in (("000001", "1.5"), ("000002", "2.5"))],
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_is_read_as_a_person_reads_it(name: str, tmp_path: Path) -> None:
    file, text, expected = SAMPLES[name]
    flow, _, path = made(tmp_path, file, text)
    tried = try_file(flow, path)
    assert [tuple(float(one) if isinstance(one, Decimal) else one for one in row) for row in tried.rows.rows()] == [
        tuple(float(one) if isinstance(one, Decimal) else one for one in row) for row in expected
    ]


def test_lines_with_blanks_are_cut_at_delimiters_where_there_are_any(tmp_path: Path) -> None:
    flow, *_ = made(tmp_path, "a.csv", "code,day,px\nA,2024-01-02 09:30:00,1.5\nB,2024-01-02 09:31:00,2.5\n")
    assert flow.loader.delimiter == ","
    flow, *_ = made(tmp_path, "b.csv", "remark\nbought 100 shares\nsold 200 shares\n")
    assert flow.loader.delimiter == ","


@pytest.mark.parametrize("names", ["000001.SZ,600000.SH", "2019,2020", "sh600000,sz000001"])
def test_columns_that_are_codes_or_periods_are_said_with_the_handler(names: str, tmp_path: Path) -> None:
    _, one, _ = made(tmp_path, "a.csv", f"day,{names}\n2024-01-02,1.5,2.5\n2024-01-03,1.6,2.6\n")
    assert any("unpivot" in remark for remark in one.unsure)


def test_nested_columns_of_parquet_are_json(tmp_path: Path, dsn: str) -> None:
    frame = pl.DataFrame(
        {
            "code": ["A", "B"],
            "day": [dt.date(2024, 1, 2)] * 2,
            "levels": [[1.5, None], None],
            "who": [{"name": "\u6d66", "at": dt.date(2024, 1, 2)}, None],
        }
    )
    path = tmp_path / "prices" / "a.parquet"
    path.parent.mkdir(exist_ok=True)
    frame.write_parquet(path)
    flow = parse(draft("prices", sample.read(path), path).text, name="prices")
    report = run(flow, dsn, tmp_path)
    assert not report.failed, report.failed
    assert rows(dsn, "SELECT levels, who FROM prices ORDER BY code") == [
        ("[1.5,null]", '{"name":"\u6d66","at":"2024-01-02"}'),
        (None, None),
    ]
