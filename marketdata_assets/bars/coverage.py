"""Which unit provides which minutes: where delivered files overlap, the newest wins, in any order of loading.

Statements over `stock_1min_coverage` and the rows it describes; all run in the loader's transaction.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import psycopg

from marketdata_assets.bars.schema import DATASET

MANY_CODES = 64

Hole = tuple[int, int]
"""First and last time, both included, in microseconds: minutes that a newer file provides."""


@dataclass
class Span:
    """What a unit has of one code in one month: first and last time in microseconds, rows, rows left to newer files."""

    first: int
    last: int
    rows: int
    superseded: int = 0

    def add(self, first: int, last: int, rows: int, superseded: int) -> None:
        self.first = min(self.first, first)
        self.last = max(self.last, last)
        self.rows += rows
        self.superseded += superseded


Spans = Mapping[tuple[str, str], Span]
"""By code and month (`YYYY-MM`)."""


@dataclass(frozen=True)
class Provider:
    """A unit as coverage knows it; of two providers the one with the greater `delivered` (ns) wins."""

    source: str
    unit: str
    delivered: int

    @property
    def key(self) -> tuple[str, str]:
        return self.source, self.unit

    @property
    def rank(self) -> tuple[int, str, str]:
        return self.delivered, self.source, self.unit


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
    rows = connection.execute(
        """SELECT code, to_char(month, 'YYYY-MM'), first, last FROM stock_1min_coverage
           WHERE code = ANY(%s) AND month = ANY(%s) AND (source, unit) <> (%s, %s)
             AND (delivered, source, unit) > (%s, %s, %s) ORDER BY 1, 2, 3, 4""",
        [
            sorted({code for code, _ in loading}),
            sorted({first_day(month) for _, month in loading}),
            *provider.key,
            *provider.rank,
        ],
    )
    holes: dict[tuple[str, str], list[Hole]] = {}
    for code, month, first, last in rows:
        if (code, month) in loading:
            holes.setdefault((code, month), []).append((_microseconds(first), _microseconds(last)))
    return holes


def clear(
    connection: psycopg.Connection, provider: Provider, loading: Spans, months: Collection[str] | None
) -> set[str]:
    """Delete the rows that `loading` replaces and all rows of the provider in `months` (None: in any).

    Returns the months that the provider had. Older files superseded there are marked as not loaded.
    """
    had = connection.execute(
        """DELETE FROM stock_1min_coverage WHERE (source, unit) = (%s, %s) AND (%s::date[] IS NULL OR month = ANY(%s))
           RETURNING code, to_char(month, 'YYYY-MM'), first, last, delivered""",
        [*provider.key, *[None if months is None else [first_day(month) for month in months]] * 2],
    ).fetchall()
    connection.execute(
        """SELECT set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)
           FROM pg_extension WHERE extname = 'timescaledb'"""
    )
    for code, month, first, last, delivered in had:
        before = Provider(provider.source, provider.unit, delivered)
        _delete(connection, before, code, month, first, last)
        now = loading.get((code, month))
        if now is None or provider.delivered < delivered or _time(now.first) > first or _time(now.last) < last:
            _reopen_older(connection, before, code, month)
    with connection.pipeline():
        deleted = {
            (code, month): _delete(connection, provider, code, month, _time(span.first), _time(span.last))
            for (code, month), span in loading.items()
        }
    for (code, month), cursor in deleted.items():
        if cursor.rowcount > 0:
            _supersede(connection, provider, code, month, [time for (time,) in cursor])
    return {month for _, month, *_ in had}


def cover(connection: psycopg.Connection, provider: Provider, loading: Spans) -> None:
    """Record what the provider now provides."""
    if not loading:
        return
    columns = "source, unit, code, month, first, last, rows, superseded, delivered"
    with connection.cursor().copy(f"COPY stock_1min_coverage ({columns}) FROM STDIN") as copy:
        for (code, month), span in loading.items():
            times = (_time(span.first), _time(span.last))
            copy.write_row(
                (*provider.key, code, first_day(month), *times, span.rows, span.superseded, provider.delivered)
            )


def rows_loaded(connection: psycopg.Connection, provider: Provider) -> int:
    """How many rows of the table come from this provider."""
    row = connection.execute(
        "SELECT coalesce(sum(rows - superseded), 0)::bigint FROM stock_1min_coverage WHERE (source, unit) = (%s, %s)",
        provider.key,
    ).fetchone()
    assert row is not None
    return int(row[0])


_OVERLAPPED = """EXISTS (SELECT FROM stock_1min_coverage o
    WHERE o.code = c.code AND o.month = c.month AND (o.source, o.unit) <> (c.source, c.unit))"""


def moved(connection: psycopg.Connection, delivered: Mapping[str, int]) -> set[tuple[str, str]]:
    """Units, by source, whose file has another modification time than on record, and another file in its months."""
    rows = connection.execute(
        f"""SELECT DISTINCT c.source, c.unit FROM stock_1min_coverage c
            JOIN unnest(%s::text[], %s::bigint[]) AS now(source, delivered) USING (source)
            WHERE c.delivered <> now.delivered AND {_OVERLAPPED}""",
        [list(delivered), list(delivered.values())],
    )
    return set(rows.fetchall())


def redeliver(connection: psycopg.Connection, delivered: Mapping[str, int]) -> None:
    """Record the files' present modification times where no other file is in the same months."""
    connection.execute(
        f"""UPDATE stock_1min_coverage c SET delivered = now.delivered
            FROM unnest(%s::text[], %s::bigint[]) AS now(source, delivered)
            WHERE c.source = now.source AND c.delivered <> now.delivered AND NOT {_OVERLAPPED}""",
        [list(delivered), list(delivered.values())],
    )


def first_day(month: str) -> dt.date:
    """`2000-06` as the date of its first day."""
    return dt.date.fromisoformat(f"{month}-01")


def _delete(
    connection: psycopg.Connection, provider: Provider, code: str, month: str, first: dt.datetime, last: dt.datetime
) -> psycopg.Cursor:
    """Delete a code's rows of a span, except where a newer file provides them; returns the times deleted."""
    return connection.execute(
        """DELETE FROM stock_1min_qfq b WHERE code = %s AND time BETWEEN %s AND %s AND NOT EXISTS (
               SELECT FROM stock_1min_coverage c WHERE c.code = b.code AND c.month = %s
                  AND (c.source, c.unit) <> (%s, %s) AND (c.delivered, c.source, c.unit) > (%s, %s, %s)
                  AND b.time BETWEEN c.first AND c.last)
           RETURNING time""",
        [code, first, last, first_day(month), *provider.key, *provider.rank],
    )


def _supersede(
    connection: psycopg.Connection, provider: Provider, code: str, month: str, deleted: Sequence[dt.datetime]
) -> None:
    """Record on older units that their rows were `deleted`: a row belonged to the newest unit that covers its time."""
    connection.execute(
        """UPDATE stock_1min_coverage c SET superseded = superseded + owned.rows
           FROM (SELECT o.source, o.unit, count(*) AS rows FROM unnest(%s::timestamp[]) AS gone (time)
                 CROSS JOIN LATERAL (
                     SELECT source, unit FROM stock_1min_coverage
                     WHERE code = %s AND month = %s AND gone.time BETWEEN first AND last
                       AND (source, unit) <> (%s, %s) AND (delivered, source, unit) < (%s, %s, %s)
                     ORDER BY delivered DESC, source DESC, unit DESC LIMIT 1) o
                 GROUP BY 1, 2) owned
           WHERE (c.source, c.unit, c.code, c.month) = (owned.source, owned.unit, %s, %s)""",
        [deleted, code, first_day(month), *provider.key, *provider.rank, code, first_day(month)],
    )


def _reopen_older(connection: psycopg.Connection, provider: Provider, code: str, month: str) -> None:
    """Mark older units superseded by this one as not loaded, since this one may now cover less."""
    connection.execute(
        """UPDATE marketdata_ledger l SET slices = array_remove(slices, %s), rows = (
               SELECT sum(o.rows - o.superseded) FROM stock_1min_coverage o
               WHERE (o.source, o.unit) = (l.source, l.unit))
           FROM stock_1min_coverage c
           WHERE l.dataset = %s AND l.source = c.source AND l.unit = c.unit AND c.code = %s AND c.month = %s
             AND c.superseded > 0 AND (c.delivered, c.source, c.unit) < (%s, %s, %s)""",
        [month, DATASET, code, first_day(month), *provider.rank],
    )


def _time(microseconds: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=microseconds)


def _microseconds(time: dt.datetime) -> int:
    return (time - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
