"""Packages into MongoDB, for months of one or many accounts: plan, fan out, report.

Whether a failed package fails a run is decided by the caller. One package is imported in `importer`.
"""

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pymongo import ASCENDING, DESCENDING
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from marketdata_assets.alphas.errors import AlphasError
from marketdata_assets.alphas.file_index import Pair, list_packages, months_by_account
from marketdata_assets.alphas.files import day_of, read_package
from marketdata_assets.alphas.import_modes import CODE_VERSION, FieldModes, ImportOptions, Span
from marketdata_assets.alphas.importer import Package, PackageImport, changed, database_name, import_package
from marketdata_assets.alphas.layout import Kind
from marketdata_assets.alphas.merge import Document
from marketdata_assets.alphas.raw_files import OLDEST, NoAlpha, alpha_of
from marketdata_assets.backoff import delays, retry
from marketdata_assets.fanout import Fanout
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.reports import Countdown, LoadReport, and_more, batches, run_batches
from marketdata_assets.progress import Progress
from marketdata_assets.stores import mongo, mongo_ledger
from marketdata_assets.stores.bookkeeping import Entry
from marketdata_assets.stores.errors import StoreAway, StoreFull

BATCH_BYTES = 8 * 1024 * 1024
BATCH_PACKAGES = 31
MAX_NAMED = 3
RECONNECT_WAITS = delays(0.5, 4.0, retries=4)
INDEXES = (
    [("dateCreated", ASCENDING)],
    [("dateModified", DESCENDING)],
    [("settings.region", ASCENDING), ("is.sharpe", DESCENDING)],
)
"""For common reads: by time, by last change, and the best of a region."""


Report = LoadReport[PackageImport]


def ingest(
    server: str | mongo.Server,
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
    complete: Callable[[Sequence[Pair]], None] = lambda pairs: None,
) -> Report:
    """Import the packages of `months` (`YYYY-MM`) into the account's collection.

    A package that fails does not stop the others. `force` compares every document with the database, whatever the
    ledger says, as is done of days whose documents were deleted. `complete` is called with months as all of their
    packages have ended and none has failed.
    Raises StoreAway or StoreFull when the server stays away; packages imported by then are kept.
    """
    started = time.monotonic()
    options = options or ImportOptions()
    packages = find(root, account, kind, months)
    with mongo.databases(server) as databases:
        database = databases[database_name(kind)]
        prepare(database, account)
        newest = None
        if options.mode == "smart_merge":
            collection = database[account].with_options(codec_options=mongo.CODEC)
            document = collection.find_one({}, {"dateModified": 1}, sort=[("dateModified", DESCENDING)])
            newest = changed(document) if document else None
        span = options.span(mongo_ledger.now(), newest)
        entries = {entry.unit: entry for entry in mongo_ledger.entries(database, database_name(kind), account)}
        deleted = gone(database, root, account, kind, entries, exact=True)
    known = {day: entry for day, entry in entries.items() if day not in deleted}
    due = _due(packages, known, force or options.everything)
    fresh = frozenset(package.day for package in due if package.day not in entries)
    forced = frozenset(package.day for package in due) if force else frozenset(deleted)
    load = partial(_import_batch, server, options, span, run_id, fresh, forced)
    work = batches(due, Package.size, max_bytes=BATCH_BYTES, max_items=BATCH_PACKAGES)
    left = Countdown([package.day[:7]] for package in due)
    complete([(account, month) for month in sorted(set(months) - {package.day[:7] for package in due})])
    units = []
    for unit in run_batches(load, work, _failed, fanout=fanout, folder=root, progress=progress):
        units.append(unit)
        done = left.ended(unit.months, unit.months if unit.outcome == "failed" else ())
        complete([(account, month) for month in done])
    return Report(tuple(units), len(packages) - len(due), time.monotonic() - started)


@dataclass(frozen=True)
class AccountsReport:
    """The result for several accounts: the report of each imported one; `failed` has causes by account and month."""

    kind: Kind
    pairs: tuple[Pair, ...]
    reports: Mapping[str, Report]
    failed: dict[Pair, str]

    def total(self, count: str) -> int:
        """Sum of a count over all packages, such as `read`."""
        return sum(report.total(count) for report in self.reports.values())

    @property
    def unchanged(self) -> int:
        """Packages that were not read, since the ledger has their bytes."""
        return sum(report.unchanged for report in self.reports.values())

    @property
    def seconds(self) -> float:
        return sum(report.seconds for report in self.reports.values())


def import_accounts(
    server: str | mongo.Server,
    root: Path,
    kind: Kind,
    pairs: Collection[Pair],
    *,
    run_id: str,
    fanout: Fanout,
    options: ImportOptions,
    fields: Mapping[str, FieldModes],
    force: bool = False,
    progress: Progress | None = None,
    complete: Callable[[Sequence[Pair]], None] = lambda pairs: None,
) -> AccountsReport:
    """Import `pairs`; a failure of one account does not affect the others, but an unavailable server ends the run.

    `fields` has the modes of fields by account.
    """
    import_months = partial(
        ingest, server, root, run_id=run_id, fanout=fanout, force=force, progress=progress, complete=complete
    )
    reports: dict[str, Report] = {}
    failed: dict[Pair, str] = {}
    away = ""
    for account, months in months_by_account(pairs).items():
        error = away
        if not away:
            try:
                own = options.with_field_modes(fields.get(account, {}))
                reports[account] = import_months(account, kind, months, options=own)
                causes: dict[str, list[str]] = {}
                for unit in reports[account].failed:
                    causes.setdefault(unit.months[0], []).append(unit.error or unit.unit)
                failed |= {(account, month): and_more(errors, 3, "; ") for month, errors in causes.items()}
                continue
            except (StoreAway, StoreFull) as gone:
                error = away = str(gone)
            except Exception as cause:  # of whatever class: it is this account's failure
                error = str(cause) or type(cause).__name__
        failed |= {(account, month): error for month in months}
    return AccountsReport(kind, tuple(sorted(pairs)), reports, failed)


def find(root: Path, account: str, kind: Kind, months: Collection[str]) -> list[Package]:
    """The packages on disk, oldest day first."""
    by_day: dict[str, list[Path]] = {}
    for path in list_packages(root, account, kind, months):
        by_day.setdefault(f"{day_of(path)}", []).append(path)
    return [Package(account, kind, day, tuple(paths)) for day, paths in sorted(by_day.items())]


def gone(
    database: Database[Document], root: Path, account: str, kind: Kind, entries: Mapping[str, Entry], *, exact: bool
) -> set[str]:
    """Days to import again: their documents were deleted, or a document was rejected for good because of the
    stored one, which has changed since.
    """
    days = _deleted(database, root, account, kind, entries, exact=exact)
    rejected = [day for day, entry in entries.items() if entry.rejected]
    held = mongo_ledger.held(database, database_name(kind), account, rejected) if rejected else {}
    now = mongo.fingerprints(database[account], "id", {name for one in held.values() for name in one}) if held else {}
    return days | {day for day, one in held.items() if any(now.get(name) != was for name, was in one.items())}


def _deleted(
    database: Database[Document], root: Path, account: str, kind: Kind, entries: Mapping[str, Entry], *, exact: bool
) -> set[str]:
    """Days in the ledger whose documents were deleted: all of them when the collection is empty or dropped.

    By the server's own count where that is not too low, or with `exact` where it is the ledger's; otherwise by day. Of
    a day with too few the ids of its package decide, as an alpha may be in two packages, or without a date.
    """
    rows = sum(entry.rows for entry in entries.values())
    count = database[account].estimated_document_count() if rows else 0
    if not count or count == rows or (count > rows and not exact):
        return {*entries} if rows and not count else set()
    collection = database[account].with_options(codec_options=mongo.CODEC)
    dates = (one.get("dateCreated") for one in collection.find({}, {"_id": 0, "dateCreated": 1}))
    days = Counter(one.date().isoformat() for one in dates if isinstance(one, dt.datetime))
    few = {day for day, entry in entries.items() if days[day] < entry.rows}
    packages = find(root, account, kind, {day[:7] for day in few}) if few else []
    return {one.day for one in packages if one.day in few and _count(collection, one) < entries[one.day].rows}


def _count(collection: mongo.Documents, package: Package) -> int:
    """How many documents have an id of the package; none of one that cannot be read, as its import will report it."""
    ids: list[str] = []
    try:
        for path in package.paths:
            for _, line in read_package(path):
                with suppress(NoAlpha):
                    ids.append(alpha_of(line, OLDEST).id)
    except (OSError, BadFile):
        return 0
    return collection.count_documents({"id": {"$in": ids}})


def prepare(database: Database[Document], account: str) -> None:
    """Create the indexes of the account's collection and of the ledger; safe to call at any time.

    Raises AlphasError for a collection of another tool that has an id more than once, and what `mongo_ledger.ensure`
    and `mongo.ensure_index` raise.
    """
    mongo_ledger.ensure(database)
    collection = database[account]
    try:
        mongo.ensure_index(collection, [("id", ASCENDING)], unique=True)
    except DuplicateKeyError:
        counted = collection.aggregate(
            [
                {"$group": {"_id": "$id", "times": {"$sum": 1}}},
                {"$match": {"times": {"$gt": 1}}},
                {"$sort": {"_id": 1}},
                {"$limit": MAX_NAMED},
            ],
            allowDiskUse=True,
        )
        named = [
            f"{row['times']} documents {f'of id {name}' if (name := row['_id']) else 'without an id'}"
            for row in counted
        ]
        raise AlphasError(
            f"{collection.full_name} has {', '.join(named)}; nothing is imported into it. Keep one document of each id"
            " and remove those without one, or rename the collection to have it rebuilt from the packages; then run it"
            " again."
        ) from None
    for keys in INDEXES:
        mongo.ensure_index(collection, keys)


def _due(packages: Sequence[Package], entries: Mapping[str, Entry], all_packages: bool) -> list[Package]:
    """Packages whose bytes are not the ones that the ledger has as imported by this version, or all."""
    due = []
    for package in packages:
        entry = entries.get(package.day)
        if not all_packages and entry is not None and entry.outcome != "failed":
            with suppress(OSError, BadFile):  # a package that cannot be read is due: its import will report it
                if entry.code_version == CODE_VERSION and entry.content_hash == package.content_hash():
                    continue
        due.append(package)
    return due


def _import_batch(
    server: str | mongo.Server,
    options: ImportOptions,
    span: Span,
    run_id: str,
    fresh: Collection[str],
    forced: Collection[str],
    packages: list[Package],
) -> list[PackageImport]:
    """Import some packages over one client; of `fresh` days the ledger has no entry. An unavailable server is retried
    for some seconds."""
    reports = []
    with mongo.databases(server) as databases:
        for package in packages:
            database, how = databases[package.dataset], (package.day in fresh, package.day in forced)
            load = partial(import_package, database, package, options, span, run_id, *how)
            try:
                reports.append(retry(load, StoreAway, RECONNECT_WAITS))
            except (StoreAway, StoreFull):
                raise
            except Exception as error:  # of whatever class: it is this package's failure
                reports.append(_failed(package, f"{package.account} {package.kind} {package.day}: {error}"))
    return reports


def _failed(package: Package, error: str) -> PackageImport:
    return PackageImport(package.paths[-1].name, "failed", months=(package.month,), error=error)
