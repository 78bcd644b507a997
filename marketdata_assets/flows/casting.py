"""Text to typed columns, exactly: what is no such value, or loses digits in its type, refuses its row.

A numeric of up to 16 digits is a Float64 that rounds back to the same decimal; a wider one is a Decimal.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from marketdata_assets.flows.rejects import Rejects
from marketdata_assets.flows.types import ColumnType

DATE_FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%Y%m%d")
CLOCK_FORMATS = ("%H:%M:%S%.f", "%H:%M")
TRUE = ("true", "t", "1", "yes", "y")
FALSE = ("false", "f", "0", "no", "n")
NOISE = 2e-15
"""Digits behind the last decimal that are this small a part of the value come from a double, not from who wrote it."""
SAFE = 1e14
"""Below it, a double times a power of ten is the right integer once rounded, and a lost digit is seen."""
INTEGERS = {"bigint": pl.Int64, "integer": pl.Int32}
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
    bad = pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True)
    typed: list[pl.Series] = []
    for name, kind in types.items():
        column = frame[name]
        if column.dtype != pl.String:
            column = column.cast(pl.String)
        values, cause = _typed(column, kind)
        junk = column.is_not_null() & values.is_null()
        if junk.any():
            for line, text in zip(rejects.lines(frame).filter(junk), column.filter(junk), strict=True):
                rejects.add(line, f"{name} {text!r} {cause}")
            bad = bad | junk
        typed.append(values.alias(name))
    frame = frame.with_columns(typed)
    return frame.filter(~bad) if bad.any() else frame


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
    values = column.str.strip_chars().cast(pl.Float64, strict=False)
    return values.set(values.is_nan() | values.is_infinite() | ~column.str.contains(NUMBER), None)


def _integer(column: pl.Series, kind: Any) -> pl.Series:
    """Whole numbers; `12.0` and `1e3` are such."""
    text = column.str.strip_chars()
    whole = text.cast(pl.Int64, strict=False)
    if whole.null_count() > column.null_count():
        whole = whole.zip_with(
            whole.is_not_null(), text.str.extract(r"^([+-]?\d+)\.0*$", 1).cast(pl.Int64, strict=False)
        )
        double = _double(column.set(~text.str.contains("[eE]"), None))
        even = (double.round() == double) & (double.abs() < 2**53)
        whole = whole.zip_with(whole.is_not_null(), double.set(~even, None).cast(pl.Int64, strict=False))
    return whole.cast(kind, strict=False)


def _numeric(column: pl.Series, kind: ColumnType) -> pl.Series:
    values = _double(column)
    exact = column.str.strip_chars().cast(pl.Decimal(38, kind.scale), strict=False)
    exact = exact.set(values.is_null(), None)
    kept = exact.cast(pl.Float64)
    lost = (values - kept).abs() > (values.abs() * NOISE).clip(10.0 ** -(kind.scale + 6))
    units = exact.to_physical()
    wide = units.abs() >= 10**kind.precision
    exact = exact.set(lost | wide, None)
    if kind.decimal:
        return exact
    kept = exact.cast(pl.Float64)
    return kept.set((kept * 10**kind.scale).round().cast(pl.Int128) != units, None)


def numeric_of_doubles(values: pl.Series, kind: ColumnType) -> pl.Series | None:
    """The numeric column of doubles that were parsed from text; None where the text itself must be asked."""
    doubles = values.to_numpy()  # NULL is nan here
    units = doubles * 10.0**kind.scale
    whole = np.rint(units)
    size = np.abs(units)
    if not np.fmax.reduce(size, initial=0.0) < min(SAFE, 10.0**kind.precision):
        return None
    if (np.abs(units - whole) > np.maximum(size * NOISE, 1e-6)).any():
        return None
    clean = pl.Series(values.name, whole / 10.0**kind.scale, nan_to_null=values.null_count() > 0)
    return clean.cast(pl.Decimal(38, kind.scale)) if kind.decimal else clean
