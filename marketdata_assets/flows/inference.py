"""What the texts of a column look like: the type that takes all of them as they are, and what remains unsure.

A type is only proposed where every value of the sample has it; the author of the flow reads the remarks.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl

from marketdata_assets.flows import casting
from marketdata_assets.flows.cell_formats import Cell, Epoch
from marketdata_assets.flows.numbers import plain
from marketdata_assets.flows.types import ColumnType, column_type
from marketdata_assets.loading.rejects import LINE, Rejects

MISSING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None", "none", "-", "--", r"\N")
"""Texts that are taken for NULL where they are in a file."""
TIME_NAME = re.compile(r"time|date|(^|_)ts($|_)|timestamp|epoch|(^|_)day($|_)|日期|时间")
EPOCHS: dict[int, Epoch] = {10: "s", 13: "ms", 16: "us", 19: "ns"}
"""Digits of the epochs of our years."""
DATES = (
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%b %d, %Y",
    "%Y年%m月%d日",
    "%Y.%m.%d",
)
TIMES = (
    "%Y%m%d%H%M%S",
    "%Y.%m.%d %H:%M:%S",
    "%Y年%m月%d日 %H:%M:%S",
    *(f"{day} {clock}" for day in ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y") for clock in ("%H:%M:%S", "%H:%M")),
)
BOOLEANS = ({"true", "false"}, {"t", "f"}, {"yes", "no"}, {"y", "n"})
SPARE_DIGITS, FEWEST_DIGITS, FEWEST_DECIMALS, MOST_DECIMALS = 3, 16, 4, 10
DIGITS_OF_BIGINT = 18
NO_ZONE = "times have no offset; if they are instants, write {type: timestamptz, zone: Asia/Shanghai}"


@dataclass(frozen=True)
class Guess:
    """The type of a column as it is written in a flow, and what is unsure about it; both texts."""

    cell: Cell
    unsure: str = ""


def guess(name: str, texts: Sequence[str | None]) -> Guess:
    """The type of the column `name` with these values; None and texts of MISSING are NULL."""
    values = [text for text in texts if text is not None and text not in MISSING]
    if not values:
        return Guess(Cell(type=column_type("text")), "no value in the sample")
    if any(re.fullmatch(r"0\d+", text) for text in values) and not _dated(values):
        return Guess(Cell(type=column_type("text")), "" if all(map(str.isdigit, values)) else "some begin with 0")
    for found in (_boolean(values), _time(name, values), _number(name, values)):
        if found:
            return found
    return Guess(Cell(type=column_type("text")))


def of_schema(dtype: Any) -> Guess:
    """The type of a column that has one already, as in Parquet."""
    if isinstance(dtype, pl.Decimal):
        return Guess(Cell(type=ColumnType("numeric", dtype.precision or 38, dtype.scale)))
    if isinstance(dtype, pl.Datetime):
        truncate = dtype.time_unit == "ns"
        kind = column_type("timestamptz" if dtype.time_zone else "timestamp")
        unsure = "" if dtype.time_zone else NO_ZONE
        cut = "digits below a microsecond are cut off" if truncate else ""
        return Guess(Cell(type=kind, truncate=truncate), "; ".join(filter(None, (unsure, cut))))
    names = {pl.Date: "date", pl.Boolean: "boolean", pl.Float64: "double", pl.Float32: "double"}
    if dtype in names:
        return Guess(Cell(type=column_type(names[dtype])))
    if dtype.is_integer():
        return Guess(Cell(type=column_type("numeric(20)" if dtype == pl.UInt64 else "bigint")))
    return Guess(Cell(type=column_type("text")))


def _fits(cell: Cell, values: Sequence[str]) -> bool:
    rejects = Rejects()
    frame = pl.DataFrame({LINE: range(len(values)), "x": values})
    return casting.parse(frame, {"x": cell}, rejects).height == len(values)


def _boolean(values: Sequence[str]) -> Guess | None:
    words = {text.lower() for text in values}
    return Guess(Cell(type=column_type("boolean"))) if words in BOOLEANS else None


def _dated(values: Sequence[str]) -> bool:
    """Whether all are days of our time, as eight digits or otherwise."""
    compact = all(re.fullmatch(r"(19|20)\d{6}", text) for text in values if text.isdigit())
    return compact and _fits(Cell(type=column_type("date")), values)


def _time(name: str, values: Sequence[str]) -> Guess | None:
    if _dated(values):
        return Guess(Cell(type=column_type("date")))
    digits = {len(text.partition(".")[0]) for text in values}
    if all(re.fullmatch(r"\d+(\.\d+)?", text) for text in values):
        length = digits.pop() if len(digits) == 1 else 0
        hinted = TIME_NAME.search(name.lower()) or (name[:1].isdigit() and length > min(EPOCHS))
        epoch = EPOCHS.get(length) if hinted else None
        cell = Cell(type=column_type("timestamptz"), epoch=epoch, truncate=epoch == "ns") if epoch else None
        if cell and _fits(cell, values):
            return Guess(cell, f"taken for {epoch} since 1970, by its digits")
    for kind, unsure in (("timestamp", NO_ZONE), ("timestamptz", "")):
        cell = Cell(type=column_type(kind))
        if not values[0].isdigit() and _fits(cell, values):
            return Guess(cell, unsure)
    for kind, forms, unsure in (("date", DATES, ""), ("timestamp", TIMES, NO_ZONE)):
        fitting = [form for form in forms if _fits(Cell(type=column_type(kind), format=(form,)), values)]
        if fitting:
            other = f"{' and '.join(fitting)} fit all values; the first is taken" if len(fitting) > 1 else ""
            return Guess(Cell(type=column_type(kind), format=(fitting[0],)), "; ".join(filter(None, (other, unsure))))
    return None


def _number(name: str, values: Sequence[str]) -> Guess | None:
    whole = Cell(type=column_type("bigint"))
    if all(re.fullmatch(r"[+-]?\d{1,18}", text) for text in values):
        looks = TIME_NAME.search(name.lower()) is not None
        return Guess(whole, "named as a time, and no epoch that is known" if looks else "")
    if any(re.search(r"\d[eE]", text) for text in values) and _fits(Cell(type=column_type("double")), values):
        return Guess(Cell(type=column_type("double")), "with exponents, so not exact")
    options: tuple[dict[str, Any], ...] = (
        {},
        {"percent": True},
        {"chinese_units": True},
        {"thousands": ","},
        {"thousands": ",", "chinese_units": True},
        {"decimal": ","},
        {"thousands": ".", "decimal": ","},
    )
    for option in options:
        cell = _numeric(values, option)
        if cell and _fits(cell, values):
            unsure = "a comma is taken for the decimal point" if option == {"decimal": ","} else ""
            return Guess(cell, unsure)
    return None


def _numeric(values: Sequence[str], option: dict[str, Any]) -> Cell | None:
    """A numeric that takes all values with some digits to spare; double where they have very many decimals."""
    wide = Cell(type=column_type("numeric(38,10)"), **option)
    written = plain(pl.Series(values), wide).to_list()
    try:
        numbers = [Decimal(text) for text in written if text is not None]
    except ArithmeticError:
        return None
    if len(numbers) < len(values) or not numbers:
        return None
    decimals = max(0, *(-int(number.as_tuple().exponent) for number in numbers))
    digits = max(number.adjusted() + 1 for number in numbers)
    if decimals > MOST_DECIMALS or digits + decimals > 30:
        return Cell(type=column_type("double"), **option)
    if not decimals and digits <= DIGITS_OF_BIGINT and option.keys() <= {"thousands"}:
        return Cell(type=column_type("bigint"), **option)
    scale = max(FEWEST_DECIMALS, decimals)
    precision = max(FEWEST_DIGITS, max(digits, 1) + SPARE_DIGITS + scale)
    return Cell(type=column_type(f"numeric({precision},{scale})"), **option)
