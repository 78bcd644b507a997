"""Which unit provides which minutes: a newer file replaces the minutes that it has, and no others.

Statements over `stock_1min_coverage` and the rows it describes; all run in the loader's transaction. Of a unit alone in
a code and month the table itself says which minutes it has; where units share one, each record names its minutes. A row
of the table belongs to the newest unit that has its minute.
"""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import psycopg

from marketdata_assets.bars import minutes
from marketdata_assets.bars.minutes import NONE, Array
from marketdata_assets.bars.schema import DATASET
from marketdata_assets.months import month_ranges
from marketdata_assets.reference.calendar import CLOSE as EXCHANGE_CLOSE
from marketdata_assets.reference.calendar import SESSIONS
from marketdata_assets.stores.postgres import lift_decompression_limit, statement, take_lock

MANY_CODES = 64
MONTH_DAYS = 31

MICROSECONDS_A_DAY = 86_400_000_000
OPEN, CLOSE = ((time.hour * 60 + time.minute) * 60_000_000 for time in (SESSIONS[0][0], EXCHANGE_CLOSE))

Place = tuple[str, str]
"""A code and a month (`YYYY-MM`)."""


@dataclass
class Span:
    """What a unit has of one code in one month: first and last time in microseconds, rows, rows left to newer files.

    `days` counts the minutes of the exchange's day on each day of the month, without those left to newer files.
    """

    first: int
    last: int
    rows: int
    superseded: int = 0
    days: Array = field(default_factory=lambda: np.zeros(MONTH_DAYS, np.int64))
    _packed: Array = field(default_factory=lambda: NONE)
    _pending: list[Array] = field(default_factory=list)

    def add(self, times: Array, covered: np.ndarray[Any, np.dtype[np.bool_]] | None) -> None:
        """Add rows at `times` (microseconds), all of the month, of which newer files provide the `covered` ones."""
        self._pending.append(times)
        self.first = min(self.first, int(times.min()))
        self.last = max(self.last, int(times.max()))
        self.rows += len(times)
        clock = times % MICROSECONDS_A_DAY
        traded = (clock >= OPEN) & (clock <= CLOSE)
        if covered is not None:
            self.superseded += int(covered.sum())
            traded &= ~covered
        month = np.datetime64(self.first, "us").astype("datetime64[M]").astype("datetime64[us]").astype(np.int64)
        self.days += np.bincount((times[traded] - month) // MICROSECONDS_A_DAY, minlength=MONTH_DAYS)

    def repeated(self, times: Array) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
        """Which of `times` the span has, or are earlier among them; None when none is. Times in order cost little."""
        ordered = times if times[0] <= times[-1] else times[::-1]
        outside = not self.rows or ordered[0] > self.last or ordered[-1] < self.first
        if outside and (ordered[1:] > ordered[:-1]).all():
            return None
        found = np.isin(times, self.times())
        first = np.zeros(len(times), bool)
        first[np.unique(times, return_index=True)[1]] = True
        found |= ~first
        return found if found.any() else None

    def times(self) -> Array:
        """The times of all rows, rising."""
        return np.sort(np.concatenate([minutes.times(self._packed), *self._pending]))

    def compact(self) -> None:
        """Take less memory, after many rows."""
        if self._pending:
            self._packed, self._pending = minutes.runs(self.times()), []


Spans = Mapping[Place, Span]


@dataclass(frozen=True)
class Provider:
    """A unit as coverage knows it; of two the one with the greater `delivered` wins, its file's
    modification time (ns), and of equally old ones that with the greater name.
    """

    source: str
    unit: str
    delivered: int

    @property
    def key(self) -> tuple[str, str]:
        return self.source, self.unit

    @property
    def rank(self) -> tuple[int, str, str]:
        return self.delivered, self.source, self.unit


NOBODY = Provider("", "", 0)
"""No unit: all others are other units."""


@dataclass(frozen=True)
class Had:
    """What a unit provided of a code and month, in how many rows, and when its file was delivered (ns)."""

    first: dt.datetime
    last: dt.datetime
    delivered: int
    minutes: bytes | None
    rows: int


@dataclass(frozen=True)
class Holder:
    """Another unit with minutes of a code and month; whether they are `named` in its record."""

    provider: Provider
    times: Array
    named: bool


Holders = Mapping[Place, Sequence[Holder]]
"""By code and month, the newest first."""


def codes(connection: psycopg.Connection, provider: Provider) -> set[str]:
    """The codes loaded from this provider."""
    rows = connection.execute(
        "SELECT DISTINCT code FROM stock_1min_coverage WHERE (source, unit) = (%s, %s)", provider.key
    )
    return {code for (code,) in rows}


def lock(connection: psycopg.Connection, codes: Iterable[str] | None) -> None:
    """Keep other loads of the same codes waiting until this transaction ends; None, or many codes, lock all of them."""
    keys = sorted(codes or ())
    if codes is None or len(keys) > MANY_CODES:
        take_lock(connection, DATASET, "SELECT pg_advisory_xact_lock(hashtext(%s))", [DATASET])
        return
    take_lock(connection, DATASET, "SELECT pg_advisory_xact_lock_shared(hashtext(%s))", [DATASET])
    names = [f"{DATASET} {code}" for code in keys]
    query = "SELECT pg_advisory_xact_lock(hashtextextended(name, 2)) FROM unnest(%s::text[]) AS name"
    take_lock(connection, f"{DATASET}: {len(keys)} codes from {min(keys, default=None)}", query, [names])


def forget(connection: psycopg.Connection, provider: Provider, months: Collection[str] | None) -> dict[Place, Had]:
    """Delete the record of what the provider had in `months` (None: in any), and return it."""
    days = None if months is None else [first_day(month) for month in months]
    rows = _execute(connection, "forget", provider, months=days)
    return {(code, month): Had(*values) for code, month, *values in rows}


def shared(connection: psycopg.Connection, provider: Provider, places: Collection[Place]) -> set[Place]:
    """Those codes and months in which other units have minutes."""
    codes = sorted({code for code, _ in places})
    months = sorted({first_day(month) for _, month in places})
    rows = _execute(connection, "shared", provider, codes=codes, months=months)
    return {(code, month) for code, month in rows} & set(places)


def holders(
    connection: psycopg.Connection, provider: Provider, loading: Spans, had: Mapping[Place, Had]
) -> dict[Place, list[Holder]]:
    """By place where others have minutes, the units with some between this one's, before or now, or with none named."""
    places = shared(connection, provider, loading.keys() | had.keys())
    found: dict[Place, list[Holder]] = {place: [] for place in sorted(places)}
    if not found:
        return found
    ends = [_ends(loading.get(place), had.get(place)) for place in found]
    values = {
        "codes": [code for code, _ in found],
        "months": [first_day(month) for _, month in found],
        "firsts": [first for first, _ in ends],
        "lasts": [last for _, last in ends],
    }
    rows = _execute(connection, "holders", provider, **values).fetchall()
    for code, month, source, unit, delivered, packed, first, last in rows:
        times = _set(connection, code, packed, first, last)
        found[code, month].append(Holder(Provider(source, unit, delivered), times, packed is not None))
    for others in found.values():
        others.sort(key=lambda holder: holder.provider.rank, reverse=True)
    return found


def left_to_newer(provider: Provider, loading: Spans, holders: Holders) -> dict[Place, bytes]:
    """The minutes to load that newer files have, packed."""
    holes = {}
    for place in holders.keys() & loading.keys():
        own = loading[place].times()
        inside = np.isin(own, _newer(holders[place], provider))
        if inside.any():
            holes[place] = minutes.pack(own[inside])
    return holes


def _ends(span: Span | None, had: Had | None) -> tuple[dt.datetime, dt.datetime]:
    found = [(to_time(span.first), to_time(span.last))] if span else []
    found += [(had.first, had.last)] if had else []
    return min(first for first, _ in found), max(last for _, last in found)


def _newer(holders: Sequence[Holder], provider: Provider) -> Array:
    """All minutes of the units newer than `provider`."""
    return np.concatenate([NONE, *(one.times for one in holders if one.provider.rank > provider.rank)])


def _set(
    connection: psycopg.Connection, code: str, packed: bytes | None, first: dt.datetime, last: dt.datetime
) -> Array:
    """The minutes that a record names, or else those of the table."""
    if packed is not None:
        return minutes.unpack(packed)
    rows = connection.execute(statement(__package__, "coverage/in_table.sql"), [code, first, last]).fetchall()
    return np.array([time for (time,) in rows], np.int64)


@dataclass
class Shift:
    """What a load changes for others: rows by older and newer file, and by unit those taken and those due again."""

    replaced: Counter[tuple[str, str]] = field(default_factory=Counter)
    taken: Counter[tuple[str, str]] = field(default_factory=Counter)
    due: Counter[tuple[str, str]] = field(default_factory=Counter)
    months: defaultdict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    records: list[tuple[Provider, str, str, int, Array]] = field(default_factory=list)

    @property
    def report(self) -> tuple[tuple[str, str, int], ...]:
        """How many rows of an older file, or member of the same file, a newer one replaced."""
        return tuple((*files, rows) for files, rows in sorted(self.replaced.items()))


def _files(older: Provider, newer: Provider) -> tuple[str, str]:
    """The files of both, or the members of one file."""
    if older.source != newer.source:
        return older.source, newer.source
    return f"{older.source}!{older.unit}", f"{newer.source}!{newer.unit}"


def _whose(times: Array, holders: Sequence[Holder]) -> Iterator[tuple[Holder, int]]:
    """Each holder, and how many of the minutes are its own: they belong to the newest that has them."""
    for holder in holders:
        own = np.isin(times, holder.times)
        times = times[~own]
        yield holder, int(own.sum())


def clear(
    connection: psycopg.Connection,
    provider: Provider,
    loading: Spans,
    had: Mapping[Place, Had],
    holders: Holders,
    *,
    unrecorded: bool = False,
) -> Shift:
    """Delete the rows that `loading` replaces and those that the provider `had`.

    Only in the codes and months of `holders` are rows of other units searched, minute by minute, or, with `unrecorded`,
    in all that are loaded. Units that lose rows or have minutes to give back are updated, in record and ledger.
    """
    shift = Shift()
    searched = sorted(holders.keys() | (loading.keys() if unrecorded else set()))
    if not had and not searched:
        return shift
    lift_decompression_limit(connection)
    alone = {place: (before.first, before.last) for place, before in had.items() if place not in holders}
    deleted = []
    with connection.pipeline():
        for run in _runs(alone):
            connection.execute(statement(__package__, "coverage/delete_run.sql"), run, prepare=False)
        for place in searched:
            others = holders.get(place, ())
            own = loading[place].times() if place in loading else NONE
            newer = _newer(others, provider)
            wins, owned = np.setdiff1d(own, newer), NONE
            if (before := had.get(place)) and place in holders:
                previous = replace(provider, delivered=before.delivered)
                mine = _set(connection, place[0], before.minutes, before.first, before.last)
                owned = np.setdiff1d(mine, _newer(others, previous))
            for holder, rows in _whose(np.setdiff1d(owned, wins), others):  # no longer provided by this unit
                if rows:
                    shift.due[holder.provider.key] += rows
                    shift.months[holder.provider.key].add(place[1])
            for holder, rows in _whose(np.intersect1d(own, newer), others):  # left to newer files
                shift.replaced[_files(provider, holder.provider)] += rows
            deleted.append((place, others, owned, _delete(connection, place[0], np.union1d(owned, wins))))
    for place, others, owned, cursor in deleted:
        gone = np.array([time for (time,) in cursor] if cursor else [], np.int64)
        for holder, rows in _whose(np.setdiff1d(gone, owned), others):
            shift.taken[holder.provider.key] += rows
            shift.replaced[_files(holder.provider, provider)] += rows
            if rows or not holder.named:
                shift.records.append((holder.provider, *place, rows, holder.times))
    shift.replaced = +shift.replaced
    _record(connection, shift)
    return shift


def _delete(connection: psycopg.Connection, code: str, times: Array) -> psycopg.Cursor | None:
    if not len(times):
        return None
    labels = np.datetime_as_string(times.astype("datetime64[us]")).tolist()
    values = [code, to_time(times[0]), to_time(times[-1]), f"{{{','.join(labels)}}}"]
    return connection.execute(statement(__package__, "coverage/delete.sql"), values, prepare=False)


def _record(connection: psycopg.Connection, shift: Shift) -> None:
    """Record on the other units what they lost, which minutes they have, and what they have to load again."""
    if shift.records:
        providers, codes, months, rows, times = zip(*shift.records, strict=True)
        values = {
            "sources": [provider.source for provider in providers],
            "units": [provider.unit for provider in providers],
            "codes": list(codes),
            "months": [first_day(month) for month in months],
            "rows": list(rows),
            "minutes": [minutes.pack(one) for one in times],
        }
        connection.execute(statement(__package__, "coverage/supersede.sql"), values)
    shifts = [
        (shift.taken[key], shift.taken[key], shift.due[key], sorted(shift.months.get(key, ())), *key)
        for key in sorted((+shift.taken).keys() | shift.due.keys())
    ]
    if shifts:
        connection.cursor().executemany(statement(__package__, "coverage/shift.sql"), shifts)


def _runs(
    spans: Mapping[Place, tuple[dt.datetime, dt.datetime]],
) -> Iterator[tuple[str, dt.datetime, dt.datetime]]:
    """Code, first and last time of each run of months without a gap."""
    for code, places in groupby(sorted(spans), key=itemgetter(0)):
        for first, last in month_ranges(month for _, month in places):
            yield code, spans[code, first][0], spans[code, last][1]


def cover(
    connection: psycopg.Connection, loads: Mapping[Provider, Spans], shared: Collection[Place] = frozenset()
) -> None:
    """Record what each provider now provides; in `shared` places, which minutes."""
    spans = [(provider, *place, span) for provider, spans in loads.items() for place, span in spans.items()]
    if not spans:
        return
    values = {
        "sources": [provider.source for provider, *_ in spans],
        "units": [provider.unit for provider, *_ in spans],
        "codes": [code for _, code, _, _ in spans],
        "months": [first_day(month) for _, _, month, _ in spans],
        "firsts": [to_time(span.first) for *_, span in spans],
        "lasts": [to_time(span.last) for *_, span in spans],
        "rows": [span.rows for *_, span in spans],
        "superseded": [span.superseded for *_, span in spans],
        "delivered": [provider.delivered for provider, *_ in spans],
        "minutes": [minutes.pack(span.times()) if (code, month) in shared else None for _, code, month, span in spans],
    }
    connection.execute(statement(__package__, "coverage/cover.sql"), values)


def counts(connection: psycopg.Connection, provider: Provider) -> tuple[int, int]:
    """How many rows of the table come from this provider, and how many of its rows newer files provide."""
    row = connection.execute(
        """SELECT coalesce(sum(rows - superseded), 0)::bigint, coalesce(sum(superseded), 0)::bigint
           FROM stock_1min_coverage WHERE (source, unit) = (%s, %s)""",
        provider.key,
    ).fetchone()
    assert row is not None
    return row


def moved(connection: psycopg.Connection, delivered: Mapping[str, int]) -> set[tuple[str, str]]:
    """Units, by source, whose file has another modification time than on record, and another file in its months."""
    changed = _redelivered(connection, delivered)
    if not changed:
        return set()
    times = {"sources": list(changed), "times": list(changed.values())}
    return set(connection.execute(statement(__package__, "coverage/moved.sql"), times).fetchall())


def redeliver(connection: psycopg.Connection, delivered: Mapping[str, int]) -> None:
    """Record the files' present modification times where no other file is in the same months."""
    if changed := _redelivered(connection, delivered):
        times = {"sources": list(changed), "times": list(changed.values())}
        connection.execute(statement(__package__, "coverage/redeliver.sql"), times)


def _redelivered(connection: psycopg.Connection, delivered: Mapping[str, int]) -> dict[str, int]:
    """Those of `delivered` whose modification time is not that on record: few, and found in one scan."""
    rows = connection.execute("SELECT DISTINCT source, delivered FROM stock_1min_coverage").fetchall()
    return {source: delivered[source] for source, time in rows if delivered.get(source, time) != time}


def first_day(month: str) -> dt.date:
    """`2000-06` as the date of its first day."""
    return dt.date.fromisoformat(f"{month}-01")


def _execute(connection: psycopg.Connection, name: str, provider: Provider, **values: object) -> psycopg.Cursor:
    """A statement of `sql/coverage` about a provider."""
    return connection.execute(statement(__package__, f"coverage/{name}.sql"), {**vars(provider), **values})


def to_time(microseconds: int) -> dt.datetime:
    """Microseconds since 1970 as a time."""
    return dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=int(microseconds))
