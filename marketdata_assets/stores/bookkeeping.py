"""What a ledger and a quarantine hold, whatever store they are in.

How they are written is in `ledger` and `quarantine` for Postgres, in `mongo_ledger` and `clickhouse_ledger` else.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Outcome = Literal["ok", "empty", "unsupported", "failed", "removed"]


@dataclass(frozen=True)
class Entry:
    """What is loaded of one unit, and how its last attempt ended. Times are UTC."""

    dataset: str
    source: str
    unit: str
    content_hash: str | None
    previous_hash: str | None
    slices: list[str]
    read: int
    skipped: int
    rows: int
    rejected: int
    outcome: Outcome
    attempted_hash: str | None
    error: str | None
    code_version: str
    run_id: str
    started: dt.datetime
    finished: dt.datetime

    def holds(self, content_hash: str, slices: Iterable[str]) -> bool:
        """Whether these bytes, in these slices, are loaded already."""
        return self.content_hash == content_hash and set(slices) <= set(self.slices)

    @property
    def whole(self) -> bool:
        """Whether every row of the unit that was not rejected is loaded."""
        return self.rows + self.rejected == self.read


@dataclass(frozen=True)
class Reject:
    """One rejected row. `line` counts from 1, the header; `slice` is the partition it would be in, if known."""

    line: int
    reason: str
    raw: str
    slice: str | None = None


@dataclass(frozen=True)
class Quarantined(Reject):
    """A rejected row and its place, as `source!unit:line`."""

    source: str = ""
    unit: str = ""

    @property
    def place(self) -> str:
        """The place of the row, as a person would write it."""
        name = self.source if self.unit == self.source else f"{self.source}!{self.unit}"
        return f"{name}:{self.line}"


def failed_attempt(
    dataset: str,
    source: str,
    unit: str,
    *,
    content_hash: str | None,
    error: str,
    code_version: str,
    run_id: str,
    started: dt.datetime,
    finished: dt.datetime,
) -> Entry:
    """An attempt at a unit that left nothing."""
    return Entry(
        dataset=dataset,
        source=source,
        unit=unit,
        content_hash=None,
        previous_hash=None,
        slices=[],
        read=0,
        skipped=0,
        rows=0,
        rejected=0,
        outcome="failed",
        attempted_hash=content_hash,
        error=error,
        code_version=code_version,
        run_id=run_id,
        started=started,
        finished=finished,
    )


def after_failure(known: Entry | None, attempt: Entry) -> Entry:
    """The row to record when `attempt` failed: what was loaded before stays loaded."""
    if known is None:
        return replace(attempt, content_hash=None, previous_hash=None, slices=[], read=0, skipped=0, rows=0, rejected=0)
    return replace(
        attempt,
        content_hash=known.content_hash,
        previous_hash=known.previous_hash,
        slices=known.slices,
        read=known.read,
        skipped=known.skipped,
        rows=known.rows,
        rejected=known.rejected,
    )
