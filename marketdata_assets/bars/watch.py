"""Which months the files in a folder have touched since the last look; the sensor's whole logic.

Only names, sizes and times of files are read, so a look at thousands of files costs milliseconds.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from marketdata_assets.bars.errors import BadFile
from marketdata_assets.bars.plan import months_inside
from marketdata_assets.bars.sources import Source, scan, units

MAX_MONTHS = 24

Seen = dict[str, list[int]]
"""By year, or by name for a file that announces none: files, bytes, newest modification time in ns."""


@dataclass(frozen=True)
class Look:
    """Months to load now, the cursor to keep, and the groups left for a later look: being written, or too many."""

    months: tuple[str, ...]
    cursor: str
    waiting: tuple[str, ...]

    @property
    def key(self) -> str:
        """The same for the same months and the same state of the files."""
        return f"{','.join(self.months)}:{self.cursor}"


def look(folder: Path, cursor: str | None, now_ns: int, quiet_seconds: float, known_months: Sequence[str]) -> Look:
    """Compare `folder` with `cursor`; at most MAX_MONTHS months are given, whole years at a time.

    A group whose newest file is younger than `quiet_seconds` is waited for. Only `known_months` are given.
    """
    before: Seen = json.loads(cursor) if cursor else {}
    groups: dict[str, list[Source]] = {}
    for source in scan(folder):
        groups.setdefault(str(source.year or source.name), []).append(source)
    after: Seen = {name: seen for name, seen in before.items() if name in groups}
    months: set[str] = set()
    waiting = []
    for name, sources in sorted(groups.items()):
        state = [len(sources), sum(s.size for s in sources), max(s.modified_ns for s in sources)]
        if before.get(name) == state:
            continue
        touched = _months(name, sources) & set(known_months)
        too_young = now_ns - state[2] < quiet_seconds * 1e9
        if too_young or (months and len(months | touched) > MAX_MONTHS):
            waiting.append(name)
            continue
        months |= touched
        after[name] = state
    return Look(tuple(sorted(months)), json.dumps(after, sort_keys=True, ensure_ascii=False), tuple(waiting))


def _months(name: str, sources: Sequence[Source]) -> set[str]:
    if sources[0].year is not None:
        return {f"{name}-{month:02d}" for month in range(1, 13)}
    found: set[str] = set()
    for source in sources:
        try:
            inside, _ = units(source)
        except BadFile:
            continue
        found.update(*(months_inside(unit) for unit in inside))
    return found
