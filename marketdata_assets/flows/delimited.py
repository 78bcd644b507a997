"""Delimited text (CSV, TSV) to frames: the flow's columns, in their types, with the line of each row.

Two lanes give the same frame. The fast lane lets polars parse the block as it is and gives up at the first
irregularity; the careful lane takes that block line by line, and rejects what is no row.
"""

import re
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from marketdata_assets.flows import casting, dialect, frames, header, numbers
from marketdata_assets.flows.definition import Loader
from marketdata_assets.flows.dialect import Dialect
from marketdata_assets.flows.types import NUMBERS
from marketdata_assets.loading import text_table
from marketdata_assets.loading.errors import BadFile, LoadError
from marketdata_assets.loading.files import HashedStream, Unit
from marketdata_assets.loading.rejects import LINE, Rejects
from marketdata_assets.loading.text import BLOCK_BYTES, Block, Text, ahead, count, from_latin1, guess
from marketdata_assets.loading.text_table import BLANKS, NO_LINES, QUOTE, ends_evenly, read_rows

Array = np.ndarray[Any, np.dtype[Any]]

SMALL_BYTES = BLOCK_BYTES
"""A file of so many bytes is one block: there is nothing to read ahead."""
MARKS = (b" ", b"\t", b'"', "\u3000".encode(), "\xa0".encode(), "\u3000".encode("gb18030").decode("latin-1").encode())
"""A text without these, also as one that is deferred, has no blanks around a cell."""
MANY_LINES = 1000
"""So many rejected lines of a block may be another header."""
NOTHING = re.compile(r"(?!)")
BLANK_LINE = " \t\r\n\ufeff"


def read(stream: HashedStream, unit: Unit, loader: Loader, rejects: Rejects) -> Generator[pl.DataFrame]:
    """The rows of the unit, a block at a time; blocks are read ahead by a thread of their own.

    Raises LoadError.
    """
    quote = "" if loader.quote == "none" else loader.quote
    text = header.opened(stream, unit, loader, quote=quote, escape=loader.escape or "", defer=True)
    reader = Reader(loader, _names(text, unit.place, loader, rejects), rejects, unit.place)
    if unit.size <= SMALL_BYTES:
        yield from map(reader.frame, dialect.rows(text.blocks(), loader, rejects))
        return
    with ahead(text.blocks()) as blocks:
        yield from map(reader.frame, dialect.rows(blocks, loader, rejects))


def _names(text: Text, place: str, loader: Loader, rejects: Rejects) -> list[str]:
    """The names in the first line behind the skipped ones; without a header the numbers of its columns."""
    no_row = dialect.no_row(loader) or NOTHING
    while (next_line := text.peek().decode(text.encoding, "replace")) and (
        no_row.search(next_line) or not next_line.strip(BLANK_LINE)
    ):
        if loader.header and not header.missing(header.numbered(cells(next_line, loader), loader), loader):
            break  # a second header within the file is dropped with its block
        text.line()
    if not loader.header:
        first = cells(text.peek().decode(text.encoding, "replace"), loader)
        names = [str(number) for number in range(1, len(first) + 1)] if first != [""] else [*loader.columns]
        header.taken(names, loader, place, text.line_number, rejects=rejects)
        return names
    found = text.header(header.required(loader))
    line = text.line_number - 1
    if "\r" in found:
        raise BadFile(place, NO_LINES)
    if not found.strip():
        raise LoadError(f"{place}:{line}: there is no header. Deliver the file again, or correct loader.skip_lines.")
    names = header.numbered(cells(found, loader), loader)
    missing = header.missing(names, loader)
    if missing and (other := guess(text.header_bytes, header.required(loader), text.encoding)):
        raise text.wrong_encoding(f"the header has no {missing[0]}", other, line)
    header.taken(names, loader, place, line, rejects=rejects)
    row = cells(text.peek().decode(text.encoding, "replace"), loader)
    return _as_wide_as(row, names)


def _as_wide_as(row: Sequence[str], names: list[str]) -> list[str]:
    """The names of a header for rows as this one, where one of both has a delimiter at its end."""
    if len(row) == len(names) + 1 and not row[-1]:
        return [*names, ""]
    return names[:-1] if len(row) == len(names) - 1 and not names[-1] else names


def cells(line: str, loader: Loader) -> list[str]:
    """The cells of a line, without blanks and quotes around them."""
    form = Dialect(loader)
    texts = text_table.cells(form.parsed(line), form.delimiter, blanks=not loader.strip)
    return [form.cell(text) for text in texts]


class Reader:
    """Frames of one unit's blocks; `names` is its header."""

    def __init__(self, loader: Loader, names: list[str], rejects: Rejects, place: str = "") -> None:
        self._loader = loader
        self._place = place
        self._header_names = names
        self._rejects = rejects
        self._width = len(names)
        taken = [source for source in loader.columns if source in names]
        self._at = [names.index(source) for source in taken]
        self._names = [loader.columns[source] for source in taken]
        self._types = {name: cell for name, cell in loader.cells.items() if name in self._names}
        self._lacking = [ours for ours in loader.columns.values() if ours not in self._names]
        self._dialect = Dialect(loader)
        self._delimiter = self._dialect.delimiter.encode()
        self._ends: Array | None = None
        """Where the cells of the block end that is parsed."""
        self._missing = {name: loader.missing_of(name) for name in self._names}
        self._numbers = [n for n, cell in self._types.items() if cell.type.kind in NUMBERS and not cell.own_number]
        self._header = self._delimiter.join(str(at).encode() for at in range(len(names))) + b"\n"

    def frame(self, block: Block) -> pl.DataFrame:
        """The rows of `block` that are rows of the flow."""
        if not self._dialect.plain:
            text = self._decoded(block).text.decode()
            block = Block(self._dialect.parsed(text).encode(), block.first_line, block.undecodable)
        before = len(self._rejects)
        frame = self._fast(block)
        frame = self._careful(self._decoded(block)) if frame is None else frame
        if len(self._rejects) > before and self._loader.header:
            self._headers(block, [*self._rejects.reasons][before:][:MANY_LINES])
        if casting.takes_headers(self._loader):
            likely = text_table.likely_headers(frame.select(pl.col(pl.String), LINE), self._header_names)
            again = self._headers(block, likely) if likely else []
            frame = self._rejects.take_out(frame, frame[LINE].is_in(again), casting.HEADER_AGAIN) if again else frame
        if not self._lacking:
            return frame
        cells = self._loader.cells
        return frame.hstack([casting.lacking(name, cells.get(name), frame.height) for name in self._lacking])

    def _headers(self, block: Block, numbers: Sequence[int]) -> list[int]:
        """Those of the lines that are the header again. Raises BadFile for a header of other columns."""
        lines, found = self._decoded(block).text.decode().split("\n"), []
        for line in numbers:
            texts = text_table.cells(lines[line - block.first_line], self._dialect.delimiter)
            names = header.numbered([self._dialect.cell(text) for text in texts], self._loader)
            names = _as_wide_as(self._header_names, names)
            if text_table.is_header(self._place, line, names, self._header_names):
                found.append(line)
        return found

    def _fast(self, block: Block) -> pl.DataFrame | None:
        text = block.text.rstrip(b"\r\n") + b"\n"
        lines = self._lines(text, block.first_line) if not block.undecodable else None
        if lines is None:
            return None
        missing = self._missing
        if block.deferred:
            encoding = self._loader.encoding
            missing = {n: tuple(t.encode(encoding).decode("latin-1") for t in texts) for n, texts in missing.items()}
        frame = self._read(text, self._names, self._numbers, missing)
        checked: dict[str, pl.Series] = {}
        if frame is None or frame.height != len(lines):
            frame = self._read(text, self._names, (), missing)
        else:
            checked = self._checked(frame)
            for name in self._with_leading_zeros(text, [*checked]):
                del checked[name]
            if again := [name for name in self._numbers if name not in checked]:
                texts = self._read(text, again, (), missing)
                frame = None if texts is None or texts.height != frame.height else frame.with_columns(texts)
        if frame is None or frame.height != len(lines):
            return None
        if block.deferred:
            frame = frames.with_columns(frame, self._decoded_columns([c for c in frame if c.dtype == pl.String]))
        rest = {name: cell for name, cell in self._types.items() if name not in checked}
        self._rejects.rows += frame.height
        if self._loader.strip and any(mark in text for mark in MARKS):
            frame = casting.without_missing(frame.with_columns(pl.col(pl.String).str.strip_chars(BLANKS)), self._loader)
        frame = self._dialect.cells(frame)
        return casting.parse(frames.with_columns(frame, [*checked.values(), lines]), rest, self._rejects)

    def _read(
        self, text: bytes, names: Sequence[str], doubles: Collection[str], missing: Mapping[str, tuple[str, ...]]
    ) -> pl.DataFrame | None:
        """These columns of the flow, `doubles` as such and the others as text; None where that cannot be."""
        alike: dict[tuple[str, ...], list[str]] = {}
        for name in names:
            alike.setdefault(missing[name], []).append(name)
        parts = [self._parse(text, group, doubles, texts) for texts, group in alike.items()]
        read = [part for part in parts if part is not None]
        if len(read) < len(parts) or len({part.height for part in read}) > 1:
            return None
        return read[0] if len(read) == 1 else pl.concat(read, how="horizontal").select(names)

    def _parse(
        self, text: bytes, names: Sequence[str], doubles: Collection[str], missing: Sequence[str]
    ) -> pl.DataFrame | None:
        """`_read` of columns in which the same texts are NULL."""
        picked = [str(self._at[self._names.index(name)]) for name in names]
        kinds: dict[str, Any] = {
            source: pl.Float64 if name in doubles else pl.String for source, name in zip(picked, names, strict=True)
        }
        try:
            frame = pl.read_csv(
                self._header + text,
                columns=picked,
                schema_overrides=kinds,
                infer_schema=False,
                separator=self._dialect.delimiter,
                quote_char=QUOTE if QUOTE.encode() in text else None,
                null_values=list(missing),
            )
        except PolarsError:
            return None
        frame = frame[picked]
        frame.columns = list(names)
        return frame

    def _decoded(self, block: Block) -> Block:
        """The block as text."""
        return dialect.decoded(block, self._loader) if block.deferred else block

    def _decoded_columns(self, texts: list[pl.Series]) -> Iterator[pl.Series]:
        """Columns of a deferred block as text, of those that are not ASCII: each different value is decoded once."""
        foreign = pl.DataFrame(texts).select((pl.all().str.len_bytes() != pl.all().str.len_chars()).any())
        for column in (text for text in texts if foreign[text.name].item()):
            given = column.unique()
            decoded = [cell and from_latin1(cell, self._loader.encoding) for cell in given.to_list()]
            yield column.replace_strict(given, pl.Series(decoded, dtype=pl.String), return_dtype=pl.String)

    def _checked(self, frame: pl.DataFrame) -> dict[str, pl.Series]:
        """Numbers that were read as doubles, in their types; not those of which one must be read from its text."""
        checked: dict[str, pl.Series] = {}
        for name in self._numbers:
            kind, column = self._types[name].type, frame[name]
            if int(np.count_nonzero(np.isfinite(column.to_numpy()))) != len(column) - column.null_count():
                continue
            values: pl.Series | None = column
            if kind.kind == "numeric":
                values = numbers.numeric_of_doubles(column, kind)
            elif kind.kind != "double":
                values = numbers.integer_of_doubles(column, kind)
            if values is not None:
                checked[name] = values.alias(name)
        return checked

    def _with_leading_zeros(self, text: bytes, names: Sequence[str]) -> list[str]:
        """Those of the columns of which a cell may begin with 0 and more digits, which a double does not keep."""
        names = [name for name in names if not self._types[name].leading_zeros]
        if self._ends is None or not names:
            return []
        characters, end = np.frombuffer(text, np.uint8), len(text) - 1
        before = [self._at[self._names.index(name)] - 1 for name in names]
        at = self._ends[np.arange(0, len(self._ends), self._width)[:, None] + before] + 1
        at[at > end] = 0  # before the first cell of the text there is none
        if b'"' in text:
            at = at + (characters[at] == ord(QUOTE))
        first = characters[at]
        signed, blank = (first == ord("-")) | (first == ord("+")), (first == ord(" ")) | (first == ord("\t"))
        rows, places = np.nonzero(signed | blank | (first == ord("0")))
        at = at[rows, places] + signed[rows, places]
        zeros = (characters[np.minimum(at, end)] == ord("0")) & (characters[np.minimum(at + 1, end)] - ord("0") < 10)
        return [names[place] for place in np.unique(places[zeros | blank[rows, places]])]

    def _lines(self, text: bytes, first: int) -> pl.Series | None:
        """The line of each row; None when a row has not as many cells as the header, or several lines."""
        characters, rows = np.frombuffer(text, np.uint8), count(text, b"\n")
        ends = (characters == self._delimiter[0]) | (characters == ord("\n"))
        if b'"' in text:
            if not _quoted_whole(characters, self._delimiter[0]):
                return None
            ends &= (np.cumsum(characters == ord(QUOTE), dtype=np.int32) & 1) == 0
        self._ends = np.flatnonzero(ends)
        if len(self._ends) != rows * self._width or not ends_evenly(characters[self._ends], self._width):
            return None
        return pl.int_range(first, first + rows, dtype=pl.Int64, eager=True).alias(LINE)

    def _careful(self, block: Block) -> pl.DataFrame:
        loader = self._loader
        places = [str(at) for at in range(self._width)]
        frame = read_rows(
            block,
            places,
            self._rejects,
            delimiter=self._dialect.delimiter,
            encoding=loader.encoding,
            strip=loader.strip,
        )
        picked = [pl.col(str(at)).alias(name) for at, name in zip(self._at, self._names, strict=True)]
        frame = self._dialect.cells(casting.without_missing(frame.select(*picked, LINE), loader))
        return casting.parse(frame, self._types, self._rejects)


def _quoted_whole(characters: Array, delimiter: int) -> bool:
    """Whether quotes are only around whole cells, or doubled within such."""
    quotes = np.flatnonzero(characters == ord(QUOTE))
    if len(quotes) % 2:
        return False
    before = characters[quotes[0::2] - 1]  # of a quote that is the text's first character, the last: a line's end
    after = characters[quotes[1::2] + 1]
    opens = (before == delimiter) | (before == ord("\n")) | (before == ord(QUOTE))
    closes = (after == delimiter) | (after == ord("\n")) | (after == ord("\r")) | (after == ord(QUOTE))
    return bool(opens.all() and closes.all())
