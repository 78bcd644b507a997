"""Packages: the alphas of one UTC day as NDJSON, one line an alpha, made from raw files and from earlier packages.

A package has each id once, in its newest version, sorted by dateCreated and id; equal content gives equal bytes. Raw
files may be deleted afterwards: what was packaged once stays.
"""

import datetime as dt
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from marketdata_assets.alphas import layout
from marketdata_assets.alphas.archive import (
    Alpha,
    NoAlpha,
    RawFile,
    Reject,
    alpha_of,
    not_utf8,
    raw_files,
    raw_months,
    read_raw,
)
from marketdata_assets.alphas.errors import BadSlice
from marketdata_assets.alphas.layout import Kind
from marketdata_assets.alphas.newest import Newest
from marketdata_assets.alphas.package_files import (
    CHUNK_BYTES,
    PLAIN,
    ZSTD,
    alone,
    day_of,
    holds,
    list_packages,
    read_package,
    sweep,
    write,
)
from marketdata_assets.alphas.windows import Window, month_window
from marketdata_assets.progress import Progress, report

__all__ = ["FailedInput", "PackageReport", "list_packages", "months_on_disk", "package", "read_package"]

REJECTS = "rejects.ndjson"


@dataclass(frozen=True)
class FailedInput:
    """A file that could not be read."""

    place: str
    error: str


@dataclass(frozen=True)
class PackageReport:
    """What packaging one month of an account did."""

    account: str
    kind: Kind
    month: str
    written: tuple[dt.date, ...]
    unchanged: tuple[dt.date, ...]
    empty: tuple[dt.date, ...]  # days without alphas; they have no package
    documents: int  # in the packages written or unchanged
    duplicates: int  # raw alphas that were a copy or another version of one that counts
    rejected: int  # elements in the quarantine file
    failed: tuple[FailedInput, ...]
    seconds: float


def package(
    root: Path, account: str, kind: Kind, month: str, *, zstd: bool = False, progress: Progress | None = None
) -> PackageReport:
    """Bring the packages of a month up to its raw files; a day whose content stays the same is not written.

    A raw file that cannot be read is in the report and stops nothing. So is a package that cannot be read; its day is
    left as it is, so that nothing of it is lost. Two processes may package the same month: the second waits.
    """
    started = time.perf_counter()
    folder = layout.packages_folder(root, account, kind, month)
    job = _Job(root, account, kind, month)
    sources = (layout.slices_folder(root, account, kind), layout.singles_folder(root, account, kind, month), folder)
    if any(source.is_dir() for source in sources):
        with alone(folder), tempfile.TemporaryFile(buffering=CHUNK_BYTES, dir=folder.parent) as spool:
            newest = Newest(spool)
            job.gather(newest, progress or report)
            job.write(newest, folder, zstd)
    return job.report(time.perf_counter() - started)


def months_on_disk(root: Path, account: str, kind: Kind) -> list[str]:
    """The months that have packages or raw input, oldest first, by the names of files alone."""
    packaged = {path.parent.name for path in list_packages(root, account, kind)}
    return sorted(packaged | raw_months(root, account, kind))


class _Job:
    """One month being packaged, and what has been counted of it."""

    def __init__(self, root: Path, account: str, kind: Kind, month: str) -> None:
        self._what = (root, account, kind)
        self._month = month
        self._failed: list[FailedInput] = []
        self._rejects: list[Reject] = []
        self._damaged: set[dt.date] = set()
        self._written: list[dt.date] = []
        self._unchanged: list[dt.date] = []
        self._documents = self._duplicates = 0

    def gather(self, newest: Newest, progress: Progress) -> None:
        """Read every input; the youngest first, so that few bytes are kept of what is not the newest."""
        wanted = month_window(self._month)
        packages = list_packages(*self._what, [self._month])
        files, nameless = raw_files(*self._what, self._month)
        total = len(files) + len(packages)
        self._failed += (FailedInput(error.place, str(error)) for error in nameless)
        seen: set[Path] = set()
        while files:
            vanished = False
            for file in sorted(files, key=lambda file: (-file.mtime_ns, file.path)):
                seen.add(file.path)
                with self._failing():
                    vanished |= not self._take_raw(file, wanted, newest)
                progress(min(len(seen), total), total, file.path.name)
            # A fetch has just put other slices in the place of those that are gone.
            listed = raw_files(*self._what, self._month)[0] if vanished else []
            files = [file for file in listed if file.path not in seen]
        for done, path in enumerate(packages, total - len(packages) + 1):
            with self._failing(day_of(path)):
                self._take_package(path, newest)
            progress(done, total, path.name)

    def write(self, newest: Newest, folder: Path, zstd: bool) -> None:
        """Write the days that differ; what they replace goes last."""
        sweep(folder)
        days = newest.by_day()
        for day, versions in days.items():
            if day in self._damaged:
                continue
            path, other = (folder / f"{day}{suffix}" for suffix in ((ZSTD, PLAIN) if zstd else (PLAIN, ZSTD)))
            if holds(path, newest.lines(versions)):
                self._unchanged.append(day)
            else:
                write(path, newest.lines(versions))
                self._written.append(day)
            other.unlink(missing_ok=True)
            self._documents += len(versions)
        for path in list_packages(*self._what, [self._month]):
            if day_of(path) not in days.keys() | self._damaged:
                path.unlink()
        self._quarantine(folder / REJECTS)

    def report(self, seconds: float) -> PackageReport:
        _, account, kind = self._what
        every = (day.start.date() for day in month_window(self._month).days())
        return PackageReport(
            account=account,
            kind=kind,
            month=self._month,
            written=tuple(self._written),
            unchanged=tuple(self._unchanged),
            empty=tuple(day for day in every if day not in {*self._written, *self._unchanged, *self._damaged}),
            documents=self._documents,
            duplicates=self._duplicates,
            rejected=len(self._rejects),
            failed=tuple(self._failed),
            seconds=seconds,
        )

    def _take_raw(self, file: RawFile, wanted: Window, newest: Newest) -> bool:
        """Offer the alphas of a file; False when it is no longer there."""
        try:
            for found in read_raw(file, wanted):
                if isinstance(found, Reject):
                    self._rejects.append(found)
                elif not newest.offer(found, raw=True, mtime_ns=file.mtime_ns):
                    self._duplicates += 1
        except BadSlice:
            if file.path.exists():
                raise
            return False
        return True

    def _take_package(self, path: Path, newest: Newest) -> None:
        mtime_ns = path.stat().st_mtime_ns
        for alpha in _packaged(path):
            newest.offer(alpha, raw=False, mtime_ns=mtime_ns)

    def _quarantine(self, path: Path) -> None:
        lines = [msgspec.json.encode(reject) + b"\n" for reject in sorted(self._rejects, key=_by_place)]
        if not lines:
            path.unlink(missing_ok=True)
        elif not holds(path, lines):
            write(path, lines)

    @contextmanager
    def _failing(self, day: dt.date | None = None) -> Iterator[None]:
        try:
            yield
        except BadSlice as error:
            self._failed.append(FailedInput(error.place, str(error)))
            if day:
                self._damaged.add(day)


def _packaged(path: Path) -> Iterator[Alpha]:
    """The alphas of a package. We write no bad lines, so one is a damage: rewritten, the package would lose it."""
    day = day_of(path)
    assert day
    midnight = dt.datetime.combine(day, dt.time(), dt.UTC)
    for number, line in read_package(path):
        try:
            if cause := not_utf8(line):
                raise NoAlpha(cause)
            alpha = alpha_of(line, midnight)
            if alpha.day != day:
                raise NoAlpha(f"dateCreated lies on {alpha.day}")
        except NoAlpha as error:
            cause = f"{error}; the day is left as it is until this file is moved away"
            raise BadSlice(f"{path}:{number}", cause) from None
        yield alpha


def _by_place(reject: Reject) -> tuple[str, int]:
    file, _, index = reject.place.rpartition(":")
    return file, int(index)
