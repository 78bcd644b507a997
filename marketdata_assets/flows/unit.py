"""What a worker does with a batch of units: claim, compare, read, commit, and a report for each.

Which units there are to do, and spreading them over processes, is in `run`.
"""

import datetime as dt
import time
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property

import psycopg

from marketdata_assets.flows import claims, new_columns, owners
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.errors import FlowError, MissingColumn
from marketdata_assets.flows.owners import REPEATED
from marketdata_assets.flows.prepare import Prepared, prepare
from marketdata_assets.flows.table_writer import KeysClash, Statements, TableWriter, lock_table
from marketdata_assets.flows.targets import unit_store
from marketdata_assets.loading.files import HashedStream, Opener, Unit
from marketdata_assets.loading.reports import UnitReport
from marketdata_assets.loading.run import each, guarded
from marketdata_assets.stores import ledger
from marketdata_assets.stores.bookkeeping import Entry, Reject
from marketdata_assets.stores.postgres import value

CLOCK_TICK_NS = 100_000_000
"""Two changes of a file within it may have the same time."""


@dataclass(frozen=True)
class Job:
    """What all units of a run share."""

    dsn: str
    flow: FlowDefinition
    version: str
    run_id: str
    force: bool
    began: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    @cached_property
    def statements(self) -> Statements:
        """Those of the flow's table."""
        return Statements(self.flow.target)

    @cached_property
    def _evolved(self) -> dict[tuple[new_columns.Added, ...], "Job"]:
        return {}

    def with_added(self, columns: tuple[new_columns.Added, ...]) -> "Job":
        """The job of the flow with columns that files have added."""
        if columns not in self._evolved:
            self._evolved[columns] = replace(self, flow=new_columns.extended(self.flow, columns))
        return self._evolved[columns]


@dataclass(frozen=True)
class FileReport(UnitReport):
    """How one file ended. `kept` are rows in the table that the file had before and no longer has.

    `error` also says of a loaded file what a person should know of it.
    """

    kept: int = 0

    @property
    def repeated(self) -> bool:
        """Whether none of its rows were loaded, since those of another file with its bytes are."""
        return self.outcome == "ok" and (self.error or "").startswith(REPEATED)


def load_batch(job: Job, units: list[Unit]) -> list[FileReport]:
    """Load `units` over one connection, last those that other workers have claimed. Raises StoreAway or StoreFull.

    Their commits are asynchronous, and are on the server's disk when this returns.
    """
    with Opener() as opener:
        first = _attempts(job, opener, units, wait=False)
        claimed = [unit for unit, report in zip(units, first, strict=True) if report is None]
        later = _attempts(job, opener, claimed, wait=True) if claimed else []
    return [report for report in (*first, *later) if report is not None]


def _attempts(job: Job, opener: Opener, units: list[Unit], *, wait: bool) -> list[FileReport | None]:
    def work(connection: psycopg.Connection, unit: Unit) -> FileReport | None:
        return _attempt(connection, opener, job, unit, wait=wait)

    return each(job.dsn, units, work, asynchronous=True)


def _attempt(connection: psycopg.Connection, opener: Opener, job: Job, unit: Unit, *, wait: bool) -> FileReport | None:
    """One unit to its end, a failure included; None when another worker has claimed it."""
    started = dt.datetime.now(dt.UTC)
    number: int | None = None

    def load() -> FileReport | None:
        nonlocal number
        number = number or claims.claim(connection, job.flow.dataset, unit, job.run_id, wait=wait)
        return None if number is None else _UnitLoad(connection, opener, job, unit, number, started).load()

    def fail(error: str, rejected: Sequence[Reject]) -> FileReport:
        return record_failure(connection, job, unit, error, started, rejected)

    try:
        return guarded(unit.place, load, fail)
    finally:
        if number is not None and not connection.closed:
            claims.release(connection, job.flow.dataset, unit)


def record_failure(
    connection: psycopg.Connection,
    job: Job,
    unit: Unit,
    error: str,
    started: dt.datetime | None = None,
    rejected: Collection[Reject] = (),
) -> FileReport:
    """Record a failed attempt; rows loaded from the unit before stay in the table.

    `rejected` are the first rows of a unit that had too many of those.
    """
    attempt = Entry(
        dataset=job.flow.dataset,
        source=unit.place,
        unit=unit.place,
        outcome="failed",
        error=error,
        code_version=job.version,
        run_id=job.run_id,
        started=started or dt.datetime.now(dt.UTC),
    )
    with connection.transaction():
        ledger.record_failure(connection, attempt, rejected)
        claims.settle(connection, job.flow.dataset, unit, None, None)
    return FileReport(unit.place, "failed", error=error)


class _Overtaken(Exception):
    """What was read about the unit before it was parsed no longer holds."""


def _report(entry: Entry, kept: int = 0) -> FileReport:
    """Of a unit that is loaded."""
    counts = (entry.read, entry.rows, entry.rejected, entry.skipped)
    return FileReport(entry.unit, entry.outcome, *counts, months=tuple(entry.slices), error=entry.error, kept=kept)


@dataclass
class _UnitLoad:
    """One claimed unit."""

    connection: psycopg.Connection
    opener: Opener
    job: Job
    unit: Unit
    number: int
    started: dt.datetime
    added: tuple[new_columns.Added, ...] = ()
    """The columns that files had added when the unit was read."""

    def load(self) -> FileReport:
        """Read and commit the unit, unless its rows are loaded already."""
        base = self.job
        while True:
            known = ledger.known(self.connection, self.job.flow.dataset, self.unit.place, self.unit.place)
            unchanged = self._unchanged(known)
            if unchanged:
                return unchanged
            if base.flow.loader.new_columns == "add":
                self.added = new_columns.added(self.connection, base.flow.dataset)
                self.job = base.with_added(self.added)
            prepared = self._prepared(base)
            prepared.content_hash = self._identified(prepared.content_hash)
            with closing(prepared):
                try:
                    try:
                        return self._write(prepared, known, straight=True)
                    except KeysClash:
                        return self._write(prepared, known, straight=False)
                except _Overtaken:
                    self._number_again()

    def _prepared(self, base: Job) -> Prepared:
        """The unit as it is to be written; columns that it is the first to have are in the table then."""
        flow, place = self.job.flow, self.unit.place
        prepared = prepare(self.opener, flow, self.unit, self.number)
        if not prepared.undeclared or flow.loader.new_columns != "add":
            return prepared
        prepared.payload.close()
        new = new_columns.named(flow, place, prepared.undeclared)
        self.job = base.with_added((*self.added, *new))
        try:
            prepared = prepare(self.opener, self.job.flow, self.unit, self.number)
        except MissingColumn as error:
            raise new_columns.cannot_add(place, new[0].source, "the handlers do not keep it") from error
        try:
            new_columns.add(self.connection, flow, new, place, base.run_id)
        except BaseException:
            prepared.payload.close()
            raise
        self.added = (*self.added, *new)
        return prepared

    def _unchanged(self, known: Entry | None) -> FileReport | None:
        """A report when these bytes are loaded already, by this version. Rows once appended are never replaced."""
        if known is None or known.content_hash is None:
            return None
        target = self.job.flow.target
        append = target.mode == "append"
        again = self.job.force or known.outcome == "failed" or known.code_version != self.job.version
        if again and not append:
            return None
        found = self._content_hash()
        if again and target.replaceable and found == known.content_hash:
            return None
        if found == known.content_hash and known.outcome != "failed":
            self._settle(found)
            if known.run_id == self.job.run_id and known.started >= self.job.began:
                return _report(known)  # of this run, by a worker that died before it said so
            return FileReport(self.unit.place, "unchanged", months=tuple(known.slices))
        if append and known.rows:
            raise FlowError(
                f"{self.unit.place}: changed after its rows were appended to {self.job.flow.target.table}, where mode"
                " append replaces none. Deliver new rows in a new file, or declare mode: replace or upsert."
            )
        return None

    def _write(self, prepared: Prepared, known: Entry | None, straight: bool) -> FileReport:
        name, dataset, connection = self.unit.place, self.job.flow.dataset, self.connection
        entry = self._entry(prepared, known)
        store = unit_store.of(self.job.flow)
        if store:
            unit_store.announce(connection, self.job.flow, name)
        with connection.transaction():
            lock_table(connection, self.job.flow.target.place)
            if ledger.locked(connection, dataset, name, name) != known:
                raise _Overtaken
            if claims.number(connection, dataset, self.unit) != self.number:
                raise _Overtaken
            adds = self.job.flow.loader.new_columns == "add"
            if adds and set(new_columns.added(connection, dataset)) != set(self.added):
                raise _Overtaken
            mode = self.job.flow.target.mode
            if mode == "replace" and known and known.rows and known.content_hash != prepared.content_hash:
                owners.reload_repeats(connection, dataset, [name])
            if same := self._loaded_as(prepared):
                note = f"{REPEATED} {same}, whose rows are in {self.job.flow.target.table}; not loaded again"
                prepared.rows, entry = 0, replace(entry, rows=0, skipped=entry.read - entry.rejected, error=note)
            loaded = known is not None and (known.content_hash is not None or known.rows > 0)
            kept = 0
            if store is None:
                writer = TableWriter(connection, self.job.statements, name, self.number)
                kept = writer.write(prepared, loaded, straight)
            if prepared.rejects or (known and (known.rejected or known.outcome == "failed")):
                ledger.replace_rejects(connection, dataset, name, name, prepared.rejects)
            if prepared.undeclared or known:
                new_columns.record(connection, dataset, name, prepared.undeclared)
            ledger.record(connection, entry)
            self._settle(prepared.content_hash)
            if store:
                unit_store.put(connection, self.job.flow, store, name, prepared.frames if prepared.rows else None)
        return _report(entry, kept)

    def _number_again(self) -> None:
        """The unit's number of now: a rebuild gives another, and a forgotten unit has none."""
        claims.register(self.connection, self.job.flow.dataset, [self.unit])
        found = claims.number(self.connection, self.job.flow.dataset, self.unit)
        assert found is not None
        self.number = found

    def _loaded_as(self, prepared: Prepared) -> str | None:
        """The file with the same bytes whose rows are in the table."""
        if not self.job.flow.takes_bytes_once or not prepared.rows:
            return None
        dataset, content = self.job.flow.dataset, prepared.content_hash
        owners.lock_content(self.connection, dataset, content)
        query = (
            "SELECT unit FROM marketdata_ledger WHERE (dataset, content_hash) = (%s, %s) AND unit <> %s AND rows > 0"
            " AND (code_version = %s OR %s) ORDER BY unit LIMIT 1"
        )
        values = [dataset, content, self.unit.place, self.job.version, not self.job.flow.target.replaceable]
        same: str | None = value(self.connection, query, values)
        return same

    def _content_hash(self) -> str:
        """The hash of the unit's bytes as they are now."""
        with self.opener.open(self.unit) as raw:
            stream = HashedStream(raw)
            while stream.read(1024 * 1024):
                pass
        return self._identified(stream.content_hash)

    def _identified(self, content_hash: str) -> str:
        """The hash of what rows are made of: the bytes, and the time of the file where that orders rows."""
        by_time = self.job.flow.target.by_time
        return f"{content_hash}@{self.unit.file.modified_ns}" if by_time else content_hash

    def _settle(self, found: str) -> None:
        file, began = self.unit.file, int(self.started.timestamp() * 1e9)
        # A time of the future was set, or is of another clock: a change from now on has another one.
        just_now = began - CLOCK_TICK_NS < file.modified_ns < time.time_ns() + CLOCK_TICK_NS
        changed = None if just_now else file.changed_ns
        claims.settle(self.connection, self.job.flow.dataset, self.unit, found, changed)

    def _entry(self, prepared: Prepared, known: Entry | None) -> Entry:
        rejected = len(prepared.rejects)
        before = known.content_hash or known.previous_hash if known else None
        return Entry(
            dataset=self.job.flow.dataset,
            source=self.unit.place,
            unit=self.unit.place,
            content_hash=prepared.content_hash,
            previous_hash=known.previous_hash if known and before == prepared.content_hash else before,
            slices=sorted(prepared.months),
            read=prepared.read,
            skipped=prepared.skipped,
            rows=prepared.rows,
            rejected=rejected,
            outcome="ok" if prepared.read else "empty",
            error=prepared.remark or None,
            attempted_hash=prepared.content_hash,
            code_version=self.job.version,
            run_id=self.job.run_id,
            started=self.started,
        )
