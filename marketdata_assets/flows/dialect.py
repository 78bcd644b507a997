"""How delimited text is declared to be written, and the form that the reader parses: cells between single characters,
in double quotes that are doubled within a cell. Cells become what was written again after they are parsed.

Which lines are no rows at all, for any format of lines, is decided here too.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator

import polars as pl

from marketdata_assets.flows.definition import Loader
from marketdata_assets.loading.rejects import Rejects
from marketdata_assets.loading.text import Block, from_latin1
from marketdata_assets.loading.text_table import QUOTE

SEPARATOR = "\x1f"
"""Parsed in place of a delimiter of several characters."""
PLACEHOLDERS = ("\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3", "\ufdd4")
"""Characters that no text has: a separator and a quote that are data; an escaped quote, delimiter and escape."""


class Dialect:
    """`delimiter` is the one of a text in the form that is parsed."""

    def __init__(self, loader: Loader) -> None:
        self._given = loader.delimiter
        self.delimiter = loader.delimiter if len(loader.delimiter) == 1 else SEPARATOR
        quote = "" if loader.quote == "none" else loader.quote
        separator, double, *escaped = PLACEHOLDERS
        self._cells: dict[str, str] = {}
        if self.delimiter != self._given:
            self._cells |= {SEPARATOR: self._given, separator: SEPARATOR}
        if quote != QUOTE:
            self._cells |= {double: QUOTE} | ({QUOTE: quote} if quote else {})
        self._escaped = dict(zip([quote, self._given, loader.escape], escaped, strict=True)) if loader.escape else {}
        self._escaped.pop("", None)
        self._cells |= {placeholder: text for text, placeholder in self._escaped.items()}
        written = {text: mark for mark, text in self._cells.items() if mark not in (SEPARATOR, *escaped)}
        self._written = str.maketrans(written)
        self._escape = re.compile(
            f"{re.escape(loader.escape or '')}({'|'.join(map(re.escape, self._escaped))})" if loader.escape else r"(?!)"
        )
        self.plain = not (self._cells or self._escaped)

    def parsed(self, text: str) -> str:
        """A text as it is parsed."""
        if self.plain:
            return text
        text = self._escape.sub(lambda match: self._escaped[match[1]], text).translate(self._written)
        return text if self.delimiter == self._given else text.replace(self._given, self.delimiter)

    def cell(self, text: str) -> str:
        """A parsed cell as it was written."""
        return "".join(self._cells.get(character, character) for character in text) if self._cells else text

    def cells(self, frame: pl.DataFrame) -> pl.DataFrame:
        """A frame of parsed cells as they were written."""
        if not self._cells:
            return frame
        return frame.with_columns(pl.col(pl.String).str.replace_many([*self._cells], [*self._cells.values()]))


def rows(blocks: Iterable[Block], loader: Loader, rejects: Rejects) -> Iterator[Block]:
    """The blocks without the lines that are declared to be no rows, which are left blank and counted."""
    blocks = _without_footer(blocks, loader.skip_footer, rejects) if loader.skip_footer else blocks
    pattern = no_row(loader)
    if pattern is None:
        yield from blocks
        return
    for given in blocks:
        block = decoded(given, loader) if given.deferred else given
        text = block.text.decode()
        if pattern.search(text):
            lines = text.split("\n")
            no_rows = [bool(pattern.search(line)) for line in lines]
            rejects.leave_out(sum(no_rows))
            text = "\n".join("" if out else line for line, out in zip(lines, no_rows, strict=True))
            block = Block(text.encode(), block.first_line, block.undecodable)
        yield block


def decoded(block: Block, loader: Loader) -> Block:
    """A deferred block as text."""
    return Block(from_latin1(block.text.decode(), loader.encoding).encode(), block.first_line)


def no_row(loader: Loader) -> re.Pattern[str] | None:
    """What a line matches that is a comment, or that `drop` takes out."""
    said = [f"^{re.escape(loader.comment)}"] if loader.comment else []
    said += [loader.drop] if loader.drop else []
    return re.compile("|".join(said), re.MULTILINE) if said else None


def _without_footer(blocks: Iterable[Block], lines: int, rejects: Rejects) -> Iterator[Block]:
    """The blocks without the last lines that are not blank."""
    held: deque[Block] = deque()
    for block in blocks:
        held.append(block)
        while sum(one.text.count(b"\n") for one in [*held][1:]) > lines + 1:
            yield held.popleft()
    whole = b"".join(block.text for block in held)
    kept = whole.rstrip().split(b"\n")
    rejects.leave_out(min(lines, len(kept)) if whole.strip() else 0)
    kept = kept[:-lines]
    if any(line.strip() for line in kept):
        end = held[0].first_line + len(kept)
        bad = tuple(line for block in held for line in block.undecodable if line < end)
        yield Block(b"\n".join(kept) + b"\n", held[0].first_line, bad, held[0].deferred)
