"""Small units that were never loaded, many in one commit: a transaction costs more than their few rows.

Only the usual case is handled here. Whatever is special about a unit, such as a rejected row, an entry in the ledger or
minutes that another file provides too, leaves it to `unit.load`, alone.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg

from marketdata_assets.bars import changes, coverage, days
from marketdata_assets.bars.coverage import Provider, Span
from marketdata_assets.bars.layout import TABLE_COLUMNS
from marketdata_assets.bars.plan import Task
from marketdata_assets.bars.profiles import SHIPPED, Shapes
from marketdata_assets.bars.schema import DATASET
from marketdata_assets.bars.unit import Attempt, Parsed, entry_of, fill_batches, parse
from marketdata_assets.loading.files import Opener, Unit
from marketdata_assets.loading.reports import UnitReport, batches
from marketdata_assets.loading.run import is_interrupt
from marketdata_assets.stores import ledger
from marketdata_assets.stores.postgres import copy_binary, is_of_statement

MAX_BYTES = 32 * 1024
"""Of a unit, unpacked: some hundred rows, too few to be compressed as they are written."""

MAX_UNITS = 50
"""In a commit: fewer than the codes that are locked one by one."""


@dataclass
class _Small:
    """A unit that was read and has no rejected row, with its rows to load by code and month."""

    unit: Unit
    parsed: Parsed
    attempt: Attempt
    loading: dict[tuple[str, str], Span]

    @property
    def provider(self) -> Provider:
        return Provider(self.unit.file.name, self.unit.name, self.unit.file.modified_ns)

    @property
    def compressed(self) -> bool:
        return bool(self.loading) and fill_batches(self.rows, len(self.loading))

    @property
    def rows(self) -> int:
        return sum(span.rows for span in self.loading.values())


def groups(tasks: Sequence[Task]) -> list[list[Task]]:
    """Those of `tasks` that may share a commit, in groups of two or more."""
    small = [task for task in tasks if task.reason == "missing" and task.unit and not task.unit.problem]
    small = [task for task in small if task.unit and task.unit.size <= MAX_BYTES]
    found = batches(small, lambda _: 1, max_bytes=MAX_UNITS, max_items=MAX_UNITS)
    return [group for group in found if len(group) > 1]


def load(
    connection: psycopg.Connection,
    opener: Opener,
    tasks: Sequence[Task],
    run_id: str,
    columnstore: bool,
    shapes: Shapes = SHIPPED,
) -> list[UnitReport]:
    """Load in one commit those of `tasks` that are as usual, and report on these alone.

    After an error of a statement nothing has changed and no unit is reported.
    """
    read = [small for small in _read(opener, tasks, run_id, shapes) if not (columnstore and small.compressed)]
    try:
        with connection.transaction():
            usual = _usual(connection, read)
            if usual:
                _commit(connection, usual, run_id)
    except psycopg.Error as error:
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not is_of_statement(error):
            raise
        return []
    finally:
        for small in read:
            small.parsed.payload.close()
    return [_report(small) for small in usual]


def _read(opener: Opener, tasks: Sequence[Task], run_id: str, shapes: Shapes) -> Iterator[_Small]:
    for task in tasks:
        assert task.unit is not None
        attempt = Attempt(None, task.months, {}, run_id, dt.datetime.now(dt.UTC))
        try:
            parsed = parse(opener, task.unit, task.months, shapes=shapes)
        except BaseException as error:  # of polars as well, which are no exceptions of Python's
            if is_interrupt(error):
                raise
            continue
        loading = {key: span for key, span in parsed.spans.items() if task.months is None or key[1] in task.months}
        if not parsed.rejects:
            yield _Small(task.unit, parsed, attempt, loading)


def _usual(connection: psycopg.Connection, read: Sequence[_Small]) -> list[_Small]:
    """The units that are not on record and provide minutes of months that no other unit has; they are locked."""
    ledger.lock(connection, DATASET, [small.provider.key for small in read])
    coverage.lock(connection, {code for small in read for code, _ in small.parsed.spans})
    recorded = ledger.recorded(connection, DATASET, [small.provider.key for small in read])
    new = [small for small in read if small.provider.key not in recorded]
    places = Counter(place for small in new for place in small.loading)
    provided = coverage.provided(connection, places)
    return [small for small in new if all(places[place] == 1 and place not in provided for place in small.loading)]


def _commit(connection: psycopg.Connection, usual: Sequence[_Small], run_id: str) -> None:
    loading = {place: span for small in usual for place, span in small.loading.items()}
    if loading:
        blocks = (block for small in usual for block in small.parsed.payload)
        copy_binary(connection, DATASET, TABLE_COLUMNS, blocks)
    with connection.pipeline():
        coverage.cover(connection, {small.provider: small.loading for small in usual})
        days.record(connection, loading, (), ())
        changes.record(connection, loading, run_id)
        ledger.record(connection, *(entry_of(small.unit, small.parsed, small.attempt, small.rows) for small in usual))


def _report(small: _Small) -> UnitReport:
    months = tuple(sorted({month for _, month in small.loading}))
    rows = small.parsed.rows
    return UnitReport(small.unit.place, "ok" if rows else "empty", rows, small.rows, months=months)
