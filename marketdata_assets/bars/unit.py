"""One CSV, read to its end: the verdict on it, and its rows in the form the database takes.

Nothing is written here but a spool of encoded rows; the transaction is in `loader`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from marketdata_assets.bars.layout import PRICES, read_header, year_of_unit
from marketdata_assets.bars.reading import Rows, typed
from marketdata_assets.bars.rules import Bars, judge
from marketdata_assets.loading.files import Opener, Unit
from marketdata_assets.loading.rejects import Rejects
from marketdata_assets.loading.text import Text, raw_lines
from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.stores.pgcopy import Bigint, Column, Numeric, Timestamp, encode
from marketdata_assets.stores.pgcopy import Text as TextColumn
from marketdata_assets.stores.spool import Spool

Array = np.ndarray[Any, np.dtype[Any]]

Hole = tuple[int, int]
"""First and last time, both included, in microseconds: minutes that a newer file provides."""


@dataclass
class Span:
    """What a unit has of one code in one month: first and last time in microseconds, rows, rows left to newer files."""

    first: int
    last: int
    rows: int
    superseded: int = 0

    def add(self, first: int, last: int, rows: int, superseded: int) -> None:
        self.first = min(self.first, first)
        self.last = max(self.last, last)
        self.rows += rows
        self.superseded += superseded


@dataclass
class Parsed:
    """A unit that may be loaded: every line is counted in `spans` of some month or in `rejects`."""

    rows: int = 0
    rejects: list[Reject] = field(default_factory=list)
    spans: dict[tuple[str, str], Span] = field(default_factory=dict)
    payload: Spool = field(default_factory=Spool)
    """The rows to load, encoded."""

    def close(self) -> None:
        """Release the spool."""
        self.payload.close()


def parse(
    opener: Opener,
    unit: Unit,
    months: Collection[str] | None,
    holes: Mapping[tuple[str, str], Sequence[Hole]] | None = None,
) -> Parsed:
    """Read `unit` whole and encode its rows of `months` (`YYYY-MM`; None takes all), leaving out `holes`.

    Raises BadFile, BadHeader or TooManyRejects; then nothing of the unit may be loaded.
    """
    try:
        return _Parser(opener, unit, months, holes or {}, Duplicates()).run()
    except OutOfOrder:
        return _Parser(opener, unit, months, holes or {}, Duplicates(remember=True)).run()


class _Parser:
    def __init__(
        self,
        opener: Opener,
        unit: Unit,
        months: Collection[str] | None,
        holes: Mapping[tuple[str, str], Sequence[Hole]],
        duplicates: "Duplicates",
    ) -> None:
        self._opener = opener
        self._unit = unit
        self._year = year_of_unit(unit)
        self._months = months
        self._holes = holes
        self._duplicates = duplicates
        self._rejects = Rejects()
        self._parsed = Parsed()

    def run(self) -> Parsed:
        try:
            with self._opener.open(self._unit) as stream:
                text = Text(self._unit.place, stream, validate=False)
                names = read_header(self._unit.place, text.line())
                for block in text.blocks():
                    self._take(typed(block, names, self._rejects))
                    if self._rejects.hopeless:
                        break
            self._rejects.check_limit(self._unit.place)
            if self._rejects:
                raw = raw_lines(self._opener, self._unit, "utf-8", set(self._rejects.reasons))
                self._parsed.rejects = self._rejects.for_quarantine(raw)
        except BaseException:
            self._parsed.close()
            raise
        self._parsed.rows = self._rejects.rows
        return self._parsed

    def _take(self, rows: Rows) -> None:
        bars = judge(rows, self._rejects, self._year)
        repeated = self._duplicates.repeated(bars)
        if repeated is not None:
            for row in bars.row[repeated].tolist():
                key = f"{rows.cell(row, 'code')} {rows.cell(row, 'time')}"
                reason = f"duplicate key {key}, first seen earlier in this file"
                self._rejects.add(rows.line(row), reason, f"{rows.frame['time'][row]:%Y-%m}")
            bars = bars.take(~repeated)
        kept = self._measure(bars)
        if kept is not None:
            bars = bars.take(kept)
        for piece in encode(table_columns(bars), len(bars)):
            self._parsed.payload.add(piece.data)

    def _measure(self, bars: Bars) -> Array | None:
        """Add the bars to the spans; the mask of those to load, or None when all are."""
        keep = np.ones(len(bars), bool)
        month = bars.time.astype("datetime64[us]").astype("datetime64[M]")
        for number, code in enumerate(bars.codes):
            of_code = None if isinstance(bars.code, int) else bars.code == number
            for label in np.unique(month if of_code is None else month[of_code]):
                rows = np.flatnonzero(month == label if of_code is None else (month == label) & of_code)
                if self._months is not None and str(label) not in self._months:
                    keep[rows] = False
                times = bars.time[rows]
                covered = np.zeros(len(rows), bool)
                for first, last in self._holes.get((code, str(label)), ()):
                    covered |= (times >= first) & (times <= last)
                keep[rows[covered]] = False
                low, high = int(times.min()), int(times.max())
                span = self._parsed.spans.setdefault((code, str(label)), Span(low, high, 0))
                span.add(low, high, len(rows), int(covered.sum()))
        return None if keep.all() else keep


def table_columns(bars: Bars) -> list[Column]:
    """The bars in the order of the table's columns."""
    null = bars.null

    def numeric(name: str) -> Column:
        return Numeric(bars.scaled[name], null.get(name))

    return [
        Timestamp(bars.time),
        TextColumn(bars.code, tuple(code.encode() for code in bars.codes)),
        TextColumn(bars.name, tuple(name.encode() for name in bars.names)),
        *map(numeric, PRICES),
        Bigint(bars.volume, null.get("volume")),
        *map(numeric, ("amount", "change_pct", "amplitude")),
    ]


class OutOfOrder(Exception):
    """Times neither only rise nor only fall, so keys must be remembered: read again with `remember=True`."""


class Duplicates:
    """Finds a (code, time) that a file has twice, block after block; the first of two rows is kept.

    Memory does not grow while times only rise or only fall; with `remember` every key is kept, 16 bytes a row.
    """

    def __init__(self, remember: bool = False) -> None:
        self._remember = remember
        self._last: dict[str, tuple[int, int]] = {}
        self._numbers: dict[str, int] = {}
        self._seen = np.empty(0, dtype=[("code", "i8"), ("time", "i8")])

    def repeated(self, bars: Bars) -> Array | None:
        """Mask of bars whose key was seen before; None when there is none. May raise OutOfOrder."""
        if not len(bars):
            return None
        if self._remember:
            return self._by_keys(bars)
        for number, code in enumerate(bars.codes):
            times = bars.time if isinstance(bars.code, int) else bars.time[bars.code == number]
            if len(times):
                self._one_way(code, times)
        return None

    def _one_way(self, code: str, times: Array) -> None:
        last, direction = self._last.get(code, (None, 0))
        steps = np.diff(times) if last is None else np.diff(times, prepend=last)
        if len(steps):
            rising = bool(steps[0] > 0)
            direction = direction or (1 if rising else -1)
            if not (steps * direction > 0).all():
                raise OutOfOrder(code)
        self._last[code] = (int(times[-1]), direction)

    def _by_keys(self, bars: Bars) -> Array | None:
        numbers = np.array([self._numbers.setdefault(code, len(self._numbers)) for code in bars.codes])
        keys = np.empty(len(bars), dtype=self._seen.dtype)
        keys["code"] = numbers[bars.code]
        keys["time"] = bars.time
        everything = np.concatenate([self._seen, keys])
        first = np.unique(everything, return_index=True)[1]
        repeated = np.ones(len(everything), bool)
        repeated[first] = False
        fresh = repeated[len(self._seen) :]
        self._seen = everything[~repeated]
        return fresh if fresh.any() else None
