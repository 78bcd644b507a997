"""Counts and latency histograms of what passes through, cheap enough for tens of thousands of records a second.

`metrics` shows them to Prometheus.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from marketdata_assets.collector.items import TAGS, Recorded
from marketdata_assets.exchanges.records import DeadLetter, Gap, VenueError

BOUNDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0
)  # fmt: skip
"""Seconds. Two clocks differ by some milliseconds; our own servers answer within less."""

_BOUNDS_NS = [round(bound * 1e9) for bound in BOUNDS]


class LatencyHistogram:
    """Durations by bucket. A negative duration, measured by two clocks, counts as zero."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)  # by the first bound that is not less; the last one is the overflow
        self.total_ns = 0

    def observe(self, ns: int) -> None:
        """Add one duration in nanoseconds."""
        self.counts[bisect_left(_BOUNDS_NS, ns)] += 1
        if ns > 0:
            self.total_ns += ns

    def observe_since(self, moments: Iterable[int], now: int) -> None:
        """Add the durations from each of these moments (ns since 1970) to `now`."""
        for moment, count in Counter(moments).items():  # most share theirs with others of the same read
            ns = now - moment
            self.counts[bisect_left(_BOUNDS_NS, ns)] += count
            self.total_ns += count * max(ns, 0)

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """The bound (seconds) that this share stayed within; None without any, infinity above the last bound."""
        wanted = share * self.count
        if not wanted:
            return None
        reached = 0
        for bound, count in zip((*BOUNDS, float("inf")), self.counts, strict=True):
            reached += count
            if reached >= wanted:
                return bound
        return float("inf")


@dataclass
class MarketCounters:
    """The counts of one market since the start."""

    records: Counter[str] = field(default_factory=Counter)  # by type, without gaps
    last: dict[str, int] = field(default_factory=dict)  # ns, receive time of the last record by type
    gaps: Counter[str] = field(default_factory=Counter)  # by cause
    healed: int = 0
    errors: Counter[str] = field(default_factory=Counter)  # by kind
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    """From the venue's event time, where a record has one, to our receive time."""

    def count(self, records: Sequence[Recorded]) -> None:
        """Count records on their way to the sinks."""
        counts, last, observe = self.records, self.last, self.latency.observe
        for record in records:
            if isinstance(record, Gap):
                # A gap is recorded when it opens and when it is healed; one that is healed at once is recorded once.
                if record.healed_at is None or record.cause == "repeat":
                    self.gaps[record.cause] += 1
                self.healed += record.healed_at is not None
                continue
            tag = TAGS[type(record)]
            counts[tag] += 1
            last[tag] = record.ts_recv
            if record.ts_event is not None:
                observe(record.ts_recv - record.ts_event)

    def count_error(self, error: DeadLetter | VenueError) -> None:
        """Count something that became no record."""
        if isinstance(error, DeadLetter):
            self.errors["dead_letter"] += 1
        else:
            self.errors["rate_limited" if error.rate_limited else "venue_error"] += 1
