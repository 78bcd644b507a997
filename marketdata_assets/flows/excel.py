"""Excel workbooks (xlsx, xlsb, xls, ods): the cells of one sheet as their texts, by fastexcel (extra `excel`).

A number has the 15 digits that Excel keeps; a date or time is written as ISO. The line of a row is that of the sheet.
A page with a table, as sites save them as `.xls`, counts as a workbook with one sheet.
"""

import functools
import io
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import polars as pl

from marketdata_assets.flows import dialect, header
from marketdata_assets.flows.definition import Loader
from marketdata_assets.input_limits import MAX_CELLS, MAX_DOCUMENT_BYTES, TooLarge, check_unpacked
from marketdata_assets.loading.archives import COPY_BYTES, opened_zip
from marketdata_assets.loading.errors import BadFile, LoadError
from marketdata_assets.loading.file_ledger import NAMED
from marketdata_assets.loading.files import HashedStream, Unit, document, naming_failures
from marketdata_assets.loading.rejects import LINE, Rejects
from marketdata_assets.loading.reports import and_more

LONGEST_PLACE = 64
OTHER_TABLES = "only the longest table of the page is read; deliver a page for each of the others, which have"
NOT_COMPUTED = "is a formula without a value, so NULL, as may be others; open the workbook in Excel and save it"
MERGED = "goes over several rows and has its value in the first of them, the others are NULL; write it into each row"
OTHER_SHEETS = "only the first sheet is read (loader.sheet names another); deliver a workbook for each of the others"
MOST_COLUMNS = 16_384
"""Of a sheet of Excel."""
_NO_DAY = r"^1899-12-3[01] "
"""Before a time of day, which Excel has as a time of its first day."""
_TIMES = rb"""-repeated\s*=\s*["']([0-9]{1,20})"""
_PLACE = re.compile(rb"""\br\s*=\s*["']([A-Za-z]{0,3})([0-9]{1,20})["']""")
"""Of a cell or row in the XML of a sheet."""

_WITHOUT_VALUE = re.compile(
    rb"""<c\b(?![^<>]{0,99}\bt="str")[^<>]{0,99}\br="([A-Z]{1,3}[0-9]{1,7})"[^<>]{0,99}>\s{0,9}<f\b[^<]*(?:</f>)?\s{0,9}(?:<v\s{0,9}/>|<v>\s{0,9}</v>)?\s{0,9}</c>"""
)
"""A cell such as `<c r="B2"><f>A2*2</f><v/></c>`; one of the type `str` has the empty text as its value."""
_MERGED = re.compile(rb"""<mergeCell\b[^<>]{0,99}\bref="([A-Z]{1,3}([0-9]{1,7}):[A-Z]{1,3}([0-9]{1,7}))\"""")

_CHARSET = re.compile(rb"charset\s*=\s*[\"']?([\w-]+)", re.IGNORECASE)
_CELLS = ("td", "th")


def sheet(stream: HashedStream, unit: Unit, loader: Loader, rejects: Rejects) -> pl.DataFrame:
    """The flow's columns of the sheet below its header, with the line of each row that is not blank.

    Raises LoadError.
    """
    data = document(stream, unit.place, "deliver CSV")
    cells = every_cell(data, unit.place, loader.sheet, rejects.remarks).slice(loader.skip_lines)
    names = cells.columns[1:]
    if loader.header and cells.height:
        names = header.numbered([text.strip() if text else "" for text in cells.row(0)[1:]], loader)
        cells = cells.slice(1)
    taken = header.taken(names, loader, unit.place, loader.skip_lines + 1, rejects=rejects)
    picked = [pl.nth(names.index(source) + 1).alias(source) for source in taken]
    frame = _rows(cells, loader, rejects).select(LINE, *picked)
    blank = frame.select(pl.all_horizontal(pl.exclude(LINE).is_null())).to_series()
    rejects.rows += int(blank.sum())
    return rejects.take_out(frame, blank, "no value in a column that the flow takes")


def _rows(cells: pl.DataFrame, loader: Loader, rejects: Rejects) -> pl.DataFrame:
    """The cells without the rows that are declared to be none; `drop` looks at the cells of a row between commas."""
    kept = cells.filter(~pl.all_horizontal(pl.exclude(LINE).is_null()))
    given, kept = kept.height, kept.head(max(0, kept.height - loader.skip_footer))
    if pattern := dialect.no_row(loader):
        texts = kept.select(pl.concat_str(pl.exclude(LINE).fill_null(""), separator=",")).to_series()
        kept = kept.filter(pl.Series([not pattern.search(text) for text in texts], dtype=pl.Boolean))
    rejects.leave_out(given - kept.height)
    return kept


def is_workbook(data: bytes) -> bool:
    """Whether Excel's formats begin as these bytes do, or they are a page with a table."""
    return data.startswith((b"PK", b"\xd0\xcf\x11\xe0")) or _is_page(data)


def every_cell(data: bytes, place: str, name: str | None, remarks: list[str]) -> pl.DataFrame:
    """All rows of a sheet (the first without a name): LINE, then the texts of its columns, named by number from 1.

    Without a name, further sheets that have cells or cannot be read are named in `remarks`, of a page further tables.
    """
    if _is_page(data):
        return _of_page(data, place, remarks).with_row_index(LINE, 1).cast({LINE: pl.Int64})
    fastexcel = _fastexcel(place)
    unreadable = fastexcel.FastExcelError, pl.exceptions.PanicException
    if data.startswith(b"PK"):
        with naming_failures(place):
            _check_size(data)
    try:
        book = fastexcel.read_excel(data)
        others = () if name else [one for one in book.sheet_names[1:] if _has_cells(book, one, unreadable)]
        name = name or book.sheet_names[0]
        if name not in book.sheet_names:
            sheets = ", ".join(book.sheet_names)
            raise LoadError(f"{place}:1: no sheet {name!r}; it has {sheets}. Correct loader.sheet.")
        cells: pl.DataFrame = book.load_sheet(name, header_row=None, skip_rows=0, dtypes="string").to_polars()
    except unreadable as error:
        raise BadFile(place, f"not a workbook that can be read: {error}") from error
    if others:
        remarks.append(f"{OTHER_SHEETS}: {and_more(others, NAMED)}")
    with naming_failures(place):
        remarks += _without_values(data) if data.startswith(b"PK") else []
    names = {column: str(number) for number, column in enumerate(cells.columns, 1)}
    cells = cells.with_columns(pl.all().str.replace(_NO_DAY, ""))
    return cells.rename(names).with_row_index(LINE, 1).cast({LINE: pl.Int64})


def _has_cells(book: Any, name: str, unreadable: tuple[type[BaseException], ...]) -> bool:
    """Whether a sheet that is not read has a cell, as far as it can be read."""
    try:
        return bool(book.load_sheet(name, header_row=None, n_rows=1).height)
    except unreadable:
        return True


def _without_values(data: bytes) -> list[str]:
    """Remarks on an xlsx: its first formula without a value, of a program that does not compute, and its first cell
    over several rows below the first one."""
    first: dict[str, str] = {}
    with opened_zip(io.BytesIO(data), len(data)) as book:
        for name in book.namelist():
            if not (name.startswith("xl/worksheets/") and name.endswith(".xml")):
                continue
            cells = book.read(name)
            if b"<f" in cells and (found := _WITHOUT_VALUE.search(cells)):
                first.setdefault(NOT_COMPUTED, f"{found[1].decode()} of {name}")
            for place, top, bottom in _MERGED.findall(cells):
                if 1 < int(top) < int(bottom):
                    first.setdefault(MERGED, f"{place.decode()} of {name}")
    return [f"{place} {cause}" for cause, place in first.items()]


def _check_size(data: bytes) -> None:
    """Raise TooLarge for a workbook that unpacks to more than any, or has a cell so far away that no memory holds all.

    An xls cannot: it has at most 65,536 rows and 256 columns.
    """
    unpacked = 0
    with opened_zip(io.BytesIO(data), len(data)) as book:
        for name in book.namelist():
            rows = columns = 1
            rest = b""
            with book.open(name) as member:
                while piece := member.read(COPY_BYTES):
                    unpacked += len(piece)
                    check_unpacked(unpacked, len(data))
                    if unpacked > MAX_DOCUMENT_BYTES:
                        limit = MAX_DOCUMENT_BYTES // 1024 // 1024
                        raise TooLarge(f"it unpacks to more than {limit} MB; deliver CSV, or a workbook for each sheet")
                    for letters, digits in _PLACE.findall(rest + piece):
                        column = functools.reduce(lambda number, letter: 26 * number + (letter & 31), letters, 0)
                        rows, columns = max(rows, int(digits)), max(columns, column)
                    rest = piece[-LONGEST_PLACE:]
            if name == "content.xml":
                rows, columns = _repeated(book.read(name))
            if rows * columns > MAX_CELLS:
                cause = f"its cells span {rows} rows and {columns} columns; the limit is {MAX_CELLS} cells"
                raise TooLarge(f"{cause}. Clear the cell that is far from the others")


def _repeated(sheets: bytes) -> tuple[int, int]:
    """The rows that the sheets of an ods have with a value, and the most columns of one up to its last value."""
    rows = columns = 0
    for row in sheets.split(b"table-row"):
        last = max(row.rfind(b"table-cell>"), row.rfind(b"value"))
        if last >= 0:
            cells = row[: row.find(b">", last)]
            times = {what: [int(one) for one in re.findall(what + _TIMES, cells)] for what in (b"rows", b"columns")}
            rows += max(times[b"rows"], default=1)
            columns = max(columns, sum(times[b"columns"]) + cells.count(b"table-cell"))
    return rows, columns


def _fastexcel(place: str) -> Any:
    try:
        import fastexcel
    except ImportError as error:
        cause = 'Excel needs the extra excel: pip install "marketdata-assets[excel]"'
        raise BadFile(place, cause) from error
    return fastexcel


def _is_page(data: bytes) -> bool:
    """Whether bytes are a page with a table."""
    return not data.startswith(b"PK") and b"<table" in data[:1_000_000].lower()


def _of_page(data: bytes, place: str, remarks: list[str]) -> pl.DataFrame:
    """The rows of the longest table: columns named by number from 1 on, blank cells NULL. Raises BadFile."""
    found = _CHARSET.search(data[:4096])
    names = [found[1].decode().lower().replace("gb2312", "gb18030").replace("gbk", "gb18030")] if found else []
    for encoding in (*names, "utf-8-sig", "gb18030"):
        try:
            text = data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
        parser = _Tables()
        try:
            parser.feed(text)
        except AssertionError as error:  # a declaration that is none
            raise BadFile(place, f"not a page that can be read: {error}") from error
        rows = max(parser.tables, key=len, default=[])
        width = max(map(len, rows), default=0)
        if parser.cells > MAX_CELLS or len(rows) * width > MAX_CELLS:
            cause = f"its table has {len(rows)} rows and {width} columns; the limit is {MAX_CELLS} cells, deliver CSV"
            raise BadFile(place, cause)
        others = [str(len(table)) for table in parser.tables if table is not rows and any(map(any, table))]
        if others:
            remarks.append(f"{OTHER_TABLES} {and_more(others, NAMED)} rows")
        if parser.merged is not None:
            remarks.append(f"the cell {parser.merged!r} {MERGED}")
        schema = dict.fromkeys(map(str, range(1, width + 1)), pl.String)
        return pl.DataFrame([row + [None] * (width - len(row)) for row in rows], schema, orient="row")
    raise BadFile(place, "its table is no text in the encoding that it names")


@dataclass
class _Table:
    """Rows of a table, its cell that is being read, and how many rows each column is still covered from above."""

    rows: list[list[str | None]] = field(default_factory=list)
    cell: list[str] | None = None
    columns: int = 1
    height: int = 1
    covered: dict[int, int] = field(default_factory=dict)


class _Tables(HTMLParser):
    """The cells of each table, row by row; one that spans columns or rows is in the first of them.

    A table within a cell is one of its own; the cell continues behind it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str | None]]] = []
        self.cells = 0
        self.merged: str | None = None
        """The first cell below a first row that goes over several."""
        self._open: list[_Table] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._open.append(_Table())
            self.tables.append(self._open[-1].rows)
        elif tag == "tr" and self._open:
            self._end_row()
            self._open[-1].rows.append([])
        elif tag in _CELLS and self._open and self._open[-1].rows:
            self._end_cell()
            self._open[-1].cell = []
            self._open[-1].columns, self._open[-1].height = _spans(attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in _CELLS:
            self._end_cell()
        elif tag in ("tr", "table"):
            self._end_row()
        if tag == "table" and self._open:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open and (cell := self._open[-1].cell) is not None:
            cell.append(data)

    def _end_cell(self) -> None:
        if not self._open or (cell := self._open[-1].cell) is None:
            return
        table, row = self._open[-1], self._open[-1].rows[-1]
        if table.height > 1 and len(table.rows) > 1 and self.merged is None:
            self.merged = " ".join("".join(cell).split())
        self._skip_covered()
        self.cells += table.columns
        if self.cells <= MAX_CELLS:
            if table.height > 1 and len(row) < MOST_COLUMNS:
                table.covered |= dict.fromkeys(range(len(row), len(row) + table.columns), table.height - 1)
            row += [" ".join("".join(cell).split()) or None, *[None] * (table.columns - 1)]
        table.cell = None

    def _skip_covered(self) -> None:
        """Leave the cells blank that one of a row above spans."""
        table, row = self._open[-1], self._open[-1].rows[-1]
        while self.cells <= MAX_CELLS and table.covered.get(len(row), 0) > 0:
            table.covered[len(row)] -= 1
            row.append(None)
            self.cells += 1

    def _end_row(self) -> None:
        self._end_cell()
        if self._open and self._open[-1].rows:
            self._skip_covered()


def _spans(attrs: list[tuple[str, str | None]]) -> tuple[int, int]:
    """The columns and the rows of a cell, each from 1 to 1000."""
    given = dict(attrs)
    texts = [given.get(name) or "1" for name in ("colspan", "rowspan")]
    columns, rows = (int(text) if re.fullmatch("[0-9]{1,4}", text) else 1 for text in texts)
    return max(1, min(columns, 1000)), max(1, min(rows, 1000))
