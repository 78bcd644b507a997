"""What has to be loaded: the delivered files held against the ledger.

Only directories, hashes and ledger rows are read here. The same plan drives a run, the sensor and the nightly repair,
so what they call stale is what a run would load.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from marketdata_assets.bars.errors import BadFile, BarsError
from marketdata_assets.bars.layout import read_header
from marketdata_assets.bars.reading import blocks
from marketdata_assets.bars.sources import WHOLE_FILE, Opener, Source, Unit, units
from marketdata_assets.stores.bookkeeping import Entry

Reason = Literal["missing", "stale", "failed", "vanished", "moved", "forced"]


@dataclass(frozen=True)
class Task:
    """One unit to load, with the `months` to land (None: all it has), or, without a unit, one to take out."""

    source: str
    name: str
    unit: Unit | None
    months: frozenset[str] | None
    touches: frozenset[str]
    reason: Reason


@dataclass(frozen=True)
class Broken:
    """A file or member that cannot be loaded, known without reading it. `months` are those it leaves incomplete."""

    source: str
    name: str
    error: str
    months: frozenset[str]


@dataclass(frozen=True)
class Plan:
    """All that a run over some months has to do; `unchanged` units need nothing."""

    tasks: tuple[Task, ...]
    broken: tuple[Broken, ...]
    unchanged: int


def make(
    sources: Iterable[Source],
    known: Iterable[Entry],
    months: Collection[str],
    *,
    moved: Collection[tuple[str, str]] = (),
    force: bool = False,
) -> Plan:
    """Hold `sources` against the ledger for `months`; with `force`, load even what is there already.

    `moved` names unchanged units, by source and unit, whose file has become newer or older than others it overlaps.
    """
    ledgered: dict[str, dict[str, Entry]] = {}
    for entry in known:
        ledgered.setdefault(entry.source, {})[entry.unit] = entry
    tasks: list[Task] = []
    broken: list[Broken] = []
    unchanged = 0
    for source in sources:
        asked = frozenset(m for m in months if source.year is None or m.startswith(f"{source.year}-"))
        if not asked:
            continue
        entries = ledgered.get(source.name, {})
        try:
            found, unusable = units(source)
        except BadFile as error:
            broken.append(Broken(source.name, WHOLE_FILE, str(error), asked if source.year else frozenset()))
            continue
        broken += [Broken(source.name, name, error, asked if source.year else frozenset()) for name, error in unusable]
        tasks += _vanished(source, entries, {unit.name for unit in found} | {name for name, _ in unusable})
        for unit in found:
            task = _task(unit, entries.get(unit.name), asked, force)
            if task is None and (source.name, unit.name) in moved:
                task = _task_of_moved(unit, frozenset(entries[unit.name].slices), asked)
            if task is None:
                unchanged += 1
            else:
                tasks.append(task)
    return Plan(tuple(tasks), tuple(broken), unchanged)


def _vanished(source: Source, entries: dict[str, Entry], names: set[str]) -> list[Task]:
    return [
        Task(source.name, name, None, None, frozenset(entry.slices), "vanished")
        for name, entry in entries.items()
        if name not in names and entry.outcome != "removed"
    ]


def _task(unit: Unit, entry: Entry | None, asked: frozenset[str], force: bool) -> Task | None:
    """What to do about one unit; None when nothing."""
    if unit.year is None:
        return _task_of_unknown_months(unit, entry, asked, force)
    asked = frozenset(month for month in asked if month.startswith(f"{unit.year}-"))
    if not asked:
        return None
    reason: Reason
    standing = frozenset(entry.slices) if entry else frozenset()
    if force:
        reason = "forced"
    elif entry is None:
        reason = "missing"
    elif entry.outcome == "failed":
        reason = "failed"
    elif entry.content_hash != unit.content_hash:
        reason = "stale"
    elif not asked <= standing:
        reason, asked = "missing", asked - standing
    else:
        return None
    touches = asked if entry is None or entry.content_hash == unit.content_hash else asked | standing
    return Task(unit.source.name, unit.name, unit, asked, touches, reason)


def _task_of_moved(unit: Unit, standing: frozenset[str], asked: frozenset[str]) -> Task | None:
    """An unchanged unit whose rank among overlapping files has changed lands again, in all months that stand."""
    return Task(unit.source.name, unit.name, unit, standing, standing, "moved") if standing & asked else None


def _task_of_unknown_months(unit: Unit, entry: Entry | None, asked: frozenset[str], force: bool) -> Task | None:
    """A file whose name tells no year is loaded whole, as soon as one of its months is asked for."""
    standing = frozenset(entry.slices) if entry else frozenset()
    reason: Reason
    if force:
        reason = "forced"
    elif entry is None:
        reason = "missing"
    elif entry.outcome == "failed":
        reason = "failed"
    elif entry.content_hash != unit.content_hash:
        reason = "stale"
    elif not entry.whole and (months_inside(unit) - standing) & asked:
        reason = "missing"
    else:
        return None
    inside = months_inside(unit)
    if inside and not (inside | standing) & asked:
        return None
    return Task(unit.source.name, unit.name, unit, None, inside | standing, reason)


def months_inside(unit: Unit) -> frozenset[str]:
    """The months that the first column of times names; empty when the file cannot be read so far."""
    opener = Opener()
    found: set[str] = set()
    try:
        with opener.open(unit) as stream:
            column = read_header(unit.place, stream.readline(64 * 1024)).index("time")
            for block in blocks(stream, 2):
                for line in block.text.split(b"\n"):
                    cells = line.split(b",", column + 1)
                    if len(cells) > column:
                        found.add(cells[column].strip(b' "')[:7].replace(b"/", b"-").decode("ascii", "replace"))
    except BarsError:
        return frozenset()
    finally:
        opener.close()
    return frozenset(month for month in found if len(month) == 7 and month[:4].isdigit() and month[5:].isdigit())
