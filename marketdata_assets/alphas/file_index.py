"""The files of the alphas folder by account and month, and which of them changed since the last scan.

Only names, sizes and modification times are read.
"""

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from marketdata_assets.alphas import layout
from marketdata_assets.alphas.files import folders, json_files, list_packages
from marketdata_assets.alphas.layout import ACCOUNT, KINDS, Kind
from marketdata_assets.alphas.raw_files import slices_in
from marketdata_assets.loading import watch
from marketdata_assets.loading.errors import BadFile

MAX_MONTHS = 24

FileState = list[int]
"""Files, bytes, newest modification time in ns."""

Pair = tuple[str, str]
"""An account and a month."""


def months_by_account(pairs: Iterable[Pair]) -> dict[str, list[str]]:
    """The accounts of `pairs` in order, each with its months in order."""
    months: dict[str, list[str]] = {}
    for account, month in sorted(set(pairs)):
        months.setdefault(account, []).append(month)
    return months


def accounts_on_disk(root: Path) -> list[str]:
    """The accounts that have a folder with raw slices, single files or packages."""
    try:
        folders = sorted(folder for folder in root.iterdir() if ACCOUNT.fullmatch(folder.name))
    except (FileNotFoundError, NotADirectoryError):
        return []
    inside = ("primeval_data", "final_data", "changed_data", "packages")
    return [folder.name for folder in folders if any((folder / name).is_dir() for name in inside)]


def raw_states(root: Path, account: str, kind: Kind) -> dict[str, FileState]:
    """The raw files of each month: slices, an old archive's single files, and those of alphas that changed."""
    states: dict[str, FileState] = {}
    for entry in json_files(layout.slices_folder(root, account, kind)):
        span = layout.SPAN.search(entry.name)
        if span and span["first"] == span["last"] and not entry.name.endswith(".zip"):
            _count(states, span["first"], entry)
            continue
        for month in _months(entry):
            _count(states, month, entry)
    tail = f"_all_{kind}_alphas"
    for folder in folders(layout.singles_folder(root, account, kind, "").parent):
        if folder.name.startswith(f"{account}_") and folder.name.endswith(tail):
            month = folder.name[len(account) + 1 : -len(tail)]
            for day in folders(folder):
                for entry in json_files(day):
                    _count(states, month, entry)
    for folder in folders(layout.changed_folder(root, account, kind, "")):
        for entry in json_files(folder):
            _count(states, folder.name, entry)
    return states


def package_states(root: Path, account: str, kind: Kind) -> dict[str, FileState]:
    """The packages of each month."""
    states: dict[str, FileState] = {}
    for path in list_packages(root, account, kind):
        _count(states, path.parent.name, path)
    return states


def months_on_disk(root: Path, account: str, kind: Kind) -> list[str]:
    """The months with raw files or packages, oldest first."""
    return sorted(raw_states(root, account, kind).keys() | package_states(root, account, kind).keys())


@dataclass(frozen=True)
class Changes:
    """Pairs whose files are new or changed and complete, and pairs left for later: still being written, or too many.

    `cursor` is the one to keep when `pairs` are handled, `unhandled_cursor` when they are not.
    """

    pairs: tuple[Pair, ...]
    waiting: tuple[Pair, ...]
    cursor: str
    unhandled_cursor: str


def scan(root: Path, cursor: str | None, now_ns: int, quiet_seconds: float, months: Collection[str]) -> Changes:
    """Compare `root` with `cursor`; at most MAX_MONTHS of `months`, each with all accounts it changed for.

    A pair is complete when two scans `quiet_seconds` apart have seen the same files.
    """
    known = {key: state for key, state in states(root).items() if key[:7] in set(months)}
    scanned = watch.compare(cursor, known, now_ns=now_ns, quiet_seconds=quiet_seconds)
    chosen = sorted({key[:7] for key in scanned.finished})[:MAX_MONTHS]
    taken = [key for key in scanned.finished if key[:7] in chosen]
    waiting = [key for key in (*scanned.finished, *scanned.unfinished) if key not in taken]
    return Changes(pairs_of(taken), pairs_of(waiting), scanned.cursor(taken), scanned.cursor(()))


def states(root: Path) -> dict[str, list[FileState]]:
    """The files of each month and account, as `2024-01/lk`."""
    found: dict[str, list[FileState]] = {}
    for account in accounts_on_disk(root):
        parts = [of_kind(root, account, kind) for kind in KINDS for of_kind in (raw_states, package_states)]
        for month in {month for part in parts for month in part}:
            found[f"{month}/{account}"] = [part.get(month, [0, 0, 0]) for part in parts]
    return found


def pairs_of(keys: Iterable[str]) -> tuple[Pair, ...]:
    """The accounts and months of keys of `states`."""
    return tuple(sorted((key[8:], key[:7]) for key in keys))


def _months(entry: os.DirEntry[str]) -> list[str]:
    """The months of the windows in a file of slices; those in the name of one that cannot be read."""
    try:
        windows = {window for _, window in slices_in(entry)}
    except FileNotFoundError:
        return []
    except BadFile:
        windows = {layout.window_of(entry.name)}
    return sorted({f"{day.start:%Y-%m}" for window in windows if window for day in window.days()})


def _count(states: dict[str, FileState], month: str, file: "os.DirEntry[str] | Path") -> None:
    try:
        stat = file.stat()
    except FileNotFoundError:
        return
    state = states.setdefault(month, [0, 0, 0])
    state[0] += 1
    state[1] += stat.st_size
    state[2] = max(state[2], stat.st_mtime_ns)
