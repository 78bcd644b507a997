"""Text to typed columns, exactly: what is no such value, or loses digits in its type, rejects its row.

A numeric of up to 16 digits is a Float64 that rounds back to the same decimal; a wider one is a Decimal.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from marketdata_assets.flows.types import ColumnType
from marketdata_assets.loading.rejects import Rejects

Array = np.ndarray[Any, np.dtype[Any]]

DATE_FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%Y%m%d")
CLOCK_FORMATS = ("%H:%M:%S%.f", "%H:%M")
TRUE = ("true", "t", "1", "yes", "y")
FALSE = ("false", "f", "0", "no", "n")
NOISE = 2e-15
"""Digits behind the last decimal that are this small a part of the value come from a double, not from who wrote it."""
SAFE = 1e15
"""Below it, a double times a power of ten is less than SURE from the integer that was written."""
SURE = 0.25
EXACT = 2.0**53
"""Below it, a double that is whole is the integer that was written."""
INTEGERS = {"bigint": pl.Int64, "integer": pl.Int32}
INTEGER_BITS = {"bigint": 63, "integer": 31}
NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


def frame_type(kind: ColumnType) -> Any:
    """The polars type that holds a column of `kind`."""
    if kind.kind == "numeric":
        return pl.Decimal(38, kind.scale) if kind.decimal else pl.Float64
    return {
        **INTEGERS,
        "text": pl.String,
        "date": pl.Date,
        "timestamp": pl.Datetime("us"),
        "boolean": pl.Boolean,
        "double": pl.Float64,
        "text[]": pl.List(pl.String),
    }[kind.kind]


def parse(frame: pl.DataFrame, types: Mapping[str, ColumnType], rejects: Rejects) -> pl.DataFrame:
    """Turn columns of text into `types`. A row with a cell that is none goes to `rejects`."""
    if not types:
        return frame
    bad: list[pl.Series] = []
    typed: list[pl.Series] = []
    for name, kind in types.items():
        column = frame[name]
        if column.dtype != pl.String:
            column = column.cast(pl.String)
        values, cause = _typed(column, kind)
        if values.null_count() > column.null_count():
            junk = column.is_not_null() & values.is_null()
            for line, text in zip(rejects.lines(frame).filter(junk), column.filter(junk), strict=True):
                rejects.add(line, f"{name} {text!r} {cause}")
            bad.append(junk)
        typed.append(values.alias(name))
    frame = frame.with_columns(typed)
    return frame.filter(~pl.select(pl.any_horizontal(bad)).to_series()) if bad else frame


def _typed(column: pl.Series, kind: ColumnType) -> tuple[pl.Series, str]:
    """The column in its type, NULL where a text is none; and what to say of such a text."""
    match kind.kind:
        case "text":
            return column, ""
        case "numeric":
            return _numeric(column, kind), f"is no {kind}, or has more digits than it keeps"
        case "double":
            return _double(column), "is no number"
        case "bigint" | "integer":
            return _integer(column, INTEGERS[kind.kind]), f"is no {kind.kind}"
        case "boolean":
            low = column.str.to_lowercase()
            return (
                pl.select(pl.when(low.is_in(TRUE)).then(True).when(low.is_in(FALSE)).then(False)).to_series(),
                "is neither true nor false",
            )
        case "date":
            return _first(column, DATE_FORMATS, pl.Date), "is no date (YYYY-MM-DD, YYYY/MM/DD or YYYYMMDD)"
        case "timestamp":
            forms = [f"{day}{gap}{clock}" for clock in CLOCK_FORMATS for gap in " T" for day in DATE_FORMATS]
            return _first(column, (*forms, *DATE_FORMATS), pl.Datetime("us")), "is no time (YYYY-MM-DD HH:MM:SS)"
        case "text[]":
            return column.str.split(","), ""


def _first(column: pl.Series, forms: tuple[str, ...], kind: Any) -> pl.Series:
    """Each text by the first form that fits it."""
    found = column.str.strptime(kind, forms[0], strict=False)
    for form in forms[1:]:
        if found.null_count() == column.null_count():
            break
        found = found.zip_with(found.is_not_null(), column.str.strptime(kind, form, strict=False))
    return found


def _double(column: pl.Series) -> pl.Series:
    """Only finite numbers; a word such as nan is a text like any other."""
    text = pl.col(column.name)
    number = pl.when(text.str.contains(NUMBER)).then(text.str.strip_chars().cast(pl.Float64, strict=False))
    values = column.to_frame().select(number.alias(column.name)).to_series()
    infinite = np.isinf(values.to_numpy())
    return values.set(pl.Series(infinite), None) if infinite.any() else values


def _integer(column: pl.Series, kind: Any) -> pl.Series:
    """Whole numbers; `12.0` and `1e3` are such."""
    text = column.str.strip_chars()
    whole = text.cast(pl.Int64, strict=False)
    if whole.null_count() > column.null_count():
        without_zeros = text.str.extract(r"^([+-]?\d+)\.0*$", 1).cast(pl.Int64, strict=False)
        whole = whole.zip_with(whole.is_not_null(), without_zeros)
    if whole.null_count() > column.null_count():
        doubles = _double(text).to_numpy()
        fits = _whole(doubles, EXACT)
        of_doubles = pl.Series(np.where(fits, doubles, 0).astype(np.int64)).set(pl.Series(~fits), None)
        whole = whole.zip_with(whole.is_not_null(), of_doubles)
    return whole.cast(kind, strict=False)


def _whole(doubles: Array, most: float) -> Array:
    """Which of them are integers that were written so, below `most`; nan is none."""
    return np.asarray((np.rint(doubles) == doubles) & (np.abs(doubles) < most))


def _numeric(column: pl.Series, kind: ColumnType) -> pl.Series:
    double, exact = pl.col("double"), pl.col("exact")
    both = pl.DataFrame(
        {"double": _double(column), "exact": column.str.strip_chars().cast(pl.Decimal(38, kind.scale), strict=False)}
    )
    noise = (double.abs() * NOISE).clip(10.0 ** -(kind.scale + 6))
    units = exact.to_physical()
    fits = ((double - exact.cast(pl.Float64)).abs() <= noise) & (units.abs() < 10**kind.precision)
    if not kind.decimal:
        exact = exact.cast(pl.Float64)
        fits = fits & ((exact * 10**kind.scale).round().cast(pl.Int128) == units)
    return both.select(pl.when(fits).then(exact)).to_series()


def integer_of_doubles(values: pl.Series, kind: ColumnType) -> pl.Series | None:
    """The column of integers of doubles that were parsed from text; None where the text itself must be parsed."""
    doubles = values.to_numpy()  # NULL is nan here
    most = min(EXACT, 2.0 ** INTEGER_BITS[kind.kind])
    if int(np.count_nonzero(_whole(doubles, most))) != len(values) - values.null_count():
        return None
    return values.cast(INTEGERS[kind.kind])


def numeric_of_doubles(values: pl.Series, kind: ColumnType) -> pl.Series | None:
    """The numeric column of doubles that were parsed from text; None where the text itself must be parsed."""
    doubles = values.to_numpy()  # NULL is nan here
    units = doubles * 10.0**kind.scale
    whole = np.rint(units)
    size = np.abs(units)
    if not np.fmax.reduce(size, initial=0.0) < min(SAFE, 10.0**kind.precision):
        return None
    if (np.abs(units - whole) > np.clip(size * NOISE, 1e-6, SURE)).any():
        return None
    clean = pl.Series(values.name, whole / 10.0**kind.scale, nan_to_null=values.null_count() > 0)
    return clean.cast(pl.Decimal(38, kind.scale)) if kind.decimal else clean
