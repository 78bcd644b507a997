"""The row rules: which typed rows are bars, and why the others are not.

Prices are adjusted forward, so negative ones are legal. Each rule is one vector comparison over a block.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_UP
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from marketdata_assets.bars.layout import DECIMALS, PRICES
from marketdata_assets.bars.reading import Rows
from marketdata_assets.loading.errors import LoadError
from marketdata_assets.loading.rejects import Rejects
from marketdata_assets.reference.codes import canonical, contradiction
from marketdata_assets.reference.records import LABELS, Label, labelled_otherwise

Array = np.ndarray[Any, np.dtype[Any]]

SCALE = 10_000
LIMITS = {"amount": 1e12, "volume": 1e11, "change_pct": 1e4, "amplitude": 1e4, **dict.fromkeys(PRICES, 1e12 - 1)}
FIRST_YEAR, LAST_YEAR = 1900, 2099
OF_NAME = "the year in the file's name"
SHORTEST_DAY = 48
"""Bars of 5 minutes of a day; so many bars of a minute are not all at full 5 minutes."""
MINUTE, DAY = 60_000_000, 86_400_000_000


@dataclass(frozen=True)
class Bars:
    """Rows that passed, as arrays of one length.

    `time` is microseconds of the exchange's wall clock since 1970; `scaled` holds decimals in units of 0.0001; `null`
    marks missing cells of optional columns that have any; `code` and `name` index into `codes` and `names`, an int
    being the index of every row, -1 no name.
    """

    time: Array
    code: Array | int
    codes: tuple[str, ...]
    name: Array | int
    names: tuple[str, ...]
    scaled: dict[str, Array]
    volume: Array
    null: dict[str, Array]
    row: Array

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: Array) -> "Bars":
        """Only `rows`, a boolean mask or row numbers."""
        return Bars(
            self.time[rows],
            self.code if isinstance(self.code, int) else self.code[rows],
            self.codes,
            self.name if isinstance(self.name, int) else self.name[rows],
            self.names,
            {name: values[rows] for name, values in self.scaled.items()},
            self.volume[rows],
            {name: mask[rows] for name, mask in self.null.items()},
            self.row[rows],
        )


def judge(block: Rows, rejects: Rejects, year: int | None = None) -> Bars:
    """The rows of a typed block that are bars; the others, with `year` those outside it as well, go to `rejects`."""
    values = {name: block.frame[name].to_numpy() for name in LIMITS}
    null = {name: block.frame[name].is_null().to_numpy() for name in LIMITS if block.frame[name].null_count()}
    code, codes = _coded(block, "code")
    name, names = _coded(block, "name")
    canonicals = tuple(canonical(text) or "" for text in codes)
    time = block.frame["time"].to_physical().fill_null(np.iinfo(np.int64).min).to_numpy()
    verdicts = _Verdicts(block, rejects)
    verdicts.reject(time == np.iinfo(np.int64).min, "time is missing")
    first, last = (FIRST_YEAR, LAST_YEAR) if year is None else (year, year)
    expected = f"{first} to {last}" if year is None else f"{year}, {OF_NAME}"
    outside = (time < _year_start(first)) | (time >= _year_start(last + 1))
    verdicts.reject(outside, lambda cell: f"time {cell('time')} is outside {expected}")
    verdicts.reject(time // MINUTE * MINUTE != time, lambda cell: f"time {cell('time')} is not on a whole minute")
    _judge_text(verdicts, code, canonicals, name, names)
    scaled = _judge_numbers(verdicts, values, null)
    for upper, lower in (("high", "low"), ("high", "open"), ("high", "close"), ("open", "low"), ("close", "low")):
        verdicts.reject(scaled[upper] < scaled[lower], partial(_below, upper, lower))
    optional = {column: mask for column, mask in null.items() if column not in PRICES}
    bars = Bars(
        time, code, canonicals, name, names,
        {column: scaled[column] for column in DECIMALS}, scaled["volume"], optional, np.arange(len(time)),
    )  # fmt: skip
    return bars if verdicts.rejected is None else bars.take(~verdicts.rejected)


def remedy(rejects: Rejects, year: int | None) -> str:
    """What to do about too many rejected rows, where not the usual: of a file that `year` may only seem to be of."""
    if not any(reason.endswith(OF_NAME) for reason in rejects.reasons.values()):
        return ""
    return f"Rename the file if {year} is not the year of its rows; else correct it and deliver it again."


@dataclass
class Labels:
    """Which end of its minute labels each bar of a file, as declared, and as its days say."""

    declared: Label
    profile: str = ""  # that declares it; empty where MARKETDATA_BARS_LABEL does
    any_period: bool = True  # whether bars of more than a minute are left to the checks
    _days: dict[int, int] = field(default_factory=dict)
    """By day, which of LABELS it has, a bit for each."""
    _apart: int = 0
    _bars: int = 0

    def by_end(self, bars: Bars) -> Bars:
        """The bars labelled by their end; how they were labelled is kept for `check`."""
        day, clock = np.divmod(bars.time, DAY)
        if not self.any_period and self._apart != 1:
            self._apart = int(np.gcd.reduce(clock // MINUTE, initial=self._apart))
            self._bars += len(bars)
        for number, (hour, minute) in enumerate(LABELS):
            for one in np.unique(day[clock == (hour * 60 + minute) * MINUTE]).tolist():
                self._days[one] = self._days.get(one, 0) | 1 << number
        return bars if self.declared == "end" else replace(bars, time=bars.time + MINUTE)

    @property
    def found(self) -> Label | None:
        """The label that most days have; None when they do not say."""
        if labelled_otherwise("end", self._days):
            return "start"
        return "end" if labelled_otherwise("start", self._days) else None

    def check(self, place: str) -> None:
        """Raise LoadError when the bars are of more than a minute, or more days have the other label than declared."""
        if self._bars >= SHORTEST_DAY and self._apart % 5 == 0:
            raise LoadError(f"{place}: all its bars are {self._apart} minutes apart or more: deliver bars of 1 minute.")
        if wrong := labelled_otherwise(self.declared, self._days):
            found, why, other = {
                "end": ("start", "has a bar of 13:00 and none of 11:30 or 15:00", "by their end, 09:31 to 15:00"),
                "start": ("end", "has bars of 11:30 and 15:00 and none of 13:00", "by their start, 09:30 to 14:59"),
            }[self.declared]
            ours = f"Write {self.profile}: {{label: {found}}} into the file that MARKETDATA_BARS_PROFILES names"
            remedy = ours if self.profile else f"Set MARKETDATA_BARS_LABEL={found}"
            raise LoadError(
                f"{place}: bars are labelled by the {found} of their minute: {np.datetime64(min(wrong), 'D')} {why}."
                f" {remedy} if those of all files are, or deliver bars labelled {other}."
            )


class _Verdicts:
    """Collects the rejected rows of one block; the first rule that rejects a row gives the reason."""

    def __init__(self, block: Rows, rejects: Rejects) -> None:
        self.block = block
        self.rejected: Array | None = None
        self._rejects = rejects

    def reject(self, mask: Array, reason: str | Callable[[Callable[[str], str]], str]) -> None:
        if not mask.any():
            return
        if self.rejected is None:
            self.rejected = np.zeros(self.block.frame.height, bool)
        for row in np.flatnonzero(mask & ~self.rejected).tolist():
            text = reason if isinstance(reason, str) else reason(partial(self.block.cell, row))
            time = self.block.frame["time"].to_physical()[row]
            valid = time is not None and _year_start(FIRST_YEAR) <= time < _year_start(LAST_YEAR + 1)
            month = str(np.datetime64(time, "us").astype("datetime64[M]")) if valid else None
            self._rejects.add(self.block.line(row), text, month)
        self.rejected |= mask


def _year_start(year: int) -> int:
    return int(np.datetime64(f"{year:04d}-01-01", "us").astype(np.int64))


def _coded(block: Rows, column: str) -> tuple[Array | int, tuple[str, ...]]:
    """A text column as an index into its distinct values; blank is -1."""
    series = block.frame[column]
    distinct = series.unique(maintain_order=True).drop_nulls()
    texts = tuple(text.strip() for text in distinct)
    if len(distinct) == 1 and not series.null_count():
        return (0, texts) if texts[0] else (-1, ())
    numbers = np.array([number if text else -1 for number, text in enumerate(texts)], dtype=np.int64)
    index = series.replace_strict(distinct, numbers, default=-1, return_dtype=pl.Int64)
    return index.fill_null(-1).to_numpy(), texts


def _judge_text(
    verdicts: _Verdicts, code: Array | int, canonicals: tuple[str, ...], name: Array | int, names: tuple[str, ...]
) -> None:
    rows = verdicts.block.frame.height
    unknown = np.array([*(not text for text in canonicals), True])
    verdicts.reject(
        np.broadcast_to(unknown[code], rows),
        lambda cell: f"code {cell('code')!r} is not sh, sz or bj and six digits" if cell("code") else "code is missing",
    )
    wrong = np.array([*(bool(contradiction(text)) for text in canonicals), False])
    verdicts.reject(
        np.broadcast_to(wrong[code], rows),
        lambda cell: f"code {cell('code')!r}: {contradiction(canonical(cell('code')) or '')}",
    )
    unprintable = np.array([*("\0" in text for text in names), False])
    verdicts.reject(np.broadcast_to(unprintable[name], rows), "name holds a NUL character")


def _judge_numbers(verdicts: _Verdicts, values: dict[str, Array], null: dict[str, Array]) -> dict[str, Array]:
    """Reject what is missing, not finite, out of range or not whole; give the rest as exact integers."""
    scaled: dict[str, Array] = {}
    for column, limit in LIMITS.items():
        number = values[column]
        if column in null:
            if column in PRICES:
                verdicts.reject(null[column], f"{column} is missing")
            number = np.where(null[column], 0.0, number)
        lower = 0.0 if column in ("volume", "amount") else -limit
        inside = (number >= lower) & (number <= limit)
        if not inside.all():
            verdicts.reject(~inside, partial(_out_of_range, column))
            number = np.where(inside, number, 0.0)
        if column == "volume":
            whole = np.rint(number)
            verdicts.reject(whole != number, lambda cell: f"volume {cell('volume')} is not whole")
            scaled[column] = whole.astype(np.int64)
        else:
            scaled[column] = _scaled(verdicts.block, column, number)
    return scaled


def _out_of_range(column: str, cell: Callable[[str], str]) -> str:
    return f"{column} {cell(column)} is out of range"


def _below(upper: str, lower: str, cell: Callable[[str], str]) -> str:
    return f"{upper} {cell(upper)} < {lower} {cell(lower)}"


def _scaled(block: Rows, column: str, number: Array) -> Array:
    """Round to four decimals, half away from zero, exactly as Postgres rounds the same text.

    `number * SCALE` is off by less than two units in the last place, so rounding it can only be wrong next to a tie;
    those cells are rounded from their text.
    """
    product = number * SCALE
    nearest = np.rint(product)
    near_tie = np.abs(product - nearest) > 0.5 - 1e-9 - np.abs(product) * 4.5e-16
    result: Array = nearest.astype(np.int64)
    if near_tie.any():
        for row in np.flatnonzero(near_tie).tolist():
            exact = block.exact(row, column) * SCALE
            result[row] = int(exact.to_integral_value(ROUND_HALF_UP))
    return result
