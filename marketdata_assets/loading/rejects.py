"""Rows that a load rejects: gathered by line while a unit is read, and the limit from which on the unit is rejected."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import polars as pl

from marketdata_assets.loading.errors import TooManyRejects
from marketdata_assets.stores.bookkeeping import Reject

FIRST = 20
"""So many rejected rows of a file that is rejected as a whole are in quarantine: a zip may have thousands of those."""
LINE = "_line"
"""The hidden column of a frame of rows: the line of the file on which each row begins."""


@dataclass(frozen=True)
class RejectLimit:
    """More than `share` of the rows, or more than `rows` rows; a flow's own is its `quality`.

    Of a few rows a share says little: up to `tolerated` rows are not too many unless they are more than half of all.
    """

    share: float = 0.01
    rows: int = 1000
    tolerated: int = 0

    def exceeded(self, rejected: int, rows: int) -> bool:
        """Whether `rejected` of `rows` rows, the rejected ones included, are too many."""
        if rejected <= self.tolerated:
            return 2 * rejected > rows
        return rejected > self.rows or rejected > rows * self.share

    def __str__(self) -> str:
        return f"{self.share * 100:g} % or {self.rows}"


DEFAULT_LIMIT = RejectLimit()


@dataclass
class Rejects:
    """Rejected rows by line, with the first reason of each; `rows` counts all rows read so far, these included,
    and `left_out` the lines among them that are declared to be no rows.

    `remarks` are what a person should know of the unit although it is loaded.
    `partitions` has the partition that a row would be in, such as `2024-01`, where that is known; `undeclared` the
    columns of the unit that are nowhere declared, and so not in its rows. `exact` are numbers that a double does not
    hold, by line and the double that was read.
    """

    limit: RejectLimit = DEFAULT_LIMIT
    reasons: dict[int, str] = field(default_factory=dict)
    partitions: dict[int, str] = field(default_factory=dict)
    rows: int = 0
    left_out: int = 0
    undeclared: set[str] = field(default_factory=set)
    remarks: list[str] = field(default_factory=list)
    exact: dict[tuple[int, float], Decimal] = field(default_factory=dict)
    _numbered: int = 0

    def add(self, line: int, reason: str, partition: str | None = None) -> None:
        if line not in self.reasons:
            self.reasons[line] = reason
            if partition is not None:
                self.partitions[line] = partition

    def add_all(self, lines: Iterable[int], reason: str) -> None:
        for line in lines:
            self.add(line, reason)

    def add_undecodable(self, lines: Sequence[int], encoding: str) -> None:
        """Reject lines that are no text, which a reader is not given."""
        self.rows += len(lines)
        self.add_all(lines, f"not {encoding}")

    def leave_out(self, rows: int) -> None:
        """Count rows that are declared to be none."""
        self.rows += rows
        self.left_out += rows

    def take_out(self, frame: pl.DataFrame, bad: pl.Series, reasons: pl.Series | str) -> pl.DataFrame:
        """Reject the rows where `bad` holds; return the others."""
        if not bad.any():
            return frame
        lines = self.lines(frame).filter(bad).to_list()
        texts = [reasons] * len(lines) if isinstance(reasons, str) else reasons.filter(bad).to_list()
        for line, reason in zip(lines, texts, strict=True):
            self.add(line, reason)
        return frame.filter(~bad)

    def lines(self, frame: pl.DataFrame) -> pl.Series:
        """The line of each row; unique numbers below 0 where a function has returned rows of its own."""
        if LINE in frame.columns:
            return frame[LINE]
        first, self._numbered = -1 - self._numbered, self._numbered + frame.height
        return pl.Series(LINE, range(first, first - frame.height, -1), dtype=pl.Int64)

    def __len__(self) -> int:
        return len(self.reasons)

    @property
    def hopeless(self) -> bool:
        """Whether reading on cannot bring the unit below its limit."""
        return len(self) > self.limit.rows

    @property
    def exceeded(self) -> bool:
        return self.limit.exceeded(len(self), self.rows)

    def check_limit(
        self, place: str, remedy: str = "", raw: Callable[[set[int]], Mapping[int, str]] = lambda lines: {}
    ) -> None:
        """Raise TooManyRejects, with the first rows, when the limit is exceeded; `raw` gives lines as they were."""
        if self.exceeded:
            lines = sorted(self.reasons, key=lambda line: (line < 0, abs(line)))[:FIRST]
            examples = [f"line {line}: {self.reasons[line]}" for line in lines[:3]]
            first, more = self.for_quarantine(raw(set(lines)), lines), len(self) - len(lines)
            if more:
                count = f"at least {more}" if self.hopeless else str(more)
                reason = f"{first[-1].reason}; {count} more rejected rows of this file are not listed"
                first[-1] = replace(first[-1], reason=reason)
            raise TooManyRejects(place, len(self), self.rows, self.limit, examples, remedy, first)

    def for_quarantine(self, raw: Mapping[int, str], lines: Iterable[int] | None = None) -> list[Reject]:
        """Those of `lines`, or all by line; `raw` has the lines as they were read."""
        chosen = sorted(self.reasons) if lines is None else lines
        return [Reject(line, self.reasons[line], raw.get(line, ""), self.partitions.get(line)) for line in chosen]
