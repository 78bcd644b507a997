"""How an import treats what is already there: five modes, which options go with which, and the modes of fields.

| mode | takes | writes |
|---|---|---|
| incremental | documents that are new or changed since the last import | deep merge, the newer version wins |
| overwrite | all documents of the packages | deep merge, the packages win |
| rebuild | all documents of the packages | the whole document is replaced |
| time_range | documents changed within the last hours | deep merge, the newer version wins |
| smart_merge | documents changed since the newest one in the collection, less some days | deep merge, the newer wins |
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from marketdata_assets.alphas.errors import BadOptions
from marketdata_assets.alphas.merge import DEFAULT, MergePolicy

Mode = Literal["incremental", "overwrite", "rebuild", "time_range", "smart_merge"]
MODES: tuple[Mode, ...] = get_args(Mode)

TIME_RANGE_HOURS = 25.0
TIME_RANGE_BUFFER_HOURS = 1.0
SMART_MERGE_DAYS = 3.0
BATCH_SIZE = 500

CODE_VERSION = "alphas-2"
"""Goes up when the same packages would be imported differently; they are imported again then."""

FieldMode = Literal["merge", "replace"]
"""Whether lists and objects of a field are merged with the stored ones, or replaced by the newer version's."""

FieldModes = Mapping[str, FieldMode]
"""By dotted path."""

FIELD_MODES: FieldModes = {"classifications": "replace", "tags": "replace"}
"""What the API delivers complete, and what shrinks; everything else is merged. An account's own modes go first."""


@dataclass(frozen=True)
class ImportOptions:
    """One import's options; those that are None take their mode's default. Raises BadOptions when they contradict."""

    mode: Mode = "incremental"
    batch_size: int = BATCH_SIZE
    time_range_hours: float | None = None
    """time_range: how far back."""
    buffer_hours: float | None = None
    """time_range: added on both sides, for clocks that differ."""
    buffer_days: float | None = None
    """smart_merge: how far behind the newest document."""
    policy: MergePolicy = field(default=DEFAULT)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise BadOptions(f"mode {self.mode!r} is none of {', '.join(MODES)}")
        if not 1 <= self.batch_size <= 10_000:
            raise BadOptions(f"batch size {self.batch_size} is not between 1 and 10000")
        for name, mode in (
            ("time_range_hours", "time_range"),
            ("buffer_hours", "time_range"),
            ("buffer_days", "smart_merge"),
        ):
            value = getattr(self, name)
            if value is not None and self.mode != mode:
                raise BadOptions(f"{name} goes with mode {mode}, not with {self.mode}")
            if value is not None and value < 0:
                raise BadOptions(f"{name} is {value}, less than nothing")
        if self.mode == "rebuild" and self.policy != DEFAULT:
            raise BadOptions("rebuild replaces whole documents, so a merge policy has no effect; leave one of them out")

    @property
    def everything(self) -> bool:
        """Whether documents are written again though the ledger knows them to be there."""
        return self.mode in ("overwrite", "rebuild")

    def with_field_modes(self, modes: FieldModes) -> "ImportOptions":
        """The options with an account's modes of fields, which `rebuild` has no use for."""
        if self.mode == "rebuild":
            return self
        replaced = {path for path, mode in {**FIELD_MODES, **modes}.items() if mode == "replace"}
        return replace(self, policy=replace(self.policy, replace=self.policy.replace | replaced))

    def span(self, now: dt.datetime, newest: dt.datetime | None) -> "Span":
        """Which documents the mode takes, by the time of their last change; `newest` is that of the collection."""
        if self.mode == "time_range":
            hours = TIME_RANGE_HOURS if self.time_range_hours is None else self.time_range_hours
            buffer = dt.timedelta(hours=TIME_RANGE_BUFFER_HOURS if self.buffer_hours is None else self.buffer_hours)
            return Span(now - dt.timedelta(hours=hours) - buffer, now + buffer)
        if self.mode == "smart_merge" and newest is not None:
            days = SMART_MERGE_DAYS if self.buffer_days is None else self.buffer_days
            return Span(newest - dt.timedelta(days=days), None)
        return Span(None, None)


@dataclass(frozen=True)
class Span:
    """Times of change, both bounds included, None where there is no bound. A document without a time is always in."""

    first: dt.datetime | None
    last: dt.datetime | None

    def has(self, modified: dt.datetime | None) -> bool:
        if modified is None:
            return True
        return (self.first is None or modified >= self.first) and (self.last is None or modified <= self.last)
