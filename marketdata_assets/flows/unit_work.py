"""What a worker does with a batch of units: claim, look, read, land, and a report for each.

Which units there are to do is in `plan`; spreading them over processes is in `run`.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

import psycopg

from marketdata_assets.flows import claims
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.errors import AppendedFileChanged
from marketdata_assets.flows.landing import KeysClash, Landing
from marketdata_assets.flows.prepare import Prepared, prepare
from marketdata_assets.flows.units import Unit, content_hash
from marketdata_assets.loading.run import each, guarded
from marketdata_assets.stores import ledger, quarantine
from marketdata_assets.stores.bookkeeping import Entry, after_failure, failed_attempt

Result = Literal["ok", "empty", "failed", "unchanged"]


@dataclass(frozen=True)
class UnitReport:
    """How one unit ended. `skipped` rows were left out by a handler; `months` are those of its rows (`YYYY-MM`)."""

    unit: str
    result: Result
    read: int = 0
    rows: int = 0
    rejected: int = 0
    skipped: int = 0
    months: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Job:
    """What all units of a run share."""

    dsn: str
    flow: FlowDefinition
    version: str
    run_id: str
    force: bool


def load_batch(job: Job, units: list[Unit]) -> list[UnitReport]:
    """Load `units` over one connection, those that others are at last. Raises StoreAway or StoreFull."""
    first = _attempts(job, units, wait=False)
    busy = [unit for unit, report in zip(units, first, strict=True) if report is None]
    later = _attempts(job, busy, wait=True) if busy else []
    return [report for report in (*first, *later) if report is not None]


def _attempts(job: Job, units: list[Unit], *, wait: bool) -> list[UnitReport | None]:
    return each(job.dsn, units, lambda connection, unit: _attempt(connection, job, unit, wait=wait), _hasten_claims)


def _hasten_claims(connection: psycopg.Connection) -> None:
    """A claim need not outlive a crash; what lands is committed as the server is set."""
    connection.execute("SET synchronous_commit = off")


def _attempt(connection: psycopg.Connection, job: Job, unit: Unit, *, wait: bool) -> UnitReport | None:
    """One unit to its end, a failure included; None when another is at it."""
    number = claims.claim(connection, job.flow.dataset, unit, job.run_id, wait=wait)
    if number is None:
        return None
    work = _Work(connection, job, unit, number)
    try:
        return guarded(unit.name, work.load, lambda error: record_failure(connection, job, unit, error, work.started))
    finally:
        if not connection.closed:
            claims.release(connection, job.flow.dataset, unit)


def record_failure(
    connection: psycopg.Connection, job: Job, unit: Unit, error: str, started: dt.datetime | None = None
) -> UnitReport:
    """Write a failed attempt to the ledger; what stands in the table stays."""
    dataset, now = job.flow.dataset, dt.datetime.now(dt.UTC)
    attempt = failed_attempt(
        dataset,
        unit.name,
        unit.name,
        content_hash=None,
        error=error,
        code_version=job.version,
        run_id=job.run_id,
        started=started or now,
        finished=now,
    )
    with connection.transaction():
        known = ledger.locked(connection, dataset, unit.name, unit.name)
        ledger.record(connection, after_failure(known, attempt))
        claims.settle(connection, dataset, unit, None, None)
    return UnitReport(unit.name, "failed", error=error)


class _Overtaken(Exception):
    """What was read about the unit before it was parsed no longer holds."""


class _Work:
    """One claimed unit."""

    def __init__(self, connection: psycopg.Connection, job: Job, unit: Unit, number: int) -> None:
        self._connection = connection
        self._job = job
        self._flow = job.flow
        self._unit = unit
        self._number = number
        self.started = dt.datetime.now(dt.UTC)

    def load(self) -> UnitReport:
        """Read and land the unit, unless what it would give stands already."""
        while True:
            known = self._known()
            unchanged = self._unchanged(known)
            if unchanged:
                return unchanged
            with prepare(self._flow, self._unit, self._number) as prepared:
                try:
                    return self._landed(prepared, known)
                except _Overtaken:
                    continue

    def _known(self) -> Entry | None:
        return ledger.known(self._connection, self._flow.dataset, self._unit.name, self._unit.name)

    def _unchanged(self, known: Entry | None) -> UnitReport | None:
        """A report when these bytes stand already, made by this version. Rows once appended are never made anew."""
        if known is None or known.content_hash is None:
            return None
        append = self._flow.target.mode == "append"
        if not append and (self._job.force or known.outcome == "failed" or known.code_version != self._job.version):
            return None
        found = content_hash(self._unit)
        if found == known.content_hash and known.outcome != "failed":
            with self._connection.transaction():
                self._settle(found)
            return UnitReport(self._unit.name, "unchanged", months=tuple(known.slices))
        if append:
            raise AppendedFileChanged(self._unit.name, self._flow.target.table)
        return None

    def _landed(self, prepared: Prepared, known: Entry | None) -> UnitReport:
        try:
            return self._land(prepared, known, straight=True)
        except KeysClash:
            return self._land(prepared, known, straight=False)

    def _land(self, prepared: Prepared, known: Entry | None, straight: bool) -> UnitReport:
        name, dataset, connection = self._unit.name, self._flow.dataset, self._connection
        entry = self._entry(prepared, known)
        with connection.transaction():
            connection.execute("SET LOCAL synchronous_commit TO DEFAULT")
            if ledger.locked(connection, dataset, name, name) != known:
                raise _Overtaken
            standing = known is not None and known.content_hash is not None
            Landing(connection, self._flow, name, self._number).rows(prepared, standing, straight)
            if prepared.rejects or (known and known.rejected):
                quarantine.replace_rejects(connection, dataset, name, name, prepared.rejects)
            ledger.record(connection, entry)
            self._settle(prepared.content_hash)
        return UnitReport(
            name,
            "ok" if prepared.read else "empty",
            entry.read,
            entry.rows,
            entry.rejected,
            entry.skipped,
            tuple(entry.slices),
        )

    def _settle(self, found: str) -> None:
        modified = None if self._unit.fresh else self._unit.modified_ns
        claims.settle(self._connection, self._flow.dataset, self._unit, found, modified)

    def _entry(self, prepared: Prepared, known: Entry | None) -> Entry:
        rejected = len(prepared.rejects)
        before = known.content_hash or known.previous_hash if known else None
        return Entry(
            dataset=self._flow.dataset,
            source=self._unit.name,
            unit=self._unit.name,
            content_hash=prepared.content_hash,
            previous_hash=known.previous_hash if known and before == prepared.content_hash else before,
            slices=sorted(prepared.months),
            read=prepared.read,
            skipped=max(0, prepared.read - rejected - prepared.rows),
            rows=prepared.rows,
            rejected=rejected,
            outcome="ok" if prepared.read else "empty",
            attempted_hash=prepared.content_hash,
            error=None,
            code_version=self._job.version,
            run_id=self._job.run_id,
            started=self.started,
            finished=dt.datetime.now(dt.UTC),
        )
