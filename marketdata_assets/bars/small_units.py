"""Small units that were never loaded, many in one commit: a transaction costs more than their few rows.

Only the usual case is handled here. Whatever is special about a unit, such as a rejected row, an entry in the ledger or
minutes that another file provides too, leaves it to `unit.load`, alone.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence

import psycopg

from marketdata_assets.bars import changes, coverage, days
from marketdata_assets.bars.coverage import NOBODY
from marketdata_assets.bars.layout import TABLE_COLUMNS
from marketdata_assets.bars.plan import Task
from marketdata_assets.bars.schema import DATASET
from marketdata_assets.bars.unit import Attempt, Job, parse
from marketdata_assets.loading.files import Opener
from marketdata_assets.loading.reports import UnitReport, batches
from marketdata_assets.loading.run import is_interrupt
from marketdata_assets.stores import ledger
from marketdata_assets.stores.postgres import copy_binary, is_of_statement

MAX_BYTES = 32 * 1024
"""Of a unit, unpacked: some hundred rows, too few to be compressed as they are written."""

MAX_UNITS = 50
"""In a commit: fewer than the codes that are locked one by one."""


def groups(tasks: Sequence[Task]) -> list[list[Task]]:
    """Those of `tasks` that may share a commit, in groups of two or more."""
    small = [task for task in tasks if task.reason == "missing" and task.unit and not task.unit.problem]
    small = [task for task in small if task.unit and task.unit.size <= MAX_BYTES]
    found = batches(small, lambda _: 1, max_bytes=MAX_UNITS, max_items=MAX_UNITS)
    return [group for group in found if len(group) > 1]


def load(connection: psycopg.Connection, opener: Opener, tasks: Sequence[Task], job: Job) -> list[UnitReport]:
    """Load in one commit those of `tasks` that are as usual, and report on these alone.

    After an error of a statement nothing has changed and no unit is reported.
    """
    read = [one for one in _read(opener, tasks, job) if not one.compressed]
    try:
        with connection.transaction():
            usual = _usual(connection, read)
            if usual:
                _commit(connection, usual, job.run_id)
    except psycopg.Error as error:
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not is_of_statement(error):
            raise
        return []
    finally:
        for one in read:
            one.parsed.payload.close()
    return [one.report(one.loading) for one in usual]


def _read(opener: Opener, tasks: Sequence[Task], job: Job) -> Iterator[Attempt]:
    """The units that can be read and have no rejected row."""
    for task in tasks:
        assert task.unit is not None
        started = dt.datetime.now(dt.UTC)
        try:
            parsed = parse(opener, task.unit, task.months, shapes=job.shapes)
        except BaseException as error:  # of polars as well, which are no exceptions of Python's
            if is_interrupt(error):
                raise
            continue
        if not parsed.rejects:
            yield Attempt(job, task.unit, parsed, task.months, started)


def _usual(connection: psycopg.Connection, read: Sequence[Attempt]) -> list[Attempt]:
    """The units that are not on record and provide minutes of months that no other unit has; they are locked."""
    ledger.lock(connection, DATASET, [one.provider.key for one in read])
    coverage.lock(connection, {code for one in read for code, _ in one.parsed.spans})
    recorded = ledger.recorded(connection, DATASET, [one.provider.key for one in read])
    new = [one for one in read if one.provider.key not in recorded]
    places = Counter(place for one in new for place in one.loading)
    provided = coverage.shared(connection, NOBODY, places)
    return [one for one in new if all(places[place] == 1 and place not in provided for place in one.loading)]


def _commit(connection: psycopg.Connection, usual: Sequence[Attempt], run_id: str) -> None:
    loading = {place: span for one in usual for place, span in one.loading.items()}
    if loading:
        copy_binary(connection, DATASET, TABLE_COLUMNS, (block for one in usual for block in one.parsed.payload))
    with connection.pipeline():
        coverage.cover(connection, {one.provider: one.loading for one in usual})
        days.record(connection, loading, (), ())
        changes.record(connection, loading, run_id)
        ledger.record(connection, *(one.entry(one.rows, 0) for one in usual))
