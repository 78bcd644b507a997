"""What a flow reads of workbooks and pages: clocks, further tables, formulas, merged and damaged cells."""

import datetime as dt
import io
from pathlib import Path
from zipfile import ZipFile

import pytest

from marketdata_assets.flows import excel
from tests.flows.flow_files import made, rows, run


def test_a_workbook_has_clocks_and_its_rows_without_a_value_that_is_taken_are_rejected(
    dsn: str, tmp_path: Path
) -> None:
    book = pytest.importorskip("openpyxl").Workbook()
    for row in [
        ["symbol", "date", "time", "close"],
        ["A", dt.date(2024, 1, 2), dt.time(9, 30), 1.5],
        ["A", dt.date(2024, 1, 2), dt.time(9, 31, 15), 2.5],
    ]:
        book.active.append(row)
    book.save(tmp_path / "book.xlsx")
    flow, _, path = made(tmp_path, "a.xlsx", (tmp_path / "book.xlsx").read_bytes())
    book.active.append([None, None, None, None, "suspended"])
    book.save(path)
    path.with_name("book.xlsx").unlink()
    assert [(unit.read, unit.rows) for unit in run(flow, dsn, tmp_path).units] == [(3, 2)]
    assert rows(dsn, "SELECT time FROM prices ORDER BY 1") == [("09:30:00",), ("09:31:15",)]
    reasons = rows(dsn, "SELECT line, reason FROM marketdata_quarantine")
    assert reasons == [(4, "no value in a column that the flow takes")]


def test_further_tables_of_a_page_are_named_by_the_sample_and_by_the_load(tmp_path: Path, dsn: str) -> None:
    tables = [
        [["symbol", "date", "close"], *(["sh600000", f"2024-01-0{day}", "1.5"] for day in (2, 3, 4))],
        [["symbol", "date", "close"], ["sh600004", "2024-01-02", "2.5"]],
        [["", ""], [""]],
    ]
    rows = ["".join("<tr>" + "".join(f"<td>{cell}" for cell in row) for row in table) for table in tables]
    page = "".join(f"<table>{table}</table>" for table in rows)
    said = "only the longest table of the page is read; deliver a page for each of the others, which have 2 rows"
    flow, one, _ = made(tmp_path, "a.xls", page)
    assert said in one.unsure
    assert [(unit.rows, unit.error) for unit in run(flow, dsn, tmp_path).units] == [(3, said)]


def test_a_formula_without_a_value_is_named_by_a_new_flow_and_its_runs(dsn: str, tmp_path: Path) -> None:
    book = pytest.importorskip("openpyxl").Workbook()
    for row in [["symbol", "date", "close"], ["A", dt.date(2024, 1, 2), 1.5], ["A", dt.date(2024, 1, 3), "=C2*2"]]:
        book.active.append(row)
    book.save(tmp_path / "book.xlsx")
    said = "C3 of xl/worksheets/sheet1.xml is a formula without a value, so NULL, as may be others;"
    flow, one, path = made(tmp_path, "a.xlsx", (tmp_path / "book.xlsx").read_bytes())
    assert any(remark.startswith(said) for remark in one.unsure)
    with ZipFile(tmp_path / "book.xlsx") as book, ZipFile(path, "w") as computed:
        for name in book.namelist():
            computed.writestr(name, book.read(name).replace(b"<v />", b"<v>3</v>").replace(b"<v></v>", b"<v>3</v>"))
    assert [(unit.rows, unit.error) for unit in run(flow, dsn, tmp_path).units if unit.unit == "a.xlsx"] == [(2, None)]
    [again] = [unit.error for unit in run(flow, dsn, tmp_path, force=True).units if unit.unit == "book.xlsx"]
    assert again is not None
    assert again.startswith(said)


@pytest.mark.parametrize(
    ("cell", "is_named"),
    [
        ('<c r="B2"><f>A2</f></c>', True),
        ('<c r="B2" s="1" t="n"><f t="shared" si="0"/><v/></c>', True),
        ('<c r="B2"><f>A2</f><v>1</v></c>', False),
        ('<c r="B2" t="str"><f>IF(A2,"","x")</f><v></v></c>', False),
        ('<c r="B2"><v/></c>', False),
    ],
)
def test_formulas_of_a_sheet_without_a_value_are_found(cell: str, is_named: bool) -> None:
    data = io.BytesIO()
    with ZipFile(data, "w") as book:
        book.writestr("xl/worksheets/sheet1.xml", f"<worksheet><sheetData><row>{cell}</row></sheetData></worksheet>")
    assert bool(excel._without_values(data.getvalue())) == is_named


@pytest.mark.parametrize("kind", ["xlsx", "xls"])
def test_a_cell_over_several_rows_is_named_by_a_new_flow_and_its_runs(kind: str, dsn: str, tmp_path: Path) -> None:
    """Its value is in the first of them only, so a code of the others would be NULL and nobody would know."""
    rows = [["名称", "日期", "收盘"], ["甲", "2024-01-02", "1.5"], [None, "2024-01-03", "2.5"]]
    if kind == "xlsx":
        book = pytest.importorskip("openpyxl").Workbook()
        for row in rows:
            book.active.append(row)
        book.active.merge_cells("A2:A3")
        book.save(tmp_path / "book")
        data, said = (tmp_path / "book").read_bytes(), "A2:A3 of xl/worksheets/sheet1.xml goes over several rows"
    else:
        cells = ["".join(f"<td{' rowspan=2' * (cell == '甲')}>{cell}" for cell in row if cell) for row in rows]
        data, said = f"<table>{''.join(f'<tr>{row}' for row in cells)}</table>".encode(), "the cell '甲' goes over"
    flow, one, _ = made(tmp_path, f"a.{kind}", data)
    assert any(remark.startswith(said) for remark in one.unsure)
    (unit,) = run(flow, dsn, tmp_path).units
    assert (unit.rows, str(unit.error).startswith(said)) == (2, True)


def test_a_sheet_that_is_damaged_and_not_read_fails_no_workbook(tmp_path: Path) -> None:
    book = pytest.importorskip("openpyxl").Workbook()
    book.active.append(["symbol", "close"])
    book.create_sheet("damaged").append(["x"])
    book.save(tmp_path / "whole.xlsx")
    with ZipFile(tmp_path / "whole.xlsx") as whole, ZipFile(tmp_path / "book.xlsx", "w") as other:
        for name in whole.namelist():
            other.writestr(name, b"<worksheet" if name.endswith("sheet2.xml") else whole.read(name))
    remarks: list[str] = []
    assert excel.every_cell((tmp_path / "book.xlsx").read_bytes(), "book.xlsx", None, remarks).height == 1
    assert len(remarks) == 1
    assert remarks[0].endswith("for each of the others: damaged")
