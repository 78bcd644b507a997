"""What came from one market, counted as it goes by; cheap enough for every record."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from marketdata_assets.collector.items import TAGS, Recorded
from marketdata_assets.collector.lag import Lag
from marketdata_assets.exchanges.records import DeadLetter, Exchange, Gap, MarketType, VenueError


@dataclass
class Flow:
    """The counts of one market since the start."""

    exchange: Exchange
    market_type: MarketType
    records: Counter[str] = field(default_factory=Counter)  # by type, gaps excepted
    last: dict[str, int] = field(default_factory=dict)  # ns, when the last one of a type came
    gaps: Counter[str] = field(default_factory=Counter)  # by cause
    healed: int = 0
    errors: Counter[str] = field(default_factory=Counter)  # by kind
    lag: Lag = field(default_factory=Lag)  # from the venue's time to ours
    """Lag of records whose venue says when they happened."""

    def count(self, records: Sequence[Recorded]) -> None:
        """Records on their way to the sinks."""
        counts, last, observe = self.records, self.last, self.lag.observe
        for record in records:
            if isinstance(record, Gap):
                self._gap(record)
                continue
            tag = TAGS[type(record)]
            counts[tag] += 1
            last[tag] = record.ts_recv
            if record.ts_event is not None:
                observe(record.ts_recv - record.ts_event)

    def trouble(self, one: DeadLetter | VenueError) -> None:
        """Something that became no record."""
        if isinstance(one, DeadLetter):
            self.errors["dead_letter"] += 1
        else:
            self.errors["rate_limited" if one.rate_limited else "venue_error"] += 1

    def _gap(self, gap: Gap) -> None:
        """A gap is told when it opens and when it is healed; one that was healed at once is told once."""
        if gap.healed_at is None or gap.cause == "repeat":
            self.gaps[gap.cause] += 1
        if gap.healed_at is not None:
            self.healed += 1
