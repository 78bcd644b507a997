"""A unit to frames, whatever its format: the flow's columns, in their types, with the line of each row.

Among them are columns that a file's place gives: captures of its path, its name, folder and time, the row's line.

Formats with rules of their own have a module each: `delimited`, `json_lines`, `excel`.
"""

import io
import json
import re
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from itertools import accumulate, pairwise
from pathlib import PurePosixPath
from typing import Any

import polars as pl
from polars import selectors

from marketdata_assets.flows import casting, delimited, dialect, excel, header, json_lines
from marketdata_assets.flows.code import function
from marketdata_assets.flows.definition import CAPTURE, FlowDefinition, Loader
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.frames import read_as
from marketdata_assets.loading import parquet_slices
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import HashedStream, Opener, Unit, naming_failures
from marketdata_assets.loading.rejects import LINE, Rejects
from marketdata_assets.loading.run import describe, is_interrupt
from marketdata_assets.loading.text import Block, raw_lines

Frames = Iterator[pl.DataFrame]

LINES = ("csv", "fixed_width", "json_lines")
"""Formats whose rows are lines of text."""
DIGITS = {"Y": r"\d{4}", **dict.fromkeys("mdHMSy", r"\d\d")}
"""How long a part of a date is."""
PACKED = (".gz", ".zst", ".zstd")
FILE_COLUMNS = {"name": pl.String, "folder": pl.String, "line": pl.Int64, "modified": pl.Datetime("us", "UTC")}
"""What each of `loader.file_columns` is, without a type of the flow's."""


@contextmanager
def frames(opener: Opener, unit: Unit, flow: FlowDefinition, rejects: Rejects) -> Iterator[tuple[Frames, HashedStream]]:
    """The rows of `unit` that are rows of the flow, and the stream, which hashes the bytes that are read.

    Raises LoadError, also while the frames are read; rows that are none go to `rejects`.
    """
    with opener.open(unit) as raw:
        stream = HashedStream(raw)
        with closing(_read(stream, unit, flow, rejects)) as read:
            added = flow.loader.file_columns or flow.loader.file_name
            yield _named(_with_place(read, unit, flow.loader) if added else read, unit.place), stream


def _named(read: Frames, place: str) -> Frames:
    with naming_failures(place):
        yield from read


def _read(stream: HashedStream, unit: Unit, flow: FlowDefinition, rejects: Rejects) -> Generator[pl.DataFrame]:
    loader = flow.loader
    if loader.format == "csv" and not loader.function:
        return delimited.read(stream, unit, loader, rejects)
    typed = loader.function or loader.format == "parquet"
    take = casting.of_values if typed else casting.of_texts
    return (take(frame, loader, rejects) for frame in _slices(stream, unit, flow, rejects))


def _slices(stream: HashedStream, unit: Unit, flow: FlowDefinition, rejects: Rejects) -> Frames:
    """The columns that the flow takes, by their names in the file, and the line of each row. Raises LoadError."""
    loader = flow.loader
    if loader.function:
        given = _of_function(stream, unit, flow)
        return _numbered(one.select(header.taken(one.columns, loader, unit.place, rejects=rejects)) for one in given)
    match loader.format:
        case "fixed_width":
            return _fixed_width(stream, unit, loader, rejects)
        case "json_lines":
            return json_lines.lines(stream, unit, loader, rejects)
        case "json":
            return json_lines.document(stream, unit, loader, rejects)
        case "parquet":
            return _numbered(_of_parquet(stream, unit, loader, rejects))
        case _:
            return iter([excel.sheet(stream, unit, loader, rejects)])


def raw_rows(opener: Opener, unit: Unit, flow: FlowDefinition, wanted: set[int]) -> dict[int, str]:
    """Some rows of the unit as they were read, by line: those of text as text, others as JSON objects."""
    loader = flow.loader
    if loader.format in LINES and not loader.function:
        return raw_lines(opener, unit, loader.encoding, wanted)
    with opener.open(unit) as raw:
        stream = HashedStream(raw)
        if loader.format == "json" and not loader.function:
            rows = enumerate(json_lines.values(stream, unit, loader), 1)
            return {number: json.dumps(row, ensure_ascii=False) for number, row in rows if number in wanted}
        return {
            row.pop(LINE): json.dumps(row, default=str, ensure_ascii=False)
            for frame in _slices(stream, unit, flow, Rejects())
            for row in _written(frame.filter(pl.col(LINE).is_in(list(wanted)))).to_dicts()
        }


def _written(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with its times as texts, since not all of them are those of Python."""
    return frame.with_columns(selectors.temporal().cast(pl.String, strict=False))


def empty(loader: Loader) -> pl.DataFrame:
    """The frame of a file without rows."""
    kinds: dict[str, Any] = dict.fromkeys([*loader.columns.values(), *loader.captures], pl.String)
    kinds |= {name: FILE_COLUMNS[what] for name, what in loader.file_columns.items()}
    kinds |= {name: read_as(cell.type) for name, cell in loader.types.items()}
    return pl.DataFrame(schema={**kinds, LINE: pl.Int64})


def _numbered(typed: Frames) -> Frames:
    """The frames with the line of each row, which is its number from 1 on."""
    first = 1
    for frame in typed:
        yield frame.with_row_index(LINE, first).cast({LINE: pl.Int64})
        first += frame.height


def _of_parquet(stream: HashedStream, unit: Unit, loader: Loader, rejects: Rejects) -> Frames:
    with parquet_slices.on_disk(stream) as (file, size):
        yield from parquet_slices.slices(
            file, size, unit.place, lambda names: header.taken(names, loader, unit.place, rejects=rejects)
        )


def _of_function(stream: HashedStream, unit: Unit, flow: FlowDefinition) -> Frames:
    """What the user's `function(file, **arguments)` gives: a frame, or several in turn. `file` has the unit's bytes."""
    loader = flow.loader
    read = function(str(loader.function), flow.file)
    try:
        result = read(io.BytesIO(stream.read()), **loader.arguments)
        for frame in [result] if isinstance(result, pl.DataFrame) else result:
            if not isinstance(frame, pl.DataFrame):
                raise TypeError(f"it gave {type(frame).__name__}, not a polars DataFrame")
            yield frame
    except GeneratorExit:
        raise
    except BaseException as error:  # of a user's function, such as SystemExit
        if is_interrupt(error):
            raise
        raise FlowError(
            f"{unit.place}: loader.function {loader.function}: {describe(error)}. Nothing of the file is loaded;"
            " correct the function or the file and run the flow again."
        ) from error


def _fixed_width(stream: HashedStream, unit: Unit, loader: Loader, rejects: Rejects) -> Frames:
    """Lines whose columns have fixed widths, in characters: `000001 20240102   12.50`."""
    text = header.opened(stream, unit, loader, quote="")
    starts = [0, *accumulate(loader.widths)]
    names = [str(number) for number in range(1, len(starts))]
    if loader.header:
        first = text.header(header.required(loader))
        names = header.numbered([first[start:end].strip() for start, end in pairwise(starts)], loader)
    header.taken(names, loader, unit.place, text.line_number - loader.header, rejects=rejects)
    for block in dialect.rows(text.blocks(), loader, rejects):
        yield _cut(block, names, starts, loader.encoding, rejects)


def _cut(block: Block, names: list[str], starts: list[int], encoding: str, rejects: Rejects) -> pl.DataFrame:
    """The cells of each line. One that ends before its last column, or continues behind it, is rejected."""
    rejects.add_undecodable(block.undecodable, encoding)
    lines = pl.Series("text", block.text.decode().split("\n"), dtype=pl.String).str.strip_chars_end(" \t\r")
    frame = lines.to_frame().with_row_index(LINE, block.first_line).cast({LINE: pl.Int64}).filter(pl.col("text") != "")
    length = frame["text"].str.len_chars()
    wrong = (length <= starts[-2]) | (length > starts[-1])
    reasons = pl.select(pl.format("{} characters, expected {} to {}", length, starts[-2] + 1, starts[-1])).to_series()
    rejects.rows += int(wrong.sum())
    frame = rejects.take_out(frame, wrong, reasons)
    cells = [
        pl.col("text").str.slice(start, end - start).alias(name)
        for name, start, end in zip(names, starts, starts[1:], strict=False)
    ]
    return frame.select(LINE, *cells)


def _with_place(frames: Frames, unit: Unit, loader: Loader) -> Frames:
    """The frames of `unit` with the columns of its place. Raises BadFile when its name is not as declared."""
    same = _same_for_all_rows(unit, loader)
    lines = [name for name, what in loader.file_columns.items() if what == "line"]
    for frame in frames:
        yield frame.with_columns(*(pl.col(LINE).alias(name) for name in lines), *same)


def _same_for_all_rows(unit: Unit, loader: Loader) -> list[pl.Expr]:
    place = PurePosixPath(unit.place.replace("!", "/"))
    texts: dict[str, str] = {"name": place.name, "folder": str(place.parent) if len(place.parts) > 1 else ""}
    values = {name: texts[what] for name, what in loader.file_columns.items() if what in texts}
    if loader.file_name:
        values |= _captured(str(place), loader, loader.file_name, unit.place)
    rejects = Rejects()
    frame = pl.DataFrame({LINE: [0], **{name: [text] for name, text in values.items()}})
    frame = casting.parse(frame, {name: cell for name, cell in loader.types.items() if name in values}, rejects)
    if rejects:
        raise BadFile(unit.place, f"its name gives {rejects.reasons[0]}")
    modified = pl.lit(unit.file.modified_ns // 1000).cast(pl.Datetime("us", "UTC"))
    return [
        *(pl.lit(frame[name].first(), frame.schema[name]).alias(name) for name in values),
        *(modified.alias(name) for name, what in loader.file_columns.items() if what == "modified"),
    ]


def _captured(path: str, loader: Loader, pattern: str, place: str) -> dict[str, str]:
    """The parts of a path that the pattern names; it is compared with the end of the path, folder by folder.

    A part in a form of a date takes no more than one, so that `{symbol}_{day}` cuts AAPL_2024_01_02 before the year.
    """
    if not pattern.endswith(PACKED):
        path = path.removesuffix(next((suffix for suffix in PACKED if path.endswith(suffix)), ""))
    literal = [re.escape(part) for part in re.split(CAPTURE, pattern)[::2]]
    names = re.findall(CAPTURE, pattern)
    match = None
    for parts in ({name: _part(loader, name) for name in names}, dict.fromkeys(names, "[^/]+")):
        groups = [f"(?P<{name}>{part})" for name, part in parts.items()]
        regex = "(?:.*/)?" + "".join(text for pair in zip(literal, [*groups, ""], strict=True) for text in pair)
        match = match or re.fullmatch(regex, path)
    if match is None:
        cause = f"its name is not as loader.file_name declares ({pattern}); rename it, or correct the pattern"
        raise BadFile(place, cause)
    return match.groupdict()


def _part(loader: Loader, name: str) -> str:
    """What the column `name` may be in a path."""
    cell = loader.types.get(name)
    if cell is None or cell.format is None or not set(re.findall("%(.)", "".join(cell.format))) <= DIGITS.keys():
        return "[^/]+"
    return "|".join(re.sub("%(.)", lambda match: DIGITS[match[1]], re.escape(form)) for form in cell.format)
