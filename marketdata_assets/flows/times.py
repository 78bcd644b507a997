"""Dates and times as files have them: a text that none of the forms fits, or that loses digits, is none.

Instants are UTC. A zone is used where a text has no offset, and where a column without a zone is made of an instant.
"""

import datetime as dt
import re
from typing import Any

import polars as pl

from marketdata_assets.flows.types import Cell, Epoch, has_offset

EXCEL_EPOCH = 25_569
"""1970-01-01 as Excel counts days."""
DATE_FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%Y%m%d")
CLOCK_FORMATS = ("%H:%M:%S%.f", "%H:%M")
TIME_FORMATS = tuple(f"{day}{gap}{clock}" for clock in CLOCK_FORMATS for gap in " T" for day in DATE_FORMATS)
OFFSET_FORMATS = tuple(f"{form}%#z" for form in TIME_FORMATS)
LOST_DIGITS = r"\.\d{6}\d*[1-9]"
"""A fraction of a second with digits below a microsecond."""
MICROSECONDS = {"s": 6, "ms": 3, "us": 0}
"""What a unit of an epoch is, as a power of ten."""
YEARS = (1900, 2200)
"""Those of the instants of an epoch: others are of numbers of another unit."""
DAY = 86_400_000_000
EPOCH_DAY = dt.date(1970, 1, 1)
YEAR_1000 = (dt.date(1000, 1, 1) - EPOCH_DAY).days
FROM, BEFORE = ((dt.date(year, 1, 1) - EPOCH_DAY).days * DAY for year in YEARS)
OF_LONGER_UNITS = (600_000_000, 50 * DAY)
"""Where numbers of our years are by the next shorter units: from 10 minutes to 50 days after the epoch."""
LOCAL, UTC = pl.Datetime("us"), pl.Datetime("us", "UTC")


def parse(column: pl.Series, cell: Cell) -> pl.Series:
    """The column in the type of `cell`, NULL where a text is none."""
    if cell.excel_days:
        return _days_of_excel(column, cell)
    if cell.type.kind == "date":
        return _dates(column, cell)
    if not (cell.truncate or cell.epoch):
        lost = column.str.contains(LOST_DIGITS)
        column = column.set(lost, None) if lost.any() else column
    return _instants(column, cell) if cell.type.kind == "timestamptz" else _clock(column, cell)


def expected(cell: Cell) -> str:
    """What to say of a text that is no such value."""
    if cell.excel_days:
        return "is no number of days since 1899-12-30"
    if cell.epoch:
        exact = "" if cell.truncate else " that is whole in microseconds"
        units = " or ".join(cell.epochs)
        years = f"from {YEARS[0]} to {YEARS[1] - 1}"
        return f"is no number of {units} since 1970{exact}, or of no time {years}; epoch: auto takes each unit"
    if cell.format:
        return f"is no {cell.type.kind} ({' or '.join(cell.format)})"
    if cell.type.kind == "date":
        return "is no date (YYYY-MM-DD, YYYY/MM/DD or YYYYMMDD)"
    if cell.type.kind == "timestamptz" and not cell.zone:
        return "is no time with an offset (YYYY-MM-DD HH:MM:SS+08:00); for times without one, declare zone"
    return "is no time (YYYY-MM-DD HH:MM:SS)"


def _days_of_excel(column: pl.Series, cell: Cell) -> pl.Series:
    """Days, or times in milliseconds, at the clock of the cell's zone."""
    days = column.str.extract(r"^\s*(\d{1,6}(?:\.\d*)?)\s*$", 1).cast(pl.Float64, strict=False)
    clock = ((days - EXCEL_EPOCH) * 86_400_000).round().cast(pl.Int64).cast(pl.Datetime("ms")).cast(LOCAL)
    if cell.type.kind == "timestamptz":
        placed = clock.dt.replace_time_zone(cell.zone or "UTC", ambiguous="null", non_existent="null")
        return placed.dt.convert_time_zone("UTC")
    return _whole_days(clock, cell) if cell.type.kind == "date" else clock


def _dates(column: pl.Series, cell: Cell) -> pl.Series:
    """Days. A text with a time is one only at midnight; an instant is its day in its zone."""
    if cell.epoch or cell.format:
        return _whole_days(_clock(column, cell), cell)
    days = _first(column, DATE_FORMATS, pl.Date)
    if days.null_count() == column.null_count():
        return days
    return days.zip_with(days.is_not_null(), _whole_days(_clock(column, cell), cell))


def _whole_days(times: pl.Series, cell: Cell) -> pl.Series:
    if not (cell.epoch or any(map(has_offset, cell.format or ()))):
        times = times.set(times != times.dt.truncate("1d"), None)
    return times.cast(pl.Date)


def _clock(column: pl.Series, cell: Cell) -> pl.Series:
    """Times without a zone: as they are written, or of instants, at the clock of their zone."""
    times = _first(column, _forms(cell, offset=False), LOCAL)
    if times.null_count() == column.null_count() or not (cell.epoch or cell.zone or cell.format):
        return times
    instants = _epochs(column, cell) if cell.epoch else _first(column, _forms(cell, offset=True), UTC)
    shown = instants.dt.convert_time_zone(cell.zone or "UTC").dt.replace_time_zone(None)
    return times.zip_with(times.is_not_null(), shown)


def _instants(column: pl.Series, cell: Cell) -> pl.Series:
    """Times in UTC; one without an offset is at the clock of the cell's zone, which must have had it just once."""
    if cell.epoch:
        return _epochs(column, cell)
    written = column.str.replace(r"\s*(?:UTC|GMT)$", "Z").str.replace(r"(:\d\d(?:\.\d+)?)\s+([+-]\d)", "$1$2")
    times = _first(written, _forms(cell, offset=True), UTC)
    if cell.zone is None or times.null_count() == column.null_count():
        return times
    local = _first(column, _forms(cell, offset=False), LOCAL)
    placed = local.dt.replace_time_zone(cell.zone, ambiguous="null", non_existent="null")
    return times.zip_with(times.is_not_null(), placed.dt.convert_time_zone("UTC"))


def _forms(cell: Cell, *, offset: bool) -> tuple[str, ...]:
    """The forms of a text with or without an offset."""
    if cell.epoch:
        return ()
    if cell.format:
        return tuple(form for form in cell.format if has_offset(form) == offset)
    return OFFSET_FORMATS if offset else (*TIME_FORMATS, *DATE_FORMATS)


def _epochs(column: pl.Series, cell: Cell) -> pl.Series:
    """Numbers since 1970 as times in UTC: each by the first of the units by which it is a plausible time."""
    first, *others = (_plausible(_epoch(column, unit, cell.truncate), unit) for unit in cell.epochs)
    for times in others:
        first = first.zip_with(first.is_not_null(), times)
    return first.cast(UTC)


def _plausible(micros: pl.Series, unit: Epoch) -> pl.Series:
    """Those that are of the YEARS, and no number of a longer unit, which would be in January of 1970 by this one."""
    plausible = micros.is_between(FROM, BEFORE, closed="left")
    if unit != "s":
        plausible = plausible & ~(micros.is_between(OF_LONGER_UNITS[0], OF_LONGER_UNITS[1]) & (micros % DAY != 0))
    return micros.set(~plausible, None)


def _epoch(column: pl.Series, unit: Epoch, truncate: bool) -> pl.Series:
    """Numbers of one unit as microseconds."""
    if unit == "ns":
        nanos = column.str.extract(r"^\s*([+-]?\d+)(?:\.0*)?\s*$", 1).cast(pl.Int64, strict=False)
        micros = nanos // 1000
        return micros if truncate else micros.set(nanos % 1000 != 0, None)
    power = MICROSECONDS[unit]
    spare = r"\d*" if truncate else "0*"
    fraction = rf"(?:\.\d{{1,{power}}})?" if power else ""
    exact = column.str.extract(rf"^\s*([+-]?\d+{fraction})(?:\.?{spare})\s*$", 1)
    return exact.cast(pl.Decimal(38, power), strict=False).to_physical().cast(pl.Int64, strict=False)


def _first(column: pl.Series, forms: tuple[str, ...], kind: Any) -> pl.Series:
    """Each text by the first form that fits it."""
    if not forms:
        return column.clear(len(column)).cast(kind)
    found = _by(column, forms[0], kind)
    for form in forms[1:]:
        if found.null_count() == column.null_count():
            break
        found = found.zip_with(found.is_not_null(), _by(column, form, kind))
    return found


def _by(column: pl.Series, form: str, kind: Any) -> pl.Series:
    """Each text by a form, of which a year has four digits: `26-03-02` is of no year 26, and `2026032` no day."""
    found = column.str.strptime(kind, form, strict=False)
    if "%Y" in form:
        early = found.cast(pl.Int64) < (YEAR_1000 if found.dtype == pl.Date else YEAR_1000 * DAY)
        found = found.set(early, None) if early.any() else found
    if re.match("%Y%m%d(?!%)", form) and found.null_count() < len(found):
        found = found.set(~column.str.contains(r"^\s*[0-9]{8}(?:[^0-9]|$)").fill_null(True), None)
    return found
