"""Which months the files in a folder have touched since the last scan; the file sensor's whole logic.

Only names, sizes and times of files are read, so a scan of thousands of files costs milliseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from marketdata_assets.bars.layout import scan, units, year_of_unit
from marketdata_assets.bars.plan import months_inside
from marketdata_assets.loading import watch
from marketdata_assets.loading.files import FileState, Unit

MAX_MONTHS = 24


@dataclass(frozen=True)
class Changes:
    """Months to load now, the cursor to keep, and the groups left for a later scan: being written, or too many.

    `key` is the same for the same months and the same state of their files.
    """

    months: tuple[str, ...]
    cursor: str
    waiting: tuple[str, ...]
    key: str


def changes(
    folder: Path, cursor: str | None, now_ns: int, quiet_seconds: float, known_months: Sequence[str]
) -> Changes:
    """Compare `folder` with `cursor`; at most MAX_MONTHS of `known_months` are given, whole years at a time.

    Files are grouped by year, or alone when their names announce none; a group is waited for until it is finished.
    """
    groups: dict[str, list[FileState]] = {}
    for file in scan(folder):
        groups.setdefault(str(year_of_unit(Unit(file)) or file.name), []).append(file)
    states = {
        name: [len(files), sum(file.size for file in files), max(file.modified_ns for file in files)]
        for name, files in groups.items()
    }
    seen = watch.compare(cursor, states, now_ns=now_ns, quiet_seconds=quiet_seconds)
    months: set[str] = set()
    taken: list[str] = []
    for name in seen.finished:
        if year_of_unit(Unit(groups[name][0])) is not None:
            touched = {f"{name}-{month:02d}" for month in range(1, 13)}
        else:
            touched = {month for file in groups[name] for unit in units(file) for month in months_inside(unit)}
        touched &= set(known_months)
        if not months or len(months | touched) <= MAX_MONTHS:
            months |= touched
            taken.append(name)
    waiting = sorted({*seen.finished, *seen.unfinished} - set(taken))
    key = f"{','.join(sorted(months))}:{seen.fingerprint(taken)}"
    return Changes(tuple(sorted(months)), seen.cursor(taken), tuple(waiting), key)
