"""Packages: the alphas of one UTC day as NDJSON, one line an alpha, built from raw files and from earlier packages.

A package has each id once, in its newest version, sorted by dateCreated and id; equal content gives equal bytes. Raw
files may be deleted afterwards: what was packaged once is kept.
"""

import datetime as dt
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from marketdata_assets.alphas import file_index, layout
from marketdata_assets.alphas.file_index import FileState, Pair, months_by_account
from marketdata_assets.alphas.files import (
    CHUNK_BYTES,
    PLAIN,
    ZSTD,
    day_of,
    holds,
    list_packages,
    locked,
    read_package,
    write,
)
from marketdata_assets.alphas.layout import KINDS, Kind, Window, month_window
from marketdata_assets.alphas.raw_files import (
    Alpha,
    NoAlpha,
    RawFile,
    Reject,
    alpha_of,
    compact,
    not_utf8,
    raw_files,
    read_raw,
)
from marketdata_assets.fanout import Fanout
from marketdata_assets.loading.countdown import Countdown
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import Opener
from marketdata_assets.loading.states import State
from marketdata_assets.progress import Progress, report

Rank = tuple[dt.datetime, bool, int]
"""What makes one version newer than another: dateModified, whether it is raw, mtime in ns; else the bytes decide."""

OLDEST = dt.datetime.min.replace(tzinfo=dt.UTC)


class Version(NamedTuple):
    """The version kept of one alpha, and where its bytes are."""

    instant: dt.datetime  # dateCreated, or midnight of the day when it has none
    id: str
    day: dt.date
    rank: Rank
    offset: int
    size: int


class Deduplicator:
    """The newest version of every alpha by id, whatever the order they are offered in.

    Newer is the later dateModified (none is oldest); of equal ones a raw file goes before a package, and a younger file
    before an older; at last the bytes decide. The bytes are in `spool`, a temporary file that this object takes over,
    so memory holds an index only.
    """

    def __init__(self, spool: IO[bytes]) -> None:
        self._spool = spool
        self._end = 0
        self._versions: dict[str, Version] = {}

    def offer(self, alpha: Alpha, raw: bool, mtime_ns: int) -> bool:
        """Keep `alpha` if it is the newest of its id so far; False when the id was there already."""
        rank = (alpha.modified or OLDEST, raw, mtime_ns)
        known = self._versions.get(alpha.id)
        if known is not None and rank < known.rank:
            return False
        line = compact(alpha.raw)
        if known is not None and rank == known.rank and (line, alpha.day) <= (self.line(known), known.day):
            return False
        instant = alpha.created or dt.datetime.combine(alpha.day, dt.time(), dt.UTC)
        self._versions[alpha.id] = Version(instant, alpha.id, alpha.day, rank, self._end, len(line))
        self._end += self._spool.write(line)
        return known is None

    def by_day(self) -> dict[dt.date, list[Version]]:
        """What is kept, by day, each in the order of dateCreated and id."""
        days: defaultdict[dt.date, list[Version]] = defaultdict(list)
        for version in self._versions.values():
            days[version.day].append(version)
        return {day: sorted(days[day]) for day in sorted(days)}

    def line(self, version: Version) -> bytes:
        """The bytes of one version, without a newline."""
        self._spool.flush()
        return os.pread(self._spool.fileno(), version.size, version.offset)

    def lines(self, versions: Iterable[Version]) -> Iterator[bytes]:
        """The bytes of `versions`, each with a newline."""
        for version in versions:
            yield self.line(version) + b"\n"


REJECTS = "rejects.ndjson"


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
    failed: dict[str, str]  # files that could not be read, and why
    seconds: float

    @property
    def days(self) -> int:
        return len(self.written) + len(self.unchanged)

    @property
    def days_written(self) -> int:
        return len(self.written)

    @property
    def failed_inputs(self) -> int:
        return len(self.failed)


def package(
    root: Path, account: str, kind: Kind, month: str, *, zstd: bool = False, progress: Progress | None = None
) -> PackageReport:
    """Update the packages of a month from its raw files; a day whose content stays the same is not written.

    A raw file that cannot be read is in the report and does not stop the others. So is a package that cannot be read;
    its day is kept as it is, so that nothing is lost. Two processes may package the same month: the second waits.
    """
    started = time.perf_counter()
    folder = layout.packages_folder(root, account, kind, month)
    job = _MonthJob(root, account, kind, month)
    sources = (
        layout.slices_folder(root, account, kind),
        layout.singles_folder(root, account, kind, month),
        layout.changed_folder(root, account, kind, month),
        folder,
    )
    if any(source.is_dir() for source in sources):
        with locked(folder), tempfile.TemporaryFile(buffering=CHUNK_BYTES, dir=folder.parent) as spool:
            versions = Deduplicator(spool)
            job.gather(versions, progress or report)
            job.write(versions, folder, zstd)
    return job.report(time.perf_counter() - started)


class _MonthJob:
    """One month being packaged, and its counts so far."""

    def __init__(self, root: Path, account: str, kind: Kind, month: str) -> None:
        self._source = (root, account, kind)
        self._month = month
        self._failed: dict[str, str] = {}
        self._opener = Opener()
        self._rejects: list[Reject] = []
        self._damaged: set[dt.date] = set()
        self._written: list[dt.date] = []
        self._unchanged: list[dt.date] = []
        self._documents = self._duplicates = 0

    def gather(self, deduplicator: Deduplicator, progress: Progress) -> None:
        """Read every input; the youngest first, so that few superseded bytes are spooled."""
        wanted = month_window(self._month)
        packages = list_packages(*self._source, [self._month])
        files, nameless = raw_files(*self._source, self._month)
        total = len(files) + len(packages)
        self._failed |= {error.place: str(error) for error in nameless}
        seen: set[str] = set()
        while files:
            vanished = False
            for file in sorted(files, key=lambda file: (-file.mtime_ns, file.place)):
                seen.add(file.place)
                with self._collecting_failures(Path(file.unit.place)):
                    vanished |= not self._take_raw(file, wanted, deduplicator)
                progress(min(len(seen), total), total, file.path.name)
            # A fetch has just replaced slices by others.
            listed = raw_files(*self._source, self._month)[0] if vanished else []
            files = [file for file in listed if file.place not in seen]
        self._opener.close()
        for done, path in enumerate(packages, total - len(packages) + 1):
            with self._collecting_failures(path, day_of(path)):
                mtime_ns = path.stat().st_mtime_ns
                for alpha in _packaged(path):
                    deduplicator.offer(alpha, raw=False, mtime_ns=mtime_ns)
            progress(done, total, path.name)

    def write(self, deduplicator: Deduplicator, folder: Path, zstd: bool) -> None:
        """Write the days that differ, then remove the files they replace."""
        for partial_file in folder.glob(".*.partial"):  # of a killed process
            partial_file.unlink()
        days = deduplicator.by_day()
        for day, versions in days.items():
            if day in self._damaged:
                continue
            path, other = (folder / f"{day}{suffix}" for suffix in ((ZSTD, PLAIN) if zstd else (PLAIN, ZSTD)))
            if holds(path, deduplicator.lines(versions)):
                self._unchanged.append(day)
            else:
                write(path, deduplicator.lines(versions))
                self._written.append(day)
            other.unlink(missing_ok=True)
            self._documents += len(versions)
        for path in list_packages(*self._source, [self._month]):
            if day_of(path) not in days.keys() | self._damaged:
                path.unlink()
        self._write_rejects(folder / REJECTS)

    def report(self, seconds: float) -> PackageReport:
        _, account, kind = self._source
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
            failed=dict(self._failed),
            seconds=seconds,
        )

    def _take_raw(self, file: RawFile, wanted: Window, deduplicator: Deduplicator) -> bool:
        """Offer the alphas of a file; False when it is no longer there."""
        try:
            for alpha in read_raw(file, wanted, self._opener):
                if isinstance(alpha, Reject):
                    self._rejects.append(alpha)
                elif not deduplicator.offer(alpha, raw=True, mtime_ns=file.mtime_ns):
                    self._duplicates += 1
        except BadFile:
            if file.path.exists():
                raise
            return False
        return True

    def _write_rejects(self, path: Path) -> None:
        def file_and_index(reject: Reject) -> tuple[str, int]:
            file, _, index = reject.place.rpartition(":")
            return file, int(index)

        lines = [msgspec.json.encode(reject) + b"\n" for reject in sorted(self._rejects, key=file_and_index)]
        if not lines:
            path.unlink(missing_ok=True)
        elif not holds(path, lines):
            write(path, lines)

    @contextmanager
    def _collecting_failures(self, path: Path, day: dt.date | None = None) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of whatever class: it is this file's failure, not the month's
            self._failed[str(path)] = str(error) or type(error).__name__
            if day:
                self._damaged.add(day)


def _packaged(path: Path) -> Iterator[Alpha]:
    """The alphas of a package. It is written without bad lines, so one is damage, which rewriting would hide."""
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
            cause = f"{error}; the day is kept as it is until this file is moved away"
            raise BadFile(f"{path}:{number}", cause) from None
        yield alpha


Item = tuple[str, Kind, str, FileState | None]
"""Account, kind, month, and the raw files as they were before packaging began."""


@dataclass(frozen=True)
class MonthReport:
    """A month of an account, all its kinds; `errors` are files that could not be read, and any other failure."""

    account: str
    month: str
    reports: tuple[PackageReport, ...]
    errors: tuple[str, ...]

    def total(self, count: str) -> int:
        """Sum of a count over the kinds, such as `days_written` or `documents`."""
        return sum(getattr(report, count) for report in self.reports)


@dataclass(frozen=True)
class PackagingReport:
    """The result for all months of one run."""

    months: tuple[MonthReport, ...]
    seconds: float

    @property
    def failed(self) -> tuple[MonthReport, ...]:
        return tuple(month for month in self.months if month.errors)


def package_months(
    root: Path,
    pairs: Sequence[Pair],
    fanout: Fanout,
    progress: Progress | None = None,
    complete: Callable[[Sequence[Pair]], None] = lambda pairs: None,
) -> PackagingReport:
    """Update the packages of `pairs` from their raw files; one month's failure does not stop the others.

    `complete` is called with pairs of which all kinds are packaged without a failure.
    """
    started = time.monotonic()
    items: list[Item] = []
    for account, of_account in months_by_account(pairs).items():
        for kind in KINDS:
            raw = file_index.raw_states(root, account, kind)
            items += ((account, kind, month, raw.get(month)) for month in of_account)
    reports: dict[Pair, list[PackageReport]] = {pair: [] for pair in pairs}
    errors: dict[Pair, list[str]] = {pair: [] for pair in pairs}
    left = Countdown([(account, month)] for account, _, month, _ in items)
    for number, done in enumerate(fanout.map(partial(_package_month, root), items, root), 1):
        account, kind, month, _ = done.item
        if done.answer is None:
            errors[account, month].append(f"{account} {kind} {month}: {done.error}")
        else:
            reports[account, month].append(done.answer)
            errors[account, month] += done.answer.failed.values()
        complete(left.ended([(account, month)], [(account, month)] if errors[account, month] else ()))
        if progress:
            progress(number, len(items), f"{account} {kind} {month}")
    months = [MonthReport(*pair, tuple(reports[pair]), tuple(errors[pair])) for pair in sorted(pairs)]
    return PackagingReport(tuple(months), time.monotonic() - started)


def outdated_months(root: Path, account: str, kind: Kind, raw: Mapping[str, FileState]) -> dict[str, State]:
    """Months whose raw files (`raw` has their states) were never packaged, or have changed since."""
    done: dict[str, FileState] = {}  # the raw files when the month was last packaged without a failure
    for path in layout.packages_folder(root, account, kind, "").glob(".*.packed"):
        try:
            done[path.name[1 : -len(".packed")]] = json.loads(path.read_bytes())
        except ValueError:
            continue  # cut off by a crash; packaging the month again rewrites it
    return {month: State.STALE if month in done else State.MISSING for month in raw if raw[month] != done.get(month)}


def _package_month(root: Path, item: Item) -> PackageReport:
    account, kind, month, raw = item
    report = package(root, account, kind, month)
    if raw is not None and not report.failed:
        mark = layout.packages_folder(root, account, kind, f".{month}.packed")
        mark.write_text(json.dumps(raw))
    return report
