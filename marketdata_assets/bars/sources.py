"""The rows of a file as bars are judged, whatever vendor's it is: found by its profile, in blocks, with their lines.

What a profile is, and which fits, is in `profiles`; what a typed row may be, in `rules`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from marketdata_assets.bars import layout
from marketdata_assets.bars.layout import NUMBERS, TABLE_COLUMNS
from marketdata_assets.bars.profiles import (
    FIRST,
    Match,
    Shapes,
    code_in,
    code_of,
    detect,
    detect_table,
    numbers,
    shipped,
)
from marketdata_assets.bars.reading import CLOCK, Rows, Units, any_times, cast, clock, typed
from marketdata_assets.bars.rules import Labels
from marketdata_assets.loading.errors import BadHeader, LoadError
from marketdata_assets.loading.files import Opener, Unit
from marketdata_assets.loading.parquet_slices import on_disk, slices
from marketdata_assets.loading.rejects import LINE, Rejects
from marketdata_assets.loading.text import Block, Text, raw_lines
from marketdata_assets.loading.text_table import frame

HEAD_BYTES = 64 * 1024
HEAD_ROWS = 5
SEPARATOR = ","


@dataclass(frozen=True)
class Source:
    """A unit whose profile is known; `code` is that of its name, where no column has one."""

    opener: Opener
    unit: Unit
    match: Match
    labels: Labels
    text: Text | None = None
    """The text behind the header, of a file of the first profile that is read as it comes."""
    code: str | None = None

    @property
    def problem(self) -> str:
        """Why nothing of the unit may be loaded, and what to do; empty when it may."""
        if cause := self.match.rejection():
            return f"{self.unit.place}: {cause}."
        if self.code is None and "code" not in self.match.positions:
            name = "name it as sh600000.csv or 600000.XSHG.csv"
            return f"{self.unit.place}: neither a column nor the name of the file has the code; {name}."
        return ""

    def blocks(self, rejects: Rejects) -> Iterator[Rows]:
        """All rows, typed; lines that have no typed form go to `rejects`. Raises what reading the file raises."""
        if self.text is not None:
            for block in self.text.blocks():
                yield typed(block, self.match.header, rejects)
        elif layout.is_table(self.unit.name):
            yield from (self._typed(part, rejects) for part in self._counted(self._slices(), rejects))
        else:
            yield from self._of_text(rejects)

    def raw(self, lines: set[int]) -> dict[int, str]:
        """Some lines as they were read, by number; of a table its rows, from 1 on."""
        if not layout.is_table(self.unit.name):
            return raw_lines(self.opener, self.unit, self.match.encoding, lines)
        wanted = (part.filter(pl.col(LINE).is_in(list(lines))) for part in self._slices() if lines)
        rows = (row for part in wanted for row in part.rows())
        return {line: SEPARATOR.join("" if cell is None else cell for cell in cells) for *cells, line in rows}

    def _of_text(self, rejects: Rejects) -> Iterator[Rows]:
        match, columns = self.match, [str(number) for number in range(self.match.width)]
        with self.opener.open(self.unit) as stream:
            text = Text(self.unit.place, stream, match.encoding, layout.ENCODING_REMEDY, quote="")
            text.peek()
            for _ in range(1, match.first_line):
                text.line()
            for block in text.blocks():
                before = rejects.rows
                rows = frame(self._without_footer(block), columns, rejects, match.delimiter)
                if rejects.rows == before:
                    rejects.rows += rows.height
                yield self._typed(rows.select(*columns, LINE), rejects)

    def _without_footer(self, block: Block) -> Block:
        """The block without a last line that only names the vendor."""
        footer = self.match.profile.footer.encode()
        last = block.text.rstrip().rfind(b"\n") + 1
        if not footer or not block.text[last:].lstrip(b" #").startswith(footer):
            return block
        return Block(block.text[:last] or b"\n", block.first_line, block.undecodable)

    def _slices(self) -> Iterator[pl.DataFrame]:
        with self.opener.open(self.unit) as stream, on_disk(stream) as (path, size):
            line = 1
            for part in _parts(path, size, self.unit):
                yield texts(part).with_columns(pl.int_range(line, line + part.height, dtype=pl.Int64).alias(LINE))
                line += part.height

    def _counted(self, parts: Iterator[pl.DataFrame], rejects: Rejects) -> Iterator[pl.DataFrame]:
        for part in parts:
            rejects.rows += part.height
            yield part

    def _typed(self, cells: pl.DataFrame, rejects: Rejects) -> Rows:
        """Rows of texts, by position and with LINE, as typed rows with our columns."""
        profile = self.match.profile
        self._check_values(cells)
        found = {ours: pl.nth(place).alias(ours) for ours, place in self.match.positions.items()}
        rest = {ours: pl.lit(None, pl.String).alias(ours) for ours in TABLE_COLUMNS if ours not in found}
        rows = cells.select(*found.values(), *rest.values(), pl.col(LINE))
        rows = rows.with_columns(pl.when(~pl.col(*found).is_in(profile.missing)).then(pl.col(*found)).name.keep())
        bare = profile.bare_codes
        codes = {text: code_of(text, bare) or text for text in rows["code"].unique().drop_nulls()}
        rows = rows.with_columns(
            clock(rows["time"], rows["date"] if "date" in found else None).alias("time"),
            pl.lit(self.code, pl.String).alias("code") if self.code else pl.col("code").replace(codes),
            *(numbers(rows[ours], profile) for ours in NUMBERS),
        )
        units = Units(profile.volume == "shares", 1000 if profile.amount == "thousands" else 1)
        ours = tuple(TABLE_COLUMNS)
        return cast(
            rows.select(*ours, LINE), ours, Block(b"", 1), rejects, partial(any_times, zone=profile.timezone), units
        )

    def _check_values(self, cells: pl.DataFrame) -> None:
        """Raise LoadError for a row of which a column says another adjustment or period than the first one."""
        header = [name.strip().lower() for name in self.match.header]
        for column, values in self.match.profile.values.items():
            if column.lower() in header:
                for value in cells[:, header.index(column.lower())].unique().drop_nulls():
                    says = values.get(value)
                    ours = {"adjustment": self.match.adjustment, "period": self.match.period}
                    if says is None or any(ours[key] != said for key, said in says.model_dump().items() if said):
                        kinds = ", ".join(f"{known} for {one}" for known, one in ours.items() if known)
                        raise LoadError(
                            f"{self.unit.place}: its column {column} has {value!r}, and its first row {kinds}: deliver"
                            " rows of one kind in a file."
                        )


@contextmanager
def opened(opener: Opener, unit: Unit, shapes: Shapes, *, any_kind: bool = False) -> Iterator[Source]:
    """The unit with its profile. Raises BadHeader when none fits it.

    Unless `any_kind` is wanted, LoadError when bars of its kind may not be loaded.
    """
    line = b""
    if not layout.is_table(unit.name):
        with opener.open(unit) as stream:
            text = Text(unit.place, stream, validate=False, quote="")
            names = layout.first_header(unit.place, line := text.line())
            if names is not None and FIRST not in dict(shapes.own):
                positions = {ours: number for number, ours in enumerate(names)}
                match = Match(FIRST, shipped()[FIRST], positions, names, len(names))
                yield Source(opener, unit, match, Labels(shapes.label), text)
                return
            while len(line) < HEAD_BYTES and (more := text.line()):
                line += more
    source = _found(opener, unit, line, shapes)
    if source.problem and not any_kind:
        raise LoadError(source.problem)
    yield source


def _found(opener: Opener, unit: Unit, head: bytes, shapes: Shapes) -> Source:
    name = f"{unit.file.name}/{unit.member}" if unit.member else unit.file.name
    if layout.is_table(unit.name):
        with opener.open(unit) as stream, on_disk(stream) as (path, size):
            rows = texts(next(_parts(path, size, unit)).head(HEAD_ROWS))
        match = detect_table(unit.place, rows, name, shapes)
    else:
        match = _detected(unit, head, name, shapes)
    code = None if "code" in match.positions else code_in(name, match.profile.bare_codes)
    label = match.profile.label
    labels = Labels(label or shapes.label, match.name if label else "", any_period=False)
    return Source(opener, unit, match, labels, code=code)


def _detected(unit: Unit, head: bytes, name: str, shapes: Shapes) -> Match:
    line = head.partition(b"\n")[0].rstrip(b"\r")
    if not head.strip() or b"\r" in line:
        layout.read_header(unit.place, line)
    try:
        return detect(unit.place, head, name, shapes)
    except BadHeader:
        if layout.resembles_first(line):
            layout.read_header(unit.place, line)
        raise


def _parts(path: Path, size: int, unit: Unit) -> Iterator[pl.DataFrame]:
    scan = pl.scan_ipc if unit.name.lower().endswith(layout.FEATHER) else pl.scan_parquet
    return slices(path, size, unit.place, scan=scan)


def texts(rows: pl.DataFrame) -> pl.DataFrame:
    """Every value as text, as a CSV file would have it; a time with a time zone on the exchange's clock."""
    shown = []
    for name, kind in rows.schema.items():
        column = pl.col(name)
        if isinstance(kind, pl.Datetime) and kind.time_zone:
            column = column.dt.convert_time_zone(CLOCK).dt.replace_time_zone(None)
        shown.append(pl.lit(None, pl.String).alias(name) if kind.is_nested() else column.cast(pl.String))
    return rows.select(shown)
