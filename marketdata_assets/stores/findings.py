"""The result of a data check, and an even sample of what is too long to check whole. Any check, any store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

EXAMPLES = 5
"""So many cases of a finding are shown."""


@dataclass(frozen=True)
class Finding:
    """What a check objects to: how many cases, some examples, and how many were checked.

    `left_out` could not be judged. `facts` are figures for a reader.
    """

    count: int
    examples: tuple[dict[str, Any], ...]
    looked_at: int
    left_out: int = 0
    facts: Mapping[str, int] = field(default_factory=dict)

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
