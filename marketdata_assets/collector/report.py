"""What a run of the collector did, told at its end."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from marketdata_assets.collector.health import LAST_VALUES
from marketdata_assets.collector.status import Status


@dataclass(frozen=True)
class SinkReport:
    """What one sink did. `remaining` were not handed over when the time was up."""

    acked: int
    dropped: int
    spooled: int
    remaining: int


@dataclass(frozen=True)
class Report:
    """What a run did."""

    seconds: float
    messages: int
    records: dict[str, int]  # by type
    gaps: int
    errors: dict[str, int]  # by kind
    sinks: dict[str, SinkReport]

    @property
    def remaining(self) -> int:
        """Items that are lost with this process; those of the cache do not count."""
        return lost({name: one.remaining for name, one in self.sinks.items()})

    def as_dict(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self) | {"remaining": self.remaining}


def report(status: Status, remaining: Mapping[str, int]) -> Report:
    """The report of a run that ended; `remaining` by sink."""
    flows = [one.flow for one in status.markets]
    return Report(
        seconds=round(status.uptime_seconds, 3),
        messages=sum(each.messages for one in status.markets for each in one.state.connections),
        records=dict(sorted(sum((flow.records for flow in flows), Counter[str]()).items())),
        gaps=sum(flow.gaps.total() for flow in flows),
        errors=dict(sorted(sum((flow.errors for flow in flows), Counter[str]()).items())),
        sinks={
            one.name: SinkReport(one.state.acked, one.state.dropped, one.state.spooled, remaining[one.name])
            for one in status.sinks
        },
    )


def lost(remaining: Mapping[str, int]) -> int:
    """What remains, by sink, without what only the cache has."""
    return sum(count for name, count in remaining.items() if name != LAST_VALUES)
