"""One CSV into the table: read to its end, judged, and then written with coverage, quarantine and ledger in one commit.

Which units to load is decided in `plan`; small ones that share a commit are in `small_units`; spreading them over
processes is in `ingest`.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import psycopg
from psycopg import errors as pg

from marketdata_assets.bars import changes, coverage, days, minutes
from marketdata_assets.bars.coverage import Place, Provider, Span
from marketdata_assets.bars.layout import PRICES, TABLE_COLUMNS, TABLES, year_of_unit
from marketdata_assets.bars.profiles import SHIPPED, Shapes, code_in
from marketdata_assets.bars.reading import Rows
from marketdata_assets.bars.rules import Bars, judge, remedy
from marketdata_assets.bars.schema import DATASET
from marketdata_assets.bars.sources import opened
from marketdata_assets.loading.file_ledger import NAMED
from marketdata_assets.loading.files import Opener, Unit
from marketdata_assets.loading.rejects import Rejects
from marketdata_assets.loading.reports import UnitReport, and_more
from marketdata_assets.loading.text import OPEN_END, has_open_end
from marketdata_assets.stores import ledger
from marketdata_assets.stores.bookkeeping import Entry, Outcome, Reject
from marketdata_assets.stores.pgcopy import Column, Fixed, Numeric, Spool
from marketdata_assets.stores.pgcopy import Text as TextColumn
from marketdata_assets.stores.postgres import copy_binary, statement

CODE_VERSION = "bars-1"
COMPRESSED_ROWS = 500
"""Rows that a code has in a month, on average, from which a load compresses them; fewer make batches too small."""

COMPACT_ROWS = 500_000
"""After so many rows their times are packed, which a stock's year needs never."""

Array = np.ndarray[Any, np.dtype[Any]]

Holes = dict[Place, bytes]
"""Minutes that newer files have, packed."""


@dataclass
class Parsed:
    """A unit that may be loaded: every line is counted in `spans` of some month or in `rejects`."""

    rows: int = 0
    rejects: list[Reject] = field(default_factory=list)
    spans: dict[Place, Span] = field(default_factory=dict)
    remark: str = ""
    """What a person should know of it although it is loaded."""
    payload: Spool = field(default_factory=Spool)
    """The rows to load, encoded."""
    sorted: bool = True
    """Whether the payload is of one code and in the order of time."""
    _last: tuple[tuple[str, ...], int] | None = None
    """Codes and last time of the block before."""

    def add(self, bars: Bars) -> None:
        """Encode the bars of a block that are to be loaded."""
        self.payload.add_rows(table_columns(bars), len(bars))
        if self.sorted and len(bars):
            before, self._last = self._last, (bars.codes, int(bars.time[-1]))
            rises = len(bars.codes) == 1 and bool((np.diff(bars.time) > 0).all())
            follows = before is None or (before[0] == bars.codes and before[1] < bars.time[0])
            self.sorted = rises and follows


@dataclass(frozen=True)
class Job:
    """What all units of a run share; with `columnstore` rows are compressed as they are written."""

    run_id: str
    shapes: Shapes = SHIPPED
    columnstore: bool = False
    force: bool = False


@dataclass(frozen=True)
class Attempt:
    """One attempt to load `months` (None: all) of a unit, given its ledger entry and what newer files provide."""

    job: Job
    unit: Unit
    parsed: Parsed
    months: frozenset[str] | None
    started: dt.datetime
    known: Entry | None = None
    holes: Holes = field(default_factory=dict)
    unrecorded: bool = False
    """Whether the table has rows in the way that no unit provides."""

    @property
    def provider(self) -> Provider:
        return Provider(self.unit.file.name, self.unit.name, self.unit.file.modified_ns)

    @property
    def recorded(self) -> bool:
        """Whether there may be records of the unit: of one that was never seen there are none to delete."""
        return self.known is not None or self.unrecorded

    @cached_property
    def loading(self) -> dict[Place, Span]:
        """What is loaded, by code and month."""
        months, spans = self.months, self.parsed.spans
        return {place: span for place, span in spans.items() if months is None or place[1] in months}

    @property
    def superseded(self) -> int:
        """Rows that are left to newer files."""
        return sum(span.superseded for span in self.loading.values())

    @property
    def rows(self) -> int:
        """Rows that the table gets."""
        return sum(span.rows for span in self.loading.values()) - self.superseded

    @property
    def compressed(self) -> bool:
        """Whether its rows are enough, for so many codes and months, to be compressed as they are written."""
        return self.job.columnstore and bool(self.rows) and self.rows >= COMPRESSED_ROWS * len(self.loading)

    def entry(self, rows: int, superseded: int) -> Entry:
        """The ledger's entry of a unit that has `rows` in the table then, and leaves those `superseded` out."""
        unit, known, parsed = self.unit, self.known, self.parsed
        slices = {month for _, month in parsed.spans} if self.months is None else set(self.months)
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
            rows=rows,
            rejected=len(parsed.rejects),
            superseded=superseded,
            outcome="ok" if parsed.rows else "empty",
            attempted_hash=unit.checksum,
            error=parsed.remark or None,
            code_version=CODE_VERSION,
            run_id=self.job.run_id,
            started=self.started,
        )

    def report(
        self, changed: Iterable[Place], replaced: tuple[tuple[str, str, int], ...] = (), removed: int = 0
    ) -> UnitReport:
        """How it ended: the rows of which codes and months have `changed`, whose were replaced, how many removed."""
        months = tuple(sorted({month for _, month in changed}))
        outcome: Outcome = "ok" if self.parsed.rows else "empty"
        counts = self.parsed.rows, self.rows, len(self.parsed.rejects)
        remark = self.parsed.remark or None
        return UnitReport(
            self.unit.place, outcome, *counts, months=months, error=remark, replaced=replaced, removed=removed
        )


class _Overtaken(Exception):
    """What was read about the unit before parsing no longer holds; `holes` are the newest."""

    def __init__(self, holes: Holes) -> None:
        super().__init__()
        self.holes = holes


def load(
    connection: psycopg.Connection, opener: Opener, unit: Unit, months: frozenset[str] | None, job: Job
) -> UnitReport:
    """Make the table hold exactly the unit's rows of `months`, and of every month loaded from older bytes of it.

    None as `months` takes all. Raises LoadError for a unit that cannot be read or has too many rejects; then nothing
    has changed, nor after an error of the database.
    """
    started = dt.datetime.now(dt.UTC)
    holes: Holes = {}
    while True:
        known = ledger.known(connection, DATASET, unit.file.name, unit.name)
        same = known is not None and known.content_hash == unit.checksum
        if known and known.outcome == "forgotten" and known.attempted_hash == unit.checksum and not job.force:
            return UnitReport(unit.place, "unchanged")
        if known and same and not job.force and not unit.problem and known.outcome != "failed":
            loaded = known.whole if months is None else months <= set(known.slices)
            if loaded:
                return UnitReport(unit.place, "unchanged")
        wanted = months
        if known and not same and months is not None:  # changed bytes: one base of adjustment for all loaded months
            wanted = months | frozenset(known.slices)
        parsed = parse(opener, unit, wanted, holes, job.shapes)
        attempt = Attempt(job, unit, parsed, wanted, started, known, holes)
        try:
            try:
                return _commit(connection, attempt)
            except pg.UniqueViolation:
                return _commit(connection, replace(attempt, unrecorded=True))
        except _Overtaken as overtaken:
            holes = overtaken.holes
        finally:
            parsed.payload.close()


def _commit(connection: psycopg.Connection, attempt: Attempt) -> UnitReport:
    provider, loading, parsed = attempt.provider, attempt.loading, attempt.parsed
    with connection.transaction():
        ledger.lock(connection, DATASET, [provider.key])
        codes = coverage.codes(connection, provider) if attempt.recorded else set()
        coverage.lock(connection, codes | {code for code, _ in parsed.spans})
        if ledger.known(connection, DATASET, *provider.key) != attempt.known:  # other units change it under these locks
            raise _Overtaken(attempt.holes)
        had = coverage.forget(connection, provider, attempt.months) if attempt.recorded else {}
        changed = loading.keys() | had.keys()
        holders = coverage.holders(connection, provider, loading, had)
        holes = coverage.left_to_newer(provider, loading, holders)
        if holes != attempt.holes:
            raise _Overtaken(holes)
        shift = coverage.clear(connection, provider, loading, had, holders, unrecorded=attempt.unrecorded)
        if attempt.rows:
            if attempt.compressed:
                is_sorted = parsed.sorted and not holders.keys() & loading.keys()
                connection.execute(statement(__package__, "compressed_copy.sql"), [is_sorted])
            copy_binary(connection, DATASET, TABLE_COLUMNS, parsed.payload)
        with connection.pipeline():
            coverage.cover(connection, {provider: loading}, holders)
            days.record(connection, loading, had.keys(), holders)
            changes.record(connection, changed, attempt.job.run_id)
            if attempt.recorded:
                ledger.clear_rejects(connection, DATASET, *provider.key)
        ledger.add_rejects(connection, DATASET, *provider.key, parsed.rejects)
        counts = coverage.counts(connection, provider) if attempt.recorded else (attempt.rows, attempt.superseded)
        ledger.record(connection, attempt.entry(*counts))
    rows = {place: span.rows for place, span in loading.items()}
    removed = sum(max(0, before.rows - rows.get(place, 0)) for place, before in had.items())
    return attempt.report(changed, shift.report, removed)


def remove(connection: psycopg.Connection, place: str, provider: Provider, run_id: str) -> UnitReport:
    """Delete the rows of a unit that the newest delivery of its file no longer has."""
    with connection.transaction():
        ledger.lock(connection, DATASET, [provider.key])
        coverage.lock(connection, coverage.codes(connection, provider))
        known = ledger.known(connection, DATASET, *provider.key)
        if known is None or known.outcome == "removed":
            return UnitReport(place, "unchanged")
        changed, _ = take_back(connection, provider, known, "removed", run_id)
    return UnitReport(place, "removed", months=tuple(sorted(changed)), removed=known.rows)


def take_back(
    connection: psycopg.Connection,
    provider: Provider,
    known: Entry | None,
    outcome: Outcome,
    run_id: str,
    attempted: str | None = None,
) -> tuple[set[str], Mapping[tuple[str, str], set[str]]]:
    """Delete all that is loaded of a unit whose codes are locked, and record that and the `attempted` hash.

    Returns the months whose rows change, and by unit those of which rows are due again.
    """
    entry = Entry(
        dataset=DATASET,
        source=provider.source,
        unit=provider.unit,
        previous_hash=known.content_hash or known.previous_hash if known else None,
        outcome=outcome,
        attempted_hash=attempted,
        code_version=CODE_VERSION,
        run_id=run_id,
        started=dt.datetime.now(dt.UTC),
    )
    had = coverage.forget(connection, provider, None)
    holders = coverage.holders(connection, provider, {}, had)
    shift = coverage.clear(connection, provider, {}, had, holders)
    days.record(connection, {}, had.keys(), holders)
    ledger.clear_rejects(connection, DATASET, *provider.key)
    ledger.record(connection, entry)
    changes.record(connection, had.keys(), run_id)
    return {month for _, month in had}, shift.months


def parse(
    opener: Opener,
    unit: Unit,
    months: Collection[str] | None,
    holes: Mapping[Place, bytes] | None = None,
    shapes: Shapes = SHIPPED,
) -> Parsed:
    """Read `unit` whole and encode its rows of `months` (`YYYY-MM`; None takes all), leaving out `holes`.

    Raises LoadError; then nothing of the unit may be loaded.
    """
    left_out = {place: minutes.unpack(packed) for place, packed in (holes or {}).items()}
    parsed, rejects, compact_at = Parsed(), Rejects(), COMPACT_ROWS
    try:
        with opened(opener, unit, shapes) as source:
            for rows in source.blocks(rejects):
                bars = source.labels.by_end(judge(rows, rejects, year_of_unit(unit)))
                kept = _measure(parsed.spans, rows, bars, rejects, months, left_out)
                parsed.add(bars if kept is None else bars.take(kept))
                if rejects.hopeless:
                    break
                if rejects.rows > compact_at:
                    compact_at += COMPACT_ROWS
                    for span in parsed.spans.values():
                        span.compact()
        rejects.check_limit(unit.place, remedy(rejects, year_of_unit(unit)), source.raw)
        source.labels.check(unit.place)
        if rejects:
            parsed.rejects = rejects.for_quarantine(source.raw(set(rejects.reasons)))
    except BaseException:
        parsed.payload.close()
        raise
    parsed.rows = rejects.rows
    parsed.remark = "; ".join(_remarks(unit, sorted({code for code, _ in parsed.spans})))
    return parsed


def _remarks(unit: Unit, codes: Sequence[str]) -> Iterator[str]:
    """What may be wrong with a file of these codes that is loaded."""
    named = code_in(unit.name.rpartition("/")[2], bare=False)
    if named and codes and named not in codes:
        yield f"its name says {named} and its rows {and_more(codes, NAMED)}: the rows count"
    if not unit.name.lower().endswith(TABLES) and has_open_end(unit):
        yield OPEN_END


def _measure(
    spans: dict[Place, Span],
    rows: Rows,
    bars: Bars,
    rejects: Rejects,
    months: Collection[str] | None,
    holes: Mapping[Place, minutes.Array],
) -> Array | None:
    """Add the bars to the spans; the mask of those to load, or None when all are.

    Of bars of one code and minute the first counts, and the others are rejected.
    """
    keep = np.ones(len(bars), bool)
    for code, label, numbers in _places(bars):
        times = bars.time[numbers]
        start = int(times[0])
        span = spans.setdefault((code, label), Span(start, start, 0))
        if (repeated := span.repeated(times)) is not None:
            numbers = np.arange(len(bars))[numbers]
            for row in bars.row[numbers[repeated]].tolist():
                key = f"{rows.cell(row, 'code')} {rows.cell(row, 'time')}"
                reason = f"duplicate key {key}, first seen earlier in this file"
                rejects.add(rows.line(row), reason, f"{rows.frame['time'][row]:%Y-%m}")
            keep[numbers[repeated]] = False
            numbers, times = numbers[~repeated], times[~repeated]
        if months is not None and label not in months:
            keep[numbers] = False
        hole = holes.get((code, label))
        covered = None if hole is None else np.isin(times, hole)
        if covered is not None:
            keep[numbers] &= ~covered
        if len(times):
            span.add(times, covered)
    return None if keep.all() else keep


def _places(bars: Bars) -> Iterator[tuple[str, str, Array | slice]]:
    """Each code and month (`YYYY-MM`) with its rows: numbers, or a slice."""
    if not len(bars):
        return
    if isinstance(bars.code, int):
        for label, rows in _months(bars.time):
            yield bars.codes[bars.code], label, rows
        return
    for number, code in enumerate(bars.codes):
        of_code = np.flatnonzero(bars.code == number)
        for label, rows in _months(bars.time[of_code]):
            yield code, label, of_code[rows]


def _months(times: Array) -> Iterator[tuple[str, Array | slice]]:
    """Each month of `times` (microseconds) with its rows, a slice where the times ascend."""
    if len(times) and (times[1:] >= times[:-1]).all():
        first, last = times[[0, -1]].astype("datetime64[us]").astype("datetime64[M]")
        months = np.arange(first, last + 2)
        bounds = np.searchsorted(times, months.astype("datetime64[us]").astype(np.int64)).tolist()
        for label, low, high in zip(months[:-1], bounds, bounds[1:], strict=False):
            if low < high:
                yield str(label), slice(low, high)
        return
    month = times.astype("datetime64[us]").astype("datetime64[M]")
    for label in np.unique(month):
        yield str(label), np.flatnonzero(month == label)


def table_columns(bars: Bars) -> list[Column]:
    """The bars in the order of the table's columns."""
    null = bars.null

    def numeric(name: str) -> Column:
        return Numeric(bars.scaled[name], null.get(name))

    return [
        Fixed("timestamp", bars.time),
        TextColumn(bars.code, tuple(code.encode() for code in bars.codes)),
        TextColumn(bars.name, tuple(name.encode() for name in bars.names)),
        *map(numeric, PRICES),
        Fixed("bigint", bars.volume, null.get("volume")),
        *map(numeric, ("amount", "change_pct", "amplitude")),
    ]
