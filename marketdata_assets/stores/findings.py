"""What a check found, whatever it asked and whichever store."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """What a check objects to: how much, some of it, and how much was looked at.

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
