"""The rows of a file as bars are judged, whatever vendor's it is: found by its profile, in blocks, with their lines.

What a profile is, and which fits, is in `profiles`; what a typed row may be, in `rules`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import polars as pl
from polars.selectors import datetime

from marketdata_assets.bars import layout, profiles
from marketdata_assets.bars.layout import NUMBERS, TABLE_COLUMNS, is_table
from marketdata_assets.bars.profiles import FIRST, HEAD_ROWS, Match, Shapes, Table, code_in, code_of, numbers
from marketdata_assets.bars.reading import CLOCK, Rows, any_times, cast, clock, typed
from marketdata_assets.bars.rules import Labels
from marketdata_assets.loading.errors import LoadError
from marketdata_assets.loading.files import Opener, Unit
from marketdata_assets.loading.parquet_slices import on_disk, slices
from marketdata_assets.loading.rejects import LINE, Rejects
from marketdata_assets.loading.text import Block, Text, raw_lines
from marketdata_assets.loading.text_table import ENCODING_REMEDY, check_headers, frame

HEAD_BYTES = 64 * 1024


@dataclass(frozen=True)
class Source:
    """A unit whose profile is known; `code` is that of its name, where no column has one.

    `text` is behind the header, of a file of the first profile that is read as it comes.
    """

    opener: Opener
    unit: Unit
    match: Match
    labels: Labels
    text: Text | None = None
    code: str | None = None

    @property
    def problem(self) -> str:
        """Why nothing of the unit may be loaded, and what to do; empty when it may."""
        cause = self.match.rejection()
        if not cause and self.code is None and "code" not in self.match.positions:
            cause = "neither a column nor its name has the code; name it as sh600000.csv or 600000.XSHG.csv"
        return cause and f"{self.unit.place}: {cause}."

    def blocks(self, rejects: Rejects) -> Iterator[Rows]:
        """All rows, typed; lines that have no typed form go to `rejects`. Raises what reading the file raises."""
        if self.text is not None:
            for block in self.text.blocks():
                yield typed(block, tuple(self.match.table.header), rejects, self.unit.place)
            return
        for rows in _slices(self.opener, self.unit) if is_table(self.unit.name) else self._lines(rejects):
            if is_table(self.unit.name):
                rejects.rows += rows.height
            yield self._typed(rows, rejects)

    def raw(self, lines: set[int]) -> dict[int, str]:
        """Some lines as they were read, by number; of a table its rows, from 1 on."""
        if not is_table(self.unit.name):
            return raw_lines(self.opener, self.unit, self.match.table.encoding, lines)
        parts = _slices(self.opener, self.unit) if lines else ()
        wanted = (row for part in parts for row in part.filter(pl.col(LINE).is_in(list(lines))).rows())
        return {line: ",".join(cell or "" for cell in row) for *row, line in wanted}

    def _lines(self, rejects: Rejects) -> Iterator[pl.DataFrame]:
        """The lines of a text as texts by position, with LINE at last."""
        table, columns = self.match.table, [str(number) for number in range(self.match.width)]
        with self.opener.open(self.unit) as stream:
            text = Text(self.unit.place, stream, table.encoding, ENCODING_REMEDY, quote="")
            text.peek()  # without a byte order mark
            for _ in range(1, table.first_line):
                text.line()
            for block in text.blocks():
                before = rejects.rows
                rows = frame(self._without_footer(block), columns, rejects, table.delimiter)
                if rejects.rows == before:
                    rejects.rows += rows.height
                yield rows.select(*columns, LINE)

    def _without_footer(self, block: Block) -> Block:
        """The block without a last line that only names the vendor."""
        footer, last = self.match.profile.footer.encode(), block.text.rstrip().rfind(b"\n") + 1
        if not footer or not block.text[last:].lstrip(b" #").startswith(footer):
            return block
        return Block(block.text[:last] or b"\n", block.first_line, block.undecodable)

    def _typed(self, cells: pl.DataFrame, rejects: Rejects) -> Rows:
        """Rows of texts, by position and with LINE, as typed rows with our columns."""
        profile = self.match.profile
        self._check_values(cells)
        check_headers(self.unit.place, cells, self.match.table.header)
        found = {ours: pl.nth(place).alias(ours) for ours, place in self.match.positions.items()}
        rest = {ours: pl.lit(None, pl.String).alias(ours) for ours in TABLE_COLUMNS if ours not in found}
        rows = cells.select(*found.values(), *rest.values(), pl.col(LINE))
        rows = rows.with_columns(pl.when(~pl.col(*found).is_in(profile.missing)).then(pl.col(*found)).name.keep())
        codes = {text: code_of(text, profile.bare_codes) or text for text in rows["code"].unique().drop_nulls()}
        rows = rows.with_columns(
            clock(rows["time"], rows["date"] if "date" in found else None).alias("time"),
            pl.lit(self.code, pl.String).alias("code") if self.code else pl.col("code").replace(codes),
            *(numbers(rows[ours], profile) for ours in NUMBERS),
        )
        times, yuan = partial(any_times, zone=profile.timezone), 1000 if profile.amount == "thousands" else 1
        return cast(rows.select(*TABLE_COLUMNS, LINE), rejects, times, profile.volume == "shares", yuan)

    def _check_values(self, cells: pl.DataFrame) -> None:
        """Raise LoadError for a row of which a column says another adjustment or period than the file."""
        header = [name.strip().lower() for name in self.match.table.header]
        for column, values in self.match.profile.values.items():
            for value in cells[:, header.index(column.lower())].unique() if column.lower() in header else ():
                says = values[value].model_dump() if value in values else {"adjustment": "unknown"}
                if any(said not in (None, getattr(self.match, key)) for key, said in says.items()):
                    cause = f"its column {column} has {value!r} beside other values, or one of which nothing is known"
                    raise LoadError(f"{self.unit.place}: {cause}. Deliver bars of one kind in a file.")


@contextmanager
def opened(opener: Opener, unit: Unit, shapes: Shapes, *, any_kind: bool = False) -> Iterator[Source]:
    """The unit and its profile. Raises LoadError when none fits, and unless `any_kind`, for its `problem`."""
    head = b""
    if not is_table(unit.name):
        with opener.open(unit) as stream:
            text = Text(unit.place, stream, validate=False, quote="")
            names = layout.first_header(unit.place, head := text.line())
            if names is not None and FIRST not in shapes.own:
                positions = {ours: number for number, ours in enumerate(names)}
                match = Match(FIRST, profiles.shipped()[FIRST], Table(names, ()), positions, len(names))
                yield Source(opener, unit, match, Labels(shapes.label), text)
                return
            while len(head) < HEAD_BYTES and (more := text.line()):
                head += more
    source = _found(opener, unit, head, shapes)
    if source.problem and not any_kind:
        raise LoadError(source.problem)
    yield source


def _found(opener: Opener, unit: Unit, head: bytes, shapes: Shapes) -> Source:
    name = f"{unit.file.name}/{unit.member}" if unit.member else unit.file.name
    rows = next(_slices(opener, unit)).drop(LINE).head(HEAD_ROWS) if is_table(unit.name) else None
    match = profiles.detect(unit.place, head if rows is None else rows, name, shapes)
    label = match.profile.label
    labels = Labels(label or shapes.label, match.name if label else "", any_period=False)
    code = None if "code" in match.positions else code_in(name, match.profile.bare_codes)
    return Source(opener, unit, match, labels, code=code)


def _slices(opener: Opener, unit: Unit) -> Iterator[pl.DataFrame]:
    """The rows of a table as texts, as a CSV file would have them, with LINE at last."""
    scan = pl.scan_ipc if unit.name.lower().endswith(layout.FEATHER) else pl.scan_parquet
    with opener.open(unit) as stream, on_disk(stream) as (path, size):
        line = 1
        for part in slices(path, size, unit.place, scan=scan):
            local = datetime(time_zone="*").dt.convert_time_zone(CLOCK).dt.replace_time_zone(None)
            rows = part.select(name for name, kind in part.schema.items() if not kind.is_nested()).with_columns(local)
            numbered = pl.int_range(line, line + pl.len(), dtype=pl.Int64).alias(LINE)
            yield rows.select(pl.all().cast(pl.String), numbered)
            line += part.height
