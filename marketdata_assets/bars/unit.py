"""One CSV into the table: read to its end, judged, and then written with coverage, quarantine and ledger in one commit.

Which units to load is decided in `plan`; small ones that share a commit are in `small_units`; spreading them over
processes is in `ingest`.
"""

import datetime as dt
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import psycopg
from psycopg import errors as pg

from marketdata_assets.bars import changes, coverage, days, minutes
from marketdata_assets.bars.coverage import Place, Provider, Span
from marketdata_assets.bars.layout import PRICES, TABLE_COLUMNS, year_of_unit
from marketdata_assets.bars.profiles import SHIPPED, Shapes
from marketdata_assets.bars.reading import Rows
from marketdata_assets.bars.rules import Bars, Labels, judge
from marketdata_assets.bars.schema import DATASET
from marketdata_assets.bars.sources import opened
from marketdata_assets.loading.files import Opener, Unit
from marketdata_assets.loading.rejects import Rejects
from marketdata_assets.loading.reports import UnitReport
from marketdata_assets.stores import ledger
from marketdata_assets.stores.bookkeeping import Entry, Reject
from marketdata_assets.stores.pgcopy import Column, Fixed, Numeric, Spool, encode
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
    payload: Spool = field(default_factory=Spool)
    """The rows to load, encoded."""
    sorted: bool = True
    """Whether the payload is of one code and in the order of time."""


@dataclass(frozen=True)
class Attempt:
    """One attempt to load `months` (None: all), given the unit's ledger entry and what newer files provide."""

    known: Entry | None
    months: frozenset[str] | None
    holes: Holes
    run_id: str
    started: dt.datetime
    unrecorded: bool = False
    """Whether the table has rows in the way that no unit provides."""
    columnstore: bool = False

    @property
    def recorded(self) -> bool:
        """Whether there may be records of the unit: of one that was never seen there are none to delete."""
        return self.known is not None or self.unrecorded


class _Overtaken(Exception):
    """What was read about the unit before parsing no longer holds; `holes` are the newest."""

    def __init__(self, holes: Holes) -> None:
        super().__init__()
        self.holes = holes


def load(
    connection: psycopg.Connection,
    opener: Opener,
    unit: Unit,
    months: frozenset[str] | None,
    run_id: str,
    *,
    force: bool = False,
    columnstore: bool = False,
    shapes: Shapes = SHIPPED,
) -> UnitReport:
    """Make the table hold exactly the unit's rows of `months`, and of every month loaded from older bytes of it.

    None as `months` takes all. With `columnstore` the rows are compressed as they are written. Raises LoadError for a
    unit that cannot be read or has too many rejects; then nothing has changed, nor after an error of the database.
    """
    started = dt.datetime.now(dt.UTC)
    holes: Holes = {}
    while True:
        known = ledger.known(connection, DATASET, unit.file.name, unit.name)
        same = known is not None and known.content_hash == unit.checksum
        if known and known.outcome == "forgotten" and known.attempted_hash == unit.checksum and not force:
            return UnitReport(unit.place, "unchanged")
        if known and same and not force and not unit.problem and known.outcome != "failed":
            loaded = known.whole if months is None else months <= set(known.slices)
            if loaded:
                return UnitReport(unit.place, "unchanged")
        wanted = months
        if known and not same and months is not None:  # changed bytes: one base of adjustment for all loaded months
            wanted = months | frozenset(known.slices)
        parsed = parse(opener, unit, wanted, holes, shapes)
        attempt = Attempt(known, wanted, holes, run_id, started, columnstore=columnstore)
        try:
            try:
                return _commit(connection, unit, parsed, attempt)
            except pg.UniqueViolation:
                return _commit(connection, unit, parsed, replace(attempt, unrecorded=True))
        except _Overtaken as overtaken:
            holes = overtaken.holes
        finally:
            parsed.payload.close()


def _commit(connection: psycopg.Connection, unit: Unit, parsed: Parsed, attempt: Attempt) -> UnitReport:
    wanted = attempt.months
    loading = {key: span for key, span in parsed.spans.items() if wanted is None or key[1] in wanted}
    provider = Provider(unit.file.name, unit.name, unit.file.modified_ns)
    with connection.transaction():
        ledger.lock(connection, DATASET, [provider.key])
        codes = coverage.codes(connection, provider) if attempt.recorded else set()
        coverage.lock(connection, codes | {code for code, _ in parsed.spans})
        if ledger.known(connection, DATASET, *provider.key) != attempt.known:  # other units change it under these locks
            raise _Overtaken(attempt.holes)
        had = coverage.forget(connection, provider, wanted) if attempt.recorded else {}
        changed = loading.keys() | had.keys()
        others = coverage.shared(connection, provider, changed)
        holders = coverage.holders(connection, provider, loading, had, others)
        holes = coverage.left_to_newer(provider, loading, holders)
        if holes != attempt.holes:
            raise _Overtaken(holes)
        shift = coverage.clear(connection, provider, loading, had, holders, unrecorded=attempt.unrecorded)
        rows = sum(span.rows - span.superseded for span in loading.values())
        if rows:
            if attempt.columnstore and fill_batches(rows, len(loading)):
                is_sorted = parsed.sorted and not others & loading.keys()
                connection.execute(statement(__package__, "compressed_copy.sql"), [is_sorted])
            copy_binary(connection, DATASET, TABLE_COLUMNS, parsed.payload)
        with connection.pipeline():
            coverage.cover(connection, {provider: loading}, others)
            days.record(connection, loading, had.keys(), others)
            changes.record(connection, changed, attempt.run_id)
            if attempt.recorded:
                ledger.clear_rejects(connection, DATASET, *provider.key)
        ledger.add_rejects(connection, DATASET, *provider.key, parsed.rejects)
        counts = rows, sum(span.superseded for span in loading.values())
        entry = entry_of(
            unit, parsed, attempt, *(coverage.counts(connection, provider) if attempt.recorded else counts)
        )
        ledger.record(connection, entry)
    months = tuple(sorted({month for _, month in changed}))
    rejected = len(parsed.rejects)
    return UnitReport(unit.place, entry.outcome, parsed.rows, rows, rejected, months=months, replaced=shift.report)


def fill_batches(rows: int, places: int) -> bool:
    """Whether `rows` of so many codes and months are enough to be compressed as they are written."""
    return rows >= COMPRESSED_ROWS * places


def entry_of(unit: Unit, parsed: Parsed, attempt: Attempt, rows: int, superseded: int = 0) -> Entry:
    """The ledger's entry of a unit of which `attempt` loads `rows` in all, and leaves those `superseded` out."""
    known, months = attempt.known, attempt.months
    slices = {month for _, month in parsed.spans} if months is None else set(months)
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
        code_version=CODE_VERSION,
        run_id=attempt.run_id,
        started=attempt.started,
    )


def remove(connection: psycopg.Connection, place: str, provider: Provider, run_id: str) -> UnitReport:
    """Delete the rows of a unit that the newest delivery of its file no longer has."""
    started = dt.datetime.now(dt.UTC)
    with connection.transaction():
        ledger.lock(connection, DATASET, [provider.key])
        coverage.lock(connection, coverage.codes(connection, provider))
        known = ledger.known(connection, DATASET, *provider.key)
        if known is None or known.outcome == "removed":
            return UnitReport(place, "unchanged")
        removed = Entry(
            dataset=DATASET,
            source=provider.source,
            unit=provider.unit,
            previous_hash=known.content_hash or known.previous_hash,
            outcome="removed",
            code_version=CODE_VERSION,
            run_id=run_id,
            started=started,
        )
        changed, _ = take_back(connection, provider, removed)
    return UnitReport(place, "removed", months=tuple(sorted(changed)))


def take_back(
    connection: psycopg.Connection, provider: Provider, entry: Entry
) -> tuple[set[str], Mapping[tuple[str, str], set[str]]]:
    """Delete all that is loaded of a unit whose codes are locked, and record `entry`.

    Returns the months whose rows change, and by unit those of which rows are due again.
    """
    had = coverage.forget(connection, provider, None)
    others = coverage.shared(connection, provider, had.keys())
    shift = coverage.clear(connection, provider, {}, had, coverage.holders(connection, provider, {}, had, others))
    days.record(connection, {}, had.keys(), others)
    ledger.clear_rejects(connection, DATASET, *provider.key)
    ledger.record(connection, entry)
    changes.record(connection, had.keys(), entry.run_id)
    return {month for _, month in had}, shift.months


def parse(
    opener: Opener,
    unit: Unit,
    months: Collection[str] | None,
    holes: Mapping[Place, bytes] | None = None,
    shapes: Shapes = SHIPPED,
) -> Parsed:
    """Read `unit` whole and encode its rows of `months` (`YYYY-MM`; None takes all), leaving out `holes`.

    Raises BadFile, LoadError, BadHeader or TooManyRejects; then nothing of the unit may be loaded.
    """
    left_out = {place: minutes.unpack(packed) for place, packed in (holes or {}).items()}
    try:
        return _Parser(opener, unit, months, left_out, Duplicates(), shapes).run()
    except OutOfOrder:
        return _Parser(opener, unit, months, left_out, Duplicates(remember=True), shapes).run()


@dataclass
class _Parser:
    opener: Opener
    unit: Unit
    months: Collection[str] | None
    holes: Mapping[Place, minutes.Array]
    duplicates: "Duplicates"
    shapes: Shapes
    labels: Labels = field(init=False)
    rejects: Rejects = field(default_factory=Rejects)
    parsed: Parsed = field(default_factory=Parsed)
    _last: tuple[tuple[str, ...], int] | None = None
    """Codes and last time of the block before."""
    _compact_at: int = COMPACT_ROWS

    def run(self) -> Parsed:
        try:
            with opened(self.opener, self.unit, self.shapes) as source:
                self.labels = source.labels
                for rows in source.blocks(self.rejects):
                    self._take(rows)
                    if self.rejects.hopeless:
                        break
            self.rejects.check_limit(self.unit.place, raw=source.raw)
            self.labels.check(self.unit.place)
            if self.rejects:
                self.parsed.rejects = self.rejects.for_quarantine(source.raw(set(self.rejects.reasons)))
        except BaseException:
            self.parsed.payload.close()
            raise
        self.parsed.rows = self.rejects.rows
        return self.parsed

    def _take(self, rows: Rows) -> None:
        if self.rejects.rows > self._compact_at:
            self._compact_at += COMPACT_ROWS
            for span in self.parsed.spans.values():
                span.compact()
        bars = self.labels.by_end(judge(rows, self.rejects, year_of_unit(self.unit)))
        repeated = self.duplicates.repeated(bars)
        if repeated is not None:
            for row in bars.row[repeated].tolist():
                key = f"{rows.cell(row, 'code')} {rows.cell(row, 'time')}"
                reason = f"duplicate key {key}, first seen earlier in this file"
                self.rejects.add(rows.line(row), reason, f"{rows.frame['time'][row]:%Y-%m}")
            bars = bars.take(~repeated)
        kept = self._measure(bars)
        if kept is not None:
            bars = bars.take(kept)
        pieces = 0
        for piece in encode(table_columns(bars), len(bars)):
            self.parsed.payload.add(piece.data)
            pieces += 1
        self._check_order(bars, pieces)

    def _check_order(self, bars: Bars, pieces: int) -> None:
        """A block whose rows are encoded in several pieces may have lost the order."""
        if not self.parsed.sorted or not len(bars):
            return
        before, self._last = self._last, (bars.codes, int(bars.time[-1]))
        rises = pieces == 1 and len(bars.codes) == 1 and bool((np.diff(bars.time) > 0).all())
        follows = before is None or (before[0] == bars.codes and before[1] < bars.time[0])
        self.parsed.sorted = rises and follows

    def _measure(self, bars: Bars) -> Array | None:
        """Add the bars to the spans; the mask of those to load, or None when all are."""
        keep = np.ones(len(bars), bool)
        for code, label, rows in _places(bars):
            if self.months is not None and label not in self.months:
                keep[rows] = False
            times = bars.time[rows]
            hole = self.holes.get((code, label))
            covered = None if hole is None else np.isin(times, hole)
            if covered is not None:
                keep[rows] &= ~covered
            start = int(times[0])
            self.parsed.spans.setdefault((code, label), Span(start, start, 0)).add(times, covered)
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


class OutOfOrder(Exception):
    """Times neither only rise nor only fall, so keys must be remembered: read again with `remember=True`."""


class Duplicates:
    """Finds a (code, time) that a file has twice, block after block; the first of two rows is kept.

    Memory does not grow while times only rise or only fall; with `remember` every key is kept, 16 bytes a row.
    """

    def __init__(self, remember: bool = False) -> None:
        self._remember = remember
        self._last: dict[str, tuple[int, int]] = {}
        self._numbers: dict[str, int] = {}
        self._seen = np.empty(0, dtype=[("code", "i8"), ("time", "i8")])

    def repeated(self, bars: Bars) -> Array | None:
        """Mask of bars whose key was seen before; None when there is none. May raise OutOfOrder."""
        if not len(bars):
            return None
        if self._remember:
            return self._by_keys(bars)
        for number, code in enumerate(bars.codes):
            times = bars.time if isinstance(bars.code, int) else bars.time[bars.code == number]
            if len(times):
                self._one_way(code, times)
        return None

    def _one_way(self, code: str, times: Array) -> None:
        last, direction = self._last.get(code, (None, 0))
        steps = np.diff(times) if last is None else np.diff(times, prepend=last)
        if len(steps):
            rising = bool(steps[0] > 0)
            direction = direction or (1 if rising else -1)
            if not (steps * direction > 0).all():
                raise OutOfOrder(code)
        self._last[code] = (int(times[-1]), direction)

    def _by_keys(self, bars: Bars) -> Array | None:
        numbers = np.array([self._numbers.setdefault(code, len(self._numbers)) for code in bars.codes])
        keys = np.empty(len(bars), dtype=self._seen.dtype)
        keys["code"] = numbers[bars.code]
        keys["time"] = bars.time
        everything = np.concatenate([self._seen, keys])
        first = np.unique(everything, return_index=True)[1]
        repeated = np.ones(len(everything), bool)
        repeated[first] = False
        fresh = repeated[len(self._seen) :]
        self._seen = everything[~repeated]
        return fresh if fresh.any() else None
