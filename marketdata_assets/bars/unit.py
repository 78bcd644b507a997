"""One CSV, read to its end: the verdict on it, and its rows in the form the database takes.

Nothing is written here but a spool of encoded rows; the transaction is in `loader`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from marketdata_assets.bars.duplicates import Duplicates, OutOfOrder
from marketdata_assets.bars.errors import BadHeader, TooManyRejects
from marketdata_assets.bars.layout import PRICES, read_header
from marketdata_assets.bars.reading import Typed, blocks, typed
from marketdata_assets.bars.rules import MAX_REJECTED, Bars, judge, too_many
from marketdata_assets.bars.sources import Opener, Unit
from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.stores.pgcopy import Bigint, Column, Numeric, Text, Timestamp, encode
from marketdata_assets.stores.spool import Spool

Array = np.ndarray[Any, np.dtype[Any]]

SPOOL_BYTES = 32 * 1024 * 1024

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
    """A unit that may land: every line is counted in `spans` of some month or in `rejects`."""

    rows: int = 0
    rejects: list[Reject] = field(default_factory=list)
    spans: dict[tuple[str, str], Span] = field(default_factory=dict)
    payload: Spool = field(default_factory=lambda: Spool(SPOOL_BYTES))
    """The rows to land, encoded."""

    def close(self) -> None:
        """Give back the spool."""
        self.payload.close()


def parse(
    opener: Opener,
    unit: Unit,
    months: Collection[str] | None,
    holes: Mapping[tuple[str, str], Sequence[Hole]] | None = None,
) -> Parsed:
    """Read `unit` whole and encode its rows of `months` (`YYYY-MM`; None takes all), leaving out `holes`.

    Raises BadMember, BadHeader or TooManyRejects; then nothing of the unit may land.
    """
    try:
        return _parse(opener, unit, months, holes or {}, Duplicates())
    except OutOfOrder:
        return _parse(opener, unit, months, holes or {}, Duplicates(remember=True))


def _parse(
    opener: Opener,
    unit: Unit,
    months: Collection[str] | None,
    holes: Mapping[tuple[str, str], Sequence[Hole]],
    duplicates: Duplicates,
) -> Parsed:
    parsed = Parsed()
    try:
        with opener.open(unit) as stream:
            header = stream.readline(64 * 1024)
            if not header.strip():
                raise BadHeader(unit.place, "the file is empty", "Deliver the file again.")
            names = read_header(unit.place, header)
            for block in blocks(stream, first_line=2):
                _take(parsed, typed(block, names), unit, months, holes, duplicates)
                if len(parsed.rejects) > MAX_REJECTED:
                    break
        if too_many(len(parsed.rejects), parsed.rows):
            examples = [f"line {r.line} {r.reason}" for r in sorted(parsed.rejects, key=lambda r: r.line)[:3]]
            raise TooManyRejects(unit.place, len(parsed.rejects), parsed.rows, examples)
    except BaseException:
        parsed.close()
        raise
    return parsed


def _take(
    parsed: Parsed,
    block: Typed,
    unit: Unit,
    months: Collection[str] | None,
    holes: Mapping[tuple[str, str], Sequence[Hole]],
    duplicates: Duplicates,
) -> None:
    bars, rejects = judge(block, unit.year)
    parsed.rows += block.rows
    parsed.rejects += (*block.rejects, *rejects)
    repeated = duplicates.repeated(bars)
    if repeated is not None:
        for row in bars.row[repeated].tolist():
            month = f"{block.frame['time'][row]:%Y-%m}"
            reason = f"{block.cell(row, 'code')} {block.cell(row, 'time')} stands in the file before"
            parsed.rejects.append(Reject(block.line(row), reason, block.raw(row), month))
        bars = bars.take(~repeated)
    kept = _measure(parsed, bars, months, holes)
    if kept is not None:
        bars = bars.take(kept)
    for piece in encode(table_columns(bars), len(bars)):
        parsed.payload.add(piece.data)


def _measure(
    parsed: Parsed,
    bars: Bars,
    months: Collection[str] | None,
    holes: Mapping[tuple[str, str], Sequence[Hole]],
) -> Array | None:
    """Add the bars to the spans; give the mask of those to land, or None when all are."""
    keep = np.ones(len(bars), bool)
    month = bars.time.astype("datetime64[us]").astype("datetime64[M]")
    for number, code in enumerate(bars.codes):
        mine = None if isinstance(bars.code, int) else bars.code == number
        for label in np.unique(month if mine is None else month[mine]):
            rows = np.flatnonzero(month == label if mine is None else (month == label) & mine)
            if months is not None and str(label) not in months:
                keep[rows] = False
            times = bars.time[rows]
            covered = np.zeros(len(rows), bool)
            for first, last in holes.get((code, str(label)), ()):
                covered |= (times >= first) & (times <= last)
            keep[rows[covered]] = False
            low, high, left_out = int(times.min()), int(times.max()), int(covered.sum())
            span = parsed.spans.setdefault((code, str(label)), Span(low, high, 0))
            span.add(low, high, len(rows), left_out)
    return None if keep.all() else keep


def table_columns(bars: Bars) -> list[Column]:
    """The bars in the order of the table's columns."""
    null = bars.null

    def numeric(name: str) -> Column:
        return Numeric(bars.scaled[name], null.get(name))

    return [
        Timestamp(bars.time),
        Text(bars.code, tuple(code.encode() for code in bars.codes)),
        Text(bars.name, tuple(name.encode() for name in bars.names)),
        *map(numeric, PRICES),
        Bigint(bars.volume, null.get("volume")),
        *map(numeric, ("amount", "change_pct", "amplitude")),
    ]
