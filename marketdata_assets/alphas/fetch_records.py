"""Record sets of the alphas in MongoDB: which are due, fetched within the account's budget, and stored.

A record set has a database of its name with a collection an account, and a document an alpha that names the version of
the alpha it belongs to. So what is stored is fetched again only when the alpha has changed. What a response means is in
`record_sets`.
"""

import asyncio
import datetime as dt
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import msgspec
from pymongo.database import Database

from marketdata_assets.alphas.api import BrainClient
from marketdata_assets.alphas.errors import (
    ApiUnavailable,
    IdentityCheckRequired,
    LoginRejected,
    LoginThrottled,
    NoCredentials,
    NotEnabled,
    NotOffered,
    RequestRejected,
)
from marketdata_assets.alphas.fetch import ClientFactory
from marketdata_assets.alphas.file_index import Pair, months_by_account
from marketdata_assets.alphas.filters import Filters
from marketdata_assets.alphas.importer import database_name
from marketdata_assets.alphas.layout import Kind, month_windows
from marketdata_assets.alphas.merge import Document
from marketdata_assets.alphas.paging import all_results
from marketdata_assets.alphas.record_sets import CODE_VERSION, DAILY, Pending, Records, RecordSet, asset_name
from marketdata_assets.alphas.status import AccountStatus
from marketdata_assets.errors import MarketDataError, TransientError
from marketdata_assets.loading.reports import and_more
from marketdata_assets.loading.states import State
from marketdata_assets.months import alpha_months
from marketdata_assets.progress import Progress
from marketdata_assets.stores import mongo, mongo_ledger
from marketdata_assets.stores.bookkeeping import Entry, Outcome
from marketdata_assets.stores.errors import StoreAway, StoreFull

IN_FLIGHT = 25  # alphas, most of which wait for BRAIN to compute
MAX_POLLS = 30
LONGEST_POLL_SECONDS = 60.0
MAX_UNAVAILABLE = 3  # alphas in a row that get no usable response, after which the account is left alone
MAX_NAMED = 5
_STOPPING = (LoginRejected, LoginThrottled, IdentityCheckRequired, NotOffered, StoreAway, StoreFull)


@dataclass(frozen=True)
class Wanted:
    """An alpha whose record sets are wanted, and its version."""

    id: str
    kind: Kind
    created: dt.datetime
    modified: dt.datetime | None

    @property
    def month(self) -> str:
        return f"{self.created:%Y-%m}"


class _Stored(msgspec.Struct):
    """What is read of an alpha."""

    id: str
    dateCreated: dt.datetime  # noqa: N815 - the document's name


class _StoredRecords(msgspec.Struct):
    """What is read of a record set, to know whether it is of its alpha's version."""

    dateModified: Any  # noqa: N815 - the document's name
    fetched: dt.datetime


@dataclass(frozen=True)
class Choice:
    """Which alphas have record sets: those that match `filters`; documents older than `max_age` are stale too."""

    filters: Filters = field(default_factory=Filters)
    max_age: dt.timedelta | None = None
    refetch: bool = False


def wanted(databases: mongo.Databases, account: str, months: Collection[str], filters: Filters) -> list[Wanted]:
    """The alphas of these months that match, the newest first."""
    found: list[Wanted] = []
    shown = {"id": 1, "dateCreated": 1, "dateModified": 1}
    for kind in filters.kinds:
        documents = databases[database_name(kind)][account].with_options(codec_options=mongo.CODEC)
        condition = {"$and": [created(months), filters.condition()]}
        found += (
            Wanted(one["id"], kind, one["dateCreated"], one.get("dateModified"))
            for one in mongo.usable(documents, documents.find(condition, shown), _Stored)
        )
    return sorted(found, key=lambda one: (one.created, one.id), reverse=True)


def due(
    databases: mongo.Databases,
    record_set: RecordSet,
    account: str,
    alphas: Sequence[Wanted],
    choice: Choice,
    now: dt.datetime,
) -> list[Wanted]:
    """Of `alphas`, those without a readable record set of their version; all with `refetch`."""
    if choice.refetch:
        return list(alphas)
    documents = databases[asset_name(record_set)][account].with_options(codec_options=mongo.CODEC)
    months = {one.month for one in alphas}
    condition = {**created(months), "columns": {"$exists": True}}
    found = documents.find(condition, {"dateModified": 1, "fetched": 1}) if months else ()
    stored = {one["_id"]: one for one in mongo.usable(documents, found, _StoredRecords)}
    oldest = None if choice.max_age is None else now - choice.max_age

    def current(one: Wanted) -> bool:
        known = stored.get(one.id)
        if known is None or known["dateModified"] != one.modified:
            return False
        return oldest is None or bool(known["fetched"] >= oldest)

    return [one for one in alphas if not current(one)]


def created(months: Iterable[str]) -> dict[str, Any]:
    """The condition for documents of these UTC months of dateCreated."""
    spans = [{"dateCreated": {"$gte": span.start, "$lt": span.end}} for span in month_windows(months)]
    return {"$or": spans or [{"_id": None}]}


def due_pairs(
    databases: mongo.Databases, accounts: Iterable[str], filters: Filters, now: dt.datetime, limit: int
) -> list[Pair]:
    """The months with daily record sets that are due, the newest first, up to about `limit` record sets an account."""
    pairs: list[Pair] = []
    for account in accounts:
        alphas = wanted(databases, account, alpha_months(now), filters)
        counts: Counter[str] = Counter()
        for record_set in DAILY:
            counts.update(one.month for one in due(databases, record_set, account, alphas, Choice(), now))
        chosen = 0
        for month in sorted(counts, reverse=True):
            if chosen >= limit:
                break
            chosen += counts[month]
            pairs.append((account, month))
    return pairs


def document_of(alpha: Wanted, records: Records, fetched: dt.datetime) -> Document:
    """The document of a record set."""
    return {
        "_id": alpha.id,
        "id": alpha.id,
        "kind": alpha.kind,
        "dateCreated": alpha.created,
        "dateModified": alpha.modified,
        "fetched": fetched,
        "columns": records.columns,
        "types": records.types,
        "min": records.least,
        "max": records.greatest,
    }


MonthOutcome = Literal["ok", "empty", "unsupported", "kept", "failed"]


@dataclass
class MonthReport:
    """The result for one month of an account; `kept` was not fetched, and `note` says why."""

    account: str
    month: str
    alphas: int = 0  # that match the filters
    fetched: int = 0
    stored: int = 0  # record sets in MongoDB afterwards
    failed: dict[str, str] = field(default_factory=dict)  # alphas and why
    unsupported: str = ""
    note: str = ""

    @property
    def outcome(self) -> MonthOutcome:
        if self.failed or (self.note and not self.stored):
            return "failed"
        if self.note:
            return "kept"
        return "unsupported" if self.unsupported else "ok" if self.alphas else "empty"

    @property
    def error(self) -> str:
        if not self.failed:
            return self.note or self.unsupported
        causes = Counter(self.failed.values())
        listed = and_more([f"{cause} ({count} alphas)" for cause, count in causes.items()], MAX_NAMED, "; ")
        return f"{self.account} {self.month}: {len(self.failed)} of {self.alphas} alphas failed: {listed}"


@dataclass(frozen=True)
class RecordsReport:
    """The result for all accounts and months of one run."""

    record_set: RecordSet
    months: tuple[MonthReport, ...]
    documents: int  # in MongoDB, of all accounts and months
    requests: int
    seconds: float

    @property
    def failed(self) -> tuple[MonthReport, ...]:
        return tuple(one for one in self.months if one.outcome == "failed")

    def total(self, count: str) -> int:
        return sum(getattr(one, count) for one in self.months)


def fetch_records(
    server: str | mongo.Server,
    record_set: RecordSet,
    pairs: Sequence[Pair],
    client_of: ClientFactory,
    *,
    run_id: str,
    now: dt.datetime,
    choice: Choice = Choice(),
    progress: Progress | None = None,
) -> RecordsReport:
    """Fetch what is due of one record set for `pairs`; each response is stored as it comes.

    One alpha or account that fails does not stop the others. Raises StoreAway or StoreFull.
    """
    started = time.monotonic()
    with mongo.databases(server) as databases:
        job = _Job(databases, record_set, choice, now, run_id, progress)
        accounts = months_by_account(pairs)
        results = asyncio.run(all_results([job.fetch(account, accounts[account], client_of) for account in accounts]))
        months = tuple(one for of_account in results for one in of_account)
        for one in months:
            if not one.note:
                job.record(one)
        documents = sum(one.rows for one in mongo_ledger.entries(job.database, asset_name(record_set)))
    return RecordsReport(record_set, months, documents, job.requests, time.monotonic() - started)


@dataclass
class _Job:
    databases: mongo.Databases
    record_set: RecordSet
    choice: Choice
    now: dt.datetime
    run_id: str
    progress: Progress | None
    requests: int = 0

    @property
    def database(self) -> Database[Document]:
        return self.databases[asset_name(self.record_set)]

    async def fetch(self, account: str, months: Sequence[str], client_of: ClientFactory) -> list[MonthReport]:
        """Fetch and store what is due of an account; nothing of one that is not set up for fetching."""
        reports = {month: MonthReport(account, month) for month in months}
        mongo_ledger.ensure(self.database)
        mongo.ensure_index(self.database[account], [("dateCreated", 1)])
        alphas = wanted(self.databases, account, months, self.choice.filters)
        for one in alphas:
            reports[one.month].alphas += 1
        todo = due(self.databases, self.record_set, account, alphas, self.choice, self.now)
        try:
            brain = client_of(account) if todo else None
        except (NotEnabled, NoCredentials) as error:
            brain = None
            for one in todo:
                reports[one.month].note = str(error)
        if brain is not None:
            async with brain:
                await _AccountFetch(brain, self, account, reports, len(todo)).all(todo)
                self.requests += brain.requests
        for month in months:
            reports[month].stored = self.database[account].count_documents(created([month]))
        return list(reports.values())

    def store(self, account: str, alpha: Wanted, found: Records | None) -> None:
        """Write the record set of one alpha in place of an older one."""
        document = document_of(alpha, found or Records({}, {}), mongo_ledger.now())
        with mongo.naming_failures():
            self.database[account].replace_one({"_id": alpha.id}, document, upsert=True)

    def record(self, month: MonthReport) -> None:
        """Write the ledger's entry of a month."""
        outcome: Outcome = "failed" if month.outcome == "failed" else "ok" if month.alphas else "empty"
        name = asset_name(self.record_set)
        entry = Entry(
            dataset=name,
            source=month.account,
            unit=month.month,
            read=month.alphas,
            rows=month.stored,
            outcome="unsupported" if month.unsupported else outcome,
            error=month.error or None,
            code_version=CODE_VERSION,
            run_id=self.run_id,
            started=self.now,
        )
        mongo_ledger.write(self.database, entry)


@dataclass
class _AccountFetch:
    """One account's fetch in progress. `stopped` is why no further alpha is requested."""

    brain: BrainClient
    job: _Job
    account: str
    reports: Mapping[str, MonthReport]
    total: int
    stopped: MarketDataError | None = None
    done: int = 0
    unavailable: int = 0

    def __post_init__(self) -> None:
        self._requests = asyncio.Semaphore(self.brain.concurrency_limit.maximum)

    async def all(self, todo: Sequence[Wanted]) -> None:
        queue = iter(todo)

        async def worker() -> None:
            for alpha in queue:
                await self._one(alpha)

        try:
            await self.brain.login.session()
        except MarketDataError as error:
            self.stopped = error
        async with asyncio.TaskGroup() as group:
            for _ in range(min(IN_FLIGHT, len(todo))):
                group.create_task(worker())

    async def _one(self, alpha: Wanted) -> None:
        report = self.reports[alpha.month]
        try:
            records = await self._read(alpha)
            await asyncio.to_thread(partial(self.job.store, self.account, alpha, records))
            self.unavailable = 0
            report.fetched += 1
            what = "fetched"
        except NotOffered as error:
            self.stopped, report.unsupported, what = error, str(error), str(error)
        except Exception as error:  # of whatever class: it is this alpha's failure, the others continue
            self._note(error)
            report.failed[alpha.id] = what = str(error) or type(error).__name__
        self.done += 1
        if self.job.progress:
            self.job.progress(self.done, self.total, f"{self.account} {self.job.record_set} {alpha.id}: {what}")

    async def _read(self, alpha: Wanted) -> Records | None:
        """The record set as soon as BRAIN has computed it; None when the alpha has none."""
        for _ in range(MAX_POLLS):
            async with self._requests:
                if self.stopped:
                    raise self.stopped
                try:
                    found = await self.brain.records(alpha.id, self.job.record_set)
                except RequestRejected as error:
                    if error.status == 403:
                        raise NotOffered(self.account, self.job.record_set, str(error)) from error
                    raise
            if not isinstance(found, Pending):
                return found
            await asyncio.sleep(min(found.seconds, LONGEST_POLL_SECONDS))
        raise TransientError(
            f"{self.job.record_set}: BRAIN still computes it after {MAX_POLLS} requests. Run the same partition again."
        )

    def _note(self, error: Exception) -> None:
        self.unavailable += isinstance(error, ApiUnavailable)
        down = self.unavailable >= MAX_UNAVAILABLE
        if isinstance(error, MarketDataError) and (down or isinstance(error, _STOPPING)):
            self.stopped = self.stopped or error


def month_states(
    databases: mongo.Databases, record_set: RecordSet, account: str, alphas: Sequence[Wanted], now: dt.datetime
) -> dict[str, State]:
    """Compare record sets with the alphas that match the filters: the state of each month that has any of them."""
    database = databases[asset_name(record_set)]
    entries = {one.unit: one for one in mongo_ledger.entries(database, asset_name(record_set), account)}
    missing = Counter(one.month for one in due(databases, record_set, account, alphas, Choice(), now))
    chosen = Counter(one.month for one in alphas)
    states: dict[str, State] = {}
    for month in sorted(chosen.keys() | entries.keys()):
        entry = entries.get(month)
        if entry and entry.outcome == "unsupported":
            states[month] = State.UNSUPPORTED
        elif not missing[month]:
            states[month] = State.OK if chosen[month] else State.EMPTY
        elif entry and entry.outcome == "failed":
            states[month] = State.FAILED
        else:
            states[month] = State.STALE if entry and entry.rows else State.MISSING
    return states


def statuses(
    databases: mongo.Databases,
    record_sets: Iterable[RecordSet],
    accounts: Iterable[str],
    filters: Filters,
    now: dt.datetime,
    enabled: Collection[str] | None = None,
) -> list[AccountStatus]:
    """The status of every record set that was fetched for any account; its documents are record sets.

    What nobody fetches, of accounts that are not `enabled`, is not missing: they have those that are stored.
    """
    found = []
    sets = [one for one in record_sets if databases[asset_name(one)].list_collection_names()]
    for account in accounts if sets else ():
        alphas = wanted(databases, account, alpha_months(now), filters)
        for record_set in sets:
            states = month_states(databases, record_set, account, alphas, now)
            documents = databases[asset_name(record_set)][account].estimated_document_count()
            if enabled is not None and account not in enabled and not documents:
                continue
            found.append(AccountStatus(asset_name(record_set), account, states, documents=documents))
    return found
