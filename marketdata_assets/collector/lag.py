"""Histograms of times that cost a fraction of a microsecond to write to: some ten thousand times happen in a second.

`metrics` shows them to Prometheus.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

BOUNDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0
)  # fmt: skip
"""Seconds. Two clocks differ by some milliseconds, servers of ours answer within less."""


class Lag:
    """How long things took. What seems to have taken less than nothing, by two clocks, counts as nothing."""

    def __init__(self, bounds: Sequence[float] = BOUNDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)  # by the first bound that is not less; the last beyond all
        self.total_ns = 0
        self._bounds_ns = [round(bound * 1e9) for bound in bounds]

    def observe(self, ns: int) -> None:
        """Take one time in nanoseconds."""
        self.counts[bisect_left(self._bounds_ns, ns)] += 1
        if ns > 0:
            self.total_ns += ns

    def observe_since(self, moments: Iterable[int], now: int) -> None:
        """Take what has passed since each of these moments, in nanoseconds since 1970."""
        counts, bounds = self.counts, self._bounds_ns
        for moment in moments:
            ns = now - moment
            counts[bisect_left(bounds, ns)] += 1
            if ns > 0:
                self.total_ns += ns

    @property
    def count(self) -> int:
        """How many were taken."""
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """A bound that this share of them stayed within, in seconds; None without any, infinity beyond all bounds."""
        wanted = share * self.count
        if not wanted:
            return None
        reached = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            reached += count
            if reached >= wanted:
                return bound
        return float("inf")
