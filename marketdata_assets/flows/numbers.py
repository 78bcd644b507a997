"""Numbers as files have them: exact conversions of text, and of the doubles that a fast parser made of text.

A numeric of up to 16 digits is a Float64 that rounds back to the same decimal, or whose decimal is kept beside it
(`beyond_doubles`); a wider one is a Decimal.
"""

import re
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from marketdata_assets.flows.types import Cell, ColumnType

Array = np.ndarray[Any, np.dtype[Any]]

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
POWERS = {"千": 3, "万": 4, "百万": 6, "千万": 7, "亿": 8, "万亿": 12, "K": 3, "M": 6, "B": 9, "T": 12}
"""Chinese units as powers of ten."""


def plain(column: pl.Series, cell: Cell) -> pl.Series:
    """Each number as digits, point and exponent; NULL where it is not written as `cell` declares."""
    if not cell.own_number:
        return column
    if cell.parentheses:
        column = column.str.replace(r"^\s*\((.*)\)\s*$", "-$1")
    if cell.currency:
        mark = re.escape(cell.currency)
        column = column.str.replace(rf"^\s*([+-]?)\s*{mark}\s*", "$1").str.replace(rf"\s*{mark}\s*$", "")
    group = {" ": "[ \u00a0\u202f]", "'": "['’]"}.get(cell.thousands or "", re.escape(cell.thousands or ""))
    point = re.escape(cell.decimal)
    whole = rf"\d{{1,3}}(?:{group}\d{{3}})+|\d*" if group else r"\d*"
    powers = {"%": -2} if cell.percent else POWERS if cell.chinese_units else {}
    endings = [*sorted(powers, key=len, reverse=True), *([] if cell.percent else [r"[eE][+-]?\d+", ""])]
    parts = column.str.extract_groups(rf"^\s*([+-]?)({whole})((?:{point}\d*)?)\s*({'|'.join(endings)})\s*$")
    sign, digits, rest, end = (parts.struct.field(field) for field in parts.struct.fields)
    if cell.thousands:
        digits = digits.str.replace_all(group, "")
    exponents = end.replace({name: f"e{power}" for name, power in powers.items()})
    return sign + digits + rest.str.replace(cell.decimal, ".", literal=True) + exponents


def written(cell: Cell) -> str:
    """How numbers are declared to be written, for messages."""
    said = [f"groups of {cell.thousands!r}"] if cell.thousands else []
    said += [f"decimals behind {cell.decimal!r}"] if cell.decimal != "." else []
    said += ["a % at its end"] if cell.percent else []
    said += [f"{cell.currency!r} beside them"] if cell.currency else []
    said += ["units such as 亿 and M"] if cell.chinese_units else []
    return f" with {', '.join(said)}" if said else ""


def double(column: pl.Series) -> pl.Series:
    """Only finite numbers; a word such as nan is a text like any other."""
    text = pl.col(column.name)
    number = pl.when(text.str.contains(NUMBER)).then(text.str.strip_chars().cast(pl.Float64, strict=False))
    values = column.to_frame().select(number.alias(column.name)).to_series()
    infinite = np.isinf(values.to_numpy())
    return values.set(pl.Series(infinite), None) if infinite.any() else values


def integer(column: pl.Series, kind: Any) -> pl.Series:
    """Whole numbers; `12.0` and `1e3` are such."""
    text = column.str.strip_chars()
    whole = text.cast(pl.Int64, strict=False)
    if whole.null_count() > column.null_count():
        without_zeros = text.str.extract(r"^([+-]?\d+)\.0*$", 1).cast(pl.Int64, strict=False)
        whole = whole.zip_with(whole.is_not_null(), without_zeros)
    if whole.null_count() > column.null_count():
        doubles = double(text).to_numpy()
        fits = _whole(doubles, EXACT)
        of_doubles = pl.Series(np.where(fits, doubles, 0).astype(np.int64)).set(pl.Series(~fits), None)
        whole = whole.zip_with(whole.is_not_null(), of_doubles)
    return whole.cast(kind, strict=False)


def _whole(doubles: Array, most: float) -> Array:
    """Which of them are integers that were written so, below `most`; nan is none."""
    return np.asarray((np.rint(doubles) == doubles) & (np.abs(doubles) < most))


def numeric(column: pl.Series, kind: ColumnType) -> pl.Series:
    """Decimals of at most the digits of `kind`."""
    rough, exact = pl.col("rough"), pl.col("exact")
    both = pl.DataFrame(
        {"rough": double(column), "exact": column.str.strip_chars().cast(pl.Decimal(38, kind.scale), strict=False)}
    )
    noise = (rough.abs() * NOISE).clip(10.0 ** -(kind.scale + 6))
    units = exact.to_physical()
    fits = ((rough - exact.cast(pl.Float64)).abs() <= noise) & (units.abs() < 10**kind.precision)
    if not kind.decimal:
        exact = exact.cast(pl.Float64)
    return both.select(pl.when(fits).then(exact)).to_series()


def beyond_doubles(column: pl.Series, values: pl.Series, kind: ColumnType) -> dict[int, Decimal]:
    """The numbers of a column of text, by their place, that do not follow from the double that is made of them."""
    units = values.to_numpy() * 10.0**kind.scale  # NULL is nan here
    large = np.flatnonzero(np.abs(units) >= SAFE)
    written = column.gather(large).str.strip_chars().cast(pl.Decimal(38, kind.scale), strict=False).to_list()
    found = zip(large.tolist(), written, strict=True)
    return {at: text for at, text in found if int(text.scaleb(kind.scale)) != int(np.rint(units[at]))}


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
    if (np.abs(units - whole) > np.minimum(np.maximum(size * NOISE, 1e-6), SURE)).any():
        return None
    clean = pl.Series(values.name, whole / 10.0**kind.scale, nan_to_null=values.null_count() > 0)
    return clean.cast(pl.Decimal(38, kind.scale)) if kind.decimal else clean
