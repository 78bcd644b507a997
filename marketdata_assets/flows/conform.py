"""From the frame after the last handler to the target's columns, in the wire format of Postgres.

A value that does not fit its column rejects its row; NaN is NULL. Results of handlers are rounded to the column's
decimals; text that is not parsed yet is parsed, and loses none.
"""

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from marketdata_assets.flows import casting, frames, numbers
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.errors import FlowError, MissingColumn
from marketdata_assets.flows.types import Cell, ColumnType
from marketdata_assets.loading.rejects import LINE, Rejects
from marketdata_assets.stores.pgcopy import Bytes, Column, Fixed, Numeric, Text, numeric_bytes

ENCODED_ROWS = 16_384
DIGITS_OF_INT64 = 18
FITS_INT64 = 2**62
WIDEST_BINARY_SCALE = 16
WIRE_VALUES = {
    "timestamp": pl.Int64,
    "date": pl.Int32,
    "bigint": pl.Int64,
    "integer": pl.Int32,
    "double": pl.Float64,
    "boolean": pl.UInt8,
}
"""The values that `pgcopy.Fixed` takes."""


def conform(flow: FlowDefinition, place: str, frame: pl.DataFrame, rejects: Rejects) -> pl.DataFrame:
    """The target's columns, numerics as whole units of their last decimal; rows that fit and have a complete key."""
    target = flow.target
    if missing := [name for name in target.columns if name not in frame.columns]:
        given = ", ".join(name for name in frame.columns if name != LINE)
        raise MissingColumn(
            f"flow {flow.name}, {place}: the handlers give no column {', '.join(missing)}; they give {given}. Add it by"
            " derive or call, or take it out of target.columns."
        )
    schema = frame.schema
    texts = {n: Cell(type=k) for n, k in target.columns.items() if schema[n] == pl.String and k.kind != "text"}
    frame = frames.with_columns(frame, [rejects.lines(frame)])
    if texts:
        frame = casting.parse(frame, texts, rejects)
    lines = frame[LINE]
    fitted: list[pl.Series] = []
    bad: list[pl.Series] = []
    for name, kind in target.columns.items():
        column = frame[name]
        try:
            values = _fitted(column, kind)
        except (pl.exceptions.PolarsError, TypeError) as error:
            raise FlowError(
                f"flow {flow.name}, {place}: column {name} is {column.dtype}, the target has {kind}: {error}. Make it"
                f" {kind} by parse, derive or call, or change target.columns."
            ) from error
        if rejects.exact and kind.kind == "numeric" and column.dtype == pl.Float64:
            values = _exact(values, column, lines, kind, rejects.exact)
        if values.null_count() > column.null_count():
            lost = column.is_not_null() & values.is_null()
            if column.dtype.is_float():
                lost = lost & ~column.fill_null(0).is_nan()
            shown = column.filter(lost)
            shown = shown.cast(pl.String, strict=False) if shown.dtype.is_temporal() else shown
            for line, value in zip(lines.filter(lost), shown, strict=True):
                text = kind.kind in ("text", "text[]")
                rejects.add(line, f"{name} holds a NUL" if text else f"{name} {value} does not fit {kind}")
            bad.append(lost)
        use = "belongs to the key" if name in target.key else "orders the rows"
        if (name in target.key or name == target.order_column) and values.null_count():
            rejects.add_all(lines.filter(values.is_null()).to_list(), f"{name} is NULL, and {use}")
            bad.append(values.is_null())
        fitted.append(values.alias(name))
    frame = lines.to_frame().hstack(fitted)
    return frame.filter(~pl.select(pl.any_horizontal(bad)).to_series()) if bad else frame


def key_hashes(flow: FlowDefinition, frame: pl.DataFrame) -> pl.Series:
    """A number for each row; where all differ, so do the keys."""
    return frame[flow.target.key].hash_rows()


def newest_of_keys(flow: FlowDefinition, frame: pl.DataFrame, rejects: Rejects) -> pl.DataFrame:
    """Of rows with one key, the last is kept and the others are rejected.

    Where a column orders the rows, that with its highest value is kept, and the others are left out.
    """
    key, order = flow.target.key, flow.target.order_column
    if order is not None:
        return frame.sort(order, maintain_order=True).unique(key, keep="last", maintain_order=True)
    again = ~frame.select(pl.struct(key).is_last_distinct().alias("last"))["last"]
    if not again.any():
        return frame
    texts = frame.select(pl.concat_str([pl.col(k).cast(pl.String) for k in key], separator=" ").alias("key"))["key"]
    return rejects.take_out(frame, again, "duplicate key " + texts + ", which a later row of this file has too")


def encoded_columns(flow: FlowDefinition, frame: pl.DataFrame) -> Iterator[tuple[list[Column], int]]:
    """The columns of a conformed frame in the order of the target, a slice of rows at a time."""
    for part in frame.iter_slices(ENCODED_ROWS):
        yield [_column(part[name], kind) for name, kind in flow.target.columns.items()], part.height


def _fitted(column: pl.Series, kind: ColumnType) -> pl.Series:
    """The column in the type of the target's, NULL where a value does not fit. Raises TypeError, or PolarsError."""
    dtype = column.dtype
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None and kind.kind in ("date", "timestamp"):
        raise TypeError("it has a time zone and the column has none; convert it and take the zone off in a handler")
    match kind.kind:
        case "numeric":
            return _numeric(column, kind)
        case "bigint" | "integer":
            return _integer(column, kind)
        case "text":
            if dtype.is_float() and (column.fill_nan(None) == column.floor()).any():
                raise TypeError("as texts its numbers would have a point, as 600000.0")
            values = _as_json(column) if dtype.is_nested() else column.cast(pl.String)
            zero = values.str.contains("\0", literal=True)
            return values.set(zero, None) if zero.any() else values
        case "text[]":
            lists = column.cast(pl.List(pl.String))
            zero = lists.list.join("", ignore_nulls=True).str.contains("\0", literal=True)
            return lists.set(zero, None) if zero.any() else lists
        case "date":
            if not isinstance(dtype, pl.Datetime | pl.Date | pl.Null):
                raise TypeError("it is no date")
            days = _within_years(column.cast(pl.Date))
            return days.set(days.cast(dtype) != column, None) if isinstance(dtype, pl.Datetime) else days
        case "timestamp":
            if not isinstance(dtype, pl.Datetime | pl.Date | pl.Null):
                raise TypeError("it is no time")
            return _within_years(column.cast(pl.Datetime("us")))
        case "timestamptz":
            if not (isinstance(dtype, pl.Null) or (isinstance(dtype, pl.Datetime) and dtype.time_zone)):
                raise TypeError("it is no time with a time zone")
            return _within_years(column.cast(pl.Datetime("us", "UTC")))
        case "boolean":
            if not isinstance(dtype, pl.Boolean | pl.Null):
                raise TypeError("it is neither true nor false")
            return column.cast(pl.Boolean)
        case "double":
            if not (dtype.is_numeric() or dtype == pl.Null):
                raise TypeError("it is no number")
            values = column.cast(pl.Float64)
            return values.set(values.is_nan(), None) if values.is_nan().any() else values


def _as_json(column: pl.Series) -> pl.Series:
    """Lists and structs as they are written in JSON."""
    texts = [
        None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
        for value in column.to_list()
    ]
    return pl.Series(column.name, texts, pl.String)


def _within_years(times: pl.Series) -> pl.Series:
    """Those from the year 1 to 9999, which every reader of the table takes."""
    days = times.cast(pl.Int64) // (1 if times.dtype == pl.Date else 86_400_000_000)
    outside = (days < -719_162) | (days > 2_932_896)  # since 1970
    return times.set(outside, None) if outside.any() else times


def _numeric(column: pl.Series, kind: ColumnType) -> pl.Series:
    """Units of the last decimal: Int64, or Int128 where one is that wide."""
    if column.dtype == pl.Float64 and kind.precision <= DIGITS_OF_INT64:
        return _units_of_doubles(column, kind)
    whole = pl.Int128 if kind.precision > DIGITS_OF_INT64 else pl.Int64
    if isinstance(column.dtype, pl.Decimal) or column.dtype.is_integer() or column.dtype == pl.Null:
        units = column.cast(pl.Decimal(38, kind.scale), strict=False).to_physical()
    elif column.dtype.is_float():
        scaled = (column * 10.0**kind.scale).round()
        units = scaled.set(scaled.is_nan() | ~(scaled.abs() < 10.0**kind.precision), None).cast(whole, strict=False)
    else:
        raise TypeError("it is no number")
    small = units.cast(pl.Int64, strict=False)
    if small.null_count() == units.null_count() and kind.precision > DIGITS_OF_INT64:
        return small
    return units.set(units.abs() >= 10**kind.precision, None).cast(whole, strict=False)


def _units_of_doubles(column: pl.Series, kind: ColumnType) -> pl.Series:
    units = np.rint(column.to_numpy() * 10.0**kind.scale)
    fits = np.abs(units) < 10.0**kind.precision  # nan does not
    if fits.all():
        return pl.Series(units.astype(np.int64))
    return pl.Series(np.where(fits, units, 0).astype(np.int64)).set(pl.Series(~fits), None)


def _exact(
    values: pl.Series, column: pl.Series, lines: pl.Series, kind: ColumnType, exact: Mapping[tuple[int, float], Decimal]
) -> pl.Series:
    """The units, those of `exact` numbers that are still in the column as these have them."""
    known = lines.is_in(sorted({line for line, _ in exact}))
    for at in known.arg_true():
        units = exact.get((lines[at], column[at]), Decimal(0)).scaleb(kind.scale)
        if units and units == int(units) and abs(units) < 10**kind.precision:
            values = values.scatter(at, int(units))
    return values


def _integer(column: pl.Series, kind: ColumnType) -> pl.Series:
    if column.dtype.is_float():
        column = column.set(column.is_nan() | (column.round() != column), None)
    elif not (column.dtype.is_integer() or isinstance(column.dtype, pl.Decimal) or column.dtype == pl.Null):
        raise TypeError("it is no whole number")
    elif isinstance(column.dtype, pl.Decimal):
        column = column.set(column.cast(pl.Int64, strict=False).cast(column.dtype, strict=False) != column, None)
    return column.cast(numbers.INTEGERS[kind.kind], strict=False)


def _column(values: pl.Series, kind: ColumnType) -> Column:
    null = values.is_null().to_numpy() if values.null_count() else None
    if kind.kind == "text":
        return _text_column(values, null)
    if kind.kind == "text[]":
        distinct: dict[tuple[str, ...] | None, int] = {None: -1}  # there are few: each is written out once
        rows = [None if row is None else tuple(row) for row in values.to_list()]
        index = np.array([distinct.setdefault(row, len(distinct) - 1) for row in rows], np.int64)
        return Text(index, tuple(_array(texts) for texts in distinct if texts is not None))
    if kind.kind == "numeric":
        return _numeric_column(values, null, kind)
    wire = "timestamp" if kind.kind == "timestamptz" else kind.kind
    return Fixed(wire, _filled(values.cast(WIRE_VALUES[wire])), null)


def _filled(values: pl.Series) -> np.ndarray[Any, np.dtype[Any]]:
    """The values, 0 where they are NULL."""
    return (values.fill_null(0) if values.null_count() else values).to_numpy()


def _text_column(values: pl.Series, null: np.ndarray[Any, np.dtype[Any]] | None) -> Column:
    if values.null_count() == len(values):
        return Text(-1, ())
    if null is None and values.n_unique() == 1:
        return Text(0, (values[0].encode(),))
    data = np.frombuffer(values.str.join("", ignore_nulls=True).item().encode(), np.uint8)
    return Bytes(data, _filled(values.str.len_bytes()).astype(np.int64), null)


def _array(texts: tuple[str, ...]) -> bytes:
    """A text[] on the wire: dimensions, whether NULLs, the element's type, length and lower bound, the elements."""
    oid = (25).to_bytes(4)
    if not texts:
        return bytes(8) + oid
    cells = b"".join(len(text.encode()).to_bytes(4) + text.encode() for text in texts)
    return (1).to_bytes(4) + bytes(4) + oid + len(texts).to_bytes(4) + (1).to_bytes(4) + cells


def _numeric_column(values: pl.Series, null: np.ndarray[Any, np.dtype[Any]] | None, kind: ColumnType) -> Column:
    """Whole units; where they do not fit 62 bits, each value is encoded separately."""
    units = values.cast(pl.Int64, strict=False)
    if kind.scale <= WIDEST_BINARY_SCALE and units.null_count() == values.null_count():
        whole, most = _filled(units), FITS_INT64 // 10 ** (-kind.scale % 4)
        if np.all((-most < whole) & (whole < most)):
            return Numeric(whole, null, kind.scale)
    written = [b"" if units is None else numeric_bytes(int(units), kind.scale) for units in values.to_list()]
    lengths = np.array([len(cell) for cell in written], np.int64)
    return Bytes(np.frombuffer(b"".join(written), np.uint8), lengths, null)
