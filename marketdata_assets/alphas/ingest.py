"""Packages of one account and kind into MongoDB, for some months: plan, fan out, report.

Ends in one frozen report; whether a failed package fails a run is the caller's business.
"""

import datetime as dt
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pymongo import ASCENDING, DESCENDING
from pymongo.database import Database
from pymongo.errors import OperationFailure

from marketdata_assets.alphas.importer import Package, UnitReport, changed, database_name, import_package
from marketdata_assets.alphas.layout import Kind
from marketdata_assets.alphas.merge import Document
from marketdata_assets.alphas.modes import ImportOptions, Span
from marketdata_assets.alphas.package_files import day_of, list_packages
from marketdata_assets.errors import MarketDataError
from marketdata_assets.fanout import Done, Fanout
from marketdata_assets.progress import Progress
from marketdata_assets.stores import mongo, mongo_ledger
from marketdata_assets.stores.bookkeeping import Entry
from marketdata_assets.stores.errors import StoreAway

BATCH_BYTES = 8 * 1024 * 1024
BATCH_PACKAGES = 31
RECONNECTS_SECONDS = (0.5, 1.5, 4.0)
INDEXES = (
    [("dateCreated", ASCENDING)],
    [("dateModified", DESCENDING)],
    [("settings.region", ASCENDING), ("is.sharpe", DESCENDING)],
)
"""For the usual reads: by time, what changed last, the best of a region."""


@dataclass(frozen=True)
class ImportReport:
    """What one import did. `units` are the packages that were read; `unchanged` ones cost a hash."""

    account: str
    kind: Kind
    months: tuple[str, ...]
    options: ImportOptions
    units: tuple[UnitReport, ...]
    unchanged: int
    seconds: float

    @property
    def documents(self) -> int:
        return sum(unit.documents for unit in self.units)

    @property
    def inserted(self) -> int:
        return sum(unit.inserted for unit in self.units)

    @property
    def updated(self) -> int:
        return sum(unit.updated for unit in self.units)

    @property
    def rejected(self) -> int:
        return sum(unit.rejected for unit in self.units)

    @property
    def skipped(self) -> int:
        return sum(unit.skipped for unit in self.units)

    @property
    def failed(self) -> tuple[UnitReport, ...]:
        return tuple(unit for unit in self.units if unit.result == "failed")

    @property
    def failed_months(self) -> tuple[str, ...]:
        return tuple(sorted({unit.month for unit in self.failed}))


@dataclass(frozen=True)
class _Job:
    """What every batch of one import has in common."""

    uri: str
    options: ImportOptions
    span: Span
    run_id: str
    fresh: frozenset[str]
    """Days of which the ledger has nothing."""
    force: bool


def ingest(
    uri: str,
    root: Path,
    account: str,
    kind: Kind,
    months: Collection[str],
    *,
    run_id: str,
    fanout: Fanout,
    options: ImportOptions | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Bring the packages of `months` (`YYYY-MM`) into the account's collection as `options` say.

    A package that fails does not stop the others. `force` holds every document against the database, whatever the
    ledger says. Raises StoreAway or StoreFull when the server gives up; packages that had landed by then stay.
    """
    started = time.monotonic()
    options = options or ImportOptions()
    packages = find(root, account, kind, months)
    with mongo.connect(uri) as client:
        database = client[database_name(kind)]
        prepare(database, account)
        span = options.span(mongo_ledger.now(), _newest(database, account) if options.mode == "smart_merge" else None)
        known = {entry.unit: entry for entry in mongo_ledger.entries(database, database_name(kind), account)}
    due = _due(packages, known, force or options.everything)
    fresh = frozenset(package.day for package in due if package.day not in known)
    job = _Job(uri, options, span, run_id, fresh, force)
    reports = list(_run(job, root, due, fanout, progress))
    seconds = time.monotonic() - started
    unchanged = len(packages) - len(due)
    return ImportReport(account, kind, tuple(sorted(months)), options, tuple(reports), unchanged, seconds)


def find(root: Path, account: str, kind: Kind, months: Collection[str]) -> list[Package]:
    """The packages on disk, oldest day first."""
    by_day: dict[str, list[Path]] = {}
    for path in list_packages(root, account, kind, months):
        by_day.setdefault(f"{day_of(path)}", []).append(path)
    return [Package(account, kind, day, tuple(paths)) for day, paths in sorted(by_day.items())]


def prepare(database: Database[Document], account: str) -> None:
    """Create the indexes of the account's collection and of the ledger; safe to call at any time."""
    collection = database[account]
    collection.create_index("id", unique=True)
    for keys in INDEXES:
        collection.create_index(keys)
    mongo_ledger.ensure(database)


def _newest(database: Database[Document], account: str) -> dt.datetime | None:
    collection = database[account].with_options(codec_options=mongo.CODEC)
    newest = collection.find_one({}, {"dateModified": 1}, sort=[("dateModified", DESCENDING)])
    return changed(newest) if newest else None


def _due(packages: Sequence[Package], known: Mapping[str, Entry], all_of_them: bool) -> list[Package]:
    """Packages whose bytes the ledger does not know to be in the collection, or all."""
    return [
        package
        for package in packages
        if all_of_them
        or (entry := known.get(package.day)) is None
        or entry.outcome == "failed"
        or entry.content_hash != package.content_hash()
    ]


def _run(
    job: _Job, root: Path, due: Sequence[Package], fanout: Fanout, progress: Progress | None
) -> Iterator[UnitReport]:
    done = 0
    for batch in fanout.map(partial(_import_batch, job), _batches(due), root):
        for report in _reports(batch):
            done += 1
            if progress:
                progress(done, len(due), report.place)
            yield report


def _reports(batch: Done[list[Package], list[UnitReport]]) -> list[UnitReport]:
    if isinstance(batch.error, MarketDataError):
        raise batch.error
    if batch.error is not None:
        return [_failed(package, str(batch.error)) for package in batch.item]
    return batch.answer or []


def _batches(packages: Sequence[Package]) -> list[list[Package]]:
    """Neighbouring days together, at most BATCH_BYTES of text."""
    batches: list[list[Package]] = []
    room = 0
    for package in packages:
        size = package.size()
        if not batches or room < size or len(batches[-1]) >= BATCH_PACKAGES:
            batches.append([])
            room = BATCH_BYTES
        batches[-1].append(package)
        room -= size
    return batches


def _import_batch(job: _Job, packages: list[Package]) -> list[UnitReport]:
    """Import some packages over one client; a server that is away is asked again for a few seconds."""
    with mongo.connect(job.uri) as client:
        return [_import_one(client[package.dataset], job, package) for package in packages]


def _import_one(database: Database[Document], job: _Job, package: Package) -> UnitReport:
    waits = iter(RECONNECTS_SECONDS)
    while True:
        try:
            return import_package(
                database, package, job.options, job.span, job.run_id, fresh=package.day in job.fresh, force=job.force
            )
        except StoreAway:
            pause = next(waits, None)
            if pause is None:
                raise
            time.sleep(pause)
        except (OperationFailure, OSError) as error:
            return _failed(package, f"{package.account} {package.kind} {package.day}: {error}")


def _failed(package: Package, error: str) -> UnitReport:
    return UnitReport(str(package.paths[-1].name), package.month, "failed", error=error)
