"""What lies in the alphas folder, month by month, and what has changed since a look; the file sensor's whole logic.

Only names, sizes and times of files are read.
"""

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from marketdata_assets.alphas import layout
from marketdata_assets.alphas.archive import json_files
from marketdata_assets.alphas.layout import ACCOUNT, KINDS, Kind
from marketdata_assets.alphas.package_files import list_packages

MAX_MONTHS = 24

_SPAN = re.compile(r"_(?P<first>\d{4}-\d\d)-[^_]*_to_(?P<last>\d{4}-\d\d)-")

State = list[int]
"""Files, bytes, newest modification time in ns."""

Pair = tuple[str, str]
"""An account and a month."""


def accounts_on_disk(root: Path) -> list[str]:
    """The accounts that have a folder with raw slices, single files or packages."""
    try:
        folders = sorted(folder for folder in root.iterdir() if ACCOUNT.fullmatch(folder.name))
    except (FileNotFoundError, NotADirectoryError):
        return []
    inside = ("primeval_data", "final_data", "packages")
    return [folder.name for folder in folders if any((folder / name).is_dir() for name in inside)]


def raw_states(root: Path, account: str, kind: Kind) -> dict[str, State]:
    """The raw files of each month: slices, and an old archive's single files."""
    found: dict[str, State] = {}
    for entry in json_files(layout.slices_folder(root, account, kind)):
        for month in _months(entry.name):
            _count(found, month, entry)
    tail = f"_all_{kind}_alphas"
    for folder in _folders(layout.singles_folder(root, account, kind, "").parent):
        if folder.name.startswith(f"{account}_") and folder.name.endswith(tail):
            month = folder.name[len(account) + 1 : -len(tail)]
            for day in _folders(folder.path):
                for entry in json_files(Path(day.path)):
                    _count(found, month, entry)
    return found


def package_states(root: Path, account: str, kind: Kind) -> dict[str, State]:
    """The packages of each month."""
    found: dict[str, State] = {}
    for path in list_packages(root, account, kind):
        _count(found, path.parent.name, path)
    return found


@dataclass(frozen=True)
class Look:
    """Pairs to look into now, the cursor to keep, and those left for later: being written, or too many."""

    pairs: tuple[Pair, ...]
    cursor: str
    waiting: tuple[Pair, ...]


def look(root: Path, cursor: str | None, now_ns: int, quiet_seconds: float, months: Collection[str]) -> Look:
    """Compare `root` with `cursor`; at most MAX_MONTHS of `months` are given, each with all accounts it changed for.

    A pair whose newest file is younger than `quiet_seconds` is waited for.
    """
    before: Mapping[str, Mapping[str, list[State]]] = json.loads(cursor) if cursor else {}
    after: dict[str, dict[str, list[State]]] = {}
    given: set[Pair] = set()
    waiting: list[Pair] = []
    chosen: set[str] = set()
    for month, account, state in sorted(_everything(root)):
        known = before.get(account, {}).get(month)
        kept = after.setdefault(account, {})
        if state == known or month not in months:
            kept[month] = state
            continue
        too_young = now_ns - max(newest for _, _, newest in state) < quiet_seconds * 1e9
        if too_young or (month not in chosen and len(chosen) >= MAX_MONTHS):
            waiting.append((account, month))
            if known is not None:
                kept[month] = known
            continue
        kept[month] = state
        chosen.add(month)
        given.add((account, month))
    return Look(tuple(sorted(given)), json.dumps(after, sort_keys=True), tuple(waiting))


def _everything(root: Path) -> Iterator[tuple[str, str, list[State]]]:
    """Month, account, and the states of raw files and packages of each kind."""
    for account in accounts_on_disk(root):
        parts = [states(root, account, kind) for kind in KINDS for states in (raw_states, package_states)]
        for month in {month for part in parts for month in part}:
            yield month, account, [part.get(month, [0, 0, 0]) for part in parts]


def _count(found: dict[str, State], month: str, file: "os.DirEntry[str] | Path") -> None:
    try:
        stat = file.stat()
    except FileNotFoundError:
        return
    state = found.setdefault(month, [0, 0, 0])
    state[0] += 1
    state[1] += stat.st_size
    state[2] = max(state[2], stat.st_mtime_ns)


def _months(name: str) -> Iterable[str]:
    """The months that a slice reaches into, by its name."""
    span = _SPAN.search(name)
    if span is None:
        return ()
    if span["first"] == span["last"]:
        return (span["first"],)
    window = layout.window_of(name)
    return sorted({f"{day.start:%Y-%m}" for day in window.days()}) if window else ()


def _folders(folder: "Path | str") -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            yield from sorted((entry for entry in entries if entry.is_dir()), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
