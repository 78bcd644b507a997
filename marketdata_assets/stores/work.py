"""Units of work over one connection: a lost one is opened again, and a race that was lost is run again.

What a unit is, and what a failure of it means, is the domain's business.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import psycopg
from psycopg import errors as pg

from marketdata_assets.backoff import delays, retry
from marketdata_assets.stores.errors import StoreAway
from marketdata_assets.stores.postgres import connect

LOST_RACES = (pg.DeadlockDetected, pg.SerializationFailure, pg.LockNotAvailable)
RECONNECT_WAITS = delays(0.5, 4.0, retries=4)
RACE_WAITS = delays(0.1, 1.0, retries=4)

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def each(
    dsn: str,
    items: Sequence[Item],
    work: Callable[[psycopg.Connection, Item], Answer],
    prepare: Callable[[psycopg.Connection], object] = bool,
) -> list[Answer]:
    """`work` on each item in turn; when the database stays away for some seconds StoreAway is raised.

    `prepare` is called with each connection that is opened.
    """
    answers: list[Answer] = []

    def work_on_the_rest() -> None:
        with connect(dsn, autocommit=True) as connection:
            prepare(connection)
            while len(answers) < len(items):
                answers.append(work(connection, items[len(answers)]))

    retry(work_on_the_rest, StoreAway, RECONNECT_WAITS)
    return answers


def despite_races(work: Callable[[], Answer]) -> Answer:
    """`work`, retried when it has lost to another transaction's locks."""
    return retry(work, LOST_RACES, RACE_WAITS)


def is_the_connections(error: Exception) -> bool:
    """Whether the error is of the connection, not of the unit at hand."""
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not isinstance(error, LOST_RACES)
