"""Units into Postgres: spread over workers in batches, each worker with one connection, each unit with one end.

An exception in a unit, of whatever class, fails that unit only. The exceptions to this are a store that is gone, which
ends the load, and an interrupt, which ends the process.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import psycopg
from psycopg import errors as pg

from marketdata_assets.backoff import delays, retry
from marketdata_assets.errors import TransientError
from marketdata_assets.fanout import Fanout
from marketdata_assets.loading.errors import LoadError
from marketdata_assets.loading.reports import Report, reports_of
from marketdata_assets.progress import Progress
from marketdata_assets.stores.errors import StoreAway, StoreFull
from marketdata_assets.stores.postgres import connect

LOST_RACES = (pg.DeadlockDetected, pg.SerializationFailure, pg.LockNotAvailable)
RECONNECT_WAITS = delays(0.5, 4.0, retries=4)
RACE_WAITS = delays(0.1, 1.0, retries=4)

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_batches(
    worker: Callable[[list[Item]], list[Report]],
    batches: Sequence[list[Item]],
    failed: Callable[[Item, str], Report],
    *,
    fanout: Fanout,
    folder: Path,
    progress: Progress | None,
) -> Iterator[Report]:
    """The reports of all items, batch by batch as they finish. Raises StoreAway and StoreFull.

    When a worker process dies with an item, that item becomes a report by `failed(item, cause)`.
    """
    total, done = sum(map(len, batches)), 0
    for batch in fanout.map(worker, batches, folder):
        for report in reports_of(batch, failed):
            done += 1
            if progress:
                progress(done, total, report.unit)
            yield report


def each(
    dsn: str,
    items: Sequence[Item],
    work: Callable[[psycopg.Connection, Item], Result],
    prepare: Callable[[psycopg.Connection], object] = bool,
) -> list[Result]:
    """`work` on each item over one connection, opened again when it is lost. Raises StoreAway after some seconds.

    `prepare` is called with each connection that is opened.
    """
    results: list[Result] = []

    def work_on_the_rest() -> None:
        with connect(dsn, autocommit=True) as connection:
            prepare(connection)
            while len(results) < len(items):
                results.append(work(connection, items[len(results)]))

    retry(work_on_the_rest, StoreAway, RECONNECT_WAITS)
    return results


def guarded(place: str, load: Callable[[], Result], fail: Callable[[str], Result]) -> Result:
    """`load`, repeated when it lost a race for locks; what it raises becomes `fail(error message)`.

    Raised are only errors of the connection, TransientError, StoreFull and interrupts.
    """
    try:
        return retry(load, LOST_RACES, RACE_WAITS)
    except LoadError as error:
        return fail(_printable(error))
    except BaseException as error:
        if _ends_the_load(error):
            raise
        return fail(f"{place}: {describe(error)}")


def describe(error: BaseException) -> str:
    """Class and message of any exception, on one line, as text that every store takes."""
    return f"{type(error).__name__}: {' '.join(_printable(error).split())}".rstrip(": ")


def _printable(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # an exception of a user's own class may fail to print itself
        return ""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def _ends_the_load(error: BaseException) -> bool:
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return not isinstance(error, LOST_RACES)
    return isinstance(error, TransientError | StoreFull) or is_interrupt(error)


def is_interrupt(error: BaseException) -> bool:
    """Whether the error asks the process to stop: KeyboardInterrupt, or what Dagster raises in its place."""
    return isinstance(error, KeyboardInterrupt) or (
        not isinstance(error, Exception) and type(error).__name__.endswith(("Interrupt", "InterruptedError"))
    )
