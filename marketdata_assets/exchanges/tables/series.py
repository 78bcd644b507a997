"""Which captures follow one another: files of one folder and market, named by the time of their first entry.

A file goes on where the one before it ended: books are built on what came earlier, and sizes on a list of instruments
that may be hours old. So files that began up to LOOK_BACK before one that is wanted are read before it.
"""

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from marketdata_assets.exchanges.captures.entry import SUFFIX

LOOK_BACK = dt.timedelta(hours=25)
"""A venue ends a connection after 24 hours, and lists of instruments are read daily."""

_NAME = re.compile(
    rf"(?P<market>.+)[-_](?P<day>\d{{8}})(?:T(?P<time>\d{{6}}))?(?:-(?P<again>\d+))?(?:{re.escape(SUFFIX)}|\.txt\.gz)"
)
"""Of our captures, and of recordings by day of others."""


@dataclass(frozen=True)
class Step:
    """A file of a series: its records are wanted, or it is only read for what comes after it."""

    path: Path
    wanted: bool


@dataclass(frozen=True)
class _Place:
    path: Path
    market: str
    moment: dt.datetime
    again: int

    @classmethod
    def of(cls, path: Path) -> "_Place | None":
        found = _NAME.fullmatch(path.name)
        if found is None:
            return None
        try:
            moment = dt.datetime.strptime(found["day"] + (found["time"] or "000000") + "+0000", "%Y%m%d%H%M%S%z")
        except ValueError:
            return None
        return cls(path, found["market"], moment, int(found["again"] or 0))


def runs(wanted: Iterable[Path]) -> list[list[Step]]:
    """The files that are wanted, and those before them, in runs; within a run no file that is there is left out."""
    alone: list[list[Step]] = []
    series: dict[tuple[Path, str], list[Path]] = {}
    for path in wanted:
        place = _Place.of(path)
        if place is None:
            alone.append([Step(path, True)])
        else:
            series.setdefault((path.parent, place.market), []).append(path)
    return alone + [run for (folder, market), paths in series.items() for run in _of_series(folder, market, paths)]


def _of_series(folder: Path, market: str, wanted: Sequence[Path]) -> Iterator[list[Step]]:
    names = {path.name for path in wanted}
    places = [place for path in folder.iterdir() if (place := _Place.of(path)) and place.market == market]
    run: list[Step] = []
    next_wanted: dt.datetime | None = None
    for place in sorted(places, key=lambda one: (one.moment, one.again), reverse=True):
        if place.path.name in names:
            next_wanted = place.moment
            run.append(Step(place.path, True))
        elif next_wanted and next_wanted - place.moment <= LOOK_BACK:
            run.append(Step(place.path, False))
        elif run:
            yield run[::-1]
            run = []
    if run:
        yield run[::-1]
