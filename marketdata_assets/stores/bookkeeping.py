"""What a ledger and a quarantine hold, and what a check of the data finds, whatever store they are in.

How they are written is in `ledger` for Postgres, in `mongo_ledger` and `clickhouse_ledger` otherwise.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

T = TypeVar("T")

EXAMPLES = 5
"""Number of example cases shown for a finding."""

Outcome = Literal["ok", "empty", "unsupported", "failed", "removed", "forgotten"]
LOADED = ("content_hash", "previous_hash", "slices", "read", "skipped", "rows", "rejected", "superseded")
"""The facts of an entry that describe what is loaded; the others are those of the last attempt."""


def storable(text: str) -> str:
    """The text as every store takes it: a NUL, and what is no character, are written out."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is loaded of one unit, by default nothing, and how its last attempt ended. Times are UTC.

    `superseded` are rows that a newer file has replaced, where a domain counts them. A `forgotten` unit was taken back:
    its attempted bytes are not loaded again.
    """

    dataset: str
    source: str
    unit: str
    content_hash: str | None = None
    previous_hash: str | None = None
    slices: list[str] = field(default_factory=list)
    read: int = 0
    skipped: int = 0
    rows: int = 0
    rejected: int = 0
    superseded: int = 0
    outcome: Outcome
    attempted_hash: str | None = None
    error: str | None = None
    code_version: str
    run_id: str
    started: dt.datetime
    finished: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    def __post_init__(self) -> None:
        if self.error:
            object.__setattr__(self, "error", storable(self.error))

    @property
    def whole(self) -> bool:
        """Whether every row of the unit that was not rejected is loaded, or replaced by one of a newer file."""
        return self.rows + self.superseded + self.rejected == self.read


@dataclass(frozen=True)
class Reject:
    """One rejected row. `line` counts from 1, the header; `slice` is the partition it would be in, if known.

    The texts may have any values of the row: they are kept as `storable`.
    """

    line: int
    reason: str
    raw: str
    slice: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", storable(self.reason))
        object.__setattr__(self, "raw", storable(self.raw))


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


def after_failure(known: Entry | None, attempt: Entry) -> Entry:
    """The row to record when `attempt` failed, and so loaded nothing: what was loaded before stays loaded."""
    return replace(attempt, **{name: getattr(known, name) for name in LOADED}) if known else attempt


@dataclass(frozen=True)
class Finding:
    """What a check objects to: how many cases, some examples, and how many were checked.

    `left_out` could not be judged. `facts` are for a reader. `advice` is for a person to review, and no error.
    """

    count: int
    examples: tuple[dict[str, Any], ...]
    checked: int
    left_out: int = 0
    facts: Mapping[str, int | str] = field(default_factory=dict)
    advice: bool = False

    @property
    def passed(self) -> bool:
        return self.count == 0


def sample_evenly(items: Sequence[T], count: int) -> list[T]:
    """All items when there are at most `count`, else `count` of them, the first and the last included."""
    if len(items) <= count:
        return list(items)
    if count < 2:
        return list(items[:count])
    return [items[round(place * (len(items) - 1) / (count - 1))] for place in range(count)]
