"""Rows that a flow refuses, gathered while a unit is read."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import polars as pl

from marketdata_assets.flows.definition import Quality

LINE = "_line"
"""The hidden column of every frame: the line of the file that a row began on."""


@dataclass
class Rejects:
    """Refused rows by line, with the first reason of each; `rows` counts what was read so far, these included."""

    quality: Quality
    reasons: dict[int, str] = field(default_factory=dict)
    rows: int = 0
    _numbered: int = 0

    def add(self, line: int, reason: str) -> None:
        self.reasons.setdefault(line, reason)

    def add_all(self, lines: Iterable[int], reason: str) -> None:
        for line in lines:
            self.add(line, reason)

    def take_out(self, frame: pl.DataFrame, bad: pl.Series, reasons: pl.Series | str) -> pl.DataFrame:
        """Refuse the rows where `bad` holds; give the others."""
        if not bad.any():
            return frame
        refused = self.lines(frame).filter(bad).to_list()
        said = [reasons] * len(refused) if isinstance(reasons, str) else reasons.filter(bad).to_list()
        for line, reason in zip(refused, said, strict=True):
            self.add(line, reason)
        return frame.filter(~bad)

    def lines(self, frame: pl.DataFrame) -> pl.Series:
        """The line of each row; numbers below 0, none twice, where a function has given rows of its own."""
        if LINE in frame.columns:
            return frame[LINE]
        first, self._numbered = -1 - self._numbered, self._numbered + frame.height
        return pl.Series(LINE, range(first, first - frame.height, -1), dtype=pl.Int64)

    def __len__(self) -> int:
        return len(self.reasons)

    @property
    def hopeless(self) -> bool:
        """Whether reading on cannot bring the unit below its limit."""
        return len(self) > self.quality.max_rejected

    def examples(self) -> list[str]:
        return [
            f"line {line}: {self.reasons[line]}" for line in sorted(self.reasons, key=lambda n: (n < 0, abs(n)))[:3]
        ]
