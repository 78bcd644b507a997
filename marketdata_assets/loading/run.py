"""Units into Postgres in a worker: one connection for all of them, and for each unit one end.

An exception in a unit, of whatever class, fails that unit only. The exceptions to this are a store that is gone, which
ends the load, and an interrupt, which ends the process.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import psycopg
from psycopg import errors as pg

from marketdata_assets.backoff import delays, retry
from marketdata_assets.errors import TransientError
from marketdata_assets.loading.errors import LoadError, TooManyRejects
from marketdata_assets.secret_values import masked, without_password
from marketdata_assets.stores.bookkeeping import Reject, storable
from marketdata_assets.stores.errors import StoreAway, StoreFull
from marketdata_assets.stores.postgres import commit_asynchronously, connect, is_of_statement, wait_for_commits

LOST_RACES = (pg.DeadlockDetected, pg.SerializationFailure, pg.LockNotAvailable)
RECONNECT_WAITS = delays(0.5, 4.0, retries=4)
RACE_WAITS = delays(0.1, 1.0, retries=4)

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(
    dsn: str,
    items: Sequence[Item],
    work: Callable[[psycopg.Connection, Item], Result],
    *,
    asynchronous: bool = False,
) -> list[Result]:
    """`work` on each item over one connection, opened again when it is lost. Raises StoreAway after some seconds.

    With `asynchronous` commits, the server's disk is waited for once, at the end; when the connection was lost before,
    all items are worked on again, as the server may have lost what it had committed.
    """
    results: list[Result] = []

    def work_on_the_rest() -> None:
        with connect(dsn, autocommit=True) as connection:
            if asynchronous:
                results.clear()
                commit_asynchronously(connection)
            while len(results) < len(items):
                results.append(work(connection, items[len(results)]))
            if asynchronous:
                wait_for_commits(connection)

    retry(work_on_the_rest, StoreAway, RECONNECT_WAITS)
    return results


def guarded(place: str, load: Callable[[], Result], fail: Callable[[str, Sequence[Reject]], Result]) -> Result:
    """`load`, repeated when it lost a race for locks; what it raises becomes `fail(error message, rejected rows)`.

    These are the first of a unit with too many. Raised are only errors of the connection, TransientError, StoreFull and
    interrupts.
    """
    try:
        return retry(load, LOST_RACES, RACE_WAITS)
    except LoadError as error:
        return fail(_printable(error), error.first if isinstance(error, TooManyRejects) else ())
    except BaseException as error:
        lost_connection = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        if lost_connection and not is_of_statement(error):
            raise
        if isinstance(error, TransientError | StoreFull) or is_interrupt(error):
            raise
        return fail(f"{place}: {describe(error)}", ())


def describe(error: BaseException) -> str:
    """Class and message of any exception, on one line, as text that every store takes."""
    return masked(without_password(f"{type(error).__name__}: {' '.join(_printable(error).split())}".rstrip(": ")))


def _printable(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # an exception of a user's own class may fail to print itself
        return ""
    return storable(text)


def is_interrupt(error: BaseException) -> bool:
    """Whether the error asks the process to stop: KeyboardInterrupt, or what Dagster raises in its place."""
    return isinstance(error, KeyboardInterrupt) or (
        not isinstance(error, Exception) and type(error).__name__.endswith(("Interrupt", "InterruptedError"))
    )
