"""Budgets in files that note when each turn was granted, by the clock of the budget.

What a server counts depends on how long requests travel on a busy machine; when a turn was granted does not.
"""

import bisect
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from marketdata_assets.budget import Budget, Clock, FileStore, Quota


class _LastRead(Clock):
    """The clocks of this machine, and what they showed last."""

    at_monotonic = at_time = 0.0

    def monotonic(self) -> float:
        self.at_monotonic = super().monotonic()
        return self.at_monotonic

    def time(self) -> float:
        self.at_time = super().time()
        return self.at_time


class RecordedBudgets:
    """A store that notes the turns of each `Budget` with their costs, and the requests counted by each `Quota`."""

    def __init__(self, folder: Path) -> None:
        self._clock = _LastRead()
        self._files = FileStore(folder, self._clock)
        self.turns: dict[str, list[float]] = defaultdict(list)
        self.costs: dict[str, list[float]] = defaultdict(list)
        self.counted: dict[str, list[float]] = defaultdict(list)

    async def take(self, budget: Budget, cost: float) -> float:
        wait = self._files.take_now(budget, cost)
        if not wait:
            self.turns[budget.name].append(self._clock.at_monotonic)
            self.costs[budget.name].append(cost)
        return wait

    def block(self, budget: Budget, seconds: float) -> None:
        self._files.block(budget, seconds)

    async def count(self, quota: Quota) -> float:
        wait = self._files.count_now(quota)
        if not wait:
            self.counted[quota.name].append(self._clock.at_time)
        return wait


def most_within(moments: Sequence[float], seconds: float) -> int:
    """The largest number of moments in any span of this length, both ends included."""
    ordered = sorted(moments)
    return max((bisect.bisect_right(ordered, start + seconds) - i for i, start in enumerate(ordered)), default=0)
