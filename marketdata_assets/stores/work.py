"""Units of work over one connection: a lost one is opened again, and a race that was lost is run again.

What a unit is, and what a failure of it means, is the domain's business.
"""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import psycopg
from psycopg import errors as pg

from marketdata_assets.stores.errors import StoreAway
from marketdata_assets.stores.postgres import connect

ATTEMPTS = 5
LOST_RACES = (pg.DeadlockDetected, pg.SerializationFailure, pg.LockNotAvailable)
RECONNECTS_SECONDS = (0.5, 1.5, 4.0)

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
    waits = iter(RECONNECTS_SECONDS)
    while True:
        try:
            with connect(dsn, autocommit=True) as connection:
                prepare(connection)
                while len(answers) < len(items):
                    answers.append(work(connection, items[len(answers)]))
            return answers
        except StoreAway:
            pause = next(waits, None)
            if pause is None:
                raise
            time.sleep(pause)


def despite_races(work: Callable[[], Answer]) -> Answer:
    """`work`, again when it has lost to another transaction's locks: that is no reason to fail."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return work()
        except LOST_RACES:
            time.sleep(0.1 * 2**attempt)
    return work()


def is_the_connections(error: Exception) -> bool:
    """Whether the error is of the connection, not of the unit at hand."""
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not isinstance(error, LOST_RACES)
