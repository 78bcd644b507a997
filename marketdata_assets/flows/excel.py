"""Excel workbooks (xlsx, xlsb, xls, ods): the cells of one sheet as their texts, by fastexcel (extra `excel`).

A number has the 15 digits that Excel keeps; a date or time is written as ISO. The line of a row is that of the sheet.
A page with a table, as sites save them as `.xls`, counts as a workbook with one sheet.
"""

from collections.abc import Generator
from typing import Any

import polars as pl

from marketdata_assets.flows import columns, header, html_table
from marketdata_assets.flows.definition import Loader
from marketdata_assets.loading.errors import BadFile, BadHeader
from marketdata_assets.loading.files import HashedStream, Unit
from marketdata_assets.loading.rejects import LINE, Rejects


def read(stream: HashedStream, unit: Unit, loader: Loader, rejects: Rejects) -> Generator[pl.DataFrame]:
    """The rows of the sheet. Raises BadFile or BadHeader."""
    yield columns.of_texts(sheet(stream, unit, loader, rejects), loader, rejects)


def sheet(stream: HashedStream, unit: Unit, loader: Loader, rejects: Rejects) -> pl.DataFrame:
    """The flow's columns of the sheet below its header, with the line of each row that is not blank."""
    cells = every_cell(stream.read(), unit.place, loader.sheet).slice(loader.skip_lines)
    names = cells.columns[1:]
    if loader.header and cells.height:
        names = [text.strip() if text else "" for text in cells.row(0)[1:]]
        cells = cells.slice(1)
    header.check(names, loader, unit.place, loader.skip_lines + 1, rejects)
    picked = {source: names.index(source) + 1 for source in header.of_file(names, loader).columns}
    frame = cells.select(LINE, *(pl.nth(place).alias(source) for source, place in picked.items()))
    return frame.filter(~pl.all_horizontal(pl.exclude(LINE).is_null()))


def is_workbook(data: bytes) -> bool:
    """Whether Excel's formats begin as these bytes do, or they are a page with a table."""
    return data.startswith((b"PK", b"\xd0\xcf\x11\xe0")) or html_table.is_page(data)


def every_cell(data: bytes, place: str, name: str | None) -> pl.DataFrame:
    """All rows of a sheet (the first without a name): LINE, then the texts of its columns, named by number from 1."""
    if html_table.is_page(data):
        return html_table.cells(data, place).with_row_index(LINE, 1).cast({LINE: pl.Int64})
    fastexcel = _fastexcel(place)
    try:
        book = fastexcel.read_excel(data)
        name = name or book.sheet_names[0]
        if name not in book.sheet_names:
            sheets = ", ".join(book.sheet_names)
            raise BadHeader(place, 1, f"no sheet {name!r}; it has {sheets}", "Correct loader.sheet.")
        cells: pl.DataFrame = book.load_sheet(name, header_row=None, skip_rows=0, dtypes="string").to_polars()
    except fastexcel.FastExcelError as error:
        raise BadFile(place, f"not a workbook that can be read: {error}") from error
    names = {column: str(number) for number, column in enumerate(cells.columns, 1)}
    return cells.rename(names).with_row_index(LINE, 1).cast({LINE: pl.Int64})


def _fastexcel(place: str) -> Any:
    try:
        import fastexcel
    except ImportError as error:
        cause = 'Excel needs the extra excel: pip install "marketdata-assets[excel]"'
        raise BadFile(place, cause) from error
    return fastexcel
