"""How a load ended, unit by unit; units in batches over workers; and lists of causes for a reader.

A domain with further counts derives its own dataclass from UnitReport or LoadReport and adds fields with defaults.
"""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from marketdata_assets.errors import MarketDataError
from marketdata_assets.fanout import Fanout
from marketdata_assets.progress import Progress

Outcome = Literal["ok", "empty", "unsupported", "failed", "unchanged", "removed", "forgotten"]


@dataclass(frozen=True)
class UnitReport:
    """How one unit ended.

    Counts are rows: `read` from the source, `rows` loaded, `rejected` into quarantine, `skipped` left out on purpose.
    `months` (`YYYY-MM`) are those whose rows changed, or, of a failed unit, those it leaves incomplete. `replaced` has
    an older file, a newer one, and how many rows of the older one it replaced. `removed` are rows of the last delivery
    that this one no longer has.
    """

    unit: str
    outcome: Outcome
    read: int = 0
    rows: int = 0
    rejected: int = 0
    skipped: int = 0
    months: tuple[str, ...] = ()
    error: str | None = None
    replaced: tuple[tuple[str, str, int], ...] = ()
    removed: int = 0


Report = TypeVar("Report", bound=UnitReport)
Item = TypeVar("Item")


@dataclass(frozen=True)
class LoadReport(Generic[Report]):
    """How all units of one load ended. `units` were worked on; `unchanged` counts those that needed no work."""

    units: tuple[Report, ...]
    unchanged: int
    seconds: float

    @property
    def rows(self) -> int:
        return self.total("rows")

    @property
    def rejected(self) -> int:
        return self.total("rejected")

    @property
    def failed(self) -> tuple[Report, ...]:
        return tuple(unit for unit in self.units if unit.outcome == "failed")

    @property
    def loaded_months(self) -> tuple[str, ...]:
        """Months that units which did not fail have changed."""
        return tuple(sorted({month for unit in self.units if unit.outcome != "failed" for month in unit.months}))

    @property
    def failed_months(self) -> tuple[str, ...]:
        """Months that failed units leave incomplete."""
        return tuple(sorted({month for unit in self.failed for month in unit.months}))

    @property
    def replaced(self) -> dict[tuple[str, str], int]:
        """Rows of an older file that a newer one replaced, by both files."""
        found = Counter[tuple[str, str]]()
        for unit in self.units:
            for older, newer, rows in unit.replaced:
                found[older, newer] += rows
        return dict(sorted(found.items()))

    def count(self, outcome: Outcome) -> int:
        """How many units ended so."""
        return sum(unit.outcome == outcome for unit in self.units)

    def total(self, field: str) -> int:
        """The sum of a count over all units, such as `rows`."""
        return sum(getattr(unit, field) for unit in self.units)


def batches(
    items: Iterable[Item],
    size: Callable[[Item], int],
    *,
    max_bytes: int,
    max_items: int,
    group: Callable[[Item], Hashable] = lambda item: None,
) -> list[list[Item]]:
    """Neighbours together: up to `max_bytes` and `max_items` in a batch, never two groups; a larger item is alone."""
    result: list[list[Item]] = []
    left = 0
    for item in items:
        bytes_of_item = size(item)
        if not result or left < bytes_of_item or len(result[-1]) >= max_items or group(result[-1][-1]) != group(item):
            result.append([])
            left = max_bytes
        result[-1].append(item)
        left -= bytes_of_item
    return result


def run_batches(
    worker: Callable[[list[Item]], list[Report]],
    batches: Sequence[list[Item]],
    failed: Callable[[Item, str], Report],
    *,
    fanout: Fanout,
    folder: Path,
    progress: Progress | None,
) -> Iterator[Report]:
    """The reports of all items, batch by batch as they finish.

    A named error, such as StoreAway, ends the whole load and is raised. When a worker process died, every item of its
    batch becomes a report by `failed(item, cause)`.
    """
    total, count = sum(map(len, batches)), 0
    for batch in fanout.map(worker, batches, folder):
        if isinstance(batch.error, MarketDataError):
            raise batch.error
        reports = batch.answer or []
        if batch.error is not None:
            reports = [failed(item, str(batch.error)) for item in batch.item]
        for report in reports:
            count += 1
            if progress:
                progress(count, total, report.unit)
            yield report


def and_more(texts: Sequence[str], limit: int, separator: str = ", ") -> str:
    """The first `limit` texts, and how many more there are: `a, b and 3 more`."""
    listed = separator.join(texts[:limit])
    return f"{listed} and {len(texts) - limit} more" if len(texts) > limit else listed


Key = TypeVar("Key", bound=Hashable)


class Countdown(Generic[Key]):
    """Counts the pieces of work left for each key; `work` has the keys of each piece."""

    def __init__(self, work: Iterable[Iterable[Key]]) -> None:
        self._left = Counter(key for keys in work for key in keys)
        self._failed = set[Key]()

    def ended(self, keys: Iterable[Key], failed: Collection[Key] = ()) -> list[Key]:
        """Take a piece that has ended, and return those of its keys that are complete and of which nothing failed."""
        self._failed.update(failed)
        done = []
        for key in keys:
            self._left[key] -= 1
            if self._left[key] == 0 and key not in self._failed:
                done.append(key)
        return done
