"""Which unit provides which minutes: where delivered files overlap, the newest wins, in any order of loading.

Statements over `stock_1min_coverage` and the rows it describes; all run in the loader's transaction.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import psycopg

from marketdata_assets.bars.schema import DATASET
from marketdata_assets.reference.calendar import CLOSE as EXCHANGE_CLOSE
from marketdata_assets.reference.calendar import SESSIONS
from marketdata_assets.stores.postgres import lift_decompression_limit, statement

MANY_CODES = 64
MONTH_DAYS = 31

MICROSECONDS_A_DAY = 86_400_000_000
OPEN, CLOSE = ((time.hour * 60 + time.minute) * 60_000_000 for time in (SESSIONS[0][0], EXCHANGE_CLOSE))

Hole = tuple[int, int]
"""First and last time, both included, in microseconds: minutes that a newer file provides."""


@dataclass
class Span:
    """What a unit has of one code in one month: first and last time in microseconds, rows, rows left to newer files.

    `days` counts the minutes of the exchange's day on each day of the month, without those left to newer files.
    """

    first: int
    last: int
    rows: int
    superseded: int = 0
    days: np.ndarray[Any, np.dtype[np.int64]] = field(default_factory=lambda: np.zeros(MONTH_DAYS, np.int64))

    def add(
        self, times: np.ndarray[Any, np.dtype[np.int64]], covered: np.ndarray[Any, np.dtype[np.bool_]] | None
    ) -> None:
        """Add rows at `times` (microseconds), all of the month, of which newer files provide the `covered` ones."""
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


Spans = Mapping[tuple[str, str], Span]
"""By code and month (`YYYY-MM`)."""

Had = Mapping[tuple[str, str], tuple[dt.datetime, dt.datetime, int]]
"""What a unit provided, by code and month: first and last minute, and when its file was delivered (ns)."""


@dataclass(frozen=True)
class Provider:
    """A unit as coverage knows it; of two providers the one with the greater `delivered` (ns) wins."""

    source: str
    unit: str
    delivered: int

    @property
    def key(self) -> tuple[str, str]:
        return self.source, self.unit


def codes(connection: psycopg.Connection, provider: Provider) -> set[str]:
    """The codes loaded from this provider."""
    rows = connection.execute(
        "SELECT DISTINCT code FROM stock_1min_coverage WHERE (source, unit) = (%s, %s)", provider.key
    )
    return {code for (code,) in rows}


def lock(connection: psycopg.Connection, codes: Iterable[str]) -> None:
    """Keep other loads of the same codes waiting until this transaction ends; many codes lock all of them."""
    keys = sorted(codes)
    if len(keys) > MANY_CODES:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [DATASET])
        return
    connection.execute("SELECT pg_advisory_xact_lock_shared(hashtext(%s))", [DATASET])
    for code in keys:
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 2))", [f"{DATASET} {code}"])


def provided_by_newer(
    connection: psycopg.Connection, provider: Provider, loading: Spans
) -> dict[tuple[str, str], list[Hole]]:
    """Minutes of the months to load that newer files provide."""
    codes = sorted({code for code, _ in loading})
    months = sorted({first_day(month) for _, month in loading})
    rows = _execute(connection, "provided_by_newer", provider, codes=codes, months=months)
    holes: dict[tuple[str, str], list[Hole]] = {}
    for code, month, first, last in rows:
        if (code, month) in loading:
            holes.setdefault((code, month), []).append((_microseconds(first), _microseconds(last)))
    return holes


def forget(connection: psycopg.Connection, provider: Provider, months: Collection[str] | None) -> Had:
    """Delete the record of what the provider had in `months` (None: in any), and return it."""
    days = None if months is None else [first_day(month) for month in months]
    return {(row[0], row[1]): row[2:] for row in _execute(connection, "forget", provider, months=days)}


def clear(
    connection: psycopg.Connection, provider: Provider, loading: Spans, had: Had, others: Collection[tuple[str, str]]
) -> None:
    """Delete the rows that `loading` replaces and those that the provider `had`.

    Only in the codes and months of `others` are rows of other units searched, one by one. Older files superseded there
    are marked as not loaded.
    """
    if not had and not others:
        return
    lift_decompression_limit(connection)
    alone = {place: (first, last) for place, (first, last, _) in had.items() if place not in others}
    with connection.pipeline():
        for run in _runs(alone):
            connection.execute(statement(__package__, "coverage/delete_run.sql"), run, prepare=False)
    _clear_own(connection, provider, loading, {place: had[place] for place in sorted(had.keys() & set(others))})
    _clear_older(connection, provider, {place: loading[place] for place in sorted(loading.keys() & set(others))})


def shared(
    connection: psycopg.Connection, provider: Provider, places: Collection[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Those codes and months in which other units have minutes."""
    codes = sorted({code for code, _ in places})
    months = sorted({first_day(month) for _, month in places})
    rows = _execute(connection, "shared", provider, codes=codes, months=months)
    return {(code, month) for code, month in rows} & set(places)


def _runs(
    spans: Mapping[tuple[str, str], tuple[dt.datetime, dt.datetime]],
) -> Iterator[tuple[str, dt.datetime, dt.datetime]]:
    """Code, first and last time of each run of months without a gap."""
    run: tuple[str, dt.datetime, dt.datetime] | None = None
    for (code, month), (first, last) in sorted(spans.items()):
        if run and run[0] == code and (run[2].replace(day=1) + dt.timedelta(MONTH_DAYS)).strftime("%Y-%m") == month:
            run = (code, run[1], last)
            continue
        if run:
            yield run
        run = (code, first, last)
    if run:
        yield run


def _clear_own(
    connection: psycopg.Connection,
    provider: Provider,
    loading: Spans,
    had: Had,
) -> None:
    """Delete the provider's rows where other units have minutes of the same month."""
    for (code, month), (first, last, delivered) in had.items():
        before, place = replace(provider, delivered=delivered), {"code": code, "month": first_day(month)}
        _execute(connection, "delete", before, **place, first=first, last=last)
        now = loading.get((code, month))
        if now is None or provider.delivered < delivered or _time(now.first) > first or _time(now.last) < last:
            _execute(connection, "reopen_older", before, **place, label=month)


def _clear_older(connection: psycopg.Connection, provider: Provider, loading: Spans) -> None:
    """Delete the rows of older units that `loading` replaces, and record on these units that they are superseded."""
    with connection.pipeline():
        deletions = []
        for (code, month), span in loading.items():
            place = {"code": code, "month": first_day(month)}
            times = {"first": _time(span.first), "last": _time(span.last)}
            deletions.append((place, _execute(connection, "delete", provider, **place, **times)))
    for place, cursor in deletions:
        if cursor.rowcount > 0:
            _execute(connection, "supersede", provider, **place, deleted=[time for (time,) in cursor])


def cover(connection: psycopg.Connection, loads: Mapping[Provider, Spans]) -> None:
    """Record what each provider now provides."""
    spans = [(provider, *place, span) for provider, spans in loads.items() for place, span in spans.items()]
    if not spans:
        return
    values = {
        "sources": [provider.source for provider, *_ in spans],
        "units": [provider.unit for provider, *_ in spans],
        "codes": [code for _, code, _, _ in spans],
        "months": [first_day(month) for _, _, month, _ in spans],
        "firsts": [_time(span.first) for *_, span in spans],
        "lasts": [_time(span.last) for *_, span in spans],
        "rows": [span.rows for *_, span in spans],
        "superseded": [span.superseded for *_, span in spans],
        "delivered": [provider.delivered for provider, *_ in spans],
    }
    connection.execute(statement(__package__, "coverage/cover.sql"), values)


def provided(connection: psycopg.Connection, places: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those codes and months of which any unit provides minutes."""
    codes, months = [code for code, _ in places], [first_day(month) for _, month in places]
    rows = connection.execute(statement(__package__, "coverage/provided.sql"), {"codes": codes, "months": months})
    return set(rows.fetchall())


def rows_loaded(connection: psycopg.Connection, provider: Provider) -> int:
    """How many rows of the table come from this provider."""
    row = connection.execute(
        "SELECT coalesce(sum(rows - superseded), 0)::bigint FROM stock_1min_coverage WHERE (source, unit) = (%s, %s)",
        provider.key,
    ).fetchone()
    assert row is not None
    return int(row[0])


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


def _time(microseconds: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=microseconds)


def _microseconds(time: dt.datetime) -> int:
    return (time - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
