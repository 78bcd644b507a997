"""One unit into the table: rows, coverage, quarantine and ledger in one transaction.

Which units to load is decided in `plan`; spreading them over processes is in `ingest`.
"""

import datetime as dt
from dataclasses import dataclass, replace

import psycopg

from marketdata_assets.bars import coverage
from marketdata_assets.bars.coverage import Provider
from marketdata_assets.bars.layout import TABLE_COLUMNS
from marketdata_assets.bars.schema import DATASET
from marketdata_assets.bars.unit import Hole, Parsed, parse
from marketdata_assets.loading.files import Opener, Unit
from marketdata_assets.loading.reports import Outcome, UnitReport
from marketdata_assets.stores import ledger, quarantine
from marketdata_assets.stores.bookkeeping import Entry
from marketdata_assets.stores.postgres import copy_binary

CODE_VERSION = "bars-1"

Holes = dict[tuple[str, str], list[Hole]]


@dataclass(frozen=True)
class _Request:
    """What to load: the unit's `months` (None: all), given its ledger entry and what newer files provide."""

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
    """Make the table hold exactly the unit's rows of `months`, and of every month loaded from older bytes of it.

    None as `months` takes all. Raises LoadError for a unit that cannot be read or has too many rejects; then nothing
    has changed, nor after an error of the database.
    """
    started = dt.datetime.now(dt.UTC)
    holes: Holes = {}
    while True:
        with connection.transaction():
            known = ledger.locked(connection, DATASET, unit.file.name, unit.name)
        if known and not force and not unit.problem and known.outcome != "failed" and _holds(known, unit, months):
            return UnitReport(unit.place, "unchanged")
        request = _Request(known, _months_to_load(known, unit, months), holes)
        parsed = parse(opener, unit, request.months, holes)
        try:
            return _commit(connection, unit, parsed, request, run_id, started)
        except _Overtaken as overtaken:
            holes = overtaken.holes
        finally:
            parsed.close()


def _holds(known: Entry, unit: Unit, months: frozenset[str] | None) -> bool:
    if months is None:
        return known.content_hash == unit.checksum and known.whole
    return known.holds(unit.checksum, months)


def _months_to_load(known: Entry | None, unit: Unit, months: frozenset[str] | None) -> frozenset[str] | None:
    """Changed bytes replace every month loaded from the old ones, so that one base of adjustment holds."""
    if months is None or known is None or known.content_hash == unit.checksum:
        return months
    return months | frozenset(known.slices)


def _commit(
    connection: psycopg.Connection, unit: Unit, parsed: Parsed, request: _Request, run_id: str, started: dt.datetime
) -> UnitReport:
    landing = {key: span for key, span in parsed.spans.items() if request.months is None or key[1] in request.months}
    provider = Provider(unit.file.name, unit.name, unit.file.modified_ns)
    with connection.transaction():
        if ledger.locked(connection, DATASET, *provider.key) != request.known:
            raise _Overtaken(request.holes)
        coverage.lock(connection, coverage.codes(connection, provider) | {code for code, _ in parsed.spans})
        holes = coverage.provided_by_newer(connection, provider, landing)
        if holes != request.holes:
            raise _Overtaken(holes)
        had = coverage.clear(connection, provider, landing, request.months)
        rows = sum(span.rows - span.superseded for span in landing.values())
        if rows:
            copy_binary(connection, DATASET, TABLE_COLUMNS, parsed.payload)
        coverage.cover(connection, provider, landing)
        quarantine.replace_rejects(connection, DATASET, *provider.key, parsed.rejects)
        entry = _entry(unit, parsed, request, run_id, started)
        ledger.record(connection, replace(entry, rows=coverage.rows_standing(connection, provider)))
    months = tuple(sorted({month for _, month in landing} | had))
    outcome: Outcome = "ok" if parsed.rows else "empty"
    return UnitReport(unit.place, outcome, parsed.rows, rows, len(parsed.rejects), months=months)


def _entry(unit: Unit, parsed: Parsed, request: _Request, run_id: str, started: dt.datetime) -> Entry:
    known = request.known
    slices = {month for _, month in parsed.spans} if request.months is None else set(request.months)
    previous = known.content_hash if known else None
    if known and known.content_hash == unit.checksum:
        slices |= set(known.slices)
        previous = known.previous_hash
    return Entry(
        dataset=DATASET,
        source=unit.file.name,
        unit=unit.name,
        content_hash=unit.checksum,
        previous_hash=previous,
        slices=sorted(slices),
        read=parsed.rows,
        skipped=sum(span.rows for (_, month), span in parsed.spans.items() if month not in slices),
        rows=0,
        rejected=len(parsed.rejects),
        outcome="ok" if parsed.rows else "empty",
        attempted_hash=unit.checksum,
        error=None,
        code_version=CODE_VERSION,
        run_id=run_id,
        started=started,
        finished=dt.datetime.now(dt.UTC),
    )


def remove(connection: psycopg.Connection, source: str, unit: str, run_id: str) -> UnitReport:
    """Delete the rows of a unit that the newest delivery of its file no longer has."""
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
