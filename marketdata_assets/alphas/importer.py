"""One day's package into MongoDB: read, validate, merge batch by batch, then record in the ledger.

Which packages to import is decided in `ingest`. An import is idempotent: it can be killed at any point and run again.
"""

import datetime as dt
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

import bson
from pymongo.database import Database
from pymongo.errors import PyMongoError

from marketdata_assets.alphas.documents import REVISION, Alpha, Rejected, instant, read
from marketdata_assets.alphas.files import PLAIN, ZSTD, check_regular, lines_of, read_package
from marketdata_assets.alphas.import_modes import CODE_VERSION, ImportOptions, Span
from marketdata_assets.alphas.layout import Kind
from marketdata_assets.alphas.merge import Document, identical, merge
from marketdata_assets.errors import MarketDataError
from marketdata_assets.loading.errors import TooManyRejects
from marketdata_assets.loading.rejects import FIRST, RejectLimit
from marketdata_assets.loading.reports import UnitReport
from marketdata_assets.stores import mongo, mongo_ledger
from marketdata_assets.stores.bookkeeping import Entry, Reject, after_failure
from marketdata_assets.stores.mongo_ledger import DIGEST_BYTES, Record

SPOOL_BYTES = 32 * 1024 * 1024
REJECT_LIMIT = RejectLimit(share=0.05, tolerated=10)  # a day may have no more than a handful of documents
CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Package:
    """One UTC day of an account's alphas of one kind; two files when one that is packed was delivered beside it."""

    account: str
    kind: Kind
    day: str
    paths: tuple[Path, ...]

    @property
    def month(self) -> str:
        return self.day[:7]

    @property
    def dataset(self) -> str:
        return database_name(self.kind)

    def size(self) -> int:
        """Bytes on disk; files that are gone count as empty."""
        return sum(path.stat().st_size for path in self.paths if path.exists())

    def yields(self, alpha: Alpha, stored: Document) -> bool:
        """Whether the stored version, which changed at the same time, is that of another day's package and stays.

        As within a month that of the younger file does, then of the later name; a package that no longer has it counts
        for nothing.
        """
        created = stored.get("dateCreated")
        day = f"{created:%Y-%m-%d}" if isinstance(created, dt.datetime) else self.day
        if day == self.day:
            return False
        folder = self.paths[-1].parents[1] / day[:7]
        own = max((path.stat().st_mtime_ns, path.name) for path in self.paths)
        return any(
            path.exists() and (path.stat().st_mtime_ns, path.name) > own and _has(path, self.kind, alpha)
            for path in (folder / f"{day}{PLAIN}", folder / f"{day}{ZSTD}")
        )

    def content_hash(self) -> str:
        """SHA-256 of the files as they are. Raises BadFile."""
        sha256 = hashlib.sha256()
        for path in self.paths:
            check_regular(path)
            with path.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    sha256.update(chunk)
        return sha256.hexdigest()


def _has(path: Path, kind: Kind, alpha: Alpha) -> bool:
    """Whether a package has a version of the alpha that changed at the same time."""
    for _, line in read_package(path):
        with suppress(Rejected):
            if alpha.id.encode() in line and (found := read(line, kind)).id == alpha.id:
                return found.modified == alpha.modified
    return False


def database_name(kind: Kind) -> str:
    """The asset of a kind, and its database where MARKETDATA_MONGO_DATABASES has no other name."""
    return f"{kind}_alphas"


def is_empty(database: Database[Document], account: str) -> bool:
    """Whether the collection of an account is empty or dropped.

    By the server's own count, which a crash of MongoDB may leave behind for a while: the local server reads a whole
    collection to find any document.
    """
    return not database[account].estimated_document_count()


@dataclass(frozen=True)
class PackageImport(UnitReport):
    """The result for one package: counts are documents; `skipped` ones are outside the mode's span of time."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0


@dataclass
class _Line:
    """The newest version of an id in the package: its line, and where its BSON is in the spool."""

    number: int
    digest: bytes
    modified: dt.datetime | None
    at: int
    length: int


@dataclass
class Prepared:
    """A package that has been read: documents to write, digests of loaded lines, rejects."""

    lines: dict[str, _Line] = field(default_factory=dict)
    spool: IO[bytes] = field(default_factory=lambda: tempfile.SpooledTemporaryFile(SPOOL_BYTES))  # noqa: SIM115
    read: int = 0
    skipped: int = 0
    duplicates: int = 0
    rejects: list[Reject] = field(default_factory=list)
    loaded: list[bytes] = field(default_factory=list)

    def alphas(self, batch_size: int) -> Iterator[dict[str, Alpha]]:
        """The alphas to write, in batches by id."""
        names = iter(self.lines)
        while batch := list(islice(names, batch_size)):
            alphas = {}
            for name in batch:
                line = self.lines[name]
                self.spool.seek(line.at)
                alphas[name] = Alpha(name, line.modified, self.spool.read(line.length))
            yield alphas


def import_package(
    database: Database[Document],
    package: Package,
    options: ImportOptions,
    span: Span,
    run_id: str,
    fresh: bool = False,
    force: bool = False,
) -> PackageImport:
    """Import one package into its collection, then record it in the ledger.

    A package that cannot be read, or with too many rejects, changes nothing but the ledger and is reported failed.
    `fresh` says that the ledger has no entry, which saves reading it; `force` ignores the entry. Raises StoreAway or
    StoreFull; then some batches may have been written, and running again completes them.
    """
    started = mongo_ledger.now()
    prepared = Prepared()
    with mongo.naming_failures(), prepared.spool:
        record = None if fresh else mongo_ledger.read(database, package.dataset, package.account, package.day)
        attempt = Entry(
            dataset=package.dataset,
            source=package.account,
            unit=package.day,
            previous_hash=record.entry.content_hash if record else None,
            outcome="ok",
            attempted_hash=package.content_hash(),
            code_version=CODE_VERSION,
            run_id=run_id,
            started=started,
        )
        try:
            known = None if force else record
            same = known and known.entry.code_version == CODE_VERSION
            # Which lines are duplicates is known from all lines only.
            digests = known.digests if known and same and not known.entry.superseded else frozenset[bytes]()
            prepare(prepared, package, digests, options, span)
            written = _write(database, package, prepared, record, options)
        except PyMongoError:
            raise
        except Exception as error:  # of whatever class: it is this package's failure
            return _record_failure(database, package, record, attempt, error)
        final = {name for name, reject in written.rejected.items() if reject.final}
        whole = not prepared.skipped and len(final) == len(written.rejected)
        stored = mongo.fingerprints(database[package.account], "id", final) if final else {}
        entry = replace(
            attempt,
            content_hash=attempt.attempted_hash if whole else None,
            slices=[package.month],
            read=prepared.read,
            skipped=prepared.skipped,
            rows=prepared.read - prepared.skipped - prepared.duplicates - len(prepared.rejects),
            rejected=len(prepared.rejects),
            superseded=prepared.duplicates,
            outcome="ok" if prepared.read else "empty",
            finished=mongo_ledger.now(),
        )
        held = {name: stored.get(name) for name in final}
        mongo_ledger.write(database, entry, record, prepared.loaded, prepared.rejects, held)
    return PackageImport(
        _place(package),
        "ok" if entry.read else "empty",
        read=entry.read,
        rows=entry.rows,
        rejected=entry.rejected,
        skipped=entry.skipped,
        months=(package.month,),
        inserted=written.inserted,
        updated=written.updated,
        unchanged=entry.rows - written.inserted - written.updated,
    )


def _record_failure(
    database: Database[Document], package: Package, record: Record | None, attempt: Entry, error: Exception
) -> PackageImport:
    """Write a failed attempt to the ledger; what was loaded before is kept, and so is its record.

    Of a package with too many rejects the first of them are kept.
    """
    place = _place(package)
    cause = str(error) if isinstance(error, MarketDataError) else f"{place}: {type(error).__name__}: {error}"
    failed = replace(attempt, outcome="failed", error=cause, finished=mongo_ledger.now())
    entry = after_failure(record.entry if record else None, failed)
    digests, rejects = (record.digests, record.rejects) if record else ((), ())
    if isinstance(error, TooManyRejects):
        rejects = error.first
    mongo_ledger.write(database, entry, record, digests, rejects)
    return PackageImport(place, "failed", months=(package.month,), error=cause)


def unwritten(database: Database[Document], package: Package, options: ImportOptions) -> list[str]:
    """Ids that importing the package again would write: none, right after an import. Nothing is written."""
    prepared = Prepared()
    ids: list[str] = []
    record = mongo_ledger.read(database, package.dataset, package.account, package.day)
    rejected = {reject.line for reject in record.rejects} if record else set()
    with prepared.spool:
        prepare(prepared, package, frozenset(), options, Span(None, None))
        for alphas in prepared.alphas(options.batch_size):
            stored = mongo.read(database[package.account], "id", set(alphas))
            ids += [
                name
                for name, alpha in alphas.items()
                if prepared.lines[name].number not in rejected
                and plan(options, package, stored.get(name), alpha) is not None
            ]
    return ids


def prepare(prepared: Prepared, package: Package, loaded: frozenset[bytes], options: ImportOptions, span: Span) -> None:
    """Read every line; parse those whose digests are not in `loaded`. Raises BadFile or TooManyRejects."""
    loaded = frozenset() if options.everything else loaded
    for path in package.paths:
        for number, raw in enumerate(lines_of(path), 1):
            if raw.isspace():
                continue
            prepared.read += 1
            mark = digest(raw)
            if mark in loaded:
                prepared.loaded.append(mark)
                continue
            try:
                alpha = read(raw, package.kind)
            except Rejected as cause:
                prepared.rejects.append(_reject(package, number, str(cause), raw))
                continue
            if not span.has(alpha.modified):
                prepared.skipped += 1
                continue
            _keep_newest(prepared, alpha, _Line(number, mark, alpha.modified, 0, len(alpha.bson)))
    _check_rejects(package, prepared)


def _keep_newest(prepared: Prepared, alpha: Alpha, line: _Line) -> None:
    """Of an id that occurs twice the newest version is written; the other is a duplicate."""
    other = prepared.lines.get(alpha.id)
    prepared.duplicates += other is not None
    if other is not None and older(line.modified, other.modified):
        prepared.loaded.append(line.digest)
        return
    if other is not None:
        prepared.loaded.append(other.digest)
    line.at = prepared.spool.seek(0, 2)
    prepared.spool.write(alpha.bson)
    prepared.lines[alpha.id] = line


def _write(
    database: Database[Document], package: Package, prepared: Prepared, record: Record | None, options: ImportOptions
) -> mongo.Written:
    written, fresh = mongo.Written(), record is None and not options.everything
    for alphas in prepared.alphas(options.batch_size):
        collection, planned = database[package.account], partial(plan, options, package)
        mongo.write(collection, alphas, planned, revision=REVISION, fresh=fresh, written=written)
    for name, reject in written.rejected.items():
        line = prepared.lines.pop(name)
        prepared.rejects.append(_reject(package, line.number, reject.reason, b""))
    _check_rejects(package, prepared)
    prepared.loaded += [line.digest for line in prepared.lines.values()]
    return written


def plan(options: ImportOptions, package: Package, old: Document | None, alpha: Alpha) -> mongo.Plan:
    """What to write for one alpha of a package, given the stored document."""
    if old is None:
        return alpha.bson
    new = bson.decode(alpha.bson, mongo.CODEC)
    time = changed(old)
    yields = time == alpha.modified and package.yields(alpha, old)
    if options.mode == "rebuild":
        stored = {key: value for key, value in old.items() if key not in ("_id", REVISION)}
        return None if yields or identical(stored, new) else mongo.Change(new, None)
    late = yields or (options.mode != "overwrite" and older(alpha.modified, time))
    merged = merge(old, new, options.policy, late=late)
    if merged.document is old:
        return None
    return mongo.Change(merged.document, merged.changes)


def changed(document: Document) -> dt.datetime | None:
    """When a stored document was last changed; an older tool stored dates as text."""
    for key in ("dateModified", "dateCreated"):
        value: Any = document.get(key)
        if isinstance(value, dt.datetime):
            return value
        if value is not None:
            try:
                return instant(key, value)
            except Rejected:
                continue
    return None


def older(time: dt.datetime | None, other: dt.datetime | None) -> bool:
    """Whether the time is known to be before `other`."""
    return time is not None and other is not None and time < other


def digest(line: bytes) -> bytes:
    """What the ledger keeps of a loaded line."""
    return hashlib.sha256(line).digest()[:DIGEST_BYTES]


def _check_rejects(package: Package, prepared: Prepared) -> None:
    if REJECT_LIMIT.exceeded(len(prepared.rejects), prepared.read):
        examples = [f"line {reject.line} {reject.reason}" for reject in prepared.rejects[:3]]
        rejected, first = len(prepared.rejects), prepared.rejects[:FIRST]
        raise TooManyRejects(_place(package), rejected, prepared.read, REJECT_LIMIT, examples, first=first)


def _reject(package: Package, number: int, reason: str, raw: bytes) -> Reject:
    return Reject(number, reason, raw.decode(errors="replace"), package.month)


def _place(package: Package) -> str:
    path = package.paths[-1]
    return "/".join(path.parts[-5:])
