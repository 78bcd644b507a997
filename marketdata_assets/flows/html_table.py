"""The table of an HTML page, such as sites save as `.xls`: its cells as texts."""

import re
from html.parser import HTMLParser

import polars as pl

from marketdata_assets.input_limits import MAX_CELLS
from marketdata_assets.loading.errors import BadFile

_CHARSET = re.compile(rb"charset\s*=\s*[\"']?([\w-]+)", re.IGNORECASE)
_CELLS = ("td", "th")


def is_page(data: bytes) -> bool:
    """Whether bytes are a page with a table."""
    return not data.startswith(b"PK") and b"<table" in data[:1_000_000].lower()


def cells(data: bytes, place: str) -> pl.DataFrame:
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
        schema = dict.fromkeys(map(str, range(1, width + 1)), pl.String)
        return pl.DataFrame([row + [None] * (width - len(row)) for row in rows], schema, orient="row")
    raise BadFile(place, "its table is no text in the encoding that it names")


class _Tables(HTMLParser):
    """The cells of each table, row by row; one that spans columns is in the first of them."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str | None]]] = []
        self.cells = 0
        self._cell: list[str] | None = None
        self._span = 1

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self._end()
            self.tables[-1].append([])
        elif tag in _CELLS and self.tables and self.tables[-1]:
            self._end()
            span = dict(attrs).get("colspan") or "1"
            self._cell, self._span = [], int(span) if re.fullmatch("[0-9]{1,4}", span) else 1

    def handle_endtag(self, tag: str) -> None:
        if tag in (*_CELLS, "tr", "table"):
            self._end()

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def _end(self) -> None:
        if self._cell is not None:
            text, span = " ".join("".join(self._cell).split()), max(1, min(self._span, 1000))
            self.cells += span
            if self.cells <= MAX_CELLS:
                self.tables[-1][-1] += [text or None, *[None] * (span - 1)]
            self._cell = None
