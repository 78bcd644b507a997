"""Text to typed columns, exactly: what is no such value, or loses digits in its type, rejects its row."""

from collections.abc import Mapping

import polars as pl

from marketdata_assets.flows import frames, numbers, times
from marketdata_assets.flows.cell_formats import NUMBERS, Cell
from marketdata_assets.loading.rejects import Rejects

TRUE = ("true", "t", "1", "yes", "y")
LOSES_ZEROS = "begins with 0, as a code does; declare text, or leading_zeros: true to drop the zeros"
FALSE = ("false", "f", "0", "no", "n")


def nulls(name: str, cell: Cell | None, rows: int) -> pl.Series:
    """A column that a file lacks: NULLs in the type of `cell`, or as text."""
    return pl.Series(name, [None], frames.read_as(cell.type) if cell else pl.String).new_from_index(0, rows)


def parse(frame: pl.DataFrame, cells: Mapping[str, Cell], rejects: Rejects) -> pl.DataFrame:
    """Turn columns of text into the types of `cells`. A row with a cell that is none goes to `rejects`."""
    if not cells:
        return frame
    bad: list[pl.Series] = []
    typed: list[pl.Series] = []
    for name, cell in cells.items():
        column = frame[name]
        if column.dtype != pl.String:
            column = column.cast(pl.String)
        if cell.excel_text:
            column = _out_of_excel(column)
        values, cause = _typed(column, cell)
        zeros = _with_leading_zeros(column, cell)
        if zeros.any():
            values = values.set(zeros, None)
        if values.null_count() > column.null_count():
            junk = column.is_not_null() & values.is_null()
            junk_rows = zip(rejects.lines(frame).filter(junk), column.filter(junk), zeros.filter(junk), strict=True)
            for line, text, zero in junk_rows:
                rejects.add(line, f"{name} {text!r} {LOSES_ZEROS if zero else cause}")
            bad.append(junk)
        if values.dtype == pl.Float64 and cell.type.kind == "numeric":
            lines = None
            for at, number in numbers.beyond_doubles(numbers.plain(column, cell), values, cell.type).items():
                lines = rejects.lines(frame) if lines is None else lines
                rejects.exact[lines[at], values[at]] = number
        typed.append(values.alias(name))
    frame = frames.with_columns(frame, typed)
    return frame.filter(~pl.select(pl.any_horizontal(bad)).to_series()) if bad else frame


def _out_of_excel(column: pl.Series) -> pl.Series:
    """The texts within `="000001"` and behind `'000001`."""
    texts = column.str.replace(r'^\s*="(.*)"\s*$', "$1").str.strip_prefix("'")
    return texts.set(texts == "", None)


def _with_leading_zeros(column: pl.Series, cell: Cell) -> pl.Series:
    """Where digits would be lost of a number that may be a code."""
    if cell.type.kind not in NUMBERS or cell.leading_zeros:
        return column.is_null() & column.is_not_null()
    return column.str.contains(r"^\s*[+-]?0\d").fill_null(False)


def _typed(column: pl.Series, cell: Cell) -> tuple[pl.Series, str]:
    """The column in its type, NULL where a text is none; and what to say of such a text."""
    kind = cell.type
    match kind.kind:
        case "text":
            return column, ""
        case "numeric":
            return (
                numbers.numeric(numbers.plain(column, cell), kind),
                f"is no {kind}{numbers.written(cell)}, or has more digits than it keeps",
            )
        case "double":
            return numbers.double(numbers.plain(column, cell)), f"is no number{numbers.written(cell)}"
        case "bigint" | "integer":
            whole = numbers.integer(numbers.plain(column, cell), numbers.INTEGERS[kind.kind])
            return whole, f"is no {kind}{numbers.written(cell)}"
        case "boolean":
            low = column.str.to_lowercase()
            return (
                pl.select(pl.when(low.is_in(TRUE)).then(True).when(low.is_in(FALSE)).then(False)).to_series(),
                "is neither true nor false",
            )
        case "date" | "timestamp" | "timestamptz":
            return times.parse(column, cell), times.expected(cell)
        case "text[]":
            return column.str.split(","), ""
