"""One unit into the table: rows, coverage, quarantine and ledger in one transaction.

Which units to load is decided in `plan`; spreading them over processes is in `ingest`.
"""

import datetime as dt
from dataclasses import dataclass, replace
from typing import Literal

import psycopg

from marketdata_assets.bars import coverage
from marketdata_assets.bars.coverage import Provider
from marketdata_assets.bars.errors import BarsError
from marketdata_assets.bars.layout import TABLE_COLUMNS
from marketdata_assets.bars.schema import DATASET
from marketdata_assets.bars.sources import Opener, Unit
from marketdata_assets.bars.unit import Hole, Parsed, parse
from marketdata_assets.stores import ledger, quarantine
from marketdata_assets.stores.bookkeeping import Entry, after_failure, failed_attempt
from marketdata_assets.stores.postgres import copy_binary

CODE_VERSION = "bars-1"

Result = Literal["ok", "empty", "failed", "unchanged", "removed"]
Holes = dict[tuple[str, str], list[Hole]]


@dataclass(frozen=True)
class UnitReport:
    """How one unit ended. `months` are those whose rows in the table were written anew (`YYYY-MM`)."""

    place: str
    result: Result
    rows: int = 0
    rejected: int = 0
    months: tuple[str, ...] = ()
    error: str | None = None
    year: int | None = None


@dataclass(frozen=True)
class _Wanted:
    """What to land: the unit's `months` (None: all), given what stands of it and what newer files provide."""

    known: Entry | None
    months: frozenset[str] | None
    holes: Holes


class _Overtaken(Exception):
    """What was read about the unit before parsing no longer holds; `holes` are the newest known."""

    def __init__(self, holes: Holes) -> None:
        super().__init__()
        self.holes = holes


def load(
    connection: psycopg.Connection,
    opener: Opener,
    unit: Unit,
    months: frozenset[str] | None,
    run_id: str,
    force: bool = False,
) -> UnitReport:
    """Make the table hold exactly the unit's rows of `months`, and of every month that stood there from older bytes.

    None as `months` takes all. A unit that cannot be read, or has too many rejects, lands nothing and is recorded as
    failed; what stood there before stays. Database errors pass through; then nothing has changed.
    """
    started = dt.datetime.now(dt.UTC)
    holes: Holes = {}
    while True:
        with connection.transaction():
            known = ledger.locked(connection, DATASET, unit.source.name, unit.name)
        if known and not force and known.outcome != "failed" and _holds(known, unit, months):
            return UnitReport(unit.place, "unchanged", year=unit.year)
        wanted = _Wanted(known, _months_to_land(known, unit, months), holes)
        try:
            parsed = parse(opener, unit, wanted.months, holes)
        except BarsError as error:
            record_failure(connection, unit.source.name, unit.name, unit.content_hash, str(error), run_id, started)
            return UnitReport(unit.place, "failed", error=str(error), year=unit.year)
        try:
            return _land(connection, unit, parsed, wanted, run_id, started)
        except _Overtaken as overtaken:
            holes = overtaken.holes
        finally:
            parsed.close()


def _holds(known: Entry, unit: Unit, months: frozenset[str] | None) -> bool:
    if months is None:
        return known.content_hash == unit.content_hash and known.whole
    return known.holds(unit.content_hash, months)


def _months_to_land(known: Entry | None, unit: Unit, months: frozenset[str] | None) -> frozenset[str] | None:
    """Changed bytes replace every month that stands from the old ones, so that one base of adjustment holds."""
    if months is None or known is None or known.content_hash == unit.content_hash:
        return months
    return months | frozenset(known.slices)


def _land(
    connection: psycopg.Connection, unit: Unit, parsed: Parsed, wanted: _Wanted, run_id: str, started: dt.datetime
) -> UnitReport:
    landing = {key: span for key, span in parsed.spans.items() if wanted.months is None or key[1] in wanted.months}
    provider = Provider(unit.source.name, unit.name, unit.source.modified_ns)
    with connection.transaction():
        if ledger.locked(connection, DATASET, *provider.key) != wanted.known:
            raise _Overtaken(wanted.holes)
        coverage.lock(connection, coverage.codes(connection, provider) | {code for code, _ in parsed.spans})
        holes = coverage.provided_by_newer(connection, provider, landing)
        if holes != wanted.holes:
            raise _Overtaken(holes)
        had = coverage.clear(connection, provider, landing, wanted.months)
        rows = sum(span.rows - span.superseded for span in landing.values())
        if rows:
            copy_binary(connection, DATASET, TABLE_COLUMNS, parsed.payload)
        coverage.cover(connection, provider, landing)
        quarantine.replace_rejects(connection, DATASET, *provider.key, parsed.rejects)
        entry = _entry(unit, parsed, wanted, run_id, started)
        ledger.record(connection, replace(entry, rows=coverage.rows_standing(connection, provider)))
    months = tuple(sorted({month for _, month in landing} | had))
    outcome: Result = "ok" if parsed.rows else "empty"
    return UnitReport(unit.place, outcome, rows, len(parsed.rejects), months, year=unit.year)


def _entry(unit: Unit, parsed: Parsed, wanted: _Wanted, run_id: str, started: dt.datetime) -> Entry:
    known = wanted.known
    slices = {month for _, month in parsed.spans} if wanted.months is None else set(wanted.months)
    previous = known.content_hash if known else None
    if known and known.content_hash == unit.content_hash:
        slices |= set(known.slices)
        previous = known.previous_hash
    return Entry(
        dataset=DATASET,
        source=unit.source.name,
        unit=unit.name,
        content_hash=unit.content_hash,
        previous_hash=previous,
        slices=sorted(slices),
        read=parsed.rows,
        skipped=sum(span.rows for (_, month), span in parsed.spans.items() if month not in slices),
        rows=0,
        rejected=len(parsed.rejects),
        outcome="ok" if parsed.rows else "empty",
        attempted_hash=unit.content_hash,
        error=None,
        code_version=CODE_VERSION,
        run_id=run_id,
        started=started,
        finished=dt.datetime.now(dt.UTC),
    )


def remove(connection: psycopg.Connection, source: str, unit: str, run_id: str) -> UnitReport:
    """Take out what stands of a unit that the newest delivery of its file no longer has."""
    started = dt.datetime.now(dt.UTC)
    place = source if unit in (source, ".") else f"{source}!{unit}"
    provider = Provider(source, unit, 0)
    with connection.transaction():
        known = ledger.locked(connection, DATASET, source, unit)
        if known is None or known.outcome == "removed":
            return UnitReport(place, "unchanged")
        coverage.lock(connection, coverage.codes(connection, provider))
        months = coverage.clear(connection, provider, {}, None)
        quarantine.replace_rejects(connection, DATASET, source, unit, ())
        gone = replace(
            known,
            content_hash=None,
            previous_hash=known.content_hash or known.previous_hash,
            slices=[],
            read=0,
            skipped=0,
            rows=0,
            rejected=0,
            outcome="removed",
            attempted_hash=None,
            error=None,
            code_version=CODE_VERSION,
            run_id=run_id,
            started=started,
            finished=dt.datetime.now(dt.UTC),
        )
        ledger.record(connection, gone)
    return UnitReport(place, "removed", months=tuple(sorted(months)))


def record_failure(
    connection: psycopg.Connection,
    source: str,
    unit: str,
    content_hash: str | None,
    error: str,
    run_id: str,
    started: dt.datetime,
) -> None:
    """Write a failed attempt to the ledger; what stands in the table stays, and stays on record."""
    attempt = failed_attempt(
        DATASET,
        source,
        unit,
        content_hash=content_hash,
        error=error,
        code_version=CODE_VERSION,
        run_id=run_id,
        started=started,
        finished=dt.datetime.now(dt.UTC),
    )
    with connection.transaction():
        known = ledger.locked(connection, DATASET, source, unit)
        ledger.record(connection, after_failure(known, attempt))
