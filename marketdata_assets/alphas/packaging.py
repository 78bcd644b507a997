"""Packages: the alphas of one UTC day as NDJSON, one line an alpha, built from raw files and from earlier packages.

A package has each id once, in its newest version, sorted by dateCreated and id; equal content gives equal bytes. Raw
files may be deleted afterwards: what was packaged once is kept.
"""

import datetime as dt
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import msgspec

from marketdata_assets import state_files
from marketdata_assets.alphas import layout
from marketdata_assets.alphas.file_index import Listed, Pair, list_packages, listed, months_by_account
from marketdata_assets.alphas.files import CHUNK_BYTES, PLAIN, ZSTD, day_of, holds, locked, read_package, write
from marketdata_assets.alphas.layout import DAY, KINDS, Kind, month_window
from marketdata_assets.alphas.raw_files import OLDEST, Alpha, NoAlpha, Reject, alpha_of, not_utf8, raw_files, read_raw
from marketdata_assets.fanout import Fanout
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import Opener
from marketdata_assets.loading.reports import Countdown
from marketdata_assets.progress import Progress, report
from marketdata_assets.state_files import replacing


class Origin(NamedTuple):
    """What a version of an alpha comes from; of two, the greater is the newer."""

    known: bool  # False of a package that was delivered
    mtime_ns: int
    file: str
    raw: bool  # True while the file is there, False when only a package has the version


class Version(NamedTuple):
    """The version kept of one alpha, and where its bytes are."""

    instant: dt.datetime  # dateCreated, or midnight of the day when it has none
    id: str
    day: dt.date
    rank: tuple[dt.datetime, Origin]  # dateModified, and where it comes from; else the bytes decide
    offset: int
    size: int


def compact(raw: msgspec.Raw | bytes) -> bytes:
    """One line of JSON; keys, escapes and the spelling of numbers stay as they are."""
    line: bytes = msgspec.json.format(raw, indent=-1)
    return line


class Deduplicator:
    """The newest version of every alpha by id, whatever the order they are offered in.

    Newer is the later dateModified (none is oldest); of equal ones that of the younger file, then of the later name; at
    last, within a file, the bytes decide. The bytes are in `spool`, a temporary file that this object takes over, so
    memory holds an index only.
    """

    def __init__(self, spool: IO[bytes]) -> None:
        self._spool = spool
        self._end = 0
        self.versions: dict[str, Version] = {}

    def offer(self, alpha: Alpha, origin: Origin) -> None:
        """Keep `alpha` if it is the newest of its id so far."""
        rank = (alpha.modified or OLDEST, origin)
        known = self.versions.get(alpha.id)
        if known is not None and rank < known.rank:
            return
        line = compact(alpha.raw)
        if known is not None and rank == known.rank and (line, alpha.day) <= (self.line(known), known.day):
            return
        instant = alpha.created or dt.datetime.combine(alpha.day, dt.time(), dt.UTC)
        self.versions[alpha.id] = Version(instant, alpha.id, alpha.day, rank, self._end, len(line))
        self._end += self._spool.write(line)

    def by_day(self) -> dict[dt.date, list[Version]]:
        """What is kept, by day, each in the order of dateCreated and id."""
        days: defaultdict[dt.date, list[Version]] = defaultdict(list)
        for version in self.versions.values():
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


REJECTS = ".rejects.ndjson"


class FileRecord(msgspec.Struct):
    """What became of the elements of a raw file that belong to a month, when it was last packaged."""

    identity: str  # of the file that was read
    read: int = 0
    rejected: int = 0
    duplicates: int = 0  # within the file
    loaded: dict[str, int] = {}  # by day, into its package; msgspec copies the default
    replaced: dict[str, int] = {}  # by the newer file
    error: str = ""

    @property
    def packaged(self) -> int:
        return sum(self.loaded.values())


class Records(msgspec.Struct):
    """By name under the root, the raw files of which the packages of a month were made."""

    files: dict[str, FileRecord] = {}


class Mark(Records):
    """The same, and by alpha the file and the time that its version in the packages comes from."""

    sources: dict[str, tuple[str, int]] = {}


T = TypeVar("T", bound=Records)


def recorded(root: Path, account: str, kind: Kind, month: str, form: type[T]) -> T:
    """What is on record of a month as a Mark or, which takes less time, as Records."""
    known = state_files.read(_mark(root, account, kind, month), msgspec.json.Decoder(form).decode)
    return form() if known is None else known  # packaging the month again rewrites it


def _mark(root: Path, account: str, kind: Kind, month: str) -> Path:
    return layout.packages_folder(root, account, kind, f".{month}.packed")


@dataclass
class PackageReport:
    """What packaging one month of an account did."""

    account: str
    kind: Kind
    month: str
    written: list[dt.date] = field(default_factory=list)
    unchanged: list[dt.date] = field(default_factory=list)
    empty: list[dt.date] = field(default_factory=list)  # days without alphas; they have no package
    documents: int = 0  # in the packages written or unchanged
    duplicates: int = 0  # raw alphas of which a newer version counts
    rejected: int = 0  # elements in the quarantine file
    failed: dict[str, str] = field(default_factory=dict)  # files that could not be read, and why
    seconds: float = 0.0

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
    root: Path,
    account: str,
    kind: Kind,
    month: str,
    *,
    progress: Progress | None = None,
    files: Sequence[Listed] | None = None,
) -> PackageReport:
    """Update the packages of a month from its raw files; a day whose content stays the same is not written.

    `files` are those of `listed`, if the caller has them.

    A raw file that cannot be read is in the report and does not stop the others. So is a package that cannot be read;
    its day is kept as it is, so that nothing is lost. Two processes may package the same month: the second waits.
    """
    started = time.perf_counter()
    folder = layout.packages_folder(root, account, kind, month)
    job = _MonthJob(root, account, kind, month)
    if any(source.is_dir() for source in (*job.folders, folder)):
        with locked(folder), tempfile.TemporaryFile(buffering=CHUNK_BYTES, dir=folder.parent) as spool:
            versions = Deduplicator(spool)
            job.gather(versions, files, progress or report)
            job.write(versions, folder)
            job.record(versions)
    return job.finish(time.perf_counter() - started)


class _MonthJob:
    """One month being packaged, and its counts so far."""

    def __init__(self, root: Path, account: str, kind: Kind, month: str) -> None:
        self._source = (root, account, kind)
        self._month = month
        self.folders = (
            layout.slices_folder(*self._source),
            layout.singles_folder(*self._source, month),
            layout.changed_folder(*self._source, month),
        )
        self._report = PackageReport(account, kind, month)
        self._files: dict[str, FileRecord] = {}
        self._ids: dict[str, set[str]] = {}
        self._sources: dict[str, tuple[str, int]] = {}
        self._opener = Opener()
        self._rejects: list[Reject] = []
        self._damaged: set[dt.date] = set()

    def gather(self, deduplicator: Deduplicator, files: Sequence[Listed] | None, progress: Progress) -> None:
        """Read every input; the youngest first, so that few superseded bytes are spooled."""
        self._sources = recorded(*self._source, self._month, Mark).sources
        packages = list_packages(*self._source, [self._month])
        left = self._of_month(self._list() if files is None else files)
        total = len(left) + len(packages)
        while left:
            vanished = False
            for one in sorted(left, key=lambda one: (-one.found.modified_ns, one.name)):
                vanished |= not self._take_raw(one, deduplicator)
                progress(min(len(self._files), total), total, one.file.path.name)
            # A fetch has just replaced slices by others.
            left = self._of_month(self._list()) if vanished else []
        self._opener.close()
        for done, path in enumerate(packages, total - len(packages) + 1):
            with self._collecting_failures(path, day_of(path)):
                delivered = Origin(False, path.stat().st_mtime_ns, path.relative_to(self._source[0]).as_posix(), False)
                for alpha in _packaged(path):
                    deduplicator.offer(alpha, self._origin(alpha.id) or delivered)
            progress(done, total, path.name)

    def _list(self) -> list[Listed]:
        return listed(self._source[0], *self.folders)

    def _of_month(self, files: Iterable[Listed]) -> list[Listed]:
        """The raw files of the month that were not read yet."""
        kind = self._source[2]
        return [
            one
            for one in files
            if one.kind == kind
            and self._month in one.months
            and not (one.package or one.not_taken or one.name in self._files)
        ]

    def _origin(self, name: str) -> Origin | None:
        """Where a packaged alpha comes from; what its file has of it now is newer."""
        if name not in self._sources:
            return None
        file, mtime_ns = self._sources[name]
        return Origin(True, 0 if name in self._ids.get(file, ()) else mtime_ns, file, False)

    def write(self, deduplicator: Deduplicator, folder: Path) -> None:
        """Write the days that differ, then remove the files they replace."""
        for partial_file in folder.glob(".*.partial"):  # of a killed process
            partial_file.unlink()
        days = deduplicator.by_day()
        for day, versions in days.items():
            if day in self._damaged:
                continue
            path = folder / f"{day}{PLAIN}"
            if holds(path, deduplicator.lines(versions)):
                self._report.unchanged.append(day)
            else:
                write(path, deduplicator.lines(versions))
                self._report.written.append(day)
            path.with_suffix(ZSTD).unlink(missing_ok=True)  # as it was delivered
            self._report.documents += len(versions)
        for path in list_packages(*self._source, [self._month]):
            if day_of(path) not in days.keys() | self._damaged:
                path.unlink()
        self._write_rejects(folder / REJECTS)

    def finish(self, seconds: float) -> PackageReport:
        """The report, with what is known at the end."""
        report = self._report
        whole = month_window(self._month)
        every = (whole.start.date() + number * DAY for number in range(whole.length.days))
        report.empty = [day for day in every if day not in {*report.written, *report.unchanged, *self._damaged}]
        report.duplicates = sum(one.duplicates + sum(one.replaced.values()) for one in self._files.values())
        report.rejected, report.seconds = len(self._rejects), seconds
        return report

    def _take_raw(self, one: Listed, deduplicator: Deduplicator) -> bool:
        """Offer the alphas of a file; False when it is no longer there."""
        record = self._files[one.name] = FileRecord(one.found.identity)
        ids = self._ids[one.name] = set[str]()
        origin, wanted = Origin(True, one.found.modified_ns, one.name, True), month_window(self._month)
        with self._collecting_failures(one.file.path):
            try:
                for file in raw_files(one, self._month):
                    for alpha in read_raw(file, wanted, self._opener):
                        record.read += 1
                        if isinstance(alpha, Reject):
                            record.rejected += 1
                            self._rejects.append(alpha)
                            continue
                        record.duplicates += alpha.id in ids
                        ids.add(alpha.id)
                        deduplicator.offer(alpha, origin)
            except Exception as error:
                if not os.path.lexists(one.found.path):
                    del self._files[one.name], self._ids[one.name]
                    return False
                record.error = str(error) or type(error).__name__
                raise
        return True

    def record(self, deduplicator: Deduplicator) -> None:
        """Write down what became of every raw file."""
        for name, ids in self._ids.items():
            for version in map(deduplicator.versions.__getitem__, ids):
                origin = version.rank[1]
                counts, key = self._files[name].replaced, origin.file
                if origin.raw and origin.file == name:
                    counts, key = self._files[name].loaded, f"{version.day}"
                    if version.day in self._damaged:
                        self._files[name].error = f"the package of {key} cannot be read, and is kept as it is"
                counts[key] = counts.get(key, 0) + 1
        versions = deduplicator.versions.values()
        origins = {version.id: version.rank[1] for version in versions}
        sources = {name: (origin.file, origin.mtime_ns) for name, origin in origins.items() if origin.known}
        if self._damaged:
            sources = self._sources | sources
        path = _mark(*self._source, self._month)
        if self._files or sources or path.exists():
            with replacing(path, path.with_name(f"{path.name}.partial")) as file:
                file.write(msgspec.json.encode(Mark(self._files, sources)))

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
            self._report.failed[str(path)] = str(error) or type(error).__name__
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


Item = tuple[str, Kind, str, list[Listed]]
"""Account, kind, month, and its files as they were before packaging began."""


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
        by_month: dict[tuple[Kind, str], list[Listed]] = {}
        for one in listed(root, root / account):
            for month in one.months:
                by_month.setdefault((one.kind, month), []).append(one)
        items += ((account, kind, month, by_month.get((kind, month), [])) for kind in KINDS for month in of_account)
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


def _package_month(root: Path, item: Item) -> PackageReport:
    account, kind, month, files = item
    return package(root, account, kind, month, files=files)
