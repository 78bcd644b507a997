"""The files of the alphas folder: what the place and the name of each say, and which changed since the last scan.

Only names, sizes, modification times and the directories of zips are read.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from marketdata_assets.alphas.files import JSON, PLAIN, ZIP, ZSTD, day_of, members_of
from marketdata_assets.alphas.layout import ACCOUNT, ACCOUNT_RULE, KINDS, Kind, Window, packages_folder, window_of
from marketdata_assets.loading import watch
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.file_ledger import FileEntry, other_suffix, state_of
from marketdata_assets.loading.files import Delivered, Unit, everything

MAX_MONTHS = 24

Pair = tuple[str, str]
"""An account and a month."""

_MONTH, _KIND = r"(?P<month>\d{4}-(?:0[1-9]|1[0-2]))", f"(?P<kind>{'|'.join(KINDS)})"
_SLICES, _PACKAGES = f"primeval_data/all_{_KIND}_alphas", f"packages/{_KIND}/{_MONTH}"
_SINGLES = (rf"final_data/(?P=account)_{_MONTH}_all_{_KIND}_alphas/[^/]+", f"changed_data/{_KIND}/{_MONTH}")
_PLACES = {place: re.compile(f"(?P<account>[^/]+)/{place}/[^/]+") for place in (_SLICES, _PACKAGES, *_SINGLES)}

NO_PLACE = (
    "no alphas are read here: raw files belong into ACCOUNT/primeval_data/all_regular_alphas, packages into"
    " ACCOUNT/packages/regular/2024-11; those of superalphas into all_super_alphas and super"
)
NO_WINDOW = (
    "its name has no window between underscores, as all_2024-11-27-09-00-00.000Z_to_2024-11-27-10-00-00.000Z_alphas:"
    " rename it"
)


@dataclass(frozen=True)
class Listed:
    """A file below the alphas folder: a raw slice, single alphas, a package, or what is `not_taken` for a reason.

    `months` are that of its folder, or those of the windows in the name of a slice or of its members.
    """

    found: Delivered
    account: str = ""
    kind: Kind = "regular"
    months: tuple[str, ...] = ()
    package: bool = False
    single: bool = False
    not_taken: str = ""

    @property
    def name(self) -> str:
        return self.found.name

    @cached_property
    def file(self) -> Delivered:
        """The file under its whole path."""
        return replace(self.found, name=self.found.location)

    def units(self) -> list[tuple[Unit, Window | None]]:
        """What is read of a raw file, with the window in the member's name, else in the file's. Raises BadFile."""
        own = window_of(self.file.path.name)
        units = members_of(self.file) if self.file.is_zip else (Unit(self.file, size=self.file.size),)
        return [(unit, window_of(unit.member) or own) for unit in units]


def months_by_account(pairs: Iterable[Pair]) -> dict[str, list[str]]:
    """The accounts of `pairs` in order, each with its months in order."""
    months: dict[str, list[str]] = {}
    for account, month in sorted(set(pairs)):
        months.setdefault(account, []).append(month)
    return months


def accounts_on_disk(root: Path) -> list[str]:
    """The accounts that have a folder with raw slices, single files or packages."""
    try:
        folders = sorted(one for one in root.iterdir() if ACCOUNT.fullmatch(one.name) and not one.is_symlink())
    except (FileNotFoundError, NotADirectoryError):
        return []
    inside = ("primeval_data", "final_data", "changed_data", "packages")
    return [folder.name for folder in folders if any((folder / name).is_dir() for name in inside)]


def listed(root: Path, *folders: Path) -> list[Listed]:
    """Every file below `root`, or below these folders of it."""
    found: list[Listed] = []
    for folder in folders or (root,):
        prefix = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
        found += (_listed(replace(one, name=prefix + one.name) if prefix else one) for one in everything(folder))
    return found


def _listed(found: Delivered) -> Listed:
    account, inside, _ = found.name.partition("/")
    place, match = next(((p, m) for p, form in _PLACES.items() if (m := form.fullmatch(found.name))), ("", None))
    if match is None or not ACCOUNT.fullmatch(account):
        bad = bool(inside) and not ACCOUNT.fullmatch(account)
        reason = f"{account!r} is no account name: {ACCOUNT_RULE}" if bad else NO_PLACE
        return Listed(found, account, not_taken="" if found.problem else reason)
    name, of_folder = found.name.rpartition("/")[2], match.groupdict().get("month")
    one = Listed(found, account, match["kind"], (of_folder,) if of_folder else ())  # type: ignore[arg-type]
    if place == _PACKAGES:
        other = other_suffix(name, (PLAIN, ZSTD), "packages")
        if not other and f"{day_of(one.file.path)}"[:7] != of_folder:
            other = f"the packages of this folder have names such as {of_folder}-01{PLAIN}: rename it"
        return replace(one, package=True, not_taken="" if found.problem else other)
    if other := "" if found.problem else other_suffix(name, (*JSON, ZIP), "raw alphas"):
        return replace(one, not_taken=other)
    windows = [window_of(name)]
    if name.lower().endswith(ZIP) and not found.problem:
        try:
            windows = [window for _, window in one.units()]
        except BadFile as error:
            member = error.place.removeprefix(found.location).removeprefix("!")
            one = replace(one, found=replace(found, problem=f"{member}: {error.cause}" if member else error.cause))
    if place in _SINGLES:
        return replace(one, single=True)
    months = {month for window in windows if window for month in window.months}
    nameless = NO_WINDOW if windows and not months and not one.found.problem else ""
    return replace(one, months=tuple(sorted(months)), not_taken=nameless)


def list_packages(root: Path, account: str, kind: Kind, months: Collection[str] | None = None) -> list[Path]:
    """The packages on disk, oldest day first; a day has two when one that is packed was delivered beside it."""
    every = (packages_folder(root, account, kind, month) for month in (sorted(months) if months is not None else [""]))
    found = listed(root, *every)
    return [one.file.path for one in found if one.package and not one.not_taken]


def months_on_disk(root: Path, account: str, kind: Kind | None = None) -> set[str]:
    """The months with raw files or packages, of one kind or of both."""
    files = listed(root, root / account)
    return {month for one in files if not one.not_taken and kind in (None, one.kind) for month in one.months}


def unread(root: Path) -> list[FileEntry]:
    """The files that no load takes or can read, whatever is on record."""
    files = (one for one in listed(root) if one.not_taken or one.found.problem)
    return [state_of(one.found, None, not_taken=one.not_taken) for one in files]


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


def states(root: Path) -> dict[str, str]:
    """What shows a change of the files of each month and account, as `2024-01/lk`."""
    found: dict[str, list[str]] = {}
    for one in listed(root):
        for month in one.months if not one.not_taken else ():
            found.setdefault(f"{month}/{one.account}", []).append(f"{one.name} {one.found.identity}")
    return {key: watch.fingerprint(*sorted(files)) for key, files in found.items()}


def pairs_of(keys: Iterable[str]) -> tuple[Pair, ...]:
    """The accounts and months of keys of `states`."""
    return tuple(sorted((key[8:], key[:7]) for key in keys))
