"""What has to be loaded: the delivered files compared with the ledger.

Directories, hashes and ledger rows are read here, and the content of a file whose name has no year. The same plan
drives a run, the sensor and the nightly repair, so what they call stale is what a run would load. `changes` is the
file sensor's: which months the files have touched since its last scan, by names, sizes and times alone.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from marketdata_assets.bars.layout import scan, units, year_of, year_of_unit
from marketdata_assets.bars.profiles import SHIPPED, Shapes
from marketdata_assets.bars.rules import FIRST_YEAR, LAST_YEAR
from marketdata_assets.bars.sources import opened
from marketdata_assets.loading import watch
from marketdata_assets.loading.errors import LoadError
from marketdata_assets.loading.files import Delivered, Opener, Unit
from marketdata_assets.loading.rejects import Rejects
from marketdata_assets.stores.ledger import Loaded

MAX_MONTHS = 24

_YEAR = re.compile(r"\d{4}")

Reason = Literal["missing", "stale", "failed", "vanished", "moved", "forced", "unusable", "forgotten"]


@dataclass(frozen=True)
class Task:
    """One unit to load, with the `months` to load (None: all it has), or, without a unit, one to remove.

    `touches` are the months that it changes, or leaves incomplete when it fails; there are none where these cannot be
    read from its name or content, and every run tries such a unit.
    """

    source: str
    name: str
    unit: Unit | None
    months: frozenset[str] | None
    touches: frozenset[str]
    reason: Reason

    @property
    def place(self) -> str:
        """The unit as a person would write it."""
        return self.source if self.name in (self.source, ".") else f"{self.source}!{self.name}"


@dataclass(frozen=True)
class Plan:
    """All that a run over some months has to do; `unchanged` units need nothing."""

    tasks: tuple[Task, ...]
    unchanged: int


def make(
    files: Iterable[Delivered],
    known: Iterable[Loaded],
    months: Collection[str],
    *,
    moved: Collection[tuple[str, str]] = (),
    force: bool = False,
    shapes: Shapes = SHIPPED,
) -> Plan:
    """Compare `files` with the ledger for `months`; with `force`, load even what is loaded already.

    `moved` names unchanged units, by source and unit, whose file has become newer or older than others it overlaps.
    """
    ledgered: dict[str, dict[str, Loaded]] = {}
    for one in known:
        ledgered.setdefault(one.source, {})[one.unit] = one
    tasks: list[Task] = []
    unchanged = 0
    for file in files:
        year = year_of_unit(Unit(file))
        requested = frozenset(m for m in months if year is None or m.startswith(f"{year}-"))
        if not requested:
            continue
        entries = ledgered.get(file.name, {})
        found = units(file)
        taken_back = {one.unit: one.content_hash or "" for one in entries.values() if one.outcome == "forgotten"}
        if not force and all(taken_back.get(unit.name) == unit.checksum for unit in found):
            unchanged += len(found)
            continue
        if any(unit.member or not file.is_zip for unit in found):  # a zip that cannot be read has taken nothing away
            names = {unit.name for unit in found}
            for name, gone in entries.items():
                if name not in names and gone.outcome not in ("removed", "forgotten"):
                    tasks.append(Task(file.name, name, None, None, gone.slices, "vanished"))
        for unit in found:
            own_year = year or year_of(unit.member)
            own = requested if year or not own_year else frozenset(m for m in requested if m.startswith(f"{own_year}-"))
            task = _task(unit, own_year, entries.get(unit.name), own, force, shapes)
            if task is None and (file.name, unit.name) in moved:  # its rank has changed: all its months are due
                loaded = entries[unit.name].slices
                task = Task(file.name, unit.name, unit, loaded, loaded, "moved") if loaded & requested else None
            if task is None:
                unchanged += 1
            else:
                tasks.append(task)
    return Plan(tuple(tasks), unchanged)


def _task(
    unit: Unit, year: int | None, entry: Loaded | None, requested: frozenset[str], force: bool, shapes: Shapes
) -> Task | None:
    """What to do about one unit, whose name announces `year` and which has no other month; None when nothing."""
    if unit.problem:
        touches = requested if year_of_unit(Unit(unit.file)) else frozenset[str]()
        return Task(unit.file.name, unit.name, unit, None, touches, "unusable")
    loaded = entry.slices if entry else frozenset[str]()
    reason: Reason | None = None
    if force:
        reason = "forced"
    elif entry is None:
        reason = "missing"
    elif entry.outcome in ("failed", "forgotten"):  # of a file that is forgotten and has changed, all is due
        reason = "failed" if entry.outcome == "failed" else "forgotten"
    elif entry.content_hash != unit.checksum:
        reason = "stale"
    if year is None:  # a file whose name has no year is loaded whole, as soon as one of its months is requested
        inside = frozenset[str]() if reason is None and entry and entry.whole else months_inside(unit, shapes)
        if reason is None and (inside - loaded) & requested:
            reason = "missing"
        if reason is None or (inside and not (inside | loaded) & requested):
            return None
        return Task(unit.file.name, unit.name, unit, None, inside | loaded, reason)
    if reason is None and not requested <= loaded:
        reason, requested = "missing", requested - loaded
    if reason is None or not requested:
        return None
    touches = requested if entry is None or entry.content_hash == unit.checksum else requested | loaded
    return Task(unit.file.name, unit.name, unit, requested, touches, reason)


def months_inside(unit: Unit, shapes: Shapes = SHIPPED) -> frozenset[str]:
    """The months of a unit's rows, which are read as a load reads them; none when it cannot be read to its end."""
    found: set[str] = set()
    try:
        with Opener() as opener, opened(opener, unit, shapes) as source:
            for rows in source.blocks(Rejects()):
                time = rows.frame["time"]
                time = time.filter(time.dt.year().is_between(FIRST_YEAR, LAST_YEAR))
                found |= set(time.dt.truncate("1mo").unique().dt.strftime("%Y-%m"))
    except LoadError:
        return frozenset()
    return frozenset(found)


def states(folder: Path) -> dict[str, watch.State]:
    """What shows a change of any file of each group: a year, or a file whose name has no year."""
    return _states(_groups(folder))


def without_groups(months: Collection[str], groups: Collection[str]) -> set[str]:
    """The months that can be loaded without reading a file of these groups; a file without a year may have any."""
    if not all(map(_YEAR.fullmatch, groups)):
        return set()
    return {month for month in months if month[:4] not in groups}


def _groups(folder: Path) -> dict[str, list[Delivered]]:
    groups: dict[str, list[Delivered]] = {}
    for file in scan(folder):
        groups.setdefault(str(year_of_unit(Unit(file)) or file.name), []).append(file)
    return groups


def _states(groups: Mapping[str, list[Delivered]]) -> dict[str, watch.State]:
    return {
        name: watch.fingerprint(*sorted(f"{file.name} {file.size} {file.changed_ns}" for file in files))
        for name, files in groups.items()
    }


@dataclass(frozen=True)
class Changes:
    """Months to load now, the cursor to keep, and the groups left for a later scan: being written, or too many.

    `key` is the same for the same months and the same state of their files. `undated` files have none of the months.
    """

    months: tuple[str, ...]
    undated: frozenset[str]
    cursor: str
    waiting: tuple[str, ...]
    key: str


def changes(
    folder: Path,
    cursor: str | None,
    now_ns: int,
    quiet_seconds: float,
    known_months: Sequence[str],
    shapes: Shapes = SHIPPED,
) -> Changes:
    """Compare `folder` with `cursor`; at most MAX_MONTHS of `known_months` are given, whole years at a time.

    Files are grouped by year, or alone when their names announce none; a group is waited for until it is finished. A
    file without a year is read by loads of any month, so everything waits for it.
    """
    groups = _groups(folder)
    seen = watch.compare(cursor, _states(groups), now_ns=now_ns, quiet_seconds=quiet_seconds)
    months: set[str] = set()
    undated: set[str] = set()
    taken: list[str] = []
    for name in seen.finished if all(map(_YEAR.fullmatch, seen.unfinished)) else ():
        if year_of_unit(Unit(groups[name][0])) is not None:
            touched = {f"{name}-{month:02d}" for month in range(1, 13)}
        else:
            touched = {month for file in groups[name] for unit in units(file) for month in months_inside(unit, shapes)}
        touched &= set(known_months)
        if not touched:
            undated |= {file.name for file in groups[name]}
        if not months or len(months | touched) <= MAX_MONTHS:
            months |= touched
            taken.append(name)
    waiting = sorted({*seen.finished, *seen.unfinished} - set(taken))
    key = f"{','.join(sorted(months))}:{seen.fingerprint(taken)}"
    return Changes(tuple(sorted(months)), frozenset(undated), seen.cursor(taken), tuple(waiting), key)
